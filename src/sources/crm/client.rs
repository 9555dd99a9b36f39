//! One conversation with one server: TLS, time-outs, size limits, pace, retries. Never follows a redirect, never talks to
//! another host than the configured one, and no error carries a header or a body that could hold a secret.
//! Start at `Client::send`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::connector::{Connector, Errors, Limits};
use crate::config::crm::Crm;
use crate::model::time::Millis;

/// Why an answer could not be had. The texts name the method and the path, never the query.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Settings(String),
    #[error("{what}: {cause}")]
    Unreachable { what: String, cause: String },
    #[error("{what}: the server answers {status}")]
    Status { what: String, status: u16 },
    #[error("{what}: the server answers {status} and asks for a pause of {wait} s; at most {allowed} s are waited")]
    TooBusy { what: String, status: u16, wait: u64, allowed: u64 },
    #[error("{what}: the answer is longer than {allowed} MiB")]
    TooLong { what: String, allowed: u64 },
    #[error("{what}: {reason}")]
    Answer { what: String, reason: String },
    #[error("{what}: the next page lies on another server ({host})")]
    Elsewhere { what: String, host: String },
}

impl Trouble {
    pub fn status(&self) -> Option<u16> {
        match self {
            Trouble::Status { status, .. } | Trouble::TooBusy { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A request that can be sent again.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<Vec<u8>>,
}

impl Outgoing {
    /// For messages.
    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }
}

/// A whole answer with a status below 400.
#[derive(Debug)]
pub struct Incoming {
    pub headers: HeaderMap,
    pub body: serde_json::Value,
}

pub struct Client {
    http: reqwest::Client,
    limits: Limits,
    errors: Errors,
    clock: Clock,
    /// When the next request may start.
    next: Mutex<Instant>,
    home: Url,
}

impl Client {
    pub fn new(settings: &Crm, connector: &Connector, clock: &Clock) -> Result<Client, Trouble> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(connector.limits.timeout.min(Duration::from_secs(10)))
            .timeout(connector.limits.timeout)
            .user_agent(concat!("musterd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Trouble::Settings(format!("no HTTP client: {}", cause(&error))))?;
        Ok(Client {
            http,
            limits: connector.limits.clone(),
            errors: connector.errors.clone(),
            clock: clock.clone(),
            next: Mutex::new(Instant::now()),
            home: settings.url.clone(),
        })
    }

    /// Refuses an address (of a next page) that is not on the configured server.
    pub fn at_home(&self, what: &str, url: Url) -> Result<Url, Trouble> {
        if url.origin() == self.home.origin() && url.username().is_empty() && url.password().is_none() {
            return Ok(url);
        }
        Err(Trouble::Elsewhere { what: what.to_owned(), host: url.host_str().unwrap_or("?").to_owned() })
    }

    /// Sends until there is an answer, a refusal that no repetition mends, or the attempts are used up.
    pub async fn send(&self, request: &Outgoing) -> Result<Incoming, Trouble> {
        let mut attempt = 1;
        loop {
            self.pace().await;
            let (trouble, wait) = match self.once(request).await {
                Ok(answer) => return Ok(answer),
                Err((trouble, None)) => return Err(trouble),
                Err((trouble, Some(wait))) => (trouble, wait),
            };
            if attempt >= self.errors.attempts {
                return Err(trouble);
            }
            let wait = wait.unwrap_or_else(|| self.back_off(attempt));
            if wait > self.errors.max_wait {
                let (wait, allowed) = (wait.as_secs(), self.errors.max_wait.as_secs());
                let status = trouble.status().unwrap_or_default();
                return Err(Trouble::TooBusy { what: request.what(), status, wait, allowed });
            }
            tracing::debug!(
                request = request.what(),
                attempt,
                wait_ms = wait.as_millis() as u64,
                "tried again: {trouble}"
            );
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// The second part of an error: it may be tried again, after this pause or after one of our own.
    async fn once(&self, request: &Outgoing) -> Result<Incoming, (Trouble, Option<Option<Duration>>)> {
        let mut sent = self.http.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        let what = || request.what();
        let lost = |error: reqwest::Error| {
            (Trouble::Unreachable { what: what(), cause: cause(&error.without_url()) }, Some(None))
        };
        let mut answer = sent.send().await.map_err(lost)?;
        let status = answer.status();
        if !status.is_success() {
            let trouble = Trouble::Status { what: what(), status: status.as_u16() };
            let again = self.errors.retry.contains(&status.as_u16());
            return Err((trouble, again.then(|| self.asked_pause(status, answer.headers()))));
        }
        let headers = answer.headers().clone();
        let limit = self.limits.body_mib * 1024 * 1024;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(lost)? {
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err((Trouble::TooLong { what: what(), allowed: self.limits.body_mib }, None));
            }
            bytes.extend_from_slice(&piece);
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Incoming { headers, body }),
            Err(error) => Err((Trouble::Answer { what: what(), reason: format!("no JSON: {error}") }, None)),
        }
    }

    /// RFC 9110 section 10.2.3: seconds or a date.
    fn asked_pause(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let at = http_date(text)?;
        Some(Duration::from_millis(u64::try_from(at.0 - self.clock.now().0).unwrap_or(0)))
    }

    /// Doubles with each attempt; up to a quarter more, so that many clients do not come back together.
    fn back_off(&self, attempt: u32) -> Duration {
        let wait = self.errors.wait.saturating_mul(1 << (attempt - 1).min(16)).min(self.errors.max_wait);
        let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(0);
        (wait + Duration::from_millis(self.clock.below(quarter))).min(self.errors.max_wait)
    }

    /// Spreads requests evenly over the period; each takes its turn under the lock and waits outside it.
    async fn pace(&self) {
        let gap = self.limits.period / self.limits.requests;
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + gap;
            turn
        };
        tokio::time::sleep_until(turn.into()).await;
    }
}

/// RFC 9110 section 5.6.7, the preferred form.
pub fn http_date(text: &str) -> Option<Millis> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Millis(at.timestamp().as_millisecond()))
}

/// The innermost cause: the outer layers of an HTTP error only repeat each other.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn tls(settings: &Crm) -> Result<rustls::ClientConfig, Trouble> {
    let wrong = |reason: String| Trouble::Settings(reason);
    let mut roots = rustls::RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            let shown = file.display();
            let certificates = CertificateDer::pem_file_iter(file).map_err(|e| wrong(format!("{shown}: {e}")))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| wrong(format!("{shown}: {e}")))?;
                roots.add(certificate).map_err(|e| wrong(format!("{shown}: {e}")))?;
            }
            if roots.is_empty() {
                return Err(wrong(format!("{shown}: holds no certificate")));
            }
        }
        None if settings.url.scheme() == "https" => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Millis(784_111_777_000)));
        assert_eq!(http_date("soon"), None);
    }
}
