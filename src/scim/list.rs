//! The question of a list: query parameters in any case, or a SearchRequest (RFC 7644 §3.4.2, §3.4.3), and the answer.
//! Counts are never trusted: they are clamped, whatever their size.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::Error;
use super::json::short;
use super::message;
use super::schema::Shape;

/// Resources on a page when nothing is asked.
pub const PAGE: u64 = 100;
/// Resources on a page at most, whatever is asked.
pub const MAX_PAGE: u64 = 250;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub filter: Option<String>,
    /// Pages have an order of their own; it is read only to refuse what may not be asked about.
    pub sort_by: Option<String>,
    /// From 1.
    pub start_index: u64,
    pub count: u64,
    pub attributes: Vec<String>,
    pub excluded: Vec<String>,
}

impl Default for Query {
    fn default() -> Self {
        Query { filter: None, sort_by: None, start_index: 1, count: PAGE, attributes: Vec::new(), excluded: Vec::new() }
    }
}

impl Query {
    /// From decoded query parameters. The same parameter twice is refused: two readers would disagree about it.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Query, Error> {
        let mut query = Query::default();
        let mut seen = BTreeSet::new();
        for (name, value) in pairs {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "filter" if !value.trim().is_empty() => query.filter = Some(value.to_owned()),
                "sortby" => query.sort_by = Some(value.trim().to_owned()),
                "startindex" => query.start_index = whole(&name, value)?.max(1),
                "count" => query.count = whole(&name, value)?.min(MAX_PAGE),
                "attributes" => query.attributes = names(value),
                "excludedattributes" => query.excluded = names(value),
                _ => continue,
            }
            if !seen.insert(name) {
                return Err(Error::InvalidValue("a query parameter stands twice".to_owned()));
            }
        }
        query.check()
    }

    pub fn from_search(body: &Map<String, Value>) -> Result<Query, Error> {
        let mut query = Query::default();
        for (name, value) in body {
            match (name.to_ascii_lowercase().as_str(), value) {
                (_, Value::Null) => {}
                ("filter", Value::String(text)) if !text.trim().is_empty() => query.filter = Some(text.clone()),
                ("sortby", Value::String(text)) => query.sort_by = Some(text.trim().to_owned()),
                ("startindex", Value::Number(number)) => query.start_index = whole(name, &number.to_string())?.max(1),
                ("count", Value::Number(number)) => query.count = whole(name, &number.to_string())?.min(MAX_PAGE),
                ("attributes", value) => query.attributes = list(name, value)?,
                ("excludedattributes", value) => query.excluded = list(name, value)?,
                ("startindex" | "count", _) => {
                    return Err(Error::InvalidValue(format!("`{name}` expects a whole number")));
                }
                _ => {}
            }
        }
        query.check()
    }

    /// The order of a secret tells of it (RFC 7644 §7.5.2). Any other order is ignored.
    pub fn sortable(&self, shape: &Shape) -> Result<(), Error> {
        match self.sort_by.as_deref().and_then(|name| shape.attribute(name)) {
            Some(place) if place.secret() => Err(Error::Sensitive(format!("`{}` cannot be sorted by", place.shown()))),
            _ => Ok(()),
        }
    }

    fn check(self) -> Result<Query, Error> {
        if self.attributes.is_empty() || self.excluded.is_empty() {
            return Ok(self);
        }
        Err(Error::InvalidValue("attributes and excludedAttributes exclude each other".to_owned()))
    }
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

/// A ListResponse of resources that are text already.
pub fn response(total: u64, start_index: u64, resources: &[String]) -> String {
    let size: usize = resources.iter().map(|resource| resource.len() + 1).sum();
    let mut text = String::with_capacity(size + 200);
    text.push_str(&format!(
        r#"{{"schemas":["{}"],"totalResults":{total},"startIndex":{start_index},"itemsPerPage":{},"Resources":["#,
        message::LIST,
        resources.len()
    ));
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
            assert_eq!(Query::from_pairs([("COUNT", text)]).unwrap().count, count, "{text}");
        }
        assert_eq!(Query::from_pairs([("startindex", "0")]).unwrap().start_index, 1);
        assert_eq!(Query::from_pairs([("startIndex", "-5"), ("", ""), ("x", "y")]).unwrap().start_index, 1);
        for bad in ["", "x", "1.5", "0x10"] {
            assert!(Query::from_pairs([("count", bad)]).is_err(), "{bad}");
        }
        assert!(Query::from_pairs([("count", "1"), ("Count", "2")]).is_err());
        assert!(Query::from_pairs([("attributes", "a"), ("excludedAttributes", "b")]).is_err());
    }

    #[test]
    fn nobody_sorts_by_a_secret() {
        let all = super::super::registry::Registries::embedded().unwrap();
        let shape = all.of_realm(None).at("Users").unwrap();
        let asked = |name: &str| Query::from_pairs([("sortBy", name)]).unwrap().sortable(shape);
        assert_eq!(asked("PassWord").unwrap_err().scim_type(), Some("sensitive"));
        assert_eq!(asked("userName"), Ok(()));
        assert_eq!(asked("nonsense"), Ok(()));
        let body = json!({"sortBy": "password"});
        assert!(Query::from_search(body.as_object().unwrap()).unwrap().sortable(shape).is_err());
    }

    #[test]
    fn a_search_request_asks_the_same() {
        let body = json!({"schemas": [message::SEARCH], "attributes": ["a", "b"], "filter": "x", "startIndex": 3, "count": 500});
        let from_body = Query::from_search(body.as_object().unwrap()).unwrap();
        let from_pairs =
            Query::from_pairs([("attributes", "a, b"), ("filter", "x"), ("startIndex", "3"), ("count", "500")])
                .unwrap();
        assert_eq!(from_body, from_pairs);
        assert!(Query::from_search(json!({"count": "many"}).as_object().unwrap()).is_err());
    }

    #[test]
    fn an_empty_page_has_its_empty_list() {
        let text = response(7, 1, &[]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["Resources"], json!([]));
        assert_eq!((&value["totalResults"], &value["itemsPerPage"]), (&json!(7), &json!(0)));
    }
}
