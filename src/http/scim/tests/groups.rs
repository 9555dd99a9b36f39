//! Groups in groups: who is in which, directly and not, and what would go round in a circle.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Desk, user};
use crate::store::testing::both;

async fn group(desk: &Desk, name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    let answer = desk.ask("POST", "/Groups", &json!({"displayName": name, "members": members})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn add(desk: &Desk, group: &str, member: &str) -> StatusCode {
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                      "Operations": [{"op": "add", "path": "members", "value": [{"value": member}]}]});
    desk.ask("PATCH", &format!("/Groups/{group}"), &body).await.status
}

fn memberships(user: &Value) -> Vec<(&str, &str)> {
    let groups = user["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut all: Vec<_> =
        groups.iter().map(|of| (of["display"].as_str().unwrap(), of["type"].as_str().unwrap())).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_member_of_a_group_is_indirectly_in_the_groups_above() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let eva = desk.warm().await;
        let inner = group(&desk, "inner", &[&eva]).await;
        let middle = group(&desk, "middle", &[&inner]).await;
        let outer = group(&desk, "outer", &[&middle, &eva]).await;
        let read = desk.get(&format!("/Users/{eva}")).await.body;
        assert_eq!(memberships(&read), [("inner", "direct"), ("middle", "indirect"), ("outer", "direct")]);
        for of in [&inner, &middle, &outer] {
            let found = desk.get(&format!("/Users?filter=groups.value%20eq%20%22{of}%22")).await.body;
            assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &json!(eva)), "{of}");
        }
        let found = desk.get("/Users?filter=groups.type%20eq%20%22indirect%22").await.body;
        assert_eq!(found["totalResults"], 1);
        assert_eq!(desk.ask("DELETE", &format!("/Groups/{middle}"), &Value::Null).await.status, StatusCode::NO_CONTENT);
        let read = desk.get(&format!("/Users/{eva}")).await.body;
        assert_eq!(memberships(&read), [("inner", "direct"), ("outer", "direct")]);
        let found = desk.get(&format!("/Users?filter=groups.value%20eq%20%22{middle}%22")).await.body;
        assert_eq!(found["totalResults"], 0, "a group that is gone has nobody");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_no_group_comes_round_to_itself() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let [a, b, c] = [group(&desk, "a", &[]).await, group(&desk, "b", &[]).await, group(&desk, "c", &[]).await];
        assert_eq!(add(&desk, &a, &a).await, StatusCode::BAD_REQUEST);
        assert_eq!(add(&desk, &a, &b).await, StatusCode::OK);
        assert_eq!(add(&desk, &b, &c).await, StatusCode::OK);
        assert_eq!(add(&desk, &c, &a).await, StatusCode::BAD_REQUEST);
        assert_eq!(add(&desk, &b, &a).await, StatusCode::BAD_REQUEST);
        assert_eq!(desk.get(&format!("/Groups/{c}")).await.body["members"], json!([]), "nothing of it stays");
        // Once the middle is out, the way is free.
        assert_eq!(desk.ask("DELETE", &format!("/Groups/{b}"), &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(add(&desk, &c, &a).await, StatusCode::OK);
        let two = json!({"displayName": "c", "members": [{"value": user("x")["userName"]}, {"value": c}]});
        assert_eq!(desk.ask("PUT", &format!("/Groups/{c}"), &two).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

/// Two at once, each of whom alone would be right: on PostgreSQL they would not see each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_two_at_once_close_no_circle() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        for round in 0..20 {
            let [a, b] = [group(&desk, &format!("a{round}"), &[]).await, group(&desk, &format!("b{round}"), &[]).await];
            let both = tokio::join!(add(&desk, &a, &b), add(&desk, &b, &a));
            assert!(both.0 == StatusCode::OK || both.1 == StatusCode::OK, "{both:?}");
            assert!(both.0 != StatusCode::OK || both.1 != StatusCode::OK, "round {round}: {both:?}");
        }
    })
    .await;
}
