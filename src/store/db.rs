//! The two databases behind one face. Nothing outside this file and its parts (`bind`, `embedded`, `group`, `lite`, `readers`)
//! knows which one it is.
//!
//! `write()` gives a transaction that leaves no trace when it is dropped; on SQLite those who write at the same moment
//! share one durable COMMIT. `read()` gives a connection for reading, `snapshot()` one that sees a single moment.
//! Rules for whoever holds a `Tx`: only SQL and pure code while it is open, no second `write()`, no lock of the program,
//! and `commit` also when nothing was changed but an answer rests on what was read.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr, Transaction};

use super::bind::{postgres, sound, sqlite};
use super::group::Expect;
pub use super::group::{Turn, Writer};
pub use super::readers::{Reader, Readers};
use super::value::{Row, Value};
use crate::model::time::Millis;

/// A COMMIT on PostgreSQL that has not answered by then has an unknown outcome (a vanished synchronous standby
/// makes it hang, and `statement_timeout` does not fire).
const LONGEST_COMMIT: Duration = Duration::from_secs(30);

/// How long a server may take to answer at all.
const FIRST_CONNECTION: Duration = Duration::from_secs(10);

/// How often rows that are being locked may turn out to be more than before.
const MOST_LOCKINGS: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("database: {0}")]
    Lite(#[from] rusqlite::Error),
    /// Nothing of it stays; the same call may be tried again once.
    #[error("not committed, nothing of it stays: {0}")]
    Group(Arc<rusqlite::Error>),
    /// Whether the change is there shows after a restart: SQLite may find the failed COMMIT in its log.
    #[error("the disk failed under a COMMIT, its outcome is unknown and the program must stop: {0}")]
    Disk(Arc<rusqlite::Error>),
    #[error("this transaction is over: a statement was given up, or failed in a way that ends it")]
    Over,
    #[error("the outcome of the write is unknown")]
    Unknown,
    #[error("the writer was busy for too long")]
    Busy,
    #[error("{0}")]
    Schema(String),
    #[error("cannot use this database: {0}")]
    Url(String),
    /// A column holds what this program never writes.
    #[error("unexpected content in the database: {0}")]
    Stored(String),
    #[error("expected one row, found none")]
    NoRow,
    /// Neither database shall take what the other cannot. Nothing was sent, and the transaction goes on.
    #[error("a text holds U+0000, which no text may hold")]
    Nul,
}

impl Error {
    /// A unique index refused the row.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Error::Sql(error) => error.as_database_error().is_some_and(|error| error.is_unique_violation()),
            Error::Lite(error) => super::lite::is_unique_violation(error),
            _ => false,
        }
    }

    /// The database does not answer now (it is away, starting or stopping): a later call may succeed.
    pub fn is_away(&self) -> bool {
        match self {
            Error::Sql(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_)) => true,
            // Another process holds the embedded file.
            Error::Lite(error) => super::lite::is_busy(error),
            // Class 08 is the connection's; 57P01 to 57P03: an end by the operator or a crash, not ready yet.
            Error::Sql(error) => error
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| code.starts_with("08") || matches!(code.as_ref(), "57P01" | "57P02" | "57P03")),
            _ => false,
        }
    }

    /// Two transactions met (PostgreSQL: deadlock, serialisation) or the group failed: nothing stays, try again once.
    pub fn may_be_tried_again(&self) -> bool {
        match self {
            Error::Group(_) | Error::Busy => true,
            Error::Sql(error) => error
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01")),
            _ => false,
        }
    }
}

/// Where the data is and how many may read at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite:///var/lib/musterd/musterd.db`, `sqlite:relative.db` or `postgres://…`.
    pub url: String,
    /// Readers on SQLite (as many as cores and two at least: more starve the writer), connections on PostgreSQL.
    pub connections: u32,
}

impl Options {
    pub fn new(url: impl Into<String>) -> Options {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u32);
        let url = url.into();
        let connections = if url.starts_with("postgres") { 8.max(cores * 4) } else { cores.max(2) };
        Options { url, connections }
    }

    /// The file of an embedded database.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(PathBuf::from(path))
    }
}

