//! Where a mapped value goes in the SCIM-shaped document, and in which form: `name.givenName`, `emails` (one element per
//! value), `emails.work`, `phoneNumbers.mobile`, `addresses.work.locality`, `agent.note`, or `urn:…:attr` in full.
//! Text is text even when the source sends a number; `active` and the flags are yes or no. It must never let a source
//! write what is not its to write (`id`, `meta`, `groups`, `password`). Start at `Target::parse`.

use serde_json::{Map, Value, json};

use super::filters::clipped;
use super::rule::{Failure, Rule, shown};
use super::text;
use crate::model::document::Document;
use crate::model::fold;
use crate::model::kind::Kind;
use crate::model::vocabulary::EXTENSIONS;

/// Attributes whose elements are objects with a `value`.
const PLURAL: [&str; 7] = ["emails", "phoneNumbers", "ims", "photos", "entitlements", "roles", "x509Certificates"];
const YES_OR_NO: [&str; 9] = [
    "active",
    "companyContacts",
    "companyTickets",
    "externalComments",
    "doNotInvoice",
    "twoFactor",
    "statutory",
    "apiCommunicator",
    "independent",
];
/// musterd's own, or secrets: never from a record.
const REFUSED: [&str; 6] = ["id", "meta", "groups", "password", "schemas", "version"];

/// Targets that are no attributes.
pub(super) const SPECIAL: [&str; 5] = ["key", "alias", "realm", "when", "gone"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Boolean,
    Integer,
    /// All values as a list of texts.
    List,
    /// As the source has it.
    Any,
}

#[derive(Debug)]
pub(super) enum Target {
    /// Object by object to the leaf.
    Leaf { path: Vec<String>, shape: Shape },
    /// One element per value, or one part of the elements of one type.
    Elements { attribute: String, kind: Option<String>, part: String },
}

impl Target {
    pub(super) fn parse(kind: Kind, name: &str, options: &Map<String, Value>) -> Result<Target, String> {
        let path = segments(kind, name)?;
        let head = path.first().map(String::as_str).unwrap_or_default();
        if path.iter().any(|segment| segment.is_empty()) {
            return Err("a target looks like `name.givenName`".to_owned());
        }
        if REFUSED.contains(&head) {
            return Err(format!("`{head}` is not a source's to say"));
        }
        if PLURAL.contains(&head) || head == "addresses" {
            let [attribute, kind, part] = [path.first(), path.get(1), path.get(2)].map(Option::<&String>::cloned);
            let part = match (part, head) {
                (Some(part), _) => part,
                (None, "addresses") => "formatted".to_owned(),
                (None, _) => "value".to_owned(),
            };
            if path.len() > 3 {
                return Err(format!("at most `{head}.<type>.<part>`"));
            }
            return Ok(Target::Elements { attribute: attribute.unwrap_or_default(), kind, part });
        }
        let shape = match options.get("type") {
            None => usual(&path),
            Some(word) => match word.as_str() {
                Some("text") => Shape::Text,
                Some("boolean") => Shape::Boolean,
                Some("integer") => Shape::Integer,
                Some("list") => Shape::List,
                Some("any") => Shape::Any,
                _ => return Err("`type` is one of text, boolean, integer, list, any".to_owned()),
            },
        };
        Ok(Target::Leaf { path, shape })
    }

    /// What of a schema is written: a path in the document, or an attribute and the part of its elements.
    pub(super) fn word(&self) -> Vec<String> {
        match self {
            Target::Leaf { path, .. } => path.clone(),
            Target::Elements { attribute, part, .. } => vec![attribute.clone(), part.clone()],
        }
    }

    pub(super) fn path(&self) -> Vec<String> {
        match self {
            Target::Leaf { path, .. } => path.clone(),
            Target::Elements { attribute, .. } => vec![attribute.clone()],
        }
    }

    /// Lays what was found into the document.
    pub(super) fn put(&self, document: &mut Document, rule: &Rule, found: Vec<Value>) -> Result<(), Failure> {
        match self {
            Target::Leaf { path, shape } => {
                if let Some(value) = shape.of(&found).map_err(|reason| rule.failure(reason))? {
                    set(document, path, value);
                } else if rule.clear {
                    set(document, path, Value::Null);
                }
            }
            Target::Elements { attribute, .. } if found.is_empty() => {
                if rule.clear && !document.contains_key(attribute) {
                    document.insert(attribute.clone(), Value::Null);
                }
            }
            Target::Elements { attribute, kind, part } => {
                let slot = document.entry(attribute.clone()).or_insert_with(|| json!([]));
                if slot.is_null() {
                    *slot = json!([]);
                }
                if let Some(elements) = slot.as_array_mut() {
                    add(elements, attribute, kind.as_deref(), part, found);
                }
            }
        }
        Ok(())
    }
}

