//! One batch inside the caller's transaction: a SCIM call, an API call, a piece of a run. Plans, guards what calls take
//! away, writes, and lets the rooms follow that hang on people. The caller commits, also when nothing changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use super::context::{Context, run_of_day};
use super::look::Seen;
use super::plan::{Guess, Planned, guess, plan_seen};
use super::report::Tally;
use super::world::World;
use super::{
    Applied, Batch, Error, Leaving, MOST_RECORDS, MOST_TOGETHER, Overruled, Touched, event, licence, scope, sound,
    write,
};
use crate::model::change::{Change, Op};
use crate::model::desired::Record;
use crate::model::document::{self, Document};
use crate::model::entity::{Entity, State, derive};
use crate::model::id::EntityId;
use crate::model::source::{SourceKind, SourcePolicy};
use crate::model::time::Millis;
use crate::store::{self, Tx};

/// Applies at most `MOST_RECORDS` records of one source. What is refused is told per record and leaves no trace; an error
/// means that the transaction must be dropped.
pub async fn apply(tx: &mut Tx, cx: &Context, source: &SourcePolicy, records: Vec<Record>) -> Result<Applied, Error> {
    apply_while(tx, cx, source, records, None).await
}

/// As `apply` of one record, about a thing that this transaction has looked at already.
pub async fn apply_seen(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    seen: Seen,
    record: Record,
) -> Result<Applied, Error> {
    apply_in(tx, cx, source, Some(seen.world), vec![record], None).await
}

/// As `apply`, knowing which keys the source is about to let go of.
pub(super) async fn apply_while(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    records: Vec<Record>,
    leaving: Option<Leaving<'_>>,
) -> Result<Applied, Error> {
    apply_in(tx, cx, source, None, records, leaving).await
}

/// A batch of a run that was planned beforehand on the guess that nobody of it is there; its changes were counted then.
/// `None`: it was wrong, and nothing was written.
pub(super) async fn apply_guessed(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    guessed: Guessed,
) -> Result<Option<Applied>, Error> {
    let batch = batch(cx, source, cx.clock.now(), None);
    if !guessed.guess.stands(tx, &batch).await? {
        return Ok(None);
    }
    let mut applied = carry_out(tx, &batch, guessed.guess.planned, Some(guessed.rows)).await?;
    applied.run = applied.run.or((!guessed.counted.is_empty()).then_some(batch.run));
    applied.counted = guessed.counted;
    Ok(Some(applied))
}

/// A batch that is planned, with its rows, and what it changes.
pub(super) struct Guessed {
    guess: Guess,
    rows: write::NewRows,
    counted: Tally,
}

/// Plans beside a transaction. Nobody is asked whom the source is about to let go of: what a record says to be there stays.
pub(super) async fn guessed(
    cx: &Context,
    source: &SourcePolicy,
    records: Vec<Record>,
) -> Result<Option<Guessed>, Error> {
    let batch = batch(cx, source, cx.clock.now(), None);
    let Some(mut guess) = guess(&batch, records).await? else { return Ok(None) };
    let rows = write::rows_of_new(&batch, &guess.planned);
    let mut counted = Tally::default();
    counted.changes(std::mem::take(&mut guess.planned.changes));
    Ok(Some(Guessed { guess, rows, counted }))
}

async fn apply_in(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    seen: Option<World>,
    records: Vec<Record>,
    leaving: Option<Leaving<'_>>,
) -> Result<Applied, Error> {
    let most = if cx.run.is_some() { MOST_TOGETHER } else { MOST_RECORDS };
    if records.len() > most {
        return Err(Error::TooMany { found: records.len(), most });
    }
    let batch = batch(cx, source, cx.clock.now(), leaving);
    // Those of a run were judged when they were read.
    let judge = |record| if cx.run.is_none() { sound::judged(record) } else { record };
    let records = records.into_iter().map(judge).collect();
    let planned = plan_seen(tx, &batch, seen, records).await?;
    carry_out(tx, &batch, planned, None).await
}

fn batch<'a>(cx: &'a Context, source: &'a SourcePolicy, at: Millis, leaving: Option<Leaving<'a>>) -> Batch<'a> {
    let run = cx.run.unwrap_or_else(|| run_of_day(&source.name, at));
    Batch { cx, source, run, at, overlay: None, leaving }
}

/// Writes what was planned in this transaction, and what follows from it.
async fn carry_out(
    tx: &mut Tx,
    batch: &Batch<'_>,
    mut planned: Planned,
    ready: Option<write::NewRows>,
) -> Result<Applied, Error> {
    let Batch { cx, source, run, at, .. } = *batch;
    if cx.run.is_none() && matches!(source.kind, SourceKind::Scim | SourceKind::Push) {
        super::guard::window(tx, batch, &planned).await?;
    }
    tell_overruled(&mut planned, batch);
    let touched = write::write(tx, batch, &planned, ready).await.map_err(raced)?;
    follow(tx, &touched).await?;
    let of = write::Noted { source: &source.name, kind: source.kind.into(), run, at };
    let followed = licence::follow(tx, cx, &of, &touched).await?;
    event::raise(tx, cx, at, &touched, &followed).await?;
    super::invite::settle(tx, cx, source, &touched).await?;
    let wake = !touched.is_empty();
    let Touched { nested, .. } = touched;
    let mut changes = planned.changes;
    changes.extend(followed);
    let found = planned.world.things.values().any(|thing| thing.before.is_some());
    // Of a run nobody asks.
    let (entities, spent) = match cx.run {
        Some(_) => (HashMap::new(), Some(planned.world)),
        None => (write::entities_of(planned.world), None),
    };
    let run = (!changes.is_empty()).then_some(run);
    let (outcomes, counted) = (planned.outcomes, Tally::default());
    Ok(Applied { changes, outcomes, entities, run, wake, nested, found, counted, spent })
}

