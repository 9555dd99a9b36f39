//! Whatever a server or the way to it does in the middle of whatever mode, nobody who is there is taken away or switched off,
//! and the next good read comes to the same as if nothing had happened. Both databases.

use std::collections::BTreeSet;

use musterd::reconcile::End;
use musterd::store::Session as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::support::slapd::{Directory, Fault, Proxy, ldif, person};
use super::super::support::{Which, both, long};
use super::modes::state;
use super::sync::{Hq, SYNC};

const PEOPLE: usize = 60;
const MODES: [(&str, &str); 4] = [
    ("paged", "mode = 'paged'"),
    ("syncrepl", "mode = 'syncrepl'"),
    ("timestamp", "mode = 'timestamp'\nsweep_every = '1ms'"),
    ("syncrepl, everything each time", "mode = 'syncrepl'\nfull_every = '1ms'"),
];

/// Bytes of the server after which it happens: from the answer to the bind into the last page.
fn places() -> Vec<u64> {
    if long() {
        vec![0, 7, 14, 40, 100, 250, 700, 1_500, 3_000, 6_000, 12_000, 20_000, 30_000, 45_000]
    } else {
        vec![0, 14, 100, 700, 6_000, 20_000]
    }
}

async fn active(hq: &Hq) -> BTreeSet<String> {
    let mut read = hq.world.db.read().await.unwrap();
    let sql = "SELECT login_key FROM entity WHERE kind = 'user' AND active AND state <> 'tombstone'";
    read.all(sql, vec![]).await.unwrap().iter().map(|row| row.get(0).unwrap()).collect()
}

