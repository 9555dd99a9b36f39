//! One thing as a call finds it before it says what shall become of it: looked at once, locked till the end, and taken by
//! `apply::apply_seen` as it is, so that the same rows are not read twice. Reads only; whether the caller may see the thing
//! is not decided here. Start with `look`.

use super::world::{Thing, World};
use crate::model::entity::{Assertion, Entity};
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;
use crate::store::{self, Tx};

/// Good only in the transaction that looked, and only while nothing was written in it.
pub struct Seen {
    id: EntityId,
    pub(super) world: World,
    /// Whether any group has it as a member.
    pub in_group: bool,
}

impl Seen {
    /// The thing with everything that is said of it; `None` if there is nothing of this id.
    pub fn thing(&self) -> Option<(&Entity, impl Iterator<Item = &Assertion>)> {
        let thing = self.world.things.get(&self.id)?;
        Some((&thing.now, thing.holds.iter().map(|hold| &hold.now)))
    }
}

/// The thing of this id, and what the source calls by it.
pub async fn look(tx: &mut Tx, source: &SourcePolicy, kind: Kind, id: EntityId) -> Result<Seen, store::Error> {
    let (found, in_group) = store::entity::of_call(tx, &source.name, kind, id).await?;
    let mut world = World::default();
    for (entity, assertions) in found {
        world.add(&source.name, Thing::stored(entity, assertions));
    }
    Ok(Seen { id, world, in_group })
}
