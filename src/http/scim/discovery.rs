//! What the service is and has: ServiceProviderConfig, Schemas, ResourceTypes (RFC 7644 §4). Straight from the schema
//! files of the caller's realm; never touches the store. A filter here is refused, as the standard wants it.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::ask::Ask;
use super::reply;
use crate::scim::error::Error;
use crate::scim::list::{self, Paging};

pub fn provider(ask: &Ask<'_>) -> Response {
    let mut provider = ask.registry.provider(&ask.base);
    provider["changePassword"]["supported"] = ask.may_set_passwords().into();
    reply::body(StatusCode::OK, provider.to_string())
}

pub fn schemas(ask: &Ask<'_>, id: Option<&str>) -> Result<Response, Error> {
    match id {
        Some(id) => one(ask.registry.schema(id, &ask.base)),
        None => all(ask, ask.registry.schemas(&ask.base)),
    }
}

pub fn types(ask: &Ask<'_>, name: Option<&str>) -> Result<Response, Error> {
    match name {
        Some(name) => one(ask.registry.resource_type(name, &ask.base)),
        None => all(ask, ask.registry.types(&ask.base)),
    }
}

fn one(value: Option<Value>) -> Result<Response, Error> {
    Ok(reply::body(StatusCode::OK, value.ok_or(Error::NotFound)?.to_string()))
}

/// Always whole: paging parameters count for nothing here.
fn all(ask: &Ask<'_>, values: Vec<Value>) -> Result<Response, Error> {
    if ask.query()?.filter.is_some() {
        return Err(Error::Forbidden("discovery resources cannot be filtered".to_owned()));
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    Ok(reply::body(StatusCode::OK, list::response(texts.len() as u64, Paging::Index(1), &texts)))
}
