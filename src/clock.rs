//! Time and randomness, handed down as an argument. Everything that asks what time it is, or draws a number, takes a
//! `Clock`; `clippy.toml` bans the direct ways. Tests use `Clock::fixed`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::id::{EntityId, RunId};
use crate::model::time::Millis;

/// Cheap to clone; clones share the fixed time and the random stream.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    /// `None`: the system's time.
    fixed: Option<AtomicI64>,
    /// Seeded by the system, or by a test.
    rng: Mutex<StdRng>,
    /// The last sequence number given out.
    seq: AtomicI64,
}

/// Sequence numbers are milliseconds shifted by this, plus a counter: ascending, and a million of them a millisecond.
const SEQ_SHIFT: u32 = 20;

impl Clock {
    pub fn system() -> Clock {
        Clock(Arc::new(Inner { fixed: None, rng: Mutex::new(rand::make_rng()), seq: AtomicI64::new(0) }))
    }

    /// Stands still at `at` until moved, and draws the same numbers for the same seed.
    pub fn fixed(at: Millis, seed: u64) -> Clock {
        Clock(Arc::new(Inner {
            fixed: Some(AtomicI64::new(at.0)),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            seq: AtomicI64::new(0),
        }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
    pub fn now(&self) -> Millis {
        match &self.0.fixed {
            Some(at) => Millis(at.load(Ordering::Relaxed)),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Moves a fixed clock; the system's does not move.
    pub fn advance(&self, millis: i64) {
        if let Some(at) = &self.0.fixed {
            at.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// From a generator that is fit for secrets (ChaCha seeded by the system).
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng().fill_bytes(&mut bytes);
        bytes
    }

    /// Uniform in `0..bound`; 0 for an empty range.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((u128::from(self.rng().next_u64()) * u128::from(bound)) >> 64) as u64 }
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.0.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn entity_id(&self) -> EntityId {
        EntityId(self.uuid())
    }

    pub fn run_id(&self) -> RunId {
        RunId(self.uuid())
    }

    /// UUID version 7: ordered by time, so that new rows lie beside each other.
    pub fn uuid(&self) -> uuid::Uuid {
        let millis = u64::try_from(self.now().0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random()).into_uuid()
    }

    /// At or below every sequence number that is given out since this instant.
    pub fn seq_at(at: Millis) -> i64 {
        at.0 << SEQ_SHIFT
    }

    /// Ascending over the life of this process, and over restarts as far as the system's clock is.
    pub fn seq(&self) -> i64 {
        let floor = self.now().0 << SEQ_SHIFT;
        let step = |last: i64| Some(floor.max(last + 1));
        match self.0.seq.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(last) | Err(last) => floor.max(last + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_ascend_even_when_time_stands_still() {
        let clock = Clock::fixed(Millis(1_790_000_000_000), 1);
        let first = clock.seq();
        assert_eq!(clock.seq(), first + 1);
        clock.advance(1);
        assert!(clock.seq() > first + 2);
        assert!(clock.below(10) < 10);
    }

    #[test]
    fn a_seed_draws_the_same_ids() {
        let at = Millis(1_790_000_000_000);
        assert_eq!(Clock::fixed(at, 7).entity_id(), Clock::fixed(at, 7).entity_id());
        assert_ne!(Clock::fixed(at, 7).entity_id(), Clock::fixed(at, 8).entity_id());
    }
}
