//! Table `link`: invitations and set-password links. Only the SHA-256 of a secret is here, and only since its mail is
//! being delivered. Using a link is one UPDATE that repeats its conditions: of two at once exactly one gets the row.

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Row, values};
use crate::model::fold;
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkData, LinkState, Purpose};
use crate::model::time::Millis;

const COLUMNS: &str = "id, purpose, entity_id, email, company_id, role, data, state, created, expires, used";

/// The column `data`: what the model calls so, and the address as it was typed (the column `email` is folded).
#[derive(serde::Serialize, serde::Deserialize)]
struct Data {
    address: String,
    #[serde(flatten)]
    data: LinkData,
}

fn read(row: &Row) -> Result<Link, Error> {
    let Data { address, data } = row.json(6)?;
    let used: Option<i64> = row.get(10)?;
    Ok(Link {
        id: row.get(0)?,
        purpose: row.parse(1)?,
        entity: row.parse_opt(2)?,
        email: address,
        company: row.parse_opt(4)?,
        role: row.parse_opt(5)?,
        data,
        state: row.parse(7)?,
        created: Millis(row.get(8)?),
        expires: Millis(row.get(9)?),
        used: used.map(Millis),
    })
}

/// A link without a secret: its mail will bring one.
pub async fn insert(tx: &mut Tx, link: &Link) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO link (id, purpose, hash, entity_id, email, company_id, role, data, state, created, \
                       expires, used) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let data = Data { address: link.email.clone(), data: link.data.clone() };
    let data = serde_json::to_string(&data).map_err(|error| Error::Stored(error.to_string()))?;
    let values = values![
        &link.id,
        link.purpose.as_str(),
        None::<Vec<u8>>,
        link.entity,
        fold::key(&link.email),
        link.company,
        link.role.map(|role| role.as_str()),
        data,
        link.state.as_str(),
        link.created,
        link.expires,
        link.used,
    ];
    tx.execute(SQL, values).await.map(drop)
}

pub async fn by_id(session: &mut impl Session, id: &str) -> Result<Option<Link>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM link WHERE id = $1");
    session.optional(sql, values![id]).await?.as_ref().map(read).transpose()
}

/// The link whose secret has this hash, in whatever state.
pub async fn by_hash(session: &mut impl Session, hash: &[u8]) -> Result<Option<Link>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM link WHERE hash = $1");
    session.optional(sql, values![hash]).await?.as_ref().map(read).transpose()
}

/// Those of `ids` that have, or had, a link.
pub async fn with_any(session: &mut impl Session, ids: &[EntityId]) -> Result<Vec<EntityId>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("SELECT entity_id FROM link WHERE entity_id IN ");
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            found.push(row.parse(0)?);
        }
    }
    Ok(found)
}

/// The open invitations of an address into a company; nobody else changes them till the transaction ends.
pub async fn lock_open(tx: &mut Tx, email: &str, company: Option<EntityId>) -> Result<Vec<Link>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM link WHERE email = $1 AND purpose = 'invitation' AND state IN ('pending', 'sent') \
         ORDER BY id"
    );
    let rows = tx.lock(sql, values![fold::key(email)]).await?;
    let links = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(links.into_iter().filter(|link| link.company == company).collect())
}

/// Invitations, newest first, before the id `before`.
pub async fn invitations(
    session: &mut impl Session,
    company: Option<EntityId>,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Link>, Error> {
    let before = before.unwrap_or("~"); // behind every id
    let rows = match company {
        Some(company) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM link WHERE purpose = 'invitation' AND company_id = $1 AND id < $2 \
                 ORDER BY id DESC LIMIT $3"
            );
            session.all(sql, values![company, before, limit]).await?
        }
        None => {
            let sql = format!(
                "SELECT {COLUMNS} FROM link WHERE purpose = 'invitation' AND id < $1 ORDER BY id DESC LIMIT $2"
            );
            session.all(sql, values![before, limit]).await?
        }
    };
    rows.iter().map(read).collect()
}

/// Gives an open link its secret; the one before is dead. False: the link is not open any more.
pub async fn arm(tx: &mut Tx, id: &str, hash: &[u8], now: Millis) -> Result<bool, Error> {
    const SQL: &str = "UPDATE link SET hash = $1 WHERE id = $2 AND state IN ('pending', 'sent') AND expires > $3";
    Ok(tx.execute(SQL, values![hash, id, now]).await? == 1)
}

/// Its mail was taken by the mail server.
pub async fn sent(tx: &mut Tx, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE link SET state = 'sent' WHERE id = $1 AND state = 'pending'", values![id]).await.map(drop)
}

/// Uses the link: of any number at once exactly one gets it. `None`: unknown, used, expired, revoked or superseded.
pub async fn consume(tx: &mut Tx, hash: &[u8], now: Millis) -> Result<Option<Link>, Error> {
    let sql = format!(
        "UPDATE link SET state = 'accepted', used = $1 \
         WHERE hash = $2 AND state IN ('pending', 'sent') AND expires > $1 RETURNING {COLUMNS}"
    );
    tx.optional(sql, values![now, hash]).await?.as_ref().map(read).transpose()
}

/// Which account came of an accepted invitation.
pub async fn belongs_to(tx: &mut Tx, id: &str, entity: EntityId) -> Result<(), Error> {
    tx.execute("UPDATE link SET entity_id = $1 WHERE id = $2", values![entity, id]).await.map(drop)
}

