//! A mail catcher: an SMTP server on loopback that insists on STARTTLS, keeps what it is given and delivers nothing. The
//! demo shows its mails over HTTP (`view`); stories use it as the mail server and let it misbehave by a `Script`.
//! `smtp` is the conversation, `mime` reads what was caught. Start with `Catcher::start`.

pub mod mime;
mod smtp;
mod view;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use mime::Mail;

/// Mails kept; the oldest goes first.
const MOST: usize = 1000;

/// A moment of the conversation at which a script may interfere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment<'a> {
    /// A connection, before the greeting.
    Connected,
    Rcpt(&'a str),
    /// The whole mail has arrived; the argument is its recipient.
    Dot(&'a str),
}

/// What the server does at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// What it should.
    Right,
    /// Answers with this line instead, and takes nothing.
    Says(&'static str),
    /// Takes it, and hangs up without an answer.
    Vanishes,
}

/// Interferes with the conversation.
pub type Script = Arc<dyn Fn(Moment<'_>) -> Does + Send + Sync>;

/// How the catcher is to be started.
#[derive(Clone)]
pub struct Options {
    pub smtp: SocketAddr,
    /// Where the mails are shown; `None` = nowhere.
    pub view: Option<SocketAddr>,
    /// Without it STARTTLS is not offered.
    pub tls: bool,
    /// Name and password that must be given; `None` = anybody may send.
    pub login: Option<(String, String)>,
    pub script: Option<Script>,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Options { smtp: loopback, view: None, tls: true, login: None, script: None }
    }
}

/// A running catcher. Dropped, it stops.
pub struct Catcher {
    pub smtp: SocketAddr,
    pub view: Option<SocketAddr>,
    /// The authority to be trusted for it, in PEM.
    pub authority: String,
    caught: Caught,
    tasks: Vec<JoinHandle<()>>,
}

/// What was caught so far, and every line that clients sent. Clones share it.
#[derive(Clone, Default)]
pub struct Caught(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    mails: Vec<Mail>,
    lines: Vec<String>,
}

impl Catcher {
    pub async fn start(options: Options) -> std::io::Result<Catcher> {
        let (acceptor, authority) = tls()?;
        let listener = TcpListener::bind(options.smtp).await?;
        let smtp = listener.local_addr()?;
        let caught = Caught::default();
        let server = smtp::Server {
            tls: options.tls.then_some(acceptor),
            login: options.login,
            script: options.script.unwrap_or_else(|| Arc::new(|_| Does::Right)),
            caught: caught.clone(),
        };
        let mut tasks = vec![tokio::spawn(smtp::serve(listener, Arc::new(server)))];
        let mut view = None;
        if let Some(address) = options.view {
            let listener = TcpListener::bind(address).await?;
            view = Some(listener.local_addr()?);
            tasks.push(tokio::spawn(view::serve(listener, caught.clone())));
        }
        Ok(Catcher { smtp, view, authority, caught, tasks })
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.caught.mails()
    }

    /// Every line that a client sent, without the mails' own lines.
    pub fn lines(&self) -> Vec<String> {
        self.caught.with(|kept| kept.lines.clone())
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Caught {
    pub fn mails(&self) -> Vec<Mail> {
        self.with(|kept| kept.mails.clone())
    }

    fn keep(&self, mail: Mail) {
        self.with(|kept| {
            if kept.mails.len() >= MOST {
                kept.mails.remove(0);
            }
            kept.mails.push(mail);
        });
    }

    fn note(&self, line: &str) {
        self.with(|kept| {
            if kept.lines.len() < 100_000 {
                kept.lines.push(line.to_owned());
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A certificate for loopback, made for this run.
fn tls() -> std::io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(std::io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}
