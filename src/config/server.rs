//! Sections `[server]`, `[store]` and `[log]`: where musterd listens, within which limits, where it keeps its data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::read::Section;
use crate::model::kind::words;

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// How people and identity providers reach musterd. Links in mails come from here, never from a request's headers.
    pub public_url: Url,
    /// `/metrics` on a listener of its own; `None` = with everything else.
    pub metrics_listen: Option<SocketAddr>,
    /// Unix socket for the commands of this machine, mode 0600.
    pub control: PathBuf,
    pub tls: Option<Tls>,
    pub limits: Limits,
    /// How long requests may still run after SIGTERM.
    pub drain: Duration,
}

#[derive(Debug, Clone)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// From the first byte of a request to the end of its headers, and from the accept to the first byte.
    pub header_timeout: Duration,
    /// Between two pieces of a body, either way.
    pub body_idle_timeout: Duration,
    /// From the end of the headers to the answer's headers. Streams (NDJSON) are exempt.
    pub request_timeout: Duration,
    /// Bytes of an ordinary body.
    pub body: usize,
    /// Bytes of a pushed NDJSON body.
    pub push_body: u64,
    /// How fast one token may ask over SCIM.
    pub scim: Rate,
}

/// Requests a second, and how many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 0: as fast as it likes.
    pub per_second: u32,
    pub burst: u32,
}

#[derive(Debug, Clone)]
pub struct Store {
    /// `sqlite:<path>` or `postgres://…`, password included.
    pub url: SecretString,
    /// Readers of SQLite (0 = as many as cores), connections of PostgreSQL.
    pub connections: u32,
    /// What `url` points at, fit to be shown.
    pub shown: String,
}

#[derive(Debug, Clone)]
pub struct Log {
    /// Directives of `tracing`: `info`, `info,musterd::sources=debug`.
    pub filter: String,
    pub format: LogFormat,
}

words! {
    /// How log lines look.
    LogFormat {
        /// The journal where the output is one, lines on a terminal, JSON elsewhere.
        Auto = "auto",
        Text = "text",
        Json = "json",
        Journald = "journald",
    }
}

/// Bytes of `sun_path`, without the end.
const LONGEST_SOCKET: usize = 107;

impl Server {
    pub(super) fn read(section: &Section<'_>) -> Server {
        let listen = section.parsed("listen", address_of).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8070)));
        let own = Url::parse(&format!("http://{listen}/")).expect("a socket address makes a URL");
        let metrics_listen = section.parsed("metrics_listen", |text| match address_of(text) {
            Ok(address) if address == listen && address.port() != 0 => Err("must be another address than `listen`"),
            address => address,
        });
        let control = section.path_of("control").unwrap_or_else(|| PathBuf::from("/run/musterd/control.sock"));
        if control.as_os_str().len() > LONGEST_SOCKET {
            let allowed =
                format!("must be a path of at most {LONGEST_SOCKET} bytes, as the system takes no longer socket");
            section.fault("control", Some(&control.display().to_string()), allowed);
        }
        Server {
            listen,
            public_url: section.url("public_url", &["https", "http"]).unwrap_or(own),
            metrics_listen,
            control,
            tls: section.section_optional("tls").and_then(|tls| Tls::read(&tls)),
            limits: Limits::read(&section.section("limits")),
            drain: section.duration_within("drain", seconds(0)..=seconds(300), seconds(20)),
        }
    }
}

fn address_of(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address with a port like 127.0.0.1:8070 or [::]:8070")
}

impl Tls {
    fn read(section: &Section<'_>) -> Option<Tls> {
        let needed = |key: &str| {
            let path = section.path_of(key);
            if path.is_none() {
                section.missing(key);
            }
            path
        };
        let (certificate, key) = (needed("certificate"), needed("key"));
        Some(Tls { certificate: certificate?, key: key? })
    }
}

impl Limits {
    fn read(section: &Section<'_>) -> Limits {
        let timeout = |key: &str, default: u64| {
            section.duration_within(key, Duration::from_millis(10)..=seconds(3600), seconds(default))
        };
        Limits {
            connections: section.integer("connections", 1..=65_000, 4096_i64) as usize,
            connections_per_address: section.integer("connections_per_address", 1..=65_000, 512_i64) as usize,
            header_timeout: timeout("header_timeout", 10),
            body_idle_timeout: timeout("body_idle_timeout", 30),
            request_timeout: timeout("request_timeout", 60),
            body: section.integer("body", 1024..=64 << 20, 1_i64 << 20) as usize,
            push_body: section.integer("push_body", 1024..=64 << 30, 4_i64 << 30) as u64,
            scim: Rate {
                per_second: section.integer("scim_rate", 0..=1_000_000, 500_i64) as u32,
                burst: section.integer("scim_burst", 1..=1_000_000, 2000_i64) as u32,
            },
        }
    }
}

impl Store {
    pub(super) fn read(section: &Section<'_>) -> Store {
        let url = section.text_or("url", "sqlite:/var/lib/musterd/musterd.db");
        let password = section.secret("password");
        let connections = section.integer("connections", 0..=1000, 0_i64) as u32;
        let (url, shown) = match address(&url, password.as_ref()) {
            Ok(both) => both,
            Err(allowed) => {
                section.fault("url", Some(&hidden(&url)), allowed);
                (SecretString::default(), String::new())
            }
        };
        Store { url, connections, shown }
    }
}

/// The address with the password in it, and the address fit to be shown.
fn address(text: &str, password: Option<&SecretString>) -> Result<(SecretString, String), &'static str> {
    use secrecy::ExposeSecret;
    let allowed = "must be sqlite:PATH (a file on a local disk) or postgres://USER@HOST[:PORT]/DATABASE";
    if let Some(path) = text.strip_prefix("sqlite:") {
        // Two connections to `:memory:` are two databases, and names with `?` are addresses to SQLite.
        let path = path.strip_prefix("//").unwrap_or(path);
        let file = !path.is_empty() && !path.contains(":memory:") && !path.contains('?') && !path.ends_with('/');
        return if file { Ok((text.to_owned().into(), text.to_owned())) } else { Err(allowed) };
    }
    let mut url = Url::parse(text).map_err(|_| allowed)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(allowed);
    }
    if let Some(password) = password {
        url.set_password(Some(password.expose_secret())).map_err(|()| allowed)?;
    }
    let shown = hidden(url.as_str());
    Ok((url.to_string().into(), shown))
}

/// A URL without its password.
fn hidden(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            if url.set_password(Some("***")).is_err() {
                return "***".to_owned();
            }
            url.to_string()
        }
        _ => text.to_owned(),
    }
}

impl Log {
    pub(super) fn read(section: &Section<'_>) -> Log {
        let filter = section.parsed("filter", |text| {
            if is_filter(text) { Ok(text.to_owned()) } else { Err("must be directives like info or info,musterd::sources=debug: a level (off, error, warn, info, debug, trace), or a module with its level") }
        });
        Log { filter: filter.unwrap_or_else(|| "info".to_owned()), format: section.word("format", LogFormat::Auto) }
    }
}

/// A word alone is a level here: whoever writes `inof` means no module of that name, and would see nothing at all.
fn is_filter(text: &str) -> bool {
    let level =
        |word: &str| !word.trim().is_empty() && word.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let right = |directive: &str| match directive.split_once('=') {
        None => level(directive),
        Some((module, word)) => !module.trim().is_empty() && level(word),
    };
    text.split(',').all(right) && text.parse::<tracing_subscriber::filter::Targets>().is_ok()
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
