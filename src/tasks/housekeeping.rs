//! Small regular chores of the store: when tokens were last used, and the log of an embedded database kept short.

use std::collections::BTreeMap;

use super::World;
use crate::model::time::Millis;
use crate::store::{Error, token};

/// Writes the times of use, all in one transaction. What is lost with a crash is not worth a write per request.
pub async fn uses(world: World, uses: BTreeMap<String, Millis>) -> Result<(), Error> {
    if uses.is_empty() {
        return Ok(());
    }
    let mut tx = world.db.write().await?;
    for (id, at) in &uses {
        token::touch(&mut tx, id, *at).await?;
    }
    tx.commit().await
}

/// Folds the log into the file; a reader that holds it up is no fault, the next time will do.
pub async fn checkpoint(world: World) -> Result<(), Error> {
    if !world.db.checkpoint().await? {
        tracing::debug!("a reader held up the checkpoint");
    }
    Ok(())
}
