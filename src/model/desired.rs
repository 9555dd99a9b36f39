//! What a source says. Every way in (SCIM call, LDAP page, CRM poll, pushed NDJSON, API call, accepted invitation)
//! ends as `Record`s here and goes to `reconcile`; nothing else changes people, links or licences.
//!
//! Value, empty and silent are three different things: an attribute present in `attributes` is asserted, `null` asserts
//! that it is empty, an absent one means the source does not speak of it. The same for relations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::EntityId;
use super::kind::{Kind, Realm, Rel};

/// One thing as one source wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    pub kind: Kind,
    /// The source's own immutable id: entryUUID, objectGUID, CRM id; for a SCIM source the entity id itself. Never a name
    /// or DN.
    pub key: String,
    /// Only where the mapping decides it; otherwise the source's realm.
    pub realm: Option<Realm>,
    /// Another name by which the same source points at this thing in relations: the normalised DN.
    pub alias: Option<String>,
    /// SCIM-shaped: the attribute names and nesting of `schemas/`, extensions under their URN. Without `id`, `meta`,
    /// `groups`, `members`, `password`.
    pub attributes: Map<String, Value>,
    pub write: Write,
    /// Relations that this source speaks of. A relation that is absent here stays as it was.
    pub relations: BTreeMap<Rel, Targets>,
    /// Digest of the raw record and the mapping it went through, where the source compares by it.
    pub digest: Option<Digest>,
}

impl Desired {
    /// Whether the source says that it is not active.
    pub fn switches_off(&self) -> bool {
        self.attributes.get("active") == Some(&Value::Bool(false))
    }
}

/// How `attributes` relate to what the source said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// They are all it says (POST, a directory entry, a CRM record).
    Whole,
    /// They are changes of what it said (PATCH, the changed part of a PUT); `null` = from now on empty.
    Merge,
}

/// The far ends of one relation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Targets {
    /// Exactly these, as far as this source is concerned.
    Whole(Vec<Target>),
    /// Row deltas: never a read-modify-write of the whole. Adding what is there and removing what is not are no errors.
    Delta { add: Vec<Target>, remove: Vec<Target> },
}

/// One far end, with the attributes of the row (`{"role": "Member"}`, `{"display": ..}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub to: Ref,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
}

impl From<Ref> for Target {
    fn from(to: Ref) -> Self {
        Target { to, attributes: Map::new() }
    }
}

/// How a source points at something. What cannot be resolved yet is kept and resolved when its end appears.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ref {
    /// musterd's own id. Unknown = refused or pending, by the caller's policy.
    Id(EntityId),
    /// The same source's key.
    Key(Kind, String),
    /// The same source's alias (a normalised DN).
    Alias(String),
    /// Any source's thing of this kind by an indexed attribute, e.g. `(Contact, "number", "4711")`; the value is folded.
    Match { kind: Kind, attribute: String, value: String },
}

impl Ref {
    /// The text stored in `edge.target`: one far end has one text per source.
    pub fn stored(&self) -> String {
        match self {
            Ref::Id(id) => format!("id:{id}"),
            Ref::Key(kind, key) => format!("key:{kind}:{key}"),
            Ref::Alias(alias) => format!("alias:{alias}"),
            Ref::Match { kind, attribute, value } => format!("match:{kind}:{attribute}:{value}"),
        }
    }

    /// What `stored` made this text of; `None` where it made it of nothing.
    pub fn of_stored(text: &str) -> Option<Ref> {
        let (word, rest) = text.split_once(':')?;
        match word {
            "id" => Some(Ref::Id(rest.parse().ok()?)),
            "alias" => Some(Ref::Alias(rest.to_owned())),
            "key" => {
                let (kind, key) = rest.split_once(':')?;
                Some(Ref::Key(Kind::stored(kind).ok()?, key.to_owned()))
            }
            "match" => {
                let (kind, rest) = rest.split_once(':')?;
                let (attribute, value) = rest.split_once(':')?;
                let kind = Kind::stored(kind).ok()?;
                Some(Ref::Match { kind, attribute: attribute.to_owned(), value: value.to_owned() })
            }
            _ => None,
        }
    }
}

/// First 16 bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

/// One item of a source's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Present(Box<Desired>),
    /// Read, and its digest is the known one: nothing to do, and it is there.
    Same {
        kind: Kind,
        key: String,
    },
    /// The source says itself that it is gone (SCIM DELETE, a tombstone): not the absence from a list.
    Gone {
        kind: Kind,
        key: String,
    },
    /// Unreadable or unmappable. It is reported and *counts as present*: an error is never an absence.
    Bad {
        kind: Option<Kind>,
        key: Option<String>,
        reason: String,
        /// One thing could be read all the same: the source says that it is switched off.
        #[serde(default)]
        off: bool,
    },
}

/// What a batch speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Of everything the source holds of these kinds: what is not in it is absent (only if the read was complete).
    Whole,
    /// Of the records in it alone.
    Only,
}

/// A piece of a long read, sent through a bounded channel from the reader to the engine. A channel that closes without
/// `End` was an incomplete read.
#[derive(Debug)]
pub enum Chunk {
    Records(Vec<Record>),
    /// Keys of what is there, whatever it says: it may be spoken of as well.
    There {
        kind: Kind,
        keys: Vec<String>,
    },
    End(End),
}

/// The last word of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything was read: every page, the last cookie empty, the final result code 0.
    Complete {
        /// Saved in the transaction of the data it stands for.
        cursor: Option<String>,
        /// The kinds that were read whole; only of these may something be absent.
        kinds: Vec<Kind>,
        scope: Scope,
        /// How it was read, and why so; for people.
        how: Option<String>,
        /// Of what decides which records come: filter, base, mapping, identity.
        fingerprint: Option<String>,
    },
    /// Nothing is concluded from this read, and why. `passes`: what stopped it may be over soon, and asking again does no harm.
    Incomplete { reason: String, passes: bool },
}

/// What the engine knows of a source's things, for readers that compare digests. The reader asks, the engine answers.
pub trait Known: Send + Sync {
    /// Whether this very digest is what was applied last.
    fn is(&self, kind: Kind, key: &str, digest: &Digest) -> bool;

    /// Whether the source holds it at all.
    fn holds(&self, kind: Kind, key: &str) -> bool;
}

/// Knows nothing: every record goes through the mapping.
pub struct Nothing;

impl Known for Nothing {
    fn is(&self, _: Kind, _: &str, _: &Digest) -> bool {
        false
    }

    fn holds(&self, _: Kind, _: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_reference_is_read_back() {
        let all = [
            Ref::Id(EntityId(uuid::Uuid::from_u128(7))),
            Ref::Key(Kind::Group, "a:b:c".to_owned()),
            Ref::Alias("cn=a:b,dc=x".to_owned()),
            Ref::Match { kind: Kind::Contact, attribute: "number".to_owned(), value: "47:11".to_owned() },
        ];
        for one in all {
            assert_eq!(Ref::of_stored(&one.stored()), Some(one));
        }
        for text in ["", "id:", "id:x", "key:nobody:1", "match:user:number", "renamed:alias:x"] {
            assert_eq!(Ref::of_stored(text), None, "{text}");
        }
    }
}
