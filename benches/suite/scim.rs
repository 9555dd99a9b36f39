//! P5 writes, P7 reads and changes, P8 filters, P14 start, P15 memory: one daemon on SQLite, filled step by step through
//! the SCIM surface itself, measured at every size.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::calibrate::{self, Calibration, REFERENCE};
use crate::generator;
use crate::load::{self, Outcome, request};
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::{Options, memory};

const CONFIG: &str = "[sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n";
/// The best durable peers, on the machine of `REFERENCE`, per second.
const PEER_POST: f64 = 496.0;
const PEER_GET: f64 = 991.0;
const PEER_PATCH: f64 = 624.0;
const PEER_FILTER: f64 = 913.0;

/// What the measures need to know of one moment.
struct At<'a> {
    port: u16,
    token: &'a str,
    size: u64,
    time: Duration,
    calibration: Calibration,
    /// Ids of users 0..size.
    ids: &'a [String],
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let builder = Daemon::builder(Which::Sqlite).config(CONFIG).wrapper(&options.server_wrapper());
    let mut daemon = builder.start().await;
    let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
    let mut ids = Vec::new();
    // Users beyond the last size, made by the measures of P5.
    let mut spare = options.largest() * 10;
    for &size in &options.sizes {
        fill(daemon.port, &token, size, &mut ids).await?;
        report.calibrations.push(calibrate::run(1, &options.server_wrapper()).await?);
        let at = At {
            port: daemon.port,
            token: &token,
            size,
            time: Duration::from_secs(options.seconds),
            calibration: report.calibration(),
            ids: &ids,
        };
        if options.wants("P5") {
            posts(&at, &mut spare, report).await?;
        }
        if options.wants("P7") {
            reads(&at, report).await?;
        }
        if options.wants("P8") {
            filters(&at, report).await?;
        }
    }
    if options.wants("P15") {
        let loaded = memory::resident(daemon.process().pid())?;
        report.add(megabytes("P15", "resident memory after the load", options.largest(), loaded, 80.0));
    }
    if options.wants("P14") || options.wants("P15") {
        restart(&mut daemon, &token, &ids, options, report).await?;
    }
    Ok(())
}

/// Creates users until `size` are there; their ids are read back page by page.
async fn fill(port: u16, token: &str, size: u64, ids: &mut Vec<String>) -> anyhow::Result<()> {
    let from = ids.len() as u64;
    let mut left = JoinOrder::new(size - from);
    let mut connections = Vec::new();
    for _ in 0..16 {
        connections.push(load::Connection::open(port).await?);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (client, mut connection) in (0_u64..).zip(connections) {
        let token = token.to_owned();
        tasks.spawn(async move {
            let (mut made, mut body) = (Vec::new(), Vec::new());
            for number in (from + client..size).step_by(16) {
                let post = request("POST", "/scim/v2/Users", &token, &generator::user(number).to_string());
                let status = connection.call(&post, &mut body).await?;
                anyhow::ensure!(status == 201, "POST of user {number}: {status} {}", String::from_utf8_lossy(&body));
                let answer: Value = serde_json::from_slice(&body)?;
                made.push((number, answer["id"].as_str().unwrap_or_default().to_owned()));
            }
            anyhow::Ok(made)
        });
    }
    while let Some(made) = tasks.join_next().await {
        for (number, id) in made?? {
            left.put(number - from, id);
        }
    }
    ids.extend(left.0);
    Ok(())
}

/// Ids by number, whatever order they arrive in.
struct JoinOrder(Vec<String>);

impl JoinOrder {
    fn new(count: u64) -> JoinOrder {
        JoinOrder(vec![String::new(); count as usize])
    }

    fn put(&mut self, at: u64, id: String) {
        self.0[at as usize] = id;
    }
}

fn sound(what: &str, outcome: &Outcome) -> anyhow::Result<()> {
    anyhow::ensure!(outcome.wrong == 0, "{what}: {} wrong answers, e.g. {}", outcome.wrong, outcome.example);
    anyhow::ensure!(outcome.count() > 0, "{what}: no answer at all");
    Ok(())
}

fn rate(
    row: &'static str,
    what: String,
    at: &At<'_>,
    outcome: &Outcome,
    to: (f64, &'static str),
    target: Target,
) -> Figure {
    let ratio = Some((outcome.rate() / to.0, to.1));
    Figure { row, what, size: at.size, value: outcome.rate(), unit: "req/s", ratio, target }
}

/// A rate of another program, `times` as much, on this machine: scaled by hello.
fn scaled(peer: f64, times: f64, at: &At<'_>) -> Target {
    Target::AtLeast(peer * times * at.calibration.hello_16 / REFERENCE.hello_16)
}

/// A durable write needs the disk and the processor: whichever of the two is nearer to the reference decides, so that a
/// slow disk does not make a target easy.
fn durable(at: &At<'_>) -> f64 {
    (at.calibration.insert / REFERENCE.insert).max(at.calibration.hello_16 / REFERENCE.hello_16)
}

async fn posts(at: &At<'_>, spare: &mut u64, report: &mut Report) -> anyhow::Result<()> {
    let insert = at.calibration.insert;
    for (clients, times) in [(1_u64, Some(4.0)), (16, Some(8.0)), (64, None)] {
        let (token, first) = (at.token.to_owned(), *spare);
        let make = move |client: u64, n: u64| {
            let user = generator::user(first + client + n * clients).to_string();
            request("POST", "/scim/v2/Users", &token, &user)
        };
        let outcome = load::run(at.port, clients, at.time, 201, make).await;
        *spare += 10_000_000;
        sound("POST", &outcome)?;
        let target = times.map_or(Target::None, |times| Target::AtLeast(PEER_POST * times * durable(at)));
        let what = format!("POST user, durable, {clients} clients");
        report.add(rate("P5", what, at, &outcome, (insert, "durable insert"), target));
    }
    Ok(())
}

async fn reads(at: &At<'_>, report: &mut Report) -> anyhow::Result<()> {
    let hello = (at.calibration.hello_16, "hello of 16");
    let (token, ids) = (at.token.to_owned(), at.ids.to_vec());
    let get = move |client: u64, n: u64| {
        let id = &ids[generator::below(60 + client, n, ids.len() as u64) as usize];
        request("GET", &format!("/scim/v2/Users/{id}"), &token, "")
    };
    let outcome = load::run(at.port, 16, at.time, 200, get).await;
    sound("GET", &outcome)?;
    report.add(rate("P7", "GET user by id, 16 clients".to_owned(), at, &outcome, hello, scaled(PEER_GET, 25.0, at)));

    let (token, ids) = (at.token.to_owned(), at.ids.to_vec());
    let patch = move |client: u64, n: u64| {
        let id = &ids[generator::below(80 + client, n, ids.len() as u64) as usize];
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"replace","path":"title","value":"T{client} {n}"}}]}}"#
        );
        request("PATCH", &format!("/scim/v2/Users/{id}"), &token, &body)
    };
    let outcome = load::run(at.port, 16, at.time, 200, patch).await;
    sound("PATCH", &outcome)?;
    let target = Target::AtLeast(PEER_PATCH * 8.0 * durable(at));
    let insert = (at.calibration.insert, "durable insert");
    report.add(rate("P7", "PATCH one attribute, 16 clients".to_owned(), at, &outcome, insert, target));
    Ok(())
}

