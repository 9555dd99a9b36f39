//! Why an attribute says what it says, over several runs and sources, on both databases. Only for tests.

use serde_json::json;

use super::apply_tests::{World, doc, user};
use super::run_tests::{people, sync};
use super::why;
use crate::model::desired::{Digest, Record};
use crate::model::kind::Kind;
use crate::store;
use crate::store::testing::both;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_why_names_source_run_and_time_and_who_is_not_heard() {
    both(|db| async move {
        let world = World::new(db);
        let run = sync(&world, people(0..1)).await.run.unwrap();
        let mut other = user("h0", "u0");
        other.attributes = doc(json!({"userName": "u0", "name": {"familyName": "Dvorakova"}}));
        world.cx.clock.advance(1_000);
        let id = world.one("hr", other).await;
        let mut session = world.db.read().await.unwrap();
        let told = why(&mut session, &world.cx, id, Some("name")).await.unwrap().unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|why| {
                (why.attribute.as_str(), why.from[0].source.as_str(), why.overruled.first().map(|s| s.source.as_str()))
            })
            .collect();
        assert_eq!(told, [("name.familyName", "hr", Some("ldap")), ("name.givenName", "ldap", None)]);
        let mail = why(&mut session, &world.cx, id, Some("emails")).await.unwrap().unwrap();
        assert_eq!((mail[0].from[0].run, mail[0].from[0].key.as_str()), (run, "k0"));
    })
    .await;
}

/// A later word of the same source about something else does not make the earlier one younger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_why_names_the_run_that_set_the_value() {
    both(|db| async move {
        let world = World::new(db);
        let first = sync(&world, people(0..1)).await.run.unwrap();
        let began = world.cx.clock.now();
        world.cx.clock.advance(60_000);
        let mut later = people(0..1);
        let Some(Record::Present(eva)) = later.last_mut() else { panic!("people come last") };
        eva.digest = Some(Digest([9; 16]));
        eva.attributes.insert("title".to_owned(), json!("Head"));
        let second = sync(&world, later).await.run.unwrap();
        let mut session = world.db.read().await.unwrap();
        let id = store::assertion::by_key(&mut session, "ldap", Kind::User, "k0").await.unwrap().unwrap().entity;
        for (attribute, run, at) in [("title", second, world.cx.clock.now()), ("userName", first, began)] {
            let told = why(&mut session, &world.cx, id, Some(attribute)).await.unwrap().unwrap();
            assert_eq!((told[0].from[0].run, told[0].from[0].at), (run, at), "{attribute}");
        }
    })
    .await;
}

/// Nobody says that who left is inactive: the run that found them gone is told, and what was said before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_why_names_who_disabled_somebody() {
    both(|db| async move {
        let world = World::new(db);
        let active = |numbers: std::ops::Range<u32>| {
            let mut records = people(numbers);
            for record in &mut records {
                let Record::Present(desired) = record else { continue };
                desired.attributes.insert("active".to_owned(), json!(true));
            }
            records
        };
        let first = sync(&world, active(0..30)).await.run.unwrap();
        world.cx.clock.advance(60_000);
        let gone = sync(&world, active(1..30)).await.run.unwrap();
        let at = world.cx.clock.now();
        let mut session = world.db.read().await.unwrap();
        let id = store::assertion::by_key(&mut session, "ldap", Kind::User, "k0").await.unwrap().unwrap().entity;
        let all = why(&mut session, &world.cx, id, None).await.unwrap().unwrap();
        let active: Vec<_> = all.iter().filter(|why| why.attribute == "active").collect();
        assert_eq!(active.len(), 1, "{all:?}");
        let by = &active[0].from[0];
        assert_eq!((&active[0].value, by.source.as_str(), by.run, by.at), (&json!(false), "ldap", gone, at));
        assert_eq!((&active[0].overruled[0].value, active[0].overruled[0].run), (&json!(true), first));
        let login = all.iter().find(|why| why.attribute == "userName").unwrap();
        assert_eq!((login.from[0].source.as_str(), login.from[0].run), ("ldap", first), "the last word still stands");
        drop(session);

        let here = store::assertion::by_key(&mut world.db.read().await.unwrap(), "ldap", Kind::User, "k1").await;
        let here = here.unwrap().unwrap().entity;
        world.cx.clock.advance(60_000);
        let mut tx = world.db.write().await.unwrap();
        let operator = world.cx.policies.get("operator").unwrap();
        super::block(&mut tx, &world.cx, operator, here, true).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let told = why(&mut world.db.read().await.unwrap(), &world.cx, here, Some("active")).await.unwrap().unwrap();
        assert_eq!((&told[0].value, told[0].from[0].source.as_str()), (&json!(false), "operator"), "{told:?}");
    })
    .await;
}
