//! Runs that are taken back, on both databases: whatever a run did is as it was, what somebody changed since stays and is
//! told. Only for tests. Start with `State`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::apply_tests::{World, doc, present, says, user};
use super::model_tests::{Model, SOURCES, three, word};
use super::run_tests::{SYNC, complete, people, read, sync};
use super::{Applied, End, Error, Undone, apply, block, undo};
use crate::clock::Clock;
use crate::model::desired::{Record, Ref, Target, Targets};
use crate::model::document::Document;
use crate::model::entity::State as Life;
use crate::model::id::{EntityId, RunId};
use crate::model::kind::{Kind, Rel};
use crate::model::run::{RunKind, RunState};
use crate::model::time::Millis;
use crate::store::testing::{both, dump};
use crate::store::{self, Session};

/// Everything that counts: who there is, as what, held by whom, related to what.
#[derive(Debug, PartialEq)]
struct State {
    things: BTreeMap<EntityId, (Document, bool, bool, Life)>,
    holds: BTreeSet<(String, String, String)>,
    edges: BTreeSet<(String, EntityId, String, String, Option<EntityId>)>,
}

impl State {
    /// What is not as it was. A row that found its end through what came keeps it while the end lives: the engine cuts no
    /// row that a source asserts.
    fn differences(&self, before: &State) -> Vec<String> {
        let mut found = Vec::new();
        for (id, was) in &before.things {
            let now = self.things.get(id);
            if now != Some(was) {
                found.push(format!("{id}: {was:?} is {now:?}"));
            }
        }
        let new = self.things.keys().filter(|id| !before.things.contains_key(id));
        found.extend(new.map(|id| format!("{id} is there")));
        found.extend(self.holds.symmetric_difference(&before.holds).map(|hold| format!("{hold:?}")));
        let name = |edge: &(String, EntityId, String, String, Option<EntityId>)| {
            (edge.0.clone(), edge.1, edge.2.clone(), edge.3.clone())
        };
        let now: BTreeMap<_, _> = self.edges.iter().map(|edge| (name(edge), edge.4)).collect();
        let was: BTreeMap<_, _> = before.edges.iter().map(|edge| (name(edge), edge.4)).collect();
        let cut = was.iter().filter(|(edge, to)| now.get(edge).is_none_or(|now| to.is_some() && now != *to));
        found.extend(cut.map(|edge| format!("{edge:?} is cut")));
        found.extend(now.iter().filter(|(edge, _)| !was.contains_key(edge)).map(|edge| format!("{edge:?} is new")));
        found
    }
}

async fn state(world: &World) -> State {
    let mut session = world.db.read().await.unwrap();
    let rows = session.all("SELECT id FROM entity WHERE state <> 'tombstone' ORDER BY id", vec![]).await.unwrap();
    let ids: Vec<EntityId> = rows.iter().map(|row| row.parse(0).unwrap()).collect();
    let things = store::entity::by_ids(&mut session, &ids).await.unwrap();
    let things = things.into_iter().map(|e| (e.id, (e.doc, e.active, e.blocked, e.state))).collect();
    let rows = session.all("SELECT source, kind, key FROM assertion WHERE NOT ended", vec![]).await.unwrap();
    let holds = rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap())).collect();
    let edges = store::edge::from_any(&mut session, &ids).await.unwrap();
    let edges = edges.into_iter().map(|e| (e.rel.to_string(), e.from, e.source, e.target, e.to)).collect();
    State { things, holds, edges }
}

