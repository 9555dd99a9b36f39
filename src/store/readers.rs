//! Connections for reading the embedded database, lent out without a word to SQLite: a pool that asks a connection whether
//! it is well each time it comes back costs as much as the statement itself. Who was dropped in the middle of a statement
//! gives nothing back. Part of `db`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::db::{Error, SqliteQuery};

/// Whoever has waited this long for a connection is told so instead of hanging.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub struct Readers {
    options: SqliteConnectOptions,
    permits: Arc<Semaphore>,
    /// The one that came back last goes out first: its pages are warm.
    idle: Mutex<Vec<SqliteConnection>>,
}

/// A connection that is lent.
pub struct Reader {
    home: Arc<Readers>,
    connection: Option<SqliteConnection>,
    /// A statement is under way. If it still is when this is dropped, nobody knows how far it ran.
    under_way: bool,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions, most: u32) -> Arc<Readers> {
        let permits = Arc::new(Semaphore::new(most as usize));
        Arc::new(Readers { options, permits, idle: Mutex::default() })
    }

    pub(super) async fn lend(self: &Arc<Self>) -> Result<Reader, Error> {
        let permit = tokio::time::timeout(LONGEST_WAIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Over)?;
        let connection = match self.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Reader { home: self.clone(), connection: Some(connection), under_way: false, _permit: permit })
    }

    /// Lends nothing any more; what is lent ends when it comes back.
    pub(super) async fn close(&self) {
        self.permits.close();
        while let Some(connection) = self.take() {
            connection.close().await.ok();
        }
    }

    fn take(&self) -> Option<SqliteConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Reader {
    pub(super) async fn all(&mut self, query: SqliteQuery) -> Result<Vec<SqliteRow>, Error> {
        let connection = self.connection.as_mut().ok_or(Error::Over)?;
        self.under_way = true;
        let rows = query.fetch_all(connection).await;
        self.under_way = false;
        Ok(rows?)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.under_way
            && !self.home.permits.is_closed()
        {
            self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_given_up_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("a.db")).create_if_missing(true);
        let readers = Readers::new(options, 1);
        let idle = |readers: &Readers| readers.idle.lock().unwrap().len();
        let mut reader = readers.lend().await.unwrap();
        assert_eq!(reader.all(sqlx::query("SELECT 1")).await.unwrap().len(), 1);
        assert!(readers.permits.try_acquire().is_err(), "there is one, and it is lent");
        drop(reader);
        assert_eq!(idle(&readers), 1);

        let mut reader = readers.lend().await.unwrap();
        let slow =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n";
        assert!(tokio::time::timeout(Duration::from_millis(5), reader.all(sqlx::query(slow))).await.is_err());
        drop(reader);
        assert_eq!(idle(&readers), 0, "nobody knows how far it ran");
        let mut reader = readers.lend().await.unwrap();
        assert!(reader.all(sqlx::query("SELECT nonsense")).await.is_err());
        assert_eq!(reader.all(sqlx::query("SELECT 2")).await.unwrap().len(), 1, "an error ends its statement only");
        drop(reader);

        readers.close().await;
        assert!(readers.lend().await.is_err());
        assert_eq!(idle(&readers), 0);
    }
}
