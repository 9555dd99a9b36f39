//! The parts of the demo, started and stopped together: directory, CRM, mail catcher and the daemon itself, configured by a
//! file in a temporary folder that disappears with the stage. Everything listens on free loopback ports.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{customers, mail, people};
use crate::app::{self, Origin};
use crate::clock::Clock;

/// Everything that runs. Dropped, it stops and leaves nothing behind.
pub struct Stage {
    pub config: PathBuf,
    pub database: PathBuf,
    pub daemon: SocketAddr,
    pub directory: SocketAddr,
    pub crm: SocketAddr,
    pub catcher: mail::Catcher,
    /// Ends when the daemon does, by SIGINT or SIGTERM.
    pub running: JoinHandle<Result<(), app::Error>>,
    helpers: [JoinHandle<()>; 2],
    _folder: TempDir,
}

impl Stage {
    pub async fn set(clock: &Clock) -> anyhow::Result<Stage> {
        let folder = tempfile::Builder::new().prefix("musterd-demo-").tempdir()?;
        let secret = secret(clock);
        let (directory, directory_task) = people::directory(&secret).serve().await?;
        let (crm, crm_task) = customers::helpdesk(&secret, clock.now()).serve().await?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = mail::Options { view: Some(loopback), ..mail::Options::default() };
        let catcher = mail::Catcher::start(options).await?;
        let daemon = free_port().await?;

        let at = folder.path();
        private(&at.join("secret"), &secret)?;
        private(&at.join("mail-ca.pem"), &catcher.authority)?;
        let config = at.join("demo.toml");
        private(&config, &settings(at, daemon, directory, crm, catcher.smtp))?;
        let origin = Origin(vec![config.clone()]);
        let loaded = origin.load().map_err(|refused| anyhow::anyhow!("{refused}"))?;
        let running = tokio::spawn(app::run(origin, loaded, clock.clone()));
        let stage = Stage {
            config,
            database: at.join("musterd.db"),
            daemon,
            directory,
            crm,
            catcher,
            running,
            helpers: [directory_task, crm_task],
            _folder: folder,
        };
        stage.ready().await?;
        Ok(stage)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon)
    }

    /// Until the daemon says that it is ready, at most ten seconds.
    async fn ready(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        for _ in 0..200 {
            if self.running.is_finished() {
                bail!("the daemon ended at once");
            }
            if client.get(self.url("/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the daemon was not ready within ten seconds")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.helpers.iter().for_each(JoinHandle::abort);
        self.running.abort();
    }
}

async fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?)
}

/// A password for the parts of this stage to know each other by.
fn secret(clock: &Clock) -> String {
    format!("{:032x}", u128::from_be_bytes(clock.random()))
}

/// A file for its owner only: the configuration reader refuses secrets that others can read.
fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}

fn settings(folder: &Path, daemon: SocketAddr, directory: SocketAddr, crm: SocketAddr, smtp: SocketAddr) -> String {
    let folder = folder.display();
    let (suffix, bind_dn) = (people::SUFFIX, people::BIND_DN);
    let smtp_port = smtp.port();
    format!(
        r#"# The configuration of this demo. Look at it, change it, send SIGHUP to the demo to have it read again.
[server]
listen = "{daemon}"
public_url = "http://{daemon}"
control = "{folder}/control.sock"

[store]
url = "sqlite://{folder}/musterd.db"

[log]
filter = "warn"

[mail]
host = "127.0.0.1"
port = {smtp_port}
ca_file = "{folder}/mail-ca.pem"
from = "helpdesk@telco.example"
product = "Telco Helpdesk"

# The directory of the operator's staff, polled.
[sources.hq]
kind = "ldap"
realm = "agent"
priority = 200
schedule = "*/5 * * * *"
url = "ldap://{directory}"
insecure = true
base = "{suffix}"
bind_dn = "{bind_dn}"
password_file = "{folder}/secret"

# The helpdesk that knows the customers and their tickets, polled.
[sources.rt]
kind = "crm"
schedule = "*/5 * * * *"
connector = "rt5"
url = "http://{crm}"
secret_file = "{folder}/secret"

[sources.rt.tables.comment_queues]
General = true

# An identity provider that pushes staff over SCIM.
[sources.idp]
kind = "scim"
realm = "agent"
priority = 150
match = ["login"]

# Jobs that push records.
[sources.jobs]
kind = "push"
"#
    )
}
