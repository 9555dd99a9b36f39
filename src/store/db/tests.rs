//! What both databases promise: shared commits, turns that leave no trace, statements that were given up.

use super::*;
use crate::store::testing::both;
use crate::store::values;

async fn embedded() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&Options::new(format!("sqlite://{}/a.db", folder.path().display()))).await.unwrap();
    db.migrate(Millis(0)).await.unwrap();
    (folder, db)
}

const ADD: &str = "INSERT INTO lease (name, holder, epoch, expires) VALUES ($1, $2, 0, 0)";

async fn count(db: &Db) -> i64 {
    db.read().await.unwrap().one("SELECT count(*) FROM lease", values![]).await.unwrap().get(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_share_commits_and_a_dropped_turn_leaves_no_trace() {
    let (_folder, db) = embedded().await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut tx = db.write().await.unwrap();
                tx.execute(ADD, values![format!("{n}"), "x"]).await.unwrap();
                if n % 4 == 0 {
                    return; // dropped
                }
                tx.commit().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(count(&db).await, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constraint_error_ends_only_its_statement() {
    let (_folder, db) = embedded().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(ADD, values!["a", "x"]).await.unwrap();
    assert!(tx.execute(ADD, values!["a", "x"]).await.unwrap_err().is_unique_violation());
    tx.execute(ADD, values!["b", "x"]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_given_up_ends_the_turn() {
    let (_folder, db) = embedded().await;
    let mut tx = db.write_long().await.unwrap();
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) \
                INSERT INTO lease (name, holder, epoch, expires) SELECT 'n' || max(i), 'x', 0, 0 FROM n";
    assert!(tokio::time::timeout(Duration::from_millis(5), tx.execute(slow, values![])).await.is_err());
    assert!(matches!(tx.commit().await, Err(Error::Over)));
    assert_eq!(count(&db).await, 0);
    let mut tx = db.write().await.unwrap();
    tx.execute(ADD, values!["next", "x"]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

fn many(names: impl IntoIterator<Item = usize>) -> Vec<Vec<Value>> {
    names.into_iter().map(|n| values![format!("n{n}"), "x", 0, 0]).collect()
}

const HEAD: &str = "INSERT INTO lease (name, holder, epoch, expires) VALUES";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_turn_that_is_dropped_leaves_no_trace_either() {
    both(|db| async move {
        for keep in [true, false, true] {
            let before = count(&db).await;
            let mut tx = db.write_long().await.unwrap();
            tx.execute(ADD, values![format!("long{before}"), "x"]).await.unwrap();
            if keep {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }
            // Nobody joins it: what comes next neither keeps it nor goes with it.
            let mut tx = db.write().await.unwrap();
            tx.execute(ADD, values![format!("short{before}"), "x"]).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(count(&db).await, before + 1 + i64::from(keep));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_refuses_one_of_many_rows_is_told_at_the_latest_by_the_commit() {
    both(|db| async move {
        let mut tx = db.write_long().await.unwrap();
        crate::store::sql::rows(&mut tx, HEAD, "", many(0..600)).await.unwrap();
        crate::store::sql::rows(&mut tx, HEAD, "ON CONFLICT DO NOTHING", many(300..900)).await.unwrap();
        let found: i64 = tx.one("SELECT count(*) FROM lease", values![]).await.unwrap().get(0).unwrap();
        assert_eq!(found, 900, "whoever asks sees what was handed over");
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 900);
        // Each way of asking: another statement, `settled`, and the COMMIT itself.
        for way in 0..3 {
            let mut tx = db.write_long().await.unwrap();
            let refused = async {
                crate::store::sql::rows(&mut tx, HEAD, "", many(2_000..2_050)).await?;
                crate::store::sql::rows(&mut tx, HEAD, "", many(880..920)).await?;
                crate::store::sql::rows(&mut tx, HEAD, "", many(3_000..3_050)).await?;
                match way {
                    0 => tx.execute(ADD, values!["other", "x"]).await.map(drop),
                    1 => tx.settled().await,
                    _ => tx.commit().await,
                }
            };
            let refused = refused.await.unwrap_err();
            assert!(refused.is_unique_violation(), "{way}: {refused}");
            assert_eq!(count(&db).await, 900, "{way}");
            // And the next one is not told of it.
            let mut tx = db.write().await.unwrap();
            tx.execute(ADD, values![format!("after{way}"), "x"]).await.unwrap();
            drop(tx);
        }
    })
    .await;
}

#[tokio::test]
async fn migrating_again_applies_nothing_and_a_foreign_file_is_refused() {
    let (folder, db) = embedded().await;
    assert!(db.migrate(Millis(0)).await.unwrap().is_empty());
    assert!(db.checkpoint().await.unwrap());
    let copy = folder.path().join("copy.db");
    db.copy_into(&copy).await.unwrap();
    assert!(Db::open(&Options::new(format!("sqlite://{}", copy.display()))).await.is_ok());

    let foreign = folder.path().join("foreign.db");
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(&foreign).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&other).await.unwrap();
    connection.execute("CREATE TABLE mine (a TEXT)").await.unwrap();
    drop(connection);
    let refused = Db::open(&Options::new(format!("sqlite://{}", foreign.display()))).await;
    assert!(refused.err().unwrap().to_string().contains("another program"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_was_given_up_leaves_no_open_transaction() {
    const OPEN: &str = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND state LIKE 'idle in%'";
    both(async |db| {
        let mut aside = db.read().await.unwrap();
        // Dropped before it was looked at, after one look, and while the server answers.
        for n in 0..200 {
            let patience = Duration::from_micros(n * 5);
            let _ = tokio::time::timeout(patience, db.write()).await;
            let _ = tokio::time::timeout(patience, db.snapshot()).await;
        }
        let mut open = i64::from(!db.is_embedded());
        for _ in 0..100 {
            if open == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            open = aside.one(OPEN, values![]).await.unwrap().get(0).unwrap();
        }
        assert_eq!(open, 0, "transactions that nobody holds");
        let mut tx = db.write().await.unwrap();
        tx.execute(ADD, values!["next", "x"]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_and_holds_up_nobody_else() {
    let (folder, db) = embedded().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(ADD, values!["first", "x"]).await.unwrap();
    tx.commit().await.unwrap();
    let other = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes = async {
        let mut tx = db.write().await.unwrap();
        tx.execute(ADD, values!["second", "x"]).await.unwrap();
        tx.commit().await.unwrap();
        std::time::Instant::now()
    };
    // On the same thread: it reads, and ends what the other process holds.
    let reads = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(count(&db).await, 1);
        let freed = std::time::Instant::now();
        other.execute_batch("COMMIT").unwrap();
        freed
    };
    let (written, freed) = tokio::join!(writes, reads);
    assert!(written > freed);
    assert_eq!(count(&db).await, 2);

    // Whoever waits for longer than is patient is told to come again.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = db.write().await.err().unwrap();
    assert!(refused.is_away(), "{refused}");
    other.execute_batch("COMMIT").unwrap();

    // Who gives up while it waits leaves nothing behind.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), db.write()).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    let mut tx = db.write().await.unwrap();
    tx.execute(ADD, values!["third", "x"]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 3);
}

/// A server that is started anew ends all connections: whoever comes afterwards is not told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_ended_while_they_lay_idle_are_replaced() {
    both(|db| async move {
        if db.is_embedded() {
            return;
        }
        let mut several = Vec::new();
        for _ in 0..4 {
            several.push(db.read().await.unwrap());
        }
        drop(several);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let mut one = db.read().await.unwrap();
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(one.all(END, values![]).await.unwrap().len() >= 3);
        drop(one);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        for _ in 0..5 {
            assert_eq!(count(&db).await, 0);
            let mut tx = db.write().await.unwrap();
            tx.execute(ADD, values!["kept", "x"]).await.unwrap();
        }
    })
    .await;
}
