//! The question of a list: query parameters in any case, or a SearchRequest (RFC 7644 §3.4.2, §3.4.3), and the answer,
//! paged by index or by cursor (RFC 9865). Counts are never trusted: they are clamped, whatever their size.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::Error;
use super::json::short;
use super::message;
use super::sort::{self, Asked};

/// Resources on a page when nothing is asked.
pub const PAGE: u64 = 100;
/// Resources on a page at most, whatever is asked.
pub const MAX_PAGE: u64 = 250;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub filter: Option<String>,
    pub sort: Option<Asked>,
    /// From 1; 0 stands for it where nothing is asked (`start_index`).
    pub index: u64,
    /// As it was asked; `size` is what is given.
    pub count: Option<u64>,
    /// `None`: pages by index. Empty: the first page by cursor.
    pub cursor: Option<String>,
    pub attributes: Vec<String>,
    pub excluded: Vec<String>,
}

impl Query {
    /// From decoded query parameters. The same parameter twice is refused: two readers would disagree about it.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Query, Error> {
        let mut query = Query::default();
        let mut order = (None, None);
        let mut seen = BTreeSet::new();
        for (name, value) in pairs {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "filter" if !value.trim().is_empty() => query.filter = Some(value.to_owned()),
                "sortby" => order.0 = Some(value),
                "sortorder" => order.1 = Some(value),
                "startindex" => query.index = whole(&name, value)?.max(1),
                "count" => query.count = Some(whole(&name, value)?),
                "cursor" => query.cursor = Some(value.trim().to_owned()),
                "attributes" => query.attributes = names(value),
                "excludedattributes" => query.excluded = names(value),
                _ => continue,
            }
            if !seen.insert(name) {
                return Err(Error::InvalidValue("a query parameter stands twice".to_owned()));
            }
        }
        query.sort = asked(order)?;
        query.check()
    }

    pub fn from_search(body: &Map<String, Value>) -> Result<Query, Error> {
        let mut query = Query::default();
        let mut order = (None, None);
        for (name, value) in body {
            match (name.to_ascii_lowercase().as_str(), value) {
                (_, Value::Null) => {}
                ("filter", Value::String(text)) if !text.trim().is_empty() => query.filter = Some(text.clone()),
                ("sortby", Value::String(text)) => order.0 = Some(text.as_str()),
                ("sortorder", Value::String(text)) => order.1 = Some(text.as_str()),
                ("startindex", Value::Number(number)) => query.index = whole(name, &number.to_string())?.max(1),
                ("count", Value::Number(number)) => query.count = Some(whole(name, &number.to_string())?),
                ("cursor", Value::String(text)) => query.cursor = Some(text.trim().to_owned()),
                ("attributes", value) => query.attributes = list(name, value)?,
                ("excludedattributes", value) => query.excluded = list(name, value)?,
                ("startindex" | "count", _) => {
                    return Err(Error::InvalidValue(format!("`{name}` expects a whole number")));
                }
                ("filter" | "sortby" | "sortorder" | "cursor", value) if !value.is_string() => {
                    return Err(Error::InvalidValue(format!("`{name}` expects a text")));
                }
                _ => {}
            }
        }
        query.sort = asked(order)?;
        query.check()
    }

    pub const fn start_index(&self) -> u64 {
        if self.index == 0 { 1 } else { self.index }
    }

    /// Resources on a page.
    pub fn size(&self) -> u64 {
        self.count.unwrap_or(PAGE).min(MAX_PAGE)
    }

    fn check(self) -> Result<Query, Error> {
        if !self.attributes.is_empty() && !self.excluded.is_empty() {
            return Err(Error::InvalidValue("attributes and excludedAttributes exclude each other".to_owned()));
        }
        if self.cursor.is_some() && self.index > 1 {
            return Err(Error::InvalidValue("cursor and startIndex exclude each other".to_owned()));
        }
        Ok(self)
    }
}

/// `sortOrder` alone asks for nothing; that it makes no sense is still said.
fn asked((by, order): (Option<&str>, Option<&str>)) -> Result<Option<Asked>, Error> {
    let descending = order.filter(|order| !order.trim().is_empty()).map(sort::is_descending).transpose()?;
    let by = by.map(str::trim).filter(|by| !by.is_empty());
    Ok(by.map(|by| Asked { by: by.to_owned(), descending: descending.unwrap_or_default() }))
}

