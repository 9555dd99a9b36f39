//! Argon2id, on as many threads as there are permits. A permit belongs to the blocking task, not to the caller: who hangs
//! up does not free it, so memory stays at permits x cost whatever arrives. Behind the permits waits a bounded queue;
//! beyond it callers are told to come back (`Error::Busy`). An unknown account costs the same as a known one (R2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::credential::Cost;
use crate::model::password_policy;

/// KiB. A stored hash that asks for more is refused before anything is allocated.
const MOST_MEMORY: u32 = 256 * 1024;
/// Passes and lanes of a stored hash beyond which it is refused.
const MOST_PASSES: u32 = 32;
const MOST_LANES: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("too many passwords are being checked at the moment")]
    Busy,
    #[error("argon2 does not take these parameters: {0}")]
    Parameters(String),
    #[error("the hashing task ended early")]
    Died,
}

/// Whether the password was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Refused,
    Accepted {
        /// The same password hashed anew, where the stored hash is weaker than what is configured.
        rehashed: Option<String>,
    },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Hasher(Arc<Inner>);

struct Inner {
    params: Params,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    /// Verified in place of the hash of somebody who does not exist.
    dummy: String,
    clock: Clock,
}

impl Hasher {
    /// Costs nothing: what is verified for unknown accounts is drawn, not hashed.
    pub fn new(cost: Cost, clock: Clock) -> Result<Hasher, Error> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None)
            .map_err(|error| Error::Parameters(error.to_string()))?;
        let dummy = nobodys(&params, &clock);
        let permits = Arc::new(Semaphore::new(cost.permits.max(1)));
        let (waiting, queue) = (AtomicUsize::new(0), cost.queue);
        Ok(Hasher(Arc::new(Inner { params, permits, waiting, queue, dummy, clock })))
    }

    /// The PHC string of a password, with a fresh salt.
    pub async fn hash(&self, password: SecretString) -> Result<String, Error> {
        let (params, salt) = (self.0.params.clone(), self.0.clock.random());
        self.blocking(move || hash(&params, &password, salt)).await?
    }

    /// `stored` is `None` for an account that does not exist or may not log in: it takes the same time and is refused.
    pub async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<Verdict, Error> {
        let inner = self.0.clone();
        let salt = inner.clock.random();
        self.blocking(move || {
            let usable = stored.filter(|stored| sane(stored));
            let right = matches(usable.as_deref().unwrap_or(&inner.dummy), &password);
            match usable {
                Some(stored) if right => {
                    let rehashed =
                        if weaker(&stored, &inner.params) { hash(&inner.params, &password, salt).ok() } else { None };
                    Verdict::Accepted { rehashed }
                }
                _ => Verdict::Refused,
            }
        })
        .await
    }

    /// Runs `work` on a blocking thread that owns its permit.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = match self.0.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = Place::take(&self.0.waiting, self.0.queue)?;
                self.0.permits.clone().acquire_owned().await.map_err(|_| Error::Died)?
            }
        };
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        task.await.map_err(|_| Error::Died)
    }
}

