//! The real `musterd` binary, started by a story in a folder of its own on a free loopback port, on SQLite or on
//! PostgreSQL, and the CLI with the same configuration. It must never reach into the daemon otherwise: a story sees what
//! an operator sees. Start at `Daemon::builder`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http::Http;
use super::postgres;
use super::process::{Server, free_port};

const BINARY: &str = env!("CARGO_BIN_EXE_musterd");

/// How long a start may take on a busy machine, with its migrations.
const START: Duration = Duration::from_mins(1);

/// The database under a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Sqlite,
    Postgres,
}

/// What a daemon is to be started with.
pub struct Builder {
    which: Which,
    config: String,
    wrapper: Vec<String>,
}

/// A running daemon. Dropped: SIGTERM by its process id, and its folder goes.
pub struct Daemon {
    server: Server,
    pub http: Http,
    pub port: u16,
    /// The database's URL, for a look from the side.
    pub database: String,
    wrapper: Vec<String>,
    folder: TempDir,
}

impl Daemon {
    pub fn builder(which: Which) -> Builder {
        Builder { which, config: String::new(), wrapper: Vec::new() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("musterd.toml")
    }

    /// Everything the daemon has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn process(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Runs a command of the CLI beside the daemon: `daemon.cli(&["plan", "hq", "--json"])`.
    pub fn cli(&self, arguments: &[&str]) -> Done {
        cli(&self.config_file(), &[], arguments)
    }

    /// A bearer token of a source with scopes such as `scim`, made by the CLI as an operator would make it.
    pub fn token(&self, arguments: &[&str]) -> String {
        let mut words = vec!["token", "create", "--json"];
        words.extend_from_slice(arguments);
        let done = self.cli(&words);
        assert_eq!(done.code, 0, "{done:?}");
        let answer: serde_json::Value = serde_json::from_str(done.stdout.trim())
            .unwrap_or_else(|error| panic!("token create --json answers JSON ({error}): {done:?}"));
        answer["token"].as_str().unwrap_or_else(|| panic!("the token is in `token`: {answer}")).to_owned()
    }

    /// Starts again on the same folder, port and database; the old process must have ended.
    pub async fn restart(&mut self) {
        self.start_again();
        self.until_ready().await;
    }

    /// The same without waiting for anything.
    pub fn start_again(&mut self) {
        assert!(self.server.status().is_some(), "stop or kill it first");
        self.server = spawn(self.folder.path(), &self.wrapper);
    }

    async fn until_ready(&mut self) {
        let start = Instant::now();
        loop {
            let probe = self.http.request(reqwest::Method::GET, "/readyz");
            if super::http::try_answer(probe).await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if let Some(status) = self.server.status() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(start.elapsed() < START, "the daemon is not ready after {START:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Builder {
    /// TOML behind the generated `[server]` and `[store]` sections; may be called more than once.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Builder {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// A program that becomes the daemon, e.g. `taskset -c 0` or `env NAME=VALUE`.
    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Builder {
        self.wrapper = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Writes the configuration and waits for `/readyz`.
    pub async fn start(self) -> Daemon {
        let folder = tempfile::Builder::new().prefix("musterd-it-").tempdir().expect("a temporary folder");
        let port = free_port();
        let database = match self.which {
            Which::Sqlite => format!("sqlite://{}", folder.path().join("musterd.db").display()),
            Which::Postgres => postgres::create(None).await.url,
        };
        let control = folder.path().join("control.sock");
        // Clients here are meant to be as fast as they can, unless the story is about limits.
        let limits = if self.config.contains("limits") { "" } else { "limits.scim_rate = 0\n" };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\ncontrol = \"{}\"\n{limits}\n[store]\nurl = \"{database}\"\n\n{}",
            control.display(),
            self.config
        );
        std::fs::write(folder.path().join("musterd.toml"), text).expect("the configuration is written");
        let server = spawn(folder.path(), &self.wrapper);
        let http = Http::new(format!("http://127.0.0.1:{port}"));
        let mut daemon = Daemon { server, http, port, database, wrapper: self.wrapper, folder };
        daemon.until_ready().await;
        daemon
    }
}

fn spawn(folder: &Path, wrapper: &[String]) -> Server {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
    let mut command = musterd(&folder.join("musterd.toml"), wrapper);
    command.arg("serve").current_dir(folder).stdout(log.try_clone().expect("a second handle")).stderr(log);
    Server::start(&mut command, "TERM")
}

/// The binary with a configuration, free of the caller's own environment.
fn musterd(config: &Path, wrapper: &[String]) -> Command {
    let mut words = wrapper.iter().map(String::as_str).chain([BINARY]);
    let mut command = Command::new(words.next().unwrap_or(BINARY));
    command.args(words);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MUSTERD_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").arg("--config").arg(config);
    command
}

/// A command of the CLI that ended.
#[derive(Debug)]
pub struct Done {
    /// 0 fine, 1 failed, 2 changes pending, 3 stopped by a guard, 4 partial, 64 usage, 78 configuration.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The CLI with a configuration file, with or without a daemon beside it.
pub fn cli(config: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Done {
    let mut command = musterd(config, &[]);
    command.envs(environment.iter().copied()).args(arguments);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("the binary was built");
    Done {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
