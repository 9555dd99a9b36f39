//! Bulk (RFC 7644 §3.7): many operations in one request, each with its own answer.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Desk;
use crate::store::testing::both;

async fn bulk(desk: &Desk, operations: Value) -> Vec<Value> {
    let answer = desk.ask("POST", "/Bulk", &json!({"Operations": operations})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]));
    answer.body["Operations"].as_array().unwrap().clone()
}

fn statuses(operations: &[Value]) -> Vec<&str> {
    operations.iter().map(|operation| operation["status"].as_str().unwrap()).collect()
}

fn user(name: &str) -> Value {
    json!({"method": "POST", "bulkId": name, "path": "/Users", "data": {"userName": name}})
}

fn group(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|name| json!({"value": format!("bulkId:{name}")})).collect();
    json!({"method": "POST", "bulkId": name, "path": "/Groups", "data": {"displayName": name, "members": members}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spoken_of_is_made_first_wherever_it_stands() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let boss = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let mut eva = user("eva");
        eva["data"][boss] = json!({"manager": {"value": "bulkId:boss"}});
        let all = bulk(&desk, json!([group("staff", &["eva", "boss"]), eva, user("boss")])).await;
        assert_eq!(statuses(&all), ["201", "201", "201"]);
        // Answered in the order of the request, each with the name it was given.
        for (answer, (name, kind)) in all.iter().zip([("staff", "Groups"), ("eva", "Users"), ("boss", "Users")]) {
            assert_eq!((&answer["bulkId"], &answer["method"]), (&json!(name), &json!("POST")));
            assert_eq!(answer["version"], "W/\"1\"");
            let location = answer["location"].as_str().unwrap();
            assert!(location.contains(&format!("/scim/v2/{kind}/")), "{location}");
            assert!(answer.get("response").is_none());
        }
        let id = |at: usize| all[at]["location"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let staff = desk.get(&format!("/Groups/{}", id(0))).await.body;
        let mut members: Vec<_> = staff["members"].as_array().unwrap().iter().map(|m| m["value"].clone()).collect();
        members.sort_by_key(ToString::to_string);
        let mut wanted = [id(1), id(2)];
        wanted.sort();
        assert_eq!(members, wanted);
        let eva = desk.get(&format!("/Users/{}", id(1))).await.body;
        assert_eq!(eva[boss]["manager"]["value"], id(2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_answered_as_if_it_had_come_alone() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let id = desk.warm().await;
        let path = format!("/Users/{id}");
        let patch = |version: &str, title: &str| {
            json!({"method": "patch", "path": path, "version": version, "data": super::title(title)})
        };
        let all = bulk(
            &desk,
            json!([
                patch("W/\"1\"", "a"),
                patch("W/\"1\"", "b"),
                user("first@x.example"),
                {"method": "PUT", "path": path, "data": {"userName": "first@x.example", "title": "c"}},
                {"method": "DELETE", "path": "/Users/0198c0de-7a11-7abc-8def-000000000001"},
                {"method": "DELETE", "path": "/Nothing/1"},
                {"method": "POST", "bulkId": "x", "path": path, "data": {}},
                {"method": "POST", "bulkId": "y", "path": "/Bulk", "data": {}},
                {"method": "POST", "bulkId": "z", "path": "/Groups", "data": {"displayName": "g", "members": [{"value": "bulkId:nobody"}]}},
                {"method": "GET", "path": path},
                {"method": "DELETE", "path": path},
            ]),
        )
        .await;
        assert_eq!(
            statuses(&all),
            ["200", "412", "409", "200", "404", "400", "405", "400", "400", "400", "204"].map(|status| {
                // `return=minimal` is asked for whatever is changed: nobody reads the bodies.
                if status == "200" { "204" } else { status }
            })
        );
        assert_eq!((&all[0]["version"], &all[3]["version"]), (&json!("W/\"2\""), &json!("W/\"3\"")));
        for failed in [1, 4, 10] {
            assert!(all[failed]["location"].as_str().unwrap().contains("/Users/"), "{}", all[failed]);
        }
        assert!(all[2].get("location").is_none());
        assert_eq!(all[2]["response"]["scimType"], "uniqueness");
        assert_eq!(all[4]["response"]["status"], "404");
        assert!(all[8]["response"]["detail"].as_str().unwrap().contains("bulkId:nobody"));
        assert_eq!(desk.get(&path).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circles_are_409_and_the_rest_goes_on_until_there_are_too_many_failures() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let circle = json!([group("a", &["b"]), group("b", &["a"]), group("c", &["a"]), user("eva"), user("eva2")]);
        let all = bulk(&desk, circle.clone()).await;
        assert_eq!(statuses(&all), ["409", "409", "400", "201", "201"]);
        assert_eq!(desk.get("/Groups").await.body["totalResults"], 0);

        let two = desk.ask("POST", "/Bulk", &json!({"failOnErrors": 2, "Operations": circle})).await.body;
        let two = two["Operations"].as_array().unwrap();
        assert_eq!(statuses(two), ["409", "409"], "only what was tried is answered");
        let many: Vec<Value> = (0..1001).map(|n| user(&n.to_string())).collect();
        let refused = desk.ask("POST", "/Bulk", &json!({"Operations": many})).await;
        assert_eq!((refused.status, &refused.body["status"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("413")));
        assert_eq!(desk.get("/Users?count=0").await.body["totalResults"], 2);
        assert_eq!(desk.get("/Bulk").await.status, StatusCode::METHOD_NOT_ALLOWED);
        let bulk = &desk.get("/ServiceProviderConfig").await.body["bulk"];
        assert_eq!(*bulk, json!({"supported": true, "maxOperations": 1000, "maxPayloadSize": 1_048_576}));
    })
    .await;
}
