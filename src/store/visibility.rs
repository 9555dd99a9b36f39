//! Gathers the facts that `model::visibility` decides on. One statement answers "user and ticket with everything around
//! them"; the same statement serves batches. Merged contacts are replaced by their survivor here.
//!
//! Never an OR, UNION or DISTINCT over the set of tickets: lists are ordered ranges of `store::ticket`, every row of
//! which is decided again. Start with `facts` and `page`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::db::{Error, Session};
use super::sql::{self, Text};
use super::ticket;
use super::value::{Row, values};
use crate::model::entity::{Flags, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::time::Millis;
use crate::model::visibility::{Answer, Company, Contact, Standing, Subject, Viewer, decide, scopes};

/// One thing and what hangs on it by the relations of visibility.
#[derive(Debug, Clone)]
pub struct Thing {
    pub id: EntityId,
    pub kind: Kind,
    pub realm: Option<Realm>,
    pub active: bool,
    pub state: State,
    pub flags: Flags,
    /// Its own time of creation, else ours.
    pub at: Millis,
    /// Paired with, or concerned.
    pub contacts: Vec<Contact>,
    /// Member of, or customer.
    pub companies: Vec<Company>,
}

impl Thing {
    pub fn viewer(self) -> Option<Viewer> {
        let Thing { id, realm, active, state, flags, contacts, companies, .. } = self;
        (self.kind == Kind::User).then_some(Viewer { id, realm, active, state, flags, contacts, companies })
    }

    pub fn subject(self) -> Subject {
        let Thing { id, kind, active, state, flags, contacts, companies, .. } = self;
        Subject { id, kind, active, state, flags, contacts, customers: companies }
    }
}

/// A row per thing, its contact or company, and the contact's company. One step of merging is followed here; `x` tells
/// that there is another.
const AROUND: &str = "SELECT f.id, f.kind, f.realm, f.active, f.state, f.flags, COALESCE(f.ordered_at, f.created), \
                      c.id, c.kind, c.active, c.state, k.id, k.active, k.state, x.to_id \
                      FROM entity f \
                      LEFT JOIN edge p ON p.rel IN ('pairing', 'concerns', 'belongs_to', 'customer') \
                       AND p.from_id = f.id AND p.to_id IS NOT NULL \
                      LEFT JOIN edge m ON m.rel = 'merged_into' AND m.from_id = p.to_id AND m.to_id IS NOT NULL \
                      LEFT JOIN edge x ON x.rel = 'merged_into' AND x.from_id = m.to_id AND x.to_id IS NOT NULL \
                      LEFT JOIN entity c ON c.id = COALESCE(m.to_id, p.to_id) \
                      LEFT JOIN edge w ON w.rel = 'works_for' AND w.from_id = c.id AND w.to_id IS NOT NULL \
                      LEFT JOIN entity k ON k.id = w.to_id AND k.kind = 'company' \
                      WHERE f.id IN ";

/// Everything a check needs, in one statement.
pub async fn facts(
    session: &mut impl Session,
    user: EntityId,
    ticket: EntityId,
) -> Result<(Option<Viewer>, Option<Subject>), Error> {
    let mut things = things(session, &[user, ticket]).await?;
    let subject = things.get(&ticket).cloned().map(Thing::subject);
    Ok((things.remove(&user).and_then(Thing::viewer), subject))
}

pub async fn viewer(session: &mut impl Session, user: EntityId) -> Result<Option<Viewer>, Error> {
    Ok(things(session, &[user]).await?.remove(&user).and_then(Thing::viewer))
}

/// Those of `ids` that exist, tombstones among them.
pub async fn things(session: &mut impl Session, ids: &[EntityId]) -> Result<HashMap<EntityId, Thing>, Error> {
    let mut found: HashMap<EntityId, Thing> = HashMap::with_capacity(ids.len());
    let mut chained = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(AROUND);
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            let id: EntityId = row.parse(0)?;
            let thing = match found.entry(id) {
                std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::hash_map::Entry::Vacant(free) => free.insert(thing(id, &row)?),
            };
            if let Some((contact, true)) = around(thing, &row)? {
                chained.push((id, contact));
            }
        }
    }
    if !chained.is_empty() {
        follow(session, &mut found, chained).await?;
    }
    found.values_mut().for_each(in_order);
    Ok(found)
}

/// The order of the rows is the database's affair; the path of an answer must not depend on it.
fn in_order(thing: &mut Thing) {
    thing.companies.sort_by_key(|company| company.id);
    thing.contacts.sort_by_key(|contact| contact.id);
    for contact in &mut thing.contacts {
        contact.companies.sort_by_key(|company| company.id);
    }
}

