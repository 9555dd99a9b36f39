//! A run: one pass of the engine over what a source said. Polls have one each; the calls of a pushing source share one
//! per day, whose counts are those of its journal rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::RunId;
use super::kind::words;
use super::source::SourceKind;
use super::time::Millis;

words! {
    RunKind {
        Poll = "poll",
        Push = "push",
        Scim = "scim",
        Operator = "operator",
        Undo = "undo",
    }
}

impl From<SourceKind> for RunKind {
    fn from(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Scim => RunKind::Scim,
            SourceKind::Ldap | SourceKind::Crm => RunKind::Poll,
            SourceKind::Push => RunKind::Push,
            SourceKind::Operator => RunKind::Operator,
        }
    }
}

words! {
    RunState {
        /// Also the day's run of a pushing source.
        Running = "running",
        Done = "done",
        /// Nothing was concluded and nothing applied; the message says why.
        Failed = "failed",
        /// The guard stopped it; nothing was applied. It waits for approval.
        Held = "held",
        /// Was held, and was applied by a person's word.
        Approved = "approved",
        /// Was held, and a newer run took its place.
        Superseded = "superseded",
    }
}

/// Row of table `run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub source: String,
    pub kind: RunKind,
    pub state: RunState,
    pub started: Millis,
    pub ended: Option<Millis>,
    /// By the words of `Op`, and `read`, `same`, `bad`, `refused`.
    pub counts: BTreeMap<String, u64>,
    /// Of the planned changes, as `plan` prints it.
    pub digest: Option<String>,
    pub message: Option<String>,
}
