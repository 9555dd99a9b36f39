//! What people complain of when other systems read their directory: everybody switched off after a cut line, accounts made
//! twice after a marriage, groups that are empty above 1500 members. Each complaint has a number and one test that begins
//! with it and says what happens here instead, on both databases. Here is what they share; the complaints stand in the
//! files below by what they are about.

mod absence;
mod accounts;
mod identity;
mod names;
mod runs;
mod servers;
mod size;

use std::collections::BTreeMap;

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapResultCode, LdapSearchResultEntry};
use musterd::reconcile::End;
use musterd::store::{Session as _, source_state};
use serde_json::Value;

use super::super::support::scripted::{Asked, Say, entry, find};
use super::super::support::slapd::{ADMIN, BASE};
use super::section;
use super::sync::{Hq, SYNC};

/// The guard saves nobody, unless everybody would go: whoever stays does so for another reason.
const UNGUARDED: &str = "guard = { percent = 100, count = 100000 }\n";
/// Somebody who is subject to the limits and rights of a directory, as its administrator is not.
const READER: &str = "cn=reader,dc=example,dc=com";
const READER_LDIF: &str = "dn: cn=reader,dc=example,dc=com\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n\
                           cn: reader\nuserPassword: only for this test\n\n";
/// What an Active Directory says of itself.
const DOMAIN: [(&str, &str); 3] = [
    ("supportedControl", "1.2.840.113556.1.4.841"),
    ("supportedCapabilities", "1.2.840.113556.1.4.800"),
    ("defaultNamingContext", BASE),
];
const SYNCREPL: [(&str, &str); 1] = [("supportedControl", "1.3.6.1.4.1.4203.1.9.1.1")];

/// A source that is read as somebody without privileges.
fn of_reader(url: &str, more: &str) -> String {
    section(url, more).replace(ADMIN, READER)
}

/// A person as the store knows it.
#[derive(Debug, Clone, PartialEq)]
struct Person {
    id: String,
    active: bool,
    state: String,
    version: i64,
    doc: Value,
}

/// Login -> person; without those who were deleted.
async fn people(hq: &Hq) -> BTreeMap<String, Person> {
    const SQL: &str = "SELECT login_key, id, active, state, version, doc FROM entity \
                       WHERE kind = 'user' AND state <> 'tombstone' AND login_key IS NOT NULL";
    let mut read = hq.world.db.read().await.unwrap();
    let rows = read.all(SQL, vec![]).await.unwrap();
    let person = |row: &musterd::store::Row| Person {
        id: row.get(1).unwrap(),
        active: row.get(2).unwrap(),
        state: row.get(3).unwrap(),
        version: row.get(4).unwrap(),
        doc: serde_json::from_str(&row.get::<String>(5).unwrap()).unwrap(),
    };
    rows.iter().map(|row| (row.get(0).unwrap(), person(row))).collect()
}

/// Logins of those who are active.
async fn active(hq: &Hq) -> Vec<String> {
    people(hq).await.into_iter().filter(|(_, person)| person.active).map(|(login, _)| login).collect()
}

/// Names of who is in a group, people and groups.
async fn members(hq: &Hq, group: &str) -> Vec<String> {
    const SQL: &str = "SELECT m.login_key FROM edge e JOIN entity g ON g.id = e.from_id JOIN entity m ON m.id = e.to_id \
                       WHERE e.rel = 'member' AND g.login_key = $1 ORDER BY 1";
    let mut read = hq.world.db.read().await.unwrap();
    let rows = read.all(SQL, vec![group.into()]).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

async fn state_of(hq: &Hq) -> source_state::SourceState {
    let mut read = hq.world.db.read().await.unwrap();
    source_state::by_name(&mut read, "hq").await.unwrap().expect("it was read before")
}

/// What the read that has just been made says of itself, which ended well.
async fn done(hq: &Hq) -> String {
    let run = hq.poll(SYNC).await;
    assert_eq!(run.state, End::Done, "{:?}", run.message);
    run.message.unwrap_or_default()
}

/// A read that is thrown away as a whole, and why.
async fn failed(hq: &Hq) -> String {
    let before = people(hq).await;
    let run = hq.poll(SYNC).await;
    assert_eq!(run.state, End::Failed, "{:?}", run.message);
    assert_eq!(people(hq).await, before, "{:?}", run.message);
    run.message.expect("a reason")
}

/// An account of an Active Directory; the GUID is 16 letters.
fn account(guid: &str, login: &str, more: &[(&str, &str)]) -> LdapSearchResultEntry {
    let mail = format!("{login}@example.com");
    let usual = [
        ("objectGUID", guid),
        ("objectCategory", "person"),
        ("objectClass", "user"),
        ("sAMAccountName", login),
        ("givenName", login),
        ("sn", "Person"),
        ("mail", &mail),
    ];
    entry(&format!("CN={login},OU=People,{BASE}"), &[&usual[..], more].concat())
}

/// The same GUID as musterd writes it.
fn key(guid: &str) -> String {
    let bytes: [u8; 16] = guid.as_bytes().try_into().expect("16 letters");
    uuid::Uuid::from_bytes_le(bytes).to_string()
}

/// Answers like a domain controller: who is there, and what moved since any cookie but the newest.
fn domain(asked: &Asked, there: &[LdapSearchResultEntry], moved: &[LdapSearchResultEntry], newest: &str) -> Vec<Say> {
    let Some(cookie) = asked.dirsync() else { return find(asked, there) };
    let news = if cookie.is_empty() || cookie == newest.as_bytes() { &[] } else { moved };
    let mut said: Vec<Say> = news.iter().map(|entry| Say::Entry(entry.clone(), vec![])).collect();
    let control = LdapControl::AdDirsync { flags: 0, max_bytes: 0, cookie: Some(newest.into()) };
    said.push(Say::Done(LdapResultCode::Success, vec![control]));
    said
}

/// The place that the last read came to, as the store has it.
async fn cursor(hq: &Hq) -> Value {
    serde_json::from_str(&state_of(hq).await.cursor.unwrap_or_default()).unwrap_or_default()
}
