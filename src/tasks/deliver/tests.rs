//! Deliveries against a mail server of our own, on both databases: what is sent and when, what is tried again, what never
//! is, and that one bad row stops no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::demo::mail::{Catcher, Does, Moment, Options, Script};
use crate::model::invitation::{INVITATION_LIFE, LinkData, LinkState, Role};
use crate::reconcile::Context;
use crate::store::testing::{NOW, both};
use crate::tasks::Leader;
use crate::telemetry::Board;

struct Desk {
    world: World,
    catcher: Catcher,
    _folder: tempfile::TempDir,
    _config: watch::Sender<Arc<Config>>,
}

async fn desk(db: Db, script: Option<Script>) -> Desk {
    let catcher = Catcher::start(Options { script, ..Options::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &catcher.authority).unwrap();
    let config = Config::parse(&format!(
        "[server]\npublic_url = 'https://desk.example/app/'\n[mail]\nhost = '127.0.0.1'\nport = {}\nlanguage = 'de'\n\
         from = 'desk@example.test'\nca_file = '{}'\ntimeout = '2s'\n[credentials.argon2]\nmemory_kib = 64\npasses = 1",
        catcher.smtp.port(),
        ca.display()
    ));
    let (sender, config) = watch::channel(Arc::new(config.unwrap()));
    let context = Context::new(Clock::fixed(NOW, 4), Arc::default(), "test");
    let (_, engine) = watch::channel(context);
    let world = World {
        db,
        clock: Clock::fixed(NOW, 4),
        config,
        engine,
        board: Board::default(),
        tokens: Arc::default(),
        deliver: Arc::new(Notify::new()),
        stop: CancellationToken::new(),
        leader: Leader::Alone,
        polling: Default::default(),
        telling: Default::default(),
    };
    Desk { world, catcher, _folder: folder, _config: sender }
}

impl Desk {
    async fn invite(&self, id: &str, email: &str, language: Option<&str>) {
        let link = Link {
            id: format!("link-{id}"),
            purpose: Purpose::Invitation,
            entity: None,
            email: email.to_owned(),
            company: None,
            role: Some(Role::Member),
            data: LinkData { language: language.map(str::to_owned), ..LinkData::default() },
            state: LinkState::Pending,
            created: NOW,
            expires: NOW.plus(INVITATION_LIFE),
            used: None,
        };
        let mut tx = self.world.db.write().await.unwrap();
        link::insert(&mut tx, &link).await.unwrap();
        self.enqueue(&mut tx, id, json!({"link": link.id})).await;
        tx.commit().await.unwrap();
    }

    async fn enqueue(&self, tx: &mut store::Tx, id: &str, payload: serde_json::Value) {
        let (kind, dedupe) = (MailKind::Invitation.to_string(), id.to_owned());
        let new = outbox::New { id: id.to_owned(), kind, dedupe, entity: None, payload, at: NOW };
        assert!(outbox::enqueue(tx, new).await.unwrap());
    }

    async fn item(&self, id: &str) -> Item {
        outbox::by_id(&mut self.world.db.read().await.unwrap(), id).await.unwrap().unwrap()
    }

    async fn state(&self, id: &str) -> OutboxState {
        self.item(id).await.state
    }

    async fn link(&self, secret: &str) -> Option<Link> {
        let hash = credential::link::presented(secret).unwrap();
        link::by_hash(&mut self.world.db.read().await.unwrap(), &hash).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r91_r92_the_mail_brings_a_fresh_secret_in_the_persons_language() {
    both(|db| async move {
        let desk = desk(db, None).await;
        desk.invite("a", "eva@x.test", Some("cs-CZ")).await;
        desk.invite("b", "jan@x.test", Some("tlh")).await;
        run(desk.world.clone()).await.unwrap();
        run(desk.world.clone()).await.unwrap();
        let mails = desk.catcher.mails();
        assert_eq!(mails.len(), 2, "sent once");
        assert_eq!(mails[0].subject, "Pozvánka do Helpdesk");
        assert_eq!(mails[1].header("content-language"), Some("de"), "the configured fallback");
        assert_eq!(mails[0].header("message-id"), Some("<a@example.test>"));
        let secret = mails[0].link().unwrap().strip_prefix("https://desk.example/app/invite/").unwrap();
        let link = desk.link(secret).await.unwrap();
        assert_eq!((link.id.as_str(), link.state), ("link-a", LinkState::Sent));
        assert_eq!(desk.state("a").await, OutboxState::Sent);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_row_stops_nobody_and_a_dead_link_is_not_sent() {
    both(|db| async move {
        let desk = desk(db, None).await;
        let mut tx = desk.world.db.write().await.unwrap();
        desk.enqueue(&mut tx, "0", json!({"link": 5})).await;
        desk.enqueue(&mut tx, "1", json!({"link": "nowhere"})).await;
        tx.commit().await.unwrap();
        desk.invite("2", "no address", None).await;
        desk.invite("3", "revoked@x.test", None).await;
        desk.invite("4", "eva@x.test", None).await;
        let mut tx = desk.world.db.write().await.unwrap();
        link::end(&mut tx, "link-3", LinkState::Revoked).await.unwrap();
        tx.commit().await.unwrap();
        run(desk.world.clone()).await.unwrap();
        assert_eq!(desk.state("0").await, OutboxState::Failed);
        assert_eq!(desk.state("1").await, OutboxState::Skipped);
        assert_eq!(desk.state("2").await, OutboxState::Failed);
        assert_eq!(desk.state("3").await, OutboxState::Skipped);
        assert_eq!(desk.state("4").await, OutboxState::Sent);
        assert_eq!(desk.catcher.mails().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_taken_is_tried_again_and_what_may_have_been_is_not() {
    both(|db| async move {
        let count = Arc::new(AtomicUsize::new(0));
        let first = count.clone();
        let script: Script = Arc::new(move |moment| match moment {
            Moment::Rcpt("later@x.test") if first.fetch_add(1, Ordering::SeqCst) == 0 => Does::Says("451 later"),
            Moment::Dot("lost@x.test") => Does::Vanishes,
            _ => Does::Right,
        });
        let desk = desk(db, Some(script)).await;
        desk.invite("a", "later@x.test", None).await;
        desk.invite("b", "lost@x.test", None).await;
        run(desk.world.clone()).await.unwrap();
        assert_eq!(desk.state("b").await, OutboxState::Indeterminate);
        let item = desk.item("a").await;
        assert_eq!((item.state, item.attempts), (OutboxState::Queued, 1));
        assert!((24_000..=36_000).contains(&(item.next_at.0 - NOW.0)), "{:?}", item.next_at);
        run(desk.world.clone()).await.unwrap();
        assert_eq!(desk.item("a").await.attempts, 1, "not before its time");
        desk.world.clock.advance(36_000);
        run(desk.world.clone()).await.unwrap();
        let item = desk.item("a").await;
        assert_eq!((item.state, item.message_id.as_str()), (OutboxState::Sent, "<a@example.test>"));
        assert_eq!(desk.catcher.mails().len(), 2, "the lost one once, the late one once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_every_row_waits_untouched() {
    both(|db| async move {
        let script: Script = Arc::new(|moment| match moment {
            Moment::Connected => Does::Says("421 busy"),
            _ => Does::Right,
        });
        let desk = desk(db, Some(script)).await;
        desk.invite("a", "eva@x.test", None).await;
        assert!(matches!(run(desk.world.clone()).await, Err(Error::Unreachable(_))));
        let item = desk.item("a").await;
        assert_eq!((item.state, item.attempts), (OutboxState::Queued, 0));
    })
    .await;
}

#[test]
fn waits_double_up_to_six_hours() {
    let clock = Clock::fixed(NOW, 1);
    for (attempts, middle) in [(1, 30_000), (2, 60_000), (5, 480_000), (40, LONGEST_WAIT)] {
        let wait = wait(attempts, &clock);
        assert!((middle * 4 / 5..=middle * 6 / 5).contains(&wait), "{attempts}: {wait}");
    }
}
