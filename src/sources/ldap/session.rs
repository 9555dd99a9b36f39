//! One connection to one of the servers: dialled in order, encrypted by our own configuration, bound once. A search is
//! asked for page by page here instead of by ldap3's adapter, whose final result after a cut in a later page is that of
//! the page before, "success". A page counts only if every entry came, its own result code is 0 and its cookie can be read.
//! Start at `Session::open`, then `page`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap3::controls::{MakeCritical, PagedResults, RawControl};
use ldap3::{Ldap as Handle, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, SearchOptions};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;

use super::entry::{Entry, Malformed};
use crate::config::ldap::{Ldap, Referrals, Scope};

/// Do not even mention what lies on other servers. OpenLDAP and Active Directory know it.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
const INVALID_CREDENTIALS: u32 = 49;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no server could be reached: {0}")]
    NoServer(String),
    #[error("{url} refused the credentials of {dn}: {reason}")]
    Refused { url: String, dn: String, reason: String },
    #[error("the CA file cannot be used: {0}")]
    Ca(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] LdapError),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the run took longer than its deadline")]
    Deadline,
    #[error("the server answered with result code {code}{text}")]
    Result { code: u32, text: String },
    #[error("the answer has no readable page cookie")]
    NoCookie,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the reader was stopped")]
    Stopped,
}

/// What is searched.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
}

/// An open, bound connection. Dropping it closes the link.
pub(super) struct Session {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
    pub(super) url: String,
    timeout: Duration,
    page_size: i32,
    pub(super) referrals: Referrals,
    until: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// The first server that answers. Wrong credentials end it: trying them everywhere would lock the account.
    pub(super) async fn open(settings: &Ldap) -> Result<Session, Error> {
        let tls = Arc::new(tls(settings)?);
        let until = Instant::now() + settings.deadline;
        let mut reasons = Vec::new();
        for url in &settings.urls {
            match dial(settings, url, tls.clone(), until).await {
                Ok(session) => return Ok(session),
                Err(refused @ Error::Refused { .. }) => return Err(refused),
                Err(error) => reasons.push(format!("{url}: {error}")),
            }
        }
        Err(Error::NoServer(reasons.join("; ")))
    }

    /// Reads one page; entries go to `each` as they come. Returns the next page's cookie, empty after the last one, and how
    /// many pointers to other servers were in it.
    pub(super) async fn page(
        &mut self,
        query: &Query,
        cookie: Vec<u8>,
        mut each: impl FnMut(Result<Entry, Malformed>),
    ) -> Result<(Vec<u8>, u64), Error> {
        let paged = PagedResults { size: self.page_size, cookie };
        let mut controls = vec![paged.critical().into()];
        if self.referrals == Referrals::Ignore {
            controls.push(RawControl { ctype: DOMAIN_SCOPE.to_owned(), crit: false, val: None });
        }
        self.handle.with_controls(controls);
        let scope = match query.scope {
            Scope::Subtree => ldap3::Scope::Subtree,
            Scope::One => ldap3::Scope::OneLevel,
        };
        let search = self.handle.streaming_search(&query.base, scope, &query.filter, query.attributes.clone());
        let mut stream = within(self.timeout, self.until, search).await??;
        let mut pointers = 0;
        while let Some(found) = within(self.timeout, self.until, stream.next()).await?? {
            if found.is_ref() {
                pointers += 1;
            } else if !found.is_intermediate() {
                each(Entry::of(found.0));
            }
        }
        let result = stream.finish().await;
        succeeded(&result)?;
        Ok((cookie_of(&result)?, pointers))
    }

    /// The rest of an attribute that the server sends in pieces, from `next` on.
    pub(super) async fn rest(&mut self, entry: &mut Entry, name: &str, mut next: u32) -> Result<(), Error> {
        loop {
            let asked = vec![format!("{name};range={next}-*")];
            let search = self.handle.search(&entry.dn, ldap3::Scope::Base, "(objectClass=*)", asked);
            let found = within(self.timeout, self.until, search).await??;
            succeeded(&found.1)?;
            let one = found.0.into_iter().find(|found| !found.is_ref() && !found.is_intermediate());
            let piece = Entry::of(one.ok_or(Error::NoCookie)?.0)?;
            entry.add(name, piece.values(name).to_vec());
            match piece.ranged.first() {
                Some((_, following)) if *following > next => next = *following,
                Some(_) => return Err(Error::NoCookie),
                None => return Ok(()),
            }
        }
    }

    /// Says goodbye; a server that does not care is not waited for.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.handle.unbind()).await;
    }
}

