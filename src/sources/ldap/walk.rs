//! The walks over a connection that the modes are made of, each in a task of its own beside the mapping: everything page by
//! page, what syncrepl or DirSync say, some entries by their keys. A walk sends pieces and gives the connection back; what
//! its end means for what is absent is `read`'s. Start with `Walk`.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::ber::{self, Garbage, OCTETS};
use super::dirsync::{self, Moved};
use super::disabled;
use super::entry::Entry;
use super::session::{Error, First, Item, Query, Session};
use super::sync::{Persist, Said, Uuid};
use crate::config::ldap::Referrals;
use crate::model::time::Millis;

/// Records per chunk: large enough for the engine's statements, small enough to stay small.
pub(super) const CHUNK: usize = 250;
/// Bytes per chunk: an entry may have a picture of some megabytes.
const MOST_BYTES: usize = 1 << 20;
/// Entries that are asked for by their keys at once.
const KEYS: usize = 100;

pub(super) type Batch = Vec<Result<Entry, Garbage>>;

/// What a walk finds.
pub(super) enum Piece {
    Entries(Batch),
    /// Keys of what is still there.
    There(Vec<String>),
    /// Keys of whom time has made another: to be read again.
    Turned(Vec<String>),
    /// Keys of what is there no more.
    Gone(Vec<String>),
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Piece::Entries(batch) => batch.len(),
            Piece::There(keys) | Piece::Turned(keys) | Piece::Gone(keys) => keys.len(),
        }
    }
}

pub(super) type Pieces = mpsc::Sender<Piece>;

/// What to do on the connection.
pub(super) enum Walk {
    /// All that the query finds. `stamp`: an attribute of which the highest value is wanted.
    Paged {
        query: Query,
        stamp: Option<&'static str>,
    },
    /// Only the keys of all that the query finds, and whom the clock alone switches on or off: at this time and now.
    Sweep {
        query: Query,
        key: String,
        clock: Option<(Millis, Millis)>,
    },
    Sync {
        query: Query,
        key: String,
        cookie: Option<Vec<u8>>,
        reread: bool,
    },
    /// Entries by the values of their key; what is not found is gone.
    Keys {
        query: Query,
        key: String,
        keys: Vec<Vec<u8>>,
    },
    /// Entries in which an attribute has one of these values; the others are not looked for.
    Having {
        query: Query,
        attribute: &'static str,
        values: Vec<Vec<u8>>,
    },
    DirSync {
        domain: String,
        attributes: Vec<String>,
        cookie: Vec<u8>,
    },
}

/// How a walk ended well.
#[derive(Default)]
pub(super) struct Ended {
    /// The cookie, or the highest value.
    pub(super) mark: Option<Vec<u8>>,
    /// Whatever it did not find is not there.
    pub(super) whole: bool,
    /// The cookie that came is none to go on from.
    pub(super) lost: bool,
    /// What DirSync named.
    pub(super) moved: Moved,
}

impl Walk {
    /// Whether most of what it finds is known already, or is to be told from what is.
    pub(super) fn meets_the_known(&self) -> bool {
        matches!(self, Walk::Paged { .. } | Walk::Sweep { .. } | Walk::Sync { cookie: None, .. })
    }

    pub(super) async fn go(self, session: &mut Session, out: &Pieces) -> Result<Ended, Error> {
        match self {
            Walk::Paged { query, stamp } => paged(session, &query, stamp, out).await,
            Walk::Sweep { query, key, clock } => sweep(session, &query, &key, clock, out).await,
            Walk::Sync { query, key, cookie, reread } => {
                sync(session, &query, &key, cookie.as_deref(), reread, out).await
            }
            Walk::Keys { query, key, keys } => by_keys(session, &query, &key, &keys, out).await,
            Walk::Having { query, attribute, values } => {
                for values in values.chunks(KEYS) {
                    let query = with_any(&query, attribute, values);
                    pages(session, &query, &mut Outgoing::new(out, &query), |_| ()).await?;
                }
                Ok(Ended::default())
            }
            Walk::DirSync { domain, attributes, cookie } => {
                let (moved, cookie) = dirsync::walk(session, &domain, &attributes, cookie).await?;
                Ok(Ended { mark: Some(cookie), moved, ..Ended::default() })
            }
        }
    }
}

async fn send(out: &Pieces, piece: Piece) -> Result<(), Error> {
    out.send(piece).await.map_err(|_| Error::Stopped)
}

/// Entries on their way out, by the chunk.
struct Outgoing<'a> {
    out: &'a Pieces,
    /// The members that a group does not list are asked for, too.
    first: Option<Arc<First>>,
    batch: Batch,
    bytes: usize,
    /// Their rest is asked for when the search has ended.
    unfinished: Vec<Entry>,
}

