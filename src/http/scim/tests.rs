//! How many statements a SCIM request costs, on both databases, and how long a token is believed: the whole router in this
//! process, without a socket. What the answers say is told by the stories in `tests/it`, and by the files beside. Start with `Desk`.

mod bulk;
mod crm;
mod edge;
mod groups;
mod hidden;
mod isolation;
mod lists;
mod password;
mod schemas;
mod switches;

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::credential::bearer;
use crate::http::state::App;
use crate::model::time::Millis;
use crate::store::testing::{NOW, both, statements};
use crate::store::{Db, token as rows, token_memory};

const CONFIG: &str =
    "[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n[credentials.argon2]\nmemory_kib = 64\npasses = 1\n";
/// The life of the token, in milliseconds.
const LIFE: i64 = 7_200_000;

/// A daemon without its listeners, and a token of the source `idp`.
struct Desk {
    app: App,
    router: Router,
    token: String,
    id: String,
}

struct Answer {
    status: StatusCode,
    body: Value,
    statements: usize,
}

impl Desk {
    async fn new(db: Db) -> Desk {
        Desk::with(db, CONFIG, "scim:read scim:write").await
    }

    async fn with(db: Db, config: &str, scopes: &str) -> Desk {
        let clock = Clock::fixed(NOW, 3);
        let minted = bearer::mint(&clock, "scim");
        let row = rows::Token {
            id: minted.id.clone(),
            hash: minted.hash.to_vec(),
            label: "idp".to_owned(),
            source: Some("idp".to_owned()),
            subject: None,
            scopes: scopes.to_owned(),
            created: NOW,
            expires: Millis(NOW.0 + LIFE),
            revoked: None,
            last_used: None,
        };
        let mut tx = db.write().await.unwrap();
        rows::insert(&mut tx, &row).await.unwrap();
        tx.commit().await.unwrap();
        let app = App::new(db, clock, Config::parse(config).unwrap()).unwrap();
        let router = crate::http::router(app.clone(), None);
        Desk { app, router, token: minted.text.expose_secret().to_owned(), id: minted.id }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(format!("/scim/v2{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token)).body(body).unwrap();
        let (response, statements) = statements(self.router.clone().oneshot(request)).await;
        let response = response.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default(), statements }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &Value::Null).await
    }

    /// As `ask`, right after another request has found the token.
    async fn cost(&self, method: &str, path: &str, body: &Value) -> Answer {
        assert_eq!(self.get("/ServiceProviderConfig").await.status, StatusCode::OK);
        self.ask(method, path, body).await
    }

    async fn cost_of_get(&self, path: &str) -> Answer {
        self.cost("GET", path, &Value::Null).await
    }

    /// Makes the first user, and another by which the open run of the day is remembered.
    async fn warm(&self) -> String {
        let opening = self.ask("POST", "/Users", &user("opening")).await;
        assert_eq!(opening.status, StatusCode::CREATED, "{}", opening.body);
        let first = self.ask("POST", "/Users", &user("first")).await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
        first.body["id"].as_str().unwrap().to_owned()
    }
}

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": format!("{name}@x.example"), "externalId": format!("ext-{name}"), "active": true,
        "name": {"givenName": "Eva", "familyName": name}, "displayName": format!("Eva {name}"),
        "emails": [{"value": format!("{name}@x.example"), "type": "work", "primary": true},
                   {"value": format!("{name}@home.example"), "type": "home"}],
    })
}

