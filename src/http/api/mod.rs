//! `/api/v1`: JSON for helpdesks, scripts and the operator. One file per noun, each with its own `routes`, merged here.
//! Errors are `http::error::Problem`; whoever asks is an `http::auth::Caller`, which every handler asks for its scope.
//! Never SQL here (that is `store`), never a change of people other than through `reconcile`. Start with `routes`.

pub mod extract;
pub mod records;
pub mod visibility;

use axum::Router;

use super::auth::Caller;
use super::error::Problem;
use super::state::App;

/// Longest body of a call, in bytes; pushed records are streamed and have their own limit.
pub const LONGEST_BODY: usize = 1 << 20;
/// Longest page of a list.
pub const LONGEST_PAGE: usize = 250;

/// To be nested under `/api/v1`, behind `auth::layer`.
pub fn routes() -> Router<App> {
    Router::new().merge(records::routes()).merge(visibility::routes())
}

/// A customer's own source knows only its company; what is asked here spans all of them.
fn unbound(caller: &Caller) -> Result<(), Problem> {
    match caller.policy.as_ref().and_then(|policy| policy.company.as_ref()) {
        None => Ok(()),
        Some(_) => Err(Problem::forbidden("company_bound", "a token of a customer's own source cannot ask this")),
    }
}
