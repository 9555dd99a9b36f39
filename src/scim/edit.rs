//! Changes of one place of a document, for `patch`: what "set" and "remove" mean for simple, complex and multi-valued
//! attributes, with and without a filter. Touches nothing but the place it is given.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::error::Error;
use super::eval;
use super::filter::{Filter, as_value, equalities};
use super::resource::{self, Notes, is_primary};
use super::schema::{Attribute, Located, Shape, Type};
use crate::model::document::Document;

/// The value of the attribute at the place (not of its sub-attribute).
pub fn get<'d>(document: &'d Document, place: Located<'_>) -> Option<&'d Value> {
    let holder = match place.extension {
        Some(urn) => document.get(urn)?.as_object()?,
        None => document,
    };
    holder.get(&place.attribute.name)
}

/// The attribute's place in the document, made if need be; `prune` takes away what stays empty.
fn slot<'d>(document: &'d mut Document, place: Located<'_>) -> &'d mut Value {
    let holder = match place.extension {
        Some(urn) => object(document.entry(urn).or_insert(Value::Null)),
        None => document,
    };
    holder.entry(place.attribute.name.clone()).or_insert(Value::Null)
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = match value.take() {
            Value::Null => Value::Array(Vec::new()),
            single => Value::Array(vec![single]),
        };
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("made an array above"),
    }
}

/// `add` and `replace`. Where a filter matches nothing yet, the element that it describes is made.
pub fn set(
    document: &mut Document,
    place: Located<'_>,
    filter: Option<&Filter<'_>>,
    add: bool,
    given: &Value,
    notes: &mut Notes,
) -> Result<(), Error> {
    let at = place.shown();
    let attribute = place.attribute;
    let slot = slot(document, place);
    if !attribute.multi_valued {
        match (place.sub, given) {
            (Some(sub), _) => put(object(slot), sub, resource::value(sub, given, &at, notes)),
            (None, Value::Object(given)) if attribute.kind == Type::Complex => {
                lay(object(slot), attribute, given, &at, notes);
            }
            (None, _) => *slot = resource::value(attribute, given, &at, notes).unwrap_or(Value::Null),
        }
        return Ok(());
    }
    let items = array(slot);
    let before = items.len();
    let fresh = match (filter, place.sub) {
        (None, None) => {
            let new = match resource::value(attribute, given, &at, notes) {
                Some(Value::Array(new)) => new,
                _ => Vec::new(),
            };
            if add {
                append(items, new)
            } else {
                *items = new;
                Vec::new()
            }
        }
        (filter, sub) => {
            let whole = Located { sub: None, ..place };
            let makes = add || !notes.dialect.is_strict();
            let (chosen, made) = choose(items, attribute, filter, makes, &whole.shown(), notes)?;
            for index in &chosen {
                fill(object(&mut items[*index]), attribute, sub, given, &at, notes);
            }
            // What is made is what the filter means, or the same request would make another one each time.
            let new = items.last().and_then(Value::as_object).filter(|_| made);
            if let (Some(new), Some(filter)) = (new, filter)
                && !new.is_empty()
                && !eval::matches(filter, new)
                && notes.faults.is_empty()
            {
                return Err(nothing_meant(&whole.shown(), "what would be made does not match either"));
            }
            chosen
        }
    };
    settle_primary(items, &fresh);
    items.retain(|item| !is_hollow(item));
    // What is too much already may shrink, not grow.
    if items.len() > resource::VALUES.max(before) {
        return Err(Error::InvalidValue(format!("`{at}` {}", resource::too_many())));
    }
    Ok(())
}

/// Adds what is not there yet; where the new ones are.
fn append(items: &mut Vec<Value>, new: Vec<Value>) -> Vec<usize> {
    let mut seen: HashSet<Value> = items.iter().cloned().collect();
    let mut fresh = Vec::new();
    for item in new {
        if seen.insert(item.clone()) {
            fresh.push(items.len());
            items.push(item);
        }
    }
    fresh
}

