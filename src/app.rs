//! Builds the daemon from its parts, runs it, and stops it in two stages: first nobody new is let in, then what runs is
//! finished, then the store is closed. Start with `run`.

mod faults;
mod notify;
pub mod operate;
pub mod probe;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::fault::Refused;
use crate::config::{Config, Reading};
use crate::credential;
use crate::http::state::App;
use crate::http::{self, control, server};
use crate::reconcile;
use crate::store::{self, Db, Options};
use crate::tasks::{self, Beat, Leader, World, housekeeping};
use crate::telemetry::{self, PrometheusHandle};

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{what}: {cause}")]
    Io { what: String, cause: std::io::Error },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("another musterd uses this store: {0} is locked")]
    Taken(String),
    #[error("metrics: {0}")]
    Metrics(#[from] telemetry::BuildError),
    #[error("passwords: {0}")]
    Hasher(#[from] credential::hasher::Error),
    #[error("the disk failed under a commit; the store must be looked at before the next start")]
    Disk,
}

/// A store that this process alone may write.
pub struct Opened {
    pub db: Db,
    /// Held as long as the store is open; PostgreSQL needs none.
    _lock: Option<std::fs::File>,
}

/// Opens the store and brings its schema up to date.
pub async fn open(config: &Config, clock: &Clock) -> Result<Opened, Error> {
    let mut options = Options::new(config.store.url.expose_secret());
    if config.store.connections > 0 {
        options.connections = config.store.connections;
    }
    let lock = options.file().map(|file| lock(&file)).transpose()?;
    let db = Db::open(&options).await?;
    for name in db.migrate(clock.now()).await? {
        tracing::info!(name, "migration applied");
    }
    if lock.is_some() {
        let ended = reconcile::end_interrupted(&db, clock.now()).await?;
        if ended > 0 {
            tracing::warn!(ended, "runs were interrupted by the end of their process");
        }
    }
    Ok(Opened { db, _lock: lock })
}

/// Two writers of one embedded database would not corrupt it, but each would act on what it knows: one at a time.
fn lock(database: &Path) -> Result<std::fs::File, Error> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let io = |cause| Error::Io { what: path.display().to_string(), cause };
    // For its owner only: whoever could open it could also hold it.
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(io)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Taken(path.display().to_string())),
        Err(std::fs::TryLockError::Error(cause)) => Err(io(cause)),
    }
}

/// Where the configuration came from, to read it again.
#[derive(Debug, Clone)]
pub struct Origin(pub Vec<PathBuf>);

impl Origin {
    /// All faults at once, also those that show only when mappings and connectors are compiled.
    pub fn load(&self) -> Result<Config, Refused> {
        let reading = Reading::load(&self.0, crate::config::environment());
        reading.also(faults::of(reading.partial()));
        reading.done()
    }
}

/// The daemon from start to end. Returns after SIGTERM or SIGINT, or when the store failed.
pub async fn run(origin: Origin, config: Config, clock: Clock) -> Result<(), Error> {
    let metrics = telemetry::metrics()?;
    let opened = open(&config, &clock).await?;
    let app = App::new(opened.db.clone(), clock, config)?;
    app.keep_uniques().await?;
    let daemon = Daemon::start(app, metrics).await?;
    tracing::info!(listen = %daemon.address, version = env!("CARGO_PKG_VERSION"), "ready");
    notify::ready();
    let result = daemon.watch(&origin).await;
    daemon.stop().await;
    result
}

/// The running parts.
struct Daemon {
    app: App,
    world: World,
    tls: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    /// The real address, also where the configuration said port 0.
    address: std::net::SocketAddr,
    /// Ends the listeners, and with them the requests.
    doors: CancellationToken,
    serving: TaskTracker,
    tasks: TaskTracker,
}

impl Daemon {
    async fn start(app: App, metrics: PrometheusHandle) -> Result<Daemon, Error> {
        let config = app.config();
        let listener = bind(config.server.listen).await?;
        let address = listener.local_addr().map_err(|cause| Error::Io { what: "listen".to_owned(), cause })?;
        let tls = watch::Sender::new(reload::tls(&config)?);
        let (doors, serving, tasks) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
        let world = world(&app, &tasks);
        start_tasks(&app, &world, &tasks);
        let own = config.server.metrics_listen;
        let router = http::router(app.clone(), own.is_none().then(|| metrics.clone()));
        let (limits, drain) = (config.server.limits.clone(), config.server.drain);
        // First: whoever sees that the daemon is ready may send it commands.
        if let Some(socket) = control_socket(&config.server.control)? {
            let routes = control::routes(operator(world.clone()));
            serving.spawn(server::serve_unix(socket, routes, doors.clone(), drain));
        }
        serving.spawn(server::serve(listener, tls.subscribe(), limits.clone(), router, doors.clone(), drain));
        if let Some(own) = own {
            let plain = watch::Sender::new(None).subscribe();
            let routes = http::status::open_metrics(metrics.clone());
            serving.spawn(server::serve(bind(own).await?, plain, limits, routes, doors.clone(), drain));
        }
        tasks.spawn(upkeep(metrics, world.stop.clone()));
        Ok(Daemon { app, world, tls, address, doors, serving, tasks })
    }

