//! Reads a directory: people, then groups, page by page, into chunks of records. It holds one page in memory, waits when
//! the engine is slower, and says `Complete` only when every page of every search ended well with an empty cookie and no
//! pointer to another server was left unread; anything else is `Incomplete` with the reason. Entries that cannot be mapped
//! are `Bad` one by one. Start at `Reader::compile`, then `read`.

mod ber;
mod cursor;
mod dirsync;
mod disabled;
mod entry;
mod fault;
mod listen;
mod modes;
mod preset;
mod probe;
mod read;
mod root;
mod session;
mod srv;
mod sync;
mod walk;
mod wire;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use ldap3::asn1::ASNTag as _;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::ldap::{Ldap, Scope, Search};
use crate::mapping::{self, Mapping, Names};
use crate::model::desired::{Chunk, Desired, End, Known, Nothing, Record};
use crate::model::kind::{Kind, Realm};
use crate::model::time::Millis;
use ber::Garbage;
pub use cursor::was_whole;
use entry::Entry;
use fault::Error;
pub use listen::{Heard, listen};
pub use probe::{Looked, Probe};
use session::{First, Query, Session};

/// RFC 4512 §3.4.2, in lower case.
const STAMP: &str = "modifytimestamp";
/// The key whose fault is none of a mapping; no attribute is called so.
const FILTER: &str = "filter";

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
    /// The same: target -> rule.
    rules: serde_json::Map<String, Value>,
    /// Lower case.
    key: String,
    /// Where the people live: who lives elsewhere is somebody else.
    home: String,
    /// The mapping speaks of when an entry was changed.
    stamped: bool,
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
        let mut parts: Vec<Part> = parts.collect();
        if settings.groups.as_ref().is_some_and(|groups| groups.primary_members) {
            with_first(&mut parts, preset::primary(settings.preset));
        }
        if faults.is_empty() { Ok(Reader { settings: settings.clone(), parts }) } else { Err(faults) }
    }

    /// The realm and the company of whom it brings.
    #[must_use]
    pub fn living_in(mut self, realm: Option<Realm>, company: Option<&str>) -> Reader {
        let home = format!("{}/{}", realm.map_or("", |realm| realm.as_str()), company.unwrap_or_default());
        for part in &mut self.parts {
            part.home.clone_from(&home);
        }
        self
    }

    /// Changes whenever the same directory could give other records: base, filter, mapping, identity.
    pub fn fingerprint(&self) -> String {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let query = &part.query;
            let asked = (query.scope, query.first.is_some());
            let told = format!("{}|{}|{asked:?}|{}|{}|{}|", part.kind, query.base, part.filter, part.key, part.home);
            bytes.extend_from_slice(told.as_bytes());
            bytes.extend_from_slice(part.mapping.fingerprint());
        }
        bytes.extend_from_slice(self.settings.bind.as_ref().map_or("", |bind| &bind.dn).as_bytes());
        uuid::Uuid::from_bytes(mapping::digest::cut(&bytes).0).simple().to_string()
    }

    /// Without the password, should a server say it.
    fn clean(&self, error: Error) -> Error {
        error.without(self.settings.bind.as_ref().map(|bind| bind.password.expose_secret()))
    }

    fn told(&self, error: Error) -> String {
        self.clean(error).to_string()
    }
}

/// What one search makes of an entry.
#[derive(Debug, serde::Serialize)]
pub struct Trial {
    pub kind: Kind,
    /// As it was written.
    pub filter: String,
    /// What the directory says; `None`: the search does not find it.
    pub raw: Option<Value>,
    /// Target -> rule.
    pub rules: serde_json::Map<String, Value>,
    /// What becomes of it; `None` where nothing does.
    pub record: Option<Record>,
}

impl Reader {
    /// Reads one entry and shows its way through every search. Changes nothing.
    pub async fn try_entry(&self, dn: &str, now: Millis) -> Result<Vec<Trial>, String> {
        let told = |error| self.told(error);
        let mut session = Session::open(&self.settings).await.map_err(told)?;
        let mut trials = Vec::new();
        for part in &self.parts {
            let found = session.found(dn, &part.query).await.map_err(told)?;
            let raw = found.as_ref().map(Entry::raw);
            let record = found.and_then(|entry| part.record(&entry, &Nothing, now));
            trials.push(Trial { kind: part.kind, filter: part.filter.clone(), raw, rules: part.rules.clone(), record });
        }
        session.close().await;
        Ok(trials)
    }
}

