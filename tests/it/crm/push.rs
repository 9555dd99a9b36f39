//! Jobs that push NDJSON into the running daemon, on both databases: whole and partial pushes, faults per line, bodies that
//! break off, foreign tokens, and what a client sees through what was pushed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::both;
use crate::support::daemon::{Daemon, Which};
use crate::support::http::{Answer, Http};

const NDJSON: &str = "application/x-ndjson";
const CONFIG: &str = "[sources.feed]\nkind = 'push'\nrealm = 'client'\n[sources.feed.map.contact]\ndisplayName = 'full'\n\
                      [sources.other]\nkind = 'push'\nrealm = 'client'\n[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n";

struct Job {
    http: Http,
    ask: Http,
}

impl Job {
    async fn start(which: Which) -> (Daemon, Job) {
        let daemon = Daemon::builder(which).config(CONFIG).start().await;
        let http = daemon.http.with_token(daemon.token(&["--source", "feed", "--scope", "records:push"]));
        let ask = daemon.http.with_token(daemon.token(&["--scope", "visibility:read"]));
        (daemon, Job { http, ask })
    }

    async fn push(&self, query: &str, lines: &[Value]) -> Answer {
        let body = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.text(query, &body).await
    }

    async fn text(&self, query: &str, body: &str) -> Answer {
        self.http.send_text(Method::POST, &format!("/api/v1/sources/feed/records{query}"), NDJSON, body).await
    }

    /// Pushes and expects that every line was taken.
    async fn take(&self, query: &str, lines: &[Value]) -> Value {
        let answer = self.push(query, lines).await.expect(200);
        assert_eq!((&answer["faulty"], &answer["refused"]), (&json!(0), &json!([])), "{answer}");
        answer
    }

    async fn sees(&self, ticket: &str) -> bool {
        let asked = json!({"user": "jana", "ticket": ticket});
        let answer = self.ask.post("/api/v1/visibility/check", &asked).await.expect(200);
        answer["visible"].as_bool().unwrap()
    }
}

fn company(key: &str) -> Value {
    json!({"kind": "company", "key": key, "attributes": {"displayName": key, "number": key}})
}

fn contact(key: &str, company: &str) -> Value {
    json!({
        "kind": "contact", "key": key, "relations": {"works_for": [company]},
        "attributes": {"displayName": key, "active": true, "emails": [{"value": format!("{key}@x.cz")}]},
    })
}

fn ticket(key: &str, contact: &str) -> Value {
    json!({
        "kind": "ticket", "key": key, "relations": {"concerns": [contact]},
        "attributes": {"number": key, "title": key, "status": "open", "created": "2026-11-20T08:00:00Z"},
    })
}

fn client(pairing: &Value) -> Value {
    let flags = json!({"companyTickets": true});
    json!({
        "kind": "user", "key": "u1", "relations": {"pairing": pairing},
        "attributes": {
            "userName": "jana", "displayName": "Jana", "active": true,
            "urn:musterd:params:scim:schemas:extension:client:2.0:User": flags,
        },
    })
}

fn end(count: usize) -> Value {
    json!({"end": true, "count": count})
}

