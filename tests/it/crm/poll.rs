//! The sample helpdesk polled into the store, on both databases: what becomes of contacts, companies and tickets, who sees
//! what through them, and that nothing is taken away by a read that was not complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use musterd::clock::Clock;
use musterd::config::crm::Crm;
use musterd::model::desired::{Desired, Record, Ref, Targets, Write};
use musterd::model::id::EntityId;
use musterd::model::kind::{Kind, Realm, Rel};
use musterd::model::source::{Absence, Guard, SourceKind, SourcePolicy};
use musterd::model::time::Millis;
use musterd::model::visibility::decide;
use musterd::reconcile::{self, Context, End, Mode, Policies, Report};
use musterd::sources::crm::{Ready, read};
use musterd::store::db::Options;
use musterd::store::{Db, Session, names, source_state, visibility};
use serde_json::json;

use super::desk::{Served, long_ago, now, rt5, sample, serve, user};
use crate::support::daemon::Which;
use crate::support::{both, postgres};

fn policy(name: &str, kind: SourceKind) -> SourcePolicy {
    SourcePolicy {
        name: name.to_owned(),
        kind,
        realm: Some(Realm::Client),
        company: None,
        priority: 100,
        match_rules: Vec::new(),
        guard: Guard::default(),
        absence: Absence::Disable,
        invite: false,
        union: BTreeSet::new(),
        protected: BTreeSet::new(),
    }
}

