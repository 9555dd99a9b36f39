//! Whether an account is switched off, in the dialect of whichever directory sent it: Active Directory, 389-ds, OpenLDAP's
//! ppolicy, eDirectory, shadow. A lock-out after wrong passwords passes by itself and does not count. Expiry depends on
//! the day, so the answer is part of an entry's digest. Start at `disabled`.

use super::entry::Entry;
use crate::mapping::text;
use crate::model::time::Millis;

/// What has to be asked for.
pub(super) const ATTRIBUTES: [&str; 6] =
    ["useraccountcontrol", "accountexpires", "nsaccountlock", "pwdaccountlockedtime", "logindisabled", "shadowexpire"];

/// ppolicy: locked until an administrator unlocks it.
const LOCKED_FOR_GOOD: &str = "000001010000Z";

pub(super) fn disabled(entry: &Entry, now: Millis) -> bool {
    let on = |name: &str| entry.text(name).and_then(text::boolean) == Some(true);
    let number = |name: &str| entry.text(name).and_then(|text| text.trim().parse::<i64>().ok());
    entry.text("useraccountcontrol").and_then(text::account_control_disabled) == Some(true)
        || on("nsaccountlock")
        || on("logindisabled")
        || entry.text("pwdaccountlockedtime") == Some(LOCKED_FOR_GOOD)
        || number("accountexpires").and_then(text::filetime).is_some_and(|at| at <= now)
        // Days since 1970. 0 and -1 mean different things to different people; neither locks anybody out here.
        || number("shadowexpire").is_some_and(|days| days > 0 && days.saturating_mul(Millis::DAY) <= now.0)
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    #[test]
    fn every_dialect_of_switched_off() {
        let now = Millis(1_790_000_000_000);
        let off = |name: &str, value: &str| disabled(&entry("dc=x", &[(name, &[value.as_bytes()])]), now);
        for (name, value) in [
            ("userAccountControl", "514"),
            ("userAccountControl", "66050"),
            ("nsAccountLock", "TRUE"),
            ("loginDisabled", "TRUE"),
            ("pwdAccountLockedTime", "000001010000Z"),
            ("accountExpires", "134344735999999999"),
            ("shadowExpire", "20717"),
        ] {
            assert!(off(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("userAccountControl", "512"),
            ("nsAccountLock", "false"),
            ("pwdAccountLockedTime", "20260921141320Z"),
            ("accountExpires", "0"),
            ("accountExpires", "9223372036854775807"),
            ("accountExpires", "134344736000010000"),
            ("shadowExpire", "-1"),
            ("shadowExpire", "0"),
            ("shadowExpire", "20718"),
            ("cn", "TRUE"),
        ] {
            assert!(!off(name, value), "{name}: {value}");
        }
    }
}
