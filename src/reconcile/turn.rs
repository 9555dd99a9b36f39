//! One run of a source at a time, whichever of several processes on one PostgreSQL it is in: a lease of the source, renewed
//! while the run lasts. Every transaction of the run asks in itself whether the lease still stands (`begin`), so that a
//! process that slept through its end writes nothing any more. An embedded store has one process: nothing is asked there.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Context, Error};
use crate::store::lease::{self, LASTS, Lease};
use crate::store::{Db, Tx};

/// A third of the lease: two renewals may fail before it is lost.
const RENEW: Duration = Duration::from_millis(LASTS as u64 / 3);

/// Held as long as the run lasts. Dropped without `end` (the run was given up) it is given back a little later.
pub(super) struct Turn {
    lease: Option<Lease>,
    renewing: Option<(DropGuard, JoinHandle<()>)>,
}

impl Turn {
    /// `Error::Busy` while another run of the source is under way.
    pub async fn take(db: &Db, cx: &Context, source: &str) -> Result<Turn, Error> {
        if db.is_embedded() {
            return Ok(Turn { lease: None, renewing: None });
        }
        let (name, holder) = (format!("run:{source}"), cx.clock.uuid().to_string());
        let lease = lease::acquire(db, &name, &holder).await?.ok_or_else(|| Error::Busy(source.to_owned()))?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(renew(db.clone(), lease.clone(), stop.clone()));
        Ok(Turn { lease: Some(lease), renewing: Some((stop.drop_guard(), task)) })
    }

    /// The same world, in which a run writes only as long as this turn is its own.
    pub fn within(&self, cx: &Context) -> Context {
        Context { lease: self.lease.clone(), ..cx.clone() }
    }

    /// Returns once the next run may begin.
    pub async fn end(self) {
        if let Some((renewing, task)) = self.renewing {
            drop(renewing);
            task.await.ok();
        }
    }
}

/// Until `stop`, then the lease is given back. A renewal that fails is tried again at the next beat.
async fn renew(db: Db, lease: Lease, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(RENEW) => {}
        }
        match lease::acquire(&db, &lease.name, &lease.holder).await {
            Ok(Some(renewed)) if renewed.epoch == lease.epoch => {}
            Ok(_) => return tracing::warn!(lease = lease.name, "a run lost its lease to another process"),
            Err(error) => tracing::warn!(lease = lease.name, %error, "the lease of a run could not be renewed"),
        }
    }
    if let Err(error) = lease::release(&db, &lease).await {
        tracing::warn!(lease = lease.name, %error, "the lease of a run could not be given back; it ends by itself");
    }
}

/// A transaction of a run. `Error::Fenced` when its turn is over: another process may be at work.
pub(super) async fn begin(db: &Db, cx: &Context) -> Result<Tx, Error> {
    let mut tx = db.write_long().await?;
    if let Some(lease) = &cx.lease
        && !lease::held(&mut tx, lease).await?
    {
        return Err(Error::Fenced(lease.name.clone()));
    }
    Ok(tx)
}
