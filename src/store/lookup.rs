//! Table `lookup`: indexed values of documents, folded, for correlation and for filters. A tombstone has none.

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Value, values};
use crate::model::id::EntityId;
use crate::model::kind::Kind;

/// One indexed value of one entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub kind: Kind,
    pub name: &'static str,
    pub value: String,
    pub entity: EntityId,
}

fn row(lookup: &Lookup) -> Vec<Value> {
    values![lookup.kind, lookup.name, &lookup.value, lookup.entity]
}

pub async fn insert(tx: &mut Tx, rows: &[Lookup]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO lookup (kind, name, value, entity_id) VALUES";
    sql::rows(tx, HEAD, "ON CONFLICT DO NOTHING", rows.iter().map(row).collect()).await.map(drop)
}

pub async fn delete(tx: &mut Tx, rows: &[Lookup]) -> Result<(), Error> {
    const HEAD: &str = "DELETE FROM lookup WHERE (kind, name, value, entity_id) IN (VALUES";
    sql::rows(tx, HEAD, ")", rows.iter().map(row).collect()).await.map(drop)
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
