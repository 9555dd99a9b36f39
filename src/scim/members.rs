//! Members of a group: they are relations, never part of the document. What a request says of them becomes a change of
//! rows, so that a group of 100,000 is never read to add one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::error::Error;
use super::json::short;
use super::resource::text_fault;
use crate::model::desired::{Ref, Target, Targets};
use crate::model::id::EntityId;
use crate::model::kind::Kind;

/// Name of the attribute of Group that is a relation.
pub const MEMBERS: &str = "members";

/// One member as a client names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// An id of ours, or a text that nothing has yet.
    pub value: String,
    /// `type` and `display`, as sent.
    pub attributes: Map<String, Value>,
}

impl Member {
    pub fn target(self, far: Kind) -> Target {
        Target { to: reference(&self.value, far), attributes: self.attributes }
    }
}

/// An id that is unknown is kept and resolved when it appears; a text that cannot be an id is kept under it.
fn reference(value: &str, far: Kind) -> Ref {
    value.parse().map_or_else(|_| Ref::Key(far, value.to_owned()), Ref::Id)
}

/// `[{"value": id}]`, `{"value": id}`, `["id"]`; the same id twice is once.
pub fn read(name: &str, value: &Value) -> Result<Vec<Member>, Error> {
    // Some clients send the list as JSON in a text.
    let unpacked = match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => Some(super::json::parse(text.as_bytes())?),
        _ => None,
    };
    let value = unpacked.as_ref().unwrap_or(value);
    let one = std::slice::from_ref(value);
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        _ => one,
    };
    let mut seen = BTreeSet::new();
    let mut members = Vec::with_capacity(items.len());
    for item in items {
        let member = member(name, item)?;
        if seen.insert(member.value.clone()) {
            members.push(member);
        }
    }
    Ok(members)
}

fn member(of: &str, item: &Value) -> Result<Member, Error> {
    let mut member = Member { value: String::new(), attributes: Map::new() };
    match item {
        // A bare text must be an id: anything else is no member, but a misunderstanding.
        Value::String(value) if value.trim().parse::<EntityId>().is_ok() => member.value = value.trim().to_owned(),
        Value::Object(map) => {
            for (name, value) in map {
                match (name.to_ascii_lowercase().as_str(), value) {
                    ("value", Value::String(value)) => member.value = value.trim().to_owned(),
                    ("type", Value::String(_)) => drop(member.attributes.insert("type".to_owned(), value.clone())),
                    ("display", Value::String(_)) => {
                        drop(member.attributes.insert("display".to_owned(), value.clone()));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    let texts = member.attributes.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    for (name, text) in texts.chain([("value", member.value.as_str())]) {
        let at = format!("{of}.{name}");
        if let Some(why) = text_fault(&at, text) {
            return Err(Error::InvalidValue(format!("`{at}` {why}")));
        }
    }
    match member.value.len() {
        1..=256 => Ok(member),
        _ => Err(Error::InvalidValue(format!(
            "`{of}` expects objects with a text `value` of 1 to 256 bytes; found {}",
            short(&item.to_string())
        ))),
    }
}

/// What a request does to the members, in the order it was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The list starts from nothing: a replacement or a removal of all.
    whole: bool,
    add: BTreeMap<String, Member>,
    remove: BTreeSet<String>,
}

impl Changes {
    pub fn replace(&mut self, members: Vec<Member>) {
        *self = Changes { whole: true, ..Changes::default() };
        self.add(members);
    }

    pub fn add(&mut self, members: Vec<Member>) {
        for member in members {
            self.remove.remove(&member.value);
            self.add.insert(member.value.clone(), member);
        }
    }

    pub fn remove(&mut self, value: &str) {
        self.add.remove(value);
        if !self.whole {
            self.remove.insert(value.to_owned());
        }
    }

    pub fn is_empty(&self) -> bool {
        !self.whole && self.add.is_empty() && self.remove.is_empty()
    }

    /// `None`: the request says nothing of members.
    pub fn targets(self, far: Kind) -> Option<Targets> {
        if self.is_empty() {
            return None;
        }
        let add = self.add.into_values().map(|member| member.target(far)).collect();
        if self.whole {
            return Some(Targets::Whole(add));
        }
        let remove = self.remove.into_iter().map(|value| reference(&value, far).into()).collect();
        Some(Targets::Delta { add, remove })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "0198c0de-7a11-7abc-8def-0123456789ab";

    #[test]
    fn every_shape_of_a_member_is_read_and_doubles_are_one() {
        let members = read(
            MEMBERS,
            &json!([{"VALUE": A, "$ref": null, "display": "eva"}, A, {"value": "unknown", "type": "User"}]),
        )
        .unwrap();
        assert_eq!(members.len(), 2);
        assert_eq!(members[0].clone().target(Kind::User).to, Ref::Id(A.parse().unwrap()));
        assert_eq!(members[1].clone().target(Kind::User).to, Ref::Key(Kind::User, "unknown".to_owned()));
        assert_eq!(read(MEMBERS, &json!(null)).unwrap(), []);
        assert_eq!(read(MEMBERS, &json!(format!("[{{\"value\": \"{A}\"}}]"))).unwrap()[0].value, A);
        for bad in [
            json!([{}]),
            json!([{"value": ""}]),
            json!([{"value": 5}]),
            json!([7]),
            json!([{"value": null}]),
            json!(["a\nb"]),
            json!("garbage"),
            json!("[{\"value\": \"\"}]"),
            json!(["no id"]),
        ] {
            assert_eq!(read(MEMBERS, &bad).unwrap_err().scim_type(), Some("invalidValue"), "{bad}");
        }
    }

    #[test]
    fn what_is_said_last_counts() {
        let mut changes = Changes::default();
        assert_eq!(changes.clone().targets(Kind::User), None);
        changes.remove(A);
        changes.add(read(MEMBERS, &json!([A])).unwrap());
        changes.remove("x");
        let Some(Targets::Delta { add, remove }) = changes.clone().targets(Kind::User) else { panic!("a delta") };
        assert_eq!((add.len(), remove.len()), (1, 1));
        changes.replace(Vec::new());
        changes.remove("x");
        assert_eq!(changes.targets(Kind::User), Some(Targets::Whole(Vec::new())));
    }
}
