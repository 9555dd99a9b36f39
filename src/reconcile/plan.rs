//! From records to planned changes, without a write: load what the batch touches, take the records one by one, settle what
//! they touched, refuse what cannot be, and tell what differs. A preview and an apply run exactly this.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::correlate::{self, correlate, handles};
use super::edges::{self, Links};
use super::world::{Fate, Handle, Hold, Thing, World};
use super::{Batch, Error, Outcome, Refusal, merge};
use crate::model::change::{Change, Op};
use crate::model::desired::{Desired, Record, Targets, Write};
use crate::model::document::{self, Document};
use crate::model::entity::{Assertion, Entity, Flags, State, derive};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::source::{Absence, MatchRule, SourceKind};
use crate::store::entity::Wanted;
use crate::store::sql::{Look, MOST};
use crate::store::{self};

/// What a batch would do.
#[derive(Default)]
pub struct Planned {
    pub world: World,
    pub links: Links,
    /// Parallel to the records.
    pub outcomes: Vec<Outcome>,
    /// What stands in the journal afterwards, in the order of the records.
    pub changes: Vec<Change>,
}

/// Relations of accepted records, in their order.
pub type Said = Vec<(EntityId, BTreeMap<Rel, Targets>)>;

pub async fn plan<S: Look>(session: &mut S, batch: &Batch<'_>, records: Vec<Record>) -> Result<Planned, Error> {
    let mut world = load(session, batch, &records).await?;
    // Two transactions at once must not both find nobody by an address and make the same person twice.
    if may_make_twins(&world, batch, &records) && session.alone(CORRELATE).await? {
        world = load(session, batch, &records).await?;
    }
    let mut outcomes = Vec::with_capacity(records.len());
    let mut said: Vec<(usize, EntityId, BTreeMap<Rel, Targets>)> = Vec::new();
    for (at, record) in records.into_iter().enumerate() {
        let mut outcome = Outcome::default();
        let taken = take(&mut world, batch, at, record, &mut outcome);
        match taken {
            Ok(Some((id, relations))) => {
                outcome.entity = Some(id);
                said.push((at, id, relations));
            }
            Ok(None) => {}
            Err(refusal) => outcome.refused = Some(refusal),
        }
        outcomes.push(outcome);
    }
    settle(session, &mut world, batch, &mut outcomes).await?;
    let said: Said = said
        .into_iter()
        .filter(|(at, ..)| outcomes[*at].refused.is_none())
        .map(|(_, id, relations)| (id, relations))
        .collect();
    let links = edges::plan(session, &world, batch, said).await?;
    let mut planned = Planned { world, links, outcomes, changes: Vec::new() };
    tell(&mut planned, batch);
    Ok(planned)
}

/// The queue of those who look for somebody by a value that no unique index guards.
const CORRELATE: i64 = 1;

fn may_make_twins(world: &World, batch: &Batch<'_>, records: &[Record]) -> bool {
    let unguarded = batch.source.match_rules.iter().any(|rule| !matches!(rule, MatchRule::Login));
    let is_new = |record: &Record| match record {
        Record::Present(desired) => !world.keys.contains_key(&(desired.kind, desired.key.clone())),
        _ => false,
    };
    unguarded && batch.overlay.is_none() && records.iter().any(is_new)
}

/// People and groups live in a realm, everything else in none.
fn realm_of(batch: &Batch<'_>, desired: &Desired) -> Result<Option<Realm>, Refusal> {
    match desired.kind {
        Kind::User | Kind::Group => match desired.realm.or(batch.source.realm) {
            Some(realm) => Ok(Some(realm)),
            None => Err(Refusal::Bad(format!("a {} needs a realm, and neither its source has one", desired.kind))),
        },
        _ => Ok(None),
    }
}

/// Sources that call things by our own ids.
fn speaks_ids(batch: &Batch<'_>) -> bool {
    matches!(batch.source.kind, SourceKind::Scim | SourceKind::Operator)
}

