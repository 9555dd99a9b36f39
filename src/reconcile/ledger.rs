//! The books of a run: its row, the source's status line, the quarantine, the records of a run that is held, and what others
//! must be told of it. Where nothing changed, only the status line is written, in place (B5).

use std::collections::{BTreeMap, BTreeSet};

use super::gather::{Broken, Presence};
use super::report::{End, Refused, Report, Stop, Tally, changes_in};
use super::run::{Read, told};
use super::survey::{Depth, survey};
use super::turn::begin;
use super::{Context, Error, approve, day, event};
use crate::model::desired::Record;
use crate::model::event::{Topic, Word};
use crate::model::id::RunId;
use crate::model::kind::Kind;
use crate::model::run::{Run, RunKind, RunState};
use crate::model::source::SourcePolicy;
use crate::model::time::Millis;
use crate::store::quarantine::Quarantined;
use crate::store::run::Item;
use crate::store::source_state::{SourceState, Status};
use crate::store::{self, Db, Tx};

/// Records of a held run that are looked at together.
const PAGE: i64 = 500;

pub struct Outcome {
    pub run: RunId,
    pub started: Millis,
    pub cursor: Option<String>,
    pub how: Option<String>,
    pub fingerprint: Option<String>,
}

/// The last transaction of a run: row, cursor, status, quarantine.
pub async fn done(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    outcome: Outcome,
    present: &Presence,
    mut tally: Tally,
) -> Result<Report, Error> {
    let Outcome { run, started, cursor, how, fingerprint } = outcome;
    let Waiting { overtaken, others } = waiting(db, source, present, fingerprint.as_deref()).await?;
    let digest = tally.digest();
    let changed = changes_in(&tally.counts) > 0;
    let now = cx.clock.now();
    let mut tx = begin(db, cx).await?;
    if changed {
        let row = Run {
            state: RunState::Done,
            ended: Some(now),
            counts: tally.counts.clone(),
            digest: Some(digest.clone()),
            message: tally.told(),
            ..blank(run, source, started)
        };
        store::run::put(&mut tx, &row).await?;
    }
    let mut state = state_of(&mut tx, source).await?;
    let mut words: Vec<(Topic, Word)> = mended(cx, &state).into_iter().collect();
    if !overtaken.is_empty() && !others {
        words.push(event::over(Topic::SourceHeld, cx));
    }
    for held in overtaken {
        store::run::supersede(&mut tx, held, now).await?;
    }
    event::of_source(&mut tx, cx, now, &source.name, words).await?;
    state.cursor = cursor.or(state.cursor);
    state.fingerprint = fingerprint.or(state.fingerprint);
    state.last_run = if changed { Some(run) } else { state.last_run };
    state.last_at = Some(now);
    state.last_good_at = Some(now);
    state.last_state = Some(RunState::Done.to_string());
    let drift = state.status().drift;
    state.tell(&Status { counts: tally.counts.clone(), message: how.clone(), drift, ..Status::default() });
    store::source_state::put(&mut tx, &state).await?;
    quarantine(&mut tx, source, run, now, &tally.refused, present).await?;
    tx.commit().await?;
    Ok(Report { message: how, ..Report::done(&source.name, changed.then_some(run), digest, tally) })
}

/// A read that was not complete. The same fault again and again makes one row, not one per poll.
pub async fn failed(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    started: Millis,
    broken: &Broken,
) -> Result<(), Error> {
    let (now, reason) = (cx.clock.now(), broken.reason.as_str());
    let mut tx = begin(db, cx).await?;
    let mut state = state_of(&mut tx, source).await?;
    let (before, was_told) = (state.status(), state.is_failing());
    let again = state.last_state.as_deref() == Some(RunState::Failed.as_str());
    let failures = if again { before.failures + 1 } else { 1 };
    let told = Status {
        message: Some(reason.to_owned()),
        failures,
        passes: broken.passes,
        drift: before.drift,
        ..Status::default()
    };
    // What it had begun is its row.
    let begun = day::end_in(&mut tx, now, reason, |run| run.source == source.name).await?;
    if let Some(run) = begun.last() {
        state.last_run = Some(*run);
    } else if !again || before.message.as_deref() != Some(reason) {
        let run = cx.clock.run_id();
        let row = Run {
            state: RunState::Failed,
            ended: Some(now),
            message: Some(reason.to_owned()),
            ..blank(run, source, started)
        };
        store::run::put(&mut tx, &row).await?;
        state.last_run = Some(run);
    }
    state.last_at = Some(now);
    state.last_state = Some(RunState::Failed.to_string());
    state.tell(&told);
    store::source_state::put(&mut tx, &state).await?;
    if state.is_failing() {
        let runs = if was_told { 1 } else { i64::from(failures) };
        event::of_source(&mut tx, cx, now, &source.name, vec![(Topic::SourceFailing, Word::More(runs))]).await?;
    }
    Ok(tx.commit().await?)
}

