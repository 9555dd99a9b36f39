//! What goes into a statement and what comes out of it, for both databases.
//!
//! Fetching is not generic, decoding is: that was measured to compile a third faster and smaller than the other ways.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{ColumnIndex, Decode, Row as _, Type};

use super::db::Error;
use crate::model::{change, entity, id, invitation, kind, licence, mail, run};

/// A bound value. The variant says the type also where it is NULL (PostgreSQL wants to know).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Bool(Option<bool>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! from {
    ($($type:ty => $variant:ident $convert:expr),+ $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(Some($convert(value)))
            }
        }
        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Value {
                Value::$variant(value.map($convert))
            }
        }
    )+};
}

from! {
    String => Text std::convert::identity,
    &str => Text str::to_owned,
    &String => Text String::clone,
    i64 => Int std::convert::identity,
    bool => Bool std::convert::identity,
    Vec<u8> => Bytes std::convert::identity,
    &[u8] => Bytes <[u8]>::to_vec,
    crate::model::desired::Digest => Bytes |digest: crate::model::desired::Digest| digest.0.to_vec(),
    id::EntityId => Text |id: id::EntityId| uuid(id.0),
    id::RunId => Text |id: id::RunId| uuid(id.0),
    kind::Kind => Text |word: kind::Kind| word.as_str().to_owned(),
    kind::Rel => Text |word: kind::Rel| word.as_str().to_owned(),
    crate::model::time::Millis => Int |at: crate::model::time::Millis| at.0,
    &crate::model::document::Document => Text |doc: &crate::model::document::Document| serde_json::to_string(doc).unwrap_or_default(),
}

/// As `to_string`, without the detour through a formatter: a long run binds ids by the million.
fn uuid(id: uuid::Uuid) -> String {
    id.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned()
}

/// The values of a statement, in the order of `$1`, `$2` …
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::Value::from($value)),*] };
}
pub use crate::values;

/// What is a text in the database and something better here.
pub trait Stored: Sized {
    fn stored(text: &str) -> Result<Self, Error>;
}

macro_rules! stored {
    ($($type:ty),+ $(,)?) => {$(
        impl Stored for $type {
            fn stored(text: &str) -> Result<Self, Error> {
                text.parse().map_err(|error: <$type as std::str::FromStr>::Err| Error::Stored(error.to_string()))
            }
        }
    )+};
}

stored! {
    id::EntityId, id::RunId, kind::Rel, kind::Realm, entity::State, change::Op, run::RunKind, run::RunState,
    licence::LicenceState, invitation::Purpose, invitation::Role, invitation::LinkState, mail::OutboxState,
}

impl Stored for kind::Kind {
    fn stored(text: &str) -> Result<Self, Error> {
        kind::Kind::stored(text).map_err(|error| Error::Stored(error.to_string()))
    }
}

/// One row of an answer.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// Types that both databases give back: `String`, `i64`, `bool`, `Vec<u8>` and their `Option`s.
pub trait Column: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}
impl<T> Column for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Row {
    /// By name or by position; the position is faster where thousands of rows are read.
    pub fn get<T: Column>(&self, column: impl ColumnIndex<SqliteRow> + ColumnIndex<PgRow>) -> Result<T, Error> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A text column that holds a word or an id of `model`.
    pub fn parse<T: Stored>(&self, column: impl ColumnIndex<SqliteRow> + ColumnIndex<PgRow>) -> Result<T, Error> {
        T::stored(&self.get::<String>(column)?)
    }

    /// As `parse`, for a column that may be NULL.
    pub fn parse_opt<T: Stored>(
        &self,
        column: impl ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    ) -> Result<Option<T>, Error> {
        self.get::<Option<String>>(column)?.map(|text| T::stored(&text)).transpose()
    }

    /// A text column that holds JSON.
    pub fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: impl ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    ) -> Result<T, Error> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| Error::Stored(error.to_string()))
    }
}
