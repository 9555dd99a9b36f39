//! A small helpdesk in process: what `musterd demo` and the stories poll as a CRM. It answers the part of Request
//! Tracker 5's REST interface that `config/connectors/rt5.toml` reads, with its manners: lists leave out disabled users
//! and never say who is disabled, pages have at most 100 records, `next_page` of a POST is damaged, conditions on fields
//! that cannot be searched are ignored, and a time written in any but its own way is misread without an error.
//!
//! Never a product: loopback only, no TLS, one fixed token. It holds everything in memory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::Router;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::model::time::Millis;

/// RT's number of a user or ticket.
pub type Id = u64;

#[derive(Debug, Clone, Default)]
pub struct User {
    pub name: String,
    pub real_name: String,
    pub email: String,
    /// Free text, as people write it.
    pub organization: String,
    pub work_phone: String,
    pub disabled: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Ticket {
    pub subject: String,
    pub status: String,
    pub queue: String,
    pub requestors: Vec<Id>,
}

/// A thing with its times.
#[derive(Debug, Clone)]
struct Kept<T> {
    thing: T,
    created: Millis,
    updated: Millis,
}

#[derive(Default)]
struct World {
    users: BTreeMap<Id, Kept<User>>,
    tickets: BTreeMap<Id, Kept<Ticket>>,
}

/// The helpdesk. Its owner changes it with the functions below while it is being polled.
pub struct Helpdesk {
    world: Mutex<World>,
    token: String,
    /// Of the user whose token it is: times in searches are meant in it.
    zone: TimeZone,
}

impl Helpdesk {
    pub fn new(token: &str, zone: TimeZone) -> Arc<Helpdesk> {
        Arc::new(Helpdesk { world: Mutex::default(), token: token.to_owned(), zone })
    }

    pub fn put_user(&self, id: Id, user: User, at: Millis) {
        keep(&mut self.world().users, id, user, at);
    }

    pub fn put_ticket(&self, id: Id, ticket: Ticket, at: Millis) {
        keep(&mut self.world().tickets, id, ticket, at);
    }

    pub fn user(&self, id: Id) -> Option<User> {
        self.world().users.get(&id).map(|kept| kept.thing.clone())
    }

    pub fn ticket(&self, id: Id) -> Option<Ticket> {
        self.world().tickets.get(&id).map(|kept| kept.thing.clone())
    }

    /// As RT's shredder does: no trace is left.
    pub fn shred_user(&self, id: Id) {
        self.world().users.remove(&id);
    }

    pub fn shred_ticket(&self, id: Id) {
        self.world().tickets.remove(&id);
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/REST/2.0/users", get(users).post(users))
            .route("/REST/2.0/user/{id}", get(user))
            .route("/REST/2.0/tickets", get(tickets).post(tickets))
            .with_state(self.clone())
    }

    /// Listens on a free loopback port until the handle is aborted.
    pub async fn serve(self: &Arc<Self>) -> io::Result<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = self.router();
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!("the sample helpdesk stopped: {error}");
            }
        });
        Ok((address, task))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        given.is_some_and(|given| given == format!("token {}", self.token))
    }
}

fn keep<T>(all: &mut BTreeMap<Id, Kept<T>>, id: Id, thing: T, at: Millis) {
    let created = all.get(&id).map_or(at, |kept| kept.created);
    all.insert(id, Kept { thing, created, updated: at });
}

type Parameters = HashMap<String, String>;

