//! A receiver of webhooks on loopback that keeps what it was told, and can be down. It judges nothing but the signature.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::daemon::Daemon;

/// In the configuration with `whsec_` before it.
pub const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A call as it came in.
#[derive(Debug, Clone)]
pub struct Told {
    pub id: String,
    timestamp: String,
    signature: String,
    pub body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// As whoever is told checks it.
    pub fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
        let tag = hmac::sign(&key, format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        self.signature == format!("v1,{}", STANDARD.encode(tag))
    }
}

#[derive(Clone, Default)]
struct Book {
    told: Arc<Mutex<Vec<Told>>>,
    /// Answers 503 while true.
    down: Arc<Mutex<bool>>,
}

/// Whoever is told.
pub struct Hook {
    book: Book,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    pub async fn open(port: u16) -> Hook {
        let book = Book::default();
        let router = Router::new().route("/hook", post(hear)).with_state(book.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Hook { book, task }
    }

    /// Whether it answers 503.
    pub fn down(&self, down: bool) {
        *self.book.down.lock().unwrap() = down;
    }

    pub fn told(&self) -> Vec<Told> {
        self.book.told.lock().unwrap().clone()
    }

    /// The first `number` calls, once they have come.
    pub async fn until(&self, number: usize, daemon: &Daemon) -> Vec<Told> {
        let start = Instant::now();
        while self.told().len() < number {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}\n{}", self.told(), daemon.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.told()
    }
}

async fn hear(State(book): State<Book>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let told = Told {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    book.told.lock().unwrap().push(told);
    if *book.down.lock().unwrap() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}
