//! Stories with a real slapd: what a reader makes of a directory that answers, lies, dies in mid-page or refuses; and what
//! a daemon makes of it: first run, changes, renames, the guard. The reader's rules are tested in `src/sources/ldap`.

mod active_directory;
mod anew;
mod complaints;
mod drift;
mod faults;
mod groups;
mod half;
mod kills;
mod modes;
mod outage;
mod pictures;
mod schedule;
mod seats;
mod srv;
mod sync;
mod undo;
mod words;

use std::collections::BTreeMap;

use musterd::clock::Clock;
use musterd::config::read::check;
use musterd::model::desired::{Chunk, Desired, Digest, End, Known, Nothing, Record};
use musterd::model::kind::Kind;
use musterd::sources::ldap::{Before, Knowing, Loading, Reader, read};
use tokio::sync::mpsc;

use super::support::slapd::{ADMIN, BASE, Directory, PASSWORD, Proxy, ldif, person};

/// What a source of this directory looks like in the configuration.
fn section(url: &str, more: &str) -> String {
    format!(
        "url = '{url}'\nbase = '{BASE}'\nbind_dn = '{ADMIN}'\npassword = '{PASSWORD}'\ninsecure = true\npage_size = 100\n{more}"
    )
}

fn reader(url: &str, more: &str) -> Reader {
    let settings = check(&section(url, more), musterd::config::ldap::read).unwrap();
    Reader::compile(&settings).unwrap()
}

/// Reads everything: the records and the last word.
async fn read_all(reader: &Reader, known: &dyn Knowing) -> (Vec<Record>, End) {
    let (out, mut arriving) = mpsc::channel(2);
    let clock = Clock::system();
    let reading = read(reader, known, Before::default(), &clock, out);
    let collecting = async {
        let mut all = Vec::new();
        let mut end = None;
        while let Some(chunk) = arriving.recv().await {
            match chunk {
                Chunk::Records(records) => {
                    assert!(records.len() <= 500 && end.is_none());
                    all.extend(records);
                }
                Chunk::There { .. } => panic!("nobody swept"),
                Chunk::End(last) => end = Some(last),
            }
        }
        (all, end.expect("the last word"))
    };
    tokio::join!(reading, collecting).1
}

fn present(records: Vec<Record>) -> BTreeMap<String, Desired> {
    let desired = |record| match record {
        Record::Present(desired) => (desired.key.clone(), *desired),
        other => panic!("{other:?}"),
    };
    records.into_iter().map(desired).collect()
}

fn reason(end: &End) -> &str {
    match end {
        End::Incomplete { reason, .. } => reason,
        complete @ End::Complete { .. } => panic!("{complete:?}"),
    }
}

struct Remembers(BTreeMap<String, Digest>);

impl Known for Remembers {
    fn is(&self, _: Kind, key: &str, digest: &Digest) -> bool {
        self.0.get(key) == Some(digest)
    }

