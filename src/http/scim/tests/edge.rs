//! What a request is wrapped in and who sends it: packed bodies, a token that asks too fast, a token that speaks for somebody.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{CONFIG, Desk, user};
use crate::store::testing::both;
use crate::store::values;

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

impl Desk {
    async fn send(&self, coding: &str, body: Vec<u8>) -> Response {
        let request = Request::builder().method("POST").uri("/scim/v2/Users").header("content-encoding", coding);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }
}

async fn body(response: Response) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_a_packed_body_is_read_and_a_bomb_is_not() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let made = desk.send("gzip", packed(user("eva").to_string().as_bytes())).await;
        assert_eq!(made.status(), StatusCode::CREATED);
        assert_eq!(desk.send("Identity", user("adam").to_string().into_bytes()).await.status(), StatusCode::CREATED);
        let bomb = packed(&vec![b' '; 200 << 20]);
        assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        let answer = desk.send("gzip", bomb).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(body(answer).await["status"], "413");
        let mut cut = packed(user("cut").to_string().as_bytes());
        cut.truncate(40);
        assert_eq!(body(desk.send("gzip", cut).await).await["scimType"], "invalidSyntax");
        for coding in ["br", "gzip, gzip", "deflate"] {
            let answer = desk.send(coding, packed(b"{}")).await;
            assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{coding}");
            assert_eq!(answer.headers()["accept-encoding"], "gzip");
            assert_eq!(body(answer).await["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_who_asks_too_fast_is_told_when_to_come_back() {
    both(|db| async move {
        let config = format!("{CONFIG}[server.limits]\nscim_rate = 1\nscim_burst = 3\n");
        let desk = Desk::with(db, &config, "scim:read scim:write").await;
        for _ in 0..3 {
            assert_eq!(desk.get("/ServiceProviderConfig").await.status, StatusCode::OK);
        }
        let request =
            Request::builder().uri("/scim/v2/Users").header("authorization", format!("Bearer {}", desk.token));
        let answer = desk.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()["retry-after"], "1");
        let body = body(answer).await;
        assert_eq!(
            (&body["status"], &body["schemas"][0]),
            (&json!("429"), &json!("urn:ietf:params:scim:api:messages:2.0:Error"))
        );
        // A reload that lifts the limit counts at once.
        desk.app.swap_config(crate::config::Config::parse(CONFIG).unwrap());
        assert_eq!(desk.get("/ServiceProviderConfig").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_me_is_whom_the_token_speaks_for() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        assert_eq!(desk.get("/Me").await.status, StatusCode::NOT_FOUND, "the token speaks for nobody");
        let id = desk.warm().await;
        let mut tx = desk.app.db.write().await.unwrap();
        tx.execute("UPDATE token SET subject = $1 WHERE id = $2", values![&id, &desk.id]).await.unwrap();
        tx.commit().await.unwrap();
        desk.app.tokens.forget(&desk.id);
        let me = desk.get("/Me").await;
        assert_eq!((me.status, &me.body["id"]), (StatusCode::OK, &json!(id)));
        assert!(me.body["meta"]["location"].as_str().unwrap().ends_with(&format!("/Users/{id}")));
        let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                           "Operations": [{"op": "replace", "path": "title", "value": "Ms"}]});
        assert_eq!(desk.ask("PATCH", "/Me", &patch).await.body["title"], "Ms");
        assert_eq!(desk.get(&format!("/Users/{id}")).await.body["title"], "Ms");
        assert_eq!(desk.ask("POST", "/Me", &user("x")).await.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(desk.ask("DELETE", "/Me", &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(desk.get("/Me").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}
