//! `backup` and `migrate`.

use std::path::Path;

use serde_json::json;

use super::{Failure, Reply};
use crate::tasks::World;

/// A consistent copy beside the running daemon: written under another name, flushed, then renamed, so that a file with the
/// wanted name is always whole.
pub async fn backup(world: &World, file: &Path) -> Result<Reply, Failure> {
    let io = |error: std::io::Error| Failure::Failed(format!("{}: {error}", file.display()));
    if !file.is_absolute() {
        return Err(Failure::Usage("the backup needs an absolute path".to_owned()));
    }
    if file.exists() {
        return Err(Failure::Usage(format!("{} exists already", file.display())));
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = std::path::PathBuf::from(name);
    if part.exists() {
        std::fs::remove_file(&part).map_err(io)?;
    }
    let copied = world.db.copy_into(&part).await;
    if let Err(error) = copied {
        drop(std::fs::remove_file(&part));
        return Err(error.into());
    }
    std::fs::File::open(&part).and_then(|copy| copy.sync_all()).map_err(io)?;
    let bytes = std::fs::metadata(&part).map_err(io)?.len();
    std::fs::rename(&part, file).map_err(io)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(Reply::fine(json!({ "file": file, "bytes": bytes })))
}

/// Whoever opened the store has migrated it; this says so, and does it where a newer program met an older daemon's store.
pub async fn migrate(world: &World) -> Result<Reply, Failure> {
    let applied = world.db.migrate(world.clock.now()).await?;
    Ok(Reply::fine(json!({ "applied": applied })))
}
