//! What PostgreSQL knows of the sizes of tables. A long run fills empty ones faster than it looks by itself, and plans made for
//! empty tables read all of them for every piece. SQLite plans without.

use super::db::{Error, Session as _, Tx};

/// Looks at those of the tables which a run fills that have doubled since they were looked at.
pub async fn refresh(tx: &mut Tx) -> Result<(), Error> {
    const GREW: &str = "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
                        AND relname IN ('entity', 'assertion', 'lookup', 'edge', 'licence') \
                        AND pg_relation_size(oid) > 2 * 8192 * CAST(GREATEST(relpages, 8) AS BIGINT)";
    for row in tx.all(GREW, Vec::new()).await? {
        tx.execute(format!("ANALYZE {}", row.get::<String>(0)?), Vec::new()).await?;
    }
    Ok(())
}
