//! What the engine is given beside the store: time, who acts, and what is believed of each source. Nothing here is
//! global, so that a test can build its own world.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::model::catalogue::Catalogue;
use crate::model::change::Change;
use crate::model::document::Document;
use crate::model::entity::{Assertion, Entity, State};
use crate::model::hidden::{self, Hidden};
use crate::model::id::RunId;
use crate::model::kind::Kind;
use crate::model::profile::Profiles;
use crate::model::run::RunKind;
use crate::model::source::{SourceKind, SourcePolicy};
use crate::model::time::Millis;
use crate::model::unique::{self, Claim, Unique};
use crate::store::lease::Lease;

/// Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub policies: Arc<Policies>,
    /// Who: `token:<id>`, `source:<name>`, `operator:<name>`, `user:<id>`. Stands in the journal.
    pub actor: String,
    /// The run that the changes belong to. `None`: the source's run of the day, opened by its first change.
    pub run: Option<RunId>,
    /// What the transactions of a run must still hold; `None` where nobody else could be at work.
    pub(super) lease: Option<Lease>,
    /// The run takes back what another one did.
    pub(super) undoing: Option<Arc<Undoing>>,
    /// Runs of the day that are known to be in the database: saves a statement per call.
    pub(super) opened: Arc<Mutex<HashSet<RunId>>>,
}

impl Context {
    pub fn new(clock: Clock, policies: Arc<Policies>, actor: impl Into<String>) -> Context {
        Context { clock, policies, actor: actor.into(), run: None, lease: None, undoing: None, opened: Arc::default() }
    }

    /// The same world, another actor.
    #[must_use]
    pub fn acting_as(&self, actor: impl Into<String>) -> Context {
        Context { actor: actor.into(), ..self.clone() }
    }

    #[must_use]
    pub(super) fn within(&self, run: RunId) -> Context {
        Context { run: Some(run), ..self.clone() }
    }

    #[must_use]
    pub(super) fn undoing(&self, what: Undoing) -> Context {
        Context { undoing: Some(Arc::new(what)), ..self.clone() }
    }

    /// What a run of this source is.
    pub(super) fn kind_of(&self, source: &SourcePolicy) -> RunKind {
        if self.undoing.is_some() { RunKind::Undo } else { RunKind::from(source.kind) }
    }

    pub(super) fn is_open(&self, run: RunId) -> bool {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    pub(super) fn opened(&self, run: RunId) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.len() > 1_000 {
            opened.clear(); // days of uptime, not a loss: the next call asks the database again
        }
        opened.insert(run);
    }
}

/// What the records of an undoing run cannot say.
#[derive(Debug, Default)]
pub(super) struct Undoing {
    /// What was there before the run that is taken back, under keys that came with it: it loses the key and stays.
    pub older: HashSet<(Kind, String)>,
}

/// The id of the run that a source's calls of one day share: every process comes to the same without asking.
pub fn run_of_day(source: &str, at: Millis) -> RunId {
    let mut hash = Sha256::new();
    hash.update(b"run of the day\0");
    hash.update(at.0.div_euclid(Millis::DAY).to_be_bytes());
    hash.update(source.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    RunId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Every configured source, and what accounts must carry.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_name: BTreeMap<String, SourcePolicy>,
    pub profiles: Profiles,
    /// What licences there are; an empty one knows none.
    pub catalogue: Arc<Catalogue>,
    /// Attributes of the operator's schemas whose values are kept unique.
    pub uniques: Arc<[Unique]>,
    /// And those that are never shown.
    pub hidden: Arc<[Hidden]>,
}

impl Policies {
    pub fn new(sources: impl IntoIterator<Item = SourcePolicy>) -> Policies {
        let by_name = sources.into_iter().map(|source| (source.name.clone(), source)).collect();
        Policies { by_name, ..Policies::default() }
    }

    #[must_use]
    pub fn with_profiles(mut self, profiles: Profiles) -> Policies {
        self.profiles = profiles;
        self
    }

    #[must_use]
    pub fn with_catalogue(mut self, catalogue: Arc<Catalogue>) -> Policies {
        self.catalogue = catalogue;
        self
    }

    #[must_use]
    pub fn with_uniques(mut self, uniques: Vec<Unique>) -> Policies {
        self.uniques = uniques.into();
        self
    }

    #[must_use]
    pub fn with_hidden(mut self, hidden: Vec<Hidden>) -> Policies {
        self.hidden = hidden.into();
        self
    }

    /// As a change is shown.
    pub fn mask(&self, change: &mut Change) {
        for document in [&mut change.before, &mut change.after] {
            hidden::mask(&self.hidden, change.kind, document);
        }
    }

    /// The values of a document of which there may be one.
    pub fn claims(&self, kind: Kind, doc: &Document) -> Vec<Claim> {
        if self.uniques.is_empty() { Vec::new() } else { unique::claims(&self.uniques, kind, doc) }
    }

    /// Those of a thing as it is stored.
    pub fn claims_of(&self, entity: &Entity) -> Vec<Claim> {
        if entity.state == State::Tombstone { Vec::new() } else { self.claims(entity.kind, &entity.doc) }
    }

    pub fn get(&self, name: &str) -> Option<&SourcePolicy> {
        self.by_name.get(name)
    }

    pub fn all(&self) -> impl Iterator<Item = &SourcePolicy> {
        self.by_name.values()
    }

    /// Sorts sayings: the most believed first, equal ones by name. A source that left the configuration comes last.
    pub fn rank<'a>(&self, name: &'a str) -> (Reverse<i64>, &'a str) {
        (Reverse(self.get(name).map_or(i64::MIN, |policy| policy.priority)), name)
    }

    /// Whether somebody holds the thing of which these assertions speak. The operator's word about somebody whom another
    /// source brought is a remark and no hold: who left the directory must not stay because a name was once corrected by
    /// hand.
    pub fn hold<'a>(&self, assertions: impl Iterator<Item = &'a Assertion> + Clone) -> bool {
        let operator =
            |said: &Assertion| self.get(&said.source).is_some_and(|policy| policy.kind == SourceKind::Operator);
        // A source that only said "gone" did not bring it.
        let brought =
            assertions.clone().any(|said| !operator(said) && !said.doc.as_ref().is_some_and(Document::is_empty));
        assertions.filter(|said| !said.ended).any(|said| !(brought && operator(said)))
    }

    /// Whether some source may point at things by their values, so that a new value can be waited for.
    pub fn point_by_value(&self) -> bool {
        self.all().any(|policy| matches!(policy.kind, SourceKind::Ldap | SourceKind::Crm | SourceKind::Push))
    }
}
