//! One read of a directory: the walks over its connection, what of it goes into chunks of records, and what may be concluded
//! from the end. Which walks a mode takes stands in `modes`; an error never is an absence. Start with `all`.

use std::collections::{BTreeSet, HashSet};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::entry::Entry;
use super::root::{Choice, Root};
use super::session::{Error, Session};
use super::walk::{Ended, Piece, Walk};
use super::{Before, Knowing, Part, Reader};
use crate::clock::Clock;
use crate::model::desired::{Chunk, End, Record, Ref, Scope, Target, Targets};
use crate::model::kind::Kind;

/// Pieces that are read ahead while one is being mapped.
const AHEAD: usize = 2;
/// Entries that are asked for by their keys in one read.
const MOST_AGAIN: usize = 10_000;
/// Entries that are looked for by their names in one read, each a search.
const MOST_STRANGERS: usize = 2_000;
/// Names that are compared with the known ones at once.
const NAMES: usize = 500;
pub(super) struct Run<'r> {
    pub(super) reader: &'r Reader,
    known: &'r dyn Knowing,
    pub(super) clock: &'r Clock,
    out: &'r mpsc::Sender<Chunk>,
    /// `None` while a walk has it.
    session: Option<Session>,
    pub(super) root: Root,
    pub(super) choice: Choice,
    pub(super) before: &'r Before,
    /// Entries and keys that came so far.
    came: u64,
    /// Whether anything was sent in the walk that is under way, or in the last one.
    pub(super) sent: bool,
    /// Keys of records that were sent, where some may come twice.
    pub(super) said: Option<HashSet<(Kind, String)>>,
    /// What was said already is not said again: a walk over the groups of those who moved.
    pub(super) once: bool,
    /// Names of the entries that were sent, where groups are to be looked for that list them.
    pub(super) names: Option<Vec<Vec<u8>>>,
    /// Keys of things that are there and must be read: nobody here knows them, or time has made them others.
    unknown: Vec<String>,
    /// Names that are listed in what changed, and those of the entries that came: where not everything is read, a name may
    /// be a new one of somebody of whom nothing else is told.
    pub(super) listed: Option<(BTreeSet<String>, HashSet<String>)>,
    /// Of which everything was read.
    whole: Vec<Kind>,
    pub(super) notes: Vec<String>,
}

/// Reads until the end.
pub(super) async fn all(
    reader: &Reader,
    known: &dyn Knowing,
    before: &Before,
    clock: &Clock,
    out: &mpsc::Sender<Chunk>,
) -> Result<End, Error> {
    let mut session = Session::open(&reader.settings).await?;
    let root = Root::of(&mut session).await?;
    let choice = root.choose(reader.settings.mode, &reader.parts).map_err(Error::Mode)?;
    let notes = vec![format!("{} ({})", choice.mode, choice.why)];
    let mut run = Run {
        reader,
        known,
        clock,
        out,
        session: Some(session),
        root,
        choice,
        before,
        came: 0,
        sent: false,
        said: None,
        once: false,
        names: None,
        unknown: Vec::new(),
        listed: None,
        whole: Vec::new(),
        notes,
    };
    let cursor = run.by_mode().await?;
    if let Some(session) = run.session {
        session.close().await;
    }
    let scope = if run.whole.is_empty() { Scope::Only } else { Scope::Whole };
    let kinds = run.whole;
    Ok(End::Complete {
        cursor: cursor.and_then(|cursor| cursor.text()),
        kinds,
        scope,
        how: Some(run.notes.join("; ")),
        fingerprint: Some(reader.fingerprint()),
    })
}