fn thing(id: EntityId, row: &Row) -> Result<Thing, Error> {
    let realm: String = row.get(2)?;
    Ok(Thing {
        id,
        kind: row.parse(1)?,
        realm: realm.parse().ok(),
        active: row.get(3)?,
        state: row.parse(4)?,
        flags: Flags(row.get(5)?),
        at: Millis(row.get(6)?),
        contacts: Vec::new(),
        companies: Vec::new(),
    })
}

/// Takes the far end of a row; several sources may assert the same one. Returns the contact, and whether it was merged on.
fn around(thing: &mut Thing, row: &Row) -> Result<Option<(EntityId, bool)>, Error> {
    let Some(id) = row.parse_opt::<EntityId>(7)? else { return Ok(None) };
    match row.parse::<Kind>(8)? {
        Kind::Company => {
            let company = Company { id, standing: Standing::of(row.get(9)?, row.parse(10)?) };
            if !thing.companies.contains(&company) {
                thing.companies.push(company);
            }
            Ok(None)
        }
        Kind::Contact => {
            let at = thing.contacts.iter().position(|contact| contact.id == id);
            let at = match at {
                Some(at) => at,
                None => {
                    let standing = Standing::of(row.get(9)?, row.parse(10)?);
                    thing.contacts.push(Contact { id, standing, companies: Vec::new() });
                    thing.contacts.len() - 1
                }
            };
            if let Some(company) = row.parse_opt(11)? {
                let company = Company { id: company, standing: Standing::of(row.get(12)?, row.parse(13)?) };
                let companies = &mut thing.contacts[at].companies;
                if !companies.contains(&company) {
                    companies.push(company);
                }
            }
            Ok(Some((id, row.get::<Option<String>>(14)?.is_some())))
        }
        _ => Ok(None),
    }
}

/// Contacts that were merged more than once: rare, and the only way to further statements.
async fn follow(
    session: &mut impl Session,
    found: &mut HashMap<EntityId, Thing>,
    chained: Vec<(EntityId, EntityId)>,
) -> Result<(), Error> {
    let starts: BTreeSet<EntityId> = chained.iter().map(|(_, contact)| *contact).collect();
    let survivors = survivors(session, &starts).await?;
    let ends: Vec<EntityId> = survivors.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let contacts = contacts(session, &ends).await?;
    for (id, start) in chained {
        let Some(thing) = found.get_mut(&id) else { continue };
        thing.contacts.retain(|contact| contact.id != start);
        let end = survivors.get(&start).and_then(|end| contacts.get(end));
        if let Some(end) = end
            && !thing.contacts.iter().any(|contact| contact.id == end.id)
        {
            thing.contacts.push(end.clone());
        }
    }
    Ok(())
}

/// Whom each of these lives on in. A circle of merges ends where it began.
async fn survivors(
    session: &mut impl Session,
    starts: &BTreeSet<EntityId>,
) -> Result<BTreeMap<EntityId, EntityId>, Error> {
    let mut next: HashMap<EntityId, EntityId> = HashMap::new();
    let mut front: Vec<EntityId> = starts.iter().copied().collect();
    while !front.is_empty() {
        let mut further = Vec::new();
        for ids in front.chunks(sql::MOST) {
            let mut text = Text::new(
                "SELECT from_id, to_id FROM edge WHERE rel = 'merged_into' AND to_id IS NOT NULL AND from_id IN ",
            );
            text.list(ids.iter().copied());
            for row in session.all(text.sql, text.values).await? {
                let (from, to): (EntityId, EntityId) = (row.parse(0)?, row.parse(1)?);
                if next.insert(from, to).is_none() {
                    further.push(to);
                }
            }
        }
        front = further;
    }
    let end = |start: EntityId| {
        let mut seen = BTreeSet::from([start]);
        let mut at = start;
        while let Some(to) = next.get(&at).copied() {
            if !seen.insert(to) {
                return start;
            }
            at = to;
        }
        at
    };
    Ok(starts.iter().map(|start| (*start, end(*start))).collect())
}

async fn contacts(session: &mut impl Session, ids: &[EntityId]) -> Result<HashMap<EntityId, Contact>, Error> {
    let mut found: HashMap<EntityId, Contact> = HashMap::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(
            "SELECT c.id, c.active, c.state, k.id, k.active, k.state FROM entity c \
             LEFT JOIN edge w ON w.rel = 'works_for' AND w.from_id = c.id AND w.to_id IS NOT NULL \
             LEFT JOIN entity k ON k.id = w.to_id AND k.kind = 'company' \
             WHERE c.kind = 'contact' AND c.id IN ",
        );
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            let id: EntityId = row.parse(0)?;
            let standing = Standing::of(row.get(1)?, row.parse(2)?);
            let contact = found.entry(id).or_insert_with(|| Contact { id, standing, companies: Vec::new() });
            if let Some(company) = row.parse_opt(3)? {
                let company = Company { id: company, standing: Standing::of(row.get(4)?, row.parse(5)?) };
                if !contact.companies.contains(&company) {
                    contact.companies.push(company);
                }
            }
        }
    }
    Ok(found)
}

