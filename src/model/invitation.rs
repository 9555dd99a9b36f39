//! Links that let somebody accept an invitation or set a password: what they carry, how long they live, and what may
//! become of them. The states are the words in table `link`. A link is used once; whoever reads the mail without acting
//! (a scanner) changes nothing.

use serde::{Deserialize, Serialize};

use super::id::EntityId;
use super::kind::{Realm, words};
use super::time::Millis;

words! {
    /// What the link is for.
    Purpose {
        /// Accept an invitation: set a password, or join a company with the account one has.
        Invitation = "invitation",
        /// Set a password of an account that exists.
        Password = "password",
    }
}

words! {
    LinkState {
        /// Its mail waits in the outbox.
        Pending = "pending",
        /// Its mail was handed to the mail server.
        Sent = "sent",
        /// Used.
        Accepted = "accepted",
        Expired = "expired",
        Revoked = "revoked",
        /// Another link took its place (R64: the old one is dead).
        Superseded = "superseded",
    }
}

words! {
    /// A client's role in one company: exactly these (R82).
    Role {
        Member = "Member",
        Moderator = "Moderator",
        Administrator = "Administrator",
    }
}

/// An invitation is valid for 7 days, to the millisecond (R63).
pub const INVITATION_LIFE: i64 = 7 * Millis::DAY;
/// Milliseconds that a set-password link is valid.
pub const PASSWORD_LIFE: i64 = 2 * Millis::DAY;

/// What the store keeps of a link besides its columns: JSON without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkData {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub given_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family_name: String,
    /// As it was asked for; `model::language::Language::wished` makes one of ours of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The company's name as it was when the invitation was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// The name of the person who invited, as the mail shows it; the actor stands in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inviter: Option<String>,
    /// How the person logs in, where it is known already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The realm that the account is, or will be, in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<Realm>,
}

/// Row of table `link`, without the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: String,
    pub purpose: Purpose,
    /// The account. `None`: it is created when the invitation is accepted.
    pub entity: Option<EntityId>,
    pub email: String,
    pub company: Option<EntityId>,
    pub role: Option<Role>,
    pub data: LinkData,
    pub state: LinkState,
    pub created: Millis,
    pub expires: Millis,
    pub used: Option<Millis>,
}

/// Why a link cannot be used. To somebody who only holds the link, revoked and superseded look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    Expired,
    Used,
    Revoked,
}

impl Purpose {
    /// Milliseconds from being written to `expires`.
    pub const fn life(self) -> i64 {
        match self {
            Purpose::Invitation => INVITATION_LIFE,
            Purpose::Password => PASSWORD_LIFE,
        }
    }
}

impl LinkState {
    /// Whether it still lives, its time aside.
    pub const fn is_open(self) -> bool {
        matches!(self, LinkState::Pending | LinkState::Sent)
    }
}

impl Link {
    /// Whether the link can be used at `now`; at the very millisecond of `expires` it cannot.
    pub fn standing(&self, now: Millis) -> Result<(), Dead> {
        match self.state {
            LinkState::Accepted => Err(Dead::Used),
            LinkState::Revoked | LinkState::Superseded => Err(Dead::Revoked),
            LinkState::Expired => Err(Dead::Expired),
            LinkState::Pending | LinkState::Sent if now >= self.expires => Err(Dead::Expired),
            LinkState::Pending | LinkState::Sent => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(state: LinkState) -> Link {
        let created = Millis(1_790_000_000_000);
        Link {
            id: "l".to_owned(),
            purpose: Purpose::Invitation,
            entity: None,
            email: "eva@acme.test".to_owned(),
            company: None,
            role: Some(Role::Member),
            data: LinkData::default(),
            state,
            created,
            expires: created.plus(INVITATION_LIFE),
            used: None,
        }
    }

    #[test]
    fn r63_an_invitation_is_valid_for_seven_days_to_the_second() {
        let link = link(LinkState::Sent);
        let end = link.created.plus(7 * 24 * 60 * 60 * 1000);
        assert_eq!(link.standing(link.created), Ok(()));
        assert_eq!(link.standing(end.plus(-1)), Ok(()));
        assert_eq!(link.standing(end), Err(Dead::Expired));
    }

    #[test]
    fn r64_only_open_links_can_be_used() {
        let now = Millis(1_790_000_000_001);
        for state in LinkState::ALL {
            let standing = link(*state).standing(now);
            assert_eq!(standing.is_ok(), state.is_open(), "{state}");
        }
        assert_eq!(link(LinkState::Accepted).standing(now), Err(Dead::Used));
        assert_eq!(link(LinkState::Superseded).standing(now), Err(Dead::Revoked));
    }

    #[test]
    fn r82_roles_are_exactly_three() {
        let words: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        assert_eq!(words, ["Member", "Moderator", "Administrator"]);
        assert!("member".parse::<Role>().is_err());
    }
}
