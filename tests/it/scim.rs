//! Stories of SCIM clients against the running daemon, over HTTP, on both databases.
//! The protocol's rules are tested in `src/scim`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{Answer, Http, answer};
use crate::support::{Which, both};

mod schemas;
mod sources;

/// Two providers of staff and one of customers, who may take away what they like.
pub const SOURCES: &str = r#"
[sources.idp]
kind = "scim"
realm = "agent"
guard = { percent = 100, count = 1000 }
[sources.second]
kind = "scim"
realm = "agent"
guard = { percent = 100, count = 1000 }
[sources.portal]
kind = "scim"
realm = "client"
"#;

async fn daemon(which: Which) -> Daemon {
    Daemon::builder(which).config(SOURCES).start().await
}

fn client(daemon: &Daemon, source: &str, scope: &str) -> Http {
    daemon.http.with_token(daemon.token(&["--source", source, "--scope", scope]))
}

const USERS: &str = "/scim/v2/Users";
const GROUPS: &str = "/scim/v2/Groups";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn eva() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "externalId": "dvorakova", "active": true,
        "userName": "eva.dvorakova@telco.example.com", "displayName": "Eva Dvorakova", "roles": [],
        "name": {"formatted": "Eva Dvorakova", "familyName": "Dvorakova", "givenName": "Eva"},
        "emails": [{"primary": true, "type": "work", "value": "eva.dvorakova@telco.example.com"}],
    })
}

fn operations(operations: Value) -> Value {
    json!({"schemas": [PATCH], "Operations": operations})
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().expect("a resource has an id").to_owned()
}

