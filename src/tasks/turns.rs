//! Turns at things with a name, one at a time each: a source that is polled, a webhook that is told. Within this process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Whose turn is taken. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<BTreeSet<String>>>);

/// It ends when this is dropped.
pub struct Turn {
    turns: Turns,
    name: String,
}

impl Turns {
    /// `None`: somebody has it.
    pub fn take(&self, name: &str) -> Option<Turn> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        fresh.then(|| Turn { turns: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_taken_once_at_a_time() {
        let turns = Turns::default();
        let turn = turns.take("hq").unwrap();
        assert!(turns.clone().take("hq").is_none() && turns.take("other").is_some());
        drop(turn);
        assert!(turns.take("hq").is_some());
    }
}
