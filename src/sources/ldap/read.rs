//! One read of a directory, in the mode that fits the server: what is asked, what goes into chunks of records, what may be
//! concluded from the end, and where the next read goes on. Whatever cannot be gone on from means that everything is read;
//! an error never is an absence. Start with `all`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ber::{self, OCTETS};
use super::cursor::{ALL, Cursor};
use super::entry::Entry;
use super::root::{Choice, Root};
use super::session::{Error, Query, Session};
use super::sync::REFRESH_REQUIRED;
use super::walk::{Ended, Piece, Walk};
use super::{Before, Part, Reader, STAMP};
use crate::clock::Clock;
use crate::config::ldap::ReadMode;
use crate::model::desired::{Chunk, End, Known, Record, Scope};
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// Pieces that are read ahead while one is being mapped.
const AHEAD: usize = 2;
/// Result codes by which servers refuse a cookie: protocolError, unwillingToPerform (one from their future), and the
/// standard's own.
const REFUSED_COOKIE: [i64; 3] = [2, 53, REFRESH_REQUIRED];
/// By which they refuse a mode as such: limits of time and size, administrative limit, unavailable extension, rights.
const REFUSED_MODE: [i64; 8] = [2, 3, 4, 8, 11, 12, 50, 53];
/// Stamps are compared by the second, and written some time before they can be seen.
const OVERLAP: i64 = 5 * 60 * 1000;
const USN: &str = "usnchanged";

struct Run<'r> {
    reader: &'r Reader,
    known: &'r dyn Known,
    clock: &'r Clock,
    out: &'r mpsc::Sender<Chunk>,
    /// `None` while a walk has it.
    session: Option<Session>,
    root: Root,
    choice: Choice,
    before: &'r Before,
    /// Whether anything was sent in the walk that is under way, or in the last one.
    sent: bool,
    /// Keys of records that were sent, where some may come twice.
    said: Option<HashSet<(Kind, String)>>,
    /// What was said already is not said again: a walk over the groups of those who moved.
    once: bool,
    /// Names of the entries that were sent, where groups are to be looked for that list them.
    names: Option<Vec<Vec<u8>>>,
    /// Keys of things that are there and that nobody here knows.
    unknown: Vec<String>,
    /// Of which everything was read.
    whole: Vec<Kind>,
    notes: Vec<String>,
}

/// Reads until the end.
pub(super) async fn all(
    reader: &Reader,
    known: &dyn Known,
    before: &Before,
    clock: &Clock,
    out: &mpsc::Sender<Chunk>,
) -> Result<End, Error> {
    let mut session = Session::open(&reader.settings).await?;
    let root = Root::of(&mut session).await?;
    let choice = root.choose(reader.settings.mode, &reader.parts).map_err(Error::Mode)?;
    let notes = vec![format!("{} ({})", choice.mode, choice.why)];
    let mut run = Run {
        reader,
        known,
        clock,
        out,
        session: Some(session),
        root,
        choice,
        before,
        sent: false,
        said: None,
        once: false,
        names: None,
        unknown: Vec::new(),
        whole: Vec::new(),
        notes,
    };
    let cursor = run.by_mode().await?;
    if let Some(session) = run.session {
        session.close().await;
    }
    let scope = if run.whole.is_empty() { Scope::Only } else { Scope::Whole };
    let kinds = run.whole;
    Ok(End::Complete {
        cursor: cursor.and_then(|cursor| cursor.text()),
        kinds,
        scope,
        how: Some(run.notes.join("; ")),
        fingerprint: Some(reader.fingerprint()),
    })
}

