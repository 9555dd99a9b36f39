//! Stories of events (R37): whatever brings, changes or takes away an agent of a telephone exchange, the exchange's own
//! server is told once for all of it, by a signed call, and the event stays until somebody acknowledges it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::support::both;
use super::support::daemon::{Daemon, Which};
use super::support::hook::{Hook, SECRET, Told};
use super::support::http::Http;
use super::support::process::free_port;

const AGENT: &str = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";
async fn start(which: Which, port: u16, quiet: &str) -> Daemon {
    let config = format!(
        "[events]\nquiet = \"{quiet}\"\n[webhooks.exchange]\nurl = \"http://127.0.0.1:{port}/hook\"\n\
         secret = \"whsec_{SECRET}\"\ntimeout = \"2s\"\n\
         [sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n[sources.feed]\nkind = \"push\"\nrealm = \"agent\"\n"
    );
    Daemon::builder(which).config(&config).start().await
}

fn agent(login: &str, pbx: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", AGENT],
        "userName": login, "emails": [{"value": login}], "name": {"givenName": "Jan", "familyName": "Novák"},
        AGENT: {"pbx": pbx},
    })
}

async fn open(api: &Http) -> Vec<Value> {
    api.get("/api/v1/events").await.expect(200)["items"].as_array().unwrap().clone()
}

/// The open event of an exchange, once it stands for so many changes.
async fn event(api: &Http, pbx: &str, changes: i64) -> Value {
    let start = Instant::now();
    loop {
        let all = open(api).await;
        if let Some(event) = all.iter().find(|event| event["subject"] == pbx && event["changes"] == changes) {
            return event.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn r37_many_changes_are_one_signed_event_for_each_exchange_until_it_is_acknowledged() {
    both(async |which| {
        let port = free_port();
        let exchange = Hook::open(port).await;
        let daemon = start(which, port, "3s").await;
        let scim = daemon.http.with_token(daemon.token(&["--source", "idp", "--scope", "scim"]));
        let api = daemon.http.with_token(daemon.token(&["--scope", "events"]));

        // Made, changed, moved to another exchange, deleted: three changes of one exchange, two of the other.
        let eva = scim.post("/scim/v2/Users", &agent("eva@example.com", "North")).await.expect(201);
        let path = format!("/scim/v2/Users/{}", eva["id"].as_str().unwrap());
        let patch = |path: &str, value: Value| {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "path": path, "value": value}]});
            let (scim, at) = (scim.clone(), eva["id"].as_str().unwrap().to_owned());
            async move { scim.patch(&format!("/scim/v2/Users/{at}"), &body).await.expect(200) }
        };
        patch("displayName", json!("Eva")).await;
        patch("displayName", json!("Eva")).await;
        patch(&format!("{AGENT}:pbx"), json!("South")).await;
        assert_eq!(scim.delete(&path).await.status, 204);
        // Nobody's exchange.
        let mut ota = agent("ota@example.com", "x");
        ota[AGENT] = json!({"note": "no telephone"});
        scim.post("/scim/v2/Users", &ota).await.expect(201);

        let told = exchange.until(2, &daemon).await;
        let mut said: Vec<Value> = told.iter().map(|told| told.json()["data"].clone()).collect();
        said.sort_by_key(|data| data["pbx"].to_string());
        let short = |data: &Value| (data["pbx"].clone(), data["changes"].clone());
        assert_eq!(
            said.iter().map(short).collect::<Vec<_>>(),
            [(json!("North"), json!(3)), (json!("South"), json!(2))]
        );
        for told in &told {
            assert!(told.is_signed(), "{told:?}");
            assert_eq!(told.json()["type"], "pbx.reload_required");
            assert!(!told.body.contains("eva"), "no word about anybody: {}", told.body);
        }

        // Told is not acknowledged: it stands in every status.
        let north = event(&api, "North", 3).await;
        assert_eq!((&north["topic"], &north["acknowledged"]), (&json!("pbx.reload_required"), &Value::Null));
        let start = Instant::now();
        while event(&api, "North", 3).await["deliveries"][0]["told"] != 3 {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        let ready = daemon.http.get("/readyz?verbose").await.expect(200);
        assert_eq!(ready["events_open"], json!({"pbx.reload_required": 2, "source.failing": 0, "source.held": 0}));
        let listed = daemon.cli(&["events", "list"]);
        assert!(listed.stdout.contains("North") && listed.stdout.contains("exchange 3"), "{listed:?}");

        // More comes: the same event is told again, and who knows of the first three closes nothing.
        let zoe = scim.post("/scim/v2/Users", &agent("zoe@example.com", " north ")).await;
        zoe.expect(201);
        let told = exchange.until(3, &daemon).await;
        assert_eq!(short(&told[2].json()["data"]), (json!("North"), json!(4)));
        assert_eq!(told[2].json()["data"]["event"], north["id"]);
        let at = format!("/api/v1/events/{}/acknowledge", north["id"].as_str().unwrap());
        let late = api.post(&at, &json!({"changes": 3})).await.expect(409);
        assert_eq!((&late["code"], &late["changes"]), (&json!("changed_since"), &json!(4)));
        let closed = api.post(&at, &json!({"changes": 4})).await.expect(200);
        assert!(
            closed["acknowledged"].is_string() && closed["acknowledged_by"].as_str().unwrap().starts_with("token:")
        );
        assert_eq!(api.post(&at, &json!({"changes": 4})).await.expect(200), closed, "again changes nothing");
        let by_hand = daemon.cli(&["events", "acknowledge", event(&api, "South", 2).await["id"].as_str().unwrap()]);
        assert_eq!(by_hand.code, 0, "{by_hand:?}");
        assert_eq!(open(&api).await, Vec::<Value>::new());
        let kept = api.get("/api/v1/events?acknowledged=true").await.expect(200);
        assert_eq!(kept["items"].as_array().unwrap().len(), 2);

        // The next change is another event.
        scim.delete(&format!("/scim/v2/Users/{}", zoe.json()["id"].as_str().unwrap())).await;
        let next = event(&api, "north", 1).await;
        assert_ne!(next["id"], north["id"]);
        let told = exchange.until(4, &daemon).await;
        assert_eq!(told[3].json()["data"]["event"], next["id"]);
        assert_eq!(told.len(), 4, "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn r37_r49_the_operator_and_pushed_records_raise_it_too_and_an_exchange_that_is_down_is_told_later() {
    both(async |which| {
        let port = free_port();
        let mut daemon = start(which, port, "100ms").await;
        let feed = daemon.http.with_token(daemon.token(&["--source", "feed", "--scope", "records:push"]));
        let api = daemon.http.with_token(daemon.token(&["--scope", "api,events"]));
        let line = |n: usize| {
            let login = format!("p{n}@example.com");
            json!({"kind": "user", "key": login, "attributes": {"userName": login, "emails": [{"value": login}],
                "name": {"givenName": "P", "familyName": "N"}, AGENT: {"pbx": "west"}}})
        };
        let lines = (0..1200).map(|n| line(n).to_string()).collect::<Vec<_>>().join("\n");
        let push = feed.send_text(Method::POST, "/api/v1/sources/feed/records", "application/x-ndjson", lines).await;
        push.expect(200);
        let west = event(&api, "west", 1200).await;

        // Nobody listens there: the reason stands in the status, and a restart forgets nothing.
        let start = Instant::now();
        while event(&api, "west", 1200).await["deliveries"][0]["error"].is_null() {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", daemon.log());
        }
        daemon.process().kill();
        let exchange = Hook::open(port).await;
        exchange.down(true);
        daemon.restart().await;
        exchange.until(1, &daemon).await;
        exchange.down(false);
        let told = exchange.until(2, &daemon).await;
        assert_eq!(told[1].id, told[0].id, "the same content has the same id");
        assert_eq!(
            told[1].json()["data"],
            json!({"pbx": "west", "changes": 1200, "event": west["id"],
            "raised": west["raised"]})
        );
        assert!(told.iter().all(Told::is_signed));

        // Deleted by the operator (R49), blocked by the operator: one more each.
        let made = api
            .post(
                "/api/v1/users",
                &json!({"realm": "agent", "attributes": {
            "userName": "op@example.com", "emails": [{"value": "op@example.com"}],
            "name": {"givenName": "O", "familyName": "P"}, AGENT: {"pbx": "east"}}}),
            )
            .await
            .expect(201);
        let path = format!("/api/v1/users/{}", made["id"].as_str().unwrap());
        api.patch(&path, &json!({"blocked": true})).await.expect(200);
        api.patch(&path, &json!({"blocked": true})).await.expect(200);
        assert!(api.delete(&path).await.status < 300);
        event(&api, "east", 3).await;

        // Who may not, learns nothing.
        let other = daemon.http.with_token(daemon.token(&["--scope", "api"]));
        other.get("/api/v1/events").await.expect(403);
        let reader = daemon.http.with_token(daemon.token(&["--scope", "events:read"]));
        let at = format!("/api/v1/events/{}/acknowledge", west["id"].as_str().unwrap());
        reader.post(&at, &json!({"changes": 1200})).await.expect(403);
        api.post("/api/v1/events/nothing/acknowledge", &json!({"changes": 1})).await.expect(404);
        api.post(&at, &json!({})).await.expect(400);
    })
    .await;
}

/// Takes a call and never answers.
async fn hang(port: u16) -> JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    })
}

