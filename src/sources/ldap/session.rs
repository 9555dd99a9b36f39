//! One connection to one of the servers: dialled in order, encrypted by our own configuration, bound once; then searches,
//! page by page. A page counts only if every entry came, its own result code is 0 and its cookie can be read.
//! Start at `Session::open`, then `page`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;

use super::ber::{self, ENUMERATED, Garbage, INTEGER, OCTETS, Reader, SEQUENCE};
use super::entry::Entry;
pub(super) use super::fault::{Error, Outcome, outcome, succeeded};
use super::fault::{INVALID_CREDENTIALS, NO_SUCH_OBJECT};
use super::srv;
use super::wire::{Answer, Limits, Wire};
use crate::config::ldap::{Bind, Ldap, Referrals, Scope};

/// Do not even mention what lies on other servers. OpenLDAP and Active Directory know it.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// RFC 2696.
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// RFC 4511 §4.14.
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

/// Tags of the operations (RFC 4511 §4.2 to §4.12).
pub(super) mod op {
    pub(in crate::sources::ldap) const BIND: u8 = 0x60;
    pub(in crate::sources::ldap) const BOUND: u8 = 0x61;
    pub(in crate::sources::ldap) const UNBIND: u8 = 0x42;
    pub(in crate::sources::ldap) const SEARCH: u8 = 0x63;
    pub(in crate::sources::ldap) const ENTRY: u8 = 0x64;
    pub(in crate::sources::ldap) const DONE: u8 = 0x65;
    pub(in crate::sources::ldap) const REFERENCE: u8 = 0x73;
    pub(in crate::sources::ldap) const EXTENDED: u8 = 0x77;
    pub(in crate::sources::ldap) const EXTENDED_DONE: u8 = 0x78;
    pub(in crate::sources::ldap) const INTERMEDIATE: u8 = 0x79;
}

/// What is searched.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) base: String,
    pub(super) scope: Scope,
    /// Encoded.
    pub(super) filter: Vec<u8>,
    pub(super) attributes: Vec<String>,
    /// Of groups whose first members are wanted.
    pub(super) first: Option<Arc<First>>,
}

/// Those who have a group as their first one, of which the group itself says nothing.
#[derive(Debug)]
pub(super) struct First {
    /// The number of the group, in its entry and in theirs.
    pub(super) of_group: &'static str,
    pub(super) of_person: &'static str,
    /// Of the people.
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: Vec<u8>,
}

/// An open, bound connection. Dropping it closes the link.
pub(super) struct Session {
    wire: Wire,
    pub(super) url: String,
    page_size: i32,
    pub(super) referrals: Referrals,
}

impl Session {
    /// The first server that answers. Wrong credentials end it: trying them everywhere would lock the account.
    pub(super) async fn open(settings: &Ldap) -> Result<Session, Error> {
        let tls = Arc::new(tls(settings)?);
        let limits = Limits { answer: settings.timeout, until: Instant::now() + settings.deadline };
        let secret = settings.bind.as_ref().map(|bind| bind.password.expose_secret());
        let mut reasons = Vec::new();
        for named in &settings.urls {
            let servers = match srv::servers(named, settings.dns, limits).await {
                Ok(servers) => servers,
                Err(reason) => {
                    reasons.push(format!("{named}: {}", crate::model::plain::plain(&reason)));
                    continue;
                }
            };
            for server in &servers {
                let url = &server.url;
                match dial(settings, server, tls.clone(), limits).await.map_err(|error| error.without(secret)) {
                    Ok(session) => return Ok(session),
                    Err(refused @ Error::Refused { .. }) => return Err(refused),
                    Err(error) => reasons.push(format!("{url}: {error}")),
                }
            }
        }
        Err(Error::NoServer(reasons.join("; ")))
    }

    pub(super) async fn send(&mut self, op: &[u8], controls: &[u8]) -> Result<(), Error> {
        self.wire.send(op, controls).await
    }

    pub(super) async fn answer(&mut self) -> Result<Answer, Error> {
        self.wire.answer().await
    }

