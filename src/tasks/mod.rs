//! What runs on a tick or a wake. A task takes no input but the `World`, is idempotent, and does the same whether it was
//! woken or its time came. `repeat` is the runner; every task is a file with an async function `World -> Result`.
//! A task that fails is tried again at its next tick, with the reason in the log: the others are not touched.

pub mod deliver;
pub mod expire;
pub mod housekeeping;
pub mod leader;
pub mod listen;
pub mod notify;
pub mod poll;
pub mod turns;
pub use crate::config::schedule;

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::reconcile::Context;
use crate::store::Db;
use crate::store::lease::Lease;
use crate::store::token_memory::Memory;
use crate::telemetry::{self, Board, Fare};
use turns::Turns;

/// What every task works with. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub db: Db,
    pub clock: Clock,
    pub config: watch::Receiver<Arc<Config>>,
    pub engine: watch::Receiver<Context>,
    pub board: Board,
    /// Who revokes a token makes this process forget it.
    pub tokens: Arc<Memory>,
    /// Wake it after a commit that put something into the outbox.
    pub deliver: Arc<Notify>,
    /// Cancelled when the daemon ends: long work stops at its next safe point.
    pub stop: CancellationToken,
    pub leader: Leader,
    /// Which sources this process is reading.
    pub polling: Turns,
    /// Which webhooks it is telling something.
    pub telling: Turns,
}

impl World {
    /// The configuration as it is now; take it once per run.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// What the engine works with, for changes that `actor` causes (`source:hq`).
    pub fn context(&self, actor: impl Into<String>) -> Context {
        self.engine.borrow().acting_as(actor)
    }
}

/// Whether this process may poll. An embedded store has one process and no rival.
#[derive(Clone)]
pub enum Leader {
    Alone,
    Elected(watch::Receiver<Option<Lease>>),
}

impl Leader {
    pub fn is_leader(&self) -> bool {
        match self {
            Leader::Alone => true,
            Leader::Elected(lease) => lease.borrow().is_some(),
        }
    }

    /// To be checked inside a transaction by `store::lease::held`; `None` where there is no rival, or no lease.
    pub fn lease(&self) -> Option<Lease> {
        match self {
            Leader::Alone => None,
            Leader::Elected(lease) => lease.borrow().clone(),
        }
    }
}

/// When a task runs.
#[derive(Clone)]
pub struct Beat {
    pub name: &'static str,
    /// At the latest this long after the last run ended.
    pub every: Duration,
    /// Sooner, when this is notified.
    pub wake: Arc<Notify>,
    /// Only in the process that holds the lease.
    pub leader_only: bool,
}

/// Runs `work` at start, on every tick and on every wake, one at a time, until the world stops.
pub async fn repeat<Work, Run, Error>(world: World, beat: Beat, work: Work)
where
    Work: Fn(World) -> Run,
    Run: Future<Output = Result<(), Error>>,
    Error: Display,
{
    while !world.stop.is_cancelled() {
        if !beat.leader_only || world.leader.is_leader() {
            once(&world, beat.name, work(world.clone())).await;
        }
        tokio::select! {
            () = world.stop.cancelled() => break,
            () = beat.wake.notified() => {}
            () = tokio::time::sleep(beat.every) => {}
        }
    }
}

async fn once<Error: Display>(world: &World, name: &'static str, run: impl Future<Output = Result<(), Error>>) {
    let start = Instant::now();
    let result = run.await;
    let (took, good) = (start.elapsed(), result.is_ok());
    if let Err(error) = result {
        tracing::warn!(task = name, %error, "a task failed and will be tried again");
    }
    let outcome = if good { "ok" } else { "failed" };
    metrics::counter!(telemetry::TASK_RUNS, "task" => name, "outcome" => outcome).increment(1);
    metrics::histogram!(telemetry::TASK_DURATION, "task" => name).record(took.as_secs_f64());
    world.board.note(name, Fare { at: world.clock.now(), took, good });
}
