//! Stories of licences and seats, asked over the API, on both databases: a CRM says what a company has ordered, the
//! operator gives licences. The rule itself is `src/model/licence.rs`.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::both;
use super::support::daemon::{Daemon, Which};
use super::support::http::{Answer, Http};

const CONFIG: &str = "[sources.crm]\nkind = \"push\"\nrealm = \"client\"\n";
const AGENT: &str = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";

struct Office {
    _daemon: Daemon,
    crm: Http,
    api: Http,
}

impl Office {
    async fn open(which: Which, services: &[&str], tier: &str) -> Office {
        let daemon = Daemon::builder(which).config(CONFIG).start().await;
        let crm = daemon.http.with_token(daemon.token(&["--source", "crm", "--scope", "records:push"]));
        let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
        let office = Office { _daemon: daemon, crm, api };
        office.orders(services, tier).await;
        office
    }

    async fn orders(&self, services: &[&str], tier: &str) {
        let attributes = json!({"displayName": "Acme", "number": "acme", "services": services, "tier": tier});
        let line = json!({"kind": "company", "key": "acme", "attributes": attributes});
        let path = "/api/v1/sources/crm/records";
        let answer = self.crm.send_text(Method::POST, path, "application/x-ndjson", format!("{line}\n")).await;
        answer.expect(200);
    }

