//! Attributes of the operator's schemas whose values are kept unique (RFC 7643 section 7, `uniqueness`), and the values
//! that a document claims. Among the things of one kind and realm; who is gone claims nothing. Start with `claims`.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::document::Document;
use super::fold;
use super::kind::Kind;
use super::time::Millis;

/// An attribute, or a part of a complex one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unique {
    pub kind: Kind,
    /// With its URN: what the caller is told, and what stands in the table of indexed values.
    pub name: String,
    /// Where it stands in a document.
    pub path: Vec<String>,
    pub case_exact: bool,
    /// Its texts are instants: two spellings of one are one value.
    pub instants: bool,
}

impl Unique {
    /// How a text stands in the index.
    pub fn key(&self, text: &str) -> Option<String> {
        let instant = Millis::parse(text).filter(|_| self.instants).map(|at| at.0.to_string());
        short(instant.unwrap_or_else(|| if self.case_exact { text.trim().to_owned() } else { fold::key(text) }))
    }
}

/// One value of one attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub name: String,
    pub value: String,
}

/// Longer values stand in the index by their digest.
const LONGEST: usize = 200;

/// Sorted, no duplicates. An element that holds one value twice has it once.
pub fn claims(uniques: &[Unique], kind: Kind, doc: &Document) -> Vec<Claim> {
    let mut found = Vec::new();
    for unique in uniques.iter().filter(|unique| unique.kind == kind) {
        let mut values = Vec::new();
        if let Some((first, rest)) = unique.path.split_first()
            && let Some(value) = doc.get(first)
        {
            leaves(value, rest, &mut values);
        }
        let claim = |value| Claim { name: unique.name.clone(), value };
        let key = |value: &Value| match value {
            Value::String(text) => unique.key(text),
            Value::Number(number) => short(number_key(number)),
            _ => None,
        };
        found.extend(values.into_iter().filter_map(key).map(claim));
    }
    found.sort();
    found.dedup();
    found
}

fn leaves<'d>(value: &'d Value, path: &[String], found: &mut Vec<&'d Value>) {
    match (value, path.split_first()) {
        (Value::Array(all), _) => all.iter().for_each(|one| leaves(one, path, found)),
        (Value::Object(map), Some((first, rest))) => {
            if let Some(value) = map.get(first) {
                leaves(value, rest, found);
            }
        }
        (_, None) => found.push(value),
        (_, Some(_)) => {}
    }
}

/// `2` and `2.0` are one value.
fn number_key(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => format!("{:.0}", float + 0.0),
        _ => number.to_string(),
    }
}

fn short(key: String) -> Option<String> {
    match key.len() {
        0 => None,
        1..=LONGEST => Some(key),
        _ => Some(format!("{:x?}", Sha256::digest(key).as_slice())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_claims_each_value_once_by_the_case_of_its_attribute() {
        let unique = |path: &[&str], case_exact| Unique {
            kind: Kind::User,
            name: path.join("/"),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            case_exact,
            instants: path == ["since"],
        };
        let all = [unique(&["urn:x", "badge"], true), unique(&["tags"], false), unique(&["phones", "value"], false)];
        let long = "x".repeat(LONGEST + 1);
        let doc: Document = serde_json::from_value(json!({
            "urn:x": {"badge": " B1 ", "other": "O"}, "tags": ["Ž", "ž", "", 7, true, null, long],
            "phones": [{"value": "1"}, {"type": "desk"}, "2"]}))
        .unwrap();
        let found = claims(&all, Kind::User, &doc);
        let shown: Vec<_> = found.iter().map(|claim| (claim.name.as_str(), claim.value.as_str())).collect();
        let digest = shown.iter().find(|(_, value)| value.len() > 64).unwrap().1;
        assert_eq!(
            shown,
            [("phones/value", "1"), ("tags", "7"), ("tags", digest), ("tags", "ž"), ("urn:x/badge", "B1")]
        );
        assert_eq!(claims(&all, Kind::Group, &doc), []);

        let all = [unique(&["n"], false), unique(&["since"], false)];
        for (one, other) in [
            (json!({"n": 2}), json!({"n": 2.0})),
            (json!({"n": -0.0}), json!({"n": 0})),
            (json!({"since": "2026-01-01T00:00:00Z"}), json!({"since": "2026-01-01T01:00:00.000+01:00"})),
            (json!({"since": "9999-12-31T23:59:59Z"}), json!({"since": "9999-12-31T23:59:59.000Z"})),
        ] {
            let of = |doc| claims(&all, Kind::User, &serde_json::from_value(doc).unwrap());
            assert_eq!(of(one), of(other));
        }
    }
}
