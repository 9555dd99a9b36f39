//! A body -> a checked document: names in the spelling of the schema, types held, read-only and unknown attributes left
//! out, `null` and `[]` unassigned (RFC 7643 §2.5). Values are kept as they were sent, never prettified.
//!
//! `read` takes POST and PUT bodies; `value` is what PATCH uses for a single attribute. All faults are listed at once.

mod hidden;
mod immutable;

use std::collections::HashSet;

use secrecy::SecretString;
use serde_json::{Map, Value};

use hidden::unshown;
pub use immutable::all_immutable;

use super::error::Error;
use super::json::short;
use super::members::{self, Member};
use super::schema::{Attribute, Located, Mutability, Shape, Type};
use crate::model::dialect::{Dialect, UnknownAttributes};
use crate::model::document::Document;
use crate::model::time::Millis;

/// Values of one multi-valued attribute; members are no attribute and have no such limit.
pub const VALUES: usize = 1000;
/// Characters of a login, a shown name, a mail address.
const SHORT: usize = 1024;
/// Bytes of any other text.
const LONG: usize = 64 * 1024;

/// A checked POST or PUT body.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Without `id`, `meta`, `schemas`, `members`, `password`; with `externalId`.
    pub attributes: Document,
    /// `None`: the body does not speak of members.
    pub members: Option<Vec<Member>>,
    pub password: Option<SecretString>,
    /// Names nobody knows; they were ignored.
    pub ignored: Vec<String>,
}

/// What was found wrong, and what was left out, while reading.
#[derive(Debug, Default)]
pub struct Notes {
    pub dialect: Dialect,
    pub faults: Vec<String>,
    pub ignored: Vec<String>,
}

impl Notes {
    pub fn of(dialect: Dialect) -> Notes {
        Notes { dialect, ..Notes::default() }
    }

    /// A name that no schema has.
    pub fn unknown(&mut self, name: String) {
        match self.dialect.unknown_attributes {
            UnknownAttributes::Ignore => self.ignored.push(name),
            UnknownAttributes::Reject => self.fault(&name, "is in no schema"),
        }
    }

    fn fault(&mut self, at: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("`{at}` {what}"));
    }

    /// All faults as one refusal.
    pub fn result(&self) -> Result<(), Error> {
        if self.faults.is_empty() { Ok(()) } else { Err(Error::InvalidValue(self.faults.join("; "))) }
    }
}

/// Reads the body of a POST or PUT. What is required must be there.
pub fn read(shape: &Shape, body: &Map<String, Value>, dialect: Dialect) -> Result<Incoming, Error> {
    let mut incoming = Incoming::default();
    let mut notes = Notes::of(dialect);
    let schemas = body.iter().find(|(key, _)| key.eq_ignore_ascii_case("schemas"));
    schemas_said(shape, schemas.map(|(_, given)| given), &mut notes);
    top(shape, body, &mut incoming, &mut notes)?;
    notes.faults.extend(missing(shape, &incoming.attributes).into_iter().map(|name| format!("`{name}` is required")));
    notes.result()?;
    incoming.ignored = notes.ignored;
    Ok(incoming)
}

fn top(shape: &Shape, body: &Map<String, Value>, out: &mut Incoming, notes: &mut Notes) -> Result<(), Error> {
    for (key, given) in body {
        if key.eq_ignore_ascii_case("schemas") {
            // Judged before.
        } else if shape.is_core(key) {
            if let Value::Object(inner) = given {
                top(shape, inner, out, notes)?;
            }
        } else if let Some(relation) = shape.relation().filter(|relation| key.eq_ignore_ascii_case(relation.name)) {
            // `null` says nothing of members: a list is emptied by `[]`.
            if !given.is_null() {
                out.members = Some(members::read(relation.name, given)?);
            }
        } else if let Some(extension) = shape.extension(key) {
            match given {
                Value::Object(inner) => {
                    let read = object(&extension.attributes, inner, &extension.id, ':', notes);
                    once(&mut out.attributes, &extension.id, read.map(Value::Object), notes);
                }
                Value::Null => {}
                _ => notes.fault(&extension.id, "expects an object"),
            }
        } else if let Some(attribute) = shape.plain().find(|attribute| attribute.name.eq_ignore_ascii_case(key)) {
            if shape.is_password(Located { extension: None, attribute, sub: None }) {
                out.password = secret(attribute, given, notes);
            } else if attribute.writable() {
                let read = value(attribute, given, &attribute.name, notes);
                once(&mut out.attributes, &attribute.name, read, notes);
            }
        } else {
            notes.unknown(short(key));
        }
    }
    Ok(())
}