impl Run<'_> {
    async fn by_mode(&mut self) -> Result<Option<Cursor>, Error> {
        let (mode, now) = (self.choice.mode, self.clock.now());
        let due = |at: Millis, every: std::time::Duration| now.0 - at.0 >= every.as_millis() as i64;
        let settings = &self.reader.settings;
        let print = self.reader.fingerprint();
        let cursor = Cursor::of(self.before.cursor.as_deref(), mode, &print);
        let cursor = cursor.filter(|cursor| !due(cursor.whole_at, settings.full_every));
        let (sweeps, fresh) = match cursor {
            Some(cursor) => (due(cursor.swept_at, settings.sweep_every), Ok(cursor)),
            None => (false, Err(Cursor::new(mode, print, now))),
        };
        match mode {
            ReadMode::Paged | ReadMode::Auto => self.everything(None).await.map(|_| None),
            ReadMode::Syncrepl => self.syncrepl(fresh).await.map(Some),
            ReadMode::DirSync => self.dirsync(fresh).await,
            ReadMode::Usn => self.usn(fresh, sweeps).await.map(Some),
            ReadMode::Timestamp => self.timestamp(fresh, sweeps).await.map(Some),
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

    async fn syncrepl(&mut self, cursor: Result<Cursor, Cursor>) -> Result<Cursor, Error> {
        let (mut cursor, mut all_whole) = (cursor.unwrap_or_else(|new| new), true);
        for part in &self.reader.parts {
            let before = cursor.mark(part.kind).and_then(|mark| STANDARD.decode(mark).ok());
            self.said = before.is_some().then(HashSet::new);
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
            if went_on {
                self.again(part).await?;
            }
        }
        if all_whole {
            cursor.whole_at = self.clock.now();
        }
        Ok(cursor)
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

    async fn dirsync(&mut self, cursor: Result<Cursor, Cursor>) -> Result<Option<Cursor>, Error> {
        let parts = &self.reader.parts;
        let Some(first) = parts.first() else { return Ok(None) };
        let domain = self.root.domain(parts).unwrap_or_default().to_owned();
        let mut attributes: Vec<String> = parts.iter().flat_map(|part| part.query.attributes.clone()).collect();
        attributes.sort();
        attributes.dedup();
        let walk = |cookie| Walk::DirSync { domain: domain.clone(), attributes: attributes.clone(), cookie };
        let (mut cursor, cookie) = match cursor {
            Ok(cursor) => {
                let mark = cursor.marks.get(ALL).and_then(|mark| STANDARD.decode(mark).ok());
                (cursor, mark)
            }
            Err(new) => (new, None),
        };
        if let Some(cookie) = cookie {
            match self.walk(first, walk(cookie)).await {
                Ok(ended) => {
                    self.moved(&ended).await?;
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
    async fn moved(&mut self, ended: &Ended) -> Result<(), Error> {
        let keys: Vec<Vec<u8>> = ended.moved.changed.iter().map(|guid| guid.to_vec()).collect();
        self.said = Some(HashSet::new());
        self.names = Some(Vec::new());
        for part in &self.reader.parts {
            let gone = ended.moved.deleted.iter().filter_map(|guid| Entry::key_of(&part.key, guid));
            let gone = gone.map(|key| Record::Gone { kind: part.kind, key }).collect();
            self.send(gone).await?;
            let walk = Walk::Keys { query: part.query.clone(), key: part.key.clone(), keys: keys.clone() };
            self.walk(part, walk).await?;
            self.again(part).await?;
        }
        self.listing().await
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

    async fn usn(&mut self, cursor: Result<Cursor, Cursor>, sweeps: bool) -> Result<Cursor, Error> {
        let server = self.root.text("dsservicename").unwrap_or_default().to_owned();
        let highest = self.root.text("highestcommittedusn").unwrap_or_default().to_owned();
        // Another server counts otherwise.
        let since = |cursor: &Cursor| {
            let (usn, of) = cursor.marks.get(ALL)?.split_once(' ')?;
            if of == server { usn.parse::<i64>().ok() } else { None }
        };
        let mark = format!("{highest} {server}");
        let cursor = match cursor.map(|cursor| (since(&cursor), cursor)) {
            Ok((Some(usn), cursor)) => self.since(cursor, USN, |_| Some((usn + 1).to_string()), sweeps).await?,
            Ok((None, mut cursor)) => {
                self.notes.push("from the beginning: another server answered".to_owned());
                self.everything(None).await?;
                cursor.whole_at = self.clock.now();
                cursor
            }
            Err(new) => {
                self.everything(None).await?;
                new
            }
        };
        let mut cursor = cursor;
        cursor.marks.insert(ALL.to_owned(), mark);
        Ok(cursor)
    }

    async fn timestamp(&mut self, cursor: Result<Cursor, Cursor>, sweeps: bool) -> Result<Cursor, Error> {
        match cursor {
            Ok(cursor) if self.reader.parts.iter().all(|part| cursor.mark(part.kind).and_then(earlier).is_some()) => {
                let from = |cursor: &Cursor, kind| cursor.mark(kind).and_then(earlier);
                let marks = cursor.clone();
                self.since(cursor, STAMP, move |kind| from(&marks, kind), sweeps).await
            }
            Ok(mut cursor) | Err(mut cursor) => {
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
        self.said = Some(HashSet::new());
        self.names = (attribute == USN).then(Vec::new);
        for part in &self.reader.parts {
            let least = from(part.kind).unwrap_or_default();
            let pair = [ber::element(OCTETS, attribute.as_bytes()), ber::element(OCTETS, least.as_bytes())].concat();
            let filter = ber::element(0xa0, &[&part.query.filter[..], &ber::element(0xa5, &pair)].concat());
            let mut query = Query { filter, ..part.query.clone() };
            let stamp = (attribute == STAMP).then_some(STAMP);
            query.attributes.extend(stamp.map(str::to_owned).filter(|name| !part.query.attributes.contains(name)));
            let changes = self.walk_part_of(part, Walk::Paged { query, stamp }).await?;
            if let Some(mark) = changes.mark.and_then(|mark| String::from_utf8(mark).ok()) {
                let later = cursor.mark(part.kind).is_none_or(|before| before < mark.as_str());
                if later {
                    cursor.set(part.kind, Some(mark));
                }
            }
            if sweeps {
                let walk = Walk::Sweep { query: part.query.clone(), key: part.key.clone() };
                self.walk(part, walk).await?;
            }
            self.again(part).await?;
        }
        self.listing().await?;
        if sweeps {
            cursor.swept_at = self.clock.now();
        }
        Ok(cursor)
    }

    /// What the engine could not take last time, and what is there unknown to it: read by name, unless it came already.
    async fn again(&mut self, part: &Part) -> Result<(), Error> {
        let unknown = std::mem::take(&mut self.unknown);
        let refused = self.before.again.iter().filter(|(kind, _)| *kind == part.kind).map(|(_, key)| key.clone());
        let said = |key: &String| self.said.as_ref().is_some_and(|said| said.contains(&(part.kind, key.clone())));
        let keys: HashSet<String> = refused.chain(unknown).filter(|key| !said(key)).collect();
        let keys: Vec<Vec<u8>> = keys.iter().filter_map(|key| Entry::key_bytes(&part.key, key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let walk = Walk::Keys { query: part.query.clone(), key: part.key.clone(), keys };
        self.walk(part, walk).await.map(drop)
    }

    /// A walk of which nothing that is absent may be concluded.
    async fn walk_part_of(&mut self, part: &Part, walk: Walk) -> Result<Ended, Error> {
        let before = self.whole.len();
        let ended = self.walk(part, walk).await;
        self.whole.truncate(before);
        ended
    }

    /// A walk in a task of its own, so that reading and mapping share the cores.
    async fn walk(&mut self, part: &Part, walk: Walk) -> Result<Ended, Error> {
        let mut session = self.session.take().ok_or(Error::Stopped)?;
        let (pieces, mut arriving) = mpsc::channel::<Piece>(AHEAD);
        // Aborted when this is dropped: nobody reads for a reader that has gone.
        let mut fetching = JoinSet::new();
        fetching.spawn(async move {
            let ended = walk.go(&mut session, &pieces).await;
            (session, ended)
        });
        self.sent = false;
        while let Some(piece) = arriving.recv().await {
            let (now, kind) = (self.clock.now(), part.kind);
            let records: Vec<Record> = match piece {
                Piece::Entries(batch) => {
                    if let Some(names) = &mut self.names {
                        names.extend(batch.iter().flatten().map(|entry| entry.dn().as_bytes().to_vec()));
                    }
                    batch.into_iter().filter_map(|entry| part.taken(entry, self.known, now)).collect()
                }
                Piece::There(keys) => {
                    let (known, unknown): (Vec<_>, Vec<_>) =
                        keys.into_iter().partition(|key| self.known.holds(kind, key));
                    self.unknown.extend(unknown);
                    known.into_iter().map(|key| Record::Same { kind, key }).collect()
                }
                Piece::Gone(keys) => keys.into_iter().map(|key| Record::Gone { kind, key }).collect(),
            };
            self.send(records).await?;
        }
        let (session, ended) = fetching.join_next().await.and_then(Result::ok).ok_or(Error::Stopped)?;
        self.session = Some(session);
        let ended = ended?;
        if ended.whole {
            self.whole.push(part.kind);
        }
        Ok(ended)
    }

    async fn send(&mut self, mut records: Vec<Record>) -> Result<(), Error> {
        if let (true, Some(said)) = (self.once, &self.said) {
            records.retain(|record| named(record).is_none_or(|name| !said.contains(&name)));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.sent = true;
        if let Some(said) = &mut self.said {
            said.extend(records.iter().filter_map(named));
        }
        for records in chunks(records) {
            self.out.send(Chunk::Records(records)).await.map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }
}

/// Of whom something new is said.
fn named(record: &Record) -> Option<(Kind, String)> {
    match record {
        Record::Present(desired) => Some((desired.kind, desired.key.clone())),
        Record::Gone { kind, key } => Some((*kind, key.clone())),
        Record::Bad { kind, key, .. } => Some(((*kind)?, key.clone()?)),
        Record::Same { .. } => None,
    }
}

fn chunks(mut records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut all = Vec::new();
    while records.len() > super::walk::CHUNK {
        let rest = records.split_off(super::walk::CHUNK);
        all.push(std::mem::replace(&mut records, rest));
    }
    all.push(records);
    all
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
