//! From records to planned changes, without a write: load what the batch touches, take the records one by one (`take`),
//! settle what they touched and refuse what cannot be (`settle`), and tell what differs (`tell`). A preview and an apply
//! run exactly this. Start with `plan`.

use std::collections::BTreeMap;

use super::correlate::{self, handles};
use super::edges::{self, Links};
use super::settle::settle;
use super::take::take;
use super::tell::tell;
use super::world::{Handle, Thing, World};
use super::{Batch, Error, Outcome, Refusal, merge};
use crate::model::change::Change;
use crate::model::desired::{Desired, Record, Targets, Write};
use crate::model::entity::{Derived, State, derive};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::source::{MatchRule, SourceKind};
use crate::store;
use crate::store::Tx;
use crate::store::entity::Wanted;
use crate::store::sql::{Look, MOST, Nothing};

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
    plan_seen(session, batch, None, records).await
}

/// As `plan`, with what was looked at already, where the records touch no more than that.
pub async fn plan_seen<S: Look>(
    session: &mut S,
    batch: &Batch<'_>,
    seen: Option<World>,
    records: Vec<Record>,
) -> Result<Planned, Error> {
    let derived: Vec<Option<Derived>> = records.iter().map(derived_of).collect();
    let within = |seen: &World| {
        records.iter().zip(&derived).all(|(record, derived)| is_within(seen, batch, record, derived.as_ref()))
    };
    let asked = || Asked::of(batch, &records, &derived);
    let mut world = match seen.filter(within) {
        Some(seen) => seen,
        None => load(session, batch, &asked()).await?,
    };
    // Two transactions at once must not both find nobody by an address and make the same person twice.
    if may_make_twins(&world, batch, &records) && session.alone(CORRELATE).await? {
        world = load(session, batch, &asked()).await?;
    }
    decide(session, batch, world, (records, derived)).await
}