async fn users(
    State(desk): State<Arc<Helpdesk>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Parameters>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if !desk.knows(&headers) {
        return message(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let conditions = if method == Method::POST { body } else { query.get("query").cloned().unwrap_or_default() };
    let conditions = if conditions.trim_start().starts_with('[') { conditions } else { "[]".to_owned() };
    let Ok(conditions) = serde_json::from_str::<Vec<Map<String, Value>>>(&conditions) else {
        return message(StatusCode::BAD_REQUEST, "the query is no JSON");
    };
    let disabled_too = query.get("find_disabled_rows").is_some_and(|value| !matches!(value.as_str(), "" | "0"));
    let world = desk.world();
    let mut found: Vec<(&Id, &Kept<User>)> = world
        .users
        .iter()
        .filter(|(_, kept)| disabled_too || !kept.thing.disabled)
        .filter(|(_, kept)| conditions.iter().all(|condition| fulfils(&kept.thing, condition)))
        .collect();
    if query.get("orderby").map(String::as_str) != Some("id") {
        found.sort_by(|(_, one), (_, other)| one.thing.name.cmp(&other.thing.name));
    }
    let total = found.len();
    let rows = paged(&query, found.into_iter());
    let items = rows.map(|(id, kept)| {
        let user = &kept.thing;
        row("user", &user.name, &query, |field| match field {
            "id" => Some(json!(id)),
            "Name" => Some(json!(user.name)),
            "RealName" => Some(json!(user.real_name)),
            "EmailAddress" => Some(json!(user.email)),
            "Organization" => Some(json!(user.organization)),
            "WorkPhone" => Some(json!(user.work_phone)),
            "Created" => Some(json!(second(kept.created))),
            "LastUpdated" => Some(json!(second(kept.updated))),
            // Whether somebody is disabled is not in lists.
            _ => Some(json!("")),
        })
    });
    list(&uri, method == Method::GET, &query, total, items.collect())
}

/// Conditions on what cannot be searched are ignored, as RT does.
fn fulfils(user: &User, condition: &Map<String, Value>) -> bool {
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    let value = match text("field") {
        "Name" => &user.name,
        "EmailAddress" => &user.email,
        "RealName" => &user.real_name,
        "Organization" => &user.organization,
        _ => return true,
    };
    let (value, wanted) = (value.to_lowercase(), text("value").to_lowercase());
    match text("operator") {
        "" | "=" => value == wanted,
        "!=" => value != wanted,
        "LIKE" => value.contains(&wanted),
        ">=" => value >= wanted,
        ">" => value > wanted,
        _ => true,
    }
}

async fn user(State(desk): State<Arc<Helpdesk>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if !desk.knows(&headers) {
        return message(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let world = desk.world();
    let found = world.users.iter().find(|(number, kept)| number.to_string() == id || kept.thing.name == id);
    let Some((number, kept)) = found else { return message(StatusCode::NOT_FOUND, "Not Found") };
    let user = &kept.thing;
    Json(json!({
        "id": number, "Name": user.name, "RealName": user.real_name, "EmailAddress": user.email,
        "Organization": user.organization, "WorkPhone": user.work_phone, "Privileged": 0,
        "Disabled": if user.disabled { "1" } else { "0" }, "CustomFields": [], "Memberships": [],
        "Created": second(kept.created), "LastUpdated": second(kept.updated),
    }))
    .into_response()
}

async fn tickets(
    State(desk): State<Arc<Helpdesk>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    if !desk.knows(&headers) {
        return message(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let text = query.get("query").cloned().unwrap_or_default();
    let conditions: Result<Vec<Condition>, String> =
        text.split(" AND ").filter(|part| !part.trim().is_empty()).map(|part| condition(part, &desk.zone)).collect();
    let conditions = match conditions {
        Ok(conditions) => conditions,
        Err(reason) => return message(StatusCode::BAD_REQUEST, &reason),
    };
    let world = desk.world();
    // No condition at all finds nothing, as in RT.
    let found: Vec<(&Id, &Kept<Ticket>)> = world
        .tickets
        .iter()
        .filter(|(id, kept)| !conditions.is_empty() && conditions.iter().all(|condition| condition.holds(**id, kept)))
        .collect();
    let total = found.len();
    let items = paged(&query, found.into_iter()).map(|(id, kept)| {
        let ticket = &kept.thing;
        row("ticket", &id.to_string(), &query, |field| match field {
            "id" => Some(json!(id)),
            "Subject" => Some(json!(ticket.subject)),
            "Status" => Some(json!(ticket.status)),
            "Created" => Some(json!(second(kept.created))),
            "LastUpdated" => Some(json!(second(kept.updated))),
            "Queue" => Some(json!({"id": "1", "type": "queue", "Name": ticket.queue})),
            "Requestor" => Some(ticket.requestors.iter().map(|id| requestor(&world, *id, &query)).collect()),
            _ => None,
        })
    });
    list(&uri, method == Method::GET, &query, total, items.collect())
}

/// By login, unless the number is asked for.
fn requestor(world: &World, id: Id, query: &Parameters) -> Value {
    let name = world.users.get(&id).map(|kept| kept.thing.name.clone()).unwrap_or_default();
    let by_number = query.get("fields[Requestor]").is_some_and(|fields| fields.split(',').any(|field| field == "id"));
    json!({"type": "user", "id": if by_number { json!(id) } else { json!(name) }})
}

enum Condition {
    After(Id),
    /// A time that could not be read is the beginning of time.
    Since(Millis),
}

impl Condition {
    fn holds(&self, id: Id, kept: &Kept<Ticket>) -> bool {
        match self {
            Condition::After(last) => id > *last,
            Condition::Since(at) => kept.updated >= *at,
        }
    }
}

fn condition(text: &str, zone: &TimeZone) -> Result<Condition, String> {
    let text = text.trim();
    if let Some(last) = text.strip_prefix("id > ") {
        return last.parse().map(Condition::After).map_err(|_| format!("bad number in `{text}`"));
    }
    if let Some(at) = text.strip_prefix("LastUpdated >= ") {
        let local = DateTime::strptime("%Y-%m-%d %H:%M:%S", at.trim_matches('\'')).ok();
        let at = local.and_then(|local| zone.to_timestamp(local).ok());
        return Ok(Condition::Since(at.map_or(Millis(0), |at| Millis(at.as_millisecond()))));
    }
    Err(format!("Unknown field: {text}"))
}

/// RT keeps whole seconds.
fn second(at: Millis) -> String {
    let text = Millis(at.0 / 1000 * 1000).to_string();
    text.replace(".000Z", "Z")
}

fn number(query: &Parameters, name: &str) -> Option<usize> {
    query.get(name).and_then(|text| text.parse().ok()).filter(|number| *number > 0)
}

fn per_page(query: &Parameters) -> usize {
    number(query, "per_page").unwrap_or(20).min(100)
}

fn page(query: &Parameters) -> usize {
    number(query, "page").unwrap_or(1)
}

fn paged<T>(query: &Parameters, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let size = per_page(query);
    all.skip((page(query) - 1).saturating_mul(size)).take(size)
}

/// What every row has, with the fields that were asked for laid over it.
fn row(kind: &str, name: &str, query: &Parameters, value: impl Fn(&str) -> Option<Value>) -> Value {
    let mut row = Map::from_iter([("type".to_owned(), json!(kind)), ("id".to_owned(), json!(name))]);
    for field in query.get("fields").map(|fields| fields.split(',')).into_iter().flatten() {
        row.extend(value(field).map(|value| (field.to_owned(), value)));
    }
    Value::Object(row)
}

fn list(uri: &axum::http::Uri, whole_query: bool, query: &Parameters, total: usize, items: Vec<Value>) -> Response {
    let (size, page) = (per_page(query), page(query));
    let pages = total.div_ceil(size);
    let mut answer =
        json!({"count": items.len(), "total": total, "per_page": size, "page": page, "pages": pages, "items": items});
    if page < pages {
        // Of a search by POST the conditions are lost, and the rest is damaged.
        let parameters = if whole_query { uri.query().unwrap_or_default() } else { "&=&" };
        answer["next_page"] = json!(format!("http://127.0.0.1{}?{parameters}&page={}", uri.path(), page + 1));
    }
    Json(answer).into_response()
}

fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"message": text}))).into_response()
}
