//! Directories that ring when something changes (`live`): each is listened to in between its reads, and read at once when it
//! does. Its schedule goes on beside that. Begins again with every configuration. Start with `keep`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::World;
use super::poll::{self, Reader};
use crate::config::Config;
use crate::config::source::Body;
use crate::model::time::Millis;
use crate::reconcile::Mode;
use crate::sources::ldap::{self, Heard};
use crate::store::source_state;

/// Many changes at once are one read.
const GATHER: Duration = Duration::from_millis(300);
/// As long as there is nothing to listen to.
const PAUSE: Duration = Duration::from_secs(5);
/// The first pause after a failure, and the longest.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_mins(15);

/// Listens as long as the world lasts.
pub async fn keep(world: World) {
    let mut news = world.config.clone();
    while !world.stop.is_cancelled() {
        let config = news.borrow_and_update().clone();
        let done = world.stop.child_token();
        let mut ears = JoinSet::new();
        for (name, source) in &config.sources {
            if matches!(&source.body, Body::Ldap(settings) if settings.live) {
                ears.spawn(one(world.clone(), config.clone(), name.clone(), done.clone()));
            }
        }
        tokio::select! {
            () = world.stop.cancelled() => {}
            changed = news.changed() => if changed.is_err() { world.stop.cancelled().await },
        }
        done.cancel();
        while ears.join_next().await.is_some() {}
    }
}

async fn one(world: World, config: Arc<Config>, name: String, done: CancellationToken) {
    let Some(source) = config.source(&name) else { return };
    let Ok(Some(Reader::Ldap(reader))) = Reader::of(source) else { return };
    let (mut failures, mut vain) = (0_u32, 0_u32);
    while !done.is_cancelled() {
        let pause = match hear(&world, &reader, &name, &done).await {
            Ok(Heard::Nothing) => Duration::ZERO,
            Ok(Heard::NoPlace) => PAUSE,
            Ok(Heard::Change) => {
                failures = 0;
                tokio::time::sleep(GATHER).await;
                // A bell that rings for nothing is answered less and less often.
                vain = if read(&world, &name).await { 0 } else { vain + 1 };
                if vain < 3 { Duration::ZERO } else { later(vain - 2) }
            }
            Err(reason) => {
                failures += 1;
                tracing::info!(source = name, reason, "a directory is not listened to for a while");
                later(failures)
            }
        };
        tokio::select! {
            () = done.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn later(times: u32) -> Duration {
    SOONEST.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LATEST)
}

async fn hear(world: &World, reader: &ldap::Reader, name: &str, done: &CancellationToken) -> Result<Heard, String> {
    if !world.leader.is_leader() {
        return Ok(Heard::NoPlace);
    }
    let told = |error: crate::store::Error| error.to_string();
    let mut read = world.db.read().await.map_err(told)?;
    let state = source_state::by_name(&mut read, name).await.map_err(told)?;
    drop(read);
    let Some(state) = state.filter(|state| !state.paused) else { return Ok(Heard::NoPlace) };
    ldap::listen(reader, state.cursor.as_deref(), done).await
}

/// Whether there was anything new.
async fn read(world: &World, name: &str) -> bool {
    // Whoever paused it did so while it was listened to.
    if is_paused(world, name).await {
        return true;
    }
    let before = good(world, name).await;
    let result = poll::poll(world, name, Mode::Sync { expect: None }).await;
    poll::tell(name, &result);
    match result {
        Ok(report) => report.run.is_some(),
        // Somebody else reads it: that is as good.
        Err(poll::Error::Busy(_)) => good(world, name).await != before,
        Err(_) => false,
    }
}

async fn is_paused(world: &World, name: &str) -> bool {
    let Ok(mut read) = world.db.read().await else { return false };
    matches!(source_state::by_name(&mut read, name).await, Ok(Some(state)) if state.paused)
}

async fn good(world: &World, name: &str) -> Option<Millis> {
    let mut read = world.db.read().await.ok()?;
    source_state::by_name(&mut read, name).await.ok()??.last_good_at
}