/// A read that was complete ends what failed before it.
fn mended(cx: &Context, before: &SourceState) -> Option<(Topic, Word)> {
    before.is_failing().then(|| event::over(Topic::SourceFailing, cx))
}

/// Keeps everything that would have been done, with what it would have been done to, and applies nothing. The same changes
/// that are held already, and still fit, are not held twice.
pub async fn hold(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    started: Millis,
    mut read: Read,
    stops: Vec<Stop>,
) -> Result<Report, Error> {
    let mut surveyed = survey(db, cx, source, &mut read, Depth::Marks).await?;
    let digest = surveyed.tally.digest();
    let mut tally = std::mem::take(&mut read.tally);
    for (name, count) in &surveyed.tally.counts {
        tally.add(name, *count);
    }
    tally.refused.append(&mut surveyed.tally.refused);
    let message = told(&stops);
    let before = store::run::held(&mut db.read().await?, &source.name).await?;
    let mut already =
        before.into_iter().find(|run| run.state == RunState::Held && run.digest.as_deref() == Some(&digest));
    if let Some(run) = &already
        && !approve::still_fits(db, run).await?
    {
        already = None;
    }
    let run = already.as_ref().map_or_else(|| cx.clock.run_id(), |run| run.id);
    let Waiting { mut overtaken, .. } = waiting(db, source, &read.present, read.fingerprint.as_deref()).await?;
    overtaken.retain(|held| *held != run);
    if already.is_none() {
        keep_items(db, cx, run, &mut read, &surveyed.marks).await?;
    }
    let now = cx.clock.now();
    let mut tx = begin(db, cx).await?;
    for held in overtaken {
        store::run::supersede(&mut tx, held, now).await?;
    }
    if already.is_none() {
        let row = Run {
            state: RunState::Held,
            counts: tally.counts.clone(),
            digest: Some(digest.clone()),
            message: message.clone(),
            ..blank(run, source, started)
        };
        store::run::put(&mut tx, &row).await?;
        if let Some(fingerprint) = &read.fingerprint {
            store::run::remember_fingerprint(&mut tx, run, fingerprint).await?;
        }
    }
    let mut state = state_of(&mut tx, source).await?;
    let mut words: Vec<(Topic, Word)> = mended(cx, &state).into_iter().collect();
    if already.is_none() {
        words.push((Topic::SourceHeld, Word::More(1)));
    }
    event::of_source(&mut tx, cx, now, &source.name, words).await?;
    state.last_run = Some(run);
    state.last_at = Some(now);
    state.last_state = Some(RunState::Held.to_string());
    let drift = state.status().drift;
    state.tell(&Status { counts: tally.counts.clone(), message: message.clone(), drift, ..Status::default() });
    store::source_state::put(&mut tx, &state).await?;
    tx.commit().await?;
    Ok(Report {
        source: source.name.clone(),
        state: End::Held,
        run: Some(run),
        counts: tally.counts,
        changes: Vec::new(),
        refused: tally.refused,
        digest,
        stops,
        message,
        remarks: Vec::new(),
    })
}

/// The held runs of a source as another one finds them.
struct Waiting {
    /// It leaves them behind: it spoke of one of their things, or of all things of that kind, or they were read with settings
    /// that the source has no more.
    overtaken: Vec<RunId>,
    /// What is held of other things still waits, and was planned on ground that did not move.
    others: bool,
}

