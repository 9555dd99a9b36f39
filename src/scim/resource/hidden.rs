//! What is never shown (RFC 7643 section 7, `writeOnly` and `returned: never`) and is no password: it stays through a
//! replacement that cannot bring it along.

use serde_json::{Map, Value};

use crate::scim::schema::Attribute;

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
