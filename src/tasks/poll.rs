//! Polls sources, directories and CRMs alike: reads what the store holds of a source, lets the reader send chunks, lets the
//! engine plan or apply them. On a schedule (`due`) and on demand (`poll`) it is the same code. One source is never polled
//! twice at once. Nothing here decides what a record means. Start at `poll`.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::World;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::crm::Crm;
use crate::config::fault::{Fault, Refused};
use crate::config::source::{Body, Source};
use crate::mapping;
use crate::model::desired::{Chunk, Digest, End as ReadEnd, Known};
use crate::model::id::RunId;
use crate::model::kind::Kind;
use crate::model::time::Millis;
use crate::reconcile::{self, End, KnownSet, Mode, Report};
use crate::sources::ldap::{Before, Knowing, Loading};
use crate::sources::{crm, ldap};
use crate::store::source_state::{Drift, SourceState};
use crate::store::{self, Db, quarantine, source_state};
use crate::telemetry;

/// Chunks between reader and engine: when the engine is slower, the reader waits.
const BETWEEN: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no source `{0}`")]
    Unknown(String),
    #[error("`{0}` is not polled: its records are pushed")]
    Pushed(String),
    #[error("`{0}` is no directory")]
    NoDirectory(String),
    #[error("{0}")]
    Directory(String),
    #[error("`{0}` is being polled already")]
    Busy(String),
    #[error(transparent)]
    Faulty(#[from] Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Engine(#[from] reconcile::Error),
}

/// A source that can be read: its mappings are compiled.
pub enum Reader {
    Ldap(Box<ldap::Reader>),
    Crm(Box<(Crm, crm::Ready)>),
}

impl Reader {
    /// `None` for sources that are not polled. All faults at once, under their keys in the configuration, or in the
    /// connector's own file.
    pub fn of(source: &Source) -> Result<Option<Reader>, Refused> {
        match &source.body {
            Body::Ldap(settings) => {
                let told = |faults| refused(&format!("sources.{}.", source.policy.name), None, faults);
                let reader = ldap::Reader::compile(settings).map_err(told)?;
                let policy = &source.policy;
                Ok(Some(Reader::Ldap(Box::new(reader.living_in(policy.realm, policy.company.as_deref())))))
            }
            Body::Crm(settings) => {
                let ready =
                    crm::Ready::compile(settings).map_err(|faults| refused("", Some(settings.place()), faults))?;
                Ok(Some(Reader::Crm(Box::new(((**settings).clone(), ready)))))
            }
            Body::Scim(_) | Body::Push(_) | Body::Operator => Ok(None),
        }
    }

    async fn read(&self, known: Later, before: Before, clock: &Clock, out: mpsc::Sender<Chunk>) {
        match self {
            Reader::Ldap(reader) => ldap::read(reader, &known, before, clock, out).await,
            Reader::Crm(both) => match known.load().await {
                Ok(()) => crm::read(&both.0, &both.1, &known, before.cursor, clock, out).await,
                Err(reason) => drop(out.send(Chunk::End(ReadEnd::Incomplete { reason, passes: true })).await),
            },
        }
    }
}

/// What the store holds of a source, read when the reader asks for it.
struct Later {
    db: Db,
    set: Arc<KnownSet>,
}

impl Known for Later {
    fn is(&self, kind: Kind, key: &str, digest: &Digest) -> bool {
        self.set.is(kind, key, digest)
    }

    fn holds(&self, kind: Kind, key: &str) -> bool {
        self.set.holds(kind, key)
    }
}

impl Knowing for Later {
    fn load(&self) -> Loading<'_, ()> {
        Box::pin(async { self.set.load(&self.db).await.map_err(|error| error.to_string()) })
    }

    fn strangers(&self, names: Vec<String>) -> Loading<'_, Vec<String>> {
        Box::pin(async { self.set.strangers(&self.db, names).await.map_err(|error| error.to_string()) })
    }
}

