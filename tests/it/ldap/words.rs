//! What an operator reads of a directory: tables that stay tables whatever a cell holds, and a server's own words without
//! anything that a terminal obeys, and without the password.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::support::both;
use super::super::support::daemon::Daemon;
use super::super::support::slapd::{BASE, Directory, PASSWORD, ldif, person};
use super::faults::Scripted;
use super::section;

/// A daemon with the source `hq`; `more`: its keys, and sections of it.
async fn daemon(which: super::super::support::Which, url: &str, more: &str) -> Daemon {
    let config = format!("[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{}", section(url, more));
    Daemon::builder(which).config(&config).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_may_hold_more_than_a_terminal_shows() {
    both(|which| async move {
        let mut text = ldif(3, 0, 0);
        let long = "x".repeat(70_000);
        let _ = write!(
            text,
            "dn: uid=long,ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: long\ncn: Long\nsn: Long\ngivenName: Long\n\
             mail: long@example.com\ndescription: {long}\n\ndn: cn=all,ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: all\n"
        );
        for n in 0..2500 {
            let _ = writeln!(text, "member: {}", person(n));
        }
        let directory = Directory::start(&text).await;
        let daemon = daemon(which, &directory.url(), "[sources.hq.users.map]\n'agent.note' = 'description'\n").await;
        let plan = daemon.cli(&["plan", "hq"]);
        assert_eq!(plan.code, 2, "{}", plan.stderr);
        assert!(plan.stdout.contains("agent.note: \"xxx") || plan.stdout.contains("note: \"xxx"), "{}", plan.stdout);
        for command in [
            &["map", "test", "hq", &format!("uid=long,ou=people,{BASE}")][..],
            &["map", "test", "hq", &format!("cn=all,ou=groups,{BASE}")],
            &["sync", "hq"],
            &["sources"],
            &["runs"],
        ] {
            let done = daemon.cli(command);
            assert_eq!(done.code, 0, "{command:?}: {}", done.stderr);
            assert!(done.stdout.lines().all(|line| line.chars().count() < 2000), "{command:?}");
        }
        let whole = daemon.cli(&["runs", "--json"]);
        let runs: Value = serde_json::from_str(&whole.stdout).unwrap();
        let run = runs["runs"][0]["id"].as_str().unwrap();
        let shown = daemon.cli(&["run", run]);
        assert!(shown.code == 0 && shown.stdout.contains('…'), "{}", shown.stderr);
        assert!(daemon.cli(&["run", run, "--json"]).stdout.contains(&long), "whole for programs");
    })
    .await;
}

/// `searchResultDone` of a result code, with the server's words.
pub(super) fn done(code: u8, words: &str) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], &length[..], content].concat()
    };
    let result = [&[0x0a, 1, code, 4, 0][..], &element(4, words.as_bytes())].concat();
    element(0x30, &[&[2, 1, 0xfe][..], &element(0x65, &result)].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_the_words_of_a_server_are_short_plain_and_never_the_password() {
    both(|which| async move {
        let words = format!("\u{1b}[31mno\u{7}\nmusterd: all is well {PASSWORD} {}", "y".repeat(70_000));
        let server = Scripted::start(&done(53, &words)).await;
        let url = format!("ldap://127.0.0.1:{}", server.port);
        let daemon = daemon(which, &url, "mode = 'paged'\ntimeout = '2s'\n").await;
        let failed = daemon.cli(&["sync", "hq"]);
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.stderr.contains("unwilling") && failed.stderr.contains("\\u{1b}[31mno"), "{failed:?}");
        let mut told = vec![failed.stdout, failed.stderr];
        for command in [&["sources"][..], &["runs"], &["sources", "--json"], &["runs", "--json"], &["plan", "hq"]] {
            let done = daemon.cli(command);
            assert_eq!(done.code, i32::from(command[0] == "plan"), "{command:?}: {done:?}");
            told.extend([done.stdout, done.stderr]);
        }
        for told in told {
            assert!(!told.contains(['\u{1b}', '\u{7}']) && !told.contains(PASSWORD), "{told}");
            assert!(!told.contains("\nmusterd: all is well"), "{told}");
            assert!(told.lines().all(|line| line.len() < 3000), "{}", told.len());
        }
        assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
    })
    .await;
}
