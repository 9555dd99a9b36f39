//! How far a source was read, as one text in the engine's keeping. Pure: reading back something unknown means that
//! everything is read again. The vendor's ways of writing a time are handled here too.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path;
use crate::config::connector::Cursor as Spec;
use crate::config::crm::Crm;
use crate::model::time::Millis;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of the connector and the installation's settings; other ones start anew.
    fingerprint: String,
    /// When everything was last read.
    pub full: Millis,
    /// Per stream the newest change that was seen.
    pub streams: BTreeMap<String, Millis>,
}

impl Cursor {
    pub fn new(settings: &Crm, full: Millis) -> Cursor {
        Cursor { fingerprint: fingerprint(settings), full, streams: BTreeMap::new() }
    }

    /// The cursor to go on from; `None` = everything has to be read.
    pub fn usable(stored: Option<&str>, settings: &Crm, now: Millis) -> Option<Cursor> {
        let cursor: Cursor = serde_json::from_str(stored?).ok()?;
        let due = i64::try_from(settings.full_every.as_millis()).unwrap_or(i64::MAX);
        let fresh = now.0.saturating_sub(cursor.full.0) < due;
        (fresh && cursor.fingerprint == fingerprint(settings)).then_some(cursor)
    }

    pub fn stored(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Whatever changes what a request asks for. No secret is in it.
fn fingerprint(settings: &Crm) -> String {
    let text = format!(
        "{} {:?} {:?} {:?} {:?}",
        settings.url, settings.connector, settings.variables, settings.tables, settings.zone
    );
    let digest = crate::mapping::digest::cut(text.as_bytes());
    format!("{:032x}", u128::from_be_bytes(digest.0))
}

/// The time of the last change of a record; `None` where the vendor leaves it out (a record that was never changed).
pub fn changed(record: &Value, spec: &Spec, zone: &TimeZone) -> Option<Millis> {
    let text = path::text(record, spec.field.as_deref()?)?;
    parse(&text, spec.parse.as_deref(), zone)
}

fn parse(text: &str, format: Option<&str>, zone: &TimeZone) -> Option<Millis> {
    let of = |at: Timestamp| Millis(at.as_millisecond());
    let local = |at: DateTime| zone.to_timestamp(at).ok().map(of);
    match format {
        Some(format) => Timestamp::strptime(format, text)
            .map(of)
            .ok()
            .or_else(|| DateTime::strptime(format, text).ok().and_then(local)),
        None => text.parse::<Timestamp>().map(of).ok().or_else(|| text.parse::<DateTime>().ok().and_then(local)),
    }
}

/// What templates see as `since`.
pub fn since(newest: Millis, spec: &Spec, zone: &TimeZone) -> Option<String> {
    let back = i64::try_from(spec.look_back.as_millis()).ok()?;
    let at = Timestamp::from_millisecond(newest.0.saturating_sub(back)).ok()?;
    match &spec.format {
        None => Some(at.to_string()),
        Some(format) => Zoned::new(at, zone.clone()).strftime(format).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn spec(parse: Option<&str>, format: Option<&str>, look_back: u64) -> Spec {
        Spec {
            field: Some("at".to_owned()),
            parse: parse.map(str::to_owned),
            format: format.map(str::to_owned),
            look_back: Duration::from_secs(look_back),
        }
    }

    #[test]
    fn a4_times_are_read_and_written_as_the_vendor_writes_them() {
        let prague = TimeZone::get("Europe/Prague").unwrap();
        let at = Millis::parse("2026-11-21T20:05:15Z").unwrap();
        for (record, format) in [
            (json!({"at": "2026-11-21T20:05:15Z"}), None),
            (json!({"at": "2026-11-21T21:05:15+01:00"}), None),
            (json!({"at": "2026-11-21T21:05:15"}), None),
            (json!({"at": "2026-11-21 21:05:15"}), Some("%Y-%m-%d %H:%M:%S")),
            (json!({"at": at.0 / 1000}), Some("%s")),
        ] {
            assert_eq!(changed(&record, &spec(format, format, 0), &prague), Some(at), "{record}");
        }
        for nothing in [json!({"at": null}), json!({"at": ""}), json!({}), json!({"at": "soon"})] {
            assert_eq!(changed(&nothing, &spec(None, None, 0), &prague), None, "{nothing}");
        }
        let rt = spec(None, Some("%Y-%m-%d %H:%M:%S"), 15);
        assert_eq!(since(at, &rt, &prague).as_deref(), Some("2026-11-21 21:05:00"));
        assert_eq!(since(at, &spec(None, None, 0), &prague).as_deref(), Some("2026-11-21T20:05:15Z"));
    }
}
