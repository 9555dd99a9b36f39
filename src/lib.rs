//! musterd: the provisioning daemon of helpdesks and contact centres.
//!
//! Everything that is known about people arrives as records of a named source and goes through one engine:
//! merge -> plan -> guard -> apply. This file is the map; ARCHITECTURE.md says which room may name which other
//! (held by `tests/architecture.rs`). Start reading at `model::desired`, then `reconcile`.

/// Builds the daemon's parts, runs them, and stops them in two stages.
pub mod app;
/// The commands of the `musterd` binary.
pub mod cli;
/// Time and randomness as arguments: system and fixed.
pub mod clock;
/// Raw TOML and environment -> checked configuration, all faults at once.
pub mod config;
/// Argon2 on bounded permits, generated passwords, bearer tokens.
pub mod credential;
/// Sample directory, CRM and mail catcher for `musterd demo`.
pub mod demo;
/// The only room that knows axum: SCIM, API, pages, status.
pub mod http;
/// Rendering and sending of mails.
pub mod mail;
/// Dotted paths and expressions: raw record -> Desired.
pub mod mapping;
/// Pure types and rules. No I/O, no clock.
pub mod model;
/// Events, signed and told to others.
pub mod outbound;
/// The engine: merge, correlate, plan, guard, apply.
pub mod reconcile;
/// The SCIM 2.0 protocol, pure: knows JSON, not SQL, not HTTP.
pub mod scim;
/// Readers of directories and CRMs. They never write.
pub mod sources;
/// The only room that speaks SQL.
pub mod store;
/// What runs on a tick or a wake: poll, deliver, expire.
pub mod tasks;
/// Logs and the names of the metrics.
pub mod telemetry;

/// Rows are made by one thread and freed by another, a hundred thousand times in a row. How much it keeps is said where it
/// is built (`.cargo/config.toml`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
