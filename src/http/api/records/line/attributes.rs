//! The `attributes` of a pushed line: names that must not come, names that no schema knows, and values of the wrong type,
//! each with its place. `null` is asserted as empty and fits everything. What a CRM calls its own things is its own: only
//! kinds with a schema (users, groups) refuse unknown names. Start at `check`.

use serde_json::{Map, Value};

use super::{Fault, fault};
use crate::model::kind::Kind;
use crate::model::time::Millis;
use crate::model::vocabulary::{Known, Sort, Vocabulary, long};
use crate::scim::resource::text_fault;

/// musterd's own, or secrets: never from a record, whatever its kind.
const REFUSED: [&str; 8] = ["id", "meta", "groups", "members", "password", "schemas", "version", "realm"];

pub(super) fn check(words: &Vocabulary, kind: Kind, attributes: &Map<String, Value>, faults: &mut Vec<Fault>) {
    let mut look = Look { words, kind, faults };
    for (name, value) in attributes {
        let at = format!("attributes.{name}");
        match value {
            _ if REFUSED.contains(&name.as_str()) => look.fault(&at, "nothing: it is not a source's to say"),
            Value::Object(inner) if name.starts_with("urn:") => {
                for (part, value) in inner {
                    look.word(&format!("{name}:{part}"), value);
                }
            }
            _ if look.is_flat(name) => look.fault(&at, format!("nested: {}", nested(&long(name)))),
            value => look.word(name, value),
        }
    }
}

struct Look<'a> {
    words: &'a Vocabulary,
    kind: Kind,
    faults: &'a mut Vec<Fault>,
}

impl Look<'_> {
    /// Twice the same, in two elements of a list, is told once.
    fn fault(&mut self, at: &str, allowed: impl ToString) {
        let fault = fault(at, allowed);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The path of something known, written as one name: nobody would find it there.
    fn is_flat(&self, name: &str) -> bool {
        (name.contains('.') || name.starts_with("urn:"))
            && matches!(self.words.look_up(self.kind, name), Known::Word(_))
    }

    /// `name`: as `model::document::shown` writes the path.
    fn word(&mut self, name: &str, value: &Value) {
        match self.words.look_up(self.kind, name) {
            Known::Word(Sort::ReadOnly | Sort::Privileged) => {
                self.fault(&format!("attributes.{name}"), "nothing: it is not a source's to say");
            }
            Known::Word(sort) => self.value(name, sort, value),
            Known::Own(sort) => sort.into_iter().for_each(|sort| self.value(name, sort, value)),
            Known::Unknown => {
                let shown = |near: String| {
                    let inside = near.starts_with("urn:") && !name.starts_with("urn:");
                    format!(" (did you mean {}?)", if inside { nested(&near) } else { near })
                };
                let near = self.words.near(self.kind, name).map(long).map(shown);
                let kind = self.kind;
                let allowed = format!("nothing: a {kind} has no such attribute{}", near.unwrap_or_default());
                self.fault(&format!("attributes.{name}"), allowed);
            }
        }
    }

    fn value(&mut self, name: &str, sort: Sort, value: &Value) {
        let at = format!("attributes.{name}");
        if value.is_null() {
            return;
        }
        let instant = |value: &Value| value.as_str().is_some_and(|text| Millis::parse(text).is_some());
        let texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        // A known word stands in lines of mails and lists. What a CRM calls its own is shown as it is.
        if let (Known::Word(_), Value::String(text)) = (self.words.look_up(self.kind, name), value)
            && let Some(why) = text_fault(name, text)
        {
            return self.fault(&at, format!("a text that is kept as it is: this one {why}"));
        }
        let (right, allowed) = match sort {
            Sort::Text | Sort::ReadOnly => (value.is_string(), "a text"),
            Sort::Flag | Sort::Privileged => (value.is_boolean(), "true or false"),
            Sort::Number => (value.is_number(), "a number"),
            Sort::Instant => (instant(value), "an instant like 2026-11-21T20:05:15Z"),
            Sort::Texts => (texts(value), "a list of texts"),
            Sort::Elements => return self.elements(name, &at, value),
            Sort::Parts => match value {
                Value::Object(parts) => return self.parts(name, parts),
                _ => (false, "an object with parts, like {\"givenName\": \"…\"} for `name`"),
            },
        };
        if !right {
            self.fault(&at, allowed);
        }
    }

    fn parts(&mut self, name: &str, parts: &Map<String, Value>) {
        for (part, value) in parts {
            self.word(&format!("{name}.{part}"), value);
        }
    }

    /// Every element has a `value`; addresses are made of parts.
    fn elements(&mut self, name: &str, at: &str, value: &Value) {
        let leaf = name.rsplit(['.', ':']).next().unwrap_or(name);
        let whole = |element: &Value| {
            element.is_object() && (leaf == "addresses" || element.get("value").is_some_and(Value::is_string))
        };
        match value.as_array() {
            Some(all) if all.iter().all(whole) => {
                all.iter().filter_map(Value::as_object).for_each(|parts| self.parts(name, parts));
            }
            _ => self.fault(at, "a list of objects: [{\"value\": \"…\", \"type\": \"work\"}]"),
        }
    }
}

/// A path as JSON: `name.givenName` is `{"name": {"givenName": …}}`.
fn nested(path: &str) -> String {
    let (urn, rest) = match path.rsplit_once(':') {
        Some((urn, rest)) if path.starts_with("urn:") => (Some(urn), rest),
        _ => (None, path),
    };
    let parts: Vec<&str> = urn.into_iter().chain(rest.split('.')).collect();
    if parts.len() == 1 {
        return path.to_owned();
    }
    format!("{{\"{}\": …{}", parts.join("\": {\""), "}".repeat(parts.len()))
}
