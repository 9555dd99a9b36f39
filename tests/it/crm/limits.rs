//! Stories of jobs that push records: what a line may hold, whose word a bound source may speak, what waits for approval
//! beside other pushes. On both databases. How lines are read is tested in `src/http/api/records`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::both;
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, Http};

const SOURCES: &str = r#"
[sources.crm]
kind = "push"
realm = "client"
guard = { percent = 5, count = 1 }
[sources.acme]
kind = "push"
realm = "client"
company = "4711"
"#;

async fn push(job: &Http, source: &str, query: &str, lines: &[Value]) -> Answer {
    let body = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
    let path = format!("/api/v1/sources/{source}/records{query}");
    job.send_text(Method::POST, &path, "application/x-ndjson", body).await
}

fn job(daemon: &Daemon, source: &str) -> Http {
    daemon.http.with_token(daemon.token(&["--source", source, "--scope", "records:push"]))
}

fn contact(key: &str, title: &str) -> Value {
    json!({"kind": "contact", "key": key, "attributes": {"displayName": title}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_text_that_one_database_cannot_hold_is_refused_alone_by_both() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(SOURCES).start().await;
        let crm = job(&daemon, "crm");
        let company = |key: &str, number: &str| {
            json!({"kind": "company", "key": key, "attributes": {"displayName": "C", "number": number}})
        };
        let lines = [
            contact("c1", "Eva"),
            contact("c2", "a\0b"),
            contact("c\0", "Key"),
            json!({"kind": "contact", "key": "c3", "attributes": {"shoe": "own word \0"}}),
            json!({"kind": "contact", "key": "c4", "attributes": {"displayName": "D"},
                   "relations": {"works_for": [{"number": "9\0"}]}}),
            contact("c5", "Adam"),
            company("k1", "47\0"),
        ];
        let answer = push(&crm, "crm", "", &lines).await.expect(200);
        assert_eq!((&answer["state"], &answer["counts"]["create"]), (&json!("done"), &json!(2)), "{answer}");
        let told = answer.to_string();
        for place in ["attributes.displayName", "key", "attributes.shoe", "relations.works_for", "attributes.number"] {
            assert!(told.contains(place), "{place}: {told}");
        }

        let api = daemon.http.with_token(daemon.token(&["--scope", "api", "--scope", "visibility"]));
        let desk = daemon.http.with_token(daemon.token(&["--scope", "credentials:verify"]));
        for path in ["/api/v1/users?email=%00", "/api/v1/companies?number=%00"] {
            assert_eq!(api.get(path).await.expect(400)["code"], json!("bad_text"), "{path}");
        }
        for question in [json!({"user": "a\0", "ticket": "t"}), json!({"user": "a", "ticket": "t\0"})] {
            api.post("/api/v1/visibility/check", &question).await.expect(400);
        }
        let login = json!({"realm": "client", "login": "a\0", "password": "wrong"});
        desk.post("/api/v1/credentials/verify", &login).await.expect(400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_lines_hold_no_control_characters_and_no_key_twice() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(SOURCES).start().await;
        let crm = job(&daemon, "crm");
        let bad = [
            r#"{"kind":"contact","key":"a","attributes":{"displayName":"A\r\nBcc: x"}}"#,
            r#"{"kind":"user","key":"b","attributes":{"userName":"b\nx","displayName":"B"}}"#,
            r#"{"kind":"user","key":"c","attributes":{"userName":"c","emails":[{"value":"a@b\r\nBcc: x@y"}]}}"#,
            r#"{"kind":"contact","key":"d","key":"e","attributes":{}}"#,
            r#"{"kind":"contact","key":"f\u0007","attributes":{}}"#,
        ];
        let fine = r#"{"kind":"contact","key":"z","attributes":{"displayName":"Z","Note":"two\nlines","note":"n"}}"#;
        let body = format!("{}\n{fine}\n", bad.join("\n"));
        let path = "/api/v1/sources/crm/records";
        let answer = crm.send_text(Method::POST, path, "application/x-ndjson; charset=utf-8", body.clone()).await;
        let answer = answer.expect(200);
        assert_eq!((&answer["faulty"], &answer["counts"]["create"]), (&json!(5), &json!(1)), "{answer}");
        let whats: Vec<&str> = answer["faults"].as_array().unwrap().iter().filter_map(|f| f["what"].as_str()).collect();
        let expected = ["attributes.displayName", "attributes.userName", "attributes.emails.value", "line", "key"];
        assert_eq!(whats, expected);
        crm.send_text(Method::POST, path, "application/x-ndjson;charset=latin1", body).await.expect(415);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_bound_source_brings_its_own_people_and_nothing_that_shadows_others() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(SOURCES).start().await;
        let (crm, acme) = (job(&daemon, "crm"), job(&daemon, "acme"));
        let company = |number: &str| {
            json!({"kind": "company", "key": number, "attributes": {"displayName": number, "number": number}})
        };
        let ticket = |number: &str, contact: &str| {
            json!({"kind": "ticket", "key": number, "attributes": {"number": number, "title": "x"},
                   "relations": {"concerns": [contact]}})
        };
        let all = [company("4711"), company("4712"), contact("c2", "Other"), ticket("T2", "c2")];
        push(&crm, "crm", "", &all).await.expect(200);

        let user = |key: &str, relations: Value| {
            json!({"kind": "user", "key": key, "attributes": {"userName": key, "displayName": key},
                   "relations": relations})
        };
        let lines = [
            company("4711"),
            company("4712"),
            contact("mc", "Mallory"),
            ticket("T2", "mc"),
            ticket("T77", "mc"),
            user("m1", json!({"pairing": [{"display": "Other"}]})),
            user("m2", json!({"belongs_to": [{"number": "4712"}]})),
            user("m3", json!({"belongs_to": [{"number": "4711"}]})),
        ];
        let answer = push(&acme, "acme", "", &lines).await.expect(200);
        assert_eq!(answer["counts"], json!({"read": 8, "refused": 7, "create": 1}), "{answer}");
        let api = daemon.http.with_token(daemon.token(&["--scope", "api", "--scope", "visibility"]));
        for number in ["4711", "4712"] {
            let page = api.get(&format!("/api/v1/companies?number={number}")).await.expect(200);
            assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
        }
        let mine = api.get("/api/v1/users?login=m3").await.expect(200);
        let id = mine["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{mine}")).to_owned();
        let check = api.post("/api/v1/visibility/check", &json!({"user": id, "ticket": "T2"})).await.expect(200);
        assert_eq!(check["visible"], json!(false), "{check}");

        // R59: a login that is taken is told, and not whose it is.
        push(&crm, "crm", "", &[user("theirs", json!({}))]).await.expect(200);
        let answer = push(&acme, "acme", "", &[user("theirs", json!({}))]).await.expect(200);
        assert_eq!(answer["refused"][0]["reason"], json!("login `theirs` is taken"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_what_is_held_waits_while_pushes_of_other_things_pass() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(SOURCES).start().await;
        let crm = job(&daemon, "crm");
        let contacts: Vec<Value> = (0..6).map(|n| contact(&format!("c{n}"), "C")).collect();
        push(&crm, "crm", "", &contacts).await.expect(200);
        let empty = [json!({"end": true, "count": 0})];
        let held = push(&crm, "crm", "?scope=whole&kinds=contact", &empty).await.expect(202);
        let run = held["run"].as_str().unwrap().to_owned();
        let ticket = json!({"kind": "ticket", "key": "t", "attributes": {"number": "zz"}});
        push(&crm, "crm", "", &[ticket]).await.expect(200);
        push(&crm, "crm", "", &[contact("new", "N")]).await.expect(200);
        let approved = daemon.cli(&["approve", &run, "--json"]);
        assert_eq!(approved.code, 0, "{approved:?}");
        let approved: Value = serde_json::from_str(&approved.stdout).unwrap();
        assert_eq!(approved["counts"]["disable"], json!(6), "{approved}");

        // Somebody of the held ones is said to be there: what was held no longer stands.
        push(&crm, "crm", "", &contacts).await.expect(200);
        let held = push(&crm, "crm", "?scope=whole&kinds=contact", &empty).await.expect(202);
        push(&crm, "crm", "", &contacts[3..4]).await.expect(200);
        let late = daemon.cli(&["approve", held["run"].as_str().unwrap()]);
        assert!(late.code == 1 && late.stderr.contains("superseded"), "{late:?}");
    })
    .await;
}