async fn waiting(db: &Db, source: &SourcePolicy, present: &Presence, settings: Option<&str>) -> Result<Waiting, Error> {
    let mut read = db.read().await?;
    let mut found = Vec::new();
    let all = store::run::held(&mut read, &source.name).await?;
    let number = all.len();
    for held in all {
        let then = store::run::fingerprint(&mut read, held.id).await?;
        if then.is_some_and(|then| settings.is_some_and(|now| now != then)) {
            found.push(held.id);
            continue;
        }
        let mut after = 0;
        loop {
            let items = store::run::items(&mut read, held.id, after, PAGE).await?;
            let Some(last) = items.last() else { break };
            after = last.seq;
            let mut records = items.iter().map(|item| serde_json::from_str::<Record>(&item.record));
            if records.try_fold(false, |any, record| Ok::<_, Error>(any || present.speaks_of(&record?)))? {
                found.push(held.id);
                break;
            }
        }
    }
    Ok(Waiting { others: found.len() < number, overtaken: found })
}

/// Nobody sees these rows before the run's own row is there.
async fn keep_items(
    db: &Db,
    cx: &Context,
    run: RunId,
    read: &mut Read,
    marks: &[(Option<crate::model::id::EntityId>, Option<i64>)],
) -> Result<(), Error> {
    let mut seq = 0;
    let mut marks = marks.iter();
    for stage in read.spool.stages() {
        let mut reader = read.spool.reader(stage)?;
        loop {
            let raw = reader.piece(0)?;
            if raw.is_empty() {
                break;
            }
            let items = raw
                .into_iter()
                .map(|record| {
                    seq += 1;
                    let (entity, version) = marks.next().copied().unwrap_or_default();
                    Item { seq, record: String::from_utf8_lossy(&record).into_owned(), entity, version }
                })
                .collect();
            let mut tx = begin(db, cx).await?;
            store::run::add_items(&mut tx, run, items).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

fn blank(id: RunId, source: &SourcePolicy, started: Millis) -> Run {
    Run {
        id,
        source: source.name.clone(),
        kind: RunKind::from(source.kind),
        state: RunState::Running,
        started,
        ended: None,
        counts: BTreeMap::new(),
        digest: None,
        message: None,
    }
}

pub(super) async fn state_of(tx: &mut Tx, source: &SourcePolicy) -> Result<SourceState, Error> {
    let state = store::source_state::by_name(tx, &source.name).await?;
    Ok(state.unwrap_or_else(|| SourceState { source: source.name.clone(), ..SourceState::default() }))
}

/// Replaces the source's quarantine by what this run could not take. A row that says the same stays as it is.
async fn quarantine(
    tx: &mut Tx,
    source: &SourcePolicy,
    run: RunId,
    at: Millis,
    refused: &[Refused],
    present: &Presence,
) -> Result<(), Error> {
    let before = store::quarantine::of_source(tx, &source.name, i64::MAX).await?;
    if before.is_empty() && refused.is_empty() {
        return Ok(());
    }
    let name = |refused: &Refused| (refused.kind.map_or("", |kind| kind.as_str()).to_owned(), refused.key.clone());
    let now: BTreeMap<(String, String), &str> =
        refused.iter().map(|refused| (name(refused), refused.reason.as_str())).collect();
    let same: BTreeSet<(String, String)> = before
        .iter()
        .map(|row| ((row.kind.clone(), row.key.clone()), row.reason.as_str()))
        .filter(|(name, reason)| now.get(name) == Some(reason))
        .map(|(name, _)| name)
        .collect();
    let put: Vec<Quarantined> = now
        .iter()
        .filter(|(name, _)| !same.contains(*name))
        .map(|((kind, key), reason)| Quarantined {
            source: source.name.clone(),
            kind: kind.clone(),
            key: key.clone(),
            run,
            at,
            reason: (*reason).to_owned(),
        })
        .collect();
    store::quarantine::put(tx, &put).await?;
    // Taken now, or gone, or no more than a part was read and nothing is known of it.
    let settled = |row: &Quarantined| match row.kind.parse::<Kind>() {
        Ok(kind) => present.is_whole(kind) || present.was_read(kind, &row.key),
        Err(_) => Kind::ALL.iter().any(|kind| present.is_whole(*kind)),
    };
    let gone: Vec<(String, String)> = before
        .into_iter()
        .filter(settled)
        .map(|row| (row.kind, row.key))
        .filter(|name| !now.contains_key(name))
        .collect();
    store::quarantine::delete(tx, &source.name, &gone).await?;
    Ok(())
}
