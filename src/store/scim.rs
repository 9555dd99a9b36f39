//! What SCIM clients read: resources as text, pages of them, members and groups. Every statement carries the sight of the
//! source that asks: what lies outside its realm, what it has let go of, and for a customer's own source whatever it does
//! not hold itself, does not exist for it. Never writes: that is the engine's.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::db::{Error, Session, Tx};
use super::filter::{Arrange, Cond, condition};
use super::sql::{self, Text};
use super::value::{Row, values};
use crate::model::entity::{Assertion, Entity, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::order::Mark;
use crate::model::time::Millis;

/// Who looks, and at what kind of thing.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    pub source: &'a str,
    pub realm: Option<Realm>,
    /// A customer's own source sees only what it holds: of the accounts that others hold it learns nothing.
    pub own_only: bool,
    pub kind: Kind,
}

impl Sight<'_> {
    #[must_use]
    pub fn of(self, kind: Kind) -> Self {
        Sight { kind, ..self }
    }
}

#[derive(Debug, Clone)]
pub struct Found {
    pub id: EntityId,
    pub active: bool,
    pub version: i64,
    pub created: Millis,
    pub modified: Millis,
    pub doc: String,
    /// The asking source's own name for it.
    pub external_id: Option<String>,
    /// Whether any group has it as a member, seen or not: who is in none need not be asked for groups.
    pub in_group: bool,
}

const COLUMNS: &str = "e.id, e.active, e.version, e.created, e.modified, e.doc, \
                       EXISTS (SELECT 1 FROM edge g WHERE g.rel = 'member' AND g.to_id = e.id)";

fn found(row: &Row) -> Result<Found, Error> {
    Ok(Found {
        id: row.parse(0)?,
        active: row.get(1)?,
        version: row.get(2)?,
        created: Millis(row.get(3)?),
        modified: Millis(row.get(4)?),
        doc: row.get(5)?,
        in_group: row.get(6)?,
        external_id: row.get(7)?,
    })
}

/// `SELECT` of whatever the sight has; a caller adds conditions and order.
fn select(sight: &Sight<'_>, what: &'static str) -> Text {
    let mut statement = Text::default();
    statement.push("SELECT ").push(what);
    if what == COLUMNS {
        // No join: PostgreSQL does not lock the far side of an outer one.
        statement
            .push(", (SELECT a.external_id FROM assertion a WHERE a.entity_id = e.id AND a.source = ")
            .bind(sight.source)
            .push(" AND NOT a.ended LIMIT 1)");
    }
    statement.push(" FROM entity e WHERE ");
    seen(&mut statement, sight, "e");
    statement
}

/// The condition that the entity with this alias exists for the source.
pub(super) fn seen(statement: &mut Text, sight: &Sight<'_>, e: &'static str) {
    lives(statement, sight, e);
    statement.push(" AND ");
    if !sight.own_only {
        statement.push("NOT ");
    }
    statement.push("EXISTS (SELECT 1 FROM assertion h WHERE h.entity_id = ").push(e).push(".id AND ");
    statement.push(if sight.own_only { "NOT h.ended" } else { "h.ended" });
    statement.push(" AND h.source = ").bind(sight.source).push(")");
}

/// The condition that it is of the kind and realm, and not deleted.
fn lives(statement: &mut Text, sight: &Sight<'_>, e: &'static str) {
    statement.push(e).push(".kind = ").bind(sight.kind);
    statement.push(" AND ").push(e).push(".realm = ").bind(sight.realm.map_or("", Realm::as_str));
    statement.push(" AND ").push(e).push(".state <> 'tombstone'");
}

/// One resource, if it exists for the source.
pub async fn load(session: &mut impl Session, sight: &Sight<'_>, id: EntityId) -> Result<Option<Found>, Error> {
    let mut statement = select(sight, COLUMNS);
    statement.push(" AND e.id = ").bind(id);
    session.optional(statement.sql, statement.values).await?.map(|row| found(&row)).transpose()
}

/// What is found of a thing that is loaded, with everything that is said of it: as `load` finds it.
pub fn of_loaded<'a>(
    sight: &Sight<'_>,
    entity: &Entity,
    said: impl Iterator<Item = &'a Assertion>,
    in_group: bool,
) -> Option<Found> {
    let own: Vec<&Assertion> = said.filter(|said| said.source == sight.source).collect();
    let held = own.iter().find(|said| !said.ended);
    let hidden = if sight.own_only { held.is_none() } else { own.iter().any(|said| said.ended) };
    if entity.kind != sight.kind || entity.realm != sight.realm || entity.state == State::Tombstone || hidden {
        return None;
    }
    Some(Found {
        id: entity.id,
        active: entity.active,
        version: entity.version,
        created: entity.created,
        modified: entity.modified,
        doc: serde_json::to_string(&entity.doc).ok()?,
        external_id: held.and_then(|said| said.external_id.clone()),
        in_group,
    })
}

