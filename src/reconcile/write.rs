//! Writes what was planned, in an order that no unique index minds, each table in as few statements as its rows allow.
//! What did not change is not written: no row, no version, no journal.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::context::Context;
use super::plan::{Planned, lost_handles, new_handles};
use super::world::{Handle, Thing, World};
use super::{Batch, EdgeChange, Error, Touched, unique};
use crate::model::change::Change;
use crate::model::desired::Ref;
use crate::model::entity::{Assertion, Derived, Entity, State, derive};
use crate::model::id::{EntityId, RunId};
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::run::RunKind;
use crate::model::time::Millis;
use crate::store::edge::Edge;
use crate::store::entity::Stored;
use crate::store::journal::New;
use crate::store::lookup::Lookup;
use crate::store::sql::Rows;
use crate::store::{self, Tx};

/// `ready`: what `rows_of_new` made of the same plan.
pub async fn write<'p>(
    tx: &mut Tx,
    batch: &Batch<'_>,
    planned: &'p Planned,
    ready: Option<NewRows>,
) -> Result<Touched<'p>, Error> {
    let mut touched = Touched::default();
    let things = touched_by(planned);
    if things.iter().any(|thing| moves(thing)) {
        tx.moved();
    }
    let is_new = ready.is_some();
    if let Some(NewRows { mut entities, mut assertions, lookups, mut journal }) = ready {
        touched.entities = things.iter().map(|thing| (None, &thing.now)).collect();
        store::entity::stamp(&mut entities, batch.at);
        store::assertion::stamp(&mut assertions, batch.at);
        store::journal::number(&mut journal, batch.at, || batch.cx.clock.seq());
        for rows in [entities, assertions, lookups, journal] {
            rows.put(tx).await?;
        }
    } else {
        entities(tx, batch, &things, &mut touched).await?;
        assertions(tx, &things).await?;
        lookups(tx, batch, &things).await?;
    }
    edges(tx, batch, planned, &things, &mut touched).await?;
    departures(tx, batch, &things, &mut touched).await?;
    if !is_new {
        // Before the first question, so that it is made ready while the others are written.
        note(tx, batch.cx, &noted(batch), &planned.changes).await?;
    }
    arrivals(tx, batch, &things, &mut touched).await?;
    tx.settled().await?;
    Ok(touched)
}

/// The rows of a batch in which all is new, but those of its relations.
pub struct NewRows {
    entities: Rows,
    assertions: Rows,
    lookups: Rows,
    journal: Rows,
}

pub fn rows_of_new(batch: &Batch<'_>, planned: &Planned) -> NewRows {
    let things = touched_by(planned);
    let entities: Vec<Stored<'_>> = things.iter().map(|thing| stored(thing, batch)).collect();
    let assertions: Vec<&Assertion> = things.iter().flat_map(|thing| &thing.holds).map(|hold| &hold.now).collect();
    let lookups: Vec<Lookup> =
        things.iter().flat_map(|thing| lookups_of(&thing.now, &thing.derived(), batch)).collect();
    NewRows {
        entities: store::entity::rows(&entities),
        assertions: store::assertion::rows(&assertions),
        lookups: store::lookup::rows(&lookups),
        journal: journal(batch.cx, &noted(batch), &planned.changes),
    }
}

/// In the order of their records.
fn touched_by(planned: &Planned) -> Vec<&Thing> {
    let mut things: Vec<&Thing> = planned.world.things.values().filter(|thing| is_touched(thing, planned)).collect();
    things.sort_by_key(|thing| (thing.records.first().copied(), thing.now.id));
    things
}

fn is_touched(thing: &Thing, planned: &Planned) -> bool {
    !thing.records.is_empty() || planned.links.of(thing.now.id).is_some()
}

