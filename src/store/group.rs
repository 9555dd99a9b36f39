//! Group commit on SQLite: callers that wait for the writer at the same moment share one durable COMMIT.
//!
//! SQLite has one writer, and each durable COMMIT costs a flush of the disk. So every caller works alone, in its turn,
//! inside savepoint `m` of a transaction that is open for all of them (the *group*), and is answered when the COMMIT of
//! its group has returned. A long turn is a group of its own, without a savepoint. Three rules carry this file:
//!
//! 1. Who holds the lock on `Line` owns the connection; the lock is first come, first served.
//! 2. Every open group has one *closer* in that same queue, a task of its own, which nobody can cancel.
//! 3. How a turn ended is a mark (`keep`) that is set without waiting, and carried out by the next in the queue. So a turn
//!    may be dropped anywhere, and there is no `Drop` code that could go wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};
use tokio::task::coop;

use super::beside::Beside;
use super::bind::Query;
use super::db::{Error, Sql};
use super::lite::{Connection, LiteRow, Opening, code, gone, is_busy};
use super::value::Value;

/// Turns in one group: bounds what one failed COMMIT takes with it.
const MOST_MEMBERS: usize = 64;
/// Age at which a group takes nobody else in: bounds how long the first member waits for the last.
const LONGEST_GROUP: Duration = Duration::from_millis(5);
/// A caller that has waited this long for the writer is told so instead of hanging.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A statement of a short turn with more values than this runs on a thread of its own.
const FEW: usize = 200;

const BEGIN: &[&str] = &["BEGIN IMMEDIATE", "SAVEPOINT m"];
/// Of a long turn, which is the only member of its group: with a savepoint each page that it touches would be kept in memory a
/// second time.
const BEGIN_ALONE: &[&str] = &["BEGIN IMMEDIATE"];

/// How long a turn will be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Short,
    /// Those before it are committed first and do not wait for it; those after it do not join it.
    Long,
}

impl Expect {
    fn begin(self) -> &'static [&'static str] {
        if self == Expect::Long { BEGIN_ALONE } else { BEGIN }
    }
}

pub struct Writer {
    opening: Opening,
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
    connection: Option<Connection>,
    /// Where the connection is while statements run on a thread of their own. Whoever comes after a turn that was dropped
    /// meanwhile waits for it.
    away: Option<oneshot::Receiver<Away>>,
    /// What a statement said that was handed over, and for which nobody waited.
    owed: Option<rusqlite::Error>,
    group: Option<Group>,
    /// Whether what was written since savepoint `m` counts.
    keep: bool,
    /// Whether anybody in the group said that something comes or goes.
    moved: bool,
    broken: Option<Arc<rusqlite::Error>>,
    beside: Arc<Beside>,
}

/// A connection that comes back, and the first fault of the statements that were handed over.
type Away = (Connection, Option<rusqlite::Error>);

struct Group {
    members: usize,
    /// Its one member works without a savepoint.
    alone: bool,
    opened: Instant,
    outcome: watch::Sender<Option<Outcome>>,
}

type Outcome = Result<(), Arc<rusqlite::Error>>;

/// One caller's turn at the writer. Dropped without `commit` it leaves no trace.
#[must_use]
pub struct Turn {
    line: OwnedMutexGuard<Line>,
    expect: Expect,
    /// A statement runs whose caller waits for it. Stays so where he gave up: nobody knows how far it ran.
    asked: bool,
}

