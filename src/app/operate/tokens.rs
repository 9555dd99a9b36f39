//! `token create|list|revoke`. The text of a token is in the answer to `create` and nowhere else.

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Exit, Failure, Reply, TokenCreate};
use crate::credential::bearer;
use crate::http::token;
use crate::model::fold;
use crate::model::source::SourceKind;
use crate::model::time::Millis;
use crate::store::{self, credential, token as rows};
use crate::tasks::World;

/// Longest life in days.
const MOST_DAYS: u32 = 3660;

pub async fn create(world: &World, wish: TokenCreate) -> Result<Reply, Failure> {
    let scopes = token::parse(&wish.scopes).map_err(|error| Failure::Usage(format!("--scope: {error}")))?;
    if scopes.is_empty() {
        let all: Vec<&str> = token::Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        return Err(Failure::Usage(format!("a token needs a scope (--scope) of: {}", all.join(", "))));
    }
    let config = world.config();
    if let Some(source) = &wish.source
        && config.source(source).is_none()
    {
        let all: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        return Err(Failure::Usage(format!("no source {source} is configured; there are: {}", all.join(", "))));
    }
    let writes = [token::Scope::ScimRead, token::Scope::ScimWrite, token::Scope::Push];
    if wish.source.is_none() && writes.iter().any(|scope| scopes.contains(scope)) {
        return Err(Failure::Usage("scim:* and records:push need --source: whose words the token brings".to_owned()));
    }
    let kind = wish.source.as_ref().and_then(|name| config.source(name)).map(|source| source.policy.kind);
    let scim = scopes.contains(&token::Scope::ScimRead) || scopes.contains(&token::Scope::ScimWrite);
    let push = scopes.contains(&token::Scope::Push);
    for (wanted, scope, right) in [(scim, "scim:*", SourceKind::Scim), (push, "records:push", SourceKind::Push)] {
        if let Some(kind) = kind.filter(|kind| wanted && *kind != right) {
            let other = format!("{scope} is for sources of kind {right}; this one is of kind {kind}");
            return Err(Failure::Usage(other));
        }
    }
    if !(1..=MOST_DAYS).contains(&wish.days) {
        return Err(Failure::Usage(format!("--days must be 1 to {MOST_DAYS}")));
    }
    let subject = match &wish.subject {
        Some(login) => Some(subject(world, wish.source.as_deref(), login).await?),
        None => None,
    };
    let minted = bearer::mint(&world.clock, if scim { "scim" } else { "api" });
    let now = world.clock.now();
    let row = rows::Token {
        id: minted.id,
        hash: minted.hash.to_vec(),
        label: wish.label,
        source: wish.source,
        subject,
        scopes: token::to_text(&scopes),
        created: now,
        expires: now.plus(i64::from(wish.days) * Millis::DAY),
        revoked: None,
        last_used: None,
    };
    let mut tx = world.db.write().await?;
    rows::insert(&mut tx, &row).await?;
    tx.commit().await?;
    tracing::info!(token = row.id, scopes = row.scopes, "a token was created");
    let mut answer = shown(&row, now);
    answer["token"] = json!(minted.text.expose_secret());
    Ok(Reply::fine(answer))
}

/// The id of the user with this login whom the source sees.
async fn subject(world: &World, source: Option<&str>, login: &str) -> Result<String, Failure> {
    let config = world.config();
    let policy = source.and_then(|name| config.policy(name)).filter(|policy| policy.kind == SourceKind::Scim);
    let realm = policy.and_then(|policy| policy.realm);
    let realm = realm.ok_or_else(|| Failure::Usage("--subject needs a --source of kind scim".to_owned()))?;
    let found = credential::by_login(&mut world.db.read().await?, realm, &fold::key(login)).await?;
    let found = found.ok_or_else(|| Failure::Usage(format!("--subject: no {realm} has the login {login}")))?;
    Ok(found.id.to_string())
}

pub async fn list(world: &World) -> Result<Reply, Failure> {
    let now = world.clock.now();
    let rows = rows::list(&mut world.db.read().await?).await?;
    Ok(Reply::fine(rows.iter().map(|row| shown(row, now)).collect()))
}

/// Counts on the next request to this process, and within a second on every replica.
pub async fn revoke(world: &World, id: &str) -> Result<Reply, Failure> {
    // A task: whoever asked may hang up between the commit and the forgetting.
    let revoking = tokio::spawn(revoked(world.clone(), id.to_owned()));
    let done = revoking.await.map_err(|_| store::Error::Unknown)??;
    if !done {
        let error = format!("there is no token {id} that is not revoked already");
        return Ok(Reply { exit: Exit::Failed, answer: serde_json::Value::Null, error: Some(error) });
    }
    tracing::info!(token = id, "a token was revoked");
    Ok(Reply::fine(json!({ "revoked": id })))
}

async fn revoked(world: World, id: String) -> Result<bool, store::Error> {
    let mut tx = world.db.write().await?;
    let done = rows::revoke(&mut tx, &id, world.clock.now()).await?;
    let committed = tx.commit().await;
    // Also where it is not known whether it was committed: whoever needs the row reads it.
    world.tokens.forget(&id);
    committed.map(|()| done)
}

fn shown(row: &rows::Token, now: Millis) -> serde_json::Value {
    let state = match row.revoked {
        Some(_) => "revoked",
        None if now >= row.expires => "expired",
        None => "active",
    };
    json!({
        "id": row.id,
        "label": row.label,
        "source": row.source,
        "subject": row.subject,
        "scopes": row.scopes.split(' ').collect::<Vec<_>>(),
        "state": state,
        "created": row.created,
        "expires": row.expires,
        "revoked": row.revoked,
        "last_used": row.last_used,
    })
}
