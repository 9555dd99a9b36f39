//! GET shows the form (and changes nothing), POST uses the link. Whatever goes wrong before that leaves the link as it
//! was, so that a password that is refused can be corrected. Pages are in the language that the invitation asked for,
//! else in the browser's, else in the configured one.

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::accept::{self, Error};
use super::view::{self, Fault, FormKind};
use crate::config::Config;
use crate::credential::{hasher, link as secrets};
use crate::http::login::{self, Refused};
use crate::http::state::App;
use crate::model::entity::{Entity, Flags};
use crate::model::invitation::{Dead, Link, Purpose};
use crate::model::language::Language;
use crate::store;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/invite/style.css", get(async || view::style()))
        .route("/password/style.css", get(async || view::style()))
        .route("/invite/{token}", get(show_invitation).post(use_invitation))
        .route("/password/{token}", get(show_password).post(use_password))
}

#[derive(Deserialize, Default)]
struct Fields {
    #[serde(default)]
    password: SecretString,
    #[serde(default)]
    repeat: SecretString,
    #[serde(default)]
    code: String,
}

async fn show_invitation(State(app): State<App>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    show(&app, Purpose::Invitation, &token, &headers).await
}

async fn show_password(State(app): State<App>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    show(&app, Purpose::Password, &token, &headers).await
}

async fn use_invitation(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    submit(&app, Purpose::Invitation, &token, &headers, fields).await
}

async fn use_password(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    submit(&app, Purpose::Password, &token, &headers, fields).await
}

/// A link that can be used at this moment, and what its page needs.
struct Open {
    hash: [u8; 32],
    link: Link,
    person: Option<Entity>,
    language: Language,
    product: String,
}

impl Open {
    fn kind(&self) -> FormKind {
        match (self.link.purpose, self.link.entity, &self.person) {
            (Purpose::Password, ..) => FormKind::SetPassword,
            (Purpose::Invitation, None, Some(_)) => FormKind::Join,
            (Purpose::Invitation, ..) => FormKind::Register,
        }
    }

    fn login(&self) -> &str {
        let known = self.person.as_ref().and_then(|person| person.doc.get("userName")?.as_str());
        known.unwrap_or(&self.link.email)
    }

    fn form(&self, error: Option<Fault>) -> Response {
        view::form(&view::Form {
            language: self.language,
            product: &self.product,
            company: self.link.data.company.as_deref(),
            // Whoever holds the link only learns the address that it was sent to.
            login: if self.kind() == FormKind::Join { &self.link.email } else { self.login() },
            kind: self.kind(),
            error,
        })
    }
}

/// The link of a page, or the page that says why there is none.
async fn open(app: &App, purpose: Purpose, token: &str, headers: &HeaderMap) -> Result<Open, Response> {
    let config = app.config();
    let product = config.mail.product.clone();
    let fallback = browser(headers, &config);
    let Some(hash) = secrets::presented(token) else { return Err(view::dead(fallback, &product, None)) };
    match find(app, purpose, &hash).await {
        Ok(Some((link, person))) => {
            let language = link.data.language.as_deref().and_then(Language::wished).unwrap_or(fallback);
            let gone = link.entity.is_some() && !person.as_ref().is_some_and(|person| person.active);
            match link.standing(app.clock.now()) {
                Ok(()) if gone => Err(view::dead(language, &product, Some(Dead::Revoked))),
                Ok(()) => Ok(Open { hash, link, person, language, product }),
                Err(why) => Err(view::dead(language, &product, Some(why))),
            }
        }
        Ok(None) => Err(view::dead(fallback, &product, None)),
        Err(error) => {
            tracing::error!(%error, "a link could not be looked up");
            Err(view::failed(fallback, &product))
        }
    }
}

async fn find(app: &App, purpose: Purpose, hash: &[u8]) -> Result<Option<(Link, Option<Entity>)>, store::Error> {
    let mut read = app.db.read().await?;
    let Some(link) = store::link::by_hash(&mut read, hash).await?.filter(|link| link.purpose == purpose) else {
        return Ok(None);
    };
    let person = accept::account(&mut read, &link).await?;
    Ok(Some((link, person)))
}

fn browser(headers: &HeaderMap, config: &Config) -> Language {
    let wish = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    wish.and_then(Language::wished).unwrap_or(config.mail.language)
}

async fn show(app: &App, purpose: Purpose, token: &str, headers: &HeaderMap) -> Response {
    match open(app, purpose, token, headers).await {
        Ok(open) => open.form(None),
        Err(page) => page,
    }
}

async fn submit(app: &App, purpose: Purpose, token: &str, headers: &HeaderMap, fields: Fields) -> Response {
    let open = match open(app, purpose, token, headers).await {
        Ok(open) => open,
        Err(page) => return page,
    };
    let result = match open.kind() {
        FormKind::Join => join(app, &open, fields).await,
        FormKind::Register | FormKind::SetPassword => register(app, &open, fields).await,
    };
    match result {
        Ok(login) => {
            app.wake.deliver();
            view::done(open.language, &open.product, &login, open.kind() == FormKind::Join)
        }
        Err(Stop::Again(fault)) => open.form(Some(fault)),
        // Another was first: the page says what the link is now.
        Err(Stop::Dead) => match self::open(app, purpose, token, headers).await {
            Err(page) => page,
            Ok(open) => open.form(None),
        },
        Err(Stop::Failed(reason)) => {
            tracing::error!(%reason, "a link could not be used");
            view::failed(open.language, &open.product)
        }
    }
}

enum Stop {
    Again(Fault),
    Dead,
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Dead => Stop::Dead,
            Error::Hasher(hasher::Error::Busy) => Stop::Again(Fault::Later),
            Error::Refused(reason) => {
                tracing::warn!(reason, "an invitation could not be accepted");
                Stop::Again(Fault::Refused)
            }
            other => Stop::Failed(other.to_string()),
        }
    }
}

async fn register(app: &App, open: &Open, fields: Fields) -> Result<String, Stop> {
    let config = app.config();
    let policy = config.credentials.policy(accept::realm(&open.link));
    let second_factor = open.person.as_ref().is_some_and(|person| person.flags.has(Flags::TWO_FACTOR));
    let own = accept::own_names(&open.link, open.login());
    let broken = policy.broken(fields.password.expose_secret(), second_factor, &own);
    if !broken.is_empty() {
        return Err(Stop::Again(Fault::Broken(broken, policy.min_length(second_factor))));
    }
    if fields.password.expose_secret() != fields.repeat.expose_secret() {
        return Err(Stop::Again(Fault::Differ));
    }
    Ok(accept::with_password(app, &open.hash, fields.password).await?)
}

/// Somebody with an account: its own password is asked for, the link alone is not enough.
async fn join(app: &App, open: &Open, fields: Fields) -> Result<String, Stop> {
    let realm = accept::realm(&open.link);
    let known = login::check(app, realm, open.login(), fields.password, Some(&fields.code)).await;
    let known = known.map_err(|refused| match refused {
        Refused::Wrong | Refused::NotEnrolled => Stop::Again(Fault::Wrong),
        Refused::CodeNeeded => Stop::Again(Fault::CodeNeeded),
        Refused::TooEarly(_) => Stop::Again(Fault::TooEarly),
        Refused::Hasher(hasher::Error::Busy) => Stop::Again(Fault::Later),
        other => Stop::Failed(other.to_string()),
    })?;
    Ok(accept::join(app, &open.hash, known.id).await?)
}
