//! Stories of who sees which ticket, asked over the API, on both databases: a CRM job pushes, the operator pairs, a
//! helpdesk asks. The rule itself is `src/model/visibility.rs`.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::both;
use super::support::daemon::{Daemon, Which};
use super::support::http::Http;

const CONFIG: &str = "[sources.crm]\nkind = \"push\"\nrealm = \"client\"\n";
const CLIENT: &str = "urn:musterd:params:scim:schemas:extension:client:2.0:User";

/// A running daemon, a CRM job and a helpdesk.
struct Desk {
    _daemon: Daemon,
    crm: Http,
    api: Http,
}

impl Desk {
    async fn open(which: Which) -> Desk {
        let daemon = Daemon::builder(which).config(CONFIG).start().await;
        let crm = daemon.http.with_token(daemon.token(&["--source", "crm", "--scope", "records:push"]));
        let api = daemon.http.with_token(daemon.token(&["--scope", "api", "--scope", "visibility"]));
        let desk = Desk { _daemon: daemon, crm, api };
        let mut lines = vec![company("acme"), company("beta")];
        lines.extend([contact("eva", &["acme"]), contact("adam", &["acme"]), contact("ota", &["beta"])]);
        lines.push(contact("nina", &[]));
        lines.extend([ticket("t-eva", &["eva"], 1), ticket("t-adam", &["adam"], 2), ticket("t-ota", &["ota"], 3)]);
        lines.extend([ticket("t-nina", &["nina"], 4), ticket("t-nobody", &[], 5)]);
        desk.push(&lines).await;
        desk
    }

    async fn push(&self, lines: &[Value]) {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let body = lines.join("\n") + "\n";
        let path = "/api/v1/sources/crm/records";
        let answer = self.crm.send_text(Method::POST, path, "application/x-ndjson", body).await;
        assert!(answer.status == 200, "{} {}", answer.status, answer.text);
        assert_eq!(answer.json()["faulty"].as_u64().unwrap_or(0), 0, "{}", answer.text);
    }

    /// The id of a new client, paired with contacts by their numbers.
    async fn client(&self, title: &str, flags: &Value, contacts: &[&str]) -> String {
        let body =
            json!({"realm": "client", "attributes": {"displayName": title, CLIENT: flags}, "contacts": contacts});
        let user = self.api.post("/api/v1/users", &body).await.expect(201);
        user["id"].as_str().unwrap().to_owned()
    }

    async fn check(&self, user: &str, ticket: &str) -> Value {
        self.api.post("/api/v1/visibility/check", &json!({"user": user, "ticket": ticket})).await.expect(200)
    }

    async fn reason(&self, user: &str, ticket: &str) -> String {
        self.check(user, ticket).await["because"]["reason"].as_str().unwrap().to_owned()
    }

