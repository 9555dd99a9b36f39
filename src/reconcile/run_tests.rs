//! Long reads on both databases: previews, guards, incomplete reads, second runs. Only for tests. Start with `read`.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::apply_tests::{World, policy, present, says, user};
use super::{End, Error, Mode, Policies, Report, approve, known, run};
use crate::clock::Clock;
use crate::model::desired::{Chunk, Digest, End as ReadEnd, Known, Record, Ref, Scope, Targets};
use crate::model::entity::State;
use crate::model::kind::{Kind, Rel};
use crate::model::run::RunState;
use crate::model::source::{Absence, SourceKind};
use crate::store::testing::{both, dump};
use crate::store::{self, Db};

pub(super) const KINDS: [Kind; 2] = [Kind::User, Kind::Group];

/// A reader that says these records and ends so. Records whose digest is known are told as `Same`, as readers do.
pub(super) async fn read(
    world: &World,
    source: &str,
    records: Vec<Record>,
    end: Option<ReadEnd>,
    mode: Mode,
) -> Result<Report, Error> {
    let known = Arc::new(known(&world.db, source).await?);
    let (tx, rx) = mpsc::channel(2);
    let compare = Arc::clone(&known);
    let reader = tokio::spawn(async move {
        let mut left = records.into_iter().map(|record| match &record {
            Record::Present(desired) => match &desired.digest {
                Some(digest) if compare.is(desired.kind, &desired.key, digest) => {
                    Record::Same { kind: desired.kind, key: desired.key.clone() }
                }
                _ => record,
            },
            _ => record,
        });
        loop {
            let chunk: Vec<Record> = left.by_ref().take(100).collect();
            if chunk.is_empty() {
                break;
            }
            tx.send(Chunk::Records(chunk)).await.unwrap();
        }
        if let Some(end) = end {
            tx.send(Chunk::End(end)).await.unwrap();
        }
    });
    let policy = world.cx.policies.get(source).unwrap();
    let report = run(&world.db, &world.cx, policy, rx, known, mode).await;
    reader.await.unwrap();
    report
}

pub(super) fn complete() -> Option<ReadEnd> {
    Some(ReadEnd::Complete {
        cursor: Some("c1".to_owned()),
        kinds: KINDS.to_vec(),
        scope: Scope::Whole,
        how: None,
        fingerprint: None,
    })
}

pub(super) const SYNC: Mode = Mode::Sync { expect: None };

pub(super) async fn sync(world: &World, records: Vec<Record>) -> Report {
    read(world, "ldap", records, complete(), SYNC).await.unwrap()
}

/// `n` people and one group of all of them.
pub(super) fn people(numbers: impl IntoIterator<Item = u32>) -> Vec<Record> {
    let numbers: Vec<u32> = numbers.into_iter().collect();
    let mut group = says(Kind::Group, "staff", json!({"displayName": "Staff"}));
    let member = |n: &u32| Ref::Alias(format!("uid={n}")).into();
    group.relations.insert(Rel::Member, Targets::Whole(numbers.iter().map(member).collect()));
    let mut records = vec![present(group)];
    for n in numbers {
        let mut desired = user(&format!("k{n}"), &format!("u{n}"));
        desired.alias = Some(format!("uid={n}"));
        desired.digest = Some(Digest([n.to_le_bytes()[0] | 1; 16]));
        records.push(present(desired));
    }
    records
}

