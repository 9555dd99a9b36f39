//! Table `outbox`: what is to be delivered, written in the transaction of the change that causes it. A row is claimed by a
//! lease right before it is handed over; one that is found claimed after its lease may have been delivered and is never
//! sent again by itself. A payload holds no secret.

use serde_json::Value as Json;

use super::db::{Error, Session, Tx};
use super::value::{Row, values};
use crate::model::id::EntityId;
use crate::model::mail::{MailKind, OutboxState};
use crate::model::time::Millis;

/// A row to be written.
#[derive(Debug, Clone)]
pub struct New {
    /// UUID text; also the local part of the Message-ID, which is the same over all attempts.
    pub id: String,
    pub kind: String,
    /// A second row of the same text is not written.
    pub dedupe: String,
    pub entity: Option<EntityId>,
    pub payload: Json,
    pub at: Millis,
}

/// A row as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: String,
    pub kind: String,
    pub state: OutboxState,
    pub entity: Option<EntityId>,
    pub payload: Json,
    /// Deliveries begun.
    pub attempts: i64,
    pub next_at: Millis,
    pub message_id: String,
    pub created: Millis,
    pub ended: Option<Millis>,
    pub error: Option<String>,
}

const COLUMNS: &str = "id, kind, state, entity_id, payload, attempts, next_at, message_id, created, ended, error";

fn read(row: &Row) -> Result<Item, Error> {
    let ended: Option<i64> = row.get(9)?;
    Ok(Item {
        id: row.get(0)?,
        kind: row.get(1)?,
        state: row.parse(2)?,
        entity: row.parse_opt(3)?,
        payload: row.json(4)?,
        attempts: row.get(5)?,
        next_at: Millis(row.get(6)?),
        message_id: row.get(7)?,
        created: Millis(row.get(8)?),
        ended: ended.map(Millis),
        error: row.get(10)?,
    })
}

/// True when it was written, false when one of the same `dedupe` is there.
pub async fn enqueue(tx: &mut Tx, new: New) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO outbox (id, kind, dedupe, state, entity_id, payload, attempts, next_at, message_id, \
                       created) VALUES ($1, $2, $3, 'queued', $4, $5, 0, $6, $1, $6) ON CONFLICT (dedupe) DO NOTHING";
    Ok(tx.execute(SQL, values![new.id, new.kind, new.dedupe, new.entity, new.payload.to_string(), new.at]).await? == 1)
}

pub async fn by_id(session: &mut impl Session, id: &str) -> Result<Option<Item>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE id = $1");
    session.optional(sql, values![id]).await?.as_ref().map(read).transpose()
}

/// The mails that are due, longest waiting first.
pub async fn due_mails(session: &mut impl Session, now: Millis, limit: i64) -> Result<Vec<Item>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox WHERE state = 'queued' AND next_at <= $1 AND kind IN ($2, $3, $4) \
         ORDER BY next_at, id LIMIT $5"
    );
    let [one, two, three] = [MailKind::Invitation, MailKind::SetPassword, MailKind::Password].map(MailKind::as_str);
    session.all(sql, values![now, one, two, three, limit]).await?.iter().map(read).collect()
}

/// Takes a queued row for delivery. False: somebody else was first.
pub async fn claim(tx: &mut Tx, id: &str, message_id: &str, lease_until: Millis) -> Result<bool, Error> {
    const SQL: &str = "UPDATE outbox SET state = 'sending', attempts = attempts + 1, lease_until = $1, message_id = $2 \
                       WHERE id = $3 AND state = 'queued'";
    Ok(tx.execute(SQL, values![lease_until, message_id, id]).await? == 1)
}

/// The end of a row, with the reason where it was not delivered.
pub async fn finish(tx: &mut Tx, id: &str, state: OutboxState, error: Option<&str>, now: Millis) -> Result<(), Error> {
    const SQL: &str = "UPDATE outbox SET state = $1, error = $2, ended = $3, lease_until = NULL \
                       WHERE id = $4 AND state IN ('queued', 'sending')";
    tx.execute(SQL, values![state.as_str(), error, now, id]).await.map(drop)
}

/// Back into the queue.
pub async fn retry(tx: &mut Tx, id: &str, next_at: Millis, error: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE outbox SET state = 'queued', next_at = $1, error = $2, lease_until = NULL \
                       WHERE id = $3 AND state = 'sending'";
    tx.execute(SQL, values![next_at, error, id]).await.map(drop)
}

/// By hand: failed, indeterminate and skipped rows are queued again. False: it is none of these.
pub async fn requeue(tx: &mut Tx, id: &str, now: Millis) -> Result<bool, Error> {
    const SQL: &str = "UPDATE outbox SET state = 'queued', attempts = 0, next_at = $1, ended = NULL, error = NULL \
                       WHERE id = $2 AND state IN ('failed', 'indeterminate', 'skipped')";
    Ok(tx.execute(SQL, values![now, id]).await? == 1)
}