impl Run<'_> {
    /// What the engine could not take last time, and what is there unknown to it: read by name, unless it came already.
    pub(super) async fn again(&mut self, part: &Part) -> Result<(), Error> {
        let unknown = std::mem::take(&mut self.unknown);
        let refused = self.before.again.iter().filter(|(kind, _)| *kind == part.kind).map(|(_, key)| key.clone());
        let said = |key: &String| self.said.as_ref().is_some_and(|said| said.contains(&(part.kind, key.clone())));
        let keys: HashSet<String> = refused.chain(unknown).filter(|key| !said(key)).collect();
        let keys: Vec<Vec<u8>> = keys.iter().filter_map(|key| Entry::key_bytes(&part.key, key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let walk = Walk::Keys { query: part.query.clone(), key: part.key.clone(), keys };
        self.walk(part, walk).await.map(drop)
    }

    /// No more than so many at once: the others are met by the next sweep.
    fn ask_again(&mut self, keys: Vec<String>) {
        let room = MOST_AGAIN.saturating_sub(self.unknown.len());
        self.unknown.extend(keys.into_iter().take(room));
    }

    /// Servers call nobody changed whose place in the tree was renamed. Whoever is listed under a name that nobody has is
    /// looked for by it, so that a group does not lose whom it never lost.
    pub(super) async fn strangers(&mut self) -> Result<(), Error> {
        let Some((mut listed, came)) = self.listed.take() else { return Ok(()) };
        listed.retain(|name| !came.contains(name));
        let mut strangers = Vec::new();
        let listed: Vec<String> = listed.into_iter().collect();
        for names in listed.chunks(NAMES) {
            strangers.extend(self.known.strangers(names.to_vec()).await.map_err(Error::Known)?);
        }
        if strangers.len() > MOST_STRANGERS {
            self.notes
                .push(format!("{} new names are listed, of which {MOST_STRANGERS} were looked for", strangers.len()));
        }
        let (reader, now) = (self.reader, self.clock.now());
        for name in strangers.iter().take(MOST_STRANGERS) {
            for part in &reader.parts {
                let session = self.session.as_mut().ok_or(Error::Stopped)?;
                let found = if part.covers(name) { session.found(name, &part.query).await } else { Ok(None) };
                let entry = match found {
                    Ok(Some(entry)) => entry,
                    // It is no name that this server takes.
                    Ok(None) | Err(Error::Result { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let record = part.record(&entry, self.known, now).filter(|record| {
                    let said = |said: &HashSet<_>| named(record).is_some_and(|name| said.contains(&name));
                    !self.said.as_ref().is_some_and(said)
                });
                self.send(record.into_iter().collect()).await?;
            }
        }
        Ok(())
    }

    /// A walk over what changed: nothing that is absent may be concluded, and what is known need not be.
    pub(super) async fn walk_changes(&mut self, part: &Part, walk: Walk) -> Result<Ended, Error> {
        let before = self.whole.len();
        let ended = self.go(part, walk).await;
        self.whole.truncate(before);
        ended
    }

    pub(super) async fn walk(&mut self, part: &Part, walk: Walk) -> Result<Ended, Error> {
        if walk.meets_the_known() {
            self.known.load().await.map_err(Error::Known)?;
        }
        self.go(part, walk).await
    }

    /// A walk in a task of its own, so that reading and mapping share the cores.
    async fn go(&mut self, part: &Part, walk: Walk) -> Result<Ended, Error> {
        let mut session = self.session.take().ok_or(Error::Stopped)?;
        let (pieces, mut arriving) = mpsc::channel::<Piece>(AHEAD);
        // Aborted when this is dropped: nobody reads for a reader that has gone.
        let mut fetching = JoinSet::new();
        fetching.spawn(async move {
            let ended = walk.go(&mut session, &pieces).await;
            (session, ended)
        });
        self.sent = false;
        while let Some(piece) = arriving.recv().await {
            let (now, kind) = (self.clock.now(), part.kind);
            self.came += piece.len() as u64;
            if self.came > self.reader.settings.max_entries {
                return Err(Error::TooMany(self.reader.settings.max_entries));
            }
            let records: Vec<Record> = match piece {
                Piece::Entries(batch) => {
                    if let Some(names) = &mut self.names {
                        names.extend(batch.iter().flatten().map(|entry| entry.dn().as_bytes().to_vec()));
                    }
                    batch.into_iter().filter_map(|entry| part.taken(entry, self.known, now)).collect()
                }
                Piece::There(keys) => {
                    self.known.load().await.map_err(Error::Known)?;
                    let (known, unknown): (Vec<_>, Vec<_>) =
                        keys.into_iter().partition(|key| self.known.holds(kind, key));
                    self.ask_again(unknown);
                    self.sent = true;
                    let there = Chunk::There { kind, keys: known };
                    self.out.send(there).await.map_err(|_| Error::Stopped)?;
                    Vec::new()
                }
                Piece::Turned(keys) => {
                    self.ask_again(keys);
                    Vec::new()
                }
                Piece::Gone(keys) => keys.into_iter().map(|key| Record::Gone { kind, key }).collect(),
            };
            self.send(records).await?;
        }
        let (session, ended) = fetching.join_next().await.and_then(Result::ok).ok_or(Error::Stopped)?;
        self.session = Some(session);
        let ended = ended.map_err(|error| self.reader.clean(error.at(part)))?;
        if ended.whole {
            self.whole.push(part.kind);
        }
        Ok(ended)
    }

    pub(super) async fn send(&mut self, mut records: Vec<Record>) -> Result<(), Error> {
        if let (true, Some(said)) = (self.once, &self.said) {
            records.retain(|record| named(record).is_none_or(|name| !said.contains(&name)));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.sent = true;
        if let Some((listed, came)) = &mut self.listed {
            for record in &records {
                let Record::Present(desired) = record else { continue };
                came.extend(desired.alias.clone());
                listed.extend(desired.relations.values().flat_map(targets).filter_map(|target| match &target.to {
                    Ref::Alias(name) => Some(name.clone()),
                    _ => None,
                }));
            }
        }
        if let Some(said) = &mut self.said {
            said.extend(records.iter().filter_map(named));
        }
        for records in chunks(records) {
            self.out.send(Chunk::Records(records)).await.map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }
}

fn targets(targets: &Targets) -> &[Target] {
    match targets {
        Targets::Whole(all) => all,
        Targets::Delta { add, .. } => add,
    }
}

/// Of whom something new is said.
fn named(record: &Record) -> Option<(Kind, String)> {
    match record {
        Record::Present(desired) => Some((desired.kind, desired.key.clone())),
        Record::Gone { kind, key } => Some((*kind, key.clone())),
        Record::Bad { kind, key, .. } => Some(((*kind)?, key.clone()?)),
        Record::Same { .. } => None,
    }
}

fn chunks(mut records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut all = Vec::new();
    while records.len() > super::walk::CHUNK {
        let rest = records.split_off(super::walk::CHUNK);
        all.push(std::mem::replace(&mut records, rest));
    }
    all.push(records);
    all
}
