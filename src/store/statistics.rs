//! What PostgreSQL knows of the sizes of tables. A long run fills empty ones faster than it looks by itself, and plans made for
//! empty tables read all of them for every piece. SQLite plans without.

use super::db::{Error, Tx};

/// Looks at the tables that a run fills.
pub async fn refresh(tx: &mut Tx) -> Result<(), Error> {
    for table in ["entity", "assertion", "lookup", "edge", "licence"] {
        tx.execute(format!("ANALYZE {table}"), Vec::new()).await?;
    }
    Ok(())
}
