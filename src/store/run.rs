//! Tables `run` and `run_item`: one pass of the engine, and the records of a pass that waits for approval.

use std::collections::BTreeMap;

use super::db::{Error, Session, Tx};
use super::sql;
use super::value::{Row, values};
use crate::model::id::{EntityId, RunId};
use crate::model::run::{Run, RunKind, RunState};
use crate::model::time::Millis;

const COLUMNS: &str = "id, source, kind, state, started, ended, counts, digest, message";

fn read(row: &Row) -> Result<Run, Error> {
    let ended: Option<i64> = row.get(5)?;
    Ok(Run {
        id: row.parse(0)?,
        source: row.get(1)?,
        kind: row.parse(2)?,
        state: row.parse(3)?,
        started: Millis(row.get(4)?),
        ended: ended.map(Millis),
        counts: row.json::<BTreeMap<String, u64>>(6)?,
        digest: row.get(7)?,
        message: row.get(8)?,
    })
}

/// Writes the row as it is now.
pub async fn put(tx: &mut Tx, run: &Run) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO run (id, source, kind, state, started, ended, counts, digest, message) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET \
                       state = excluded.state, ended = excluded.ended, counts = excluded.counts, \
                       digest = excluded.digest, message = excluded.message";
    let counts = serde_json::to_string(&run.counts).unwrap_or_default();
    tx.execute(
        SQL,
        values![
            run.id,
            &run.source,
            run.kind.as_str(),
            run.state.as_str(),
            run.started,
            run.ended,
            counts,
            run.digest.clone(),
            run.message.clone(),
        ],
    )
    .await
    .map(drop)
}

/// What a held run was read with, kept beside the row until somebody approves it.
pub async fn remember_fingerprint(tx: &mut Tx, id: RunId, fingerprint: &str) -> Result<(), Error> {
    tx.execute("UPDATE run SET fingerprint = $1 WHERE id = $2", values![fingerprint, id]).await.map(drop)
}

pub async fn fingerprint(session: &mut impl Session, id: RunId) -> Result<Option<String>, Error> {
    let row = session.optional("SELECT fingerprint FROM run WHERE id = $1", values![id]).await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// Adds the row unless it is there. False: it was there.
pub async fn open(tx: &mut Tx, id: RunId, source: &str, kind: RunKind, at: Millis) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO run (id, source, kind, state, started, counts) VALUES ($1, $2, $3, $4, $5, '{}') \
                       ON CONFLICT (id) DO NOTHING";
    Ok(tx.execute(SQL, values![id, source, kind.as_str(), RunState::Running.as_str(), at]).await? > 0)
}

pub async fn by_id(session: &mut impl Session, id: RunId) -> Result<Option<Run>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM run WHERE id = $1");
    session.optional(sql, values![id]).await?.map(|row| read(&row)).transpose()
}

/// As `by_id`, and nobody else changes it till the transaction ends.
pub async fn lock(tx: &mut Tx, id: RunId) -> Result<Option<Run>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM run WHERE id = $1");
    tx.lock(sql, values![id]).await?.first().map(read).transpose()
}

/// What has not ended.
pub async fn running(session: &mut impl Session) -> Result<Vec<Run>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM run WHERE state = 'running' ORDER BY id");
    session.all(sql, values![]).await?.iter().map(read).collect()
}

/// The newest runs, of one source or of all.
pub async fn newest(session: &mut impl Session, source: Option<&str>, limit: i64) -> Result<Vec<Run>, Error> {
    let rows = match source {
        Some(source) => {
            let sql = format!("SELECT {COLUMNS} FROM run WHERE source = $1 ORDER BY started DESC, id DESC LIMIT $2");
            session.all(sql, values![source, limit]).await?
        }
        None => {
            let sql = format!("SELECT {COLUMNS} FROM run ORDER BY started DESC, id DESC LIMIT $1");
            session.all(sql, values![limit]).await?
        }
    };
    rows.iter().map(read).collect()
}

/// The runs of a source that wait for approval, or whose approval was interrupted, the newest first.
pub async fn held(session: &mut impl Session, source: &str) -> Result<Vec<Run>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM run WHERE source = $1 AND (state = 'held' OR (state = 'approved' AND ended IS NULL)) \
         ORDER BY started DESC, id DESC"
    );
    session.all(sql, values![source]).await?.iter().map(read).collect()
}

/// A newer run spoke of the same: what was held can no longer be approved, and its records go.
pub async fn supersede(tx: &mut Tx, run: RunId, at: Millis) -> Result<(), Error> {
    // Of one whose approval was interrupted a part was done, and may be taken back.
    const END: &str = "UPDATE run SET state = CASE state WHEN 'held' THEN 'superseded' ELSE state END, ended = $1, \
                       message = CASE state WHEN 'held' THEN message \
                       ELSE 'its approval was interrupted, and a newer run took its place' END WHERE id = $2 AND (state = 'held' OR (state = 'approved' AND ended IS NULL))";
    if tx.execute(END, values![at, run]).await? > 0 {
        drop_items(tx, run).await?;
    }
    Ok(())
}

/// One planned record of a held run.
pub struct Item {
    pub seq: i64,
    /// JSON of `model::desired::Record`.
    pub record: String,
    pub entity: Option<EntityId>,
    /// The entity's version when it was planned.
    pub version: Option<i64>,
}

pub async fn add_items(tx: &mut Tx, run: RunId, items: Vec<Item>) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO run_item (run_id, seq, record, entity_id, version) VALUES";
    let rows = items.into_iter().map(|item| values![run, item.seq, item.record, item.entity, item.version]).collect();
    sql::rows(tx, HEAD, "", rows).await
}

/// The items after `after` in order, at most `limit`.
pub async fn items(session: &mut impl Session, run: RunId, after: i64, limit: i64) -> Result<Vec<Item>, Error> {
    const SQL: &str = "SELECT seq, record, entity_id, version FROM run_item WHERE run_id = $1 AND seq > $2 \
                       ORDER BY seq LIMIT $3";
    let rows = session.all(SQL, values![run, after, limit]).await?;
    rows.iter()
        .map(|row| Ok(Item { seq: row.get(0)?, record: row.get(1)?, entity: row.parse_opt(2)?, version: row.get(3)? }))
        .collect()
}

pub async fn drop_items(tx: &mut Tx, run: RunId) -> Result<(), Error> {
    tx.execute("DELETE FROM run_item WHERE run_id = $1", values![run]).await.map(drop)
}
