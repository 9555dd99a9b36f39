//! What the stories share: real servers, each in a module of its own, and the way to tell a story on both databases.
//! Every server is private to the test process, on loopback, on a free port, in a temporary folder, and stopped by its
//! process id. Nothing here knows what a story is about.

pub mod daemon;
pub mod http;
pub mod postgres;
pub mod process;

use std::future::Future;

/// The database under a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Sqlite,
    Postgres,
}

/// Tells the story on SQLite and on PostgreSQL, one after the other; what fails is named.
pub async fn both<F, Fut>(story: F)
where
    F: Fn(Which) -> Fut,
    Fut: Future<Output = ()>,
{
    for which in [Which::Sqlite, Which::Postgres] {
        eprintln!("-- on {which:?}");
        story(which).await;
    }
}

/// Whether the long suites were asked for (`tests/run --all`).
pub fn long() -> bool {
    std::env::var_os("MUSTERD_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}