fn files(db: &Db) -> Option<(Vec<u8>, Vec<u8>)> {
    let Db::Sqlite { file, .. } = db else { return None };
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    Some((std::fs::read(file).unwrap(), std::fs::read(wal).unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_a_plan_writes_nothing_and_a_sync_does_exactly_that() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..650)).await;
        world.one("hr", user("h3", "u3")).await;
        // Renames, a swap of logins over two pieces, changes, one gone, one made anew, a new one, one that is nobody's.
        let mut next = people((1..650).chain(700..703));
        for record in &mut next {
            let Record::Present(desired) = record else { continue };
            let login = match desired.key.as_str() {
                "k3" => "u600",
                "k600" => "u3",
                "k7" => {
                    desired.alias = Some("uid=77777".to_owned());
                    "u7"
                }
                "k9" => {
                    desired.key = "k9-again".to_owned();
                    "u9"
                }
                "k11" => {
                    desired.attributes.insert("title".to_owned(), json!("Dr"));
                    "u11"
                }
                "k702" => "u12",
                _ => continue,
            };
            desired.digest = None;
            desired.attributes.insert("userName".to_owned(), json!(login));
        }
        let before = (dump(&world.db).await, files(&world.db));
        let plan = read(&world, "ldap", next.clone(), complete(), Mode::Plan).await.unwrap();
        assert_eq!(before, (dump(&world.db).await, files(&world.db)), "a preview writes nothing");
        assert_eq!(
            (plan.state, plan.changes.len() as u64),
            (End::Planned, plan.counts["update"] + 5),
            "{:?}",
            plan.counts
        );
        assert!(plan.changes.iter().all(|change| change.entity.is_some() == (change.op.as_str() != "create")));

        let wrong = Mode::Sync { expect: Some("00".to_owned()) };
        assert!(matches!(read(&world, "ldap", next.clone(), complete(), wrong).await, Err(Error::NotExpected { .. })));
        assert_eq!(before.0, dump(&world.db).await);
        let right = Mode::Sync { expect: Some(plan.digest.clone()) };
        let done = read(&world, "ldap", next, complete(), right).await.unwrap();
        assert_eq!((done.state, &done.digest), (End::Done, &plan.digest));
        assert_eq!(done.counts, plan.counts);
        let key = store::assertion::by_key(&mut world.db.read().await.unwrap(), "ldap", Kind::User, "k9-again")
            .await
            .unwrap();
        assert!(world.get(key.unwrap().entity).await.active, "made anew under another key, the same person");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_second_run_writes_nothing_but_the_status_line() {
    both(|db| async move {
        let world = World::new(db);
        let mut records = people(0..30);
        records.push(Record::Bad {
            kind: Some(Kind::User),
            key: Some("odd".to_owned()),
            reason: "no login".to_owned(),
            off: false,
        });
        let first = sync(&world, records.clone()).await;
        assert_eq!((first.counts["create"], first.counts["bad"]), (31, 1));
        let before = dump(&world.db).await;
        world.cx.clock.advance(60_000);
        let second = sync(&world, records).await;
        assert!(second.is_empty() && second.run.is_none());
        assert_eq!(second.counts["same"], 30);
        assert_eq!(dump(&world.db).await, before);
        let state = store::source_state::by_name(&mut world.db.read().await.unwrap(), "ldap").await.unwrap().unwrap();
        assert_eq!((state.last_run, state.cursor.as_deref()), (first.run, Some("c1")));
        assert_eq!(state.last_at, Some(world.cx.clock.now()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_an_incomplete_read_removes_nobody_and_changes_nothing() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..30)).await;
        let before = dump(&world.db).await;
        let half = || people(100..110);
        let planned = read(&world, "ldap", half(), None, Mode::Plan).await.unwrap();
        assert_eq!(planned.state, End::Failed);
        assert_eq!(dump(&world.db).await, before);
        let reason = || Some(ReadEnd::Incomplete { reason: "the link was cut".to_owned(), passes: true });
        for end in [None, reason(), reason()] {
            let report = read(&world, "ldap", half(), end, SYNC).await.unwrap();
            assert_eq!(report.state, End::Failed);
        }
        let after = dump(&world.db).await;
        let new: Vec<&String> = after.iter().filter(|row| !before.contains(row)).collect();
        assert_eq!(new.len(), 2, "two different faults, two rows of runs: {new:?}");
        assert!(new.iter().all(|row| row.starts_with("run: ") && row.contains("failed")));
        assert!(before.iter().all(|row| after.contains(row)));
        assert_eq!(
            sync(&world, people(0..30)).await.counts.get("disable"),
            None,
            "the next run goes on as if nothing had been"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_what_cannot_be_read_counts_as_present() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..30)).await;
        let bad = |kind, key: Option<&str>| Record::Bad {
            kind,
            key: key.map(str::to_owned),
            reason: "odd".to_owned(),
            off: false,
        };
        let mut records = people(0..28);
        records.push(bad(Some(Kind::User), Some("k28")));
        let report = sync(&world, records.clone()).await;
        assert_eq!(report.counts["disable"], 1, "k29 is gone, k28 only unreadable");
        records.truncate(25);
        records.push(bad(None, None));
        let report = sync(&world, records).await;
        assert_eq!(report.counts.get("disable"), None, "it may have been anybody");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_guarded_run_is_held_whole_and_approved_as_it_was() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..30)).await;
        let before = dump(&world.db).await;
        let shrunk = || people((0..20).chain(90..92));
        let held = sync(&world, shrunk()).await;
        assert_eq!(held.state, End::Held);
        assert_eq!((held.stops[0].what.as_str(), held.stops[0].losses, held.stops[0].held), ("user", 10, 30));
        let id = held.run.unwrap();
        let rows =
            |dump: Vec<String>| -> Vec<String> { dump.into_iter().filter(|row| !row.starts_with("run")).collect() };
        assert_eq!(rows(dump(&world.db).await), rows(before.clone()), "nothing was applied");
        let again = sync(&world, shrunk()).await;
        assert_eq!(again.run, Some(id), "the same changes are held once");

        let empty = read(&world, "ldap", Vec::new(), complete(), SYNC).await.unwrap();
        assert_eq!(empty.state, End::Held, "an empty answer is no order to remove everybody");
        assert!(matches!(approve(&world.db, &world.cx, id, None).await, Err(Error::NotHeld { .. })), "superseded");

        // Something moves between the hold and the word of a person.
        let id = sync(&world, shrunk()).await.run.unwrap();
        let mut other = user("h25", "u25");
        other.attributes.insert("title".to_owned(), json!("Dr"));
        world.one("hr", other).await;
        match approve(&world.db, &world.cx, id, None).await {
            Err(Error::Moved(names)) => assert_eq!(names, ["k25"]),
            other => panic!("{other:?}"),
        }
        world.gone("hr", Kind::User, "h25").await;

        let held = sync(&world, shrunk()).await;
        let done = approve(&world.db, &world.cx, held.run.unwrap(), None).await.unwrap();
        assert_eq!(done.digest, held.digest, "exactly what was shown");
        assert_eq!((done.counts["disable"], done.counts["create"]), (10, 2));
        assert!(sync(&world, shrunk()).await.is_empty());
        let run = store::run::by_id(&mut world.db.read().await.unwrap(), held.run.unwrap()).await.unwrap().unwrap();
        assert_eq!(run.state, RunState::Approved);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_members_and_deactivations_are_losses_too() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..30)).await;
        let mut records = people(0..30);
        let Record::Present(group) = &mut records[0] else { unreachable!() };
        group.relations.insert(Rel::Member, Targets::Whole(Vec::new()));
        let held = sync(&world, records).await;
        assert_eq!((held.state, held.stops[0].what.as_str(), held.stops[0].losses), (End::Held, "member", 30));
        let mut records = people(0..30);
        for record in records.iter_mut().skip(1).take(10) {
            let Record::Present(desired) = record else { unreachable!() };
            desired.digest = None;
            desired.attributes.insert("active".to_owned(), json!(false));
        }
        let held = sync(&world, records).await;
        assert_eq!((held.state, held.stops[0].losses), (End::Held, 10));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_leaves_with_its_owner_goes_to_the_next_in_one_run() {
    both(|db| async move {
        let mut ldap = policy("ldap", SourceKind::Ldap, 20);
        ldap.absence = Absence::Delete;
        ldap.match_rules.clear();
        let world = World::with(db, vec![ldap]);
        sync(&world, people(0..30)).await;
        let mut records = people(1..30);
        records.push(present(user("new", "u0")));
        let plan = read(&world, "ldap", records.clone(), complete(), Mode::Plan).await.unwrap();
        let done = sync(&world, records).await;
        assert_eq!((done.counts["create"], done.counts["delete"], done.counts.get("refused")), (1, 1, None));
        assert_eq!(done.digest, plan.digest);
    })
    .await;
}

