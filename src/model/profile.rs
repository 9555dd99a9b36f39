//! What an account of each realm must carry and which of its attributes stay as they were created. The account sources
//! disagree on these points (R95), so they are configuration. Nothing here decides whether a fault is an error: a source
//! that sends too little makes an account `incomplete`, an operator is refused (R5); the engine knows which it was.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::Document;
use super::kind::Realm;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Attribute paths (`name.givenName`, `emails`) without which an account is incomplete.
    pub required: Vec<String>,
    /// Whether a login may change after creation (R8).
    pub login_mutable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    pub agent: Profile,
    pub client: Profile,
}

impl Default for Profiles {
    /// An agent's login follows its directory; a client's is immutable (R8).
    fn default() -> Self {
        let required = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Profiles {
            agent: Profile {
                required: required(&["userName", "name.givenName", "name.familyName", "emails"]),
                login_mutable: true,
            },
            client: Profile { required: required(&["userName", "displayName"]), login_mutable: false },
        }
    }
}

impl Profiles {
    pub fn of(&self, realm: Realm) -> &Profile {
        match realm {
            Realm::Agent => &self.agent,
            Realm::Client => &self.client,
        }
    }
}

impl Profile {
    /// All that is missing, not the first only (R4).
    pub fn missing(&self, doc: &Document) -> Vec<String> {
        self.required.iter().filter(|path| !present(doc, path)).cloned().collect()
    }
}

fn present(doc: &Document, path: &str) -> bool {
    let mut at = doc;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        match at.get(segment) {
            Some(Value::Object(inner)) if segments.peek().is_some() => at = inner,
            Some(value) => return segments.peek().is_none() && says_something(value),
            None => return false,
        }
    }
    false
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(inner) => !inner.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn r4_all_missing_fields_are_named_at_once() {
        let Value::Object(doc) = json!({"userName": "eva", "name": {"givenName": " "}, "emails": []}) else {
            unreachable!()
        };
        let profiles = Profiles::default();
        assert_eq!(profiles.agent.missing(&doc), ["name.givenName", "name.familyName", "emails"]);
        assert_eq!(profiles.of(Realm::Client).missing(&doc), ["displayName"]);
    }
}
