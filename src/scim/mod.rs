//! The SCIM 2.0 protocol, pure: JSON in, JSON out. Knows neither SQL nor HTTP nor the clock; what is stored is a
//! `model::document` and everything here works on the published schemas (`schemas/*.json`), so that a new attribute is
//! a line in a file.
//!
//! Start with `schema` (what exists), then `resource` (a body -> a checked document), `patch`, `filter`, `render`.

pub mod bulk;
pub mod cursor;
pub mod edit;
pub mod error;
pub mod eval;
pub mod filter;
pub mod json;
pub mod lexer;
pub mod list;
pub mod members;
pub mod patch;
pub mod path;
pub mod project;
#[cfg(test)]
mod properties;
pub mod registry;
pub mod render;
pub mod resource;
pub mod schema;
pub mod sort;
mod steps;
#[cfg(test)]
pub mod testing;
pub mod vocabulary;

/// URNs of the protocol's own messages.
pub mod message {
    pub const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
    pub const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
    pub const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
    pub const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
    pub const BULK_REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
    pub const BULK_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

    /// That the body says it is this message, where clients must say so.
    pub fn demanded(body: &serde_json::Map<String, serde_json::Value>, urn: &str) -> Result<(), super::error::Error> {
        let said = body.get("schemas").and_then(serde_json::Value::as_array);
        if said.is_some_and(|urns| urns.iter().any(|said| said == urn)) {
            return Ok(());
        }
        Err(super::error::Error::InvalidSyntax(format!("`schemas` must be a list that holds {urn}")))
    }
}