/// Somebody is hired again: a new entry of the directory under the old login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r72_who_comes_back_under_a_new_key_is_refused_with_the_way_out_or_taken_up_again() {
    both(|db| async move {
        let mut careful = policy("ldap", SourceKind::Ldap, 20);
        careful.match_rules.clear();
        let mut world = World::with(db, vec![careful.clone()]);
        sync(&world, people(0..30)).await;
        sync(&world, people(1..30)).await;
        let again = || {
            let mut records = people(1..30);
            records.push(present(user("new", "u0")));
            records
        };
        let refused = sync(&world, again()).await;
        let reason = &refused.refused[0].reason;
        assert!(reason.contains("this source let go of") && reason.contains("match = [\"login\"]"), "{reason}");
        careful.match_rules = vec![crate::model::source::MatchRule::Login];
        world.cx.policies = Arc::new(Policies::new(vec![careful]));
        let back = sync(&world, again()).await;
        assert_eq!((back.counts.get("enable"), back.counts.get("refused")), (Some(&1), None), "{back:?}");
    })
    .await;
}

/// What the store itself refuses ends a run, and the books say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_run_that_broke_off_stands_in_the_books() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..3)).await;
        let mut tx = world.db.write().await.unwrap();
        tx.execute("DROP TABLE quarantine", Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        let mut records = people(0..4);
        records.push(Record::Bad {
            kind: Some(Kind::User),
            key: Some("bad".to_owned()),
            reason: "no name".to_owned(),
            off: false,
        });
        for _ in 0..2 {
            read(&world, "ldap", records.clone(), complete(), SYNC).await.unwrap_err();
        }
        let mut session = world.db.read().await.unwrap();
        let failed = store::run::newest(&mut session, Some("ldap"), 10).await.unwrap();
        assert!(failed.iter().all(|run| run.state != RunState::Running), "{failed:?}");
        let failed: Vec<_> = failed.into_iter().filter(|run| run.state == RunState::Failed).collect();
        assert_eq!(failed[0].counts.get("create"), Some(&1), "it came so far: {failed:?}");
        assert!(failed.len() == 1 && failed[0].message.as_ref().unwrap().contains("quarantine"), "{failed:?}");
        let state = store::source_state::by_name(&mut session, "ldap").await.unwrap().unwrap();
        assert_eq!(state.last_state.as_deref(), Some("failed"));
    })
    .await;
}

