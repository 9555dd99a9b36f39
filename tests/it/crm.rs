//! Stories of CRM polls and pushed records: the connector against an HTTP server, NDJSON into the API.
//! The connector's rules are tested in `src/sources/crm`. `reader` is about what is read, `manners` about servers that
//! misbehave, `real` about Request Tracker itself; these need no database; `poll`, `push` and
//! `limits` (what a push may hold, and whose word) go into the store.

mod desk;
mod limits;
mod manners;
mod poll;
mod push;
mod reader;
mod real;
