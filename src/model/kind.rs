//! What kinds of things there are, the two realms of people, and the relations between things. The words of these
//! enums are the words in the database.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// A word of a fixed list was expected; `allowed` is that list, for the error that the caller shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not one of {allowed}")]
pub struct UnknownWord {
    pub found: String,
    pub allowed: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::kind::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    $crate::model::kind::UnknownWord {
                        found: text.to_owned(),
                        allowed: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use words;

/// The kinds of entities. The order is the order in which a run applies them: what is pointed at comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Company,
    Contact,
    User,
    Group,
    Ticket,
    Device,
    Session,
    /// Never visible to a client (R87).
    Template,
    /// A resource type of the operator's own files, which nobody but SCIM speaks of: sources that are read or pushed know
    /// only the kinds of `ALL`.
    Own(Own),
}

/// The word of a kind of the operator's own: `own-` and the name of its resource type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Own(&'static str);

/// Words of own kinds live as long as the program does: so many there may be, over all reloads.
const MOST_OWN: usize = 1000;
const OWN: &str = "own-";
static OWNED: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

impl Kind {
    /// Those that musterd knows without any file.
    pub const ALL: &'static [Kind] = &[
        Kind::Company,
        Kind::Contact,
        Kind::User,
        Kind::Group,
        Kind::Ticket,
        Kind::Device,
        Kind::Session,
        Kind::Template,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Company => "company",
            Kind::Contact => "contact",
            Kind::User => "user",
            Kind::Group => "group",
            Kind::Ticket => "ticket",
            Kind::Device => "device",
            Kind::Session => "session",
            Kind::Template => "template",
            Kind::Own(Own(word)) => word,
        }
    }

    /// The kind of an own resource type; `None` for what is no name of one (letters and digits, at most 64), or when
    /// there have been too many.
    pub fn own(name: &str) -> Option<Kind> {
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let word = format!("{OWN}{name}");
        if let Some(known) = Kind::owned(&word) {
            return Some(known);
        }
        let mut all = OWNED.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_OWN {
            return None;
        }
        let word: &'static str = word.leak();
        all.insert(word);
        Some(Kind::Own(Own(word)))
    }

    /// An own kind that has been spoken of since the start.
    fn owned(word: &str) -> Option<Kind> {
        let all = OWNED.read().unwrap_or_else(PoisonError::into_inner);
        all.get(word).map(|word| Kind::Own(Own(word)))
    }

    /// A word of the database, where a kind may stand whose file is gone.
    pub fn stored(word: &str) -> Result<Kind, UnknownWord> {
        word.strip_prefix(OWN).and_then(Kind::own).map_or_else(|| word.parse(), Ok)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Only the kinds of `ALL`: what is read here comes from outside.
impl std::str::FromStr for Kind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Kind, UnknownWord> {
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownWord {
            found: text.to_owned(),
            allowed: Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let word = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Kind::owned(&word).map_or_else(|| word.parse(), Ok).map_err(serde::de::Error::custom)
    }
}

words! {
    /// Where an account can log in. An account of one realm never satisfies a query of the other (R1, R2).
    Realm {
        /// Staff of the operator.
        Agent = "agent",
        /// External users: a customer's people.
        Client = "client",
    }
}

words! {
    /// Relations between entities, each row asserted by one source.
    Rel {
        /// group -> user or group
        Member = "member",
        /// user -> contact (R12)
        Pairing = "pairing",
        /// contact -> company
        WorksFor = "works_for",
        /// user -> company, with a role in the row's attributes (R53, R82)
        BelongsTo = "belongs_to",
        /// ticket, device, session -> contact
        Concerns = "concerns",
        /// device, session -> company, without a contact between (R18)
        Customer = "customer",
        /// user -> user
        Manager = "manager",
        /// contact -> contact that survived a merge; pairings follow it (R18)
        MergedInto = "merged_into",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_kinds_are_known_to_the_database_and_to_nobody_outside() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(Kind::stored(kind.as_str()), Ok(*kind));
        }
        assert!("own-Room".parse::<Kind>().unwrap_err().to_string().contains("company, contact"));
        assert!(serde_json::from_str::<Kind>("\"own-NobodyEverSaid\"").is_err());
        let room = Kind::own("Room").unwrap();
        assert_eq!((room.as_str(), Kind::stored("own-Room"), Kind::own("Room")), ("own-Room", Ok(room), Some(room)));
        assert_eq!(serde_json::from_str::<Kind>(&serde_json::to_string(&room).unwrap()).unwrap(), room);
        assert!(Kind::Template < room && room < Kind::own("Tool").unwrap());
        for bad in ["", "a b", "ä", "x:y", &"x".repeat(65)] {
            assert_eq!(Kind::own(bad), None, "{bad}");
        }
        assert!(Kind::stored("own-").is_err() && Kind::stored("rooms").is_err());
    }
}