/// The same for whoever is about to change it.
pub async fn lock(tx: &mut Tx, sight: &Sight<'_>, id: EntityId) -> Result<Option<Found>, Error> {
    let mut statement = select(sight, COLUMNS);
    statement.push(" AND e.id = ").bind(id);
    tx.lock(statement.sql, statement.values).await?.first().map(found).transpose()
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Offset(u64),
    /// Behind this place: costs the same at any depth.
    Behind(Mark),
    /// So many further behind it.
    Beyond(Mark, u64),
}

/// A page.
pub async fn page(
    session: &mut impl Session,
    sight: &Sight<'_>,
    cond: &Cond,
    arrange: Arrange,
    from: &From,
    limit: u64,
) -> Result<Vec<Found>, Error> {
    let mut statement = select(sight, COLUMNS);
    condition(statement.push(" AND "), cond, sight);
    if let From::Behind(mark) | From::Beyond(mark, _) = from {
        arrange.behind(statement.push(" AND "), mark);
    }
    arrange.order(&mut statement);
    statement.push(" LIMIT ").bind(bounded(limit));
    if let From::Offset(offset) | From::Beyond(_, offset) = from {
        statement.push(" OFFSET ").bind(bounded(*offset));
    }
    session.all(statement.sql, statement.values).await?.iter().map(found).collect()
}

/// Those of the given ids that exist for the source, in no order.
pub async fn of_ids(session: &mut impl Session, sight: &Sight<'_>, ids: &[EntityId]) -> Result<Vec<Found>, Error> {
    let mut all = Vec::with_capacity(ids.len());
    for ids in ids.chunks(sql::MOST) {
        let mut statement = select(sight, COLUMNS);
        statement.push(" AND e.id IN ").list(ids.iter().copied());
        for row in session.all(statement.sql, statement.values).await? {
            all.push(found(&row)?);
        }
    }
    Ok(all)
}

/// How many there are.
pub async fn count(session: &mut impl Session, sight: &Sight<'_>, cond: &Cond) -> Result<u64, Error> {
    if *cond == Cond::All(Vec::new()) && !sight.own_only {
        return count_all(session, sight).await;
    }
    let mut statement = select(sight, "count(*)");
    condition(statement.push(" AND "), cond, sight);
    let count: i64 = session.one(statement.sql, statement.values).await?.get(0)?;
    Ok(count.unsigned_abs())
}

/// Everything of the realm less what the source has let go of, which is little: nothing is asked of each one.
async fn count_all(session: &mut impl Session, sight: &Sight<'_>) -> Result<u64, Error> {
    let mut statement = Text::default();
    statement.push("SELECT (SELECT count(*) FROM entity e WHERE ");
    lives(&mut statement, sight, "e");
    // CROSS: SQLite keeps the order in which they stand.
    statement
        .push(") - (SELECT count(DISTINCT e.id) FROM assertion h CROSS JOIN entity e WHERE h.ended AND h.source = ");
    statement.bind(sight.source).push(" AND e.id = h.entity_id AND ");
    lives(&mut statement, sight, "e");
    statement.push(")");
    let count: i64 = session.one(statement.sql, statement.values).await?.get(0)?;
    Ok(count.unsigned_abs())
}

fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One end of a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The group.
    pub group: EntityId,
    /// An id, or the text under which the member is waited for.
    pub value: String,
    /// `None`: it is waited for.
    pub kind: Option<Kind>,
    /// JSON that the client gave along.
    pub attributes: Option<String>,
}

