//! A long read: spooled, compared with what is known, guarded, and applied in pieces, what goes away last. Whatever the
//! reader could not finish changes nothing at all. A preview is the same walk without the writing.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::gather::{Broken, Presence, gather};
use super::known::KnownSet;
use super::report::{self, End, Report, Tally};
use super::spool::Spool;
use super::survey::{Depth, survey};
use super::turn::Turn;
use super::{Context, Error, carry, day, ledger, sound};
use crate::model::desired::Chunk;
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;
use crate::model::time::Millis;
use crate::store::{self, Db};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Shows every change and writes nothing.
    Plan,
    /// `expect`: the digest of a preview; where the changes are others, nothing is applied.
    Sync { expect: Option<String> },
}

/// What a reader said, and what follows from it.
pub(super) struct Read {
    pub spool: Spool,
    pub present: Presence,
    pub tally: Tally,
    pub cursor: Option<String>,
    /// How it was read, for people.
    pub how: Option<String>,
    /// Of filter, base, mapping and identity.
    pub fingerprint: Option<String>,
}

impl Read {
    /// Records that no reader sent.
    pub fn of_spool(spool: Spool) -> Read {
        let present = Presence::default();
        Read { spool, present, tally: Tally::default(), cursor: None, how: None, fingerprint: None }
    }
}

/// Runs one read of one source. `known` is what the reader compared with. Two at once for one source: the second is
/// `Error::Busy` (on an embedded store its callers see to it).
pub async fn run(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    chunks: mpsc::Receiver<Chunk>,
    known: Arc<KnownSet>,
    mode: Mode,
) -> Result<Report, Error> {
    if mode == Mode::Plan {
        return walk(db, cx, source, chunks, known, mode).await;
    }
    let turn = Turn::take(db, cx, &source.name).await?;
    let (cx, started) = (turn.within(cx), cx.clock.now());
    let result = match day::end_older(db, started, &source.name).await {
        Ok(_) => walk(db, &cx, source, chunks, known, mode).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = &result {
        break_off(db, &cx, source, started, error).await;
    }
    turn.end().await;
    result
}

/// A run that the engine could not finish stands in the books too, as far as the store still takes it.
async fn break_off(db: &Db, cx: &Context, source: &SourcePolicy, started: Millis, error: &Error) {
    let told = matches!(error, Error::Store(_) | Error::Spool(_) | Error::SpoolText(_) | Error::Race | Error::Panic);
    let broken = Broken { reason: sound::shown(error.to_string()), passes: !matches!(error, Error::Panic) };
    if told && let Err(failed) = ledger::failed(db, cx, source, started, &broken).await {
        tracing::warn!(source = source.name, %failed, %error, "a run broke off, and its books could not be kept");
    }
}

async fn walk(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    chunks: mpsc::Receiver<Chunk>,
    known: Arc<KnownSet>,
    mode: Mode,
) -> Result<Report, Error> {
    let started = cx.clock.now();
    let mut read = match gather(db, source, chunks, known).await? {
        Ok(read) => read,
        Err(broken) => {
            if mode != Mode::Plan {
                ledger::failed(db, cx, source, started, &broken).await?;
            }
            return Ok(failed(source, broken.reason));
        }
    };
    let other = other_settings(db, source, read.fingerprint.as_deref()).await?;
    let depth = match &mode {
        Mode::Plan => Depth::Changes,
        Mode::Sync { expect: Some(_) } => Depth::All,
        Mode::Sync { expect: None } if other => Depth::All,
        Mode::Sync { expect: None } => Depth::Losses,
    };
    let mut surveyed = survey(db, cx, source, &mut read, depth).await?;
    let changes = report::changes_in(&surveyed.tally.counts);
    // Whoever gives the digest of a preview has seen it.
    if other && changes > 0 && !matches!(mode, Mode::Sync { expect: Some(_) }) {
        surveyed.stops.insert(0, report::Stop::of_settings(changes));
    }
    match mode {
        Mode::Plan => {
            let mut tally = std::mem::take(&mut read.tally);
            let digest = surveyed.tally.digest();
            surveyed.changes.iter_mut().for_each(|change| cx.policies.mask(change));
            for (name, count) in &surveyed.tally.counts {
                tally.add(name, *count);
            }
            tally.refused.append(&mut surveyed.tally.refused);
            let message = told(&surveyed.stops).or(read.how.take());
            Ok(Report {
                source: source.name.clone(),
                state: End::Planned,
                run: None,
                counts: tally.counts,
                changes: surveyed.changes,
                refused: tally.refused,
                digest,
                stops: surveyed.stops,
                message,
                remarks: Vec::new(),
            })
        }
        Mode::Sync { expect } => {
            if let Some(expected) = &expect {
                let found = surveyed.tally.digest();
                if found != *expected {
                    return Err(Error::NotExpected { expected: expected.clone(), found });
                }
            }
            if !surveyed.stops.is_empty() {
                return ledger::hold(db, cx, source, started, read, surveyed.stops).await;
            }
            let Read { mut spool, present, mut tally, cursor, how, fingerprint } = read;
            let run = cx.clock.run_id();
            let leaving = |kind: Kind, key: &str| present.leaving(kind, key);
            carry::out(db, &cx.within(run), source, &mut spool, &leaving, started, &mut tally).await?;
            ledger::done(db, cx, source, ledger::Outcome { run, started, cursor, how, fingerprint }, &present, tally)
                .await
        }
    }
}

/// Whether the source was last taken with another filter, base, mapping or identity: what it says now may be of other people.
async fn other_settings(db: &Db, source: &SourcePolicy, fingerprint: Option<&str>) -> Result<bool, Error> {
    let Some(fingerprint) = fingerprint else { return Ok(false) };
    let state = store::source_state::by_name(&mut db.read().await?, &source.name).await?;
    Ok(state.and_then(|state| state.fingerprint).is_some_and(|before| before != fingerprint))
}

pub(super) fn told(stops: &[report::Stop]) -> Option<String> {
    (!stops.is_empty()).then(|| stops.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn failed(source: &SourcePolicy, reason: String) -> Report {
    Report {
        source: source.name.clone(),
        state: End::Failed,
        run: None,
        counts: std::collections::BTreeMap::new(),
        changes: Vec::new(),
        refused: Vec::new(),
        digest: Tally::default().digest(),
        stops: Vec::new(),
        message: Some(reason),
        remarks: Vec::new(),
    }
}