    /// Asks for one page; its entries are taken with `next`.
    pub(super) async fn ask(&mut self, query: &Query, cookie: &[u8]) -> Result<(), Error> {
        self.ask_for(self.page_size, query, cookie).await
    }

    pub(super) async fn ask_for(&mut self, entries: i32, query: &Query, cookie: &[u8]) -> Result<(), Error> {
        let paged = ber::concat(&[&ber::integer(INTEGER, entries), &ber::element(OCTETS, cookie)]);
        let mut controls = control(PAGED_RESULTS, true, &ber::element(SEQUENCE, &paged));
        if self.referrals == Referrals::Ignore {
            controls.extend(control(DOMAIN_SCOPE, false, &[]));
        }
        self.wire.send(&search(query), &controls).await
    }

    /// The next thing of the page that was asked for.
    pub(super) async fn next(&mut self) -> Result<Item, Error> {
        loop {
            let answer = self.wire.answer().await?;
            match answer.op {
                op::ENTRY => return Ok(Item::Entry(answer.content)),
                op::REFERENCE => return Ok(Item::Pointer),
                op::INTERMEDIATE => {}
                op::DONE => {
                    succeeded(outcome(&answer.content)?)?;
                    return Ok(Item::Done { cookie: cookie_of(&answer.controls) });
                }
                _ => return Err(Garbage.into()),
            }
        }
    }

