//! Group commit on SQLite: callers that wait for the writer at the same moment share one durable COMMIT.
//!
//! SQLite has one writer, and each durable COMMIT costs a flush of the disk. So every caller works alone, in its turn,
//! inside savepoint `m` of a transaction that is open for all of them (the *group*), and is answered when the COMMIT of
//! its group has returned. Three rules carry this file:
//!
//! 1. Who holds the lock on `Line` owns the connection; the lock is first come, first served.
//! 2. Every open group has one *closer* in that same queue, a task of its own, which nobody can cancel.
//! 3. How a turn ended is a mark (`keep`) that is set without waiting, and carried out by the next in the queue. So a turn
//!    may be dropped anywhere, and there is no `Drop` code that could go wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::db::{Error, SqliteQuery};

/// Turns in one group: bounds what one failed COMMIT takes with it.
const MOST_MEMBERS: usize = 64;
/// Age at which a group takes nobody else in: bounds how long the first member waits for the last.
const LONGEST_GROUP: Duration = Duration::from_millis(5);
/// A caller that has waited this long for the writer is told so instead of hanging.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a turn will be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Short,
    /// Those before it are committed first and do not wait for it.
    Long,
}

pub struct Writer {
    options: SqliteConnectOptions,
    line: Arc<Mutex<Line>>,
    /// How many stand in the line: a hint for the closer, nothing rests on it.
    waiting: AtomicUsize,
    /// Groups since the start in which something came or went.
    moves: AtomicU64,
    /// Becomes true when a COMMIT failed on the disk: its outcome is unknown and the program must stop.
    broken: watch::Sender<bool>,
}

/// The connection, and what is open on it.
#[derive(Default)]
struct Line {
    connection: Option<SqliteConnection>,
    group: Option<Group>,
    /// Whether what was written since savepoint `m` counts.
    keep: bool,
    /// Whether anybody in the group said that something comes or goes.
    moved: bool,
    broken: Option<Arc<sqlx::Error>>,
}

struct Group {
    members: usize,
    opened: Instant,
    outcome: watch::Sender<Option<Outcome>>,
}

type Outcome = Result<(), Arc<sqlx::Error>>;

/// One caller's turn at the writer. Dropped without `commit` it leaves no trace.
#[must_use]
pub struct Turn {
    line: OwnedMutexGuard<Line>,
    /// A statement is under way. If it still is when the next one comes, its future was dropped and nobody knows how far
    /// it ran (the connection's thread runs it to its end): such a turn is over.
    under_way: bool,
}

impl Writer {
    /// Opens the connection at once, so that the file exists and is in WAL mode before the readers come.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Arc<Writer>, Error> {
        let connection = options.connect().await?;
        let line = Line { connection: Some(connection), ..Line::default() };
        Ok(Arc::new(Writer {
            options,
            line: Arc::new(Mutex::new(line)),
            waiting: AtomicUsize::new(0),
            moves: AtomicU64::new(0),
            broken: watch::Sender::new(false),
        }))
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves.load(SeqCst)
    }

    /// Returns when a COMMIT has failed on the disk; otherwise never.
    pub(super) async fn broken(&self) {
        if self.broken.subscribe().wait_for(|broken| *broken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn turn(self: Arc<Self>, expect: Expect) -> Result<Turn, Error> {
        let line = {
            let _standing = Standing::new(&self.waiting);
            tokio::time::timeout(LONGEST_WAIT, self.line.clone().lock_owned()).await.map_err(|_| Error::Busy)?
        };
        // A task, because a caller that gives up must not stop BEGIN or RELEASE half way.
        tokio::spawn(self.enter(line, expect)).await.map_err(|_| Error::Unknown)?
    }

    /// A turn outside every transaction, for VACUUM INTO and checkpoints.
    pub(super) async fn alone(self: Arc<Self>, sql: SqliteQuery) -> Result<Vec<SqliteRow>, Error> {
        let mut line = self.line.clone().lock_owned().await;
        let task = async move {
            if line.group.is_some() {
                line.close(&self).await;
            }
            let connection = self.connected(&mut line).await?;
            Ok(sql.fetch_all(connection).await?)
        };
        tokio::spawn(task).await.map_err(|_| Error::Unknown)?
    }

    async fn connected<'a>(&self, line: &'a mut Line) -> Result<&'a mut SqliteConnection, Error> {
        if line.connection.is_none() {
            line.connection = Some(self.options.connect().await?);
        }
        line.connection.as_mut().ok_or(Error::Over)
    }

    async fn enter(self: Arc<Self>, mut line: OwnedMutexGuard<Line>, expect: Expect) -> Result<Turn, Error> {
        if let Some(error) = &line.broken {
            return Err(Error::Disk(error.clone()));
        }
        if line.group.as_ref().is_some_and(|group| group.is_full() || expect == Expect::Long) {
            line.close(&self).await;
        }
        if line.group.is_some() {
            let settle = if line.keep { "RELEASE m; SAVEPOINT m" } else { "ROLLBACK TO m" };
            if let Err(error) = line.control(settle).await {
                line.fail(error).await; // that group is lost; this caller opens the next
            }
        }
        if line.group.is_none() {
            self.connected(&mut line).await?;
            if let Err(error) = line.control("BEGIN IMMEDIATE; SAVEPOINT m").await {
                return Err(Error::Group(line.fail(error).await));
            }
            let (outcome, closed) = watch::channel(None);
            line.group = Some(Group { members: 0, opened: Instant::now(), outcome });
            tokio::spawn(self.close_when_alone(closed));
        }
        if let Some(group) = &mut line.group {
            group.members += 1;
        }
        line.keep = false; // until `commit` says otherwise
        Ok(Turn { line, under_way: false })
    }

    /// The closer: lets everybody who waits go first, and commits when nobody does or the group is full.
    async fn close_when_alone(self: Arc<Self>, closed: watch::Receiver<Option<Outcome>>) {
        loop {
            let mut line = self.line.clone().lock_owned().await;
            if closed.borrow().is_some() {
                return; // it was full, or it failed
            }
            if self.waiting.load(Relaxed) == 0 || line.group.as_ref().is_some_and(Group::is_full) {
                return line.close(&self).await;
            }
        }
    }
}

