//! The operator's hand on accounts: create, change, delete, pair with contacts. Every write is a saying of the source
//! `operator` and goes through `reconcile::apply`. Nothing is taken half: all faults at once, and where a more believed
//! source keeps its value, 409 names it. Passwords are not set here. Start with `create`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::extract::{Body, Id, Params};
use super::read::{self, Item, Wanted};
use super::{Stop, attempt, unbound};
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::desired::{Desired, Record, Ref, Target, Targets, Write};
use crate::model::dialect::Dialect;
use crate::model::document::{self, Document};
use crate::model::entity::urn;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::licence::LicenceState;
use crate::model::login::{Generator, Names, base, propose};
use crate::model::mail::is_address;
use crate::model::source::SourcePolicy;
use crate::reconcile::{self, Outcome, Refusal};
use crate::scim::resource;
use crate::store::{Tx, entity, licence, listing, names};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(one).patch(change).delete(remove))
        .route("/users/{id}/contacts/{contact}", put(pair).delete(unpair))
}

/// The roles of a membership (R82).
const ROLES: [&str; 3] = ["Member", "Moderator", "Administrator"];

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Json<read::Page>, Problem> {
    read::list(&app, &caller, Kind::User, wanted).await
}

async fn one(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<Item>, Problem> {
    caller.require(Scope::ApiRead)?;
    unbound(&caller)?;
    read::shown(&app, &mut app.db.read().await?, Kind::User, id).await.map(Json)
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct New {
    realm: Realm,
    /// SCIM-shaped; without `userName` one is proposed (R6).
    attributes: Map<String, Value>,
    /// Ids or numbers (R12).
    #[serde(default)]
    contacts: Vec<String>,
    #[serde(default)]
    companies: Vec<Membership>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Membership {
    /// Id or number.
    company: String,
    role: Option<String>,
}

async fn create(State(app): State<App>, caller: Caller, Body(new): Body<New>) -> Result<Response, Problem> {
    let policy = operator(&app, &caller)?;
    let id = app.clock.entity_id();
    let item = attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            let mut attributes = new.attributes.clone();
            let given = attributes.get("userName").and_then(Value::as_str);
            if given.is_none_or(|login| login.trim().is_empty())
                && let Some(login) = proposal(&mut tx, new.realm, &attributes).await?
            {
                attributes.insert("userName".to_owned(), Value::String(login));
            }
            let attributes = checked(&app, new.realm, &attributes, false)?;
            if new.realm == Realm::Client {
                free(&mut tx, &attributes).await?;
            }
            let mut desired = desired(id, attributes, Write::Whole);
            desired.realm = Some(new.realm);
            let relations = relations(&mut tx, Some(&new.contacts), Some(&new.companies)).await?;
            desired.relations = relations;
            let asked = apply(&app, &caller, &policy, &mut tx, desired).await?;
            refuse_licence(&mut tx, asked, true).await?;
            let item = read::shown(&app, &mut tx, Kind::User, id).await?;
            tx.commit().await?;
            Ok(item)
        })
    })
    .await?;
    app.wake.deliver();
    Ok((StatusCode::CREATED, Json(item)).into_response())
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Only what changes; `null` = empty from now on.
    #[serde(default)]
    attributes: Map<String, Value>,
    contacts: Option<Vec<String>>,
    companies: Option<Vec<Membership>>,
    /// The operator's own block, which no source can lift (R71).
    blocked: Option<bool>,
}

