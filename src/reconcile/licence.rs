//! Grants, keeps and frees licences: the one function for every way in (SCIM, LDAP, CRM, API, invitation, reactivation).
//!
//! Called inside the transaction of the change. The last seat is given once (the pool's row is locked), waiting is first
//! come first served and tried again at every release, nobody is evicted. What may be granted is `model::licence`'s.
//! Start with `settle`; what it returns belongs into the journal of the same transaction.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::context::{Context, run_of_day};
use super::write::{Noted, note};
use super::{Touched, event};
use crate::model::catalogue::{Catalogue, Licence, Product};
use crate::model::change::{Change, Op};
use crate::model::document::{self, Document};
use crate::model::entity::{Entity, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::licence::{LicenceState, Refusal, Verdict, Wish, decide, state_of};
use crate::model::run::RunKind;
use crate::model::time::Millis;
use crate::store::licence::{self as rows, Held, Person, Pool};
use crate::store::{Error, Tx};

/// The name under which changes of licences stand in the journal.
pub const SOURCE: &str = "licences";
/// People that are read at once.
const CHUNK: usize = 512;

/// What the decisions of one transaction rest on and lead to.
struct Work<'a> {
    catalogue: &'a Catalogue,
    now: Millis,
    /// Seats that became free and may be waited for.
    freed: BTreeSet<(EntityId, Product)>,
    changes: Vec<Change>,
}

/// Decides again on the licences of these users and of everybody in these companies, then gives freed seats to those who
/// wait. Without a difference nothing is written.
pub async fn settle(
    tx: &mut Tx,
    catalogue: &Catalogue,
    now: Millis,
    users: &[EntityId],
    companies: &[EntityId],
) -> Result<Vec<Change>, Error> {
    let mut work = Work { catalogue, now, freed: BTreeSet::new(), changes: Vec::new() };
    let mut ids: BTreeSet<EntityId> = users.iter().copied().collect();
    ids.extend(rows::of_companies(tx, companies).await?);
    let ids: Vec<EntityId> = ids.into_iter().collect();
    for ids in ids.chunks(CHUNK) {
        review(tx, &mut work, ids).await?;
    }
    hand_out(tx, &mut work).await?;
    Ok(work.changes)
}

/// What a batch changed, as far as licences rest on it. The changes are in the journal already.
pub(super) async fn follow(
    tx: &mut Tx,
    cx: &Context,
    of: &Noted<'_>,
    touched: &Touched<'_>,
) -> Result<Vec<Change>, super::Error> {
    let mut users: BTreeSet<EntityId> =
        touched.edges.iter().filter(|edge| edge.rel == Rel::BelongsTo).map(|edge| edge.from).collect();
    let mut companies = Vec::new();
    for (before, now) in &touched.entities {
        let rests = |entity: &Entity| (rows::wanted_in(&entity.doc), entity.active, entity.state, entity.realm);
        let ordered = |entity: &Entity| (rows::order_of(&entity.doc), entity.state);
        match now.kind {
            Kind::User if before.map_or(rows::wanted_in(&now.doc).is_some(), |b| rests(b) != rests(now)) => {
                users.insert(now.id);
            }
            Kind::Company if before.is_some_and(|before| ordered(before) != ordered(now)) => {
                companies.push(now.id);
            }
            _ => {}
        }
    }
    if users.is_empty() && companies.is_empty() {
        return Ok(Vec::new());
    }
    let users: Vec<EntityId> = users.into_iter().collect();
    let changes = settle(tx, &cx.policies.catalogue, of.at, &users, &companies).await?;
    note(tx, cx, of, &changes).await?;
    Ok(changes)
}

/// Frees the seats whose grace has ended, with their journal rows. A task's; true while there may be more.
pub async fn expire(tx: &mut Tx, cx: &Context) -> Result<bool, super::Error> {
    let at = cx.clock.now();
    let changes = release_due(tx, &cx.policies.catalogue, at).await?;
    let of = Noted { source: SOURCE, kind: RunKind::Operator, run: run_of_day(SOURCE, at), at };
    note(tx, cx, &of, &changes).await?;
    event::raise(tx, cx, at, &Default::default(), &changes).await?;
    Ok(!changes.is_empty())
}

