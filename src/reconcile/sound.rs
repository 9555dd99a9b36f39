//! What no record may hold, whatever way it came: U+0000, which PostgreSQL has in no text, and names that are longer than an
//! index of PostgreSQL takes, so that both databases take the same. One such record is refused with its place, and those
//! beside it are taken. Pure. Start at `fault`.

use serde_json::{Map, Value};

use crate::model::desired::{Desired, Record, Ref, Target, Targets};
use crate::model::entity::urn;
use crate::model::fold;

/// Bytes of a name by which something is found, folded: an index of PostgreSQL takes 2704 in all.
const LONGEST: usize = 2000;
/// Folding makes a text at most so many times longer.
const GROWTH: usize = 11;

/// Why the record cannot be kept.
pub(super) fn fault(record: &Record) -> Option<String> {
    let (place, long) = match record {
        Record::Present(desired) => (of_desired(desired), long_name(desired)),
        Record::Gone { key, .. } | Record::Same { key, .. } => (of_text("key", key), None),
        Record::Bad { .. } => return None,
    };
    let nul = place.map(|place| format!("{place}: holds U+0000, which no text may hold"));
    nul.or_else(|| long.map(|place| format!("{place}: is longer than the {LONGEST} bytes that a name may have")))
}

/// Where a name stands that is too long to be found by.
fn long_name(desired: &Desired) -> Option<String> {
    let attributes = &desired.attributes;
    let plain = ["userName", "displayName", "number", "externalId"].map(|name| (name, attributes.get(name)));
    let number = attributes.get(urn::ENTERPRISE).and_then(|enterprise| enterprise.get("employeeNumber"));
    let emails = attributes.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = plain.into_iter().chain([("employeeNumber", number)]);
    let mut found = found.chain(emails.iter().map(|email| ("emails.value", email.get("value"))));
    let place = found.find(|(_, value)| value.and_then(Value::as_str).is_some_and(is_long));
    let targets =
        || desired.relations.iter().find(|(_, targets)| each(targets).any(|target| is_long(of_ref(&target.to))));
    let place = place.map(|(name, _)| format!("attributes.{name}"));
    place.or_else(|| targets().map(|(rel, _)| format!("relations.{}", rel.as_str())))
}

fn is_long(text: &str) -> bool {
    text.len() > LONGEST || (text.len() > LONGEST / GROWTH && fold::key(text).len() > LONGEST)
}

fn each(targets: &Targets) -> impl Iterator<Item = &Target> {
    let (first, second): (&[Target], &[Target]) = match targets {
        Targets::Whole(all) => (all, &[]),
        Targets::Delta { add, remove } => (add, remove),
    };
    first.iter().chain(second)
}

/// The record, or what is wrong with it in its place.
pub(super) fn judged(record: Record) -> Record {
    match fault(&record) {
        None => record,
        Some(reason) => refused(record, reason),
    }
}

/// The record as one that could not be read: it counts as present, under the key that it has.
fn refused(record: Record, reason: String) -> Record {
    let (kind, key, off) = match record {
        Record::Present(desired) => (Some(desired.kind), Some(desired.key.clone()), desired.switches_off()),
        Record::Gone { kind, key } | Record::Same { kind, key } => (Some(kind), Some(key), false),
        Record::Bad { kind, key, off, .. } => (kind, key, off),
    };
    Record::Bad { kind, key, reason, off }
}

/// A text that comes from outside and is told again: without U+0000.
pub(super) fn shown(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn of_desired(desired: &Desired) -> Option<String> {
    let Desired { key, alias, attributes, relations, .. } = desired;
    of_text("key", key)
        .or_else(|| of_text("alias", alias.as_deref()?))
        .or_else(|| of_object("attributes", attributes))
        .or_else(|| {
            relations.iter().find_map(|(rel, targets)| {
                let at = format!("relations.{}", rel.as_str());
                let of_target =
                    |target: &Target| of_text(&at, of_ref(&target.to)).or_else(|| of_object(&at, &target.attributes));
                each(targets).find_map(of_target)
            })
        })
}

fn of_ref(to: &Ref) -> &str {
    match to {
        Ref::Id(_) => "",
        Ref::Key(_, text) | Ref::Alias(text) | Ref::Match { value: text, .. } => text,
    }
}

fn of_text(at: &str, text: &str) -> Option<String> {
    text.as_bytes().contains(&0).then(|| at.to_owned())
}

fn of_object(at: &str, object: &Map<String, Value>) -> Option<String> {
    object.iter().find_map(|(name, value)| {
        if name.as_bytes().contains(&0) {
            return Some(at.to_owned());
        }
        holds(value).then(|| format!("{at}.{name}"))
    })
}

fn holds(value: &Value) -> bool {
    match value {
        Value::String(text) => text.as_bytes().contains(&0),
        Value::Array(all) => all.iter().any(holds),
        Value::Object(inner) => inner.iter().any(|(name, value)| name.as_bytes().contains(&0) || holds(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::desired::Write;
    use crate::model::kind::{Kind, Rel};

    #[test]
    fn a_text_with_a_nul_is_found_wherever_it_stands() {
        let target = |text: &str| Target::from(Ref::Key(Kind::Company, text.to_owned()));
        let desired = |key: &str, attributes: Value, targets: Targets| {
            let Value::Object(attributes) = attributes else { unreachable!() };
            Record::Present(Box::new(Desired {
                kind: Kind::Contact,
                key: key.to_owned(),
                realm: None,
                alias: None,
                attributes,
                write: Write::Whole,
                relations: [(Rel::WorksFor, targets)].into(),
                digest: None,
            }))
        };
        let fine = || Targets::Whole(vec![target("c")]);
        let removed = Targets::Delta { add: vec![], remove: vec![target("\0")] };
        for (record, place) in [
            (desired("a\0", json!({}), fine()), "key"),
            (desired("a", json!({"displayName": "a\0b"}), fine()), "attributes.displayName"),
            (desired("a", json!({"emails": [{"value": "a\0"}]}), fine()), "attributes.emails"),
            (desired("a", json!({"x": {"y\0": 1}}), fine()), "attributes.x"),
            (desired("a", json!({}), Targets::Whole(vec![target("c"), target("c\0")])), "relations.works_for"),
            (desired("a", json!({}), removed), "relations.works_for"),
            (Record::Gone { kind: Kind::Contact, key: "a\0".to_owned() }, "key"),
        ] {
            assert_eq!(fault(&record), Some(format!("{place}: holds U+0000, which no text may hold")));
        }
        assert_eq!(fault(&desired("a", json!({"displayName": "a\n\tb", "n": 1}), fine())), None);
        assert_eq!(shown("a\0b".to_owned()), "a\u{fffd}b");
    }
}