    fn holds(&self, _: Kind, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

impl Knowing for Remembers {
    fn load(&self) -> Loading<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn strangers(&self, names: Vec<String>) -> Loading<'_, Vec<String>> {
        Box::pin(std::future::ready(Ok(names)))
    }
}

#[tokio::test]
async fn a3_a_directory_is_read_whole_page_by_page() {
    let directory = Directory::start(&ldif(1234, 7, 20)).await;
    let reader = reader(&directory.url(), "");
    let (records, end) = read_all(&reader, &Nothing).await;
    assert!(matches!(&end, End::Complete { kinds, .. } if *kinds == [Kind::User, Kind::Group]), "{end:?}");
    let all = present(records);
    assert_eq!(all.len(), 1234 + 7);
    let first = directory.value(&person(0), "entryUUID").await;
    let zofie = &all[&first];
    assert_eq!(zofie.attributes["userName"], "p000000");
    assert_eq!(zofie.attributes["displayName"], "Žofie Person0");
    assert_eq!(zofie.attributes["emails"][0]["value"], "p000000@example.com");
    assert_eq!(zofie.alias.as_deref(), Some("uid=p000000,ou=people,dc=example,dc=com"));

    // Nothing changed: nothing is mapped. One changed: one.
    let remembers = Remembers(all.iter().map(|(key, desired)| (key.clone(), desired.digest.unwrap())).collect());
    directory.replace(&person(0), "title", &["Owner"]).await;
    directory.rename(&person(1), "uid=p000001", Some(&format!("ou=left,{BASE}"))).await;
    let (records, end) = read_all(&reader, &remembers).await;
    assert!(matches!(end, End::Complete { .. }));
    let changed = present(records.into_iter().filter(|record| !matches!(record, Record::Same { .. })).collect());
    assert_eq!(changed.len(), 2);
    assert_eq!(changed[&first].attributes["title"], "Owner");
    let moved = directory.value(&format!("uid=p000001,ou=left,{BASE}"), "entryUUID").await;
    assert!(all.contains_key(&moved), "a move keeps the key");
    assert_eq!(changed[&moved].alias.as_deref(), Some("uid=p000001,ou=left,dc=example,dc=com"));
}

#[tokio::test]
async fn b2_a_cut_connection_is_never_a_complete_read() {
    let directory = Directory::start(&ldif(1000, 3, 10)).await;
    let proxy = Proxy::start(directory.port).await;
    let reader = reader(&format!("ldap://127.0.0.1:{}", proxy.port), "timeout = '5s'");
    let (records, end) = read_all(&reader, &Nothing).await;
    assert!(matches!(end, End::Complete { .. }), "{end:?}");
    let whole = records.len();
    for bytes in [0, 10, 1000, 40_000, 120_000, 200_000, 300_000] {
        proxy.cut_after(bytes);
        let (records, end) = read_all(&reader, &Nothing).await;
        assert!(matches!(end, End::Incomplete { .. }), "after {bytes} bytes: {end:?} with {} records", records.len());
        assert!(records.len() < whole);
    }
    proxy.mend();
    let (records, end) = read_all(&reader, &Nothing).await;
    assert!(matches!(end, End::Complete { .. }) && records.len() == whole);
}

#[tokio::test]
async fn b2_a_silent_or_dead_server_ends_the_run() {
    let mut directory = Directory::start(&ldif(3000, 1, 1)).await;
    let reader = reader(&directory.url(), "timeout = '1s'");
    directory.process().signal("STOP");
    let (_, end) = read_all(&reader, &Nothing).await;
    assert!(reason(&end).contains("no answer within 1s"), "{end:?}");
    directory.process().signal("CONT");

    // Killed while somebody reads slowly.
    let (out, mut arriving) = mpsc::channel(1);
    let clock = Clock::system();
    let reading = async { read(&reader, &Nothing, Before::default(), &clock, out).await };
    let killing = async {
        arriving.recv().await;
        directory.process().kill();
        let mut last = None;
        while let Some(chunk) = arriving.recv().await {
            last = Some(chunk);
        }
        last
    };
    let ((), last) = tokio::join!(reading, killing);
    assert!(matches!(last, Some(Chunk::End(End::Incomplete { .. }))), "{last:?}");
    let (records, end) = read_all(&reader, &Nothing).await;
    assert!(records.is_empty() && reason(&end).contains("no server could be reached"), "{end:?}");
    directory.restart().await;
    assert!(matches!(read_all(&reader, &Nothing).await.1, End::Complete { .. }));
}

#[tokio::test]
async fn b2_limits_and_wrong_answers_are_incomplete() {
    let directory = Directory::start(&ldif(300, 1, 1)).await;
    let url = directory.url();
    let said = async |more: &str| read_all(&reader(&url, more), &Nothing).await.1;
    let end = said("[users]\nbase = 'ou=nowhere,dc=example,dc=com'").await;
    assert!(reason(&end).contains("32"), "{end:?}");
    let end = said("deadline = '1ms'").await;
    assert!(matches!(end, End::Incomplete { .. }), "{end:?}");
    let text = section(&url, "").replace(PASSWORD, "wrong");
    let wrong = Reader::compile(&check(&text, musterd::config::ldap::read).unwrap()).unwrap();
    let (_, end) = read_all(&wrong, &Nothing).await;
    assert!(reason(&end).contains("refused the credentials") && !reason(&end).contains("wrong"), "{end:?}");

    // A referral object inside the base is a part that was not read.
    let mut admin = directory.admin().await;
    let referral = vec![
        ("objectClass", ["referral", "extensibleObject"].into()),
        ("ref", [format!("{url}/ou=elsewhere").leak() as &str].into()),
        ("ou", ["elsewhere"].into()),
    ];
    admin.add("ou=elsewhere,dc=example,dc=com", referral).await.unwrap().success().unwrap();
    let end = said("").await;
    assert!(reason(&end).contains("pointers to other servers"), "{end:?}");
    assert!(matches!(said("referrals = 'ignore'").await, End::Complete { .. }));
}

#[tokio::test]
async fn the_next_server_is_tried_and_certificates_are_checked() {
    let directory = Directory::start(&ldif(20, 1, 1)).await;
    let ca = directory.ca();
    let encrypted = |urls: &str, more: &str| {
        let text =
            section("x", more).replace("url = 'x'", &format!("urls = [{urls}]")).replace("insecure = true\n", "");
        Reader::compile(&check(&text, musterd::config::ldap::read).unwrap()).unwrap()
    };
    let trusted = format!("ca_file = '{}'\n", ca.display());
    let dead = super::support::process::free_port();
    let ldaps = format!("'ldaps://127.0.0.1:{dead}', 'ldaps://localhost:{}'", directory.tls_port);
    let (records, end) = read_all(&encrypted(&ldaps, &trusted), &Nothing).await;
    assert!(matches!(end, End::Complete { .. }) && records.len() == 21, "{end:?}");
    assert!(encrypted(&ldaps, &trusted).probe().await.unwrap().reached.contains("localhost"));

    let starttls = format!("'ldap://127.0.0.1:{}'", directory.port);
    let (_, end) = read_all(&encrypted(&starttls, &format!("{trusted}starttls = true\n")), &Nothing).await;
    assert!(matches!(end, End::Complete { .. }), "{end:?}");

    let end = read_all(&encrypted(&ldaps, ""), &Nothing).await.1;
    assert!(reason(&end).contains("UnknownIssuer"), "{end:?}");
    let plain = Proxy::start(directory.port).await;
    let end = read_all(&encrypted(&format!("'ldaps://127.0.0.1:{}'", plain.port), &trusted), &Nothing).await.1;
    assert!(matches!(end, End::Incomplete { .. }), "{end:?}");
}
