//! What a reader says, taken to its last word: spooled, counted, and held against what the source held before. What is known is
//! looked up for each where that is little, and read whole where the read is about everything. Start with `gather`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::known::{self, KnownSet, Seen};
use super::report::{Refused, Tally};
use super::run::Read;
use super::spool::{MAY_LOSE, Spool, Stage};
use super::{Error, MOST_RECORDS, sound};
use crate::model::desired::{Chunk, Desired, End, Record, Scope, Write};
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;
use crate::store::{self, Db, Session};

const TWICE: &str = "its key came twice in one read";

/// Keys that are remembered to the end of a run.
const MOST_NAMED: usize = 50_000;

/// Which of the known things are there.
#[derive(Default)]
pub(super) struct Presence {
    known: Arc<KnownSet>,
    seen: Seen,
    /// Kinds of which what was not seen is absent.
    concluded: Vec<Kind>,
    /// Hashes of the other keys that were named, there or gone; none where they are too many to be kept.
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

    /// How many things of the kind the source held before, counted no further than `most` where that costs something.
    pub async fn held(&self, session: &mut impl Session, kind: Kind, most: u64) -> Result<u64, store::Error> {
        self.known.held(session, kind, most).await
    }

    /// Whether this read said something of what the record speaks of.
    pub fn speaks_of(&self, record: &Record) -> bool {
        let (kind, key) = match record {
            Record::Present(desired) => (desired.kind, &desired.key),
            Record::Gone { kind, key } | Record::Same { kind, key } => (*kind, key),
            Record::Bad { .. } => return false,
        };
        self.concluded.contains(&kind) || self.was_read(kind, key)
    }

    /// Known, and absent from a complete read.
    pub fn leaving(&self, kind: Kind, key: &str) -> bool {
        self.concluded.contains(&kind) && self.known.position(kind, key).is_some_and(|at| !self.seen.has(at))
    }
}

/// A read that was not complete.
pub(super) struct Broken {
    pub reason: String,
    /// It may be over soon.
    pub passes: bool,
}

