//! Licences through the engine, on both databases: who gets the last seat, who waits, what is kept and what is freed.
//! Only for tests. Start with `Office`.

use std::sync::Arc;

use serde_json::json;

use super::apply;
use super::apply_tests::{World, policy, present, user};
use super::context::{Context, Policies};
use super::licence::{expire, order_seats};
use crate::clock::Clock;
use crate::config::licences::built_in;
use crate::model::desired::{Desired, Ref, Targets};
use crate::model::entity::{State, urn};
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::licence::LicenceState;
use crate::model::source::SourceKind;
use crate::model::time::Millis;
use crate::store::licence::{self as rows, Held, Pool};
use crate::store::testing::both;
use crate::store::{self, Db, Session, values};

/// One company and its people, told by one source.
struct Office {
    world: World,
    company: EntityId,
}

impl Office {
    async fn new(db: Db, services: &[&str], tier: &str) -> Office {
        let policies = Policies::new([policy("hr", SourceKind::Push, 10)]).with_catalogue(built_in());
        let clock = Clock::fixed(Millis(1_790_000_000_000), 1);
        let world = World { db, cx: Context::new(clock, Arc::new(policies), "source:hr") };
        let company = Office::ordered(&world, services, tier).await;
        Office { world, company }
    }

    async fn ordered(world: &World, services: &[&str], tier: &str) -> EntityId {
        let attributes = json!({"displayName": "Acme", "services": services, "tier": tier});
        world.one("hr", super::apply_tests::says(Kind::Company, "acme", attributes)).await
    }

    fn agent(login: &str, licence: Option<&str>) -> Desired {
        let mut desired = user(login, login);
        if let Some(licence) = licence {
            desired.attributes.insert(urn::AGENT.to_owned(), json!({"licence": licence}));
        }
        let acme = Ref::Key(Kind::Company, "acme".to_owned());
        desired.relations.insert(Rel::BelongsTo, Targets::Whole(vec![acme.into()]));
        desired
    }

    async fn wants(&self, login: &str, licence: &str) -> Held {
        self.says(Office::agent(login, Some(licence))).await
    }

    async fn says(&self, desired: Desired) -> Held {
        let id = self.world.one("hr", desired).await;
        self.row(id).await.expect("a row")
    }

    async fn row(&self, id: EntityId) -> Option<Held> {
        rows::of(&mut self.world.db.read().await.unwrap(), id).await.unwrap()
    }