async fn at(which: Which, proxy: &Proxy, mode: &str) -> Hq {
    let more = format!("{mode}\ntimeout = '250ms'\nguard = {{ percent = 100, count = 1000 }}");
    Hq::with(which, &proxy.url(), &more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_nothing_that_breaks_in_any_mode_takes_anybody_away() {
    both(|which| async move {
        let mut directory = Directory::syncing(&ldif(PEOPLE, 5, 10)).await;
        let proxy = Proxy::start(directory.port).await;
        for (name, mode) in MODES {
            proxy.mend();
            let hq = at(which, &proxy, mode).await;
            // From the very first read on: nothing, or everything.
            for place in places() {
                for fault in [Fault::Cut, Fault::Reset, Fault::Hang] {
                    proxy.after(place, fault);
                    let run = hq.poll(SYNC).await;
                    match run.state {
                        End::Failed => assert_eq!(hq.figures().await["entity"], 0, "{name} {fault:?} after {place}"),
                        state => assert_eq!(state, End::Done, "{name} {fault:?} after {place}: {:?}", run.message),
                    }
                    if run.state == End::Done {
                        break;
                    }
                }
            }
            proxy.mend();
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            let all = active(&hq).await;
            assert!(all.len() >= PEOPLE - 10, "{name}: {}", all.len());
            // Then with something new each time.
            let mut number = 0;
            for place in places() {
                for fault in [Fault::Cut, Fault::Reset, Fault::Hang, Fault::Drip] {
                    number += 1;
                    directory.replace(&person(number % 40), "title", &[&format!("{name} {number}")]).await;
                    proxy.after(place, fault);
                    let run = hq.poll(SYNC).await;
                    assert!(
                        matches!(run.state, End::Failed | End::Done),
                        "{name} {fault:?} {place}: {:?}",
                        run.message
                    );
                    assert!(
                        fault != Fault::Drip || run.state == End::Done,
                        "{name}: slow is not broken, {:?}",
                        run.message
                    );
                    assert_eq!(active(&hq).await, all, "{name} {fault:?} after {place}");
                }
            }
            // The answer that names all who are there, cut: those it had not named yet are there too.
            if name == "syncrepl" {
                for place in places() {
                    proxy.mend();
                    directory.replace(&person(1), "title", &[&format!("before {place}")]).await;
                    hq.poll(SYNC).await;
                    directory.process().stop();
                    directory.restart().await;
                    directory.replace(&person(2), "title", &[&format!("after {place}")]).await;
                    proxy.cut_after(place);
                    hq.poll(SYNC).await;
                    assert_eq!(active(&hq).await, all, "the present phase, cut after {place}");
                }
            }
            // Somebody goes for good, and a whole read from another place comes to the same.
            proxy.mend();
            let victim = 44 + MODES.iter().position(|(of, _)| *of == name).unwrap(); // in no group
            directory.delete([person(victim)]).await;
            hq.poll(SYNC).await;
            hq.poll(SYNC).await;
            let unbroken = at(which, &proxy, "mode = 'paged'").await;
            unbroken.poll(SYNC).await;
            let (mut broken, whole) = (state(&hq).await, state(&unbroken).await);
            assert!(
                broken.remove(&format!("user p{victim:06}")).is_some_and(|gone| gone.starts_with("false")),
                "{name}"
            );
            assert_eq!(broken, whole, "{name}");
        }
    })
    .await;
}

/// A server that takes any bind, says nothing of itself, and answers every search with these bytes; `ID` stands for the
/// number of the request.
pub(super) struct Scripted {
    pub(super) port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The number of a request in an answer.
const ID: u8 = 0xfe;

impl Scripted {
    pub(super) async fn start(answer: &[u8]) -> Scripted {
        let answer = answer.to_vec();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 4096];
                for number in 1u8.. {
                    let Ok(1..) = stream.read(&mut buffer).await else { break };
                    // bindResponse and searchResultDone, both with success.
                    let fine = |op: u8| vec![0x30, 0x0c, 2, 1, number, op, 7, 0x0a, 1, 0, 4, 0, 4, 0];
                    let answer = match number {
                        1 => fine(0x61),
                        2 => fine(0x65),
                        _ => answer.iter().map(|byte| if *byte == ID { number } else { *byte }).collect(),
                    };
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            }
        });
        Scripted { port, task }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_whatever_a_server_answers_nobody_is_taken_for_gone() {
    /// An answer, and what is said of it.
    const ANSWERS: [(&str, &[u8], &str); 9] = [
        ("a length of a gigabyte", b"\x30\x84\x40\x00\x00\x00", "1073741824 bytes"),
        ("busy", b"\x30\x0c\x02\x01\xfe\x65\x07\x0a\x01\x33\x04\x00\x04\x00", "busy"),
        ("unavailable", b"\x30\x0c\x02\x01\xfe\x65\x07\x0a\x01\x34\x04\x00\x04\x00", "unavailable"),
        (
            "a size limit",
            b"\x30\x0c\x02\x01\xfe\x65\x07\x0a\x01\x04\x04\x00\x04\x00",
            "size limit); whoever reads needs higher limits",
        ),
        ("another server", b"\x30\x0c\x02\x01\xfe\x65\x07\x0a\x01\x0a\x04\x00\x04\x00", "referral"),
        ("a farewell", b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00", "ended the connection"),
        (
            "an end without a cookie",
            b"\x30\x0c\x02\x01\xfe\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
            "no readable page cookie",
        ),
        ("the answer to another question", b"\x30\x0c\x02\x01\x7f\x65\x07\x0a\x01\x00\x04\x00\x04\x00", "not LDAP"),
        // RFC 2696 with an empty cookie: a whole answer in good order, and nobody in it.
        (
            "nobody at all",
            b"\x30\x31\x02\x01\xfe\x65\x07\x0a\x01\x00\x04\x00\x04\x00\xa0\x23\x30\x21\x04\x161.2.840.113556.1.4.319\
              \x04\x07\x30\x05\x02\x01\x00\x04\x00",
            "",
        ),
    ];
    both(|which| async move {
        let directory = Directory::start(&ldif(PEOPLE, 5, 10)).await;
        let hq = Hq::with(which, &directory.url(), "").await;
        hq.poll(SYNC).await;
        let before = state(&hq).await;
        for (name, answer, told) in ANSWERS {
            let server = Scripted::start(answer).await;
            let other = hq.reconfigured(&format!("ldap://127.0.0.1:{}", server.port), "timeout = '500ms'");
            let run = other.poll(SYNC).await;
            assert!(matches!(run.state, End::Failed | End::Held), "{name}: {:?}", run.counts);
            assert!(run.message.as_deref().is_some_and(|message| message.contains(told)), "{name}: {:?}", run.message);
            assert_eq!(state(&hq).await, before, "{name}");
        }
        // Nobody listens, and a name that is none.
        for url in ["ldap://127.0.0.1:1", "ldap://no.such.name.invalid"] {
            let run = hq.reconfigured(url, "timeout = '2s'").poll(SYNC).await;
            assert_eq!(run.state, End::Failed, "{url}");
            assert_eq!(state(&hq).await, before, "{url}");
        }
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        assert_eq!(state(&hq).await, before);
    })
    .await;
}