/// Exactly one element is the primary one: the first of type `work`, else the first.
pub(super) fn mark_primary(document: &mut Document) {
    for attribute in ["emails", "phoneNumbers", "addresses"] {
        let Some(Value::Array(elements)) = document.get_mut(attribute) else { continue };
        if elements.iter().any(|element| element.get("primary") == Some(&Value::Bool(true))) {
            continue;
        }
        let work = elements.iter().position(|element| element.get("type").and_then(Value::as_str) == Some("work"));
        if let Some(Value::Object(first)) = elements.get_mut(work.unwrap_or(0)) {
            first.insert("primary".to_owned(), Value::Bool(true));
        }
    }
}

fn segments(kind: Kind, name: &str) -> Result<Vec<String>, String> {
    let dotted = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    if name.starts_with("urn:") {
        // The version in a URN holds a dot, so the attribute begins after the last colon.
        let (schema, attribute) = name.rsplit_once(':').ok_or("after a URN stands `:attribute`")?;
        let mut path = vec![schema.to_owned()];
        path.extend(dotted(attribute));
        return Ok(path);
    }
    let mut path = dotted(name);
    if kind == Kind::User
        && path.len() > 1
        && let Some((_, extension)) = EXTENSIONS.iter().find(|(short, _)| *short == path[0])
    {
        path[0] = (*extension).to_owned();
    }
    Ok(path)
}

fn usual(path: &[String]) -> Shape {
    match path.last().map(String::as_str) {
        Some(leaf) if YES_OR_NO.contains(&leaf) => Shape::Boolean,
        Some("services") => Shape::List,
        _ => Shape::Text,
    }
}

impl Shape {
    /// `Ok(None)`: nothing was found.
    fn of(self, found: &[Value]) -> Result<Option<Value>, String> {
        let Some(first) = found.first() else { return Ok(None) };
        let wrong = |wanted: &str| format!("`{}` is no {wanted}", clipped(&shown(first)));
        Ok(Some(match self {
            Shape::Text => Value::String(scalar(first).ok_or_else(|| wrong("text"))?),
            Shape::Boolean => Value::Bool(text::boolean(&shown(first)).ok_or_else(|| wrong("yes or no"))?),
            Shape::Integer => Value::from(shown(first).trim().parse::<i64>().map_err(|_| wrong("whole number"))?),
            Shape::List => found
                .iter()
                .map(|value| scalar(value).map(Value::String))
                .collect::<Option<Value>>()
                .ok_or_else(|| wrong("text"))?,
            Shape::Any if found.len() == 1 => first.clone(),
            Shape::Any => Value::Array(found.to_vec()),
        }))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn set(document: &mut Document, path: &[String], value: Value) {
    let [head, rest @ ..] = path else { return };
    if rest.is_empty() {
        document.insert(head.clone(), value);
        return;
    }
    let inner = document.entry(head.clone()).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Some(inner) = inner.as_object_mut() {
        set(inner, rest, value);
    }
}

fn add(elements: &mut Vec<Value>, attribute: &str, kind: Option<&str>, part: &str, found: Vec<Value>) {
    for value in found {
        if value.is_object() {
            elements.push(value);
            continue;
        }
        let Some(text) = scalar(&value) else { continue };
        let typed = kind.or(matches!(attribute, "emails" | "phoneNumbers" | "addresses").then_some("work"));
        if attribute == "addresses" {
            // The parts of one address are said by several rules.
            let same = |element: &&mut Value| element.get("type").and_then(Value::as_str) == typed;
            if let Some(Value::Object(element)) = elements.iter_mut().find(same) {
                element.insert(part.to_owned(), Value::String(text));
                continue;
            }
        } else if elements.iter().any(|element| {
            element.get(part).and_then(Value::as_str).is_some_and(|known| fold::key(known) == fold::key(&text))
        }) {
            continue;
        }
        let mut element = Map::new();
        element.insert(part.to_owned(), Value::String(text));
        if let Some(typed) = typed {
            element.insert("type".to_owned(), Value::String(typed.to_owned()));
        }
        elements.push(Value::Object(element));
    }
}