/// What becomes of the records, of which the world holds all that they may speak of.
async fn decide<S: Look>(
    session: &mut S,
    batch: &Batch<'_>,
    mut world: World,
    (records, derived): (Vec<Record>, Vec<Option<Derived>>),
) -> Result<Planned, Error> {
    let off: Vec<Option<(Kind, String)>> = records.iter().map(|record| switched_off(batch, record)).collect();
    let mut outcomes = Vec::with_capacity(records.len());
    let mut said: Vec<(usize, EntityId, BTreeMap<Rel, Targets>)> = Vec::new();
    for (at, (record, derived)) in records.into_iter().zip(derived).enumerate() {
        let mut outcome = Outcome::default();
        let taken = take(&mut world, batch, at, (record, derived), &mut outcome);
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
    for (at, (off, outcome)) in off.into_iter().zip(&mut outcomes).enumerate() {
        if let Some((kind, key)) = off.filter(|_| outcome.refused.is_some())
            && let Some(id) = switch_off(&mut world, batch, at, kind, key)
        {
            outcome.entity = Some(id);
        }
    }
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

/// A batch planned on the guess that the store knows nothing that it may touch: so it is in a first read.
pub(super) struct Guess {
    asked: Asked,
    /// Values by which two transactions could make one person twice.
    twins: bool,
    pub planned: Planned,
}

/// Plans without the store, `None` where more would have to be asked than who is there.
pub async fn guess(batch: &Batch<'_>, records: Vec<Record>) -> Result<Option<Guess>, Error> {
    let derived: Vec<Option<Derived>> = records.iter().map(derived_of).collect();
    let asked = Asked::of(batch, &records, &derived);
    let world = World::default();
    let twins = may_make_twins(&world, batch, &records);
    let mut nothing = Nothing::default();
    let planned = decide(&mut nothing, batch, world, (records, derived)).await?;
    Ok((!nothing.was_asked()).then_some(Guess { asked, twins, planned }))
}

impl Guess {
    /// Whether it is right, which holds as long as the transaction writes nothing else.
    pub async fn stands(&self, tx: &mut Tx, batch: &Batch<'_>) -> Result<bool, Error> {
        let mut world = load(tx, batch, &self.asked).await?;
        if world.things.is_empty() && self.twins && tx.alone(CORRELATE).await? {
            world = load(tx, batch, &self.asked).await?;
        }
        Ok(world.things.is_empty())
    }
}

/// Whom a read calls switched off. A call is answered, and its caller sees to it.
fn switched_off(batch: &Batch<'_>, record: &Record) -> Option<(Kind, String)> {
    let is_read = !speaks_ids(batch) && (batch.cx.run.is_some() || batch.overlay.is_some());
    match record {
        Record::Present(desired) if is_read && desired.switches_off() => Some((desired.kind, desired.key.clone())),
        _ => None,
    }
}

/// Of a record that is refused, what must not be: the source switches somebody off whom it holds.
fn switch_off(world: &mut World, batch: &Batch<'_>, at: usize, kind: Kind, key: String) -> Option<EntityId> {
    let source = batch.source;
    let id = *world.keys.get(&(kind, key.clone()))?;
    let thing = world.things.get_mut(&id)?;
    let is_protected = thing.now.login_key.as_ref().is_some_and(|login| source.protected.contains(login));
    if thing.is_tombstone() || !thing.records.is_empty() || is_protected {
        return None;
    }
    let own = thing.hold_of(&source.name, &key).filter(|own| !thing.holds[*own].now.ended)?;
    let mut saying = thing.saying(&thing.holds[own]).clone();
    if saying.insert("active".to_owned(), false.into()) == Some(false.into()) {
        return None;
    }
    let hold = &mut thing.holds[own];
    hold.now.doc = Some(saying);
    hold.now.digest = None;
    (hold.said, hold.derived) = (true, None);
    thing.records.push(at);
    merge::settle(thing, batch.cx, source).ok()?;
    Some(id)
}

/// Whether the record speaks of what was seen and of nobody else, so that `load` would find nothing more.
fn is_within(seen: &World, batch: &Batch<'_>, record: &Record, derived: Option<&Derived>) -> bool {
    match (record, derived) {
        (Record::Present(desired), Some(derived)) => {
            let finds = |rule| !correlate::values_for(rule, derived).is_empty();
            is_seen(seen, &desired.key) && derived.login_key.is_none() && !batch.source.match_rules.iter().any(finds)
        }
        (Record::Gone { key, .. }, _) => is_seen(seen, key),
        _ => false,
    }
}

fn is_seen(seen: &World, key: &str) -> bool {
    key.parse::<EntityId>().is_ok_and(|id| seen.things.contains_key(&id))
}

fn derived_of(record: &Record) -> Option<Derived> {
    match record {
        Record::Present(desired) => Some(derive(desired.kind, &desired.attributes)),
        _ => None,
    }
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

/// People and groups live in a realm, and so does what a provider has brought of a type of its own; everything else in none.
pub(super) fn realm_of(batch: &Batch<'_>, desired: &Desired) -> Result<Option<Realm>, Refusal> {
    match desired.kind {
        Kind::User | Kind::Group => match desired.realm.or(batch.source.realm) {
            Some(realm) => Ok(Some(realm)),
            None => Err(Refusal::Bad(format!(
                "realm: is missing: a {} lives in one, and neither the record nor its source says which",
                desired.kind
            ))),
        },
        Kind::Own(_) => Ok(desired.realm.or(batch.source.realm)),
        _ => Ok(None),
    }
}

/// The client's own name of somebody whom it makes, who may be somebody it had disabled.
pub(super) fn former_name<'d>(batch: &Batch<'_>, desired: &'d Desired) -> Option<&'d str> {
    let makes = desired.kind == Kind::User && desired.write == Write::Whole && batch.source.kind == SourceKind::Scim;
    desired.attributes.get("externalId").filter(|_| makes)?.as_str()
}

/// Sources that call things by our own ids.
pub(super) fn speaks_ids(batch: &Batch<'_>) -> bool {
    matches!(batch.source.kind, SourceKind::Scim | SourceKind::Operator)
}

/// By what the store is asked what a batch may touch.
struct Asked(BTreeMap<(Kind, Option<Realm>), Names>);

#[derive(Default)]
struct Names {
    keys: Vec<String>,
    ids: Vec<EntityId>,
    logins: Vec<String>,
    externals: Vec<String>,
    lookups: BTreeMap<&'static str, Vec<String>>,
}

impl Asked {
    fn of(batch: &Batch<'_>, records: &[Record], derived: &[Option<Derived>]) -> Asked {
        let mut groups: BTreeMap<(Kind, Option<Realm>), Names> = BTreeMap::new();
        for (record, derived) in records.iter().zip(derived) {
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
            if let Record::Present(desired) = record {
                group.externals.extend(former_name(batch, desired).map(str::to_owned));
            }
            let Some(derived) = derived else { continue };
            for rule in &batch.source.match_rules {
                let values = correlate::values_for(rule, derived).into_iter();
                for (name, value) in values.filter(|(name, _)| *name != "login") {
                    group.lookups.entry(name).or_default().push(value.to_owned());
                }
            }
            group.logins.extend(derived.login_key.clone());
        }
        Asked(groups)
    }
}

async fn load<S: Look>(session: &mut S, batch: &Batch<'_>, asked: &Asked) -> Result<World, Error> {
    let mut world = World::default();
    for ((kind, realm), names) in &asked.0 {
        let pieces = [names.keys.len(), names.ids.len(), names.logins.len(), names.externals.len()]
            .into_iter()
            .chain(names.lookups.values().map(Vec::len))
            .map(|length| length.div_ceil(MOST))
            .max()
            .unwrap_or(0);
        for piece in 0..pieces {
            let texts = |all| part::<String>(all, piece).iter().map(String::as_str).collect();
            let wanted = Wanted {
                source: &batch.source.name,
                kind: Some(*kind),
                realm: *realm,
                keys: texts(&names.keys),
                ids: part(&names.ids, piece).to_vec(),
                logins: texts(&names.logins),
                externals: texts(&names.externals),
                lookups: names.lookups.iter().map(|(name, values)| (*name, texts(values))).collect(),
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

/// Values of a thing by which relations may point at it, where it has them no more.
pub fn lost_handles(thing: &Thing) -> Vec<Handle> {
    let Some(before) = thing.before.as_ref().filter(|before| before.state != State::Tombstone) else {
        return Vec::new();
    };
    let mut old = handles(before.kind, before.realm, &derive(before.kind, &before.doc));
    let new = handles(thing.now.kind, thing.now.realm, &thing.derived());
    old.retain(|handle| !new.contains(handle));
    old
}

/// Values of a thing by which pending relations may point at it, where they are new.
pub fn new_handles(thing: &Thing) -> Vec<Handle> {
    let before = thing.before.as_ref().filter(|before| before.state != State::Tombstone);
    let old = before.map(|before| handles(before.kind, before.realm, &derive(before.kind, &before.doc)));
    let old = old.unwrap_or_default();
    if thing.is_tombstone() {
        return Vec::new();
    }
    let mut new = handles(thing.now.kind, thing.now.realm, &thing.derived());
    new.retain(|handle| !old.contains(handle));
    new
}
