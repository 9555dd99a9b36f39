//! Table `edge`: relations, one row per source that asserts one. A row whose far end is not known yet has no `to_id` and
//! waits; `target` keeps how the source points at it. Only the engine writes here; reads of visibility stand elsewhere.

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Row, Value, values};
use crate::model::document::Document;
use crate::model::id::EntityId;
use crate::model::kind::Rel;

#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub rel: Rel,
    pub from: EntityId,
    pub source: String,
    /// `model::desired::Ref::stored`.
    pub target: String,
    pub to: Option<EntityId>,
    pub attributes: Document,
}

const COLUMNS: &str = "rel, from_id, source, target, to_id, attributes";

fn read(row: &Row) -> Result<Edge, Error> {
    let attributes: Option<String> = row.get(5)?;
    Ok(Edge {
        rel: row.parse(0)?,
        from: row.parse(1)?,
        source: row.get(2)?,
        target: row.get(3)?,
        to: row.parse_opt(4)?,
        attributes: match attributes {
            Some(text) => serde_json::from_str(&text).map_err(|error| Error::Stored(error.to_string()))?,
            None => Document::new(),
        },
    })
}

/// All rows of one source that begin at these, of one relation.
pub async fn of_source(
    session: &mut impl Session,
    source: &str,
    rel: Rel,
    from: &[EntityId],
) -> Result<Vec<Edge>, Error> {
    let mut found = Vec::new();
    for from in from.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM edge WHERE rel = "));
        text.bind(rel).push(" AND source = ").bind(source).push(" AND from_id IN ").list(from.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// The rows of one source, one relation and one beginning that point at these targets: what a delta needs, however many
/// rows there are beside them.
pub async fn of_targets(
    session: &mut impl Session,
    source: &str,
    rel: Rel,
    from: EntityId,
    targets: &[&str],
) -> Result<Vec<Edge>, Error> {
    let mut found = Vec::new();
    for targets in targets.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM edge WHERE rel = "));
        text.bind(rel).push(" AND source = ").bind(source).push(" AND from_id = ").bind(from);
        text.push(" AND target IN ").list(targets.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// Every row that begins at one of these.
pub async fn from_any(session: &mut impl Session, from: &[EntityId]) -> Result<Vec<Edge>, Error> {
    let mut found = Vec::new();
    for rel in Rel::ALL {
        for from in from.chunks(sql::MOST) {
            let mut text = Text::new(&format!("SELECT {COLUMNS} FROM edge WHERE rel = "));
            text.bind(*rel).push(" AND from_id IN ").list(from.iter().copied());
            for row in session.all(text.sql, text.values).await? {
                found.push(read(&row)?);
            }
        }
    }
    Ok(found)
}

/// Every row that ends at one of these.
pub async fn to_any(session: &mut impl Session, to: &[EntityId]) -> Result<Vec<Edge>, Error> {
    let mut found = Vec::new();
    for to in to.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM edge WHERE to_id IN "));
        text.list(to.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// Whether any row waits for its far end.
pub async fn any_waits(session: &mut impl Session) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 FROM edge WHERE to_id IS NULL LIMIT 1";
    Ok(session.optional(SQL, Vec::new()).await?.is_some())
}

/// The rows that wait for one of these targets.
pub async fn waiting_for(session: &mut impl Session, targets: &[&str]) -> Result<Vec<Edge>, Error> {
    let mut found = Vec::new();
    for targets in targets.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM edge WHERE to_id IS NULL AND target IN "));
        text.list(targets.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// Writes rows as they are now, whether or not they were there.
pub async fn put(tx: &mut Tx, rows: &[Edge]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO edge (rel, from_id, source, target, to_id, attributes) VALUES";
    const TAIL: &str = "ON CONFLICT (rel, from_id, source, target) DO UPDATE SET to_id = excluded.to_id, \
                        attributes = excluded.attributes";
    let values = |edge: &Edge| -> Vec<Value> {
        let attributes = Some(&edge.attributes).filter(|attributes| !attributes.is_empty());
        values![edge.rel, edge.from, &edge.source, &edge.target, edge.to, attributes]
    };
    sql::rows(tx, HEAD, TAIL, rows.iter().map(values).collect()).await
}

pub async fn delete(tx: &mut Tx, rows: &[Edge]) -> Result<(), Error> {
    const HEAD: &str = "DELETE FROM edge WHERE (rel, from_id, source, target) IN (VALUES";
    let values = |edge: &Edge| values![edge.rel, edge.from, &edge.source, &edge.target];
    sql::rows(tx, HEAD, ")", rows.iter().map(values).collect()).await
}

/// A thing is called differently by its source from now on (a directory entry was renamed): what points at it by the old
/// alias follows..
pub async fn rename_target(tx: &mut Tx, source: &str, to: EntityId, old: &str, new: &str) -> Result<(), Error> {
    const COPY: &str = "INSERT INTO edge (rel, from_id, source, target, to_id, attributes) \
                        SELECT rel, from_id, source, $1, to_id, attributes FROM edge \
                        WHERE to_id = $2 AND source = $3 AND target = $4 \
                        ON CONFLICT (rel, from_id, source, target) DO UPDATE SET to_id = excluded.to_id";
    const DROP: &str = "DELETE FROM edge WHERE to_id = $1 AND source = $2 AND target = $3";
    if tx.execute(COPY, values![new, to, source, old]).await? > 0 {
        tx.execute(DROP, values![to, source, old]).await?;
    }
    Ok(())
}

/// Rows that begin or end at tombstones wait again: nothing is reached through them, and nothing of them is lost. Who was
/// merged into another keeps its merger and what points at it, which the survivor takes over (R18).
pub async fn unresolve(tx: &mut Tx, ids: &[EntityId]) -> Result<(), Error> {
    const BEGIN: &str = "UPDATE edge SET to_id = NULL WHERE to_id IS NOT NULL AND rel <> 'merged_into' AND from_id IN ";
    const END: &str = "UPDATE edge SET to_id = NULL WHERE NOT EXISTS (SELECT 1 FROM edge m WHERE m.rel = 'merged_into' \
                       AND m.from_id = edge.to_id AND m.to_id IS NOT NULL) AND to_id IN ";
    for ids in ids.chunks(sql::MOST) {
        for sql in [END, BEGIN] {
            let mut text = Text::new(sql);
            text.list(ids.iter().copied());
            tx.execute(text.sql, text.values).await?;
        }
    }
    Ok(())
}

/// Which group is in which, from these groups upwards: (member, group) each once, `limit` pairs at most. Groups that are switched
/// off hold nobody.
pub async fn nesting(
    session: &mut impl Session,
    groups: &[EntityId],
    limit: i64,
) -> Result<Vec<(EntityId, EntityId)>, Error> {
    // Literals, as in the index `edge_member`. UNION ends where groups hold each other.
    let mut text =
        Text::new("WITH RECURSIVE up(member, id) AS (SELECT m.to_id, m.from_id FROM edge m CROSS JOIN entity e ");
    text.push("WHERE m.rel = 'member' AND e.id = m.from_id AND e.active AND m.to_id IN ").list(groups.iter().copied());
    text.push(" UNION SELECT m.to_id, m.from_id FROM up CROSS JOIN edge m CROSS JOIN entity e ")
        .push("WHERE m.rel = 'member' AND m.to_id = up.id AND e.id = m.from_id AND e.active) ")
        .push("SELECT member, id FROM up LIMIT ")
        .bind(limit);
    session.all(text.sql, text.values).await?.iter().map(|row| Ok((row.parse(0)?, row.parse(1)?))).collect()
}

/// How many rows a source asserts of a relation that begin at things of its own.
pub async fn count_of_source(session: &mut impl Session, source: &str, rel: Rel) -> Result<u64, Error> {
    const SQL: &str = "SELECT count(*) FROM edge WHERE rel = $1 AND source = $2";
    let count: i64 = session.one(SQL, values![rel, source]).await?.get(0)?;
    Ok(count.unsigned_abs())
}