impl World {
    /// Records of a run of their own, in the pieces that are given.
    async fn run(&self, source: &str, pieces: Vec<Vec<Record>>) -> RunId {
        let run = self.cx.clock.run_id();
        let cx = self.cx.within(run);
        let policy = self.cx.policies.get(source).unwrap();
        let at = self.cx.clock.now();
        for records in pieces {
            let mut tx = self.db.write().await.unwrap();
            store::run::open(&mut tx, run, source, RunKind::Poll, at).await.unwrap();
            let Applied { .. } = apply(&mut tx, &cx, policy, records).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = self.db.write().await.unwrap();
        let row = store::run::lock(&mut tx, run).await.unwrap().unwrap();
        store::run::put(&mut tx, &crate::model::run::Run { state: RunState::Done, ended: Some(at), ..row })
            .await
            .unwrap();
        tx.commit().await.unwrap();
        run
    }

    async fn undo(&self, run: RunId) -> Undone {
        self.cx.clock.advance(1_000);
        undo(&self.db, &self.cx.acting_as("operator:cli"), run, false).await.unwrap()
    }
}

/// Three sources say whatever they like of five people; then one says more, and that is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_whatever_a_run_did_is_taken_back_and_that_too() {
    both(|db| async move {
        let world = three(db);
        let random = Clock::fixed(Millis(0), 20_261_128);
        let mut model = Model::default();
        let mut undone = 0;
        for step in 0..120 {
            world.cx.clock.advance(10);
            let source = random.below(3) as usize;
            let records: Vec<Record> = (0..=random.below(4)).map(|_| word(&random, &mut model, source)).collect();
            world.apply(SOURCES[source], records).await;
            if step % 3 > 0 {
                continue;
            }
            let before = state(&world).await;
            let source = random.below(3) as usize;
            let pieces = (0..=random.below(2))
                .map(|_| (0..=random.below(3)).map(|_| word(&random, &mut model, source)).collect())
                .collect();
            let run = world.run(SOURCES[source], pieces).await;
            let after = state(&world).await;
            let done = world.undo(run).await;
            assert_eq!((done.changed_since, done.report.refused.len()), (0, 0), "step {step}: {done:#?}");
            let now = state(&world).await;
            assert_eq!(now.differences(&before), Vec::<String>::new(), "step {step}");
            let Some(back) = done.report.run else { continue };
            undone += 1;
            // The undoing is a run as well.
            let again = world.undo(back).await;
            assert_eq!(again.changed_since, 0, "step {step}: {again:#?}");
            let now = state(&world).await;
            assert_eq!(now.differences(&after), Vec::<String>::new(), "step {step}, done again");
        }
        assert!(undone > 20, "{undone}");
    })
    .await;
}

/// A directory of which most is hidden, approved by mistake: everybody is back, with everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_people_who_were_taken_away_come_back_and_the_source_waits() {
    both(|db| async move {
        let world = World::new(db);
        sync(&world, people(0..650)).await;
        world.one("hr", user("h3", "u3")).await;
        let before = state(&world).await;
        world.cx.clock.advance(60_000);
        let mut next = people((600..650).chain(700..702));
        for record in &mut next {
            let Record::Present(desired) = record else { continue };
            if desired.key == "k601" {
                desired.attributes.insert("userName".into(), json!("u602"));
            }
            if desired.key == "k602" {
                desired.attributes.insert("userName".into(), json!("u601"));
            }
            if ["k601", "k602"].contains(&desired.key.as_str()) {
                desired.digest = None;
            }
        }
        let held = sync(&world, next).await;
        assert_eq!(held.state, End::Held);
        let waiting = undo(&world.db, &world.cx, held.run.unwrap(), false).await;
        assert!(matches!(waiting, Err(Error::NotDone { .. })), "{waiting:?}");
        let done = super::approve(&world.db, &world.cx, held.run.unwrap(), None).await.unwrap();
        assert!(done.counts["disable"] > 500, "{:?}", done.counts);
        let bytes = dump(&world.db).await;
        let shown = undo(&world.db, &world.cx, done.run.unwrap(), true).await.unwrap();
        assert_eq!(dump(&world.db).await, bytes, "a preview writes nothing");
        assert_eq!((shown.report.state, shown.paused), (End::Planned, false));

        let taken_back = world.undo(done.run.unwrap()).await;
        assert_eq!((taken_back.changed_since, &taken_back.report.refused), (0, &vec![]));
        assert_eq!(taken_back.report.counts, shown.report.counts);
        assert!(taken_back.paused);
        let now = state(&world).await;
        assert_eq!(now, before);
        let mut session = world.db.read().await.unwrap();
        let source = store::source_state::by_name(&mut session, "ldap").await.unwrap().unwrap();
        assert!(source.paused && source.cursor.is_none(), "{source:?}");
        let row = store::run::by_id(&mut session, taken_back.report.run.unwrap()).await.unwrap().unwrap();
        assert_eq!((row.kind, row.state), (RunKind::Undo, RunState::Done));
        assert!(row.message.unwrap().contains(&done.run.unwrap().to_string()));
        let entries = store::journal::of_run(&mut session, row.id, 0, 10).await.unwrap();
        assert!(entries.iter().all(|entry| entry.actor == "operator:cli"));
        drop(session);

        // There is nothing left to take back, and the next whole read says what it says.
        let again = world.undo(done.run.unwrap()).await;
        assert_eq!(again.report.run, None);
        let next = read(&world, "ldap", people(0..650), complete(), SYNC).await.unwrap();
        assert_eq!((next.state, next.run), (End::Done, None), "{:?}", next.counts);
    })
    .await;
}

