//! One record into the world: whether its source may speak of the thing at all, which entity it means, and what its hold
//! says afterwards. What the holds come to together is `settle`'s; nothing here reads the store or writes.
//! Start with `take`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::bound;
use super::context::Undoing;
use super::correlate::{self, correlate};
use super::plan::{realm_of, speaks_ids};
use super::world::{Fate, Hold, Thing, World};
use super::{Batch, Outcome, Refusal};
use crate::model::desired::{Desired, Record, Targets, Write};
use crate::model::document::{self, Document};
use crate::model::entity::{Assertion, Derived, Entity, Flags, State, derive};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::source::{Absence, SourceKind};

/// The entity that a record speaks of and the relations it asks for; `None` where it asks for nothing.
pub(super) type Taken = Option<(EntityId, BTreeMap<Rel, Targets>)>;

/// Takes one record into the world, and notes in `outcome` what it spoke of.
pub(super) fn take(
    world: &mut World,
    batch: &Batch<'_>,
    at: usize,
    (record, derived): (Record, Option<Derived>),
    outcome: &mut Outcome,
) -> Result<Taken, Refusal> {
    match record {
        Record::Present(desired) => {
            outcome.kind = Some(desired.kind);
            outcome.key.clone_from(&desired.key);
            let derived = derived.unwrap_or_else(|| derive(desired.kind, &desired.attributes));
            present(world, batch, at, (*desired, derived), outcome).map(Some)
        }
        Record::Gone { kind, key } => {
            outcome.kind = Some(kind);
            outcome.key.clone_from(&key);
            gone(world, batch, at, kind, &key)
        }
        Record::Same { kind, key } => {
            outcome.entity = world.keys.get(&(kind, key.clone())).copied();
            outcome.kind = Some(kind);
            outcome.key = key;
            Ok(None)
        }
        Record::Bad { kind, key, reason, .. } => {
            outcome.kind = kind;
            outcome.key = key.unwrap_or_default();
            Err(Refusal::Bad(reason))
        }
    }
}

fn present(
    world: &mut World,
    batch: &Batch<'_>,
    at: usize,
    (mut desired, derived): (Desired, Derived),
    outcome: &mut Outcome,
) -> Result<(EntityId, BTreeMap<Rel, Targets>), Refusal> {
    if let Some(reason) = bound::fault(batch.source, &desired) {
        return Err(Refusal::Bad(reason));
    }
    let realm = realm_of(batch, &desired)?;
    for reserved in ["schemas", "id", "meta", "groups", "members", "password"] {
        desired.attributes.remove(reserved);
    }
    let external_id = desired.attributes.remove("externalId");
    if let Some(login) = derived.login_key.as_ref().filter(|key| batch.source.protected.contains(*key)) {
        return Err(Refusal::Protected { login: login.clone() });
    }
    let known = world.keys.get(&(desired.kind, desired.key.clone())).copied();
    let id = match known {
        Some(id) => id,
        None => find(world, batch, &mut desired, &derived, realm, external_id.as_ref())?,
    };
    outcome.key.clone_from(&desired.key);
    let values = &mut world.values;
    let thing = world.things.entry(id).or_insert_with(|| {
        outcome.created = true;
        Thing::new(blank(id, desired.kind, realm, batch))
    });
    admit(thing, batch, desired.kind, realm, &desired.key)?;
    if batch.cx.undoing.is_some() && takes_back_a_remark(thing, batch, &desired.key) {
        thing.records.push(at);
        return Ok((id, desired.relations));
    }
    let hold = match thing.hold_of(&batch.source.name, &desired.key) {
        Some(hold) => hold,
        None => {
            let remark = desired.write == Write::Merge;
            thing.holds.push(Hold {
                before: None,
                now: silent(id, &desired, batch),
                said: true,
                remark,
                derived: None,
            });
            thing.holds.len() - 1
        }
    };
    let revived = thing.holds[hold].now.ended;
    let former = if revived { Document::new() } else { thing.saying(&thing.holds[hold]).clone() };
    let saying = match desired.write {
        Write::Whole => desired.attributes,
        Write::Merge => {
            let mut saying = former.clone();
            document::overlay(&mut saying, &desired.attributes);
            saying
        }
    };
    let entry = &mut thing.holds[hold];
    let external_id = match (external_id, desired.write) {
        (Some(Value::String(text)), _) => Some(text),
        (None, Write::Merge) => entry.now.external_id.take(),
        _ => None,
    };
    let alias = desired.alias.or_else(|| (desired.write == Write::Merge).then(|| entry.now.alias.take()).flatten());
    entry.said |= revived || saying != former;
    entry.now.ended = false;
    entry.now.alias = alias;
    entry.now.external_id = external_id;
    entry.now.digest = desired.digest;
    let derived = match desired.write {
        Write::Whole => derived,
        Write::Merge => derive(desired.kind, &saying),
    };
    if let (Some(values), None) = (values, &thing.before) {
        correlate::enter(values, id, desired.kind, realm, &derived);
    }
    entry.derived = Some(derived);
    entry.now.doc = Some(saying);
    thing.records.push(at);
    world.keys.insert((desired.kind, desired.key), id);
    Ok((id, desired.relations))
}

