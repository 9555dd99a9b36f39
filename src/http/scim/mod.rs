//! `/scim/v2`: identity providers push people and groups. One door for every path under the base, so that each of them,
//! known or not, answers as SCIM. What the protocol means is `crate::scim`'s, what is read `store::scim`'s, what changes
//! `reconcile`'s; here they are put together. Start with `answer`, then `read` and `write`.

mod ask;
mod body;
mod bulk;
mod discovery;
mod link;
mod membership;
mod narrow;
pub mod places;
mod read;
mod reply;
mod secret;
mod stretch;
#[cfg(test)]
mod tests;
mod write;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::any;

pub use reply::{is_ours, translate};

use self::ask::{Ask, Place};
use super::auth::{Caller, Refusal};
use super::state::App;
use super::token::Scope;
use crate::model::kind::Kind;
use crate::model::source::SourceKind;
use crate::reconcile::Context;
use crate::scim::error::Error;
use crate::scim::registry::Registries;

/// Where everything here begins, also in `meta.location`.
pub const BASE: &str = "/scim/v2";

/// To be merged, behind `auth::admit`.
pub fn routes() -> Router<App> {
    Router::new()
        .route(BASE, any(answer))
        .route(&format!("{BASE}/"), any(answer))
        .route(&format!("{BASE}/{{*path}}"), any(answer))
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Refusal::Missing.respond(BASE);
    };
    let path = request.uri().path().to_owned();
    if let Err(refusal) = may(&caller, request.method(), &path) {
        return refusal.respond(&path);
    }
    if let Err(wait) = app.pace.take(&caller.token, app.config().server.limits.scim, 1) {
        return reply::refusal(&Error::TooMuch(wait.as_secs() + 1));
    }
    let (schemas, context) = app.schemas_and_context(caller.actor());
    match serve(&app, (&schemas, context), &caller, &path, request).await {
        Ok(response) => response,
        Err(error) => reply::refusal(&error),
    }
}

/// Asked before anything is looked up: who may not ask learns nothing of what exists.
fn may(caller: &Caller, method: &Method, path: &str) -> Result<(), Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || path.trim_end_matches('/').ends_with("/.search");
    caller.require(if reads { Scope::ScimRead } else { Scope::ScimWrite })?;
    if caller.source()?.kind == SourceKind::Scim { Ok(()) } else { Err(Refusal::Source) }
}

async fn serve(
    app: &App,
    (registries, context): (&Registries, Context),
    caller: &Caller,
    path: &str,
    request: Request,
) -> Result<Response, Error> {
    let policy = caller.policy.clone().ok_or(Error::Internal)?;
    let logins_change = policy.realm.is_none_or(|realm| app.config().profiles.of(realm).login_mutable);
    let types = app.config().dialect(&policy.name).types;
    let registry = registries.of_profile(policy.realm, logins_change, types);
    let path = ask::decoded(path.strip_prefix(BASE).unwrap_or_default()).ok_or(Error::NotFound)?;
    let place = match Place::at(registry, &path).ok_or(Error::NotFound)? {
        Place::Me => {
            let shape = registry.of(Kind::User).ok_or(Error::NotFound)?;
            Place::Item(shape, caller.subject.as_deref().ok_or(Error::NotFound)?)
        }
        place => place,
    };
    let (parts, body) = request.into_parts();
    let ask = Ask::new(app, (caller, context), &policy, registry, parts);
    let method = match ask.parts.method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let response = match (&place, method) {
        (place, "OPTIONS") => reply::options(place.allowed()),
        (Place::Provider, "GET") => discovery::provider(&ask),
        (Place::Schemas(id), "GET") => discovery::schemas(&ask, *id)?,
        (Place::Types(id), "GET") => discovery::types(&ask, *id)?,
        (Place::Root(shapes), "GET") => read::list(&ask, shapes, ask.query()?).await?,
        (Place::Collection(shape), "GET") => read::list(&ask, &[shape], ask.query()?).await?,
        (Place::Collection(shape), "POST") => write::create(&ask, shape, &ask.body(body).await?).await?,
        (Place::Search(shapes), "POST") => read::search(&ask, shapes, &ask.body(body).await?).await?,
        (Place::Bulk, "POST") => bulk::run(&ask, &ask.body(body).await?).await?,
        (Place::Item(shape, id), "GET") => read::one(&ask, shape, id).await?,
        (Place::Item(shape, id), "PUT") => write::replace(&ask, shape, id, &ask.body(body).await?).await?,
        (Place::Item(shape, id), "PATCH") => write::patch(&ask, shape, id, &ask.body(body).await?).await?,
        (Place::Item(shape, id), "DELETE") => write::delete(&ask, shape, id).await?,
        (place, _) => return Err(Error::Method(place.allowed())),
    };
    Ok(response)
}
