//! What the engine answers: per record what became of it and why not, and for the rooms that follow a change (scope,
//! licences, invitations) what was touched.

use std::collections::HashMap;

use super::report::Tally;
use super::world::World;
use crate::model::change::Change;
use crate::model::entity::Entity;
use crate::model::id::{EntityId, RunId};
use crate::model::kind::{Kind, Rel};
use crate::model::source::MatchRule;
use crate::store;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Another transaction was first with the same key or login; nothing stays, the same call may be tried again once.
    #[error("another change came first")]
    Race,
    /// A call that would take away more than its source may within an hour (B2).
    #[error(
        "{losses} removals or deactivations within an hour are more than the {limit} that source `{source_name}` may make"
    )]
    Held { source_name: String, losses: u64, limit: u64 },
    #[error(
        "another run of source `{0}` is under way (or its process was killed: then the source is free again after {after} seconds)",
        after = store::lease::LASTS / 1000
    )]
    Busy(String),
    #[error("the run lost its lease ({0}): another process may be at work, and nothing more was written")]
    Fenced(String),
    #[error("a batch has at most {most} records, this one has {found}")]
    TooMany { found: usize, most: usize },
    #[error("source `{0}` is not configured")]
    NoSource(String),
    #[error("run {0} does not exist")]
    NoRun(RunId),
    #[error("run {id} is {state} and waits for no approval")]
    NotHeld { id: RunId, state: String },
    #[error(
        "run {id} was read with other settings than `{source_name}` has now: `musterd plan {source_name}` shows what would be done \
         with these"
    )]
    OtherSettings { id: RunId, source_name: String },
    #[error("run {id} is {state}: only what a run has done can be taken back")]
    NotDone { id: RunId, state: String },
    /// Held changes that no longer fit, by label.
    #[error("changed since it was held: {}", .0.join(", "))]
    Moved(Vec<String>),
    #[error("the changes are not the expected ones: expected {expected}, found {found}")]
    NotExpected { expected: String, found: String },
    #[error("temporary file: {0}")]
    Spool(#[from] std::io::Error),
    /// A mistake of musterd's own; what it was stands in its log, and may speak of people.
    #[error("musterd itself went wrong; its log says where")]
    Panic,
    #[error("temporary file: {0}")]
    SpoolText(#[from] serde_json::Error),
}

impl Error {
    pub fn may_be_tried_again(&self) -> bool {
        match self {
            Error::Race => true,
            Error::Store(error) => error.may_be_tried_again(),
            _ => false,
        }
    }
}

/// Why a record was not taken. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `let_go`: the owner was this very source's, under another key (somebody comes back to a directory as a new entry). `had`:
    /// the login of who wanted it.
    #[error("login `{login}` is taken{}{}", .owner.map(|id| format!(" by {id}")).unwrap_or_default(), again(*.let_go))]
    LoginTaken { login: String, owner: Option<EntityId>, let_go: bool, had: Option<String> },
    /// There may be one of this value, and somebody has it (RFC 7643 section 7, `uniqueness`).
    #[error("`{attribute}`: the value is taken")]
    ValueTaken { attribute: String },
    /// A client makes anew whom it had disabled, under its own name for them: that one is meant.
    #[error("`externalId` is that of a disabled account of this source")]
    Former { owner: EntityId },
    #[error("more than one match by {rule:?}: {}", .candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous { rule: MatchRule, candidates: Vec<EntityId> },
    /// Two keys of one source mean the same thing.
    #[error("the same source knows it by another key{}", if .key.is_empty() { String::new() } else { format!(" ({key})") })]
    HeldByOtherKey { key: String },
    #[error("`{login}` is protected from this source")]
    Protected { login: String },
    #[error("it belongs to another realm")]
    OtherRealm,
    /// It was deleted by the operator, or purged: no sync brings it back (R72).
    #[error("it was deleted and is not brought back")]
    Deleted,
    #[error("does not exist")]
    NotFound,
    #[error("missing: {}", .fields.join(", "))]
    Missing { fields: Vec<String> },
    /// It could not be read or mapped, or breaks the contract of a record.
    #[error("{0}")]
    Bad(String),
}

fn again(let_go: bool) -> &'static str {
    if !let_go {
        return "";
    }
    ", whom this source let go of under another key; with `match = [\"login\"]` the new key takes the account up again"
}

impl Refusal {
    /// Whether it may be taken once something else has gone: a login, another key of the same thing.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Refusal::LoginTaken { .. } | Refusal::ValueTaken { .. } | Refusal::HeldByOtherKey { .. })
    }
}

/// What became of one record.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub kind: Option<Kind>,
    /// The source's key: for sources that use our ids, the id of the entity that was found.
    pub key: String,
    pub entity: Option<EntityId>,
    /// After the batch.
    pub version: i64,
    pub created: bool,
    /// A journal row was written.
    pub changed: bool,
    /// What the profile still needs (R5).
    pub missing: Vec<String>,
    /// What this source said and a more believed one does not let through.
    pub overruled: Vec<Overruled>,
    /// It asked for another login, and the profile does not let logins change (R8).
    pub login_kept: bool,
    pub refused: Option<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overruled {
    /// `name.familyName`, `urn:..:Agent:note`.
    pub attribute: String,
    /// The source whose word stands.
    pub owner: String,
}

#[derive(Debug, Default)]
pub struct Applied {
    pub changes: Vec<Change>,
    /// One per record, in their order.
    pub outcomes: Vec<Outcome>,
    /// What the records spoke of, as it is now.
    pub entities: HashMap<EntityId, Entity>,
    /// The run of the changes, if there were any.
    pub run: Option<RunId>,
    /// Somebody may wait for what was written: mails, events.
    pub wake: bool,
    /// Groups that another group was put into.
    pub nested: Vec<EntityId>,
    /// Somebody whom the records may mean was in the store.
    pub(super) found: bool,
    /// Of a run, what was counted of its changes already; those in `changes` are not.
    pub(super) counted: Tally,
    /// Of a run, what it was made of: to be let go of while its COMMIT waits for the disk.
    pub(super) spent: Option<World>,
}

impl Applied {
    pub fn refused(&self) -> impl Iterator<Item = (&Outcome, &Refusal)> {
        self.outcomes.iter().filter_map(|outcome| Some((outcome, outcome.refused.as_ref()?)))
    }

    /// The entity of a call that had one record.
    pub fn entity(&self) -> Option<&Entity> {
        self.entities.get(&self.outcomes.first()?.entity?)
    }
}

/// What a batch changed, for the rooms that must follow: in the same transaction, after the rows are written.
#[derive(Debug, Default)]
pub struct Touched<'t> {
    /// Before and after, of the entities whose row changed. No `before`: it is new.
    pub entities: Vec<(Option<&'t Entity>, &'t Entity)>,
    pub edges: Vec<EdgeChange>,
    /// Groups that another group was put into.
    pub nested: Vec<EntityId>,
}

impl Touched<'_> {
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.edges.is_empty()
    }
}

/// An edge that came or went, as far as both its ends are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeChange {
    pub rel: Rel,
    pub from: EntityId,
    pub to: EntityId,
    pub added: bool,
}
