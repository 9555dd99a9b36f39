//! What a token may do. The text of a token is `credential::bearer`'s, its row is `store::token`'s.

use std::collections::BTreeSet;

use crate::model::kind::words;

words! {
    /// A token has any number of them.
    Scope {
        ScimRead = "scim:read",
        ScimWrite = "scim:write",
        /// Set passwords over SCIM.
        PasswordWrite = "password:write",
        /// The ticket visibility queries.
        Visibility = "visibility:read",
        /// Lists of people, companies, contacts, tickets, licences.
        ApiRead = "api:read",
        /// Create, change, invite.
        ApiWrite = "api:write",
        /// Write, list, send again and revoke invitations.
        Invitations = "invitations:write",
        /// Push records of the token's source.
        Push = "records:push",
        /// `credentials/verify`.
        Verify = "credentials:verify",
        /// Sources, runs, plan, sync, approve.
        Sync = "sync",
        /// What others must be told of.
        Events = "events:read",
        /// Acknowledge it.
        EventsWrite = "events:write",
        /// `/metrics` where it has no listener of its own.
        Metrics = "metrics:read",
    }
}

/// Scopes from words like `scim:read`; a word before the colon alone (`scim`, `api`) means all of its kind.
pub fn parse(words: &[String]) -> Result<BTreeSet<Scope>, crate::model::kind::UnknownWord> {
    let mut all = BTreeSet::new();
    for word in words.iter().flat_map(|word| word.split([',', ' '])).filter(|word| !word.is_empty()) {
        let family = Scope::ALL.iter().filter(|scope| scope.as_str().split(':').next() == Some(word));
        let before = all.len();
        all.extend(family);
        if all.len() == before {
            all.insert(word.parse()?);
        }
    }
    Ok(all)
}

/// The stored form: space separated. Words that this version does not know are left out.
pub fn of_text(text: &str) -> BTreeSet<Scope> {
    text.split(' ').filter_map(|word| word.parse().ok()).collect()
}

pub fn to_text(scopes: &BTreeSet<Scope>) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_single_scopes() {
        let scopes = parse(&["scim".to_owned(), "visibility:read,sync".to_owned()]).unwrap();
        assert_eq!(to_text(&scopes), "scim:read scim:write visibility:read sync");
        assert_eq!(of_text(&to_text(&scopes)), scopes);
        assert!(parse(&["scim:all".to_owned()]).unwrap_err().to_string().contains("scim:read"));
    }
}
