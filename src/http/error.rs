//! How a refusal looks outside of SCIM: `application/problem+json` (RFC 9457). What went wrong inside is logged, never
//! sent. A handler returns `Result<_, Problem>`.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::store;

/// A refusal that can be sent. `code` is stable and for programs, `detail` for people.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    /// Further members of the body, e.g. `missing: [..]`.
    pub more: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Display) -> Problem {
        Problem { status, code, detail: detail.to_string(), more: Map::new() }
    }

    pub fn bad_request(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn forbidden(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// Also where existence itself must not be told.
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here")
    }

    /// The header `Allow` tells which.
    pub fn bad_method() -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this method is not for this address")
    }

    pub fn conflict(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::CONFLICT, code, detail)
    }

    /// The cause goes to the log, the caller only learns that it was not its fault.
    pub fn internal(cause: impl Display) -> Problem {
        tracing::error!(%cause, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "musterd failed to answer; the log says why")
    }

    /// Try again later: the store or another needed part does not answer.
    pub fn unavailable(cause: impl Display) -> Problem {
        tracing::warn!(%cause, "a request could not be served now");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not available now, try again")
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

/// A failing store is not the caller's fault (a text that no store takes is); whether trying again helps is told by the status.
impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        match error {
            store::Error::Nul => Problem::bad_request("bad_text", error),
            error if error.may_be_tried_again() || error.is_away() => Problem::unavailable(error),
            error => Problem::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("type".to_owned(), json!("about:blank"));
        body.insert("title".to_owned(), json!(self.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("detail".to_owned(), json!(self.detail));
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
