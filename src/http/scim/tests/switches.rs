//! The switches of a source: presets, what is answered, what is forgiven and what is refused.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{CONFIG, Desk, user};
use crate::store::testing::both;

const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const NOBODY: &str = "0198c0de-7a11-7abc-8def-0123456789ab";

fn patch(operations: Value) -> Value {
    json!({"schemas": [PATCH], "Operations": operations})
}

async fn desk(db: crate::store::Db, switches: &str) -> Desk {
    Desk::with(db, &format!("{CONFIG}[sources.idp.scim]\n{switches}\n"), "scim:read scim:write").await
}

impl Desk {
    /// Sends it, and takes the id of what was made.
    pub(super) async fn made(&self, path: &str, body: &Value) -> String {
        let answer = self.ask("POST", path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn refused(&self, method: &str, path: &str, body: &Value, kind: &str) -> String {
        let answer = self.ask(method, path, body).await;
        assert!(answer.status.is_client_error(), "{method} {path} {body}: {}", answer.status);
        assert_eq!(answer.body["scimType"], kind, "{method} {path} {body}: {}", answer.body);
        answer.body["detail"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_source_says_what_is_sent_back() {
    both(|db| async move {
        let desk = desk(db, "preset = 'entra'").await;
        let eva = desk.made("/Users", &user("eva")).await;
        let group = desk.made("/Groups", &json!({"displayName": "G"})).await;
        let title = patch(json!([{"op": "Replace", "path": "title", "value": "Ms"}]));
        assert_eq!(desk.ask("PATCH", &format!("/Users/{eva}"), &title).await.body["title"], "Ms");
        let add = patch(json!([{"op": "Add", "path": "members", "value": [{"value": eva}]}]));
        let group = format!("/Groups/{group}");
        let answer = desk.ask("PATCH", &group, &add).await;
        assert_eq!((answer.status, answer.body), (StatusCode::NO_CONTENT, Value::Null));
        assert_eq!(desk.get(&group).await.body["members"][0]["value"], eva.as_str());
        // Who names attributes wants to see them.
        let asked = desk.ask("PATCH", &format!("{group}?attributes=displayName"), &add).await;
        assert_eq!((asked.status, &asked.body["displayName"]), (StatusCode::OK, &json!("G")));
    })
    .await;
    both(|db| async move {
        let desk = desk(db, "patch_answer = 'none'").await;
        let eva = desk.made("/Users", &user("eva")).await;
        let put = desk.ask("PUT", &format!("/Users/{eva}"), &user("eva")).await;
        assert_eq!(put.status, StatusCode::NO_CONTENT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_unknown_members_are_refused_where_the_source_says_so() {
    both(|db| async move {
        let desk = desk(db, "unknown_members = 'refuse'").await;
        let eva = desk.made("/Users", &user("eva")).await;
        let members = json!([{"value": eva}, {"value": NOBODY}, {"value": "what"}]);
        let detail =
            desk.refused("POST", "/Groups", &json!({"displayName": "G", "members": members}), "invalidValue").await;
        assert!(detail.contains(NOBODY) && detail.contains("what") && !detail.contains(&eva), "{detail}");
        let group = desk.made("/Groups", &json!({"displayName": "G", "members": [{"value": eva}]})).await;
        let group = format!("/Groups/{group}");
        for op in ["add", "replace"] {
            let body = patch(json!([{"op": op, "path": "members", "value": members}]));
            desk.refused("PATCH", &group, &body, "invalidValue").await;
        }
        desk.refused("PUT", &group, &json!({"displayName": "G", "members": members}), "invalidValue").await;
        let read = desk.get(&group).await.body;
        assert_eq!((read["members"].as_array().unwrap().len(), &read["meta"]["version"]), (1, &json!("W/\"1\"")));
        // What is not there can be taken away.
        let body = patch(json!([{"op": "remove", "path": format!("members[value eq \"{NOBODY}\"]")}]));
        assert_eq!(desk.ask("PATCH", &group, &body).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_unknown_attributes_are_refused_where_the_source_says_so() {
    both(|db| async move {
        let desk = desk(db, "unknown_attributes = 'reject'").await;
        let mut body = user("eva");
        body["shoeSize"] = json!(38);
        body["name"]["nick"] = json!("E");
        let detail = desk.refused("POST", "/Users", &body, "invalidValue").await;
        assert!(detail.contains("`shoeSize`") && detail.contains("`name.nick`"), "{detail}");
        let eva = desk.made("/Users", &user("eva")).await;
        let body = patch(json!([{"op": "replace", "value": {"title": "Ms", "shoeSize": 38}}]));
        desk.refused("PATCH", &format!("/Users/{eva}"), &body, "invalidValue").await;
        assert_eq!(desk.get(&format!("/Users/{eva}")).await.body["title"], Value::Null);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_strict_means_the_standard_and_nothing_else() {
    both(|db| async move {
        let desk = desk(db, "mode = 'strict'").await;
        let eva = format!("/Users/{}", desk.made("/Users", &user("eva")).await);
        let mut bare = user("bare");
        bare.as_object_mut().unwrap().remove("schemas");
        desk.refused("POST", "/Users", &bare, "invalidValue").await;
        for (field, value) in
            [("active", json!("True")), ("emails", json!("a@x")), ("name", json!([{}])), ("schemas", json!(["urn:x"]))]
        {
            let mut body = user("other");
            body[field] = value;
            desk.refused("POST", "/Users", &body, "invalidValue").await;
        }
        for (operation, kind) in [
            (json!({"op": "Replace", "path": "title", "value": "x"}), "invalidSyntax"),
            (json!({"op": "replace", "path": "active", "value": "False"}), "invalidValue"),
            (json!({"op": "replace", "value": {"name.givenName": "E"}}), "invalidValue"),
            (json!({"op": "replace", "value": "{\"title\": \"x\"}"}), "invalidValue"),
            (json!({"op": "replace", "path": "", "value": {"title": "x"}}), "invalidPath"),
            (json!({"op": "replace", "path": "emails[type eq \"fax\"].value", "value": "x"}), "noTarget"),
            (json!({"op": "replace", "path": "emails[primary eq \"true\"].value", "value": "x"}), "invalidFilter"),
        ] {
            desk.refused("PATCH", &eva, &patch(json!([operation])), kind).await;
        }
        desk.refused(
            "PATCH",
            &eva,
            &json!({"Operations": [{"op": "add", "path": "title", "value": "x"}]}),
            "invalidSyntax",
        )
        .await;
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let fine = patch(json!([{"op": "replace", "value": {"title": "x", urn: {"department": "d"}}}]));
        assert_eq!(desk.ask("PATCH", &eva, &fine).await.status, StatusCode::OK);
        for filter in ["userName eq eva", "active eq \"true\"", "emails[type eq \"work\"].value eq \"x\""] {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
            desk.refused("GET", &format!("/Users?{query}"), &Value::Null, "invalidFilter").await;
        }
        assert_eq!(
            desk.get("/Users?filter=active%20eq%20true%20and%20title%20ne%20null").await.body["totalResults"],
            1
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_who_comes_back_is_the_same_or_a_conflict() {
    for (switch, status) in [("reactivate", StatusCode::CREATED), ("refuse", StatusCode::CONFLICT)] {
        both(|db| async move {
            let desk = desk(db, &format!("rehire = '{switch}'")).await;
            let eva = desk.made("/Users", &user("eva")).await;
            let body = patch(json!([{"op": "replace", "path": "active", "value": false}]));
            assert_eq!(desk.ask("PATCH", &format!("/Users/{eva}"), &body).await.body["active"], false);
            let again = desk.ask("POST", "/Users", &user("eva")).await;
            assert_eq!(again.status, status, "{}", again.body);
            let active = desk.get(&format!("/Users/{eva}")).await.body["active"].clone();
            assert_eq!(active, switch == "reactivate");
            if status == StatusCode::CREATED {
                assert_eq!(again.body["id"], eva.as_str());
            }
        })
        .await;
    }
}

/// A name that an index of one database does not take is refused by both, and by its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_names_that_are_too_long_to_be_found_are_refused() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        // Hardly to be compressed: no two neighbours are alike.
        let long: String = (0..1000_u32).filter_map(|n| char::from_u32(0x4e00 + n * 7919 % 20_000)).collect();
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        for (field, value) in [
            ("userName", json!(long)),
            ("displayName", json!(long)),
            ("externalId", json!(long)),
            ("emails", json!([{"value": long}])),
            (urn, json!({"employeeNumber": long})),
        ] {
            let mut body = user("eva");
            body[field] = value;
            let detail = desk.refused("POST", "/Users", &body, "invalidValue").await;
            assert!(detail.contains("2000 bytes"), "{field}: {detail}");
        }
        let mut body = user("eva");
        body["userName"] = json!(long.chars().take(600).collect::<String>());
        desk.made("/Users", &body).await;
    })
    .await;
}
