//! Texts of SQL whose length depends on the number of rows: lists for `IN`, rows for a multi-row `INSERT`. Lengths of lists come
//! from a short fixed list, and many rows have one text, so that a long run uses a handful of prepared statements. Only literals
//! are joined here; everything else is bound.

use std::fmt::Write as _;

use super::db::{Answer, Error, Read, Session, Sql, Tx};
use super::value::{Row, Value};

/// The longest list that `Text::list` takes: more is asked in pieces.
pub const MOST: usize = 512;
/// Lengths of lists; a shorter one is filled up with its last value.
const LISTS: [usize; 6] = [1, 4, 16, 64, 256, MOST];
/// So few rows are one statement, whatever their number: a call writes each table once.
const FEW: usize = 16;

/// Reads that a plan rests on: locked where a write will follow, plain where it is only a preview.
pub trait Look: Session {
    fn look(&mut self, sql: String, values: Vec<Value>) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// Waits until no other transaction is in the same queue. False: there was nobody to wait for, and what was read stands.
    fn alone(&mut self, queue: i64) -> impl Future<Output = Result<bool, Error>> + Send;
}

impl Look for Tx {
    async fn look(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.lock(sql, values).await
    }

    async fn alone(&mut self, queue: i64) -> Result<bool, Error> {
        self.queue(queue).await
    }
}

impl Look for Read {
    async fn look(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.all(sql, values).await
    }

    async fn alone(&mut self, _: i64) -> Result<bool, Error> {
        Ok(false)
    }
}

/// A store in which nothing is, and which knows whether it was asked.
#[derive(Default)]
pub struct Nothing(bool);

impl Nothing {
    pub fn was_asked(&self) -> bool {
        self.0
    }
}

impl Session for Nothing {
    fn ask(&mut self, _: Sql, _: Vec<Value>) -> Answer<'_, Vec<Row>> {
        self.0 = true;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

impl Look for Nothing {
    async fn look(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.all(sql, values).await
    }

    async fn alone(&mut self, _: i64) -> Result<bool, Error> {
        self.0 = true;
        Ok(false)
    }
}

#[derive(Default)]
pub struct Text {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Text {
    pub fn new(sql: &str) -> Text {
        Text { sql: sql.to_owned(), values: Vec::new() }
    }

    pub fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Binds a value and writes its placeholder.
    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let _ = write!(self.sql, "${}", self.values.len());
        self
    }

    /// `($1, $2 ..)` of at least one and at most `MOST` values.
    pub fn list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        let mut values: Vec<Value> = values.into_iter().map(Into::into).collect();
        debug_assert!(!values.is_empty() && values.len() <= MOST, "{} values in a list", values.len());
        let length = LISTS.into_iter().find(|length| *length >= values.len()).unwrap_or(values.len());
        if let Some(last) = values.last().cloned() {
            values.resize(length, last);
        }
        self.push("(");
        for (at, value) in values.into_iter().enumerate() {
            self.push(if at == 0 { "" } else { ", " }).bind(value);
        }
        self.push(")")
    }
}

/// Rows that are made ready for a table, and can be written in any transaction.
pub struct Rows {
    pub(super) head: &'static str,
    pub(super) tail: &'static str,
    pub(super) values: Vec<Vec<Value>>,
}

impl Rows {
    pub async fn put(self, tx: &mut Tx) -> Result<(), Error> {
        rows(tx, self.head, self.tail, self.values).await
    }
}

/// `head (..), (..) tail` for all rows; `head` ends in `VALUES`. Where they are many, what refuses one of them may be told by a
/// later call, at the latest by the COMMIT.
pub async fn rows(tx: &mut Tx, head: &str, tail: &str, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    if rows.len() > FEW {
        return tx.post(head, tail, rows).await;
    }
    let text = insert_text(head, tail, rows.len(), first.len());
    tx.execute(text, rows.into_iter().flatten().collect()).await.map(drop)
}

pub(super) fn insert_text(head: &str, tail: &str, rows: usize, columns: usize) -> String {
    let mut sql = String::with_capacity(head.len() + tail.len() + rows * columns * 8);
    sql.push_str(head);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for column in 0..columns {
            let _ = write!(sql, "{}${}", if column == 0 { "" } else { ", " }, row * columns + column + 1);
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(tail);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_lengths() {
        let mut text = Text::new("a = ");
        text.bind("x").push(" AND b IN ").list(["1", "2", "3"]);
        assert_eq!(text.sql, "a = $1 AND b IN ($2, $3, $4, $5)");
        assert_eq!(text.values[4], Value::from("3"), "filled up with the last value");
        let mut text = Text::default();
        text.list((0..MOST as i64).collect::<Vec<_>>());
        assert_eq!(text.values.len(), MOST);
    }
}