    async fn company(&self) -> String {
        let page = self.api.get("/api/v1/companies?number=acme").await.expect(200);
        page["items"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn hire(&self, login: &str, licence: &str) -> Answer {
        self.api.post("/api/v1/users", &agent(login, licence)).await
    }

    async fn seats(&self, product: &str, total: i64) -> Value {
        let path = format!("/api/v1/companies/{}/pools/{product}", self.company().await);
        self.api.put(&path, &json!({"total": total})).await.expect(200)
    }
}

fn agent(login: &str, licence: &str) -> Value {
    json!({"realm": "agent", "companies": [{"company": "acme"}], "attributes": {
        "name": {"givenName": "Jan", "familyName": login}, "emails": [{"value": format!("{login}@acme.example")}],
        AGENT: {"licence": licence},
    }})
}

#[tokio::test]
async fn r19_r24_r47_r48_every_reason_of_a_refusal_is_told_and_nothing_changes() {
    both(async |which| {
        let office = Office::open(which, &["helpdesk"], "PROFI").await;
        let offered = format!("/api/v1/licences/offered?company={}", office.company().await);
        let offered = office.api.get(&offered).await.expect(200);
        assert_eq!(offered["offered"], json!(["Helpdesk PROFI", "Helpdesk MINI", "Video"]));
        let user = office.hire("nova", "Helpdesk PROFI").await.expect(201);
        assert_eq!(user["attributes"]["userName"], "nova@acme.example");
        assert_eq!((&user["licence"]["state"], &user["licence"]["held"]), (&json!("active"), &json!("Helpdesk PROFI")));
        let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
        let other = json!({"attributes": {AGENT: {"licence": "Callcentrum START"}}});
        let refused = office.api.patch(&path, &other).await.expect(409);
        let codes: Vec<&str> =
            refused["reasons"].as_array().unwrap().iter().filter_map(|reason| reason["code"].as_str()).collect();
        assert_eq!(codes, ["missing_service", "tier_mismatch", "transition_not_allowed"]);
        assert_eq!(office.api.get(&path).await.expect(200), user, "not even a version");
        // The order grows, and so does the licence: Helpdesk PROFI -> Omnichannel PROFI.
        office.orders(&["helpdesk", "pbx"], "PROFI").await;
        let wider = json!({"attributes": {AGENT: {"licence": "Omnichannel PROFI"}}});
        assert_eq!(office.api.patch(&path, &wider).await.expect(200)["licence"]["held"], "Omnichannel PROFI");
        // A new tier renames.
        office.orders(&["helpdesk", "pbx"], "ENTERPRISE").await;
        assert_eq!(office.api.get(&path).await.expect(200)["licence"]["held"], "Omnichannel ENTERPRISE");
        let unknown = office.hire("x", "Callcentrum GOLD").await.expect(409);
        assert_eq!(unknown["reasons"][0]["allowed"].as_array().unwrap().len(), 13);
        let nobody = office.api.get("/api/v1/users?login=x@acme.example").await.expect(200);
        assert_eq!(nobody["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn r93_r94_a_hundred_ask_for_the_last_seat_and_the_next_is_served_at_its_release() {
    both(async |which| {
        let office = Office::open(which, &["pbx"], "START").await;
        office.seats("callcentrum", 1).await;
        let api = office.api.clone();
        let calls = (0..100).map(|n| {
            let api = api.clone();
            async move {
                let body = agent(&format!("agent{n}"), "Callcentrum START");
                for _ in 0..20 {
                    let answer = api.post("/api/v1/users", &body).await;
                    if answer.status != 503 {
                        return answer.expect(201);
                    }
                }
                panic!("no answer but 503")
            }
        });
        let users = futures_util::future::join_all(calls).await;
        let state = |user: &Value| user["licence"]["state"].as_str().unwrap().to_owned();
        let winners: Vec<&Value> = users.iter().filter(|user| state(user) == "active").collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(users.iter().filter(|user| state(user) == "waiting").count(), 99);
        let winner = format!("/api/v1/users/{}", winners[0]["id"].as_str().unwrap());
        office.api.delete(&winner).await.expect(204);
        let path = format!("/api/v1/licences?limit=250&company={}", office.company().await);
        let licences = office.api.get(&path).await.expect(200);
        let active = licences["items"].as_array().unwrap().iter().filter(|item| item["state"] == "active").count();
        assert_eq!(active, 1, "somebody else's now");
        let pool = &licences["pools"][0];
        assert_eq!((&pool["used"], &pool["waiting"], &pool["total"]), (&json!(1), &json!(98), &json!(1)));
        let pool = office.seats("callcentrum", 99).await;
        assert_eq!((&pool["used"], &pool["waiting"]), (&json!(99), &json!(0)));
        let pool = office.seats("callcentrum", 5).await;
        assert_eq!((&pool["used"], &pool["over_allocated"]), (&json!(99), &json!(true)), "nobody is evicted");
    })
    .await;
}

#[tokio::test]
async fn r34_r36_the_bill_counts_options_and_leaves_out_who_is_not_invoiced() {
    both(async |which| {
        let office = Office::open(which, &["pbx"], "START").await;
        office.seats("callcentrum", 4).await;
        let bill = async || {
            let path = format!("/api/v1/companies/{}/bill", office.company().await);
            let bill = office.api.get(&path).await.expect(200);
            (bill["licences"].clone(), bill["options"][0]["billable"].clone())
        };
        assert_eq!(bill().await, (json!([]), json!(0)));
        let mut hired = Vec::new();
        for (login, switches) in [
            ("plain", json!({})),
            ("paid", json!({"apiCommunicator": true})),
            ("system", json!({"doNotInvoice": true, "apiCommunicator": true})),
        ] {
            let mut body = agent(login, "Callcentrum START");
            body["attributes"][AGENT].as_object_mut().unwrap().extend(switches.as_object().unwrap().clone());
            hired.push(office.api.post("/api/v1/users", &body).await.expect(201)["id"].as_str().unwrap().to_owned());
        }
        let mut alone = agent("alone", "");
        alone["attributes"][AGENT] = json!({"apiCommunicator": true});
        office.api.post("/api/v1/users", &alone).await.expect(201);
        let seats =
            |seats: i64, billable: i64| json!([{"licence": "Callcentrum START", "seats": seats, "billable": billable}]);
        assert_eq!(bill().await, (seats(3, 2), json!(2)));
        assert_eq!(office.seats("callcentrum", 4).await["used"], 3, "who is not invoiced sits on a seat all the same");
        // Switched over, and deactivated: the seat has its grace, the option ends.
        let off = json!({"attributes": {AGENT: {"doNotInvoice": false}}});
        office.api.patch(&format!("/api/v1/users/{}", hired[2]), &off).await.expect(200);
        assert_eq!(bill().await, (seats(3, 3), json!(3)));
        let path = format!("/api/v1/users/{}", hired[1]);
        office.api.patch(&path, &json!({"attributes": {"active": false}})).await.expect(200);
        assert_eq!(bill().await, (seats(3, 3), json!(2)));
        let nobody = format!("/api/v1/companies/{}/bill", hired[0]);
        assert_eq!(office.api.get(&nobody).await.status, 404);
        assert_eq!(office.crm.get(&nobody).await.status, 403);
    })
    .await;
}
