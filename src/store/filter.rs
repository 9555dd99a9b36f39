//! Conditions on entities -> WHERE. A tree of what the indexes can answer; a caller that needs more narrows with it and
//! decides itself. Texts are literals of this file, everything else is bound: what comes from outside is never SQL.

use std::borrow::Cow;

use super::scim::{Sight, seen};
use super::sql::Text;
use super::value::Value;
use crate::model::desired::Ref;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::order::{Key, Mark};
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
    /// Whether it has a login or name at all.
    HasLogin(bool),
    /// As the asking source calls it.
    External(String),
    /// A folded value of table `lookup`.
    Lookup(Cow<'static, str>, String),
    /// Something that this relation leads from to that end: a group that has this member.
    HasEnd(Rel, EntityId),
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

/// What a list is ordered by. Whatever is listed must have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The order of creation, nearly.
    Id,
    Login,
    Created,
    Modified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrange {
    pub by: By,
    pub descending: bool,
}

impl Arrange {
    pub const BY_ID: Arrange = Arrange { by: By::Id, descending: false };

    /// What stands behind the mark.
    pub fn behind(self, text: &mut Text, mark: &Mark) {
        let sign = if self.descending { " < " } else { " > " };
        let key: Option<Value> = match &mark.key {
            Some(Key::Text(key)) => Some(key.as_str().into()),
            Some(Key::Time(at)) => Some((*at).into()),
            _ => None,
        };
        match (self.by.column(), key) {
            (Some(column), Some(key)) => {
                text.push("(").push(column).push(", e.id)").push(sign).push("(").bind(key);
                text.push(", ").bind(mark.id).push(")");
            }
            _ => drop(text.push("e.id").push(sign).bind(mark.id)),
        }
    }

    pub fn order(self, text: &mut Text) {
        let way = if self.descending { " DESC" } else { "" };
        text.push(" ORDER BY ");
        if let Some(column) = self.by.column() {
            text.push(column).push(way).push(", ");
        }
        text.push("e.id").push(way);
    }
}

impl By {
    const fn column(self) -> Option<&'static str> {
        match self {
            By::Id => None,
            By::Login => Some("e.login_key"),
            By::Created => Some("e.created"),
            By::Modified => Some("e.modified"),
        }
    }
}

/// The condition on the entity with the alias `e`.
pub fn condition<'t>(text: &'t mut Text, cond: &Cond, sight: &Sight<'_>) -> &'t mut Text {
    match cond {
        Cond::All(parts) => joined(text, parts, " AND ", "(1 = 1)", sight),
        Cond::Any(parts) => joined(text, parts, " OR ", "(1 = 0)", sight),
        Cond::Nothing => text.push("(1 = 0)"),
        Cond::Id(id) => text.push("e.id = ").bind(*id),
        Cond::Login(key) => text.push("e.login_key = ").bind(key),
        Cond::HasLogin(has) => text.push(if *has { "e.login_key IS NOT NULL" } else { "e.login_key IS NULL" }),
        Cond::External(id) => text
            .push("e.id IN (SELECT x.entity_id FROM assertion x WHERE x.source = ")
            .bind(sight.source)
            .push(" AND x.kind = ")
            .bind(sight.kind)
            .push(" AND x.external_id = ")
            .bind(id)
            .push(" AND NOT x.ended)"),
        Cond::Lookup(name, value) => text
            .push("e.id IN (SELECT l.entity_id FROM lookup l WHERE l.kind = ")
            .bind(sight.kind)
            .push(" AND l.name = ")
            .bind(name.as_ref())
            .push(" AND l.value = ")
            .bind(value)
            .push(")"),
        // As the source that asks says it itself, known or not; as others say it, within the realm.
        Cond::HasEnd(rel, id) => text
            .push("(e.id IN (SELECT m.from_id FROM edge m JOIN entity t ON t.id = m.to_id WHERE m.rel = ")
            .bind(*rel)
            .push(" AND m.to_id = ")
            .bind(*id)
            .push(" AND t.realm = ")
            .bind(sight.realm.map_or("", Realm::as_str))
            .push(") OR EXISTS (SELECT 1 FROM edge m WHERE m.rel = ")
            .bind(*rel)
            .push(" AND m.from_id = e.id AND m.source = ")
            .bind(sight.source)
            .push(" AND m.target = ")
            .bind(Ref::Id(*id).stored())
            // Of whom it has let go it is told nothing any more.
            .push(") AND NOT EXISTS (SELECT 1 FROM assertion g WHERE g.entity_id = ")
            .bind(*id)
            .push(" AND g.ended AND g.source = ")
            .bind(sight.source)
            .push("))"),
        Cond::MemberOf(id) => {
            let groups = sight.of(Kind::Group);
            // Literals, as in the index `edge_member`. Downwards through groups that exist for the source. CROSS: SQLite keeps
            // the order in which they stand, or it would look at every membership for each member.
            text.push("e.id IN (WITH RECURSIVE down(id) AS (SELECT g.id FROM entity g WHERE g.id = ")
                .bind(*id)
                .push(" AND ");
            seen(text, &groups, "g");
            text.push(
                " UNION SELECT m.to_id FROM down CROSS JOIN entity g CROSS JOIN edge m WHERE g.id = down.id AND ",
            );
            seen(text, &groups, "g");
            text.push(" AND m.rel = 'member' AND m.from_id = g.id) SELECT id FROM down)")
        }
        Cond::Active(on) => text.push("e.active = ").bind(*on),
        Cond::Created(order, at) => text.push("e.created").push(order.sql()).bind(*at),
        Cond::Modified(order, at) => text.push("e.modified").push(order.sql()).bind(*at),
    }
}