/// An element that has lost everything is no element, for the next operation already.
fn is_hollow(item: &Value) -> bool {
    item.as_object().is_some_and(Map::is_empty)
}

fn nothing_meant(at: &str, why: &str) -> Error {
    Error::NoTarget(format!("no value of `{at}` matches, and {why}"))
}

/// The elements that are meant: those that match, or a new one (true) made of the filter's `eq` terms where
/// that `makes` sense.
fn choose(
    items: &mut Vec<Value>,
    attribute: &Attribute,
    filter: Option<&Filter<'_>>,
    makes: bool,
    at: &str,
    notes: &mut Notes,
) -> Result<(Vec<usize>, bool), Error> {
    let Some(filter) = filter else {
        if items.is_empty() {
            items.push(Value::Object(Map::new()));
        }
        return Ok(((0..items.len()).collect(), false));
    };
    let found: Vec<usize> = (0..items.len())
        .filter(|index| items[*index].as_object().is_some_and(|element| eval::matches(filter, element)))
        .collect();
    if !found.is_empty() {
        return Ok((found, false));
    }
    let terms = equalities(filter).filter(|_| makes);
    let terms = terms.ok_or_else(|| nothing_meant(at, "the filter does not say what to make"))?;
    let element: Map<String, Value> =
        terms.into_iter().map(|(attribute, literal)| (attribute.name.clone(), as_value(literal))).collect();
    // Checked as if it had been sent: no control characters, nothing empty, base64 where it is due.
    let element = match resource::value(attribute, &Value::Object(element), at, notes) {
        Some(Value::Array(mut checked)) => checked.pop(),
        _ => None,
    };
    items.push(element.unwrap_or_else(|| Value::Object(Map::new())));
    Ok((vec![items.len() - 1], true))
}

/// Lays what is given into one element.
fn fill(
    element: &mut Map<String, Value>,
    attribute: &Attribute,
    sub: Option<&Attribute>,
    given: &Value,
    at: &str,
    notes: &mut Notes,
) {
    match (sub, given) {
        (Some(_), Value::Array(list)) if list.len() == 1 && !notes.dialect.is_strict() => {
            fill(element, attribute, sub, &list[0], at, notes);
        }
        (Some(sub), Value::String(_)) if sub.name == "value" && is_role(attribute, given, notes) => {
            lay(element, attribute, &Map::from_iter([(sub.name.clone(), given.clone())]), at, notes);
        }
        (Some(sub), _) => {
            let value = resource::value(sub, given, at, notes);
            if value.is_none() && sub.name == "value" {
                // An element that loses its value is nothing any more.
                element.clear();
            } else {
                put(element, sub, value);
            }
        }
        (None, Value::Object(given)) => lay(element, attribute, given, at, notes),
        (None, Value::Array(list)) if list.len() == 1 && list[0].is_object() => {
            fill(element, attribute, None, &list[0], at, notes);
        }
        (None, Value::String(_)) if attribute.sub("value").is_some() => {
            fill(element, attribute, attribute.sub("value"), given, &format!("{at}.value"), notes);
        }
        (None, _) => notes.faults.push(format!("`{at}` expects an object")),
    }
}

/// Whether a text is an app role as JSON.
fn is_role(attribute: &Attribute, given: &Value, notes: &Notes) -> bool {
    let probe = Map::from_iter([("value".to_owned(), given.clone())]);
    !notes.dialect.is_strict() && resource::app_role(attribute, &probe).is_some()
}

/// Lays an object over a complex value: sub-attributes that are not given stay as they were (RFC 7644 §3.5.2.3).
fn lay(into: &mut Map<String, Value>, attribute: &Attribute, given: &Map<String, Value>, at: &str, notes: &mut Notes) {
    let role = if notes.dialect.is_strict() { None } else { resource::app_role(attribute, given) };
    for (key, value) in role.as_ref().unwrap_or(given) {
        match attribute.sub(key) {
            Some(sub) if sub.writable() => {
                put(into, sub, resource::value(sub, value, &format!("{at}.{}", sub.name), notes));
            }
            Some(_) => {}
            None => notes.unknown(format!("{at}.{}", super::json::short(key))),
        }
    }
}

