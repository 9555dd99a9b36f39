//! The engine against a model of a few lines: whatever three sources say, in whatever order and however it is cut into
//! batches, the store ends where the model ends. Only for tests. Start with `Model`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::apply;
use super::apply_tests::{World, doc, present, says};
use crate::clock::Clock;
use crate::model::desired::{Record, Ref, Targets, Write};
use crate::model::document::{self, Document};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Rel};
use crate::model::source::SourceKind;
use crate::model::time::Millis;
use crate::store::testing::{both, dump};
use crate::store::{self, Session};

/// By belief, the most believed first.
pub(super) const SOURCES: [&str; 3] = ["hr", "ldap", "crm"];
const PEOPLE: u64 = 5;

/// What each source says of each person, and of the one group's members.
#[derive(Default)]
pub(super) struct Model {
    said: BTreeMap<(u64, usize), Document>,
    last: BTreeMap<u64, Document>,
    members: BTreeMap<usize, BTreeSet<u64>>,
}

impl Model {
    fn merged(&self, person: u64) -> Option<Document> {
        let sayings: Vec<&Document> =
            (0..SOURCES.len()).filter_map(|source| self.said.get(&(person, source))).collect();
        (!sayings.is_empty()).then(|| document::merge(sayings))
    }
}

/// A saying of random leaves; the login is always said, it is what people are found by.
fn saying(clock: &Clock, person: u64) -> Document {
    let mut out = doc(json!({"userName": format!("p{person}")}));
    let mut name = Document::new();
    for (part, inner) in
        [("givenName", true), ("familyName", true), ("title", false), ("note", false), ("active", false)]
    {
        let value = match clock.below(5) {
            0 => json!(null),
            1 | 2 if part == "active" => json!(clock.below(2) == 0),
            1 | 2 => json!(format!("v{}", clock.below(3))),
            _ => continue,
        };
        if inner {
            name.insert(part.to_owned(), value)
        } else {
            out.insert(part.to_owned(), value)
        };
    }
    if !name.is_empty() {
        out.insert("name".to_owned(), name.into());
    }
    if clock.below(2) == 0 {
        out.insert("emails".to_owned(), json!([{"value": format!("m{}@x.cz", clock.below(9))}]));
    }
    out
}

/// One random word of one source, into the model and as a record.
pub(super) fn word(clock: &Clock, model: &mut Model, source: usize) -> Record {
    let person = clock.below(PEOPLE);
    let key = format!("{}-{person}", SOURCES[source]);
    if clock.below(8) == 0 {
        let mut group = says(Kind::Group, &format!("{}-g", SOURCES[source]), json!({"displayName": "G"}));
        let targets = |people: &BTreeSet<u64>| -> Vec<_> {
            people.iter().map(|n| Ref::Key(Kind::User, format!("{}-{n}", SOURCES[source])).into()).collect()
        };
        let some: BTreeSet<u64> = (0..PEOPLE).filter(|_| clock.below(2) == 0).collect();
        let members = model.members.entry(source).or_default();
        let targets = match clock.below(3) {
            0 => {
                let add: BTreeSet<u64> = some.iter().copied().filter(|n| n % 2 == 0).collect();
                let remove: BTreeSet<u64> = some.iter().copied().filter(|n| n % 2 == 1).collect();
                members.extend(&add);
                members.retain(|n| !remove.contains(n));
                Targets::Delta { add: targets(&add), remove: targets(&remove) }
            }
            _ => {
                members.clone_from(&some);
                Targets::Whole(targets(&some))
            }
        };
        group.relations.insert(Rel::Member, targets);
        return present(group);
    }
    if clock.below(4) == 0 {
        if let Some(last) = model.merged(person).filter(|_| model.said.contains_key(&(person, source))) {
            model.last.insert(person, last);
        }
        model.said.remove(&(person, source));
        return Record::Gone { kind: Kind::User, key };
    }
    let mut desired = says(Kind::User, &key, json!({}));
    desired.attributes = saying(clock, person);
    if clock.below(3) == 0 {
        desired.write = Write::Merge;
        let said = model.said.entry((person, source)).or_default();
        document::overlay(said, &desired.attributes);
    } else {
        model.said.insert((person, source), desired.attributes.clone());
    }
    present(desired)
}

/// A world of the three sources.
pub(super) fn three(db: store::Db) -> World {
    let policy = |(at, name): (usize, &&str)| super::apply_tests::policy(name, SourceKind::Crm, 30 - at as i64);
    let mut policies: Vec<_> = SOURCES.iter().enumerate().map(policy).collect();
    policies[1].priority = policies[0].priority; // equal ones by name: "hr" before "ldap"
    World::with(db, policies)
}

