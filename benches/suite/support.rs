//! The servers of the stories, for measures: the same daemon, the same slapd, ended the same way.

#[path = "../../tests/it/support/daemon.rs"]
pub mod daemon;
#[path = "../../tests/it/support/http.rs"]
pub mod http;
#[path = "../../tests/it/support/postgres.rs"]
pub mod postgres;
#[path = "../../tests/it/support/process.rs"]
pub mod process;
#[path = "../../tests/it/support/slapd.rs"]
pub mod slapd;
