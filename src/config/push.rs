//! Settings of a source into which jobs push records: `[sources.NAME]` with `kind = "push"`. Records that come as
//! `attributes` need none; `raw` ones go through the source's own mapping, one per kind, compiled by whoever maps.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::read::Section;
use crate::model::kind::Kind;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Push {
    /// Target -> rule, for `raw` records of the kind.
    pub map: BTreeMap<Kind, Map<String, Value>>,
    /// For `lookup`.
    pub tables: Map<String, Value>,
}

impl Push {
    pub fn read(section: &Section<'_>) -> Push {
        let mut map = BTreeMap::new();
        for (word, value) in object(section, "map") {
            match (word.parse::<Kind>(), value) {
                (Ok(kind), Value::Object(rules)) => {
                    map.insert(kind, rules);
                }
                (Ok(_), other) => section.fault("map", Some(&other.to_string()), "must be a section per kind"),
                (Err(unknown), _) => section.fault(&format!("map.{word}"), None, unknown),
            }
        }
        Push { map, tables: object(section, "tables") }
    }
}

fn object(section: &Section<'_>, key: &str) -> Map<String, Value> {
    match section.value(key) {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            section.fault(key, Some(&other.to_string()), "must be a section");
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::check;
    use super::*;

    #[test]
    fn a4_a_mapping_per_kind() {
        let push = check("[map.contact]\ndisplayName = 'name'\n[tables.t]\na = 1", Push::read).unwrap();
        assert_eq!(push.map[&Kind::Contact]["displayName"], "name");
        let text = check("[map.person]\na = 'b'\n[map]\nuser = 1", Push::read).unwrap_err().to_string();
        assert!(text.contains("person") && text.contains("company, contact"), "{text}");
    }
}
