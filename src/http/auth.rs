//! Who asks. `admit` stands before every route, also before those that do not exist: what is not on the list `PUBLIC` has
//! no handler without a token. Handlers take a `Caller` and ask it for the scope they need. A token counts only in the
//! header `Authorization: Bearer`, never in a URL (RFC 6750).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::state::App;
use super::token::{self, Scope};
use crate::credential::bearer::{self, Presented};
use crate::model::source::SourcePolicy;
use crate::store::{self, token as rows};
use crate::telemetry;

/// Paths that answer without a token: probes, and the pages that a link's own secret opens.
pub const PUBLIC: &[&str] = &["/livez", "/readyz", "/invite/", "/password/"];

/// Whether the path needs no token. An entry that ends with `/` stands for all below it.
pub fn is_public(path: &str) -> bool {
    PUBLIC.iter().any(|public| if public.ends_with('/') { path.starts_with(public) } else { path == *public })
}

/// A request with a token that is right, alive and known.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's public id.
    pub token: String,
    pub label: String,
    pub scopes: BTreeSet<Scope>,
    /// The source it writes as; its realm and company are the caller's. `None`: it only reads the API.
    pub policy: Option<Arc<SourcePolicy>>,
    /// The id of the user it speaks for, if it does.
    pub subject: Option<String>,
}

impl Caller {
    /// For `journal.actor`.
    pub fn actor(&self) -> String {
        format!("token:{}", self.token)
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    pub fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.may(scope) { Ok(()) } else { Err(Refusal::Scope(scope)) }
    }

    /// The source this caller writes as.
    pub fn source(&self) -> Result<&Arc<SourcePolicy>, Refusal> {
        self.policy.as_ref().ok_or(Refusal::Source)
    }
}

/// Why a request is not served. The texts are the same for every reason behind a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a bearer token is needed")]
    Missing,
    #[error("the bearer token is not valid")]
    Invalid,
    #[error("the token lacks the scope {0}")]
    Scope(Scope),
    #[error("the token is bound to no source")]
    Source,
    #[error("not available now, try again")]
    Unavailable,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Missing | Refusal::Invalid => StatusCode::UNAUTHORIZED,
            Refusal::Scope(_) | Refusal::Source => StatusCode::FORBIDDEN,
            Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3): without an error code where no token was sent.
    pub fn challenge(self) -> Option<HeaderValue> {
        let text = match self {
            Refusal::Missing => r#"Bearer realm="musterd""#.to_owned(),
            Refusal::Invalid => r#"Bearer realm="musterd", error="invalid_token""#.to_owned(),
            Refusal::Scope(scope) => {
                format!(r#"Bearer realm="musterd", error="insufficient_scope", scope="{scope}""#)
            }
            Refusal::Source | Refusal::Unavailable => return None,
        };
        HeaderValue::try_from(text).ok()
    }

    pub fn code(self) -> &'static str {
        match self {
            Refusal::Missing => "token_missing",
            Refusal::Invalid => "token_invalid",
            Refusal::Scope(_) => "insufficient_scope",
            Refusal::Source => "no_source",
            Refusal::Unavailable => "unavailable",
        }
    }

    /// As SCIM below `/scim/` (RFC 7644 section 3.12), as a problem elsewhere.
    pub fn respond(self, path: &str) -> Response {
        if !path.starts_with("/scim/") {
            return self.into_response();
        }
        let status = self.status();
        let body = serde_json::json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.as_u16().to_string(),
            "detail": self.to_string(),
        });
        let kind = [(header::CONTENT_TYPE, "application/scim+json")];
        self.decorate((status, kind, body.to_string()).into_response())
    }

    /// Adds what the status demands to a response with any body.
    pub fn decorate(self, mut response: Response) -> Response {
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::new(refusal.status(), refusal.code(), refusal)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.decorate(Problem::from(self).into_response())
    }
}

/// Handlers get the caller that `admit` found. Without the gate there is none: the request is refused.
impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Caller, Refusal> {
        parts.extensions.get::<Caller>().cloned().ok_or(Refusal::Missing)
    }
}

/// The gate: finds the caller, or answers in the manner of the surface.
pub async fn admit(app: &App, request: &mut Request) -> Result<(), Response> {
    if is_public(request.uri().path()) {
        return Ok(());
    }
    match caller(app, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(())
        }
        Err(refusal) => {
            metrics::counter!(telemetry::AUTH_FAILURES, "reason" => refusal.code()).increment(1);
            Err(refusal.respond(request.uri().path()))
        }
    }
}

/// Everything that makes a token count: form and checksum, row, hash, revocation, expiry, and the source it is bound to.
/// Only the row may be of a moment ago.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let presented = bearer(headers)?;
    let now = Instant::now();
    let known = app.tokens.get(&presented.id, now);
    let asked = known.is_none().then(|| app.tokens.ask(now));
    let row = match known {
        Some(row) => row,
        None => find(app, &presented.id).await?,
    };
    let alive = row.revoked.is_none() && app.clock.now() < row.expires;
    if !bearer::same(&presented.hash, &row.hash) || !alive {
        return Err(Refusal::Invalid);
    }
    if let Some(asked) = asked {
        app.tokens.keep(asked, row.clone());
    }
    let policy = match &row.source {
        Some(source) => Some(app.config().policy(source).cloned().ok_or(Refusal::Invalid)?),
        None => None,
    };
    app.note_use(&row.id);
    let (token, label, subject) = (row.id.clone(), row.label.clone(), row.subject.clone());
    Ok(Caller { token, label, scopes: token::of_text(&row.scopes), policy, subject })
}

async fn find(app: &App, id: &str) -> Result<Arc<rows::Token>, Refusal> {
    async fn row(app: &App, id: &str) -> Result<Option<rows::Token>, store::Error> {
        rows::find(&mut app.db.read().await?, id).await
    }
    match row(app, id).await {
        Ok(row) => row.map(Arc::new).ok_or(Refusal::Invalid),
        Err(error) => {
            tracing::error!(%error, "a token could not be looked up");
            Err(Refusal::Unavailable)
        }
    }
}

/// The token of a request: exactly one `Authorization` header with the scheme `Bearer`.
pub fn bearer(headers: &HeaderMap) -> Result<Presented, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        let none = headers.get(header::AUTHORIZATION).is_none();
        return Err(if none { Refusal::Missing } else { Refusal::Invalid });
    };
    let text = value.to_str().map_err(|_| Refusal::Invalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Invalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Invalid);
    }
    bearer::parse(token.trim_matches(' ')).ok_or(Refusal::Invalid)
}
