//! What is never shown (RFC 7643 section 7, `writeOnly` and `returned: never`) and is no password: it is kept in the document,
//! stays through a replacement that cannot bring it along, and is taken out before anybody sees it.

use serde_json::{Map, Value};

use crate::model::document::Document;
use crate::scim::schema::{Attribute, Located};

/// Keeps such parts of a complex attribute: of the only one, and of elements with the same `value`.
pub(super) fn unshown(attribute: &Attribute, old: &Value, new: &mut Value) {
    let secrets: Vec<&Attribute> = attribute.sub_attributes.iter().filter(|sub| sub.secret()).collect();
    if secrets.is_empty() {
        return;
    }
    let keep = |old: &Map<String, Value>, new: &mut Map<String, Value>| {
        for secret in &secrets {
            if let Some(value) = old.get(&secret.name) {
                new.entry(secret.name.clone()).or_insert_with(|| value.clone());
            }
        }
    };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => keep(old, new),
        (Value::Array(old), Value::Array(new)) => {
            for new in new.iter_mut().filter_map(Value::as_object_mut) {
                let same =
                    |old: &&Map<String, Value>| old.contains_key("value") && old.get("value") == new.get("value");
                if let Some(old) = old.iter().filter_map(Value::as_object).find(same) {
                    keep(old, new);
                }
            }
        }
        _ => {}
    }
}

/// Takes out what is never shown; `secrets` are the shape's.
pub fn hide(secrets: &[Located<'_>], document: &mut Document) {
    for place in secrets {
        let attributes = match place.extension {
            Some(urn) => document.get_mut(urn).and_then(Value::as_object_mut),
            None => Some(&mut *document),
        };
        let Some(attributes) = attributes else { continue };
        let Some(sub) = place.sub else {
            attributes.remove(&place.attribute.name);
            continue;
        };
        match attributes.get_mut(&place.attribute.name) {
            Some(Value::Object(one)) => drop(one.remove(&sub.name)),
            Some(Value::Array(all)) => {
                all.iter_mut().filter_map(Value::as_object_mut).for_each(|one| drop(one.remove(&sub.name)));
            }
            _ => {}
        }
    }
}
