//! What kinds of things there are, the two realms of people, and the relations between things. The words of these
//! enums are the words in the database.

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

words! {
    /// The kinds of entities. The order is the order in which a run applies them: what is pointed at comes first.
    Kind {
        Company = "company",
        Contact = "contact",
        User = "user",
        Group = "group",
        Ticket = "ticket",
        Device = "device",
        Session = "session",
        /// Never visible to a client (R87).
        Template = "template",
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
