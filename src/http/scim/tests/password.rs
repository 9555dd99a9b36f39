//! The attribute `password`: set by whoever may, never shown, held to the policy, left out for everybody else.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{CONFIG, Desk, user};
use crate::credential::hasher::Verdict;
use crate::store::credential;
use crate::store::testing::both;

const LONG: &str = "Correct horse battery 42!";
const MAY: &str = "scim:read scim:write password:write";

impl Desk {
    /// Whether this is the password of the user.
    async fn opens(&self, id: &str, password: &str) -> bool {
        let mut read = self.app.db.read().await.unwrap();
        let account = credential::by_id(&mut read, id.parse().unwrap()).await.unwrap().unwrap();
        let Some(hash) = account.hash else { return false };
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let verdict = self.app.hasher.verify(SecretString::from(password.to_owned()), Some(hash)).await.unwrap();
        matches!(verdict, Verdict::Accepted { .. })
    }
}

fn with(name: &str, password: &str) -> Value {
    let mut body = user(name);
    body["password"] = json!(password);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_a_password_over_scim_is_set_under_the_policy_and_never_shown() {
    both(|db| async move {
        let desk = Desk::with(db, CONFIG, MAY).await;
        assert_eq!(desk.get("/ServiceProviderConfig").await.body["changePassword"]["supported"], true);
        let weak = desk.ask("POST", "/Users", &with("eva", "short")).await;
        assert_eq!((weak.status, &weak.body["scimType"]), (StatusCode::BAD_REQUEST, &json!("invalidValue")));
        assert!(weak.body["detail"].as_str().unwrap().contains("policy"), "{}", weak.body);
        let made = desk.ask("POST", "/Users", &with("eva", LONG)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert!(!made.body.to_string().contains("horse"));
        let id = made.body["id"].as_str().unwrap().to_owned();
        assert!(desk.opens(&id, LONG).await);
        let path = format!("/Users/{id}");
        for (at, operation) in [
            json!({"op": "replace", "path": "password", "value": "Another long password 0"}),
            json!({"op": "Replace", "value": {"password": "Another long password 1", "title": "Ms"}}),
            json!({"op": "replace", "value": "{\"PassWord\": \"Another long password 2\"}"}),
            json!({"op": "add", "value": {"urn:ietf:params:scim:schemas:core:2.0:User": {"password": "Another long password 3"}}}),
            json!({"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:password", "value": "Another long password 4"}),
        ]
        .into_iter()
        .enumerate()
        {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]});
            assert_eq!(desk.ask("PATCH", &path, &body).await.status, StatusCode::OK);
            assert!(desk.opens(&id, &format!("Another long password {at}")).await, "{at}");
        }
        assert_eq!(desk.ask("PUT", &path, &with("eva", "And a last long one")).await.status, StatusCode::OK);
        assert!(desk.opens(&id, "And a last long one").await);
        let shown = desk.get(&path).await.body;
        assert!(shown.get("password").is_none() && !shown.to_string().contains("argon2"));
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                          "Operations": [{"op": "replace", "path": "password", "value": LONG}]});
        // Whoever is not there is not there, whatever the password would be.
        for wanted in [LONG, "short"] {
            let nobody = desk.ask("PUT", "/Users/0198c0de-7a11-7abc-8def-0123456789ab", &with("eva", wanted)).await;
            assert_eq!(nobody.status, StatusCode::NOT_FOUND, "{wanted}");
        }
        let nobody = desk.ask("PATCH", "/Users/0198c0de-7a11-7abc-8def-0123456789ab", &body).await;
        assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_password_of_a_token_that_may_not_is_left_out() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        assert_eq!(desk.get("/ServiceProviderConfig").await.body["changePassword"]["supported"], false);
        let made = desk.ask("POST", "/Users", &with("eva", LONG)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert!(!desk.opens(made.body["id"].as_str().unwrap(), LONG).await);
    })
    .await;
    both(|db| async move {
        let config = CONFIG.replace("realm = 'agent'", "realm = 'client'\ncompany = '4711'");
        let desk = Desk::with(db, &config, MAY).await;
        let made = desk.ask("POST", "/Users", &with("eva", LONG)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert!(!desk.opens(made.body["id"].as_str().unwrap(), LONG).await, "a customer's own provider sets none");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_protected_account_keeps_its_password() {
    both(|db| async move {
        let desk = Desk::with(db.clone(), CONFIG, MAY).await;
        let made = desk.ask("POST", "/Users", &with("root", LONG)).await;
        let id = made.body["id"].as_str().unwrap().to_owned();
        let mut config = CONFIG.replace("realm = 'agent'", "realm = 'agent'\nprotected = ['Root@x.example']");
        config.push('\n');
        desk.app.swap_config(crate::config::Config::parse(&config).unwrap());
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                          "Operations": [{"op": "replace", "path": "password", "value": "Another long password 0"}]});
        let answer = desk.ask("PATCH", &format!("/Users/{id}"), &body).await;
        assert!(answer.status.is_client_error(), "{}", answer.body);
        assert!(desk.opens(&id, LONG).await);
    })
    .await;
}
