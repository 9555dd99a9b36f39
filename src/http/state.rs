//! What every handler gets: `App`, cheap to clone. A handler takes one snapshot of the configuration (`app.config()`) and
//! works with it to its end, so that a reload in the middle of a request changes nothing for it.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::config::Config;

/// The daemon as the surfaces see it.
#[derive(Clone)]
pub struct App {
    pub clock: Clock,
    pub wake: Wake,
    /// Swapped as a whole by a reload.
    config: watch::Receiver<Arc<Config>>,
}

impl App {
    pub fn new(clock: Clock, config: watch::Receiver<Arc<Config>>, wake: Wake) -> App {
        App { clock, wake, config }
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }
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
