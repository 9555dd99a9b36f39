//! `musterd demo`: a directory, a CRM and a mail catcher in process, and the real daemon beside them, all on loopback, with
//! an embedded database in a temporary folder. Start with `tour`.

pub mod crm;
mod customers;
pub mod directory;
pub mod mail;
pub mod people;
mod stage;
pub mod tour;
