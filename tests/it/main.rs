//! The stories: the real daemon, real PostgreSQL, slapd and SMTP, seen from outside. One binary, one module per topic;
//! the servers are in `support`. Rules are tested beside their code in `src/`, not here.
//! Run all of it with `tests/run`; one topic with `cargo test --test it ldap::`.

mod support;

mod configuration;
mod conformance;
mod crash;
mod crm;
mod daemon;
mod demo;
mod engine;
mod events;
mod ldap;
mod licences;
mod mail;
mod oracle;
mod pages;
mod replay;
mod scim;
mod visibility;
