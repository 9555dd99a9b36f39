//! Companies and contacts over SCIM, for the sources that are served them: as any other resource, and tied to each other.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{CONFIG, Desk, user};
use crate::store::testing::both;

const COMPANY: &str = "urn:musterd:params:scim:schemas:core:2.0:Company";
const CONTACT: &str = "urn:musterd:params:scim:schemas:core:2.0:Contact";

async fn made(desk: &Desk, path: &str, body: &Value) -> Value {
    let answer = desk.ask("POST", path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_contacts_are_tied_to_companies() {
    both(|db| async move {
        let config = format!("{CONFIG}[sources.idp.scim]\nresource_types = 'all'\n");
        let desk = Desk::with(db, &config, "scim:read scim:write").await;
        assert_eq!(desk.get("/ResourceTypes").await.body["totalResults"], 4);
        assert_eq!(desk.get(&format!("/Schemas/{CONTACT}")).await.body["id"], CONTACT);

        let company = |name: &str, number: &str| {
            json!({"schemas": [COMPANY], "displayName": name, "number": number, "externalId": number, "services": ["PBX"]})
        };
        let acme = made(&desk, "/Companies", &company("ACME s.r.o.", "4711")).await;
        assert_eq!((&acme["services"], &acme["meta"]["resourceType"]), (&json!(["PBX"]), &json!("Company")));
        let other = made(&desk, "/Companies", &company("Other", "4712")).await;
        let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
        let body = json!({"schemas": [CONTACT], "displayName": "Eva", "emails": [{"value": "eva@acme.example"}],
                          "companies": [{"value": acme["id"], "display": "ACME"}]});
        let eva = made(&desk, "/Contacts", &body).await;
        let end = &eva["companies"][0];
        assert_eq!((&end["value"], &end["display"], &end["type"]), (&acme["id"], &json!("ACME"), &json!("Company")));
        assert!(end["$ref"].as_str().unwrap().ends_with(&format!("/scim/v2/Companies/{}", id(&acme))));

        for filter in [
            format!("companies eq \"{}\"", id(&acme)),
            "emails eq \"EVA@acme.example\"".to_owned(),
            "displayName eq \"eva\"".to_owned(),
            "companies.display sw \"ac\"".to_owned(),
        ] {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", &filter).finish();
            let found = desk.get(&format!("/Contacts?{query}")).await.body;
            assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &eva["id"]), "{filter}");
        }
        let found = desk.get("/Companies?filter=number%20eq%20%224711%22").await.body;
        assert_eq!(found["Resources"][0]["id"], acme["id"]);

        let path = format!("/Contacts/{}", id(&eva));
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
            {"op": "remove", "path": format!("companies[value eq \"{}\"]", id(&acme))},
            {"op": "add", "path": "companies", "value": [{"value": other["id"]}]},
            {"op": "replace", "path": "title", "value": "Boss"}]});
        let patched = desk.ask("PATCH", &path, &body).await.body;
        assert_eq!((&patched["companies"][0]["value"], &patched["title"]), (&other["id"], &json!("Boss")));
        assert_eq!(patched["companies"].as_array().unwrap().len(), 1);
        // A person of the realm beside them, and one search over all.
        desk.ask("POST", "/Users", &user("adam")).await;
        assert_eq!(desk.ask("POST", "/.search", &json!({})).await.body["totalResults"], 4);
        assert_eq!(desk.ask("DELETE", &format!("/Companies/{}", id(&other)), &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(desk.get(&path).await.body["companies"], json!([]));
        let missing = desk.ask("POST", "/Companies", &json!({"number": "1"})).await;
        assert_eq!(missing.body["scimType"], "invalidValue");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_who_is_not_served_them_does_not_find_them() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        for path in ["/Companies", "/Contacts", &format!("/Schemas/{CONTACT}"), "/ResourceTypes/Contact"] {
            assert_eq!(desk.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    })
    .await;
    let bound = CONFIG.replace("realm = 'agent'", "realm = 'client'\ncompany = '1'\nscim.resource_types = 'all'");
    let refused = crate::config::Config::parse(&bound).unwrap_err().to_string();
    assert!(refused.contains("sources.idp.scim.resource_types"), "{refused}");
}