/// Orders seats for a company, with its journal rows.
pub async fn order_seats(
    tx: &mut Tx,
    cx: &Context,
    company: EntityId,
    product: &Product,
    total: i64,
) -> Result<Vec<Change>, super::Error> {
    let at = cx.clock.now();
    let changes = set_pool(tx, &cx.policies.catalogue, at, company, product, total).await?;
    let of = Noted { source: SOURCE, kind: RunKind::Operator, run: run_of_day(SOURCE, at), at };
    note(tx, cx, &of, &changes).await?;
    event::raise(tx, cx, at, &Default::default(), &changes).await?;
    Ok(changes)
}

/// Frees the seats whose grace has ended (R94). At most `CHUNK` people a call: call again while it returns some.
pub async fn release_due(tx: &mut Tx, catalogue: &Catalogue, now: Millis) -> Result<Vec<Change>, Error> {
    let mut work = Work { catalogue, now, freed: BTreeSet::new(), changes: Vec::new() };
    let due = rows::due(tx, now, CHUNK).await?;
    review(tx, &mut work, &due).await?;
    hand_out(tx, &mut work).await?;
    Ok(work.changes)
}

/// Sets how many seats of a product a company has. Growth goes to those who wait; shrinking evicts nobody.
pub async fn set_pool(
    tx: &mut Tx,
    catalogue: &Catalogue,
    now: Millis,
    company: EntityId,
    product: &Product,
    total: i64,
) -> Result<Vec<Change>, Error> {
    crate::store::visibility::lock(tx, company).await?;
    let name = product.to_string();
    let before = rows::lock_pool(tx, company, &name).await?;
    if before.as_ref().is_some_and(|pool| pool.total == total) {
        return Ok(Vec::new());
    }
    let used = match &before {
        Some(pool) => pool.used,
        None => count_held(tx, catalogue, company, product).await?,
    };
    rows::put_pool(tx, company, &name, total, used).await?;
    let seats = |total: Option<i64>| document::of(json!({"pool": {name.as_str(): {"total": total}}}));
    let (old, new) = (seats(before.map(|pool| pool.total)), seats(Some(total)));
    let change = Change {
        op: Op::Licence,
        kind: Kind::Company,
        entity: Some(company),
        label: name.clone(),
        source: SOURCE.to_owned(),
        key: company.to_string(),
        before: document::without_nulls(&old),
        after: new,
    };
    let mut work = Work { catalogue, now, freed: BTreeSet::from([(company, product.clone())]), changes: vec![change] };
    hand_out(tx, &mut work).await?;
    Ok(work.changes)
}

async fn count_held(tx: &mut Tx, catalogue: &Catalogue, company: EntityId, product: &Product) -> Result<i64, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = rows::list(tx, Some(company), after, CHUNK).await?;
        let of_product = |row: &&Held| product_of(catalogue, row).as_ref() == Some(product);
        count += page.iter().filter(of_product).count() as i64;
        after = match page.last() {
            Some(last) if page.len() == CHUNK => Some(last.entity),
            _ => return Ok(count),
        };
    }
}

fn product_of(catalogue: &Catalogue, row: &Held) -> Option<Product> {
    row.held.as_deref().and_then(|held| catalogue.exactly(held)).map(|held| held.product)
}

/// Freed seats go to those who have waited longest, until one of them must go on waiting.
async fn hand_out(tx: &mut Tx, work: &mut Work<'_>) -> Result<(), Error> {
    while let Some((company, product)) = work.freed.pop_first() {
        let waiting = waiting_for(&product);
        while let Some(first) = rows::first_waiting(tx, company, &waiting).await? {
            review(tx, work, &[first]).await?;
            if rows::first_waiting(tx, company, &waiting).await? == Some(first) {
                break;
            }
        }
    }
    Ok(())
}

