//! Carries the outbox's mails to the mail server, one after the other. A row is claimed, its fresh secret stored as a hash,
//! and that committed, before the conversation begins; no transaction is open while it lasts. What was not taken is tried
//! again later; what may have been taken never is by itself. A row that cannot be delivered does not stop the others.
//! Start with `run`.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::World;
use crate::clock::Clock;
use crate::config::Config;
use crate::credential::{self, Hasher, hasher};
use crate::mail::transport::Session;
use crate::mail::{Envelope, Facts, Letter, Letters, Outcome, Transport, letter, transport};
use crate::model::invitation::{Link, Purpose};
use crate::model::language::Language;
use crate::model::mail::{MailKind, OutboxState};
use crate::model::time::Millis;
use crate::store::outbox::Item;
use crate::store::{self, Db, link, outbox};
use crate::telemetry;

/// Rows read at once.
const PAGE: i64 = 100;
/// After so many attempts a row has failed: with the waits below, about four days.
const MOST_ATTEMPTS: i64 = 24;
/// Milliseconds before the second attempt; doubled for each further one.
const FIRST_WAIT: i64 = 30_000;
const LONGEST_WAIT: i64 = 6 * 3_600_000;
/// Conversations have at most this many steps, and some time for the machine besides (ms).
const LEASE_STEPS: u32 = 12;
const LEASE_MARGIN: i64 = 60_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error(transparent)]
    Letter(#[from] letter::Error),
    #[error(transparent)]
    Hasher(#[from] hasher::Error),
    /// No letter was touched.
    #[error("the mail server cannot be used: {0}")]
    Unreachable(String),
}

/// Delivers everything that is due. Without a mail server nothing happens, and rows wait.
pub async fn run(world: World) -> Result<(), Error> {
    let config = world.config();
    abandon(&world).await?;
    if config.mail.host.is_none() || due(&world, 1).await?.is_empty() {
        return Ok(());
    }
    let post = Post {
        transport: Transport::new(&config.mail)?,
        letters: Letters::new()?,
        clock: world.clock.clone(),
        db: world.db.clone(),
        config: &config,
    };
    let mut session = None;
    loop {
        let items = due(&world, PAGE).await?;
        if items.is_empty() {
            break;
        }
        for item in items {
            if world.stop.is_cancelled() {
                return Ok(());
            }
            let open = match session.take() {
                Some(open) => open,
                None => post.transport.open().await.map_err(Error::Unreachable)?,
            };
            session = post.deliver(&item, open).await?;
        }
    }
    if let Some(session) = session {
        session.close().await;
    }
    Ok(())
}

async fn due(world: &World, limit: i64) -> Result<Vec<Item>, store::Error> {
    outbox::due_mails(&mut world.db.read().await?, world.clock.now(), limit).await
}

/// What was being delivered when its holder went away.
async fn abandon(world: &World) -> Result<(), store::Error> {
    let now = world.clock.now();
    if !outbox::has_abandoned(&mut world.db.read().await?, now).await? {
        return Ok(());
    }
    let mut tx = world.db.write().await?;
    let abandoned = outbox::abandon(&mut tx, now).await?;
    tx.commit().await?;
    tracing::warn!(
        abandoned,
        "deliveries were interrupted; whether they arrived is unknown, and they are not repeated"
    );
    Ok(())
}

/// What every delivery of one pass needs.
struct Post<'a> {
    transport: Transport,
    letters: Letters,
    clock: Clock,
    db: Db,
    config: &'a Config,
}

/// A claimed row, rendered.
struct Ready {
    to: String,
    name: String,
    message_id: String,
    letter: Letter,
    link: Option<String>,
}

/// What became of a row before the conversation.
enum Prepared {
    Ready(Box<Ready>),
    /// Somebody else has it.
    Taken,
    Ended(OutboxState, String),
}

