//! DirSync of Active Directory ([MS-ADTS] 3.1.1.3.4.1.3): which objects of a domain changed since a cookie. Its entries hold
//! only what changed, so they say no more here than whom to read again.

use std::collections::BTreeSet;

use super::ber::{self, INTEGER, OCTETS, Reader, SEQUENCE};
use super::entry::Entry;
use super::session::{Error, Query, Session, control, control_of, op, outcome, search, succeeded};
use crate::config::ldap::Scope;

const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// Without it only administrators of replication may ask: what the caller may not see is left out.
const OBJECT_SECURITY: i32 = 1;
/// `(objectClass=*)`: what left a filter must be heard of, too.
const ANYTHING: &[u8] = b"\x87\x0bobjectClass";

/// Objects by their GUID.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) changed: BTreeSet<[u8; 16]>,
    pub(super) deleted: BTreeSet<[u8; 16]>,
}

/// All that changed, and the cookie after it. An empty cookie: everything, of which only the cookie is kept.
pub(super) async fn walk(
    session: &mut Session,
    domain: &str,
    attributes: &[String],
    mut cookie: Vec<u8>,
) -> Result<(Moved, Vec<u8>), Error> {
    let first = cookie.is_empty();
    // A change of name is told only to those who ask for the name.
    let mut asked: Vec<String> = ["objectguid", "isdeleted", "name", "parentguid"].map(str::to_owned).to_vec();
    if !first {
        asked.extend(attributes.iter().filter(|name| *name != "objectguid").cloned());
    }
    let query = Query {
        base: domain.to_owned(),
        scope: Scope::Subtree,
        filter: ANYTHING.to_vec(),
        attributes: asked,
        first: None,
    };
    let mut moved = Moved::default();
    loop {
        let parts =
            [ber::integer(INTEGER, OBJECT_SECURITY), ber::integer(INTEGER, 0x7fff_ffff), ber::element(OCTETS, &cookie)];
        let value = ber::element(SEQUENCE, &parts.concat());
        session.send(&search(&query), &control(DIRSYNC, true, &value)).await?;
        let (next, more) = loop {
            let answer = session.answer().await?;
            match answer.op {
                op::ENTRY if first => {}
                op::ENTRY => note(&mut moved, &Entry::of(answer.content)?)?,
                op::DONE => {
                    succeeded(outcome(&answer.content)?)?;
                    break after(&answer.controls).ok_or(Error::NoCookie)?;
                }
                // Pointers to the domain's own partitions.
                op::REFERENCE | op::INTERMEDIATE => {}
                _ => return Err(ber::Garbage.into()),
            }
        };
        let stands = next == cookie;
        cookie = next;
        if !more || stands {
            return Ok((moved, cookie));
        }
    }
}

fn note(moved: &mut Moved, entry: &Entry) -> Result<(), ber::Garbage> {
    let guid = entry.values("objectguid").next().and_then(|guid| guid.try_into().ok()).ok_or(ber::Garbage)?;
    let deleted = entry.text("isdeleted").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if deleted {
        moved.changed.remove(&guid);
        moved.deleted.insert(guid);
    } else {
        // A recycled object may be restored.
        moved.deleted.remove(&guid);
        moved.changed.insert(guid);
    }
    Ok(())
}

/// `SEQUENCE { MoreResults INTEGER, unused INTEGER, CookieServer OCTET STRING }`.
fn after(controls: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut parts = Reader(Reader(control_of(controls, DIRSYNC)?).expect(SEQUENCE).ok()?);
    let more = parts.integer(INTEGER).ok()?;
    parts.integer(INTEGER).ok()?;
    Some((parts.expect(OCTETS).ok()?.to_vec(), more != 0))
}
