//! The demo as a visitor meets it: started, tried with what it prints, stopped with Ctrl-C, and nothing left behind.

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::http::Http;

/// Ends the demo as Ctrl-C does, also when the story fails.
struct Demo(std::process::Child);

impl Demo {
    fn interrupt(&mut self) -> bool {
        let _ = Command::new("sh").args(["-c", &format!("kill -s INT {}", self.0.id())]).status();
        self.0.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.interrupt();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a3_a4_a6_a7_the_demo_does_what_it_prints() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_musterd"))
        .args(["demo", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let output = child.stdout.take().expect("piped");
    let mut demo = Demo(child);
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufReader::new(output).read_line(&mut line).map(|_| line)
    });
    let line = tokio::time::timeout(Duration::from_mins(1), line).await.expect("up in time").unwrap().unwrap();
    let all: Value = serde_json::from_str(&line).expect("one line of JSON");
    let text = |key: &str| all[key].as_str().unwrap_or_else(|| panic!("no {key} in {line}")).to_owned();
    let scim = Http::new(text("scim_url")).with_token(text("scim_token"));
    let api = Http::new(text("api_url")).with_token(text("api_token"));

    // Somebody by LDAP, somebody by SCIM, somebody from the CRM.
    let config = text("config");
    let why = super::support::daemon::cli(Path::new(&config), &[], &["why", "user", "eva.dvorakova", "displayName"]);
    assert!(why.code == 0 && why.stdout.contains("Eva Dvořáková") && why.stdout.contains("hq"), "{why:?}");
    let pushed = scim.post("/Users", &json!({"userName": "nora.push", "displayName": "Nora"})).await.expect(201);
    assert_eq!(
        scim.get("/Users?filter=userName%20eq%20%22NORA.push%22").await.expect(200)["Resources"][0]["id"],
        pushed["id"]
    );
    let contacts = api.get("/contacts?limit=250").await.expect(200);
    assert!(contacts["items"].as_array().is_some_and(|items| items.len() == 8), "{contacts}");

    // A ticket, and why it is seen.
    let question = json!({"user": text("client"), "ticket": text("ticket")});
    let answer = api.post("/visibility/check", &question).await.expect(200);
    assert_eq!((&answer["visible"], &answer["because"]["reason"]), (&json!(true), &json!("company_tickets")));

    // The invitation's link sets a password that the check accepts.
    let invitation = json!({"email": "jana.nova@customer.example", "given_name": "Jana", "family_name": "Nová",
                            "language": "cs", "role": "Member", "company": text("company")});
    api.post("/invitations", &invitation).await.expect(201);
    let link = link_in(&text("mail_url")).await;
    let page = Http::new(link);
    let fields = [("password", "dlouhé heslo pro Janu"), ("repeat", "dlouhé heslo pro Janu")];
    let done = page.request(reqwest::Method::POST, "").form(&fields).send().await.unwrap();
    assert!(done.status().is_success(), "{done:?}");
    let login = json!({"login": "jana.nova@customer.example", "password": fields[0].1, "realm": "client"});
    assert_eq!(api.post("/credentials/verify", &login).await.expect(200)["valid"], json!(true));

    assert!(demo.interrupt(), "Ctrl-C is a good end");
    assert!(!Path::new(&config).parent().is_some_and(Path::exists), "nothing is left behind");
}

/// The link of the first mail in the catcher.
async fn link_in(catcher: &str) -> String {
    let catcher = Http::new(catcher.trim_end_matches('/'));
    for _ in 0..100 {
        let mails = catcher.get("/mails").await.expect(200).to_string();
        if let Some(start) = mails.find("/invite/") {
            let from = mails[..start].rfind("http").expect("a whole link");
            let end = mails[start..].find(['"', ' ', '\\', '<']).expect("its end");
            return mails[from..start + end].to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no invitation was mailed");
}
