//! A person says that what the guard held is right: exactly the held records are applied, and only onto what they were
//! planned for. Where something changed meanwhile, nothing is applied and the things are named. What a process that ended in
//! the middle has left, the same word again does.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::report::{Report, Tally};
use super::run::Read;
use super::spool::{MAY_LOSE, Spool, Stage};
use super::survey::{Depth, survey};
use super::turn::{Turn, begin};
use super::{Context, Error, carry, event, ledger};
use crate::model::change::Change;
use crate::model::desired::Record;
use crate::model::event::Topic;
use crate::model::id::{EntityId, RunId};
use crate::model::kind::Kind;
use crate::model::run::{Run, RunState};
use crate::model::source::SourcePolicy;
use crate::store::{self, Db};

const PAGE: i64 = 500;

/// `settings`: what the source would be read with now. What was read with others is not approved.
pub async fn approve(db: &Db, cx: &Context, id: RunId, settings: Option<&str>) -> Result<Report, Error> {
    let mut read = db.read().await?;
    let run = store::run::by_id(&mut read, id).await?.ok_or(Error::NoRun(id))?;
    let then = store::run::fingerprint(&mut read, id).await?;
    drop(read);
    waits(&run)?;
    if let (Some(now), Some(then)) = (settings, then)
        && now != then
    {
        return Err(Error::OtherSettings { id, source_name: run.source });
    }
    let source = cx.policies.get(&run.source).ok_or_else(|| Error::NoSource(run.source.clone()))?;
    let turn = Turn::take(db, cx, &run.source).await?;
    let result = carry_out(db, &turn.within(cx), source, &run).await;
    turn.end().await;
    result
}

/// What `approve` would do as things stand, the first `most` changes, and what became another thing since.
pub async fn would(db: &Db, cx: &Context, run: &Run, most: usize) -> Result<(Vec<Change>, Vec<String>), Error> {
    let source = cx.policies.get(&run.source).ok_or_else(|| Error::NoSource(run.source.clone()))?;
    let Held { spool, moved, .. } = held(db, run).await?;
    let mut surveyed = survey(db, cx, source, &mut Read::of_spool(spool), Depth::First(most)).await?;
    for change in &mut surveyed.changes {
        cx.policies.mask(change);
    }
    Ok((surveyed.changes, moved))
}

async fn carry_out(db: &Db, cx: &Context, source: &SourcePolicy, run: &Run) -> Result<Report, Error> {
    let id = run.id;
    let Held { mut spool, leaving, moved } = held(db, run).await?;
    if !moved.is_empty() {
        return Err(Error::Moved(moved));
    }
    let mut tx = begin(db, cx).await?;
    let run = store::run::lock(&mut tx, id).await?.ok_or(Error::NoRun(id))?;
    waits(&run)?; // two people at once: one of them is told
    // Without an end: its process may be ended in the middle.
    let message = Some("its approval is not done: `musterd approve` does the rest".to_owned());
    store::run::put(&mut tx, &Run { state: RunState::Approved, ended: None, message, ..run.clone() }).await?;
    tx.commit().await?;

    let cx = &cx.within(id);
    cx.opened(id);
    // What was done before its process ended counts, too.
    let earlier = store::journal::counts(&mut db.read().await?, &[id]).await?;
    let mut tally = Tally::default();
    let is_leaving = |kind: Kind, key: &str| leaving.contains(&(kind, key.to_owned()));
    carry::out(db, cx, source, &mut spool, &is_leaving, run.started, &mut tally).await?;
    let digest = tally.digest();
    for count in earlier {
        tally.add(&count.op, count.count);
    }
    let mut tx = begin(db, cx).await?;
    let ended = Run {
        state: RunState::Approved,
        ended: Some(cx.clock.now()),
        counts: tally.counts.clone(),
        digest: Some(digest.clone()),
        message: tally.told().or(run.message.filter(|_| run.state == RunState::Held)),
        ..run
    };
    store::run::put(&mut tx, &ended).await?;
    store::run::drop_items(&mut tx, id).await?;
    if store::run::held(&mut tx, &source.name).await?.is_empty() {
        let words = vec![event::over(Topic::SourceHeld, cx)];
        event::of_source(&mut tx, cx, cx.clock.now(), &source.name, words).await?;
    }
    if let Some(fingerprint) = store::run::fingerprint(&mut tx, id).await? {
        let mut state = ledger::state_of(&mut tx, source).await?;
        state.fingerprint = Some(fingerprint);
        store::source_state::put(&mut tx, &state).await?;
    }
    tx.commit().await?;
    Ok(Report::done(&source.name, Some(id), digest, tally))
}