/// The body of a PATCH.
fn title(text: &str) -> Value {
    let operation = json!({"op": "replace", "path": "title", "value": text});
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_post_is_at_most_five_statements() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        desk.warm().await;
        let made = desk.cost("POST", "/Users", &user("second")).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert!((4..=5).contains(&made.statements), "{} statements", made.statements);
        let taken = desk.cost("POST", "/Users", &user("second")).await;
        assert_eq!(taken.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_get_is_one_statement_and_a_patch_at_most_five() {
    both(|db| async move {
        let embedded = db.is_embedded();
        let desk = Desk::new(db).await;
        let path = format!("/Users/{}", desk.warm().await);
        let got = desk.cost_of_get(&path).await;
        assert_eq!((got.status, got.statements), (StatusCode::OK, 1));

        let change = title("Head");
        let patched = desk.cost("PATCH", &path, &change).await;
        assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);
        assert_eq!((&patched.body["title"], &patched.body["externalId"]), (&json!("Head"), &json!("ext-first")));
        // Looked at, the row and its journal written. PostgreSQL reads what it has locked once more.
        assert_eq!(patched.statements, if embedded { 3 } else { 4 });
        let got = desk.cost_of_get(&path).await.body;
        assert_eq!(got, patched.body);

        // The same again changes nothing: only looked at.
        let again = desk.cost("PATCH", &path, &change).await;
        assert_eq!((again.status, again.statements), (StatusCode::OK, if embedded { 1 } else { 2 }));
        assert_eq!(again.body, got);
        let put = desk.cost("PUT", &path, &user("first")).await;
        assert_eq!(put.status, StatusCode::OK, "{}", put.body);
        assert_eq!(desk.cost_of_get(&path).await.body["title"], Value::Null);
        assert_eq!(desk.cost("DELETE", &path, &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(desk.cost("PATCH", &path, &change).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_only_who_is_in_a_group_is_asked_for_groups() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let id = desk.warm().await;
        let group = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Staff", "members": [{"value": id}],
        });
        let made = desk.cost("POST", "/Groups", &group).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let path = format!("/Users/{id}");
        let got = desk.cost_of_get(&path).await;
        assert_eq!((&got.body["groups"][0]["value"], got.statements), (&made.body["id"], 2));
        let change = title("Head");
        let patched = desk.cost("PATCH", &path, &change).await;
        assert_eq!(patched.body["groups"], got.body["groups"], "a change of the member keeps them in its answer");
        let found = desk.cost_of_get("/Users?filter=userName%20eq%20%22first@x.example%22").await;
        assert_eq!((&found.body["Resources"][0]["groups"], found.statements), (&got.body["groups"], 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_an_exact_filter_is_one_statement_and_counts_nothing() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let id = desk.warm().await;
        for (attribute, value) in
            [("userName", "first@x.example"), ("externalId", "ext-first"), ("emails.value", "FIRST@home.example")]
        {
            let found = desk.cost_of_get(&format!("/Users?filter={attribute}%20eq%20%22{value}%22")).await;
            assert_eq!((found.status, found.statements), (StatusCode::OK, 1), "{attribute}");
            assert_eq!((&found.body["totalResults"], &found.body["Resources"][0]["id"]), (&json!(1), &json!(id)));
        }
        let none = desk.cost_of_get("/Users?filter=userName%20eq%20%22nobody%22").await;
        assert_eq!((&none.body["totalResults"], none.statements), (&json!(0), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s36_a_remembered_token_ends_with_its_revocation_its_life_and_its_source() {
    both(|db| async move {
        let desk = Desk::new(db.clone()).await;
        desk.warm().await;
        assert_eq!(desk.get("/Users").await.status, StatusCode::OK);

        // Its source leaves the configuration, and comes back.
        desk.app.swap_config(Config::parse("[credentials.argon2]\nmemory_kib = 64\npasses = 1").unwrap());
        assert_eq!(desk.get("/Users").await.status, StatusCode::UNAUTHORIZED);
        desk.app.swap_config(Config::parse(&CONFIG.replace("agent", "client")).unwrap());
        let other = desk.get("/Users").await;
        assert_eq!((other.status, &other.body["totalResults"]), (StatusCode::OK, &json!(0)), "the realm as it is now");
        desk.app.swap_config(Config::parse(CONFIG).unwrap());

        // The clock, although the token is remembered.
        desk.app.clock.advance(LIFE - 1);
        assert_eq!(desk.get("/Users").await.status, StatusCode::OK);
        desk.app.clock.advance(1);
        assert_eq!(desk.get("/Users").await.status, StatusCode::UNAUTHORIZED);
        desk.app.clock.advance(-LIFE);
        assert_eq!(desk.get("/Users").await.status, StatusCode::OK);

        // Another replica revokes it: within a second. This one does: on the next request.
        let mut tx = db.write().await.unwrap();
        assert!(rows::revoke(&mut tx, &desk.id, NOW).await.unwrap());
        tx.commit().await.unwrap();
        tokio::time::sleep(token_memory::LIFE).await;
        assert_eq!(desk.get("/Users").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
    both(|db| async move {
        let desk = Desk::new(db.clone()).await;
        desk.warm().await;
        let mut tx = db.write().await.unwrap();
        assert!(rows::revoke(&mut tx, &desk.id, NOW).await.unwrap());
        tx.commit().await.unwrap();
        desk.app.tokens.forget(&desk.id);
        assert_eq!(desk.get("/Users").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn s36_a_remembered_token_is_no_key_for_another_secret() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        desk.warm().await;
        // Its public id is known, but what is kept of it is the hash of another secret.
        let other = bearer::mint(&desk.app.clock, "scim");
        let known = desk.app.tokens.get(&desk.id, Instant::now()).expect("it is remembered");
        assert!(!bearer::same(&other.hash, &known.hash));
        desk.app.tokens.forget(&desk.id);
        let forged = rows::Token { hash: other.hash.to_vec(), ..rows::Token::clone(&known) };
        desk.app.tokens.keep(desk.app.tokens.ask(Instant::now()), forged.into());
        assert_eq!(desk.get("/Users").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}