    /// Signals and proofs of life until the end.
    async fn watch(&self, origin: &Origin) -> Result<(), Error> {
        let listen = |kind| signal(kind).map_err(|cause| Error::Io { what: "signals".to_owned(), cause });
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let mut watchdog = tokio::time::interval(notify::watchdog_period());
        loop {
            tokio::select! {
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                _ = hangup.recv() => reload::reload(&self.app, origin, &self.tls).await,
                _ = watchdog.tick() => notify::alive(&self.app).await,
                () = self.app.db.failed() => break Err(Error::Disk),
            }
        }
    }

    async fn stop(self) {
        notify::stopping();
        tracing::info!("stopping: nobody new is let in, what runs is finished");
        self.app.drain();
        self.doors.cancel();
        self.serving.close();
        self.serving.wait().await;
        self.world.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(TASKS_END, self.tasks.wait()).await.is_err() {
            tracing::warn!("a task did not end in time and is cut off");
        }
        if let Err(error) = housekeeping::uses(self.world.clone(), self.app.take_uses()).await {
            tracing::warn!(%error, "the last uses of tokens were not written");
        }
        self.app.db.close().await;
        // The next start would put another in its place; meanwhile nobody shall wait for an answer.
        std::fs::remove_file(&self.app.config().server.control).ok();
        tracing::info!("stopped");
    }
}

fn operator(world: World) -> control::Operator {
    Arc::new(move |command, progress| Box::pin(operate::perform_json(world.clone(), command, progress)))
}

/// How long the tasks may take to reach a safe point.
const TASKS_END: Duration = Duration::from_secs(10);

fn world(app: &App, tasks: &TaskTracker) -> World {
    let stop = CancellationToken::new();
    if app.db.is_embedded() {
        return world_of(app, stop, Leader::Alone);
    }
    let (told, heard) = watch::channel(None);
    tasks.spawn(tasks::leader::keep(app.db.clone(), app.clock.uuid().to_string(), told, stop.clone()));
    world_of(app, stop, Leader::Elected(heard))
}

/// For a command that found no daemon: the same world, without tasks.
pub fn world_alone(app: &App) -> World {
    world_of(app, CancellationToken::new(), Leader::Alone)
}

fn world_of(app: &App, stop: CancellationToken, leader: Leader) -> World {
    World {
        db: app.db.clone(),
        clock: app.clock.clone(),
        config: app.watch_config(),
        engine: app.watch_engine(),
        board: app.board.clone(),
        tokens: app.tokens.clone(),
        deliver: app.wake.deliver_handle(),
        stop,
        leader,
        polling: Default::default(),
        telling: Default::default(),
    }
}

fn start_tasks(app: &App, world: &World, tasks: &TaskTracker) {
    let beat = |name, seconds, wake| Beat { name, every: Duration::from_secs(seconds), wake, leader_only: false };
    let never = || Arc::new(Notify::new());
    let used = app.clone();
    let work = move |world| housekeeping::uses(world, used.take_uses());
    tasks.spawn(tasks::repeat(world.clone(), beat("token_uses", 60, never()), work));
    tasks.spawn(tasks::repeat(world.clone(), beat("deliver", 15, world.deliver.clone()), tasks::deliver::run));
    tasks.spawn(tasks::repeat(world.clone(), beat("notify", 2, never()), tasks::notify::run));
    let poll = Beat { leader_only: true, ..beat("poll", 5, app.wake.poll_handle()) };
    tasks.spawn(tasks::repeat(world.clone(), poll, tasks::poll::due));
    tasks.spawn(tasks::listen::keep(world.clone()));
    tasks.spawn(tasks::repeat(world.clone(), beat("expire", 300, never()), tasks::expire::run));
    tasks.spawn(tasks::repeat(world.clone(), beat("checkpoint", 300, never()), housekeeping::checkpoint));
}

/// Histograms keep what was not yet folded; without this they grow.
async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => metrics.run_upkeep(),
        }
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| Error::Io { what: format!("listen on {address}"), cause })
}

/// The socket for the commands of this machine, open to its owner only. `None` where its folder does not exist: the
/// commands then see no daemon, and the lock of the store keeps them from writing beside it.
fn control_socket(path: &Path) -> Result<Option<UnixListener>, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    if !path.parent().is_some_and(Path::is_dir) {
        tracing::warn!(path = %path.display(), "no control socket: its folder does not exist");
        return Ok(None);
    }
    let io = |cause| Error::Io { what: path.display().to_string(), cause };
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(io(cause)),
        _ => {}
    }
    let socket = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(Some(socket))
}
