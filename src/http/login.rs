//! One way to check somebody's password, for the API and for the pages: the same refusal and the same time whether the
//! account is unknown, of the other realm, inactive, incomplete or has another password (R2). A second factor is asked
//! for only after the password was right. Never says which of the reasons it was.

use secrecy::SecretString;

use super::error::Problem;
use super::state::App;
use crate::credential::{Verdict, hasher, throttle, totp};
use crate::model::entity::{Flags, State};
use crate::model::fold;
use crate::model::id::EntityId;
use crate::model::kind::Realm;
use crate::store;
use crate::store::credential::{self, Account, Totp};
use axum::http::StatusCode;

/// Bytes; longer ones are refused like wrong ones.
const LONGEST_LOGIN: usize = 512;
const LONGEST_PASSWORD: usize = 1024;

/// Somebody who is who they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: EntityId,
    pub must_change: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The one answer for every wrong login.
    #[error("login or password is not right")]
    Wrong,
    /// The password was right, the code is missing.
    #[error("a code of the second factor is needed")]
    CodeNeeded,
    /// The password was right, a second factor is demanded and none is enrolled.
    #[error("a second factor is demanded, and none is enrolled")]
    NotEnrolled,
    #[error("too many failures, try again in {0} s")]
    TooEarly(i64),
    #[error(transparent)]
    Hasher(#[from] hasher::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        match refused {
            Refused::Wrong => Problem::forbidden("credentials_refused", refused),
            Refused::CodeNeeded => Problem::forbidden("totp_required", refused),
            Refused::NotEnrolled => Problem::forbidden("totp_not_enrolled", refused),
            Refused::TooEarly(seconds) => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", &refused).with("retry_after", seconds)
            }
            Refused::Hasher(hasher::Error::Busy) => Problem::unavailable(refused),
            Refused::Hasher(_) | Refused::Store(_) => Problem::internal(refused),
        }
    }
}

/// Checks a password, and a code where the account demands one. The attempt counts against the login.
pub async fn check(
    app: &App,
    realm: Realm,
    login: &str,
    password: SecretString,
    code: Option<&str>,
) -> Result<Known, Refused> {
    use secrecy::ExposeSecret;
    let key = fold::key(login);
    let now = app.clock.now();
    let brake = format!("{realm} {}", if login.len() <= LONGEST_LOGIN { key.as_str() } else { "" });
    app.throttle.begin(&brake, now).map_err(|throttle::TooEarly { seconds }| Refused::TooEarly(seconds))?;
    let fits = login.len() <= LONGEST_LOGIN && password.expose_secret().len() <= LONGEST_PASSWORD;
    let found = credential::by_login(&mut app.db.read().await?, realm, &key).await?;
    let usable = found.filter(|account| fits && account.active && account.state == State::Live);
    let password = if fits { password } else { SecretString::default() };
    let stored = usable.as_ref().and_then(|account| account.hash.clone());
    let verdict = app.hasher.verify(password, stored).await?;
    let (Verdict::Accepted { rehashed }, Some(account)) = (verdict, usable) else { return Err(Refused::Wrong) };
    second_factor(app, &account, code).await?;
    app.throttle.succeeded(&brake);
    if let (Some(new), Some(old)) = (rehashed, &account.hash) {
        let mut tx = app.db.write().await?;
        credential::strengthen(&mut tx, account.id, old, &new).await?;
        tx.commit().await?;
    }
    Ok(Known { id: account.id, must_change: account.must_change })
}

/// A code is good once: the step it stands for is stored, and whoever is second with it is refused.
async fn second_factor(app: &App, account: &Account, code: Option<&str>) -> Result<(), Refused> {
    if !account.flags.has(Flags::TWO_FACTOR) {
        return Ok(());
    }
    let enrolled = account.totp.as_ref().ok_or(Refused::NotEnrolled)?;
    let code = code.filter(|code| !code.is_empty()).ok_or(Refused::CodeNeeded)?;
    let secret = SecretString::from(enrolled.secret.clone());
    let step = totp::check(&secret, code, app.clock.now(), enrolled.used).ok_or(Refused::Wrong)?;
    let used = Totp { used: step, ..enrolled.clone() };
    let mut tx = app.db.write().await?;
    let first = credential::set_totp(&mut tx, account.id, Some(enrolled), Some(&used)).await?;
    tx.commit().await?;
    if first { Ok(()) } else { Err(Refused::Wrong) }
}