async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Body(change): Body<Change>,
) -> Result<Json<Item>, Problem> {
    let policy = operator(&app, &caller)?;
    let item = attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            let found = listing::by_ids(&mut tx, Kind::User, &[id]).await?.pop().ok_or_else(Problem::not_found)?;
            let realm: Realm = found.realm.parse().map_err(|_| Problem::not_found())?;
            let attributes = checked(&app, realm, &change.attributes, true)?;
            let relations = relations(&mut tx, change.contacts.as_deref(), change.companies.as_deref()).await?;
            if !attributes.is_empty() || !relations.is_empty() {
                let wishes = attributes.get(urn::AGENT).is_some_and(|agent| agent.get("licence").is_some());
                let mut desired = desired(id, attributes, Write::Merge);
                desired.realm = Some(realm);
                desired.relations = relations;
                let asked = apply(&app, &caller, &policy, &mut tx, desired).await?;
                refuse_licence(&mut tx, asked, wishes).await?;
            }
            if let Some(blocked) = change.blocked {
                reconcile::block(&mut tx, &app.context(caller.actor()), &policy, id, blocked).await?;
            }
            let item = read::shown(&app, &mut tx, Kind::User, id).await?;
            tx.commit().await?;
            Ok(item)
        })
    })
    .await?;
    app.wake.deliver();
    Ok(Json(item))
}

/// The account goes for every source, its login is free again, its history stays till the retention ends (R72).
async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let policy = operator(&app, &caller)?;
    attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            if listing::by_ids(&mut tx, Kind::User, &[id]).await?.is_empty() {
                return Err(Problem::not_found().into());
            }
            let gone = Record::Gone { kind: Kind::User, key: id.to_string() };
            let applied = reconcile::apply(&mut tx, &app.context(caller.actor()), &policy, vec![gone]).await?;
            if let Some((_, refusal)) = applied.refused().next() {
                return Err(refused(refusal).into());
            }
            tx.commit().await?;
            Ok(StatusCode::NO_CONTENT)
        })
    })
    .await
}

async fn pair(
    State(app): State<App>,
    caller: Caller,
    Path((user, contact)): Path<(String, String)>,
) -> Result<Json<Item>, Problem> {
    repair(&app, &caller, &user, &contact, true).await
}

async fn unpair(
    State(app): State<App>,
    caller: Caller,
    Path((user, contact)): Path<(String, String)>,
) -> Result<Json<Item>, Problem> {
    repair(&app, &caller, &user, &contact, false).await
}

/// Adding what is there and removing what is not are no errors; a pairing of another source stays, and 409 names it.
async fn repair(app: &App, caller: &Caller, user: &str, contact: &str, add: bool) -> Result<Json<Item>, Problem> {
    let policy = operator(app, caller)?;
    let user: EntityId = user.parse().map_err(|_| Problem::not_found())?;
    let contact: EntityId = contact.parse().map_err(|_| Problem::not_found())?;
    let item = attempt(|| {
        Box::pin(async {
            let mut tx = app.db.write().await?;
            let found = listing::by_ids(&mut tx, Kind::User, &[user]).await?.pop().ok_or_else(Problem::not_found)?;
            if add && listing::by_ids(&mut tx, Kind::Contact, &[contact]).await?.is_empty() {
                return Err(Problem::not_found().into());
            }
            let mut desired = desired(user, Document::new(), Write::Merge);
            desired.realm = found.realm.parse().ok();
            let one = || vec![Target::from(Ref::Id(contact))];
            let (added, removed) = if add { (one(), Vec::new()) } else { (Vec::new(), one()) };
            desired.relations.insert(Rel::Pairing, Targets::Delta { add: added, remove: removed });
            apply(app, caller, &policy, &mut tx, desired).await?;
            let left = listing::links(&mut tx, user, &[Rel::Pairing]).await?;
            let owners: Vec<String> =
                left.into_iter().filter(|link| link.to == contact).map(|link| link.source).collect();
            if !add && !owners.is_empty() {
                let detail = "other sources assert this pairing";
                return Err(Problem::conflict("overruled", detail).with("owners", owners).into());
            }
            let item = read::shown(app, &mut tx, Kind::User, user).await?;
            tx.commit().await?;
            Ok(item)
        })
    })
    .await?;
    Ok(Json(item))
}

