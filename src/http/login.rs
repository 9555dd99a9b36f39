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
            Refused::Hasher(_) => Problem::internal(refused),
            Refused::Store(error) => error.into(),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::config::source::OPERATOR;
    use crate::model::desired::{Desired, Record, Write};
    use crate::model::entity::urn;
    use crate::model::kind::Kind;
    use crate::reconcile;
    use crate::store::Db;
    use crate::store::testing::{NOW, both};

    /// An agent with a password, a second factor demanded or not.
    async fn app(db: Db, two_factor: bool) -> (App, EntityId) {
        let config = Config::parse("[credentials.argon2]\nmemory_kib = 64\npasses = 1").unwrap();
        let operator = config.policy(OPERATOR).cloned().unwrap();
        let app = App::new(db, Clock::fixed(NOW, 3), config).unwrap();
        let id = app.clock.entity_id();
        let Value::Object(attributes) = json!({
            "userName": "Petr", "displayName": "Petr", "name": {"givenName": "P", "familyName": "M"},
            "emails": [{"value": "p@x.test"}], urn::AGENT: {"twoFactor": two_factor},
        }) else {
            unreachable!()
        };
        let desired = Desired {
            kind: Kind::User,
            key: id.to_string(),
            realm: Some(Realm::Agent),
            alias: None,
            attributes,
            write: Write::Whole,
            relations: Default::default(),
            digest: None,
        };
        let hash = app.hasher.hash(SecretString::from("right")).await.unwrap();
        let mut tx = app.db.write().await.unwrap();
        let records = vec![Record::Present(Box::new(desired))];
        let applied = reconcile::apply(&mut tx, &app.context("test"), &operator, records).await.unwrap();
        assert_eq!(applied.refused().count(), 0);
        credential::set(&mut tx, id, &hash, false, NOW).await.unwrap();
        tx.commit().await.unwrap();
        (app, id)
    }

    async fn ask(app: &App, realm: Realm, password: &str, code: Option<&str>) -> String {
        match check(app, realm, "PETR", SecretString::from(password), code).await {
            Ok(known) => format!("ok {}", known.must_change),
            Err(refused) => refused.to_string(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r33_where_the_flag_is_set_a_fresh_code_is_demanded() {
        both(|db| async move {
            let (app, id) = app(db, true).await;
            assert_eq!(ask(&app, Realm::Agent, "wrong", None).await, Refused::Wrong.to_string());
            assert_eq!(ask(&app, Realm::Agent, "right", None).await, Refused::NotEnrolled.to_string());
            let enrolment = totp::enrol(&app.clock, "Desk", "petr");
            let secret = secrecy::ExposeSecret::expose_secret(&enrolment.secret).to_owned();
            let mut tx = app.db.write().await.unwrap();
            let new = Totp { secret: secret.clone(), used: 0 };
            assert!(credential::set_totp(&mut tx, id, None, Some(&new)).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(ask(&app, Realm::Agent, "right", None).await, Refused::CodeNeeded.to_string());
            assert_eq!(ask(&app, Realm::Agent, "right", Some("000000")).await, Refused::Wrong.to_string());
            let code = totp::code(&enrolment.secret, app.clock.now()).unwrap();
            assert_eq!(ask(&app, Realm::Agent, "wrong", Some(&code)).await, Refused::Wrong.to_string());
            app.clock.advance(1000);
            assert_eq!(ask(&app, Realm::Agent, "right", Some(&code)).await, "ok false");
            assert_eq!(ask(&app, Realm::Agent, "right", Some(&code)).await, Refused::Wrong.to_string(), "used once");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r2_r71_the_other_realm_and_a_blocked_account_read_like_a_wrong_password() {
        both(|db| async move {
            let (app, id) = app(db, false).await;
            assert_eq!(ask(&app, Realm::Agent, "right", None).await, "ok false");
            assert_eq!(ask(&app, Realm::Client, "right", None).await, Refused::Wrong.to_string());
            let operator = app.config().policy(OPERATOR).cloned().unwrap();
            let mut tx = app.db.write().await.unwrap();
            reconcile::block(&mut tx, &app.context("test"), &operator, id, true).await.unwrap().unwrap();
            tx.commit().await.unwrap();
            assert_eq!(ask(&app, Realm::Agent, "right", None).await, Refused::Wrong.to_string());
        })
        .await;
    }
}
