//! Raw record -> `Desired`: dotted paths, templates and expressions, for directory entries, CRM records and pushed lines
//! alike. A mapping is a table of targets and rules; it is compiled once and every fault in it is told at once. It reads
//! one record and the configured tables, never anything else, and what it cannot map it reports with attribute, value
//! and rule. Start at `Mapping::compile`, then `Mapping::record`; the spellings of a rule stand in `rule.rs`.

mod calls;
pub mod digest;
pub mod dn;
mod filters;
mod known;
mod limits;
mod path;
mod relation;
mod rule;
mod target;
mod template;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Environment;
use serde_json::{Map, Value, json};

pub use digest::{Fingerprint, digest};
pub use known::unknown;
pub use template::Template;

use crate::model::desired::{Desired, Known, Record, Write};
use crate::model::document::Document;
use crate::model::fold;
use crate::model::kind::{Kind, Realm};
use relation::Relation;
use rule::{Failure, Rule, Scope, shown};
use target::{SPECIAL, Target};

/// Counted up when the same rules give other results than before, so that every record is mapped again.
const ENGINE_VERSION: u32 = 2;
/// Keys and aliases are columns of an index.
const MAX_KEY: usize = 1024;

/// Whether the source's names are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// JSON.
    Exact,
    /// LDAP: the records come with lower-case names, and values that are DNs are pointers by default.
    Folded,
}

impl Names {
    fn of(self, name: &str) -> String {
        match self {
            Names::Exact => name.to_owned(),
            Names::Folded => name.to_ascii_lowercase(),
        }
    }
}

/// One mistake in a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{target}`: {reason}")]
pub struct Fault {
    pub target: String,
    pub reason: String,
}

/// Why one record could not be mapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{target}` from `{rule}`: {reason}")]
pub struct MapError {
    pub target: String,
    pub rule: String,
    pub reason: String,
}

/// The compiled mapping of one kind of a source's records.
pub struct Mapping {
    pub kind: Kind,
    names: Names,
    env: Environment<'static>,
    tables: Map<String, Value>,
    key: Option<Rule>,
    alias: Option<Rule>,
    realm: Option<Rule>,
    /// False = the record is not one of ours.
    when: Option<Rule>,
    /// True = the source says that it is gone.
    gone: Option<Rule>,
    attributes: Vec<(String, Target, Rule)>,
    relations: Vec<(String, Relation)>,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Mapping {
    /// `rules`: target -> rule, as they stand in the configuration. `tables`: name -> {value -> value} for `lookup`; keys
    /// are compared folded. Besides attributes and relations the targets `key`, `alias`, `realm`, `when` and `gone` exist.
    pub fn compile(
        kind: Kind,
        names: Names,
        rules: &Map<String, Value>,
        tables: &Map<String, Value>,
    ) -> Result<Mapping, Vec<Fault>> {
        let mut faults = Vec::new();
        let fingerprint = digest::fingerprint(&[
            &json!([ENGINE_VERSION, kind, names == Names::Folded]),
            &Value::Object(rules.clone()),
            &Value::Object(tables.clone()),
        ]);
        let mut mapping = Mapping {
            kind,
            names,
            env: filters::environment(),
            tables: folded_tables(tables),
            key: None,
            alias: None,
            realm: None,
            when: None,
            gone: None,
            attributes: Vec::new(),
            relations: Vec::new(),
            fingerprint,
        };
        for (name, spec) in rules {
            mapping.add(name, spec, &mut faults);
        }
        if faults.is_empty() { Ok(mapping) } else { Err(faults) }
    }

    fn add(&mut self, name: &str, spec: &Value, faults: &mut Vec<Fault>) {
        let relation = relation::named(self.kind, name);
        let special = SPECIAL.contains(&name);
        let options: &[&str] = match (relation, special) {
            (Some(_), _) => &relation::OPTIONS,
            (None, true) => &[],
            (None, false) => &["type"],
        };
        let Some(rule) = Rule::parse(spec, name, self.names, &mut self.env, options, faults) else { return };
        if let Some(table) = rule.lookup.as_ref().filter(|table| !self.tables.contains_key(*table)) {
            let known = self.tables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "there are no tables".to_owned() } else { format!("there are {known}") };
            faults.push(Fault { target: name.to_owned(), reason: format!("`lookup`: no table `{table}`; {known}") });
        }
        match (name, relation) {
            ("key", _) => self.key = Some(rule),
            ("alias", _) => self.alias = Some(rule),
            ("realm", _) => self.realm = Some(rule),
            ("when", _) => self.when = Some(rule),
            ("gone", _) => self.gone = Some(rule),
            (_, Some(ends)) => {
                if let Some(relation) = Relation::parse(rule, name, ends, self.names, faults) {
                    self.relations.push((name.to_owned(), relation));
                }
            }
            (_, None) => match Target::parse(self.kind, name, &rule.options) {
                Ok(target) => self.attributes.push((name.to_owned(), target, rule)),
                Err(reason) => faults.push(Fault { target: name.to_owned(), reason }),
            },
        }
    }

    /// Top-level names of the record that are read: what a directory has to be asked for.
    pub fn inputs(&self) -> BTreeSet<String> {
        let specials = [&self.key, &self.alias, &self.realm, &self.when, &self.gone].into_iter().flatten();
        let attributes = self.attributes.iter().map(|(_, _, rule)| rule);
        let relations = self.relations.iter().map(|(_, relation)| &relation.rule);
        specials.chain(attributes).chain(relations).flat_map(|rule| rule.inputs.iter().cloned()).collect()
    }