/// Whether `abandon` has work: so that a pass without work writes nothing.
pub async fn has_abandoned(session: &mut impl Session, now: Millis) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM outbox WHERE state = 'sending' AND lease_until IS NOT NULL AND lease_until <= $1 \
                       LIMIT 1";
    Ok(session.optional(SQL.to_owned(), values![now]).await?.is_some())
}

/// Rows whose holder went away in the middle of the delivery: nobody knows whether they were delivered.
pub async fn abandon(tx: &mut Tx, now: Millis) -> Result<u64, Error> {
    const SQL: &str = "UPDATE outbox SET state = 'indeterminate', ended = $1, lease_until = NULL, \
                       error = 'the delivery was interrupted' \
                       WHERE state = 'sending' AND lease_until IS NOT NULL AND lease_until <= $1";
    tx.execute(SQL, values![now]).await
}

/// Newest first, of one state or of all.
pub async fn list(session: &mut impl Session, state: Option<OutboxState>, limit: i64) -> Result<Vec<Item>, Error> {
    let rows = match state {
        Some(state) => {
            let sql = format!("SELECT {COLUMNS} FROM outbox WHERE state = $1 ORDER BY id DESC LIMIT $2");
            session.all(sql, values![state.as_str(), limit]).await?
        }
        None => {
            let sql = format!("SELECT {COLUMNS} FROM outbox ORDER BY id DESC LIMIT $1");
            session.all(sql, values![limit]).await?
        }
    };
    rows.iter().map(read).collect()
}

/// (state, rows) and when the longest waiting queued row was written.
pub async fn depth(session: &mut impl Session) -> Result<(Vec<(String, i64)>, Option<Millis>), Error> {
    let rows =
        session.all("SELECT state, count(*) FROM outbox GROUP BY state ORDER BY state".to_owned(), values![]).await?;
    let counts = rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, Error>>()?;
    const OLDEST: &str = "SELECT min(created) FROM outbox WHERE state = 'queued'";
    let oldest: Option<i64> = session.one(OLDEST.to_owned(), values![]).await?.get(0)?;
    Ok((counts, oldest.map(Millis)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Db;
    use crate::store::testing::{NOW, both};

    fn new(id: &str, dedupe: &str) -> New {
        New {
            id: id.to_owned(),
            kind: MailKind::Invitation.to_string(),
            dedupe: dedupe.to_owned(),
            entity: None,
            payload: json!({"link": "l"}),
            at: NOW,
        }
    }

    async fn state(db: &Db, id: &str) -> OutboxState {
        by_id(&mut db.read().await.unwrap(), id).await.unwrap().unwrap().state
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_row_is_written_once_and_claimed_once() {
        both(|db| async move {
            let mut tx = db.write().await.unwrap();
            assert!(enqueue(&mut tx, new("a", "one")).await.unwrap());
            assert!(!enqueue(&mut tx, new("b", "one")).await.unwrap());
            tx.commit().await.unwrap();
            let claims: Vec<_> = (0..8)
                .map(|_| {
                    let db = db.clone();
                    tokio::spawn(async move {
                        let mut tx = db.write().await.unwrap();
                        let claimed = claim(&mut tx, "a", "<a@x>", NOW.plus(1000)).await.unwrap();
                        tx.commit().await.unwrap();
                        claimed
                    })
                })
                .collect();
            let mut winners = 0;
            for claim in claims {
                winners += usize::from(claim.await.unwrap());
            }
            assert_eq!(winners, 1);
            let mut read = db.read().await.unwrap();
            assert!(due_mails(&mut read, NOW.plus(5), 10).await.unwrap().is_empty());
            let item = by_id(&mut read, "a").await.unwrap().unwrap();
            assert_eq!((item.attempts, item.message_id.as_str(), item.state), (1, "<a@x>", OutboxState::Sending));
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_interrupted_delivery_is_not_sent_again_by_itself() {
        both(|db| async move {
            let mut tx = db.write().await.unwrap();
            enqueue(&mut tx, new("a", "one")).await.unwrap();
            claim(&mut tx, "a", "<a@x>", NOW.plus(1000)).await.unwrap();
            assert_eq!(abandon(&mut tx, NOW.plus(999)).await.unwrap(), 0);
            assert_eq!(abandon(&mut tx, NOW.plus(1000)).await.unwrap(), 1);
            tx.commit().await.unwrap();
            assert_eq!(state(&db, "a").await, OutboxState::Indeterminate);
            let mut tx = db.write().await.unwrap();
            retry(&mut tx, "a", NOW, "late").await.unwrap();
            finish(&mut tx, "a", OutboxState::Sent, None, NOW).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(state(&db, "a").await, OutboxState::Indeterminate, "an end is an end");
            let mut tx = db.write().await.unwrap();
            assert!(requeue(&mut tx, "a", NOW).await.unwrap() && !requeue(&mut tx, "a", NOW).await.unwrap());
            tx.commit().await.unwrap();
            let mut read = db.read().await.unwrap();
            assert_eq!(due_mails(&mut read, NOW, 10).await.unwrap().len(), 1);
            assert_eq!(depth(&mut read).await.unwrap(), (vec![("queued".to_owned(), 1)], Some(NOW)));
        })
        .await;
    }
}