/// What the body says of its own schemas. Clients name old ones and forget them: what matters is what stands in the body.
fn schemas_said(shape: &Shape, given: Option<&Value>, notes: &mut Notes) {
    let one = std::slice::from_ref(given.unwrap_or(&Value::Null));
    let urns = match given {
        Some(Value::Array(urns)) => urns.as_slice(),
        Some(Value::String(_)) if !notes.dialect.is_strict() => one,
        None | Some(Value::Null) if !notes.dialect.is_strict() => return,
        _ => return notes.fault("schemas", "expects a list of URNs"),
    };
    let texts: Vec<&str> = urns.iter().filter_map(Value::as_str).collect();
    if texts.len() < urns.len() {
        return notes.fault("schemas", "expects a list of URNs");
    }
    if notes.dialect.is_strict() {
        let known = |urn: &&str| shape.is_core(urn) || shape.extensions.iter().any(|schema| schema.id == **urn);
        if !texts.iter().any(|urn| shape.is_core(urn)) {
            notes.fault("schemas", format!("lacks {}", shape.core.id));
        }
        for urn in texts.iter().filter(|urn| !known(urn)) {
            notes.fault("schemas", format!("names {}, which is no schema of {}", short(urn), shape.name));
        }
    }
}

/// Two spellings of one name are two values of one thing: refused.
fn once(into: &mut Map<String, Value>, name: &str, value: Option<Value>, notes: &mut Notes) {
    if let Some(value) = value
        && into.insert(name.to_owned(), value).is_some()
    {
        notes.fault(name, "stands twice");
    }
}

/// Text of a secret attribute. An empty one counts as absent.
pub fn secret(attribute: &Attribute, given: &Value, notes: &mut Notes) -> Option<SecretString> {
    match given {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(SecretString::from(text.clone())),
        _ => {
            notes.fault(&attribute.name, "expects a text");
            None
        }
    }
}

/// Attributes of an extension or sub-attributes of a complex value. `None`: nothing is left.
fn object(
    attributes: &[Attribute],
    given: &Map<String, Value>,
    at: &str,
    joint: char,
    notes: &mut Notes,
) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    for (key, inner) in given {
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(key)) else {
            notes.unknown(format!("{at}{joint}{}", short(key)));
            continue;
        };
        if attribute.writable() {
            let read = value(attribute, inner, &format!("{at}{joint}{}", attribute.name), notes);
            once(&mut out, &attribute.name, read, notes);
        }
    }
    if out.is_empty() { None } else { Some(out) }
}

/// One attribute's value, checked. `None`: unassigned (or wrong, which `notes` then says).
pub fn value(attribute: &Attribute, given: &Value, at: &str, notes: &mut Notes) -> Option<Value> {
    if !attribute.multi_valued {
        // Entra sends a manager as a list of one.
        return match given {
            Value::Array(items) if items.len() == 1 && !notes.dialect.is_strict() => {
                single(attribute, &items[0], at, notes)
            }
            given => single(attribute, given, at, notes),
        };
    }
    // Some clients send the list as JSON in a text.
    let unpacked = match given {
        Value::String(text) if attribute.kind == Type::Complex && text.trim_start().starts_with('[') => {
            match super::json::parse(text.as_bytes()) {
                Ok(list @ Value::Array(_)) if !notes.dialect.is_strict() => Some(list),
                _ => return expected(at, "a list", given, notes),
            }
        }
        _ => None,
    };
    let given = unpacked.as_ref().unwrap_or(given);
    let one = std::slice::from_ref(given);
    let items = match given {
        Value::Null => return None,
        Value::Array(items) => items.as_slice(),
        _ if notes.dialect.is_strict() => return expected(at, "a list", given, notes),
        _ => one,
    };
    if items.len() > VALUES {
        notes.fault(at, too_many());
        return None;
    }
    let mut seen = HashSet::with_capacity(items.len());
    let mut out: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if let Some(item) = single(attribute, item, at, notes)
            && seen.insert(item.clone())
        {
            out.push(item);
        }
    }
    if out.iter().filter(|item| is_primary(item)).count() > 1 {
        notes.fault(at, "has more than one value with `primary` true");
    }
    if out.is_empty() { None } else { Some(Value::Array(out)) }
}

/// The refusal of more than `VALUES` values.
pub fn too_many() -> String {
    format!("has more than {VALUES} values; {VALUES} are allowed")
}