    async fn seats(&self, product: &str, total: i64) {
        let product = built_in().product(product).unwrap();
        let mut tx = self.world.db.write().await.unwrap();
        order_seats(&mut tx, &self.world.cx, self.company, &product, total).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn pool(&self, product: &str) -> Pool {
        let pools = rows::pools(&mut self.world.db.read().await.unwrap(), Some(self.company)).await.unwrap();
        pools.into_iter().find(|pool| pool.product == product).expect("a pool")
    }

    async fn expire(&self) {
        let mut tx = self.world.db.write().await.unwrap();
        expire(&mut tx, &self.world.cx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Who must be told what of, and how many changes of each.
    async fn raised(&self) -> Vec<(String, i64)> {
        let mut tx = self.world.db.write().await.unwrap();
        store::event::fold(&mut tx, 100, || self.world.cx.clock.uuid().to_string()).await.unwrap();
        let events = store::event::list(&mut tx, true, None, 100).await.unwrap();
        for (event, _) in &events {
            store::event::acknowledge(&mut tx, &event.id, None, "test", Millis(0)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut all: Vec<_> = events.into_iter().map(|(event, _)| (event.label, event.changes)).collect();
        all.sort();
        all
    }

    async fn journal(&self) -> i64 {
        let mut read = self.world.db.read().await.unwrap();
        read.one("SELECT count(*) FROM journal", values![]).await.unwrap().get(0).unwrap()
    }
}

fn shown(row: &Held) -> (LicenceState, Option<&str>) {
    (row.state, row.held.as_deref())
}

const EVERYTHING: [&str; 2] = ["pbx", "helpdesk"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r93_of_a_hundred_claims_of_the_last_seat_one_wins() {
    both(|db| async move {
        let office = Arc::new(Office::new(db, &EVERYTHING, "PROFI").await);
        office.seats("callcentrum", 1).await;
        let claim = |office: Arc<Office>, n: usize| async move {
            let record = || present(Office::agent(&format!("agent{n}"), Some("Callcentrum PROFI")));
            let cx = office.world.cx.clone();
            for _ in 0..50 {
                let mut tx = office.world.db.write().await.unwrap();
                match apply(&mut tx, &cx, cx.policies.get("hr").unwrap(), vec![record()]).await {
                    Ok(applied) => {
                        tx.commit().await.unwrap();
                        return applied.outcomes[0].entity.unwrap();
                    }
                    Err(error) if error.may_be_tried_again() => {}
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("no turn in fifty")
        };
        let tasks: Vec<_> = (0..100).map(|n| tokio::spawn(claim(office.clone(), n))).collect();
        let mut states = Vec::new();
        for task in tasks {
            states.push(office.row(task.await.unwrap()).await.unwrap().state);
        }
        let won = states.iter().filter(|state| **state == LicenceState::Active).count();
        let waiting = states.iter().filter(|state| **state == LicenceState::Waiting).count();
        assert_eq!((won, waiting, office.pool("callcentrum").await.used), (1, 99, 1));
    })
    .await;
}

#[tokio::test]
async fn r94_waiting_is_first_come_first_served_and_tried_at_every_release() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        office.seats("callcentrum", 1).await;
        assert_eq!(
            shown(&office.wants("eva", "Callcentrum PROFI").await),
            (LicenceState::Active, Some("Callcentrum PROFI"))
        );
        let mut waiting = Vec::new();
        for login in ["zora", "adam"] {
            office.world.cx.clock.advance(1000);
            let row = office.wants(login, "callcentrum").await;
            assert_eq!(shown(&row), (LicenceState::Waiting, None));
            assert_eq!(row.reasons, r#"[{"code":"pool_empty","product":"callcentrum"}]"#);
            waiting.push(row.entity);
        }
        // Eva gives hers back: Zora came before Adam, who comes before a newcomer.
        office.says_nothing("eva").await;
        assert_eq!(office.row(waiting[0]).await.unwrap().state, LicenceState::Active);
        assert_eq!(office.row(waiting[1]).await.unwrap().state, LicenceState::Waiting);
        office.seats("callcentrum", 2).await;
        assert_eq!(office.row(waiting[1]).await.unwrap().state, LicenceState::Active);
        // A shrinking pool evicts nobody, and nobody new gets in.
        office.seats("callcentrum", 1).await;
        assert_eq!(office.row(waiting[1]).await.unwrap().state, LicenceState::Active);
        assert_eq!(office.pool("callcentrum").await.used, 2);
        assert_eq!(office.wants("nina", "callcentrum").await.state, LicenceState::Waiting);
    })
    .await;
}

impl Office {
    async fn says_nothing(&self, login: &str) {
        let id = self.world.one("hr", Office::agent(login, None)).await;
        assert_eq!(self.row(id).await, None);
    }
}

#[tokio::test]
async fn r94_deactivation_frees_the_seat_after_the_grace() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        office.seats("helpdesk-mini", 1).await;
        let eva = office.wants("eva", "Helpdesk MINI").await.entity;
        let adam = office.wants("adam", "Helpdesk MINI").await.entity;
        let inactive = |on: bool| {
            let mut desired = Office::agent("eva", Some("Helpdesk MINI"));
            desired.attributes.insert("active".to_owned(), json!(on));
            desired
        };
        let row = office.says(inactive(false)).await;
        assert_eq!(shown(&row), (LicenceState::Active, Some("Helpdesk MINI")));
        assert_eq!(row.free_at, Some(office.world.cx.clock.now().plus(30 * Millis::DAY)));
        office.world.cx.clock.advance(29 * Millis::DAY);
        office.expire().await;
        assert_eq!(office.row(adam).await.unwrap().state, LicenceState::Waiting);
        // Back in time: nothing was lost, and the clock starts anew.
        assert_eq!(office.says(inactive(true)).await.free_at, None);
        office.says(inactive(false)).await;
        office.world.cx.clock.advance(30 * Millis::DAY);
        office.expire().await;
        assert_eq!(shown(&office.row(eva).await.unwrap()), (LicenceState::Reclaimed, None));
        assert_eq!(office.row(adam).await.unwrap().state, LicenceState::Active);
        // Reactivation asks for a seat like everybody else.
        assert_eq!(office.says(inactive(true)).await.state, LicenceState::Waiting);
        assert_eq!(office.pool("helpdesk-mini").await.used, 1);
    })
    .await;
}

#[tokio::test]
async fn r49_deletion_frees_the_seat_at_once() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        office.seats("callcentrum-mini", 1).await;
        let eva = office.wants("eva", "Callcentrum MINI").await.entity;
        let adam = office.wants("adam", "Callcentrum MINI").await.entity;
        let mut tx = office.world.db.write().await.unwrap();
        let before = rows::lock(&mut tx, &[eva]).await.unwrap();
        assert_eq!(before[&eva].state, LicenceState::Active);
        store::world::stand_id(&mut tx, eva, false, State::Tombstone).await;
        super::licence::settle(&mut tx, &built_in(), Millis(0), &[eva], &[]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(office.row(eva).await, None);
        assert_eq!(office.row(adam).await.unwrap().state, LicenceState::Active);
        assert_eq!(office.pool("callcentrum-mini").await.used, 1);
    })
    .await;
}

#[tokio::test]
async fn r47_r48_a_refused_wish_changes_nothing_that_is_held() {
    both(|db| async move {
        let office = Office::new(db, &["helpdesk"], "PROFI").await;
        office.wants("eva", "Helpdesk PROFI").await;
        let row = office.wants("eva", "Callcentrum START").await;
        assert_eq!(shown(&row), (LicenceState::TransitionNotAllowed, Some("Helpdesk PROFI")));
        let reasons: serde_json::Value = serde_json::from_str(&row.reasons).unwrap();
        let codes: Vec<&str> = reasons.as_array().unwrap().iter().filter_map(|r| r["code"].as_str()).collect();
        assert_eq!(codes, ["missing_service", "tier_mismatch", "transition_not_allowed"]);
        assert_eq!(reasons[2]["allowed"], json!(["Omnichannel PROFI"]));
        let row = office.wants("eva", "Helpdesk PROFI").await;
        assert_eq!(shown(&row), (LicenceState::Active, Some("Helpdesk PROFI")));
    })
    .await;
}

#[tokio::test]
async fn r40_an_upgrade_moves_the_seat_and_waits_with_the_old_one() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "START").await;
        office.seats("callcentrum-mini", 1).await;
        office.seats("omnichannel", 0).await;
        let eva = office.wants("eva", "Callcentrum MINI").await.entity;
        let adam = office.wants("adam", "Callcentrum MINI").await.entity;
        let row = office.wants("eva", "Omnichannel START").await;
        assert_eq!(shown(&row), (LicenceState::Waiting, Some("Callcentrum MINI")));
        office.seats("omnichannel", 1).await;
        assert_eq!(shown(&office.row(eva).await.unwrap()), (LicenceState::Active, Some("Omnichannel START")));
        assert_eq!(office.row(adam).await.unwrap().state, LicenceState::Active, "the old seat went on at once");
        assert_eq!((office.pool("omnichannel").await.used, office.pool("callcentrum-mini").await.used), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn r21_a_new_tier_of_the_company_renames_what_its_people_hold() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "START").await;
        office.seats("callcentrum", 1).await;
        let eva = office.wants("eva", "Callcentrum START").await.entity;
        let video = office.wants("ota", "Video").await.entity;
        let refused = office.wants("adam", "Callcentrum PROFI").await;
        assert_eq!(refused.state, LicenceState::Blocked);
        Office::ordered(&office.world, &EVERYTHING, "PROFI").await;
        assert_eq!(shown(&office.row(eva).await.unwrap()), (LicenceState::Active, Some("Callcentrum PROFI")));
        assert_eq!(shown(&office.row(video).await.unwrap()), (LicenceState::Active, Some("Video")));
        assert_eq!(office.row(refused.entity).await.unwrap().state, LicenceState::Waiting, "now it fits, but is full");
        assert_eq!(office.pool("callcentrum").await.used, 1);
    })
    .await;
}

