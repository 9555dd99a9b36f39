//! Table `assertion`: what each source said of each thing, under the source's own key. Only the engine writes it.

use super::db::{Error, Session, Tx};
use super::sql::{self, Rows, Text};
use super::value::{Row, Value, values};
use crate::model::desired::Digest;
use crate::model::entity::Assertion;
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// The columns that `read` takes, of a table alias `a`, in its order.
pub const COLUMNS: &str = "a.source, a.kind, a.key, a.entity_id, a.alias, a.external_id, a.digest, a.doc, a.ended, \
                           a.run_id, a.at";

/// How many columns that is.
pub const WIDTH: usize = 11;

/// Reads the columns that begin at `from`.
pub fn read(row: &Row, from: usize) -> Result<Assertion, Error> {
    let doc: Option<String> = row.get(from + 7)?;
    let digest: Option<Vec<u8>> = row.get(from + 6)?;
    Ok(Assertion {
        source: row.get(from)?,
        kind: row.parse(from + 1)?,
        key: row.get(from + 2)?,
        entity: row.parse(from + 3)?,
        alias: row.get(from + 4)?,
        external_id: row.get(from + 5)?,
        digest: digest.and_then(|bytes| bytes.try_into().ok()).map(Digest),
        doc: doc.map(|doc| serde_json::from_str(&doc).map_err(|error| Error::Stored(error.to_string()))).transpose()?,
        ended: row.get(from + 8)?,
        run: row.parse(from + 9)?,
        at: Millis(row.get(from + 10)?),
    })
}

pub async fn of_entity(session: &mut impl Session, id: EntityId) -> Result<Vec<Assertion>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM assertion a WHERE a.entity_id = $1 ORDER BY a.source, a.key");
    session.all(sql, values![id]).await?.iter().map(|row| read(row, 0)).collect()
}

pub async fn by_key(
    session: &mut impl Session,
    source: &str,
    kind: Kind,
    key: &str,
) -> Result<Option<Assertion>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM assertion a WHERE a.source = $1 AND a.kind = $2 AND a.key = $3");
    session.optional(sql, values![source, kind, key]).await?.map(|row| read(&row, 0)).transpose()
}

const INSERT: &str = "INSERT INTO assertion (source, kind, key, entity_id, alias, external_id, digest, doc, ended, run_id, \
                      at) VALUES";

/// What is new. Its writing fails with a unique violation where another transaction was first with the same key: then nothing
/// may be written.
pub fn rows(new: &[&Assertion]) -> Rows {
    Rows { head: INSERT, tail: "", values: new.iter().map(|row| values_of(row)).collect() }
}

/// Gives rows that were made beforehand the instant of the transaction that writes them.
pub fn stamp(rows: &mut Rows, at: Millis) {
    const AT: usize = 10;
    for row in &mut rows.values {
        row[AT] = at.into();
    }
}

/// Before and now. SQLite writes every index of which a column is named, also where it stays the same.
pub async fn update(tx: &mut Tx, rows: &[(&Assertion, &Assertion)]) -> Result<(), Error> {
    macro_rules! said {
        () => {
            "ON CONFLICT (source, kind, key) DO UPDATE SET digest = excluded.digest, doc = excluded.doc, \
             ended = excluded.ended, run_id = excluded.run_id, at = excluded.at"
        };
    }
    const WHOLE: &str = concat!(
        said!(),
        ", entity_id = excluded.entity_id, alias = excluded.alias, external_id = excluded.external_id"
    );
    fn names(of: &Assertion) -> (EntityId, Option<&str>, Option<&str>) {
        (of.entity, of.alias.as_deref(), of.external_id.as_deref())
    }
    let (said, whole): (Vec<_>, Vec<_>) = rows.iter().partition(|(before, now)| names(before) == names(now));
    for (rows, tail) in [(whole, WHOLE), (said, said!())] {
        sql::rows(tx, INSERT, tail, rows.iter().map(|(_, now)| values_of(now)).collect()).await?;
    }
    Ok(())
}

pub async fn delete(tx: &mut Tx, rows: &[&Assertion]) -> Result<(), Error> {
    const HEAD: &str = "DELETE FROM assertion WHERE (source, kind, key) IN (VALUES";
    let rows = rows.iter().map(|row| values![&row.source, row.kind, &row.key]).collect();
    sql::rows(tx, HEAD, ")", rows).await
}

fn values_of(row: &Assertion) -> Vec<Value> {
    values![
        &row.source,
        row.kind,
        &row.key,
        row.entity,
        row.alias.clone(),
        row.external_id.clone(),
        row.digest,
        row.doc.as_ref(),
        row.ended,
        row.run,
        row.at,
    ]
}

/// A key that a source holds, with what its last record was digested to.
pub struct Held {
    pub kind: Kind,
    pub key: String,
    pub digest: Option<Digest>,
}