impl Writer {
    /// Opens the connection at once, so that the file exists and is in WAL mode before the readers come.
    pub(super) fn open(opening: Opening) -> Result<Arc<Writer>, Error> {
        let connection = opening.connect()?;
        let line = Line { connection: Some(connection), ..Line::default() };
        Ok(Arc::new(Writer {
            opening,
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
        coop::consume_budget().await;
        let mut line = {
            let _standing = Standing::new(&self.waiting);
            tokio::time::timeout(LONGEST_WAIT, self.line.clone().lock_owned()).await.map_err(|_| Error::Busy)?
        };
        line.home().await;
        line.owed = None; // it was that of a turn which was dropped
        if line.group.as_ref().is_some_and(|group| group.is_full() || expect == Expect::Long) {
            line = self.clone().closed(line).await?;
        }
        match self.clone().enter(&mut line, expect) {
            Err(error) if is_locked(&error) => {
                // A task, because a caller that gives up must not leave a BEGIN behind that nobody knows of.
                tokio::spawn(self.enter_patiently(line, expect)).await.map_err(|_| Error::Unknown)?
            }
            entered => entered.map(|()| Turn { line, expect, asked: false }),
        }
    }

    /// Where another process writes: waits for it on a thread of its own.
    async fn enter_patiently(self: Arc<Self>, mut line: OwnedMutexGuard<Line>, expect: Expect) -> Result<Turn, Error> {
        let beside = line.beside.clone();
        let task = beside.run(move || {
            let begun = self
                .connected(&mut line)
                .and_then(|connection| Ok(connection.patiently(|c| c.control(expect.begin()))?));
            if let Err(error) = begun {
                line.connection = None;
                return Err(error);
            }
            Ok((self, line))
        });
        let (writer, mut line) = task.await.map_err(|_| Error::Unknown)??;
        writer.open_group(&mut line, expect);
        Ok(Turn { line, expect, asked: false })
    }

    /// A turn outside every transaction, for VACUUM INTO and checkpoints.
    pub(super) async fn alone(self: Arc<Self>, query: Query) -> Result<Vec<LiteRow>, Error> {
        let mut line = self.line.clone().lock_owned().await;
        line.home().await;
        let mut line = self.clone().closed(line).await?;
        let beside = line.beside.clone();
        let task = beside.run(move || Ok(self.connected(&mut line)?.all(&query)?));
        task.await.map_err(|_| Error::Unknown)?
    }

    /// Commits what is open. A task, because a caller that gives up must not stop it half way.
    async fn closed(self: Arc<Self>, mut line: OwnedMutexGuard<Line>) -> Result<OwnedMutexGuard<Line>, Error> {
        if line.group.is_none() {
            return Ok(line);
        }
        let task = async move {
            line.close(&self).await;
            line
        };
        tokio::spawn(task).await.map_err(|_| Error::Unknown)
    }

    fn connected<'a>(&self, line: &'a mut Line) -> Result<&'a mut Connection, Error> {
        if line.connection.is_none() {
            line.connection = Some(self.opening.connect()?);
        }
        line.connection.as_mut().ok_or(Error::Over)
    }

    fn enter(self: Arc<Self>, line: &mut Line, expect: Expect) -> Result<(), Error> {
        if let Some(error) = &line.broken {
            return Err(Error::Disk(error.clone()));
        }
        if line.group.is_some() {
            let settle: &[&str] = if line.keep { &["RELEASE m", "SAVEPOINT m"] } else { &["ROLLBACK TO m"] };
            if let Err(error) = line.control(settle) {
                line.fail(error); // that group is lost; this caller opens the next
            }
        }
        if line.group.is_none() {
            if let Err(error) = self.connected(line)?.control(expect.begin()) {
                return Err(Error::Group(if is_busy(&error) { Arc::new(error) } else { line.fail(error) }));
            }
            self.open_group(line, expect);
        } else if let Some(group) = &mut line.group {
            group.members += 1;
            line.keep = false; // until `commit` says otherwise
        }
        Ok(())
    }

    /// For its first member, after BEGIN.
    fn open_group(self: Arc<Self>, line: &mut Line, expect: Expect) {
        let (outcome, closed) = watch::channel(None);
        line.group = Some(Group { members: 1, alone: expect == Expect::Long, opened: Instant::now(), outcome });
        line.keep = false;
        tokio::spawn(self.close_when_alone(closed));
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
        self.alone || self.members >= MOST_MEMBERS || self.opened.elapsed() >= LONGEST_GROUP
    }
}

impl Line {
    /// Waits until the connection is back. May be dropped, and asked again.
    async fn home(&mut self) {
        if let Some(away) = &mut self.away {
            (self.connection, self.owed) =
                away.await.map_or((None, None), |(connection, owed)| (Some(connection), owed));
            self.away = None;
        }
    }

    fn control(&mut self, statements: &[&str]) -> Result<(), rusqlite::Error> {
        self.connection.as_mut().ok_or_else(gone)?.control(statements)
    }