impl Outgoing<'_> {
    fn new<'a>(out: &'a Pieces, query: &Query) -> Outgoing<'a> {
        Outgoing { out, first: query.first.clone(), batch: Batch::new(), bytes: 0, unfinished: Vec::new() }
    }

    async fn put(&mut self, entry: Result<Entry, Garbage>) -> Result<(), Error> {
        match entry {
            Ok(entry) if !entry.ranged.is_empty() || self.first.is_some() => self.unfinished.push(entry),
            entry => {
                self.bytes += entry.as_ref().map_or(0, Entry::size);
                self.batch.push(entry);
            }
        }
        if self.batch.len() >= CHUNK || self.bytes >= MOST_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() { Ok(()) } else { send(self.out, Piece::Entries(batch)).await }
    }

    /// Between two searches.
    async fn finish(&mut self, session: &mut Session) -> Result<(), Error> {
        for mut entry in std::mem::take(&mut self.unfinished) {
            for (name, from) in std::mem::take(&mut entry.ranged) {
                session.rest(&mut entry, &name, from).await?;
            }
            if let Some(first) = &self.first {
                session.first_members(&mut entry, first).await?;
            }
            // Groups that need this are large: one by one.
            send(self.out, Piece::Entries(vec![Ok(entry)])).await?;
        }
        self.flush().await
    }
}

fn counted(session: &Session, pointers: u64) -> Result<(), Error> {
    if pointers > 0 && session.referrals == Referrals::Refuse { Err(Error::Pointers(pointers)) } else { Ok(()) }
}

/// The next page is asked for when the entries of this one have been taken over.
async fn pages(
    session: &mut Session,
    query: &Query,
    outgoing: &mut Outgoing<'_>,
    mut seen: impl FnMut(&Entry),
) -> Result<(), Error> {
    let (mut cookie, mut pointers) = (Vec::new(), 0);
    loop {
        session.ask(query, &cookie).await?;
        cookie = loop {
            match session.next().await? {
                Item::Entry(bytes) => {
                    let entry = Entry::of(bytes);
                    entry.iter().for_each(&mut seen);
                    outgoing.put(entry).await?;
                }
                Item::Pointer => pointers += 1,
                Item::Done { cookie } => break cookie.ok_or(Error::NoCookie)?,
            }
        };
        outgoing.finish(session).await?;
        if cookie.is_empty() {
            return counted(session, pointers);
        }
    }
}

async fn paged(
    session: &mut Session,
    query: &Query,
    stamp: Option<&'static str>,
    out: &Pieces,
) -> Result<Ended, Error> {
    let mut highest: Option<Vec<u8>> = None;
    let seen = |entry: &Entry| {
        let Some(value) = stamp.and_then(|stamp| entry.text(stamp)) else { return };
        if highest.as_deref().is_none_or(|highest| highest < value.as_bytes()) {
            highest = Some(value.as_bytes().to_vec());
        }
    };
    pages(session, query, &mut Outgoing::new(out, query), seen).await?;
    Ok(Ended { mark: highest, whole: true, ..Ended::default() })
}

async fn sweep(
    session: &mut Session,
    query: &Query,
    key: &str,
    clock: Option<(Millis, Millis)>,
    out: &Pieces,
) -> Result<Ended, Error> {
    let mut query = Query { attributes: vec![key.to_owned()], ..query.clone() };
    query.attributes.extend(clock.iter().flat_map(|_| disabled::ATTRIBUTES).map(str::to_owned));
    let turns = |entry: &Entry| {
        clock.is_some_and(|(then, now)| disabled::disabled(entry, then) != disabled::disabled(entry, now))
    };
    let (mut cookie, mut pointers) = (Vec::new(), 0);
    loop {
        session.ask(&query, &cookie).await?;
        let (mut keys, mut turned) = (Vec::new(), Vec::new());
        cookie = loop {
            match session.next().await? {
                // Whoever has no key that can be read may be anybody.
                Item::Entry(bytes) => {
                    let entry = Entry::of(bytes)?;
                    let key = entry.key(key).ok_or(Garbage)?;
                    turned.extend(turns(&entry).then(|| key.clone()));
                    keys.push(key);
                }
                Item::Pointer => pointers += 1,
                Item::Done { cookie } => break cookie.ok_or(Error::NoCookie)?,
            }
        };
        send(out, Piece::There(keys)).await?;
        if !turned.is_empty() {
            send(out, Piece::Turned(turned)).await?;
        }
        if cookie.is_empty() {
            counted(session, pointers)?;
            return Ok(Ended { whole: true, ..Ended::default() });
        }
    }
}