#[tokio::test]
async fn r19_r24_an_order_that_comes_later_lets_the_wish_through() {
    both(|db| async move {
        let office = Office::new(db, &[], "PROFI").await;
        let row = office.wants("eva", "Omnichannel PROFI").await;
        assert_eq!(row.state, LicenceState::Blocked);
        assert_eq!(row.reasons, r#"[{"code":"missing_service","services":["helpdesk","pbx"]}]"#);
        Office::ordered(&office.world, &EVERYTHING, "PROFI").await;
        assert_eq!(office.row(row.entity).await.unwrap().state, LicenceState::Active);
        // What is held stays when a service goes, and says so.
        Office::ordered(&office.world, &["pbx"], "PROFI").await;
        let row = office.row(row.entity).await.unwrap();
        assert_eq!(shown(&row), (LicenceState::Blocked, Some("Omnichannel PROFI")));
    })
    .await;
}

#[tokio::test]
async fn r1_r5_a_client_or_an_incomplete_account_takes_no_licence() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        let mut client = Office::agent("klara", Some("Video"));
        client.realm = Some(Realm::Client);
        client.attributes.insert("displayName".to_owned(), json!("Klára"));
        let row = office.says(client).await;
        assert_eq!(
            (shown(&row), row.reasons.as_str()),
            ((LicenceState::Blocked, None), r#"[{"code":"not_an_agent"}]"#)
        );
        let mut incomplete = Office::agent("petr", Some("Video"));
        incomplete.attributes.remove("name");
        let row = office.says(incomplete).await;
        assert_eq!((shown(&row), row.reasons.as_str()), ((LicenceState::Blocked, None), r#"[{"code":"incomplete"}]"#));
    })
    .await;
}

#[tokio::test]
async fn b5_saying_the_same_again_writes_nothing() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        office.seats("video", 1).await;
        let first = office.wants("eva", "Video").await;
        let second = office.wants("adam", "Video").await;
        let journal = office.journal().await;
        office.world.cx.clock.advance(5000);
        office.seats("video", 1).await;
        assert_eq!(office.wants("eva", "Video").await, first);
        assert_eq!(office.wants("adam", "Video").await, second);
        Office::ordered(&office.world, &EVERYTHING, "PROFI").await;
        assert_eq!(office.journal().await, journal);
        let run =
            store::journal::of_entity(&mut office.world.db.read().await.unwrap(), first.entity, 0, 10).await.unwrap();
        let ops: Vec<&str> = run.iter().map(|entry| entry.change.op.as_str()).collect();
        assert!(ops.contains(&"licence"), "{ops:?}");
    })
    .await;
}

