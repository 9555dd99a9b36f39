//! The engine by single batches, on both databases: what one source says, what two say, what goes and comes back.
//! Only for tests. Start with `World`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::context::{Context, Policies};
use super::{Applied, Refusal, apply};
use crate::clock::Clock;
use crate::model::change::Op;
use crate::model::desired::{Desired, Record, Ref, Targets, Write};
use crate::model::document::Document;
use crate::model::entity::{Entity, State};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::source::{Absence, Guard, MatchRule, SourceKind, SourcePolicy};
use crate::model::time::Millis;
use crate::store::testing::both;
use crate::store::{self, Db};

pub fn policy(name: &str, kind: SourceKind, priority: i64) -> SourcePolicy {
    SourcePolicy {
        name: name.to_owned(),
        kind,
        realm: Some(Realm::Agent),
        company: None,
        priority,
        match_rules: vec![MatchRule::Login],
        guard: Guard::default(),
        absence: Absence::Disable,
        invite: false,
        union: std::collections::BTreeSet::default(),
        protected: std::collections::BTreeSet::default(),
    }
}

pub fn doc(value: Value) -> Document {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

pub fn says(kind: Kind, key: &str, attributes: Value) -> Desired {
    Desired {
        kind,
        key: key.to_owned(),
        realm: None,
        alias: None,
        attributes: doc(attributes),
        write: Write::Whole,
        relations: std::collections::BTreeMap::default(),
        digest: None,
    }
}

pub fn user(key: &str, login: &str) -> Desired {
    says(
        Kind::User,
        key,
        json!({"userName": login, "name": {"givenName": "Eva", "familyName": "Nova"}, "emails": [{"value": format!("{login}@x.cz")}]}),
    )
}

pub fn present(desired: Desired) -> Record {
    Record::Present(Box::new(desired))
}

/// A store with three sources: `hr` is believed most, then `ldap`, then `idp`; and the operator above all.
pub struct World {
    pub db: Db,
    pub cx: Context,
}

impl World {
    pub fn new(db: Db) -> World {
        World::with(
            db,
            vec![
                policy("hr", SourceKind::Push, 30),
                policy("ldap", SourceKind::Ldap, 20),
                policy("idp", SourceKind::Scim, 10),
                policy("operator", SourceKind::Operator, 100),
            ],
        )
    }

    pub fn with(db: Db, policies: Vec<SourcePolicy>) -> World {
        let clock = Clock::fixed(Millis(1_790_000_000_000), 1);
        World { db, cx: Context::new(clock, Arc::new(Policies::new(policies)), "source:test") }
    }

    pub async fn apply(&self, source: &str, records: Vec<Record>) -> Applied {
        let mut tx = self.db.write().await.unwrap();
        let policy = self.cx.policies.get(source).unwrap();
        let applied = apply(&mut tx, &self.cx, policy, records).await.unwrap();
        tx.commit().await.unwrap();
        applied
    }

    pub async fn one(&self, source: &str, desired: Desired) -> EntityId {
        let applied = self.apply(source, vec![present(desired)]).await;
        assert_eq!(applied.outcomes[0].refused, None);
        applied.outcomes[0].entity.unwrap()
    }

    pub async fn gone(&self, source: &str, kind: Kind, key: &str) -> Applied {
        self.apply(source, vec![Record::Gone { kind, key: key.to_owned() }]).await
    }

    pub async fn get(&self, id: EntityId) -> Entity {
        store::entity::by_id(&mut self.db.read().await.unwrap(), id).await.unwrap().unwrap()
    }

    pub async fn members(&self, group: EntityId) -> Vec<Option<EntityId>> {
        let mut read = self.db.read().await.unwrap();
        let edges = store::edge::from_any(&mut read, &[group]).await.unwrap();
        let mut members: Vec<Option<EntityId>> = edges.into_iter().map(|edge| edge.to).collect();
        members.sort_unstable_by(|a, b| b.cmp(a));
        members
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_what_is_said_again_writes_nothing() {
    both(|db| async move {
        let world = World::new(db);
        let first = world.apply("ldap", vec![present(user("k1", "eva"))]).await;
        assert_eq!(first.changes.len(), 1);
        assert_eq!(first.changes[0].op, Op::Create);
        let id = first.outcomes[0].entity.unwrap();
        let entity = world.get(id).await;
        assert_eq!((entity.version, entity.active, entity.state), (1, true, State::Live));
        let held = store::assertion::of_entity(&mut world.db.read().await.unwrap(), id).await.unwrap();
        assert_eq!(held[0].doc, None, "what a single source says is written once");

        world.cx.clock.advance(5_000);
        let again = world.apply("ldap", vec![present(user("k1", "eva"))]).await;
        assert!(again.changes.is_empty() && !again.wake && again.run.is_none());
        assert_eq!(again.outcomes[0].entity, Some(id));
        assert_eq!(world.get(id).await, entity);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_merged_leaf_by_leaf_and_the_lower_one_comes_back() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let mut other = user("h1", "eva");
        other.attributes = doc(json!({"userName": "EVA", "name": {"familyName": "Dvorakova"}, "title": "Dr"}));
        let attached = world.one("hr", other).await;
        assert_eq!(attached, id, "found by its login");
        let entity = world.get(id).await;
        assert_eq!(entity.doc["name"], json!({"familyName": "Dvorakova", "givenName": "Eva"}));
        assert_eq!((entity.doc["userName"].clone(), entity.version), (json!("EVA"), 2));

        let gone = world.gone("hr", Kind::User, "h1").await;
        assert_eq!(gone.changes[0].op, Op::Release);
        let entity = world.get(id).await;
        assert_eq!(entity.doc, doc(json!({"userName": "eva", "name": {"givenName": "Eva", "familyName": "Nova"}, "emails": [{"value": "eva@x.cz"}]})));
        assert!(entity.active && !entity.doc.contains_key("title"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r71_who_is_held_by_nobody_is_disabled_and_comes_back_as_the_same() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let gone = world.gone("ldap", Kind::User, "k1").await;
        assert_eq!(gone.changes[0].op, Op::Disable);
        let entity = world.get(id).await;
        assert!(!entity.active && entity.state == State::Live && entity.doc["userName"] == json!("eva"));
        assert!(world.gone("ldap", Kind::User, "k1").await.changes.is_empty(), "gone is gone");
        assert_eq!(world.one("ldap", user("k1", "eva")).await, id);
        assert!(world.get(id).await.active);
        // Made anew in the directory, under another key: still the same person.
        world.gone("ldap", Kind::User, "k1").await;
        assert_eq!(world.one("ldap", user("k2", "eva")).await, id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r72_a_deleted_person_is_a_tombstone_and_no_sync_brings_it_back() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let gone = world.gone("operator", Kind::User, &id.to_string()).await;
        assert_eq!(gone.changes[0].op, Op::Delete);
        assert_eq!(world.get(id).await.state, State::Tombstone);
        let again = world.apply("ldap", vec![present(user("k1", "eva"))]).await;
        assert_eq!(again.outcomes[0].refused, Some(Refusal::Deleted));
        assert!(again.changes.is_empty());

        // SCIM: gone for its source, the login is free again.
        let key = world.cx.clock.entity_id().to_string();
        let first = world.one("idp", user(&key, "eva")).await;
        assert_eq!(first.to_string(), key, "an id of ours, made by the caller");
        world.gone("idp", Kind::User, &key).await;
        assert_eq!(world.get(first).await.state, State::Tombstone);
        let key = world.cx.clock.entity_id().to_string();
        assert_ne!(world.one("idp", user(&key, "eva")).await, first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_are_unique_per_realm_and_can_be_swapped_in_a_batch() {
    both(|db| async move {
        let mut rules = vec![policy("ldap", SourceKind::Ldap, 20), policy("other", SourceKind::Ldap, 10)];
        for policy in &mut rules {
            policy.match_rules.clear();
        }
        let world = World::with(db, rules);
        let a = world.one("ldap", user("a", "anna")).await;
        let b = world.one("ldap", user("b", "berta")).await;
        let refused = world.apply("other", vec![present(user("x", "ANNA")), present(user("y", "cecil"))]).await;
        assert_eq!(
            refused.outcomes[0].refused,
            Some(Refusal::LoginTaken { login: "anna".to_owned(), owner: Some(a), let_go: false, had: None })
        );
        assert_eq!(refused.outcomes[1].refused, None, "one bad record stops nobody else");

        let swapped = world.apply("ldap", vec![present(user("a", "berta")), present(user("b", "anna"))]).await;
        assert!(swapped.refused().next().is_none());
        assert_eq!(world.get(a).await.login_key.as_deref(), Some("berta"));
        assert_eq!(world.get(b).await.login_key.as_deref(), Some("anna"));

        let twins = world.apply("ldap", vec![present(user("c", "dora")), present(user("d", "Dora"))]).await;
        assert_eq!(twins.refused().count(), 1);
        let mut client = user("e", "dora");
        client.realm = Some(Realm::Client);
        assert_eq!(world.apply("ldap", vec![present(client)]).await.refused().count(), 0, "realms never meet");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relations_are_per_source_and_wait_for_their_ends() {
    both(|db| async move {
        let world = World::new(db);
        let member = |to: &str| Ref::Alias(to.to_owned()).into();
        let mut group = says(Kind::Group, "g1", json!({"displayName": "Staff"}));
        group.relations.insert(Rel::Member, Targets::Whole(vec![member("cn=eva"), member("cn=jan")]));
        let g = world.one("ldap", group.clone()).await;
        assert_eq!(world.members(g).await, [None, None]);

        let mut eva = user("k1", "eva");
        eva.alias = Some("cn=eva".to_owned());
        let id = world.one("ldap", eva.clone()).await;
        assert_eq!(world.members(g).await, [Some(id), None]);
        assert!(world.apply("ldap", vec![present(group.clone())]).await.changes.is_empty());

        // A rename in the directory: the same person, still a member, and nothing to tell.
        eva.alias = Some("cn=eva2".to_owned());
        world.one("ldap", eva).await;
        group.relations.insert(Rel::Member, Targets::Whole(vec![member("cn=eva2"), member("cn=jan")]));
        assert!(world.apply("ldap", vec![present(group.clone())]).await.changes.is_empty());

        // Another source adds and takes away rows of its own only.
        let delta = |add: Vec<Ref>, remove: Vec<Ref>| {
            let mut desired = says(Kind::Group, &g.to_string(), json!({}));
            desired.write = Write::Merge;
            let targets = |refs: Vec<Ref>| refs.into_iter().map(Into::into).collect();
            desired.relations.insert(Rel::Member, Targets::Delta { add: targets(add), remove: targets(remove) });
            desired
        };
        let linked = world.apply("idp", vec![present(delta(vec![Ref::Id(id)], vec![]))]).await;
        assert_eq!(linked.changes.len(), 1);
        assert!(world.apply("idp", vec![present(delta(vec![Ref::Id(id)], vec![]))]).await.changes.is_empty());
        group.relations.insert(Rel::Member, Targets::Whole(vec![]));
        let unlinked = world.apply("ldap", vec![present(group)]).await;
        assert_eq!(unlinked.changes[0].op, Op::Unlink);
        assert_eq!(world.members(g).await, [Some(id)]);
        let unlinked = world.apply("idp", vec![present(delta(vec![], vec![Ref::Id(id)]))]).await;
        assert_eq!(unlinked.changes[0].op, Op::Unlink);
        assert!(world.members(g).await.is_empty());
    })
    .await;
}