/// Whether somebody sees it who did not, or the other way round.
fn moves(thing: &Thing) -> bool {
    let state = |entity: &Entity| (entity.state, entity.realm);
    thing.before.as_ref().map(state) != Some(state(&thing.now))
        || thing.holds.iter().any(|hold| hold.before.as_ref().map(|before| before.ended) != Some(hold.now.ended))
}

/// Whether the row of the entity differs.
fn row_changed(thing: &Thing) -> bool {
    thing.before.as_ref() != Some(&thing.now)
}

fn stored<'t>(thing: &'t Thing, batch: &Batch<'_>) -> Stored<'t> {
    let gone = thing.now.state == State::Tombstone || !batch.cx.policies.hold(thing.holds.iter().map(|hold| &hold.now));
    let ordered_at = match thing.now.kind {
        Kind::Ticket | Kind::Device | Kind::Session => thing.derived().ordered_at,
        _ => None,
    };
    Stored { entity: &thing.now, before: thing.before.as_ref(), ordered_at, gone_at: gone.then_some(batch.at) }
}

async fn entities<'p>(
    tx: &mut Tx,
    batch: &Batch<'_>,
    things: &[&'p Thing],
    touched: &mut Touched<'p>,
) -> Result<(), Error> {
    let changed: Vec<&'p Thing> = things.iter().copied().filter(|thing| row_changed(thing)).collect();
    let taken: HashSet<(Kind, Option<Realm>, &str)> = changed
        .iter()
        .filter_map(|thing| Some((thing.now.kind, thing.now.realm, thing.now.login_key.as_deref()?)))
        .collect();
    let swapped: Vec<EntityId> = changed
        .iter()
        .filter_map(|thing| thing.before.as_ref())
        .filter(|before| before.state != State::Tombstone)
        .filter(|before| {
            let Some(login) = before.login_key.as_deref() else { return false };
            let now = changed.iter().find(|thing| thing.now.id == before.id);
            let stays = now.is_some_and(|thing| thing.now.login_key.as_deref() == Some(login));
            !stays && taken.contains(&(before.kind, before.realm, login))
        })
        .map(|before| before.id)
        .collect();
    store::entity::free_logins(tx, &swapped).await?;
    let (new, old): (Vec<&'p Thing>, Vec<&'p Thing>) = changed.into_iter().partition(|thing| thing.before.is_none());
    // Those that give a login up by becoming tombstones come first: another of this batch may take it.
    let (dead, alive): (Vec<&Thing>, Vec<&Thing>) = old.iter().partition(|thing| thing.is_tombstone());
    for part in [dead, alive] {
        store::entity::update(tx, &part.iter().map(|thing| stored(thing, batch)).collect::<Vec<_>>()).await?;
    }
    store::entity::rows(&new.iter().map(|thing| stored(thing, batch)).collect::<Vec<_>>()).put(tx).await?;
    touched.entities = new.iter().chain(&old).map(|thing| (thing.before.as_ref(), &thing.now)).collect();
    Ok(())
}

async fn assertions(tx: &mut Tx, things: &[&Thing]) -> Result<(), Error> {
    let holds = || things.iter().flat_map(|thing| &thing.holds);
    let new: Vec<&Assertion> = holds().filter(|hold| hold.before.is_none()).map(|hold| &hold.now).collect();
    let changed: Vec<(&Assertion, &Assertion)> = holds()
        .filter_map(|hold| Some((hold.before.as_ref()?, &hold.now)))
        .filter(|(before, now)| before != now)
        .collect();
    let dropped: Vec<&Assertion> = things.iter().flat_map(|thing| &thing.dropped).collect();
    store::assertion::delete(tx, &dropped).await?;
    store::assertion::rows(&new).put(tx).await?;
    Ok(store::assertion::update(tx, &changed).await?)
}

