//! The story of a directory that goes away, refuses and shrinks, as somebody outside is told of it: a signed call that says
//! what to do and nothing of what a server answered, open until it is over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::support::daemon::Daemon;
use super::super::support::hook::{Hook, SECRET};
use super::super::support::http::Http;
use super::super::support::process::free_port;
use super::super::support::slapd::{BASE, Directory, PASSWORD, ldif, person};
use super::super::support::{Which, both};
use super::section;

/// A directory of the right password, the same of a wrong one, and a customer's own source.
async fn daemon(which: Which, url: &str, all: u16, exchange: u16) -> Daemon {
    let hook = |name: &str, port: u16, more: &str| {
        format!("[webhooks.{name}]\nurl = 'http://127.0.0.1:{port}/hook'\nsecret = 'whsec_{SECRET}'\n{more}\n")
    };
    let source = |name: &str, keys: &str| {
        format!("[sources.{name}]\nkind = 'ldap'\nrealm = 'agent'\nmatch = ['login']\n{keys}\n")
    };
    let config = [
        "[events]\nquiet = '100ms'\n[sources.acme]\nkind = 'push'\nrealm = 'client'\ncompany = '4711'\n".to_owned(),
        hook("ops", all, ""),
        hook("exchange", exchange, "events = ['pbx.reload_required']"),
        source("hq", &section(url, "")),
        source("wrong", &section(url, "").replace(PASSWORD, "not this one")),
    ];
    Daemon::builder(which).config(&config.concat()).start().await
}

/// The event of a source, once it is as it should be.
async fn event(api: &Http, open: bool, name: (&str, &str), is: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let all = api.get(&format!("/api/v1/events?acknowledged={}", !open)).await.expect(200);
        let mut items = all["items"].as_array().unwrap().iter();
        if let Some(event) = items.find(|event| event["topic"] == name.0 && event["subject"] == name.1 && is(event)) {
            return event.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{name:?} in {all}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn sync(daemon: &Daemon, source: &str, code: i32) -> Value {
    let done = daemon.cli(&["sync", source, "--json"]);
    assert_eq!(done.code, code, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b2_a_source_that_fails_or_waits_is_told_outside_until_that_is_over() {
    both(|which| async move {
        let (all, pbx) = (free_port(), free_port());
        let (hook, exchange) = (Hook::open(all).await, Hook::open(pbx).await);
        let mut directory = Directory::start(&ldif(30, 0, 0)).await;
        let daemon = daemon(which, &directory.url(), all, pbx).await;
        let api = daemon.http.with_token(daemon.token(&["--scope", "events"]));
        let failing = ("source.failing", "hq");
        sync(&daemon, "hq", 0);

        // Credentials that are refused are not tried on: the first time is told.
        sync(&daemon, "wrong", 1);
        event(&api, true, ("source.failing", "wrong"), |event| event["changes"] == 1).await;
        let told = hook.until(1, &daemon).await;
        assert_eq!(
            (&told[0].json()["type"], &told[0].json()["data"]["source"]),
            (&json!("source.failing"), &json!("wrong"))
        );

        // Nobody is there any more: one failure may pass, two are told, and the third is told as the same event.
        directory.process().stop();
        sync(&daemon, "hq", 1);
        sync(&daemon, "hq", 1);
        let outage = event(&api, true, failing, |event| event["changes"] == 2).await;
        let told = hook.until(2, &daemon).await;
        let data = &told[1].json()["data"];
        assert_eq!((&data["event"], &data["source"], &data["changes"]), (&outage["id"], &json!("hq"), &json!(2)));
        assert!(data["message"].as_str().unwrap().contains("`musterd sources` says why"), "{data}");
        sync(&daemon, "hq", 1);
        let told = hook.until(3, &daemon).await;
        assert_eq!((&told[2].json()["data"]["event"], &told[2].json()["data"]["changes"]), (&outage["id"], &json!(3)));
        let users = daemon.http.with_token(daemon.token(&["--scope", "api"])).get("/api/v1/users?limit=250").await;
        let users = users.expect(200);
        assert!(users["items"].as_array().unwrap().iter().all(|user| user["active"] == true), "{users}");
        let ready = daemon.http.get("/readyz?verbose").await.expect(200);
        assert_eq!(ready["events_open"]["source.failing"], 2);

        // It is back: musterd closes the event itself, and an outage of another day is another event.
        directory.restart().await;
        sync(&daemon, "hq", 0);
        let over = event(&api, false, failing, |_| true).await;
        assert_eq!((&over["id"], &over["acknowledged_by"]), (&outage["id"], &json!("source:hq")));
        directory.process().stop();
        sync(&daemon, "hq", 1);
        sync(&daemon, "hq", 1);
        let again = event(&api, true, failing, |_| true).await;
        assert!(again["id"] != outage["id"] && again["changes"] == 2, "{again}");
        directory.restart().await;
        hook.until(4, &daemon).await;

        // Too many would go: it waits, is told once however often it is read, and is over with somebody's word.
        directory.delete((0..10).map(person)).await;
        let held = sync(&daemon, "hq", 3);
        sync(&daemon, "hq", 3);
        let waits = event(&api, true, ("source.held", "hq"), |event| event["changes"] == 1).await;
        event(&api, false, failing, |event| event["id"] == again["id"]).await;
        let told = hook.until(5, &daemon).await;
        assert_eq!(told[4].json()["type"], "source.held");
        assert!(told[4].json()["data"]["message"].as_str().unwrap().contains("musterd approve RUN"), "{:?}", told[4]);
        assert_eq!(daemon.cli(&["approve", held["run"].as_str().unwrap()]).code, 0);
        let decided = event(&api, false, ("source.held", "hq"), |_| true).await;
        assert_eq!(decided["id"], waits["id"]);
        assert!(decided["acknowledged_by"].as_str().unwrap().starts_with("operator"), "{decided}");
        sync(&daemon, "hq", 0);

        // By hand, as any other.
        let wrong = event(&api, true, ("source.failing", "wrong"), |_| true).await;
        assert_eq!(daemon.cli(&["events", "acknowledge", wrong["id"].as_str().unwrap()]).code, 0);
        let left = api.get("/api/v1/events").await.expect(200);
        assert_eq!(left["items"], json!([]));

        // Genuine, and without a word of a server, an address or a person; a customer's own source hears of none of it.
        let told = hook.told();
        assert_eq!(told.len(), 5, "{told:?}");
        for told in &told {
            assert!(told.is_signed(), "{told:?}");
            for word in [PASSWORD, "not this one", "127.0.0.1", BASE, "refused", "p0000"] {
                assert!(!told.body.contains(word), "{word} in {}", told.body);
            }
        }
        assert!(exchange.told().is_empty(), "{:?}", exchange.told());
        let customer = daemon.http.with_token(daemon.token(&["--source", "acme", "--scope", "events"]));
        customer.get("/api/v1/events").await.expect(403);
        let at = format!("/api/v1/events/{}/acknowledge", wrong["id"].as_str().unwrap());
        customer.post(&at, &json!({"changes": 1})).await.expect(403);
    })
    .await;
}
