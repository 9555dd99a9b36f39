//! One connection of the embedded database and the statements on it. Part of `db`.
//!
//! A short statement runs where it is asked for: to hand it to another thread and the answer back costs several times what
//! it takes itself. What turns out to be long is broken off after `STEPS`, and what another process has locked is given up at
//! once; both are asked anew on a thread of their own, so that nobody's requests wait behind them. A read can be asked twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rusqlite::types::{Type, Value as Held, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags, Statement};

use super::bind::Query;
use super::value::Value;

/// How long a statement waits for a lock of another process.
const PATIENCE: Duration = Duration::from_secs(5);
/// Statements that stay prepared, for each connection.
const PREPARED: usize = 256;
/// Steps of SQLite's machine between two looks at what is left.
const LOOK: i32 = 1000;
/// So many looks a statement may take where it was asked for: about a millisecond.
const STEPS: i64 = 40;

/// How connections to one file are opened.
#[derive(Clone)]
pub(super) struct Opening {
    pub file: PathBuf,
    pub read_only: bool,
    /// In this order.
    pub pragmas: Vec<(&'static str, String)>,
}

pub(super) struct Connection {
    raw: rusqlite::Connection,
    /// Looks that are left to the statement under way.
    left: Arc<AtomicI64>,
}

/// One row of an answer.
pub struct LiteRow(Box<[Held]>);

/// Breaks off what runs on a connection, from another thread.
pub(super) struct Brake(Arc<AtomicI64>);

impl Brake {
    pub(super) fn pull(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Opening {
    pub(super) fn connect(&self) -> rusqlite::Result<Connection> {
        let how = if self.read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        };
        let raw = rusqlite::Connection::open_with_flags(&self.file, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        raw.set_prepared_statement_cache_capacity(PREPARED);
        raw.busy_timeout(PATIENCE)?;
        for (name, value) in &self.pragmas {
            // Some answer with a row and some do not.
            raw.pragma(None, name, value, |_| Ok(()))?;
        }
        raw.busy_timeout(Duration::ZERO)?;
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let counted = left.clone();
        raw.progress_handler(LOOK, Some(move || counted.fetch_sub(1, Relaxed) <= 0))?;
        Ok(Connection { raw, left })
    }
}

impl Connection {
    /// All rows, unless that takes long: then `None`, and nothing was read. What writes is not broken off: with it would go
    /// the whole transaction.
    pub(super) fn soon(&mut self, query: &Query) -> rusqlite::Result<Option<Vec<LiteRow>>> {
        let rows = self.read(query, STEPS);
        self.left.store(i64::MAX, Relaxed);
        match rows {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) || is_busy(&error) => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// All rows, however long it takes; unless its brake was pulled.
    pub(super) fn all(&mut self, query: &Query) -> rusqlite::Result<Vec<LiteRow>> {
        self.patiently(|connection| connection.read(query, i64::MAX))
    }

    /// Waits for locks of other processes meanwhile.
    pub(super) fn patiently<T>(&mut self, run: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.raw.busy_timeout(PATIENCE)?;
        let done = run(self);
        self.raw.busy_timeout(Duration::ZERO)?;
        done
    }

    fn read(&self, query: &Query, looks: i64) -> rusqlite::Result<Vec<LiteRow>> {
        let mut statement = self.bound(query)?;
        if looks < i64::MAX && statement.readonly() {
            self.left.store(looks, Relaxed);
        }
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..width).map(|at| held(at, row.get_ref(at)?));
            found.push(LiteRow(values.collect::<rusqlite::Result<_>>()?));
        }
        Ok(found)
    }

    /// Rows written.
    pub(super) fn execute(&mut self, query: &Query) -> rusqlite::Result<u64> {
        let mut statement = self.bound(query)?;
        if statement.column_count() > 0 {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            return Ok(self.raw.changes());
        }
        statement.raw_execute().map(|rows| rows as u64)
    }

    /// One statement for each row, till one fails.
    pub(super) fn each(&mut self, sql: &str, rows: &[Vec<Value>]) -> rusqlite::Result<()> {
        let mut statement = self.raw.prepare_cached(sql)?;
        for row in rows {
            if statement.parameter_count() != row.len() {
                return Err(rusqlite::Error::InvalidParameterCount(row.len(), statement.parameter_count()));
            }
            for (at, value) in (1..).zip(row) {
                bind(&mut statement, at, value)?;
            }
            statement.raw_execute()?;
        }
        Ok(())
    }

    /// Statements without values, one after the other, till one fails.
    pub(super) fn control(&mut self, statements: &[&str]) -> rusqlite::Result<()> {
        for sql in statements {
            self.raw.prepare_cached(sql)?.raw_execute()?;
        }
        Ok(())
    }

    pub(super) fn brake(&self) -> Brake {
        Brake(self.left.clone())
    }

    fn bound(&self, query: &Query) -> rusqlite::Result<CachedStatement<'_>> {
        let mut statement = self.raw.prepare_cached(&query.sql)?;
        for at in 1..=statement.parameter_count() {
            // SQLite numbers `$7` by where it stands, not by its name.
            let number = match statement.parameter_name(at) {
                Some(name) => name[1..].parse().unwrap_or(0),
                None => at,
            };
            match number.checked_sub(1).and_then(|number: usize| query.values.get(number)) {
                Some(value) => bind(&mut statement, at, value)?,
                None => return Err(rusqlite::Error::InvalidParameterCount(query.values.len(), number)),
            }
        }
        Ok(statement)
    }
}

fn bind(statement: &mut Statement<'_>, at: usize, value: &Value) -> rusqlite::Result<()> {
    match value {
        Value::Text(text) => statement.raw_bind_parameter(at, text),
        Value::Int(int) => statement.raw_bind_parameter(at, int),
        Value::Bool(bool) => statement.raw_bind_parameter(at, bool),
        Value::Bytes(bytes) => statement.raw_bind_parameter(at, bytes),
    }
}

fn held(at: usize, value: ValueRef<'_>) -> rusqlite::Result<Held> {
    Ok(match value {
        ValueRef::Null => Held::Null,
        ValueRef::Integer(int) => Held::Integer(int),
        ValueRef::Real(real) => Held::Real(real),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))?;
            Held::Text(text.to_owned())
        }
        ValueRef::Blob(bytes) => Held::Blob(bytes.to_vec()),
    })
}

