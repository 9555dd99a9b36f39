//! What the stories share: real servers, each in a module of its own, and the way to tell a story on both databases.
//! Every server is private to the test process, on loopback, on a free port, in a temporary folder, and stopped by its
//! process id. Nothing here knows what a story is about.

pub mod daemon;
pub mod ds389;
pub mod hook;
pub mod http;
pub mod oracle;
pub mod postgres;
pub mod process;
pub mod samba;
pub mod scripted;
pub mod slapd;
pub mod smtp;
pub mod tls;

use std::future::Future;

pub use daemon::Which;

/// Tells the story on SQLite and on PostgreSQL, one after the other; what fails is named.
pub async fn both<F, Fut>(story: F)
where
    F: Fn(Which) -> Fut,
    Fut: Future<Output = ()>,
{
    for which in [Which::Sqlite, Which::Postgres] {
        eprintln!("-- on {which:?}");
        story(which).await;
    }
}

/// Whether the long suites were asked for (`tests/run --all`).
pub fn long() -> bool {
    std::env::var_os("MUSTERD_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use sqlx::{Connection as _, PgConnection};

    use super::process::{Server, remove_at_end};

    #[tokio::test]
    async fn every_database_is_its_own() {
        let first = super::postgres::create(None).await;
        let mut inside = PgConnection::connect(&first.url).await.unwrap();
        sqlx::query("CREATE TABLE here (n BIGINT)").execute(&mut inside).await.unwrap();
        inside.close().await.unwrap();
        let copy = super::postgres::create(Some(&first.name)).await;
        let mut copied = PgConnection::connect(&copy.url).await.unwrap();
        sqlx::query("INSERT INTO here VALUES (1)").execute(&mut copied).await.unwrap();
        let mut inside = PgConnection::connect(&first.url).await.unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM here").fetch_one(&mut inside).await.unwrap();
        assert_eq!(rows, 0);
        // Both are still in use: dropping ends the connections.
        super::postgres::drop_database(&first).await;
        super::postgres::drop_database(&copy).await;
        assert!(sqlx::query("SELECT 1").execute(&mut copied).await.is_err());
    }

    #[tokio::test]
    async fn smtp_keeps_what_it_takes_over_starttls() {
        use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
        use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

        super::http::provider();
        let smtp = super::smtp::Smtp::start(true);
        let ca = Certificate::from_pem(&std::fs::read(&smtp.certificate.ca).unwrap()).unwrap();
        let tls = TlsParameters::builder("localhost".to_owned()).add_root_certificate(ca).build().unwrap();
        let mailer = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(smtp.port);
        let mailer = mailer.tls(Tls::Required(tls)).build();
        let message = |to: &str| {
            let message = Message::builder().from("a@example.org".parse().unwrap()).to(to.parse().unwrap());
            message.subject("Žluťoučký kůň").body("Hello".to_owned()).unwrap()
        };
        mailer.send(message("b@example.org")).await.unwrap();
        assert!(mailer.send(message("refused@example.org")).await.unwrap_err().is_permanent());
        assert!(mailer.send(message("later@example.org")).await.unwrap_err().is_transient());
        let kept = smtp.wait_for(1).await;
        assert_eq!((kept.len(), kept[0].to.as_slice()), (1, &["b@example.org".to_owned()][..]));
        assert!(kept[0].raw.contains("Hello") && kept[0].from == "a@example.org");
    }

    #[tokio::test]
    async fn a_daemon_takes_its_surroundings_from_the_caller() {
        let builder = super::daemon::Daemon::builder(super::Which::Sqlite);
        let daemon = builder.wrapper(&["env", "MUSTERD__LOG__FORMAT=json"]).start().await;
        let log = daemon.log();
        let first = log.lines().next().unwrap_or_default();
        assert!(serde_json::from_str::<serde_json::Value>(first).is_ok(), "{log}");
        let done = daemon.cli(&["no-such-command"]);
        assert!(done.code == 64 && done.stderr.contains("no-such-command"), "{done:?}");
    }

    const VICTIM: &str = "MUSTERD_TEST_VICTIM_FOLDER";

    /// Only does something as the child of the next test.
    #[test]
    fn victim() {
        let Some(folder) = std::env::var_os(VICTIM) else { return };
        let server = Server::start(Command::new("sleep").arg("600"), "TERM");
        remove_at_end(std::path::Path::new(&folder));
        std::fs::write(std::path::Path::new(&folder).join("pid"), server.pid().to_string()).unwrap();
        std::thread::sleep(Duration::from_mins(10));
    }

    #[test]
    fn a_killed_test_process_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a name with blanks");
        std::fs::create_dir(&inner).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "support::tests::victim"]).env(VICTIM, &inner);
        let mut tests = Server::start(&mut command, "TERM");
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !done() {
                assert!(start.elapsed() < Duration::from_secs(30), "{what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let pid = || std::fs::read_to_string(inner.join("pid")).ok().filter(|pid| !pid.is_empty());
        until("the victim runs", &|| pid().is_some());
        let child = format!("/proc/{}", pid().unwrap());
        assert!(std::path::Path::new(&child).exists());
        tests.kill();
        until("the child has ended", &|| !std::path::Path::new(&child).exists());
        until("the folder is gone", &|| !inner.exists());
    }
}
