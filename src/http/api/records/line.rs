//! One pushed line: `{"kind", "key", "attributes" or "raw", "relations"}`, `{"kind", "key", "gone": true}`, or the last
//! one, `{"end": true, "count": N}`. Every fault of a line is told at once, with what and what is allowed; the line then
//! counts as present. Pure. Start at `Reader::read`.

mod attributes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::push::Push;
use crate::mapping::{self, Mapping, Names, digest};
use crate::model::desired::{Desired, Known, Record, Ref, Target, Targets, Write};
use crate::model::fold;
use crate::model::kind::{Kind, Rel};
use crate::model::vocabulary::Vocabulary;
use crate::scim::json as strict;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The place: `key`, `attributes.emails`, `relations.works_for`.
    pub what: String,
    pub allowed: String,
}

#[derive(Debug, PartialEq)]
pub enum Parsed {
    Record(Record),
    /// Reported; the record counts as present.
    Faulty(Record, Vec<Fault>),
    /// That was all: so many lines with records came before.
    End {
        count: u64,
    },
}

/// Reads the lines of one source.
pub struct Reader {
    mappings: HashMap<Kind, Mapping>,
    vocabulary: Arc<Vocabulary>,
}

/// Longest key in bytes: keys are columns of an index.
const LONGEST_KEY: usize = 1024;
const OWN: [&str; 6] = ["kind", "key", "attributes", "raw", "relations", "gone"];
impl Reader {
    /// The source's mappings for `raw` records, or every fault in them under its key in the source's section.
    pub fn compile(push: &Push, vocabulary: Arc<Vocabulary>) -> Result<Reader, Vec<mapping::Fault>> {
        let (mut mappings, mut faults) = (HashMap::new(), Vec::new());
        for (kind, rules) in &push.map {
            match Mapping::compile(*kind, Names::Exact, rules, &push.tables) {
                Ok(mapping) => {
                    mappings.insert(*kind, mapping);
                }
                Err(all) => faults.extend(all.into_iter().map(|fault| mapping::Fault {
                    target: format!("map.{kind}.{}", fault.target),
                    reason: fault.reason,
                })),
            }
        }
        if faults.is_empty() { Ok(Reader { mappings, vocabulary }) } else { Err(faults) }
    }

    pub fn read(&self, line: &[u8], known: &dyn Known) -> Parsed {
        let value = match strict::plain(line) {
            Ok(value) => value,
            Err(error) => return faulty(None, None, vec![fault("line", format!("one JSON object ({error})"))]),
        };
        let Value::Object(fields) = value else {
            return faulty(None, None, vec![fault("line", "one JSON object")]);
        };
        if fields.contains_key("end") {
            return end(&fields);
        }
        self.record(fields, known)
    }

    fn record(&self, fields: Map<String, Value>, known: &dyn Known) -> Parsed {
        let mut faults = Vec::new();
        for name in fields.keys().filter(|name| !OWN.contains(&name.as_str())) {
            faults.push(fault(name, format!("one of {}", OWN.join(", "))));
        }
        let kinds = || Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
        let kind = fields.get("kind").and_then(Value::as_str).and_then(|word| word.parse::<Kind>().ok());
        if kind.is_none() {
            faults.push(fault("kind", format!("one of {}", kinds())));
        }
        let key = match fields.get("key") {
            Some(Value::String(key)) if is_name(key) => Some(key.trim().to_owned()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => {
                faults.push(fault(
                    "key",
                    format!(
                        "a text of 1 to {LONGEST_KEY} bytes without control characters: the source's own unchanging id"
                    ),
                ));
                None
            }
        };
        let gone = match fields.get("gone") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                faults.push(fault("gone", "true or false"));
                false
            }
        };
        let (Some(kind), Some(key)) = (kind, key.clone()) else { return faulty(kind, key, faults) };
        if gone {
            for name in ["attributes", "raw", "relations"].iter().filter(|name| fields.contains_key(**name)) {
                faults.push(fault(name, "nothing beside \"gone\": true"));
            }
            let record = Record::Gone { kind, key: key.clone() };
            return if faults.is_empty() { Parsed::Record(record) } else { faulty(Some(kind), Some(key), faults) };
        }
        let relations = relations(kind, fields.get("relations"), &mut faults);
        let desired = match (fields.get("attributes"), fields.get("raw")) {
            (Some(Value::Object(attributes)), None) => {
                attributes::check(&self.vocabulary, kind, attributes, &mut faults);
                Desired { attributes: attributes.clone(), ..empty(kind, key.clone()) }
            }
            (None, Some(raw @ Value::Object(_))) => self.mapped(kind, &key, raw, &mut faults),
            _ => {
                faults.push(fault("attributes", "an object, or \"raw\": an object for the source's mapping"));
                empty(kind, key.clone())
            }
        };
        if !faults.is_empty() {
            return faulty(Some(kind), Some(key), faults);
        }
        let print = self.mappings.get(&kind).map_or([0; 32], |mapping| *mapping.fingerprint());
        let digest = digest(&Value::Object(fields), &print);
        if known.is(kind, &key, &digest) {
            return Parsed::Record(Record::Same { kind, key });
        }
        let mut desired = Desired { digest: Some(digest), ..desired };
        desired.relations.extend(relations);
        Parsed::Record(Record::Present(Box::new(desired)))
    }

    fn mapped(&self, kind: Kind, key: &str, raw: &Value, faults: &mut Vec<Fault>) -> Desired {
        match self.mappings.get(&kind).map(|mapping| mapping.map(raw, key.to_owned())) {
            Some(Ok(desired)) => return desired,
            Some(Err(error)) => faults.push(fault("raw", error)),
            None => faults.push(fault("raw", format!("nothing: the source has no map.{kind}"))),
        }
        empty(kind, key.to_owned())
    }
}

