//! What others are told of a source whose runs fail or wait, on both databases: when, once for how much, and when it is over.
//! Only for tests.

use super::apply_tests::{World, present, user};
use super::run_tests::{SYNC, people, read, sync};
use super::{End, approve};
use crate::model::desired::{End as ReadEnd, Scope};
use crate::model::event::Topic;
use crate::store::testing::both;
use crate::store::{self, Session as _};

type Told = Vec<(Topic, i64, Option<String>)>;

/// A read that broke off.
async fn fail(world: &World, passes: bool) {
    world.cx.clock.advance(1_000);
    let end = Some(ReadEnd::Incomplete { reason: "no".to_owned(), passes });
    assert_eq!(read(world, "ldap", people(0..3), end, SYNC).await.unwrap().state, End::Failed);
}

/// Some of the people, and how that ended.
async fn of(world: &World, numbers: std::ops::Range<u32>) -> End {
    world.cx.clock.advance(1_000);
    sync(world, people(numbers)).await.state
}

/// Causes that wait to be folded.
async fn causes(world: &World) -> i64 {
    let mut session = world.db.read().await.unwrap();
    session.one("SELECT count(*) FROM event_cause", vec![]).await.unwrap().get(0).unwrap()
}

/// The events, open or over, newest first.
async fn told(world: &World, open: bool) -> Told {
    world.cx.clock.advance(1_000);
    let mut tx = world.db.write().await.unwrap();
    store::event::fold(&mut tx, 100, || world.cx.clock.uuid().to_string()).await.unwrap();
    let all = store::event::list(&mut tx, open, None, 100).await.unwrap();
    tx.commit().await.unwrap();
    assert!(all.iter().all(|(event, _)| event.label == "ldap"));
    all.into_iter().map(|(event, _)| (event.topic, event.changes, event.acknowledged_by)).collect()
}

fn by_source(topic: Topic, changes: i64) -> (Topic, i64, Option<String>) {
    (topic, changes, Some("source:test".to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_source_that_fails_is_told_until_a_read_is_complete() {
    both(|db| async move {
        let world = World::new(db);
        for _ in 0..2 {
            assert_eq!(of(&world, 0..30).await, End::Done);
        }
        fail(&world, true).await;
        assert_eq!(causes(&world).await, 0, "what goes well, and what may go well in a moment, is nobody's concern");
        fail(&world, true).await;
        assert_eq!(told(&world, true).await, [(Topic::SourceFailing, 2, None)]);
        fail(&world, false).await;
        assert_eq!(told(&world, true).await, [(Topic::SourceFailing, 3, None)]);
        assert_eq!(of(&world, 0..30).await, End::Done);
        assert_eq!(told(&world, true).await, []);
        assert_eq!(told(&world, false).await, [by_source(Topic::SourceFailing, 3)]);
        assert_eq!(of(&world, 0..30).await, End::Done);
        assert_eq!(causes(&world).await, 0, "over is over");

        // What is not tried again by itself is told at once; a read that is held was complete.
        fail(&world, false).await;
        assert_eq!(told(&world, true).await, [(Topic::SourceFailing, 1, None)]);
        fail(&world, true).await;
        assert_eq!(told(&world, true).await, [(Topic::SourceFailing, 2, None)]);
        assert_eq!(of(&world, 0..20).await, End::Held);
        assert_eq!(told(&world, true).await, [(Topic::SourceHeld, 1, None)]);
        assert_eq!(told(&world, false).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_run_that_waits_is_told_until_none_does() {
    both(|db| async move {
        let world = World::new(db);
        of(&world, 0..30).await;
        for _ in 0..2 {
            assert_eq!(of(&world, 0..20).await, End::Held);
        }
        assert_eq!(told(&world, true).await, [(Topic::SourceHeld, 1, None)], "the same run waits");
        assert_eq!(of(&world, 0..19).await, End::Held);
        assert_eq!(told(&world, true).await, [(Topic::SourceHeld, 2, None)], "another one");

        // Neither a failure nor a run of other things takes it away.
        fail(&world, true).await;
        let scope = Scope::Only;
        let end = ReadEnd::Complete { cursor: None, kinds: Vec::new(), scope, how: None, fingerprint: None };
        let other = vec![present(user("k90", "u90"))];
        assert_eq!(read(&world, "ldap", other, Some(end), SYNC).await.unwrap().state, End::Done);
        assert_eq!(told(&world, true).await, [(Topic::SourceHeld, 2, None)]);

        // A later run goes through.
        assert_eq!(of(&world, 0..30).await, End::Done);
        assert_eq!(told(&world, true).await, []);
        assert_eq!(told(&world, false).await, [by_source(Topic::SourceHeld, 2)]);

        // Somebody decides.
        world.cx.clock.advance(1_000);
        let held = sync(&world, people(0..20)).await;
        assert_eq!(told(&world, true).await, [(Topic::SourceHeld, 1, None)]);
        approve(&world.db, &world.cx.acting_as("operator:eva"), held.run.unwrap(), None).await.unwrap();
        assert_eq!(told(&world, true).await, []);
        assert_eq!(told(&world, false).await[0], (Topic::SourceHeld, 1, Some("operator:eva".to_owned())));
    })
    .await;
}
