//! The only room that knows axum: SCIM, API, pages and status. It never sends mail and never speaks SQL.
//! Start with `state` (what every handler gets), `auth` (who asks), `error` (how a refusal looks), then `server`.

pub mod api;
pub mod auth;
pub mod error;
pub mod state;
pub mod token;
