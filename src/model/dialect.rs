//! How an identity provider is spoken with: what of its habits is understood, and how it is answered. The schema and the
//! standard say what is right; this says what of the rest is forgiven. Knows no request. Start with `Dialect`.

use super::kind::words;

words! {
    /// Identity providers whose habits are known.
    Preset {
        Entra = "entra",
        Okta = "okta",
        OneLogin = "onelogin",
        JumpCloud = "jumpcloud",
        Google = "google",
        Ping = "ping",
        Authentik = "authentik",
        Keycloak = "keycloak",
    }
}

words! {
    /// Which types answer a PUT or PATCH with the resource as it is now; the others say 204.
    Echo {
        All = "all",
        /// Groups say 204: nobody wants all of their members for one that was added.
        Users = "users",
        None = "none",
    }
}

words! {
    /// What becomes of a member of whom nobody has heard yet.
    UnknownMembers {
        /// Kept, and in the group from the moment that it appears.
        Pending = "pending",
        /// The request is refused, and changes nothing.
        Refuse = "refuse",
    }
}

words! {
    /// What becomes of an attribute that no schema has.
    UnknownAttributes {
        /// Left out, with a line in the log.
        Ignore = "ignore",
        Reject = "reject",
    }
}

words! {
    Mode {
        /// Whatever can mean one thing only is understood.
        Tolerant = "tolerant",
        /// Nothing but RFC 7643 and RFC 7644.
        Strict = "strict",
    }
}

words! {
    /// What a POST of somebody means whom the source has disabled, under the same `externalId`.
    Rehire {
        /// The same account, enabled.
        Reactivate = "reactivate",
        /// A conflict: the client has to enable it.
        Refuse = "refuse",
    }
}

words! {
    /// Which resource types are served.
    Types {
        /// Users and groups.
        People = "people",
        /// Companies and contacts of the CRM, too, and what the operator's files add.
        All = "all",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub preset: Option<Preset>,
    pub echo: Echo,
    pub unknown_members: UnknownMembers,
    pub unknown_attributes: UnknownAttributes,
    pub mode: Mode,
    pub rehire: Rehire,
    pub types: Types,
}

impl Dialect {
    /// What the provider needs; without one what serves them all.
    pub const fn of(preset: Option<Preset>) -> Dialect {
        Dialect {
            preset,
            echo: match preset {
                Some(Preset::Entra) => Echo::Users,
                _ => Echo::All,
            },
            unknown_members: UnknownMembers::Pending,
            unknown_attributes: UnknownAttributes::Ignore,
            mode: Mode::Tolerant,
            rehire: Rehire::Reactivate,
            types: Types::People,
        }
    }

    pub fn is_strict(self) -> bool {
        self.mode == Mode::Strict
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect::of(None)
    }
}
