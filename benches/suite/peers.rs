//! The same questions to two other SCIM servers, by the same load generator, bound to the same core: scim2-server, and
//! scimmy over SQLite. They are installed once under target/peers by pip and npm. Every question goes to musterd and to
//! them in turn, in the same minute, because only the ratio means anything. What is not there or does not come to an end is
//! said in the report and stops nothing else. Start at `PEERS`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::asks::{self, CLIENTS, Present, Question, Service};
use crate::load::Connection;
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::support::process::{Server, free_port};
use crate::{Options, scim};

/// More people or members they are not asked to hold.
const MOST: u64 = 10_000;
/// What filling to one size may take, or one group.
const FILLING: Duration = Duration::from_mins(5);
const TOKEN: &str = "a-token-of-the-bench";
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/suite/peers");

struct Peer {
    name: &'static str,
    /// Where it keeps what it was told.
    storage: &'static str,
    /// What was answered survives a crash.
    durable: bool,
    prefix: &'static str,
    /// Programs and their arguments, in its folder.
    install: &'static [&'static [&'static str]],
    command: fn(&Path, u16) -> Command,
}

const PEERS: [Peer; 2] = [
    Peer {
        name: "scim2-server",
        storage: "in memory",
        durable: false,
        prefix: "/v2",
        install: &[
            &["python3", "-m", "venv", "."],
            &[
                "bin/pip",
                "install",
                "--quiet",
                "--retries",
                "1",
                "scim2-server==0.8.*",
                "uvicorn",
                "httptools",
                "uvloop",
            ],
        ],
        command: |folder, port| {
            let mut command = Command::new(folder.join("bin/uvicorn"));
            command.args(["--app-dir", SCRIPTS, "--port", &port.to_string(), "--log-level", "warning", "scim2:app"]);
            command.env("TOKEN", TOKEN).env("PYTHONDONTWRITEBYTECODE", "1");
            command
        },
    },
    Peer {
        name: "scimmy",
        storage: "SQLite, durable",
        durable: true,
        prefix: "/scim/v2",
        install: &[
            &["npm", "init", "--yes"],
            &[
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--fetch-retries=1",
                "scimmy@1",
                "scimmy-routers@1",
                // With 5 the routers no longer read startIndex and count.
                "express@4",
                "better-sqlite3@12",
            ],
        ],
        command: |folder, port| {
            let mut command = Command::new("node");
            command.args(["scimmy.js", &port.to_string(), "data/scim.db", TOKEN]).env("NODE_ENV", "production");
            command.current_dir(folder);
            command
        },
    },
];

/// A peer that runs.
struct Running {
    peer: &'static Peer,
    service: Service,
    present: Present,
    /// Ends when dropped.
    _server: Server,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut rivals = Vec::new();
    for peer in &PEERS {
        match start(peer, options).await {
            Ok(running) => rivals.push(running),
            Err(error) => missing(report, format!("peer {}: {error:#}", peer.name)),
        }
    }
    if rivals.is_empty() {
        return Ok(());
    }
    let daemon = Daemon::builder(Which::Sqlite).config(scim::CONFIG).wrapper(&options.server_wrapper()).start().await;
    let (ours, mut present) = (scim::service(&daemon), Present::new(options.largest() * 10));
    let mut sizes: Vec<u64> = options.sizes.iter().copied().filter(|size| *size <= MOST).collect();
    if sizes.is_empty() {
        sizes.push(MOST);
    }
    let largest = sizes.last().copied().unwrap_or(MOST);
    for size in sizes {
        asks::fill(&ours, size, CLIENTS, &mut present).await?;
        let mut filled = Vec::new();
        for mut rival in rivals {
            let filling = asks::fill(&rival.service, size, CLIENTS, &mut rival.present);
            match in_bounds(filling).await {
                Ok(()) => filled.push(rival),
                Err(error) => missing(report, format!("peer {}, filling to {size}: {error:#}", rival.peer.name)),
            }
        }
        rivals = filled;
        for question in Question::ALL.into_iter().filter(|question| options.wants(question.row())) {
            if question == Question::Member {
                if size < largest {
                    continue;
                }
                asks::make_group(&ours, size, &mut present).await?;
            }
            let rate = question.ask(&ours, &mut present, options.time()).await?.rate();
            turns(question, size, rate, &mut rivals, options, report).await;
        }
    }
    Ok(())
}

/// The peers, one after the other, after musterd answered at this rate.
async fn turns(
    question: Question,
    size: u64,
    ours: f64,
    rivals: &mut [Running],
    options: &Options,
    report: &mut Report,
) {
    let write = matches!(question, Question::Post(_) | Question::Patch | Question::Member);
    let mut best: Option<(&str, f64)> = None;
    for rival in rivals {
        let Peer { name, storage, durable, .. } = *rival.peer;
        let value = match asked(question, size, rival, options).await {
            Ok(value) => value,
            Err(error) => {
                missing(report, format!("peer {name}, {size} present: {error:#}"));
                continue;
            }
        };
        let what = format!("peer {name} ({storage}): {}", question.what());
        let ratio = Some((ours / value, "as fast is musterd"));
        report.add(Figure { row: question.row(), what, size, value, unit: "req/s", ratio, target: Target::None });
        // A write is compared with what is as durable.
        if (durable || !write) && best.is_none_or(|(_, rate)| value > rate) {
            best = Some((name, value));
        }
    }
    let Some((name, rate)) = best else { return };
    let target = match question {
        Question::Post(1) => Target::AtLeast(4.0),
        Question::Post(16) | Question::Patch => Target::AtLeast(8.0),
        Question::Get => Target::AtLeast(25.0),
        Question::Filter(_) => Target::AtLeast(20.0),
        Question::Post(_) | Question::Page { .. } | Question::Member => Target::None,
    };
    let kind = if write { "durable peer" } else { "peer" };
    let what = format!("musterd over the best {kind}, {name}: {}", question.what());
    report.add(Figure { row: question.row(), what, size, value: ours / rate, unit: "x", ratio: None, target });
}

async fn asked(question: Question, size: u64, rival: &mut Running, options: &Options) -> anyhow::Result<f64> {
    if question == Question::Member {
        let filling = asks::make_group(&rival.service, size, &mut rival.present);
        in_bounds(filling).await.context("filling a group")?;
    }
    Ok(question.ask(&rival.service, &mut rival.present, options.time()).await?.rate())
}

async fn in_bounds(filling: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(FILLING, filling).await.with_context(|| format!("not done in {FILLING:?}"))?
}

fn missing(report: &mut Report, line: String) {
    eprintln!("{line}");
    report.missing.push(line);
}

/// Its folder, filled when it is not yet.
fn installed(peer: &Peer) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join(peer.name);
    let (done, wanted) = (folder.join("installed"), format!("{:?}", peer.install));
    if std::fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
        return Ok(folder);
    }
    eprintln!("installing {}", peer.name);
    std::fs::create_dir_all(&folder)?;
    for words in peer.install {
        let mut command = Command::new("timeout");
        let log = File::create(folder.join("install.log"))?;
        let status = command.arg("900").args(*words).current_dir(&folder).stdin(Stdio::null());
        let status = status.stdout(log.try_clone()?).stderr(log).status().context("`timeout` is there")?;
        anyhow::ensure!(status.success(), "`{}` gave {status}, so it is left out", words.join(" "));
    }
    std::fs::write(done, wanted)?;
    Ok(folder)
}

async fn start(peer: &'static Peer, options: &Options) -> anyhow::Result<Running> {
    let folder = installed(peer)?;
    let data = folder.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    std::fs::create_dir(&data)?;
    // Node looks for packages beside the script.
    std::fs::copy(Path::new(SCRIPTS).join("scimmy.js"), folder.join("scimmy.js"))?;
    let port = free_port();
    let plain = (peer.command)(&folder, port);
    let mut command = match options.server_wrapper()[..] {
        [] => plain,
        [first, ref rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(plain.get_program()).args(plain.get_args());
            command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            if let Some(folder) = plain.get_current_dir() {
                command.current_dir(folder);
            }
            command
        }
    };
    let log = File::create(folder.join("log"))?;
    let mut server = Server::start(command.stdout(log.try_clone()?).stderr(log), "TERM");
    let begin = std::time::Instant::now();
    while Connection::open(port).await.is_err() {
        anyhow::ensure!(server.status().is_none(), "it ended at once, its log says why");
        anyhow::ensure!(begin.elapsed() < Duration::from_mins(1), "it does not listen after a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let service = Service { port, prefix: peer.prefix, token: TOKEN.to_owned() };
    Ok(Running { peer, service, present: Present::new(options.largest() * 10), _server: server })
}
