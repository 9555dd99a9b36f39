//! Sections `[sources.NAME]`: what every source has in common (its policy and schedule), and which kind of reader it has.
//! The readers' own keys are read by `ldap`, `crm` and `push`; whether the keys together make sense is `meaning`'s.

mod meaning;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crm::Crm;
use super::ldap::{self, Ldap};
use super::push::Push;
use super::read::{Document, Section};
use super::schedule::Schedule;
use super::scim;
use crate::model::dialect::Dialect;
use crate::model::fold;
use crate::model::source::{Absence, Guard, MatchRule, SourceKind, SourcePolicy};
use crate::model::time::Millis;

/// A configured source.
#[derive(Debug, Clone)]
pub struct Source {
    pub policy: Arc<SourcePolicy>,
    /// `None` = only on demand.
    pub schedule: Option<Schedule>,
    pub body: Body,
}

/// How its records come in.
#[derive(Debug, Clone)]
pub enum Body {
    Scim(Dialect),
    Ldap(Box<Ldap>),
    Crm(Box<Crm>),
    Push(Push),
    Operator,
}

/// The source of the operator's own words. It always exists.
pub const OPERATOR: &str = "operator";

pub(super) fn read_all(root: &Section<'_>) -> BTreeMap<String, Source> {
    let mut all: BTreeMap<String, Source> = BTreeMap::new();
    for (name, section) in root.sections("sources") {
        let source = read(&name, &section);
        all.insert(name, source);
    }
    all.entry(OPERATOR.to_owned()).or_insert_with(operator);
    all
}

fn read(name: &str, section: &Section<'_>) -> Source {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
        section.fault("", None, "a source's name has 1 to 40 of a-z, 0-9, - and _");
    }
    let Some(kind) = section.word_required::<SourceKind>("kind") else { return of_no_kind(name, section) };
    if (name == OPERATOR) != (kind == SourceKind::Operator) {
        section.fault("kind", Some(kind.as_str()), "the source named operator, and no other, is of kind operator");
    }
    let body = match kind {
        SourceKind::Scim => Body::Scim(scim::read(section)),
        SourceKind::Ldap => Body::Ldap(Box::new(ldap::read(section))),
        // After a fault the placeholder is never seen.
        SourceKind::Crm => Crm::read(section).map_or(Body::Operator, |crm| Body::Crm(Box::new(crm))),
        SourceKind::Push => Body::Push(Push::read(section)),
        SourceKind::Operator => Body::Operator,
    };
    let mut schedule = schedule(kind, section);
    if matches!(kind, SourceKind::Ldap | SourceKind::Crm) {
        let jitter = section.duration("jitter", std::time::Duration::from_secs(1));
        schedule = schedule.map(|schedule| schedule.spread(name, jitter));
    }
    let policy = policy(name, kind, section);
    meaning::check(section, &policy, &body);
    Source { policy: Arc::new(policy), schedule, body }
}

fn schedule(kind: SourceKind, section: &Section<'_>) -> Option<Schedule> {
    if !matches!(kind, SourceKind::Ldap | SourceKind::Crm) {
        // Not asked for where it has no place.
        if !section.has("schedule") {
            return None;
        }
        let refused = |_: &str| Err::<Schedule, _>("is for sources that are polled (ldap, crm); this one is not");
        return section.parsed("schedule", refused);
    }
    section.parsed("schedule", |text| {
        let schedule = Schedule::parse(text).map_err(|wrong| wrong.to_string())?;
        let never = schedule.after(Millis(0)).is_none();
        if never { Err("names a day that no year has".to_owned()) } else { Ok(schedule) }
    })
}

/// What its own keys mean is not known without the kind: a key that some kind has is let be, any other is unknown.
fn of_no_kind(name: &str, section: &Section<'_>) -> Source {
    let policy = policy(name, SourceKind::Push, section);
    section.word_optional::<Schedule>("schedule");
    let nothing = Document::parse("");
    let blank = nothing.root();
    ldap::read(&blank);
    Crm::read(&blank);
    Push::read(&blank);
    scim::read(&blank);
    section.knows_like(&blank);
    Source { policy: Arc::new(policy), schedule: None, body: Body::Operator }
}

fn policy(name: &str, kind: SourceKind, section: &Section<'_>) -> SourcePolicy {
    let guard = section.section("guard");
    let default = Guard::default();
    SourcePolicy {
        name: name.to_owned(),
        kind,
        realm: section.word_optional("realm"),
        company: section.text("company"),
        priority: section.integer("priority", 0..=1_000_000, default_priority(kind)),
        match_rules: section.list("match").iter().filter_map(|word| match_rule(word, section)).collect(),
        guard: Guard {
            percent: guard.integer("percent", 0..=100, i64::from(default.percent)) as u32,
            count: guard.integer("count", 0..=1_000_000, default.count as i64) as u64,
        },
        absence: section.word("absence", Absence::Disable),
        invite: section.boolean("invite", false),
        union: section.list("union").into_iter().collect(),
        protected: section.list("protected").iter().map(|login| fold::key(login)).collect(),
    }
}

fn match_rule(word: &str, section: &Section<'_>) -> Option<MatchRule> {
    let rule = match word {
        "login" => MatchRule::Login,
        "email" => MatchRule::Email,
        "employee_number" => MatchRule::EmployeeNumber,
        "number" => MatchRule::Number,
        _ => {
            section.fault("match", Some(word), "must be of login, email, employee_number, number");
            return None;
        }
    };
    Some(rule)
}

/// The operator's word stands above the sources, unless the configuration says otherwise.
fn default_priority(kind: SourceKind) -> i64 {
    if kind == SourceKind::Operator { 1000 } else { 100 }
}

fn operator() -> Source {
    let policy = SourcePolicy {
        name: OPERATOR.to_owned(),
        kind: SourceKind::Operator,
        realm: None,
        company: None,
        priority: default_priority(SourceKind::Operator),
        match_rules: Vec::new(),
        guard: Guard::default(),
        absence: Absence::Disable,
        invite: false,
        union: Default::default(),
        protected: Default::default(),
    };
    Source { policy: Arc::new(policy), schedule: None, body: Body::Operator }
}
