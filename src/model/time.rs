//! Instants as milliseconds since 1970 in UTC: the unit of every stored time. Shown as RFC 3339 with milliseconds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    pub const DAY: i64 = 86_400_000;

    /// Any RFC 3339 instant, with offset or `Z`.
    pub fn parse(text: &str) -> Option<Millis> {
        let at = text.parse::<jiff::Timestamp>().ok().map(|at| Millis(at.as_millisecond()));
        at.or_else(|| Millis::at_the_end(text))
    }

    /// The last day that has a date, which stands for "never" with many and is more than an instant of `jiff` holds.
    fn at_the_end(text: &str) -> Option<Millis> {
        let pieces = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text).ok()?;
        let (time, offset) = (pieces.time()?, pieces.to_numeric_offset()?);
        let since = pieces.date().to_datetime(time).duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
        let millis = i64::try_from(since.as_millis()).ok()?;
        Some(Millis(millis - i64::from(offset.seconds()) * 1000))
    }

    #[must_use]
    pub const fn plus(self, millis: i64) -> Millis {
        Millis(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Millis::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 instant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_read_back() {
        let at = Millis(1_790_000_000_123);
        assert_eq!(at.to_string(), "2026-09-21T14:13:20.123Z");
        assert_eq!(Millis::parse(&at.to_string()), Some(at));
        assert_eq!(Millis::parse("2026-09-21T16:13:20.123+02:00"), Some(at));
        assert_eq!(Millis::parse("yesterday"), None);
    }
}
