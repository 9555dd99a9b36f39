//! P11 everyday load: fifty identity providers, each with its token and its own pace of 25 requests a second, against one
//! daemon. Nobody waits for anybody else, so an answer that comes late is late for the next one too.

use std::time::{Duration, Instant};

use crate::asks::{self, Present, any};
use crate::calibrate::{self, REFERENCE};
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::{Options, generator, kernel, load, scim};

const PROVIDERS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(40);

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let builder = Daemon::builder(Which::Sqlite).config(scim::CONFIG).wrapper(&options.server_wrapper());
    let mut daemon = builder.start().await;
    let services: Vec<_> = (0..PROVIDERS).map(|_| scim::service(&daemon)).collect();
    let size = options.largest().min(100_000);
    let mut present = Present::new(size);
    asks::fill(&services[0], size, 64, &mut present).await?;
    report.calibrations.push(calibrate::run(1, &options.server_wrapper()).await?);
    let (ids, spare) = (present.ids.clone(), present.take_spare());
    let make = move |client: u64, n: u64| {
        let service = &services[client as usize];
        let one = format!("/Users/{}", any(&ids, 200 + client, n));
        let known = generator::below(300 + client, n, size);
        // Of twenty: eleven reads, five look-ups before a write, three changes, one new user.
        match generator::below(400 + client, n, 20) {
            0 => service.request("POST", "/Users", &generator::user(spare + client + n * PROVIDERS).to_string()),
            1..4 => service.request("PATCH", &one, &asks::title(&format!("T{client} {n}"))),
            4..7 => service.request("GET", &asks::filter("userName", known), ""),
            7..9 => service.request("GET", &asks::filter("externalId", known), ""),
            _ => service.request("GET", &one, ""),
        }
    };
    let (start, before) = (Instant::now(), kernel::processor(daemon.process().pid())?);
    let time = options.time() * 5;
    let outcome = load::paced(daemon.port, PROVIDERS, time, PAUSE, &[200, 201], make).await.sound("mixed load")?;
    let used = kernel::processor(daemon.process().pid())?.saturating_sub(before);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    let scale = REFERENCE.hello_16 / report.calibration().hello_16;
    let mut add = |what: &str, value: f64, unit: &'static str, target: Target| {
        let what = format!("50 providers x 25 req/s, mixed: {what}");
        report.add(Figure { row: "P11", what, size, value, unit, ratio: None, target });
    };
    add("answered", outcome.rate(), "req/s", Target::None);
    add("p50", outcome.quantile(0.5) * 1000.0, "ms", Target::None);
    add("p99", outcome.quantile(0.99) * 1000.0, "ms", Target::AtMost(10.0));
    add("share of a core", share, "cores", Target::AtMost(0.5 * scale));
    Ok(())
}
