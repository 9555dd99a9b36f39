//! Table `lookup`: indexed values of documents, folded, for correlation and for filters. A tombstone has none.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::db::{Error, Session, Tx};
use super::sql::{self, Rows, Text};
use super::value::{Value, values};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};

/// One indexed value of one entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub kind: Kind,
    /// `email`, `number`, … or, with its URN, an attribute whose values are kept unique.
    pub name: Cow<'static, str>,
    pub value: String,
    pub entity: EntityId,
}

fn row(lookup: &Lookup) -> Vec<Value> {
    values![lookup.kind, lookup.name.as_ref(), &lookup.value, lookup.entity]
}

pub fn rows(new: &[Lookup]) -> Rows {
    const HEAD: &str = "INSERT INTO lookup (kind, name, value, entity_id) VALUES";
    Rows { head: HEAD, tail: "ON CONFLICT DO NOTHING", values: new.iter().map(row).collect() }
}

pub async fn delete(tx: &mut Tx, rows: &[Lookup]) -> Result<(), Error> {
    const HEAD: &str = "DELETE FROM lookup WHERE (kind, name, value, entity_id) IN (VALUES";
    sql::rows(tx, HEAD, ")", rows.iter().map(row).collect()).await
}

/// (value, entity) of everything that has one of these folded values.
pub async fn find(
    session: &mut impl Session,
    kind: Kind,
    name: &str,
    values: &[&str],
) -> Result<Vec<(String, EntityId)>, Error> {
    let mut found = Vec::new();
    for values in values.chunks(sql::MOST) {
        let mut text = Text::new("SELECT value, entity_id FROM lookup WHERE kind = ");
        text.bind(kind).push(" AND name = ").bind(name).push(" AND value IN ").list(values.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push((row.get(0)?, row.parse(1)?));
        }
    }
    Ok(found)
}

/// (login, entity) of those of a kind who have one of these logins, or names of groups; folded.
pub async fn logins(session: &mut impl Session, kind: Kind, values: &[&str]) -> Result<Vec<(String, EntityId)>, Error> {
    let mut found = Vec::new();
    for values in values.chunks(sql::MOST) {
        let mut text = Text::new("SELECT login_key, id FROM entity WHERE state <> 'tombstone' AND kind = ");
        text.bind(kind).push(" AND realm IN ").list(Realm::ALL.iter().map(|realm| realm.as_str()));
        text.push(" AND login_key IN ").list(values.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push((row.get(0)?, row.parse(1)?));
        }
    }
    Ok(found)
}

/// (value, entity) of those of one kind and realm that have one of these values.
pub async fn owners(
    session: &mut impl Session,
    kind: Kind,
    realm: Option<Realm>,
    name: &str,
    values: &[&str],
) -> Result<Vec<(String, EntityId)>, Error> {
    let mut found = Vec::new();
    for values in values.chunks(sql::MOST) {
        let mut text =
            Text::new("SELECT l.value, l.entity_id FROM lookup l JOIN entity e ON e.id = l.entity_id WHERE l.kind = ");
        text.bind(kind).push(" AND l.name = ").bind(name).push(" AND e.realm = ");
        text.bind(realm.map_or("", |realm| realm.as_str()));
        // Who went while the values were entered has left its rows.
        text.push(" AND e.state <> 'tombstone' AND l.value IN ").list(values.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push((row.get(0)?, row.parse(1)?));
        }
    }
    Ok(found)
}

/// The attributes of which every value stands in the table.
pub async fn kept(session: &mut impl Session) -> Result<BTreeSet<(Kind, String)>, Error> {
    let rows = session.all("SELECT kind, name FROM kept_unique", values![]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.get(1)?))).collect()
}

pub async fn keep(tx: &mut Tx, kind: Kind, name: &str) -> Result<(), Error> {
    let sql = "INSERT INTO kept_unique (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute(sql, values![kind, name]).await.map(drop)
}

/// From now on not every value is entered.
pub async fn keep_no_more(tx: &mut Tx, kind: Kind, name: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM kept_unique WHERE kind = $1 AND name = $2", values![kind, name]).await.map(drop)
}

/// The rows of one name in their order, after one of them.
pub async fn next(
    session: &mut impl Session,
    kind: Kind,
    name: &str,
    after: Option<&Lookup>,
    most: i64,
) -> Result<Vec<Lookup>, Error> {
    let mut text = Text::new("SELECT value, entity_id FROM lookup WHERE kind = ");
    text.bind(kind).push(" AND name = ").bind(name);
    if let Some(after) = after {
        text.push(" AND (value, entity_id) > (").bind(&after.value).push(", ").bind(after.entity).push(")");
    }
    text.push(" ORDER BY value, entity_id LIMIT ").bind(most);
    let rows = session.all(text.sql, text.values).await?;
    let row = |row: &super::value::Row| {
        Ok(Lookup { kind, name: name.to_owned().into(), value: row.get(0)?, entity: row.parse(1)? })
    };
    rows.iter().map(row).collect()
}

/// Values of an attribute that more than one thing of a realm has: at most so many, with one of those that have it.
pub async fn shared(
    session: &mut impl Session,
    kind: Kind,
    name: &str,
    most: i64,
) -> Result<Vec<(EntityId, i64)>, Error> {
    const SQL: &str = "SELECT min(l.entity_id), count(*) FROM lookup l JOIN entity e ON e.id = l.entity_id \
                       WHERE l.kind = $1 AND l.name = $2 GROUP BY e.realm, l.value HAVING count(*) > 1 \
                       ORDER BY 1 LIMIT $3";
    let rows = session.all(SQL, values![kind, name, most]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.get(1)?))).collect()
}
