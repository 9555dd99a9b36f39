//! Words to systemd: READY, RELOADING, STOPPING, WATCHDOG. Without `NOTIFY_SOCKET` they go nowhere. The watchdog is fed
//! only after a proof of life: the writer of the store turned and the event loop came round.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::http::state::App;

pub fn ready() {
    say(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The manager waits for the next `ready`.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic time for systemd"),
    }
}

pub fn refused_reload() {
    say(&[NotifyState::Ready, NotifyState::Status("serving; the last reload was refused, see the log")]);
}

pub fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("finishing requests")]);
}

/// Half of what the manager allows; every ten seconds where it does not watch.
pub fn watchdog_period() -> Duration {
    sd_notify::watchdog_enabled()
        .map_or(Duration::from_secs(10), |allowed| (allowed / 2).max(Duration::from_millis(100)))
}

pub async fn alive(app: &App) {
    if app.is_writable().await {
        say(&[NotifyState::Watchdog]);
    } else {
        tracing::error!("no proof of life: the watchdog is not fed");
    }
}

fn say(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
