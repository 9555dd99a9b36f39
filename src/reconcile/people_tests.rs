//! What the engine holds true of people, on both databases: realms, profiles, logins, known addresses, blocks, guards of
//! calls. Only for tests.

use std::collections::BTreeSet;

use serde_json::json;

use super::apply_tests::{World, doc, policy, present, says, user};
use super::{Error, Refusal, apply, block};
use crate::model::change::Op;
use crate::model::desired::{Desired, Record, Write};
use crate::model::entity::State;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm};
use crate::model::source::{MatchRule, SourceKind, SourcePolicy};
use crate::store;
use crate::store::testing::{both, dump};

fn client(key: &str, login: &str, title: Option<&str>) -> Desired {
    let mut desired = says(Kind::User, key, json!({"userName": login}));
    desired.realm = Some(Realm::Client);
    if let Some(title) = title {
        desired.attributes.insert("displayName".to_owned(), json!(title));
    }
    desired
}

fn by_email(name: &str, kind: SourceKind) -> SourcePolicy {
    SourcePolicy { match_rules: vec![MatchRule::EmployeeNumber, MatchRule::Email], ..policy(name, kind, 10) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_realms_never_meet() {
    both(|db| async move {
        let world = World::new(db);
        let agent = world.one("ldap", user("k1", "eva")).await;
        let other = world.one("ldap", client("k2", "eva", Some("Eva"))).await;
        assert_ne!(agent, other, "the same login in another realm is another account");
        let refused = world.apply("ldap", vec![present(client("k1", "eva", Some("Eva")))]).await;
        assert_eq!(refused.outcomes[0].refused, Some(Refusal::OtherRealm), "an account never changes its realm");
        let refused = world.apply("idp", vec![present(user(&other.to_string(), "eva"))]).await;
        assert_eq!(refused.outcomes[0].refused, Some(Refusal::NotFound), "what lies outside does not exist");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_too_little_from_a_source_is_kept_incomplete_and_refused_from_an_operator() {
    both(|db| async move {
        let world = World::new(db);
        let applied = world.apply("ldap", vec![present(says(Kind::User, "k1", json!({"userName": "eva"})))]).await;
        assert_eq!(applied.outcomes[0].missing, ["name.givenName", "name.familyName", "emails"]);
        assert_eq!(applied.changes[0].after["$missing"], json!(["name.givenName", "name.familyName", "emails"]));
        let id = applied.outcomes[0].entity.unwrap();
        assert_eq!(world.get(id).await.state, State::Incomplete);
        world.one("ldap", user("k1", "eva")).await;
        assert_eq!(world.get(id).await.state, State::Live);

        let key = world.cx.clock.entity_id().to_string();
        let refused = world.apply("operator", vec![present(says(Kind::User, &key, json!({"userName": "jan"})))]).await;
        let fields = ["name.givenName", "name.familyName", "emails"].map(str::to_owned).to_vec();
        assert_eq!(refused.outcomes[0].refused, Some(Refusal::Missing { fields }), "all at once");
        assert!(refused.changes.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_clients_login_never_changes_after_creation() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", client("k1", "firma", Some("Firma"))).await;
        let applied = world.apply("ldap", vec![present(client("k1", "jina", Some("Jina")))]).await;
        assert!(applied.outcomes[0].login_kept);
        let entity = world.get(id).await;
        assert_eq!(
            (entity.doc["userName"].clone(), entity.doc["displayName"].clone()),
            (json!("firma"), json!("Jina"))
        );
        assert_eq!(entity.login_key.as_deref(), Some("firma"));
        let again = world.apply("ldap", vec![present(client("k1", "jina", Some("Jina")))]).await;
        assert!(again.changes.is_empty(), "and it is not asked for again and again");
        world.one("ldap", user("k2", "eva")).await;
        let agent = world.one("ldap", user("k2", "eva.nova")).await;
        assert_eq!(world.get(agent).await.doc["userName"], json!("eva.nova"), "an agent's follows its directory");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r62_a_known_address_gets_no_second_account_and_a_doubtful_one_touches_nobody() {
    both(|db| async move {
        let world = World::with(db, vec![policy("ldap", SourceKind::Ldap, 20), by_email("crm", SourceKind::Crm)]);
        let eva = world.one("ldap", user("k1", "eva")).await;
        let mut same = user("c1", "eva.nova");
        same.attributes.insert("emails".to_owned(), json!([{"value": "EVA@x.CZ"}]));
        assert_eq!(world.one("crm", same).await, eva);
        let mut realm = client("c2", "eva", Some("Eva"));
        realm.attributes.insert("emails".to_owned(), json!([{"value": "eva@x.cz"}]));
        assert_ne!(world.one("crm", realm).await, eva, "within the realm");

        let shared = |key: &str, login: &str| {
            let mut desired = user(key, login);
            desired.attributes.insert("emails".to_owned(), json!([{"value": "info@x.cz"}]));
            desired
        };
        let a = world.one("ldap", shared("k2", "a")).await;
        let b = world.one("ldap", shared("k3", "b")).await;
        let applied = world.apply("crm", vec![present(shared("c3", "c")), present(user("c4", "dora"))]).await;
        let candidates = vec![a.min(b), a.max(b)];
        assert_eq!(applied.outcomes[0].refused, Some(Refusal::Ambiguous { rule: MatchRule::Email, candidates }));
        assert_eq!(applied.outcomes[1].refused, None);
        let twin = world.apply("crm", vec![present(user("c5", "dora"))]).await;
        assert_eq!(twin.outcomes[0].refused, Some(Refusal::HeldByOtherKey { key: "c4".to_owned() }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r62_the_same_address_from_two_sources_at_once_is_one_account() {
    both(|db| async move {
        let sources = vec![by_email("crm", SourceKind::Crm), by_email("shop", SourceKind::Crm)];
        let world = std::sync::Arc::new(World::with(db, sources));
        for n in 0..15 {
            let both_say = ["crm", "shop"].map(|source| {
                let world = std::sync::Arc::clone(&world);
                let mut desired = user(&format!("{source}{n}"), &format!("{source}{n}"));
                desired.attributes.insert("emails".to_owned(), json!([{"value": format!("p{n}@x.cz")}]));
                tokio::spawn(async move {
                    loop {
                        let mut tx = world.db.write().await.unwrap();
                        let policy = world.cx.policies.get(source).unwrap();
                        match apply(&mut tx, &world.cx, policy, vec![present(desired.clone())]).await {
                            Ok(applied) => {
                                tx.commit().await.unwrap();
                                return applied.outcomes[0].entity;
                            }
                            Err(error) => assert!(error.may_be_tried_again(), "{error}"),
                        }
                    }
                })
            });
            let mut ids: BTreeSet<Option<EntityId>> = BTreeSet::new();
            for task in both_say {
                ids.insert(task.await.unwrap());
            }
            assert_eq!(ids.len(), 1, "person {n}: {ids:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r71_the_operators_block_is_lifted_by_no_source() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let set = async |blocked: bool| {
            let mut tx = world.db.write().await.unwrap();
            let operator = world.cx.policies.get("operator").unwrap();
            let change = block(&mut tx, &world.cx, operator, id, blocked).await.unwrap();
            tx.commit().await.unwrap();
            change.map(|change| change.op)
        };
        assert_eq!((set(true).await, set(true).await), (Some(Op::Disable), None));
        let mut eva = user("k1", "eva");
        eva.attributes.insert("active".to_owned(), json!(true));
        eva.attributes.insert("title".to_owned(), json!("Dr"));
        world.one("ldap", eva).await;
        let entity = world.get(id).await;
        assert!(!entity.active && entity.blocked && entity.doc["title"] == json!("Dr"));
        assert_eq!(set(false).await, Some(Op::Enable));
        assert!(world.get(id).await.active);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_calls_that_take_away_are_counted_over_an_hour() {
    both(|db| async move {
        let world = World::new(db);
        let mut keys = Vec::new();
        for n in 0..20 {
            let key = world.cx.clock.entity_id().to_string();
            world.one("idp", user(&key, &format!("u{n}"))).await;
            keys.push(key);
        }
        for key in keys.drain(..4) {
            world.gone("idp", Kind::User, &key).await; // made a moment ago: no loss
        }
        world.cx.clock.advance(2 * 3_600_000);
        let last = keys.pop().unwrap();
        for key in &keys[..5] {
            world.gone("idp", Kind::User, key).await;
        }
        let gone = |key: &str| vec![Record::Gone { kind: Kind::User, key: key.to_owned() }];
        let idp = world.cx.policies.get("idp").unwrap();
        let mut tx = world.db.write().await.unwrap();
        let sixth = apply(&mut tx, &world.cx, idp, gone(&last)).await;
        assert!(matches!(sixth, Err(Error::Held { losses: 6, limit: 5, .. })), "{sixth:?}");
        drop(tx);
        let mut tx = world.db.write().await.unwrap();
        let off = Desired { write: Write::Merge, ..says(Kind::User, &last, json!({"active": false})) };
        assert!(matches!(apply(&mut tx, &world.cx, idp, vec![present(off)]).await, Err(Error::Held { .. })));
        drop(tx);
        world.cx.clock.advance(2 * 3_600_000);
        assert_eq!(world.gone("idp", Kind::User, &last).await.changes.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_who_is_overruled_is_told_and_what_is_joined_is_joined() {
    both(|db| async move {
        let mut policies: Vec<SourcePolicy> =
            vec![policy("ldap", SourceKind::Ldap, 20), policy("idp", SourceKind::Scim, 10)];
        policies[0].union.insert("emails".to_owned());
        let world = World::with(db, policies);
        let id = world.one("ldap", user("k1", "eva")).await;
        let mut says = user(&id.to_string(), "eva");
        says.attributes = doc(json!({
            "name": {"familyName": "Jina"}, "nickName": "E", "externalId": "x-1",
            "emails": [{"value": "EVA@x.cz"}, {"value": "home@x.cz"}],
        }));
        says.write = Write::Merge;
        let applied = world.apply("idp", vec![present(says)]).await;
        let told: Vec<(&str, &str)> =
            applied.outcomes[0].overruled.iter().map(|one| (one.attribute.as_str(), one.owner.as_str())).collect();
        assert_eq!(told, [("emails", "ldap"), ("name.familyName", "ldap")]);
        let entity = applied.entity().unwrap();
        assert_eq!(entity.doc["name"]["familyName"], json!("Nova"));
        assert_eq!(entity.doc["nickName"], json!("E"));
        assert_eq!(entity.doc["emails"], json!([{"value": "eva@x.cz"}, {"value": "home@x.cz"}]));
        assert!(!entity.doc.contains_key("externalId"), "it belongs to its source alone");
        let mut read = world.db.read().await.unwrap();
        let own = store::assertion::by_key(&mut read, "idp", Kind::User, &id.to_string()).await.unwrap().unwrap();
        assert_eq!(own.external_id.as_deref(), Some("x-1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_an_overruled_call_is_kept_and_shows_nowhere() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let before = world.get(id).await;
        let says = |family: &str| {
            let mut says = says(Kind::User, &id.to_string(), json!({"name": {"familyName": family}}));
            says.write = Write::Merge;
            vec![present(says)]
        };
        for family in ["Jina", "Jiná"] {
            world.cx.clock.advance(1_000);
            let applied = world.apply("idp", says(family)).await;
            assert_eq!((applied.changes.len(), applied.run, applied.wake), (0, None, false));
            assert_eq!((applied.outcomes[0].changed, applied.outcomes[0].version), (false, before.version));
            assert_eq!(applied.outcomes[0].overruled[0].owner, "ldap");
            assert_eq!(world.get(id).await, before);
            let dumped = dump(&world.db).await;
            world.cx.clock.advance(1_000);
            world.apply("idp", says(family)).await;
            assert_eq!(dump(&world.db).await, dumped, "said again, it writes nothing");
        }
        // The word was kept: it shows, with a version, once nobody is believed more.
        world.gone("ldap", Kind::User, "k1").await;
        let after = world.get(id).await;
        assert_eq!((after.doc["name"]["familyName"].clone(), after.active), (json!("Jiná"), true));
        assert!(after.version > before.version);

        // Whom nobody holds any more is held again by such a word, and that is a change.
        let id = world.one("ldap", user("k2", "jan")).await;
        world
            .one("ldap", {
                let mut off = user("k2", "jan");
                off.attributes.insert("active".to_owned(), json!(false));
                off
            })
            .await;
        world.gone("ldap", Kind::User, "k2").await;
        let before = world.get(id).await;
        let mut again = says_of(id, json!({"name": {"familyName": "Nova"}, "active": false}));
        again.write = Write::Merge;
        world.apply("idp", vec![present(again)]).await;
        assert!(world.get(id).await.version > before.version);
    })
    .await;
}

fn says_of(id: EntityId, attributes: serde_json::Value) -> Desired {
    says(Kind::User, &id.to_string(), attributes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protected_accounts_are_touched_by_no_source_that_may_not() {
    both(|db| async move {
        let mut ldap = policy("ldap", SourceKind::Ldap, 20);
        ldap.protected.insert("root".to_owned());
        let world = World::with(db, vec![ldap, policy("operator", SourceKind::Operator, 100)]);
        let key = world.cx.clock.entity_id().to_string();
        let root = world.one("operator", user(&key, "root")).await;
        let before = world.get(root).await;
        for login in ["root", "ROOT"] {
            let applied = world.apply("ldap", vec![present(user("k1", login))]).await;
            assert_eq!(applied.outcomes[0].refused, Some(Refusal::Protected { login: "root".to_owned() }));
        }
        assert_eq!(world.get(root).await, before);
    })
    .await;
}

/// A correction by hand is a remark about somebody whom the directory brought. It must not keep a leaver's account alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r71_a_remark_of_the_operator_keeps_nobody_whom_the_directory_let_go() {
    both(|db| async move {
        let world = World::new(db);
        let id = world.one("ldap", user("k1", "eva")).await;
        let mut remark = says(Kind::User, &id.to_string(), json!({"title": "Dr"}));
        remark.write = Write::Merge;
        assert_eq!(world.one("operator", remark).await, id);
        assert!(world.get(id).await.active);
        let gone = world.gone("ldap", Kind::User, "k1").await;
        assert_eq!(gone.changes[0].op, Op::Disable);
        assert!(!world.get(id).await.active);
        world.one("ldap", user("k1", "eva")).await;
        let back = world.get(id).await;
        assert!(back.active && back.doc["title"] == json!("Dr"), "the remark stays for the day of the return");

        // Whom the operator made, nobody else can end by saying so.
        let key = world.cx.clock.entity_id().to_string();
        let own = world.one("operator", user(&key, "own")).await;
        world.gone("idp", Kind::User, &own.to_string()).await;
        assert!(world.get(own).await.active);
    })
    .await;
}
