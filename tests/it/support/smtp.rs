//! A real SMTP server (aiosmtpd, which tests/run installs) that keeps what it is given: with STARTTLS demanded, or in
//! clear. It refuses recipients beginning with `refused@` for good (550) and those with `later@` for now (451).
//! Start at `Smtp::start`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use super::process::{Server, free_port};
use super::tls::{self, Certificate};

pub struct Smtp {
    _server: Server,
    pub port: u16,
    pub certificate: Certificate,
    folder: TempDir,
}

/// A message as it came over the wire.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, still encoded.
    pub raw: String,
}

const PROGRAM: &str = r#"
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP
port, out, certificate, key, starttls = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5] == "starttls"

class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later@"):
            return "451 4.7.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.content.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
        with open(out, "a") as file:
            file.write(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "raw": raw}) + "\n")
        return "250 2.0.0 kept"

context = None
if starttls:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

async def main():
    make = lambda: SMTP(Keep(), tls_context=context, require_starttls=starttls, enable_SMTPUTF8=True)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port)
    await server.serve_forever()

asyncio.run(main())
"#;

impl Smtp {
    /// `starttls`: nothing is taken before the connection is encrypted.
    pub fn start(starttls: bool) -> Smtp {
        let folder = tempfile::Builder::new().prefix("musterd-smtp-").tempdir().expect("a temporary folder");
        let certificate = tls::write(folder.path());
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(python());
        command
            .args(["-c", PROGRAM, &port.to_string()])
            .arg(folder.path().join("messages"))
            .arg(&certificate.chain)
            .arg(&certificate.key)
            .arg(if starttls { "starttls" } else { "clear" })
            .stdout(Stdio::null())
            .stderr(log);
        let mut server = Server::start(&mut command, "TERM");
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(server.status().is_none(), "the SMTP server ended:\n{}", log());
            assert!(start.elapsed() < Duration::from_mins(1), "the SMTP server does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Smtp { _server: server, port, certificate, folder }
    }

    /// Everything taken so far, in order.
    pub fn messages(&self) -> Vec<Message> {
        let text = std::fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        // The last line may still be in the writing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of ours")).collect()
    }

    /// Waits until there are at least `count` messages; fails after 30 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        let start = Instant::now();
        loop {
            let messages = self.messages();
            if messages.len() >= count {
                return messages;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{} of {count} messages", messages.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The Python with the packages of `tests/python.txt`.
pub fn python() -> PathBuf {
    let given = std::env::var_os("MUSTERD_TEST_VENV").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| [env!("CARGO_MANIFEST_DIR"), "target", "tests-venv"].iter().collect());
    let python = folder.join("bin").join("python");
    assert!(python.exists(), "{} is missing: tests/run installs it", python.display());
    python
}
