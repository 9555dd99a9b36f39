//! Pages of things for the lists of the API, in the order of ids within a realm, with their documents as stored. Reads
//! only; tombstones do not exist here. Start with `page`.

use super::db::{Error, Session};
use super::sql::{self, Text};
use super::value::{Row, values};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Rel};
use crate::model::time::Millis;

/// A thing as it is shown.
#[derive(Debug, Clone)]
pub struct Listed {
    pub id: EntityId,
    pub kind: Kind,
    /// Empty for what is no person or group.
    pub realm: String,
    pub active: bool,
    pub blocked: bool,
    pub state: String,
    pub version: i64,
    pub created: Millis,
    pub modified: Millis,
    pub doc: String,
}

const COLUMNS: &str = "SELECT e.id, e.kind, e.realm, e.active, e.blocked, e.state, e.version, e.created, e.modified, e.doc \
                       FROM entity e WHERE e.state <> 'tombstone' AND";

fn read(row: &Row) -> Result<Listed, Error> {
    Ok(Listed {
        id: row.parse(0)?,
        kind: row.parse(1)?,
        realm: row.get(2)?,
        active: row.get(3)?,
        blocked: row.get(4)?,
        state: row.get(5)?,
        version: row.get(6)?,
        created: Millis(row.get(7)?),
        modified: Millis(row.get(8)?),
        doc: row.get(9)?,
    })
}

/// Those of one kind behind `after` (realm, id), of one realm or of all.
pub async fn page(
    session: &mut impl Session,
    kind: Kind,
    realm: Option<&str>,
    after: Option<(&str, EntityId)>,
    limit: usize,
) -> Result<Vec<Listed>, Error> {
    let mut text = Text::new(COLUMNS);
    text.push(" e.kind = ").bind(kind);
    if let Some(realm) = realm {
        text.push(" AND e.realm = ").bind(realm);
    }
    if let Some((realm, id)) = after {
        text.push(" AND (e.realm, e.id) > (").bind(realm).push(", ").bind(id).push(")");
    }
    text.push(" ORDER BY e.realm, e.id LIMIT ").bind(limit as i64);
    session.all(text.sql, text.values).await?.iter().map(read).collect()
}

/// Those of `ids` that are of this kind, in the order of ids.
pub async fn by_ids(session: &mut impl Session, kind: Kind, ids: &[EntityId]) -> Result<Vec<Listed>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(COLUMNS);
        text.push(" e.kind = ").bind(kind).push(" AND e.id IN ").list(ids.iter().copied()).push(" ORDER BY e.id");
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// A relation of a thing as it is shown: far end, who asserts it, its attributes as JSON.
#[derive(Debug, Clone)]
pub struct Link {
    pub rel: Rel,
    pub to: EntityId,
    pub source: String,
    pub attributes: Option<String>,
}

pub async fn links(session: &mut impl Session, from: EntityId, rels: &[Rel]) -> Result<Vec<Link>, Error> {
    const SQL: &str = "SELECT to_id, source, attributes FROM edge WHERE rel = $1 AND from_id = $2 \
                       AND to_id IS NOT NULL ORDER BY to_id, source LIMIT 1000";
    let mut found = Vec::new();
    for rel in rels {
        for row in session.all(SQL, values![*rel, from]).await? {
            found.push(Link { rel: *rel, to: row.parse(0)?, source: row.get(1)?, attributes: row.get(2)? });
        }
    }
    Ok(found)
}
