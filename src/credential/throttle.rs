//! The brake on guessing passwords: per realm and folded login, whether such an account exists or not. An attempt counts
//! as failed until it is known to be right, so that many at once do not slip through. After `FREE` failures in a row each
//! further one doubles the wait, up to `LONGEST`. In memory and bounded: it slows attackers, it is no record.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::model::time::Millis;

/// Failures in a row that cost nothing: people mistype.
const FREE: u32 = 5;
/// Milliseconds. Longer would only serve whoever wants to lock somebody out.
const LONGEST: i64 = 5 * 60_000;
/// Logins remembered at once; the longest untouched one gives way.
const CAPACITY: usize = 20_000;
/// Milliseconds without an attempt after which a login is forgotten.
const FORGET: i64 = 60 * 60_000;

#[derive(Default)]
pub struct Throttle(Mutex<HashMap<String, Count>>);

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    /// No attempt before this.
    not_before: Millis,
    last: Millis,
}

/// Too early: come back after so many seconds (at least 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooEarly {
    pub seconds: i64,
}

impl Throttle {
    /// Before the password is looked at. The attempt is counted as a failure until `succeeded` is told.
    pub fn begin(&self, key: &str, now: Millis) -> Result<(), TooEarly> {
        let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if counts.len() >= CAPACITY && !counts.contains_key(key) {
            make_room(&mut counts, now);
        }
        let count = counts.entry(key.to_owned()).or_insert(Count { failures: 0, not_before: now, last: now });
        if now.0 - count.last.0 > FORGET {
            count.failures = 0;
        }
        if now < count.not_before {
            return Err(TooEarly { seconds: ((count.not_before.0 - now.0) / 1000).max(1) });
        }
        count.failures = count.failures.saturating_add(1);
        count.last = now;
        count.not_before = now.plus(wait(count.failures));
        Ok(())
    }

    pub fn succeeded(&self, key: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
    }
}

/// Milliseconds to wait after so many failures in a row.
fn wait(failures: u32) -> i64 {
    match failures.checked_sub(FREE) {
        None | Some(0) => 0,
        Some(over) => (500_i64 << over.min(20)).min(LONGEST),
    }
}

fn make_room(counts: &mut HashMap<String, Count>, now: Millis) {
    counts.retain(|_, count| now.0 - count.last.0 <= FORGET);
    if counts.len() >= CAPACITY
        && let Some(oldest) = counts.iter().min_by_key(|(_, count)| count.last).map(|(key, _)| key.clone())
    {
        counts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_a_success_forgets() {
        let throttle = Throttle::default();
        let mut now = Millis(1_790_000_000_000);
        for _ in 0..=FREE {
            assert_eq!(throttle.begin("client eva", now), Ok(()));
        }
        assert_eq!(throttle.begin("client eva", now), Err(TooEarly { seconds: 1 }));
        assert_eq!(throttle.begin("agent eva", now), Ok(()), "another realm, another count");
        now = now.plus(1000);
        assert_eq!(throttle.begin("client eva", now), Ok(()));
        now = now.plus(1999);
        assert_eq!(throttle.begin("client eva", now), Err(TooEarly { seconds: 1 }));
        throttle.succeeded("client eva");
        assert_eq!(throttle.begin("client eva", now), Ok(()));
        assert_eq!(wait(u32::MAX), LONGEST);
    }

    #[test]
    fn it_stays_bounded() {
        let throttle = Throttle::default();
        let now = Millis(1_790_000_000_000);
        for n in 0..CAPACITY + 50 {
            throttle.begin(&n.to_string(), now.plus((n / 100) as i64)).unwrap();
        }
        assert_eq!(throttle.0.lock().unwrap().len(), CAPACITY);
    }
}
