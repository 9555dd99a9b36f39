//! What was counted and passed of whole lists, for as long as nothing came or went: totals without counting anew, deep pages
//! without walking to them. It only spares work: what is remembered is true of the moment that its stamp names, and with
//! another stamp it is forgotten. Bounded; start with `Places`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::order::Mark;
use crate::store::Stamp;

/// Lists that are remembered: one for each source and type that is asked for.
const LISTS: usize = 256;
/// Places of one list.
const PLACES: usize = 256;

pub struct Places {
    lists: Mutex<HashMap<String, Known>>,
    /// Whoever has to count or walk does it alone: the others find what it found.
    walk: tokio::sync::Mutex<()>,
    /// Whoever has to look at each resource waits for a turn, before it takes a connection: there are few of either, and
    /// those who ask for one resource must not stand behind.
    scans: Semaphore,
}

impl Default for Places {
    fn default() -> Places {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Places {
            lists: Mutex::default(),
            walk: tokio::sync::Mutex::default(),
            scans: Semaphore::new((cores - 1).max(1)),
        }
    }
}

struct Known {
    stamp: Stamp,
    total: Option<u64>,
    /// (how many stand up to there, the last of them), newest last.
    passed: VecDeque<(u64, Mark)>,
}

impl Places {
    /// To be held by whoever found nothing here, while it looks once more and then asks the store.
    pub async fn walk(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.walk.lock().await
    }

    /// A turn for looking at each resource. `None`: nobody gives turns any more.
    pub async fn scan(&self) -> Option<SemaphorePermit<'_>> {
        self.scans.acquire().await.ok()
    }

    pub fn total(&self, list: &str, stamp: &Stamp) -> Option<u64> {
        self.lists().get(list).filter(|known| known.stamp == *stamp)?.total
    }

    /// The last known place that is not behind so many.
    pub fn nearest(&self, list: &str, stamp: &Stamp, offset: u64) -> Option<(u64, Mark)> {
        let lists = self.lists();
        let known = lists.get(list).filter(|known| known.stamp == *stamp)?;
        known.passed.iter().filter(|(at, _)| *at <= offset).max_by_key(|(at, _)| *at).cloned()
    }

    pub fn counted(&self, list: &str, stamp: &Stamp, total: u64) {
        self.with(list, stamp, |known| known.total = Some(total));
    }

    pub fn passed(&self, list: &str, stamp: &Stamp, offset: u64, mark: Mark) {
        self.with(list, stamp, |known| {
            known.passed.retain(|(at, _)| *at != offset);
            if known.passed.len() >= PLACES {
                known.passed.pop_front();
            }
            known.passed.push_back((offset, mark));
        });
    }

    fn with(&self, list: &str, stamp: &Stamp, change: impl FnOnce(&mut Known)) {
        let mut lists = self.lists();
        if lists.len() >= LISTS && !lists.contains_key(list) {
            lists.clear();
        }
        let blank = || Known { stamp: stamp.clone(), total: None, passed: VecDeque::new() };
        let known = lists.entry(list.to_owned()).or_insert_with(blank);
        if known.stamp != *stamp {
            *known = blank();
        }
        change(known);
    }

    fn lists(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
