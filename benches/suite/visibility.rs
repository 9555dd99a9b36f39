//! P12 a page of the newest visible tickets, P13 may this user see this ticket: over HTTP and straight from the store, in a
//! world that was pushed as NDJSON. One ticket in ten belongs to the busiest company; client 0 sees them all.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use musterd::model::id::EntityId;
use musterd::model::kind::Kind;
use musterd::model::visibility::decide;
use musterd::store::{Db, visibility};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::Options;
use crate::calibrate::{self, REFERENCE};
use crate::generator::{self, World};
use crate::load::{self, Connection, request};
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};

const CONFIG: &str = "[sources.crm]\nkind = \"push\"\nrealm = \"client\"\n";
const CLIENT: &str = "urn:musterd:params:scim:schemas:extension:client:2.0:User";
/// Lines of one push.
const LINES: usize = 20_000;
/// Checks of one batch.
const BATCH: u64 = 1000;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for size in &options.sizes {
        one(&World { tickets: size * 5 }, options, report).await?;
    }
    Ok(())
}

async fn one(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let builder = Daemon::builder(Which::Sqlite).config(CONFIG).wrapper(&options.server_wrapper());
    let daemon = builder.start().await;
    let push_token = daemon.token(&["--source", "crm", "--scope", "records:push"]);
    let lines = lines(world);
    report.calibrations.push(calibrate::run(1, &options.server_wrapper()).await?);
    let start = Instant::now();
    for part in lines.chunks(LINES) {
        push(daemon.port, &push_token, &part.join("\n")).await?;
    }
    let value = lines.len() as f64 / start.elapsed().as_secs_f64();
    let what = "push of contacts, companies, clients and tickets".to_owned();
    let (size, ratio) = (world.tickets, Some((value / report.calibration().insert, "durable insert")));
    report.add(Figure { row: "P12", what, size, value, unit: "records/s", ratio, target: Target::None });

    let token = daemon.token(&["--scope", "visibility:read"]);
    let asker = Asker {
        port: daemon.port,
        token,
        time: options.time(),
        users: ids(&daemon, "user", 'u', world.clients()).await?,
        tickets: ids(&daemon, "ticket", 't', world.tickets).await?,
    };
    let db = Db::open(&musterd::store::Options::new(daemon.database.clone())).await?;
    if options.wants("P12") {
        pages(&asker, report).await?;
        stored_pages(&asker, &db, report).await?;
    }
    if options.wants("P13") {
        stored_checks(&asker, &db, report).await?;
        checks(&asker, report).await?;
        batches(&asker, report).await?;
    }
    Ok(())
}

/// Companies and contacts first, so that nothing waits for its far end.
fn lines(world: &World) -> Vec<String> {
    let companies = (0..world.companies()).map(|n| {
        json!({"kind": "company", "key": format!("k{n}"), "attributes": {"displayName": format!("Company {n}"), "number": format!("K{n}")}})
    });
    let contacts = (0..world.contacts()).map(|n| {
        json!({
            "kind": "contact", "key": format!("c{n}"),
            "attributes": {"displayName": format!("{} {}", generator::given(n), generator::family(n)), "number": format!("C{n}")},
            "relations": {"works_for": [format!("k{}", world.company_of(n))]}
        })
    });
    let clients = (0..world.clients()).map(|n| {
        json!({
            "kind": "user", "key": format!("u{n}"),
            "attributes": {
                "userName": client(n), "displayName": format!("Client {n}"),
                "emails": [{"value": format!("client{n}@example.com")}],
                CLIENT: {"companyTickets": n == 0 || generator::below(40, n, 2) == 0, "companyContacts": false}
            },
            "relations": {"pairing": [format!("c{}", world.paired_with(n))]}
        })
    });
    let tickets = (0..world.tickets).map(|n| {
        json!({
            "kind": "ticket", "key": format!("t{n}"),
            "attributes": {
                "number": format!("T{n}"), "displayName": format!("Ticket {n}"), "status": "open",
                "created": musterd::model::time::Millis(World::created(n)).to_string()
            },
            "relations": {"concerns": [format!("c{}", world.contact_of(n))]}
        })
    });
    companies.chain(contacts).chain(clients).chain(tickets).map(|line| line.to_string()).collect()
}

