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
mod tests;
