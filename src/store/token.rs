//! Bearer tokens as rows: only the SHA-256 is kept. A token is found by its public id; whether it is right and alive is
//! decided by `http::auth` on every request. What was found is remembered for a moment (`token_memory`), but not beyond a
//! revocation, which counts on the next request.

use super::{Error, Row, Session, Tx, values};
use crate::model::time::Millis;

/// A row of table `token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The public part of its text.
    pub id: String,
    pub hash: Vec<u8>,
    pub label: String,
    /// The source it writes as.
    pub source: Option<String>,
    /// The user it speaks for, at /Me.
    pub subject: Option<String>,
    /// Space separated.
    pub scopes: String,
    pub created: Millis,
    pub expires: Millis,
    pub revoked: Option<Millis>,
    pub last_used: Option<Millis>,
}

const COLUMNS: &str =
    "SELECT id, hash, label, source, scopes, created, expires, revoked, last_used, subject FROM token";

pub async fn insert(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    let sql = "INSERT INTO token (id, hash, label, source, scopes, created, expires, revoked, last_used, \
               subject) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let values = values![
        &token.id,
        token.hash.as_slice(),
        &token.label,
        token.source.clone(),
        &token.scopes,
        token.created,
        token.expires,
        token.revoked,
        token.last_used,
        token.subject.clone(),
    ];
    tx.execute(sql, values).await.map(|_| ())
}

pub async fn find(session: &mut impl Session, id: &str) -> Result<Option<Token>, Error> {
    session.optional(format!("{COLUMNS} WHERE id = $1"), values![id]).await?.map(|row| token(&row)).transpose()
}

/// Oldest first.
pub async fn list(session: &mut impl Session) -> Result<Vec<Token>, Error> {
    session.all(format!("{COLUMNS} ORDER BY created, id"), values![]).await?.iter().map(token).collect()
}

/// False when there is no such token or it was revoked before: the first revocation's time stays.
pub async fn revoke(tx: &mut Tx, id: &str, at: Millis) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL", values![id, at]).await? == 1)
}

pub async fn touch(tx: &mut Tx, id: &str, at: Millis) -> Result<(), Error> {
    tx.execute("UPDATE token SET last_used = $2 WHERE id = $1", values![id, at]).await.map(|_| ())
}

fn token(row: &Row) -> Result<Token, Error> {
    Ok(Token {
        id: row.get(0)?,
        hash: row.get(1)?,
        label: row.get(2)?,
        source: row.get(3)?,
        subject: row.get(9)?,
        scopes: row.get(4)?,
        created: Millis(row.get(5)?),
        expires: Millis(row.get(6)?),
        revoked: row.get::<Option<i64>>(7)?.map(Millis),
        last_used: row.get::<Option<i64>>(8)?.map(Millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::both;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_lives_and_is_revoked_once() {
        both(|db| async move {
            let token = Token {
                id: "abcdefgh".to_owned(),
                hash: vec![1, 2, 3],
                label: "identity provider".to_owned(),
                source: Some("hq".to_owned()),
                subject: None,
                scopes: "scim:read scim:write".to_owned(),
                created: Millis(1),
                expires: Millis(10),
                revoked: None,
                last_used: None,
            };
            let mut tx = db.write().await.unwrap();
            insert(&mut tx, &token).await.unwrap();
            touch(&mut tx, &token.id, Millis(2)).await.unwrap();
            assert!(revoke(&mut tx, &token.id, Millis(3)).await.unwrap());
            assert!(!revoke(&mut tx, &token.id, Millis(4)).await.unwrap(), "the first revocation stays");
            tx.commit().await.unwrap();
            let mut read = db.read().await.unwrap();
            let found = find(&mut read, "abcdefgh").await.unwrap().unwrap();
            assert_eq!(found, Token { revoked: Some(Millis(3)), last_used: Some(Millis(2)), ..token });
            assert_eq!(list(&mut read).await.unwrap(), [found]);
            assert_eq!(find(&mut read, "ABCDEFGH").await.unwrap(), None);
        })
        .await;
    }
}