/// What others changed since stays theirs, and is told with who it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_what_was_changed_since_stays_and_is_told() {
    both(|db| async move {
        let world = World::new(db);
        let with = |key: &str, login: &str, title: &str, note: &str| {
            let mut desired = user(key, login);
            desired.attributes.insert("title".into(), json!(title));
            desired.attributes.insert("note".into(), json!(note));
            present(desired)
        };
        world.run("ldap", vec![vec![with("k1", "eva", "one", "x"), with("k2", "jan", "one", "x")]]).await;
        let bad = world.run("ldap", vec![vec![with("k1", "eva", "two", "y"), with("k3", "new", "two", "y")]]).await;
        world.cx.clock.advance(1_000);
        let later =
            world.run("ldap", vec![vec![with("k1", "eva", "three", "y"), with("k3", "new", "three", "y")]]).await;
        let done = world.undo(bad).await;
        let mut session = world.db.read().await.unwrap();
        let eva = store::assertion::by_key(&mut session, "ldap", Kind::User, "k1").await.unwrap().unwrap().entity;
        let new = store::assertion::by_key(&mut session, "ldap", Kind::User, "k3").await.unwrap().unwrap().entity;
        drop(session);
        // The note is as it was, the title is somebody else's by now, and who is no longer what was created stays.
        let doc_of = |doc: &Document| (doc["title"].clone(), doc["note"].clone());
        assert_eq!(doc_of(&world.get(eva).await.doc), (json!("three"), json!("x")));
        assert!(world.get(new).await.active);
        assert_eq!(done.changed_since, 2);
        let told = done.since.iter().find(|since| since.entity == eva).unwrap();
        assert_eq!((&told.left, &told.found), (&doc(json!({"title": "two"})), &doc(json!({"title": "three"}))));
        assert_eq!(told.by.as_ref().unwrap().run, later);
        // Newest first, everything goes.
        world.undo(later).await;
        let done = world.undo(bad).await;
        assert_eq!(done.changed_since, 1, "the title of eva was taken back already: {:#?}", done.since);
        assert_eq!(world.get(new).await.state, Life::Tombstone);
        assert_eq!(doc_of(&world.get(eva).await.doc), (json!("one"), json!("x")));
    })
    .await;
}

/// The operator's deletion for all, a block, and the calls of a provider: the runs of a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_calls_of_a_day_are_taken_back_too() {
    both(|db| async move {
        let world = World::new(db);
        let eva = world.one("ldap", user("k1", "eva")).await;
        let mut group = says(Kind::Group, "g", json!({"displayName": "G"}));
        group.relations.insert(Rel::Member, Targets::Whole(vec![Target::from(Ref::Key(Kind::User, "k1".into()))]));
        world.one("ldap", group).await;
        let jan = world.one("idp", user(&world.cx.clock.entity_id().to_string(), "jan")).await;
        let before = state(&world).await;
        world.cx.clock.advance(Millis::DAY);

        let removed = world.gone("operator", Kind::User, &eva.to_string()).await.run.unwrap();
        assert_eq!(world.get(eva).await.state, Life::Tombstone);
        let operator = world.cx.policies.get("operator").unwrap();
        let mut tx = world.db.write().await.unwrap();
        block(&mut tx, &world.cx, operator, jan, true).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let mut other = says(Kind::User, &jan.to_string(), json!({"userName": "jan", "title": "gone soon"}));
        other.attributes.insert("externalId".into(), json!("ext"));
        let called = world.apply("idp", vec![present(other)]).await.run.unwrap();
        world.gone("idp", Kind::User, &jan.to_string()).await;
        assert_eq!(world.get(jan).await.state, Life::Tombstone);

        let done = world.undo(called).await;
        assert_eq!((done.changed_since, &done.report.refused, done.paused), (0, &vec![], false));
        let jan_now = world.get(jan).await;
        assert_eq!((jan_now.state, jan_now.blocked), (Life::Live, true));
        let done = world.undo(removed).await;
        assert_eq!((done.changed_since, &done.report.refused), (0, &vec![]), "{done:#?}");
        // The name in the group comes with the next word of its source.
        let again = world
            .apply(
                "ldap",
                vec![present({
                    let mut group = says(Kind::Group, "g", json!({"displayName": "G"}));
                    let eva = Target::from(Ref::Key(Kind::User, "k1".into()));
                    group.relations.insert(Rel::Member, Targets::Whole(vec![eva]));
                    group
                })],
            )
            .await;
        assert_eq!(again.refused().count(), 0);
        assert_eq!(state(&world).await, before);
        // And it is not remembered as somebody whom the operator wants gone.
        world.gone("ldap", Kind::User, "k1").await;
        world.one("ldap", user("k1", "eva")).await;
        assert!(world.get(eva).await.active);
    })
    .await;
}

