//! Attributes that are written and never shown: every way to write them counts, none to read them is open, and a client that
//! puts back what it has read takes nothing away.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{CONFIG, Desk, user};
use crate::config::Config;
use crate::model::id::EntityId;
use crate::reconcile;
use crate::store::testing::both;
use crate::store::{credential, entity};

const SITE: &str = "urn:site:params:scim:User";

/// What is stored under the schema.
async fn stored(desk: &Desk, id: &str) -> Value {
    let id: EntityId = id.parse().unwrap();
    let found = entity::by_ids(&mut desk.app.db.read().await.unwrap(), &[id]).await.unwrap();
    found[0].doc.get(SITE).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r38_what_is_written_only_is_written_by_every_verb_and_shown_by_none() {
    both(|db| async move {
        let desk = Desk::with(db, CONFIG, "scim:read scim:write api:read password:write").await;
        let folder = tempfile::tempdir().unwrap();
        let file = json!({"id": SITE, "name": "Site", "extends": ["User"], "attributes": [
            {"name": "pin", "type": "string", "mutability": "writeOnly"},
            {"name": "floor", "type": "integer"},
            {"name": "box", "type": "complex", "subAttributes": [
                {"name": "a", "type": "string"}, {"name": "s", "type": "string", "mutability": "writeOnly"}]},
            {"name": "cars", "type": "complex", "multiValued": true, "subAttributes": [
                {"name": "value", "type": "string"}, {"name": "s", "type": "string", "mutability": "writeOnly"}]}]});
        std::fs::write(folder.path().join("site.json"), file.to_string()).unwrap();
        let config = format!("{CONFIG}[scim]\nschemas = '{}'\n", folder.path().display());
        desk.app.swap_config(Config::parse(&config).unwrap());

        let mut body = user("eva");
        body[SITE] =
            json!({"pin": "p1", "floor": 1, "box": {"a": "x", "s": "bs"}, "cars": [{"value": "V", "s": "cs"}]});
        let made = desk.ask("POST", "/Users", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let shown = json!({"floor": 1, "box": {"a": "x"}, "cars": [{"value": "V"}]});
        assert_eq!(made.body[SITE], shown);
        let id = made.body["id"].as_str().unwrap().to_owned();
        let at = format!("/Users/{id}");
        let patch = async |operations: Value| {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
            let answer = desk.ask("PATCH", &at, &body).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            for secret in ["pin", "\"s\""] {
                assert!(!answer.body.to_string().contains(secret), "{}", answer.body);
            }
        };
        patch(json!([{"op": "replace", "path": format!("{SITE}:pin"), "value": "p2"}])).await;
        assert_eq!(stored(&desk, &id).await["pin"], "p2");
        patch(json!([{"op": "add", "value": {format!("{SITE}:pin"): "p3"}}])).await;
        assert_eq!(stored(&desk, &id).await["pin"], "p3");
        patch(json!([{"op": "replace", "value": {SITE: {"pin": "p4"}}}])).await;
        patch(json!([{"op": "replace", "path": format!("{SITE}:box.s"), "value": "bs2"}])).await;
        patch(json!([{"op": "replace", "path": format!("{SITE}:cars[value eq \"V\"].s"), "value": "cs2"}])).await;
        let all = json!({"pin": "p4", "floor": 1, "box": {"a": "x", "s": "bs2"}, "cars": [{"value": "V", "s": "cs2"}]});
        assert_eq!(stored(&desk, &id).await, all);
        // Nobody's password was set by it.
        let account = credential::by_id(&mut desk.app.db.read().await.unwrap(), id.parse().unwrap()).await.unwrap();
        assert!(account.unwrap().hash.is_none());

        // What was read is put back: nothing changes, not even a version.
        let read = desk.get(&at).await.body;
        let put = desk.ask("PUT", &at, &read).await;
        assert_eq!((put.status, &put.body["meta"]["version"]), (StatusCode::OK, &read["meta"]["version"]));
        assert_eq!(stored(&desk, &id).await, all);
        let mut without = read.clone();
        without[SITE]["cars"] = json!([{"value": "W"}]);
        desk.ask("PUT", &at, &without).await;
        assert_eq!(stored(&desk, &id).await["cars"], json!([{"value": "W"}]), "another car has no secret of this one");

        // Nor does the operator's own way show it.
        for path in
            [format!("/api/v1/users/{id}"), "/api/v1/users?login=eva@x.example".to_owned(), "/api/v1/users".to_owned()]
        {
            let request = Request::builder().uri(&path).header("authorization", format!("Bearer {}", desk.token));
            let answer = desk.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(text.contains("floor") && !text.contains("pin") && !text.contains("bs2"), "{text}");
        }

        let cx = desk.app.context("test");
        let why = reconcile::why(&mut desk.app.db.read().await.unwrap(), &cx, id.parse().unwrap(), Some(SITE)).await;
        let told = serde_json::to_string(&why.unwrap().unwrap()).unwrap();
        assert!(told.contains("pin") && told.contains("***") && !told.contains("p4"), "{told}");

        patch(json!([{"op": "remove", "path": format!("{SITE}:pin")}])).await;
        assert_eq!(stored(&desk, &id).await.get("pin"), None);
    })
    .await;
}