/// A source that let go of what it never held had said no more than that: the word goes, and whoever does hold the thing
/// says all of it again.
fn takes_back_a_remark(thing: &mut Thing, batch: &Batch<'_>, key: &str) -> bool {
    let Some(at) = thing.hold_of(&batch.source.name, key) else { return false };
    let said = &thing.holds[at].now;
    if !said.ended || !said.doc.as_ref().is_some_and(Document::is_empty) {
        return false;
    }
    thing.dropped.extend(thing.holds.remove(at).before);
    for hold in &mut thing.holds {
        hold.now.digest = None;
    }
    true
}

/// The entity that an unknown key means: by our own id where the source speaks of it so, else by the rules.
fn find(
    world: &mut World,
    batch: &Batch<'_>,
    desired: &mut Desired,
    derived: &Derived,
    realm: Option<Realm>,
    external_id: Option<&Value>,
) -> Result<EntityId, Refusal> {
    if !speaks_ids(batch) {
        let found = correlate(world, batch, desired.kind, realm, derived)?;
        return Ok(found.unwrap_or_else(|| batch.cx.clock.entity_id()));
    }
    let id: EntityId = desired.key.parse().map_err(|_| Refusal::NotFound)?;
    if world.things.contains_key(&id) {
        return if batch.source.company.is_some() { Err(Refusal::NotFound) } else { Ok(id) };
    }
    let found = correlate(world, batch, desired.kind, realm, derived)?;
    if let (None, Some(owner)) = (found, former(world, batch, desired, realm, external_id)) {
        return Err(Refusal::Former { owner });
    }
    match found.or_else(|| let_go(world, batch, desired, derived, realm, external_id)) {
        Some(found) => {
            desired.key = found.to_string();
            Ok(found)
        }
        None => Ok(id),
    }
}

/// Whom the client has disabled and calls by this very name of its own.
fn former(
    world: &World,
    batch: &Batch<'_>,
    desired: &Desired,
    realm: Option<Realm>,
    external_id: Option<&Value>,
) -> Option<EntityId> {
    let name = external_id.and_then(Value::as_str)?;
    if batch.source.kind != SourceKind::Scim || desired.kind != Kind::User || desired.write != Write::Whole {
        return None;
    }
    let own = |hold: &Hold| {
        hold.now.source == batch.source.name && !hold.now.ended && hold.now.external_id.as_deref() == Some(name)
    };
    let disabled = |thing: &&Thing| {
        let of = &thing.now;
        of.kind == Kind::User && of.realm == realm && !of.active && !thing.is_tombstone() && thing.before.is_some()
    };
    world.things.values().filter(disabled).find(|thing| thing.holds.iter().any(own)).map(|thing| thing.now.id)
}

/// Whoever deleted somebody and makes the same login again means that somebody, where others hold the entity: the login is
/// not free, and could never be the source's again. Only under the name of its own that it had given, if it gives one, and
/// for a company's own source only what it had itself said something of.
fn let_go(
    world: &World,
    batch: &Batch<'_>,
    desired: &Desired,
    derived: &Derived,
    realm: Option<Realm>,
    external_id: Option<&Value>,
) -> Option<EntityId> {
    if batch.source.kind != SourceKind::Scim {
        return None;
    }
    let login = derived.login_key.as_ref()?;
    let thing = world.things.values().find(|thing| {
        let of = &thing.now;
        of.kind == desired.kind && of.realm == realm && of.login_key.as_ref() == Some(login) && !thing.is_tombstone()
    })?;
    let (own, others): (Vec<&Hold>, Vec<&Hold>) =
        thing.holds.iter().partition(|hold| hold.now.source == batch.source.name);
    if !batch.cx.policies.hold(others.iter().map(|hold| &hold.now)) || own.iter().any(|hold| !hold.now.ended) {
        return None;
    }
    let own = own.into_iter().find(|hold| hold.now.key == thing.now.id.to_string())?;
    let had = own.now.doc.as_ref().is_none_or(|said| !said.is_empty());
    let renamed = match (own.now.external_id.as_deref(), external_id.and_then(Value::as_str)) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    };
    ((had || batch.source.company.is_none()) && !renamed).then_some(thing.now.id)
}

