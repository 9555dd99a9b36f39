//! How fast one token may ask over SCIM. A provider that runs wild is told to wait (429, `Retry-After`), and the others do
//! not notice. In memory, one count for each token that proved to be right: as many as there are tokens.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::server::Rate;

type Limiter = RateLimiter<
    String,
    HashMapStateStore<String>,
    MonotonicClock,
    NoOpMiddleware<<MonotonicClock as governor::clock::Clock>::Instant>,
>;

/// Follows the configuration: with another rate the counting begins anew.
#[derive(Default)]
pub struct Pace(Mutex<Option<(Rate, Arc<Limiter>)>>);

impl Pace {
    /// So many at once, at most what a rest allows. `Err`: so long to wait.
    pub fn take(&self, token: &str, rate: Rate, count: u32) -> Result<(), Duration> {
        let Some(count) = NonZeroU32::new(count.min(rate.burst)) else { return Ok(()) };
        let (Some(per_second), Some(burst)) = (NonZeroU32::new(rate.per_second), NonZeroU32::new(rate.burst)) else {
            return Ok(());
        };
        let limiter = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &*held {
                Some((known, limiter)) if *known == rate => limiter.clone(),
                _ => {
                    let quota = Quota::per_second(per_second).allow_burst(burst);
                    let limiter = Arc::new(Limiter::new(quota, HashMapStateStore::default(), MonotonicClock));
                    *held = Some((rate, limiter.clone()));
                    limiter
                }
            }
        };
        match limiter.check_key_n(&token.to_owned(), count) {
            Ok(Err(later)) => Err(later.wait_time_from(limiter.clock().now())),
            // More than a rest allows was cut off above.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s33_each_token_has_its_own_pace() {
        let pace = Pace::default();
        let rate = Rate { per_second: 1, burst: 2 };
        for _ in 0..2 {
            assert!(pace.take("a", rate, 1).is_ok());
        }
        let wait = pace.take("a", rate, 1).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(pace.take("b", rate, 1).is_ok());
        assert!(pace.take("c", rate, 1000).is_ok(), "what is more than a rest allows takes all of it");
        assert!(pace.take("c", rate, 1).is_err());
        assert!(pace.take("a", Rate { per_second: 0, burst: 2 }, 1).is_ok());
        assert!(pace.take("a", Rate { per_second: 1, burst: 1 }, 1).is_ok(), "another rate, another count");
    }
}
