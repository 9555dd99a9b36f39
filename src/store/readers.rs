//! Connections for reading the embedded database, lent out without a word to SQLite, and moments: readings that all see the
//! same. Part of `db`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{coop, spawn_blocking, yield_now};

use super::bind::Query;
use super::db::Error;
use super::lite::{Brake, Connection, LiteRow, Opening};

/// Whoever gets so many rows has work with them: the others of this thread come first.
const MANY: usize = 64;
/// Whoever has waited this long for a connection is told so instead of hanging.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub struct Readers {
    opening: Opening,
    permits: Arc<Semaphore>,
    /// So many stay open while nobody needs them.
    kept: usize,
    /// The one that came back last goes out first: its pages are warm.
    idle: Mutex<Vec<Connection>>,
}

/// A connection that is lent.
pub struct Reader {
    home: Arc<Readers>,
    connection: Option<Connection>,
    /// All its statements see one moment.
    moment: bool,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(opening: Opening, most: u32, kept: u32) -> Arc<Readers> {
        let permits = Arc::new(Semaphore::new(most as usize));
        Arc::new(Readers { opening, permits, kept: kept as usize, idle: Mutex::default() })
    }

    pub(super) async fn lend(self: &Arc<Self>) -> Result<Reader, Error> {
        let permit = tokio::time::timeout(LONGEST_WAIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Over)?;
        let connection = match self.take() {
            Some(connection) => connection,
            None => self.opening.connect()?,
        };
        Ok(Reader { home: self.clone(), connection: Some(connection), moment: false, _permit: permit })
    }

    /// A reader whose statements all see the same moment.
    pub(super) async fn moment(self: &Arc<Self>) -> Result<Reader, Error> {
        let mut reader = self.lend().await?;
        // Deferred: it waits for nobody.
        reader.connection.as_mut().ok_or(Error::Over)?.control(&["BEGIN"])?;
        reader.moment = true;
        Ok(reader)
    }

    /// Lends nothing any more; what is lent ends when it comes back.
    pub(super) fn close(&self) {
        self.permits.close();
        while self.take().is_some() {}
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.permits.is_closed() && idle.len() < self.kept {
            idle.push(connection);
        }
    }
}

impl Reader {
    pub(super) async fn all(&mut self, query: Query) -> Result<Vec<LiteRow>, Error> {
        // Whoever asks much takes turns with the others of this thread.
        coop::consume_budget().await;
        let mut connection = self.connection.take().ok_or(Error::Over)?;
        let soon = connection.soon(&query);
        if let Ok(None) = soon {
            return self.aside(connection, query).await;
        }
        self.connection = Some(connection);
        let rows = soon?.unwrap_or_default();
        if rows.len() >= MANY {
            yield_now().await;
        }
        Ok(rows)
    }

    /// What cannot be broken off and asked again.
    pub(super) async fn long(&mut self, query: Query) -> Result<Vec<LiteRow>, Error> {
        let connection = self.connection.take().ok_or(Error::Over)?;
        self.aside(connection, query).await
    }

    /// On a thread of its own. Who does not wait for the end gets no connection back, and breaks it off.
    async fn aside(&mut self, mut connection: Connection, query: Query) -> Result<Vec<LiteRow>, Error> {
        let mut brake = Unwatched(Some(connection.brake()));
        let done = spawn_blocking(move || {
            let rows = connection.all(&query);
            (connection, rows)
        });
        let (connection, rows) = done.await.map_err(|_| Error::Over)?;
        brake.0 = None;
        self.connection = Some(connection);
        Ok(rows?)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.moment && connection.control(&["ROLLBACK"]).is_err() {
            return;
        }
        self.home.give_back(connection);
    }
}

/// Pulled unless somebody took it out.
struct Unwatched(Option<Brake>);

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(brake) = &self.0 {
            brake.pull();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::bind::sqlite;
    use super::*;
    use crate::store::{Row, values};

    const SLOW: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n";

    fn query(sql: &'static str) -> Query {
        sqlite(sql.into(), Vec::new())
    }

    fn readers(file: &std::path::Path, most: u32, kept: u32) -> Arc<Readers> {
        let opening = Opening { file: file.to_owned(), read_only: false, pragmas: Vec::new() };
        Readers::new(opening, most, kept)
    }

    fn idle(readers: &Readers) -> usize {
        readers.idle.lock().unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_given_up_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(&folder.path().join("a.db"), 1, 1);
        let mut reader = readers.lend().await.unwrap();
        assert_eq!(reader.all(query("SELECT 1")).await.unwrap().len(), 1);
        assert!(readers.permits.try_acquire().is_err(), "there is one, and it is lent");
        drop(reader);
        assert_eq!(idle(&readers), 1);

        let mut reader = readers.lend().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(5), reader.all(query(SLOW))).await.is_err());
        assert!(matches!(reader.all(query("SELECT 1")).await, Err(Error::Over)));
        drop(reader);
        assert_eq!(idle(&readers), 0, "it is broken off, and gone");
        let mut reader = readers.lend().await.unwrap();
        assert!(reader.all(query("SELECT nonsense")).await.is_err());
        assert_eq!(reader.all(query("SELECT 2")).await.unwrap().len(), 1, "an error ends its statement only");
        drop(reader);

        readers.close();
        assert!(readers.lend().await.is_err());
        assert_eq!(idle(&readers), 0);
    }

    /// On one thread: whoever asks for much does not keep the others waiting, and gets all of it.
    #[tokio::test]
    async fn what_takes_long_goes_aside() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(&folder.path().join("a.db"), 1, 1);
        let mut reader = readers.lend().await.unwrap();
        let ticks = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Instant::now()
        };
        let slow = async { (reader.all(query(SLOW)).await.unwrap(), Instant::now()) };
        let ((rows, ended), ticked) = tokio::join!(slow, ticks);
        assert!(ticked < ended, "the thread was free meanwhile");
        let mut rows = rows.into_iter().map(Row::Sqlite);
        assert_eq!(rows.next().unwrap().get::<i64>(0).unwrap(), 3_000_000);
        assert_eq!(reader.all(query("SELECT 1")).await.unwrap().len(), 1);
        drop(reader);
        assert_eq!(idle(&readers), 1);
    }

    #[tokio::test]
    async fn a_moment_sees_one_moment_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let readers = readers(&file, 3, 1);
        let mut aside =
            Opening { file, read_only: false, pragmas: vec![("journal_mode", "WAL".to_owned())] }.connect().unwrap();
        aside.control(&["CREATE TABLE t (a TEXT)"]).unwrap();
        let count = async |reader: &mut Reader| {
            let rows = reader.all(query("SELECT count(*) FROM t")).await.unwrap();
            rows.into_iter().map(Row::Sqlite).next().unwrap().get::<i64>(0).unwrap()
        };
        let (mut moment, mut plain) = (readers.moment().await.unwrap(), readers.lend().await.unwrap());
        assert_eq!((count(&mut moment).await, count(&mut plain).await), (0, 0));
        aside.execute(&sqlite("INSERT INTO t (a) VALUES ($1)".into(), values!["x"])).unwrap();
        assert_eq!((count(&mut moment).await, count(&mut plain).await), (0, 1));
        drop((moment, plain));
        assert_eq!(idle(&readers), 1);
        let mut again = readers.lend().await.unwrap();
        assert_eq!(count(&mut again).await, 1, "the moment is over");
    }
}
