//! Every refusal of the protocol: its HTTP status and `scimType` (RFC 7644 §3.12). The text is for the people who run
//! the client: it says what, where and what is allowed, and never holds a secret or an inner cause.

use serde_json::{Value, json};

use super::message;

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    InvalidFilter(String),
    #[error("{0}")]
    InvalidPath(String),
    #[error("{0}")]
    InvalidValue(String),
    #[error("{0}")]
    InvalidSyntax(String),
    #[error("{0}")]
    NoTarget(String),
    #[error("{0}")]
    Mutability(String),
    #[error("{0}")]
    Uniqueness(String),
    #[error("{0}")]
    TooMany(String),
    /// RFC 9865: none of ours, or another question's.
    #[error("{0}")]
    InvalidCursor(&'static str),
    #[error("the cursor is older than {0} seconds; begin anew with an empty one")]
    ExpiredCursor(i64),
    #[error("{0}")]
    InvalidCount(String),
    /// RFC 7644 §7.5.2: a secret may not be asked about in an address.
    #[error("{0}")]
    Sensitive(String),
    /// What does not exist, and what the caller may not see: the same answer, byte for byte.
    #[error("there is no such resource")]
    NotFound,
    #[error("the resource has another version than If-Match or If-None-Match asks for")]
    Precondition,
    #[error("the method is not allowed here; allowed: {0}")]
    Method(&'static str),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("more than {0} operations in one request")]
    TooManyOperations(usize),
    #[error("{0}")]
    Conflict(String),
    #[error("the body must be application/scim+json or application/json")]
    MediaType,
    #[error("the body may be packed with gzip, or not at all")]
    Coding,
    #[error("a valid bearer token is needed")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(String),
    /// More than the client may take away in a while (B2): later the same may pass.
    #[error("{0}")]
    TooFast(String),
    /// Not now: the client shall try again.
    #[error("{0}")]
    Unavailable(String),
    /// The cause is in the log, not here.
    #[error("the service could not answer; the cause is in its log")]
    Internal,
    /// Asked faster than one client may.
    #[error("too many requests; the next in {0} s")]
    TooMuch(u64),
}

impl Error {
    pub const fn status(&self) -> u16 {
        match self {
            Error::InvalidFilter(_)
            | Error::InvalidPath(_)
            | Error::InvalidValue(_)
            | Error::InvalidSyntax(_)
            | Error::NoTarget(_)
            | Error::Mutability(_)
            | Error::TooMany(_)
            | Error::InvalidCursor(_)
            | Error::ExpiredCursor(_)
            | Error::InvalidCount(_) => 400,
            Error::Unauthorized => 401,
            Error::Sensitive(_) | Error::Forbidden(_) => 403,
            Error::NotFound => 404,
            Error::Method(_) => 405,
            Error::Uniqueness(_) | Error::Conflict(_) => 409,
            Error::Precondition => 412,
            Error::TooLarge(_) | Error::TooManyOperations(_) => 413,
            Error::MediaType | Error::Coding => 415,
            Error::TooFast(_) | Error::TooMuch(_) => 429,
            Error::Internal => 500,
            Error::Unavailable(_) => 503,
        }
    }

    pub const fn scim_type(&self) -> Option<&'static str> {
        Some(match self {
            Error::InvalidFilter(_) => "invalidFilter",
            Error::InvalidPath(_) => "invalidPath",
            Error::InvalidValue(_) => "invalidValue",
            Error::InvalidSyntax(_) => "invalidSyntax",
            Error::NoTarget(_) => "noTarget",
            Error::Mutability(_) => "mutability",
            Error::Uniqueness(_) => "uniqueness",
            Error::TooMany(_) => "tooMany",
            Error::Sensitive(_) => "sensitive",
            Error::InvalidCursor(_) => "invalidCursor",
            Error::ExpiredCursor(_) => "expiredCursor",
            Error::InvalidCount(_) => "invalidCount",
            _ => return None,
        })
    }

    /// The body of the answer. `status` is a string: RFC 7644 §3.12.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "schemas": [message::ERROR],
            "status": self.status().to_string(),
            "detail": self.to_string(),
        });
        if let Some(kind) = self.scim_type() {
            body["scimType"] = kind.into();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_text_and_the_type_is_there_where_the_standard_has_one() {
        let body = Error::Uniqueness("userName is taken".to_owned()).body();
        assert_eq!(
            body,
            json!({"schemas": [message::ERROR], "status": "409", "scimType": "uniqueness", "detail": "userName is taken"})
        );
        assert!(Error::NotFound.body().get("scimType").is_none());
    }
}
