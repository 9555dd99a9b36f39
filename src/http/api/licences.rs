//! Licences and seats: what people want and hold, what a company can give, how many seats it has ordered. The rules are
//! `model::licence`, seats are `reconcile::licence`'s. Start with `routes`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extract::{Body, Params};
use super::read::Licence;
use super::visibility::page_size;
use super::{attempt, unbound};
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::catalogue::Catalogue;
use crate::model::document::Document;
use crate::model::entity::Flags;
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::model::licence::offered;
use crate::reconcile::licence::{order_seats, waiting_for};
use crate::store::licence::{self as rows, Pool};
use crate::store::{Session, listing};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/licences", get(list))
        .route("/licences/offered", get(offer))
        .route("/companies/{id}/bill", get(bill))
        .route("/companies/{id}/pools", get(pools))
        .route("/companies/{id}/pools/{product}", put(order))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    company: Option<EntityId>,
    cursor: Option<EntityId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Item {
    user: EntityId,
    company: Option<EntityId>,
    #[serde(flatten)]
    licence: Licence,
}

async fn list(State(app): State<App>, caller: Caller, Params(wanted): Params<Wanted>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(&caller)?;
    let limit = page_size(wanted.limit, 100)?;
    let mut session = app.db.read().await?;
    let mut found = rows::list(&mut session, wanted.company, wanted.cursor, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.entity);
    let item = |held: rows::Held| Item { user: held.entity, company: held.company, licence: Licence::from(held) };
    let items: Vec<Item> = found.into_iter().map(item).collect();
    let catalogue = &app.config().catalogue;
    let pools = pools_of(&mut session, catalogue, wanted.company).await?;
    Ok(Json(json!({"items": items, "pools": pools, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    company: EntityId,
}

/// What the company can give its people, by what it has ordered (R19).
async fn offer(State(app): State<App>, caller: Caller, Params(offer): Params<Offer>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(&caller)?;
    let company = listing::by_ids(&mut app.db.read().await?, Kind::Company, &[offer.company]).await?;
    let company = company.first().ok_or_else(Problem::not_found)?;
    let doc: Document = serde_json::from_str(&company.doc).map_err(Problem::internal)?;
    let order = rows::order_of(&doc);
    let licences: Vec<String> = offered(&app.config().catalogue, &order).iter().map(ToString::to_string).collect();
    Ok(Json(json!({"offered": licences, "services": order.services, "tier": order.tier})))
}

async fn pools(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(&caller)?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    let pools = pools_of(&mut app.db.read().await?, &app.config().catalogue, Some(id)).await?;
    Ok(Json(json!({"items": pools})))
}

/// What is to be paid for: seats by licence and paid options. Whom `doNotInvoice` takes off the bill keeps the seat (R36);
/// a deactivated account keeps it for its grace, and its options end at once.
async fn bill(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(&caller)?;
    let company: EntityId = id.parse().map_err(|_| Problem::not_found())?;
    let mut session = app.db.read().await?;
    if listing::by_ids(&mut session, Kind::Company, &[company]).await?.is_empty() {
        return Err(Problem::not_found());
    }
    let mut licences: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut api_communicator = 0;
    for alike in rows::bill(&mut session, company).await? {
        let billable = if alike.flags.has(Flags::DO_NOT_INVOICE) { 0 } else { alike.count };
        if let Some(held) = alike.held {
            let counts = licences.entry(held).or_default();
            counts.0 += alike.count;
            counts.1 += billable;
        }
        if alike.active && alike.flags.has(Flags::API_COMMUNICATOR) {
            api_communicator += billable;
        }
    }
    let line = |(licence, (seats, billable))| json!({"licence": licence, "seats": seats, "billable": billable});
    let licences: Vec<Value> = licences.into_iter().map(line).collect();
    Ok(Json(json!({
        "company": company, "licences": licences,
        "options": [{"option": "api_communicator", "billable": api_communicator}],
    })))
}

async fn pools_of(
    session: &mut impl Session,
    catalogue: &Catalogue,
    company: Option<EntityId>,
) -> Result<Vec<Value>, Problem> {
    let mut shown = Vec::new();
    for pool in rows::pools(session, company).await? {
        shown.push(show(session, catalogue, pool).await?);
    }
    Ok(shown)
}

/// `over_allocated`: the pool shrank below what is used; nobody is evicted (R94).
async fn show(session: &mut impl Session, catalogue: &Catalogue, pool: Pool) -> Result<Value, Problem> {
    let waiting = match catalogue.product(&pool.product) {
        Some(product) => rows::count_waiting(session, pool.company, &waiting_for(&product)).await?,
        None => 0,
    };
    Ok(json!({
        "company": pool.company, "product": pool.product, "total": pool.total, "used": pool.used,
        "reserved": pool.reserved, "waiting": waiting, "over_allocated": pool.used + pool.reserved > pool.total,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seats {
    total: i64,
}

/// More seats go to those who wait at once.
async fn order(
    State(app): State<App>,
    caller: Caller,
    Path((id, product)): Path<(String, String)>,
    Body(Seats { total }): Body<Seats>,
) -> Result<Json<Value>, Problem> {
    caller.require(Scope::ApiWrite)?;
    unbound(&caller)?;
    let company: EntityId = id.parse().map_err(|_| Problem::not_found())?;
    let config = app.config();
    let Some(product) = config.catalogue.product(&product) else {
        let allowed: Vec<String> = config.catalogue.products().iter().map(ToString::to_string).collect();
        return Err(Problem::bad_request("unknown_product", "not in the catalogue").with("allowed", allowed));
    };
    if !(0..=1_000_000_000).contains(&total) {
        return Err(Problem::bad_request("bad_body", "total: 0 to 1000000000"));
    }
    let cx = app.context(caller.actor());
    attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            if listing::by_ids(&mut tx, Kind::Company, &[company]).await?.is_empty() {
                return Err(Problem::not_found().into());
            }
            order_seats(&mut tx, &cx, company, &product, total).await?;
            let pools = rows::pools(&mut tx, Some(company)).await?;
            let name = product.to_string();
            let pool = pools.into_iter().find(|pool| pool.product == name).ok_or_else(Problem::not_found)?;
            let shown = show(&mut tx, &config.catalogue, pool).await?;
            tx.commit().await?;
            Ok(Json(shown))
        })
    })
    .await
}
