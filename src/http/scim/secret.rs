//! The attribute `password`: never stored in a document and never shown. A token with the scope `password:write` sets it,
//! under the policy of the realm; of any other it is left out, with a line in the log: providers send one that nobody
//! knows with every new account.

use secrecy::SecretString;
use serde_json::Value;

use super::ask::Ask;
use super::reply;
use crate::credential::hasher;
use crate::http::password;
use crate::model::document::Document;
use crate::model::entity::Flags;
use crate::model::id::EntityId;
use crate::scim::error::Error;
use crate::scim::schema::Shape;
use crate::store::credential;
use crate::store::scim as rows;

/// Somebody's document, if they exist for the caller: before anything else is said of them or of their password.
pub async fn present(ask: &Ask<'_>, shape: &Shape, id: EntityId) -> Result<Document, Error> {
    let mut read = ask.app.db.read().await.map_err(reply::failed)?;
    let found = rows::load(&mut read, &ask.sight(shape.kind), id).await.map_err(reply::failed)?;
    serde_json::from_str(&found.ok_or(Error::NotFound)?.doc).map_err(|_| Error::Internal)
}

/// The hash to be stored, made before any transaction. `id`: who is `present` already; `doc`: whose names it must not hold.
pub async fn hashed(
    ask: &Ask<'_>,
    id: Option<EntityId>,
    doc: &Document,
    wanted: Option<SecretString>,
) -> Result<Option<String>, Error> {
    let Some(wanted) = wanted else { return Ok(None) };
    let Some(realm) = ask.policy.realm.filter(|_| ask.may_set_passwords()) else {
        tracing::warn!(source = ask.policy.name, "a password was left out: it needs a token with password:write");
        return Ok(None);
    };
    let second_factor = match id {
        None => false,
        Some(id) => {
            let mut read = ask.app.db.read().await.map_err(reply::failed)?;
            let account = credential::by_id(&mut read, id).await.map_err(reply::failed)?;
            account.is_some_and(|account| account.flags.has(Flags::TWO_FACTOR))
        }
    };
    let inside = |name: &str| doc.get("name").and_then(|names| names.get(name));
    let own = [doc.get("userName"), inside("givenName"), inside("familyName")];
    let own = own.map(|text| text.and_then(Value::as_str).unwrap_or_default());
    password::check(ask.app, realm, second_factor, &own, &wanted)
        .map_err(|broken| Error::InvalidValue(broken.to_string()))?;
    ask.app.hasher.hash(wanted).await.map(Some).map_err(|error| match error {
        hasher::Error::Busy => Error::Unavailable(error.to_string()),
        error => {
            tracing::error!(%error, "a password could not be hashed");
            Error::Internal
        }
    })
}