#[tokio::test]
async fn a4_r12_r18_what_jobs_push_decides_who_sees_which_ticket() {
    both(|which| async move {
        let (_daemon, job) = Job::start(which).await;
        // The ticket comes before its contact, the pairing by an address: what is missing is waited for.
        job.take("", &[ticket("T1", "c1"), client(&json!([{"email": "c1@x.cz"}]))]).await;
        assert!(!job.sees("T1").await);
        let lines = [company("K1"), company("K2"), contact("c1", "K1"), contact("c2", "K1"), ticket("T2", "c2")];
        let answer = job.take("", &lines).await;
        assert_eq!((&answer["state"], &answer["lines"]), (&json!("done"), &json!(5)), "{answer}");
        assert!(job.sees("T1").await && job.sees("T2").await);

        let again = job.take("", &lines).await;
        assert_eq!((&again["run"], &again["counts"]["same"]), (&Value::Null, &json!(5)), "{again}");

        // c2 moves away, and with it T2.
        job.take("", &[contact("c2", "K2")]).await;
        assert!(job.sees("T1").await && !job.sees("T2").await);
        // c1 is merged into c2: the pairing follows the survivor.
        let mut merged = contact("c1", "K1");
        merged["relations"]["merged_into"] = json!(["c2"]);
        job.take("", &[merged]).await;
        assert!(job.sees("T2").await, "through the survivor");
        // Pairings are 0..n.
        job.take("", &[client(&json!([]))]).await;
        assert!(!job.sees("T1").await && !job.sees("T2").await);
        job.take("", &[client(&json!({"add": ["c2"]}))]).await;
        assert!(job.sees("T2").await);
        // The source lets go of one ticket.
        job.take("", &[json!({"kind": "ticket", "key": "T9", "gone": true})]).await;
        assert!(job.sees("T2").await);
    })
    .await;
}

#[tokio::test]
async fn a4_b2_a_whole_push_needs_its_end_and_obeys_the_guard() {
    both(|which| async move {
        let (_daemon, job) = Job::start(which).await;
        let all: Vec<Value> = (0..40).map(|number| company(&format!("K{number}"))).collect();
        let mut whole = all.clone();
        whole.push(end(40));
        assert_eq!(job.take("?scope=whole", &whole).await["counts"]["create"], 40);

        // Without the end, with a wrong end, with lines behind it: nothing happens.
        for (lines, part) in [
            (all[..37].to_vec(), "ends with"),
            ([&all[..37], &[end(40)]].concat(), "counts 40 lines, 37 came"),
            ([&all[..37], &[end(37)], &all[37..38]].concat(), "after the end"),
        ] {
            let answer = job.push("?scope=whole", &lines).await;
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            let problem = answer.expect(400);
            assert_eq!(problem["code"], "incomplete");
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        }
        // A preview says what would go; three of forty may.
        let fewer = [&all[..37], &[end(37)]].concat();
        let planned = job.push("?scope=whole&plan=true", &fewer).await.expect(200);
        assert_eq!(
            (&planned["state"], planned["changes"].as_array().unwrap().len()),
            (&json!("planned"), 3),
            "{planned}"
        );
        let expected = planned["digest"].as_str().unwrap();
        job.push(&format!("?scope=whole&expect={}", "0".repeat(64)), &fewer).await.expect(409);
        job.take(&format!("?scope=whole&expect={expected}"), &fewer).await;
        // Twenty of 37 may not: the run waits for approval.
        let held = job.push("?scope=whole", &[&all[..17], &[end(17)]].concat()).await.expect(202);
        assert_eq!(held["state"], "held", "{held}");
        assert_eq!((&held["stops"][0]["what"], &held["stops"][0]["losses"]), (&json!("company"), &json!(20)));
        // A part alone says nothing of the rest; of kinds that a whole push does not speak of neither.
        job.take("", &all[..1]).await;
        job.take("?scope=whole&kinds=contact", &[contact("c1", "K1"), end(1)]).await;
        let again = job.take("?scope=whole", &fewer).await;
        assert_eq!(again["counts"]["same"], 37, "{again}");
    })
    .await;
}

