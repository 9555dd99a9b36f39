//! The control socket: how the commands of this machine talk to the running daemon. HTTP on a Unix socket that only its
//! owner can open; the kernel's file permissions are the authentication. One route takes a command as JSON and answers
//! with lines of JSON: any number of progress lines, then the reply. What a command does is not known here (`Operator`).

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Where progress goes. Sending never waits: what does not fit is left out.
pub type Progress = mpsc::Sender<Value>;

/// Carries out a command. The future runs to its end also when whoever asked hangs up: a run is never left half done.
pub type Operator = Arc<dyn Fn(Value, Progress) -> BoxFuture<'static, Value> + Send + Sync>;

pub const COMMAND: &str = "/command";
/// Bytes of a command.
const LONGEST: usize = 1 << 20;

pub fn routes(operator: Operator) -> Router {
    Router::new()
        .route("/ping", get(async || "musterd\n"))
        .route(COMMAND, post(command))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(operator)
}

async fn command(State(operator): State<Operator>, Json(command): Json<Value>) -> Response {
    let (progress, heard) = mpsc::channel(64);
    let task = tokio::spawn(operator(command, progress));
    let lines = stream::unfold(heard, async |mut heard| heard.recv().await.map(|value| (value, heard)))
        .map(|value| json!({ "progress": value }));
    let reply = async {
        let reply = task.await.unwrap_or_else(|_| json!({"exit": 1, "error": "the command ended in a panic"}));
        json!({ "reply": reply })
    };
    let lines = lines.chain(reply.into_stream()).map(|line| Ok::<_, Infallible>(format!("{line}\n")));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
