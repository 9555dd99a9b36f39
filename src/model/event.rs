//! What somebody outside must be told of, and about what. Pure: `reconcile::event` raises, `tasks::notify` tells.

use serde::Serialize;

use super::document::Document;
use super::entity::{Entity, State, urn};
use super::fold;
use super::kind::{Kind, Realm, words};
use super::time::Millis;

words! {
    /// What an event says.
    Topic {
        /// An agent of this telephone exchange was created, changed or deleted (R37).
        PbxReloadRequired = "pbx.reload_required",
        /// Runs of this source fail, and not just once where the next one may go through.
        SourceFailing = "source.failing",
        /// A run of this source waits until somebody has decided.
        SourceHeld = "source.held",
    }
}

impl Topic {
    /// What the subject is called in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Topic::PbxReloadRequired => "pbx",
            Topic::SourceFailing | Topic::SourceHeld => "source",
        }
    }

    /// What whoever is told is to do, where the topic does not say it. What a server answered is in no message: it may be
    /// of anybody.
    pub fn advice(self, subject: &str) -> Option<String> {
        match self {
            Topic::PbxReloadRequired => None,
            Topic::SourceFailing => Some(format!(
                "runs of {subject} fail, and what it says reaches nobody: `musterd sources` says why, and the next run that \
                 goes through closes this"
            )),
            Topic::SourceHeld => Some(format!(
                "a run of {subject} waits and nothing of it is applied: `musterd runs` names it, `musterd run RUN` shows \
                 what it would do, `musterd approve RUN` does it"
            )),
        }
    }
}

/// What one transaction says of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub topic: Topic,
    /// Folded: what is compared.
    pub subject: String,
    /// As it was written.
    pub label: String,
    pub word: Word,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// So many changes, at least one.
    More(i64),
    /// Nothing is left to be done; who says so.
    Over(String),
}

/// One thing that somebody outside must do, for however many changes, until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub id: String,
    pub topic: Topic,
    #[serde(rename = "subject")]
    pub label: String,
    /// Only grows: who acknowledges says how many it knows of.
    pub changes: i64,
    /// When the first of them came.
    pub raised: Millis,
    /// When the last of them came.
    pub changed: Millis,
    pub acknowledged: Option<Millis>,
    pub acknowledged_by: Option<String>,
}

/// The telephone exchange of a member of staff: folded, and as it is written.
pub fn pbx_of(realm: Option<Realm>, doc: &Document) -> Option<(String, &str)> {
    let name = doc.get(urn::AGENT)?.get("pbx")?.as_str()?.trim();
    (realm == Some(Realm::Agent) && !name.is_empty()).then(|| (fold::key(name), name))
}

/// The exchanges that must be told of a change: the one that was left, too. A version that did not change is none.
pub fn exchanges<'e>(before: Option<&'e Entity>, now: &'e Entity) -> Vec<(String, &'e str)> {
    if now.kind != Kind::User || before.is_some_and(|before| before.version == now.version) {
        return Vec::new();
    }
    let living = [before, Some(now)].into_iter().flatten().filter(|entity| entity.state != State::Tombstone);
    let mut all: Vec<(String, &str)> = living.filter_map(|entity| pbx_of(entity.realm, &entity.doc)).collect();
    all.dedup_by(|one, other| one.0 == other.0);
    all
}
