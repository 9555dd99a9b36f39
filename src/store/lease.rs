//! Who may poll when several daemons share one PostgreSQL: a row with a holder and a fencing epoch, in database time.
//! No advisory lock: those outlive their holder behind a pooler. The epoch grows with every change of the holder, so that
//! a write of an earlier holder that slept can be refused (`held`).

use super::{Db, Error, Session, Tx, values};

/// Milliseconds that a lease lasts without being renewed.
pub const LASTS: i64 = 15_000;

/// What somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub holder: String,
    pub epoch: i64,
}

/// Takes or renews the lease; `None` while somebody else holds it.
pub async fn acquire(db: &Db, name: &str, holder: &str) -> Result<Option<Lease>, Error> {
    let mut tx = db.write().await?;
    let now = database_time(&mut tx).await?;
    let sql = "INSERT INTO lease (name, holder, epoch, expires) VALUES ($1, '', 0, 0) ON CONFLICT (name) DO NOTHING";
    tx.execute(sql, values![name]).await?;
    let row = tx.lock("SELECT holder, epoch, expires FROM lease WHERE name = $1", values![name]).await?;
    let row = row.first().ok_or(Error::NoRow)?;
    let mine = row.get::<String>(0)? == holder;
    if !mine && row.get::<i64>(2)? > now {
        return Ok(None);
    }
    let epoch = row.get::<i64>(1)? + i64::from(!mine);
    let sql = "UPDATE lease SET holder = $2, epoch = $3, expires = $4 WHERE name = $1";
    tx.execute(sql, values![name, holder, epoch, now + LASTS]).await?;
    tx.commit().await?;
    Ok(Some(Lease { name: name.to_owned(), holder: holder.to_owned(), epoch }))
}

/// Gives it back, so that another need not wait for the end.
pub async fn release(db: &Db, lease: &Lease) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let sql = "UPDATE lease SET expires = 0 WHERE name = $1 AND holder = $2 AND epoch = $3";
    tx.execute(sql, values![&lease.name, &lease.holder, lease.epoch]).await?;
    tx.commit().await
}

/// Whether the lease is still this holder's, inside the transaction that depends on it. The row stays locked to the end of
/// the transaction: nobody takes the lease over before it is committed.
pub async fn held(tx: &mut Tx, lease: &Lease) -> Result<bool, Error> {
    let now = database_time(tx).await?;
    let sql = "SELECT expires FROM lease WHERE name = $1 AND holder = $2 AND epoch = $3";
    let rows = tx.lock(sql, values![&lease.name, &lease.holder, lease.epoch]).await?;
    rows.first().map_or(Ok(false), |row| Ok(row.get::<i64>(0)? > now))
}

/// A write that is taken back: the writer turns and the database takes changes. Leaves no trace.
pub async fn prove_writable(db: &Db) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let sql =
        "INSERT INTO lease (name, holder, epoch, expires) VALUES ('probe', '', 0, 0) ON CONFLICT (name) DO NOTHING";
    tx.execute(sql, values![]).await?;
    drop(tx);
    Ok(())
}

/// Milliseconds since 1970 by the database's clock: replicas need not agree on theirs.
async fn database_time(tx: &mut Tx) -> Result<i64, Error> {
    let row = tx.one("SELECT CAST(CURRENT_TIMESTAMP AS TEXT)", values![]).await?;
    let text: String = row.get(0)?;
    // SQLite: `2026-01-02 03:04:05`, in UTC. PostgreSQL: `2026-01-02 03:04:05.678901+00`, in the session's zone, UTC.
    let bare = text.strip_suffix("+00").unwrap_or(&text);
    let at = crate::model::time::Millis::parse(&format!("{}Z", bare.replace(' ', "T")));
    at.map(|at| at.0).ok_or_else(|| Error::Stored(format!("the database's time is {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::both;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_holds_it_and_a_new_holder_fences_the_old() {
        both(|db| async move {
            let first = acquire(&db, "poll", "a").await.unwrap().unwrap();
            assert_eq!(acquire(&db, "poll", "a").await.unwrap(), Some(first.clone()), "renewed, the same epoch");
            assert_eq!(acquire(&db, "poll", "b").await.unwrap(), None);

            release(&db, &first).await.unwrap();
            let second = acquire(&db, "poll", "b").await.unwrap().unwrap();
            assert_eq!(second.epoch, first.epoch + 1);

            let mut tx = db.write().await.unwrap();
            assert!(!held(&mut tx, &first).await.unwrap(), "the old holder writes nothing");
            assert!(held(&mut tx, &second).await.unwrap());
            tx.commit().await.unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_proof_leaves_no_trace() {
        both(|db| async move {
            prove_writable(&db).await.unwrap();
            let mut read = db.read().await.unwrap();
            assert!(read.all("SELECT name FROM lease", values![]).await.unwrap().is_empty());
        })
        .await;
    }
}
