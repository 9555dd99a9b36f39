//! A load generator that costs little: HTTP/1.1 on kept connections, requests as ready bytes, answers read by their
//! Content-Length or in chunks. It knows nothing of musterd. Every client is one connection that waits for its answer
//! before it asks again, so a rate and its latencies belong together (`run`); or it asks at fixed moments, and what comes
//! too late to ask in time counts as waited for (`paced`).

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long an answer may take after the time is over.
const PATIENCE: Duration = Duration::from_mins(1);

/// One request as it goes over the wire.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    request_with(method, path, token, "", body)
}

/// The same with more headers, each with its line end.
pub fn request_with(method: &str, path: &str, token: &str, headers: &str, body: &str) -> Vec<u8> {
    let kind = if path.starts_with("/api/") { "application/json" } else { "application/scim+json" };
    let body_headers = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len())
    };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n{headers}{body_headers}\r\n{body}"
    )
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
        let (mut status, mut length, mut chunked, mut line) = (0, 0, false, String::new());
        loop {
            let text = self.line(&mut line).await?;
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if text.is_empty() {
                break;
            } else if let Some((name, value)) = text.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().map_err(io::Error::other)?;
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    chunked = value.trim().eq_ignore_ascii_case("chunked");
                }
            }
        }
        body.clear();
        if chunked {
            self.chunks(body, &mut line).await?;
        } else {
            body.resize(length, 0);
            self.0.read_exact(body).await?;
        }
        Ok(status)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>, line: &mut String) -> io::Result<()> {
        loop {
            let size = usize::from_str_radix(self.line(line).await?, 16).map_err(io::Error::other)?;
            let from = body.len();
            body.resize(from + size, 0);
            self.0.read_exact(&mut body[from..]).await?;
            self.line(line).await?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Without its end.
    async fn line<'a>(&mut self, line: &'a mut String) -> io::Result<&'a str> {
        line.clear();
        if self.0.read_line(line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end())
    }
}

/// What a load run showed.
#[derive(Default)]
pub struct Outcome {
    pub elapsed: Duration,
    /// Of the answers with a wanted status, ascending, in nanoseconds.
    latencies: Vec<u64>,
    /// Everything else, with one example.
    pub wrong: u64,
    pub example: String,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// 0.5, 0.99 … in seconds.
    pub fn quantile(&self, part: f64) -> f64 {
        let at = ((self.latencies.len() as f64 * part) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e9)
    }

    /// Refuses what shows no rate.
    pub fn sound(self, what: &str) -> anyhow::Result<Outcome> {
        anyhow::ensure!(self.wrong == 0, "{what}: {} wrong answers, e.g. {}", self.wrong, self.example);
        anyhow::ensure!(!self.latencies.is_empty(), "{what}: no answer within {:.0?}", self.elapsed);
        Ok(self)
    }

    fn count(&mut self, status: u16, wanted: &[u16], took: Duration, body: &[u8]) {
        if wanted.contains(&status) {
            self.latencies.push(took.as_nanos() as u64);
        } else {
            self.fault(format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])));
        }
    }

    fn fault(&mut self, example: String) {
        self.wrong += 1;
        if self.example.is_empty() {
            self.example = example;
        }
    }
}

/// For `time`, `clients` connections ask `make(client, n)` (n counts per client) and want one of `wanted`.
pub async fn run(
    port: u16,
    clients: u64,
    time: Duration,
    wanted: &'static [u16],
    make: impl Fn(u64, u64) -> Vec<u8> + Clone + Send + 'static,
) -> Outcome {
    gather((0..clients).map(|client| one(port, client, time, wanted, make.clone()))).await
}

/// For `time`, `clients` connections ask once in every `pause`, evenly shifted against each other.
pub async fn paced(
    port: u16,
    clients: u64,
    time: Duration,
    pause: Duration,
    wanted: &'static [u16],
    make: impl Fn(u64, u64) -> Vec<u8> + Clone + Send + 'static,
) -> Outcome {
    let start = Instant::now() + Duration::from_millis(50);
    gather((0..clients).map(|client| {
        let first = start + pause.mul_f64(client as f64 / clients as f64);
        in_time(port, client, (first, start + time), pause, wanted, make.clone())
    }))
    .await
}

async fn gather<F>(clients: impl Iterator<Item = F>) -> Outcome
where
    F: Future<Output = io::Result<Outcome>> + Send + 'static,
{
    let start = Instant::now();
    let mut tasks: JoinSet<io::Result<Outcome>> = clients.collect();
    let mut outcome = Outcome::default();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(part)) => {
                outcome.latencies.extend(part.latencies);
                outcome.wrong += part.wrong;
                if outcome.example.is_empty() {
                    outcome.example = part.example;
                }
            }
            Ok(Err(error)) => outcome.fault(error.to_string()),
            Err(error) => outcome.fault(error.to_string()),
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
    wanted: &[u16],
    make: impl Fn(u64, u64) -> Vec<u8>,
) -> io::Result<Outcome> {
    let mut connection = Connection::open(port).await?;
    let (mut out, mut body, start) = (Outcome::default(), Vec::new(), Instant::now());
    let end = (start + time + PATIENCE).into();
    for n in 0.. {
        if start.elapsed() >= time {
            break;
        }
        let request = make(client, n);
        let asked = Instant::now();
        let Ok(answer) = tokio::time::timeout_at(end, connection.call(&request, &mut body)).await else { break };
        out.count(answer?, wanted, asked.elapsed(), &body);
    }
    Ok(out)
}

async fn in_time(
    port: u16,
    client: u64,
    (mut due, end): (Instant, Instant),
    pause: Duration,
    wanted: &[u16],
    make: impl Fn(u64, u64) -> Vec<u8>,
) -> io::Result<Outcome> {
    let mut connection = Connection::open(port).await?;
    let (mut out, mut body) = (Outcome::default(), Vec::new());
    for n in 0.. {
        if due >= end {
            break;
        }
        let request = make(client, n);
        // Who comes in time begins when the timer lets him, who comes late began when he should have.
        let asked = if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        } else {
            due
        };
        let status = connection.call(&request, &mut body).await?;
        out.count(status, wanted, asked.elapsed(), &body);
        due += pause;
    }
    Ok(out)
}
