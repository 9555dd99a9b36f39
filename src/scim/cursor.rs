//! Pages by cursor (RFC 9865): what a cursor holds, and the three refusals. It is a place in the list, how many there were
//! at the start and how long it counts: nothing is kept for it, so that an unfinished list costs nothing. Sealing it, and
//! binding it to its question, is the caller's.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::list::{MAX_PAGE, Query};
use crate::model::order::Mark;
use crate::model::time::Millis;

/// Seconds that a cursor counts, as the provider's configuration publishes them.
pub const TIMEOUT: i64 = 3600;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Resources on a page.
    #[serde(rename = "c")]
    pub count: u64,
    #[serde(rename = "t")]
    pub made: Millis,
    /// Resources in all, as counted for the first page.
    #[serde(rename = "n")]
    pub total: u64,
    /// The list is read in stretches; this one was the last.
    #[serde(rename = "s")]
    pub stretch: usize,
    /// The last resource of the page.
    #[serde(rename = "m")]
    pub mark: Mark,
}

impl Cursor {
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `text` is what was sealed; `None`: it could not be opened.
    pub fn decode(text: Option<&[u8]>, query: &Query, now: Millis) -> Result<Cursor, Error> {
        let cursor: Option<Cursor> = text.and_then(|text| serde_json::from_slice(text).ok());
        let Some(cursor) = cursor else {
            return Err(Error::InvalidCursor(
                "the cursor is none of this service's, or was given for another question; begin anew with an empty one",
            ));
        };
        if now.0 - cursor.made.0 > TIMEOUT * 1000 {
            return Err(Error::ExpiredCursor(TIMEOUT));
        }
        check(query)?;
        if query.count.is_some() && query.size() != cursor.count {
            return Err(Error::InvalidCount(format!(
                "`count` is {}, and was {} when the list began",
                query.size(),
                cursor.count
            )));
        }
        Ok(cursor)
    }
}

/// Whether a list may begin so.
pub fn check(query: &Query) -> Result<(), Error> {
    match query.count {
        Some(count) if count > MAX_PAGE => {
            Err(Error::InvalidCount(format!("`count` is {count}; allowed with a cursor: 0 to {MAX_PAGE}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_refusals_of_rfc_9865() {
        let cursor = Cursor {
            count: 10,
            made: Millis(5),
            total: 99,
            stretch: 1,
            mark: Mark::of_id("0198c0de-7a11-7abc-8def-0123456789ab".parse().unwrap()),
        };
        let text = cursor.encode();
        let asked = |count: Option<u64>, at: i64| {
            let query = Query { count, ..Query::default() };
            Cursor::decode(Some(&text), &query, Millis(at)).map_err(|error| error.scim_type())
        };
        assert_eq!(asked(None, 6), Ok(cursor.clone()));
        assert_eq!(asked(Some(10), 6), Ok(cursor.clone()));
        assert_eq!(asked(Some(11), 6), Err(Some("invalidCount")));
        assert_eq!(asked(Some(MAX_PAGE + 1), 6), Err(Some("invalidCount")));
        assert_eq!(asked(None, 6 + TIMEOUT * 1000), Err(Some("expiredCursor")));
        for bad in [None, Some(b"{}".as_slice()), Some(b"")] {
            let error = Cursor::decode(bad, &Query::default(), Millis(6)).unwrap_err();
            assert_eq!((error.status(), error.scim_type()), (400, Some("invalidCursor")));
        }
    }
}