impl LiteRow {
    pub(super) fn at(&self, column: usize) -> Option<&Held> {
        self.0.get(column)
    }
}

/// Another process holds the lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    code(error) == Some(5)
}

/// A connection that was lost with the thread that had it.
pub(super) fn gone() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(21), Some("the connection is gone".to_owned()))
}

/// SQLite's primary result code.
pub(super) fn code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

/// A unique index or a primary key refused the row.
pub(super) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    const PRIMARY_KEY: i32 = 1555;
    const UNIQUE: i32 = 2067;
    error.sqlite_error().is_some_and(|error| matches!(error.extended_code, PRIMARY_KEY | UNIQUE))
}

#[cfg(test)]
mod tests {
    use super::super::bind::sqlite;
    use super::super::value::{Row, values};
    use super::*;

    #[test]
    fn placeholders_are_numbered_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let opening = Opening { file: folder.path().join("a.db"), read_only: false, pragmas: Vec::new() };
        let mut connection = opening.connect().unwrap();
        let mut one = |sql: &'static str, values: Vec<Value>| -> Row {
            let rows = connection.all(&sqlite(sql.into(), values)).unwrap();
            rows.into_iter().map(Row::Sqlite).next().unwrap()
        };
        let row = one("SELECT $2, $1, $2, $3", values!["a", 7, true]);
        assert_eq!((row.get::<i64>(0).unwrap(), row.get::<String>(1).unwrap()), (7, "a".to_owned()));
        assert_eq!((row.get::<i64>(2).unwrap(), row.get::<bool>(3).unwrap()), (7, true));
        assert!(row.get::<String>(0).unwrap_err().to_string().contains("Integer"), "7 is no text");
        assert!(row.get::<Option<String>>(0).is_err() && row.get::<String>(4).is_err());
        let row = one("SELECT $1, $2", values![None::<String>, vec![0_u8, 255]]);
        assert_eq!((row.get::<Option<String>>(0).unwrap(), row.get::<Vec<u8>>(1).unwrap()), (None, vec![0, 255]));
        let few = Query { sql: "SELECT $2".into(), values: values!["a"] };
        assert!(connection.all(&few).is_err(), "no value, no NULL by accident");
    }
}
