//! `credentials/verify` (is this login's password right?), `credentials/change` (by the person, R51) and, for the
//! operator, `users/{id}/credentials` and `users/{id}/totp`. A secret that is generated leaves in exactly one place: the
//! mail, or the answer to this call, once (R54, R57). Never logs or journals one. Start with `verify`.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Body, Id};
use crate::config::source::OPERATOR;
use crate::credential::{generate, totp};
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::login::{self, Refused};
use crate::http::password;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::change::Change;
use crate::model::entity::{Entity, Flags, State as EntityState};
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkState, Purpose};
use crate::model::kind::{Kind, Realm};
use crate::model::mail::MailKind;
use crate::model::source::{SourceKind, SourcePolicy};
use crate::reconcile::{Context, invite, note};
use crate::store::credential::{self, Totp};
use crate::store::{self, Tx, outbox};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/credentials/verify", post(verify))
        .route("/credentials/change", post(change))
        .route("/users/{id}/credentials", post(set))
        .route("/users/{id}/totp", post(enrol).delete(withdraw))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    login: String,
    password: SecretString,
    realm: Realm,
    totp: Option<String>,
}

async fn verify(State(app): State<App>, caller: Caller, Body(ask): Body<Verify>) -> Result<Response, Problem> {
    caller.require(Scope::Verify)?;
    Ok(match login::check(&app, ask.realm, &ask.login, ask.password, ask.totp.as_deref()).await {
        Ok(known) => Json(json!({"valid": true, "user": known.id, "must_change": known.must_change})).into_response(),
        Err(refused) => refusal(refused),
    })
}

/// With `valid: false` for whoever only looks there, and `Retry-After` where waiting helps.
fn refusal(refused: Refused) -> Response {
    let wait = if let Refused::TooEarly(seconds) = &refused { Some(*seconds) } else { None };
    let mut response = Problem::from(refused).with("valid", false).into_response();
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeOwn {
    login: String,
    password: SecretString,
    realm: Realm,
    totp: Option<String>,
    /// Absent: one is generated and returned.
    new_password: Option<SecretString>,
}

async fn change(State(app): State<App>, caller: Caller, Body(ask): Body<ChangeOwn>) -> Result<Response, Problem> {
    caller.require(Scope::Verify)?;
    let known = match login::check(&app, ask.realm, &ask.login, ask.password, ask.totp.as_deref()).await {
        Ok(known) => known,
        Err(refused) => return Ok(refusal(refused)),
    };
    let person = person(&app, known.id).await?;
    let cx = app.context(format!("user:{}", person.id));
    let answer = replace(&app, &cx, &person, ask.new_password, false).await?;
    Ok(Json(answer).into_response())
}

/// What the operator wants: a password, or a generated one (default), or a mail.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Set {
    password: Option<SecretString>,
    /// A link to set the password is mailed; nothing secret is returned.
    #[serde(default)]
    mail: bool,
    /// With `mail`: the generated password itself is mailed, where the configuration permits it.
    #[serde(default)]
    clear_text: bool,
    /// The person must change it at the first login.
    must_change: Option<bool>,
}

async fn set(State(app): State<App>, caller: Caller, Id(id): Id, Body(ask): Body<Set>) -> Result<Response, Problem> {
    caller.require(Scope::PasswordWrite)?;
    let person = managed(&app, &caller, id).await?;
    let config = app.config();
    let cx = app.context(caller.actor());
    if ask.clear_text && !(ask.mail && config.credentials.clear_text_mail) {
        let detail = "passwords in clear text are mailed only with mail = true and credentials.clear_text_mail = true";
        return Err(Problem::forbidden("clear_text_refused", detail));
    }
    if ask.mail && ask.password.is_some() {
        return Err(Problem::bad_request("bad_body", "give a password or ask for a mail, not both"));
    }
    if !ask.mail || config.mail.host.is_none() {
        let generated = ask.password.is_none();
        let mut answer = replace(&app, &cx, &person, ask.password, ask.must_change.unwrap_or(generated)).await?;
        answer["mail"] = json!(if ask.mail { "off" } else { "none" });
        return Ok(Json(answer).into_response());
    }
    let Some(address) = invite::address(&person.doc) else {
        return Ok(Json(json!({"user": person.id, "mail": "no_email"})).into_response()); // R11: no error
    };
    let answer = post_mail(&app, &cx, &person, address, ask.clear_text).await.map_err(Problem::internal)?;
    app.wake.deliver();
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Sets a password, or generates one and returns it: the only time that it is seen.
async fn replace(
    app: &App,
    cx: &Context,
    person: &Entity,
    wanted: Option<SecretString>,
    must_change: bool,
) -> Result<Value, Problem> {
    let generated = wanted.is_none();
    let wanted = wanted.unwrap_or_else(|| generate::password(&app.clock));
    check_policy(app, person, &wanted)?;
    let hash = app.hasher.hash(wanted.clone()).await.map_err(|error| Problem::from(Refused::Hasher(error)))?;
    let operator = operator(app)?;
    let mut tx = app.db.write().await?;
    let done = async {
        password::set(&mut tx, cx, &operator, (person.id, label(person)), &hash, must_change).await?;
        Ok::<(), crate::reconcile::Error>(tx.commit().await?)
    };
    done.await.map_err(Problem::internal)?;
    let mut answer = json!({"user": person.id, "changed": true, "must_change": must_change});
    if generated {
        answer["password"] = json!(wanted.expose_secret());
    }
    Ok(answer)
}

fn check_policy(app: &App, person: &Entity, wanted: &SecretString) -> Result<(), Problem> {
    let realm = person.realm.unwrap_or(Realm::Client);
    let second_factor = person.flags.has(Flags::TWO_FACTOR);
    let names = invite::about(person);
    let own = [names.login.as_deref().unwrap_or_default(), &names.given_name, &names.family_name];
    password::check(app, realm, second_factor, &own, wanted).map_err(|broken| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "password_policy", &broken)
            .with("broken", broken.codes())
            .with("min_length", broken.min_length)
    })
}

