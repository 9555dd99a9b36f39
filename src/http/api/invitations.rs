//! Invitations by the operator: write, list, send again, revoke. There is one open invitation per address and company;
//! inviting again is sending again. Accepting is the page's (`http::pages`). Start with `create`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::credentials::operator;
use super::extract::{Body, Params};
use super::{LONGEST_PAGE, unbound};
use crate::credential::link as secrets;
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::desired::{Desired, Record, Ref, Target, Targets, Write};
use crate::model::entity::{Entity, State as EntityState};
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkData, LinkState, Purpose, Role};
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::language::Language;
use crate::model::mail::is_address;
use crate::model::source::SourcePolicy;
use crate::reconcile::{self, Context, invite, note};
use crate::store::{self, Session, Tx, names};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/invitations", get(list).post(create))
        .route("/invitations/{id}", get(one).delete(revoke))
        .route("/invitations/{id}/resend", post(resend))
}

fn allowed(caller: &Caller) -> Result<(), Problem> {
    if !caller.may(Scope::ApiWrite) {
        caller.require(Scope::Invitations)?;
    }
    unbound(caller)
}

/// All optional, so that everything that is missing can be named at once (R4).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    email: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    language: Option<String>,
    role: Option<String>,
    /// Id or number.
    company: Option<String>,
    /// Shown in the mail.
    inviter: Option<String>,
}

/// Longest name or inviter, in characters.
const LONGEST_NAME: usize = 200;

const COMPANY: &str = "id or number of an active company";

/// What an invitation needs, checked; `company` still by name.
struct Wish {
    email: String,
    company: String,
    role: Role,
    data: LinkData,
}