fn lookups_of(entity: &Entity, derived: &Derived, batch: &Batch<'_>) -> BTreeSet<Lookup> {
    if entity.state == State::Tombstone {
        return BTreeSet::new();
    }
    let row = |(name, value): &(&'static str, String)| Lookup {
        kind: entity.kind,
        name: (*name).into(),
        value: value.clone(),
        entity: entity.id,
    };
    let claims = unique::rows(entity.kind, entity.id, batch.cx.policies.claims_of(entity));
    derived.lookups.iter().map(row).chain(claims).collect()
}

async fn lookups(tx: &mut Tx, batch: &Batch<'_>, things: &[&Thing]) -> Result<(), Error> {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for thing in things.iter().filter(|thing| row_changed(thing)) {
        let Some(before) = &thing.before else {
            come.extend(lookups_of(&thing.now, &thing.derived(), batch));
            continue;
        };
        let old = lookups_of(before, &derive(before.kind, &before.doc), batch);
        let new = lookups_of(&thing.now, &thing.derived(), batch);
        gone.extend(old.difference(&new).cloned());
        come.extend(new.difference(&old).cloned());
    }
    store::lookup::delete(tx, &gone).await?;
    Ok(store::lookup::rows(&come).put(tx).await?)
}

async fn edges(
    tx: &mut Tx,
    batch: &Batch<'_>,
    planned: &Planned,
    things: &[&Thing],
    touched: &mut Touched<'_>,
) -> Result<(), Error> {
    rename(tx, batch, things).await?;
    let dead: Vec<EntityId> = things
        .iter()
        .filter(|thing| thing.is_tombstone() && thing.before.as_ref().is_some_and(|b| b.state != State::Tombstone))
        .map(|thing| thing.now.id)
        .collect();
    if !dead.is_empty() {
        let mut ends = store::edge::from_any(tx, &dead).await?;
        ends.extend(store::edge::to_any(tx, &dead).await?);
        touched.edges.extend(ends.iter().filter_map(|edge| edge_change(edge, false)));
        store::edge::unresolve(tx, &dead).await?;
        // A group that lost a member is another one than before.
        let lost = ends.iter().filter(|edge| edge.rel == Rel::Member && edge.to.is_some());
        let mut groups: Vec<EntityId> = lost.map(|edge| edge.from).collect();
        groups.retain(|id| !planned.world.things.contains_key(id));
        groups.sort_unstable();
        groups.dedup();
        store::entity::bump(tx, &groups, batch.at).await?;
    }
    let (mut gone, mut come, mut wanted) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (from, rel, target, row) in planned.links.rows() {
        match (&row.before, &row.now) {
            (Some(edge), None) => gone.push(edge.clone()),
            (before, Some(draft)) => {
                let to = before.as_ref().and_then(|edge| edge.to);
                let same = before.as_ref().is_some_and(|edge| edge.attributes == draft.attributes);
                if same && (to.is_some() || draft.reference.is_none()) {
                    continue;
                }
                if let (None, Some(reference)) = (to, &draft.reference) {
                    wanted.insert(target.clone(), reference.clone());
                }
                let (source, attributes) = (batch.source.name.clone(), draft.attributes.clone());
                let edge = Edge { rel, from, source, target: target.clone(), to, attributes };
                come.push((edge, before.is_none(), same));
            }
            (None, None) => {}
        }
    }
    let found = resolve(tx, batch, wanted.into_values().collect()).await?;
    let mut put = Vec::with_capacity(come.len());
    for (mut edge, new, same) in come {
        let waited = edge.to.is_none();
        let end = found.get(&edge.target);
        edge.to = edge.to.or_else(|| end.map(|(id, _)| *id));
        if new || (waited && edge.to.is_some()) {
            touched.edges.extend(edge_change(&edge, true));
            touched.nested.extend(end.filter(|(_, kind)| nests(&edge, *kind)).map(|_| edge.from));
        }
        if !same || edge.to.is_some() {
            put.push(edge);
        }
    }
    touched.edges.extend(gone.iter().filter_map(|edge| edge_change(edge, false)));
    store::edge::delete(tx, &gone).await?;
    Ok(store::edge::put(tx, &put).await?)
}

