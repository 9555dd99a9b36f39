//! From what people call a thing (login, number, id) to its id. Reads only; tombstones have no names.
//! Start with `user` and `numbered`.

use super::db::{Error, Session};
use super::value::values;
use crate::model::fold;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};

/// The account with this login in this realm. What reads as an id is one.
pub async fn user(session: &mut impl Session, realm: Realm, text: &str) -> Result<Option<EntityId>, Error> {
    const SQL: &str = "SELECT id FROM entity WHERE kind = 'user' AND realm = $1 AND login_key = $2 \
                       AND state <> 'tombstone'";
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let row = session.optional(SQL, values![realm.as_str(), fold::key(text)]).await?;
    row.map(|row| row.parse(0)).transpose()
}

/// Everything of a kind with this number; sources may use the same one. What reads as an id is one.
pub async fn numbered(session: &mut impl Session, kind: Kind, text: &str) -> Result<Vec<EntityId>, Error> {
    if let Ok(id) = text.parse() {
        return Ok(vec![id]);
    }
    let all = with_value(session, kind, "number", text).await?;
    if all.len() < 2 {
        return Ok(all);
    }
    // What is gone at its source must not make the number of what is there ambiguous.
    const LIVING: &str = "SELECT e.id FROM lookup l JOIN entity e ON e.id = l.entity_id \
                          WHERE l.kind = $1 AND l.name = 'number' AND l.value = $2 AND e.active ORDER BY e.id LIMIT 100";
    let rows = session.all(LIVING, values![kind, fold::key(text)]).await?;
    let living: Vec<EntityId> = rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    Ok(if living.is_empty() { all } else { living })
}

/// By an indexed value: `email`, `number`, `employee_number`, `display`. At most 100, in the order of ids.
pub async fn with_value(
    session: &mut impl Session,
    kind: Kind,
    name: &'static str,
    value: &str,
) -> Result<Vec<EntityId>, Error> {
    const SQL: &str = "SELECT entity_id FROM lookup WHERE kind = $1 AND name = $2 AND value = $3 \
                       ORDER BY entity_id LIMIT 100";
    let rows = session.all(SQL, values![kind, name, fold::key(value)]).await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

/// Logins of a realm that begin with `start`, folded, for proposals.
pub async fn logins_from(session: &mut impl Session, realm: Realm, start: &str) -> Result<Vec<String>, Error> {
    const SQL: &str = "SELECT login_key FROM entity WHERE kind = 'user' AND realm = $1 AND login_key >= $2 \
                       AND login_key < $3 AND state <> 'tombstone' AND login_key IS NOT NULL";
    let end = format!("{start}\u{10ffff}");
    let rows = session.all(SQL, values![realm.as_str(), start, end]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}
