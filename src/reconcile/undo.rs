//! `undo`: a run is taken back. Its source says again what it said before, as far as nobody changed it since, through the same
//! engine; what came with the run goes, what went with it comes back. The source is paused, because it would only say the
//! same again, and its next read is a whole one. Start with `undo`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::apply::block;
use super::context::Undoing;
use super::report::{End, MOST_NAMED, Report, Tally};
use super::reverse::{By, Since, reverse};
use super::run::Read;
use super::spool::Spool;
use super::survey::{Depth, survey};
use super::turn::{Turn, begin};
use super::world::Thing;
use super::{Context, Error, carry, day, ledger};
use crate::model::change::{Change, Entry, Op};
use crate::model::document::{self, Document};
use crate::model::id::{EntityId, RunId};
use crate::model::kind::Kind;
use crate::model::run::{Run, RunKind, RunState};
use crate::model::source::{SourceKind, SourcePolicy};
use crate::store::entity::Wanted;
use crate::store::{self, Db};

/// Rows of the journal that are looked at together.
const PAGE: i64 = 500;
/// Rows of one thing among which the one is sought that changed it last.
const LATEST: i64 = 50;

#[derive(Debug, Serialize)]
pub struct Undone {
    #[serde(flatten)]
    pub report: Report,
    /// The run that was taken back.
    pub undone: RunId,
    /// The source is not read on its schedule any more.
    pub paused: bool,
    /// What was left as it is, because it is not what the run left behind: the first `MOST_NAMED`.
    pub since: Vec<Since>,
    /// How many there were.
    pub changed_since: u64,
    /// Mails that went out, passwords that were set: how often, by the words of `Op`.
    pub stays: BTreeMap<String, u64>,
}

/// What is to be taken back.
#[derive(Default)]
struct Plan {
    spool: Spool,
    undoing: Undoing,
    blocks: Vec<(EntityId, Kind, bool)>,
    since: Vec<Since>,
    changed_since: u64,
    stays: BTreeMap<String, u64>,
}

/// `look`: shows every change and writes nothing.
pub async fn undo(db: &Db, cx: &Context, id: RunId, look: bool) -> Result<Undone, Error> {
    let run = store::run::by_id(&mut db.read().await?, id).await?.ok_or(Error::NoRun(id))?;
    let is_over = match run.state {
        RunState::Done | RunState::Approved | RunState::Failed => true,
        RunState::Running => day::is_shared(&run),
        RunState::Held | RunState::Superseded => false,
    };
    if !is_over {
        return Err(Error::NotDone { id, state: run.state.to_string() });
    }
    let source = cx.policies.get(&run.source).ok_or_else(|| Error::NoSource(run.source.clone()))?;
    if look {
        let plan = plan(db, cx, source, &run).await?;
        return preview(db, cx, source, id, plan).await;
    }
    let turn = Turn::take(db, cx, &run.source).await?;
    let result = carry_out(db, &turn.within(cx), source, &run).await;
    turn.end().await;
    result
}

/// What the run did, from its newest rows to its oldest; every thing once, with all its rows.
async fn plan(db: &Db, cx: &Context, source: &SourcePolicy, run: &Run) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut session = db.snapshot().await?;
    let mut before = i64::MAX;
    loop {
        let page = store::journal::of_run_backwards(&mut session, run.id, before, PAGE).await?;
        let (Some(newest), Some(oldest)) = (page.first(), page.last()) else { return Ok(plan) };
        let newest = newest.seq;
        before = oldest.seq;
        for entry in &page {
            if matches!(entry.change.op, Op::Invite | Op::Credential) {
                *plan.stays.entry(entry.change.op.to_string()).or_default() += 1;
            }
        }
        let ids: BTreeSet<EntityId> = page.iter().filter_map(|entry| entry.change.entity).collect();
        let ids: Vec<EntityId> = ids.into_iter().collect();
        let mut rows: BTreeMap<EntityId, Vec<Entry>> = BTreeMap::new();
        for entry in store::journal::of_run_and_entities(&mut session, run.id, &ids).await? {
            if let Some(id) = entry.change.entity {
                rows.entry(id).or_default().push(entry);
            }
        }
        // Those with a newer row had their turn with it.
        rows.retain(|_, rows| rows.last().is_some_and(|last| last.seq <= newest));
        let ids: Vec<EntityId> = rows.keys().copied().collect();
        let wanted = Wanted { source: &source.name, kind: Some(Kind::User), ids: ids.clone(), ..Wanted::default() };
        let things: Vec<Thing> = store::entity::touching(&mut session, &wanted)
            .await?
            .into_iter()
            .map(|(entity, assertions)| Thing::stored(entity, assertions))
            .collect();
        let ended = things.iter().filter(|thing| thing.holds.iter().any(|hold| hold.now.ended));
        let ended: Vec<EntityId> = ended.map(|thing| thing.now.id).collect();
        let mut edges = store::edge::from_any(&mut session, &ended).await?;
        edges.retain(|edge| edge.source == source.name);
        for thing in things {
            let id = thing.now.id;
            let own: Vec<_> = edges.iter().filter(|edge| edge.from == id).cloned().collect();
            let rows = &rows[&id];
            let reversal = reverse(&source.name, rows, &thing, &own, &cx.policies);
            if !reversal.since.is_empty() {
                plan.changed_since += 1;
                if plan.since.len() < MOST_NAMED {
                    let since = since(&mut session, cx, run.id, &thing, rows, &reversal.since).await?;
                    plan.since.push(since);
                }
            }
            plan.blocks.extend(reversal.blocked.map(|blocked| (id, thing.now.kind, blocked)));
            reversal.spool(&mut plan.spool, &mut plan.undoing)?;
        }
    }
}