fn refused(answer: &Answer, status: u16, kind: Option<&str>) {
    let body = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/scim+json"), "{body}");
    assert_eq!(body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
    assert_eq!(body["status"], json!(status.to_string()));
    assert_eq!(body.get("scimType").and_then(Value::as_str), kind, "{body}");
}

/// From the connection test to the rehire, as Entra sends it.
#[tokio::test(flavor = "multi_thread")]
async fn b7_a_person_comes_changes_and_goes() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let idp = client(&daemon, "idp", "scim");
        let probe = idp.get(&format!("{USERS}?filter=userName%20eq%20%22no-such%22&")).await.expect(200);
        assert_eq!((&probe["totalResults"], &probe["Resources"]), (&json!(0), &json!([])));

        let made = idp.post(USERS, &eva()).await;
        let body = made.expect(201);
        let user = format!("{USERS}/{}", id(&body));
        assert_eq!(made.header("location"), body["meta"]["location"].as_str());
        assert_eq!(made.header("etag"), body["meta"]["version"].as_str());
        assert!(made.header("location").unwrap().ends_with(&user));
        assert_eq!(body["externalId"], "dvorakova");

        for filter in [
            r#"userName eq "EVA.dvorakova@telco.example.com""#,
            r#"externalId eq "dvorakova""#,
            r#"emails[type eq "work"].value eq "eva.dvorakova@telco.example.com""#,
            r#"emails eq "eva.dvorakova@telco.example.com""#,
            "externalId eq dvorakova",
            r#"name.FamilyName eq "dvorakova" and (emails.Value co "telco" or title pr)"#,
            "meta.Created gt 2015-10-10T14:38:21.8617979-07:00",
        ] {
            let pairs = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
            let found = idp.get(&format!("{USERS}?{pairs}")).await.expect(200);
            assert_eq!(found["totalResults"], 1, "{filter}");
            assert_eq!(found["Resources"][0]["id"], body["id"], "{filter}");
        }

        let patch = operations(json!([
            {"op": "Add", "path": "emails[type eq \"other\"].value", "value": "eva@home.example.com"},
            {"op": "Replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+420601000111"},
            {"op": "Replace", "path": "name.familyName", "value": "Novotna"},
            {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": "2c4e"},
            {"op": "Replace", "path": "active", "value": "False"},
        ]));
        let patched = idp.patch(&user, &patch).await.expect(200);
        assert_eq!(patched["active"], false);
        assert_eq!(patched["name"]["familyName"], "Novotna");
        assert_eq!(patched["phoneNumbers"], json!([{"type": "mobile", "value": "+420601000111"}]));
        assert_eq!(patched["meta"]["version"], "W/\"2\"");
        let read = idp.get(&user).await.expect(200);
        assert_eq!(read, patched, "a disabled account is still answered, as it was answered before");

        // The same again changes nothing, not even the version.
        assert_eq!(idp.patch(&user, &patch).await.expect(200), patched);
        // What was read and put back whole is no change either.
        assert_eq!(idp.put(&user, &read).await.expect(200), read);

        // Made anew while it is disabled, under the same name of the client: the same account, enabled.
        let mut other = eva();
        other["externalId"] = json!("another");
        refused(&idp.post(USERS, &other).await, 409, Some("uniqueness"));
        let back = idp.post(USERS, &eva()).await.expect(201);
        assert_eq!((&back["id"], &back["active"], &back["name"]["familyName"]), (&body["id"], &json!(true), &json!("Dvorakova")));
        refused(&idp.post(USERS, &eva()).await, 409, Some("uniqueness"));

        idp.delete(&user).await.expect(204);
        refused(&idp.get(&user).await, 404, None);
        refused(&idp.patch(&user, &patch).await, 404, None);
        refused(&idp.delete(&user).await, 404, None);
        let again = idp.post(USERS, &eva()).await.expect(201);
        assert_ne!(again["id"], body["id"], "the login is free again, the history is another's");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_groups_change_by_members_and_nobody_is_lost() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let idp = client(&daemon, "idp", "scim");
        let mut people = Vec::new();
        for n in 0..12 {
            people.push(id(&idp.post(USERS, &json!({"userName": format!("u{n}")})).await.expect(201)));
        }
        let made = idp.post(GROUPS, &json!({"displayName": "Team", "members": []})).await.expect(201);
        assert_eq!(made["members"], json!([]));
        let group = format!("{GROUPS}/{}", id(&made));

        // Twelve at the same moment: all of them arrive.
        let adds: Vec<_> = people
            .iter()
            .map(|person| {
                let (idp, group) = (idp.clone(), group.clone());
                let add = operations(json!([{"op": "Add", "path": "members", "value": [{"value": person}]}]));
                tokio::spawn(async move { idp.patch(&group, &add).await.expect(200) })
            })
            .collect();
        for add in adds {
            add.await.unwrap();
        }
        let members = |group: &Value| group["members"].as_array().unwrap().len();
        assert_eq!(members(&idp.get(&group).await.expect(200)), 12);
        let user = idp.get(&format!("{USERS}/{}", people[0])).await.expect(200);
        assert_eq!(user["groups"][0]["display"], "Team");

        let swap = operations(json!([
            {"op": "remove", "path": format!("members[value eq \"{}\"]", people[0])},
            {"op": "Remove", "path": "members", "value": [{"$ref": null, "value": people[1]}]},
            {"op": "add", "path": "members", "value": [{"value": people[2], "display": "again"}, {"value": "not-yet-known"}]},
        ]));
        assert_eq!(members(&idp.patch(&group, &swap).await.expect(200)), 11);
        let test = format!("{GROUPS}?filter=id%20eq%20%22{}%22%20and%20members%20eq%20%22{}%22", id(&made), people[0]);
        assert_eq!(idp.get(&test).await.expect(200)["totalResults"], 0);
        assert_eq!(idp.get(&test.replace(&people[0], &people[3])).await.expect(200)["totalResults"], 1);

        let rename = operations(json!([{"op": "replace", "value": {"id": id(&made), "displayName": "Renamed"}}]));
        let renamed = idp.patch(&group, &rename).await.expect(200);
        assert_eq!((renamed["displayName"].as_str(), members(&renamed)), (Some("Renamed"), 11));
        refused(&idp.patch(&group, &operations(json!([{"op": "replace", "path": "members"}]))).await, 400, Some("invalidValue"));
        refused(&idp.post(GROUPS, &json!({"displayName": "RENAMED"})).await, 409, Some("uniqueness"));

        let found = idp.get(&format!("{GROUPS}?excludedAttributes=members&filter=displayName%20eq%20%22renamed%22")).await.expect(200);
        assert!(found["Resources"][0].get("members").is_none());
        let none = operations(json!([{"op": "replace", "path": "members", "value": []}]));
        assert_eq!(members(&idp.patch(&group, &none).await.expect(200)), 0);
        let minimal = idp.request(Method::PATCH, &group).header("prefer", "return=minimal").json(&none);
        assert_eq!(answer(minimal).await.status, 204);
        let deleted = people[4].clone();
        idp.patch(&group, &operations(json!([{"op": "add", "path": "members", "value": [{"value": deleted}]}]))).await.expect(200);
        idp.delete(&format!("{USERS}/{deleted}")).await.expect(204);
        assert_eq!(members(&idp.get(&group).await.expect(200)), 0, "who is deleted is a member no more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_source_sees_its_realm_and_what_it_let_go_of_is_gone() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let (idp, second, portal) =
            (client(&daemon, "idp", "scim"), client(&daemon, "second", "scim"), client(&daemon, "portal", "scim"));
        let body = idp.post(USERS, &eva()).await.expect(201);
        let user = format!("{USERS}/{}", id(&body));

        // The same realm is shared, the other source's own name for it is not.
        let seen = second.get(&user).await.expect(200);
        assert!(seen.get("externalId").is_none());
        assert_eq!(
            second.get(&format!("{USERS}?filter=externalId%20eq%20%22dvorakova%22")).await.expect(200)["totalResults"],
            0
        );

        // Another realm: the answer is that of what does not exist, to the byte.
        let patch = operations(json!([{"op": "replace", "path": "active", "value": false}]));
        let unknown = format!("{USERS}/0198c0de-7a11-7abc-8def-0123456789ab");
        for (foreign, nothing) in [
            (portal.get(&user).await, portal.get(&unknown).await),
            (portal.put(&user, &eva()).await, portal.put(&unknown, &eva()).await),
            (portal.patch(&user, &patch).await, portal.patch(&unknown, &patch).await),
            (portal.delete(&user).await, portal.delete(&unknown).await),
        ] {
            refused(&foreign, 404, None);
            assert_eq!(foreign.text, nothing.text);
        }
        assert_eq!(portal.get(USERS).await.expect(200)["totalResults"], 0);
        let group = portal
            .post(GROUPS, &json!({"displayName": "G", "members": [{"value": body["id"]}, {"value": "x"}]}))
            .await
            .expect(201);
        assert!(group["members"].as_array().unwrap().iter().all(|member| member.get("$ref").is_none()), "{group}");
        assert_eq!(idp.get(&user).await.expect(200), body, "byte for byte what it was");

        // R1: the same login in the other realm is another account.
        portal.post(USERS, &eva()).await.expect(201);

        second.delete(&user).await.expect(204);
        refused(&second.get(&user).await, 404, None);
        idp.get(&user).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_s6_refusals_are_scim_on_every_path_and_leave_nothing() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let idp = client(&daemon, "idp", "scim");
        let reader = client(&daemon, "idp", "scim:read");
        let user = format!("{USERS}/{}", id(&idp.post(USERS, &eva()).await.expect(201)));
        let before = idp.get(&user).await;

        refused(&daemon.http.get(USERS).await, 401, None);
        refused(&daemon.http.get("/scim/v2/nothing").await, 401, None);
        refused(&idp.get("/scim/v2/nothing").await, 404, None);
        refused(&idp.get("/scim/v2/Users/1/2").await, 404, None);
        refused(&idp.post("/scim/v2/Schemas", &json!({})).await, 405, None);
        refused(&idp.post("/scim/v2/Bulk", &json!({})).await, 400, Some("invalidSyntax"));
        refused(&idp.send_text(Method::POST, USERS, "text/xml", "<a/>").await, 415, None);
        refused(&idp.send_text(Method::POST, USERS, "application/json", "{").await, 400, Some("invalidSyntax"));
        let twice = r#"{"userName":"x","userName":"y"}"#;
        refused(&idp.send_text(Method::POST, USERS, "application/json", twice).await, 400, Some("invalidSyntax"));
        let large = format!(r#"{{"userName":"{}"}}"#, "x".repeat(1 << 20));
        refused(&idp.send_text(Method::POST, USERS, "application/json", large).await, 413, None);
        // The rest of that body is not read: its connection ends, and the client must have seen so before it asks again.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        refused(&idp.post(USERS, &eva()).await, 409, Some("uniqueness"));
        refused(&idp.get(&format!("{USERS}?filter=nonsense%20eq%201")).await, 400, Some("invalidFilter"));
        for query in ["filter=password%20pr", "filter=password%20sw%20%22%24argon2%22", "attributes=password"] {
            refused(&idp.get(&format!("{USERS}?{query}")).await, 403, Some("sensitive"));
        }
        for path in [&user, "/scim/v2/Users/0198c0de-7a11-7abc-8def-0123456789ab"] {
            refused(&reader.delete(path).await, 403, None);
        }
        let half = operations(json!([
            {"op": "replace", "path": "title", "value": "changed"},
            {"op": "replace", "path": "id", "value": "other"},
        ]));
        refused(&idp.patch(&user, &half).await, 400, Some("mutability"));

        // S2: the id of the body counts for nothing.
        let other = idp.post(USERS, &json!({"userName": "other"})).await.expect(201);
        let mut stolen = other.clone();
        stolen["id"] = idp.get(&user).await.json()["id"].clone();
        idp.put(&format!("{USERS}/{}", id(&other)), &stolen).await.expect(200);

        let after = idp.get(&user).await;
        assert_eq!((&before.text, before.header("etag")), (&after.text, after.header("etag")));

        let with = |name: &'static str, value: &'static str, method: Method| {
            answer(
                idp.request(method, &user)
                    .header(name, value)
                    .json(&operations(json!([{"op": "remove", "path": "title"}]))),
            )
        };
        assert_eq!(with("if-none-match", "W/\"1\"", Method::GET).await.status, 304);
        assert_eq!(with("if-match", "W/\"9\"", Method::PATCH).await.status, 412);
        assert_eq!(with("if-match", "\"1\"", Method::PATCH).await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_an_external_id_names_nobody_and_pages_are_stable() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let idp = client(&daemon, "idp", "scim");
        let mut ids = Vec::new();
        for (n, external) in ["1", "0", "-1", "admin"].iter().enumerate() {
            let made = idp.post(USERS, &json!({"userName": format!("u{n}"), "externalId": external})).await.expect(201);
            assert_ne!(made["id"], json!(external));
            ids.push(made["id"].clone());
        }
        let known = idp.post(USERS, &json!({"userName": "u4", "externalId": ids[0]})).await.expect(201);
        assert_ne!(known["id"], ids[0]);
        ids.push(known["id"].clone());
        let mut seen = Vec::new();
        for start in [1, 3, 5, 7] {
            let page = idp.get(&format!("{USERS}?startIndex={start}&COUNT=2")).await.expect(200);
            assert_eq!((&page["totalResults"], &page["startIndex"]), (&json!(5), &json!(start)));
            assert_eq!(page["itemsPerPage"], page["Resources"].as_array().unwrap().len());
            seen.extend(page["Resources"].as_array().unwrap().iter().map(|user| user["id"].clone()));
        }
        assert_eq!(seen, ids);
        for count in ["0", "-1"] {
            let page = idp.get(&format!("{USERS}?count={count}")).await.expect(200);
            assert_eq!((&page["totalResults"], &page["Resources"]), (&json!(5), &json!([])));
        }
        idp.get(&format!("{USERS}?count=9223372036854775808&startIndex=9223372036854775808")).await.expect(200);
        let search = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "attributes": ["userName"], "filter": "userName sw \"u\""});
        let found = idp.post("/scim/v2/.search", &search).await.expect(200);
        assert_eq!(found["totalResults"], 5);
        assert!(found["Resources"][0].get("meta").is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_client_keeps_its_login() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let portal = client(&daemon, "portal", "scim");
        let made = portal.post(USERS, &eva()).await.expect(201);
        let user = format!("{USERS}/{}", id(&made));
        let rename = operations(json!([{"op": "replace", "path": "userName", "value": "other"}]));
        refused(&portal.patch(&user, &rename).await, 400, Some("mutability"));
        let mut whole = eva();
        whole["userName"] = json!("other");
        refused(&portal.put(&user, &whole).await, 400, Some("mutability"));
        assert_eq!(portal.get(&user).await.expect(200), made);
    })
    .await;
}

/// Whom a token speaks for is said when it is made, by login.
#[tokio::test(flavor = "multi_thread")]
async fn b7_a_token_may_speak_for_somebody() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let made = client(&daemon, "idp", "scim").post(USERS, &eva()).await.expect(201);
        let wish = ["--source", "idp", "--scope", "scim", "--subject", "EVA.Dvorakova@telco.example.com"];
        let me = daemon.http.with_token(daemon.token(&wish)).get("/scim/v2/Me").await.expect(200);
        assert_eq!(me["id"], made["id"]);
        for (wrong, said) in [
            (&["--source", "idp", "--subject", "nobody"][..], "nobody"),
            (&["--source", "portal", "--subject", "eva.dvorakova@telco.example.com"], "no client"),
            (&["--source", "operator", "--subject", "eva"], "--source of kind scim"),
        ] {
            let done = daemon.cli(&[&["token", "create", "--scope", "api:read"], wrong].concat());
            assert_eq!(done.code, 64, "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
        }
    })
    .await;
}
