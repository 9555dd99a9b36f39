//! The story of a run that should not have been: half of the directory is hidden by mistake, somebody approves what the guard
//! held, and takes it back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::support::both;
use super::super::support::daemon::Daemon;
use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::schedule::until;
use super::section;

fn told(daemon: &Daemon, code: i32, arguments: &[&str]) -> Value {
    let done = daemon.cli(&[arguments, &["--json"]].concat());
    assert_eq!(done.code, code, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
}

/// Every account as the API shows it, without its version and times.
async fn people(daemon: &Daemon) -> BTreeMap<String, Value> {
    let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
    let page = api.get("/api/v1/users?limit=250").await.expect(200);
    let one = |user: &Value| {
        let kept = ["id", "attributes", "active", "blocked", "state"].map(|name| user[name].clone());
        (user["attributes"]["userName"].as_str().unwrap().to_owned(), Value::Array(kept.to_vec()))
    };
    page["items"].as_array().unwrap().iter().map(one).collect()
}

#[tokio::test]
async fn b3_an_approved_mistake_is_taken_back() {
    both(|which| async move {
        let directory = Directory::start(&ldif(30, 2, 10)).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\nschedule = '0 0 1 1 *'\n{}",
            section(&directory.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        until(&daemon, |source| source["state"] == "done").await;
        let before = people(&daemon).await;
        assert_eq!(before.len(), 30);

        directory.delete((0..15).map(person)).await;
        directory.replace(&person(20), "title", &["Owner"]).await;
        directory
            .add(
                &format!("uid=new,ou=people,{BASE}"),
                &[
                    ("objectClass", "inetOrgPerson"),
                    ("uid", "new"),
                    ("cn", "New"),
                    ("sn", "New"),
                    ("givenName", "N"),
                    ("mail", "new@x.cz"),
                ],
            )
            .await;
        let held = told(&daemon, 3, &["sync", "hq"]);
        let run = held["run"].as_str().unwrap();
        let waiting = daemon.cli(&["undo", run]);
        assert!(waiting.code == 1 && waiting.stderr.contains("is held"), "{waiting:?}");
        let approved = told(&daemon, 0, &["approve", run]);
        assert_eq!(approved["counts"]["disable"], 15);
        assert_ne!(people(&daemon).await, before);

        let shown = told(&daemon, 2, &["undo", run, "--plan"]);
        assert_eq!((&shown["state"], &shown["counts"]["enable"]), (&json!("planned"), &json!(15)));
        assert_ne!(people(&daemon).await, before, "a preview changes nothing");
        let done = daemon.cli(&["undo", run]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.contains("hq is paused") && done.stdout.contains("enable 15"), "{done:?}");
        assert_eq!(people(&daemon).await, before);
        let sources = told(&daemon, 0, &["sources"]);
        assert_eq!((&sources[0]["paused"], &sources[0]["next_at"]), (&json!(true), &Value::Null));
        let runs = told(&daemon, 0, &["runs"]);
        assert_eq!((&runs["runs"][0]["kind"], &runs["runs"][0]["counts"]["enable"]), (&json!("undo"), &json!(15)));
        let shown = told(&daemon, 0, &["run", runs["runs"][0]["id"].as_str().unwrap()]);
        assert_eq!(shown["changes"][0]["actor"], "operator:cli");
        // Nothing is left of it, and nothing is invented.
        assert_eq!(told(&daemon, 0, &["undo", run, "--plan"])["counts"], json!({}));
        for (wrong, code, reason) in
            [("7", 64, "is no run's id"), ("01a0c450-6c0a-7118-b0d3-641a68f94a69", 1, "does not exist")]
        {
            let refused = daemon.cli(&["undo", wrong]);
            assert!(refused.code == code && refused.stderr.contains(reason), "{refused:?}");
        }
        // The directory still says the same, and the guard asks again.
        assert_eq!(told(&daemon, 3, &["sync", "hq"])["state"], "held");
    })
    .await;
}
