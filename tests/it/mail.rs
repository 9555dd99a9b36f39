//! Stories of invitations and credentials: outbox, SMTP under STARTTLS, the page behind the link, the check. The mail
//! server is the demo's catcher, so that a story reads the very mail that went over the wire.
//! Rendering is tested in `src/mail`, the delivery's accidents in `src/tasks/deliver.rs`.

use std::time::{Duration, Instant};

use musterd::demo::mail::{Catcher, Mail, Options};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{Answer, Http, answer};
use crate::support::{Which, both};

const AGENT: &str = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";
const GOOD: &str = "tichá voda břehy mele";
const FORM: &str = "application/x-www-form-urlencoded";

/// A daemon with a mail catcher, a pushing source of clients that are invited, and a token of the operator.
struct Desk {
    daemon: Daemon,
    catcher: Catcher,
    api: Http,
    crm: Http,
    _folder: tempfile::TempDir,
}

async fn desk(which: Which, more: &str) -> Desk {
    let catcher = Catcher::start(Options::default()).await.expect("a mail catcher");
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &catcher.authority).expect("a certificate");
    let config = format!(
        "[mail]\nhost = '127.0.0.1'\nport = {}\nfrom = 'desk@example.test'\nca_file = '{}'\nlanguage = 'en'\n\
         product = 'Žluťák'\n\n{}\n{more}",
        catcher.smtp.port(),
        authority.display(),
        COMMON,
    );
    let daemon = Daemon::builder(which).config(&config).start().await;
    let (api, crm) = tokens(&daemon);
    Desk { daemon, catcher, api, crm, _folder: folder }
}

const COMMON: &str = "[credentials.argon2]\nmemory_kib = 64\npasses = 1\n\n\
                      [sources.crm]\nkind = 'push'\nrealm = 'client'\ninvite = true\n";

fn tokens(daemon: &Daemon) -> (Http, Http) {
    let scopes = "api:read,invitations:write,password:write,credentials:verify";
    let api = daemon.http.with_token(daemon.token(&["--scope", scopes]));
    let crm = daemon.http.with_token(daemon.token(&["--source", "crm", "--scope", "records:push"]));
    (api, crm)
}

async fn push(http: &Http, source: &str, lines: &[Value]) -> Answer {
    let body = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let path = format!("/api/v1/sources/{source}/records");
    http.send_text(Method::POST, &path, "application/x-ndjson", body).await
}

fn company(key: &str) -> Value {
    json!({"kind": "company", "key": key, "attributes": {"number": key, "displayName": format!("Firma {key}"), "active": true}})
}

fn client(key: &str, email: Option<&str>, language: &str) -> Value {
    let emails: Vec<Value> = email.into_iter().map(|email| json!({"value": email, "primary": true})).collect();
    json!({
        "kind": "user", "key": key,
        "attributes": {"userName": key, "displayName": format!("Klient {key}"), "emails": emails,
            "preferredLanguage": language, "active": true},
        "relations": {"belongs_to": ["acme"]},
    })
}

