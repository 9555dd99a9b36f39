//! What waits for a person: only as long as it was read with the settings that count, and until it is done to its end. On both
//! databases. Only for tests.

use super::apply_tests::World;
use super::run_tests::{KINDS, SYNC, people, read, sync};
use super::spool::{Spool, Stage};
use super::{End, Error, Report, approve, carry};
use crate::model::desired::{End as ReadEnd, Record, Scope};
use crate::model::id::RunId;
use crate::model::kind::Kind;
use crate::model::run::{Run, RunState};
use crate::model::time::Millis;
use crate::reconcile::report::Tally;
use crate::store;
use crate::store::testing::both;

async fn read_with(world: &World, settings: &str, scope: Scope, records: Vec<Record>) -> Report {
    world.cx.clock.advance(1_000);
    let end = ReadEnd::Complete {
        cursor: None,
        kinds: if scope == Scope::Whole { KINDS.to_vec() } else { Vec::new() },
        scope,
        how: None,
        fingerprint: Some(settings.to_owned()),
    };
    read(world, "ldap", records, Some(end), SYNC).await.unwrap()
}

async fn row(world: &World, id: RunId) -> Run {
    store::run::by_id(&mut world.db.read().await.unwrap(), id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_what_was_read_with_other_settings_waits_for_nobody() {
    both(|db| async move {
        let world = World::new(db);
        assert_eq!(read_with(&world, "a", Scope::Whole, people(0..30)).await.state, End::Done);
        let wrong = read_with(&world, "b", Scope::Whole, people(0..10)).await;
        assert_eq!(wrong.state, End::Held);
        let id = wrong.run.unwrap();
        match approve(&world.db, &world.cx, id, Some("a")).await {
            Err(Error::OtherSettings { .. }) => {}
            other => panic!("{other:?}"),
        }
        // Put right: a read of what changed says nothing of those whom the wrong one missed.
        assert_eq!(read_with(&world, "a", Scope::Only, Vec::new()).await.state, End::Done);
        assert_eq!(row(&world, id).await.state, RunState::Superseded);
        assert!(matches!(approve(&world.db, &world.cx, id, None).await, Err(Error::NotHeld { .. })));

        // With the same settings it waits, whatever else was read.
        let held = read_with(&world, "a", Scope::Whole, people(0..10)).await;
        let id = held.run.unwrap();
        assert_eq!(read_with(&world, "a", Scope::Only, Vec::new()).await.state, End::Done);
        assert_eq!(row(&world, id).await.state, RunState::Held);
        let done = approve(&world.db, &world.cx, id, Some("a")).await.unwrap();
        assert_eq!((done.counts["disable"], row(&world, id).await.state), (20, RunState::Approved));
    })
    .await;
}

/// As if the process of the approval had ended when it had let go of these.
async fn interrupted(world: &World, id: RunId, gone: impl Iterator<Item = u32>) {
    let mut spool = Spool::default();
    for n in gone {
        let record = Record::Gone { kind: Kind::User, key: format!("k{n}") };
        spool.put(Stage::Gone(Kind::User), 0, &record).unwrap();
    }
    let run = row(world, id).await;
    let mut tx = world.db.write().await.unwrap();
    store::run::put(&mut tx, &Run { state: RunState::Approved, ended: None, ..run }).await.unwrap();
    tx.commit().await.unwrap();
    let (cx, source) = (world.cx.within(id), world.cx.policies.get("ldap").unwrap());
    cx.opened(id);
    carry::out(&world.db, &cx, source, &mut spool, &|_, _| true, Millis(0), &mut Tally::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_an_approval_that_was_interrupted_is_done_to_its_end() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..30)).await;
        let held = sync(&world, people((0..20).chain(90..92))).await;
        let id = held.run.unwrap();
        interrupted(&world, id, 20..24).await;
        let done = approve(&world.db, &world.cx, id, None).await.unwrap();
        assert_eq!((done.counts["disable"], done.counts["create"]), (10, 2), "{:?}", done.counts);
        let now = row(&world, id).await;
        assert_eq!((now.state, now.ended.is_some(), &now.counts), (RunState::Approved, true, &done.counts));
        assert!(sync(&world, people((0..20).chain(90..92))).await.is_empty());
        assert!(matches!(approve(&world.db, &world.cx, id, None).await, Err(Error::NotHeld { .. })), "once");

        // The source says something else meanwhile: its rest is not done any more, and nobody is asked for it.
        let held = sync(&world, people(0..10)).await;
        let id = held.run.unwrap();
        interrupted(&world, id, 10..12).await;
        assert_eq!(sync(&world, people((0..20).chain(90..92))).await.state, End::Done);
        assert!(matches!(approve(&world.db, &world.cx, id, None).await, Err(Error::NotHeld { .. })));
        let now = row(&world, id).await;
        assert!(
            now.ended.is_some() && now.message.as_deref().is_some_and(|message| message.contains("newer")),
            "{now:?}"
        );
    })
    .await;
}