/// Ends an open link. False: it was not open.
pub async fn end(tx: &mut Tx, id: &str, state: LinkState) -> Result<bool, Error> {
    const SQL: &str = "UPDATE link SET state = $1 WHERE id = $2 AND state IN ('pending', 'sent')";
    Ok(tx.execute(SQL, values![state.as_str(), id]).await? == 1)
}

/// Ends every open link of an account, of one purpose. Returns how many.
pub async fn end_of(tx: &mut Tx, entity: EntityId, purpose: Purpose, state: LinkState) -> Result<u64, Error> {
    const SQL: &str =
        "UPDATE link SET state = $1 WHERE entity_id = $2 AND purpose = $3 AND state IN ('pending', 'sent')";
    tx.execute(SQL, values![state.as_str(), entity, purpose.as_str()]).await
}

/// Ends every open link of these accounts, whatever it is for. Returns how many.
pub async fn end_of_any(tx: &mut Tx, ids: &[EntityId], state: LinkState) -> Result<u64, Error> {
    let mut ended = 0;
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("UPDATE link SET state = ");
        text.bind(state.as_str()).push(" WHERE state IN ('pending', 'sent') AND entity_id IN ");
        text.list(ids.iter().copied());
        ended += tx.execute(text.sql, text.values).await?;
    }
    Ok(ended)
}

/// Whether `expire` has work: so that a pass without work writes nothing.
pub async fn has_expired(session: &mut impl Session, now: Millis) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM link WHERE state IN ('pending', 'sent') AND expires <= $1 LIMIT 1";
    Ok(session.optional(SQL.to_owned(), values![now]).await?.is_some())
}

/// Marks what ran out as expired: for lists; `consume` looks at the time itself. Returns how many.
pub async fn expire(tx: &mut Tx, now: Millis) -> Result<u64, Error> {
    const SQL: &str = "UPDATE link SET state = 'expired' WHERE state IN ('pending', 'sent') AND expires <= $1";
    tx.execute(SQL, values![now]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::invitation::{INVITATION_LIFE, Role};
    use crate::store::Db;
    use crate::store::testing::{NOW, both};

    fn link(id: &str) -> Link {
        Link {
            id: id.to_owned(),
            purpose: Purpose::Invitation,
            entity: None,
            email: "Eva@Žluť.test".to_owned(),
            company: None,
            role: Some(Role::Moderator),
            data: LinkData { given_name: "Eva".to_owned(), ..LinkData::default() },
            state: LinkState::Pending,
            created: NOW,
            expires: NOW.plus(INVITATION_LIFE),
            used: None,
        }
    }

    async fn armed(db: &Db, id: &str, hash: [u8; 32]) {
        let mut tx = db.write().await.unwrap();
        insert(&mut tx, &link(id)).await.unwrap();
        assert!(arm(&mut tx, id, &hash, NOW).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn consumed(db: &Db, hash: [u8; 32], now: Millis) -> bool {
        let mut tx = db.write().await.unwrap();
        let got = consume(&mut tx, &hash, now).await.unwrap();
        tx.commit().await.unwrap();
        got.is_some()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r64_of_fifty_at_once_exactly_one_uses_the_link() {
        both(|db| async move {
            armed(&db, "a", [1; 32]).await;
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let db = db.clone();
                    tokio::spawn(async move { consumed(&db, [1; 32], NOW.plus(1)).await })
                })
                .collect();
            let mut winners = 0;
            for task in tasks {
                winners += usize::from(task.await.unwrap());
            }
            assert_eq!(winners, 1);
            let mut read = db.read().await.unwrap();
            let link = by_hash(&mut read, &[1; 32]).await.unwrap().unwrap();
            assert_eq!((link.state, link.used), (LinkState::Accepted, Some(NOW.plus(1))));
            assert_eq!(link.email, "Eva@Žluť.test", "as it was typed");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r63_a_link_ends_with_its_last_millisecond_and_at_every_end() {
        both(|db| async move {
            let end = NOW.plus(INVITATION_LIFE);
            armed(&db, "a", [1; 32]).await;
            assert!(!consumed(&db, [1; 32], end).await);
            assert!(consumed(&db, [1; 32], end.plus(-1)).await);
            armed(&db, "b", [2; 32]).await;
            armed(&db, "c", [3; 32]).await;
            let mut tx = db.write().await.unwrap();
            assert_eq!(lock_open(&mut tx, "eva@ŽLUŤ.test", None).await.unwrap().len(), 2);
            assert!(super::end(&mut tx, "b", LinkState::Superseded).await.unwrap());
            assert!(!super::end(&mut tx, "b", LinkState::Revoked).await.unwrap());
            assert!(!arm(&mut tx, "b", &[4; 32], NOW).await.unwrap());
            assert_eq!(expire(&mut tx, end.plus(-1)).await.unwrap(), 0);
            assert_eq!(expire(&mut tx, end).await.unwrap(), 1);
            tx.commit().await.unwrap();
            assert!(!consumed(&db, [2; 32], NOW).await && !consumed(&db, [3; 32], NOW).await);
            let mut read = db.read().await.unwrap();
            let ids: Vec<String> =
                invitations(&mut read, None, None, 2).await.unwrap().into_iter().map(|link| link.id).collect();
            assert_eq!(ids, ["c", "b"]);
            assert_eq!(invitations(&mut read, None, Some("b"), 2).await.unwrap().len(), 1);
        })
        .await;
    }
}
