//! The only room that knows axum: SCIM, API, pages and status. It never sends mail and never speaks SQL.
//! Start with `state` (what every handler gets), `auth` (who asks), `error` (how a refusal looks), then `server`.

pub mod api;
pub mod auth;
pub mod control;
pub mod error;
pub mod layers;
pub mod login;
pub mod pace;
pub mod pages;
pub mod password;
pub mod scim;
pub mod server;
pub mod state;
pub mod status;
pub mod token;

use axum::Router;
use axum::routing::get;

use error::Problem;
use state::App;

use crate::telemetry::PrometheusHandle;

/// Everything that the daemon serves on its main listener. `metrics`: only where they have no listener of their own.
pub fn router(app: App, metrics: Option<PrometheusHandle>) -> Router {
    let mut routes = Router::new()
        .merge(status::routes())
        .merge(pages::routes())
        .merge(scim::routes())
        .nest("/api/v1", api::routes());
    if let Some(handle) = metrics {
        routes = routes.merge(status::guarded_metrics(handle));
    }
    let routes = routes.route("/api/openapi.json", get(api::openapi));
    let routes = routes.fallback(async || Problem::not_found());
    layers::wrap(routes.method_not_allowed_fallback(async || Problem::bad_method()), app)
}