fn edge_change(edge: &Edge, added: bool) -> Option<EdgeChange> {
    Some(EdgeChange { rel: edge.rel, from: edge.from, to: edge.to?, added })
}

/// Whether a thing of this kind at its far end makes the edge one of a group in a group.
fn nests(edge: &Edge, kind: Kind) -> bool {
    edge.rel == Rel::Member && kind == Kind::Group
}

/// What pointed at a thing by its old name points at it by the new one. In two steps where there are several, because two
/// things of one batch may swap their names.
async fn rename(tx: &mut Tx, batch: &Batch<'_>, things: &[&Thing]) -> Result<(), Error> {
    let renames: Vec<(EntityId, String, String)> = things
        .iter()
        .flat_map(|thing| thing.renames().into_iter().map(|(old, new)| (thing.now.id, old, new)))
        .collect();
    let source = &batch.source.name;
    let several = renames.len() > 1;
    let via = |new: &str| if several { format!("renamed:{new}") } else { new.to_owned() };
    for (id, old, new) in &renames {
        store::edge::rename_target(tx, source, *id, old, &via(new)).await?;
    }
    // A directory without referential integrity still lists the old name, and may give it to somebody else: whoever lists it is
    // read anew by the next run, although it looks the same.
    let mut renamed: Vec<EntityId> = renames.iter().map(|(id, ..)| *id).collect();
    // Out of what is searched it has another name, of which nothing is told: whoever lists it may list that.
    if batch.cx.run.is_some() {
        renamed.extend(things.iter().filter(|thing| thing.lost_alias(source)).map(|thing| thing.now.id));
    }
    store::assertion::forget_digests(tx, source, &renamed).await?;
    if several {
        for (id, _, new) in &renames {
            store::edge::rename_target(tx, source, *id, &via(new), new).await?;
        }
    }
    Ok(())
}

/// Target text -> entity and what it is, of those that can be told now.
async fn resolve(tx: &mut Tx, batch: &Batch<'_>, wanted: Vec<Ref>) -> Result<HashMap<String, (EntityId, Kind)>, Error> {
    let mut found = HashMap::new();
    let mut ids: Vec<EntityId> = Vec::new();
    let mut aliases: Vec<&str> = Vec::new();
    let mut keys: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    let mut values: BTreeMap<(Kind, &str), Vec<&str>> = BTreeMap::new();
    for reference in &wanted {
        match reference {
            Ref::Id(id) => ids.push(*id),
            Ref::Key(kind, key) => keys.entry(*kind).or_default().push(key),
            Ref::Alias(alias) => aliases.push(alias),
            Ref::Match { kind, attribute, value } => values.entry((*kind, attribute)).or_default().push(value),
        }
    }
    for (kind, keys) in keys {
        for (key, id) in store::assertion::by_keys(tx, &batch.source.name, kind, &keys).await? {
            found.insert(Ref::Key(kind, key).stored(), (id, kind));
        }
    }
    for (alias, id, kind) in store::assertion::by_aliases(tx, &batch.source.name, &aliases).await? {
        found.insert(Ref::Alias(alias).stored(), (id, kind));
    }
    let mut by_value: BTreeMap<String, (Kind, Vec<EntityId>)> = BTreeMap::new();
    for ((kind, attribute), values) in values {
        let holders = match attribute {
            "login" => store::lookup::logins(tx, kind, &values).await?,
            attribute => store::lookup::find(tx, kind, attribute, &values).await?,
        };
        for (value, id) in holders {
            let reference = Ref::Match { kind, attribute: attribute.to_owned(), value };
            by_value.entry(reference.stored()).or_insert_with(|| (kind, Vec::new())).1.push(id);
            ids.push(id);
        }
    }
    // Of other realms, and of what is deleted, a source knows nothing.
    let living: HashMap<EntityId, (Kind, Option<Realm>)> =
        store::entity::living(tx, &ids).await?.into_iter().map(|(id, kind, realm)| (id, (kind, realm))).collect();
    // A customer's own source knows nobody but its own.
    let own: Option<HashSet<EntityId>> = match batch.source.company {
        Some(_) => Some(store::assertion::held_among(tx, &batch.source.name, &ids).await?.into_iter().collect()),
        None => None,
    };
    let lives = |id: &EntityId| {
        living
            .get(id)
            .is_some_and(|(_, realm)| realm.is_none() || batch.source.realm.is_none() || *realm == batch.source.realm)
    };
    let seen = |id: &EntityId| lives(id) && own.as_ref().is_none_or(|own| own.contains(id));
    found.extend(wanted.iter().filter_map(|reference| match reference {
        Ref::Id(id) if seen(id) => Some((reference.stored(), (*id, living.get(id)?.0))),
        _ => None,
    }));
    for (target, (kind, mut ids)) in by_value {
        ids.retain(&lives);
        if let [one] = ids.as_slice() {
            found.insert(target, (*one, kind)); // two of them: it waits until there is one
        }
    }
    Ok(found)
}