/// Negative counts as 0, too large as the largest.
fn whole(name: &str, text: &str) -> Result<u64, Error> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::InvalidValue(format!("`{name}` expects a whole number; found `{}`", short(text))));
    }
    Ok(if text.starts_with('-') { 0 } else { digits.parse().unwrap_or(u64::MAX).min(i64::MAX as u64) })
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn list(name: &str, value: &Value) -> Result<Vec<String>, Error> {
    let wrong = || Error::InvalidValue(format!("`{name}` expects a list of names"));
    match value {
        Value::String(text) => Ok(names(text)),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// Which page it is.
#[derive(Debug, Clone, Copy)]
pub enum Paging<'a> {
    /// Begins at this index.
    Index(u64),
    /// The cursor of the next page, unless this is the last.
    Cursor(Option<&'a str>),
}

/// A ListResponse of resources that are text already.
pub fn response(total: u64, paging: Paging<'_>, resources: &[String]) -> String {
    let size: usize = resources.iter().map(|resource| resource.len() + 1).sum();
    let mut text = String::with_capacity(size + 400);
    text.push_str(&format!(
        r#"{{"schemas":["{}"],"totalResults":{total},"itemsPerPage":{}"#,
        message::LIST,
        resources.len()
    ));
    match paging {
        Paging::Index(start) => text.push_str(&format!(r#","startIndex":{start}"#)),
        // Of URL-safe characters only.
        Paging::Cursor(Some(next)) => text.push_str(&format!(r#","nextCursor":"{next}""#)),
        Paging::Cursor(None) => {}
    }
    text.push_str(r#","Resources":["#);
    for (at, resource) in resources.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(resource);
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s33_counts_are_clamped_and_nonsense_is_refused() {
        for (text, count) in
            [("0", 0), ("-1", 0), ("9223372036854775808", MAX_PAGE), ("7", 7), ("99999999999999999999999", MAX_PAGE)]
        {
            assert_eq!(Query::from_pairs([("COUNT", text)]).unwrap().size(), count, "{text}");
        }
        assert_eq!(Query::default().size(), PAGE);
        assert_eq!(Query::from_pairs([("startindex", "0")]).unwrap().start_index(), 1);
        assert_eq!(Query::from_pairs([("startIndex", "-5"), ("", ""), ("x", "y")]).unwrap().start_index(), 1);
        for bad in ["", "x", "1.5", "0x10"] {
            assert!(Query::from_pairs([("count", bad)]).is_err(), "{bad}");
        }
        for bad in [
            [("count", "1"), ("Count", "2")],
            [("attributes", "a"), ("excludedAttributes", "b")],
            [("cursor", ""), ("startIndex", "2")],
            [("sortBy", "userName"), ("sortOrder", "up")],
        ] {
            assert!(Query::from_pairs(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_search_request_asks_the_same() {
        let body = json!({
            "schemas": [message::SEARCH], "attributes": ["a", "b"], "filter": "x", "startIndex": 3, "count": 500,
            "sortBy": "userName", "sortOrder": "Descending",
        });
        let from_body = Query::from_search(body.as_object().unwrap()).unwrap();
        let from_pairs = Query::from_pairs([
            ("attributes", "a, b"),
            ("filter", "x"),
            ("startIndex", "3"),
            ("count", "500"),
            ("sortBy", "userName"),
            ("sortOrder", "descending"),
        ])
        .unwrap();
        assert_eq!(from_body, from_pairs);
        assert_eq!(from_pairs.sort, Some(Asked { by: "userName".to_owned(), descending: true }));
        for bad in [json!({"count": "many"}), json!({"sortBy": 5}), json!({"filter": ["x"]}), json!({"cursor": 1})] {
            assert!(Query::from_search(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_page_has_its_empty_list() {
        let value = |paging| serde_json::from_str::<Value>(&response(7, paging, &[])).unwrap();
        let page = value(Paging::Index(1));
        assert_eq!(page["Resources"], json!([]));
        assert_eq!((&page["totalResults"], &page["itemsPerPage"]), (&json!(7), &json!(0)));
        assert_eq!(value(Paging::Cursor(Some("abc")))["nextCursor"], "abc");
        let last = value(Paging::Cursor(None));
        assert!(last.get("nextCursor").is_none() && last.get("startIndex").is_none());
    }
}
