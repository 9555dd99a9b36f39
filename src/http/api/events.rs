//! Events: what others must be told of (R37), how far they have been told, and their acknowledgement. They are raised by
//! `reconcile::event` and told by `tasks::notify`. Start with `routes`.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extract::{Body, Params};
use super::visibility::page_size;
use super::{attempt, unbound};
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::event::Event;
use crate::store::event::{self as rows, Closing, Delivery};

pub fn routes() -> Router<App> {
    Router::new().route("/events", get(list)).route("/events/{id}/acknowledge", post(acknowledge))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The acknowledged ones instead of the open ones.
    #[serde(default)]
    acknowledged: bool,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    event: Event,
    deliveries: Vec<Delivery>,
}

async fn list(State(app): State<App>, caller: Caller, Params(wanted): Params<Wanted>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::Events)?;
    unbound(&caller)?;
    let limit = page_size(wanted.limit, 100)?;
    let (open, cursor) = (!wanted.acknowledged, wanted.cursor.as_deref());
    let mut found = rows::list(&mut app.db.read().await?, open, cursor, limit as i64 + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(event, _)| event.id.clone());
    let items: Vec<Item> = found.into_iter().map(|(event, deliveries)| Item { event, deliveries }).collect();
    Ok(Json(json!({"items": items, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// How many changes whoever acknowledges knows of: the event stays open if there are more by now.
    changes: i64,
}

async fn acknowledge(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(Known { changes }): Body<Known>,
) -> Result<Json<Event>, Problem> {
    caller.require(Scope::EventsWrite)?;
    unbound(&caller)?;
    let (actor, now) = (caller.actor(), app.clock.now());
    let closing = attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            let closing = rows::acknowledge(&mut tx, &id, Some(changes), &actor, now).await?;
            tx.commit().await?;
            Ok(closing)
        })
    });
    match closing.await? {
        Closing::Closed(event) | Closing::Already(event) => Ok(Json(event)),
        Closing::More(event) => {
            let detail = "more has changed since; the event stays open";
            Err(Problem::conflict("changed_since", detail).with("changes", event.changes))
        }
        Closing::Unknown => Err(Problem::not_found()),
    }
}
