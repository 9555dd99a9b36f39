//! P9, what only musterd is asked: pages by cursor (RFC 9865), how much deep ones cost over the first, and a deep page
//! right after the list has grown, when nothing that was remembered of it counts any more.

use std::time::Instant;

use anyhow::Context as _;
use serde::Deserialize;

use crate::Options;
use crate::asks::{CLIENTS, PAGE, Present, Question, Service, deep_start};
use crate::calibrate::REFERENCE;
use crate::generator;
use crate::load::{self, Connection};
use crate::report::{Figure, Report, Target};

pub async fn run(
    service: &Service,
    present: &mut Present,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let size = present.ids.len() as u64;
    let total = service.total().await?;
    let by_index = [Question::Page { deep: false }, Question::Page { deep: true }].map(|question| {
        let what = question.what();
        let found = report.figures.iter().rev().find(|figure| figure.size == size && figure.what == what);
        found.map(|figure| figure.value)
    });
    let mut by_cursor = [None; 2];
    let deep = walk(service, total).await?;
    let places = [("first page", vec![String::new()]), ("page nine tenths in", deep)];
    for (rate, (name, cursors)) in by_cursor.iter_mut().zip(places) {
        let asker = service.clone();
        let make = move |client: u64, n: u64| {
            let at = generator::below(180 + client, n, cursors.len() as u64) as usize;
            asker.request("GET", &path(&cursors[at]), "")
        };
        let outcome = load::run(service.port, CLIENTS, options.time(), &[200], make).await.sound(name)?;
        let (here, value) = (report.calibration().hello_16, outcome.rate());
        let what = format!("{name} of {PAGE} by cursor, {CLIENTS} clients");
        let (ratio, target) =
            (Some((value / here, "hello of 16")), Target::AtLeast(1500.0 * here / REFERENCE.hello_16));
        report.add(Figure { row: "P9", what, size, value, unit: "req/s", ratio, target });
        *rate = Some(value);
    }
    for (way, rates) in [("startIndex", by_index), ("cursor", by_cursor)] {
        if let [Some(first), Some(deep)] = rates {
            let what = format!("deep page over first page by {way}, time");
            let (value, target) = (first / deep, Target::AtMost(2.0));
            report.add(Figure { row: "P9", what, size, value, unit: "x", ratio: None, target });
        }
    }
    for (name, deep) in [("first page", false), ("page nine tenths in", true)] {
        let value = after_a_post(service, present, options, total, deep).await? * 1000.0;
        let what = format!("{name} of {PAGE} by startIndex right after a POST, 1 client, p50");
        report.add(Figure { row: "P9", what, size, value, unit: "ms", ratio: None, target: Target::None });
    }
    Ok(())
}

fn path(cursor: &str) -> String {
    format!("/Users?count={PAGE}&cursor={cursor}")
}

/// Turns all pages up to nine tenths and gives the cursors of the hundredth behind.
async fn walk(service: &Service, total: u64) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        next_cursor: Option<String>,
    }
    let (mut connection, mut body) = (Connection::open(service.port).await?, Vec::new());
    let (mut cursor, mut deep) = (String::new(), Vec::new());
    let first = total * 9 / 10 / PAGE;
    for page in 0..=first + total / 100 / PAGE {
        if page >= first {
            deep.push(cursor.clone());
        }
        let status = connection.call(&service.request("GET", &path(&cursor), ""), &mut body).await?;
        anyhow::ensure!(status == 200, "page {page}: {status} {}", String::from_utf8_lossy(&body));
        cursor = serde_json::from_slice::<Page>(&body)?.next_cursor.context("the list goes on")?;
    }
    Ok(deep)
}

/// The middle of the seconds that a page took, each after one more user was made.
async fn after_a_post(
    service: &Service,
    present: &mut Present,
    options: &Options,
    total: u64,
    deep: bool,
) -> anyhow::Result<f64> {
    let (mut connection, mut body) = (Connection::open(service.port).await?, Vec::new());
    let (first, start, mut taken) = (present.take_spare(), Instant::now(), Vec::new());
    while start.elapsed() < options.time() {
        let n = taken.len() as u64;
        let post = service.request("POST", "/Users", &generator::user(first + n).to_string());
        let at = if deep { deep_start(total, 0, n) } else { 1 };
        let get = service.request("GET", &format!("/Users?startIndex={at}&count={PAGE}"), "");
        let made = connection.call(&post, &mut body).await?;
        let asked = Instant::now();
        let status = connection.call(&get, &mut body).await?;
        taken.push(asked.elapsed().as_secs_f64());
        anyhow::ensure!((made, status) == (201, 200), "POST and page: {made}, {status}");
    }
    taken.sort_unstable_by(f64::total_cmp);
    Ok(taken[taken.len() / 2])
}
