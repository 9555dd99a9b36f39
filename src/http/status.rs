//! `/livez` (the process turns; never asks the store), `/readyz` (may it get requests?) and `/metrics`. A directory or
//! mail server that is down makes nothing unready: that is `degraded`, shown with `?verbose`.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::auth::{Caller, Refusal};
use super::state::App;
use super::token::Scope;
use crate::telemetry::PrometheusHandle;

pub fn routes() -> Router<App> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// Behind the gate, for those without a listener of its own.
pub fn guarded_metrics(handle: PrometheusHandle) -> Router<App> {
    let answer = async move |caller: Caller| -> Result<Response, Refusal> {
        caller.require(Scope::Metrics)?;
        Ok(render(&handle))
    };
    Router::new().route("/metrics", get(answer))
}

/// For a listener of its own, which is not public.
pub fn open_metrics(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(async move || render(&handle)))
}

fn render(handle: &PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response()
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let writable = app.is_writable().await;
    let draining = app.is_draining();
    let ready = writable && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    if !verbose {
        return (status, if ready { "ok\n" } else { "not ready\n" }).into_response();
    }
    let tasks = app.board.shown(app.clock.now());
    let degraded = tasks.values().any(|task| task["state"] == "failed");
    let body = json!({
        "ready": ready,
        "degraded": degraded,
        "events_open": app.board.events(),
        "checks": {"store_writable": writable, "draining": draining, "tasks": tasks},
    });
    (status, axum::Json(body)).into_response()
}