async fn load<S: Look>(session: &mut S, batch: &Batch<'_>, records: &[Record]) -> Result<World, Error> {
    #[derive(Default)]
    struct Group {
        keys: Vec<String>,
        ids: Vec<EntityId>,
        logins: Vec<String>,
        lookups: BTreeMap<&'static str, Vec<String>>,
    }
    let mut groups: BTreeMap<(Kind, Option<Realm>), Group> = BTreeMap::new();
    for record in records {
        let (kind, key, realm) = match record {
            Record::Present(desired) => (desired.kind, &desired.key, realm_of(batch, desired).unwrap_or(None)),
            Record::Gone { kind, key } | Record::Same { kind, key } => (*kind, key, None),
            Record::Bad { .. } => continue,
        };
        let group = groups.entry((kind, realm)).or_default();
        if speaks_ids(batch) {
            group.ids.extend(key.parse::<EntityId>());
        }
        group.keys.push(key.clone());
        let Record::Present(desired) = record else { continue };
        let derived = derive(kind, &desired.attributes);
        if !batch.source.match_rules.is_empty() {
            for rule in &batch.source.match_rules {
                for (name, value) in
                    correlate::values_for(rule, &derived).into_iter().filter(|(name, _)| *name != "login")
                {
                    group.lookups.entry(name).or_default().push(value.to_owned());
                }
            }
        }
        group.logins.extend(derived.login_key);
    }
    let mut world = World::default();
    for ((kind, realm), group) in &groups {
        let pieces = [group.keys.len(), group.ids.len(), group.logins.len()]
            .into_iter()
            .chain(group.lookups.values().map(Vec::len))
            .map(|length| length.div_ceil(MOST))
            .max()
            .unwrap_or(0);
        for piece in 0..pieces {
            let wanted = Wanted {
                source: &batch.source.name,
                kind: Some(*kind),
                realm: *realm,
                keys: part(&group.keys, piece).iter().map(String::as_str).collect(),
                ids: part(&group.ids, piece).to_vec(),
                logins: part(&group.logins, piece).iter().map(String::as_str).collect(),
                lookups: group
                    .lookups
                    .iter()
                    .map(|(name, values)| (*name, part(values, piece).iter().map(String::as_str).collect()))
                    .collect(),
            };
            for (entity, assertions) in store::entity::touching(session, &wanted).await? {
                if !world.things.contains_key(&entity.id) {
                    let instead = batch.overlay.and_then(|overlay| overlay.instead(entity.id)).cloned();
                    world.add(&batch.source.name, instead.unwrap_or_else(|| Thing::stored(entity, assertions)));
                }
            }
        }
    }
    Ok(world)
}

fn part<T>(all: &[T], piece: usize) -> &[T] {
    all.chunks(MOST).nth(piece).unwrap_or_default()
}

type Taken = Option<(EntityId, BTreeMap<Rel, Targets>)>;