/// Takes the chunks until the last word. `Ok(Err)`: the read was not complete, and why.
pub(super) async fn gather(
    db: &Db,
    source: &SourcePolicy,
    mut chunks: mpsc::Receiver<Chunk>,
    known: Arc<KnownSet>,
) -> Result<Result<Read, Broken>, Error> {
    let mut gathering = Gathering { known, ..Gathering::default() };
    let (cursor, kinds, scope, how, fingerprint) = loop {
        match chunks.recv().await {
            Some(Chunk::Records(records)) => {
                gathering.learn();
                records.into_iter().try_for_each(|record| gathering.take(record))?;
                // So many changes are no handful, and knowing everybody takes less room than remembering them.
                if gathering.new.len() > MOST_NAMED && !gathering.learned {
                    gathering.known.load(db).await?;
                    gathering.learn();
                }
                if gathering.waiting.len() >= MOST_RECORDS {
                    gathering.look_up(db, source).await?;
                }
            }
            Some(Chunk::There { kind, keys }) => {
                gathering.learn();
                gathering.tally.add("read", keys.len() as u64);
                gathering.tally.add("same", keys.len() as u64);
                for key in keys {
                    gathering.is_there(kind, &key);
                }
            }
            Some(Chunk::End(End::Complete { cursor, kinds, scope, how, fingerprint })) => {
                break (cursor, kinds, scope, how, fingerprint);
            }
            Some(Chunk::End(End::Incomplete { reason, passes })) => return Ok(Err(Broken { reason, passes })),
            None => {
                let reason = "the reader stopped before it had said that this was all".to_owned();
                return Ok(Err(Broken { reason, passes: true }));
            }
        }
    };
    if scope == Scope::Whole || gathering.new.len() > MOST_NAMED {
        gathering.known.load(db).await?;
    }
    gathering.learn();
    gathering.look_up(db, source).await?;
    gathering.settle()?;
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

#[derive(Default)]
struct Gathering {
    known: Arc<KnownSet>,
    /// What is known is looked at in `known`.
    learned: bool,
    seen: Seen,
    /// Of the known ones, those that the read said something new of; to be there is another matter.
    told: Seen,
    /// Of the known ones, those of which an entry was read that says what it said before.
    same: Seen,
    /// Hashes of what was said to be gone, and of what came after that, in the same read: its last word counts.
    left: HashSet<u128>,
    back: HashSet<u128>,
    /// Hashes of keys that are not known, or not yet: a key that comes twice is a fault of the source.
    new: HashSet<u128>,
    /// Keys that came twice, with the hash of what was said; none where that differs, or is not known any more.
    doubles: HashMap<u128, Option<[u8; 32]>>,
    /// Of those who are only said to be there.
    there: HashSet<u128>,
    /// Said to be gone, or switched off, before it was known who is held.
    waiting: Vec<Record>,
    spool: Spool,
    tally: Tally,
    unsure: Vec<Option<Kind>>,
}

impl Gathering {
    /// The reader had to know everything: what it said till then is held against that.
    fn learn(&mut self) {
        if self.learned || !self.known.is_loaded() {
            return;
        }
        self.learned = true;
        (self.seen, self.told) = (Seen::of(&self.known), Seen::of(&self.known));
        self.same = Seen::of(&self.known);
        let known = &self.known;
        self.new.retain(|hash| {
            let Some(at) = known.position_of(*hash) else { return true };
            self.seen.mark(at);
            self.told.mark(at);
            false
        });
        for hash in self.there.drain() {
            match known.position_of(hash) {
                Some(at) => drop(self.seen.mark(at)),
                None => drop(self.new.insert(hash)),
            }
        }
    }

    /// The reader may ask for it at any moment, in the middle of what is being taken: till the next chunk nothing is known.
    fn position(&self, kind: Kind, key: &str) -> Option<usize> {
        if self.learned { self.known.position(kind, key) } else { None }
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        self.tally.add("read", 1);
        let record = sound::judged(record);
        match &record {
            Record::Same { kind, key } => {
                self.same(*kind, key);
                Ok(())
            }
            Record::Bad { kind, key, reason, off } => {
                self.bad(*kind, key.clone().unwrap_or_default(), reason.clone());
                match (kind, key) {
                    (Some(kind), Some(key)) if *off => return self.off(*kind, key),
                    (Some(kind), Some(key)) => self.is_there(*kind, key),
                    _ => self.unsure.push(*kind),
                }
                Ok(())
            }
            Record::Present(desired) => self.present(desired, &record),
            Record::Gone { kind, key } => self.gone(*kind, key, &record),
        }
    }

    fn same(&mut self, kind: Kind, key: &str) {
        self.tally.add("same", 1);
        self.is_there(kind, key);
        let Some(at) = self.position(kind, key) else { return };
        self.same.mark(at);
        if self.told.has(at) {
            self.twice(kind, key, None);
        }
    }

    /// Of two that say different things nobody knows which one is meant: neither is taken (see `settle`).
    fn twice(&mut self, kind: Kind, key: &str, said: Option<[u8; 32]>) {
        self.bad(Some(kind), key.to_owned(), TWICE.to_owned());
        let of = self.doubles.entry(known::hash(kind, key)).or_insert(said);
        if *of != said {
            *of = None;
        }
    }

    fn is_there(&mut self, kind: Kind, key: &str) {
        match self.position(kind, key) {
            Some(at) => drop(self.seen.mark(at)),
            None if self.learned => {}
            None => drop(self.there.insert(known::hash(kind, key))),
        }
    }

    /// Whether the read says for the first time something new of it, and whether it is one of the known.
    fn tell(&mut self, kind: Kind, key: &str) -> (bool, bool) {
        match self.position(kind, key) {
            Some(at) => {
                self.seen.mark(at);
                (self.told.mark(at), true)
            }
            None => (self.new.insert(known::hash(kind, key)), false),
        }
    }

    fn present(&mut self, desired: &Desired, record: &Record) -> Result<(), Error> {
        let (fresh, known) = self.tell(desired.kind, &desired.key);
        let hash = known::hash(desired.kind, &desired.key);
        let returns = self.left.remove(&hash) && self.back.insert(hash);
        let same = self.position(desired.kind, &desired.key).is_some_and(|at| self.same.has(at));
        if same || !(fresh || returns) {
            let said = Sha256::digest(serde_json::to_vec(record)?).into();
            self.twice(desired.kind, &desired.key, Some(said));
            return Ok(());
        }
        let flags = if known || !self.learned || desired.switches_off() { MAY_LOSE } else { 0 };
        self.spool.put(Stage::Present(desired.kind), flags, record)
    }

    fn gone(&mut self, kind: Kind, key: &str, record: &Record) -> Result<(), Error> {
        let (_, known) = self.tell(kind, key);
        let hash = known::hash(kind, key);
        self.back.remove(&hash);
        if (known || !self.learned) && self.left.insert(hash) {
            if known {
                self.spool.put(Stage::Gone(kind), MAY_LOSE, record)?;
            } else {
                self.waiting.push(record.clone());
            }
        }
        Ok(())
    }

    /// What came after it was said to be gone has not gone, and of entries that share a key none is taken that differs.
    fn settle(&mut self) -> Result<(), Error> {
        let mut strange = Vec::new();
        for stage in self.spool.stages() {
            match stage {
                Stage::Gone(kind) if !self.back.is_empty() => {
                    let back = &self.back;
                    self.spool.retain(stage, |raw| {
                        let record: Record = serde_json::from_slice(raw)?;
                        Ok(!matches!(record, Record::Gone { key, .. } if back.contains(&known::hash(kind, &key))))
                    })?;
                }
                Stage::Present(kind) if !self.doubles.is_empty() => {
                    let doubles = &self.doubles;
                    self.spool.retain(stage, |raw| {
                        let Record::Present(desired) = serde_json::from_slice(raw)? else { return Ok(true) };
                        let Some(said) = doubles.get(&known::hash(kind, &desired.key)) else { return Ok(true) };
                        let same = said.is_some_and(|said| Sha256::digest(raw)[..] == said);
                        if !same {
                            strange.push((kind, desired.key));
                        }
                        Ok(same)
                    })?;
                }
                _ => {}
            }
        }
        for (kind, key) in strange {
            self.bad(Some(kind), key, TWICE.to_owned());
        }
        Ok(())
    }

    /// Whoever cannot be taken is switched off all the same where the source says so.
    fn off(&mut self, kind: Kind, key: &str) -> Result<(), Error> {
        let off = || {
            Record::Present(Box::new(Desired {
                kind,
                key: key.to_owned(),
                realm: None,
                alias: None,
                attributes: [("active".to_owned(), false.into())].into_iter().collect(),
                write: Write::Merge,
                relations: BTreeMap::new(),
                digest: None,
            }))
        };
        match self.tell(kind, key) {
            (true, true) => self.spool.put(Stage::Present(kind), MAY_LOSE, &off())?,
            (true, false) if !self.learned => self.waiting.push(off()),
            _ => {}
        }
        Ok(())
    }

    /// Of those who wait, the ones that the source held.
    async fn look_up(&mut self, db: &Db, source: &SourcePolicy) -> Result<(), Error> {
        let mut waiting: BTreeMap<(Stage, String), Record> = BTreeMap::new();
        for record in std::mem::take(&mut self.waiting) {
            match &record {
                Record::Present(desired) => waiting.insert((Stage::Present(desired.kind), desired.key.clone()), record),
                Record::Gone { kind, key } => waiting.insert((Stage::Gone(*kind), key.clone()), record),
                Record::Same { .. } | Record::Bad { .. } => None,
            };
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let mut read = db.read().await?;
        for (stage, kind) in
            Kind::ALL.iter().flat_map(|kind| [(Stage::Present(*kind), *kind), (Stage::Gone(*kind), *kind)])
        {
            let of = waiting.range((stage, String::new())..).take_while(|((found, _), _)| *found == stage);
            let keys: Vec<&str> = of.map(|((_, key), _)| key.as_str()).collect();
            for key in store::assertion::held_keys(&mut read, &source.name, kind, &keys).await? {
                if let Some(record) = waiting.get(&(stage, key)) {
                    self.spool.put(stage, MAY_LOSE, record)?;
                }
            }
        }
        Ok(())
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
    let unseen = (0..present.known.len()).filter(|at| !present.seen.has(*at)).map(|at| present.known.hash_at(at));
    let gone: HashSet<u128> = unseen.take(MOST_NAMED).collect();
    if gone.is_empty() {
        return Ok(());
    }
    // Among a few it is found sooner than among all.
    let leaves = |kind: Kind, key: &str| {
        if gone.len() < MOST_NAMED { gone.contains(&known::hash(kind, key)) } else { present.leaving(kind, key) }
    };
    let mut read = db.read().await?;
    for kind in &present.concluded {
        let mut after = String::new();
        loop {
            let mut page = store::assertion::keys_after(&mut read, &source.name, *kind, &after, PAGE).await?;
            // What the source let go of earlier is not among the known.
            for key in page.iter().filter(|key| leaves(*kind, key)) {
                spool.put(Stage::Gone(*kind), MAY_LOSE, &Record::Gone { kind: *kind, key: key.clone() })?;
            }
            match page.pop() {
                Some(last) if page.len() as i64 + 1 == PAGE => after = last,
                _ => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::apply_tests::{World, present, user};
    use crate::reconcile::run_tests::{people, sync};
    use crate::reconcile::{End as RunEnd, Mode, Report, known_later, run};
    use crate::store::testing::both;

    /// A read of what changed; `ask`: before its second chunk the reader wants to know everything.
    async fn changes(world: &World, chunks: Vec<Vec<Record>>, ask: bool) -> Report {
        let known = Arc::new(known_later(&world.db, "ldap").await.unwrap());
        assert!(!known.is_loaded());
        let (out, arriving) = mpsc::channel(8);
        for (at, records) in chunks.into_iter().enumerate() {
            if ask && at == 1 {
                known.load(&world.db).await.unwrap();
            }
            out.send(Chunk::Records(records)).await.unwrap();
        }
        let end = End::Complete {
            cursor: Some("c2".to_owned()),
            kinds: Vec::new(),
            scope: Scope::Only,
            how: None,
            fingerprint: None,
        };
        out.send(Chunk::End(end)).await.unwrap();
        let policy = world.cx.policies.get("ldap").unwrap();
        let report =
            run(&world.db, &world.cx, policy, arriving, known.clone(), Mode::Sync { expect: None }).await.unwrap();
        assert_eq!(known.is_loaded(), ask, "nobody reads a million keys for a handful of changes");
        report
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a3_b2_a_handful_of_changes_is_looked_up_one_by_one_and_comes_to_the_same() {
        both(|db| async move {
            let world = World::new(db);
            sync(&world, people(0..120)).await;
            let gone = |n: u32| Record::Gone { kind: Kind::User, key: format!("k{n}") };
            for ask in [false, true] {
                // Nobody that we hold; who comes twice counts once; who is new is told apart from who is not.
                let strangers: Vec<Record> = (5_000..5_040).map(gone).collect();
                let twice = present(user("k7", "other7"));
                let report =
                    changes(&world, vec![strangers, vec![twice.clone()], vec![twice, gone(1), gone(1)]], ask).await;
                assert_eq!(report.state, RunEnd::Done, "{:?}", report.stops);
                let of = |name: &str| report.counts.get(name).copied().unwrap_or(0);
                assert_eq!((of("bad"), of("update"), of("disable")), (1, 1, 1), "{:?}", report.counts);
                sync(&world, people(0..120)).await;
            }
            // Of two different ones under one key neither is taken, also where nobody had it.
            for ask in [false, true] {
                for key in ["k8", "k800"] {
                    let two = ["one8", "two8"].map(|login| vec![present(user(key, login))]);
                    let report = changes(&world, two.to_vec(), ask).await;
                    assert_eq!((report.counts["bad"], report.is_empty()), (2, true), "{:?}", report.counts);
                    let same = sync(&world, people(0..120)).await;
                    assert!(same.is_empty(), "{:?}", same.counts);
                }
            }
            // The last word counts.
            for ask in [false, true] {
                let words = |last: Record| vec![vec![gone(30)], vec![present(user("k30", "back30"))], vec![last]];
                let report = changes(&world, words(gone(31)), ask).await;
                assert_eq!((report.counts["update"], report.counts["disable"]), (1, 1), "{:?}", report.counts);
                let report = changes(&world, words(gone(30)), ask).await;
                assert_eq!(report.counts.get("disable"), Some(&1), "{:?}", report.counts);
                sync(&world, people(0..120)).await;
            }
            // Too many of what it holds wait for a person all the same.
            for ask in [false, true] {
                let report = changes(&world, vec![(0..3).map(gone).collect(), (3..9).map(gone).collect()], ask).await;
                assert_eq!((report.state, report.stops[0].held, report.stops[0].losses), (RunEnd::Held, 120, 9));
            }
        })
        .await;
    }
}
