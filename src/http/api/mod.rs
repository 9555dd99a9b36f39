//! `/api/v1`: JSON for helpdesks, scripts and the operator. One file per noun, each with its own `routes`, merged here.
//! Errors are `http::error::Problem`; whoever asks is an `http::auth::Caller`, which every handler asks for its scope.
//! Never SQL here (that is `store`), never a change of people other than through `reconcile`. Start with `routes`.

pub mod credentials;
pub mod events;
pub mod extract;
pub mod invitations;
pub mod licences;
pub mod read;
pub mod records;
pub mod sources;
pub mod users;
pub mod visibility;

use std::pin::Pin;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::auth::Caller;
use super::error::Problem;
use super::state::App;
use crate::{reconcile, store};

/// Longest body of a call, in bytes; pushed records are streamed and have their own limit.
pub const LONGEST_BODY: usize = 1 << 20;
/// Longest page of a list.
pub const LONGEST_PAGE: usize = 250;

/// To be nested under `/api/v1`, behind `auth::layer`.
pub fn routes() -> Router<App> {
    Router::new()
        .merge(credentials::routes())
        .merge(invitations::routes())
        .merge(records::routes())
        .merge(visibility::routes())
        .merge(read::routes())
        .merge(users::routes())
        .merge(licences::routes())
        .merge(events::routes())
        .merge(sources::routes())
}

/// `/api/openapi.json`: what is served under `/api/v1`, for programs.
pub async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

/// A customer's own source knows only its company; what is asked here spans all of them.
fn unbound(caller: &Caller) -> Result<(), Problem> {
    match caller.policy.as_ref().and_then(|policy| policy.company.as_ref()) {
        None => Ok(()),
        Some(_) => Err(Problem::forbidden("company_bound", "a token of a customer's own source cannot ask this")),
    }
}

/// Why an attempt to write ended without an answer.
pub enum Stop {
    /// Another writer came between: nothing of it stays, and the same may succeed now.
    Again(Problem),
    Final(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Final(problem)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Stop {
        if error.may_be_tried_again() { Stop::Again(error.into()) } else { Stop::Final(error.into()) }
    }
}

impl From<reconcile::Error> for Stop {
    fn from(error: reconcile::Error) -> Stop {
        let again = error.may_be_tried_again();
        let problem = match error {
            reconcile::Error::Store(error) => error.into(),
            reconcile::Error::Race => Problem::unavailable("another change came first"),
            held @ reconcile::Error::Held { .. } => Problem::conflict("held", held),
            busy @ reconcile::Error::Busy(_) => Problem::conflict("busy", busy),
            other => Problem::internal(other),
        };
        if again { Stop::Again(problem) } else { Stop::Final(problem) }
    }
}

/// One attempt to write. Boxed, so that the compiler sees that a handler which waits for it is `Send`.
type Attempt<'a, T> = Pin<Box<dyn Future<Output = Result<T, Stop>> + Send + 'a>>;

/// A write, tried once more when another writer came between.
async fn attempt<'a, T>(write: impl Fn() -> Attempt<'a, T>) -> Result<T, Problem> {
    let first = write().await;
    let last = if matches!(first, Err(Stop::Again(_))) { write().await } else { first };
    last.map_err(|stop| match stop {
        Stop::Again(problem) | Stop::Final(problem) => problem,
    })
}