fn empty(kind: Kind, key: String) -> Desired {
    Desired {
        kind,
        key,
        realm: None,
        alias: None,
        attributes: Map::new(),
        write: Write::Whole,
        relations: BTreeMap::new(),
        digest: None,
    }
}

fn end(fields: &Map<String, Value>) -> Parsed {
    let only = fields.keys().all(|name| matches!(name.as_str(), "end" | "count"));
    match (fields.get("end"), fields.get("count").and_then(Value::as_u64)) {
        (Some(Value::Bool(true)), Some(count)) if only => Parsed::End { count },
        _ => faulty(None, None, vec![fault("end", "{\"end\": true, \"count\": number of lines before it}")]),
    }
}

fn fault(what: &str, allowed: impl ToString) -> Fault {
    Fault { what: what.to_owned(), allowed: allowed.to_string() }
}

fn faulty(kind: Option<Kind>, key: Option<String>, faults: Vec<Fault>) -> Parsed {
    let reason = faults.iter().map(|fault| format!("{}: {}", fault.what, fault.allowed)).collect::<Vec<_>>().join("; ");
    Parsed::Faulty(Record::Bad { kind, key, reason, off: false }, faults)
}

/// Which relations a kind has, and the kind at the far end.
fn ends(kind: Kind) -> &'static [(Rel, Kind)] {
    match kind {
        Kind::Group => &[(Rel::Member, Kind::User)],
        Kind::User => &[(Rel::Pairing, Kind::Contact), (Rel::BelongsTo, Kind::Company), (Rel::Manager, Kind::User)],
        Kind::Contact => &[(Rel::WorksFor, Kind::Company), (Rel::MergedInto, Kind::Contact)],
        Kind::Ticket => &[(Rel::Concerns, Kind::Contact)],
        Kind::Device | Kind::Session => &[(Rel::Concerns, Kind::Contact), (Rel::Customer, Kind::Company)],
        Kind::Company | Kind::Template | Kind::Own(_) => &[],
    }
}

fn relations(kind: Kind, value: Option<&Value>, faults: &mut Vec<Fault>) -> BTreeMap<Rel, Targets> {
    let mut found = BTreeMap::new();
    let named = match value {
        None => return found,
        Some(Value::Object(named)) => named,
        Some(_) => {
            faults.push(fault("relations", "an object: {\"works_for\": [\"key\"]}"));
            return found;
        }
    };
    for (name, value) in named {
        let at = format!("relations.{name}");
        let Some((rel, far)) = ends(kind).iter().find(|(rel, _)| rel.as_str() == name) else {
            let known = ends(kind).iter().map(|(rel, _)| rel.as_str()).collect::<Vec<_>>().join(", ");
            faults.push(fault(&at, if known.is_empty() { "nothing".to_owned() } else { format!("one of {known}") }));
            continue;
        };
        let targets = match value {
            Value::Object(parts) if parts.keys().all(|part| part == "add" || part == "remove") && !parts.is_empty() => {
                let mut side = |part: &str| targets(*far, parts.get(part).unwrap_or(&Value::Null), &at, faults);
                Targets::Delta { add: side("add"), remove: side("remove") }
            }
            value => Targets::Whole(targets(*far, value, &at, faults)),
        };
        found.insert(*rel, targets);
    }
    found
}

fn targets(far: Kind, value: &Value, at: &str, faults: &mut Vec<Fault>) -> Vec<Target> {
    let all = match value {
        Value::Null => return Vec::new(),
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut found = Vec::with_capacity(all.len());
    for one in all {
        match target(far, one) {
            Some(target) => found.push(target),
            None => {
                let allowed = "keys of this source, or objects with one of key, number, email, display, login";
                faults.push(fault(at, allowed));
                break;
            }
        }
    }
    found
}

/// A key, a number, an address: something that is compared, of one line.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST_KEY && !text.trim().contains(char::is_control)
}

fn target(far: Kind, value: &Value) -> Option<Target> {
    let text = |value: &Value| match value {
        Value::String(text) if is_name(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let Value::Object(parts) = value else { return Some(Ref::Key(far, text(value)?).into()) };
    let attributes = match parts.get("attributes") {
        None => Map::new(),
        Some(Value::Object(attributes)) => attributes.clone(),
        Some(_) => return None,
    };
    let mut pointers = parts.iter().filter(|(name, _)| *name != "attributes");
    let ((name, value), None) = (pointers.next()?, pointers.next()) else { return None };
    let to = match name.as_str() {
        "key" => Ref::Key(far, text(value)?),
        "number" | "email" | "display" | "login" => {
            Ref::Match { kind: far, attribute: name.clone(), value: fold::key(&text(value)?) }
        }
        _ => return None,
    };
    Some(Target { to, attributes })
}

/// For answers.
pub fn shown(line: u64, faults: Vec<Fault>) -> impl Iterator<Item = Value> {
    faults.into_iter().map(move |fault| json!({"line": line, "what": fault.what, "allowed": fault.allowed}))
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
