//! Which entity does a key mean that was never seen? The source's rules are tried in order, on folded values. Never across
//! realms, never onto a protected account, never a guess: more than one candidate is a conflict and nothing is touched.

use std::collections::HashMap;

use super::world::{Handle, World};
use super::{Batch, Refusal};
use crate::model::entity::Derived;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::source::MatchRule;

/// The values by which a rule looks.
pub fn values_for<'a>(rule: &MatchRule, derived: &'a Derived) -> Vec<(&'static str, &'a str)> {
    let name = match rule {
        MatchRule::Login => return derived.login_key.as_deref().map(|login| ("login", login)).into_iter().collect(),
        MatchRule::Email => "email",
        MatchRule::EmployeeNumber => "employee_number",
        MatchRule::Number => "number",
    };
    derived.lookups.iter().filter(|(found, _)| *found == name).map(|(name, value)| (*name, value.as_str())).collect()
}

/// `Ok(None)`: nobody has it, it is new.
pub fn correlate(
    world: &mut World,
    batch: &Batch<'_>,
    kind: Kind,
    realm: Option<Realm>,
    derived: &Derived,
) -> Result<Option<EntityId>, Refusal> {
    if batch.source.match_rules.is_empty() || batch.source.company.is_some() {
        return Ok(None);
    }
    let values = world.values.take().unwrap_or_else(|| index(world));
    let found = by_rules(world, &values, batch, kind, realm, derived);
    world.values = Some(values);
    found
}

fn by_rules(
    world: &World,
    values: &HashMap<Handle, Vec<EntityId>>,
    batch: &Batch<'_>,
    kind: Kind,
    realm: Option<Realm>,
    derived: &Derived,
) -> Result<Option<EntityId>, Refusal> {
    for rule in &batch.source.match_rules {
        let mut candidates: Vec<EntityId> = Vec::new();
        for (name, value) in values_for(rule, derived) {
            let handle = Handle { kind, realm, name, value: value.to_owned() };
            if batch.overlay.is_some_and(|overlay| overlay.takes(&handle)) {
                return Err(Refusal::HeldByOtherKey { key: String::new() });
            }
            candidates.extend(
                values
                    .get(&handle)
                    .into_iter()
                    .flatten()
                    .filter(|id| !batch.overlay.is_some_and(|overlay| overlay.frees(**id, &handle))),
            );
        }
        candidates.sort_unstable();
        candidates.dedup();
        match candidates.as_slice() {
            [] => {}
            [one] => return admissible(world, batch, *one).map(Some),
            _ => return Err(Refusal::Ambiguous { rule: rule.clone(), candidates }),
        }
    }
    Ok(None)
}

/// The one candidate, unless it is protected or the same source knows it by another key that stays.
fn admissible(world: &World, batch: &Batch<'_>, id: EntityId) -> Result<EntityId, Refusal> {
    let Some(thing) = world.things.get(&id) else { return Ok(id) };
    if let Some(login) = thing.now.login_key.as_ref().filter(|login| batch.source.protected.contains(*login)) {
        return Err(Refusal::Protected { login: login.clone() });
    }
    let other = thing.holds.iter().find(|hold| {
        hold.now.source == batch.source.name && !hold.now.ended && !batch.leaving(hold.now.kind, &hold.now.key)
    });
    match other {
        Some(hold) => Err(Refusal::HeldByOtherKey { key: hold.now.key.clone() }),
        None => Ok(id),
    }
}

/// Who has which value, of everything loaded that is no tombstone.
fn index(world: &World) -> HashMap<Handle, Vec<EntityId>> {
    let mut values = HashMap::new();
    for thing in world.things.values().filter(|thing| !thing.is_tombstone()) {
        enter(&mut values, thing.now.id, thing.now.kind, thing.now.realm, &thing.derived());
    }
    values
}

/// Adds a thing's values: also those of one that is made in this batch, so that its twin finds it.
pub fn enter(
    values: &mut HashMap<Handle, Vec<EntityId>>,
    id: EntityId,
    kind: Kind,
    realm: Option<Realm>,
    derived: &Derived,
) {
    for handle in handles(kind, realm, derived) {
        values.entry(handle).or_default().push(id);
    }
}

/// Everything by which a document can be found.
pub fn handles(kind: Kind, realm: Option<Realm>, derived: &Derived) -> Vec<Handle> {
    let login = derived.login_key.as_ref().map(|login| ("login", login));
    let lookups = derived.lookups.iter().map(|(name, value)| (*name, value));
    lookups.chain(login).map(|(name, value)| Handle { kind, realm, name, value: value.clone() }).collect()
}