fn take(
    world: &mut World,
    batch: &Batch<'_>,
    at: usize,
    record: Record,
    outcome: &mut Outcome,
) -> Result<Taken, Refusal> {
    match record {
        Record::Present(desired) => {
            outcome.kind = Some(desired.kind);
            outcome.key.clone_from(&desired.key);
            present(world, batch, at, *desired, outcome).map(Some)
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
        Record::Bad { kind, key, reason } => {
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
    mut desired: Desired,
    outcome: &mut Outcome,
) -> Result<(EntityId, BTreeMap<Rel, Targets>), Refusal> {
    let realm = realm_of(batch, &desired)?;
    for reserved in ["schemas", "id", "meta", "groups", "members", "password"] {
        desired.attributes.remove(reserved);
    }
    let external_id = desired.attributes.remove("externalId");
    if let Some(login) =
        derive(desired.kind, &desired.attributes).login_key.filter(|key| batch.source.protected.contains(key))
    {
        return Err(Refusal::Protected { login });
    }
    let known = world.keys.get(&(desired.kind, desired.key.clone())).copied();
    let id = match known {
        Some(id) => id,
        None => find(world, batch, &mut desired, realm)?,
    };
    outcome.key.clone_from(&desired.key);
    let values = &mut world.values;
    let thing = world.things.entry(id).or_insert_with(|| {
        outcome.created = true;
        Thing::new(blank(id, desired.kind, realm, batch))
    });
    admit(thing, batch, desired.kind, realm, &desired.key)?;
    let hold = match thing.hold_of(&batch.source.name, &desired.key) {
        Some(hold) => hold,
        None => {
            thing.holds.push(Hold { before: None, now: silent(id, &desired, batch), said: true });
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
    if let (Some(values), None) = (values, &thing.before) {
        correlate::enter(values, id, desired.kind, realm, &saying);
    }
    entry.now.doc = Some(saying);
    thing.records.push(at);
    world.keys.insert((desired.kind, desired.key), id);
    Ok((id, desired.relations))
}

/// The entity that an unknown key means: by our own id where the source speaks of it so, else by the rules.
fn find(
    world: &mut World,
    batch: &Batch<'_>,
    desired: &mut Desired,
    realm: Option<Realm>,
) -> Result<EntityId, Refusal> {
    if !speaks_ids(batch) {
        let found = correlate(world, batch, desired.kind, realm, &desired.attributes)?;
        return Ok(found.unwrap_or_else(|| batch.cx.clock.entity_id()));
    }
    let id: EntityId = desired.key.parse().map_err(|_| Refusal::NotFound)?;
    if world.things.contains_key(&id) {
        return if batch.source.company.is_some() { Err(Refusal::NotFound) } else { Ok(id) };
    }
    match correlate(world, batch, desired.kind, realm, &desired.attributes)? {
        Some(found) => {
            desired.key = found.to_string();
            Ok(found)
        }
        None => Ok(id),
    }
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
    let fate = match (batch.source.kind, batch.source.absence) {
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
            thing.holds.push(Hold { before: None, now, said: true });
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

/// Settles what was touched, then refuses logins that are not free. What is refused is as if its records had not come.
async fn settle<S: Look>(
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
        let sent = &thing.holds;
        asked.extend(
            sent.iter()
                .filter_map(|hold| derive(thing.now.kind, hold.now.doc.as_ref()?).login_key.filter(|_| hold.said)),
        );
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
    loop {
        let losers = without_login(world, batch);
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
    for (handle, mut things) in owners {
        let taken = batch.overlay.is_some_and(|overlay| overlay.takes(&handle));
        if let Some(overlay) = batch.overlay {
            things.retain(|thing| took_login(thing) || !overlay.frees(thing.now.id, &handle));
        }
        if !taken && things.len() < 2 {
            continue;
        }
        things.sort_by_key(|thing| (took_login(thing), thing.records.first().copied()));
        let owner = if taken { None } else { things.first().map(|thing| thing.now.id) };
        let skip = usize::from(!taken);
        for thing in things.into_iter().skip(skip).filter(|thing| took_login(thing)) {
            losers.push((thing.now.id, Refusal::LoginTaken { login: handle.value.clone(), owner }));
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

/// Versions, and what the journal will say.
fn tell(planned: &mut Planned, batch: &Batch<'_>) {
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
    let empty = Document::new();
    let was = thing.before.as_ref();
    let old = was.map_or(&empty, |before| &before.doc);
    let mut after = document::difference(old, &thing.now.doc);
    let mut before = document::without_nulls(&document::difference(&thing.now.doc, old));
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
    let (mut attached, mut released) = (false, false);
    for hold in thing.holds.iter().filter(|hold| hold.now.source == batch.source.name) {
        let held = hold.before.as_ref().filter(|before| !before.ended);
        let holds = (!hold.now.ended).then_some(&hold.now);
        if held.is_some() != holds.is_some() {
            attached |= holds.is_some();
            released |= held.is_some();
            let holder =
                |there: bool| if there { json!({ hold.now.source.as_str(): hold.now.key }) } else { Value::Null };
            leaf("$holder", holder(held.is_some()), holder(holds.is_some()));
        }
        let external = |assertion: Option<&Assertion>| {
            assertion.and_then(|a| a.external_id.clone()).map_or(Value::Null, Value::String)
        };
        leaf("externalId", external(held), external(holds));
        if hold.said || key.is_none() {
            key = Some(hold.now.key.clone());
        }
    }
    let mut linked = (false, false);
    if let Some((gone, come)) = links.of(thing.now.id).map(edges::told) {
        linked = (!come.is_empty(), !gone.is_empty());
        if linked != (false, false) {
            let old = if gone.is_empty() { Value::Null } else { Value::Object(gone.clone()) };
            leaf("$links", old, Value::Object(edges::with_nulls(come, &gone)));
        }
    }
    if after.is_empty() {
        return None;
    }
    let op = op(thing, doc_changed || attached, released, linked);
    Some(Change {
        op,
        kind: thing.now.kind,
        entity: Some(thing.now.id),
        label: label(thing),
        source: batch.source.name.clone(),
        key: key.unwrap_or_default(),
        before,
        after,
    })
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

/// Values of a thing by which pending relations may point at it, where they are new.
pub fn new_handles(thing: &Thing) -> Vec<Handle> {
    let before = thing.before.as_ref().filter(|before| before.state != State::Tombstone);
    let old = before.map(|before| handles(before.kind, before.realm, &before.doc)).unwrap_or_default();
    if thing.is_tombstone() {
        return Vec::new();
    }
    let mut new = handles(thing.now.kind, thing.now.realm, &thing.now.doc);
    new.retain(|handle| !old.contains(handle));
    new
}