    /// One entry, if it is there; `""` is the server's own.
    pub(super) async fn one(&mut self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, Error> {
        let query = Query {
            base: dn.to_owned(),
            scope: Scope::One,
            filter: PRESENT.to_vec(),
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            first: None,
        };
        self.wire.send(&search_within(&query, 0), &[]).await?;
        self.only().await
    }

    async fn only(&mut self) -> Result<Option<Entry>, Error> {
        let mut found = None;
        loop {
            match self.next().await {
                Ok(Item::Entry(bytes)) => found = Some(Entry::of(bytes)?),
                Ok(Item::Pointer) => {}
                Ok(Item::Done { .. }) => return Ok(found),
                Err(Error::Result { code: NO_SUCH_OBJECT, .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The entry of this name, if the query would find it.
    pub(super) async fn found(&mut self, dn: &str, query: &Query) -> Result<Option<Entry>, Error> {
        let query = Query { base: dn.to_owned(), ..query.clone() };
        self.wire.send(&search_within(&query, 0), &[]).await?;
        let Some(mut entry) = self.only().await? else { return Ok(None) };
        for (name, from) in std::mem::take(&mut entry.ranged) {
            self.rest(&mut entry, &name, from).await?;
        }
        Ok(Some(entry))
    }

    /// Adds who has the group as the first one to its members. Only between two pages.
    pub(super) async fn first_members(&mut self, entry: &mut Entry, first: &First) -> Result<(), Error> {
        let Some(number) = entry.text(first.of_group).map(str::to_owned) else { return Ok(()) };
        let pair = [ber::element(OCTETS, first.of_person.as_bytes()), ber::element(OCTETS, number.as_bytes())].concat();
        let filter = ber::element(0xa0, &[&first.filter[..], &ber::element(0xa3, &pair)].concat());
        let query = Query {
            base: first.base.clone(),
            scope: first.scope,
            filter,
            // No attributes at all (RFC 4511 §4.5.1.8): the names are enough.
            attributes: vec!["1.1".to_owned()],
            first: None,
        };
        let mut cookie = Vec::new();
        loop {
            self.ask(&query, &cookie).await?;
            cookie = loop {
                match self.next().await? {
                    Item::Entry(bytes) => entry.add("member", Entry::of(bytes)?.dn().as_bytes()),
                    Item::Pointer => {}
                    Item::Done { cookie } => break cookie.ok_or(Error::NoCookie)?,
                }
            };
            if cookie.is_empty() {
                return Ok(());
            }
        }
    }

    /// The rest of an attribute that the server sends in pieces, from `next` on. Only between two pages.
    pub(super) async fn rest(&mut self, entry: &mut Entry, name: &str, mut next: u32) -> Result<(), Error> {
        loop {
            let query = Query {
                base: entry.dn().to_owned(),
                scope: Scope::One,
                filter: PRESENT.to_vec(),
                attributes: vec![format!("{name};range={next}-*")],
                first: None,
            };
            self.wire.send(&search_within(&query, 0), &[]).await?;
            let mut piece = None;
            loop {
                match self.next().await? {
                    Item::Entry(bytes) => piece = Some(Entry::of(bytes)?),
                    Item::Pointer => {}
                    Item::Done { .. } => break,
                }
            }
            let piece = piece.ok_or_else(|| Error::NoRest(name.to_owned()))?;
            entry.append(name, &piece);
            match piece.ranged.first() {
                Some((_, following)) if *following > next => next = *following,
                Some(_) => return Err(Error::NoRest(name.to_owned())),
                None => return Ok(()),
            }
        }
    }

    /// Says goodbye; a server that does not care is not waited for.
    /// From now on an answer may take so long.
    pub(super) fn wait_for(&mut self, longest: Duration) {
        self.wire.limits = Limits { answer: longest, until: Instant::now() + longest };
    }

    /// Asks for no more answers to the last request (RFC 4511 §4.11).
    pub(super) async fn abandon(&mut self) {
        let _ = self.wire.abandon().await;
    }

    pub(super) async fn close(mut self) {
        let _ = self.wire.send(&ber::element(op::UNBIND, &[]), &[]).await;
        self.wire.shutdown().await;
    }
}

/// A piece of a page.
pub(super) enum Item {
    /// Not yet looked at.
    Entry(Vec<u8>),
    /// To another server.
    Pointer,
    /// With result code 0. The cookie is empty after the last page; `None`: it could not be read.
    Done { cookie: Option<Vec<u8>> },
}

/// `(objectClass=*)`, encoded.
const PRESENT: [u8; 13] = *b"\x87\x0bobjectClass";

async fn dial(
    settings: &Ldap,
    srv::Server { url, at }: &srv::Server,
    tls: Arc<rustls::ClientConfig>,
    limits: Limits,
) -> Result<Session, Error> {
    let mut wire = Wire::connect(url, at, limits).await?;
    if url.scheme() == "ldaps" {
        wire = wire.encrypt(settings.tls_name(url), tls).await?;
    } else if settings.starttls {
        let request = ber::element(op::EXTENDED, &ber::element(0x80, START_TLS.as_bytes()));
        wire.send(&request, &[]).await?;
        succeeded(finished(&mut wire, op::EXTENDED_DONE).await?)?;
        wire = wire.encrypt(settings.tls_name(url), tls).await?;
    }
    if let Some(bind) = &settings.bind {
        authenticate(&mut wire, url, bind).await?;
    }
    let (page_size, referrals) = (settings.page_size, settings.referrals);
    Ok(Session { wire, url: url.to_string(), page_size, referrals })
}

async fn authenticate(wire: &mut Wire, url: &url::Url, bind: &Bind) -> Result<(), Error> {
    let version = ber::integer(INTEGER, 3);
    let name = ber::element(OCTETS, bind.dn.as_bytes());
    let password = zeroize::Zeroizing::new(ber::element(0x80, bind.password.expose_secret().as_bytes()));
    let request = zeroize::Zeroizing::new(ber::element(op::BIND, &ber::concat(&[&version, &name, &password])));
    wire.send(&request, &[]).await?;
    let result = finished(wire, op::BOUND).await?;
    if result.code == INVALID_CREDENTIALS {
        return Err(Error::Refused { url: url.to_string(), dn: bind.dn.clone(), said: result.said });
    }
    succeeded(result)
}

async fn finished(wire: &mut Wire, op: u8) -> Result<Outcome, Error> {
    let answer = wire.answer().await?;
    if answer.op == op { Ok(outcome(&answer.content)?) } else { Err(Garbage.into()) }
}

pub(super) fn search(query: &Query) -> Vec<u8> {
    let scope = match query.scope {
        Scope::One => 1,
        Scope::Subtree => 2,
    };
    search_within(query, scope)
}

/// `scope`: 0 the base alone, 1 one level, 2 the subtree.
fn search_within(query: &Query, scope: i32) -> Vec<u8> {
    let attributes: Vec<u8> = query.attributes.iter().flat_map(|name| ber::element(OCTETS, name.as_bytes())).collect();
    let parts = [
        &ber::element(OCTETS, query.base.as_bytes())[..],
        &ber::integer(ENUMERATED, scope),
        // Aliases are never followed, no limits of our own, values too.
        &ber::integer(ENUMERATED, 0),
        &ber::integer(INTEGER, 0),
        &ber::integer(INTEGER, 0),
        &ber::element(0x01, &[0]),
        &query.filter,
        &ber::element(SEQUENCE, &attributes),
    ];
    ber::element(op::SEARCH, &ber::concat(&parts))
}

pub(super) fn control(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = ber::element(OCTETS, oid.as_bytes());
    if critical {
        parts.extend(ber::element(0x01, &[0xff]));
    }
    if !value.is_empty() {
        parts.extend(ber::element(OCTETS, value));
    }
    ber::element(SEQUENCE, &parts)
}

/// The value of a control among those of an answer.
pub(super) fn control_of<'a>(controls: &'a [u8], oid: &str) -> Option<&'a [u8]> {
    let mut controls = Reader(controls);
    while let Some(control) = controls.next().ok()? {
        let mut parts = Reader(control.content);
        if parts.expect(OCTETS).ok()? == oid.as_bytes() {
            return std::iter::from_fn(|| parts.next().ok().flatten())
                .find(|part| part.tag == OCTETS)
                .map(|part| part.content);
        }
    }
    None
}

/// RFC 2696: `SEQUENCE { size INTEGER, cookie OCTET STRING }`. A server that answers a critical control without it is broken.
fn cookie_of(controls: &[u8]) -> Option<Vec<u8>> {
    let mut inner = Reader(Reader(control_of(controls, PAGED_RESULTS)?).expect(SEQUENCE).ok()?);
    inner.integer(INTEGER).ok()?;
    inner.expect(OCTETS).ok().map(<[u8]>::to_vec)
}

fn tls(settings: &Ldap) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(file) = &settings.ca_file {
        let wrong = |reason: &dyn std::fmt::Display| Error::Ca(format!("{} cannot be used: {reason}", file.display()));
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"it holds no certificate"));
        }
    } else if settings.starttls || settings.urls.iter().any(|url| url.scheme().starts_with("ldaps")) {
        // One unreadable certificate of the system must not take away the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Broken(std::io::Error::other(error)))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_or_the_page_does_not_count() {
        let read = |value: &[u8]| cookie_of(&control(PAGED_RESULTS, true, value));
        assert_eq!(read(&[0x30, 5, 2, 1, 0, 4, 0]), Some(vec![]));
        assert_eq!(read(&[0x30, 7, 2, 1, 0, 4, 2, 8, 9]), Some(vec![8, 9]));
        assert_eq!(read(&[0x30, 0x81, 5, 2, 1, 0, 4, 0]), Some(vec![]));
        for wrong in [&[][..], &[0x30], &[0x30, 0x85, 1], &[0x30, 5, 2, 1, 0, 4, 9], &[0x31, 5, 2, 1, 0, 4, 0]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(cookie_of(&[]), None);
        let both =
            [control(DOMAIN_SCOPE, false, &[]), control(PAGED_RESULTS, false, &[0x30, 5, 2, 1, 0, 4, 0])].concat();
        assert_eq!(cookie_of(&both), Some(vec![]));
    }

    #[test]
    fn a_search_is_what_the_standard_says() {
        let query = Query {
            base: "dc=x".to_owned(),
            scope: Scope::Subtree,
            filter: PRESENT.to_vec(),
            attributes: vec!["cn".to_owned()],
            first: None,
        };
        let expected = b"\x63\x28\x04\x04dc=x\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x04\x04\x02cn";
        assert_eq!(search(&query), expected);
    }
}