#[tokio::test]
async fn r37_whose_licence_comes_or_goes_by_what_others_do_is_a_change_of_its_exchange_too() {
    both(|db| async move {
        let office = Office::new(db, &EVERYTHING, "PROFI").await;
        office.seats("callcentrum", 1).await;
        let agent = |login: &str, pbx: &str| {
            let mut agent = Office::agent(login, Some("Callcentrum PROFI"));
            agent.attributes[urn::AGENT]["pbx"] = json!(pbx);
            agent
        };
        office.says(agent("eva", "east")).await;
        office.says(agent("wim", "West")).await;
        assert_eq!(office.raised().await, [("West".to_owned(), 1), ("east".to_owned(), 1)]);
        office.says(agent("eva", "east")).await;
        assert_eq!(office.raised().await, [], "nothing changed");
        office.seats("callcentrum", 2).await;
        assert_eq!(office.raised().await, [("West".to_owned(), 1)], "who waited has a licence now");
        // No service any more: both lose what rested on it, without a word about either.
        Office::ordered(&office.world, &["helpdesk"], "PROFI").await;
        let after = office.raised().await;
        assert_eq!(after, [("West".to_owned(), 1), ("east".to_owned(), 1)]);
        let mut client = user("c", "c");
        client.realm = Some(Realm::Client);
        client.attributes.insert(urn::AGENT.to_owned(), json!({"pbx": "none of ours"}));
        office.world.one("hr", client).await;
        assert_eq!(office.raised().await, []);
    })
    .await;
}
