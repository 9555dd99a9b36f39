//! Ids that musterd makes itself. They are never taken from outside: what a source calls a thing is its `key`, kept in
//! the assertion, and can never become one of these (a number chosen by an identity provider must not name a person).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        /// Only the hyphenated lower-case form is an id: one thing has one spelling, so a look-up never has to fold.
        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                // Of the spellings that the parser takes only this one has 36 characters.
                if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(NotAnId);
                }
                Uuid::try_parse(text).map($name).map_err(|_| NotAnId)
            }
        }
    };
}

uuid_id! {
    /// A user, group, company, contact or ticket. Also its SCIM `id`.
    EntityId
}
uuid_id! {
    /// One pass of the engine that may change something.
    RunId
}

/// The text is not an id of musterd. For a caller that is the same as "does not exist".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a lower-case hyphenated UUID")]
pub struct NotAnId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_one_spelling() {
        let id = "0198c0de-7a11-7abc-8def-0123456789ab";
        assert_eq!(id.parse::<EntityId>().unwrap().to_string(), id);
        for other in ["0198C0DE-7A11-7ABC-8DEF-0123456789AB", "0198c0de7a117abc8def0123456789ab", "1", ""] {
            assert_eq!(other.parse::<EntityId>(), Err(NotAnId), "{other}");
        }
    }
}