/// Everything that is wrong at once.
fn checked(ask: Create) -> Result<Wish, Problem> {
    let mut faults: Vec<Value> = Vec::new();
    let mut fault = |field: &str, allowed: String| faults.push(json!({"field": field, "allowed": allowed}));
    let email = ask.email.unwrap_or_default().trim().to_owned();
    if !is_address(&email) {
        fault("email", "an e-mail address".to_owned());
    }
    let mut name = |field: &str, value: Option<String>| {
        let value = value.unwrap_or_default().trim().to_owned();
        if value.is_empty() || value.chars().count() > LONGEST_NAME || value.chars().any(char::is_control) {
            fault(field, format!("1 to {LONGEST_NAME} characters without control characters"));
        }
        value
    };
    let (given_name, family_name) = (name("given_name", ask.given_name), name("family_name", ask.family_name));
    let inviter = ask.inviter.map(|inviter| name("inviter", Some(inviter)));
    let company = ask.company.unwrap_or_default().trim().to_owned();
    if company.is_empty() || company.chars().count() > LONGEST_NAME || company.chars().any(char::is_control) {
        fault("company", COMPANY.to_owned());
    }
    let role = match ask.role.as_deref().unwrap_or("Member").parse::<Role>() {
        Ok(role) => role,
        Err(error) => {
            fault("role", error.allowed);
            Role::Member
        }
    };
    if ask.language.as_deref().is_some_and(|language| Language::wished(language).is_none()) {
        fault("language", Language::ALL.iter().map(|language| language.as_str()).collect::<Vec<_>>().join(", "));
    }
    if !faults.is_empty() {
        let detail = "the invitation cannot be written as it is";
        return Err(Problem::bad_request("invalid", detail).with("faults", faults));
    }
    let data = LinkData { given_name, family_name, language: ask.language, inviter, ..LinkData::default() };
    Ok(Wish { email, company, role, data })
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(ask): Body<Create>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    allowed(&caller)?;
    let wish = checked(ask)?;
    let cx = app.context(caller.actor());
    let operator = operator(&app)?;
    let mut tx = app.db.write().await?;
    let company = company(&mut tx, &wish.company).await?;
    may_have(&company, wish.role)?;
    let data = LinkData {
        company: Some(invite::name(&company.doc)).filter(|name| !name.is_empty()),
        realm: Some(Realm::Client),
        ..wish.data
    };
    let link = Link {
        company: Some(company.id),
        role: Some(wish.role),
        ..invite::fresh(&cx, Purpose::Invitation, &wish.email, data)
    };
    for old in store::link::lock_open(&mut tx, &link.email, link.company).await? {
        store::link::end(&mut tx, &old.id, LinkState::Superseded).await?;
    }
    let answer = write(&app, tx, &cx, &operator, &link).await.map_err(Problem::internal)?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Link, mail and journal row, committed. Without a mail server the secret is returned, this once (R57).
async fn write(
    app: &App,
    mut tx: Tx,
    cx: &Context,
    operator: &SourcePolicy,
    link: &Link,
) -> Result<Value, reconcile::Error> {
    let config = app.config();
    let mut answer = shown(link);
    if config.mail.host.is_some() {
        invite::post(&mut tx, cx, link).await?;
        answer["mail"] = json!("queued");
    } else {
        let (secret, hash) = secrets::mint(&app.clock);
        store::link::insert(&mut tx, link).await?;
        store::link::arm(&mut tx, &link.id, &hash, link.created).await?;
        let base = config.server.public_url.as_str().trim_end_matches('/').to_owned();
        answer["mail"] = json!("off");
        answer["link"] = json!(format!("{base}/invite/{}", secret.expose_secret()));
    }
    let (kind, about) = match (link.entity, link.company) {
        (Some(person), _) => (Kind::User, Some(person)),
        (None, company) => (Kind::Company, company),
    };
    if let Some(about) = about {
        note::note(&mut tx, cx, operator, vec![invite::told(operator, link, kind, about, link.email.clone())]).await?;
    }
    tx.commit().await?;
    app.wake.deliver();
    Ok(answer)
}

/// Only companies get client logins (R80).
async fn company(session: &mut impl Session, text: &str) -> Result<Entity, Problem> {
    let ids = names::numbered(session, Kind::Company, text).await?;
    let found = store::entity::by_ids(session, &ids).await?;
    let mut living = found.into_iter().filter(|company| company.kind == Kind::Company);
    match living.next() {
        Some(company) if company.state != EntityState::Tombstone && company.active => Ok(company),
        _ => {
            let fault = json!({"field": "company", "allowed": COMPANY});
            Err(Problem::bad_request("invalid", "there is no such company").with("faults", vec![fault]))
        }
    }
}

/// A managed company has no Administrator (R83); nothing said of it counts as independent.
fn may_have(company: &Entity, role: Role) -> Result<(), Problem> {
    if role == Role::Administrator && company.doc.get("independent").and_then(Value::as_bool) == Some(false) {
        let detail = "the company is managed by the operator and has no Administrator of its own";
        return Err(Problem::conflict("administrator_not_allowed", detail).with("allowed", vec!["Member", "Moderator"]));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Id or number.
    company: Option<String>,
    /// The `next` of the page before.
    before: Option<String>,
    limit: Option<usize>,
}

async fn list(State(app): State<App>, caller: Caller, Params(page): Params<Page>) -> Result<Json<Value>, Problem> {
    if !caller.may(Scope::ApiRead) {
        allowed(&caller)?;
    }
    unbound(&caller)?;
    let limit = page.limit.unwrap_or(50).clamp(1, LONGEST_PAGE);
    let mut read = app.db.read().await?;
    let of = match &page.company {
        Some(text) => Some(company(&mut read, text).await?.id),
        None => None,
    };
    let found = store::link::invitations(&mut read, of, page.before.as_deref(), limit as i64).await;
    let found = found?;
    let next = if found.len() == limit { found.last().map(|link| link.id.clone()) } else { None };
    let invitations: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"invitations": invitations, "next": next})))
}

async fn one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if !caller.may(Scope::ApiRead) {
        allowed(&caller)?;
    }
    unbound(&caller)?;
    let mut read = app.db.read().await?;
    Ok(Json(shown(&invitation(&mut read, &id).await?)))
}

async fn invitation(session: &mut impl Session, id: &str) -> Result<Link, Problem> {
    let found = store::link::by_id(session, id).await?;
    found.filter(|link| link.purpose == Purpose::Invitation).ok_or_else(Problem::not_found)
}