impl Post<'_> {
    /// One row from claim to end. Gives the session back where it can still be used.
    async fn deliver<'s>(&'s self, item: &Item, mut session: Session<'s>) -> Result<Option<Session<'s>>, Error> {
        let ready = match self.prepare(item).await? {
            Prepared::Ready(ready) => ready,
            Prepared::Taken => return Ok(Some(session)),
            Prepared::Ended(state, reason) => {
                self.end(item, state, &reason, None).await?;
                return Ok(Some(session));
            }
        };
        let envelope =
            Envelope { to: &ready.to, name: &ready.name, message_id: &ready.message_id, date: self.clock.now() };
        let outcome = session.send(&envelope, &ready.letter).await;
        let usable = outcome == Outcome::Sent;
        match outcome {
            Outcome::Sent => self.end(item, OutboxState::Sent, "", ready.link.as_deref()).await?,
            Outcome::Failed(reason) => self.end(item, OutboxState::Failed, &reason, None).await?,
            Outcome::Indeterminate(reason) => self.end(item, OutboxState::Indeterminate, &reason, None).await?,
            Outcome::Retry(reason) if item.attempts + 1 >= MOST_ATTEMPTS => {
                self.end(item, OutboxState::Failed, &format!("given up: {reason}"), None).await?;
            }
            Outcome::Retry(reason) => self.later(item, &reason).await?,
        }
        Ok(usable.then_some(session))
    }

    async fn prepare(&self, item: &Item) -> Result<Prepared, Error> {
        let Ok(kind) = item.kind.parse::<MailKind>() else {
            return Ok(Prepared::Ended(OutboxState::Failed, "no kind of mail".to_owned()));
        };
        match kind {
            MailKind::Invitation | MailKind::SetPassword => self.prepare_link(item, kind).await,
            MailKind::Password => self.prepare_password(item).await,
        }
    }

    /// Claims the row and arms its link, in one transaction; then the old secret is dead and only the letter has the new.
    async fn prepare_link(&self, item: &Item, kind: MailKind) -> Result<Prepared, Error> {
        let Ok(LinkPayload { link: id }) = serde_json::from_value(item.payload.clone()) else {
            return Ok(Prepared::Ended(OutboxState::Failed, "the payload names no link".to_owned()));
        };
        let (secret, hash) = credential::link::mint(&self.clock);
        let (now, message_id) = (self.clock.now(), self.message_id(item));
        let mut tx = self.db.write().await?;
        if !outbox::claim(&mut tx, &item.id, &message_id, self.lease(now)).await? {
            return Ok(Prepared::Taken);
        }
        let link = link::by_id(&mut tx, &id).await?;
        let (Some(link), true) = (link, link::arm(&mut tx, &id, &hash, now).await?) else {
            drop(tx);
            return Ok(Prepared::Ended(OutboxState::Skipped, "the link is not open any more".to_owned()));
        };
        tx.commit().await?;
        let name = format!("{} {}", link.data.given_name, link.data.family_name).trim().to_owned();
        let letter = self.letter(kind, &link, &name, &secret)?;
        Ok(Prepared::Ready(Box::new(Ready { to: link.email, name, message_id, letter, link: Some(id) })))
    }

    fn letter(&self, kind: MailKind, link: &Link, name: &str, secret: &SecretString) -> Result<Letter, letter::Error> {
        let address = self.address(link.purpose, secret);
        let facts = Facts {
            name,
            product: &self.config.mail.product,
            company: link.data.company.as_deref(),
            inviter: link.data.inviter.as_deref(),
            login: link.data.login.as_deref(),
            role: link.role,
            link: address.expose_secret(),
            expires: Some(link.expires),
            password: None,
        };
        self.letters.render(kind, self.language(link.data.language.as_deref()), &facts)
    }

    /// A password in clear text is generated here and nowhere before: it stands in no row but as its hash.
    async fn prepare_password(&self, item: &Item) -> Result<Prepared, Error> {
        let payload = serde_json::from_value::<PasswordPayload>(item.payload.clone());
        let (Ok(payload), Some(entity)) = (payload, item.entity) else {
            return Ok(Prepared::Ended(OutboxState::Failed, "the payload names nobody".to_owned()));
        };
        let password = credential::generate::password(&self.clock);
        let hash = Hasher::new(self.config.credentials.cost, self.clock.clone())?.hash(password.clone()).await?;
        let (now, message_id) = (self.clock.now(), self.message_id(item));
        let mut tx = self.db.write().await?;
        if !outbox::claim(&mut tx, &item.id, &message_id, self.lease(now)).await? {
            return Ok(Prepared::Taken);
        }
        store::credential::set(&mut tx, entity, &hash, true, now).await?;
        tx.commit().await?;
        let facts = Facts {
            name: &payload.name,
            product: &self.config.mail.product,
            login: Some(&payload.login),
            link: self.config.server.public_url.as_str(),
            password: Some(password.expose_secret()),
            ..Facts::default()
        };
        let letter = self.letters.render(MailKind::Password, self.language(payload.language.as_deref()), &facts)?;
        let PasswordPayload { address: to, name, .. } = payload;
        Ok(Prepared::Ready(Box::new(Ready { to, name, message_id, letter, link: None })))
    }

    /// Only ever from the configured `public_url` (S14).
    fn address(&self, purpose: Purpose, secret: &SecretString) -> SecretString {
        let base = self.config.server.public_url.as_str().trim_end_matches('/');
        let page = match purpose {
            Purpose::Invitation => "invite",
            Purpose::Password => "password",
        };
        SecretString::from(format!("{base}/{page}/{}", secret.expose_secret()))
    }

    fn language(&self, wish: Option<&str>) -> Language {
        wish.and_then(Language::wished).unwrap_or(self.config.mail.language)
    }

    /// Made once, at the first attempt; the same over all of them.
    fn message_id(&self, item: &Item) -> String {
        if item.message_id.starts_with('<') {
            return item.message_id.clone();
        }
        let domain = self.config.mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        format!("<{}@{domain}>", item.id)
    }

    fn lease(&self, now: Millis) -> Millis {
        let longest = self.config.mail.timeout * LEASE_STEPS;
        now.plus(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX / 2) + LEASE_MARGIN)
    }

    async fn end(&self, item: &Item, state: OutboxState, reason: &str, link: Option<&str>) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        outbox::finish(&mut tx, &item.id, state, Some(reason).filter(|text| !text.is_empty()), self.clock.now())
            .await?;
        if let Some(link) = link {
            link::sent(&mut tx, link).await?;
        }
        tx.commit().await?;
        match state {
            OutboxState::Sent => tracing::info!(mail = %item.id, kind = %item.kind, "mail sent"),
            _ => tracing::warn!(mail = %item.id, kind = %item.kind, %state, reason, "mail not sent"),
        }
        metrics::counter!(telemetry::MAIL_SENT, "result" => state.as_str()).increment(1);
        Ok(())
    }

    async fn later(&self, item: &Item, reason: &str) -> Result<(), Error> {
        let wait = wait(item.attempts + 1, &self.clock);
        let mut tx = self.db.write().await?;
        outbox::retry(&mut tx, &item.id, self.clock.now().plus(wait), reason).await?;
        tx.commit().await?;
        tracing::warn!(mail = %item.id, kind = %item.kind, seconds = wait / 1000, reason, "mail not taken, again later");
        Ok(())
    }
}

/// Milliseconds before the next attempt: doubling, with a fifth of chance either way.
fn wait(attempts: i64, clock: &Clock) -> i64 {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    let wait = (FIRST_WAIT << doublings).min(LONGEST_WAIT);
    wait - wait / 5 + clock.below(wait as u64 * 2 / 5) as i64
}

#[derive(Deserialize)]
struct LinkPayload {
    link: String,
}

/// Who gets a password in clear text: as it was when it was asked for.
#[derive(Deserialize)]
struct PasswordPayload {
    address: String,
    login: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    language: Option<String>,
}

#[cfg(test)]
mod tests {
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
            deliver: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
            leader: Leader::Alone,
            polling: Default::default(),
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
}
