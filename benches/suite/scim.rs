//! P5 writes, P7 reads and changes, P8 filters, P9 pages, P10 groups, P14 start, P15 memory: one daemon on SQLite, filled
//! step by step through the SCIM surface itself, measured at every size.

use std::time::{Duration, Instant};

use crate::asks::{self, Present, Question, Service};
use crate::calibrate::{self, Calibration, REFERENCE};
use crate::load::{self, Outcome};
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::{Options, kernel, pages};

pub const CONFIG: &str = "[sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n";
/// The best durable peers, on the machine of `REFERENCE`, per second.
const PEER_POST: f64 = 496.0;
const PEER_GET: f64 = 991.0;
const PEER_PATCH: f64 = 624.0;
const PEER_FILTER: f64 = 913.0;
/// Clients that fill it: as many as one COMMIT takes in.
const FILLERS: u64 = 64;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let builder = Daemon::builder(Which::Sqlite).config(CONFIG).wrapper(&options.server_wrapper());
    let mut daemon = builder.start().await;
    let service = service(&daemon);
    let mut present = Present::new(options.largest() * 10);
    for &size in &options.sizes {
        let start = Instant::now();
        asks::fill(&service, size, FILLERS, &mut present).await?;
        eprintln!("filled to {size} in {:.0?}", start.elapsed());
        report.calibrations.push(calibrate::run(1, &options.server_wrapper()).await?);
        for question in Question::ALL {
            if question != Question::Member && options.wants(question.row()) {
                let outcome = question.ask(&service, &mut present, options.time()).await?;
                add(question, size, &outcome, report);
                if let Question::Filter(attribute) = question {
                    // Sixteen clients on one core wait for each other.
                    let alone = asks::filters(&service, &present, attribute, 1, options.time()).await;
                    let (alone, what) = (alone.sound(attribute)?, format!("filter {attribute} eq, 1 client, p99"));
                    let (value, target) = (alone.quantile(0.99) * 1000.0, Target::AtMost(1.0));
                    report.add(Figure { row: "P8", what, size, value, unit: "ms", ratio: None, target });
                }
                if question == (Question::Page { deep: true }) {
                    pages::run(&service, &mut present, options, report).await?;
                }
            }
        }
    }
    if options.wants("P10") {
        groups(&service, &mut present, options, report).await?;
    }
    if options.wants("P15") {
        let loaded = kernel::resident(daemon.process().pid())?;
        report.add(megabytes("P15", "resident memory after the load", options.largest(), loaded, 80.0));
    }
    if options.wants("P14") || options.wants("P15") {
        restart(&mut daemon, &service, &present.ids[0], options, report).await?;
    }
    Ok(())
}

/// The daemon as one identity provider sees it.
pub fn service(daemon: &Daemon) -> Service {
    let token = daemon.token(&["--source", "idp", "--scope", "scim"]);
    Service { port: daemon.port, prefix: "/scim/v2", token }
}

fn add(question: Question, size: u64, outcome: &Outcome, report: &mut Report) {
    let here = report.calibration();
    let hello = (here.hello_16, "hello of 16");
    let insert = (here.insert, "durable insert");
    // A rate of the reference machine on this one.
    let read = |rate: f64| Target::AtLeast(rate * here.hello_16 / REFERENCE.hello_16);
    let write = |rate: f64| Target::AtLeast(rate * durable(here));
    let (to, target) = match question {
        Question::Post(1) => (insert, write(PEER_POST * 4.0)),
        Question::Post(16) => (insert, write(PEER_POST * 8.0)),
        Question::Post(_) => (insert, Target::None),
        Question::Get => (hello, read(PEER_GET * 25.0)),
        Question::Patch => (insert, write(PEER_PATCH * 8.0)),
        Question::Filter(_) => (hello, read(PEER_FILTER * 20.0)),
        Question::Page { .. } => (hello, read(1500.0)),
        Question::Member => (insert, write(2000.0)),
    };
    let (row, what, value) = (question.row(), question.what(), outcome.rate());
    let ratio = Some((value / to.0, to.1));
    report.add(Figure { row, what: what.clone(), size, value, unit: "req/s", ratio, target });
    if let Question::Filter(_) = question {
        let (what, value) = (format!("{what}, p99"), outcome.quantile(0.99) * 1000.0);
        report.add(Figure { row, what, size, value, unit: "ms", ratio: None, target: Target::None });
    }
}

/// A durable write needs the disk and the processor: whichever of the two is nearer to the reference decides, so that a
/// slow disk does not make a target easy.
fn durable(here: Calibration) -> f64 {
    (here.insert / REFERENCE.insert).max(here.hello_16 / REFERENCE.hello_16)
}

/// P10: two groups, the larger ten times as large. 10k and 100k members where so many people are.
async fn groups(
    service: &Service,
    present: &mut Present,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let large = options.largest().min(100_000);
    let mut rates = Vec::new();
    for members in [large / 10, large] {
        let start = Instant::now();
        asks::make_group(service, members, present).await?;
        let value = members as f64 / start.elapsed().as_secs_f64();
        let what = "filling a group by PATCHes of 1000 members".to_owned();
        let (unit, ratio, target) = ("members/s", None, Target::None);
        report.add(Figure { row: "P10", what, size: members, value, unit, ratio, target });
        let outcome = Question::Member.ask(service, present, options.time()).await?;
        add(Question::Member, members, &outcome, report);
        rates.push(outcome.rate());
    }
    let what = "PATCH of the small group over the one ten times as large, rate".to_owned();
    // The tenfold with an exponent of 0.1.
    let (value, target) = (rates[0] / rates[1], Target::AtMost(10_f64.powf(0.1)));
    report.add(Figure { row: "P10", what, size: large, value, unit: "x", ratio: None, target });
    Ok(())
}

/// P14: from the start of the process to the first right answer, after a clean stop. P15: memory with nothing to do.
async fn restart(
    daemon: &mut Daemon,
    service: &Service,
    id: &str,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let get = service.request("GET", &format!("/Users/{id}"), "");
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
        let idle = kernel::resident(daemon.process().pid())?;
        report.add(megabytes("P15", "resident memory, idle", size, idle, 15.0));
    }
    Ok(())
}

fn megabytes(row: &'static str, what: &str, size: u64, bytes: u64, limit: f64) -> Figure {
    let value = bytes as f64 / (1 << 20) as f64;
    Figure { row, what: what.to_owned(), size, value, unit: "MB", ratio: None, target: Target::AtMost(limit) }
}