fn refused(before: &str, origin: Option<String>, faults: Vec<mapping::Fault>) -> Refused {
    let told = |fault: mapping::Fault| Fault {
        key: format!("{before}{}", fault.target),
        value: None,
        allowed: fault.reason,
        origin: origin.clone(),
    };
    Refused(faults.into_iter().map(told).collect())
}

/// What each directory answers to a first look, or what must be put right. Takes nothing.
pub async fn probe(config: &Config) -> Vec<(String, Result<ldap::Probe, String>)> {
    let mut all = Vec::new();
    for (name, source) in &config.sources {
        if let Ok(Some(Reader::Ldap(reader))) = Reader::of(source) {
            all.push((name.clone(), reader.probe().await));
        }
    }
    all
}

/// Entries that could not be taken and are asked for by name, at most.
const AGAIN: i64 = 500;

/// Where the last read ended, and what it could not take.
async fn before(world: &World, source: &str, known: &KnownSet) -> Result<Before, store::Error> {
    let mut read = world.db.read().await?;
    let cursor = source_state::by_name(&mut read, source).await?.and_then(|state| state.cursor);
    let refused = quarantine::of_source(&mut read, source, AGAIN).await?;
    let refused = refused.into_iter().filter_map(|row| Some((row.kind.parse().ok()?, row.key)));
    let again = refused.chain(known.unsure().iter().cloned()).collect();
    Ok(Before { cursor, again })
}

/// What becomes of one entry of a directory, step by step. Changes nothing.
pub async fn try_entry(world: &World, name: &str, entry: &str) -> Result<Vec<ldap::Trial>, Error> {
    let config = world.config();
    let source = config.source(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
    match Reader::of(source)? {
        Some(Reader::Ldap(reader)) => reader.try_entry(entry, world.clock.now()).await.map_err(Error::Directory),
        _ => Err(Error::NoDirectory(name.to_owned())),
    }
}

/// With what the source of a run would be read now: the fingerprint of filter, base, mapping and identity.
pub async fn settings_of(world: &World, run: RunId) -> Result<Option<String>, Error> {
    let Some(run) = store::run::by_id(&mut world.db.read().await?, run).await? else { return Ok(None) };
    let config = world.config();
    let Some(source) = config.source(&run.source) else { return Ok(None) };
    Ok(match Reader::of(source)? {
        Some(Reader::Ldap(reader)) => Some(reader.fingerprint()),
        _ => None,
    })
}

/// Reads the source to its end and plans or applies what it says. A read that broke is no `Err`: the report says `failed`.
pub async fn poll(world: &World, name: &str, mode: Mode) -> Result<Report, Error> {
    let config = world.config();
    let source = config.source(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
    let reader = Reader::of(source)?.ok_or_else(|| Error::Pushed(name.to_owned()))?;
    let _turn = world.polling.take(name).ok_or_else(|| Error::Busy(name.to_owned()))?;
    let known = Arc::new(reconcile::known_later(&world.db, name).await?);
    let before = before(world, name, &known).await?;
    let cursor = before.cursor.clone();
    let (out, arriving) = mpsc::channel(BETWEEN);
    let (clock, compared) = (world.clock.clone(), Later { db: world.db.clone(), set: known.clone() });
    let reading = tokio::spawn(async move { reader.read(compared, before, &clock, out).await });
    let context = world.context(format!("source:{name}"));
    let report = reconcile::run(&world.db, &context, &source.policy, arriving, known, mode).await;
    // Whatever the engine concluded, nothing is read any more; a reader that panicked has sent no end.
    reading.abort();
    let report = report?;
    if report.state == End::Done {
        drift(world, name, cursor.as_deref(), &report).await?;
        let seconds = world.clock.now().0 as f64 / 1000.0;
        metrics::gauge!(telemetry::SYNC_LAST_GOOD, "source" => name.to_owned()).set(seconds);
    }
    if report.run.is_some() {
        world.deliver.notify_one();
    }
    Ok(report)
}

/// After reads of what changed a read of everything should find nothing; what it does find is shown.
async fn drift(world: &World, name: &str, before: Option<&str>, report: &Report) -> Result<(), Error> {
    // Most polls end here: nobody's turn to write is taken for a look.
    let state = source_state::by_name(&mut world.db.read().await?, name).await?;
    let after = state.and_then(|state| state.cursor);
    if !ldap::was_whole(before, after.as_deref()) {
        return Ok(());
    }
    let mut tx = world.db.write().await?;
    let changes = report.changes_made();
    source_state::drifted(&mut tx, name, Drift { changes, at: world.clock.now() }).await?;
    tx.commit().await?;
    metrics::gauge!(telemetry::SYNC_DRIFT, "source" => name.to_owned()).set(changes as f64);
    Ok(())
}

/// Begins to poll every source whose time has come; a slow one holds up no other. What was missed while nobody ran is
/// caught up once.
pub async fn due(world: World) -> Result<(), Error> {
    let now = world.clock.now();
    let states = source_state::all(&mut world.db.read().await?).await?;
    let config = world.config();
    for (name, source) in &config.sources {
        let Some(schedule) = &source.schedule else { continue };
        let state = states.iter().find(|state| state.source == *name);
        if state.is_some_and(|state| state.paused) || !is_due(schedule, state, now) {
            continue;
        }
        let (world, name) = (world.clone(), name.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Nothing is lost: the engine's transactions end by themselves, and the next start catches up.
                () = world.stop.cancelled() => {}
                result = poll(&world, &name, Mode::Sync { expect: None }) => tell(&name, &result),
            }
        });
    }
    Ok(())
}

