//! Identity providers as they are: what each of them sends, from its connection test to rehire and deletion, goes to the
//! running daemon, and the answers are held against what that provider demands. The requests are data
//! (`tests/conformance`, whose README says how a file is read); they are only replayed here. A file is played to its
//! end, and all its differences are told. Start with `replay`; what a difference is stands in `demand`.

mod demand;
mod script;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;

use self::script::{Kept, Script, Step};
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, Http, answer};
use crate::support::{Which, both};

const BASE: &str = "/scim/v2";

/// The source as an operator configures it for this provider.
fn config(provider: &str) -> String {
    format!(
        r#"
[sources.{provider}]
kind = "scim"
realm = "agent"
guard = {{ percent = 100, count = 1000 }}
scim.preset = "{provider}"
"#
    )
}

/// Plays the file of one provider on both databases.
async fn replay(provider: &'static str) {
    let script = Script::load(provider);
    both(|which| play(provider, &script, which)).await;
}

async fn play(provider: &str, script: &Script, which: Which) {
    let daemon = Daemon::builder(which).config(&config(provider)).start().await;
    let http = daemon.http.with_token(daemon.token(&["--source", provider, "--scope", "scim"]));
    let mut kept = Kept::default();
    let mut differing = Vec::new();
    for (at, step) in script.steps.iter().enumerate() {
        let faults = match step.filled(&kept) {
            Ok(step) => run(&http, &step, &mut kept).await,
            Err(fault) => vec![fault],
        };
        if !faults.is_empty() {
            differing.push(format!("{}. {}: {}\n     {}", at + 1, step.say, step.send, faults.join("\n     ")));
        }
    }
    let count = script.steps.len();
    eprintln!("{provider} on {which:?}: {} of {count} steps as demanded", count - differing.len());
    assert!(
        differing.is_empty(),
        "{provider} on {which:?}: {} of {count} steps differ\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// Sends what the step says and tells every way in which the answers are not the demanded ones.
async fn run(http: &Http, step: &Step, kept: &mut Kept) -> Vec<String> {
    let mut faults = Vec::new();
    // All of them are under way before the first answer is awaited.
    let sent: Vec<_> = step
        .bodies()
        .into_iter()
        .map(|body| {
            let (http, step) = (http.clone(), step.clone());
            tokio::spawn(async move { send(&http, &step, body).await })
        })
        .collect();
    for sent in sent {
        match sent.await.expect("the request was sent") {
            Ok(answer) => faults.extend(demand::judge(step, &answer, kept)),
            Err(fault) => faults.push(fault),
        }
    }
    faults
}

async fn send(http: &Http, step: &Step, body: Option<String>) -> Result<Answer, String> {
    let (method, path) = step.send.split_once(' ').ok_or("`send` is a method, a blank and a path")?;
    let method: Method = method.parse().map_err(|_| format!("`{method}` is no method"))?;
    let mut http = http.clone();
    if step.header(AUTHORIZATION.as_str()) {
        http.token = None;
    }
    let mut request = http.request(method, &format!("{BASE}{path}"));
    if body.is_some() && !step.header(CONTENT_TYPE.as_str()) {
        request = request.header(CONTENT_TYPE, "application/scim+json");
    }
    for (name, text) in &step.headers {
        request = request.header(name, text);
    }
    Ok(answer(request.body(body.unwrap_or_default())).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_entra_is_served_from_its_test_to_rehire() {
    replay("entra").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_okta_is_served_from_its_test_to_rehire() {
    replay("okta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_onelogin_is_served_from_its_test_to_rehire() {
    replay("onelogin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_jumpcloud_is_served_from_its_test_to_rehire() {
    replay("jumpcloud").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_google_is_served_from_its_test_to_rehire() {
    replay("google").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_ping_is_served_from_its_test_to_rehire() {
    replay("ping").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_authentik_is_served_from_its_test_to_rehire() {
    replay("authentik").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_keycloak_is_served_from_its_test_to_rehire() {
    replay("keycloak").await;
}

#[test]
fn every_file_is_replayed_and_says_what_must_not_happen() {
    let folder = std::fs::read_dir(script::folder()).expect("tests/conformance");
    let files = folder.map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let me = include_str!("replay.rs");
    for file in files {
        let provider = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(me.contains(&format!("    replay(\"{provider}\").await;")), "nobody replays {provider}.json");
        let script = Script::load(provider);
        assert!(script.steps.iter().any(|step| step.expect >= 400), "{provider}.json refuses nothing");
        let asks = |step: &Step| step.has.as_ref().is_some_and(Value::is_object);
        assert!(
            script.steps.iter().filter(|step| asks(step)).count() >= 12,
            "{provider}.json looks at too few answers"
        );
    }
}
