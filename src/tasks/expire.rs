//! What ends by time alone. Links whose time is over are marked as expired, so that lists say so (nothing rests on it:
//! using a link looks at the time). Seats of people who were deactivated are freed when their grace is over (R94).

use super::World;
use crate::reconcile;
use crate::store::{Error, link};

pub async fn run(world: World) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    links(&world).await?;
    seats(&world).await?;
    Ok(())
}

/// In pieces, until no seat is due.
async fn seats(world: &World) -> Result<(), reconcile::Error> {
    let cx = world.context("task:expire");
    loop {
        let mut tx = world.db.write().await?;
        let more = reconcile::licence::expire(&mut tx, &cx).await?;
        tx.commit().await?;
        if !more {
            return Ok(());
        }
    }
}

async fn links(world: &World) -> Result<(), Error> {
    let now = world.clock.now();
    if !link::has_expired(&mut world.db.read().await?, now).await? {
        return Ok(());
    }
    let mut tx = world.db.write().await?;
    let expired = link::expire(&mut tx, now).await?;
    tx.commit().await?;
    tracing::info!(expired, "links ran out");
    Ok(())
}