fn joined<'t>(text: &'t mut Text, parts: &[Cond], word: &str, none: &str, sight: &Sight<'_>) -> &'t mut Text {
    if parts.is_empty() {
        return text.push(none);
    }
    for (at, part) in parts.iter().enumerate() {
        condition(text.push(if at == 0 { "(" } else { word }), part, sight);
    }
    text.push(")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Kind;
    use crate::store::Session as _;

    #[test]
    fn s29_values_are_bound_and_never_text() {
        let evil = "x') OR 1=1 --".to_owned();
        let cond = Cond::Any(vec![
            Cond::All(vec![Cond::Login(evil.clone()), Cond::Active(true)]),
            Cond::External(evil.clone()),
            Cond::Lookup("email".into(), evil.clone()),
            Cond::All(Vec::new()),
        ]);
        let mut statement = Text::default();
        let sight = Sight { source: "okta", realm: Some(Realm::Agent), own_only: false, kind: Kind::User };
        condition(&mut statement, &cond, &sight);
        assert!(!statement.sql.contains("1=1"), "{}", statement.sql);
        assert_eq!(statement.sql.matches('$').count(), statement.values.len());
        assert!(statement.sql.starts_with("((e.login_key = $1 AND e.active = $2) OR e.id IN (SELECT x.entity_id"));
    }

    /// Downwards from a group by its own rows: by all memberships for each member it would be quadratic.
    #[tokio::test]
    async fn s33_members_of_a_group_are_found_by_the_group() {
        crate::store::testing::both(|db| async move {
            if !db.is_embedded() {
                return;
            }
            let sight = Sight { source: "okta", realm: Some(Realm::Agent), own_only: false, kind: Kind::User };
            let mut text = Text::new("EXPLAIN QUERY PLAN SELECT e.id FROM entity e WHERE ");
            condition(&mut text, &Cond::MemberOf("0198c0de-7a11-7abc-8def-0123456789ab".parse().unwrap()), &sight);
            let rows = db.read().await.unwrap().all(text.sql, text.values).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(3).unwrap()).collect();
            let at = |part: &str| plan.iter().position(|line| line.contains(part));
            // From what was reached to the group that it is, and from there to its rows.
            let steps = [at("SCAN down"), at("SEARCH g USING INDEX sqlite_autoindex_entity_1 (id=?)"), at("SEARCH m")];
            assert!(steps.iter().all(Option::is_some), "{plan:#?}");
            assert!(plan.iter().all(|line| !line.contains("SEARCH m") || line.contains("from_id=?")), "{plan:#?}");
            assert!(plan.iter().all(|line| !line.contains(" g ") || line.contains("id=?")), "{plan:#?}");
        })
        .await;
    }
}
