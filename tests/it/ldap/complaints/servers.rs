//! Complaints of what lies between: pointers to other servers that were chased, a second server that was never tried, one
//! that fell silent and was waited for. The numbers are those of `complaints`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapFilter, LdapResultCode};
use musterd::reconcile::End;
use tokio::net::TcpListener;

use super::super::super::support::both;
use super::super::super::support::process::free_port;
use super::super::super::support::scripted::{Asked, Say, Scripted, find};
use super::super::super::support::slapd::{BASE, Directory, Fault, Proxy, ldif};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{UNGUARDED, account, active, done, failed, people};

const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";

#[tokio::test(flavor = "multi_thread")]
async fn complaint_22_pointers_to_other_servers_are_counted_and_never_chased() {
    both(|which| async move {
        let trap = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let elsewhere = format!("ldap://127.0.0.1:{}/ou=elsewhere,{BASE}", trap.local_addr().unwrap().port());
        let caught = Arc::new(AtomicUsize::new(0));
        let counting = caught.clone();
        let watch = tokio::spawn(async move {
            while trap.accept().await.is_ok() {
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        let directory = Directory::start(&ldif(20, 1, 5)).await;
        let hq = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        for unit in ["elsewhere", "farther"] {
            let referral =
                [("objectClass", "referral"), ("objectClass", "extensibleObject"), ("ou", unit), ("ref", &elsewhere)];
            directory.add(&format!("ou={unit},{BASE}"), &referral).await;
        }
        // Something lies where nobody looked: that is not everything, and nobody is gone.
        assert!(failed(&hq).await.contains("2 pointers to other servers were not followed"));
        let ignoring = hq.reconfigured(&directory.url(), &format!("referrals = 'ignore'\n{UNGUARDED}"));
        assert_eq!(ignoring.poll(SYNC).await.run, None);

        // An Active Directory points at its own partitions all the time, and is asked not to.
        let people = [account("guid-of-eva-0001", "eva", &[]), account("guid-of-jan-0002", "jan", &[])];
        let server = Scripted::start(&[], move |asked| {
            let mut said = find(asked, &people);
            said.insert(0, Say::Pointer(elsewhere.clone()));
            said.insert(1, Say::Pointer(elsewhere.clone()));
            said
        })
        .await;
        let more = format!("preset = 'activedirectory'\nmode = 'paged'\n{UNGUARDED}");
        let domain = Hq::of(which, &section(&server.url(), &more)).await;
        done(&domain).await;
        assert_eq!(active(&domain).await, ["eva", "jan"]);
        let scoped = |asked: &Asked| {
            asked.controls.iter().any(|control| {
                matches!(control, LdapControl::Unknown { oid, criticality: false, .. } if oid == DOMAIN_SCOPE)
            })
        };
        assert!(server.asked().iter().all(scoped));
        // A whole answer that is only a pointer is none.
        server.follow(|_| vec![Say::Done(LdapResultCode::Referral, vec![])]);
        assert!(failed(&domain).await.contains("referral"));
        assert_eq!(caught.load(Ordering::SeqCst), 0, "nobody ever called there");
        watch.abort();
    })
    .await;
}

/// Passes everything on, under an address that no certificate of the directory names.
async fn elsewhere(port: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (own, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_23_the_next_server_is_tried_and_no_certificate_of_another_is_taken() {
    both(|which| async move {
        let directory = Directory::start(&ldif(20, 1, 5)).await;
        let (port, passing) = elsewhere(directory.tls_port).await;
        let source = |urls: &[String]| {
            let urls = format!("urls = {urls:?}\nca_file = '{}'\n{UNGUARDED}", directory.ca().display());
            section("x", "").replace("url = 'x'\n", &urls).replace("insecure = true\n", "")
        };
        // Nobody listens; somebody does whose certificate is for another name; and the right one.
        let dead = format!("ldaps://127.0.0.1:{}", free_port());
        let wrong = format!("ldaps://127.0.0.2:{port}");
        let right = format!("ldaps://localhost:{}", directory.tls_port);
        let hq = Hq::of(which, &source(&[dead.clone(), wrong.clone(), right])).await;
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), 20);
        let told = failed(&hq.with_source(&source(&[dead, wrong.clone()]))).await;
        assert!(told.contains("no server could be reached") && told.contains("certificate"), "{told}");
        // Where the certificate is for another name than the url for a reason, that name is asked for, and no other.
        let named = |name: &str| {
            hq.with_source(&format!(
                "tls_names = {{ '127.0.0.2' = '{name}' }}\n{}",
                source(std::slice::from_ref(&wrong))
            ))
        };
        assert_eq!(named("localhost").poll(SYNC).await.run, None);
        assert!(failed(&named("dc1.example.com")).await.contains("certificate"));
        passing.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_23_what_one_domain_controller_counted_is_nothing_to_another() {
    let root = |name: &'static str, highest: &'static str| {
        [("supportedCapabilities", "1.2.840.113556.1.4.800"), ("dsServiceName", name), ("highestCommittedUSN", highest)]
    };
    both(|which| async move {
        let of = |title, usn| {
            let eva = account("guid-of-eva-0001", "eva", &[("title", title), ("uSNChanged", usn)]);
            vec![eva, account("guid-of-jan-0002", "jan", &[("uSNChanged", usn)])]
        };
        let first = Scripted::of(&root("CN=A", "900"), of("Agent", "850")).await;
        let second = Scripted::of(&root("CN=B", "40"), of("Owner", "30")).await;
        let urls = format!("urls = ['{}', '{}']\n", first.url(), second.url());
        let more = format!("preset = 'activedirectory'\nmode = 'usn'\n{UNGUARDED}");
        let hq = Hq::of(which, &section("x", &more).replace("url = 'x'\n", &urls)).await;
        done(&hq).await;
        assert_eq!(hq.poll(SYNC).await.run, None);
        assert!(!first.asked().is_empty() && second.asked().is_empty(), "in order");
        // The first one dies. The second counts from another beginning, so that everything is read of it.
        drop(first);
        assert!(done(&hq).await.contains("another server answered"));
        assert_eq!(people(&hq).await["eva"].doc["title"], "Owner");
        assert_eq!(active(&hq).await, ["eva", "jan"]);
        second.asked();
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, count(&run, "read")), (End::Done, 0));
        let since = LdapFilter::GreaterOrEqual("usnchanged".to_owned(), "41".to_owned());
        let since = |asked: &Asked| matches!(&asked.search.filter, LdapFilter::And(parts) if parts.contains(&since));
        assert!(second.asked().iter().all(since), "and from then on by its own count");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_27_a_server_that_falls_silent_or_drips_is_not_waited_for_for_ever() {
    both(|which| async move {
        let directory = Directory::start(&ldif(400, 2, 5)).await;
        let proxy = Proxy::start(directory.port).await;
        let text = section(&proxy.url(), UNGUARDED);
        let hq = Hq::of(which, &text).await;
        let hasty = hq.with_source(&format!("timeout = '300ms'\n{text}"));
        done(&hq).await;
        for bytes in [0, 14, 2_000, 40_000] {
            proxy.after(bytes, Fault::Hang);
            assert!(failed(&hasty).await.contains("no answer within 300ms"), "after {bytes} bytes");
        }
        // It always says a little, in time: then the run as a whole has an end.
        proxy.after(0, Fault::Drip);
        let hurried = hq.with_source(&format!("deadline = '400ms'\n{text}"));
        assert!(failed(&hurried).await.contains("longer than its deadline"));
        proxy.mend();
        assert_eq!(hq.poll(SYNC).await.run, None);

        // Whoever gave up hangs up: the server works for nobody.
        let server = Scripted::start(&[], |_| vec![Say::Silence]).await;
        let silent = hq.with_source(&section(&server.url(), &format!("timeout = '200ms'\n{UNGUARDED}")));
        failed(&silent).await;
        server.until_left().await;
    })
    .await;
}