async fn filters(at: &At<'_>, report: &mut Report) -> anyhow::Result<()> {
    let hello = (at.calibration.hello_16, "hello of 16");
    for attribute in ["userName", "externalId", "emails.value"] {
        let (token, size) = (at.token.to_owned(), at.size);
        let get = move |client: u64, n: u64| {
            let user = generator::user(generator::below(100 + client, n, size));
            let value = match attribute {
                "emails.value" => &user["emails"][0]["value"],
                plain => &user[plain],
            };
            let filter = format!("{attribute} eq {value}").replace(' ', "%20").replace('"', "%22");
            request("GET", &format!("/scim/v2/Users?filter={filter}"), &token, "")
        };
        let outcome = load::run(at.port, 16, at.time, 200, get).await;
        sound(attribute, &outcome)?;
        let what = format!("filter {attribute} eq, 16 clients");
        report.add(rate("P8", what.clone(), at, &outcome, hello, scaled(PEER_FILTER, 20.0, at)));
        let p99 = outcome.quantile(0.99) * 1000.0;
        let what = format!("{what}, p99");
        report.add(Figure {
            row: "P8",
            what,
            size: at.size,
            value: p99,
            unit: "ms",
            ratio: None,
            target: Target::None,
        });
    }
    Ok(())
}

/// P14: from the start of the process to the first right answer, after a clean stop. P15: memory with nothing to do.
async fn restart(
    daemon: &mut Daemon,
    token: &str,
    ids: &[String],
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let get = request("GET", &format!("/scim/v2/Users/{}", ids[0]), token, "");
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        anyhow::ensure!(
            daemon.process().stop().is_some_and(|status| status.success()),
            "the daemon stops in good order"
        );
        let start = Instant::now();
        daemon.start_again();
        let mut body = Vec::new();
        loop {
            if let Ok(mut connection) = load::Connection::open(daemon.port).await
                && connection.call(&get, &mut body).await.is_ok_and(|status| status == 200)
            {
                break;
            }
            anyhow::ensure!(start.elapsed() < Duration::from_secs(30), "no answer after a restart: {}", daemon.log());
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    let size = options.largest();
    if options.wants("P14") {
        let what = "start to first answer after a clean stop, best of 5".to_owned();
        report.add(Figure {
            row: "P14",
            what,
            size,
            value: best,
            unit: "ms",
            ratio: None,
            target: Target::AtMost(30.0),
        });
    }
    if options.wants("P15") {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = memory::resident(daemon.process().pid())?;
        report.add(megabytes("P15", "resident memory, idle", size, idle, 15.0));
    }
    Ok(())
}

fn megabytes(row: &'static str, what: &str, size: u64, bytes: u64, limit: f64) -> Figure {
    let value = bytes as f64 / (1 << 20) as f64;
    Figure { row, what: what.to_owned(), size, value, unit: "MB", ratio: None, target: Target::AtMost(limit) }
}