/// `reread`: what the server sends of a changed entry is not what was asked for.
async fn sync(
    session: &mut Session,
    query: &Query,
    key: &str,
    cookie: Option<&[u8]>,
    reread: bool,
    out: &Pieces,
) -> Result<Ended, Error> {
    let keys_of = |uuids: Vec<Uuid>| uuids.iter().map(|uuid| key_text(key, uuid)).collect();
    session.ask_sync(query, cookie, Persist::No).await?;
    let (mut outgoing, mut pointers, mut present) = (Outgoing::new(out, query), 0, false);
    let mut again = Vec::new();
    let (mark, deletes) = loop {
        match session.next_sync().await? {
            // Without its operational attributes, and the key is one of them.
            Said::Entry(_, uuid) if reread => again.push(key_text(key, &uuid).into_bytes()),
            Said::Entry(bytes, _) => outgoing.put(Entry::of(bytes)).await?,
            Said::There(uuids) => {
                present = true;
                send(out, Piece::There(keys_of(uuids))).await?;
            }
            Said::Gone(uuids) => send(out, Piece::Gone(keys_of(uuids))).await?,
            Said::Pointer => pointers += 1,
            Said::Nothing => {}
            Said::Done { cookie, deletes } => break (cookie, deletes),
        }
    };
    outgoing.finish(session).await?;
    counted(session, pointers)?;
    if !again.is_empty() {
        by_keys(session, query, key, &again, out).await?;
    }
    // A cookie without a text stands for everything: what came with it looks like changes and names nothing that is gone.
    let lost = mark.as_ref().is_some_and(Vec::is_empty);
    let whole = match cookie {
        None => true,
        Some(_) => !deletes && present && !lost,
    };
    // Neither changes nor all that is there: nothing can be concluded of it.
    let lost = lost || (cookie.is_some() && !deletes && !present);
    Ok(Ended { mark, whole, lost, ..Ended::default() })
}

async fn by_keys(
    session: &mut Session,
    query: &Query,
    key: &str,
    keys: &[Vec<u8>],
    out: &Pieces,
) -> Result<Ended, Error> {
    for keys in keys.chunks(KEYS) {
        let query = with_any(query, key, keys);
        let mut missing: Vec<&Vec<u8>> = keys.iter().collect();
        let seen = |entry: &Entry| missing.retain(|wanted| !entry.values(key).any(|value| same(value, wanted)));
        pages(session, &query, &mut Outgoing::new(out, &query), seen).await?;
        let text = |value: &Vec<u8>| Entry::key_of(key, value);
        let gone: Vec<String> = missing.into_iter().filter_map(text).collect();
        if !gone.is_empty() {
            send(out, Piece::Gone(gone)).await?;
        }
    }
    Ok(Ended::default())
}

/// Only those of which the attribute has one of the values.
fn with_any(query: &Query, attribute: &str, values: &[Vec<u8>]) -> Query {
    let one = |value: &Vec<u8>| {
        ber::element(0xa3, &[ber::element(OCTETS, attribute.as_bytes()), ber::element(OCTETS, value)].concat())
    };
    let any = ber::element(0xa1, &values.iter().flat_map(one).collect::<Vec<u8>>());
    let filter = ber::element(0xa0, &[&query.filter[..], &any].concat());
    Query { filter, ..query.clone() }
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

/// As the key is written in an entry.
pub(super) fn key_text(key: &str, uuid: &Uuid) -> String {
    if key == "nsuniqueid" {
        let hex = uuid::Uuid::from_bytes(*uuid).simple().to_string();
        return [&hex[..8], &hex[8..16], &hex[16..24], &hex[24..]].join("-");
    }
    uuid::Uuid::from_bytes(*uuid).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    #[tokio::test]
    async fn a_chunk_is_bounded_by_what_it_weighs() {
        let (out, mut pieces) = mpsc::channel(64);
        let mut outgoing = Outgoing { out: &out, first: None, batch: Batch::new(), bytes: 0, unfinished: Vec::new() };
        let picture = vec![0xff; MOST_BYTES / 3];
        for _ in 0..9 {
            outgoing.put(Ok(entry("uid=a,dc=x", &[("jpegPhoto", &[&picture[..]])]))).await.unwrap();
        }
        for _ in 0..CHUNK {
            outgoing.put(Ok(entry("uid=a,dc=x", &[("uid", &[b"a"])]))).await.unwrap();
        }
        outgoing.flush().await.unwrap();
        drop(outgoing);
        drop(out);
        let mut lengths = Vec::new();
        while let Some(piece) = pieces.recv().await {
            lengths.push(piece.len());
        }
        assert_eq!(lengths, [3, 3, 3, CHUNK]);
    }
}
