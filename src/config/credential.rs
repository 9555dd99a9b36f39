//! Section `[credentials]`: which password rules apply to whom, and what a hash costs.

use super::read::Section;
use crate::model::kind::Realm;
use crate::model::password_policy::PasswordPolicy;

#[derive(Debug, Clone)]
pub struct Credentials {
    pub agents: PasswordPolicy,
    pub clients: PasswordPolicy,
    pub cost: Cost,
    /// Generated passwords may be mailed in clear text where somebody asks for it (R54). Off by default.
    pub clear_text_mail: bool,
}

/// What a hash costs and how many are made at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
    /// Hashes at the same time.
    pub permits: usize,
    /// Callers that may wait for a permit.
    pub queue: usize,
}

impl Default for Cost {
    fn default() -> Self {
        let permits = std::thread::available_parallelism().map_or(2, usize::from);
        Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1, permits, queue: 64 }
    }
}

impl Cost {
    /// For tests: next to nothing.
    pub fn tiny() -> Cost {
        Cost { memory_kib: 64, passes: 1, lanes: 1, permits: 2, queue: 64 }
    }
}

impl Credentials {
    pub(super) fn read(section: &Section<'_>) -> Credentials {
        let hash = section.section("argon2");
        let default = Cost::default();
        let lanes = hash.integer("lanes", 1..=8, i64::from(default.lanes)) as u32;
        Credentials {
            agents: section.word("agents", PasswordPolicy::Nist),
            clients: section.word("clients", PasswordPolicy::Nist),
            cost: Cost {
                memory_kib: hash.integer("memory_kib", 64..=262_144, i64::from(default.memory_kib)) as u32,
                passes: hash.integer("passes", 1..=32, i64::from(default.passes)) as u32,
                lanes,
                permits: hash.integer("permits", 1..=256, default.permits as i64) as usize,
                queue: hash.integer("queue", 0..=10_000, default.queue as i64) as usize,
            },
            clear_text_mail: section.boolean("clear_text_mail", false),
        }
    }

    pub fn policy(&self, realm: Realm) -> PasswordPolicy {
        match realm {
            Realm::Agent => self.agents,
            Realm::Client => self.clients,
        }
    }
}
