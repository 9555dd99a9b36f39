//! Table `entity`: the merged truth. Plain reads for everybody, and the writes of the engine, which alone may call them.
//! Every read that a write rests on goes through `Tx::lock`.

use super::assertion;
use super::db::{Error, Session, Tx};
use super::sql::{self, Look, Rows, Text};
use super::value::{Row, Value, values};
use crate::model::entity::{Assertion, Entity, Flags, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::time::Millis;

/// The columns that `read` takes, of a table alias `e`, in its order.
pub const COLUMNS: &str = "e.id, e.kind, e.realm, e.login_key, e.active, e.blocked, e.state, e.flags, e.version, \
                           e.created, e.modified, e.doc";
/// How many columns that is: what a joined row holds begins here.
pub const WIDTH: usize = 12;

/// Reads the first `WIDTH` columns.
pub fn read(row: &Row) -> Result<Entity, Error> {
    let realm: String = row.get(2)?;
    Ok(Entity {
        id: row.parse(0)?,
        kind: row.parse(1)?,
        realm: if realm.is_empty() { None } else { Some(realm.parse().map_err(|_| Error::Stored(realm))?) },
        login_key: row.get(3)?,
        active: row.get(4)?,
        blocked: row.get(5)?,
        state: row.parse::<State>(6)?,
        flags: Flags(row.get(7)?),
        version: row.get(8)?,
        created: Millis(row.get(9)?),
        modified: Millis(row.get(10)?),
        doc: row.json(11)?,
    })
}

pub async fn by_id(session: &mut impl Session, id: EntityId) -> Result<Option<Entity>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM entity e WHERE e.id = $1");
    session.optional(sql, values![id]).await?.map(|row| read(&row)).transpose()
}

/// The next living things of a kind in the order of their ids, locked.
pub async fn next_of_kind(tx: &mut Tx, kind: Kind, after: Option<EntityId>, most: i64) -> Result<Vec<Entity>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entity e WHERE e.kind = $1 AND e.id > $2 AND e.state <> 'tombstone' ORDER BY e.id LIMIT $3"
    );
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let rows = tx.lock(sql, values![kind, after, most]).await?;
    rows.iter().map(read).collect()
}

/// As `by_ids`, and nobody changes them until the transaction ends.
pub async fn locked(tx: &mut Tx, ids: &[EntityId]) -> Result<Vec<Entity>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM entity e WHERE e.id IN "));
        text.list(ids.iter().copied()).push(" ORDER BY e.id");
        let rows = tx.lock(text.sql, text.values).await?;
        found.extend(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

pub async fn by_ids(session: &mut impl Session, ids: &[EntityId]) -> Result<Vec<Entity>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM entity e WHERE e.id IN "));
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// What is written of an entity beside the `Entity` itself.
pub struct Stored<'a> {
    pub entity: &'a Entity,
    /// As it stands in the store; none where it is new.
    pub before: Option<&'a Entity>,
    pub ordered_at: Option<Millis>,
    /// Now, where no source holds it or it is a tombstone; an earlier instant that is stored stays.
    pub gone_at: Option<Millis>,
}

const INSERT: &str = "INSERT INTO entity (id, kind, realm, login_key, active, blocked, state, flags, ordered_at, version, \
                      created, modified, gone_at, doc) VALUES";

/// What is new.
pub fn rows(new: &[Stored<'_>]) -> Rows {
    Rows { head: INSERT, tail: "", values: new.iter().map(row).collect() }
}

/// Gives new rows that were made beforehand the instant of the transaction that writes them.
pub fn stamp(rows: &mut Rows, at: Millis) {
    const CREATED: usize = 10;
    for row in &mut rows.values {
        (row[CREATED], row[CREATED + 1]) = (at.into(), at.into());
    }
}

/// How much of a row differs. SQLite writes every index of which a column is named, also where it stays the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Document,
    Standing,
    All,
}

