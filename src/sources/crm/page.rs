//! Turning pages: what the templates of the next request may name, and whether there is one. Pure. A server that turns
//! the same page for ever is noticed by `scan`, which counts what is new.

use reqwest::header::{HeaderMap, LINK};
use serde_json::{Value, json};
use url::Url;

use super::path;
use super::request::Context;
use crate::config::connector::Paging;

/// Where we are.
#[derive(Debug, Clone, Default)]
pub struct Place {
    page: u64,
    offset: u64,
    after: String,
    last: String,
    /// The server's own address of the next page.
    pub next: Option<Url>,
}

/// What a page was like.
pub struct Turned<'a> {
    pub url: &'a Url,
    pub headers: &'a HeaderMap,
    pub body: &'a Value,
    pub records: u64,
    /// The key of the last record.
    pub last: Option<&'a str>,
    pub total: Option<u64>,
    /// The connector's `end` said yes.
    pub ended: bool,
}

impl Place {
    pub fn first(paging: &Paging) -> Place {
        let page = if let Paging::Number { first, .. } = paging { *first } else { 0 };
        Place { page, ..Place::default() }
    }

    pub fn describe(&self, paging: &Paging, context: &mut Context) {
        context.insert("page".to_owned(), json!(self.page));
        context.insert("offset".to_owned(), json!(self.offset));
        context.insert("size".to_owned(), json!(paging.size()));
        context.insert("after".to_owned(), json!(self.after));
        context.insert("last".to_owned(), json!(self.last));
    }

    /// Moves on; `false` = that was the last page. An address that cannot be read is an error, never the end.
    pub fn turn(&mut self, paging: &Paging, page: &Turned<'_>) -> Result<bool, String> {
        self.offset += page.records;
        match paging {
            Paging::None => Ok(false),
            Paging::Number { first, size } => {
                self.page += 1;
                let reached = (self.page - first) * size;
                Ok(page.records > 0 && page.total.is_none_or(|total| reached < total))
            }
            Paging::Offset { .. } => Ok(page.records > 0 && page.total.is_none_or(|total| self.offset < total)),
            Paging::Keyset { .. } => {
                if page.records == 0 {
                    return Ok(false);
                }
                self.last = page.last.ok_or("the last record of the page has no key to go on from")?.to_owned();
                Ok(true)
            }
            Paging::Cursor { path, .. } => {
                let after = if page.ended { None } else { path::text(page.body, path) };
                match after {
                    Some(after) if after == self.after => Err("the same page follows itself".to_owned()),
                    Some(after) => {
                        self.after = after;
                        Ok(true)
                    }
                    None => Ok(false),
                }
            }
            Paging::Next { path, .. } => self.go(page, if page.ended { None } else { path::text(page.body, path) }),
            Paging::Link { .. } => self.go(page, next_link(page.headers)),
        }
    }

    fn go(&mut self, page: &Turned<'_>, next: Option<String>) -> Result<bool, String> {
        let Some(next) = next else { return Ok(false) };
        let url = page.url.join(&next).map_err(|error| format!("the address of the next page: {error}"))?;
        if url == *page.url {
            return Err("the same page follows itself".to_owned());
        }
        self.next = Some(url);
        Ok(true)
    }
}

/// RFC 8288: the target of `rel=next`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(links).find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        let next = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
            let mut words = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && words.any(|word| word.eq_ignore_ascii_case("next"))
        });
        next.then(|| target.trim().to_owned())
    })
}

/// The parts after each `<`; an address itself holds none.
fn links(value: &str) -> impl Iterator<Item = &str> {
    value.split('<').skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(paging: &Paging, place: &mut Place, body: Value, records: u64, total: Option<u64>) -> Result<bool, String> {
        let url = "https://crm.example/api/contacts?x=1".parse().unwrap();
        let headers = HeaderMap::new();
        let page = Turned { url: &url, headers: &headers, body: &body, records, last: Some("k9"), total, ended: false };
        place.turn(paging, &page)
    }

    #[test]
    fn a4_numbers_and_offsets_end_with_the_total_or_an_empty_page() {
        for (first, paging) in [
            (1, Paging::Number { first: 1, size: 100 }),
            (0, Paging::Number { first: 0, size: 100 }),
            (0, Paging::Offset { size: 100 }),
        ] {
            let mut place = Place::first(&paging);
            assert_eq!(place.page, first);
            assert_eq!(turn(&paging, &mut place, json!({}), 100, Some(150)), Ok(true));
            assert_eq!(turn(&paging, &mut place, json!({}), 50, Some(150)), Ok(false));
            let mut place = Place::first(&paging);
            assert_eq!(turn(&paging, &mut place, json!({}), 7, None), Ok(true), "a short page may not be the last");
            assert_eq!(turn(&paging, &mut place, json!({}), 0, None), Ok(false));
        }
    }

    #[test]
    fn a4_cursors_and_links_end_when_there_is_none_and_never_stand_still() {
        let paging = Paging::Cursor { path: "paging.next.after".to_owned(), size: 100, end: None };
        let mut place = Place::first(&paging);
        let body = json!({"paging": {"next": {"after": 5}}});
        assert_eq!(turn(&paging, &mut place, body.clone(), 1, None), Ok(true));
        assert_eq!(place.after, "5");
        assert!(turn(&paging, &mut place, body, 1, None).is_err());
        assert_eq!(turn(&paging, &mut place, json!({}), 1, None), Ok(false));

        let paging = Paging::Next { path: "next".to_owned(), size: 100, end: None };
        let mut place = Place::first(&paging);
        assert_eq!(turn(&paging, &mut place, json!({"next": "?page=2"}), 1, None), Ok(true));
        assert_eq!(place.next.as_ref().map(Url::as_str), Some("https://crm.example/api/contacts?page=2"));
        assert!(turn(&paging, &mut place, json!({"next": "?x=1"}), 1, None).is_err());
        assert!(turn(&paging, &mut place, json!({"next": "https://"}), 1, None).is_err());
        assert_eq!(turn(&paging, &mut place, json!({"next": null}), 1, None), Ok(false));
    }

    #[test]
    fn a4_the_link_header_is_read() {
        let mut headers = HeaderMap::new();
        let value = "<https://a.example/?page=1,2>; rel=\"prev\", <https://a.example/?page=3>; rel=\"last next\"";
        headers.insert(LINK, value.parse().unwrap());
        assert_eq!(next_link(&headers).as_deref(), Some("https://a.example/?page=3"));
        assert_eq!(next_link(&HeaderMap::new()), None);
    }

    #[test]
    fn a4_keysets_go_on_from_the_last_key_until_nothing_comes() {
        let paging = Paging::Keyset { size: 2 };
        let mut place = Place::first(&paging);
        assert_eq!(turn(&paging, &mut place, json!({}), 1, None), Ok(true));
        assert_eq!(place.last, "k9");
        assert_eq!(turn(&paging, &mut place, json!({}), 0, None), Ok(false));
    }
}