/// The source that these calls write as.
fn operator(app: &App, caller: &Caller) -> Result<SourcePolicy, Problem> {
    caller.require(Scope::ApiWrite)?;
    unbound(caller)?;
    let config = app.config();
    let policy = config.policy(crate::config::source::OPERATOR).ok_or_else(|| Problem::internal("no operator"))?;
    Ok(SourcePolicy::clone(policy))
}

fn desired(id: EntityId, attributes: Document, write: Write) -> Desired {
    let (key, relations) = (id.to_string(), BTreeMap::new());
    Desired { kind: Kind::User, key, realm: None, alias: None, attributes, write, relations, digest: None }
}

/// A login for a client from its title (R6), for an agent the e-mail address (R27); `None` where there is nothing to make
/// it of.
async fn proposal(tx: &mut Tx, realm: Realm, attributes: &Document) -> Result<Option<String>, Stop> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let name = attributes.get("name");
    let mails = attributes.get("emails").and_then(Value::as_array);
    let (title, email) = (text(attributes.get("displayName")), text(mails.and_then(|all| all.first()?.get("value"))));
    let given = text(name.and_then(|name| name.get("givenName")));
    let family = text(name.and_then(|name| name.get("familyName")));
    let names = Names { title: &title, given: &given, family: &family, email: &email };
    let generator = if realm == Realm::Agent { Generator::Email } else { Generator::Title };
    if title.is_empty() && (realm == Realm::Client || email.is_empty()) {
        return Ok(None);
    }
    let taken = names::logins_from(tx, realm, &base(generator, names)).await?;
    Ok(Some(propose(generator, names, |login| taken.iter().any(|taken| taken == login))))
}

/// The attributes in the spelling and types of the schema; all faults at once. `partial`: nothing is required, and `null`
/// is kept.
fn checked(app: &App, realm: Realm, given: &Document, partial: bool) -> Result<Document, Stop> {
    let schemas = app.schemas();
    let shape = schemas
        .of_realm(Some(realm))
        .of(Kind::User)
        .ok_or_else(|| Problem::internal("the schema of users cannot be read"))?;
    if given.contains_key("password") {
        return Err(Problem::bad_request("password", "a password is set by its own call").into());
    }
    let mut body = document::without_nulls(given);
    let named = body.contains_key("userName");
    if !named {
        body.insert("userName".to_owned(), json!("-"));
    }
    let faults = bad_texts(&body);
    if !faults.is_empty() {
        let detail = format!("bad values: {}", faults.join("; "));
        return Err(Problem::bad_request("bad_attributes", detail).with("faults", faults).into());
    }
    let read = resource::read(shape, &body, Dialect::default())
        .map_err(|error| Problem::bad_request("bad_attributes", error))?;
    if !read.ignored.is_empty() {
        let detail = format!("unknown attributes: {}", read.ignored.join(", "));
        return Err(Problem::bad_request("bad_attributes", detail).with("unknown", read.ignored).into());
    }
    let mut attributes = read.attributes;
    if !named {
        attributes.remove("userName");
    }
    // Set by the operator alone: the schema lets no identity provider write it (R35).
    let statutory = given.get(urn::AGENT).and_then(|agent| agent.get("statutory"));
    if let (Realm::Agent, Some(Value::Bool(statutory))) = (realm, statutory) {
        let agent = attributes.entry(urn::AGENT).or_insert_with(|| json!({}));
        if let Value::Object(agent) = agent {
            agent.insert("statutory".to_owned(), Value::Bool(*statutory));
        }
    }
    if partial {
        document::overlay(&mut attributes, &nulls(given));
        return Ok(attributes);
    }
    let missing = app.config().profiles.of(realm).missing(&attributes);
    if missing.is_empty() { Ok(attributes) } else { Err(missing_fields(missing).into()) }
}