async fn since(
    session: &mut store::Read,
    cx: &Context,
    run: RunId,
    thing: &Thing,
    rows: &[Entry],
    leaves: &[(Vec<String>, Value, Value)],
) -> Result<Since, Error> {
    let (mut left, mut found) = (Document::new(), Document::new());
    for (path, was, is) in leaves {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        document::put(&mut left, &path, Some(was.clone()));
        document::put(&mut found, &path, Some(is.clone()));
    }
    let speaks = |entry: &&Entry| {
        leaves.iter().any(|(path, ..)| {
            let path: Vec<&str> = path.iter().map(String::as_str).take(1).collect();
            document::at(&entry.change.after, &path).is_some()
        })
    };
    let latest = store::journal::newest_of_entity(session, thing.now.id, LATEST).await?;
    let by = latest.iter().filter(|entry| entry.run != run).find(speaks).map(|entry| By {
        run: entry.run,
        source: entry.change.source.clone(),
        actor: entry.actor.clone(),
        at: entry.at,
    });
    for document in [&mut left, &mut found] {
        crate::model::hidden::mask(&cx.policies.hidden, thing.now.kind, document);
    }
    let label = rows.last().map(|row| row.change.label.clone()).unwrap_or_default();
    Ok(Since { kind: thing.now.kind, entity: thing.now.id, label, left, found, by })
}

async fn preview(db: &Db, cx: &Context, source: &SourcePolicy, id: RunId, plan: Plan) -> Result<Undone, Error> {
    let Plan { spool, undoing, blocks, since, changed_since, stays } = plan;
    let cx = cx.undoing(undoing);
    let mut read = Read::of_spool(spool);
    let mut surveyed = survey(db, &cx, source, &mut read, Depth::Changes).await?;
    let mut session = db.read().await?;
    for (id, kind, blocked) in blocks {
        let entity = store::entity::by_id(&mut session, id).await?;
        let change = Change {
            op: if blocked { Op::Disable } else { Op::Enable },
            kind,
            entity: Some(id),
            label: entity.and_then(|entity| entity.login_key).unwrap_or_default(),
            source: source.name.clone(),
            key: id.to_string(),
            before: document::of(json!({"$blocked": !blocked})),
            after: document::of(json!({"$blocked": blocked})),
        };
        surveyed.tally.change(&change);
        surveyed.changes.push(change);
    }
    surveyed.changes.iter_mut().for_each(|change| cx.policies.mask(change));
    let digest = surveyed.tally.digest();
    let report = Report {
        source: source.name.clone(),
        state: End::Planned,
        run: None,
        counts: surveyed.tally.counts,
        changes: surveyed.changes,
        refused: surveyed.tally.refused,
        digest,
        stops: Vec::new(),
        message: None,
        remarks: Vec::new(),
    };
    Ok(Undone { report, undone: id, paused: false, since, changed_since, stays })
}

async fn carry_out(db: &Db, cx: &Context, source: &SourcePolicy, run: &Run) -> Result<Undone, Error> {
    let started = cx.clock.now();
    // Planned under the turn: no read of the source comes in between.
    let plan = plan(db, cx, source, run).await?;
    let anything = !plan.spool.stages().is_empty() || !plan.blocks.is_empty();
    let paused = anything && matches!(source.kind, SourceKind::Ldap | SourceKind::Crm);
    if paused {
        let mut tx = begin(db, cx).await?;
        store::source_state::pause(&mut tx, &source.name, true).await?;
        let mut state = ledger::state_of(&mut tx, source).await?;
        state.cursor = None;
        store::source_state::put(&mut tx, &state).await?;
        tx.commit().await?;
    }

    let Plan { mut spool, undoing, blocks, since, changed_since, stays } = plan;
    let id = cx.clock.run_id();
    let cx = &cx.within(id).undoing(undoing);
    let mut tally = Tally::default();
    carry::out(db, cx, source, &mut spool, &|_, _| false, started, &mut tally).await?;
    for blocks in blocks.chunks(super::MOST_RECORDS) {
        let mut tx = begin(db, cx).await?;
        store::run::open(&mut tx, id, &source.name, RunKind::Undo, started).await?;
        for (entity, _, blocked) in blocks {
            if let Some(change) = block(&mut tx, cx, source, *entity, *blocked).await? {
                tally.change(&change);
            }
        }
        tx.commit().await?;
    }
    let digest = tally.digest();
    let changed = super::report::changes_in(&tally.counts) > 0;
    if changed {
        let mut tx = begin(db, cx).await?;
        let row = Run {
            id,
            source: source.name.clone(),
            kind: RunKind::Undo,
            state: RunState::Done,
            started,
            ended: Some(cx.clock.now()),
            counts: tally.counts.clone(),
            digest: Some(digest.clone()),
            message: Some(format!("took back {}", run.id)),
        };
        store::run::put(&mut tx, &row).await?;
        tx.commit().await?;
    }
    let report = Report::done(&source.name, changed.then_some(id), digest, tally);
    Ok(Undone { report, undone: run.id, paused, since, changed_since, stays })
}