/// A place in the queue, given back when the caller goes on or gives up.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Result<Place<'a>, Error> {
        let taken = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(waiting);
        if taken < queue { Ok(place) } else { Err(Error::Busy) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A hash of no password that anybody knows, as dear to verify as one of an account.
fn nobodys(params: &Params, clock: &Clock) -> String {
    let (salt, hash) = (clock.random::<16>(), clock.random::<32>());
    let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${hash}")
}

fn hash(params: &Params, password: &SecretString, salt: [u8; 16]) -> Result<String, Error> {
    let text = SecretString::from(password_policy::normalised(password.expose_secret()));
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_with_salt(text.expose_secret().as_bytes(), &salt);
    hash.map(|hash: PasswordHash| hash.to_string()).map_err(|error| Error::Parameters(error.to_string()))
}

fn matches(stored: &str, password: &SecretString) -> bool {
    let text = SecretString::from(password_policy::normalised(password.expose_secret()));
    Argon2::default().verify_password(text.expose_secret().as_bytes(), stored).is_ok()
}

/// An argon2id hash whose cost can be paid.
fn sane(stored: &str) -> bool {
    parameters(stored).is_some_and(|params| {
        params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES
    })
}

fn weaker(stored: &str, wanted: &Params) -> bool {
    parameters(stored).is_none_or(|params| {
        params.m_cost() < wanted.m_cost() || params.t_cost() < wanted.t_cost() || params.p_cost() < wanted.p_cost()
    })
}

fn parameters(stored: &str) -> Option<Params> {
    let hash = PasswordHash::new(stored).ok().filter(|hash| hash.algorithm.as_str() == "argon2id")?;
    Params::try_from(&hash).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Millis;

    fn hasher(cost: Cost) -> Hasher {
        Hasher::new(cost, Clock::fixed(Millis(1_790_000_000_000), 9)).unwrap()
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn r3_only_argon2id_hashes_come_out_and_spellings_are_one() {
        let hasher = hasher(Cost::tiny());
        let stored = hasher.hash(secret("tichá voda")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let decomposed = secret("ticha\u{301} voda");
        assert_eq!(
            hasher.verify(decomposed, Some(stored.clone())).await.unwrap(),
            Verdict::Accepted { rehashed: None }
        );
        assert_eq!(hasher.verify(secret("ticha voda"), Some(stored)).await.unwrap(), Verdict::Refused);
    }

    #[tokio::test]
    async fn r2_nobody_and_nonsense_are_refused() {
        let hasher = hasher(Cost::tiny());
        let absurd =
            "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$8fW2dWdHHqEkqWNR3r2sk0UJz9jZDN8xvmWEKMYJrfo";
        let weak_kind = "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$8fW2dWdHHqEkqWNR3r2sk0UJz9jZDN8xvmWEKMYJrfo";
        for stored in [None, Some(""), Some("plain"), Some(absurd), Some(weak_kind)] {
            assert_eq!(hasher.verify(secret("plain"), stored.map(str::to_owned)).await.unwrap(), Verdict::Refused);
        }
    }

    #[tokio::test]
    async fn r2_what_stands_in_for_nobodys_hash_is_verified_to_the_end() {
        let cost = Cost { memory_kib: 128, passes: 3, ..Cost::tiny() };
        let hasher = hasher(cost);
        let (dummy, real) = (&hasher.0.dummy, hasher.hash(secret("a")).await.unwrap());
        assert_eq!(parameters(dummy), parameters(&real));
        let shape = |text: &str| text.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(shape(dummy), shape(&real), "salt and hash are as long as those of an account");
        let verdict = Argon2::default().verify_password(b"a", dummy.as_str());
        assert!(matches!(verdict, Err(argon2::password_hash::Error::PasswordInvalid)), "{verdict:?}");
    }

    #[tokio::test]
    async fn weak_hashes_are_made_anew() {
        let old = hasher(Cost::tiny()).hash(secret("one two three")).await.unwrap();
        let hasher = hasher(Cost { memory_kib: 128, ..Cost::tiny() });
        let Verdict::Accepted { rehashed: Some(new) } =
            hasher.verify(secret("one two three"), Some(old)).await.unwrap()
        else {
            panic!("not made anew")
        };
        assert!(new.contains("m=128"), "{new}");
        assert_eq!(
            hasher.verify(secret("one two three"), Some(new)).await.unwrap(),
            Verdict::Accepted { rehashed: None }
        );
    }

    #[tokio::test]
    async fn beyond_the_queue_callers_are_sent_away_and_a_lost_caller_keeps_its_permit() {
        let hasher = hasher(Cost { permits: 1, queue: 1, memory_kib: 32 * 1024, passes: 4, ..Cost::tiny() });
        let first = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(secret("a")).await }
        });
        while hasher.0.permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.is_err());
        let (second, third) = tokio::join!(hasher.hash(secret("b")), hasher.hash(secret("c")));
        assert!(second.is_ok(), "waits for the permit that the lost caller's task still holds");
        assert!(matches!(third, Err(Error::Busy)));
        assert!(hasher.hash(secret("d")).await.is_ok());
    }
}
