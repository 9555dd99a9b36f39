//! What every handler gets: `App`, cheap to clone. A handler takes one snapshot of the configuration (`app.config()`) and
//! works with it to its end, so that a reload in the middle of a request changes nothing for it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OnceCell, watch};

use super::pace::Pace;
use super::scim::places::Places;
use crate::clock::Clock;
use crate::config::Config;
use crate::credential::Hasher;
use crate::credential::hasher;
use crate::credential::seal::{self, Sealer};
use crate::credential::throttle::Throttle;
use crate::model::source::SourcePolicy;
use crate::model::time::Millis;
use crate::model::unique::Unique;
use crate::reconcile::{self, Context, Policies};
use crate::scim::registry::Registries;
use crate::store::token_memory::Memory;
use crate::store::{self, Db, lease, secret};
use crate::telemetry::Board;

/// The daemon as the surfaces see it. One count for all of it: every layer of every request clones it.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub hasher: Hasher,
    /// The brake on guessing passwords.
    pub throttle: Arc<Throttle>,
    /// The brake on providers that ask too fast.
    pub pace: Pace,
    pub wake: Wake,
    /// What was counted of the lists of SCIM.
    pub places: Places,
    /// Tokens that were found a moment ago.
    pub tokens: Arc<Memory>,
    /// How the background tasks fare.
    pub board: Board,
    /// Swapped as a whole by a reload.
    config: watch::Sender<Arc<Config>>,
    /// The engine's view of the same configuration.
    engine: watch::Sender<Context>,
    health: Health,
    /// What SCIM publishes, of the same configuration, and the engine that keeps what it says.
    schemas: watch::Sender<(Registries, Context)>,
    /// Attributes of those that are unique, and of which every value stands in the index.
    indexed: watch::Sender<Arc<[Unique]>>,
    /// Loaded when the first list is read by cursor.
    sealer: OnceCell<Sealer>,
}

/// A configuration that can be taken.
pub struct Ready {
    config: Config,
    schemas: Registries,
    engine: Context,
}

