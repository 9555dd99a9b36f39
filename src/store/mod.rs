//! The only room that speaks SQL. `db` is the only file that knows that there are two databases; every noun of `model`
//! has a file of plain functions here, each statement written once with `$1` placeholders. Start with `db`.
//!
//! Never here: decisions (they are `model`'s and `reconcile`'s), the clock, the network.

mod around;
pub mod assertion;
mod beside;
mod bind;
pub mod credential;
pub mod db;
pub mod edge;
mod embedded;
pub mod entity;
pub mod event;
pub mod filter;
mod group;
pub mod journal;
pub mod lease;
pub mod licence;
pub mod link;
pub mod listing;
mod lite;
pub mod lookup;
pub mod migrate;
pub mod names;
pub mod outbox;
pub mod quarantine;
mod readers;
pub mod run;
pub mod scim;
pub mod secret;
pub mod source_state;
pub mod sql;
pub mod statistics;
#[cfg(test)]
pub mod testing;
pub mod ticket;
pub mod token;
pub mod token_memory;
pub mod value;
pub mod visibility;
#[cfg(test)]
pub mod world;

pub use db::{Db, Error, Options, Read, Session, Stamp, Tx};
pub use embedded::look_at;
pub use value::{Row, Value, values};
