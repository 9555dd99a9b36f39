//! The benchmark suite: `cargo bench --bench suite` measures the rows of the targets and writes BENCHMARKS.md. It starts
//! with the calibrators, drives the real binary from outside with generated data, and never asserts a time: a figure is a
//! figure. Sizes and rows are arguments; the default ends in a few minutes. Start at `main`.

mod asks;
mod calibrate;
mod directory;
mod generator;
mod kernel;
mod load;
mod pages;
mod peers;
mod report;
mod scim;
mod slow;
mod steady;
#[expect(dead_code, reason = "the stories use more of it than the measures do")]
mod support;
mod visibility;

use std::time::Duration;

use clap::Parser;

use report::Report;

#[derive(Debug, Parser)]
struct Arguments {
    /// How many people are present, ascending.
    #[arg(long, value_delimiter = ',', default_value = "2000,8000,32000")]
    sizes: Vec<u64>,
    /// Only these rows, e.g. P5,P7.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Seconds for every rate.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Ask two other SCIM servers the same; they are installed with pip and npm under target/peers.
    #[arg(long)]
    peers: bool,
    /// Print only, leave BENCHMARKS.md alone.
    #[arg(long)]
    dry: bool,
    /// Internal: be the calibrator's server on this port.
    #[arg(long, hide = true)]
    hello: Option<u16>,
    /// Internal: this process is bound to its core already.
    #[arg(long, hide = true)]
    bound: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the rows need to know.
pub struct Options {
    pub sizes: Vec<u64>,
    rows: Vec<String>,
    seconds: u64,
    /// Server and generator have a core each.
    bound: bool,
}

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

impl Options {
    pub fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }

    pub fn largest(&self) -> u64 {
        self.sizes.iter().copied().max().unwrap_or_default()
    }

    /// For every rate.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub fn server_wrapper(&self) -> Vec<&str> {
        if self.bound { vec!["taskset", "-c", SERVER_CORE] } else { Vec::new() }
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(port) = arguments.hello {
        return calibrate::serve_hello(port);
    }
    if !arguments.bound && bind_to_own_core()? {
        return Ok(());
    }
    arguments.sizes.sort_unstable();
    arguments.sizes.dedup();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(arguments))
}

/// Starts this program again on the second core, where that is possible; `true`: it ran.
fn bind_to_own_core() -> anyhow::Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let possible = std::process::Command::new("taskset").args(["-c", GENERATOR_CORE, "true"]).status();
    if cores < 2 || !possible.is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    let own = std::env::current_exe()?;
    let arguments = std::env::args_os().skip(1);
    let status = std::process::Command::new("taskset")
        .args(["-c", GENERATOR_CORE])
        .arg(own)
        .args(arguments)
        .arg("--bound")
        .status()?;
    anyhow::ensure!(status.success(), "the suite failed");
    Ok(true)
}

async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let command: Vec<String> =
        std::env::args().skip(1).filter(|word| !matches!(word.as_str(), "--bench" | "--bound")).collect();
    let options =
        Options { sizes: arguments.sizes, rows: arguments.rows, seconds: arguments.seconds, bound: arguments.bound };
    eprintln!("calibrating");
    let calibration = calibrate::run(options.seconds, &options.server_wrapper()).await?;
    eprintln!("{calibration:?}\n{}", report::HEAD);
    let mut report = Report {
        command: format!(
            "cargo bench --bench suite{}{}",
            if command.is_empty() { "" } else { " -- " },
            command.join(" ")
        ),
        date: musterd::clock::Clock::system().now().to_string(),
        calibrations: vec![calibration],
        figures: Vec::new(),
        missing: Vec::new(),
    };
    let wants = |rows: &[&str]| rows.iter().any(|row| options.wants(row));
    if wants(&["P5", "P7", "P8", "P9", "P10", "P14", "P15"]) {
        note("P5, P7, P8, P9, P10, P14, P15", scim::run(&options, &mut report).await, &mut report.missing);
    }
    if arguments.peers && wants(&["P5", "P7", "P8", "P9", "P10"]) {
        note("peers", peers::run(&options, &mut report).await, &mut report.missing);
    }
    if wants(&["P6"]) {
        note("P6", slow::run(&options, &mut report).await, &mut report.missing);
    }
    if wants(&["P11"]) {
        note("P11", steady::run(&options, &mut report).await, &mut report.missing);
    }
    if wants(&["P1", "P2", "P3", "P4"]) {
        note("P1, P2, P3, P4", directory::run(&options, &mut report).await, &mut report.missing);
    }
    if wants(&["P12", "P13"]) {
        note("P12, P13", visibility::run(&options, &mut report).await, &mut report.missing);
    }
    let page = report.markdown();
    if arguments.dry {
        println!("{page}");
    } else {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md"), page)?;
    }
    Ok(())
}

/// A row that fails does not take the others with it.
fn note(rows: &str, outcome: anyhow::Result<()>, missing: &mut Vec<String>) {
    if let Err(error) = outcome {
        eprintln!("{rows}: {error:#}");
        missing.push(format!("{rows}: stopped by: {error:#}"));
    }
}
