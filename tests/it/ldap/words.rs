//! What an operator reads of a directory: tables that stay tables whatever a cell holds, and a server's own words without
//! anything that a terminal obeys, and without the password.

use std::fmt::Write as _;

use serde_json::Value;
use tempfile::TempDir;

use super::super::support::daemon::{Daemon, Done, cli};
use super::super::support::slapd::{BASE, Directory, PASSWORD, ldif, person};
use super::super::support::{Which, both, postgres};
use super::faults::Scripted;
use super::section;

/// A daemon with the source `hq`; `more`: its keys, and sections of it.
async fn daemon(which: Which, url: &str, more: &str) -> Daemon {
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

/// What docs/directories.md recommends, and what it warns of.
#[tokio::test(flavor = "multi_thread")]
async fn a5_whoever_has_no_title_gets_the_default_and_an_expression_names_what_it_missed() {
    both(|which| async move {
        let mut text = ldif(2, 0, 0);
        let _ = write!(
            text,
            "dn: uid=new,ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: new\ncn: New\nsn: New\ngivenName: New\n\
             mail: new@example.com\n\n"
        );
        let directory = Directory::start(&text).await;
        let rules = "[sources.hq.users.map]\ntitle = { from = 'title', default = 'staff' }\npreferredLanguage = false\n\
                     'enterprise.costCenter' = { value = '4711' }\n\
                     userType = { from = '= employeeType | lower', optional = true }\n";
        let daemon = daemon(which, &directory.url(), rules).await;
        let plan = daemon.cli(&["plan", "hq"]);
        assert!(plan.code == 2 && !plan.stdout.contains("refused user"), "{plan:?}");
        for part in ["title: \"staff\"", "title: \"Consultant\"", "4711"] {
            assert!(plan.stdout.contains(part), "{part} in {}", plan.stdout);
        }
        let config = std::fs::read_to_string(daemon.config_file()).unwrap();
        let file = daemon.folder().join("strict.toml");
        let config = config.replace("{ from = 'title', default = 'staff' }", "\"= title or 'staff'\"");
        // Of its own: no daemon, and another store.
        let config = config.replace("control.sock", "other.sock").replace("musterd.db", "other.db");
        std::fs::write(&file, config).unwrap();
        let plan = cli(&file, &[], &["plan", "hq"]);
        assert!(plan.stdout.contains("there is no `title`"), "{plan:?}");
    })
    .await;
}

/// A configuration without a daemon, with a store of its own.
struct Alone {
    folder: TempDir,
    store: String,
}

impl Alone {
    async fn new(which: Which) -> Alone {
        let folder = tempfile::tempdir().unwrap();
        let store = match which {
            Which::Sqlite => format!("sqlite:{}", folder.path().join("m.db").display()),
            Which::Postgres => postgres::create(None).await.url,
        };
        Alone { folder, store }
    }

    /// `more`: further keys of the source.
    fn cli(&self, url: &str, more: &str, arguments: &[&str]) -> Done {
        let (at, file, store) = (self.folder.path().display(), self.folder.path().join("m.toml"), &self.store);
        let source = section(url, more).replace("[users", "[sources.hq.users");
        let text = format!(
            "server.control = '{at}/control.sock'\nstore.url = '{store}'\n\
             [sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{source}"
        );
        std::fs::write(&file, text).unwrap();
        cli(&file, &[], arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_before_the_first_read_says_what_will_come_of_it() {
    both(|which| async move {
        let directory = Directory::start(&ldif(3, 1, 2)).await;
        let (alone, url) = (Alone::new(which).await, directory.url());
        for (more, code, told, plan_code, plan_told) in [
            ("", 0, "users: finds somebody", 2, "read 4"),
            (
                "groups.enabled = false\n[users]\nfilter = '(uid=nobody)'",
                0,
                "the filter (uid=nobody) finds nobody",
                0,
                "read 0",
            ),
            (
                "[users]\nbase = 'ou=nowhere,dc=example,dc=com'",
                1,
                "(no such object), which is the base of users: ou=nowhere,dc=example,dc=com",
                1,
                "which is the base of users: ou=nowhere,dc=example,dc=com",
            ),
            ("[users]\nbase = 'dc=example,,x'", 1, "base of users: dc=example,,x", 1, "base of users: dc=example,,x"),
            (
                "groups.enabled = false\n[users]\nkey = 'employeeType'",
                0,
                "has no `employeetype`: set users.key",
                4,
                "refused user: uid=p000000,ou=people,dc=example,dc=com: it has no employeetype",
            ),
            ("ca_file = '/no/such/ca.pem'", 1, "the CA file /no/such/ca.pem cannot be used", 1, "/no/such/ca.pem"),
        ] {
            let check = alone.cli(&url, more, &["check"]);
            assert!(check.code == code && check.stdout.contains(told), "{more}: {check:?}");
            let plan = alone.cli(&url, more, &["plan", "hq"]);
            assert!(plan.code == plan_code && format!("{plan:?}").contains(plan_told), "{more}: {plan:?}");
            assert_eq!(plan_code == 1, !plan.stdout.contains("digest"), "{plan:?}");
        }
        let json = alone.cli(&url, "groups.filter = '(cn=none)'", &["check", "--json"]);
        let told: Value = serde_json::from_str(&json.stdout).unwrap();
        let searches = &told["connections"]["hq"]["searches"];
        assert_eq!((&searches[0]["search"], &searches[0]["finds"]), (&Value::from("users"), &Value::from(true)));
        assert!(searches[1]["warning"].as_str().is_some_and(|text| text.contains("(cn=none) finds nobody")), "{told}");
        let empty = alone.cli(&url, "", &["sync", "hq", "--expect", ""]);
        assert_eq!(empty.code, 64, "{empty:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_relations_are_shown_by_the_names_in_them() {
    both(|which| async move {
        let mut text = ldif(3, 1, 2);
        let _ = write!(
            text,
            "dn: cn=unique,ou=groups,{BASE}\nobjectClass: groupOfUniqueNames\ncn: unique\nuniqueMember: {}#'0101'B\n\
         uniqueMember: {}\n\n",
            person(1),
            person(2)
        );
        let directory = Directory::start(&text).await;
        let (alone, url) = (Alone::new(which).await, directory.url());
        let plan = alone.cli(&url, "", &["plan", "hq"]);
        assert!(plan.stdout.contains("member: p000000, p000001") && !plan.stdout.contains("alias:"), "{plan:?}");
        assert!(plan.stdout.contains("member: p000001, p000002"), "{plan:?}");
        let group = alone.cli(&url, "", &["map", "test", "hq", &format!("cn=unique,ou=groups,{BASE}")]);
        assert!(group.stdout.contains("member: p000001, p000002"), "{group:?}");
        let eva = alone.cli(&url, "", &["map", "test", "hq", &person(0)]);
        assert!(eva.stdout.contains("manager: (none)") && !eva.stdout.contains("Whole"), "{eva:?}");
    })
    .await;
}
