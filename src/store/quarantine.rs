//! Table `quarantine`: the records of a source that could not be taken, with their reason. A run replaces the rows of its
//! source; a row that is the same stays untouched.

use super::db::{Error, Session, Tx};
use super::sql;
use super::value::{Row, values};
use crate::model::id::RunId;
use crate::model::time::Millis;

#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    pub source: String,
    /// A word of `Kind`, or empty where the record did not even say that.
    pub kind: String,
    pub key: String,
    pub run: RunId,
    pub at: Millis,
    pub reason: String,
}

fn read(row: &Row) -> Result<Quarantined, Error> {
    Ok(Quarantined {
        source: row.get(0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        run: row.parse(3)?,
        at: Millis(row.get(4)?),
        reason: row.get(5)?,
    })
}

/// A source's rows, at most `limit`.
pub async fn of_source(session: &mut impl Session, source: &str, limit: i64) -> Result<Vec<Quarantined>, Error> {
    const SQL: &str = "SELECT source, kind, key, run_id, at, reason FROM quarantine WHERE source = $1 \
                       ORDER BY kind, key LIMIT $2";
    session.all(SQL, values![source, limit]).await?.iter().map(read).collect()
}

pub async fn put(tx: &mut Tx, rows: &[Quarantined]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO quarantine (source, kind, key, run_id, at, reason) VALUES";
    const TAIL: &str = "ON CONFLICT (source, kind, key) DO UPDATE SET run_id = excluded.run_id, at = excluded.at, \
                        reason = excluded.reason";
    let values =
        rows.iter().map(|row| values![&row.source, &row.kind, &row.key, row.run, row.at, &row.reason]).collect();
    sql::rows(tx, HEAD, TAIL, values).await
}

pub async fn delete(tx: &mut Tx, source: &str, rows: &[(String, String)]) -> Result<(), Error> {
    const HEAD: &str = "DELETE FROM quarantine WHERE (source, kind, key) IN (VALUES";
    let values = rows.iter().map(|(kind, key)| values![source, kind, key]).collect();
    sql::rows(tx, HEAD, ")", values).await
}