/// Why this text may not be kept (S21): control characters, or too long. TAB is text; lines may be broken in a postal
/// address (RFC 7643 §4.1.2) and in extensions, whose notes have paragraphs.
pub fn text_fault(at: &str, text: &str) -> Option<String> {
    let lines = matches!(at, "addresses.formatted" | "addresses.streetAddress") || at.contains(':');
    if text.chars().any(|c| c < ' ' && c != '\t' && !(lines && matches!(c, '\r' | '\n'))) {
        let allowed = if lines { "only TAB and line breaks are allowed" } else { "only TAB is allowed" };
        return Some(format!("holds a control character; {allowed}"));
    }
    if matches!(at, "userName" | "displayName" | "emails.value") && text.chars().nth(SHORT).is_some() {
        return Some(format!("is longer than {SHORT} characters"));
    }
    (text.len() > LONG).then(|| format!("is longer than {LONG} bytes"))
}

/// A text that may be kept.
fn sound(at: &str, text: &str, notes: &mut Notes) -> Option<Value> {
    match text_fault(at, text) {
        None => Some(Value::String(text.to_owned())),
        Some(why) => {
            notes.fault(at, why);
            None
        }
    }
}

pub fn is_primary(item: &Value) -> bool {
    item.get("primary").and_then(Value::as_bool) == Some(true)
}

fn single(attribute: &Attribute, given: &Value, at: &str, notes: &mut Notes) -> Option<Value> {
    let tolerant = !notes.dialect.is_strict();
    match (attribute.kind, given) {
        (_, Value::Null) => None,
        (Type::Complex, Value::Object(inner)) => {
            let role = if tolerant { app_role(attribute, inner) } else { None };
            object(&attribute.sub_attributes, role.as_ref().unwrap_or(inner), at, '.', notes).map(Value::Object)
        }
        (Type::Complex, Value::String(text)) if tolerant => plain_text(attribute, text, at, notes),
        (Type::Boolean, Value::String(text)) if tolerant => match boolean(text) {
            Some(on) => Some(Value::Bool(on)),
            None => expected(at, "true or false", given, notes),
        },
        (Type::Boolean, Value::Bool(_)) => Some(given.clone()),
        (Type::Integer, Value::Number(number)) if number.is_i64() => Some(given.clone()),
        (Type::Decimal, Value::Number(_)) => Some(given.clone()),
        // An empty text is an attribute that has no value.
        (Type::String | Type::Reference | Type::Binary | Type::DateTime, Value::String(text)) if text.is_empty() => {
            None
        }
        (Type::String | Type::Reference, Value::String(text)) if !tolerant && !attribute.is_canonical(text) => {
            expected(at, &format!("one of {}", attribute.canonical_values.join(", ")), given, notes)
        }
        (Type::String | Type::Reference, Value::String(text)) => sound(at, text, notes),
        (Type::Binary, Value::String(text)) => {
            if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_= \r\n".contains(&b)) {
                Some(given.clone())
            } else {
                expected(at, "base64", given, notes)
            }
        }
        (Type::DateTime, Value::String(text)) => match Millis::parse(text) {
            Some(_) => Some(given.clone()),
            None => expected(at, "an RFC 3339 date and time", given, notes),
        },
        (Type::Complex, _) => expected(at, "an object", given, notes),
        (Type::Boolean, _) => expected(at, "true or false", given, notes),
        (Type::Integer, _) => expected(at, "a whole number", given, notes),
        (Type::Decimal, _) => expected(at, "a number", given, notes),
        (_, _) => expected(at, "a text", given, notes),
    }
}

/// Clients send a plain text for a complex value, meaning its `value`, and Entra sends app roles as JSON in a text.
fn plain_text(attribute: &Attribute, text: &str, at: &str, notes: &mut Notes) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    let Some(main) = attribute.sub("value") else {
        return expected(at, "an object", &Value::String(text.to_owned()), notes);
    };
    if let Some(inner) = json_inside(text) {
        let role = app_role(attribute, &inner).unwrap_or(inner);
        return object(&attribute.sub_attributes, &role, at, '.', notes).map(Value::Object);
    }
    let mut out = Map::new();
    out.insert(main.name.clone(), sound(&format!("{at}.{}", main.name), text, notes)?);
    Some(Value::Object(out))
}

/// An element whose `value` is an app role as JSON in a text, which is how Entra adds them: the role, and what is said
/// beside it.
pub fn app_role(attribute: &Attribute, given: &Map<String, Value>) -> Option<Map<String, Value>> {
    attribute.sub("display")?;
    let mut role = json_inside(given.get("value")?.as_str()?)?;
    role.get("value")?.as_str()?;
    role.extend(given.iter().filter(|(name, _)| *name != "value").map(|(name, value)| (name.clone(), value.clone())));
    // What is packed twice is unpacked twice, or reading it again would change it.
    Some(app_role(attribute, &role).unwrap_or(role))
}

/// The object that a text holds as JSON. What Entra's app roles call `displayName` is `display` in SCIM, and their `id` is
/// Entra's own.
fn json_inside(text: &str) -> Option<Map<String, Value>> {
    if !text.starts_with('{') {
        return None;
    }
    let mut inner = super::json::object(text.as_bytes()).ok()?;
    if let Some(display) = inner.remove("displayName") {
        inner.entry("display").or_insert(display);
    }
    inner.remove("id");
    Some(inner)
}