#[tokio::test]
async fn a4_faults_are_told_line_by_line_and_the_other_lines_are_taken() {
    both(|which| async move {
        let (_daemon, job) = Job::start(which).await;
        let long = format!(
            "{{\"kind\": \"company\", \"key\": \"K9\", \"attributes\": {{\"displayName\": \"{}\"}}}}",
            "x".repeat(300_000)
        );
        let raw = json!({"kind": "contact", "key": "r1", "raw": {"full": "Raw Eva"}});
        let body = format!(
            "{}\n\nnonsense\n{long}\n{}\n{raw}\n{}\n",
            company("K1"),
            json!({"kind": "contact", "key": "c1", "attributes": {"active": "yes", "password": "x"}, "more": 1}),
            company("K2"),
        );
        let answer = job.text("", &body).await.expect(200);
        assert_eq!(
            (&answer["lines"], &answer["faulty"], &answer["counts"]["create"]),
            (&json!(6), &json!(3), &json!(3))
        );
        let places: Vec<(u64, &str)> = answer["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| (fault["line"].as_u64().unwrap(), fault["what"].as_str().unwrap()))
            .collect();
        let expected = [(3, "line"), (4, "line"), (5, "more"), (5, "attributes.active"), (5, "attributes.password")];
        assert_eq!(places, expected);
        assert!(answer["faults"][3]["allowed"] == "true or false", "{answer}");

        // In a whole push a record that could not be read counts as present.
        let broken = json!({"kind": "company", "key": "K1", "attributes": {"number": 1}});
        let answer = job.push("?scope=whole&kinds=company", &[broken, company("K2"), end(2)]).await.expect(200);
        assert_eq!((&answer["faulty"], &answer["run"]), (&json!(1), &Value::Null), "K1 stays: {answer}");
    })
    .await;
}

#[tokio::test]
async fn a4_a_body_that_breaks_off_changes_nothing() {
    both(|which| async move {
        let (daemon, job) = Job::start(which).await;
        job.take("", &[company("K0")]).await;
        let token = daemon.token(&["--source", "feed", "--scope", "records:push"]);
        for scope in ["only", "whole"] {
            let lines = format!("{}\n{}\n", company("K1"), company("K2"));
            let mut stream = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
            let head = format!(
                "POST /api/v1/sources/feed/records?scope={scope} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
                 Authorization: Bearer {token}\r\nContent-Type: {NDJSON}\r\nContent-Length: {}\r\n\r\n",
                daemon.port,
                lines.len() + 50,
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(lines.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            // Told, or simply hung up on: the sender is half gone.
            drop(stream.read_to_string(&mut answer));
            assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        }
        // The place is free again, and only K0 is there.
        let planned = job.push("?scope=whole&kinds=company&plan=true", &[company("K0"), end(1)]).await.expect(200);
        assert_eq!((&planned["counts"]["same"], &planned["changes"]), (&json!(1), &json!([])), "{planned}");
    })
    .await;
}

#[tokio::test]
async fn a4_only_the_sources_own_token_pushes_and_only_ndjson() {
    let (mut daemon, job) = Job::start(Which::Sqlite).await;
    let path = "/api/v1/sources/feed/records";
    let body = format!("{}\n", company("K1"));
    let send = |http: Http, path: &'static str, kind: &'static str| {
        let body = body.clone();
        async move { http.send_text(Method::POST, path, kind, body).await }
    };
    assert_eq!(send(daemon.http.with_token("x"), path, NDJSON).await.status, 401);
    let token = daemon.token(&["--source", "other", "--scope", "records:push"]);
    let other = daemon.http.with_token(token.clone());
    send(other, path, NDJSON).await.expect(404);
    let reads = daemon.http.with_token(daemon.token(&["--scope", "visibility:read"]));
    assert_eq!(send(reads, path, NDJSON).await.expect(403)["code"], "insufficient_scope");
    send(job.http.clone(), path, "application/json").await.expect(415);
    assert_eq!(job.text("?scope=all", &body).await.expect(400)["code"], "bad_query");
    assert_eq!(job.text("?kinds=person", &body).await.expect(400)["code"], "bad_query");
    job.text("", &body).await.expect(200);

    // The token is older than the word that the source is another one's.
    let file = daemon.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[sources.other]\nkind = 'push'", "[sources.other]\nkind = 'scim'")).unwrap();
    daemon.process().stop();
    daemon.restart().await;
    let other = daemon.http.with_token(token);
    assert_eq!(send(other, "/api/v1/sources/other/records", NDJSON).await.expect(409)["code"], "not_pushed");
}
