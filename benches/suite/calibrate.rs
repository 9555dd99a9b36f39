//! What this machine can do in this minute without musterd: axum answering a constant, sqlx inserting and looking up on
//! one connection, fdatasync alone, ldap3 reading a directory and throwing it away. Every figure is quoted as a ratio to
//! one of these, because a neighbour's load moves both.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{LdapConnAsync, Scope};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::generator;
use crate::load;
use crate::support::process::{Server, free_port};

/// All rates per second.
#[derive(Debug, Clone, Copy)]
pub struct Calibration {
    pub hello_1: f64,
    pub hello_16: f64,
    /// One row of 1.2 KB per durable transaction.
    pub insert: f64,
    /// One row by its key.
    pub lookup: f64,
    pub fdatasync: f64,
}

/// The same on the machine on which the targets of other programs were measured.
pub const REFERENCE: Calibration =
    Calibration { hello_1: 42_500.0, hello_16: 101_000.0, insert: 8_600.0, lookup: 50_000.0, fdatasync: 20_000.0 };

pub async fn run(seconds: u64, server_wrapper: &[&str]) -> anyhow::Result<Calibration> {
    let time = Duration::from_secs(seconds);
    let (hello_1, hello_16) = hello(time, server_wrapper).await?;
    let folder = tempfile::tempdir()?;
    let (insert, lookup) = sqlite(time, folder.path()).await?;
    let fdatasync = fdatasync(time, folder.path())?;
    Ok(Calibration { hello_1, hello_16, insert, lookup, fdatasync })
}

/// The server half of `hello`: this program started again.
pub fn serve_hello(port: u16) -> anyhow::Result<()> {
    let body = r#"{"hello":"world"}"#;
    let answer = async move || ([("content-type", "application/json")], body);
    tokio::runtime::Runtime::new()?.block_on(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        axum_serve(listener, answer).await
    })
}

async fn axum_serve<H, T>(listener: tokio::net::TcpListener, answer: H) -> anyhow::Result<()>
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    let app: axum::Router = axum::Router::new().route("/", axum::routing::get(answer));
    Ok(axum::serve(listener, app).await?)
}

async fn hello(time: Duration, wrapper: &[&str]) -> anyhow::Result<(f64, f64)> {
    let port = free_port();
    let own = std::env::current_exe()?;
    let mut command = match wrapper {
        [] => Command::new(&own),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&own);
            command
        }
    };
    command.args(["--hello", &port.to_string()]).stdout(Stdio::null());
    let mut server = Server::start(&mut command, "TERM");
    while load::Connection::open(port).await.is_err() {
        anyhow::ensure!(server.status().is_none(), "the hello server ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let request = load::request("GET", "/", "none", "");
    let mut rates = [0.0; 2];
    for (rate, clients) in rates.iter_mut().zip([1, 16]) {
        let request = request.clone();
        *rate = load::run(port, clients, time, &[200], move |_, _| request.clone()).await.rate();
    }
    Ok((rates[0], rates[1]))
}

async fn sqlite(time: Duration, folder: &std::path::Path) -> anyhow::Result<(f64, f64)> {
    let mut db: SqliteConnection = SqliteConnectOptions::new()
        .filename(folder.join("calibrate.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, doc TEXT NOT NULL)").execute(&mut db).await?;
    let (start, mut rows) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        let document = generator::user(rows).to_string();
        let insert = sqlx::query("INSERT INTO t (id, doc) VALUES ($1, $2)");
        insert.bind(format!("{:016x}", generator::draw(90, rows))).bind(document).execute(&mut db).await?;
        rows += 1;
    }
    let insert = rows as f64 / start.elapsed().as_secs_f64();
    let (start, mut asked) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        let id = format!("{:016x}", generator::draw(90, generator::below(91, asked, rows)));
        let _: String = sqlx::query_scalar("SELECT doc FROM t WHERE id = $1").bind(id).fetch_one(&mut db).await?;
        asked += 1;
    }
    Ok((insert, asked as f64 / start.elapsed().as_secs_f64()))
}

fn fdatasync(time: Duration, folder: &std::path::Path) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(folder.join("calibrate.log"))?;
    let page = [0x5a_u8; 4096];
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Entries per second of a paged read whose entries are thrown away.
pub async fn drain(url: &str, base: &str, filter: &str) -> anyhow::Result<(u64, Duration)> {
    let (connection, mut ldap) = LdapConnAsync::new(url).await?;
    ldap3::drive!(connection);
    let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(1000))];
    let start = Instant::now();
    let mut search = ldap.streaming_search_with(adapters, base, Scope::Subtree, filter, vec!["*", "entryUUID"]).await?;
    let mut entries = 0;
    while search.next().await?.is_some() {
        entries += 1;
    }
    search.finish().await.success()?;
    let elapsed = start.elapsed();
    ldap.unbind().await?;
    Ok((entries, elapsed))
}
