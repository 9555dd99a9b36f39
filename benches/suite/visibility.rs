//! P12 a page of the newest visible tickets, P13 may this user see this ticket: over HTTP, in a world that was pushed as
//! NDJSON. One ticket in ten belongs to the busiest company; client 0 sees them all.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::Options;
use crate::calibrate::REFERENCE;
use crate::generator::{self, World};
use crate::load::{self, Connection, Outcome, request};
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
    let start = std::time::Instant::now();
    for part in lines.chunks(LINES) {
        push(daemon.port, &push_token, &part.join("\n")).await?;
    }
    let value = lines.len() as f64 / start.elapsed().as_secs_f64();
    let what = "push of contacts, companies, clients and tickets".to_owned();
    let (size, ratio) = (world.tickets, Some((value / report.calibration.insert, "durable insert")));
    report.add(Figure { row: "P12", what, size, value, unit: "records/s", ratio, target: Target::None });

    let token = daemon.token(&["--scope", "visibility:read"]);
    let time = Duration::from_secs(options.seconds);
    if options.wants("P12") {
        pages(&daemon, &token, world, time, report).await?;
    }
    if options.wants("P13") {
        checks(&daemon, &token, world, time, report).await?;
        batches(&daemon, &token, world, time, report).await?;
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
                "created": musterd::model::time::Millis(world.created(n)).to_string()
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

fn sound(what: &str, outcome: &Outcome) -> anyhow::Result<()> {
    anyhow::ensure!(outcome.wrong == 0, "{what}: {} wrong answers, e.g. {}", outcome.wrong, outcome.example);
    anyhow::ensure!(outcome.count() > 0, "{what}: no answer at all");
    Ok(())
}

async fn pages(daemon: &Daemon, token: &str, world: &World, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let clients = world.clients();
    let mut middles = [0.0; 2];
    for (middle, (who, worst)) in middles.iter_mut().zip([("random client", false), ("busiest company", true)]) {
        let token = token.to_owned();
        let get = move |_: u64, n: u64| {
            let user = if worst { 0 } else { generator::below(50, n, clients) };
            request("GET", &format!("/api/v1/users/{}/tickets?limit=50", client(user)), &token, "")
        };
        let outcome = load::run(daemon.port, 1, time, 200, get).await;
        sound("page", &outcome)?;
        *middle = outcome.quantile(0.5);
        for (part, quantile, target) in [("p50", 0.5, Target::None), ("p99", 0.99, Target::AtMost(1.0))] {
            let what = format!("page of the 50 newest visible tickets, {who}, {part}");
            let value = outcome.quantile(quantile) * 1000.0;
            report.add(Figure { row: "P12", what, size: world.tickets, value, unit: "ms", ratio: None, target });
        }
    }
    let what = "page, busiest company over random client, p50".to_owned();
    let value = middles[1] / middles[0];
    report.add(Figure {
        row: "P12",
        what,
        size: world.tickets,
        value,
        unit: "x",
        ratio: None,
        target: Target::AtMost(2.0),
    });
    Ok(())
}

async fn checks(
    daemon: &Daemon,
    token: &str,
    world: &World,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (token, clients, tickets) = (token.to_owned(), world.clients(), world.tickets);
    let ask = move |connection: u64, n: u64| {
        let user = client(generator::below(60 + connection, n, clients));
        let ticket = format!("T{}", generator::below(80 + connection, n, tickets));
        request("POST", "/api/v1/visibility/check", &token, &json!({"user": user, "ticket": ticket}).to_string())
    };
    let outcome = load::run(daemon.port, 16, time, 200, ask).await;
    sound("check", &outcome)?;
    let hello = report.calibration.hello_16;
    let target = Target::AtLeast(15_000.0 * hello / REFERENCE.hello_16);
    let what = "may this user see this ticket, 16 clients".to_owned();
    let ratio = Some((outcome.rate() / hello, "hello of 16"));
    let value = outcome.rate();
    report.add(Figure { row: "P13", what, size: world.tickets, value, unit: "checks/s", ratio, target });
    Ok(())
}

/// In a batch everything is named by id, so the ids are looked up aside first.
async fn batches(
    daemon: &Daemon,
    token: &str,
    world: &World,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut aside = SqliteConnection::connect(&format!("{}?mode=ro", daemon.database)).await?;
    let mut ids = Vec::new();
    for kind in ["user", "ticket"] {
        let sql = "SELECT id FROM entity WHERE kind = $1 LIMIT 50000";
        let found: Vec<String> = sqlx::query_scalar(sql).bind(kind).fetch_all(&mut aside).await?;
        anyhow::ensure!(!found.is_empty(), "the world has no {kind}");
        ids.push(found);
    }
    let tickets = ids.pop().context("two kinds")?;
    let users = ids.pop().context("two kinds")?;
    let any =
        |list: &[String], stream: u64, n: u64| list[generator::below(stream, n, list.len() as u64) as usize].clone();
    let bodies: Vec<Vec<u8>> = (0..20)
        .map(|batch: u64| {
            let checks: Vec<Value> = (0..BATCH)
                .map(|n| {
                    let at = batch * BATCH + n;
                    json!({"id": n.to_string(), "user": any(&users, 70, at), "ticket": any(&tickets, 71, at)})
                })
                .collect();
            request("POST", "/api/v1/visibility/check-batch", token, &json!({"checks": checks}).to_string())
        })
        .collect();
    let ask = move |connection: u64, n: u64| bodies[((connection + n) % bodies.len() as u64) as usize].clone();
    let outcome = load::run(daemon.port, 4, time, 200, ask).await;
    sound("batch", &outcome)?;
    let value = outcome.rate() * BATCH as f64;
    let hello = report.calibration.hello_16;
    let target = Target::AtLeast(150_000.0 * hello / REFERENCE.hello_16);
    let what = format!("the same in batches of {BATCH}, 4 clients");
    let ratio = Some((value / hello, "hello of 16"));
    report.add(Figure { row: "P13", what, size: world.tickets, value, unit: "checks/s", ratio, target });
    Ok(())
}
