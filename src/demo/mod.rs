//! What `musterd demo` starts beside the daemon: a directory, a CRM and a mail catcher, all on loopback.

pub mod directory;
pub mod mail;
pub mod people;