#[derive(Clone)]
pub enum Db {
    Sqlite {
        write: Arc<Writer>,
        read: Arc<Readers>,
        /// For whoever needs a single moment.
        moments: Arc<Readers>,
        file: Arc<Path>,
    },
    Postgres(PgPool),
}

impl Db {
    pub async fn open(options: &Options) -> Result<Db, Error> {
        match options.file() {
            Some(file) => super::embedded::open(&file, options.connections).await,
            None if options.url.starts_with("postgres:") || options.url.starts_with("postgresql:") => {
                open_postgres(options).await
            }
            None => Err(Error::Url("expected `sqlite:PATH` or `postgres://USER@HOST/NAME`".to_owned())),
        }
    }

    /// Brings the schema up to date; returns the names of the migrations applied.
    pub async fn migrate(&self, now: Millis) -> Result<Vec<&'static str>, Error> {
        super::migrate::run(self, now).await
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self, Db::Sqlite { .. })
    }

    /// A short transaction: a call of somebody who waits for the answer.
    pub async fn write(&self) -> Result<Tx, Error> {
        self.begin(Expect::Short).await
    }

    /// A transaction of a run: those who committed just before it do not wait for it.
    pub async fn write_long(&self) -> Result<Tx, Error> {
        self.begin(Expect::Long).await
    }

    async fn begin(&self, expect: Expect) -> Result<Tx, Error> {
        Ok(match self {
            Db::Sqlite { write, .. } => Tx::Sqlite(write.clone().turn(expect).await?),
            Db::Postgres(pool) => Tx::Postgres(begin_postgres(pool, None).await?),
        })
    }

    /// A connection for reading; each statement sees what is committed when it starts. One per request, not per statement.
    pub async fn read(&self) -> Result<Read, Error> {
        Ok(match self {
            Db::Sqlite { read, .. } => Read::Sqlite(read.lend().await?),
            Db::Postgres(pool) => Read::Postgres(pool.acquire().await?),
        })
    }

    /// A read transaction: all its statements see the same moment. Keep it short on SQLite, it holds up the log.
    pub async fn snapshot(&self) -> Result<Read, Error> {
        Ok(match self {
            Db::Sqlite { moments, .. } => Read::Sqlite(moments.moment().await?),
            Db::Postgres(pool) => {
                let moment = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Read::PostgresSnapshot(begin_postgres(pool, Some(moment)).await?)
            }
        })
    }

    /// The state of the store as far as things come and go, asked before it is looked at: as long as it stays the same, nothing
    /// came or went. On PostgreSQL any writer of the cluster changes it.
    pub async fn stamp(&self, read: &mut Read) -> Result<Stamp, Error> {
        Ok(Stamp(match self {
            Db::Sqlite { write, .. } => write.moves().to_string(),
            Db::Postgres(_) => read.one("SELECT pg_current_snapshot()::text", Vec::new()).await?.get(0)?,
        }))
    }

    /// Returns when the store must not be written any more and the program must stop (SQLite: a COMMIT failed on the disk).
    pub async fn failed(&self) {
        match self {
            Db::Sqlite { write, .. } => write.broken().await,
            Db::Postgres(_) => std::future::pending().await,
        }
    }

    /// Moves the log into the database file and truncates it. True when nobody's read held it up. Nothing on PostgreSQL.
    pub async fn checkpoint(&self) -> Result<bool, Error> {
        let Db::Sqlite { write, .. } = self else { return Ok(true) };
        let rows = write.clone().alone(sqlite("PRAGMA wal_checkpoint(TRUNCATE)".into(), Vec::new())).await?;
        let busy: Option<i64> = rows.into_iter().next().map(|row| Row::Sqlite(row).get(0)).transpose()?;
        Ok(busy.unwrap_or(0) == 0)
    }

    /// A consistent copy of an embedded database into a new file. The caller flushes and renames it.
    pub async fn copy_into(&self, file: &Path) -> Result<(), Error> {
        let Db::Sqlite { moments, .. } = self else {
            return Err(Error::Url("a PostgreSQL database is backed up with pg_dump".to_owned()));
        };
        let path = file.to_str().ok_or_else(|| Error::Url("the path is no UTF-8".to_owned()))?;
        // An empty file is filled, and keeps its permissions.
        super::embedded::private(file).map_err(|error| Error::Url(format!("{path}: {error}")))?;
        moments.lend().await?.long(sqlite("VACUUM INTO $1".into(), vec![path.into()])).await.map(drop)
    }

    /// Closes every connection; on SQLite the last one folds the log into the file.
    pub async fn close(&self) {
        match self {
            Db::Sqlite { read, moments, .. } => {
                read.close();
                moments.close();
                self.checkpoint().await.ok();
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

/// So long a connection that nobody used is taken to be open.
const TRUSTED: Duration = Duration::from_secs(1);

async fn open_postgres(options: &Options) -> Result<Db, Error> {
    let connect: PgConnectOptions = options.url.parse()?;
    let connect = connect.application_name("musterd").statement_cache_capacity(256);
    // The pool would go on trying a server that says no.
    let first = tokio::time::timeout(FIRST_CONNECTION, connect.connect()).await;
    let first = first.map_err(|_| sqlx::Error::PoolTimedOut)??;
    first.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(options.connections)
        .test_before_acquire(false)
        // Of those that lay idle, a server that was started anew has ended all; the next callers are not to be told so.
        .before_acquire(|connection, lent| {
            Box::pin(async move {
                if lent.idle_for >= TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .acquire_timeout(Duration::from_secs(30))
        // A pool must not stay with a demoted primary.
        .max_lifetime(Duration::from_mins(5))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let standby: bool =
                    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await?;
                if standby {
                    return Err(sqlx::Error::Configuration("the server is a standby and takes no writes".into()));
                }
                connection.execute("SET TIME ZONE 'UTC'").await?;
                Ok(())
            })
        })
        .connect_with(connect)
        .await?;
    Ok(Db::Postgres(pool))
}

/// BEGIN in a task of its own, which ends what it began when nobody takes it: `sqlx` 0.9.0 forgets a BEGIN whose caller
/// gave up before the answer, and lends its connection to the next one with the transaction still open.
async fn begin_postgres(
    pool: &PgPool,
    statement: Option<&'static str>,
) -> Result<Transaction<'static, Postgres>, Error> {
    let connection = pool.acquire().await?;
    let begun = tokio::spawn(Transaction::begin(connection, statement.map(SqlSafeStr::into_sql_str)));
    Ok(begun.await.map_err(|_| Error::Over)??)
}

/// See `Db::stamp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(String);

/// A text of SQL: literals of this room, joined at most.
pub type Sql = Cow<'static, str>;

/// The answer to a statement. Boxed, because an `impl Future` would carry the type of the SQL text along, and the compiler
/// then cannot see that a handler or a spawned task that waits for it is `Send`.
pub type Answer<'s, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 's>>;

/// What can be asked: a transaction or a reading connection.
pub trait Session: Send {
    fn ask(&mut self, sql: Sql, values: Vec<Value>) -> Answer<'_, Vec<Row>>;

    fn all(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        self.ask(sql.into(), values)
    }

    fn optional(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Answer<'_, Option<Row>> {
        let rows = self.ask(sql.into(), values);
        Box::pin(async move { Ok(rows.await?.into_iter().next()) })
    }

    fn one(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Answer<'_, Row> {
        let rows = self.ask(sql.into(), values);
        Box::pin(async move { rows.await?.into_iter().next().ok_or(Error::NoRow) })
    }
}

/// A transaction. Dropped without `commit` it leaves no trace.
#[must_use]
pub enum Tx {
    Sqlite(Turn),
    Postgres(Transaction<'static, Postgres>),
}

/// Rows that one statement takes on PostgreSQL.
const MOST_ROWS: usize = 5_000;

impl Tx {
    /// Returns once the change is durable.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Tx::Sqlite(turn) => turn.commit().await,
            Tx::Postgres(tx) => match tokio::time::timeout(LONGEST_COMMIT, tx.commit()).await {
                Ok(done) => Ok(done?),
                Err(_) => Err(Error::Unknown),
            },
        }
    }

    /// To be said by whoever writes that something comes, goes, or is seen by others than before.
    pub fn moved(&mut self) {
        if let Tx::Sqlite(turn) = self {
            turn.moved();
        }
    }

    /// Rows written.
    pub fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Answer<'_, u64> {
        let sql = sql.into();
        Box::pin(async move {
            sound(&values)?;
            match self {
                Tx::Sqlite(turn) => turn.execute(sqlite(sql, values)).await,
                Tx::Postgres(tx) => Ok(postgres(sql, values).execute(&mut **tx).await?.rows_affected()),
            }
        })
    }

    /// Many rows, `head` as in `sql::rows`. PostgreSQL takes their columns as arrays: one text to prepare, however many they are.
    /// SQLite takes one row after the other, without an answer (see `settled`).
    pub(super) async fn post(&mut self, head: &str, tail: &str, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        rows.iter().try_for_each(|values| sound(values))?;
        match self {
            Tx::Sqlite(turn) => turn.post(super::bind::single(head, tail, &rows), rows),
            Tx::Postgres(tx) => {
                let mut rows = rows.into_iter();
                while rows.len() > 0 {
                    let part = rows.by_ref().take(MOST_ROWS).collect();
                    super::bind::columns(head, tail, part)?.execute(&mut **tx).await?;
                }
                Ok(())
            }
        }
    }

    /// Waits till all that was written in bulk is written, and tells what refused it.
    pub async fn settled(&mut self) -> Result<(), Error> {
        match self {
            Tx::Sqlite(turn) => turn.settled().await,
            Tx::Postgres(_) => Ok(()),
        }
    }

    /// Waits for the transactions that are in the same queue; the place is kept till the end of this one. False where there
    /// is one writer anyway: what was read before still stands.
    pub fn queue(&mut self, queue: i64) -> Answer<'_, bool> {
        Box::pin(async move {
            match self {
                Tx::Sqlite(_) => Ok(false),
                Tx::Postgres(_) => {
                    self.all("SELECT pg_advisory_xact_lock($1)", vec![queue.into()]).await?;
                    Ok(true)
                }
            }
        })
    }

    /// Rows on which a write will rest: on PostgreSQL they are locked till the end (`FOR UPDATE`), on SQLite there is one
    /// writer anyway. Order by id, so that two transactions lock in the same order. `sql` must be a plain SELECT.
    ///
    /// A statement that waited for a lock sees the locked row as it is now, but its neighbours in a join as they were when
    /// it began. So what was locked is read once more, until nobody new appears.
    pub fn lock(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        let sql = sql.into();
        Box::pin(async move {
            if matches!(self, Tx::Sqlite(_)) {
                return self.ask(sql, values).await;
            }
            let locking = format!("{sql} FOR UPDATE");
            let mut rows = self.all(locking.clone(), values.clone()).await?;
            for _ in 0..MOST_LOCKINGS {
                if rows.is_empty() {
                    break;
                }
                let again = self.all(locking.clone(), values.clone()).await?;
                let settled = again.len() == rows.len();
                rows = again;
                if settled {
                    break;
                }
            }
            Ok(rows)
        })
    }
}

