//! Second factors (R33): codes of six digits, 30 s, SHA-1, as every authenticator knows them (RFC 6238). A code is good
//! once: `check` says which step it was, the caller stores it and refuses that step and all before it from then on.
//! The secret must be kept readable to be checked; it is shown once, at enrolment.

use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Builder, Secret, Totp};

use crate::clock::Clock;
use crate::model::time::Millis;

/// What the owner's authenticator is told.
pub struct Enrolment {
    /// Base32, 160 bits.
    pub secret: SecretString,
    /// `otpauth://totp/…`, for a QR code.
    pub uri: SecretString,
}

pub fn enrol(clock: &Clock, issuer: &str, login: &str) -> Enrolment {
    let secret = Secret::from(clock.random::<20>()).to_base32();
    let mut uri = url::Url::parse("otpauth://totp/").expect("a constant");
    uri.set_path(&format!("{}:{}", issuer.replace(':', " "), login.replace(':', " ")));
    uri.query_pairs_mut().append_pair("secret", &secret).append_pair("issuer", issuer);
    Enrolment { secret: SecretString::from(secret), uri: SecretString::from(String::from(uri)) }
}

/// The step of a right code that is later than `used`; one step before or after `now` is tolerated. `None`: wrong, used,
/// or the stored secret is unreadable.
pub fn check(secret: &SecretString, code: &str, now: Millis, used: i64) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let step = totp(secret)?.check(&code, u64::try_from(now.0 / 1000).ok()?)?;
    i64::try_from(step).ok().filter(|step| *step > used)
}

/// The code of this moment, as the owner's authenticator shows it.
pub fn code(secret: &SecretString, now: Millis) -> Option<String> {
    Some(totp(secret)?.generate(u64::try_from(now.0 / 1000).ok()?).to_string())
}

fn totp(secret: &SecretString) -> Option<Totp> {
    Builder::new().with_secret(Secret::try_from_base32(secret.expose_secret()).ok()?).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r33_a_code_is_good_once_and_for_a_minute_and_a_half() {
        let now = Millis(1_790_000_000_000);
        let clock = Clock::fixed(now, 5);
        let enrolment = enrol(&clock, "Help: desk", "eva@acme.test");
        assert!(enrolment.uri.expose_secret().starts_with("otpauth://totp/Help%20%20desk:eva@acme.test?secret="));
        let code = totp(&enrolment.secret).unwrap().generate(now.0 as u64 / 1000).to_string();
        let step = check(&enrolment.secret, &code, now, 0).unwrap();
        assert_eq!(check(&enrolment.secret, &code, now, step), None, "used");
        assert_eq!(
            check(&enrolment.secret, &format!(" {} {}", &code[..3], &code[3..]), now.plus(30_000), 0),
            Some(step)
        );
        assert_eq!(check(&enrolment.secret, &code, now.plus(90_000), 0), None);
        for bad in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(check(&enrolment.secret, bad, now, 0), None, "{bad}");
        }
    }
}
