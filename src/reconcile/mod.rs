//! The engine. Records of a named source go in; what changes is merged, planned, guarded and applied, in this order and for
//! every way in. Only `apply` changes people, links or licences.
//!
//! Never here: SQL texts, the network, HTTP words. Start with `apply` (a call, one transaction) and `run` (a long read);
//! both rest on `plan`, which reads and never writes.

mod ahead;
mod answer;
pub mod apply;
#[cfg(test)]
mod apply_tests;
mod approve;
#[cfg(test)]
mod approve_tests;
mod bound;
mod carry;
mod circles;
pub mod context;
mod correlate;
mod day;
mod edges;
mod event;
#[cfg(test)]
mod event_tests;
mod gather;
mod guard;
pub mod invite;
mod known;
mod ledger;
pub mod licence;
#[cfg(test)]
mod licence_tests;
mod look;
mod merge;
#[cfg(test)]
mod model_tests;
pub mod note;
mod overlay;
#[cfg(test)]
mod people_tests;
mod plan;
mod report;
mod reverse;
mod rounds;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod scope;
mod settle;
mod sound;
mod spool;
mod survey;
mod take;
mod tell;
mod turn;
mod undo;
#[cfg(test)]
mod undo_tests;
pub mod unique;
pub mod why;
#[cfg(test)]
mod why_tests;
mod world;
mod write;

pub use answer::{Applied, EdgeChange, Error, Outcome, Overruled, Refusal, Touched};
pub use apply::{apply, apply_seen, block};
pub use approve::{approve, would};
pub use context::{Context, Policies};
pub use day::{end_interrupted, told};
pub use known::{KnownSet, known, known_later};
pub use look::{Seen, look};
pub use report::{End, Refused, Report, Stop};
pub use run::{Mode, run};
pub use undo::{Undone, undo};
pub use why::why;

use crate::model::id::RunId;
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;
use crate::model::time::Millis;

/// The most records that one batch takes.
pub const MOST_RECORDS: usize = 500;

/// The same of people who give their logins to one another in a circle: none of them can go first.
const MOST_TOGETHER: usize = 4 * MOST_RECORDS;

/// Whether a source is about to let go of a key.
type Leaving<'a> = &'a (dyn Fn(Kind, &str) -> bool + Send + Sync);

/// What planning knows of the batch it works on.
struct Batch<'a> {
    cx: &'a Context,
    source: &'a SourcePolicy,
    run: RunId,
    at: Millis,
    /// What earlier batches of the same preview would have changed.
    overlay: Option<&'a overlay::Overlay>,
    /// Whether the source is about to let go of this key, because its complete read does not have it.
    leaving: Option<Leaving<'a>>,
}

impl Batch<'_> {
    fn leaving(&self, kind: Kind, key: &str) -> bool {
        self.leaving.is_some_and(|leaving| leaving(kind, key))
    }
}
