//! The sample helpdesk on a free port with a hook in front of it, and the reader run against it to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use jiff::tz::TimeZone;
use musterd::clock::Clock;
use musterd::config::crm::Crm;
use musterd::config::read::check;
use musterd::demo::crm::{Helpdesk, Ticket, User};
use musterd::model::desired::{Chunk, Desired, Digest, End, Known, Record};
use musterd::model::kind::Kind;
use musterd::model::time::Millis;
use musterd::sources::crm::{Ready, read};
use tokio::task::JoinHandle;

pub const TOKEN: &str = "1-14-5ca1ab1e";
pub const RT5: &str = include_str!("../../../config/connectors/rt5.toml");

/// Stops serving at its end.
pub struct Served {
    pub url: String,
    /// Path and query of every request, in order.
    pub requests: Arc<Mutex<Vec<Uri>>>,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    pub fn count(&self, part: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|uri| uri.to_string().contains(part)).count()
    }

    pub fn forget(&self) {
        self.requests.lock().unwrap().clear();
    }
}

/// Serves `router`; `hook` sees the number of each request (from 0) first and may answer in its place.
pub async fn serve(router: Router, hook: impl Fn(usize, &Uri) -> Option<Response> + Send + Sync + 'static) -> Served {
    let requests: Arc<Mutex<Vec<Uri>>> = Arc::default();
    let (log, hook) = (requests.clone(), Arc::new(hook));
    let router = router.layer(from_fn(move |request: Request, next: Next| {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.uri().clone());
            log.len() - 1
        };
        let hook = hook.clone();
        async move {
            match hook(number, request.uri()) {
                Some(answer) => answer,
                None => next.run(request).await,
            }
        }
    }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { url, requests, task }
}

/// 2026-11-01, when everything in the sample was last touched.
pub fn long_ago() -> Millis {
    Millis::parse("2026-11-01T08:00:00Z").unwrap()
}

/// 2026-11-21 20:05:15.
pub fn now() -> Millis {
    Millis::parse("2026-11-21T20:05:15Z").unwrap()
}

pub fn clock() -> Clock {
    Clock::fixed(now(), 7)
}

/// Users 101.. of three companies written in several ways, and a ticket for each of the first `tickets`.
pub fn sample(users: u64, tickets: u64) -> Arc<Helpdesk> {
    let desk = Helpdesk::new(TOKEN, TimeZone::get("Europe/Prague").unwrap());
    let at = long_ago();
    desk.put_user(1, User { name: "RT_System".to_owned(), ..User::default() }, at);
    desk.put_user(6, User { name: "Nobody".to_owned(), ..User::default() }, at);
    for number in 101..101 + users {
        desk.put_user(number, user(number), at);
    }
    for number in 1..=tickets {
        let ticket = Ticket {
            subject: format!("Case {number}"),
            status: "open".to_owned(),
            queue: if number % 2 == 0 { "Support" } else { "General" }.to_owned(),
            requestors: vec![100 + number],
        };
        desk.put_ticket(number, ticket, at);
    }
    desk
}

pub fn user(number: u64) -> User {
    let spellings = ["ACME s.r.o.", "acme S.R.O. ", "Žižkov a.s.", ""];
    User {
        name: format!("cust{number}"),
        real_name: format!("Zákazník {number}"),
        email: format!("cust{number}@acme.test"),
        organization: spellings[(number % 4) as usize].to_owned(),
        work_phone: format!("+420 {number}"),
        disabled: false,
    }
}

/// The settings of a source as they stand in the configuration, with a connector file of its own.
pub fn settings(url: &str, connector: &str, more: &str) -> Crm {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connector.toml");
    std::fs::write(&file, connector).unwrap();
    let secret = if more.contains("secret =") { String::new() } else { format!("secret = '{TOKEN}'\n") };
    let text = format!("url = '{url}'\nconnector_file = '{}'\n{secret}{more}", file.display());
    check(&text, Crm::read).unwrap_or_else(|refused| panic!("{refused}")).unwrap()
}

/// Request Tracker's connector with short waits.
pub fn rt5(url: &str) -> Crm {
    let connector = RT5.replace("requests = 50", "requests = 5000");
    let connector = format!("{connector}\n[errors]\nwait = '5ms'\nattempts = 3\nmax_wait = '5s'\n");
    settings(url, &connector, "zone = 'Europe/Prague'\n[tables.comment_queues]\nSupport = true\n")
}

/// What the engine would know after the records were applied.
#[derive(Default)]
pub struct Memory(HashMap<(Kind, String), Digest>);

impl Memory {
    pub fn learn(&mut self, told: &Told) {
        for desired in told.present() {
            self.0.insert((desired.kind, desired.key.clone()), desired.digest.unwrap());
        }
    }
}

impl Known for Memory {
    fn is(&self, kind: Kind, key: &str, digest: &Digest) -> bool {
        self.0.get(&(kind, key.to_owned())) == Some(digest)
    }

    fn holds(&self, kind: Kind, key: &str) -> bool {
        self.0.contains_key(&(kind, key.to_owned()))
    }
}

/// Everything a read said.
#[derive(Debug)]
pub struct Told {
    pub records: Vec<Record>,
    pub end: Option<End>,
    pub longest_chunk: usize,
}

impl Told {
    pub fn present(&self) -> impl Iterator<Item = &Desired> {
        self.records.iter().filter_map(|record| match record {
            Record::Present(desired) => Some(&**desired),
            _ => None,
        })
    }

    pub fn of(&self, kind: Kind) -> BTreeMap<&str, &Desired> {
        self.present().filter(|desired| desired.kind == kind).map(|desired| (desired.key.as_str(), desired)).collect()
    }

    pub fn same(&self, kind: Kind) -> usize {
        self.records
            .iter()
            .filter(|record| matches!(record, Record::Same { kind: found, .. } if *found == kind))
            .count()
    }

    pub fn bad(&self) -> Vec<(Option<&str>, &str)> {
        let parts = self.records.iter().filter_map(|record| match record {
            Record::Bad { key, reason, .. } => Some((key.as_deref(), reason.as_str())),
            _ => None,
        });
        parts.collect()
    }

    pub fn cursor(&self) -> Option<String> {
        match &self.end {
            Some(End::Complete { cursor, .. }) => cursor.clone(),
            other => panic!("not complete: {other:?}"),
        }
    }

    /// Why the read was not complete.
    pub fn reason(&self) -> &str {
        match &self.end {
            Some(End::Incomplete { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

pub async fn run(settings: &Crm, known: &dyn Known, cursor: Option<String>) -> Told {
    run_at(settings, known, cursor, &clock()).await
}

pub async fn run_at(settings: &Crm, known: &dyn Known, cursor: Option<String>, clock: &Clock) -> Told {
    let ready = Ready::compile(settings).unwrap();
    let (out, mut inbox) = tokio::sync::mpsc::channel(2);
    let collect = async {
        let mut told = Told { records: Vec::new(), end: None, longest_chunk: 0 };
        while let Some(chunk) = inbox.recv().await {
            match chunk {
                Chunk::Records(records) => {
                    told.longest_chunk = told.longest_chunk.max(records.len());
                    told.records.extend(records);
                }
                Chunk::There { .. } => panic!("nobody swept"),
                Chunk::End(end) => told.end = Some(end),
            }
        }
        told
    };
    tokio::join!(read(settings, &ready, known, cursor, clock, out), collect).1
}