fn put(into: &mut Map<String, Value>, attribute: &Attribute, value: Option<Value>) {
    match value {
        Some(value) => drop(into.insert(attribute.name.clone(), value)),
        None => drop(into.remove(&attribute.name)),
    }
}

/// The one that is newly preferred takes it from the others (RFC 7644 §3.5.2).
fn settle_primary(items: &mut [Value], fresh: &[usize]) {
    if !fresh.iter().any(|index| is_primary(&items[*index])) {
        return;
    }
    for (index, item) in items.iter_mut().enumerate() {
        if !fresh.contains(&index) && is_primary(item) {
            item["primary"] = Value::Bool(false);
        }
    }
}

/// `remove`: with a list of values only those, with a filter only what matches; nothing to remove is no error.
pub fn remove(
    document: &mut Document,
    place: Located<'_>,
    filter: Option<&Filter<'_>>,
    listed: Option<&Value>,
    notes: &mut Notes,
) {
    // Nothing is there, or an operation before this one left nothing of it.
    if get(document, place).is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty)) {
        return;
    }
    let slot = slot(document, place);
    if !place.attribute.multi_valued {
        match place.sub {
            Some(sub) => drop(object(slot).remove(&sub.name)),
            None => *slot = Value::Null,
        }
        return;
    }
    let items = array(slot);
    match (filter, place.sub, listed) {
        (None, None, None | Some(Value::Null)) => items.clear(),
        (None, None, Some(listed)) => {
            let listed = match resource::value(place.attribute, listed, &place.shown(), notes) {
                Some(Value::Array(listed)) => listed,
                _ => Vec::new(),
            };
            items.retain(|item| !listed.iter().any(|listed| same(item, listed)));
        }
        (filter, sub, _) => items.retain_mut(|item| {
            let meant = item.as_object().is_some_and(|item| filter.is_none_or(|filter| eval::matches(filter, item)));
            match (meant, sub) {
                (false, _) => true,
                (true, None) => false,
                // Without its value an element is nothing any more.
                (true, Some(sub)) if sub.name == "value" => false,
                (true, Some(sub)) => {
                    object(item).remove(&sub.name);
                    !is_hollow(item)
                }
            }
        }),
    }
}

/// Whether the listed element means this one: all that it says is true of it.
fn same(item: &Value, listed: &Value) -> bool {
    match (item, listed) {
        (Value::Object(item), Value::Object(listed)) => match (item.get("value"), listed.get("value")) {
            (Some(have), Some(meant)) => {
                have == meant && listed.get("type").is_none_or(|kind| item.get("type") == Some(kind))
            }
            _ => listed.iter().all(|(name, value)| item.get(name) == Some(value)),
        },
        _ => item == listed,
    }
}

/// Takes away nulls and what has become empty: unassigned is absent (RFC 7643 §2.5).
pub fn prune(document: &mut Document) {
    document.retain(|_, value| kept(value));
}

fn kept(value: &mut Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(map) => {
            prune(map);
            !map.is_empty()
        }
        Value::Array(items) => {
            items.retain_mut(kept);
            !items.is_empty()
        }
        _ => true,
    }
}

/// At most one value of an attribute is preferred.
pub fn primaries(shape: &Shape, document: &Document) -> Result<(), Error> {
    for attribute in shape.plain().filter(|attribute| attribute.multi_valued) {
        let items = document.get(&attribute.name).and_then(Value::as_array);
        if items.is_some_and(|items| items.iter().filter(|item| is_primary(item)).count() > 1) {
            return Err(Error::InvalidValue(format!(
                "`{}` has more than one value with `primary` true",
                attribute.name
            )));
        }
    }
    Ok(())
}