async fn compare(world: &World, model: &Model, step: usize) {
    let mut read = world.db.read().await.unwrap();
    let mut ids: BTreeMap<(usize, u64), EntityId> = BTreeMap::new();
    for person in 0..PEOPLE {
        let mut entities: BTreeSet<EntityId> = BTreeSet::new();
        for (at, source) in SOURCES.iter().enumerate() {
            let key = format!("{source}-{person}");
            let Some(held) = store::assertion::by_key(&mut read, source, Kind::User, &key).await.unwrap() else {
                assert!(!model.said.contains_key(&(person, at)), "step {step}: {key} is lost");
                continue;
            };
            assert_eq!(!held.ended, model.said.contains_key(&(person, at)), "step {step}: {key}");
            entities.insert(held.entity);
            ids.insert((at, person), held.entity);
        }
        assert!(entities.len() <= 1, "step {step}: person {person} is {entities:?}");
        let Some(id) = entities.first() else { continue };
        let entity = store::entity::by_id(&mut read, *id).await.unwrap().unwrap();
        let merged = model.merged(person);
        let active = merged.as_ref().is_some_and(|doc| doc.get("active") != Some(&json!(false)));
        assert_eq!(entity.active, active, "step {step}: person {person}");
        let expected = merged.as_ref().or_else(|| model.last.get(&person)).unwrap();
        assert_eq!(&entity.doc, expected, "step {step}: person {person}");
        let values: BTreeSet<String> =
            store::lookup::find(&mut read, Kind::User, "email", &["m0@x.cz", "m1@x.cz", "m2@x.cz"])
                .await
                .unwrap()
                .into_iter()
                .filter_map(|(value, found)| (found == *id).then_some(value))
                .collect();
        let mail = expected.get("emails").and_then(|mails| mails[0]["value"].as_str()).map(str::to_owned);
        let mail: BTreeSet<String> =
            mail.into_iter().filter(|m| ["m0@x.cz", "m1@x.cz", "m2@x.cz"].contains(&m.as_str())).collect();
        assert_eq!(values, mail, "step {step}: lookups of person {person}");
    }
    for (at, source) in SOURCES.iter().enumerate() {
        let group = store::assertion::by_key(&mut read, source, Kind::Group, &format!("{source}-g")).await.unwrap();
        let Some(group) = group else { continue };
        let edges = store::edge::of_source(&mut read, source, Rel::Member, &[group.entity]).await.unwrap();
        let found: BTreeMap<String, Option<EntityId>> = edges.into_iter().map(|edge| (edge.target, edge.to)).collect();
        let expected: BTreeMap<String, Option<EntityId>> = model.members[&at]
            .iter()
            .map(|n| (Ref::Key(Kind::User, format!("{source}-{n}")).stored(), ids.get(&(at, *n)).copied()))
            .collect();
        assert_eq!(found, expected, "step {step}: members by {source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_the_store_ends_where_the_model_ends_and_saying_it_again_writes_nothing() {
    both(|db| async move {
        let world = three(db);
        let random = Clock::fixed(Millis(0), 20_260_921);
        let mut model = Model::default();
        for step in 0..150 {
            let source = random.below(3) as usize;
            let records: Vec<Record> = (0..=random.below(4)).map(|_| word(&random, &mut model, source)).collect();
            world.cx.clock.advance(10);
            let applied = world.apply(SOURCES[source], records).await;
            assert_eq!(applied.refused().count(), 0, "step {step}");
            compare(&world, &model, step).await;
        }
        let before = dump(&world.db).await;
        for ((person, source), said) in &model.said {
            let mut desired = says(Kind::User, &format!("{}-{person}", SOURCES[*source]), json!({}));
            desired.attributes = said.clone();
            world.cx.clock.advance(10);
            world.apply(SOURCES[*source], vec![present(desired)]).await;
        }
        assert_eq!(dump(&world.db).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b8_eight_writers_at_once_lose_nothing_and_make_nobody_twice() {
    both(|db| async move {
        let world = std::sync::Arc::new(World::new(db));
        let tasks: Vec<_> = (0..8)
            .map(|writer: u64| {
                let world = std::sync::Arc::clone(&world);
                tokio::spawn(async move {
                    let source = if writer.is_multiple_of(2) { "ldap" } else { "hr" };
                    for n in 0..10_u64 {
                        // Every writer adds its own attribute to the same people, and a person of its own.
                        let mut shared = says(Kind::User, &format!("s{n}"), json!({"userName": format!("s{n}")}));
                        shared.write = Write::Merge;
                        shared.attributes.insert(format!("by{writer}"), json!(n));
                        let own =
                            says(Kind::User, &format!("{writer}-{n}"), json!({"userName": format!("{writer}-{n}")}));
                        put(&world, source, vec![present(shared), present(own)]).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut read = world.db.read().await.unwrap();
        for n in 0..10 {
            let held =
                store::assertion::by_key(&mut read, "ldap", Kind::User, &format!("s{n}")).await.unwrap().unwrap();
            let doc = store::entity::by_id(&mut read, held.entity).await.unwrap().unwrap().doc;
            for writer in 0..8 {
                assert_eq!(doc.get(&format!("by{writer}")), Some(&json!(n)), "s{n}: {doc:?}");
            }
        }
        let count: i64 = read.one("SELECT count(*) FROM entity", Vec::new()).await.unwrap().get(0).unwrap();
        assert_eq!(count, 90);
    })
    .await;
}

/// As callers do: what met another change is tried again.
async fn put(world: &World, source: &str, records: Vec<Record>) {
    for _ in 0..50 {
        let mut tx = world.db.write().await.unwrap();
        let policy = world.cx.policies.get(source).unwrap();
        match apply(&mut tx, &world.cx, policy, records.clone()).await {
            Ok(applied) => {
                assert_eq!(applied.refused().count(), 0, "{:?}", applied.outcomes);
                return tx.commit().await.unwrap();
            }
            Err(error) => assert!(error.may_be_tried_again(), "{error}"),
        }
    }
    panic!("always another came first");
}
