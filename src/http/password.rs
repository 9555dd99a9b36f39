//! What it takes to set a password, whichever way it comes in: the policy first, the hash outside of any transaction, then
//! one transaction for the hash, the end of open links and the journal. Never logs or journals the secret.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::state::App;
use crate::model::change::{Change, Op};
use crate::model::document::Document;
use crate::model::id::EntityId;
use crate::model::invitation::{LinkState, Purpose};
use crate::model::kind::{Kind, Realm};
use crate::model::password_policy::{PasswordPolicy, Rule};
use crate::model::source::SourcePolicy;
use crate::reconcile::{self, Context, note};
use crate::store::{self, Tx, credential};

/// Every rule of the policy that the password breaks (R10).
#[derive(Debug, thiserror::Error)]
#[error("the password breaks the policy `{policy}`: {}", self.codes().join(", "))]
pub struct Broken {
    policy: PasswordPolicy,
    rules: Vec<Rule>,
    pub min_length: usize,
}

impl Broken {
    pub fn codes(&self) -> Vec<&'static str> {
        self.rules.iter().copied().map(Rule::as_str).collect()
    }
}

/// Whether somebody of the realm may have this password. `own`: names of theirs, which it must not hold.
pub fn check(
    app: &App,
    realm: Realm,
    second_factor: bool,
    own: &[&str],
    password: &SecretString,
) -> Result<(), Broken> {
    let policy = app.config().credentials.policy(realm);
    let rules = policy.broken(password.expose_secret(), second_factor, own);
    let min_length = policy.min_length(second_factor);
    if rules.is_empty() { Ok(()) } else { Err(Broken { policy, rules, min_length }) }
}

/// Sets the hash of a password that passed `check`, and tells it. `label` is the login.
pub async fn set(
    tx: &mut Tx,
    cx: &Context,
    source: &SourcePolicy,
    (id, label): (EntityId, String),
    hash: &str,
    must_change: bool,
) -> Result<(), reconcile::Error> {
    credential::set(tx, id, hash, must_change, cx.clock.now()).await?;
    store::link::end_of(tx, id, Purpose::Password, LinkState::Superseded).await?;
    note::note(tx, cx, source, vec![told(source, id, label, "$password", "changed")]).await
}

/// The journal says what kind of thing happened, never the secret.
pub fn told(source: &SourcePolicy, id: EntityId, label: String, what: &str, word: &str) -> Change {
    Change {
        op: Op::Credential,
        kind: Kind::User,
        entity: Some(id),
        label,
        source: source.name.clone(),
        key: id.to_string(),
        before: Document::new(),
        after: Document::from_iter([(what.to_owned(), json!(word))]),
    }
}