impl Part {
    fn compile(settings: &Ldap, kind: Kind, search: &Search) -> Result<Part, Vec<mapping::Fault>> {
        let defaults = preset::preset(settings.preset, kind);
        let filter = search.filter.clone().unwrap_or_else(|| defaults.filter.to_owned());
        let mut faults = Vec::new();
        let encoded = encode(&filter);
        if encoded.is_none() {
            let reason = "must be an LDAP filter like (objectClass=person)".to_owned();
            faults.push(mapping::Fault { target: FILTER.to_owned(), reason });
        }
        let compiled = preset::laid_over(defaults.map, &search.map).and_then(|rules| {
            let mapping = Mapping::compile(kind, Names::Folded, &rules, &settings.tables)?;
            Ok((rules, mapping))
        });
        let (rules, mapping) = match compiled {
            Ok(both) if faults.is_empty() => both,
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
            first: None,
        };
        let stamped = query.attributes.iter().any(|name| name == STAMP);
        Ok(Part { kind, mapping, query, filter, rules, key, home: String::new(), stamped, default_active })
    }

    /// Whether the search looks at the place of this name (a normal form).
    fn covers(&self, name: &str) -> bool {
        let Ok(base) = mapping::dn::normal(&self.query.base) else { return false };
        if name == base {
            return self.query.scope == Scope::Subtree;
        }
        let below = name.strip_suffix(&base).and_then(|below| below.strip_suffix(','));
        below.is_some_and(|below| self.query.scope == Scope::Subtree || !below.replace("\\,", "").contains(','))
    }

    fn taken(&self, entry: Result<Entry, Garbage>, known: &dyn Known, now: Millis) -> Option<Record> {
        match entry {
            Ok(entry) => self.record(&entry, known, now),
            Err(error) => Some(Record::Bad { kind: Some(self.kind), key: None, reason: error.to_string(), off: false }),
        }
    }

    /// What one entry says. Never an error: what cannot be taken is `Bad` and counts as present.
    fn record(&self, entry: &Entry, known: &dyn Known, now: Millis) -> Option<Record> {
        let Some(key) = entry.key(&self.key) else {
            let reason = format!("{}: it has no {}, by which it could be known again", entry.dn(), self.key);
            return Some(Record::Bad { kind: Some(self.kind), key: None, reason, off: false });
        };
        let active = self.default_active.then(|| !disabled::disabled(entry, now));
        let off = active == Some(false);
        let bad = |key: String, reason: String| Record::Bad { kind: Some(self.kind), key: Some(key), reason, off };
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(self.mapping.fingerprint());
        bytes.extend_from_slice(self.home.as_bytes());
        bytes.push(active.map_or(2, u8::from));
        entry.canonical(if self.stamped { "" } else { STAMP }, &mut bytes);
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

/// Groups ask for the people of the source who have them as their first one.
fn with_first(parts: &mut [Part], (of_group, of_person): (&'static str, &'static str)) {
    let Some(people) = parts.iter().find(|part| part.kind == Kind::User) else { return };
    let (base, scope, filter) = (people.query.base.clone(), people.query.scope, people.query.filter.clone());
    let first = Arc::new(First { of_group, of_person, base, scope, filter });
    for part in parts.iter_mut().filter(|part| part.kind == Kind::Group) {
        part.query.attributes.push(of_group.to_owned());
        part.query.first = Some(Arc::clone(&first));
    }
}

/// RFC 4515 text -> BER.
fn encode(filter: &str) -> Option<Vec<u8>> {
    let parsed = ldap3::parse_filter(filter).ok()?;
    let mut encoded = bytes::BytesMut::new();
    ldap3::asn1::write::encode_into(&mut encoded, parsed.into_structure()).ok()?;
    Some(encoded.to_vec())
}

/// What is known of the things that a directory speaks of, read when it is asked for.
pub trait Knowing: Known {
    /// From here on `Known` answers from everything that is known, and as if nothing were before.
    fn load(&self) -> Loading<'_, ()>;

    /// Those of the names (normal forms of DNs) that nobody here has, and that nobody listed before.
    fn strangers(&self, names: Vec<String>) -> Loading<'_, Vec<String>>;
}

/// What comes of a question to the store.
pub type Loading<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

impl Knowing for Nothing {
    fn load(&self) -> Loading<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn strangers(&self, names: Vec<String>) -> Loading<'_, Vec<String>> {
        Box::pin(std::future::ready(Ok(names)))
    }
}

/// What is known before a read.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Where the last one ended.
    pub cursor: Option<String>,
    /// What it brought and could not be taken: to be read again, also where nothing changed.
    pub again: Vec<(Kind, String)>,
}

/// Reads what there is to read and always ends with `Chunk::End`, unless nobody listens any more.
pub async fn read(reader: &Reader, known: &dyn Knowing, before: Before, clock: &Clock, out: mpsc::Sender<Chunk>) {
    let end = match read::all(reader, known, &before, clock, &out).await {
        Ok(end) => end,
        Err(error) => End::Incomplete { passes: error.passes(), reason: reader.told(error) },
    };
    // Whoever does not listen has drawn his conclusion: no end = incomplete.
    let _ = out.send(Chunk::End(end)).await;
}

#[cfg(test)]
mod tests;