/// A new link with a new secret and its full seven days; the old one is dead (S17).
async fn resend(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    allowed(&caller)?;
    let cx = app.context(caller.actor());
    let operator = operator(&app)?;
    let mut tx = app.db.write().await?;
    let old = invitation(&mut tx, &id).await?;
    if matches!(old.state, LinkState::Accepted | LinkState::Revoked | LinkState::Superseded) {
        let detail = format!("the invitation is {}; write a new one", old.state);
        return Err(Problem::conflict("invitation_over", detail));
    }
    let fresh = invite::fresh(&cx, Purpose::Invitation, &old.email, old.data.clone());
    let link = Link { entity: old.entity, company: old.company, role: old.role, ..fresh };
    for open in store::link::lock_open(&mut tx, &old.email, old.company).await? {
        store::link::end(&mut tx, &open.id, LinkState::Superseded).await?;
    }
    Ok(Json(write(&app, tx, &cx, &operator, &link).await.map_err(Problem::internal)?))
}

/// Revokes what is open; of an accepted one the person leaves the company, and with the last company the account (R85).
async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    allowed(&caller)?;
    let cx = app.context(caller.actor());
    let operator = operator(&app)?;
    let mut tx = app.db.write().await?;
    let link = invitation(&mut tx, &id).await?;
    if link.state == LinkState::Superseded {
        return Err(Problem::conflict("invitation_over", "another invitation took its place"));
    }
    let left = async {
        store::link::end(&mut tx, &link.id, LinkState::Revoked).await?;
        let mut changes = Vec::new();
        let revoked = Link { state: LinkState::Revoked, ..link.clone() };
        if let (LinkState::Accepted, Some(person), Some(company)) = (link.state, link.entity, link.company) {
            leave(&mut tx, &cx, &operator, person, company).await?;
            changes.push(invite::told(&operator, &revoked, Kind::User, person, link.email.clone()));
        } else if let Some(company) = link.company {
            changes.push(invite::told(&operator, &revoked, Kind::Company, company, link.email.clone()));
        }
        note::note(&mut tx, &cx, &operator, changes).await?;
        Ok::<(), reconcile::Error>(tx.commit().await?)
    };
    left.await.map_err(Problem::internal)?;
    app.wake.deliver();
    Ok(StatusCode::NO_CONTENT)
}

async fn leave(
    tx: &mut Tx,
    cx: &Context,
    operator: &SourcePolicy,
    person: EntityId,
    company: EntityId,
) -> Result<(), reconcile::Error> {
    let Some(entity) = store::entity::by_id(tx, person).await? else { return Ok(()) };
    if entity.state == EntityState::Tombstone {
        return Ok(());
    }
    let remove = vec![Target::from(Ref::Id(company))];
    let desired = Desired {
        kind: Kind::User,
        key: person.to_string(),
        realm: entity.realm,
        alias: None,
        attributes: Map::new(),
        write: Write::Merge,
        relations: [(Rel::BelongsTo, Targets::Delta { add: Vec::new(), remove })].into(),
        digest: None,
    };
    reconcile::apply(tx, cx, operator, vec![Record::Present(Box::new(desired))]).await?;
    let edges = store::edge::from_any(tx, &[person]).await?;
    if !edges.iter().any(|edge| edge.rel == Rel::BelongsTo && edge.to.is_some()) {
        let gone = Record::Gone { kind: Kind::User, key: person.to_string() };
        reconcile::apply(tx, cx, operator, vec![gone]).await?;
    }
    Ok(())
}

/// Never the secret, nor its hash.
fn shown(link: &Link) -> Value {
    json!({
        "id": link.id,
        "email": link.email,
        "given_name": link.data.given_name,
        "family_name": link.data.family_name,
        "language": link.data.language,
        "role": link.role,
        "company": link.company,
        "user": link.entity,
        "state": link.state,
        "created": link.created,
        "expires": link.expires,
        "accepted": link.used,
    })
}
