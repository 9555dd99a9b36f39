//! Schemas of the operator: what a file adds is stored, found, sorted, changed and published, after a reload, without code.

use axum::http::StatusCode;
use serde_json::json;

use super::{CONFIG, Desk, user};
use crate::config::Config;
use crate::store::testing::both;

const SITE: &str = "urn:site:params:scim:User";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_an_attribute_in_a_file_is_an_attribute() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let with = |name: &str, floor: i64| {
            let mut body = user(name);
            body[SITE] = json!({"badge": format!("B{floor}"), "floor": floor});
            body
        };
        let before = desk.ask("POST", "/Users", &with("before", 1)).await;
        assert_eq!((before.status, before.body.get(SITE)), (StatusCode::CREATED, None), "nobody knows it yet");
        assert_eq!(desk.get(&format!("/Schemas/{SITE}")).await.status, StatusCode::NOT_FOUND);

        let folder = tempfile::tempdir().unwrap();
        let file = json!({"id": SITE, "name": "Site", "extends": ["User"], "attributes": [
            {"name": "badge", "type": "string", "caseExact": true},
            {"name": "floor", "type": "integer"}]});
        std::fs::write(folder.path().join("site.json"), file.to_string()).unwrap();
        let config = format!("{CONFIG}[scim]\nschemas = '{}'\n", folder.path().display());
        desk.app.swap_config(Config::parse(&config).unwrap());

        assert_eq!(desk.get(&format!("/Schemas/{SITE}")).await.body["attributes"][0]["name"], "badge");
        let types = desk.get("/ResourceTypes/User").await.body.to_string();
        assert!(types.contains(SITE), "{types}");
        let mut ids = Vec::new();
        for (name, floor) in [("low", 2), ("high", 10), ("middle", 5)] {
            let made = desk.ask("POST", "/Users", &with(name, floor)).await;
            assert_eq!((made.status, &made.body[SITE]["floor"]), (StatusCode::CREATED, &json!(floor)), "{}", made.body);
            ids.push(made.body["id"].as_str().unwrap().to_owned());
        }
        let wrong = desk.ask("POST", "/Users", &json!({"userName": "x", SITE: {"floor": "upstairs"}})).await;
        assert_eq!(wrong.body["scimType"], "invalidValue");
        let names = async |query: &str| -> Vec<String> {
            let page = desk.get(&format!("/Users?{query}")).await.body;
            let all = page["Resources"].as_array().unwrap_or_else(|| panic!("{page}"));
            all.iter().map(|user| user["name"]["familyName"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&format!("filter={SITE}:floor%20gt%204&sortBy={SITE}:floor")).await, ["middle", "high"]);
        assert_eq!(names(&format!("filter={SITE}:badge%20eq%20%22b2%22")).await, Vec::<String>::new(), "it has a case");
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                          "Operations": [{"op": "replace", "path": format!("{SITE}:floor"), "value": 7}]});
        let patched = desk.ask("PATCH", &format!("/Users/{}", ids[0]), &body).await;
        assert_eq!(patched.body[SITE], json!({"badge": "B2", "floor": 7}));
    })
    .await;
}
