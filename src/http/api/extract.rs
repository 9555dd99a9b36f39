//! What a handler of the API takes from a request, refused as a problem: `Body` (JSON), `Params` (query), `Id` (path).
//! Never echoes what was sent beyond the name of the field at fault. Start with `Body`.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::error::Problem;
use crate::http::state::App;
use crate::model::id::EntityId;

/// A JSON body; unknown fields are the type's own matter (`deny_unknown_fields`).
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, app).await {
            Ok(axum::Json(value)) => Ok(Body(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "the body must be JSON, with Content-Type: application/json",
            )),
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large"))
            }
            Err(error) => Err(Problem::bad_request("bad_body", error.body_text())),
        }
    }
}

/// The query of the address.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(Problem::bad_request("bad_query", error.body_text()))
            }
            Err(_) => Err(Problem::bad_request("bad_query", "the query cannot be read")),
        }
    }
}

/// `{id}` of the path. What is no id of musterd does not exist.
pub struct Id(pub EntityId);

impl FromRequestParts<App> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| Problem::not_found())?;
        text.parse().map(Id).map_err(|_| Problem::not_found())
    }
}