/// Names with control characters, which would reach mails and logs, and what is no e-mail address.
fn bad_texts(attributes: &Document) -> Vec<String> {
    let controls = |value: &Value| value.as_str().is_some_and(|text| text.contains(char::is_control));
    let mut faults = Vec::new();
    for field in ["userName", "displayName"] {
        if attributes.get(field).is_some_and(controls) {
            faults.push(format!("{field}: no control characters"));
        }
    }
    for (part, value) in attributes.get("name").and_then(Value::as_object).into_iter().flatten() {
        if controls(value) {
            faults.push(format!("name.{part}: no control characters"));
        }
    }
    for (at, email) in addresses(attributes).enumerate() {
        if !email.is_some_and(is_address) {
            faults.push(format!("emails[{at}].value: an e-mail address"));
        }
    }
    faults
}

fn addresses(attributes: &Document) -> impl Iterator<Item = Option<&str>> {
    let emails = attributes.get("emails").and_then(Value::as_array).into_iter().flatten();
    emails.map(|email| email.get("value").and_then(Value::as_str))
}

/// A client's address never gets a second account (R62).
async fn free(tx: &mut Tx, attributes: &Document) -> Result<(), Stop> {
    for email in addresses(attributes).flatten() {
        let ids = names::with_value(tx, Kind::User, "email", email).await?;
        let living = entity::living(tx, &ids).await?;
        if let Some((holder, ..)) = living.into_iter().find(|(_, _, realm)| *realm == Some(Realm::Client)) {
            let detail = format!("a client account has the address {email}");
            return Err(Problem::conflict("email_taken", detail).with("user", holder.to_string()).into());
        }
    }
    Ok(())
}

/// All of them at once (R4).
fn missing_fields(fields: Vec<String>) -> Problem {
    let detail = format!("missing: {}", fields.join(", "));
    Problem::bad_request("missing_fields", detail).with("missing", fields)
}

/// Only the leaves that are `null`.
fn nulls(given: &Document) -> Document {
    let mut out = Document::new();
    for (name, value) in given {
        match value {
            Value::Null => drop(out.insert(name.clone(), Value::Null)),
            Value::Object(inner) => {
                let inner = nulls(inner);
                if !inner.is_empty() {
                    out.insert(name.clone(), Value::Object(inner));
                }
            }
            _ => {}
        }
    }
    out
}

/// Contacts and companies by id or number; everything unknown is named at once.
async fn relations(
    tx: &mut Tx,
    contacts: Option<&[String]>,
    companies: Option<&[Membership]>,
) -> Result<BTreeMap<Rel, Targets>, Stop> {
    let mut relations = BTreeMap::new();
    let mut faults = Vec::new();
    if let Some(contacts) = contacts {
        let mut targets = Vec::new();
        for (at, text) in contacts.iter().enumerate() {
            match found(tx, Kind::Contact, text).await? {
                Some(id) => targets.push(Target::from(Ref::Id(id))),
                None => faults.push(format!("contacts[{at}]: exactly one contact by its id or number")),
            }
        }
        relations.insert(Rel::Pairing, Targets::Whole(targets));
    }
    if let Some(companies) = companies {
        let mut targets = Vec::new();
        for (at, Membership { company, role }) in companies.iter().enumerate() {
            let role = role.as_deref().unwrap_or(ROLES[0]);
            if !ROLES.contains(&role) {
                faults.push(format!("companies[{at}].role: one of {}", ROLES.join(", ")));
            }
            match found(tx, Kind::Company, company).await? {
                Some(id) => {
                    let attributes = Map::from_iter([("role".to_owned(), json!(role))]);
                    targets.push(Target { to: Ref::Id(id), attributes });
                }
                None => faults.push(format!("companies[{at}]: exactly one company by its id or number")),
            }
        }
        relations.insert(Rel::BelongsTo, Targets::Whole(targets));
    }
    if faults.is_empty() {
        return Ok(relations);
    }
    Err(Problem::bad_request("bad_relations", faults.join("; ")).with("faults", faults).into())
}

