//! How the sources stand: when each was read last, how that went, when it is read next, whether it is paused. Start with
//! `routes`; `standing` is also what `musterd sources` shows.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{attempt, unbound};
use crate::config::Config;
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::time::Millis;
use crate::store::source_state::{self, SourceState};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/sources", get(list))
        .route("/sources/{name}/pause", post(pause))
        .route("/sources/{name}/resume", post(resume))
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.require(Scope::Sync)?;
    unbound(&caller)?;
    let states = source_state::all(&mut app.db.read().await?).await?;
    Ok(Json(json!({"items": standing(&app.config(), &states, app.clock.now())})))
}

async fn pause(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    set_paused(app, caller, name, true).await
}

async fn resume(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    set_paused(app, caller, name, false).await
}

async fn set_paused(app: App, caller: Caller, name: String, paused: bool) -> Result<Json<Value>, Problem> {
    caller.require(Scope::Sync)?;
    unbound(&caller)?;
    if app.config().source(&name).is_none_or(|source| source.schedule.is_none() && paused) {
        return Err(Problem::not_found());
    }
    attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            source_state::pause(&mut tx, &name, paused).await?;
            tx.commit().await?;
            Ok(())
        })
    })
    .await?;
    app.wake.poll();
    Ok(Json(json!({"source": name, "paused": paused})))
}

/// Every configured source, by name, then those that were read once and are configured no more: whom they brought stays as it
/// is until somebody sees to it. Times are instants; `age_seconds` is that of what is known of a polled one.
pub fn standing(config: &Config, states: &[SourceState], now: Millis) -> Vec<Value> {
    let one = |(name, source): (&String, &crate::config::Source)| {
        let none = SourceState::default();
        let state = states.iter().find(|state| state.source == *name).unwrap_or(&none);
        let status = state.status();
        let next = source.schedule.as_ref().filter(|_| !state.paused);
        let next = next.and_then(|schedule| schedule.next(state.last_at, state.retry_at(), now));
        json!({
            "source": name,
            "kind": source.policy.kind,
            "paused": state.paused,
            "state": state.last_state,
            "last_at": state.last_at,
            "last_good_at": state.last_good_at,
            "age_seconds": state.last_good_at.map(|good| (now.0 - good.0) / 1000),
            "next_at": next,
            "counts": status.counts,
            "message": status.message,
            "failures": status.failures,
            "drift": status.drift,
        })
    };
    let left = states.iter().filter(|state| config.source(&state.source).is_none() && state.last_good_at.is_some());
    let left = left.map(|state| {
        json!({
            "source": state.source,
            "state": "not configured",
            "last_at": state.last_at,
            "last_good_at": state.last_good_at,
            "message": "whom it brought stays as it is: nobody reads it any more",
        })
    });
    config.sources.iter().map(one).chain(left).collect()
}
