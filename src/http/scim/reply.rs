//! How SCIM answers look: `application/scim+json`, `ETag`, `Location`, errors of RFC 7644 §3.12. `translate` turns refusals
//! that were made before the request came here (limits, panics, unknown paths) into SCIM ones.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::BASE;
use crate::model::kind::Kind;
use crate::reconcile::Refusal;
use crate::scim::error::Error;
use crate::scim::message;
use crate::scim::schema::Shape;
use crate::{reconcile, store};

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");

/// Bytes of a refusal that is read again to be put in other words.
const SHORT: usize = 64 * 1024;

pub fn body(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    response
}

pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub fn options(allowed: &'static str) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Adds the address and the version of the resource that the answer is about.
pub fn of(mut response: Response, location: &str, etag: &str) -> Response {
    for (name, text) in [(header::LOCATION, location), (header::ETAG, etag)] {
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub fn refusal(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = body(status, error.body().to_string());
    match error {
        Error::Method(allowed) => drop(response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed))),
        Error::TooMuch(seconds) => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        Error::Coding => {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        // The guard's window is an hour.
        Error::TooFast(_) => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("600"));
        }
        Error::Unavailable(_) => {
            drop(response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2")));
        }
        _ => {}
    }
    response
}

/// The store failed: the cause goes to the log. A text that no store takes is the client's.
pub fn failed(error: store::Error) -> Error {
    if matches!(error, store::Error::Nul) {
        return Error::InvalidValue(error.to_string());
    }
    tracing::error!(%error, "a SCIM request failed in the store");
    if error.may_be_tried_again() || error.is_away() {
        Error::Unavailable("not available now, try again".to_owned())
    } else {
        Error::Internal
    }
}

/// The engine failed or stopped the call.
fn stopped(error: reconcile::Error) -> Error {
    match error {
        reconcile::Error::Store(error) => failed(error),
        reconcile::Error::Race => Error::Unavailable("another change came first, try again".to_owned()),
        held @ reconcile::Error::Held { .. } => Error::TooFast(held.to_string()),
        other => {
            tracing::error!(error = %other, "a SCIM request failed in the engine");
            Error::Internal
        }
    }
}

/// Why an attempt to write ended.
pub enum Stop {
    /// Nothing of it stays, and the same may succeed now.
    Again(Error),
    Final(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Final(error)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Stop {
        if error.may_be_tried_again() { Stop::Again(failed(error)) } else { Stop::Final(failed(error)) }
    }
}

impl From<reconcile::Error> for Stop {
    fn from(error: reconcile::Error) -> Stop {
        if error.may_be_tried_again() { Stop::Again(stopped(error)) } else { Stop::Final(stopped(error)) }
    }
}

/// Whether another writer came between, so that the attempt is worth a second one.
pub fn again(result: &Result<Response, Stop>) -> bool {
    matches!(result, Err(Stop::Again(_)))
}

pub fn ended(result: Result<Response, Stop>) -> Result<Response, Error> {
    result.map_err(|stop| match stop {
        Stop::Again(error) | Stop::Final(error) => error,
    })
}

/// What the engine does not take. Of things outside of the caller's sight the answer says no more than that a name is
/// taken.
pub fn refused(shape: &Shape, refusal: &Refusal) -> Error {
    let name = if shape.kind == Kind::User { "userName" } else { "displayName" };
    match refusal {
        Refusal::HeldByOtherKey { .. } => {
            let what = "a resource with the same";
            Error::Uniqueness(format!("{what} `{name}`, or another value that stands for it, is this client's already"))
        }
        Refusal::Former { .. } | Refusal::ValueTaken { .. } => Error::Uniqueness(refusal.to_string()),
        Refusal::LoginTaken { .. }
        | Refusal::Ambiguous { .. }
        | Refusal::Protected { .. }
        | Refusal::OtherRealm
        | Refusal::Deleted => Error::Uniqueness(format!("`{name}` is taken")),
        Refusal::NotFound => Error::NotFound,
        Refusal::Missing { .. } | Refusal::Bad(_) => Error::InvalidValue(refusal.to_string()),
    }
}

/// Whether the path is under the base.
pub fn is_ours(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// For answers under the base: a refusal of another room, in the words of SCIM.
pub async fn translate(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json")) {
        return response;
    }
    let (mut parts, inner) = response.into_parts();
    let bytes = axum::body::to_bytes(inner, SHORT).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = json!({
        "schemas": [message::ERROR],
        "status": parts.status.as_u16().to_string(),
        "detail": problem.get("detail").unwrap_or(&Value::Null),
    });
    parts.headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(text.to_string()))
}
