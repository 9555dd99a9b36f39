//! The story of a directory on a schedule, as the operator sees it: read at once, shown, paused, read by hand all the same,
//! and taken up again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::support::both;
use super::super::support::daemon::Daemon;
use super::super::support::slapd::{Directory, ldif, person};
use super::section;

fn source(daemon: &Daemon) -> Value {
    let done = daemon.cli(&["sources", "--json"]);
    let all: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    all.as_array().unwrap().iter().find(|source| source["source"] == "hq").unwrap().clone()
}

pub(super) async fn until(daemon: &Daemon, done: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let source = source(daemon);
        if done(&source) {
            return source;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{source}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a3_a_source_is_shown_paused_read_by_hand_and_taken_up_again() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(30, 2, 5)).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\nschedule = '* * * * *'\n{}[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n",
            section(&directory.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        // Never read before: due at once.
        let first = until(&daemon, |source| source["state"] == "done").await;
        assert_eq!((&first["counts"]["create"], &first["paused"]), (&json!(32), &json!(false)));
        assert!(first["message"].as_str().is_some_and(|how| how.starts_with("syncrepl")), "{first}");
        assert!(first["next_at"].is_string() && first["age_seconds"].is_i64());

        let paused = daemon.cli(&["pause", "hq"]);
        assert_eq!((paused.code, paused.stdout.trim()), (0, "hq is paused"), "{paused:?}");
        assert!(daemon.cli(&["sources"]).stdout.contains("paused"));
        assert_eq!(source(&daemon)["next_at"], Value::Null);
        directory.replace(&person(1), "title", &["Owner"]).await;
        let by_hand = daemon.cli(&["sync", "hq", "--json"]);
        let report: Value = serde_json::from_str(&by_hand.stdout).unwrap();
        assert_eq!((by_hand.code, &report["counts"]["update"]), (0, &json!(1)));
        assert_eq!(source(&daemon)["paused"], true, "reading it does not resume it");

        let api = daemon.http.with_token(daemon.token(&["--scope", "sync"]));
        let listed = api.get("/api/v1/sources").await.expect(200);
        assert_eq!(listed["items"][0]["source"], "hq");
        api.post("/api/v1/sources/hq/resume", &Value::Null).await.expect(200);
        assert_eq!(source(&daemon)["paused"], false);
        api.post("/api/v1/sources/idp/pause", &Value::Null).await.expect(404);
        let other = daemon.http.with_token(daemon.token(&["--scope", "api"]));
        other.get("/api/v1/sources").await.expect(403);
        for (name, told) in [("idp", "has no schedule"), ("nobody", "there is no source")] {
            let refused = daemon.cli(&["pause", name]);
            assert!(refused.code == 64 && refused.stderr.contains(told), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a3_a_source_that_left_the_configuration_is_not_forgotten() {
    both(|which| async move {
        let directory = Directory::start(&ldif(5, 1, 2)).await;
        let of = |name: &str| {
            let keys = section(&directory.url(), "");
            format!("[sources.{name}]\nkind = 'ldap'\nrealm = 'agent'\nmatch = ['login']\n{keys}\n")
        };
        let mut daemon = Daemon::builder(which).config(&of("hq")).start().await;
        assert_eq!(daemon.cli(&["sync", "hq"]).code, 0);
        let config = std::fs::read_to_string(daemon.config_file()).unwrap();
        std::fs::write(daemon.config_file(), config.replace("[sources.hq]", "[sources.branch]")).unwrap();
        daemon.process().stop();
        daemon.restart().await;
        let told = source(&daemon);
        assert_eq!(told["state"], "not configured", "{told}");
        assert!(daemon.cli(&["sources"]).stdout.contains("nobody reads it any more"));
    })
    .await;
}

#[tokio::test]
async fn a5_one_entry_is_shown_on_its_way_through_the_mapping() {
    both(|which| async move {
        let directory = Directory::start(&ldif(5, 1, 2)).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{}[sources.hq.users.map]\ntitle = \"= title or 'staff'\"\n\
             [sources.idp]\nkind = 'scim'\nrealm = 'agent'\n",
            section(&directory.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        let shown = daemon.cli(&["map", "test", "hq", &person(1)]);
        assert_eq!(shown.code, 0, "{shown:?}");
        for part in [
            "user: found by (objectClass=inetOrgPerson)",
            "givenname",
            "= title or 'staff'",
            "title: \"Consultant\"",
            "userName: \"p000001\"",
            "group: not found by",
        ] {
            assert!(shown.stdout.contains(part), "{part} in {}", shown.stdout);
        }
        let json = daemon.cli(&["map", "test", "hq", &person(1), "--json"]);
        let trials: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(trials[0]["record"]["Present"]["attributes"]["title"], "Consultant");
        let nobody = daemon.cli(&["map", "test", "hq", "uid=nobody,dc=example,dc=com"]);
        assert!(nobody.code == 1 && nobody.stderr.contains("no search finds"), "{nobody:?}");
        let other = daemon.cli(&["map", "test", "idp", "x"]);
        assert!(other.code == 64 && other.stderr.contains("is no directory"), "{other:?}");
        let nothing = daemon.cli(&["runs", "--json"]);
        assert!(!nothing.stdout.contains("\"source\":\"hq\""), "{nothing:?}");
    })
    .await;
}

#[tokio::test]
async fn a3_a_live_directory_is_read_when_it_tells_of_a_change() {
    both(|which| async move {
        let mut directory = Directory::syncing(&ldif(20, 2, 5)).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\nschedule = '0 0 1 Jan *'\nlive = true\n{}",
            section(&directory.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        until(&daemon, |source| source["state"] == "done").await;
        let title = async |wanted: &str| {
            let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
            let start = Instant::now();
            loop {
                let page = api.get("/api/v1/users?limit=250").await.expect(200);
                let mut users = page["items"].as_array().unwrap().iter();
                let user = users.find(|user| user["attributes"]["userName"] == "p000001").unwrap();
                if user["attributes"]["title"] == wanted {
                    return;
                }
                assert!(start.elapsed() < Duration::from_mins(1), "{user}\n{}", daemon.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        for wanted in ["Owner", "Director"] {
            directory.replace(&person(1), "title", &[wanted]).await;
            title(wanted).await;
        }
        // A server that went away is listened to again.
        directory.process().stop();
        directory.restart().await;
        directory.replace(&person(1), "title", &["Founder"]).await;
        title("Founder").await;
        let runs: Value = serde_json::from_str(&daemon.cli(&["runs", "--json"]).stdout).unwrap();
        assert_eq!(runs["runs"].as_array().unwrap().len(), 4, "one a change: {runs}");
    })
    .await;
}
