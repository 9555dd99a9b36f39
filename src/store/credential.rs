//! Table `credential`: argon2id hashes and second factors of people. Whoever looks somebody up for a login gets the same
//! one statement whether the account exists or not.

use serde::{Deserialize, Serialize};

use super::db::{Error, Session, Tx};
use super::value::{Row, values};
use crate::model::entity::{Flags, State};
use crate::model::id::EntityId;
use crate::model::kind::Realm;
use crate::model::time::Millis;

/// A second factor: the secret (base 32) and the last step that was used, so that a code is good once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    pub secret: String,
    pub used: i64,
}

/// What a login needs to know.
pub struct Account {
    pub id: EntityId,
    pub active: bool,
    pub state: State,
    pub flags: Flags,
    pub hash: Option<String>,
    pub must_change: bool,
    pub totp: Option<Totp>,
}

fn read(row: &Row) -> Result<Account, Error> {
    let totp: Option<String> = row.get(6)?;
    let must_change: Option<bool> = row.get(5)?;
    Ok(Account {
        id: row.parse(0)?,
        active: row.get(1)?,
        state: row.parse(2)?,
        flags: Flags(row.get(3)?),
        hash: row.get(4)?,
        must_change: must_change.unwrap_or(false),
        totp: totp
            .map(|text| serde_json::from_str(&text).map_err(|error| Error::Stored(error.to_string())))
            .transpose()?,
    })
}

const ACCOUNT: &str = "SELECT e.id, e.active, e.state, e.flags, c.hash, c.must_change, c.totp \
                       FROM entity e LEFT JOIN credential c ON c.entity_id = e.id";

/// By folded login, within one realm.
pub async fn by_login(session: &mut impl Session, realm: Realm, login_key: &str) -> Result<Option<Account>, Error> {
    let sql =
        format!("{ACCOUNT} WHERE e.kind = 'user' AND e.realm = $1 AND e.login_key = $2 AND e.state <> 'tombstone'");
    session.optional(sql, values![realm.as_str(), login_key]).await?.as_ref().map(read).transpose()
}

pub async fn by_id(session: &mut impl Session, id: EntityId) -> Result<Option<Account>, Error> {
    let sql = format!("{ACCOUNT} WHERE e.kind = 'user' AND e.id = $1 AND e.state <> 'tombstone'");
    session.optional(sql, values![id]).await?.as_ref().map(read).transpose()
}

/// Sets the password; a second factor stays.
pub async fn set(tx: &mut Tx, id: EntityId, hash: &str, must_change: bool, now: Millis) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO credential (entity_id, hash, must_change, changed) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (entity_id) DO UPDATE SET hash = excluded.hash, \
                       must_change = excluded.must_change, changed = excluded.changed";
    tx.execute(SQL, values![id, hash, must_change, now]).await.map(drop)
}

/// The same password under a stronger hash, unless it was changed meanwhile.
pub async fn strengthen(tx: &mut Tx, id: EntityId, old: &str, new: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE credential SET hash = $1 WHERE entity_id = $2 AND hash = $3";
    tx.execute(SQL, values![new, id, old]).await.map(drop)
}

/// Replaces the second factor where it is still `old`; false when somebody else was first (a code used twice at once), or
/// when the account has no password.
pub async fn set_totp(tx: &mut Tx, id: EntityId, old: Option<&Totp>, new: Option<&Totp>) -> Result<bool, Error> {
    const SQL: &str = "UPDATE credential SET totp = $1 WHERE entity_id = $2 AND totp IS NOT DISTINCT FROM $3";
    let text = |totp: Option<&Totp>| totp.and_then(|totp| serde_json::to_string(totp).ok());
    Ok(tx.execute(SQL, values![text(new), id, text(old)]).await? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{NOW, both};

    const ENTITY: &str = "INSERT INTO entity (id, kind, realm, login_key, active, blocked, state, flags, version, created, \
                          modified, doc) VALUES ($1, 'user', 'client', 'eva', true, false, 'live', 32, 1, 0, 0, '{}')";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r2_logins_are_found_within_their_realm_and_codes_are_used_once() {
        both(|db| async move {
            let id: EntityId = "0198c0de-7a11-7abc-8def-0123456789ab".parse().unwrap();
            let mut tx = db.write().await.unwrap();
            tx.execute(ENTITY, values![id]).await.unwrap();
            let totp = Totp { secret: "S".to_owned(), used: 0 };
            assert!(!set_totp(&mut tx, id, None, Some(&totp)).await.unwrap(), "no password yet");
            set(&mut tx, id, "h1", true, NOW).await.unwrap();
            assert!(set_totp(&mut tx, id, None, Some(&totp)).await.unwrap());
            strengthen(&mut tx, id, "other", "h9").await.unwrap();
            strengthen(&mut tx, id, "h1", "h2").await.unwrap();
            tx.commit().await.unwrap();
            let mut read = db.read().await.unwrap();
            assert!(by_login(&mut read, Realm::Agent, "eva").await.unwrap().is_none());
            let account = by_login(&mut read, Realm::Client, "eva").await.unwrap().unwrap();
            assert_eq!((account.hash.as_deref(), account.must_change, account.id), (Some("h2"), true, id));
            assert!(account.flags.has(Flags::TWO_FACTOR));
            drop(read);
            let used = Totp { used: 7, ..totp.clone() };
            let mut tx = db.write().await.unwrap();
            assert!(set_totp(&mut tx, id, Some(&totp), Some(&used)).await.unwrap());
            assert!(!set_totp(&mut tx, id, Some(&totp), Some(&used)).await.unwrap());
            tx.commit().await.unwrap();
        })
        .await;
    }
}
