//! One change of one thing: the row that is audit, event, preview and undo at once.

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::id::{EntityId, RunId};
use super::kind::{Kind, words};
use super::time::Millis;

words! {
    /// What was done. The words appear in `plan`, in the journal and in events.
    Op {
        Create = "create",
        Update = "update",
        Disable = "disable",
        Enable = "enable",
        /// A source lets go of a thing that others still hold.
        Release = "release",
        Delete = "delete",
        Restore = "restore",
        Link = "link",
        Unlink = "unlink",
        Licence = "licence",
        Invite = "invite",
        Credential = "credential",
    }
}

/// A change, planned or done. `before` and `after` hold only the leaves that differ (for a creation: all of `after`);
/// what is gone is `null` in `after`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub op: Op,
    pub kind: Kind,
    /// `None` while a creation is only planned.
    pub entity: Option<EntityId>,
    /// How people know it: login, name, number.
    pub label: String,
    pub source: String,
    /// The source's key.
    pub key: String,
    pub before: Document,
    pub after: Document,
}

/// A `Change` as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Ascending in the order of writing; also the event's id.
    pub seq: i64,
    pub run: RunId,
    pub at: Millis,
    /// Who: `token:<id>`, `source:<name>`, `operator:<name>`, `user:<id>`.
    pub actor: String,
    #[serde(flatten)]
    pub change: Change,
}
