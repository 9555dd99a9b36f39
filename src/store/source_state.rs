//! Table `source_state`: what a source's last run left behind. Updated in place: a run without changes writes nothing
//! else (B5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::db::{Error, Session, Tx};
use super::value::{Row, values};
use crate::model::id::RunId;
use crate::model::time::Millis;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceState {
    pub source: String,
    /// Where the next incremental read begins.
    pub cursor: Option<String>,
    /// Of what the read depends on (filter, base, mapping, bind identity): a change of it asks for a preview.
    pub fingerprint: Option<String>,
    pub paused: bool,
    pub last_run: Option<RunId>,
    pub last_at: Option<Millis>,
    /// The last run that was complete.
    pub last_good_at: Option<Millis>,
    /// A word of `RunState`.
    pub last_state: Option<String>,
    /// JSON of `Status`.
    pub status: String,
}

/// How the last run went, as it is shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub counts: BTreeMap<String, u64>,
    pub message: Option<String>,
    /// How many runs have failed since the last one that did not.
    pub failures: u32,
    /// What stopped it may be over soon.
    pub passes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// What a read of everything found that the reads of what changed had not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub changes: u64,
    pub at: Millis,
}

/// The first try after a failure, and the longest pause between two.
const SOONEST: i64 = 30_000;
const LATEST: i64 = 15 * 60_000;

impl SourceState {
    pub fn status(&self) -> Status {
        serde_json::from_str(&self.status).unwrap_or_default()
    }

    pub fn tell(&mut self, status: &Status) {
        self.status = serde_json::to_string(status).unwrap_or_default();
    }

    /// Somebody is told: it failed twice in a row, or in a way that is not tried again by itself.
    pub fn is_failing(&self) -> bool {
        let status = self.status();
        self.last_state.as_deref() == Some("failed") && (status.failures > 1 || !status.passes)
    }

    /// When it is tried again after a failure that may be over by then; each time twice as much later.
    pub fn retry_at(&self) -> Option<Millis> {
        let status = self.status();
        let failed = self.last_state.as_deref() == Some("failed") && status.passes;
        let pause = SOONEST.saturating_mul(1 << status.failures.saturating_sub(1).min(16)).min(LATEST);
        if failed { self.last_at.map(|last| last.plus(pause)) } else { None }
    }
}

/// Notes beside the last run's figures what a read of everything found.
pub async fn drifted(tx: &mut Tx, source: &str, drift: Drift) -> Result<(), Error> {
    let Some(mut state) = by_name(tx, source).await? else { return Ok(()) };
    let status = Status { drift: Some(drift), ..state.status() };
    state.tell(&status);
    put(tx, &state).await
}

const COLUMNS: &str = "source, cursor, fingerprint, paused, last_run, last_at, last_good_at, last_state, status";

fn read(row: &Row) -> Result<SourceState, Error> {
    let last_at: Option<i64> = row.get(5)?;
    let last_good_at: Option<i64> = row.get(6)?;
    Ok(SourceState {
        source: row.get(0)?,
        cursor: row.get(1)?,
        fingerprint: row.get(2)?,
        paused: row.get(3)?,
        last_run: row.parse_opt(4)?,
        last_at: last_at.map(Millis),
        last_good_at: last_good_at.map(Millis),
        last_state: row.get(7)?,
        status: row.get(8)?,
    })
}

pub async fn by_name(session: &mut impl Session, source: &str) -> Result<Option<SourceState>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM source_state WHERE source = $1");
    session.optional(sql, values![source]).await?.map(|row| read(&row)).transpose()
}

pub async fn all(session: &mut impl Session) -> Result<Vec<SourceState>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM source_state ORDER BY source");
    session.all(sql, Vec::new()).await?.iter().map(read).collect()
}

/// Whether it is read on its schedule. A run under way does not change it.
pub async fn pause(tx: &mut Tx, source: &str, paused: bool) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO source_state (source, paused, status) VALUES ($1, $2, '{}') \
                       ON CONFLICT (source) DO UPDATE SET paused = excluded.paused";
    tx.execute(SQL, values![source, paused]).await.map(drop)
}

/// All but whether it is paused, which is `pause`'s.
pub async fn put(tx: &mut Tx, state: &SourceState) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO source_state (source, cursor, fingerprint, paused, last_run, last_at, last_good_at, \
                       last_state, status) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source) DO UPDATE \
                       SET cursor = excluded.cursor, fingerprint = excluded.fingerprint, \
                       last_run = excluded.last_run, last_at = excluded.last_at, \
                       last_good_at = excluded.last_good_at, last_state = excluded.last_state, \
                       status = excluded.status";
    tx.execute(
        SQL,
        values![
            &state.source,
            state.cursor.clone(),
            state.fingerprint.clone(),
            state.paused,
            state.last_run,
            state.last_at,
            state.last_good_at,
            state.last_state.clone(),
            if state.status.is_empty() { "{}" } else { state.status.as_str() },
        ],
    )
    .await
    .map(drop)
}
