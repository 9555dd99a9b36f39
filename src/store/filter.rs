//! Conditions on entities -> WHERE. A tree of what the indexes can answer; a caller that needs more narrows with it and
//! decides itself. Texts are literals of this file, everything else is bound: what comes from outside is never SQL.

use super::scim::Sight;
use super::value::Value;
use crate::model::desired::Ref;
use crate::model::id::EntityId;
use crate::model::kind::{Realm, Rel};
use crate::model::time::Millis;

#[derive(Debug, Clone, PartialEq)]
pub enum Cond {
    All(Vec<Cond>),
    Any(Vec<Cond>),
    /// Nothing satisfies it (an id that cannot be one).
    Nothing,
    Id(EntityId),
    /// Folded login of a user or name of a group.
    Login(String),
    /// As the asking source calls it.
    External(String),
    /// A folded value of table `lookup`.
    Lookup(&'static str, String),
    /// A group that has this member.
    HasMember(EntityId),
    /// A member of this group.
    MemberOf(EntityId),
    Active(bool),
    Created(Order, Millis),
    Modified(Order, Millis),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Equal,
    After,
    AtOrAfter,
    Before,
    AtOrBefore,
}

impl Order {
    const fn sql(self) -> &'static str {
        match self {
            Order::Equal => " = ",
            Order::After => " > ",
            Order::AtOrAfter => " >= ",
            Order::Before => " < ",
            Order::AtOrBefore => " <= ",
        }
    }
}

/// A statement that is being written.
#[derive(Debug, Default)]
pub struct Statement {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn push(&mut self, literal: &'static str) -> &mut Statement {
        self.sql.push_str(literal);
        self
    }

    /// Binds a value and writes its placeholder.
    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Statement {
        self.values.push(value.into());
        self.sql.push_str(&format!("${}", self.values.len()));
        self
    }

    /// The condition on the entity with the alias `e`.
    pub fn condition(&mut self, cond: &Cond, sight: &Sight<'_>) -> &mut Statement {
        match cond {
            Cond::All(parts) => self.joined(parts, " AND ", "(1 = 1)", sight),
            Cond::Any(parts) => self.joined(parts, " OR ", "(1 = 0)", sight),
            Cond::Nothing => self.push("(1 = 0)"),
            Cond::Id(id) => self.push("e.id = ").bind(*id),
            Cond::Login(key) => self.push("e.login_key = ").bind(key),
            Cond::External(id) => self
                .push("e.id IN (SELECT x.entity_id FROM assertion x WHERE x.source = ")
                .bind(sight.source)
                .push(" AND x.kind = ")
                .bind(sight.kind)
                .push(" AND x.external_id = ")
                .bind(id)
                .push(" AND NOT x.ended)"),
            Cond::Lookup(name, value) => self
                .push("e.id IN (SELECT l.entity_id FROM lookup l WHERE l.kind = ")
                .bind(sight.kind)
                .push(" AND l.name = ")
                .bind(*name)
                .push(" AND l.value = ")
                .bind(value)
                .push(")"),
            // As the source that asks says it itself, known or not; as others say it, within the realm.
            Cond::HasMember(id) => self
                .push("(e.id IN (SELECT m.from_id FROM edge m JOIN entity t ON t.id = m.to_id WHERE m.rel = ")
                .bind(Rel::Member)
                .push(" AND m.to_id = ")
                .bind(*id)
                .push(" AND t.realm = ")
                .bind(sight.realm.map_or("", Realm::as_str))
                .push(") OR EXISTS (SELECT 1 FROM edge m WHERE m.rel = ")
                .bind(Rel::Member)
                .push(" AND m.from_id = e.id AND m.source = ")
                .bind(sight.source)
                .push(" AND m.target = ")
                .bind(Ref::Id(*id).stored())
                .push("))"),
            Cond::MemberOf(id) => self
                .push("e.id IN (SELECT m.to_id FROM edge m WHERE m.rel = ")
                .bind(Rel::Member)
                .push(" AND m.from_id = ")
                .bind(*id)
                .push(")"),
            Cond::Active(on) => self.push("e.active = ").bind(*on),
            Cond::Created(order, at) => self.push("e.created").push(order.sql()).bind(*at),
            Cond::Modified(order, at) => self.push("e.modified").push(order.sql()).bind(*at),
        }
    }

    fn joined(&mut self, parts: &[Cond], word: &'static str, none: &'static str, sight: &Sight<'_>) -> &mut Statement {
        if parts.is_empty() {
            return self.push(none);
        }
        for (at, part) in parts.iter().enumerate() {
            self.push(if at == 0 { "(" } else { word }).condition(part, sight);
        }
        self.push(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Kind;

    #[test]
    fn s29_values_are_bound_and_never_text() {
        let evil = "x') OR 1=1 --".to_owned();
        let cond = Cond::Any(vec![
            Cond::All(vec![Cond::Login(evil.clone()), Cond::Active(true)]),
            Cond::External(evil.clone()),
            Cond::Lookup("email", evil.clone()),
            Cond::All(Vec::new()),
        ]);
        let mut statement = Statement::default();
        let sight = Sight { source: "okta", realm: Some(Realm::Agent), own_only: false, kind: Kind::User };
        statement.condition(&cond, &sight);
        assert!(!statement.sql.contains("1=1"), "{}", statement.sql);
        assert_eq!(statement.sql.matches('$').count(), statement.values.len());
        assert!(statement.sql.starts_with("((e.login_key = $1 AND e.active = $2) OR e.id IN (SELECT x.entity_id"));
    }
}