/// Who came back with other words, under another key, from a deletion, or came and went within one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_coming_back_is_taken_back_to_how_it_was() {
    both(|db| async move {
        let world = World::new(db);
        let titled = |key: &str, login: &str, title: &str| {
            let mut desired = user(key, login);
            desired.attributes.insert("title".into(), json!(title));
            present(desired)
        };
        let gone = |key: &str| Record::Gone { kind: Kind::User, key: key.to_owned() };
        world.run("ldap", vec![vec![titled("k1", "eva", "one"), titled("k2", "jan", "one")]]).await;
        let id = |key: &'static str| {
            let world = &world;
            async move {
                let mut session = world.db.read().await.unwrap();
                store::assertion::by_key(&mut session, "ldap", Kind::User, key).await.unwrap().unwrap().entity
            }
        };
        let (eva, jan) = (id("k1").await, id("k2").await);
        // Left, and came back as somebody with other words.
        world.run("ldap", vec![vec![gone("k1")]]).await;
        let before = state(&world).await;
        let back = world.run("ldap", vec![vec![titled("k1", "boss", "CEO")]]).await;
        let done = world.undo(back).await;
        assert_eq!(state(&world).await.differences(&before), Vec::<String>::new(), "{done:#?}");
        assert!(!world.get(eva).await.active);
        // The same account under a new key.
        let before = state(&world).await;
        let run = world.run("ldap", vec![vec![gone("k2")], vec![titled("k9", "jan", "two")]]).await;
        assert_eq!(id("k9").await, jan);
        let done = world.undo(run).await;
        assert_eq!(done.changed_since, 0, "{done:#?}");
        assert_eq!(state(&world).await.differences(&before), Vec::<String>::new(), "{done:#?}");
        // Created, taken back, created again: that, too, is a deletion when it is taken back.
        let new = world.run("ldap", vec![vec![titled("k3", "new", "x")]]).await;
        world.undo(new).await;
        let again = world.run("ldap", vec![vec![titled("k3", "new", "x")]]).await;
        world.undo(again).await;
        assert_eq!(world.get(id("k3").await).await.state, Life::Tombstone);
        // Came and went within one run: nothing is left of it, and nothing is made of it.
        let before = state(&world).await;
        let key = world.cx.clock.entity_id().to_string();
        let run = world.run("idp", vec![vec![present(user(&key, "short"))], vec![gone(&key)]]).await;
        let done = world.undo(run).await;
        assert_eq!((done.report.run, state(&world).await.differences(&before)), (None, vec![]));
        // Whom the operator has put a word to since is not taken away.
        let run = world.run("ldap", vec![vec![titled("k4", "other", "x")]]).await;
        let other = id("k4").await;
        let mut word = says(Kind::User, &other.to_string(), json!({"title": "y"}));
        word.write = crate::model::desired::Write::Merge;
        world.apply("operator", vec![present(word)]).await;
        let done = world.undo(run).await;
        assert_eq!((done.changed_since, done.paused, world.get(other).await.active), (1, false, true), "{done:#?}");
    })
    .await;
}
