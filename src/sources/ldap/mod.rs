//! Reads a directory: people, then groups, page by page, into chunks of records. It holds one page in memory, waits when
//! the engine is slower, and says `Complete` only when every page of every search ended well with an empty cookie and no
//! pointer to another server was left unread; anything else is `Incomplete` with the reason. Entries that cannot be mapped
//! are `Bad` one by one. Start at `Reader::compile`, then `read`.

mod disabled;
mod entry;
mod preset;
mod session;

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::ldap::{Ldap, Referrals, Search};
use crate::mapping::{self, Mapping, Names};
use crate::model::desired::{Chunk, Desired, End, Known, Record, Scope};
use crate::model::kind::Kind;
use crate::model::time::Millis;
use entry::{Entry, Malformed};
use session::{Error, Query, Session};

/// Records per chunk: large enough for the engine's statements, small enough to stay small.
const CHUNK: usize = 500;
/// Chunks that are read ahead while one is being mapped.
const AHEAD: usize = 2;

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
                    let named =
                        |fault: mapping::Fault| mapping::Fault { target: format!("{name}.{}", fault.target), ..fault };
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
            let told = format!("{}|{}|{}|{}|{}|", part.kind, query.base, query.scope, query.filter, part.key);
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
        if ldap3::parse_filter(&filter).is_err() {
            faults
                .push(mapping::Fault { target: "filter".to_owned(), reason: format!("`{filter}` is no LDAP filter") });
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
            filter,
            attributes: attributes.into_iter().collect(),
        };
        Ok(Part { kind, mapping, query, key, default_active })
    }

    /// What one entry says. Never an error: what cannot be taken is `Bad` and counts as present.
    fn record(&self, entry: Entry, known: &dyn Known, now: Millis) -> Option<Record> {
        let Some(key) = entry.key(&self.key) else {
            let reason = format!("{}: it has no {}, by which it could be known again", entry.dn, self.key);
            return Some(Record::Bad { kind: Some(self.kind), key: None, reason });
        };
        let bad = |key: String, reason: String| Record::Bad { kind: Some(self.kind), key: Some(key), reason };
        let active = self.default_active.then(|| !disabled::disabled(&entry, now));
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(self.mapping.fingerprint());
        bytes.push(active.map_or(2, u8::from));
        entry.canonical(&mut bytes);
        let digest = mapping::digest::cut(&bytes);
        if known.is(self.kind, &key, &digest) {
            return Some(Record::Same { kind: self.kind, key });
        }
        let dn = entry.dn.clone();
        let alias = match mapping::dn::normal(&dn) {
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
        let (entries, mut arriving) = mpsc::channel(AHEAD);
        let fetching = fetch(&mut session, &part.query, entries);
        let mapping = async {
            while let Some(batch) = arriving.recv().await {
                let batch: Vec<Result<Entry, Malformed>> = batch;
                let now = clock.now();
                let records = batch.into_iter().filter_map(|entry| match entry {
                    Ok(entry) => part.record(entry, known, now),
                    Err(error) => Some(Record::Bad { kind: Some(part.kind), key: None, reason: error.to_string() }),
                });
                let records: Vec<Record> = records.collect();
                out.send(Chunk::Records(records)).await.map_err(|_| Error::Stopped)?;
            }
            Ok(())
        };
        tokio::try_join!(fetching, mapping)?;
    }
    session.close().await;
    Ok(reader.parts.iter().map(|part| part.kind).collect())
}

/// One search to its end. The next page is asked for only when the entries of this one have been taken.
async fn fetch(
    session: &mut Session,
    query: &Query,
    entries: mpsc::Sender<Vec<Result<Entry, Malformed>>>,
) -> Result<(), Error> {
    let mut cookie = Vec::new();
    let mut pointers = 0;
    loop {
        let mut page = Vec::new();
        let (next, more) = session.page(query, cookie, |entry| page.push(entry)).await?;
        pointers += more;
        for entry in page.iter_mut().flatten() {
            for (name, from) in std::mem::take(&mut entry.ranged) {
                session.rest(entry, &name, from).await?;
            }
        }
        while !page.is_empty() {
            let rest = page.split_off(page.len().min(CHUNK));
            entries.send(std::mem::replace(&mut page, rest)).await.map_err(|_| Error::Stopped)?;
        }
        if next.is_empty() {
            break;
        }
        cookie = next;
    }
    if pointers > 0 && session.referrals == Referrals::Refuse {
        let text =
            format!(": {pointers} pointers to other servers were not followed (`referrals = \"ignore\"` allows that)");
        return Err(Error::Result { code: 0, text });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
