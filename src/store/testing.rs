//! For unit tests of every room: a fresh, migrated store, on SQLite and then on PostgreSQL. The PostgreSQL cluster is
//! private to the test process (`tests/it/support/postgres.rs`, shared with the integration tests by its path).
//! Start with `both`.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Db, Options};
use crate::model::time::Millis;

#[path = "../../tests/it/support/postgres.rs"]
pub mod postgres;
#[path = "../../tests/it/support/process.rs"]
pub mod process;

/// When the schema of a test database was made.
pub const NOW: Millis = Millis(1_790_000_000_000);

tokio::task_local! {
    /// Statements of the task so far.
    static STATEMENTS: Cell<usize>;
}

/// What `future` gives, and how many statements it sent in its own task. BEGIN, SAVEPOINT and COMMIT are not among them.
pub async fn statements<F: Future>(future: F) -> (F::Output, usize) {
    STATEMENTS.scope(Cell::new(0), async { (future.await, STATEMENTS.with(Cell::get)) }).await
}

/// Called for every statement; outside of `statements` nobody counts.
pub(super) fn tally() {
    let _ = STATEMENTS.try_with(|count| count.set(count.get() + 1));
}

/// Runs the test on a fresh, migrated store of either kind, one after the other; the output names the one that fails.
pub async fn both<F, Fut>(test: F)
where
    F: Fn(Db) -> Fut,
    Fut: Future<Output = ()>,
{
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    eprintln!("-- on SQLite");
    on(&Options::new(url), true, &test).await;

    let database = postgres::create(Some(template().await)).await;
    eprintln!("-- on PostgreSQL");
    on(&Options::new(database.url.clone()), false, &test).await;
    postgres::drop_database(&database).await;
}

async fn on<F, Fut>(options: &Options, migrate: bool, test: &F)
where
    F: Fn(Db) -> Fut,
    Fut: Future<Output = ()>,
{
    let db = Db::open(options).await.expect("the store opens");
    if migrate {
        db.migrate(NOW).await.expect("the migrations apply");
    }
    test(db.clone()).await;
    // A task that the test left behind may still hold a connection: that is its own matter.
    let _ = tokio::time::timeout(Duration::from_secs(5), db.close()).await;
}

/// A migrated database that the others are copied from.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<postgres::Database> = OnceCell::const_new();
    let make = || async {
        let database = postgres::create(None).await;
        let db = Db::open(&Options::new(database.url.clone())).await.expect("the store opens");
        db.migrate(NOW).await.expect("the migrations apply");
        db.close().await;
        database
    };
    &TEMPLATE.get_or_init(make).await.name
}

mod tests {
    use super::*;
    use crate::store::{Session as _, values};

    #[tokio::test]
    async fn a_store_is_migrated_empty_and_its_own() {
        for _ in 0..2 {
            both(|db| async move {
                assert!(db.migrate(NOW).await.unwrap().is_empty(), "nothing is left to apply");
                let mut tx = db.write().await.unwrap();
                let sql = "INSERT INTO lookup (kind, name, value, entity_id) VALUES ($1, $2, $3, $4)";
                tx.execute(sql, values!["user", "email", "a@x", "1"]).await.unwrap();
                tx.commit().await.unwrap();
                let mut read = db.read().await.unwrap();
                let row = read.one("SELECT count(*) FROM lookup", values![]).await.unwrap();
                assert_eq!(row.get::<i64>(0).unwrap(), 1);
            })
            .await;
        }
    }
}

/// Every row of the tables that a run of the engine may write, as text, but for the status lines of sources. Two equal
/// dumps: nothing was written in between (B5).
pub async fn dump(db: &Db) -> Vec<String> {
    const TABLES: [(&str, &[&str]); 11] = [
        ("entity", &["id", "state", "active", "version", "modified", "gone_at", "login_key", "doc"]),
        ("assertion", &["source", "key", "entity_id", "alias", "external_id", "doc", "ended", "run_id", "at"]),
        ("lookup", &["kind", "name", "value", "entity_id"]),
        ("edge", &["rel", "from_id", "source", "target", "to_id", "attributes"]),
        ("ticket_scope", &["scope_id", "created", "ticket_id"]),
        ("run", &["id", "state", "ended", "counts"]),
        ("run_item", &["run_id", "seq", "record", "version"]),
        ("journal", &["seq", "run_id", "at", "entity_id", "data"]),
        ("quarantine", &["source", "kind", "key", "run_id", "at", "reason"]),
        ("outbox", &["id", "state"]),
        ("licence", &["entity_id", "state", "since"]),
    ];
    let mut read = db.read().await.expect("a connection");
    let mut rows = Vec::new();
    for (table, columns) in TABLES {
        let texts: Vec<String> =
            columns.iter().map(|column| format!("COALESCE(CAST({column} AS TEXT), '-')")).collect();
        let sql = format!("SELECT {} AS line FROM {table}", texts.join(" || '|' || "));
        for row in super::Session::all(&mut read, sql, Vec::new()).await.expect("rows") {
            let line: String = row.get(0).expect("a line");
            rows.push(format!("{table}: {line}"));
        }
    }
    rows.sort();
    rows
}