pub(super) fn tell(source: &str, result: &Result<Report, Error>) {
    let state = match result {
        Ok(report) => report.state.to_string(),
        Err(Error::Busy(_)) => return,
        Err(_) => "error".to_owned(),
    };
    metrics::counter!(telemetry::SYNC_RUNS, "source" => source.to_owned(), "state" => state).increment(1);
    match result {
        Ok(report) => tracing::info!(source, state = %report.state, message = report.message, "polled"),
        Err(Error::Busy(_)) => {}
        Err(error) => tracing::warn!(source, %error, "a source could not be polled"),
    }
}

/// A source that was never polled is due at once.
fn is_due(schedule: &crate::config::schedule::Schedule, state: Option<&SourceState>, now: Millis) -> bool {
    let (last, retry) = state.map_or((None, None), |state| (state.last_at, state.retry_at()));
    schedule.next(last, retry, now).is_some_and(|next| next <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::source_state::Status;

    #[test]
    fn a3_missed_times_are_caught_up_once() {
        let hourly = "0 * * * *".parse().unwrap();
        let at = |text: &str| Millis::parse(text).unwrap();
        let now = at("2026-11-21T22:30:00Z");
        let read = |last: &str| SourceState { last_at: Some(at(last)), ..SourceState::default() };
        assert!(is_due(&hourly, None, now));
        assert!(is_due(&hourly, Some(&read("2026-11-19T03:00:01Z")), now));
        assert!(!is_due(&hourly, Some(&read("2026-11-21T22:00:00Z")), now));
        assert!(is_due(&hourly, Some(&read("2026-11-21T21:59:59Z")), now));
        // A failure that may be over is tried again before that, and each time later.
        let failed = |failures: u32, passes: bool, last: &str| {
            let mut state = SourceState { last_state: Some("failed".to_owned()), ..read(last) };
            state.tell(&Status { failures, passes, ..Status::default() });
            state
        };
        assert!(is_due(&hourly, Some(&failed(1, true, "2026-11-21T22:29:30Z")), now));
        assert!(!is_due(&hourly, Some(&failed(2, true, "2026-11-21T22:29:30Z")), now));
        assert!(is_due(&hourly, Some(&failed(40, true, "2026-11-21T22:15:00Z")), now));
        assert!(
            !is_due(&hourly, Some(&failed(1, false, "2026-11-21T22:20:00Z")), now),
            "a wrong password is not tried on"
        );
    }
}