/// A store, an engine and one polled helpdesk.
struct Story {
    db: Db,
    cx: Context,
    settings: Crm,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Story {
    async fn new(which: Which, served: &Served) -> Story {
        let folder = tempfile::tempdir().unwrap();
        let url = match which {
            Which::Sqlite => format!("sqlite://{}", folder.path().join("musterd.db").display()),
            Which::Postgres => postgres::create(None).await.url,
        };
        let db = Db::open(&Options::new(url)).await.unwrap();
        db.migrate(now()).await.unwrap();
        let clock = Clock::fixed(now(), 3);
        let policies = Policies::new([policy("desk", SourceKind::Crm), policy("operator", SourceKind::Operator)]);
        let cx = Context::new(clock.clone(), Arc::new(policies), "source:desk");
        Story { db, cx, settings: rt5(&served.url), clock, _folder: folder }
    }

    async fn cursor(&self) -> Option<String> {
        let mut session = self.db.read().await.unwrap();
        source_state::by_name(&mut session, "desk").await.unwrap().and_then(|state| state.cursor)
    }

    async fn run(&self, mode: Mode) -> Report {
        let known = Arc::new(reconcile::known(&self.db, "desk").await.unwrap());
        let (out, chunks) = tokio::sync::mpsc::channel(2);
        let ready = Ready::compile(&self.settings).unwrap();
        let cursor = self.cursor().await;
        let source = policy("desk", SourceKind::Crm);
        let reading = read(&self.settings, &ready, &*known, cursor, &self.clock, out);
        let running = reconcile::run(&self.db, &self.cx, &source, chunks, known.clone(), mode);
        tokio::join!(reading, running).1.unwrap()
    }

    async fn poll(&self) -> Report {
        self.clock.advance(60_000);
        self.run(Mode::Sync { expect: None }).await
    }

    /// A client paired with the contact that has this address.
    async fn client(&self, login: &str, mail: &str, sees_company: bool) -> EntityId {
        let flags = json!({"companyTickets": sees_company});
        let attributes = json!({
            "userName": login, "displayName": login, "active": true, musterd::model::entity::urn::CLIENT: flags,
            "emails": [{"value": format!("{login}@client.test")}],
        });
        let far = Ref::Match { kind: Kind::Contact, attribute: "email".to_owned(), value: mail.to_owned() };
        let desired = Desired {
            kind: Kind::User,
            key: self.clock.entity_id().to_string(),
            realm: None,
            alias: None,
            attributes: attributes.as_object().unwrap().clone(),
            write: Write::Whole,
            relations: BTreeMap::from([(Rel::Pairing, Targets::Whole(vec![far.into()]))]),
            digest: None,
        };
        let mut tx = self.db.write().await.unwrap();
        let operator = policy("operator", SourceKind::Operator);
        let applied = reconcile::apply(&mut tx, &self.cx, &operator, vec![Record::Present(Box::new(desired))]).await;
        let applied = applied.unwrap();
        tx.commit().await.unwrap();
        assert!(applied.outcomes[0].refused.is_none(), "{:?}", applied.outcomes);
        let mut session = self.db.read().await.unwrap();
        names::user(&mut session, Realm::Client, login).await.unwrap().unwrap()
    }

    /// May the client see ticket `number`?
    async fn sees(&self, user: EntityId, number: &str) -> bool {
        let mut session = self.db.read().await.unwrap();
        let ids = names::numbered(&mut session, Kind::Ticket, number).await.unwrap();
        let [ticket] = ids.as_slice() else { return false };
        let (viewer, subject) = visibility::facts(&mut session, user, *ticket).await.unwrap();
        decide(viewer.as_ref(), subject.as_ref(), None).visible
    }

    async fn count(&self, sql: &str) -> i64 {
        let mut session = self.db.read().await.unwrap();
        session.one(sql.to_owned(), Vec::new()).await.unwrap().get(0).unwrap()
    }

    async fn live(&self, kind: &str) -> i64 {
        self.count(&format!("SELECT COUNT(*) FROM entity WHERE kind = '{kind}' AND active AND state <> 'tombstone'"))
            .await
    }
}

fn done(report: &Report) {
    assert_eq!(report.state, End::Done, "{:?} {:?}", report.message, report.stops);
    assert_eq!(report.refused, []);
}

#[tokio::test]
async fn a4_a5_r12_r18_a_polled_helpdesk_decides_who_sees_which_ticket() {
    both(|which| async move {
        let desk = sample(120, 60);
        let served = serve(desk.router(), |_, _| None).await;
        let story = Story::new(which, &served).await;

        let planned = story.run(Mode::Plan).await;
        assert_eq!((planned.state, planned.changes.len()), (End::Planned, 182), "{:?}", planned.message);
        assert_eq!(story.count("SELECT COUNT(*) FROM entity").await, 0, "a preview writes nothing");
        let report = story.poll().await;
        done(&report);
        assert_eq!(report.counts["create"], 182, "{:?}", report.counts);
        assert_eq!(
            (story.live("contact").await, story.live("company").await, story.live("ticket").await),
            (120, 2, 60)
        );

        // Contact 104 is of ACME like 108 and 105; 106 is of another company; 103 of none.
        let narrow = story.client("narrow", "cust104@acme.test", false).await;
        let wide = story.client("wide", "cust104@acme.test", true).await;
        let lonely = story.client("lonely", "cust103@acme.test", true).await;
        assert!(story.sees(narrow, "4").await && !story.sees(narrow, "8").await);
        assert!(story.sees(wide, "4").await && story.sees(wide, "8").await, "the company's tickets (R15)");
        assert!(story.sees(wide, "5").await, "one company in two spellings");
        assert!(!story.sees(wide, "6").await, "another company");
        assert!(story.sees(lonely, "3").await && !story.sees(lonely, "7").await, "no company never equals no company");

        // A second run without changes writes nothing (B5).
        let journal = story.count("SELECT COUNT(*) FROM journal").await;
        let runs = story.count("SELECT COUNT(*) FROM run").await;
        let quiet = story.poll().await;
        done(&quiet);
        assert!(quiet.is_empty(), "{:?}", quiet.counts);
        assert_eq!(story.count("SELECT COUNT(*) FROM journal").await, journal);
        assert_eq!(story.count("SELECT COUNT(*) FROM run").await, runs);

        // A contact moves and takes its old tickets along; another one is disabled.
        let mut moved = user(108);
        moved.organization = "Žižkov a.s.".to_owned();
        desk.put_user(108, moved, now());
        let mut off = user(105);
        off.disabled = true;
        desk.put_user(105, off, now());
        done(&story.poll().await);
        assert!(!story.sees(wide, "8").await, "it went with its contact");
        assert!(story.sees(wide, "5").await, "a disabled colleague's tickets stay visible to the company");

        // The own contact is disabled: nothing through it; enabled again: as before.
        let mut off = user(104);
        off.disabled = true;
        desk.put_user(104, off, now());
        done(&story.poll().await);
        assert!(!story.sees(wide, "4").await && !story.sees(wide, "5").await);
        desk.put_user(104, user(104), now().plus(1000));
        done(&story.poll().await);
        assert!(story.sees(wide, "4").await && story.sees(wide, "5").await);

        // A ticket changes hands.
        let mut ticket = desk.ticket(9).unwrap();
        ticket.requestors = vec![104];
        desk.put_ticket(9, ticket, now());
        assert!(!story.sees(narrow, "9").await);
        done(&story.poll().await);
        assert!(story.sees(narrow, "9").await);
    })
    .await;
}

#[tokio::test]
async fn a4_b2_a_read_that_broke_off_removes_nothing_and_the_next_one_converges() {
    both(|which| async move {
        let desk = sample(250, 20);
        let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let switch = broken.clone();
        let served = serve(desk.router(), move |_, uri| {
            let fails = switch.load(std::sync::atomic::Ordering::Relaxed) && uri.to_string().contains("&page=3&");
            fails.then(|| StatusCode::BAD_GATEWAY.into_response())
        })
        .await;
        let story = Story::new(which, &served).await;
        done(&story.poll().await);
        let cursor = story.cursor().await;
        assert!(cursor.is_some());

        // Three users vanish and one is new; the read breaks on its last page.
        (110..113).for_each(|number| desk.shred_user(number));
        desk.put_user(900, user(900), now());
        broken.store(true, std::sync::atomic::Ordering::Relaxed);
        let report = story.poll().await;
        assert_eq!(report.state, End::Failed);
        assert_eq!(report.message.as_deref(), Some("GET /REST/2.0/users: the server answers 502"));
        assert_eq!(story.live("contact").await, 250, "nobody came and nobody went");
        assert_eq!(story.cursor().await, cursor, "the cursor stands where it stood");

        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        let report = story.poll().await;
        done(&report);
        assert_eq!((report.counts["create"], story.live("contact").await), (1, 248));
    })
    .await;
}

#[tokio::test]
async fn a4_b2_a_third_gone_waits_for_a_person() {
    both(|which| async move {
        let desk = sample(90, 0);
        let served = serve(desk.router(), |_, _| None).await;
        let story = Story::new(which, &served).await;
        done(&story.poll().await);
        (101..131).for_each(|number| desk.shred_user(number));
        let report = story.poll().await;
        assert_eq!(report.state, End::Held, "{:?}", report.message);
        assert_eq!(story.live("contact").await, 90);
        let run = report.run.unwrap();
        let approved = reconcile::approve(&story.db, &story.cx, run, None).await.unwrap();
        assert_eq!(approved.state, End::Done, "{:?}", approved.message);
        assert_eq!(story.live("contact").await, 60);
    })
    .await;
}

#[tokio::test]
async fn a4_a_poisoned_record_stays_and_does_not_hold_up_the_others() {
    both(|which| async move {
        let desk = sample(5, 0);
        let poison = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let switch = poison.clone();
        let served = serve(desk.router(), move |_, uri| {
            let bad = switch.load(std::sync::atomic::Ordering::Relaxed) && uri.path().ends_with("/user/103");
            bad.then(|| StatusCode::NOT_FOUND.into_response())
        })
        .await;
        let story = Story::new(which, &served).await;
        done(&story.poll().await);
        poison.store(true, std::sync::atomic::Ordering::Relaxed);
        let late = Millis(long_ago().0 + Millis::DAY);
        for number in [103, 104] {
            let mut changed = user(number);
            changed.real_name = "Jiné Jméno".to_owned();
            desk.put_user(number, changed, late);
        }
        let report = story.poll().await;
        assert_eq!(report.state, End::Done, "{:?}", report.message);
        assert_eq!((report.counts["update"], report.counts["bad"]), (1, 1), "{:?}", report.counts);
        assert_eq!(report.refused[0].key, "103");
        assert_eq!(story.live("contact").await, 5);
        poison.store(false, std::sync::atomic::Ordering::Relaxed);
        let report = story.poll().await;
        assert_eq!(report.counts["update"], 1, "it is taken as soon as it can be read: {:?}", report.counts);
    })
    .await;
}