/// These contacts and everybody who was merged into them, however long ago.
pub async fn with_merged(session: &mut impl Session, ids: &[EntityId]) -> Result<BTreeSet<EntityId>, Error> {
    let mut all: BTreeSet<EntityId> = ids.iter().copied().collect();
    let mut front: Vec<EntityId> = all.iter().copied().collect();
    while !front.is_empty() {
        let mut further = Vec::new();
        for ids in front.chunks(sql::MOST) {
            for id in starts_of(session, Rel::MergedInto, ids).await? {
                if all.insert(id) {
                    further.push(id);
                }
            }
        }
        front = further;
    }
    Ok(all)
}

/// Where the edges of this relation begin that end at one of `ids`.
pub async fn starts_of(session: &mut impl Session, rel: Rel, ids: &[EntityId]) -> Result<BTreeSet<EntityId>, Error> {
    let mut found = BTreeSet::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT from_id FROM edge WHERE rel = ");
        text.bind(rel).push(" AND to_id IN ").list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.insert(row.parse(0)?);
        }
    }
    Ok(found)
}

/// A ticket of a list, with the answer that allowed it.
pub struct Seen {
    pub id: EntityId,
    pub at: Millis,
    pub answer: Answer,
}

pub struct Page {
    pub seen: Vec<Seen>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<(Millis, EntityId)>,
}

/// Rounds of reading on behind rows that `decide` refused; then the page is given out short, with its cursor.
const ROUNDS: usize = 16;

/// The newest things of a kind that the viewer sees, behind `before`: one ordered range per scope, merged, each row
/// decided again, so that a row that is out of date shows nothing.
pub async fn page(
    session: &mut impl Session,
    viewer: &Viewer,
    kind: Kind,
    company: Option<EntityId>,
    before: Option<(Millis, EntityId)>,
    limit: usize,
) -> Result<Page, Error> {
    let scopes = scopes(viewer, company);
    let (mut seen, mut before) = (Vec::new(), before);
    for _ in 0..ROUNDS {
        let want = limit - seen.len();
        let mut newest = BTreeSet::new();
        for scope in &scopes {
            newest.extend(ticket::newest(session, kind, *scope, before, want + 1).await?);
        }
        let more = newest.len() > want;
        let rows: Vec<(Millis, EntityId)> = newest.into_iter().rev().take(want).collect();
        let Some(last) = rows.last().copied() else { return Ok(Page { seen, next: None }) };
        let ids: Vec<EntityId> = rows.iter().map(|(_, id)| *id).collect();
        let mut things = things(session, &ids).await?;
        for (at, id) in rows {
            let subject = things.remove(&id).map(Thing::subject);
            let answer = decide(Some(viewer), subject.as_ref(), company);
            if answer.visible {
                seen.push(Seen { id, at, answer });
            }
        }
        if !more {
            return Ok(Page { seen, next: None });
        }
        before = Some(last);
        if seen.len() == limit {
            break;
        }
    }
    Ok(Page { seen, next: before })
}

/// The documents of these, as they are stored.
pub async fn documents(session: &mut impl Session, ids: &[EntityId]) -> Result<HashMap<EntityId, String>, Error> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT id, doc FROM entity WHERE id IN ");
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.insert(row.parse(0)?, row.get(1)?);
        }
    }
    Ok(found)
}

/// Those of `ids` that are tombstones.
pub async fn gone(session: &mut impl Session, ids: &[EntityId]) -> Result<Vec<EntityId>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT id FROM entity WHERE state = 'tombstone' AND id IN ");
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(row.parse(0)?);
        }
    }
    Ok(found)
}

/// Keeps those from moving on whom these tickets rest, till the end of the transaction.
pub async fn lock_contacts_of(tx: &mut super::Tx, tickets: &[EntityId]) -> Result<(), Error> {
    let mut text = Text::new(
        "SELECT id FROM entity WHERE id IN (SELECT to_id FROM edge WHERE rel = 'concerns' AND to_id IS NOT NULL \
         AND from_id IN ",
    );
    text.list(tickets.iter().copied()).push(") ORDER BY id");
    tx.lock(text.sql, text.values).await.map(drop)
}

pub async fn lock(tx: &mut super::Tx, id: EntityId) -> Result<(), Error> {
    tx.lock("SELECT id FROM entity WHERE id = $1", values![id]).await.map(drop)
}
