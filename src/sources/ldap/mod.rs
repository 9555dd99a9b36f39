//! Reads a directory: people, then groups, page by page, into chunks of records. It holds one page in memory, waits when
//! the engine is slower, and says `Complete` only when every page of every search ended well with an empty cookie and no
//! pointer to another server was left unread; anything else is `Incomplete` with the reason. Entries that cannot be mapped
//! are `Bad` one by one. Start at `Reader::compile`, then `read`.

mod ber;
mod disabled;
mod entry;
mod preset;
mod session;
mod wire;

use std::collections::BTreeSet;

use ldap3::asn1::ASNTag as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::ldap::{Ldap, Referrals, Search};
use crate::mapping::{self, Mapping, Names};
use crate::model::desired::{Chunk, Desired, End, Known, Record, Scope};
use crate::model::kind::Kind;
use crate::model::time::Millis;
use ber::Garbage;
use entry::Entry;
use session::{Error, Item, Query, Session};

/// Records per chunk: large enough for the engine's statements, small enough to stay small.
const CHUNK: usize = 500;
/// The key whose fault is none of a mapping; no attribute is called so.
const FILTER: &str = "filter";
/// Chunks that are read ahead while one is being mapped.
const AHEAD: usize = 2;

type Batch = Vec<Result<Entry, Garbage>>;

/// A directory that can be read: settings, filters and mappings are known to be right.
#[derive(Debug)]
pub struct Reader {
    settings: Ldap,
    parts: Vec<Part>,
}

/// One search with what becomes of its entries.
#[derive(Debug)]
struct Part {
    kind: Kind,
    mapping: Mapping,
    query: Query,
    /// As it was written.
    filter: String,
    /// Lower case.
    key: String,
    /// The mapping is silent about `active`, so the directory's own account state is taken.
    default_active: bool,
}

impl Reader {
    /// All faults at once.
    pub fn compile(settings: &Ldap) -> Result<Reader, Vec<mapping::Fault>> {
        let mut faults = Vec::new();
        let searches = [(Kind::User, "users", &settings.users), (Kind::Group, "groups", &settings.groups)];
        let parts = searches.into_iter().filter_map(|(kind, name, search)| {
            let compiled = Part::compile(settings, kind, search.as_ref()?);
            compiled
                .map_err(|found| {
                    // As the key is called in the configuration.
                    let named = |fault: mapping::Fault| match fault.target.as_str() {
                        FILTER => mapping::Fault { target: format!("{name}.{FILTER}"), ..fault },
                        target => mapping::Fault { target: format!("{name}.map.{target}"), ..fault },
                    };
                    faults.extend(found.into_iter().map(named));
                })
                .ok()
        });
        let parts: Vec<Part> = parts.collect();
        if faults.is_empty() { Ok(Reader { settings: settings.clone(), parts }) } else { Err(faults) }
    }

    /// Changes whenever the same directory could give other records: base, filter, mapping, identity.
    pub fn fingerprint(&self) -> String {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let query = &part.query;
            let told = format!("{}|{}|{}|{}|{}|", part.kind, query.base, query.scope, part.filter, part.key);
            bytes.extend_from_slice(told.as_bytes());
            bytes.extend_from_slice(part.mapping.fingerprint());
        }
        bytes.extend_from_slice(self.settings.bind.as_ref().map_or("", |bind| &bind.dn).as_bytes());
        uuid::Uuid::from_bytes(mapping::digest::cut(&bytes).0).simple().to_string()
    }

    /// Connects, binds and leaves again: which server answered.
    pub async fn probe(&self) -> Result<String, String> {
        let session = Session::open(&self.settings).await.map_err(|error| error.to_string())?;
        let url = session.url.clone();
        session.close().await;
        Ok(url)
    }
}

impl Part {
    fn compile(settings: &Ldap, kind: Kind, search: &Search) -> Result<Part, Vec<mapping::Fault>> {
        let defaults = preset::preset(settings.preset, kind);
        let mut rules = defaults.map;
        for (target, rule) in &search.map {
            match rule {
                Value::Bool(false) if rules.contains_key(target) && target != "active" => rules.remove(target),
                rule => rules.insert(target.clone(), rule.clone()),
            };
        }
        let filter = search.filter.clone().unwrap_or_else(|| defaults.filter.to_owned());
        let mut faults = Vec::new();
        let encoded = encode(&filter);
        if encoded.is_none() {
            let reason = "must be an LDAP filter like (objectClass=person)".to_owned();
            faults.push(mapping::Fault { target: FILTER.to_owned(), reason });
        }
        let mapping = match Mapping::compile(kind, Names::Folded, &rules, &settings.tables) {
            Ok(mapping) if faults.is_empty() => mapping,
            Ok(_) => return Err(faults),
            Err(found) => {
                faults.extend(found);
                return Err(faults);
            }
        };
        let key = search.key.as_deref().unwrap_or(defaults.key).to_ascii_lowercase();
        let default_active = kind == Kind::User && !mapping.writes(&["active"]);
        let mut attributes: BTreeSet<String> = mapping.inputs();
        attributes.remove("dn");
        attributes.insert(key.clone());
        if default_active {
            attributes.extend(disabled::ATTRIBUTES.map(str::to_owned));
        }
        let query = Query {
            base: search.base.clone(),
            scope: search.scope,
            filter: encoded.unwrap_or_default(),
            attributes: attributes.into_iter().collect(),
        };
        Ok(Part { kind, mapping, query, filter, key, default_active })
    }

    fn taken(&self, entry: Result<Entry, Garbage>, known: &dyn Known, now: Millis) -> Option<Record> {
        match entry {
            Ok(entry) => self.record(&entry, known, now),
            Err(error) => Some(Record::Bad { kind: Some(self.kind), key: None, reason: error.to_string() }),
        }
    }

