//! What the touched things come to once all records are taken: each is merged, and where two would have the same login,
//! one keeps it and the others are refused, as if their records had not come. In memory; the store is only read.
//! Start with `settle`.

use std::collections::{HashMap, HashSet};

use super::plan::speaks_ids;
use super::world::{Handle, Thing, World};
use super::{Batch, Error, Outcome, Refusal, merge, unique};
use crate::model::entity::{State, login_key};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::source::SourceKind;
use crate::store;
use crate::store::entity::Wanted;
use crate::store::sql::Look;

/// Settles what was touched, then refuses logins that are not free. What is refused is as if its records had not come.
pub(super) async fn settle<S: Look>(
    session: &mut S,
    world: &mut World,
    batch: &Batch<'_>,
    outcomes: &mut [Outcome],
) -> Result<(), Error> {
    let mut touched: Vec<EntityId> =
        world.things.values().filter(|thing| !thing.records.is_empty()).map(|thing| thing.now.id).collect();
    touched.sort_by_key(|id| world.things[id].records[0]);
    let mut asked: HashSet<String> = HashSet::new();
    for id in &touched {
        let Some(thing) = world.things.get_mut(id) else { continue };
        let said = thing.holds.iter().filter(|hold| hold.said);
        asked.extend(said.filter_map(|hold| match &hold.derived {
            Some(derived) => derived.login_key.clone(),
            None => login_key(thing.now.kind, hold.now.doc.as_ref()?),
        }));
        if let Err(refusal) = merge::settle(thing, batch.cx, batch.source) {
            refuse(world, *id, &refusal, outcomes);
        }
    }
    // A login that nobody in this batch said, but that shows because somebody let go of a higher one.
    let unseen: Vec<(Kind, Option<Realm>, String)> = touched
        .iter()
        .filter_map(|id| world.things.get(id))
        .filter(|thing| took_login(thing))
        .filter_map(|thing| Some((thing.now.kind, thing.now.realm, thing.now.login_key.clone()?)))
        .filter(|(.., login)| !asked.contains(login))
        .collect();
    for (kind, realm, login) in unseen {
        let source = &batch.source.name;
        let wanted = Wanted { source, kind: Some(kind), realm, logins: vec![&login], ..Wanted::default() };
        for (entity, assertions) in store::entity::touching(session, &wanted).await? {
            world.things.entry(entity.id).or_insert_with(|| Thing::stored(entity, assertions));
        }
    }
    let owners = unique::owners(session, world, batch, &touched).await?;
    loop {
        let mut losers = without_login(world, batch);
        if losers.is_empty() {
            losers = unique::losers(world, batch, &owners);
        }
        if losers.is_empty() {
            return Ok(());
        }
        for (id, refusal) in losers {
            refuse(world, id, &refusal, outcomes);
        }
    }
}

fn took_login(thing: &Thing) -> bool {
    let before = thing.before.as_ref().filter(|before| before.state != State::Tombstone);
    !thing.is_tombstone()
        && thing.now.login_key.is_some()
        && before.and_then(|before| before.login_key.as_ref()) != thing.now.login_key.as_ref()
}

/// Who cannot have the login it would get: whoever had it before keeps it, else the first record of the batch gets it.
fn without_login(world: &World, batch: &Batch<'_>) -> Vec<(EntityId, Refusal)> {
    let mut owners: HashMap<Handle, Vec<&Thing>> = HashMap::new();
    for thing in world.things.values().filter(|thing| !thing.is_tombstone()) {
        let Some(login) = &thing.now.login_key else { continue };
        let handle = Handle { kind: thing.now.kind, realm: thing.now.realm, name: "login", value: login.clone() };
        owners.entry(handle).or_default().push(thing);
    }
    let mut losers = Vec::new();
    // A call that takes somebody back needs the owner; a customer's own push is not told whose a login is.
    let tells = batch.source.company.is_none() || batch.source.kind == SourceKind::Scim;
    for (handle, mut things) in owners {
        let taken = batch.overlay.is_some_and(|overlay| overlay.takes(&handle));
        if let Some(overlay) = batch.overlay {
            things.retain(|thing| took_login(thing) || !overlay.frees(thing.now.id, &handle));
        }
        if !taken && things.len() < 2 {
            continue;
        }
        things.sort_by_key(|thing| (took_login(thing), thing.records.first().copied()));
        let first = things.first().filter(|_| !taken && tells);
        let owner = first.map(|thing| thing.now.id);
        // Sources that speak our ids have a way of their own to take somebody back.
        let let_go = first.is_some_and(|thing| {
            let mut own = thing.holds.iter().filter(|hold| hold.now.source == batch.source.name).peekable();
            !speaks_ids(batch) && own.peek().is_some() && own.all(|hold| hold.now.ended)
        });
        let skip = usize::from(!taken);
        for thing in things.into_iter().skip(skip).filter(|thing| took_login(thing)) {
            let had = thing.before.as_ref().and_then(|before| before.login_key.clone());
            losers.push((thing.now.id, Refusal::LoginTaken { login: handle.value.clone(), owner, let_go, had }));
        }
    }
    losers
}

/// Undoes a thing's part of the batch, in memory.
fn refuse(world: &mut World, id: EntityId, refusal: &Refusal, outcomes: &mut [Outcome]) {
    let Some(thing) = world.things.remove(&id) else { return };
    for at in &thing.records {
        outcomes[*at].refused = Some(refusal.clone());
        outcomes[*at].created = false;
        if thing.before.is_none() {
            outcomes[*at].entity = None;
        }
    }
    if let Some(before) = thing.before {
        let assertions = thing.holds.into_iter().filter_map(|hold| hold.before).collect();
        world.things.insert(id, Thing::stored(before, assertions));
    }
}
