//! What the store holds of a source, so small that a million things fit into the memory of a run: hashes of keys with the
//! digests of their last records. Readers compare by it; the run finds by it what was not seen.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::Error;
use crate::model::desired::{Digest, Known, Ref};
use crate::model::kind::Kind;
use crate::store::{self, Db, Session};

/// Keys asked for at once.
const PAGE: i64 = 5_000;
/// The next reads get to the others.
const MOST_UNSURE: i64 = 1000;
/// A record that carried no digest. No SHA-256 of a record is all zeros.
const NONE: [u8; 16] = [0; 16];

/// Read when it is asked for: a read of what changed can do without.
#[derive(Default)]
pub struct KnownSet {
    source: String,
    all: OnceLock<All>,
    /// Those without a digest, at most `MOST_UNSURE`.
    unsure: Vec<(Kind, String)>,
}

#[derive(Default)]
struct All {
    /// Sorted by hash: 32 bytes per thing, and no slack of a table.
    entries: Vec<(u128, [u8; 16])>,
    held: BTreeMap<Kind, u64>,
}

impl KnownSet {
    /// Things that must go through the mapping again although they may look the same: what they point at got another name.
    pub fn unsure(&self) -> &[(Kind, String)] {
        &self.unsure
    }

    /// From here on it knows everything that the source holds.
    pub async fn load(&self, db: &Db) -> Result<(), Error> {
        if !self.is_loaded() {
            let all = all(db, &self.source).await?;
            // Somebody else may have been first, with the same.
            let _ = self.all.set(all);
        }
        Ok(())
    }

    /// Those of the names that the source calls nobody by, and that none of its relations waits for.
    pub async fn strangers(&self, db: &Db, mut names: Vec<String>) -> Result<Vec<String>, Error> {
        let mut read = db.read().await?;
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        let known = store::assertion::by_aliases(&mut read, &self.source, &texts).await?;
        let mut known: HashSet<String> = known.into_iter().map(|(name, ..)| name).collect();
        let targets: Vec<String> = names.iter().map(|name| Ref::Alias(name.clone()).stored()).collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let waiting = store::edge::waiting_for(&mut read, &targets).await?;
        known.extend(waiting.into_iter().filter(|edge| edge.source == self.source).filter_map(|edge| {
            match Ref::of_stored(&edge.target) {
                Some(Ref::Alias(name)) => Some(name),
                _ => None,
            }
        }));
        names.retain(|name| !known.contains(name));
        Ok(names)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.all.get().is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.all.get().map_or(0, |all| all.entries.len())
    }

    /// How many things of the kind the source holds. Of a set that was not loaded: no more than `most` are counted.
    pub(super) async fn held(&self, session: &mut impl Session, kind: Kind, most: u64) -> Result<u64, store::Error> {
        match self.all.get() {
            Some(all) => Ok(all.held.get(&kind).copied().unwrap_or(0)),
            None if self.source.is_empty() => Ok(0),
            None => store::assertion::count_held(session, &self.source, kind, most.cast_signed()).await,
        }
    }

    /// `None` also as long as it is not loaded.
    pub(super) fn position(&self, kind: Kind, key: &str) -> Option<usize> {
        self.position_of(hash(kind, key))
    }

    /// Of one of `len`.
    pub(super) fn hash_at(&self, at: usize) -> u128 {
        self.all.get().map_or(0, |all| all.entries[at].0)
    }

    pub(super) fn position_of(&self, hash: u128) -> Option<usize> {
        self.all.get()?.entries.binary_search_by_key(&hash, |(hash, _)| *hash).ok()
    }
}

impl Known for KnownSet {
    fn holds(&self, kind: Kind, key: &str) -> bool {
        self.position(kind, key).is_some()
    }

    fn is(&self, kind: Kind, key: &str, digest: &Digest) -> bool {
        let same = |all: &All| self.position(kind, key).is_some_and(|at| all.entries[at].1 == digest.0);
        digest.0 != NONE && self.all.get().is_some_and(same)
    }
}

/// Two keys with one hash do not happen: 128 bits of SHA-256.
pub(super) fn hash(kind: Kind, key: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    hash.update([0]);
    hash.update(key);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}

/// Everything that the source holds now.
pub async fn known(db: &Db, source: &str) -> Result<KnownSet, Error> {
    let set = known_later(db, source).await?;
    set.load(db).await?;
    Ok(set)
}

/// As `known`, and read no sooner than somebody asks.
pub async fn known_later(db: &Db, source: &str) -> Result<KnownSet, Error> {
    let unsure = store::assertion::without_digest(&mut db.read().await?, source, MOST_UNSURE).await?;
    Ok(KnownSet { source: source.to_owned(), all: OnceLock::new(), unsure })
}

async fn all(db: &Db, source: &str) -> Result<All, Error> {
    let mut set = All::default();
    let mut read = db.read().await?;
    let mut after: Option<(Kind, String)> = None;
    loop {
        let last = after.as_ref().map(|(kind, key)| (*kind, key.as_str()));
        let page = store::assertion::held_after(&mut read, source, last, PAGE).await?;
        let full = page.len() as i64 == PAGE;
        after = page.last().map(|held| (held.kind, held.key.clone()));
        for held in page {
            set.entries.push((hash(held.kind, &held.key), held.digest.map_or(NONE, |digest| digest.0)));
            *set.held.entry(held.kind).or_default() += 1;
        }
        if !full {
            break;
        }
    }
    set.entries.sort_unstable_by_key(|(hash, _)| *hash);
    set.entries.shrink_to_fit();
    Ok(set)
}

/// Which of the known things were seen: one bit each.
#[derive(Default)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    pub fn of(known: &KnownSet) -> Seen {
        Seen(vec![0; known.len().div_ceil(64)])
    }

    /// False: it had been seen before.
    pub fn mark(&mut self, at: usize) -> bool {
        let bit = 1 << (at % 64);
        let fresh = self.0[at / 64] & bit == 0;
        self.0[at / 64] |= bit;
        fresh
    }

    pub fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }
}
