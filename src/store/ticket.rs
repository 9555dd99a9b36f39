//! Table `ticket_scope`: the tickets, devices and sessions of a contact or company as one ordered range each.
//! The rows are only a way to find things quickly: whoever reads them decides every one again. Only
//! `reconcile::scope` writes here. Start with `range`.

use std::collections::{BTreeSet, HashMap};

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Value, values};
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// (scope, created, thing), without the kind.
pub type ScopeRow = (String, i64, EntityId);

/// A scope holds one kind, so that many devices do not stand between two tickets.
pub fn scope(kind: Kind, id: EntityId) -> String {
    if kind == Kind::Ticket { id.to_string() } else { format!("{kind}:{id}") }
}

/// One ordered range: the newest of a scope first, strictly behind `before`.
pub(super) fn range(text: &mut Text, scope: &str, before: Option<(Millis, EntityId)>, limit: usize) {
    text.push("SELECT created, ticket_id FROM ticket_scope WHERE scope_id = ").bind(scope);
    if let Some((at, id)) = before {
        text.push(" AND (created, ticket_id) < (").bind(at).push(", ").bind(id).push(")");
    }
    text.push(" ORDER BY created DESC, ticket_id DESC LIMIT ").bind(limit as i64);
}

pub async fn newest(
    session: &mut impl Session,
    kind: Kind,
    of: EntityId,
    limit: usize,
) -> Result<Vec<(Millis, EntityId)>, Error> {
    let mut text = Text::default();
    range(&mut text, &scope(kind, of), None, limit);
    let rows = session.all(text.sql, text.values).await?;
    rows.iter().map(|row| Ok((Millis(row.get(0)?), row.parse(1)?))).collect()
}

/// What is stored of these things.
pub async fn rows_of(
    session: &mut impl Session,
    things: &[EntityId],
) -> Result<HashMap<EntityId, BTreeSet<ScopeRow>>, Error> {
    let mut found: HashMap<EntityId, BTreeSet<ScopeRow>> = HashMap::new();
    for things in things.chunks(sql::MOST) {
        let mut text = Text::new("SELECT scope_id, created, ticket_id FROM ticket_scope WHERE ticket_id IN ");
        text.list(things.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            let id = row.parse(2)?;
            found.entry(id).or_default().insert((row.get(0)?, row.get(1)?, id));
        }
    }
    Ok(found)
}

/// Replaces all rows of `things` by `rows`.
pub async fn replace(tx: &mut Tx, things: &[EntityId], rows: &[ScopeRow]) -> Result<(), Error> {
    for things in things.chunks(sql::MOST) {
        let mut text = Text::new("DELETE FROM ticket_scope WHERE ticket_id IN ");
        text.list(things.iter().copied());
        tx.execute(text.sql, text.values).await?;
    }
    add(tx, rows).await
}

pub async fn add(tx: &mut Tx, rows: &[ScopeRow]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO ticket_scope (scope_id, created, ticket_id) VALUES";
    let values = |(scope, at, id): &ScopeRow| -> Vec<Value> { values![scope, *at, *id] };
    sql::rows(tx, HEAD, "ON CONFLICT DO NOTHING", rows.iter().map(values).collect()).await
}

/// What concerns this contact or has this company as customer, in the order of ids, behind `after`.
pub async fn around(
    session: &mut impl Session,
    of: EntityId,
    after: Option<EntityId>,
    limit: usize,
) -> Result<Vec<EntityId>, Error> {
    const SQL: &str = "SELECT from_id FROM edge WHERE rel IN ('concerns', 'customer') AND to_id = $1 AND from_id > $2 \
                       ORDER BY from_id LIMIT $3";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let rows = session.all(SQL, values![of, after, limit as i64]).await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

/// What is still stored under this contact, whether or not it belongs there.
pub async fn stored_under(session: &mut impl Session, of: EntityId, limit: usize) -> Result<Vec<EntityId>, Error> {
    let mut found = Vec::new();
    for kind in [Kind::Ticket, Kind::Device, Kind::Session] {
        found.extend(newest(session, kind, of, limit).await?.into_iter().map(|(_, id)| id));
    }
    Ok(found)
}

/// Which of these contacts and companies have anything at all hanging on them.
pub async fn laden(session: &mut impl Session, ids: &[EntityId]) -> Result<BTreeSet<EntityId>, Error> {
    let mut found = BTreeSet::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT DISTINCT to_id FROM edge WHERE rel IN ('concerns', 'customer') AND to_id IN ");
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.insert(row.parse(0)?);
        }
    }
    Ok(found)
}
