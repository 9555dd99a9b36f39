//! What reads of changes missed is found by the next read of everything, put right, and told: in the list of sources, by the API
//! and as a figure. Both databases.

use musterd::store::{Db, Options, source_state};
use serde_json::{Value, json};

use super::super::support::both;
use super::super::support::daemon::Daemon;
use super::super::support::slapd::{Directory, ldif, person};
use super::section;

fn told(daemon: &Daemon, arguments: &[&str]) -> Value {
    let done = daemon.cli(&[arguments, &["--json"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
}

/// The last read of everything was long ago.
async fn age(daemon: &mut Daemon) {
    daemon.process().stop();
    let db = Db::open(&Options::new(daemon.database.clone())).await.unwrap();
    let mut tx = db.write().await.unwrap();
    let mut row = source_state::by_name(&mut tx, "hq").await.unwrap().unwrap();
    let mut cursor: Value = serde_json::from_str(row.cursor.as_deref().unwrap()).unwrap();
    cursor["whole_at"] = json!("2020-01-01T00:00:00.000Z");
    row.cursor = Some(cursor.to_string());
    source_state::put(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    drop(db);
    daemon.restart().await;
}

/// As the list, the API and the figures tell it.
async fn drift(daemon: &Daemon) -> (Value, Value, Option<String>) {
    let listed = told(daemon, &["sources"])[0]["drift"]["changes"].clone();
    let api = daemon.http.with_token(daemon.token(&["--scope", "sync"]));
    let asked = api.get("/api/v1/sources").await.expect(200)["items"][0]["drift"]["changes"].clone();
    let figures = daemon.http.with_token(daemon.token(&["--scope", "metrics:read"])).get("/metrics").await;
    let line = figures.text.lines().find_map(|line| line.strip_prefix("sync_drift_changes{source=\"hq\"} "));
    (listed, asked, line.map(str::to_owned))
}

#[tokio::test]
async fn a3_what_reads_of_changes_missed_is_put_right_and_told() {
    both(|which| async move {
        let directory = Directory::start(&ldif(30, 1, 3)).await;
        let keys = section(&directory.url(), "mode = 'timestamp'");
        let config = format!("[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{keys}");
        let mut daemon = Daemon::builder(which).config(&config).start().await;
        assert_eq!(told(&daemon, &["sync", "hq"])["counts"]["create"], 31);
        assert_eq!(drift(&daemon).await, (Value::Null, Value::Null, None), "a first read is no drift");

        // Stamps say nothing of who is gone, and nobody looks who is there for an hour.
        directory.delete([person(20), person(21)]).await;
        directory.replace(&person(22), "title", &["Owner"]).await;
        let changes = told(&daemon, &["sync", "hq"]);
        assert_eq!((&changes["counts"]["update"], &changes["counts"]["disable"]), (&json!(1), &Value::Null));
        assert_eq!(drift(&daemon).await, (Value::Null, Value::Null, None), "nobody knows yet");

        age(&mut daemon).await;
        let whole = told(&daemon, &["sync", "hq"]);
        assert_eq!((&whole["counts"]["disable"], &whole["counts"]["update"]), (&json!(2), &Value::Null));
        assert_eq!(drift(&daemon).await, (json!(2), json!(2), Some("2".to_owned())));
        assert!(daemon.cli(&["sources"]).stdout.contains("(drift 2)"));
        // It stays to be seen until everything is read again.
        directory.replace(&person(23), "title", &["Owner"]).await;
        assert_eq!(told(&daemon, &["sync", "hq"])["counts"]["update"], 1);
        assert_eq!(drift(&daemon).await, (json!(2), json!(2), Some("2".to_owned())));

        age(&mut daemon).await;
        assert_eq!(told(&daemon, &["sync", "hq"])["run"], Value::Null, "it was put right");
        assert_eq!(drift(&daemon).await, (json!(0), json!(0), Some("0".to_owned())));
        assert!(!daemon.cli(&["sources"]).stdout.contains("drift"));
    })
    .await;
}
