//! A directory server that says what its script tells it to: the answers that a real server gives only on a bad day, or
//! only on a system that no test can have. It speaks real LDAP, takes any bind, and keeps every search it was asked.
//! Start at `Scripted::of` for one that answers like a small directory, or `Scripted::start` for a script.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindResponse, LdapFilter, LdapMsg, LdapOp, LdapPartialAttribute, LdapResult, LdapResultCode, LdapSearchRequest,
    LdapSearchResultEntry, LdapSearchResultReference, LdapSearchScope,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

/// A search, with its controls.
#[derive(Debug, Clone)]
pub struct Asked {
    pub search: LdapSearchRequest,
    pub controls: Vec<LdapControl>,
}

impl Asked {
    /// Where in the pages it goes on.
    pub fn page(&self) -> Option<(usize, &[u8])> {
        self.controls.iter().find_map(|control| match control {
            LdapControl::SimplePagedResults { size, cookie } => Some((usize::try_from(*size).ok()?, &cookie[..])),
            _ => None,
        })
    }

    /// The cookie of a content synchronization; empty: everything.
    pub fn sync(&self) -> Option<&[u8]> {
        self.controls.iter().find_map(|control| match control {
            LdapControl::SyncRequest { cookie, .. } => Some(cookie.as_deref().unwrap_or_default()),
            _ => None,
        })
    }

    /// The same of DirSync.
    pub fn dirsync(&self) -> Option<&[u8]> {
        self.controls.iter().find_map(|control| match control {
            LdapControl::AdDirsync { cookie, .. } => Some(cookie.as_deref().unwrap_or_default()),
            _ => None,
        })
    }

    pub fn is_for_groups(&self) -> bool {
        format!("{:?}", self.search.filter).to_lowercase().contains("group")
    }
}

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Say {
    /// With its controls.
    Entry(LdapSearchResultEntry, Vec<LdapControl>),
    /// To another server.
    Pointer(String),
    Done(LdapResultCode, Vec<LdapControl>),
    /// Nothing more on this connection, until the client hangs up.
    Silence,
}

impl Say {
    pub fn fine() -> Say {
        Say::Done(LdapResultCode::Success, vec![])
    }
}

type Script = Arc<dyn Fn(&Asked) -> Vec<Say> + Send + Sync>;