/// Members of the groups, at most `limit` in all. What the source said itself is named whether or not it exists for it,
/// in the same manner, so that a foreign id looks like one that nobody has; what others said, only if it exists for it.
/// What it has let go of is named no more.
pub async fn members(
    session: &mut impl Session,
    ends: &[Sight<'_>],
    rel: Rel,
    groups: &[EntityId],
    limit: u64,
) -> Result<Vec<Member>, Error> {
    let mut found = Vec::new();
    let source = ends.first().map_or("", |sight| sight.source);
    for groups in groups.chunks(sql::MOST) {
        let mut statement = Text::default();
        statement.push("SELECT m.from_id, e.id, m.target, m.attributes, e.kind FROM edge m LEFT JOIN entity e ON e.id = m.to_id AND (");
        for (at, sight) in ends.iter().enumerate() {
            statement.push(if at == 0 { "(" } else { ") OR (" });
            seen(&mut statement, sight, "e");
        }
        statement.push(")) WHERE m.rel = ").bind(rel).push(" AND m.from_id IN ");
        statement.list(groups.iter().copied());
        statement
            .push(" AND (e.id IS NOT NULL OR (m.source = ")
            .bind(source)
            .push(" AND NOT EXISTS (SELECT 1 FROM assertion g WHERE g.entity_id = substr(m.target, 4) AND g.ended AND g.source = ")
            .bind(source)
            .push("))) ORDER BY m.from_id, m.target LIMIT ")
            .bind(bounded(limit));
        for row in session.all(statement.sql, statement.values).await? {
            found.push(member(&row)?);
        }
    }
    // Several sources may say the same.
    let mut known = HashSet::new();
    found.retain(|member: &Member| known.insert((member.group, member.value.clone())));
    Ok(found)
}

fn member(row: &Row) -> Result<Member, Error> {
    let to: Option<String> = row.get(1)?;
    let target: String = row.get(2)?;
    // `model::desired::Ref::stored`: `id:…`, `key:<kind>:…`.
    let waiting = || {
        let (how, rest) = target.split_once(':')?;
        Some(if how == "key" { rest.split_once(':')?.1 } else { rest })
    };
    let value = match &to {
        Some(to) => to.clone(),
        None => waiting().unwrap_or(&target).to_owned(),
    };
    Ok(Member { group: row.parse(0)?, value, kind: row.parse_opt(4)?, attributes: row.get(3)? })
}

/// A membership of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub user: EntityId,
    pub group: EntityId,
    pub doc: String,
    /// The user is a member itself, not only of a group inside.
    pub direct: bool,
}

/// So many groups deep somebody is followed: no real tree is as deep.
pub const DEEPEST: usize = 64;

/// Every group of these users, also through groups in groups, as far as all of them exist for the source and at most `DEEPEST`
/// of them one in another. `sight` is that of the group.
pub async fn groups(session: &mut impl Session, sight: &Sight<'_>, users: &[EntityId]) -> Result<Vec<Group>, Error> {
    let sight = sight.of(Kind::Group);
    let mut found = Vec::new();
    for users in users.chunks(sql::MOST) {
        // Each membership once, however many ways lead to it: UNION ends where groups hold each other. A count of the levels in
        // here would make every level of a circle another row.
        let mut statement = Text::default();
        statement
            .push("WITH RECURSIVE up(member, id) AS (SELECT m.to_id, e.id FROM edge m CROSS JOIN entity e ")
            .push("WHERE e.id = m.from_id AND m.rel = 'member' AND m.to_id IN ")
            .list(users.iter().copied())
            .push(" AND ");
        seen(&mut statement, &sight, "e");
        statement
            .push(" UNION SELECT m.to_id, e.id FROM up CROSS JOIN edge m CROSS JOIN entity e ")
            .push("WHERE m.rel = 'member' AND m.to_id = up.id AND e.id = m.from_id AND ");
        seen(&mut statement, &sight, "e");
        statement.push(") SELECT up.member, up.id, e.doc FROM up JOIN entity e ON e.id = up.id");
        let (mut above, mut docs) = (HashMap::<EntityId, Vec<EntityId>>::new(), HashMap::<EntityId, String>::new());
        for row in session.all(statement.sql, statement.values).await? {
            let group = row.parse(1)?;
            above.entry(row.parse(0)?).or_default().push(group);
            docs.insert(group, row.get(2)?);
        }
        let users: BTreeSet<EntityId> = users.iter().copied().collect();
        for user in users {
            let doc = |group: &EntityId| docs.get(group).cloned().unwrap_or_default();
            let ways = ways_up(&above, user).into_iter();
            found.extend(ways.map(|(group, direct)| Group { user, group, doc: doc(&group), direct }));
        }
    }
    Ok(found)
}

/// The groups above somebody, and whether it is a member itself.
fn ways_up(above: &HashMap<EntityId, Vec<EntityId>>, user: EntityId) -> BTreeMap<EntityId, bool> {
    let mut found = BTreeMap::new();
    let mut level = vec![user];
    for far in 0..DEEPEST {
        if level.is_empty() {
            break;
        }
        let mut next = Vec::new();
        for group in level.iter().filter_map(|member| above.get(member)).flatten() {
            found.entry(*group).or_insert_with(|| {
                next.push(*group);
                far == 0
            });
        }
        level = next;
    }
    found
}

/// Every group that has this one as a member, directly or through others, seen or not, at whatever depth: nobody closes a circle
/// by making it long.
pub async fn above(session: &mut impl Session, group: EntityId) -> Result<HashSet<EntityId>, Error> {
    // Literals, as in the index `edge_member`. UNION ends where groups hold each other.
    const SQL: &str = "WITH RECURSIVE up(id) AS (SELECT m.from_id FROM edge m WHERE m.rel = 'member' AND m.to_id = $1 \
                       UNION SELECT m.from_id FROM up JOIN edge m ON m.rel = 'member' AND m.to_id = up.id) \
                       SELECT id FROM up";
    session.all(SQL, values![group]).await?.iter().map(|row| row.parse(0)).collect()
}

#[cfg(test)]
mod tests;
