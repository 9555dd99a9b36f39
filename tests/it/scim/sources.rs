//! Several sources speak of the same people: who is believed, whom a client finds by `match`, who comes back after a DELETE.

use reqwest::Method;
use serde_json::{Value, json};

use super::{GROUPS, USERS, client, daemon, eva, id, operations, refused};
use crate::support::both;
use crate::support::daemon::Daemon;

const LEVELS: &str = r#"
[sources.main]
kind = "scim"
realm = "agent"
priority = 90
guard = { percent = 100, count = 1000 }
[sources.side]
kind = "scim"
realm = "agent"
priority = 10
guard = { percent = 100, count = 1000 }
protected = ["chief"]
[sources.portal]
kind = "scim"
realm = "client"
[sources.own]
kind = "scim"
realm = "agent"
company = "c-1"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn b5_an_overruled_write_keeps_version_and_etag() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(LEVELS).start().await;
        let (main, side) = (client(&daemon, "main", "scim"), client(&daemon, "side", "scim"));
        let body = main.post(USERS, &eva()).await.expect(201);
        let user = format!("{USERS}/{}", id(&body));
        let before = main.get(&user).await;
        let seen = side.get(&user).await;
        let patch = operations(json!([{"op": "replace", "path": "name.familyName", "value": "Jina"}]));
        for _ in 0..2 {
            let answer = side.patch(&user, &patch).await;
            assert_eq!(answer.expect(200), seen.json(), "the merged body, version and time as they were");
            assert_eq!(answer.header("etag"), seen.header("etag"));
            let after = main.get(&user).await;
            assert_eq!((&after.text, after.header("etag")), (&before.text, before.header("etag")));
        }
        let runs = daemon.cli(&["runs", "--source", "side", "--json"]);
        assert!(
            serde_json::from_str::<Value>(&runs.stdout).unwrap()["runs"].as_array().unwrap().is_empty(),
            "{runs:?}"
        );
        // What nobody else says is a change.
        let title = operations(json!([{"op": "replace", "path": "title", "value": "Dr"}]));
        assert_eq!(side.patch(&user, &title).await.expect(200)["meta"]["version"], "W/\"2\"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_match_finds_what_others_brought_and_never_what_the_client_holds() {
    both(|which| async move {
        let config = "[sources.crm]\nkind = \"push\"\nrealm = \"agent\"\n\
                      [sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\nmatch = [\"login\"]\n";
        let daemon = Daemon::builder(which).config(config).start().await;
        let idp = client(&daemon, "idp", "scim");
        let first = idp.post(USERS, &json!({"userName": "d2", "externalId": "A", "title": "one"})).await.expect(201);
        for external in [json!("B"), json!("A"), Value::Null] {
            let mut again = json!({"userName": "D2", "displayName": "two", "externalId": external});
            again.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            refused(&idp.post(USERS, &again).await, 409, Some("uniqueness"));
        }
        assert_eq!(idp.get(&format!("{USERS}/{}", id(&first))).await.expect(200), first);
        let group = json!({"displayName": "g3", "members": [{"value": id(&first)}]});
        let made = idp.post(GROUPS, &group).await.expect(201);
        refused(&idp.post(GROUPS, &json!({"displayName": "G3"})).await, 409, Some("uniqueness"));
        assert_eq!(idp.get(&format!("{GROUPS}/{}", id(&made))).await.expect(200)["members"], made["members"]);

        // Ten at once make one.
        let all = (0..10).map(|n| {
            let (idp, body) = (idp.clone(), json!({"userName": "race", "externalId": format!("r{n}")}));
            tokio::spawn(async move { idp.post(USERS, &body).await.status })
        });
        let mut made = 0;
        for one in all.collect::<Vec<_>>() {
            made += usize::from(one.await.unwrap() == 201);
        }
        assert_eq!(made, 1);

        // What another source brought is found and joined.
        let crm = client(&daemon, "crm", "records:push");
        let line = json!({"kind": "user", "key": "k", "attributes": {"userName": "joined", "title": "Dr"}}).to_string();
        let path = "/api/v1/sources/crm/records";
        crm.send_text(Method::POST, path, "application/x-ndjson", line).await.expect(200);
        let joined = idp.post(USERS, &json!({"userName": "Joined", "displayName": "J"})).await.expect(201);
        assert_eq!((&joined["title"], &joined["displayName"]), (&json!("Dr"), &json!("J")), "{joined}");
        refused(&idp.post(USERS, &json!({"userName": "joined"})).await, 409, Some("uniqueness"));
        let none = idp.get(&format!("{USERS}?filter=userName%20eq%20%22%5Cu0000%22")).await;
        refused(&none, 400, Some("invalidValue"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_who_let_go_of_somebody_and_makes_it_again_has_it_back() {
    both(|which| async move {
        let daemon = Daemon::builder(which).config(LEVELS).start().await;
        let (main, side) = (client(&daemon, "main", "scim"), client(&daemon, "side", "scim"));
        let (portal, own) = (client(&daemon, "portal", "scim"), client(&daemon, "own", "scim"));
        let body = main.post(USERS, &eva()).await.expect(201);
        let user = format!("{USERS}/{}", id(&body));
        let with = |external: Option<&str>, login: &str| {
            let mut body = json!({"userName": login, "nickName": "E"});
            if let Some(external) = external {
                body["externalId"] = json!(external);
            }
            body
        };
        let login = "EVA.dvorakova@telco.example.com";
        refused(&side.post(USERS, &with(None, login)).await, 409, Some("uniqueness"));
        let name = operations(json!([{"op": "replace", "value": {"externalId": "s-1", "nickName": "Evička"}}]));
        side.patch(&user, &name).await.expect(200);

        for external in [Some("s-1"), None] {
            side.delete(&user).await.expect(204);
            refused(&side.get(&user).await, 404, None);
            assert!(main.get(&user).await.expect(200).get("nickName").is_none());
            refused(&own.post(USERS, &with(None, login)).await, 409, Some("uniqueness"));
            if external.is_some() {
                refused(&side.post(USERS, &with(Some("another"), login)).await, 409, Some("uniqueness"));
            }
            let made = side.post(USERS, &with(external, login)).await;
            let back = made.expect(201);
            assert_eq!((&back["id"], &back["nickName"]), (&body["id"], &json!("E")));
            assert_eq!(
                (back.get("externalId"), &back["name"]["familyName"]),
                (external.map(|e| json!(e)).as_ref(), &json!("Dvorakova"))
            );
            assert_eq!(made.header("location"), back["meta"]["location"].as_str());
            assert_eq!(side.get(&user).await.expect(200), back);
            assert_eq!(main.get(&user).await.expect(200)["nickName"], "E");
            refused(&side.post(USERS, &with(external, login)).await, 409, Some("uniqueness"));
        }

        // Another realm: another account. Nobody holds it any more: another account too.
        assert_ne!(portal.post(USERS, &with(None, login)).await.expect(201)["id"], body["id"]);
        side.delete(&user).await.expect(204);
        main.delete(&user).await.expect(204);
        assert_ne!(side.post(USERS, &with(None, login)).await.expect(201)["id"], body["id"]);

        // A protected account stays out of reach.
        let chief = main.post(USERS, &json!({"userName": "chief"})).await.expect(201);
        assert!(side.delete(&format!("{USERS}/{}", id(&chief))).await.status >= 400);
        assert!(side.post(USERS, &json!({"userName": "chief"})).await.status >= 400);
        main.get(&format!("{USERS}/{}", id(&chief))).await.expect(200);

        // What the operator deleted is nobody's.
        let jan = main.post(USERS, &json!({"userName": "jan"})).await.expect(201);
        let path = format!("{USERS}/{}", id(&jan));
        side.patch(&path, &operations(json!([{"op": "add", "path": "title", "value": "Ing"}]))).await.expect(200);
        side.delete(&path).await.expect(204);
        let api = daemon.http.with_token(daemon.token(&["--scope", "api:write"]));
        assert!(api.delete(&format!("/api/v1/users/{}", id(&jan))).await.status < 300);
        assert_ne!(side.post(USERS, &json!({"userName": "jan"})).await.expect(201)["id"], jan["id"]);
    })
    .await;
}

/// A replacement takes back what its client said itself, not what others say.
#[tokio::test(flavor = "multi_thread")]
async fn b7_a_put_leaves_the_words_of_others() {
    both(|which| async move {
        let daemon = daemon(which).await;
        let [idp, second] = ["idp", "second"].map(|source| client(&daemon, source, "scim"));
        let mut body = eva();
        body["title"] = json!("Ms");
        let user = format!("{USERS}/{}", id(&idp.post(USERS, &body).await.expect(201)));
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let other = operations(json!([
            {"op": "add", "path": "nickName", "value": "Evička"},
            {"op": "add", "path": format!("{urn}:department"), "value": "Support"},
        ]));
        second.patch(&user, &other).await.expect(200);
        let put = idp.put(&user, &eva()).await.expect(200);
        assert_eq!(
            (put.get("title"), &put["nickName"], &put[urn]["department"]),
            (None, &json!("Evička"), &json!("Support"))
        );
        let put = second.put(&user, &eva()).await.expect(200);
        assert_eq!((put.get("nickName"), put.get(urn)), (None, None), "who said it takes it back");
    })
    .await;
}