#[tokio::test]
async fn r37_an_exchange_that_hangs_holds_up_no_other_and_no_end() {
    let (good, bad) = (free_port(), free_port());
    let (exchange, hanging) = (Hook::open(good).await, hang(bad).await);
    let hook = |name: &str, port: u16| {
        format!(
            "[webhooks.{name}]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = \"whsec_{SECRET}\"\ntimeout = \"60s\"\n"
        )
    };
    let config = format!(
        "[events]\nquiet = \"100ms\"\n{}{}[sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\n",
        hook("a", bad),
        hook("b", good)
    );
    let mut daemon = Daemon::builder(Which::Sqlite).config(&config).start().await;
    let scim = daemon.http.with_token(daemon.token(&["--source", "idp", "--scope", "scim"]));
    let api = daemon.http.with_token(daemon.token(&["--scope", "events"]));
    for (number, pbx) in ["North", "South", "West"].into_iter().enumerate() {
        let login = format!("{pbx}@example.com");
        scim.post("/scim/v2/Users", &agent(&login, pbx)).await.expect(201);
        event(&api, pbx, 1).await;
        exchange.until(number + 1, &daemon).await;
    }
    let start = Instant::now();
    assert!(daemon.process().stop().is_some_and(|status| status.success()));
    assert!(start.elapsed() < Duration::from_secs(8), "{}", daemon.log());
    hanging.abort();
}