fn client(n: u64) -> String {
    format!("client{n}")
}

async fn push(port: u16, token: &str, body: &str) -> anyhow::Result<()> {
    let head = format!(
        "POST /api/v1/sources/crm/records HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let status = Connection::open(port).await?.call(head.as_bytes(), &mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    anyhow::ensure!(status == 200, "push: {status} {}", &text[..text.len().min(500)]);
    Ok(())
}

/// Everything is asked for by id.
struct Asker {
    port: u16,
    token: String,
    time: Duration,
    /// By number.
    users: Vec<String>,
    tickets: Vec<String>,
}

impl Asker {
    fn size(&self) -> u64 {
        self.tickets.len() as u64
    }
}

/// The ids of a kind by the number in their key, looked up from the side.
async fn ids(daemon: &Daemon, kind: &str, letter: char, count: u64) -> anyhow::Result<Vec<String>> {
    let mut aside = SqliteConnection::connect(&format!("{}?mode=ro", daemon.database)).await?;
    let sql = "SELECT key, entity_id FROM assertion WHERE kind = $1";
    let found: Vec<(String, String)> = sqlx::query_as(sql).bind(kind).fetch_all(&mut aside).await?;
    let mut ids = vec![String::new(); count as usize];
    for (key, id) in found {
        let number: usize = key.trim_start_matches(letter).parse()?;
        *ids.get_mut(number).context("a key of ours")? = id;
    }
    anyhow::ensure!(ids.iter().all(|id| !id.is_empty()), "not every {kind} was taken");
    Ok(ids)
}

fn any(list: &[String], stream: u64, n: u64) -> &str {
    &list[generator::below(stream, n, list.len() as u64) as usize]
}

async fn pages(asker: &Asker, report: &mut Report) -> anyhow::Result<()> {
    let mut middles = [0.0; 2];
    for (middle, (who, worst)) in middles.iter_mut().zip([("random client", false), ("busiest company", true)]) {
        let (token, users) = (asker.token.clone(), asker.users.clone());
        let get = move |_: u64, n: u64| {
            let user = if worst { &users[0] } else { any(&users, 50, n) };
            request("GET", &format!("/api/v1/users/{user}/tickets?limit=50"), &token, "")
        };
        let outcome = load::run(asker.port, 1, asker.time, &[200], get).await.sound("page")?;
        *middle = outcome.quantile(0.5);
        for (part, quantile, target) in [("p50", 0.5, Target::None), ("p99", 0.99, Target::AtMost(1.0))] {
            let what = format!("page of the 50 newest visible tickets, {who}, {part}");
            let value = outcome.quantile(quantile) * 1000.0;
            report.add(Figure { row: "P12", what, size: asker.size(), value, unit: "ms", ratio: None, target });
        }
    }
    let what = "page, busiest company over random client, p50".to_owned();
    let (value, target) = (middles[1] / middles[0], Target::AtMost(2.0));
    report.add(Figure { row: "P12", what, size: asker.size(), value, unit: "x", ratio: None, target });
    Ok(())
}

/// Calls until the time is over; seconds each took, ascending.
async fn timed(time: Duration, mut call: impl AsyncFnMut(u64) -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let (start, mut taken) = (Instant::now(), Vec::new());
    for n in 0.. {
        if start.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        call(n).await?;
        taken.push(asked.elapsed().as_secs_f64());
    }
    taken.sort_unstable_by(f64::total_cmp);
    anyhow::ensure!(!taken.is_empty(), "not one call ended");
    Ok(taken)
}

fn quantile(ascending: &[f64], part: f64) -> f64 {
    ascending[((ascending.len() as f64 * part) as usize).min(ascending.len() - 1)]
}

fn id(list: &[String], stream: u64, n: u64) -> anyhow::Result<EntityId> {
    Ok(any(list, stream, n).parse()?)
}

async fn stored_pages(asker: &Asker, db: &Db, report: &mut Report) -> anyhow::Result<()> {
    let mut session = db.read().await?;
    for (who, worst) in [("random client", false), ("busiest company", true)] {
        let taken = timed(asker.time, async |n| {
            let user = if worst { asker.users[0].parse()? } else { id(&asker.users, 51, n)? };
            let viewer = visibility::viewer(&mut session, user).await?.context("a client")?;
            visibility::page(&mut session, &viewer, Kind::Ticket, None, None, 50).await?;
            Ok(())
        });
        let taken = taken.await?;
        for (part, at, target) in [("p50", 0.5, Target::None), ("p99", 0.99, Target::AtMost(0.5))] {
            let what = format!("the same in the store, {who}, {part}");
            let value = quantile(&taken, at) * 1000.0;
            report.add(Figure { row: "P12", what, size: asker.size(), value, unit: "ms", ratio: None, target });
        }
    }
    Ok(())
}

async fn stored_checks(asker: &Asker, db: &Db, report: &mut Report) -> anyhow::Result<()> {
    let mut session = db.read().await?;
    let taken = timed(asker.time, async |n| {
        let (user, ticket) = (id(&asker.users, 61, n)?, id(&asker.tickets, 81, n)?);
        let (viewer, subject) = visibility::facts(&mut session, user, ticket).await?;
        decide(viewer.as_ref(), subject.as_ref(), None);
        Ok(())
    });
    let taken = taken.await?;
    for (part, at, target) in [("p50", 0.5, Target::None), ("p99", 0.99, Target::AtMost(50.0))] {
        let what = format!("may this user see this ticket, in the store, {part}");
        let value = quantile(&taken, at) * 1e6;
        report.add(Figure { row: "P13", what, size: asker.size(), value, unit: "µs", ratio: None, target });
    }
    Ok(())
}

async fn checks(asker: &Asker, report: &mut Report) -> anyhow::Result<()> {
    let (token, users, tickets) = (asker.token.clone(), asker.users.clone(), asker.tickets.clone());
    let ask = move |connection: u64, n: u64| {
        let (user, ticket) = (any(&users, 60 + connection, n), any(&tickets, 80 + connection, n));
        request("POST", "/api/v1/visibility/check", &token, &json!({"user": user, "ticket": ticket}).to_string())
    };
    let outcome = load::run(asker.port, 16, asker.time, &[200], ask).await.sound("check")?;
    let what = "may this user see this ticket, 16 clients".to_owned();
    report.add(rate(what, outcome.rate(), 15_000.0, asker, report));
    Ok(())
}

async fn batches(asker: &Asker, report: &mut Report) -> anyhow::Result<()> {
    let body = |batch: u64| {
        let check = |n: u64| {
            let at = batch * BATCH + n;
            json!({"id": n.to_string(), "user": any(&asker.users, 70, at), "ticket": any(&asker.tickets, 71, at)})
        };
        let checks: Vec<Value> = (0..BATCH).map(check).collect();
        request("POST", "/api/v1/visibility/check-batch", &asker.token, &json!({"checks": checks}).to_string())
    };
    let bodies: Vec<Vec<u8>> = (0..20).map(body).collect();
    let ask = move |connection: u64, n: u64| bodies[((connection + n) % bodies.len() as u64) as usize].clone();
    let outcome = load::run(asker.port, 4, asker.time, &[200], ask).await.sound("batch")?;
    let what = format!("the same in batches of {BATCH}, 4 clients");
    report.add(rate(what, outcome.rate() * BATCH as f64, 150_000.0, asker, report));
    Ok(())
}

/// A rate whose target is scaled by hello.
fn rate(what: String, value: f64, wanted: f64, asker: &Asker, report: &Report) -> Figure {
    let hello = report.calibration().hello_16;
    let target = Target::AtLeast(wanted * hello / REFERENCE.hello_16);
    Figure {
        row: "P13",
        what,
        size: asker.size(),
        value,
        unit: "checks/s",
        ratio: Some((value / hello, "hello of 16")),
        target,
    }
}