impl Session for Tx {
    fn ask(&mut self, sql: Sql, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            sound(&values)?;
            match self {
                Tx::Sqlite(turn) => Ok(turn.all(sqlite(sql, values)).await?.into_iter().map(Row::Sqlite).collect()),
                Tx::Postgres(tx) => {
                    Ok(postgres(sql, values).fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect())
                }
            }
        })
    }
}

/// A connection for reading.
pub enum Read {
    Sqlite(Reader),
    Postgres(PoolConnection<Postgres>),
    PostgresSnapshot(Transaction<'static, Postgres>),
}

impl Read {
    pub(super) async fn has_table(&mut self, name: &str) -> Result<bool, Error> {
        let sql = match self {
            Read::Sqlite(_) => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
            _ => "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1",
        };
        Ok(self.optional(sql, vec![name.into()]).await?.is_some())
    }
}

impl Session for Read {
    fn ask(&mut self, sql: Sql, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            sound(&values)?;
            Ok(match self {
                Read::Sqlite(reader) => reader.all(sqlite(sql, values)).await?.into_iter().map(Row::Sqlite).collect(),
                Read::Postgres(c) => {
                    postgres(sql, values).fetch_all(&mut **c).await?.into_iter().map(Row::Postgres).collect()
                }
                Read::PostgresSnapshot(c) => {
                    postgres(sql, values).fetch_all(&mut **c).await?.into_iter().map(Row::Postgres).collect()
                }
            })
        })
    }
}

#[cfg(test)]
mod tests;