async fn dial(
    settings: &Ldap,
    url: &url::Url,
    tls: Arc<rustls::ClientConfig>,
    until: Instant,
) -> Result<Session, Error> {
    let options =
        LdapConnSettings::new().set_conn_timeout(settings.timeout).set_starttls(settings.starttls).set_config(tls);
    let dialled = LdapConnAsync::from_url_with_settings(options, url);
    let (connection, mut handle) = within(settings.timeout, until, dialled).await??;
    let driver = tokio::spawn(async move {
        // Its end is seen by whoever waits for an answer.
        let _ = connection.drive().await;
    });
    handle.with_search_options(SearchOptions::new());
    let mut session = Session {
        handle,
        driver,
        url: url.to_string(),
        timeout: settings.timeout,
        page_size: settings.page_size,
        referrals: settings.referrals,
        until,
    };
    if let Some(bind) = &settings.bind {
        let bound = session.handle.simple_bind(&bind.dn, bind.password.expose_secret());
        let result = within(settings.timeout, until, bound).await??;
        if result.rc == INVALID_CREDENTIALS {
            return Err(Error::Refused { url: url.to_string(), dn: bind.dn.clone(), reason: result.text });
        }
        succeeded(&result)?;
    }
    Ok(session)
}

/// Waits no longer than for one answer, and no longer than the run may take.
async fn within<T>(timeout: Duration, until: Instant, what: impl Future<Output = T>) -> Result<T, Error> {
    let left = until.saturating_duration_since(Instant::now());
    tokio::time::timeout(timeout.min(left), what)
        .await
        .map_err(|_| if left <= timeout { Error::Deadline } else { Error::Silent(timeout) })
}

fn succeeded(result: &LdapResult) -> Result<(), Error> {
    if result.rc == 0 {
        return Ok(());
    }
    let meaning = match result.rc {
        3 => " (time limit)",
        4 => " (size limit)",
        10 => " (referral)",
        11 => " (administrative limit)",
        32 => " (no such object: is the base right?)",
        50 => " (insufficient rights)",
        51 => " (busy)",
        52 => " (unavailable)",
        53 => " (unwilling)",
        _ => "",
    };
    let text = if result.text.is_empty() { meaning.to_owned() } else { format!("{meaning}: {}", result.text) };
    Err(Error::Result { code: result.rc, text })
}

/// RFC 2696: `SEQUENCE { size INTEGER, cookie OCTET STRING }`. A server that answers a critical control without it is broken.
fn cookie_of(result: &LdapResult) -> Result<Vec<u8>, Error> {
    let control = result.ctrls.iter().find(|control| control.1.ctype == PAGED_RESULTS).ok_or(Error::NoCookie)?;
    let value = control.1.val.as_deref().ok_or(Error::NoCookie)?;
    let parsed = element(value, 0x30).and_then(|(inner, _)| {
        let (_, rest) = element(inner, 0x02)?;
        element(rest, 0x04)
    });
    parsed.map(|(cookie, _)| cookie.to_vec()).ok_or(Error::NoCookie)
}

/// One BER element: its content and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().try_fold(0usize, |sum, digit| sum.checked_mul(256)?.checked_add(usize::from(*digit)))?, rest)
        }
    };
    if *first != tag {
        return None;
    }
    rest.split_at_checked(length)
}

fn tls(settings: &Ldap) -> Result<rustls::ClientConfig, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Ca(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    if let Some(file) = &settings.ca_file {
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(Error::Ca(format!("{} holds no certificate", file.display())));
        }
    } else if settings.starttls || settings.urls.iter().any(|url| url.scheme() == "ldaps") {
        // One unreadable certificate of the system must not take away the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_or_the_page_does_not_count() {
        let read = |value: Option<&[u8]>| {
            let control = RawControl { ctype: PAGED_RESULTS.to_owned(), crit: false, val: value.map(<[u8]>::to_vec) };
            let ctrls = vec![ldap3::controls::Control(None, control)];
            cookie_of(&LdapResult { rc: 0, matched: String::new(), text: String::new(), refs: Vec::new(), ctrls }).ok()
        };
        assert_eq!(read(Some(&[0x30, 5, 2, 1, 0, 4, 0])), Some(vec![]));
        assert_eq!(read(Some(&[0x30, 7, 2, 1, 0, 4, 2, 8, 9])), Some(vec![8, 9]));
        assert_eq!(read(Some(&[0x30, 0x81, 5, 2, 1, 0, 4, 0])), Some(vec![]));
        for wrong in [&[][..], &[0x30], &[0x30, 0x85, 1], &[0x30, 5, 2, 1, 0, 4, 9], &[0x31, 5, 2, 1, 0, 4, 0]] {
            assert_eq!(read(Some(wrong)), None, "{wrong:?}");
        }
        assert_eq!(read(None), None);
    }
}
