//! Table `secret`: keys that the service makes for itself. All replicas of one store have the same, whoever came first.

use super::db::{Db, Error, Session as _};
use super::value::values;
use crate::model::time::Millis;

/// The key of that name; `fresh` becomes it where there is none yet.
pub async fn obtain(db: &Db, name: &str, fresh: &[u8], now: Millis) -> Result<Vec<u8>, Error> {
    const FIND: &str = "SELECT value FROM secret WHERE name = $1";
    let found = db.read().await?.optional(FIND, values![name]).await?;
    if let Some(row) = found {
        return row.get(0);
    }
    let mut tx = db.write().await?;
    let sql = "INSERT INTO secret (name, value, created) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
    tx.execute(sql, values![name, fresh.to_vec(), now]).await?;
    let value = tx.one(FIND, values![name]).await?.get(0)?;
    tx.commit().await?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, both};

    #[tokio::test]
    async fn whoever_comes_first_makes_it_and_the_others_have_the_same() {
        both(|db| async move {
            let (one, two) = tokio::join!(obtain(&db, "cursor", b"one", NOW), obtain(&db, "cursor", b"two", NOW));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert_eq!(one, two);
            assert_eq!(obtain(&db, "cursor", b"three", NOW).await.unwrap(), one);
            assert_eq!(obtain(&db, "other", b"three", NOW).await.unwrap(), b"three");
        })
        .await;
    }
}
