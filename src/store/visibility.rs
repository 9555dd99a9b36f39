//! Gathers the facts that `model::visibility` decides on. One statement answers "user and ticket with everything around
//! them"; the same statement serves batches. Merged contacts are replaced by their survivor here.
//!
//! Never an OR, UNION or DISTINCT over the set of tickets: lists are ordered ranges of `store::ticket`, every row of
//! which is decided again. Start with `facts` and `page`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::around::{self, Gathered, Listed};
use super::db::{Error, Session};
use super::sql::{self, Text};
use super::ticket;
use super::value::values;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Rel};
use crate::model::time::Millis;
use crate::model::visibility::{Answer, Company, Contact, Standing, Subject, Viewer, decide, scopes};

pub use super::around::Thing;

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
    let mut gathered = Gathered::default();
    gathered.things.reserve(ids.len());
    for ids in ids.chunks(sql::MOST) {
        around::things(session, ids, &mut gathered).await?;
    }
    settled(session, gathered).await
}

async fn settled(session: &mut impl Session, gathered: Gathered) -> Result<HashMap<EntityId, Thing>, Error> {
    let Gathered { mut things, chained } = gathered;
    if !chained.is_empty() {
        follow(session, &mut things, chained).await?;
    }
    things.values_mut().for_each(in_order);
    Ok(things)
}

/// The order of the rows is the database's affair; the path of an answer must not depend on it.
fn in_order(thing: &mut Thing) {
    thing.companies.sort_by_key(|company| company.id);
    thing.contacts.sort_by_key(|contact| contact.id);
    for contact in &mut thing.contacts {
        contact.companies.sort_by_key(|company| company.id);
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
    /// As it is stored.
    pub doc: Option<String>,
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
    let scopes: Vec<String> = scopes(viewer, company).into_iter().map(|of| ticket::scope(kind, of)).collect();
    let (mut seen, mut before) = (Vec::new(), before);
    for _ in 0..ROUNDS {
        let want = limit - seen.len();
        let (mut newest, mut gathered) = (BTreeMap::new(), Gathered::default());
        for scopes in scopes.chunks(around::MOST_SCOPES) {
            let listed = around::newest(session, scopes, before, want + 1, &mut gathered).await?;
            newest.extend(listed.into_iter().map(|Listed { at, id, doc }| ((at, id), doc)));
        }
        let more = newest.len() > want;
        let mut things = settled(session, gathered).await?;
        let mut last = None;
        for ((at, id), doc) in newest.into_iter().rev().take(want) {
            let subject = things.remove(&id).map(Thing::subject);
            let answer = decide(Some(viewer), subject.as_ref(), company);
            if answer.visible {
                seen.push(Seen { id, at, answer, doc });
            }
            last = Some((at, id));
        }
        if !more {
            return Ok(Page { seen, next: None });
        }
        before = last;
        if seen.len() == limit {
            break;
        }
    }
    Ok(Page { seen, next: before })
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
