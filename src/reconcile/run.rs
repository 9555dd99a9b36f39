//! A long read: spooled, compared with what is known, guarded, and applied in pieces, what goes away last. Whatever the
//! reader could not finish changes nothing at all. A preview is the same walk without the writing.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::known::{self, KnownSet, Seen};
use super::report::{self, End, Refused, Report, Tally};
use super::spool::{MAY_LOSE, Spool, Stage};
use super::survey::{Depth, survey};
use super::turn::Turn;
use super::{Context, Error, carry, ledger, sound};
use crate::model::desired::{Chunk, Desired, End as ReadEnd, Record, Scope};
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

/// Keys that are remembered to the end of a run.
const MOST_NAMED: usize = 50_000;

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
        let known = Arc::new(KnownSet::default());
        let present = Presence { seen: Seen::of(&known), known, concluded: Vec::new(), named: HashSet::new() };
        Read { spool, present, tally: Tally::default(), cursor: None, how: None, fingerprint: None }
    }
}

/// Which of the known things are there.
pub(super) struct Presence {
    known: Arc<KnownSet>,
    seen: Seen,
    /// Kinds of which what was not seen is absent.
    concluded: Vec<Kind>,
    /// Hashes of other keys that were named, there or gone; none where they are too many to be kept.
    named: HashSet<u128>,
}

impl Presence {
    /// Whether this read said of it that it is there, or gone.
    pub fn was_read(&self, kind: Kind, key: &str) -> bool {
        match self.known.position(kind, key) {
            Some(at) => self.seen.has(at),
            None => self.named.contains(&known::hash(kind, key)),
        }
    }

    /// Whether everything of the kind was read.
    pub fn is_whole(&self, kind: Kind) -> bool {
        self.concluded.contains(&kind)
    }

    pub fn held(&self, kind: Kind) -> u64 {
        self.known.held(kind)
    }

    /// Whether this read said something of what the record speaks of.
    pub fn speaks_of(&self, record: &Record) -> bool {
        let (kind, key) = match record {
            Record::Present(desired) => (desired.kind, &desired.key),
            Record::Gone { kind, key } | Record::Same { kind, key } => (*kind, key),
            Record::Bad { .. } => return false,
        };
        self.concluded.contains(&kind) || self.known.position(kind, key).is_some_and(|at| self.seen.has(at))
    }

