//! Marks links whose time is over as expired, so that lists say so. Nothing rests on it: using a link looks at the time.

use super::World;
use crate::store::{Error, link};

pub async fn run(world: World) -> Result<(), Error> {
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
