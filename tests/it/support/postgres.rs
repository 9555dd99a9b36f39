//! One private PostgreSQL cluster per test process, started when the first test asks, gone with the process. Every test
//! gets a database of its own. `MUSTERD_TEST_POSTGRES` (a URL without a database, of a role that may create some)
//! takes a cluster that runs already instead. Durability is off here: what must survive a power cut is not shown with it.
//! Also included by `src/store/testing.rs` for the unit tests of the library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::process::{Server, free_port, is_root, remove_at_end};

/// A running cluster.
pub struct Cluster {
    /// `postgres://…` without a database.
    base: String,
    /// `None`: it was there before us.
    _server: Option<Server>,
}

impl Cluster {
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.base)
    }
}

/// A database that belongs to one test.
pub struct Database {
    pub name: String,
    pub url: String,
}

/// The cluster of this process.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| match std::env::var("MUSTERD_TEST_POSTGRES") {
        Ok(base) if !base.is_empty() => Cluster { base: base.trim_end_matches('/').to_owned(), _server: None },
        _ => start(),
    })
}

/// An empty database, or a copy of `template` (nobody may be connected to that one).
pub async fn create(template: Option<&str>) -> Database {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let from = template.map(|name| format!(" TEMPLATE {name}")).unwrap_or_default();
    command(&format!("CREATE DATABASE {name}{from}")).await;
    Database { url: cluster().url(&name), name }
}

/// Ends what is still connected to it. Left out after a failure: the cluster goes with the process anyway.
pub async fn drop_database(database: &Database) {
    command(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await;
}

async fn command(sql: &str) {
    let mut admin = PgConnection::connect(&cluster().url("postgres")).await.expect("the test cluster answers");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut admin)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    admin.close().await.expect("the test cluster answers");
}

fn start() -> Cluster {
    let binaries = binaries();
    // A short path: Unix sockets allow 107 bytes. Under /tmp also because user postgres must be able to enter it.
    let folder = tempfile::Builder::new().prefix("musterd-pg-").tempdir_in("/tmp").expect("a temporary folder").keep();
    remove_at_end(&folder);
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("a folder for the cluster");
    if is_root() {
        let owner = |path: &Path| run(Command::new("chown").arg("postgres:postgres").arg(path));
        owner(&folder);
        owner(&data);
    }
    run(as_postgres(&binaries.join("initdb")).arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]));
    let port = free_port();
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    let mut command = as_postgres(&binaries.join("postgres"));
    command.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_connections=300",
        "shared_buffers=64MB",
    ] {
        command.args(["-c", setting]);
    }
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    let mut server = Server::start(&mut command, "INT");
    until_ready(&data, &mut server, &folder);
    Cluster { base: format!("postgres://postgres@127.0.0.1:{port}"), _server: Some(server) }
}

/// PostgreSQL writes `ready` into the eighth line of its own file once it takes connections.
fn until_ready(data: &Path, server: &mut Server, folder: &Path) {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if text.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            return;
        }
        let late = start.elapsed() > Duration::from_mins(1);
        if late || server.status().is_some() {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("PostgreSQL did not start:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program).current_dir("/");
    command
}

/// The newest server installed by the distribution, else what the path says.
fn binaries() -> PathBuf {
    let version = |folder: &PathBuf| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.filter(|folder| folder.join("bin/initdb").exists()).max_by_key(version);
    let found = newest.map(|folder| folder.join("bin")).or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    });
    found.expect("PostgreSQL is not installed: tests/run installs it (Debian: apt-get install postgresql)")
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