/// The reasons of somebody who waits: one text per product, by which the queue is found.
pub fn waiting_for(product: &Product) -> String {
    reasons(&[Refusal::PoolEmpty { product: product.to_string() }])
}

fn reasons(refusals: &[Refusal]) -> String {
    serde_json::to_string(refusals).unwrap_or_else(|_| "[]".to_owned())
}

async fn review(tx: &mut Tx, work: &mut Work<'_>, ids: &[EntityId]) -> Result<(), Error> {
    let people = rows::people(tx, ids).await?;
    let wishes = people.values().filter(|person| person.wanted.is_some()).map(|person| person.id);
    let wishes: BTreeSet<EntityId> = wishes.collect();
    let mut stored = rows::lock(tx, ids).await?;
    for id in ids.iter().collect::<BTreeSet<_>>() {
        let before = stored.remove(id);
        if before.is_none() && !wishes.contains(id) {
            continue;
        }
        let person = people.get(id).filter(|person| person.state != State::Tombstone);
        let after = match person {
            Some(person) => decide_on(tx, work, person, before.as_ref()).await?,
            None => None,
        };
        finish(tx, work, *id, person, before, after).await?;
    }
    Ok(())
}

/// Frees what is held no longer, writes the row and notes the change.
async fn finish(
    tx: &mut Tx,
    work: &mut Work<'_>,
    id: EntityId,
    person: Option<&Person>,
    before: Option<Held>,
    after: Option<Held>,
) -> Result<(), Error> {
    let seat = |row: &Held| Some((row.company?, product_of(work.catalogue, row)?));
    let (old, new) = (before.as_ref().and_then(seat), after.as_ref().and_then(seat));
    if let Some((company, product)) = old.filter(|old| Some(old) != new.as_ref()) {
        rows::lock_pool(tx, company, &product.to_string()).await?;
        rows::release(tx, company, &product.to_string()).await?;
        work.freed.insert((company, product));
    }
    if before == after {
        return Ok(());
    }
    match &after {
        Some(row) => rows::put(tx, row).await?,
        None => rows::delete(tx, id).await?,
    }
    let shown = |row: &Option<Held>| match row {
        Some(row) => document::of(json!({"licence": {
            "wanted": row.wanted, "held": row.held, "state": row.state,
            "reasons": serde_json::from_str::<Value>(&row.reasons).unwrap_or_default(), "freeAt": row.free_at,
        }})),
        None => Document::new(),
    };
    let (old, new) = (shown(&before), shown(&after));
    work.changes.push(Change {
        op: Op::Licence,
        kind: Kind::User,
        entity: Some(id),
        label: person.and_then(|person| person.login.clone()).unwrap_or_default(),
        source: SOURCE.to_owned(),
        key: id.to_string(),
        before: document::without_nulls(&document::difference(&new, &old)),
        after: document::difference(&old, &new),
    });
    Ok(())
}

/// The row as it should be; a seat that it newly takes is claimed already.
async fn decide_on(
    tx: &mut Tx,
    work: &Work<'_>,
    person: &Person,
    before: Option<&Held>,
) -> Result<Option<Held>, Error> {
    let moved = before.is_some_and(|before| before.company != person.company);
    let row = Held {
        entity: person.id,
        company: person.company,
        wanted: person.wanted.clone(),
        held: before.filter(|_| !moved).and_then(|before| before.held.clone()),
        state: before.map_or(LicenceState::Blocked, |before| before.state),
        reasons: "[]".to_owned(),
        since: before.map_or(work.now, |before| before.since),
        free_at: None,
    };
    if let Some(refusal) = unentitled(person) {
        return Ok(if person.active && person.realm == Some(Realm::Agent) || row.held.is_none() {
            refused(work, row, before, vec![refusal])
        } else {
            Some(kept_for_a_while(work, row, before, refusal))
        });
    }
    let held = row.held.as_deref().and_then(|held| work.catalogue.exactly(held));
    let wish = match person.wanted.as_deref().map(|wanted| Wish::parse(work.catalogue, wanted)).transpose() {
        Ok(wish) => wish,
        Err(refusal) => return Ok(refused(work, row, before, vec![refusal])),
    };
    match decide(work.catalogue, held.as_ref(), wish.as_ref(), &person.order, is_new(&row, before)) {
        Verdict::Release => Ok(None),
        Verdict::Refuse(refusals) => Ok(refused(work, row, before, refusals)),
        Verdict::Stay(licence) => Ok(Some(active(work, row, before, &licence))),
        Verdict::Take(licence) => take(tx, work, row, before, &licence).await.map(Some),
    }
}

