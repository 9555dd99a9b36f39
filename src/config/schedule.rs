//! When a source is polled: the five fields of cron, always in UTC (local time skips and repeats hours). Weekdays are
//! names, because their numbers mean different days to different programs, and a day of the month together with a weekday
//! is refused, because some take "and" and others "or". Start at `Schedule::parse`.

use std::str::FromStr;
use std::time::Duration;

use chrono::DateTime;
use sha2::{Digest as _, Sha256};

use crate::model::time::Millis;

#[derive(Debug, Clone)]
pub struct Schedule {
    cron: cron::Schedule,
    /// At most so much later, always the same for one name and time.
    jitter: i64,
    name: String,
}

/// What a schedule looks like, for the fault that the caller shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be five cron fields in UTC like `*/15 * * * *` or `0 2 * * Mon-Fri`: {0}")]
pub struct Wrong(String);

const SHORT: [(&str, &str); 4] =
    [("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@weekly", "0 0 * * Sun"), ("@monthly", "0 0 1 * *")];

impl Schedule {
    pub fn parse(text: &str) -> Result<Schedule, Wrong> {
        let text = SHORT.iter().find(|(short, _)| *short == text.trim()).map_or(text, |(_, long)| long);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [_, _, day, _, weekday] = fields.as_slice() else {
            return Err(Wrong(format!("there are {} fields", fields.len())));
        };
        let any = |field: &str| matches!(field, "*" | "?");
        let mut faults = Vec::new();
        // The only digits a weekday may have are a step's: `*/2`.
        if weekday.split('/').next().is_some_and(|days| days.contains(|c: char| c.is_ascii_digit())) {
            faults.push("weekdays are names (Mon to Sun), since 1 is Monday to some and Sunday to others");
        }
        if !any(day) && !any(weekday) {
            faults.push("give a day of the month or a weekday, not both");
        }
        if !faults.is_empty() {
            return Err(Wrong(faults.join("; ")));
        }
        // The crate wants seconds first.
        let schedule = cron::Schedule::from_str(&format!("0 {}", fields.join(" ")));
        let plain = |cron| Schedule { cron, jitter: 0, name: String::new() };
        schedule.map(plain).map_err(|error| Wrong(error.to_string()))
    }

    /// Not at the same moment as all others of the same schedule.
    #[must_use]
    pub fn spread(mut self, name: &str, jitter: Duration) -> Schedule {
        self.jitter = i64::try_from(jitter.as_millis()).unwrap_or(i64::MAX - 1);
        name.clone_into(&mut self.name);
        self
    }

    /// The first time after `now`; `None` when there is none (31 February).
    pub fn after(&self, now: Millis) -> Option<Millis> {
        let now = DateTime::from_timestamp_millis(now.0)?;
        let at = self.cron.after(&now).next()?.timestamp_millis();
        Some(Millis(at.saturating_add(self.late(at))))
    }

    fn late(&self, at: i64) -> i64 {
        if self.jitter <= 0 {
            return 0;
        }
        let digest = Sha256::digest(format!("{} {at}", self.name));
        let number = digest.iter().take(6).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
        number % (self.jitter + 1)
    }

    /// When the source is read next: at its time, or sooner after a failure. What was never read is due at once.
    pub fn next(&self, last: Option<Millis>, retry: Option<Millis>, now: Millis) -> Option<Millis> {
        let Some(last) = last else { return Some(now) };
        [self.after(last), retry].into_iter().flatten().min()
    }
}

impl FromStr for Schedule {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Schedule, Wrong> {
        Schedule::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_times_are_utc_and_days_are_names() {
        let after = |text: &str, at: &str| {
            let next = Schedule::parse(text).unwrap().after(Millis::parse(at).unwrap());
            next.map(|at| at.to_string())
        };
        for (text, at, expected) in [
            ("*/15 * * * *", "2026-11-21T22:07:30Z", "2026-11-21T22:15:00.000Z"),
            ("0 2 * * Mon-Fri", "2026-11-21T22:00:00Z", "2026-11-23T02:00:00.000Z"),
            ("0 2 * * Mon", "2026-11-23T02:00:00Z", "2026-11-30T02:00:00.000Z"),
            // The night in which Prague has no 02:30.
            ("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T02:30:00.000Z"),
            ("30 2 1 * *", "2026-11-21T22:00:00Z", "2026-12-01T02:30:00.000Z"),
            ("@daily", "2026-11-21T22:00:00Z", "2026-11-22T00:00:00.000Z"),
        ] {
            assert_eq!(after(text, at).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(after("0 0 31 Feb *", "2026-11-21T22:00:00Z"), None);
    }

    #[test]
    fn a3_sources_of_one_schedule_are_spread_and_each_keeps_its_place() {
        let hourly = |name: &str| Schedule::parse("@hourly").unwrap().spread(name, Duration::from_mins(10));
        let (from, at) =
            (Millis::parse("2026-11-21T22:07:30Z").unwrap(), Millis::parse("2026-11-21T23:00:00Z").unwrap());
        let late = |name: &str| hourly(name).after(from).unwrap().0 - at.0;
        let all: Vec<i64> = ["hq", "branch", "desk", "lab"].iter().map(|name| late(name)).collect();
        assert!(all.iter().all(|late| (0..=600_000).contains(late)), "{all:?}");
        assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 2, "{all:?}");
        assert_eq!(late("hq"), all[0]);
        // After a failure it is sooner, and never later than its time.
        let next = |retry: i64| hourly("hq").next(Some(from), Some(from.plus(retry)), from).unwrap().0 - from.0;
        assert_eq!((next(30_000), next(7_200_000)), (30_000, at.0 + all[0] - from.0));
    }

    #[test]
    fn what_means_different_things_elsewhere_is_refused() {
        for text in ["* * * *", "0 * * * * *", "0 2 * * 1", "0 2 * * 1-5", "0 2 13 * Fri", "61 * * * *", "x", ""] {
            let error = Schedule::parse(text).unwrap_err().to_string();
            assert!(error.contains("five cron fields"), "{text}: {error}");
        }
        let both = Schedule::parse("0 2 13 * 5").unwrap_err().to_string();
        assert!(both.contains("weekdays are names") && both.contains("not both"), "{both}");
    }
}
