//! From a text and its values to a statement of either database. Part of `db`: nobody else may call it, because it is the
//! one place that vouches for SQL texts. They are literals of this room or joined from such; input is always bound.

use std::borrow::Cow;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, Postgres};

use super::db::{Error, Sql};
use super::value::Value;

/// Whether both databases can take these values: PostgreSQL has no U+0000 in a text.
pub(super) fn sound(values: &[Value]) -> Result<(), Error> {
    let nul = |value: &Value| matches!(value, Value::Text(Some(text)) if text.as_bytes().contains(&0));
    if values.iter().any(nul) { Err(Error::Nul) } else { Ok(()) }
}

/// A statement of the embedded database and its values.
pub(super) struct Query {
    pub sql: Sql,
    pub values: Vec<Value>,
}

pub(super) fn sqlite(sql: Sql, values: Vec<Value>) -> Query {
    counted(&sql, values.len());
    let sql = match advised(sql) {
        Cow::Owned(sql) if values.len() >= MANY => Cow::Owned(unnamed(sql)),
        sql => sql,
    };
    Query { sql, values }
}

/// As `sqlite`, of a statement that takes the values of one row after the other in their order.
pub(super) fn single(head: &str, tail: &str, rows: &[Vec<Value>]) -> Sql {
    #[cfg(test)]
    super::testing::tally();
    let columns = rows.first().map_or(0, Vec::len);
    unnamed(advised(super::sql::insert_text(head, tail, 1, columns).into()).into_owned()).into()
}

/// All rows in one statement that has as many values as they have columns. Refused where a column has values of two types.
pub(super) fn columns(
    head: &str,
    tail: &str,
    rows: Vec<Vec<Value>>,
) -> Result<sqlx::query::Query<'static, Postgres, PgArguments>, Error> {
    let (first, length) = (rows.first().cloned().unwrap_or_default(), rows.len());
    let types = first.iter().zip(1..).map(|(cell, number)| match cell {
        Value::Text(_) => format!("${number}::TEXT[]"),
        Value::Int(_) => format!("${number}::BIGINT[]"),
        Value::Bool(_) => format!("${number}::BOOLEAN[]"),
        Value::Bytes(_) => format!("${number}::BYTEA[]"),
    });
    let types = types.collect::<Vec<_>>().join(", ");
    let head = head.strip_suffix("VALUES").unwrap_or(head);
    let sql = format!("{head}SELECT * FROM UNNEST({types}) {tail}");
    counted(&sql, first.len());
    let mut cells: Vec<Vec<Value>> = first.iter().map(|_| Vec::with_capacity(length)).collect();
    for row in rows {
        cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    macro_rules! bind {
        ($query:expr, $column:expr, $variant:ident) => {{
            let cells = $column.into_iter().map(|cell| match cell {
                Value::$variant(value) => Ok(value),
                _ => Err(Error::Stored("a column has values of two types".to_owned())),
            });
            $query.bind(cells.collect::<Result<Vec<_>, Error>>()?)
        }};
    }
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (kind, column) in first.iter().zip(cells) {
        query = match kind {
            Value::Text(_) => bind!(query, column, Text),
            Value::Int(_) => bind!(query, column, Int),
            Value::Bool(_) => bind!(query, column, Bool),
            Value::Bytes(_) => bind!(query, column, Bytes),
        };
    }
    Ok(query)
}

/// The one place that vouches for SQL texts: they are literals of this room or joined from such, never input.
pub(super) fn postgres(sql: Sql, values: Vec<Value>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    counted(&sql, values.len());
    let query = match sql {
        Cow::Borrowed(sql) => sqlx::query(sql),
        Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql)),
    };
    values.into_iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
        Value::Bool(bool) => query.bind(bool),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// What only SQLite is told, as a comment for every other: `/*sqlite: INDEXED BY edge_works*/`. A planner without statistics
/// takes a unique index before one that holds all that is asked for.
const ADVICE: &str = "/*sqlite:";

fn advised(sql: Sql) -> Sql {
    if sql.contains(ADVICE) { Cow::Owned(sql.replace(ADVICE, "").replace("*/", "")) } else { sql }
}

/// From so many values on it pays to leave the names of placeholders out.
const MANY: usize = 32;

/// `$1, $2 ..` as `?, ? ..`, where they stand in order and each once. SQLite searches the list of all names for each
/// name, so that the time of a statement would grow with the square of its values.
fn unnamed(sql: String) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut pieces = sql.split('$');
    out.push_str(pieces.next().unwrap_or_default());
    for (number, piece) in (1_usize..).zip(pieces) {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        if piece[..digits].parse() != Ok(number) {
            return sql;
        }
        out.push('?');
        out.push_str(&piece[digits..]);
    }
    out
}

/// SQLite takes a missing argument for NULL without a word, so debug builds count; tests also count the statements.
fn counted(sql: &str, given: usize) {
    #[cfg(test)]
    super::testing::tally();
    if cfg!(debug_assertions) {
        let wanted = sql.split('$').skip(1).map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest[..digits].parse::<usize>().unwrap_or(0)
        });
        let wanted = wanted.max().unwrap_or(0);
        assert!(wanted == given, "{given} values for {wanted} placeholders: {sql}");
    }
}

#[cfg(test)]
mod tests {
    use super::{advised, unnamed};

    #[test]
    fn advice_is_a_comment_until_it_is_meant() {
        assert_eq!(advised("FROM t /*sqlite: INDEXED BY i*/ WHERE".into()), "FROM t  INDEXED BY i WHERE");
        assert_eq!(advised("SELECT 1".into()), "SELECT 1");
    }

    #[test]
    fn placeholders_lose_their_names_only_where_they_stand_in_order() {
        assert_eq!(unnamed("VALUES ($1, $2), ($3, $4)".to_owned()), "VALUES (?, ?), (?, ?)");
        for other in ["a = $1 OR b = $1", "a = $2 AND b = $1", "a = '$' || $1"] {
            assert_eq!(unnamed(other.to_owned()), other);
        }
    }
}
