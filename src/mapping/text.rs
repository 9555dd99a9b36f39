//! The small conversions that filters and typed targets share: yes or no, instants, slugs, telephone numbers, and what
//! Active Directory packs into numbers. All take text and answer `None` for what they do not understand; none guesses.

use crate::model::fold;
use crate::model::time::Millis;

pub fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "t" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "f" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `ACCOUNTDISABLE` (0x2) of a userAccountControl.
pub fn account_control_disabled(text: &str) -> Option<bool> {
    text.trim().parse::<i64>().ok().map(|bits| bits & 0x2 != 0)
}

/// As RFC 3339 in UTC. Understood: RFC 3339, `2026-09-21`, `2026-09-21 14:13:20`, LDAP's generalized time
/// (`20260921141320.0Z`), seconds or milliseconds since 1970, and 100 ns since 1601 (Active Directory).
pub fn instant(text: &str) -> Option<String> {
    let text = text.trim();
    let at = Millis::parse(text)
        .or_else(|| generalized(text))
        .or_else(|| text.parse().ok().and_then(number))
        .or_else(|| Millis::parse(&format!("{text}T00:00:00Z")))
        .or_else(|| Millis::parse(&format!("{}Z", text.replacen(' ', "T", 1))))?;
    Some(at.to_string())
}

/// `YYYYMMDDHH[MM[SS[.f]]]` with `Z` or `±HHMM`; a fraction is dropped. RFC 4517 §3.3.13.
pub fn generalized(text: &str) -> Option<Millis> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.len() < 10 || digits.len() > 14 || rest.is_empty() {
        return None;
    }
    let zone = rest.trim_start_matches(|c: char| c == '.' || c == ',' || c.is_ascii_digit());
    let padded = format!("{digits:0<14}");
    let zone = match zone.len() {
        _ if zone == "Z" => "Z".to_owned(),
        5 => format!("{}:{}", &zone[..3], zone.get(3..)?),
        _ => return None,
    };
    let part = |from: usize, to: usize| &padded[from..to];
    let (date, time) = (
        format!("{}-{}-{}", part(0, 4), part(4, 6), part(6, 8)),
        format!("{}:{}:{}", part(8, 10), part(10, 12), part(12, 14)),
    );
    Millis::parse(&format!("{date}T{time}{zone}"))
}

/// Seconds, milliseconds and 100 ns units lie so far apart that the size of the number tells them.
fn number(number: i64) -> Option<Millis> {
    match number {
        // Too small to be told from a year or a count.
        ..100_000_000 => None,
        100_000_000..100_000_000_000 => Some(Millis(number.checked_mul(1000)?)),
        100_000_000_000..100_000_000_000_000 => Some(Millis(number)),
        _ => filetime(number),
    }
}

/// 100 ns since 1601; 0 and 2^63-1 mean never.
pub fn filetime(ticks: i64) -> Option<Millis> {
    const TO_1970: i64 = 11_644_473_600_000;
    (ticks != 0 && ticks != i64::MAX).then(|| Millis(ticks / 10_000 - TO_1970))
}

/// Folded, without diacritics, runs of anything else as one dot: `Řehoř  Žižka ml.` -> `rehor.zizka.ml`.
pub fn slug(text: &str) -> String {
    let plain = deunicode::deunicode(&fold::key(text)).to_ascii_lowercase();
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".")
}

/// `+` and digits. `country` is prefixed to national numbers (leading zero dropped); without one they stay digits.
pub fn e164(text: &str, country: Option<&str>) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if text.trim_start().starts_with('+') {
        return format!("+{digits}");
    }
    match (digits.strip_prefix("00"), country) {
        (Some(international), _) => format!("+{international}"),
        (None, Some(country)) if !digits.is_empty() => {
            let country: String = country.chars().filter(char::is_ascii_digit).collect();
            format!("+{country}{}", digits.trim_start_matches('0'))
        }
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_in_every_dialect() {
        for text in [
            "2026-09-21T14:13:20Z",
            "2026-09-21T16:13:20+02:00",
            "20260921141320Z",
            "20260921141320.0Z",
            "20260921161320+0200",
            "1790000000",
            "1790000000000",
            "134344736000000000",
            "2026-09-21 14:13:20",
        ] {
            assert_eq!(instant(text).as_deref(), Some("2026-09-21T14:13:20.000Z"), "{text}");
        }
        assert_eq!(instant("2026-09-21").as_deref(), Some("2026-09-21T00:00:00.000Z"));
        for text in ["", "soon", "9223372036854775807", "-1", "20261321141320Z", "2026"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn slugs_and_numbers() {
        assert_eq!(slug("Řehoř  Žižka ml."), "rehor.zizka.ml");
        assert_eq!(e164("+420 222 333", None), "+420222333");
        assert_eq!(e164("00420/222", None), "+420222");
        assert_eq!(e164("0222 333", Some("+420")), "+420222333");
        assert_eq!(e164("222 333", None), "222333");
        assert_eq!(boolean(" TRUE "), Some(true));
        assert_eq!(boolean("maybe"), None);
        assert_eq!(account_control_disabled("514"), Some(true));
        assert_eq!(account_control_disabled("512"), Some(false));
    }
}
