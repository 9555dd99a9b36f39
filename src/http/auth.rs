//! Who asks. `layer` stands before every route that is not public: no token, no handler. Handlers take a `Caller` and ask
//! it for the scope they need. A token counts only in the header `Authorization: Bearer`, never in a URL (RFC 6750).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::state::App;
use super::token::{Scope, Token};
use crate::model::source::SourcePolicy;

/// A request with a token that is right, alive and known.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's public id.
    pub token: String,
    pub label: String,
    pub scopes: BTreeSet<Scope>,
    /// The source it writes as; its realm and company are the caller's. `None`: it only reads the API.
    pub policy: Option<Arc<SourcePolicy>>,
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

/// Handlers get the caller that `layer` found. Without the layer there is none: the request is refused.
impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Caller, Refusal> {
        parts.extensions.get::<Caller>().cloned().ok_or(Refusal::Missing)
    }
}

/// The token of a request: exactly one `Authorization` header with the scheme `Bearer`.
pub fn bearer(headers: &HeaderMap) -> Result<Token, Refusal> {
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
    Token::parse(token.trim_matches(' ')).ok_or(Refusal::Invalid)
}
