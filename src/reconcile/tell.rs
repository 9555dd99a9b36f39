//! What differs: for every touched thing its new version, its row of the journal, and what its records come to know of it.
//! A thing on which nothing shows gets no version and no row. Decides nothing. Start with `tell`.

use serde_json::{Value, json};

use super::Batch;
use super::edges::{self, Links};
use super::plan::Planned;
use super::world::Thing;
use crate::model::change::{Change, Op};
use crate::model::document::{self, Document};
use crate::model::entity::{Assertion, State};
use crate::model::id::EntityId;
use crate::model::source::SourceKind;

/// Versions, and what the journal will say.
pub(super) fn tell(planned: &mut Planned, batch: &Batch<'_>) {
    let mut touched: Vec<EntityId> = planned
        .world
        .things
        .values()
        .filter(|thing| !thing.records.is_empty() || planned.links.of(thing.now.id).is_some())
        .map(|thing| thing.now.id)
        .collect();
    touched.sort_by_key(|id| (planned.world.things[id].records.first().copied(), *id));
    for id in touched {
        let Some(thing) = planned.world.things.get_mut(&id) else { continue };
        for hold in thing.holds.iter_mut().filter(|hold| hold.said) {
            hold.now.run = batch.run;
            hold.now.at = batch.at;
        }
        let change = change(thing, &planned.links, batch);
        for at in &thing.records {
            let outcome = &mut planned.outcomes[*at];
            outcome.changed = change.is_some();
            outcome.missing.clone_from(&thing.missing);
            outcome.login_kept = thing.login_kept;
        }
        if let Some(change) = change {
            thing.now.version += 1;
            thing.now.modified = batch.at;
            planned.changes.push(change);
        }
        for at in &thing.records {
            planned.outcomes[*at].version = thing.now.version;
        }
    }
}

/// The journal row of one thing; `None` where nothing shows.
fn change(thing: &Thing, links: &Links, batch: &Batch<'_>) -> Option<Change> {
    let was = thing.before.as_ref();
    let (mut before, mut after) = match was {
        None => (Document::new(), thing.now.doc.clone()),
        Some(was) if was.doc == thing.now.doc => (Document::new(), Document::new()),
        Some(was) => {
            let gone = document::difference(&thing.now.doc, &was.doc);
            (document::without_nulls(&gone), document::difference(&was.doc, &thing.now.doc))
        }
    };
    let doc_changed = !after.is_empty();
    let mut leaf = |name: &str, old: Value, new: Value| {
        if old != new {
            if !old.is_null() {
                before.insert(name.to_owned(), old);
            }
            after.insert(name.to_owned(), new);
        }
    };
    leaf("$active", was.map_or(Value::Null, |was| json!(was.active)), json!(thing.now.active));
    leaf("$state", was.map_or(Value::Null, |was| json!(was.state)), json!(thing.now.state));
    if was.is_none_or(|was| was.state != thing.now.state) && !thing.missing.is_empty() {
        leaf("$missing", Value::Null, json!(thing.missing));
    }
    let mut key = None;
    let (mut attached, mut released) = (None, None);
    for hold in thing.holds.iter().filter(|hold| hold.now.source == batch.source.name) {
        let held = hold.before.as_ref().filter(|before| !before.ended);
        let holds = (!hold.now.ended).then_some(&hold.now);
        if held.is_some() != holds.is_some() {
            let holder = Some(json!({ hold.now.source.as_str(): hold.now.key }));
            if holds.is_some() { attached = holder } else { released = holder }
        }
        let external = |assertion: Option<&Assertion>| {
            assertion.and_then(|a| a.external_id.clone()).map_or(Value::Null, Value::String)
        };
        leaf("externalId", external(held), external(holds));
        if hold.said || key.is_none() {
            key = Some(hold.now.key.clone());
        }
    }
    let (is_attached, is_released) = (attached.is_some(), released.is_some());
    leaf("$holder", released.unwrap_or_default(), attached.unwrap_or_default());
    let mut linked = (false, false);
    if let Some((gone, come)) = links.of(thing.now.id).map(edges::told) {
        linked = (!come.is_empty(), !gone.is_empty());
        if linked != (false, false) {
            let old = if gone.is_empty() { Value::Null } else { Value::Object(gone.clone()) };
            leaf("$links", old, Value::Object(edges::with_nulls(come, &gone)));
        }
    }
    if after.is_empty() || only_remarked(thing, &after, batch) {
        return None;
    }
    let op = op(thing, doc_changed || is_attached, is_released, linked);
    Some(Change {
        op,
        kind: thing.now.kind,
        entity: Some(thing.now.id),
        label: label(thing),
        source: batch.source.name.clone(),
        key: key.or_else(|| Some(thing.dropped.first()?.key.clone())).unwrap_or_default(),
        before,
        after,
    })
}

/// A client wrote over what a more believed source says, and never had before: its word is kept, and whoever reads the
/// thing sees no change of it (RFC 7644, section 3.14). `plan` and approvals of polled sources do tell of a new holder.
fn only_remarked(thing: &Thing, after: &Document, batch: &Batch<'_>) -> bool {
    let held = thing.holds.iter().filter_map(|hold| hold.before.as_ref());
    batch.source.kind == SourceKind::Scim
        && after.keys().all(|leaf| leaf == "$holder")
        && thing.holds.iter().any(|hold| hold.remark)
        && batch.cx.policies.hold(held)
}

fn op(thing: &Thing, changed: bool, released: bool, (linked, unlinked): (bool, bool)) -> Op {
    let Some(before) = &thing.before else { return Op::Create };
    let dead = |state: State| state == State::Tombstone;
    match (dead(before.state), dead(thing.now.state)) {
        (false, true) => return Op::Delete,
        (true, false) => return Op::Restore,
        _ => {}
    }
    match (before.active, thing.now.active) {
        (true, false) => Op::Disable,
        (false, true) => Op::Enable,
        _ if released => Op::Release,
        _ if changed || (!linked && !unlinked) => Op::Update,
        _ if linked => Op::Link,
        _ => Op::Unlink,
    }
}

/// How people know it.
fn label(thing: &Thing) -> String {
    let text = |name: &str| thing.now.doc.get(name).and_then(Value::as_str);
    text("userName").or_else(|| text("displayName")).or_else(|| text("number")).unwrap_or_default().to_owned()
}