    /// Known, and absent from a complete read.
    pub fn leaving(&self, kind: Kind, key: &str) -> bool {
        self.concluded.contains(&kind) && self.known.position(kind, key).is_some_and(|at| !self.seen.has(at))
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
    let result = walk(db, &cx, source, chunks, known, mode).await;
    if let Err(error) = &result {
        break_off(db, &cx, source, started, error).await;
    }
    turn.end().await;
    result
}

/// A run that the engine could not finish stands in the books too, as far as the store still takes it.
async fn break_off(db: &Db, cx: &Context, source: &SourcePolicy, started: Millis, error: &Error) {
    let told = matches!(error, Error::Store(_) | Error::Spool(_) | Error::SpoolText(_) | Error::Race);
    if told && let Err(failed) = ledger::failed(db, cx, source, started, &sound::shown(error.to_string())).await {
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
        Err(reason) => {
            if mode != Mode::Plan {
                ledger::failed(db, cx, source, started, &reason).await?;
            }
            return Ok(failed(source, reason));
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
    }
}

/// Takes the chunks until the last word. `Ok(Err)`: the read was not complete, and why.
async fn gather(
    db: &Db,
    source: &SourcePolicy,
    mut chunks: mpsc::Receiver<Chunk>,
    known: Arc<KnownSet>,
) -> Result<Result<Read, String>, Error> {
    let mut gathering = Gathering {
        seen: Seen::of(&known),
        told: Seen::of(&known),
        known,
        new: HashSet::new(),
        spool: Spool::default(),
        tally: Tally::default(),
        unsure: Vec::new(),
    };
    let (cursor, kinds, scope, how, fingerprint) = loop {
        match chunks.recv().await {
            Some(Chunk::Records(records)) => records.into_iter().try_for_each(|record| gathering.take(record))?,
            Some(Chunk::End(ReadEnd::Complete { cursor, kinds, scope, how, fingerprint })) => {
                break (cursor, kinds, scope, how, fingerprint);
            }
            Some(Chunk::End(ReadEnd::Incomplete { reason })) => return Ok(Err(reason)),
            None => return Ok(Err("the reader stopped before it had said that this was all".to_owned())),
        }
    };
    let Gathering { known, seen, new, mut spool, tally, unsure, .. } = gathering;
    let named = if new.len() > MOST_NAMED { HashSet::new() } else { new };
    // A record that could not even say who it is may be anybody: nobody of its kind is absent then.
    let sure = |kind: &Kind| !unsure.contains(&None) && !unsure.contains(&Some(*kind));
    let concluded = match scope {
        Scope::Whole => kinds.into_iter().filter(sure).collect(),
        Scope::Only => Vec::new(),
    };
    let present = Presence { known, seen, concluded, named };
    absent(db, source, &present, &mut spool).await?;
    Ok(Ok(Read { spool, present, tally, cursor, how, fingerprint }))
}

struct Gathering {
    known: Arc<KnownSet>,
    seen: Seen,
    /// Of the known ones, those that the read said something new of; to be there is another matter.
    told: Seen,
    /// Hashes of keys that were not known: a key that comes twice is a fault of the source.
    new: HashSet<u128>,
    spool: Spool,
    tally: Tally,
    unsure: Vec<Option<Kind>>,
}

impl Gathering {
    fn take(&mut self, record: Record) -> Result<(), Error> {
        self.tally.add("read", 1);
        let record = sound::judged(record);
        match &record {
            Record::Same { kind, key } => {
                self.tally.add("same", 1);
                if let Some(at) = self.known.position(*kind, key) {
                    self.seen.mark(at);
                }
                Ok(())
            }
            Record::Bad { kind, key, reason } => {
                match (kind, key) {
                    (Some(kind), Some(key)) => {
                        if let Some(at) = self.known.position(*kind, key) {
                            self.seen.mark(at);
                        }
                    }
                    _ => self.unsure.push(*kind),
                }
                self.bad(*kind, key.clone().unwrap_or_default(), reason.clone());
                Ok(())
            }
            Record::Present(desired) => self.present(desired, &record),
            Record::Gone { kind, key } => match self.known.position(*kind, key) {
                Some(at) => {
                    self.seen.mark(at);
                    if self.told.mark(at) { self.spool.put(Stage::Gone(*kind), MAY_LOSE, &record) } else { Ok(()) }
                }
                None => {
                    self.new.insert(known::hash(*kind, key));
                    Ok(())
                }
            },
        }
    }

    fn present(&mut self, desired: &Desired, record: &Record) -> Result<(), Error> {
        let at = self.known.position(desired.kind, &desired.key);
        let fresh = match at {
            Some(at) => {
                self.seen.mark(at);
                self.told.mark(at)
            }
            None => self.new.insert(known::hash(desired.kind, &desired.key)),
        };
        if !fresh {
            self.bad(Some(desired.kind), desired.key.clone(), "its key came twice in one read".to_owned());
            return Ok(());
        }
        let says_inactive = desired.attributes.get("active") == Some(&serde_json::Value::Bool(false));
        let flags = if at.is_some() || says_inactive { MAY_LOSE } else { 0 };
        self.spool.put(Stage::Present(desired.kind), flags, record)
    }

    fn bad(&mut self, kind: Option<Kind>, key: String, reason: String) {
        self.tally.add("bad", 1);
        self.tally.name(Refused { kind, key: sound::shown(key), reason: sound::shown(reason) });
    }
}

/// Spools the known things that a complete read did not have.
async fn absent(db: &Db, source: &SourcePolicy, present: &Presence, spool: &mut Spool) -> Result<(), Error> {
    const PAGE: i64 = 5_000;
    if present.concluded.is_empty() {
        return Ok(());
    }
    if (0..present.known.len()).all(|at| present.seen.has(at)) {
        return Ok(());
    }
    let mut read = db.read().await?;
    let mut after: Option<(Kind, String)> = None;
    loop {
        let last = after.as_ref().map(|(kind, key)| (*kind, key.as_str()));
        let page = store::assertion::held_after(&mut read, &source.name, last, PAGE).await?;
        for held in &page {
            if present.leaving(held.kind, &held.key) {
                let gone = Record::Gone { kind: held.kind, key: held.key.clone() };
                spool.put(Stage::Gone(held.kind), MAY_LOSE, &gone)?;
            }
        }
        match page.last() {
            Some(held) if page.len() as i64 == PAGE => after = Some((held.kind, held.key.clone())),
            _ => return Ok(()),
        }
    }
}
