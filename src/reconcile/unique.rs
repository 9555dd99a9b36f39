//! Values of which there may be one (`uniqueness` in the operator's schemas): who had it before keeps it, else the first
//! record of the batch gets it, and the others are refused. What was there before the schema said so is entered once, by
//! `index`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::world::{Thing, World};
use super::{Batch, Error, Policies, Refusal};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::unique::Claim;
use crate::store::lookup::Lookup;
use crate::store::sql::Look;
use crate::store::{self, Db};

/// The queue of those who take a value that must be unique.
const QUEUE: i64 = 3;
/// Things that are entered in one transaction.
const PIECE: i64 = 500;
/// Shared values that are told one by one.
const MOST_TOLD: i64 = 20;

type Place = (Kind, Option<Realm>, Claim);

/// Who has the values that somebody of the batch takes, as far as the store knows.
#[derive(Default)]
pub(super) struct Owners(HashMap<Place, Vec<EntityId>>);

fn claims(thing: &Thing, batch: &Batch<'_>) -> Vec<Claim> {
    if thing.is_tombstone() { Vec::new() } else { batch.cx.policies.claims(thing.now.kind, &thing.now.doc) }
}

/// Values that it did not have before.
fn taken(thing: &Thing, batch: &Batch<'_>) -> Vec<Claim> {
    let mut now = claims(thing, batch);
    if let Some(before) = thing.before.as_ref().filter(|_| !now.is_empty()) {
        let had = batch.cx.policies.claims_of(before);
        now.retain(|claim| !had.contains(claim));
    }
    now
}

pub(super) async fn owners<S: Look>(
    session: &mut S,
    world: &World,
    batch: &Batch<'_>,
    touched: &[EntityId],
) -> Result<Owners, Error> {
    if batch.cx.policies.uniques.is_empty() {
        return Ok(Owners::default());
    }
    let mut wanted: BTreeMap<(Kind, Option<Realm>, String), BTreeSet<String>> = BTreeMap::new();
    for thing in touched.iter().filter_map(|id| world.things.get(id)) {
        for claim in taken(thing, batch) {
            wanted.entry((thing.now.kind, thing.now.realm, claim.name)).or_default().insert(claim.value);
        }
    }
    if !wanted.is_empty() {
        session.alone(QUEUE).await?;
    }
    let mut owners = Owners::default();
    for ((kind, realm, name), values) in wanted {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for (value, id) in store::lookup::owners(session, kind, realm, &name, &values).await? {
            owners.0.entry((kind, realm, Claim { name: name.clone(), value })).or_default().push(id);
        }
    }
    Ok(owners)
}

/// Who cannot have a value that it would get.
pub(super) fn losers(world: &World, batch: &Batch<'_>, owners: &Owners) -> Vec<(EntityId, Refusal)> {
    if batch.cx.policies.uniques.is_empty() {
        return Vec::new();
    }
    let mut takers: HashMap<Place, Vec<&Thing>> = HashMap::new();
    for thing in world.things.values().filter(|thing| !thing.records.is_empty()) {
        for claim in taken(thing, batch) {
            takers.entry((thing.now.kind, thing.now.realm, claim)).or_default().push(thing);
        }
    }
    let mut losers = BTreeMap::new();
    for (place, mut takers) in takers {
        let stays = |id: &EntityId| match world.things.get(id) {
            Some(thing) => !takers.iter().any(|taker| taker.now.id == *id) && claims(thing, batch).contains(&place.2),
            None => true,
        };
        let has_owner = owners.0.get(&place).is_some_and(|ids| ids.iter().any(stays));
        takers.sort_by_key(|thing| thing.records.first().copied());
        for thing in takers.into_iter().skip(usize::from(!has_owner)) {
            losers.insert(thing.now.id, Refusal::ValueTaken { attribute: place.2.name.clone() });
        }
    }
    losers.into_iter().collect()
}