    /// COMMIT, on a thread of its own because it waits for the disk, and every member hears of it. Only tasks that nobody can
    /// cancel call this.
    async fn close(&mut self, writer: &Writer) {
        self.home().await;
        let statements: &[&str] = match (self.keep, self.group.as_ref().is_some_and(|group| group.alone)) {
            (true, _) => &["COMMIT"],
            (false, true) => &["ROLLBACK"],
            (false, false) => &["ROLLBACK TO m", "COMMIT"],
        };
        let done = match self.connection.take() {
            None => Err(gone()),
            Some(mut connection) => {
                let task = self.beside.run(move || {
                    let done = connection.control(statements);
                    (connection, done)
                });
                match task.await {
                    Ok((connection, done)) => {
                        self.connection = Some(connection);
                        done
                    }
                    Err(_) => Err(gone()),
                }
            }
        };
        // Before anybody is answered: whoever knows of the change must find it counted.
        if std::mem::take(&mut self.moved) {
            writer.moves.fetch_add(1, SeqCst);
        }
        match done {
            Ok(()) => self.tell(Ok(())),
            Err(error) => {
                let disk = is_disk(&error);
                let error = self.fail(error);
                if disk {
                    self.broken = Some(error);
                    writer.broken.send_replace(true);
                }
            }
        }
    }

    /// One way out of every trouble: the connection is thrown away, and the transaction with it.
    fn fail(&mut self, error: rusqlite::Error) -> Arc<rusqlite::Error> {
        let error = Arc::new(error);
        self.connection = None;
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
        self.ready().await?;
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

    pub(super) async fn execute(&mut self, query: Query) -> Result<u64, Error> {
        // What has few values is short, and runs where it is asked for.
        if self.expect == Expect::Short && query.values.len() <= FEW {
            let done = self.ready().await?.execute(&query);
            return self.judge(done);
        }
        self.aside(query, Connection::execute).await
    }

    /// Hands over one statement for many rows and does not wait for it, so that the next one is made ready meanwhile. What
    /// it says is told to whoever asks next, or commits; `settled` asks.
    pub(super) fn post(&mut self, sql: Sql, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        if self.is_over() {
            return Err(Error::Over);
        }
        let before = self.line.away.take();
        let here = self.line.connection.take();
        self.line.away = Some(self.line.beside.run_some(move || {
            // The thread does one thing after the other: what was handed over before is done.
            let (mut connection, owed) = match before {
                Some(mut before) => before.try_recv().ok()?,
                None => (here?, None),
            };
            let owed = owed.or_else(|| connection.each(&sql, &rows).err());
            Some((connection, owed))
        }));
        Ok(())
    }

    /// Waits for what was handed over.
    pub(super) async fn settled(&mut self) -> Result<(), Error> {
        self.ready().await.map(drop)
    }

    pub(super) async fn all(&mut self, query: Query) -> Result<Vec<LiteRow>, Error> {
        match self.ready().await?.soon(&query) {
            Ok(None) => self.aside(query, Connection::all).await,
            done => self.judge(done.map(Option::unwrap_or_default)),
        }
    }

    fn is_over(&self) -> bool {
        self.asked || self.line.group.is_none()
    }

    /// The connection, for a statement. Refuses a turn that is over, and tells what was owed.
    async fn ready(&mut self) -> Result<&mut Connection, Error> {
        if self.is_over() {
            return Err(Error::Over);
        }
        self.line.home().await;
        if let Some(owed) = self.line.owed.take() {
            self.judge(Err::<(), _>(owed))?;
        }
        self.line.connection.as_mut().ok_or(Error::Over)
    }

    /// On a thread of its own. Where the caller gives up meanwhile nobody knows how far it ran: the turn is over.
    async fn aside<T: Send + 'static>(
        &mut self,
        query: Query,
        run: fn(&mut Connection, &Query) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.ready().await?;
        let mut connection = self.line.connection.take().ok_or(Error::Over)?;
        let (tell, told) = oneshot::channel();
        self.asked = true;
        self.line.away = Some(self.line.beside.run(move || {
            tell.send(run(&mut connection, &query)).ok();
            (connection, None)
        }));
        let done = told.await.map_err(|_| Error::Over)?;
        self.line.home().await;
        self.asked = false;
        self.judge(done)
    }

    /// A full disk or an I/O error may have rolled back everybody's transaction, and what came after would commit by
    /// itself. Only an error that ends just its statement lets the turn go on.
    fn judge<T>(&mut self, result: Result<T, rusqlite::Error>) -> Result<T, Error> {
        match result {
            Err(error) if !ends_only_the_statement(&error) => Err(Error::Group(self.line.fail(error))),
            other => Ok(other?),
        }
    }
}

fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Group(error) if is_busy(error))
}

fn is_disk(error: &rusqlite::Error) -> bool {
    code(error) == Some(10) // SQLITE_IOERR
}

fn ends_only_the_statement(error: &rusqlite::Error) -> bool {
    // ERROR, CONSTRAINT, MISMATCH. What is no error of SQLite's was none of its statements, either.
    code(error).is_none_or(|code| matches!(code, 1 | 19 | 20))
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
