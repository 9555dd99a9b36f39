//! Keeps the lease of the one process that polls, where several share a PostgreSQL. A holder that cannot renew stops being
//! one before the lease ends in the database, by its own monotonic clock: two never poll at once, however late an answer.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::Db;
use crate::store::lease::{self, LASTS, Lease};

const NAME: &str = "poll";
/// A third of the lease: two renewals may fail before it is lost.
const RENEW: Duration = Duration::from_millis(LASTS as u64 / 3);
/// Of the lease's time, measured from the moment it was asked for.
const TRUST: Duration = Duration::from_millis(LASTS as u64 * 2 / 3);

/// Renews until `stop`, then gives the lease back.
pub async fn keep(db: Db, holder: String, told: watch::Sender<Option<Lease>>, stop: CancellationToken) {
    let mut good_until = Instant::now();
    loop {
        let asked = Instant::now();
        match tokio::time::timeout(RENEW, lease::acquire(&db, NAME, &holder)).await {
            Ok(Ok(Some(lease))) => {
                good_until = asked + TRUST;
                tell(&told, Some(lease));
            }
            Ok(Ok(None)) => tell(&told, None),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
            Err(_) => tracing::warn!("the lease could not be renewed in time"),
        }
        if Instant::now() >= good_until {
            tell(&told, None);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(next(good_until).into()) => {}
        }
    }
    let held = told.send_replace(None);
    if let Some(held) = held
        && let Err(error) = lease::release(&db, &held).await
    {
        tracing::warn!(%error, "the lease could not be given back; it ends by itself");
    }
}

/// The next look: a renewal, or the moment at which the lease is not trusted any more.
fn next(good_until: Instant) -> Instant {
    let renewal = Instant::now() + RENEW;
    if good_until > Instant::now() { renewal.min(good_until) } else { renewal }
}

fn tell(told: &watch::Sender<Option<Lease>>, lease: Option<Lease>) {
    told.send_if_modified(|known| {
        if *known == lease {
            return false;
        }
        match &lease {
            Some(lease) => tracing::info!(epoch = lease.epoch, "this process polls"),
            None => tracing::info!("this process does not poll any more"),
        }
        *known = lease;
        true
    });
}
