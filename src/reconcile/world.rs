//! The part of the store that one batch touches, in memory: planning changes it here, and what differs afterwards is what
//! is written. Never waits after loading; knows no SQL.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::desired::Ref;
use crate::model::document::Document;
use crate::model::entity::{Assertion, Derived, Entity, State, derive};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};

/// One entity with everything that any source says of it.
#[derive(Debug, Clone)]
pub struct Thing {
    /// As it is stored; `None` for a new one.
    pub before: Option<Entity>,
    /// As it will be. Its document changes only when the thing is settled.
    pub now: Entity,
    /// What the document of `now` comes to; `None` until the thing is settled.
    pub derived: Option<Derived>,
    pub holds: Vec<Hold>,
    /// Holds that are taken back as if they had never been.
    pub dropped: Vec<Assertion>,
    /// The records of the batch that speak of it.
    pub records: Vec<usize>,
    /// The batch's source removed it for everybody (operator), or for itself by an explicit deletion.
    pub fate: Fate,
    /// The login stayed although the sources say otherwise (R8).
    pub login_kept: bool,
    /// What its profile needs and nobody says (R5).
    pub missing: Vec<String>,
}

/// What becomes of a thing that lost a holder in this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Disabled when nobody holds it.
    Disable,
    /// A tombstone when nobody holds it.
    Delete,
    /// A tombstone, whoever holds it: the operator's word.
    DeleteForAll,
}

/// What one source says of the thing.
#[derive(Debug, Clone)]
pub struct Hold {
    pub before: Option<Assertion>,
    pub now: Assertion,
    /// The source said something else than before in this batch.
    pub said: bool,
    /// What its document comes to, where that is known already.
    pub derived: Option<Derived>,
    /// A new hold that came by a change of what was shown, not by bringing the thing.
    pub remark: bool,
}

impl Thing {
    pub fn stored(entity: Entity, assertions: Vec<Assertion>) -> Thing {
        let holds = assertions
            .into_iter()
            .map(|assertion| Hold {
                before: Some(assertion.clone()),
                now: assertion,
                said: false,
                remark: false,
                derived: None,
            })
            .collect();
        Thing { before: Some(entity.clone()), holds, ..Thing::new(entity) }
    }

    pub fn new(entity: Entity) -> Thing {
        Thing {
            before: None,
            now: entity,
            derived: None,
            holds: Vec::new(),
            dropped: Vec::new(),
            records: Vec::new(),
            fate: Fate::Disable,
            login_kept: false,
            missing: Vec::new(),
        }
    }

    /// What the document of `now` comes to.
    pub fn derived(&self) -> Cow<'_, Derived> {
        match &self.derived {
            Some(derived) => Cow::Borrowed(derived),
            None => Cow::Owned(derive(self.now.kind, &self.now.doc)),
        }
    }

    pub fn is_tombstone(&self) -> bool {
        self.now.state == State::Tombstone
    }

    /// What this holder says. Only before the thing is settled.
    pub fn saying<'a>(&'a self, hold: &'a Hold) -> &'a Document {
        hold.now.doc.as_ref().unwrap_or(&self.now.doc)
    }

    /// Old and new text of relations' targets, where a source calls the thing differently from now on.
    pub fn renames(&self) -> Vec<(String, String)> {
        let renamed = self.holds.iter().filter_map(|hold| {
            let old = hold.before.as_ref()?.alias.clone()?;
            let new = hold.now.alias.clone().filter(|new| *new != old)?;
            Some((Ref::Alias(old).stored(), Ref::Alias(new).stored()))
        });
        renamed.collect()
    }

    /// The source let go of a thing that it points at by name.
    pub fn lost_alias(&self, source: &str) -> bool {
        let lost = |before: &Assertion, ended: bool| before.alias.is_some() && !before.ended && ended;
        let own = self.holds.iter().filter(|hold| hold.now.source == source);
        own.filter_map(|hold| Some((hold.before.as_ref()?, hold.now.ended))).any(|(before, ended)| lost(before, ended))
    }

    pub fn hold_of(&self, source: &str, key: &str) -> Option<usize> {
        self.holds.iter().position(|hold| hold.now.source == source && hold.now.key == key)
    }
}

/// Everything that was loaded or made in this batch.
#[derive(Debug, Default)]
pub struct World {
    pub things: HashMap<EntityId, Thing>,
    /// The batch's source's keys.
    pub keys: HashMap<(Kind, String), EntityId>,
    /// Who has a value, for correlation: built when the first unknown key asks.
    pub values: Option<HashMap<Handle, Vec<EntityId>>>,
}

/// A value by which a thing can be found: realms never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    pub kind: Kind,
    pub realm: Option<Realm>,
    pub name: &'static str,
    pub value: String,
}

impl World {
    pub fn add(&mut self, source: &str, thing: Thing) {
        for hold in thing.holds.iter().filter(|hold| hold.now.source == source) {
            self.keys.insert((hold.now.kind, hold.now.key.clone()), thing.now.id);
        }
        self.things.insert(thing.now.id, thing);
    }
}
