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

const ROOM: &str = "urn:site:params:scim:schemas:Room";

/// Two files and no word of musterd's: a resource type that no code has heard of.
fn rooms() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let schema = json!({"id": ROOM, "name": "Room", "attributes": [
        {"name": "label", "type": "string", "required": true},
        {"name": "seats", "type": "integer"},
        {"name": "tags", "type": "string", "multiValued": true},
        {"name": "phones", "type": "complex", "multiValued": true, "subAttributes": [
            {"name": "value", "type": "string"}, {"name": "type", "type": "string"}]}]});
    let of = json!({"name": "Room", "endpoint": "/Rooms", "schema": ROOM, "schemaExtensions": []});
    std::fs::write(folder.path().join("room.json"), schema.to_string()).unwrap();
    std::fs::write(folder.path().join("type-room.json"), of.to_string()).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_resource_type_in_a_file_is_a_resource_type() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let room =
            |label: &str, seats: i64| json!({"schemas": [ROOM], "label": label, "seats": seats, "externalId": label});
        assert_eq!(desk.ask("POST", "/Rooms", &room("A", 4)).await.status, StatusCode::NOT_FOUND);
        let folder = rooms();
        let all = format!("{CONFIG}[sources.idp.scim]\nresource_types = 'all'\n");
        let config = format!("{all}[scim]\nschemas = '{}'\n", folder.path().display());
        desk.app.swap_config(Config::parse(&config).unwrap());

        let told = desk.get("/ResourceTypes/Room").await.body;
        assert_eq!((&told["endpoint"], told.get("kind")), (&json!("/Rooms"), None));
        assert_eq!(desk.get(&format!("/Schemas/{ROOM}")).await.status, StatusCode::OK);
        let mut ids = Vec::new();
        for (label, seats) in [("Aula", 120), ("Box", 2), ("Club", 20)] {
            let made = desk.ask("POST", "/Rooms", &room(label, seats)).await;
            assert_eq!((made.status, &made.body["meta"]["resourceType"]), (StatusCode::CREATED, &json!("Room")));
            assert_eq!((&made.body["seats"], &made.body["externalId"]), (&json!(seats), &json!(label)));
            ids.push(made.body["id"].as_str().unwrap().to_owned());
        }
        let missing = desk.ask("POST", "/Rooms", &json!({"schemas": [ROOM], "seats": 1})).await;
        assert_eq!((missing.status, &missing.body["scimType"]), (StatusCode::BAD_REQUEST, &json!("invalidValue")));
        assert_eq!(desk.ask("POST", "/Users", &user("inhabitant")).await.status, StatusCode::CREATED);

        let labels = async |at: &str| -> Vec<String> {
            let page = desk.get(at).await.body;
            let all = page["Resources"].as_array().unwrap_or_else(|| panic!("{page}"));
            all.iter().map(|room| room["label"].as_str().unwrap_or("no room").to_owned()).collect()
        };
        assert_eq!(labels("/Rooms?sortBy=seats&sortOrder=descending").await, ["Aula", "Club", "Box"]);
        assert_eq!(labels("/Rooms?filter=seats%20lt%20100&sortBy=label").await, ["Box", "Club"]);
        assert_eq!(labels("/Rooms?filter=externalId%20eq%20%22Club%22").await, ["Club"]);
        assert_eq!(labels("/Rooms?count=1&startIndex=2&sortBy=label").await, ["Box"]);

        let at = format!("/Rooms/{}", ids[1]);
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
            {"op": "add", "path": "tags", "value": ["quiet"]},
            {"op": "add", "path": "phones[type eq \"desk\"].value", "value": "21"},
            {"op": "replace", "value": {"seats": 3}}]});
        let patched = desk.ask("PATCH", &at, &body).await.body;
        assert_eq!(patched["tags"], json!(["quiet"]), "{patched}");
        assert_eq!((&patched["phones"][0]["value"], &patched["seats"]), (&json!("21"), &json!(3)));
        let replaced = desk.ask("PUT", &at, &room("Box 2", 5)).await.body;
        assert_eq!((&replaced["label"], replaced.get("tags")), (&json!("Box 2"), None), "{replaced}");
        let found = desk
            .ask(
                "POST",
                "/.search",
                &json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": "label sw \"box\""}),
            )
            .await
            .body;
        assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &json!(ids[1])), "{found}");

        assert_eq!(desk.ask("DELETE", &at, &json!(null)).await.status, StatusCode::NO_CONTENT);
        assert_eq!(desk.get(&at).await.status, StatusCode::NOT_FOUND);
        assert_eq!(labels("/Rooms?sortBy=label").await, ["Aula", "Club"]);
        // Without its file the type is gone; what it held comes back with it.
        desk.app.swap_config(Config::parse(&all).unwrap());
        assert_eq!(desk.get("/Rooms").await.status, StatusCode::NOT_FOUND);
        assert_eq!(desk.get("/Users").await.body["totalResults"], 1);
        desk.app.swap_config(Config::parse(&config).unwrap());
        assert_eq!(labels("/Rooms?sortBy=label").await, ["Aula", "Club"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_what_a_file_says_is_unique_is_kept_so() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let folder = tempfile::tempdir().unwrap();
        let config = format!("{CONFIG}[scim]\nschemas = '{}'\n", folder.path().display());
        let write = |uniqueness: &str| {
            let file = json!({"id": SITE, "name": "Site", "extends": ["User"], "attributes": [
                {"name": "badge", "type": "string", "caseExact": true, "uniqueness": uniqueness},
                {"name": "keys", "type": "complex", "multiValued": true, "subAttributes": [
                    {"name": "value", "type": "string", "uniqueness": uniqueness}]}]});
            std::fs::write(folder.path().join("site.json"), file.to_string()).unwrap();
        };
        let take = async |uniqueness: &str| {
            write(uniqueness);
            desk.app.swap_config(Config::parse(&config).unwrap());
            desk.app.keep_uniques().await.unwrap();
        };
        let with = |name: &str, badge: &str| {
            let mut body = user(name);
            body[SITE] = json!({"badge": badge});
            body
        };
        let post = async |name: &str, badge: &str| desk.ask("POST", "/Users", &with(name, badge)).await;
        let patch = async |id: &str, path: &str, value: serde_json::Value| {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                              "Operations": [{"op": "replace", "path": path, "value": value}]});
            desk.ask("PATCH", &format!("/Users/{id}"), &body).await
        };
        let id = |answer: &super::Answer| answer.body["id"].as_str().unwrap().to_owned();
        let badge = format!("{SITE}:badge");

        take("none").await;
        let twin = id(&post("one", "B7").await);
        assert_eq!(post("two", "B7").await.status, StatusCode::CREATED);
        let eight = id(&post("three", "B8").await);

        // What is there already counts from now on; what is shared already stays.
        take("server").await;
        let refused = post("four", "B8").await;
        assert_eq!((refused.status, &refused.body["scimType"]), (StatusCode::CONFLICT, &json!("uniqueness")));
        assert!(refused.body["detail"].as_str().unwrap().contains(&badge), "{}", refused.body);
        assert_eq!(post("four", "B7").await.status, StatusCode::CONFLICT);
        let four = id(&post("four", "b8").await);
        assert_eq!(patch(&four, &badge, json!("B8")).await.status, StatusCode::CONFLICT);
        assert_eq!(patch(&twin, "title", json!("Dr")).await.status, StatusCode::OK);
        for (filter, count) in [("eq \"B8\"", 1), ("eq \"B7\"", 2), ("eq \"b7\"", 0), ("sw \"B\"", 3), ("eq \"\"", 0)] {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
                              "filter": format!("{badge} {filter}")});
            assert_eq!(desk.ask("POST", "/Users/.search", &body).await.body["totalResults"], count, "{filter}");
        }
        assert_eq!(patch(&eight, &badge, json!("B8")).await.status, StatusCode::OK);
        assert_eq!(patch(&four, &badge, json!("B9")).await.status, StatusCode::OK);
        assert_eq!(post("five", "b8").await.status, StatusCode::CREATED, "given up");
        let keys = format!("{SITE}:keys");
        assert_eq!(patch(&four, &keys, json!([{"value": "K1"}, {"value": "K2"}])).await.status, StatusCode::OK);
        assert_eq!(patch(&eight, &keys, json!([{"value": "k2"}])).await.status, StatusCode::CONFLICT, "in any case");
        assert_eq!(desk.ask("DELETE", &format!("/Users/{eight}"), &json!(null)).await.status, StatusCode::NO_CONTENT);
        assert_eq!(post("six", "B8").await.status, StatusCode::CREATED, "who is gone has nothing");

        // Ten at once: one of them has it.
        let at_once = futures_util::future::join_all((0..10).map(|n| {
            let body = with(&format!("runner{n}"), "B10");
            let desk = &desk;
            async move { desk.ask("POST", "/Users", &body).await.status }
        }));
        let mut told: Vec<u16> = at_once.await.into_iter().map(|status| status.as_u16()).collect();
        told.sort_unstable();
        assert_eq!(told, [vec![201], vec![409; 9]].concat());

        // What is prepared is what is taken, whatever becomes of the file meanwhile.
        take("none").await;
        let ready = desk.app.ready(Config::parse(&config).unwrap());
        write("global");
        desk.app.prepare(&ready).await.unwrap();
        desk.app.swap(ready);
        assert_eq!(post("x1", "B11").await.status, StatusCode::CREATED);
        assert_eq!(post("x2", "B11").await.status, StatusCode::CREATED, "the schemas of before the file changed");
        let ready = desk.app.ready(Config::parse(&config).unwrap());
        write("none");
        desk.app.prepare(&ready).await.unwrap();
        desk.app.swap(ready);
        assert_eq!(post("x3", "B11").await.status, StatusCode::CONFLICT);
        assert_eq!(post("x4", "B12").await.status, StatusCode::CREATED);
        assert_eq!(post("x5", "B12").await.status, StatusCode::CONFLICT);

        take("none").await;
        assert_eq!(post("seven", "B10").await.status, StatusCode::CREATED, "the file does not ask for it any more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r38_what_a_file_says_of_its_attributes_and_their_parts_holds() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let folder = tempfile::tempdir().unwrap();
        let file = json!({"id": SITE, "name": "Site", "extends": ["User"], "attributes": [
            {"name": "pin", "type": "string", "mutability": "writeOnly"},
            {"name": "req", "type": "string", "required": true},
            {"name": "since", "type": "dateTime", "uniqueness": "server"},
            {"name": "box", "type": "complex", "subAttributes": [
                {"name": "imm", "type": "string", "mutability": "immutable"},
                {"name": "w", "type": "integer", "required": true}]},
            {"name": "cars", "type": "complex", "multiValued": true, "subAttributes": [
                {"name": "value", "type": "string"}, {"name": "vin", "type": "string", "mutability": "immutable"}]}]});
        std::fs::write(folder.path().join("site.json"), file.to_string()).unwrap();
        let config = format!("{CONFIG}[scim]\nschemas = '{}'\n", folder.path().display());
        desk.app.swap_config(Config::parse(&config).unwrap());
        desk.app.keep_uniques().await.unwrap();
        let with = |name: &str, site: serde_json::Value| {
            let mut body = user(name);
            body[SITE] = site;
            body
        };
        let post = async |name: &str, site: serde_json::Value| desk.ask("POST", "/Users", &with(name, site)).await;

        // Written only: taken, and neither shown nor asked about.
        let made = post("a", json!({"pin": "1234", "req": "x", "since": "9999-12-31T23:59:59Z"})).await;
        assert_eq!(made.body[SITE], json!({"req": "x", "since": "9999-12-31T23:59:59Z"}), "{}", made.body);
        let at = format!("/Users/{}", made.body["id"].as_str().unwrap());
        assert_eq!(desk.get(&format!("{at}?attributes={SITE}:req")).await.body[SITE], json!({"req": "x"}));
        let asked = desk.get(&format!("/Users?filter={SITE}:pin%20sw%20%2212%22")).await;
        assert_eq!((asked.status, &asked.body["scimType"]), (StatusCode::FORBIDDEN, &json!("sensitive")));
        let published = desk.get(&format!("/Schemas/{SITE}")).await.body;
        assert_eq!(published["schemas"], json!(["urn:ietf:params:scim:schemas:core:2.0:Schema"]));
        let pin = &published["attributes"][0];
        assert_eq!(
            (&pin["returned"], &pin["multiValued"], &pin["uniqueness"]),
            (&json!("never"), &json!(false), &json!("none"))
        );
        assert_eq!(published["attributes"][3]["subAttributes"][1]["mutability"], "readWrite");

        // Another spelling of the same instant is the same value.
        let twin = post("b", json!({"req": "x", "since": "9999-12-31T23:59:59.000+00:00"})).await;
        assert_eq!((twin.status, &twin.body["scimType"]), (StatusCode::CONFLICT, &json!("uniqueness")));

        // Required: in the extension where there is one, and in each complex value.
        for (site, name) in [
            (json!({"cars": []}), None),
            (json!({"since": "2026-01-01T00:00:00Z"}), Some("req")),
            (json!({"req": "x", "box": {"imm": "1"}}), Some("box.w")),
        ] {
            let answer = post("c", site).await;
            match name {
                None => {
                    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
                    let gone = format!("/Users/{}", answer.body["id"].as_str().unwrap());
                    desk.ask("DELETE", &gone, &json!(null)).await;
                }
                Some(name) => {
                    assert_eq!(
                        (answer.status, &answer.body["scimType"]),
                        (StatusCode::BAD_REQUEST, &json!("invalidValue"))
                    );
                    let detail = answer.body["detail"].as_str().unwrap();
                    assert!(detail.contains(&format!("`{SITE}:{name}` is required")), "{detail}");
                }
            }
        }
        let patch = async |op: &str, path: &str, value: serde_json::Value| {
            let mut operation = json!({"op": op, "path": format!("{SITE}:{path}")});
            if !value.is_null() {
                operation["value"] = value;
            }
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]});
            let answer = desk.ask("PATCH", &at, &body).await;
            (answer.status.as_u16(), answer.body["scimType"].as_str().unwrap_or_default().to_owned())
        };
        let refused = |kind: &str| (400, kind.to_owned());
        let ok = (200, String::new());
        assert_eq!(patch("remove", "req", json!(null)).await, refused("mutability"));
        assert_eq!(patch("add", "box", json!({"imm": "1"})).await, refused("invalidValue"));

        // Immutable parts: given once.
        assert_eq!(patch("add", "box", json!({"imm": "1", "w": 1})).await, ok);
        assert_eq!(patch("replace", "box.w", json!(2)).await, ok);
        assert_eq!(patch("replace", "box.imm", json!("2")).await, refused("mutability"));
        assert_eq!(patch("replace", "box", json!({"imm": "2", "w": 1})).await, refused("mutability"));
        assert_eq!(patch("remove", "box", json!(null)).await, refused("mutability"), "it would come back as another");
        assert_eq!(patch("add", "cars", json!([{"value": "V1", "vin": "1"}, {"value": "V2"}])).await, ok);
        assert_eq!(patch("add", "cars[value eq \"V2\"].vin", json!("2")).await, ok);
        assert_eq!(patch("replace", "cars[value eq \"V1\"].vin", json!("9")).await, refused("mutability"));
        assert_eq!(patch("remove", "cars[value eq \"V1\"]", json!(null)).await, ok, "the whole element may go");
    })
    .await;
}