/// A mail with a link, or with a password that is generated when it is delivered.
async fn post_mail(
    app: &App,
    cx: &Context,
    person: &Entity,
    address: &str,
    clear_text: bool,
) -> Result<Value, crate::reconcile::Error> {
    let source = app.config().policy(OPERATOR).cloned();
    let source = source.ok_or_else(|| crate::reconcile::Error::NoSource(OPERATOR.to_owned()))?;
    let mut tx = app.db.write().await?;
    store::link::end_of(&mut tx, person.id, Purpose::Password, LinkState::Superseded).await?;
    let data = invite::about(person);
    let (answer, change) = if clear_text {
        let name = format!("{} {}", data.given_name, data.family_name).trim().to_owned();
        let payload = json!({"address": address, "login": data.login, "name": name, "language": data.language});
        let id = app.clock.uuid().to_string();
        let (kind, dedupe, at) = (MailKind::Password.to_string(), format!("password:{id}"), app.clock.now());
        outbox::enqueue(&mut tx, outbox::New { id, kind, dedupe, entity: Some(person.id), payload, at }).await?;
        (json!({"user": person.id, "mail": "queued"}), told(&source, person, "$password", "mailed"))
    } else {
        let link = Link { entity: Some(person.id), ..invite::fresh(cx, Purpose::Password, address, data) };
        invite::post(&mut tx, cx, &link).await?;
        let label = person.login_key.clone().unwrap_or_default();
        let answer = json!({"user": person.id, "mail": "queued", "link": link.id, "expires": link.expires});
        (answer, invite::told(&source, &link, Kind::User, person.id, label))
    };
    note::note(&mut tx, cx, &source, vec![change]).await?;
    tx.commit().await?;
    Ok(answer)
}

/// A new second factor; the old one ends. Shown once.
async fn enrol(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Json<Value>, Problem> {
    caller.require(Scope::PasswordWrite)?;
    let person = managed(&app, &caller, id).await?;
    let login = invite::about(&person).login.unwrap_or_default();
    let enrolment = totp::enrol(&app.clock, &app.config().mail.product, &login);
    let new = Totp { secret: enrolment.secret.expose_secret().to_owned(), used: 0 };
    swap_totp(&app, &caller, &person, Some(new)).await?;
    Ok(Json(json!({
        "user": person.id,
        "secret": enrolment.secret.expose_secret(),
        "uri": enrolment.uri.expose_secret(),
    })))
}

async fn withdraw(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    caller.require(Scope::PasswordWrite)?;
    let person = managed(&app, &caller, id).await?;
    swap_totp(&app, &caller, &person, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn swap_totp(app: &App, caller: &Caller, person: &Entity, new: Option<Totp>) -> Result<(), Problem> {
    let operator = operator(app)?;
    let cx = app.context(caller.actor());
    let mut tx: Tx = app.db.write().await?;
    let old = credential::by_id(&mut tx, person.id).await?;
    let Some(old) = old.filter(|account| account.hash.is_some()) else {
        return Err(Problem::conflict("no_password", "a second factor needs a first: the account has no password yet"));
    };
    let word = if new.is_some() { "enrolled" } else { "withdrawn" };
    let done = async {
        let first = credential::set_totp(&mut tx, person.id, old.totp.as_ref(), new.as_ref()).await?;
        note::note(&mut tx, &cx, &operator, vec![told(&operator, person, "$totp", word)]).await?;
        tx.commit().await?;
        Ok::<bool, crate::reconcile::Error>(first)
    };
    if !done.await.map_err(Problem::internal)? {
        return Err(Problem::conflict("changed_meanwhile", "the second factor was changed by somebody else"));
    }
    Ok(())
}

fn told(source: &SourcePolicy, person: &Entity, what: &str, word: &str) -> Change {
    password::told(source, person.id, label(person), what, word)
}

fn label(person: &Entity) -> String {
    person.login_key.clone().unwrap_or_default()
}

pub(super) fn operator(app: &App) -> Result<std::sync::Arc<SourcePolicy>, Problem> {
    let policy = app.config().policy(OPERATOR).cloned();
    policy.ok_or_else(|| Problem::internal("the source of the operator is not configured"))
}

async fn person(app: &App, id: EntityId) -> Result<Entity, Problem> {
    let mut read = app.db.read().await?;
    let found = store::entity::by_id(&mut read, id).await?;
    found
        .filter(|entity| entity.kind == Kind::User && entity.state != EntityState::Tombstone)
        .ok_or_else(Problem::not_found)
}

/// Somebody whose credentials this caller may touch: the operator anybody's, another source only its realm's people; a
/// customer's own source nobody's. What is not managed does not exist.
async fn managed(app: &App, caller: &Caller, id: EntityId) -> Result<Entity, Problem> {
    let person = person(app, id).await?;
    let may = match &caller.policy {
        None => true,
        Some(policy) if policy.kind == SourceKind::Operator => true,
        Some(policy) => policy.company.is_none() && policy.realm.is_some() && policy.realm == person.realm,
    };
    if may { Ok(person) } else { Err(Problem::not_found()) }
}