fn reach(stored: &Stored<'_>) -> Reach {
    let now = stored.entity;
    let Some(before) = stored.before else { return Reach::All };
    if (&before.login_key, before.state) != (&now.login_key, now.state) {
        return Reach::All;
    }
    // Only these are listed in an order that their document says.
    let ordered = matches!(now.kind, Kind::Ticket | Kind::Device | Kind::Session);
    let same = (before.active, before.flags) == (now.active, now.flags);
    if same && !ordered { Reach::Document } else { Reach::Standing }
}

pub async fn update(tx: &mut Tx, rows: &[Stored<'_>]) -> Result<(), Error> {
    macro_rules! document {
        () => {
            "ON CONFLICT (id) DO UPDATE SET blocked = excluded.blocked, version = excluded.version, \
             modified = excluded.modified, doc = excluded.doc, gone_at = CASE WHEN excluded.gone_at IS NULL THEN NULL \
             ELSE COALESCE(entity.gone_at, excluded.gone_at) END"
        };
    }
    macro_rules! standing {
        () => {
            ", active = excluded.active, flags = excluded.flags, ordered_at = excluded.ordered_at"
        };
    }
    const TAILS: [(Reach, &str); 3] = [
        (Reach::All, concat!(document!(), standing!(), ", login_key = excluded.login_key, state = excluded.state")),
        (Reach::Standing, concat!(document!(), standing!())),
        (Reach::Document, document!()),
    ];
    for (part, tail) in TAILS {
        let rows: Vec<Vec<Value>> = rows.iter().filter(|stored| reach(stored) == part).map(row).collect();
        sql::rows(tx, INSERT, tail, rows).await?;
    }
    Ok(())
}

fn row(stored: &Stored<'_>) -> Vec<Value> {
    let entity = stored.entity;
    values![
        entity.id,
        entity.kind,
        entity.realm.map_or("", |realm| realm.as_str()),
        entity.login_key.clone(),
        entity.active,
        entity.blocked,
        entity.state.as_str(),
        entity.flags.0,
        stored.ordered_at,
        entity.version,
        entity.created,
        entity.modified,
        stored.gone_at,
        &entity.doc,
    ]
}

/// Lets go of the logins of these, so that others of the same transaction can take them (the index is checked row by row).
pub async fn bump(tx: &mut Tx, ids: &[EntityId], at: Millis) -> Result<(), Error> {
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("UPDATE entity SET version = version + 1, modified = ");
        text.bind(at).push(" WHERE id IN ").list(ids.iter().copied());
        tx.execute(text.sql, text.values).await?;
    }
    Ok(())
}

pub async fn free_logins(tx: &mut Tx, ids: &[EntityId]) -> Result<(), Error> {
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("UPDATE entity SET login_key = NULL WHERE id IN ");
        text.list(ids.iter().copied());
        tx.execute(text.sql, text.values).await?;
    }
    Ok(())
}

/// What a batch may touch: things by the source's keys, by our ids, by login, by indexed values.
#[derive(Default)]
pub struct Wanted<'a> {
    pub source: &'a str,
    pub kind: Option<Kind>,
    pub realm: Option<Realm>,
    pub keys: Vec<&'a str>,
    pub ids: Vec<EntityId>,
    /// Folded.
    pub logins: Vec<&'a str>,
    /// The source's names for them.
    pub externals: Vec<&'a str>,
    /// Folded values by the name of the lookup.
    pub lookups: Vec<(&'static str, Vec<&'a str>)>,
}