/// Whether this source may speak of the thing at all.
fn admit(thing: &Thing, batch: &Batch<'_>, kind: Kind, realm: Option<Realm>, key: &str) -> Result<(), Refusal> {
    if thing.now.kind != kind {
        return Err(Refusal::NotFound);
    }
    if thing.now.realm != realm {
        return Err(if speaks_ids(batch) { Refusal::NotFound } else { Refusal::OtherRealm });
    }
    if let Some(login) = thing.now.login_key.as_ref().filter(|login| batch.source.protected.contains(*login)) {
        return Err(Refusal::Protected { login: login.clone() });
    }
    if thing.is_tombstone() && batch.cx.undoing.is_some() && !thing.now.doc.is_empty() {
        return Ok(());
    }
    if thing.is_tombstone() && !may_restore(thing, batch, key) {
        return Err(Refusal::Deleted);
    }
    Ok(())
}

/// A tombstone comes back only where it became one because this very source had let go of it, and nobody deleted it for
/// all. A purged one has no document any more (R72).
fn may_restore(thing: &Thing, batch: &Batch<'_>, key: &str) -> bool {
    let deleted_by_operator = thing.holds.iter().any(|hold| {
        hold.now.ended
            && batch.cx.policies.get(&hold.now.source).is_some_and(|policy| policy.kind == SourceKind::Operator)
    });
    let own = thing.hold_of(&batch.source.name, key).is_some_and(|at| thing.holds[at].now.ended);
    own && !deleted_by_operator && !speaks_ids(batch) && !thing.now.doc.is_empty()
}

fn gone(world: &mut World, batch: &Batch<'_>, at: usize, kind: Kind, key: &str) -> Result<Taken, Refusal> {
    // A source that speaks our ids may let go of what only others hold: for it, too, the thing is gone then.
    let by_id = key.parse().ok().filter(|_| speaks_ids(batch));
    let Some(id) = world.keys.get(&(kind, key.to_owned())).copied().or(by_id) else { return Ok(None) };
    let Some(thing) = world.things.get_mut(&id).filter(|thing| thing.now.kind == kind) else { return Ok(None) };
    if batch.source.kind == SourceKind::Scim && thing.now.realm.is_some() && thing.now.realm != batch.source.realm {
        return Err(Refusal::OtherRealm);
    }
    if thing.is_tombstone() {
        // The source caught up with a deletion: for it, too, the thing is gone.
        if let Some(hold) = thing.hold_of(&batch.source.name, key).filter(|hold| !thing.holds[*hold].now.ended) {
            thing.holds[hold].now.ended = true;
            thing.holds[hold].said = true;
            thing.records.push(at);
        }
        return Ok(None);
    }
    if let Some(login) = thing.now.login_key.as_ref().filter(|login| batch.source.protected.contains(*login)) {
        return Err(Refusal::Protected { login: login.clone() });
    }
    let older = |undoing: &Arc<Undoing>| undoing.older.contains(&(kind, key.to_owned()));
    let fate = match (batch.source.kind, batch.source.absence) {
        _ if batch.cx.undoing.is_some() => {
            if batch.cx.undoing.as_ref().is_some_and(older) {
                Fate::Disable
            } else {
                Fate::Delete
            }
        }
        (SourceKind::Operator, _) => Fate::DeleteForAll,
        (SourceKind::Scim, _) | (_, Absence::Delete) => Fate::Delete,
        (_, Absence::Disable) => Fate::Disable,
    };
    match thing.hold_of(&batch.source.name, key) {
        Some(hold) if thing.holds[hold].now.ended && fate != Fate::DeleteForAll => return Ok(None),
        Some(hold) => {
            thing.holds[hold].now.ended = true;
            // If it comes again, it must not look the same as before.
            thing.holds[hold].now.digest = None;
            thing.holds[hold].said = true;
        }
        None => {
            let now = Assertion {
                source: batch.source.name.clone(),
                kind,
                key: key.to_owned(),
                entity: id,
                alias: None,
                external_id: None,
                digest: None,
                doc: Some(Document::new()),
                ended: true,
                run: batch.run,
                at: batch.at,
            };
            thing.holds.push(Hold { before: None, now, said: true, remark: false, derived: None });
        }
    }
    thing.fate = thing.fate.max(fate);
    thing.records.push(at);
    Ok(Some((id, BTreeMap::new())))
}

fn blank(id: EntityId, kind: Kind, realm: Option<Realm>, batch: &Batch<'_>) -> Entity {
    Entity {
        id,
        kind,
        realm,
        login_key: None,
        active: false,
        blocked: false,
        state: State::Live,
        flags: Flags::default(),
        doc: Document::new(),
        version: 0,
        created: batch.at,
        modified: batch.at,
    }
}

/// A new hold that says nothing yet.
fn silent(id: EntityId, desired: &Desired, batch: &Batch<'_>) -> Assertion {
    Assertion {
        source: batch.source.name.clone(),
        kind: desired.kind,
        key: desired.key.clone(),
        entity: id,
        alias: None,
        external_id: None,
        digest: None,
        doc: Some(Document::new()),
        ended: false,
        run: batch.run,
        at: batch.at,
    }
}