#[derive(Default)]
struct Health {
    draining: AtomicBool,
    /// Tokens that were used since the last flush, with the time of the last use.
    used: Mutex<BTreeMap<String, Millis>>,
    /// When the store was last asked whether it takes writes, and what it said.
    probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// Who asks more often than this gets the last answer: the probe is public and costs the writer a turn.
const PROBE_AGE: Duration = Duration::from_millis(500);
const PROBE_TIME: Duration = Duration::from_secs(5);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub fn new(db: Db, clock: Clock, config: Config) -> Result<App, hasher::Error> {
        let schemas = schemas(&config).unwrap_or_else(|| {
            Registries::embedded().expect("the schemas in the program are sound, which a test holds")
        });
        let engine = context(&clock, &config, &schemas);
        Ok(App(Arc::new(Parts {
            schemas: watch::Sender::new((schemas, engine.clone())),
            indexed: watch::Sender::new(Arc::default()),
            db,
            hasher: Hasher::new(config.credentials.cost, clock.clone())?,
            throttle: Arc::default(),
            pace: Pace::default(),
            places: Places::default(),
            clock,
            wake: Wake::default(),
            tokens: Arc::default(),
            board: Board::default(),
            config: watch::Sender::new(Arc::new(config)),
            engine: watch::Sender::new(engine),
            health: Health::default(),
            sealer: OnceCell::new(),
        })))
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// What SCIM publishes now.
    pub fn schemas(&self) -> Registries {
        self.schemas.borrow().0.clone()
    }

    /// The schemas and the engine of one moment: what is checked by the ones is kept by the other, also over a reload.
    pub fn schemas_and_context(&self, actor: impl Into<String>) -> (Registries, Context) {
        let both = self.schemas.borrow();
        (both.0.clone(), both.1.acting_as(actor))
    }

    /// For tasks, which outlive many configurations.
    pub fn watch_config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// What the engine works with, for changes that `actor` causes (`caller.actor()`).
    pub fn context(&self, actor: impl Into<String>) -> Context {
        self.engine.borrow().acting_as(actor)
    }

    pub fn watch_engine(&self) -> watch::Receiver<Context> {
        self.engine.subscribe()
    }

    /// A configuration with the schemas of its folder, read once: what is prepared is what is taken.
    pub fn ready(&self, config: Config) -> Ready {
        let schemas = schemas(&config).unwrap_or_else(|| self.schemas());
        let engine = context(&self.clock, &config, &schemas);
        Ready { config, schemas, engine }
    }

    /// To be called before `swap`: what is unique from then on is entered while nobody can say it yet.
    pub async fn prepare(&self, ready: &Ready) -> Result<(), store::Error> {
        reconcile::unique::enter(&self.db, &ready.engine.policies).await
    }

    /// From now on everybody who asks gets this one.
    pub fn swap(&self, Ready { config, schemas, engine }: Ready) {
        let still = |known: &&Unique| engine.policies.uniques.contains(known);
        self.indexed.send_modify(|known| *known = known.iter().filter(still).cloned().collect());
        self.schemas.send_replace((schemas, engine.clone()));
        self.engine.send_replace(engine);
        self.config.send_replace(Arc::new(config));
    }

    pub fn swap_config(&self, config: Config) {
        self.swap(self.ready(config));
    }

    /// To be called at the start and after a swap: what the schemas want unique from now on is looked up in what is there.
    pub async fn keep_uniques(&self) -> Result<(), store::Error> {
        let policies = self.engine.borrow().policies.clone();
        reconcile::unique::index(&self.db, &policies).await?;
        self.indexed.send_replace(policies.uniques.clone());
        Ok(())
    }

    /// What a filter may ask the index for.
    pub fn indexed(&self) -> Arc<[Unique]> {
        self.indexed.borrow().clone()
    }

    /// Seals the cursors of lists, with the key that all replicas share.
    pub async fn sealer(&self) -> Result<&Sealer, store::Error> {
        let load = || async {
            let fresh = self.clock.random::<{ seal::KEY }>();
            let key = secret::obtain(&self.db, "cursor", &fresh, self.clock.now()).await?;
            Sealer::new(&key)
                .ok_or_else(|| store::Error::Stored("the key of the cursors has not its length".to_owned()))
        };
        self.sealer.get_or_try_init(load).await
    }

    /// `readyz` says no from now on; what runs goes on.
    pub fn drain(&self) {
        self.health.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.health.draining.load(Ordering::Relaxed)
    }

    /// Whether the store takes writes, at most half a second ago.
    pub async fn is_writable(&self) -> bool {
        let mut probed = self.health.probed.lock().await;
        if let Some((at, answer)) = *probed
            && at.elapsed() < PROBE_AGE
        {
            return answer;
        }
        let proof = tokio::time::timeout(PROBE_TIME, lease::prove_writable(&self.db)).await;
        let answer = match proof.unwrap_or(Err(store::Error::Busy)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the store takes no write");
                false
            }
        };
        *probed = Some((Instant::now(), answer));
        answer
    }

    /// Remembers that a token was used; written later, in one go, so that reading stays reading.
    pub fn note_use(&self, token: &str) {
        let now = self.clock.now();
        self.used().insert(token.to_owned(), now);
    }

    /// What was remembered since the last call.
    pub fn take_uses(&self) -> BTreeMap<String, Millis> {
        std::mem::take(&mut *self.used())
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Millis>> {
        self.health.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever read the configuration has found them sound a moment ago; if they are not any more, the log says so.
fn schemas(config: &Config) -> Option<Registries> {
    let loaded = Registries::load(config.schemas.as_deref());
    loaded.inspect_err(|error| tracing::error!(%error, "the folder of schemas cannot be used")).ok()
}

fn context(clock: &Clock, config: &Config, schemas: &Registries) -> Context {
    let policies = Policies::new(config.policies().map(|policy| SourcePolicy::clone(policy)));
    let policies = policies.with_profiles(config.profiles.clone()).with_catalogue(config.catalogue.clone());
    let policies = policies.with_uniques(schemas.uniques()).with_hidden(schemas.hidden());
    Context::new(clock.clone(), Arc::new(policies), "musterd")
}

/// Wakes the tasks after a commit that gives them work. Waking is never needed for being right (every task also ticks),
/// only for being quick.
#[derive(Clone, Default)]
pub struct Wake {
    deliver: Arc<Notify>,
    poll: Arc<Notify>,
}

impl Wake {
    /// There is something in the outbox.
    pub fn deliver(&self) {
        self.deliver.notify_one();
    }

    /// A source was changed or asked for.
    pub fn poll(&self) {
        self.poll.notify_one();
    }

    /// What the task waits on.
    pub fn deliver_handle(&self) -> Arc<Notify> {
        self.deliver.clone()
    }

    pub fn poll_handle(&self) -> Arc<Notify> {
        self.poll.clone()
    }
}