/// All of them in one statement, each entity with everything that any source says of it. Lists hold at most `sql::MOST`.
pub async fn touching(session: &mut impl Look, wanted: &Wanted<'_>) -> Result<Vec<(Entity, Vec<Assertion>)>, Error> {
    let Some(kind) = wanted.kind else { return Ok(Vec::new()) };
    let mut text = Text::new(&format!(
        "SELECT {COLUMNS}, {} FROM entity e JOIN assertion a ON a.entity_id = e.id WHERE e.id IN (",
        assertion::COLUMNS
    ));
    let mut parts = 0;
    let mut part = |text: &mut Text, sql: &str| {
        text.push(if parts == 0 { "" } else { " UNION ALL " }).push(sql);
        parts += 1;
    };
    if !wanted.keys.is_empty() {
        part(&mut text, "SELECT entity_id FROM assertion WHERE source = ");
        text.bind(wanted.source).push(" AND kind = ").bind(kind);
        text.push(" AND key IN ").list(wanted.keys.iter().copied());
    }
    if !wanted.ids.is_empty() {
        part(&mut text, "SELECT id FROM entity WHERE id IN ");
        text.list(wanted.ids.iter().copied());
    }
    if !wanted.logins.is_empty() {
        part(&mut text, "SELECT id FROM entity WHERE state <> 'tombstone' AND kind = ");
        text.bind(kind).push(" AND realm = ").bind(wanted.realm.map_or("", |realm| realm.as_str()));
        text.push(" AND login_key IN ").list(wanted.logins.iter().copied());
    }
    if !wanted.externals.is_empty() {
        part(&mut text, "SELECT entity_id FROM assertion WHERE NOT ended AND source = ");
        text.bind(wanted.source).push(" AND kind = ").bind(kind);
        text.push(" AND external_id IN ").list(wanted.externals.iter().copied());
    }
    for (name, values) in wanted.lookups.iter().filter(|(_, values)| !values.is_empty()) {
        part(&mut text, "SELECT entity_id FROM lookup WHERE kind = ");
        text.bind(kind).push(" AND name = ").bind(*name).push(" AND value IN ").list(values.iter().copied());
    }
    if parts == 0 {
        return Ok(Vec::new());
    }
    text.push(") ORDER BY e.id, a.source, a.key");
    gathered(&session.look(text.sql, text.values).await?)
}

/// What a call that names our id may touch as long as it brings no login and no value to find others by: the thing, and
/// whatever the source calls by that id. Also whether any group has the thing as a member.
pub async fn of_call(
    session: &mut impl Look,
    source: &str,
    kind: Kind,
    id: EntityId,
) -> Result<(Vec<(Entity, Vec<Assertion>)>, bool), Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {}, EXISTS (SELECT 1 FROM edge g WHERE g.rel = 'member' AND g.to_id = $1) \
         FROM entity e JOIN assertion a ON a.entity_id = e.id WHERE e.id IN (SELECT id FROM entity WHERE id = $1 \
         UNION ALL SELECT entity_id FROM assertion WHERE source = $2 AND kind = $3 AND key = $1) \
         ORDER BY e.id, a.source, a.key",
        assertion::COLUMNS
    );
    let rows = session.look(sql, values![id, source, kind]).await?;
    let in_group = rows.first().map(|row| row.get(WIDTH + assertion::WIDTH)).transpose()?;
    Ok((gathered(&rows)?, in_group.unwrap_or(false)))
}

/// Rows of entities joined with what is said of them, in the order of the entities.
fn gathered(rows: &[Row]) -> Result<Vec<(Entity, Vec<Assertion>)>, Error> {
    let mut found: Vec<(Entity, Vec<Assertion>)> = Vec::new();
    for row in rows {
        let assertion = assertion::read(row, WIDTH)?;
        match found.last_mut() {
            Some((entity, assertions)) if entity.id == assertion.entity => assertions.push(assertion),
            _ => found.push((read(row)?, vec![assertion])),
        }
    }
    Ok(found)
}

/// One entity of any kind with everything that any source says of it.
pub async fn with_assertions(session: &mut impl Look, id: EntityId) -> Result<Option<(Entity, Vec<Assertion>)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {} FROM entity e JOIN assertion a ON a.entity_id = e.id WHERE e.id = $1 \
         ORDER BY a.source, a.key",
        assertion::COLUMNS
    );
    let rows = session.look(sql, values![id]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let assertions = rows.iter().map(|row| assertion::read(row, WIDTH)).collect::<Result<_, _>>()?;
    Ok(Some((read(first)?, assertions)))
}

/// (id, kind, realm) of those among `ids` that exist and are no tombstones.
pub async fn living(
    session: &mut impl Session,
    ids: &[EntityId],
) -> Result<Vec<(EntityId, Kind, Option<Realm>)>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT id, kind, realm FROM entity WHERE state <> 'tombstone' AND id IN ");
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            let realm: String = row.get(2)?;
            found.push((row.parse(0)?, row.parse(1)?, realm.parse().ok()));
        }
    }
    Ok(found)
}
