//! A load generator that costs little: HTTP/1.1 on kept connections, requests as ready bytes, answers read by their
//! Content-Length. It knows nothing of musterd. Every client is one connection that waits for its answer before it asks
//! again, so a rate and its latencies belong together.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One request as it goes over the wire.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let kind = if path.starts_with("/scim") { "application/scim+json" } else { "application/json" };
    let body_headers = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n{body_headers}\r\n{body}")
        .into_bytes()
}

pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub async fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::with_capacity(64 << 10, stream)))
    }

    /// The status; the body is in `body` afterwards.
    pub async fn call(&mut self, request: &[u8], body: &mut Vec<u8>) -> io::Result<u16> {
        self.0.get_mut().write_all(request).await?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if text.is_empty() {
                break;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        body.resize(length, 0);
        self.0.read_exact(body).await?;
        Ok(status)
    }
}

/// What a load run showed.
pub struct Outcome {
    pub elapsed: Duration,
    /// Of the answers with the wanted status, ascending, in nanoseconds.
    latencies: Vec<u64>,
    /// Everything else, with one example.
    pub wrong: u64,
    pub example: String,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// 0.5, 0.99 … in seconds.
    pub fn quantile(&self, part: f64) -> f64 {
        let at = ((self.latencies.len() as f64 * part) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e9)
    }
}

/// For `time`, `clients` connections ask `make(client, n)` (n counts per client) and want `status`.
pub async fn run(
    port: u16,
    clients: u64,
    time: Duration,
    status: u16,
    make: impl Fn(u64, u64) -> Vec<u8> + Clone + Send + 'static,
) -> Outcome {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let make = make.clone();
        tasks.spawn(async move { one(port, client, time, status, make).await });
    }
    let mut outcome = Outcome { elapsed: Duration::ZERO, latencies: Vec::new(), wrong: 0, example: String::new() };
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(part)) => {
                outcome.latencies.extend(part.latencies);
                outcome.wrong += part.wrong;
                if outcome.example.is_empty() {
                    outcome.example = part.example;
                }
            }
            Ok(Err(error)) => (outcome.wrong, outcome.example) = (outcome.wrong + 1, error.to_string()),
            Err(error) => (outcome.wrong, outcome.example) = (outcome.wrong + 1, error.to_string()),
        }
    }
    outcome.elapsed = start.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}

async fn one(
    port: u16,
    client: u64,
    time: Duration,
    wanted: u16,
    make: impl Fn(u64, u64) -> Vec<u8>,
) -> io::Result<Outcome> {
    let mut connection = Connection::open(port).await?;
    let mut out = Outcome { elapsed: Duration::ZERO, latencies: Vec::new(), wrong: 0, example: String::new() };
    let (start, mut body) = (Instant::now(), Vec::new());
    for n in 0.. {
        if start.elapsed() >= time {
            break;
        }
        let request = make(client, n);
        let asked = Instant::now();
        let status = connection.call(&request, &mut body).await?;
        if status == wanted {
            out.latencies.push(asked.elapsed().as_nanos() as u64);
        } else {
            out.wrong += 1;
            if out.example.is_empty() {
                out.example = format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
            }
        }
    }
    Ok(out)
}
