//! The modes of reading a directory: which walks they take, when they begin again, and where the next read goes on. Whatever
//! cannot be gone on from means that everything is read. Start with `Run::by_mode`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ber::{self, OCTETS};
use super::cursor::{ALL, Cursor};
use super::entry::Entry;
use super::read::Run;
use super::session::{Error, Query};
use super::sync::REFRESH_REQUIRED;
use super::walk::{Ended, Walk};
use super::{Part, STAMP};
use crate::config::ldap::ReadMode;
use crate::model::desired::Record;
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// Result codes by which servers refuse a cookie: protocolError, unwillingToPerform (one from their future), and the
/// standard's own.
const REFUSED_COOKIE: [i64; 3] = [2, 53, REFRESH_REQUIRED];
/// By which they refuse a mode as such: limits of time and size, administrative limit, unavailable extension, rights.
const REFUSED_MODE: [i64; 8] = [2, 3, 4, 8, 11, 12, 50, 53];
/// Stamps are compared by the second, and written some time before they can be seen.
const OVERLAP: i64 = 5 * 60 * 1000;
const USN: &str = "usnchanged";

/// Where a read begins.
enum Place {
    /// Where the last one ended.
    GoOn(Cursor),
    /// At the beginning.
    Begin(Cursor),
}

impl Run<'_> {
    pub(super) async fn by_mode(&mut self) -> Result<Option<Cursor>, Error> {
        let (mode, now) = (self.choice.mode, self.clock.now());
        let due = |at: Millis, every: std::time::Duration| now.0 - at.0 >= every.as_millis() as i64;
        let settings = &self.reader.settings;
        let print = self.reader.fingerprint();
        let cursor = Cursor::of(self.before.cursor.as_deref(), mode, &print);
        let cursor = cursor.filter(|cursor| !due(cursor.whole_at, settings.full_every));
        let (sweeps, place) = match cursor {
            Some(cursor) => (due(cursor.swept_at, settings.sweep_every), Place::GoOn(cursor)),
            None => (false, Place::Begin(Cursor::new(mode, print, now))),
        };
        match mode {
            ReadMode::Paged | ReadMode::Auto => self.everything(None).await.map(|_| None),
            ReadMode::Syncrepl => self.syncrepl(place, sweeps).await.map(Some),
            ReadMode::DirSync => self.dirsync(place, sweeps).await,
            ReadMode::Usn => self.usn(place, sweeps).await.map(Some),
            ReadMode::Timestamp => self.timestamp(place, sweeps).await.map(Some),
        }
    }

    /// Every part from the beginning, page by page; the highest stamp of each.
    async fn everything(&mut self, stamp: Option<&'static str>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut marks = Vec::new();
        for part in &self.reader.parts {
            marks.push(self.part(part, stamp).await?.mark);
        }
        Ok(marks)
    }

    async fn part(&mut self, part: &Part, stamp: Option<&'static str>) -> Result<Ended, Error> {
        let mut query = part.query.clone();
        query.attributes.extend(stamp.map(str::to_owned).filter(|name| !part.query.attributes.contains(name)));
        self.walk(part, Walk::Paged { query, stamp }).await
    }

    async fn syncrepl(&mut self, place: Place, sweeps: bool) -> Result<Cursor, Error> {
        let (Place::GoOn(mut cursor) | Place::Begin(mut cursor)) = place;
        let mut all_whole = true;
        for part in &self.reader.parts {
            let before = cursor.mark(part.kind).and_then(|mark| STANDARD.decode(mark).ok());
            if before.is_some() && self.said.is_none() {
                (self.said, self.listed) = (Some(HashSet::new()), Some(Default::default()));
            }
            let foreign = self.root.is_389();
            let walk = |cookie: Option<Vec<u8>>| {
                // What 389-ds sends of a change has not what was asked for.
                let reread = cookie.is_some() && foreign;
                Walk::Sync { query: part.query.clone(), key: part.key.clone(), cookie, reread }
            };
            let (first, second) = (walk(before.clone()), walk(None));
            let mut ended = self.walk(part, first).await;
            let mut went_on = before.is_some();
            if let Err(Error::Result { code, text }) = &ended
                && went_on
                && REFUSED_COOKIE.contains(code)
                && !self.sent
            {
                self.notes
                    .push(format!("{}s from the beginning: the server refused the cookie, {code}{text}", part.kind));
                went_on = false;
                ended = self.walk(part, second).await;
            }
            // Neither changes nor anybody who is left: that may be everybody, and is looked at at once.
            if went_on && !self.sent && matches!(&ended, Ok(ended) if ended.lost) {
                self.notes.push(format!("{}s from the beginning: the server had lost the place", part.kind));
                went_on = false;
                ended = self.walk(part, walk(None)).await;
            }
            if let Some(reason) = self.refused(&ended, went_on) {
                self.notes.push(format!("{}s page by page: the server refused syncrepl, {reason}", part.kind));
                went_on = false;
                ended = self.part(part, None).await.map(|_| Ended { whole: true, lost: true, ..Ended::default() });
            }
            let ended = ended?;
            if ended.lost {
                cursor.set(part.kind, None);
                if went_on {
                    self.notes
                        .push(format!("{}s: the server lost the place, the next read takes everything", part.kind));
                }
            } else if let Some(mark) = &ended.mark {
                cursor.set(part.kind, Some(STANDARD.encode(mark)));
            }
            all_whole &= ended.whole;
            if went_on && sweeps {
                self.sweep(part, &cursor).await?;
            }
            if went_on {
                self.again(part).await?;
            }
        }
        self.strangers().await?;
        if all_whole {
            cursor.whole_at = self.clock.now();
        }
        if all_whole || sweeps {
            cursor.swept_at = self.clock.now();
        }
        Ok(cursor)
    }

    /// Who is there, which no server tells of those whose place in the tree was moved away, or who were there before a
    /// backup was put back; and who has been switched off by the clock.
    async fn sweep(&mut self, part: &Part, cursor: &Cursor) -> Result<(), Error> {
        let clock = part.default_active.then(|| (cursor.swept_at, self.clock.now()));
        let walk = Walk::Sweep { query: part.query.clone(), key: part.key.clone(), clock };
        self.walk(part, walk).await.map(drop)
    }

    /// Why another way must be taken: only where the operator left the choice, and nothing was said yet.
    fn refused(&self, ended: &Result<Ended, Error>, went_on: bool) -> Option<String> {
        match ended {
            Err(Error::Result { code, text }) if !went_on && !self.sent && REFUSED_MODE.contains(code) => {
                (self.reader.settings.mode == ReadMode::Auto).then(|| format!("{code}{text}"))
            }
            _ => None,
        }
    }

    async fn dirsync(&mut self, place: Place, sweeps: bool) -> Result<Option<Cursor>, Error> {
        let parts = &self.reader.parts;
        let Some(first) = parts.first() else { return Ok(None) };
        let domain = self.root.domain(parts).unwrap_or_default().to_owned();
        let mut attributes: Vec<String> = parts.iter().flat_map(|part| part.query.attributes.clone()).collect();
        attributes.sort();
        attributes.dedup();
        let walk = |cookie| Walk::DirSync { domain: domain.clone(), attributes: attributes.clone(), cookie };
        let (mut cursor, cookie) = match place {
            Place::GoOn(cursor) => {
                let mark = cursor.marks.get(ALL).and_then(|mark| STANDARD.decode(mark).ok());
                (cursor, mark)
            }
            Place::Begin(new) => (new, None),
        };
        if let Some(cookie) = cookie {
            match self.walk(first, walk(cookie)).await {
                Ok(ended) => {
                    self.moved(&ended, sweeps.then_some(&cursor)).await?;
                    if sweeps {
                        cursor.swept_at = self.clock.now();
                    }
                    cursor.marks.insert(ALL.to_owned(), STANDARD.encode(ended.mark.unwrap_or_default()));
                    return Ok(Some(cursor));
                }
                Err(Error::Result { code, text }) => {
                    self.notes.push(format!("from the beginning: the server refused the cookie, {code}{text}"));
                }
                Err(error) => return Err(error),
            }
        }
        // The place comes first: what changes during the read is heard of again.
        let ended = self.walk(first, walk(Vec::new())).await;
        if let Some(reason) = self.refused(&ended, false) {
            self.notes.push(format!("page by page: the server refused DirSync, {reason}"));
            self.everything(None).await?;
            return Ok(None);
        }
        let mark = ended?.mark.unwrap_or_default();
        self.everything(None).await?;
        cursor.whole_at = self.clock.now();
        cursor.marks.insert(ALL.to_owned(), STANDARD.encode(mark));
        Ok(Some(cursor))
    }

    /// What DirSync named: who was deleted, and who is read again.
    async fn moved(&mut self, ended: &Ended, sweeps: Option<&Cursor>) -> Result<(), Error> {
        let keys: Vec<Vec<u8>> = ended.moved.changed.iter().map(|guid| guid.to_vec()).collect();
        self.said = Some(HashSet::new());
        (self.names, self.listed) = (Some(Vec::new()), Some(Default::default()));
        for part in &self.reader.parts {
            let gone = ended.moved.deleted.iter().filter_map(|guid| Entry::key_of(&part.key, guid));
            let gone = gone.map(|key| Record::Gone { kind: part.kind, key }).collect();
            self.send(gone).await?;
            let walk = Walk::Keys { query: part.query.clone(), key: part.key.clone(), keys: keys.clone() };
            self.walk(part, walk).await?;
            if let Some(cursor) = sweeps {
                self.sweep(part, cursor).await?;
            }
            self.again(part).await?;
        }
        self.listing().await?;
        self.strangers().await
    }

    /// Active Directory lists members by their names as they are now, and calls no group changed when one of them moves.
    async fn listing(&mut self) -> Result<(), Error> {
        let names = self.names.take().unwrap_or_default();
        if names.is_empty() {
            return Ok(());
        }
        self.once = true;
        for part in self.reader.parts.iter().filter(|part| part.kind == Kind::Group) {
            let walk = Walk::Having { query: part.query.clone(), attribute: "member", values: names.clone() };
            self.walk(part, walk).await?;
        }
        self.once = false;
        Ok(())
    }

    async fn usn(&mut self, place: Place, sweeps: bool) -> Result<Cursor, Error> {
        let server = self.root.text("dsservicename").unwrap_or_default().to_owned();
        let highest = self.root.text("highestcommittedusn").unwrap_or_default().to_owned();
        // Another server counts otherwise.
        let since = |cursor: &Cursor| {
            let (usn, of) = cursor.marks.get(ALL)?.split_once(' ')?;
            if of == server { usn.parse::<i64>().ok() } else { None }
        };
        let mark = format!("{highest} {server}");
        let mut cursor = match place {
            Place::Begin(new) => {
                self.everything(None).await?;
                new
            }
            Place::GoOn(mut cursor) => match since(&cursor) {
                Some(usn) => self.since(cursor, USN, |_| Some((usn + 1).to_string()), sweeps).await?,
                None => {
                    self.notes.push("from the beginning: another server answered".to_owned());
                    self.everything(None).await?;
                    cursor.whole_at = self.clock.now();
                    cursor
                }
            },
        };
        cursor.marks.insert(ALL.to_owned(), mark);
        Ok(cursor)
    }

    async fn timestamp(&mut self, place: Place, sweeps: bool) -> Result<Cursor, Error> {
        match place {
            Place::GoOn(cursor)
                if self.reader.parts.iter().all(|part| cursor.mark(part.kind).and_then(earlier).is_some()) =>
            {
                let from = |cursor: &Cursor, kind| cursor.mark(kind).and_then(earlier);
                let marks = cursor.clone();
                self.since(cursor, STAMP, move |kind| from(&marks, kind), sweeps).await
            }
            Place::GoOn(mut cursor) | Place::Begin(mut cursor) => {
                let marks = self.everything(Some(STAMP)).await?;
                for (part, mark) in self.reader.parts.iter().zip(marks) {
                    cursor.set(part.kind, mark.and_then(|mark| String::from_utf8(mark).ok()));
                }
                cursor.whole_at = self.clock.now();
                cursor.swept_at = cursor.whole_at;
                Ok(cursor)
            }
        }
    }

    /// Entries whose `attribute` is at least what `from` says; then, when its time has come, who is still there.
    async fn since(
        &mut self,
        mut cursor: Cursor,
        attribute: &'static str,
        from: impl Fn(Kind) -> Option<String>,
        sweeps: bool,
    ) -> Result<Cursor, Error> {
        (self.said, self.listed) = (Some(HashSet::new()), Some(Default::default()));
        self.names = (attribute == USN).then(Vec::new);
        for part in &self.reader.parts {
            let least = from(part.kind).unwrap_or_default();
            let pair = [ber::element(OCTETS, attribute.as_bytes()), ber::element(OCTETS, least.as_bytes())].concat();
            let filter = ber::element(0xa0, &[&part.query.filter[..], &ber::element(0xa5, &pair)].concat());
            let mut query = Query { filter, ..part.query.clone() };
            let stamp = (attribute == STAMP).then_some(STAMP);
            query.attributes.extend(stamp.map(str::to_owned).filter(|name| !part.query.attributes.contains(name)));
            let changes = self.walk_changes(part, Walk::Paged { query, stamp }).await?;
            if let Some(mark) = changes.mark.and_then(|mark| String::from_utf8(mark).ok()) {
                let later = cursor.mark(part.kind).is_none_or(|before| before < mark.as_str());
                if later {
                    cursor.set(part.kind, Some(mark));
                }
            }
            if sweeps {
                self.sweep(part, &cursor).await?;
            }
            self.again(part).await?;
        }
        self.listing().await?;
        self.strangers().await?;
        if sweeps {
            cursor.swept_at = self.clock.now();
        }
        Ok(cursor)
    }
}

/// A GeneralizedTime (RFC 4517 §3.3.13), a little earlier.
fn earlier(stamp: &str) -> Option<String> {
    let whole = stamp.split(['.', ',', 'Z']).next()?;
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", whole).ok()?;
    let at = at.checked_sub(jiff::SignedDuration::from_millis(OVERLAP)).ok()?;
    Some(format!("{}Z", at.strftime("%Y%m%d%H%M%S")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_go_back_over_midnight_and_what_is_none_is_refused() {
        assert_eq!(earlier("20261128000123Z").as_deref(), Some("20261127235623Z"));
        assert_eq!(earlier("20261128000123.456Z").as_deref(), Some("20261127235623Z"));
        assert_eq!(earlier("yesterday"), None);
        assert_eq!(earlier(""), None);
    }
}
