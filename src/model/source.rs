//! What the engine must know of a source: not how it is read, but what it may say and how it is believed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::kind::{Realm, words};

words! {
    /// How a source's records come in.
    SourceKind {
        /// An identity provider pushes over SCIM.
        Scim = "scim",
        /// A directory is polled.
        Ldap = "ldap",
        /// A CRM is polled by a connector.
        Crm = "crm",
        /// Jobs push NDJSON records.
        Push = "push",
        /// The operator's own words: API, CLI, accepted invitations.
        Operator = "operator",
    }
}

words! {
    /// What becomes of a thing that no source holds any more.
    Absence {
        /// Deactivated and kept.
        Disable = "disable",
        /// A tombstone at once.
        Delete = "delete",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePolicy {
    /// The name in the configuration.
    pub name: String,
    pub kind: SourceKind,
    /// The realm of the people it brings. `None` only for sources that bring no people.
    pub realm: Option<Realm>,
    /// A customer's own identity provider is bound to one company (its `number`): what lies outside does not exist for it.
    pub company: Option<String>,
    /// The highest source that speaks of an attribute wins; equal ones by name.
    pub priority: i64,
    /// How a key that was never seen finds the entity it means, tried in order. None of them = always a new entity.
    pub match_rules: Vec<MatchRule>,
    pub guard: Guard,
    pub absence: Absence,
    /// New people with an e-mail address are invited (clients) or sent credentials.
    pub invite: bool,
    /// Attributes whose values are joined over all sources instead of taken from the highest.
    pub union: BTreeSet<String>,
    /// Logins that this source must never touch, folded.
    pub protected: BTreeSet<String>,
}

/// Never across realms, never onto a protected account. More than one candidate = a conflict, nothing is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchRule {
    /// Same `userName` (users) or name (groups).
    Login,
    /// Same e-mail address. Only for sources that are trusted for it.
    Email,
    EmployeeNumber,
    /// Same `number` (companies, contacts, tickets).
    Number,
}

/// How much a run may take away before it stops for approval (B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Percent of what the source holds of the kind.
    pub percent: u32,
    /// The limit is the larger of this count and the percentage.
    pub count: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Guard { percent: 5, count: 5 }
    }
}

impl Guard {
    /// Whether taking away `losses` of `held` must wait for a person. Everything at once always must, be it one.
    pub fn stops(&self, losses: u64, held: u64) -> bool {
        losses > 0 && (losses > self.limit(held) || losses >= held)
    }

    pub fn limit(&self, held: u64) -> u64 {
        self.count.max(held.saturating_mul(u64::from(self.percent)) / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_the_larger_of_count_and_percentage_and_never_everything() {
        let guard = Guard::default();
        assert!(!guard.stops(0, 0));
        assert!(!guard.stops(5, 20), "five are always allowed");
        assert!(guard.stops(6, 20));
        assert!(!guard.stops(50, 1000) && guard.stops(51, 1000));
        for held in 1..=5 {
            assert!(guard.stops(held, held), "all {held} at once");
        }
    }
}