    /// Numbers of the tickets that are listed, page by page.
    async fn listed(&self, user: &str, query: &str) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/users/{user}/tickets?limit=1{query}{cursor}");
            let page = self.api.get(&path).await.expect(200);
            let items = page["items"].as_array().unwrap();
            all.extend(items.iter().map(|item| item["attributes"]["number"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    async fn id(&self, kind: &str, number: &str) -> String {
        let page = self.api.get(&format!("/api/v1/{kind}?number={number}")).await.expect(200);
        page["items"][0]["id"].as_str().unwrap().to_owned()
    }
}

fn company(key: &str) -> Value {
    json!({"kind": "company", "key": key, "attributes": {"displayName": key, "number": key}})
}

fn contact(key: &str, works_for: &[&str]) -> Value {
    json!({"kind": "contact", "key": key, "attributes": {"displayName": key, "number": key},
           "relations": {"works_for": works_for}})
}

fn ticket(key: &str, concerns: &[&str], day: u32) -> Value {
    json!({"kind": "ticket", "key": key, "relations": {"concerns": concerns},
           "attributes": {"displayName": key, "number": key, "created": format!("2026-01-{day:02}T12:00:00Z")}})
}

#[tokio::test]
async fn r13_r15_r16_contacts_and_flags_decide_and_check_list_and_batch_agree() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let narrow = desk.client("Eva Úzká", &json!({"companyContacts": true}), &["eva"]).await;
        let wide = desk.client("Eva Široká", &json!({"companyTickets": true}), &["eva", "nina"]).await;
        assert_eq!(desk.listed(&narrow, "").await, ["t-eva"]);
        assert_eq!(desk.listed(&wide, "").await, ["t-nina", "t-adam", "t-eva"]);
        let answer = desk.check("eva.siroka", "t-adam").await;
        assert_eq!((&answer["visible"], &answer["access"]), (&json!(true), &json!("read")));
        assert_eq!(answer["because"]["reason"], "company_tickets");
        let path: Vec<&str> =
            answer["because"]["path"].as_array().unwrap().iter().filter_map(|step| step["kind"].as_str()).collect();
        assert_eq!(path, ["user", "contact", "company", "contact", "ticket"]);
        assert_eq!(desk.reason(&narrow, "t-adam").await, "flag_off");
        assert_eq!(desk.reason(&wide, "t-ota").await, "not_related");
        assert_eq!(desk.reason(&wide, "t-nobody").await, "ticket_without_contact");
        assert_eq!(desk.reason("nobody.at.all", "t-eva").await, "unknown_user");
        assert_eq!(desk.reason(&wide, "no-such").await, "unknown_ticket");

        let mut checks = Vec::new();
        for (name, user) in [("narrow", &narrow), ("wide", &wide)] {
            for number in ["t-eva", "t-adam", "t-ota", "t-nina", "t-nobody"] {
                let ticket = desk.id("tickets", number).await;
                checks.push(json!({"id": format!("{name} {number}"), "user": user, "ticket": ticket}));
            }
        }
        let batch = desk.api.post("/api/v1/visibility/check-batch", &json!({"checks": checks})).await.expect(200);
        for (name, user) in [("narrow", &narrow), ("wide", &wide)] {
            for number in ["t-eva", "t-adam", "t-ota", "t-nina", "t-nobody"] {
                assert_eq!(batch["answers"][format!("{name} {number}")], desk.check(user, number).await);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn r18_moves_disabling_merging_and_restoring_count_at_once() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let wide = desk.client("Eva", &json!({"companyTickets": true}), &["eva"]).await;
        // A colleague who moves takes the tickets along.
        desk.push(&[contact("adam", &["beta"])]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-eva"]);
        desk.push(&[contact("adam", &["acme"])]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-adam", "t-eva"]);
        // A disabled colleague's tickets stay; through a disabled contact nothing is seen; enabled again it is.
        let active = |key: &str, on: bool| {
            json!({"kind": "contact", "key": key,
            "attributes": {"displayName": key, "number": key, "active": on}, "relations": {"works_for": ["acme"]}})
        };
        desk.push(&[active("adam", false)]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-adam", "t-eva"]);
        desk.push(&[active("eva", false)]).await;
        assert_eq!(
            (desk.listed(&wide, "").await.len(), desk.reason(&wide, "t-adam").await.as_str()),
            (0, "contact_disabled")
        );
        desk.push(&[active("eva", true)]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-adam", "t-eva"]);
        // The same for the company.
        let acme = |on: bool| {
            json!({"kind": "company", "key": "acme",
            "attributes": {"displayName": "acme", "number": "acme", "active": on}})
        };
        desk.push(&[acme(false)]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-eva"]);
        assert_eq!(desk.reason(&wide, "t-adam").await, "company_disabled");
        desk.push(&[acme(true)]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-adam", "t-eva"]);
        // The pairing follows the survivor of a merge, whatever becomes of the other.
        let mut merged = contact("eva", &["acme"]);
        merged["relations"]["merged_into"] = json!(["ota"]);
        desk.push(&[merged]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-ota", "t-eva"]);
        desk.push(&[json!({"kind": "contact", "key": "eva", "gone": true})]).await;
        assert_eq!(desk.listed(&wide, "").await, ["t-ota", "t-eva"]);
        // An inactive client sees nothing.
        let path = format!("/api/v1/users/{wide}");
        desk.api.patch(&path, &json!({"blocked": true})).await.expect(200);
        assert_eq!(
            (desk.listed(&wide, "").await.len(), desk.reason(&wide, "t-ota").await.as_str()),
            (0, "user_inactive")
        );
    })
    .await;
}

#[tokio::test]
async fn r53_a_company_narrows_the_list_and_the_check() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let both_worlds = desk.client("Eva", &json!({"companyTickets": true}), &["eva", "ota", "nina"]).await;
        assert_eq!(desk.listed(&both_worlds, "").await.len(), 4);
        assert_eq!(desk.listed(&both_worlds, "&company=acme").await, ["t-adam", "t-eva"]);
        assert_eq!(desk.listed(&both_worlds, "&company=beta").await, ["t-ota"]);
        assert_eq!(desk.listed(&both_worlds, "&company=gamma").await.len(), 0);
        let question = json!({"user": both_worlds, "ticket": "t-ota", "company": "acme"});
        let answer = desk.api.post("/api/v1/visibility/check", &question).await.expect(200);
        assert_eq!((&answer["visible"], &answer["because"]["reason"]), (&json!(false), &json!("other_company")));
    })
    .await;
}

#[tokio::test]
async fn r4_r6_r8_the_operator_creates_clients() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let refused = desk.api.post("/api/v1/users", &json!({"realm": "client", "attributes": {}})).await;
        assert_eq!(refused.expect(400)["missing"], json!(["userName", "displayName"]));
        let refused = desk.api.post("/api/v1/users", &json!({"realm": "agent", "attributes": {}})).await;
        let all = json!(["userName", "name.givenName", "name.familyName", "emails"]);
        assert_eq!(refused.expect(400)["missing"], all);
        let new = json!({"realm": "client", "attributes": {"displayName": "Eva Žižková"}});
        let first = desk.api.post("/api/v1/users", &new).await.expect(201);
        assert_eq!(first["attributes"]["userName"], "eva.zizkova");
        let second = desk.api.post("/api/v1/users", &new).await.expect(201);
        assert_eq!(second["attributes"]["userName"], "eva.zizkova2");
        let path = format!("/api/v1/users/{}", first["id"].as_str().unwrap());
        let other = json!({"attributes": {"userName": "eva.jina"}});
        assert_eq!(desk.api.patch(&path, &other).await.expect(409)["code"], "immutable");
        let titled = desk.api.patch(&path, &json!({"attributes": {"displayName": "Eva Jiná"}})).await.expect(200);
        assert_eq!(titled["attributes"]["userName"], "eva.zizkova", "a changed title never alters it");
        let taken = json!({"realm": "client", "attributes": {"displayName": "X", "userName": "EVA.zizkova"}});
        assert_eq!(desk.api.post("/api/v1/users", &taken).await.expect(409)["code"], "login_taken");
        let unknown = json!({"realm": "client", "attributes": {"displayName": "X"}, "contacts": ["a", "b"]});
        assert_eq!(desk.api.post("/api/v1/users", &unknown).await.expect(400)["faults"].as_array().unwrap().len(), 2);
        desk.api.delete(&path).await.expect(204);
        desk.api.get(&path).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn r62_an_address_of_a_client_gets_no_second_account() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let client = |title: &str, email: &str| {
            json!({"realm": "client", "attributes": {"displayName": title, "emails": [{"value": email}]}})
        };
        let first = desk.api.post("/api/v1/users", &client("Eva", "eva@only.test")).await.expect(201);
        let taken = desk.api.post("/api/v1/users", &client("Jana", "EVA@only.test")).await.expect(409);
        assert_eq!((&taken["code"], &taken["user"]), (&json!("email_taken"), &first["id"]));
        desk.api.delete(&format!("/api/v1/users/{}", first["id"].as_str().unwrap())).await.expect(204);
        desk.api.post("/api/v1/users", &client("Jana", "eva@only.test")).await.expect(201);
        let bad = desk.api.post("/api/v1/users", &client("X\r\nY", "no address")).await.expect(400);
        assert_eq!(bad["faults"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn r12_pairing_and_unpairing() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let eva = desk.client("Eva", &json!({}), &[]).await;
        assert_eq!(desk.reason(&eva, "t-eva").await, "no_contacts");
        let path = format!("/api/v1/users/{eva}/contacts/{}", desk.id("contacts", "eva").await);
        for _ in 0..2 {
            desk.api.put(&path, &json!({})).await.expect(200);
            assert_eq!(desk.listed(&eva, "").await, ["t-eva"]);
        }
        for _ in 0..2 {
            desk.api.delete(&path).await.expect(200);
            assert_eq!(desk.listed(&eva, "").await.len(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn scopes_and_limits_are_held() {
    both(async |which| {
        let desk = Desk::open(which).await;
        let question = json!({"user": "a", "ticket": "b"});
        assert_eq!(desk.crm.post("/api/v1/visibility/check", &question).await.status, 403);
        assert_eq!(desk.crm.get("/api/v1/users").await.status, 403);
        let checks: Vec<Value> = (0..1001).map(|n| json!({"id": n.to_string(), "user": "a", "ticket": "b"})).collect();
        let batch = desk.api.post("/api/v1/visibility/check-batch", &json!({"checks": checks})).await;
        assert_eq!(batch.expect(400)["code"], "too_many");
        assert_eq!(desk.api.get("/api/v1/companies?limit=251").await.expect(400)["code"], "bad_query");
        let first = desk.api.get("/api/v1/contacts?limit=3").await.expect(200);
        let rest = format!("/api/v1/contacts?limit=3&cursor={}", first["next"].as_str().unwrap());
        let rest = desk.api.get(&rest).await.expect(200);
        assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (3, 1));
        assert!(rest.get("next").is_none());
    })
    .await;
}

#[tokio::test]
async fn the_description_names_what_is_served() {
    let desk = Desk::open(Which::Sqlite).await;
    let text = desk.api.get("/api/openapi.json").await.expect(200);
    for (path, methods) in text["paths"].as_object().unwrap() {
        let there =
            path.replace("{id}", "x").replace("{contact}", "x").replace("{product}", "x").replace("{name}", "x");
        let served = desk.api.request(Method::TRACE, &format!("/api/v1{there}"));
        let allow = super::support::http::answer(served).await;
        assert_eq!(allow.status, 405, "{path}");
        let allow = allow.header("allow").unwrap_or_default().to_lowercase();
        for method in methods.as_object().unwrap().keys() {
            assert!(allow.contains(method.as_str()), "{method} {path}: {allow}");
        }
    }
}