/// Rows of the table for the values of a thing.
pub(super) fn rows(kind: Kind, id: EntityId, claims: Vec<Claim>) -> impl Iterator<Item = Lookup> {
    claims.into_iter().map(move |claim| Lookup { kind, name: claim.name.into(), value: claim.value, entity: id })
}

/// Enters the values of attributes that are to be unique, where it is not known that they all are. Nothing is taken away, so
/// that nobody ever finds a value free that somebody has.
pub async fn enter(db: &Db, policies: &Policies) -> Result<(), store::Error> {
    enter_fresh(db, policies, &fresh(db, policies).await?).await
}

/// Of (kind, attribute), those that are wanted and not known to be entered.
async fn fresh(db: &Db, policies: &Policies) -> Result<BTreeSet<(Kind, String)>, store::Error> {
    let kept = store::lookup::kept(&mut db.read().await?).await?;
    let wanted = policies.uniques.iter().map(|unique| (unique.kind, unique.name.clone()));
    Ok(wanted.filter(|unique| !kept.contains(unique)).collect())
}

async fn enter_fresh(db: &Db, policies: &Policies, fresh: &BTreeSet<(Kind, String)>) -> Result<(), store::Error> {
    let kinds: BTreeSet<Kind> = fresh.iter().map(|(kind, _)| *kind).collect();
    for kind in kinds {
        let mut after = None;
        loop {
            let mut tx = db.write_long().await?;
            let things = store::entity::next_of_kind(&mut tx, kind, after, PIECE).await?;
            let Some(last) = things.last() else { break };
            after = Some(last.id);
            let new: Vec<Lookup> =
                things.iter().flat_map(|thing| rows(kind, thing.id, policies.claims_of(thing))).collect();
            store::lookup::rows(&new).put(&mut tx).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// Enters the values of attributes that are to be unique from now on, for good. Tells in the log which values are shared
/// already: they stay, and nobody else gets them.
pub async fn index(db: &Db, policies: &Policies) -> Result<(), store::Error> {
    let kept = store::lookup::kept(&mut db.read().await?).await?;
    let wanted: BTreeSet<(Kind, String)> =
        policies.uniques.iter().map(|unique| (unique.kind, unique.name.clone())).collect();
    for (kind, name) in kept.difference(&wanted) {
        // Its rows stay for those who were asking with the schemas of before.
        let mut tx = db.write_long().await?;
        store::lookup::keep_no_more(&mut tx, *kind, name).await?;
        tx.commit().await?;
    }
    let fresh = fresh(db, policies).await?;
    enter_fresh(db, policies, &fresh).await?;
    for (kind, name) in &fresh {
        tidy(db, policies, *kind, name).await?;
        let mut tx = db.write_long().await?;
        store::lookup::keep(&mut tx, *kind, name).await?;
        tx.commit().await?;
        for (id, count) in store::lookup::shared(&mut db.read().await?, *kind, name, MOST_TOLD).await? {
            tracing::warn!(attribute = name, one = %id, count, "a value that is to be unique is there more than once");
        }
    }
    Ok(())
}

/// Takes out the values that nobody has any more: they went while nobody kept the rows.
async fn tidy(db: &Db, policies: &Policies, kind: Kind, name: &str) -> Result<(), store::Error> {
    let mut after: Option<Lookup> = None;
    loop {
        let mut tx = db.write_long().await?;
        let page = store::lookup::next(&mut tx, kind, name, after.as_ref(), PIECE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let ids: Vec<EntityId> = page.iter().map(|row| row.entity).collect();
        let claimed: BTreeSet<Lookup> = store::entity::locked(&mut tx, &ids)
            .await?
            .iter()
            .flat_map(|thing| rows(kind, thing.id, policies.claims_of(thing)))
            .collect();
        let stale: Vec<Lookup> = page.into_iter().filter(|row| !claimed.contains(row)).collect();
        store::lookup::delete(&mut tx, &stale).await?;
        tx.commit().await?;
    }
}