fn expected(at: &str, what: &str, found: &Value, notes: &mut Notes) -> Option<Value> {
    notes.fault(at, format!("expects {what}; found {}", short(&found.to_string())));
    None
}

/// `True`, `false` and their like: Entra sends them as texts.
pub fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Required attributes that the document lacks: of the core, of each extension that it has, and of each complex value.
pub fn missing(shape: &Shape, document: &Document) -> Vec<String> {
    let mut missing = Vec::new();
    lacking(shape.plain(), document, "", &mut missing);
    for extension in &shape.extensions {
        if let Some(Value::Object(inner)) = document.get(&extension.id)
            && !inner.is_empty()
        {
            lacking(extension.attributes.iter(), inner, &format!("{}:", extension.id), &mut missing);
        }
    }
    missing
}

fn lacking<'a>(
    attributes: impl Iterator<Item = &'a Attribute>,
    values: &Map<String, Value>,
    above: &str,
    missing: &mut Vec<String>,
) {
    let empty = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    for attribute in attributes {
        let at = || format!("{above}{}", attribute.name);
        let value = values.get(&attribute.name).filter(|value| !empty(value));
        if attribute.required && attribute.writable() && value.is_none() && !missing.contains(&at()) {
            missing.push(at());
        }
        let elements = match value {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        for inner in elements.iter().filter_map(Value::as_object).filter(|inner| !inner.is_empty()) {
            lacking(attribute.sub_attributes.iter(), inner, &format!("{}.", at()), missing);
        }
    }
}

/// What a PUT makes of the present document. What the client cannot write stays, and so does `active` where the body is
/// silent of it: a replacement that forgets it must not bring a disabled account back.
pub fn replaced(shape: &Shape, current: &Document, incoming: &Document) -> Result<Document, Error> {
    let mut after = incoming.clone();
    for (name, old) in current {
        let plain = shape.plain().find(|attribute| attribute.name == *name);
        let extension = shape.extensions.iter().find(|extension| extension.id == *name);
        match (plain, extension, old) {
            (Some(attribute), _, old) if stays(attribute, old) || name == "active" => {
                after.entry(name.clone()).or_insert_with(|| old.clone());
            }
            (Some(attribute), _, old) => {
                if let Some(new) = after.get_mut(name) {
                    unshown(attribute, old, new);
                }
            }
            (None, Some(extension), Value::Object(old)) => {
                let kept: Map<String, Value> = old
                    .iter()
                    .filter(|(name, old)| extension.attribute(name).is_none_or(|attribute| stays(attribute, old)))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                if !kept.is_empty()
                    && let Value::Object(into) = after.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()))
                {
                    for (name, value) in kept {
                        into.entry(name).or_insert(value);
                    }
                }
                for attribute in &extension.attributes {
                    let new = after.get_mut(name).and_then(|new| new.get_mut(&attribute.name));
                    if let (Some(old), Some(new)) = (old.get(&attribute.name), new) {
                        unshown(attribute, old, new);
                    }
                }
            }
            _ => {
                after.insert(name.clone(), old.clone());
            }
        }
    }
    all_immutable(shape, current, &after)?;
    Ok(after)
}

/// What a replacement that is silent of it leaves as it is. What is never shown cannot be put back by anybody: only readWrite
/// attributes are cleared by their absence (RFC 7644 section 3.5.1).
fn stays(attribute: &Attribute, old: &Value) -> bool {
    !attribute.writable()
        || attribute.mutability == Mutability::Immutable
        || attribute.secret()
        || (!attribute.multi_valued && immutable::has_set_part(attribute, Some(old)).is_some())
}

/// A replacement that is silent of what only others have said does not speak of it: their values stay. What the client said
/// itself, `own`, it takes back by leaving it out.
pub fn unsaid(current: &Map<String, Value>, own: &Map<String, Value>, after: &mut Map<String, Value>) {
    for (name, old) in current {
        match (old, own.get(name), after.get_mut(name)) {
            (Value::Object(old), Some(Value::Object(own)), Some(Value::Object(after))) => unsaid(old, own, after),
            (Value::Object(old), None, Some(Value::Object(after))) => unsaid(old, &Map::new(), after),
            (Value::Object(old), Some(Value::Object(own)), None) => {
                let mut kept = Map::new();
                unsaid(old, own, &mut kept);
                if !kept.is_empty() {
                    after.insert(name.clone(), Value::Object(kept));
                }
            }
            (old, None, None) => drop(after.insert(name.clone(), old.clone())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
