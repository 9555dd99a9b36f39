//! Tokens that were found to be right a moment ago, so that not every request asks the database. What is kept counts for
//! one second at most: that is how late a revocation at another replica is seen; one of this process counts at once
//! (`forget`). Never decides anything: hash, expiry and source are judged by `http::auth` on every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::token::Token;

/// How long an answer of the store counts, from the moment it was asked.
pub const LIFE: Duration = Duration::from_secs(1);
/// Tokens that are kept at once; beyond them the store is asked.
const MOST: usize = 1024;

#[derive(Default)]
pub struct Memory(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tokens: HashMap<String, (Arc<Token>, Instant)>,
    /// Revocations so far.
    revoked: u64,
}

/// A question that is about to be put to the store. Its answer may be kept unless a token was revoked in the meantime.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    at: Instant,
    revoked: u64,
}

impl Memory {
    pub fn get(&self, id: &str, now: Instant) -> Option<Arc<Token>> {
        self.inner().tokens.get(id).filter(|(_, at)| is_fresh(*at, now)).map(|(token, _)| token.clone())
    }

    /// To be called before the store is asked.
    pub fn ask(&self, now: Instant) -> Asked {
        Asked { at: now, revoked: self.inner().revoked }
    }

    /// Only for a token that its bearer has proved to have: guessed ids fill nothing.
    pub fn keep(&self, asked: Asked, token: Arc<Token>) {
        let mut inner = self.inner();
        if inner.revoked != asked.revoked {
            return;
        }
        if inner.tokens.len() >= MOST {
            inner.tokens.retain(|_, (_, at)| is_fresh(*at, asked.at));
        }
        if inner.tokens.len() < MOST {
            inner.tokens.insert(token.id.clone(), (token, asked.at));
        }
    }

    /// The token was revoked, and the revocation is committed.
    pub fn forget(&self, id: &str) {
        let mut inner = self.inner();
        inner.revoked += 1;
        inner.tokens.remove(id);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Millis;

    fn token(id: &str) -> Arc<Token> {
        Arc::new(Token {
            id: id.to_owned(),
            hash: vec![1],
            label: String::new(),
            source: None,
            subject: None,
            scopes: String::new(),
            created: Millis(0),
            expires: Millis(10),
            revoked: None,
            last_used: None,
        })
    }

    #[test]
    fn s36_a_token_is_remembered_for_a_second_and_not_beyond_its_revocation() {
        let (memory, start) = (Memory::default(), Instant::now());
        memory.keep(memory.ask(start), token("a"));
        assert!(memory.get("a", start + Duration::from_millis(999)).is_some());
        assert!(memory.get("a", start + LIFE).is_none(), "from the question on, not from the answer");
        assert!(memory.get("b", start).is_none());

        let asked = memory.ask(start);
        memory.forget("a");
        assert!(memory.get("a", start).is_none());
        memory.keep(asked, token("a"));
        assert!(memory.get("a", start).is_none(), "the answer may be from before the revocation");
        memory.keep(memory.ask(start), token("a"));
        assert!(memory.get("a", start).is_some());
    }

    #[test]
    fn s36_the_memory_is_bounded_and_frees_itself() {
        let (memory, start) = (Memory::default(), Instant::now());
        for n in 0..MOST {
            memory.keep(memory.ask(start), token(&n.to_string()));
        }
        memory.keep(memory.ask(start), token("late"));
        assert!(memory.get("late", start).is_none());
        let later = start + LIFE;
        memory.keep(memory.ask(later), token("late"));
        assert!(memory.get("late", later).is_some());
        assert_eq!(memory.inner().tokens.len(), 1);
    }
}