fn waits(run: &Run) -> Result<(), Error> {
    match run.state {
        RunState::Held => Ok(()),
        RunState::Approved if run.ended.is_none() => Ok(()), // its approval was interrupted
        state => Err(Error::NotHeld { id: run.id, state: state.to_string() }),
    }
}

/// Whether what was held could be approved as it stands.
pub(super) async fn still_fits(db: &Db, run: &Run) -> Result<bool, Error> {
    Ok(held(db, run).await?.moved.is_empty())
}

/// The records of a held run.
struct Held {
    spool: Spool,
    /// What the source lets go of.
    leaving: HashSet<(Kind, String)>,
    /// Things that are not what they were when the run was held.
    moved: Vec<String>,
}

async fn held(db: &Db, run: &Run) -> Result<Held, Error> {
    let mut held = Held { spool: Spool::default(), leaving: HashSet::new(), moved: Vec::new() };
    let mut session = db.snapshot().await?;
    let mut after = 0;
    loop {
        let items = store::run::items(&mut session, run.id, after, PAGE).await?;
        let Some(last) = items.last() else { return Ok(held) };
        after = last.seq;
        let ids: Vec<_> = items.iter().filter_map(|item| item.entity).collect();
        let done = done(&mut session, run, &ids).await?;
        let now: BTreeMap<_, _> = store::entity::by_ids(&mut session, &ids)
            .await?
            .into_iter()
            .map(|entity| (entity.id, entity.version))
            .collect();
        let mut unknown: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for item in items {
            let record: Record = serde_json::from_str(&item.record)?;
            let (stage, key) = match &record {
                Record::Present(desired) => (Stage::Present(desired.kind), &desired.key),
                Record::Gone { kind, key } => {
                    held.leaving.insert((*kind, key.clone()));
                    (Stage::Gone(*kind), key)
                }
                Record::Same { .. } | Record::Bad { .. } => continue,
            };
            match item.entity {
                Some(id) if done.contains(&id) => continue,
                Some(id) if now.get(&id).copied() != item.version => held.moved.push(key.clone()),
                Some(_) => {}
                None => {
                    if let Stage::Present(kind) = stage {
                        unknown.entry(kind).or_default().push(key.clone());
                    }
                }
            }
            held.spool.put(stage, MAY_LOSE, &record)?;
        }
        for (kind, keys) in unknown {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let there = store::assertion::by_keys(&mut session, &run.source, kind, &keys).await?;
            let ids: Vec<EntityId> = there.iter().map(|(_, id)| *id).collect();
            let done = self::done(&mut session, run, &ids).await?;
            held.moved.extend(there.into_iter().filter(|(_, id)| !done.contains(id)).map(|(key, _)| key));
        }
    }
}

/// Those that this run has done already, before its process ended.
async fn done(session: &mut store::Read, run: &Run, ids: &[EntityId]) -> Result<BTreeSet<EntityId>, Error> {
    if run.state == RunState::Held {
        return Ok(BTreeSet::new());
    }
    let rows = store::journal::of_run_and_entities(session, run.id, ids).await?;
    Ok(rows.into_iter().filter_map(|row| row.change.entity).collect())
}