/// The rooms that hang on people follow in the same transaction.
async fn follow(tx: &mut Tx, touched: &Touched<'_>) -> Result<(), Error> {
    if touched.is_empty() {
        return Ok(());
    }
    let related: BTreeSet<EntityId> = touched.edges.iter().map(|edge| edge.from).collect();
    let turned = |before: Option<&Entity>, now: &Entity| {
        before.is_none_or(|before| (before.state == State::Tombstone) != (now.state == State::Tombstone))
    };
    let mut things: BTreeMap<EntityId, scope::Touched> = touched
        .entities
        .iter()
        .map(|(before, now)| {
            let relations = turned(*before, now) || related.contains(&now.id);
            (now.id, scope::Touched { kind: now.kind, id: now.id, relations })
        })
        .collect();
    let others: Vec<EntityId> = related.into_iter().filter(|id| !things.contains_key(id)).collect();
    for (id, kind, _) in store::entity::living(tx, &others).await? {
        things.insert(id, scope::Touched { kind, id, relations: true });
    }
    let things: Vec<scope::Touched> = things.into_values().collect();
    Ok(scope::settle(tx, &things).await?)
}

/// A unique index that refused although everything was looked up before: another transaction came first.
fn raced(error: Error) -> Error {
    match error {
        Error::Store(error) if error.is_unique_violation() => Error::Race,
        other => other,
    }
}

/// What this source said and does not show, with the source whose word stands. Only for callers who are told.
fn tell_overruled(planned: &mut Planned, batch: &Batch<'_>) {
    if !matches!(batch.source.kind, SourceKind::Scim | SourceKind::Operator) {
        return;
    }
    for outcome in &mut planned.outcomes {
        let Some(id) = outcome.entity.filter(|_| outcome.refused.is_none()) else { continue };
        outcome.overruled = overruled(&planned.world, batch, id, &outcome.key);
    }
}

fn overruled(world: &World, batch: &Batch<'_>, id: EntityId, key: &str) -> Vec<Overruled> {
    let Some(thing) = world.things.get(&id) else { return Vec::new() };
    let Some(own) = thing.hold_of(&batch.source.name, key) else { return Vec::new() };
    let Some(said) = thing.holds[own].now.doc.as_ref() else { return Vec::new() };
    let mut out = Vec::new();
    for (path, value) in document::leaves(said) {
        if leaf(&thing.now.doc, &path).unwrap_or(&serde_json::Value::Null) == value {
            continue;
        }
        let mut others: Vec<&str> = thing
            .holds
            .iter()
            .filter(|hold| !hold.now.ended && hold.now.source != batch.source.name)
            .filter(|hold| hold.now.doc.as_ref().is_some_and(|doc| leaf(doc, &path).is_some()))
            .map(|hold| hold.now.source.as_str())
            .collect();
        others.sort_by_key(|name| batch.cx.policies.rank(name));
        if let Some(owner) = others.first() {
            out.push(Overruled { attribute: document::shown(&path), owner: (*owner).to_owned() });
        }
    }
    out
}

/// The leaf at a path, or the leaf that stands in its way.
pub(super) fn leaf<'d>(doc: &'d Document, path: &[&str]) -> Option<&'d serde_json::Value> {
    let (first, rest) = path.split_first()?;
    match (doc.get(*first)?, rest) {
        (value, []) => Some(value),
        (serde_json::Value::Object(inner), rest) => leaf(inner, rest),
        (value, _) => Some(value),
    }
}

/// The operator's own block, which no source can lift (R71). `None`: it was so already, or does not exist.
pub async fn block(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    id: EntityId,
    blocked: bool,
) -> Result<Option<Change>, Error> {
    let Some((before, assertions)) = store::entity::with_assertions(tx, id).await? else { return Ok(None) };
    if before.blocked == blocked || before.state == State::Tombstone {
        return Ok(None);
    }
    let at = cx.clock.now();
    let held = cx.policies.hold(assertions.iter());
    let active = held && !blocked && derive(before.kind, &before.doc).active != Some(false);
    let now = Entity { blocked, active, version: before.version + 1, modified: at, ..before.clone() };
    let ordered_at = derive(now.kind, &now.doc).ordered_at;
    let gone_at = (!held).then_some(at);
    store::entity::update(tx, &[store::entity::Stored { entity: &now, before: Some(&before), ordered_at, gone_at }])
        .await?;
    let leaves = |entity: &Entity| document::of(json!({"$blocked": entity.blocked, "$active": entity.active}));
    let (old, new) = (leaves(&before), leaves(&now));
    let change = Change {
        op: if blocked { Op::Disable } else { Op::Enable },
        kind: now.kind,
        entity: Some(id),
        label: now.login_key.clone().unwrap_or_default(),
        source: source.name.clone(),
        key: id.to_string(),
        before: document::without_nulls(&document::difference(&new, &old)),
        after: document::difference(&old, &new),
    };
    let run = cx.run.unwrap_or_else(|| run_of_day(&source.name, at));
    let of = write::Noted { source: &source.name, kind: source.kind.into(), run, at };
    write::note(tx, cx, &of, std::slice::from_ref(&change)).await?;
    let touched = Touched { entities: vec![(Some(&before), &now)], ..Touched::default() };
    follow(tx, &touched).await?;
    let followed = licence::follow(tx, cx, &of, &touched).await?;
    event::raise(tx, cx, at, &touched, &followed).await?;
    super::invite::supersede(tx, &touched.entities).await?;
    Ok(Some(change))
}