/// Who gave up a value is no longer whom others mean by it: what points there waits for the next one who has it.
async fn departures(tx: &mut Tx, batch: &Batch<'_>, things: &[&Thing], touched: &mut Touched<'_>) -> Result<(), Error> {
    if !batch.cx.policies.point_by_value() {
        return Ok(());
    }
    let mut given_up: HashSet<(EntityId, String)> = HashSet::new();
    for thing in things.iter().filter(|thing| row_changed(thing) && !thing.is_tombstone()) {
        let target = |handle: Handle| {
            Ref::Match { kind: handle.kind, attribute: handle.name.to_owned(), value: handle.value }.stored()
        };
        given_up.extend(lost_handles(thing).into_iter().map(|handle| (thing.now.id, target(handle))));
    }
    if given_up.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<EntityId> = given_up.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut edges = store::edge::to_any(tx, &ids).await?;
    edges.retain(|edge| edge.to.is_some_and(|to| given_up.contains(&(to, edge.target.clone()))));
    touched.edges.extend(edges.iter().filter_map(|edge| edge_change(edge, false)));
    // A group that lost a member is another one than before.
    let mut groups: Vec<EntityId> = edges.iter().filter(|edge| edge.rel == Rel::Member).map(|edge| edge.from).collect();
    groups.retain(|id| !things.iter().any(|thing| thing.now.id == *id));
    groups.sort_unstable();
    groups.dedup();
    store::entity::bump(tx, &groups, batch.at).await?;
    let waiting: Vec<Edge> = edges.into_iter().map(|edge| Edge { to: None, ..edge }).collect();
    Ok(store::edge::put(tx, &waiting).await?)
}

/// Of so many things it pays to ask first whether anything waits at all.
const MANY: usize = 16;

