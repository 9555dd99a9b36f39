//! Lists and single reads of users, companies, contacts and tickets: keyset pages by id, or the few that have a login,
//! number or e-mail. Reads only; what is deleted is a 404. Start with `routes`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::extract::{Id, Params};
use super::unbound;
use super::visibility::page_size;
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::hidden;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::time::Millis;
use crate::store::licence as licences;
use crate::store::listing::{self, Listed};
use crate::store::{Session, names};

/// Those that are only read; users have their own file.
pub fn routes() -> Router<App> {
    let of = |kind: Kind| {
        let list = async move |State(app): State<App>, caller: Caller, Params(wanted): Params<Wanted>| {
            list(&app, &caller, kind, wanted).await
        };
        let one = async move |State(app): State<App>, caller: Caller, Id(id): Id| {
            caller.require(Scope::ApiRead)?;
            unbound(&caller)?;
            shown(&app, &mut app.db.read().await?, kind, id).await.map(Json)
        };
        (get(list), get(one))
    };
    let mut router = Router::new();
    for (path, kind) in [("/companies", Kind::Company), ("/contacts", Kind::Contact), ("/tickets", Kind::Ticket)] {
        let (list, one) = of(kind);
        router = router.route(path, list).route(&format!("{path}/{{id}}"), one);
    }
    router
}

const USUAL_PAGE: usize = 100;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    cursor: Option<String>,
    limit: Option<usize>,
    /// Users only.
    realm: Option<Realm>,
    login: Option<String>,
    number: Option<String>,
    email: Option<String>,
}

#[derive(Serialize)]
pub struct Page {
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
pub struct Item {
    pub id: EntityId,
    kind: Kind,
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    active: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    blocked: bool,
    state: String,
    version: i64,
    created: Millis,
    modified: Millis,
    attributes: Option<Box<RawValue>>,
    /// Only of a single read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<Licence>,
}

/// A relation, and which source asserts it.
#[derive(Serialize)]
struct Link {
    rel: Rel,
    to: EntityId,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Value>,
}

/// Wanted and held are two things; `reasons` say why they differ.
#[derive(Serialize)]
pub struct Licence {
    pub wanted: Option<String>,
    pub held: Option<String>,
    pub state: String,
    pub reasons: Value,
    pub since: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_at: Option<Millis>,
}

impl From<licences::Held> for Licence {
    fn from(held: licences::Held) -> Licence {
        Licence {
            wanted: held.wanted,
            held: held.held,
            state: held.state.to_string(),
            reasons: serde_json::from_str(&held.reasons).unwrap_or_default(),
            since: held.since,
            free_at: held.free_at,
        }
    }
}

/// What the sources say, without the `active` of somebody who is not: they left, or are blocked.
fn said(active: bool, doc: String) -> String {
    if active || !doc.contains("\"active\":true") {
        return doc;
    }
    match serde_json::from_str::<Map<String, Value>>(&doc) {
        Ok(mut document) => {
            if let Some(active) = document.get_mut("active") {
                *active = Value::Bool(false);
            }
            Value::Object(document).to_string()
        }
        Err(_) => doc,
    }
}

impl From<Listed> for Item {
    fn from(listed: Listed) -> Item {
        Item {
            id: listed.id,
            kind: listed.kind,
            realm: listed.realm,
            active: listed.active,
            blocked: listed.blocked,
            state: listed.state,
            version: listed.version,
            created: listed.created,
            modified: listed.modified,
            attributes: RawValue::from_string(said(listed.active, listed.doc)).ok(),
            links: Vec::new(),
            licence: None,
        }
    }
}

pub async fn list(app: &App, caller: &Caller, kind: Kind, wanted: Wanted) -> Result<Json<Page>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(caller)?;
    let limit = page_size(wanted.limit, USUAL_PAGE)?;
    let mut session = app.db.read().await?;
    if let Some(mut ids) = named(&mut session, kind, &wanted).await? {
        ids.truncate(limit);
        let mut items = listing::by_ids(&mut session, kind, &ids).await?;
        items.retain(|item| wanted.realm.is_none_or(|realm| realm.as_str() == item.realm));
        return Ok(Json(Page { items: self::items(app, kind, items), next: None }));
    }
    let after = wanted.cursor.as_deref().map(cursor_of).transpose()?;
    let realm = wanted.realm.map(Realm::as_str);
    let after = after.as_ref().map(|(realm, id)| (realm.as_str(), *id));
    let mut rows = listing::page(&mut session, kind, realm, after, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(format!("{}.{}", last.realm, last.id)));
    Ok(Json(Page { items: items(app, kind, rows), next }))
}

/// As they are shown: without what their schemas never show.
fn items(app: &App, kind: Kind, listed: Vec<Listed>) -> Vec<Item> {
    let places = app.context("").policies.hidden.clone();
    let any = places.iter().any(|place| place.kind == kind);
    let hidden = |mut listed: Listed| {
        if any && let Ok(mut document) = serde_json::from_str(&listed.doc) {
            hidden::remove(&places, kind, &mut document);
            listed.doc = Value::Object(document).to_string();
        }
        Item::from(listed)
    };
    listed.into_iter().map(hidden).collect()
}

/// What has the login, number or e-mail that was asked for; `None` when none was.
async fn named(session: &mut impl Session, kind: Kind, wanted: &Wanted) -> Result<Option<Vec<EntityId>>, Problem> {
    let given = [&wanted.login, &wanted.number, &wanted.email].into_iter().flatten().count();
    if given > 1 {
        return Err(Problem::bad_request("bad_query", "one of login, number, email"));
    }
    if let Some(login) = &wanted.login {
        let mut ids = Vec::new();
        for realm in Realm::ALL.iter().filter(|realm| wanted.realm.is_none_or(|wanted| wanted == **realm)) {
            ids.extend(names::user(session, *realm, login).await?);
        }
        return Ok(Some(ids));
    }
    for (name, value) in [("number", &wanted.number), ("email", &wanted.email)] {
        if let Some(value) = value {
            return Ok(Some(names::with_value(session, kind, name, value).await?));
        }
    }
    Ok(None)
}

/// One thing with its relations, and for people their licence.
pub async fn shown(app: &App, session: &mut impl Session, kind: Kind, id: EntityId) -> Result<Item, Problem> {
    let found = listing::by_ids(session, kind, &[id]).await?.pop().ok_or_else(Problem::not_found)?;
    let mut item = items(app, kind, vec![found]).pop().ok_or_else(Problem::not_found)?;
    let rels: &[Rel] = match kind {
        Kind::User => &[Rel::Pairing, Rel::BelongsTo, Rel::Manager],
        Kind::Contact => &[Rel::WorksFor, Rel::MergedInto],
        Kind::Ticket => &[Rel::Concerns, Rel::Customer],
        _ => &[],
    };
    let link = |link: listing::Link| Link {
        rel: link.rel,
        to: link.to,
        source: link.source,
        attributes: link.attributes.and_then(|text| serde_json::from_str(&text).ok()),
    };
    item.links = listing::links(session, id, rels).await?.into_iter().map(link).collect();
    if kind == Kind::User {
        item.licence = licences::of(session, id).await?.map(Licence::from);
    }
    Ok(item)
}

fn cursor_of(text: &str) -> Result<(String, EntityId), Problem> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (realm, id) = text.split_once('.')?;
        Some((realm.to_owned(), id.parse().ok()?))
    };
    read().ok_or_else(|| Problem::bad_request("bad_cursor", "cursor: as given by `next` of the page before"))
}