async fn found(tx: &mut Tx, kind: Kind, text: &str) -> Result<Option<EntityId>, Stop> {
    let ids = names::numbered(tx, kind, text).await?;
    let found = listing::by_ids(tx, kind, &ids).await?;
    Ok(if let [one] = found.as_slice() { Some(one.id) } else { None })
}

/// Applies one saying of the operator; whatever was not taken as asked is a refusal, and the transaction is dropped.
async fn apply(
    app: &App,
    caller: &Caller,
    policy: &SourcePolicy,
    tx: &mut Tx,
    desired: Desired,
) -> Result<EntityId, Stop> {
    let asked: Vec<String> =
        document::leaves(&desired.attributes).iter().map(|(path, _)| document::shown(path)).collect();
    let record = Record::Present(Box::new(desired));
    let mut applied = reconcile::apply(tx, &app.context(caller.actor()), policy, vec![record]).await?;
    let outcome: Outcome = applied.outcomes.pop().unwrap_or_default();
    if let Some(refusal) = &outcome.refused {
        return Err(refused(refusal).into());
    }
    if outcome.login_kept && asked.iter().any(|name| name == "userName") {
        return Err(Problem::conflict("immutable", "userName cannot be changed after creation").into());
    }
    let overruled: Vec<Value> = outcome
        .overruled
        .iter()
        .filter(|overruled| asked.contains(&overruled.attribute))
        .map(|overruled| json!({"attribute": overruled.attribute, "owner": overruled.owner}))
        .collect();
    if !overruled.is_empty() {
        let detail = "a more believed source keeps its value; change it there";
        return Err(Problem::conflict("overruled", detail).with("overruled", overruled).into());
    }
    outcome.entity.ok_or_else(|| Problem::internal("nothing became of the record").into())
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::LoginTaken { .. } | Refusal::Former { .. } => Problem::conflict("login_taken", refusal),
        Refusal::ValueTaken { .. } => Problem::conflict("value_taken", refusal),
        Refusal::Ambiguous { .. } | Refusal::HeldByOtherKey { .. } => Problem::conflict("ambiguous", refusal),
        Refusal::Protected { .. } => Problem::forbidden("protected", refusal),
        Refusal::OtherRealm => Problem::conflict("other_realm", refusal),
        Refusal::Deleted | Refusal::NotFound => Problem::not_found(),
        Refusal::Missing { fields } => missing_fields(fields.clone()),
        Refusal::Bad(_) => Problem::bad_request("bad_attributes", refusal),
    }
}

/// A wish that was asked for here and cannot be granted is refused as a whole, with every reason (R47, R48); waiting for a
/// seat is no refusal.
async fn refuse_licence(tx: &mut Tx, user: EntityId, asked: bool) -> Result<(), Stop> {
    let row = if asked { licence::of(tx, user).await? } else { None };
    match row {
        Some(row) if matches!(row.state, LicenceState::Blocked | LicenceState::TransitionNotAllowed) => {
            let reasons: Value = serde_json::from_str(&row.reasons).unwrap_or_default();
            let detail = "the licence cannot be granted; nothing was changed";
            Err(Problem::conflict("licence_refused", detail).with("reasons", reasons).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_what_is_no_address_are_named_all_at_once() {
        let given = json!({"userName": "a\u{0}b", "displayName": "Eva\r\nBcc: x@y.test", "name": {"familyName": "N\nO",
            "givenName": "Eva"}, "emails": [{"value": "eva@x.test"}, {"value": "a\n@x.test"}, {"type": "work"}]});
        let Value::Object(given) = given else { panic!("no object") };
        let faults = bad_texts(&given);
        let fields: Vec<&str> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
        let all = ["userName", "displayName", "name.familyName", "emails[1].value", "emails[2].value"];
        assert_eq!(fields, all);
    }
}