/// What waited for the things that came: by their keys and names, and by their new values.
async fn arrivals(tx: &mut Tx, batch: &Batch<'_>, things: &[&Thing], touched: &mut Touched<'_>) -> Result<(), Error> {
    // Most long reads leave nothing waiting: one question instead of thousands.
    if things.len() > MANY && !store::edge::any_waits(tx).await? {
        return Ok(());
    }
    let mut by_target: BTreeMap<String, Ref> = BTreeMap::new();
    let by_value = batch.cx.policies.point_by_value();
    for thing in things {
        let back =
            thing.before.as_ref().is_some_and(|before| before.state == State::Tombstone) && !thing.is_tombstone();
        let mut targets = Vec::new();
        if by_value && row_changed(thing) {
            targets.extend(new_handles(thing).into_iter().map(|handle| Ref::Match {
                kind: handle.kind,
                attribute: handle.name.to_owned(),
                value: handle.value,
            }));
        }
        for hold in thing.holds.iter().filter(|hold| hold.now.source == batch.source.name && !hold.now.ended) {
            let known = hold.before.as_ref().is_some_and(|before| !before.ended) && !back;
            if !known && hold.now.key != thing.now.id.to_string() {
                targets.push(Ref::Key(hold.now.kind, hold.now.key.clone()));
            }
            let alias = hold.now.alias.as_ref();
            let same = known && hold.before.as_ref().and_then(|before| before.alias.as_ref()) == alias;
            targets.extend(alias.filter(|_| !same).map(|alias| Ref::Alias(alias.clone())));
        }
        if back {
            targets.push(Ref::Id(thing.now.id));
        }
        by_target.extend(targets.into_iter().map(|target| (target.stored(), target)));
    }
    if by_target.is_empty() {
        return Ok(());
    }
    let texts: Vec<&str> = by_target.keys().map(String::as_str).collect();
    let mut waiting = store::edge::waiting_for(tx, &texts).await?;
    // A key or an alias means something only in the mouth of its own source.
    let bound = |source: &str| batch.cx.policies.get(source).is_none_or(|policy| policy.company.is_some());
    waiting.retain(|edge| {
        edge.source == batch.source.name
            || match by_target[&edge.target] {
                Ref::Key(..) | Ref::Alias(_) => false,
                Ref::Id(_) => !bound(&edge.source),
                Ref::Match { .. } => true,
            }
    });
    if waiting.is_empty() {
        return Ok(());
    }
    let wanted: BTreeMap<&String, &Ref> = waiting.iter().map(|edge| (&edge.target, &by_target[&edge.target])).collect();
    let found = resolve(tx, batch, wanted.into_values().cloned().collect()).await?;
    let come = waiting.into_iter().filter_map(|edge| {
        let (to, kind) = *found.get(&edge.target)?;
        Some((Edge { to: Some(to), ..edge }, kind))
    });
    let come: Vec<(Edge, Kind)> = come.collect();
    touched.nested.extend(come.iter().filter(|(edge, kind)| nests(edge, *kind)).map(|(edge, _)| edge.from));
    let put: Vec<Edge> = come.into_iter().map(|(edge, _)| edge).collect();
    touched.edges.extend(put.iter().filter_map(|edge| edge_change(edge, true)));
    Ok(store::edge::put(tx, &put).await?)
}

fn noted<'a>(batch: &Batch<'a>) -> Noted<'a> {
    Noted { source: &batch.source.name, kind: batch.source.kind.into(), run: batch.run, at: batch.at }
}

/// Where changes belong to.
pub(super) struct Noted<'a> {
    pub source: &'a str,
    pub kind: RunKind,
    pub run: RunId,
    pub at: Millis,
}

/// Journal rows in the transaction of the changes; the run of the day is opened by its first change.
pub(super) async fn note(tx: &mut Tx, cx: &Context, of: &Noted<'_>, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    if cx.run.is_none() && !cx.is_open(of.run) {
        // Remembered only when it was there already: what this transaction adds may yet be taken back.
        if !store::run::open(tx, of.run, of.source, of.kind, of.at).await? {
            cx.opened(of.run);
        }
    }
    Ok(journal(cx, of, changes).put(tx).await?)
}

fn journal(cx: &Context, of: &Noted<'_>, changes: &[Change]) -> Rows {
    let row = |change| New { seq: cx.clock.seq(), run: of.run, at: of.at, actor: &cx.actor, change };
    store::journal::rows(&changes.iter().map(row).collect::<Vec<_>>())
}

/// The entities that a batch spoke of, as they are now.
pub fn entities_of(world: World) -> HashMap<EntityId, Entity> {
    world.things.into_iter().filter(|(_, thing)| !thing.records.is_empty()).map(|(id, thing)| (id, thing.now)).collect()
}
