//! What a run tells: counts, changes of a preview, what was refused, and the digest that binds a later run to a preview.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Outcome, Refusal};
use crate::model::change::Change;
use crate::model::id::RunId;
use crate::model::kind::{Kind, words};

words! {
    /// How a run ended.
    End {
        /// A preview: nothing was written.
        Planned = "planned",
        Done = "done",
        /// The guard stopped it: nothing was applied, `approve` applies exactly this.
        Held = "held",
        /// The read was not complete: nothing was concluded.
        Failed = "failed",
    }
}

/// Records that are named in a report: the first ones. Counts tell how many there were.
pub const MOST_NAMED: usize = 1_000;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub source: String,
    pub state: End,
    /// `None` where nothing changed, or for a preview.
    pub run: Option<RunId>,
    /// By the words of `Op`, and `read`, `same`, `bad`, `refused`.
    pub counts: BTreeMap<String, u64>,
    /// Only of a preview.
    pub changes: Vec<Change>,
    /// The first `MOST_NAMED`.
    pub refused: Vec<Refused>,
    /// SHA-256 over the sorted changes, in hexadecimal.
    pub digest: String,
    /// What the guard found, of a preview too: what would be held.
    pub stops: Vec<Stop>,
    /// Why it failed or was held.
    pub message: Option<String>,
    /// What somebody should know although all went well.
    pub remarks: Vec<String>,
}

impl Report {
    /// What a run came to that carried something out.
    pub(super) fn done(source: &str, run: Option<RunId>, digest: String, tally: Tally) -> Report {
        Report {
            source: source.to_owned(),
            state: End::Done,
            run,
            counts: tally.counts,
            changes: Vec::new(),
            refused: tally.refused,
            digest,
            stops: Vec::new(),
            message: None,
            remarks: tally.remarks,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes_made() == 0
    }

    pub fn changes_made(&self) -> u64 {
        changes_in(&self.counts)
    }
}

/// How many changes the counts tell of.
pub fn changes_in(counts: &BTreeMap<String, u64>) -> u64 {
    let no_change = ["read", "same", "bad", "refused"];
    counts.iter().filter(|(name, _)| !no_change.contains(&name.as_str())).map(|(_, count)| count).sum()
}

/// A record that was not taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    pub kind: Option<Kind>,
    pub key: String,
    pub reason: String,
}

/// A limit that would be passed (B2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// Not a limit but something else that a person must have seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// A kind (`user`) or a relation (`member`).
    pub what: String,
    pub losses: u64,
    pub held: u64,
    pub limit: u64,
}

impl Stop {
    pub fn limit(what: String, losses: u64, held: u64, limit: u64) -> Stop {
        Stop { reason: None, what, losses, held, limit }
    }

    /// So many changes, of a source that is read otherwise than it was.
    pub fn of_settings(changes: u64) -> Stop {
        let reason = "filter, base, mapping or identity of the source are others than at its last run";
        Stop { reason: Some(reason), what: "settings".to_owned(), losses: changes, held: 0, limit: 0 }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(reason) = self.reason {
            return write!(f, "{reason}: {} changes wait for somebody who has looked at them", self.losses);
        }
        let Stop { what, losses, held, limit, .. } = self;
        write!(f, "{what}: {losses} of {held} would be taken away, the limit is {limit}")?;
        match losses.saturating_mul(100).checked_div(*held) {
            Some(percent) => write!(f, " ({percent} percent)"),
            None => Ok(()),
        }
    }
}

/// Collects what a run does or would do.
#[derive(Debug, Default)]
pub struct Tally {
    pub counts: BTreeMap<String, u64>,
    pub refused: Vec<Refused>,
    pub remarks: Vec<String>,
    digests: Vec<[u8; 32]>,
}

impl Tally {
    pub fn add(&mut self, name: &str, count: u64) {
        if count > 0 {
            *self.counts.entry(name.to_owned()).or_default() += count;
        }
    }

    pub fn change(&mut self, change: &Change) {
        self.add(change.op.as_str(), 1);
        self.digests.push(digest_of(change));
    }

    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    pub fn changes(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.change(change);
        }
    }

    /// Adds the changes and the refused of another one.
    pub fn take_over(&mut self, other: Tally) {
        for (name, count) in other.counts {
            self.add(&name, count);
        }
        other.refused.into_iter().for_each(|refused| self.name(refused));
        self.digests.extend(other.digests);
    }

    /// What a run's row says of itself.
    pub fn told(&self) -> Option<String> {
        (!self.remarks.is_empty()).then(|| self.remarks.join("; "))
    }

    pub fn refuse(&mut self, outcome: &Outcome, refusal: &Refusal) {
        self.add("refused", 1);
        self.name(Refused { kind: outcome.kind, key: outcome.key.clone(), reason: refusal.to_string() });
    }

    pub fn name(&mut self, refused: Refused) {
        if self.refused.len() < MOST_NAMED {
            self.refused.push(refused);
        }
    }

    /// The same for the same changes, in whatever order they came.
    pub fn digest(&mut self) -> String {
        self.digests.sort_unstable();
        let mut hash = Sha256::new();
        for digest in &self.digests {
            hash.update(digest);
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Everything of a change that is known before it is made: not the id of what is yet to be created.
fn digest_of(change: &Change) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [change.op.as_str(), change.kind.as_str(), &change.source, &change.key, &change.label] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    for doc in [&change.before, &change.after] {
        hash.update(serde_json::to_vec(doc).unwrap_or_default());
        hash.update([0]);
    }
    hash.finalize().into()
}