    /// What one entry says. Never an error: what cannot be taken is `Bad` and counts as present.
    fn record(&self, entry: &Entry, known: &dyn Known, now: Millis) -> Option<Record> {
        let Some(key) = entry.key(&self.key) else {
            let reason = format!("{}: it has no {}, by which it could be known again", entry.dn(), self.key);
            return Some(Record::Bad { kind: Some(self.kind), key: None, reason });
        };
        let bad = |key: String, reason: String| Record::Bad { kind: Some(self.kind), key: Some(key), reason };
        let active = self.default_active.then(|| !disabled::disabled(entry, now));
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(self.mapping.fingerprint());
        bytes.push(active.map_or(2, u8::from));
        entry.canonical(&mut bytes);
        let digest = mapping::digest::cut(&bytes);
        if known.is(self.kind, &key, &digest) {
            return Some(Record::Same { kind: self.kind, key });
        }
        let dn = entry.dn();
        let alias = match mapping::dn::normal(dn) {
            Ok(alias) => alias,
            Err(error) => return Some(bad(key, format!("{dn}: {error}"))),
        };
        let raw = entry.raw();
        match self
            .mapping
            .ours(&raw)
            .and_then(|ours| if ours { self.mapping.map(&raw, key.clone()).map(Some) } else { Ok(None) })
        {
            Ok(None) => None,
            Ok(Some(mut desired)) => {
                if let Some(active) = active {
                    desired.attributes.insert("active".to_owned(), Value::Bool(active));
                }
                let alias = desired.alias.take().unwrap_or(alias);
                Some(Record::Present(Box::new(Desired { alias: Some(alias), digest: Some(digest), ..desired })))
            }
            Err(error) => Some(bad(key, format!("{dn}: {error}"))),
        }
    }
}

/// RFC 4515 text -> BER.
fn encode(filter: &str) -> Option<Vec<u8>> {
    let parsed = ldap3::parse_filter(filter).ok()?;
    let mut encoded = bytes::BytesMut::new();
    ldap3::asn1::write::encode_into(&mut encoded, parsed.into_structure()).ok()?;
    Some(encoded.to_vec())
}

/// Reads everything and always ends with `Chunk::End`, unless nobody listens any more.
pub async fn read(reader: &Reader, known: &dyn Known, clock: &Clock, out: mpsc::Sender<Chunk>) {
    let end = match all(reader, known, clock, &out).await {
        Ok(kinds) => End::Complete { cursor: None, kinds, scope: Scope::Whole },
        Err(error) => End::Incomplete { reason: error.to_string() },
    };
    // Whoever does not listen has drawn his conclusion: no end = incomplete.
    let _ = out.send(Chunk::End(end)).await;
}

async fn all(reader: &Reader, known: &dyn Known, clock: &Clock, out: &mpsc::Sender<Chunk>) -> Result<Vec<Kind>, Error> {
    let mut session = Session::open(&reader.settings).await?;
    for part in &reader.parts {
        let (entries, mut arriving) = mpsc::channel::<Batch>(AHEAD);
        // Aborted when this is dropped: nobody reads for a reader that has gone.
        let mut fetching = JoinSet::new();
        fetching.spawn(fetch(session, part.query.clone(), entries));
        while let Some(batch) = arriving.recv().await {
            let now = clock.now();
            let records = batch.into_iter().filter_map(|entry| part.taken(entry, known, now)).collect();
            out.send(Chunk::Records(records)).await.map_err(|_| Error::Stopped)?;
        }
        session = fetching.join_next().await.and_then(Result::ok).ok_or(Error::Stopped)??;
    }
    session.close().await;
    Ok(reader.parts.iter().map(|part| part.kind).collect())
}
/// One search to its end, in a task of its own, so that reading and mapping share the cores. The next page is asked for when
/// the entries of this one have been taken over. Gives the connection back.
async fn fetch(mut session: Session, query: Query, entries: mpsc::Sender<Batch>) -> Result<Session, Error> {
    let mut cookie = Vec::new();
    let mut pointers = 0;
    loop {
        session.ask(&query, &cookie).await?;
        let mut batch = Batch::with_capacity(CHUNK);
        let mut unfinished = Vec::new();
        let next = loop {
            match session.next().await? {
                Item::Entry(bytes) => match Entry::of(bytes) {
                    // Its rest is asked for when the page has ended.
                    Ok(entry) if !entry.ranged.is_empty() => unfinished.push(entry),
                    entry => batch.push(entry),
                },
                Item::Pointer => pointers += 1,
                Item::Done { cookie } => break cookie.ok_or(Error::NoCookie)?,
            }
            if batch.len() == CHUNK {
                send(&entries, std::mem::replace(&mut batch, Batch::with_capacity(CHUNK))).await?;
            }
        };
        for mut entry in unfinished {
            for (name, from) in std::mem::take(&mut entry.ranged) {
                session.rest(&mut entry, &name, from).await?;
            }
            // Groups that need this are large: one by one.
            send(&entries, vec![Ok(entry)]).await?;
        }
        if !batch.is_empty() {
            send(&entries, batch).await?;
        }
        if next.is_empty() {
            break;
        }
        cookie = next;
    }
    if pointers > 0 && session.referrals == Referrals::Refuse {
        return Err(Error::Pointers(pointers));
    }
    Ok(session)
}

async fn send(entries: &mpsc::Sender<Batch>, batch: Batch) -> Result<(), Error> {
    entries.send(batch).await.map_err(|_| Error::Stopped)
}

#[cfg(test)]
mod tests;