/// A running server.
pub struct Scripted {
    pub port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// What it says of itself.
    root: LdapSearchResultEntry,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    open: AtomicUsize,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// `root`: attributes of its root DSE.
    pub async fn start(root: &[(&str, &str)], script: impl Fn(&Asked) -> Vec<Say> + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            root: entry("", root),
            script: Mutex::new(Arc::new(script)),
            asked: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let inside = shared.clone();
        // What it talks with ends with it.
        let task = tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                inside.open.fetch_add(1, Ordering::SeqCst);
                let shared = inside.clone();
                links.spawn(async move {
                    shared.converse(stream).await;
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Scripted { port, shared, task }
    }

    /// One that finds among these entries, page by page.
    pub async fn of(root: &[(&str, &str)], entries: Vec<LdapSearchResultEntry>) -> Scripted {
        Scripted::start(root, move |asked| find(asked, &entries)).await
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// From now on it follows this one.
    pub fn follow(&self, script: impl Fn(&Asked) -> Vec<Say> + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub fn holds(&self, entries: Vec<LdapSearchResultEntry>) {
        self.follow(move |asked| find(asked, &entries));
    }

    /// Every search since the last time, but for those of its root DSE.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Waits until somebody has asked something.
    pub async fn until_asked(&self) {
        until("somebody asks", || !self.shared.asked.lock().unwrap().is_empty()).await;
    }

    /// Waits until nobody is connected.
    pub async fn until_left(&self) {
        until("everybody leaves", || self.shared.open.load(Ordering::SeqCst) == 0).await;
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Shared {
    async fn converse(&self, stream: TcpStream) {
        let mut link = Framed::new(stream, LdapCodec::default());
        while let Some(Ok(request)) = link.next().await {
            let id = request.msgid;
            let said = match request.op {
                LdapOp::BindRequest(_) => {
                    let bound = LdapBindResponse { res: result(LdapResultCode::Success), saslcreds: None };
                    if link.send(LdapMsg::new(id, LdapOp::BindResponse(bound))).await.is_err() {
                        return;
                    }
                    continue;
                }
                LdapOp::SearchRequest(search) if search.base.is_empty() => {
                    vec![Say::Entry(self.root.clone(), vec![]), Say::fine()]
                }
                LdapOp::SearchRequest(search) => {
                    let asked = Asked { search, controls: request.ctrl };
                    let script = self.script.lock().unwrap().clone();
                    let said = script(&asked);
                    self.asked.lock().unwrap().push(asked);
                    said
                }
                _ => return,
            };
            for say in said {
                let (op, controls) = match say {
                    Say::Entry(entry, controls) => (LdapOp::SearchResultEntry(entry), controls),
                    Say::Pointer(uri) => {
                        (LdapOp::SearchResultReference(LdapSearchResultReference { uris: vec![uri] }), vec![])
                    }
                    Say::Done(code, controls) => (LdapOp::SearchResultDone(result(code)), controls),
                    Say::Silence => {
                        drop(link.flush().await);
                        while link.next().await.is_some_and(|next| next.is_ok()) {}
                        return;
                    }
                };
                if link.feed(LdapMsg::new_with_ctrls(id, op, controls)).await.is_err() {
                    return;
                }
            }
            if link.flush().await.is_err() {
                return;
            }
        }
    }
}

fn result(code: LdapResultCode) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: String::new(), referral: vec![] }
}

/// An entry of texts; a name may come more than once.
pub fn entry(dn: &str, texts: &[(&str, &str)]) -> LdapSearchResultEntry {
    let empty = LdapSearchResultEntry { dn: dn.to_owned(), attributes: vec![] };
    texts.iter().fold(empty, |entry, (name, value)| with(entry, name, value.as_bytes()))
}

/// The entry with one value more.
pub fn with(mut entry: LdapSearchResultEntry, name: &str, value: &[u8]) -> LdapSearchResultEntry {
    match entry.attributes.iter_mut().find(|known| known.atype == name) {
        Some(known) => known.vals.push(value.to_vec()),
        None => {
            entry.attributes.push(LdapPartialAttribute { atype: name.to_owned(), vals: vec![value.to_vec()] });
        }
    }
    entry
}

/// What a search finds among the entries: the page that is asked for, or all of it.
pub fn find(asked: &Asked, entries: &[LdapSearchResultEntry]) -> Vec<Say> {
    let found: Vec<&LdapSearchResultEntry> = entries.iter().filter(|entry| is_found(asked, entry)).collect();
    let (size, from) = asked.page().map_or((usize::MAX, 0), |(size, cookie)| {
        let from = std::str::from_utf8(cookie).ok().and_then(|text| text.parse().ok());
        (size.max(1), from.unwrap_or(0))
    });
    let mut said: Vec<Say> =
        found.iter().skip(from).take(size).map(|entry| Say::Entry((*entry).clone(), vec![])).collect();
    let next = from.saturating_add(size);
    let cookie = if next < found.len() { next.to_string().into_bytes() } else { vec![] };
    let controls = asked.page().map(|_| LdapControl::SimplePagedResults { size: 0, cookie });
    said.push(Say::Done(LdapResultCode::Success, controls.into_iter().collect()));
    said
}

fn is_found(asked: &Asked, entry: &LdapSearchResultEntry) -> bool {
    let (dn, base) = (entry.dn.to_lowercase(), asked.search.base.to_lowercase());
    match asked.search.scope {
        LdapSearchScope::Base => dn == base,
        _ => dn.ends_with(&base) && matches(&asked.search.filter, entry),
    }
}

fn matches(filter: &LdapFilter, entry: &LdapSearchResultEntry) -> bool {
    let values = |name: &str| {
        let named = entry.attributes.iter().filter(|known| known.atype.eq_ignore_ascii_case(name));
        named.flat_map(|known| known.vals.iter()).collect::<Vec<_>>()
    };
    match filter {
        LdapFilter::And(all) => all.iter().all(|filter| matches(filter, entry)),
        LdapFilter::Or(any) => any.iter().any(|filter| matches(filter, entry)),
        LdapFilter::Not(inner) => !matches(inner, entry),
        LdapFilter::Equality(name, value) => {
            values(name).into_iter().any(|known| known.eq_ignore_ascii_case(value.as_bytes()))
        }
        LdapFilter::Present(name) => !values(name).is_empty(),
        LdapFilter::GreaterOrEqual(name, least) => {
            let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
            values(name).into_iter().any(|known| number(known) >= number(least.as_bytes()))
        }
        // Rules of a server's own: here they hold.
        LdapFilter::Extensible(_) => true,
        _ => false,
    }
}
