//! What earlier batches of a preview would have changed, as far as later ones must know it: a preview writes nothing, and
//! yet its tenth batch must see the logins that its first gave away. Hashes only, so that it stays small.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::correlate::handles;
use super::world::{Handle, Thing};
use crate::model::entity::{State, derive};
use crate::model::id::EntityId;

#[derive(Default)]
pub struct Overlay {
    /// Values that a planned creation or change took.
    taken: HashSet<u128>,
    /// Values that a stored entity would have given up.
    freed: HashSet<(EntityId, u128)>,
    /// What a thing's old alias becomes in relations.
    renamed: HashMap<(EntityId, String), String>,
    /// Things that the source would know by two keys until it lets go of one.
    doubled: HashMap<EntityId, Thing>,
}

impl Overlay {
    pub fn takes(&self, handle: &Handle) -> bool {
        !self.taken.is_empty() && self.taken.contains(&digest(handle))
    }

    pub fn frees(&self, id: EntityId, handle: &Handle) -> bool {
        !self.freed.is_empty() && self.freed.contains(&(id, digest(handle)))
    }

    pub fn renamed(&self, to: EntityId, target: &str) -> Option<&String> {
        if self.renamed.is_empty() { None } else { self.renamed.get(&(to, target.to_owned())) }
    }

    /// The thing as it would be, where that matters.
    pub fn instead(&self, id: EntityId) -> Option<&Thing> {
        if self.doubled.is_empty() { None } else { self.doubled.get(&id) }
    }

    /// Takes over what a planned thing would have changed.
    pub fn remember(&mut self, thing: &Thing, source: &str) {
        let own = thing.holds.iter().filter(|hold| hold.now.source == source && !hold.now.ended);
        if own.count() > 1 {
            let assertions = thing.holds.iter().map(|hold| hold.now.clone()).collect();
            self.doubled.insert(thing.now.id, Thing::stored(thing.now.clone(), assertions));
        } else {
            self.doubled.remove(&thing.now.id);
        }
        let before = thing.before.as_ref().filter(|before| before.state != State::Tombstone);
        let old = before.map(|before| handles(before.kind, before.realm, &derive(before.kind, &before.doc)));
        let old = old.unwrap_or_default();
        let new =
            if thing.is_tombstone() { Vec::new() } else { handles(thing.now.kind, thing.now.realm, &thing.derived()) };
        for handle in old.iter().filter(|handle| !new.contains(handle)) {
            let digest = digest(handle);
            self.taken.remove(&digest);
            self.freed.insert((thing.now.id, digest));
        }
        self.taken.extend(new.iter().filter(|handle| !old.contains(handle)).map(digest));
        for (old, new) in thing.renames() {
            self.renamed.insert((thing.now.id, old), new);
        }
    }
}

fn digest(handle: &Handle) -> u128 {
    let mut hash = Sha256::new();
    hash.update(handle.kind.as_str());
    hash.update([0]);
    hash.update(handle.realm.map_or("", |realm| realm.as_str()));
    hash.update([0]);
    hash.update(handle.name);
    hash.update([0]);
    hash.update(&handle.value);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}