/// Seconds of processor that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after) = stat.rsplit_once(')').unwrap();
    after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Batches that share a transaction, and transactions that follow each other, see what came before them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_several_pieces_do_what_their_preview_says() {
    both(|db| async move {
        let world = World::new(db);
        let mut records = people(0..1_300);
        for record in &mut records {
            let Record::Present(desired) = record else { continue };
            // 600 is in another batch of the first piece, 1200 in the second piece.
            if matches!(desired.key.as_str(), "k600" | "k1200") {
                desired.attributes.insert("userName".to_owned(), json!("u3"));
                desired.attributes.remove("emails");
            }
        }
        let plan = read(&world, "ldap", records.clone(), complete(), Mode::Plan).await.unwrap();
        let done = sync(&world, records.clone()).await;
        assert_eq!((done.state, done.counts["create"], done.counts["refused"]), (End::Done, 1_299, 2));
        assert_eq!((plan.counts, plan.digest), (done.counts.clone(), done.digest));
        let named: Vec<&str> = done.refused.iter().map(|refused| refused.key.as_str()).collect();
        assert_eq!(named, ["k600", "k1200"]);
        let rows = store::journal::of_run(&mut world.db.read().await.unwrap(), done.run.unwrap(), 0, 5_000).await;
        assert_eq!(rows.unwrap().len(), 1_299, "one row per change");
        let again = sync(&world, records).await;
        assert!(again.is_empty(), "{:?}", again.counts);
    })
    .await;
}

/// How fast, and in how much memory. Run by hand: `MUSTERD_LONG=1 cargo test --release --lib -- speed --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speed_of_a_first_run() {
    let many = if std::env::var_os("MUSTERD_LONG").is_some() { 100_000 } else { 1_200 };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("speed.db").display());
    let db = Db::open(&store::Options::new(url)).await.unwrap();
    db.migrate(store::testing::NOW).await.unwrap();
    let mut world = World::new(db);
    // Where time stands still, ids that should ascend are random: no first run is like that.
    world.cx.clock = Clock::system();
    for _ in 0..2 {
        let started = std::time::Instant::now();
        let report = sync(&world, people(0..many)).await;
        println!(
            "{many} people: {:?}, {} s of processor since the start, {:?}",
            started.elapsed(),
            cpu(),
            report.counts
        );
        assert_eq!(report.state, End::Done);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    let id = store::assertion::by_key(&mut world.db.read().await.unwrap(), "ldap", Kind::User, "k1")
        .await
        .unwrap()
        .unwrap()
        .entity;
    assert_eq!(world.get(id).await.state, State::Live);
}

/// Where several processes share a store, two runs of one source are never under way at once, and one that lost its lease
/// writes nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_of_a_source_at_a_time_and_who_slept_too_long_writes_nothing() {
    both(|db| async move {
        if db.is_embedded() {
            return; // one process: a file lock
        }
        let world = World::new(db);
        let first = super::turn::Turn::take(&world.db, &world.cx, "ldap").await.unwrap();
        let second = read(&world, "ldap", people(0..2), complete(), SYNC).await;
        assert!(matches!(second, Err(Error::Busy(source)) if source == "ldap"));
        assert_eq!(read(&world, "ldap", people(0..2), complete(), Mode::Plan).await.unwrap().counts["create"], 3);

        // It sleeps, its lease ends, and another takes over.
        let cx = first.within(&world.cx);
        let mut tx = world.db.write().await.unwrap();
        tx.execute("UPDATE lease SET expires = 0 WHERE name = 'run:ldap'", vec![]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sync(&world, people(0..2)).await.counts["create"], 3);
        let late = super::turn::begin(&world.db, &cx).await;
        assert!(matches!(late, Err(Error::Fenced(lease)) if lease == "run:ldap"));
        drop(first);
    })
    .await;
}