/// The next keys that the source holds, after `after`, at most `limit`, ordered.
pub async fn held_after(
    session: &mut impl Session,
    source: &str,
    after: Option<(Kind, &str)>,
    limit: i64,
) -> Result<Vec<Held>, Error> {
    const SQL: &str = "SELECT kind, key, digest FROM assertion WHERE source = $1 AND (kind, key) > ($2, $3) \
                       AND NOT ended ORDER BY kind, key LIMIT $4";
    let (kind, key) = after.map_or(("", ""), |(kind, key)| (kind.as_str(), key));
    let rows = session.all(SQL, values![source, kind, key, limit]).await?;
    rows.iter()
        .map(|row| {
            let digest: Option<Vec<u8>> = row.get(2)?;
            let digest = digest.and_then(|bytes| bytes.try_into().ok()).map(Digest);
            Ok(Held { kind: row.parse(0)?, key: row.get(1)?, digest })
        })
        .collect()
}

/// The next keys that the source has or had, after `after`, at most `limit`, ordered: what the primary key alone can tell.
pub async fn keys_after(
    session: &mut impl Session,
    source: &str,
    kind: Kind,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, Error> {
    const SQL: &str =
        "SELECT key FROM assertion WHERE source = $1 AND kind = $2 AND key > $3 ORDER BY source, kind, key LIMIT $4";
    let rows = session.all(SQL, values![source, kind, after, limit]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Things that the source points at by a name and whose last record left no digest, at most `limit`.
pub async fn without_digest(
    session: &mut impl Session,
    source: &str,
    limit: i64,
) -> Result<Vec<(Kind, String)>, Error> {
    const SQL: &str = "SELECT kind, key FROM assertion WHERE source = $1 AND digest IS NULL AND alias IS NOT NULL \
                       AND NOT ended ORDER BY kind, key LIMIT $2";
    let rows = session.all(SQL, values![source, limit]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.get(1)?))).collect()
}

/// Those of the keys that the source holds.
pub async fn held_keys(
    session: &mut impl Session,
    source: &str,
    kind: Kind,
    keys: &[&str],
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for keys in keys.chunks(sql::MOST) {
        let mut text = Text::new("SELECT key FROM assertion WHERE NOT ended AND source = ");
        text.bind(source).push(" AND kind = ").bind(kind).push(" AND key IN ").list(keys.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// How many things of the kind the source holds, counting no further than `most`.
pub async fn count_held(session: &mut impl Session, source: &str, kind: Kind, most: i64) -> Result<u64, Error> {
    const SQL: &str = "SELECT count(*) FROM (SELECT 1 AS one FROM assertion WHERE source = $1 AND kind = $2 \
                       AND NOT ended LIMIT $3) AS held";
    let count: i64 = session.one(SQL, values![source, kind, most]).await?.get(0)?;
    Ok(count.unsigned_abs())
}

/// (key, entity) of this source's things that are known by these keys.
pub async fn by_keys(
    session: &mut impl Session,
    source: &str,
    kind: Kind,
    keys: &[&str],
) -> Result<Vec<(String, EntityId)>, Error> {
    let mut found = Vec::new();
    for keys in keys.chunks(sql::MOST) {
        let mut text = Text::new("SELECT a.key, a.entity_id FROM assertion a JOIN entity e ON e.id = a.entity_id ");
        text.push("WHERE e.state <> 'tombstone' AND a.source = ").bind(source).push(" AND a.kind = ").bind(kind);
        text.push(" AND a.key IN ").list(keys.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push((row.get(0)?, row.parse(1)?));
        }
    }
    Ok(found)
}

/// Those of the entities that the source holds.
pub async fn held_among(session: &mut impl Session, source: &str, ids: &[EntityId]) -> Result<Vec<EntityId>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT DISTINCT entity_id FROM assertion WHERE NOT ended AND source = ");
        text.bind(source).push(" AND entity_id IN ").list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(row.parse(0)?);
        }
    }
    Ok(found)
}

/// (alias, entity) of what this source holds under these aliases. An alias (a DN) can be taken over by another thing, so
/// what the source let go of does not count.
pub async fn by_aliases(
    session: &mut impl Session,
    source: &str,
    aliases: &[&str],
) -> Result<Vec<(String, EntityId, Kind)>, Error> {
    let mut found = Vec::new();
    for aliases in aliases.chunks(sql::MOST) {
        let mut text =
            Text::new("SELECT a.alias, a.entity_id, e.kind FROM assertion a JOIN entity e ON e.id = a.entity_id ");
        text.push("WHERE e.state <> 'tombstone' AND NOT a.ended AND a.source = ").bind(source);
        text.push(" AND a.alias IN ").list(aliases.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push((row.get(0)?, row.parse(1)?, row.parse(2)?));
        }
    }
    Ok(found)
}

/// Whatever of this source points at one of the entities goes through the mapping again when it is read next.
pub async fn forget_digests(tx: &mut Tx, source: &str, pointed_at: &[EntityId]) -> Result<(), Error> {
    for pointed_at in pointed_at.chunks(sql::MOST) {
        // By the index of the things: few point at one, and a source may have a million.
        let mut text = Text::new("UPDATE assertion SET digest = NULL WHERE source || '' = ");
        text.bind(source).push(" AND digest IS NOT NULL AND entity_id IN (SELECT from_id FROM edge WHERE source = ");
        text.bind(source).push(" AND to_id IN ").list(pointed_at.iter().copied()).push(")");
        tx.execute(text.sql, text.values).await?;
    }
    Ok(())
}