    /// Whether the attribute is mapped at all.
    pub fn writes(&self, path: &[&str]) -> bool {
        self.attributes.iter().any(|(_, target, _)| target.path() == path)
    }

    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The whole way of a record whose key is in the record itself (JSON sources): key, digest, and the mapping only if
    /// the digest is not the known one. `None`: not one of ours (`when`).
    pub fn record(&self, raw: &Value, known: &dyn Known) -> Option<Record> {
        let bad = |key: Option<String>, error: MapError| Record::Bad {
            kind: Some(self.kind),
            key,
            reason: error.to_string(),
            off: false,
        };
        let scope = self.scope(raw);
        match flag("when", self.when.as_ref(), &scope) {
            Ok(Some(false)) => return None,
            Ok(_) => {}
            Err(error) => return Some(bad(self.key(raw).ok(), error)),
        }
        let key = match self.key(raw) {
            Ok(key) => key,
            Err(error) => return Some(bad(None, error)),
        };
        match flag("gone", self.gone.as_ref(), &scope) {
            Ok(Some(true)) => return Some(Record::Gone { kind: self.kind, key }),
            Ok(_) => {}
            Err(error) => return Some(bad(Some(key), error)),
        }
        let digest = digest(raw, &self.fingerprint);
        if known.is(self.kind, &key, &digest) {
            return Some(Record::Same { kind: self.kind, key });
        }
        Some(match self.map(raw, key.clone()) {
            Ok(desired) => Record::Present(Box::new(Desired { digest: Some(digest), ..desired })),
            Err(error) => bad(Some(key), error),
        })
    }

    /// Whether the record is wanted at all (`when`).
    pub fn ours(&self, raw: &Value) -> Result<bool, MapError> {
        Ok(flag("when", self.when.as_ref(), &self.scope(raw))? != Some(false))
    }

    /// The source's key as the mapping's `key` rule finds it.
    pub fn key(&self, raw: &Value) -> Result<String, MapError> {
        let wrong = |rule: &str, reason: &str| MapError {
            target: "key".to_owned(),
            rule: rule.to_owned(),
            reason: reason.to_owned(),
        };
        let rule = self.key.as_ref().ok_or_else(|| wrong("", "the mapping has no `key`"))?;
        let found = rule.values(&self.scope(raw)).map_err(|failure| told("key", failure))?;
        match found.as_slice() {
            [one @ (Value::String(_) | Value::Number(_))] if shown(one).len() <= MAX_KEY => {
                Ok(shown(one).trim().to_owned())
            }
            [] => Err(told("key", rule.failure("the record has none".to_owned()))),
            _ => Err(told("key", rule.failure("expected one short text or number".to_owned()))),
        }
    }

    /// Maps a record whose key is known. Without digest; `alias` only if the mapping has one.
    pub fn map(&self, raw: &Value, key: String) -> Result<Desired, MapError> {
        let scope = self.scope(raw);
        let mut attributes = Document::new();
        for (name, target, rule) in &self.attributes {
            let put = rule.values(&scope).and_then(|found| target.put(&mut attributes, rule, found));
            put.map_err(|failure| told(name, failure))?;
        }
        target::mark_primary(&mut attributes);
        let mut relations = BTreeMap::new();
        for (name, relation) in &self.relations {
            let targets = relation.targets(&scope).map_err(|failure| told(name, failure))?;
            let joined = match relations.remove(&relation.rel) {
                Some(before) => Relation::join(before, targets),
                None => targets,
            };
            relations.insert(relation.rel, joined);
        }
        let realm = match (one("realm", self.realm.as_ref(), &scope)?, &self.realm) {
            (Some(word), Some(rule)) => {
                let realm = word.trim().parse::<Realm>();
                Some(realm.map_err(|error| told("realm", rule.failure(error.to_string())))?)
            }
            _ => None,
        };
        let alias = one("alias", self.alias.as_ref(), &scope)?;
        Ok(Desired { kind: self.kind, key, realm, alias, attributes, write: Write::Whole, relations, digest: None })
    }

    fn scope<'a>(&'a self, raw: &'a Value) -> Scope<'a> {
        Scope::new(raw, &self.env, &self.tables, self.names)
    }
}

/// `None`: the rule is missing, or found nothing.
fn flag(name: &str, rule: Option<&Rule>, scope: &Scope) -> Result<Option<bool>, MapError> {
    let Some(rule) = rule else { return Ok(None) };
    let found = rule.values(scope).map_err(|failure| told(name, failure))?;
    let Some(value) = found.first() else { return Ok(None) };
    match text::boolean(&shown(value)) {
        Some(on) => Ok(Some(on)),
        None => Err(told(name, rule.failure(format!("`{}` is neither yes nor no", filters::clipped(&shown(value)))))),
    }
}
/// The first value of a rule that gives one text.
fn one(target: &str, rule: Option<&Rule>, scope: &Scope) -> Result<Option<String>, MapError> {
    let Some(rule) = rule else { return Ok(None) };
    let found = rule.values(scope).map_err(|failure| told(target, failure))?;
    Ok(found.first().map(shown))
}

fn told(target: &str, failure: Failure) -> MapError {
    MapError { target: target.to_owned(), rule: failure.rule, reason: failure.reason }
}

fn folded_tables(tables: &Map<String, Value>) -> Map<String, Value> {
    let folded = |table: &Value| match table {
        Value::Object(rows) => Value::Object(rows.iter().map(|(key, value)| (fold::key(key), value.clone())).collect()),
        other => other.clone(),
    };
    tables.iter().map(|(name, table)| (name.clone(), folded(table))).collect()
}

#[cfg(test)]
mod tests;
