//! Attributes of the operator's schemas that are written and never shown (RFC 7643 section 7): taken out of a document, or
//! masked where it matters that there is something.

use serde_json::{Map, Value};

use super::document::Document;
use super::kind::Kind;

/// Where such a value stands: `doc[extension]?[attribute][sub]?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hidden {
    pub kind: Kind,
    pub extension: Option<String>,
    pub attribute: String,
    pub sub: Option<String>,
}

/// What is seen in the place of a value.
const MASK: &str = "***";

pub fn remove(hidden: &[Hidden], kind: Kind, document: &mut Document) {
    each(hidden, kind, document, |map, name| drop(map.remove(name)));
}

pub fn mask(hidden: &[Hidden], kind: Kind, document: &mut Document) {
    each(hidden, kind, document, |map, name| {
        if let Some(value) = map.get_mut(name).filter(|value| !value.is_null()) {
            *value = Value::String(MASK.to_owned());
        }
    });
}

fn each(hidden: &[Hidden], kind: Kind, document: &mut Document, change: impl Fn(&mut Map<String, Value>, &str)) {
    for place in hidden.iter().filter(|place| place.kind == kind) {
        let attributes = match &place.extension {
            Some(urn) => document.get_mut(urn).and_then(Value::as_object_mut),
            None => Some(&mut *document),
        };
        let Some(attributes) = attributes else { continue };
        let Some(sub) = &place.sub else {
            change(attributes, &place.attribute);
            continue;
        };
        match attributes.get_mut(&place.attribute) {
            Some(Value::Object(one)) => change(one, sub),
            Some(Value::Array(all)) => all.iter_mut().filter_map(Value::as_object_mut).for_each(|one| change(one, sub)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_taken_out_or_masked_wherever_it_stands() {
        let place = |extension: Option<&str>, attribute: &str, sub: Option<&str>| Hidden {
            kind: Kind::User,
            extension: extension.map(str::to_owned),
            attribute: attribute.to_owned(),
            sub: sub.map(str::to_owned),
        };
        let hidden =
            [place(Some("urn:x"), "pin", None), place(Some("urn:x"), "cars", Some("s")), place(None, "top", None)];
        let document =
            json!({"top": 1, "a": 1, "urn:x": {"pin": null, "cars": [{"value": "V", "s": "t"}, {"value": "W"}]}});
        let Value::Object(document) = document else { panic!() };
        let (mut out, mut masked, mut other) = (document.clone(), document.clone(), document.clone());
        remove(&hidden, Kind::User, &mut out);
        assert_eq!(Value::Object(out), json!({"a": 1, "urn:x": {"cars": [{"value": "V"}, {"value": "W"}]}}));
        mask(&hidden, Kind::User, &mut masked);
        let expected = json!({"top": "***", "a": 1,
            "urn:x": {"pin": null, "cars": [{"value": "V", "s": "***"}, {"value": "W"}]}});
        assert_eq!(Value::Object(masked), expected);
        mask(&hidden, Kind::Group, &mut other);
        assert_eq!(other, document);
    }
}