impl Desk {
    /// The mails to an address, once there are `count` of them.
    async fn mails(&self, to: &str, count: usize) -> Vec<Mail> {
        let start = Instant::now();
        loop {
            let mails: Vec<Mail> =
                self.catcher.mails().into_iter().filter(|mail| mail.to.iter().any(|found| found == to)).collect();
            if mails.len() >= count {
                return mails;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{} of {count} mails to {to}\n{}",
                mails.len(),
                self.daemon.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The path of the link in the newest mail to an address.
    async fn link(&self, to: &str, count: usize) -> String {
        let mails = self.mails(to, count).await;
        let link = mails.last().and_then(Mail::link).expect("a link in the mail");
        link.strip_prefix(&self.daemon.http.base).expect("the configured address").to_owned()
    }

    async fn form(&self, path: &str, password: &str, repeat: &str) -> Answer {
        let body = reqwest::Url::parse_with_params("http://x/", [("password", password), ("repeat", repeat)]);
        let body = body.expect("a query").query().unwrap_or_default().to_owned();
        self.daemon.http.send_text(Method::POST, path, FORM, body).await
    }

    async fn verify(&self, realm: &str, login: &str, password: &str) -> Answer {
        let ask = json!({"realm": realm, "login": login, "password": password});
        self.api.post("/api/v1/credentials/verify", &ask).await
    }

    async fn invite(&self, email: &str, company: &str) -> Value {
        let ask = json!({"email": email, "given_name": "Žofie", "family_name": "Nová", "language": "cs",
            "role": "Moderator", "company": company});
        self.api.post("/api/v1/invitations", &ask).await.expect(201)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r91_r64_r2_a_new_person_of_a_source_is_invited_and_can_log_in() {
    both(|which| async move {
        let desk = desk(which, "").await;
        push(
            &desk.crm,
            "crm",
            &[company("acme"), client("eva", Some("eva@acme.test"), "cs"), client("jan", None, "cs")],
        )
        .await
        .expect(200);
        let link = desk.link("eva@acme.test", 1).await;
        let mail = &desk.mails("eva@acme.test", 1).await[0];
        assert_eq!(mail.header("content-language"), Some("cs"));
        assert!(mail.subject.contains("Firma acme"), "{}", mail.subject);
        assert!(mail.html.contains(">Přijmout pozvánku</a>"), "{}", mail.html);
        for _ in 0..2 {
            let page = desk.daemon.http.get(&link).await;
            assert_eq!(page.status, 200, "{}", page.text);
            assert!(page.text.contains("<html lang=\"cs\">") && page.text.contains("eva"), "{}", page.text);
            assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(page.header("cache-control"), Some("no-store"));
            assert!(
                page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
            );
            assert_eq!(answer(desk.daemon.http.request(Method::HEAD, &link)).await.status, 200);
        }
        let weak = desk.form(&link, "kratke", "kratke").await;
        assert_eq!(weak.status, 422);
        assert!(weak.text.contains("alespoň 15 znaků"), "{}", weak.text);
        assert_eq!(desk.form(&link, GOOD, "jine").await.status, 422);
        let (one, other) = tokio::join!(desk.form(&link, GOOD, GOOD), desk.form(&link, GOOD, GOOD));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 410], "{} {}", one.text, other.text);
        let again = desk.daemon.http.get(&link).await;
        assert_eq!(again.status, 410);
        assert!(again.text.contains("už byl použit"), "{}", again.text);

        let right = desk.verify("client", "EVA", GOOD).await.expect(200);
        assert_eq!(right["valid"], json!(true));
        let refused = desk.verify("client", "eva", "not the password").await;
        assert_eq!(refused.status, 403);
        for (realm, login, password) in
            [("agent", "eva", GOOD), ("client", "nobody", GOOD), ("client", "jan", GOOD), ("client", "eva", "")]
        {
            let other = desk.verify(realm, login, password).await;
            assert_eq!((other.status, &other.text), (refused.status, &refused.text), "{realm} {login}");
        }
        assert!(!desk.daemon.log().contains(link.rsplit('/').next().unwrap()), "the secret is in the log");
        assert!(!desk.daemon.log().contains(GOOD));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r61_r62_r81_an_invitation_makes_one_account_and_adds_companies_to_it() {
    both(|which| async move {
        let desk = desk(which, "").await;
        push(&desk.crm, "crm", &[company("acme"), company("beta")]).await.expect(200);
        let bad =
            desk.api.post("/api/v1/invitations", &json!({"email": "a b", "role": "Boss", "language": "tlh"})).await;
        let faults = bad.expect(400)["faults"].as_array().cloned().unwrap_or_default();
        let fields: Vec<&str> = faults.iter().filter_map(|fault| fault["field"].as_str()).collect();
        assert_eq!(fields, ["email", "given_name", "family_name", "company", "role", "language"]);

        let first = desk.invite("zofie@acme.test", "acme").await;
        assert_eq!(
            (&first["state"], &first["role"], &first["mail"]),
            (&json!("pending"), &json!("Moderator"), &json!("queued"))
        );
        let link = desk.link("zofie@acme.test", 1).await;
        assert_eq!(desk.form(&link, GOOD, GOOD).await.status, 200);
        let path = format!("/api/v1/invitations/{}", first["id"].as_str().unwrap());
        let accepted = desk.api.get(&path).await.expect(200);
        assert_eq!(accepted["state"], json!("accepted"));
        let user = accepted["user"].clone();
        assert!(user.is_string());
        assert_eq!(desk.verify("client", "zofie@acme.test", GOOD).await.expect(200)["user"], user);

        let second = desk.invite("ZOFIE@acme.test", "beta").await;
        let link = desk.link("ZOFIE@acme.test", 1).await;
        let page = desk.daemon.http.get(&link).await;
        assert!(page.text.contains("už účet máte"), "{}", page.text);
        assert_eq!(desk.form(&link, "a wrong password", "").await.status, 403);
        assert_eq!(desk.form(&link, GOOD, "").await.status, 200);
        let path = format!("/api/v1/invitations/{}", second["id"].as_str().unwrap());
        assert_eq!(desk.api.get(&path).await.expect(200)["user"], user, "no second account");
        let list = desk.api.get("/api/v1/invitations?company=beta").await.expect(200);
        assert_eq!(list["invitations"].as_array().map(Vec::len), Some(1));

        // R85: the person leaves with the invitation, and the account with its last company.
        assert_eq!(desk.api.delete(&path).await.status, 204);
        assert_eq!(desk.verify("client", "zofie@acme.test", GOOD).await.status, 200);
        let path = format!("/api/v1/invitations/{}", first["id"].as_str().unwrap());
        assert_eq!(desk.api.delete(&path).await.status, 204);
        assert_eq!(desk.verify("client", "zofie@acme.test", GOOD).await.status, 403);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_s17_what_was_sent_again_or_revoked_is_dead() {
    both(|which| async move {
        let desk = desk(which, "").await;
        push(&desk.crm, "crm", &[company("acme")]).await.expect(200);
        let first = desk.invite("eva@acme.test", "acme").await;
        let old = desk.link("eva@acme.test", 1).await;
        let path = format!("/api/v1/invitations/{}", first["id"].as_str().unwrap());
        let second = desk.api.post(&format!("{path}/resend"), &json!({})).await.expect(200);
        let new = desk.link("eva@acme.test", 2).await;
        assert_ne!(old, new);
        assert_eq!(desk.daemon.http.get(&old).await.status, 410);
        assert_eq!(desk.form(&old, GOOD, GOOD).await.status, 410);
        assert_eq!(desk.daemon.http.get(&new).await.status, 200);
        assert_eq!(desk.api.get(&path).await.expect(200)["state"], json!("superseded"));

        // Inviting again is sending again: one open invitation per address and company.
        desk.invite("EVA@acme.test", "acme").await;
        assert_eq!(desk.daemon.http.get(&new).await.status, 410);
        let path = format!("/api/v1/invitations/{}", second["id"].as_str().unwrap());
        assert_eq!(desk.api.delete(&path).await.status, 409);
        let third = desk.link("EVA@acme.test", 1).await;
        let list = desk.api.get("/api/v1/invitations").await.expect(200);
        let newest = list["invitations"][0]["id"].as_str().unwrap();
        assert_eq!(desk.api.delete(&format!("/api/v1/invitations/{newest}")).await.status, 204);
        let page = desk.form(&third, GOOD, GOOD).await;
        assert_eq!(page.status, 410);
        let unknown = desk.daemon.http.get(&format!("/invite/{}", "A".repeat(43))).await;
        assert_eq!(unknown.status, 404);
        assert_eq!(desk.daemon.http.get("/invite/x").await.status, 404);
        let stranger = desk.daemon.http.get(&third.replace("/invite/", "/password/")).await;
        assert_eq!(stranger.status, 404, "a link opens only its own page");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_r57_r11_r51_credentials_by_mail_or_returned_once() {
    both(|which| async move {
        let desk = desk(which, "[sources.staff]\nkind = 'push'\nrealm = 'agent'\n").await;
        let staff = desk.daemon.http.with_token(desk.daemon.token(&["--source", "staff", "--scope", "records:push"]));
        let person = |key: &str, emails: Value| {
            json!({"kind": "user", "key": key, "attributes": {"userName": key, "displayName": key, "active": true,
                "name": {"givenName": "Petr", "familyName": "Malý"}, "emails": emails, AGENT: {"twoFactor": key == "two"}}})
        };
        let mails = json!([{"value": "petr@x.test"}]);
        push(&staff, "staff", &[person("petr", mails.clone()), person("two", mails)]).await.expect(200);
        push(&desk.crm, "crm", &[company("acme"), client("nomail", None, "en"), client("eva", Some("eva@acme.test"), "en")])
            .await
            .expect(200);
        let id = |answer: Value| answer["user"].as_str().unwrap_or_default().to_owned();

        // The set-password link is used for the first password of eva, and tells her id.
        let link = desk.link("eva@acme.test", 1).await;
        assert_eq!(desk.form(&link, GOOD, GOOD).await.status, 200);
        let eva = id(desk.verify("client", "eva", GOOD).await.expect(200));
        let path = format!("/api/v1/users/{eva}/credentials");
        let made = desk.api.post(&path, &json!({})).await.expect(200);
        let password = made["password"].as_str().expect("returned once").to_owned();
        assert_eq!(desk.verify("client", "eva", GOOD).await.status, 403);
        assert_eq!(desk.verify("client", "eva", &password).await.expect(200)["must_change"], json!(true));
        let weak = desk.api.post(&path, &json!({"password": "x"})).await.expect(422);
        assert_eq!(weak["broken"], json!(["too_short", "common"]));

        // R51: the person itself, at any time.
        let ask = json!({"realm": "client", "login": "eva", "password": password});
        let changed = desk.api.post("/api/v1/credentials/change", &ask).await.expect(200);
        let own = changed["password"].as_str().expect("generated").to_owned();
        assert_eq!(desk.verify("client", "eva", &own).await.expect(200)["must_change"], json!(false));

        // By mail: a link, never the password.
        let sent = desk.api.post(&path, &json!({"mail": true})).await.expect(202);
        assert_eq!(sent["mail"], json!("queued"));
        assert!(sent.get("password").is_none());
        let link = desk.link("eva@acme.test", 2).await;
        assert!(link.starts_with("/password/"), "{link}");
        let mail = desk.mails("eva@acme.test", 2).await.remove(1);
        assert!(mail.html.contains(">Set password</a>") && !mail.text.contains(&own));
        assert_eq!(desk.api.post(&path, &json!({"mail": true, "clear_text": true})).await.status, 403);
        assert_eq!(desk.form(&link, GOOD, GOOD).await.status, 200);
        assert_eq!(desk.verify("client", "eva", GOOD).await.status, 200);
        assert!(!desk.daemon.log().contains(&password) && !desk.daemon.log().contains(&own));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r57_without_a_mail_server_the_link_is_returned_once() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(COMMON).start().await;
        let (api, crm) = tokens(&daemon);
        push(&crm, "crm", &[company("acme")]).await.expect(200);
        let ask = json!({"email": "eva@acme.test", "given_name": "Eva", "family_name": "Malá", "company": "acme"});
        let made = api.post("/api/v1/invitations", &ask).await.expect(201);
        assert_eq!(made["mail"], json!("off"));
        let link = made["link"].as_str().unwrap().strip_prefix(&daemon.http.base).unwrap();
        let path = format!("/api/v1/invitations/{}", made["id"].as_str().unwrap());
        assert!(api.get(&path).await.expect(200).get("link").is_none());
        let body = "password=tich%C3%A1+voda+b%C5%99ehy&repeat=tich%C3%A1+voda+b%C5%99ehy";
        assert_eq!(daemon.http.send_text(Method::POST, link, FORM, body).await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_guessing_is_slowed_down_alike_for_known_and_unknown() {
    let desk = desk(Which::Sqlite, "").await;
    for login in ["known", "unknown"] {
        let mut statuses = Vec::new();
        for _ in 0..8 {
            statuses.push(desk.verify("client", login, "x").await.status);
        }
        assert_eq!(statuses, [403, 403, 403, 403, 403, 403, 429, 429], "{login}");
    }
    let slowed = desk.verify("client", "known", "x").await;
    assert!(
        slowed.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 1))
    );
}