impl Group {
    fn is_full(&self) -> bool {
        self.members >= MOST_MEMBERS || self.opened.elapsed() >= LONGEST_GROUP
    }
}

impl Line {
    /// A control statement. Only tasks that nobody can cancel call this: a text of two statements whose future is dropped
    /// runs only its first.
    async fn control(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        sqlx::query(sql).execute(connection).await.map(drop)
    }

    /// COMMIT, and every member hears of it.
    async fn close(&mut self, writer: &Writer) {
        let done = self.control(if self.keep { "COMMIT" } else { "ROLLBACK TO m; COMMIT" }).await;
        // Before anybody is answered: whoever knows of the change must find it counted.
        if std::mem::take(&mut self.moved) {
            writer.moves.fetch_add(1, SeqCst);
        }
        match done {
            Ok(()) => self.tell(Ok(())),
            Err(error) => {
                let disk = is_disk(&error);
                let error = self.fail(error).await;
                if disk {
                    self.broken = Some(error);
                    writer.broken.send_replace(true);
                }
            }
        }
    }

    /// One way out of every trouble: the connection is thrown away, and the transaction with it.
    async fn fail(&mut self, error: sqlx::Error) -> Arc<sqlx::Error> {
        let error = Arc::new(error);
        if let Some(connection) = self.connection.take() {
            connection.close_hard().await.ok();
        }
        self.tell(Err(error.clone()));
        error
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(group) = self.group.take() {
            group.outcome.send_replace(Some(outcome));
        }
    }
}

impl Turn {
    /// Something comes or goes in it.
    pub(super) fn moved(&mut self) {
        self.line.moved = true;
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.ready()?;
        let mut outcome = self.line.group.as_ref().ok_or(Error::Over)?.outcome.subscribe();
        self.line.keep = true;
        drop(self); // the next one's turn
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| Error::Unknown)?;
        match outcome.as_ref() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if is_disk(error) => Err(Error::Disk(error.clone())),
            Some(Err(error)) => Err(Error::Group(error.clone())),
            None => Err(Error::Unknown),
        }
    }

    pub(super) async fn execute(&mut self, query: SqliteQuery) -> Result<u64, Error> {
        let done = query.execute(self.ready()?).await;
        Ok(self.judge(done).await?.rows_affected())
    }

    pub(super) async fn all(&mut self, query: SqliteQuery) -> Result<Vec<SqliteRow>, Error> {
        let rows = query.fetch_all(self.ready()?).await;
        self.judge(rows).await
    }

    /// The connection, for one statement; `judge` ends it. Refuses a turn that is over.
    fn ready(&mut self) -> Result<&mut SqliteConnection, Error> {
        if self.line.group.is_none() || std::mem::replace(&mut self.under_way, true) {
            return Err(Error::Over);
        }
        self.line.connection.as_mut().ok_or(Error::Over)
    }

    /// A full disk or an I/O error may have rolled back everybody's transaction, and what came after would commit by
    /// itself. Only an error that ends just its statement lets the turn go on.
    async fn judge<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.under_way = false;
        match result {
            Err(error) if !ends_only_the_statement(&error) => Err(Error::Group(self.line.fail(error).await)),
            other => Ok(other?),
        }
    }
}

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

fn is_disk(error: &sqlx::Error) -> bool {
    code(error) == Some(10) // SQLITE_IOERR
}

fn ends_only_the_statement(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => matches!(code(error), Some(1 | 19 | 20)), // ERROR, CONSTRAINT, MISMATCH
        sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => false,
        _ => true,
    }
}

/// Counted in the line for as long as it lives.
struct Standing<'a>(&'a AtomicUsize);

impl<'a> Standing<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Standing(waiting)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
