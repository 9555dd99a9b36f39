//! Table `journal`: one row per change, which is audit, event, preview and undo at once. Rows are only added; the data of
//! a row (personal data) can be erased later while its digest stays.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::db::{Error, Session};
use super::sql::{self, Rows};
use super::value::{Row, Value, values};
use crate::model::change::{Change, Entry};
use crate::model::document::Document;
use crate::model::id::{EntityId, RunId};
use crate::model::time::Millis;

/// What stands in column `data`.
#[derive(Serialize)]
struct Data<'a> {
    label: &'a str,
    key: &'a str,
    before: &'a Document,
    after: &'a Document,
}

#[derive(Deserialize, Default)]
struct Read {
    label: String,
    key: String,
    before: Document,
    after: Document,
}

/// A row that is to be written.
pub struct New<'a> {
    pub seq: i64,
    pub run: RunId,
    pub at: Millis,
    pub actor: &'a str,
    pub change: &'a Change,
}

/// To be appended. Changes of things without an id are not written (they were only planned).
pub fn rows(entries: &[New<'_>]) -> Rows {
    const HEAD: &str = "INSERT INTO journal (seq, run_id, at, actor, source, op, kind, entity_id, digest, data) VALUES";
    let rows = entries.iter().filter_map(|entry| Some(values_of(entry, entry.change.entity?))).collect();
    Rows { head: HEAD, tail: "", values: rows }
}

/// Gives rows that were made beforehand their numbers and their instant: whoever follows the journal must not find one behind
/// him.
pub fn number(rows: &mut Rows, at: Millis, mut next: impl FnMut() -> i64) {
    for row in &mut rows.values {
        row[0] = next().into();
        row[2] = at.into();
    }
}

fn values_of(entry: &New<'_>, id: EntityId) -> Vec<Value> {
    let Change { label, key, before, after, .. } = entry.change;
    let data = serde_json::to_string(&Data { label, key, before, after }).unwrap_or_default();
    let digest = Sha256::digest(data.as_bytes()).to_vec();
    values![
        entry.seq,
        entry.run,
        entry.at,
        entry.actor,
        &entry.change.source,
        entry.change.op.as_str(),
        entry.change.kind,
        id,
        digest,
        data,
    ]
}

const COLUMNS: &str = "seq, run_id, at, actor, source, op, kind, entity_id, data";

fn read(row: &Row) -> Result<Entry, Error> {
    let data: Option<String> = row.get(8)?;
    let data: Read = match data {
        Some(data) => serde_json::from_str(&data).map_err(|error| Error::Stored(error.to_string()))?,
        None => Read::default(),
    };
    Ok(Entry {
        seq: row.get(0)?,
        run: row.parse(1)?,
        at: Millis(row.get(2)?),
        actor: row.get(3)?,
        change: Change {
            source: row.get(4)?,
            op: row.parse(5)?,
            kind: row.parse(6)?,
            entity: Some(row.parse(7)?),
            label: data.label,
            key: data.key,
            before: data.before,
            after: data.after,
        },
    })
}

/// A run's changes after `after` in the order of writing, at most `limit`.
pub async fn of_run(session: &mut impl Session, run: RunId, after: i64, limit: i64) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3");
    session.all(sql, values![run, after, limit]).await?.iter().map(read).collect()
}

/// A run's changes before `before`, the newest first, at most `limit`.
pub async fn of_run_backwards(
    session: &mut impl Session,
    run: RunId,
    before: i64,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE run_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3");
    session.all(sql, values![run, before, limit]).await?.iter().map(read).collect()
}

/// A run's changes of these, in the order of writing.
pub async fn of_run_and_entities(
    session: &mut impl Session,
    run: RunId,
    ids: &[EntityId],
) -> Result<Vec<Entry>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        // By the index of the things, which have few rows: a run has many.
        let mut text = sql::Text::new(&format!("SELECT {COLUMNS} FROM journal WHERE run_id || '' = "));
        text.bind(run).push(" AND entity_id IN ").list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    found.sort_unstable_by_key(|entry| entry.seq);
    Ok(found)
}

/// An entity's history, oldest first, after `after`, at most `limit`.
pub async fn of_entity(session: &mut impl Session, id: EntityId, after: i64, limit: i64) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE entity_id = $1 AND seq > $2 ORDER BY seq LIMIT $3");
    session.all(sql, values![id, after, limit]).await?.iter().map(read).collect()
}

/// An entity's history, newest first, at most `limit`.
pub async fn newest_of_entity(session: &mut impl Session, id: EntityId, limit: i64) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE entity_id = $1 ORDER BY seq DESC LIMIT $2");
    session.all(sql, values![id, limit]).await?.iter().map(read).collect()
}

/// All changes after `after`, at most `limit`: the stream of events.
pub async fn after(session: &mut impl Session, after: i64, limit: i64) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2");
    session.all(sql, values![after, limit]).await?.iter().map(read).collect()
}

/// How often an op stands in a run, and when last.
pub struct Count {
    pub run: RunId,
    pub op: String,
    pub count: u64,
    pub last: Millis,
}

pub async fn counts(session: &mut impl Session, runs: &[RunId]) -> Result<Vec<Count>, Error> {
    let mut found = Vec::new();
    for runs in runs.chunks(sql::MOST) {
        let mut text = sql::Text::new("SELECT run_id, op, count(*), max(at) FROM journal WHERE run_id IN ");
        text.list(runs.iter().copied()).push(" GROUP BY run_id, op ORDER BY run_id, op");
        for row in session.all(text.sql, text.values).await? {
            let count = row.get::<i64>(2)?.unsigned_abs();
            found.push(Count { run: row.parse(0)?, op: row.get(1)?, count, last: Millis(row.get(3)?) });
        }
    }
    Ok(found)
}

/// How many things were taken away in a run since `seq` that are older than `born`: what the guard of calls counts.
pub async fn losses_since(session: &mut impl Session, run: RunId, seq: i64, born: i64) -> Result<u64, Error> {
    const SQL: &str = "SELECT count(*) FROM journal j JOIN entity e ON e.id = j.entity_id \
                       WHERE j.run_id = $1 AND j.seq > $2 AND e.created < $3 \
                       AND j.op IN ('disable', 'delete', 'release')";
    let count: i64 = session.one(SQL, values![run, seq, born]).await?.get(0)?;
    Ok(count.unsigned_abs())
}