/// Asked for now, or refused for its tier and not asked otherwise since.
fn is_new(row: &Held, before: Option<&Held>) -> bool {
    before.is_none_or(|before| before.wanted != row.wanted || before.reasons.contains("\"tier_mismatch\""))
}

fn unentitled(person: &Person) -> Option<Refusal> {
    match person {
        Person { realm, .. } if *realm != Some(Realm::Agent) => Some(Refusal::NotAnAgent),
        Person { state: State::Incomplete, .. } => Some(Refusal::Incomplete),
        Person { active: false, .. } => Some(Refusal::Inactive),
        _ => None,
    }
}

/// The seat of somebody deactivated is kept for the grace period, then freed.
fn kept_for_a_while(work: &Work<'_>, mut row: Held, before: Option<&Held>, refusal: Refusal) -> Held {
    let free_at = before.and_then(|before| before.free_at).unwrap_or(work.now.plus(work.catalogue.grace()));
    if free_at <= work.now {
        row.held = None;
        return stated(work, row, before, LicenceState::Reclaimed, &[refusal]);
    }
    row.free_at = Some(free_at);
    let state = row.state;
    stated(work, row, before, state, &[refusal])
}

fn refused(work: &Work<'_>, row: Held, before: Option<&Held>, refusals: Vec<Refusal>) -> Option<Held> {
    if row.wanted.is_none() && row.held.is_none() {
        return None;
    }
    let reclaimed = row.state == LicenceState::Reclaimed && refusals == [Refusal::Inactive];
    let state = if reclaimed { LicenceState::Reclaimed } else { state_of(&refusals) };
    Some(stated(work, row, before, state, &refusals))
}

fn active(work: &Work<'_>, mut row: Held, before: Option<&Held>, licence: &Licence) -> Held {
    row.held = Some(licence.to_string());
    stated(work, row, before, LicenceState::Active, &[])
}

fn stated(work: &Work<'_>, mut row: Held, before: Option<&Held>, state: LicenceState, refusals: &[Refusal]) -> Held {
    row.state = state;
    row.reasons = reasons(refusals);
    let same = before.is_some_and(|before| before.state == row.state && before.wanted == row.wanted);
    if !same {
        row.since = work.now;
    }
    row
}

/// A seat of the licence's product, or a place in the queue; what is held stays till then.
async fn take(
    tx: &mut Tx,
    work: &Work<'_>,
    row: Held,
    before: Option<&Held>,
    licence: &Licence,
) -> Result<Held, Error> {
    let Some(company) = row.company else { return Ok(active(work, row, before, licence)) };
    let product = licence.product.to_string();
    let waiting = waiting_for(&licence.product);
    let free = match pool(tx, company, &product).await? {
        None => true,
        Some(_) => match rows::first_waiting(tx, company, &waiting).await? {
            Some(first) if first != row.entity => false,
            _ => rows::claim(tx, company, &product).await?,
        },
    };
    if free {
        return Ok(active(work, row, before, licence));
    }
    let refusal = Refusal::PoolEmpty { product };
    Ok(stated(work, row, before, LicenceState::Waiting, &[refusal]))
}

/// Locked. Where nobody counts seats the company itself is locked, so that nobody begins to count meanwhile.
async fn pool(tx: &mut Tx, company: EntityId, product: &str) -> Result<Option<Pool>, Error> {
    if let Some(pool) = rows::lock_pool(tx, company, product).await? {
        return Ok(Some(pool));
    }
    crate::store::visibility::lock(tx, company).await?;
    rows::lock_pool(tx, company, product).await
}
