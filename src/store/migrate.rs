//! Applies the numbered files of `migrations/`, each in one transaction, and remembers it with the digest of its text.
//! Refuses a database that is newer than this program, and one whose history is another.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::db::{Db, Error, Session as _};
use super::value::values;
use crate::model::time::Millis;

/// In order; the position is the number.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_core", include_str!("../../migrations/0001_core.sql")),
    ("0002_edge_waiting", include_str!("../../migrations/0002_edge_waiting.sql")),
    ("0003_lookup_entity", include_str!("../../migrations/0003_lookup_entity.sql")),
    ("0004_sight", include_str!("../../migrations/0004_sight.sql")),
    ("0005_secret", include_str!("../../migrations/0005_secret.sql")),
    ("0006_token_subject", include_str!("../../migrations/0006_token_subject.sql")),
    ("0007_list", include_str!("../../migrations/0007_list.sql")),
    ("0008_kept_unique", include_str!("../../migrations/0008_kept_unique.sql")),
    ("0009_api_communicator", include_str!("../../migrations/0009_api_communicator.sql")),
    ("0010_event", include_str!("../../migrations/0010_event.sql")),
    ("0011_run_fingerprint", include_str!("../../migrations/0011_run_fingerprint.sql")),
    ("0012_assertion_unsure", include_str!("../../migrations/0012_assertion_unsure.sql")),
    ("0013_event_over", include_str!("../../migrations/0013_event_over.sql")),
];

/// Brings the schema up to date and returns the names of what was applied.
pub async fn run(db: &Db, now: Millis) -> Result<Vec<&'static str>, Error> {
    let mut applied = Vec::new();
    let done = done(db).await?;
    check(&done)?;
    for (number, (name, text)) in (1_i64..).zip(MIGRATIONS).skip(done.len()) {
        let mut tx = db.write_long().await?;
        if number == 1 {
            tx.execute(HISTORY, values![]).await?;
        }
        for statement in statements(text) {
            tx.execute(statement, values![]).await?;
        }
        let remember = "INSERT INTO migration (number, name, digest, at) VALUES ($1, $2, $3, $4)";
        tx.execute(remember, values![number, *name, digest(text), now]).await?;
        tx.commit().await?;
        applied.push(*name);
    }
    Ok(applied)
}

/// Whether every migration of this program is there, without applying any.
pub async fn is_current(db: &Db) -> Result<bool, Error> {
    let done = done(db).await?;
    check(&done)?;
    Ok(done.len() == MIGRATIONS.len())
}

const HISTORY: &str = "CREATE TABLE migration (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
                       digest TEXT NOT NULL, at BIGINT NOT NULL)";

/// (name, digest) of what was applied, in order. A database without the table is empty.
async fn done(db: &Db) -> Result<Vec<(String, String)>, Error> {
    let mut read = db.read().await?;
    if !read.has_table("migration").await? {
        return Ok(Vec::new());
    }
    let rows = read.all("SELECT name, digest FROM migration ORDER BY number", values![]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

fn check(done: &[(String, String)]) -> Result<(), Error> {
    if let Some((name, _)) = done.get(MIGRATIONS.len()) {
        return Err(Error::Schema(format!("the database is newer than this program: it has migration `{name}`")));
    }
    for ((name, was), (ours, text)) in done.iter().zip(MIGRATIONS) {
        if name != ours || *was != digest(text) {
            return Err(Error::Schema(format!("migration `{name}` of the database is not `{ours}` of this program")));
        }
    }
    Ok(())
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The statements of a file: comments go, `;` ends one.
fn statements(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("--").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_statements() {
        assert_eq!(
            statements("-- a; b\nCREATE TABLE t (a TEXT); -- c\n\nDROP TABLE t;\n"),
            ["CREATE TABLE t (a TEXT)", "DROP TABLE t"]
        );
    }

    #[test]
    fn a_foreign_history_is_refused() {
        let other = ("0001_core".to_owned(), "00".to_owned());
        assert!(check(&[other]).is_err());
        let ours: Vec<_> = MIGRATIONS.iter().map(|(name, text)| ((*name).to_owned(), digest(text))).collect();
        assert!(check(&ours).is_ok());
        let newer = [ours, vec![("9999_future".to_owned(), String::new())]].concat();
        assert!(check(&newer).unwrap_err().to_string().contains("newer"));
    }
}
