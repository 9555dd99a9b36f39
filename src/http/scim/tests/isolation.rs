//! What a customer's own provider can do with ids that are not its own, and what the schemas say must not be shown or
//! changed, whatever file they come from.

use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{CONFIG, Desk, user};
use crate::config::Config;
use crate::credential::bearer;
use crate::store::testing::both;
use crate::store::values;

const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A provider of the realm, and those of two customers in it.
const CUSTOMERS: &str = "[sources.idp]\nkind = 'scim'\nrealm = 'client'\n[sources.own]\nkind = 'scim'\nrealm = 'client'\n\
                         company = '1'\n[sources.other]\nkind = 'scim'\nrealm = 'client'\ncompany = '2'\n";

fn patch(operation: Value) -> Value {
    json!({"schemas": [PATCH], "Operations": [operation]})
}

impl Desk {
    /// The same daemon with a token of another source.
    async fn of(&self, source: &str) -> Desk {
        let minted = bearer::mint(&self.app.clock, "scim");
        let mut tx = self.app.db.write().await.unwrap();
        let sql = "INSERT INTO token (id, hash, label, source, scopes, created, expires) \
                   SELECT $1, $2, label, $3, scopes, created, expires FROM token WHERE id = $4";
        tx.execute(sql, values![&minted.id, minted.hash.as_slice(), source, &self.id]).await.unwrap();
        tx.commit().await.unwrap();
        let token = minted.text.expose_secret().to_owned();
        Desk { app: self.app.clone(), router: self.router.clone(), token, id: minted.id }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_nobody_puts_a_stranger_into_a_group() {
    both(|db| async move {
        let desk = Desk::with(db, CUSTOMERS, "scim:read scim:write").await;
        let [own, other] = [desk.of("own").await, desk.of("other").await];
        let stranger = other.made("/Users", &user("stranger")).await;
        let mine = own.made("/Users", &user("mine")).await;
        let members = json!([{"value": stranger}, {"value": mine}]);
        let group = own.made("/Groups", &json!({"displayName": "G", "members": members})).await;
        let add = patch(json!({"op": "add", "path": "members", "value": [{"value": stranger}]}));
        assert_eq!(own.ask("PATCH", &format!("/Groups/{group}"), &add).await.status, StatusCode::OK);
        for (who, id, groups) in [(&desk, &stranger, 0), (&other, &stranger, 0), (&desk, &mine, 1), (&own, &mine, 1)] {
            let read = who.get(&format!("/Users/{id}")).await.body;
            let count = read["groups"].as_array().map_or(0, Vec::len);
            assert_eq!(count, groups, "{read}");
        }
        let seen = desk.get(&format!("/Groups/{group}")).await.body;
        assert_eq!(seen["members"].as_array().unwrap().len(), 1, "{seen}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_what_a_file_hides_or_fixes_stays_hidden_and_fixed() {
    both(|db| async move {
        let folder = tempfile::tempdir().unwrap();
        let urn = "urn:site:params:scim:User";
        let file = json!({"id": urn, "name": "Site", "extends": ["User"], "attributes": [
            {"name": "secret", "type": "string", "mutability": "writeOnly", "returned": "never"},
            {"name": "asked", "type": "string", "returned": "request"},
            {"name": "fixed", "type": "string", "mutability": "immutable"},
            {"name": "key", "type": "complex", "subAttributes": [
                {"name": "pin", "type": "string", "returned": "never"}, {"name": "name", "type": "string"}]}]});
        std::fs::write(folder.path().join("site.json"), file.to_string()).unwrap();
        let config = format!("{CONFIG}[scim]\nschemas = '{}'\n", folder.path().display());
        let desk = Desk::with(db, &config, "scim:read scim:write").await;
        let mut body = user("eva");
        body[urn] = json!({"secret": "hush", "asked": "a", "fixed": "one", "key": {"pin": "hush", "name": "n"}});
        let made = desk.ask("POST", "/Users", &body).await.body;
        let path = format!("/Users/{}", made["id"].as_str().unwrap());
        let list = desk.get("/Users").await.body["Resources"][0].clone();
        let title = patch(json!({"op": "add", "path": "title", "value": "Ms"}));
        for shown in [made, list, desk.get(&path).await.body, desk.ask("PATCH", &path, &title).await.body] {
            assert_eq!(shown[urn], json!({"fixed": "one", "key": {"name": "n"}}), "{shown}");
        }
        let asked = desk.get(&format!("{path}?attributes={urn}:asked")).await.body;
        assert_eq!(asked[urn], json!({"asked": "a"}));
        for operation in [
            json!({"op": "replace", "path": format!("{urn}:fixed"), "value": "two"}),
            json!({"op": "remove", "path": format!("{urn}:fixed")}),
        ] {
            desk.refused("PATCH", &path, &patch(operation), "mutability").await;
        }
        body[urn]["fixed"] = json!("two");
        desk.refused("PUT", &path, &body, "mutability").await;
        assert_eq!(desk.ask("PUT", &path, &user("eva")).await.body[urn]["fixed"], "one", "silence changes nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_what_is_no_list_of_members_empties_nothing() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let [eva, adam] = [desk.made("/Users", &user("eva")).await, desk.made("/Users", &user("adam")).await];
        let group = desk.made("/Groups", &json!({"displayName": "G", "members": [{"value": eva}]})).await;
        let path = format!("/Groups/{group}");
        for value in [json!("garbage"), json!("[{\"value\": }]"), json!(["no id"]), json!(7)] {
            for operation in [
                json!({"op": "replace", "path": "members", "value": value}),
                json!({"op": "replace", "value": {"members": value}}),
                json!({"op": "add", "path": "members", "value": value}),
            ] {
                assert_eq!(
                    desk.ask("PATCH", &path, &patch(operation)).await.status,
                    StatusCode::BAD_REQUEST,
                    "{value}"
                );
            }
        }
        assert_eq!(desk.get(&path).await.body["members"][0]["value"], eva.as_str());
        let other = json!({"op": "replace", "path": format!("members[value eq \"{eva}\"]"), "value": {"value": adam}});
        desk.refused("PATCH", &path, &patch(other), "noTarget").await;
        let text = format!("[{{\"value\":\"{adam}\"}}]");
        let read =
            desk.ask("PATCH", &path, &patch(json!({"op": "replace", "path": "members", "value": text}))).await.body;
        assert_eq!((read["members"].as_array().unwrap().len(), &read["members"][0]["value"]), (1, &json!(adam)));
        // Who is deleted is no member any more, for every question, and the group is another version.
        let before = read["meta"]["version"].clone();
        assert_eq!(desk.ask("DELETE", &format!("/Users/{adam}"), &Value::Null).await.status, StatusCode::NO_CONTENT);
        let found = desk.get(&format!("/Groups?filter=members%20eq%20%22{adam}%22")).await.body;
        assert_eq!(found["totalResults"], 0);
        let read = desk.get(&path).await.body;
        assert_eq!(read["members"], json!([]));
        assert_ne!(read["meta"]["version"], before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_search_over_all_types_knows_every_name() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        desk.made("/Users", &user("eva")).await;
        desk.made("/Users", &user("adam")).await;
        desk.made("/Groups", &json!({"displayName": "Par"})).await;
        for (filter, count) in [
            ("displayName eq \"Par\" or userName eq \"eva@x.example\"", 2),
            ("meta.resourceType eq \"Group\" or userName eq \"eva@x.example\"", 2),
            ("not (userName eq \"eva@x.example\")", 2),
            ("members pr or emails pr", 2),
            ("userName ne \"eva@x.example\"", 2),
            ("userName eq null", 1),
            ("emails[type eq \"work\"]", 2),
        ] {
            let found = desk.ask("POST", "/.search", &json!({"filter": filter})).await.body;
            assert_eq!(found["totalResults"], count, "{filter}: {found}");
        }
        desk.refused("POST", "/.search", &json!({"filter": "nonsense pr"}), "invalidFilter").await;
        desk.refused("GET", "/Groups?filter=userName%20pr", &Value::Null, "invalidFilter").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_who_is_made_anew_under_another_login_is_the_same() {
    both(|db| async move {
        let desk = Desk::new(db).await;
        let eva = desk.made("/Users", &user("eva")).await;
        let off = patch(json!({"op": "replace", "path": "active", "value": false}));
        assert_eq!(desk.ask("PATCH", &format!("/Users/{eva}"), &off).await.body["active"], false);
        let mut body = user("eva");
        body["userName"] = json!("novotna@x.example");
        let again = desk.ask("POST", "/Users", &body).await;
        assert_eq!(
            (again.status, &again.body["id"], &again.body["active"]),
            (StatusCode::CREATED, &json!(eva), &json!(true))
        );
        assert_eq!(again.body["userName"], "novotna@x.example");
        assert_eq!(desk.get("/Users?filter=externalId%20eq%20%22ext-eva%22").await.body["totalResults"], 1);
        // What a replacement does not say is gone, whatever was said and taken back before.
        let path = format!("/Users/{eva}");
        for operation in [json!({"op": "add", "path": "title", "value": "x"}), json!({"op": "remove", "path": "title"})]
        {
            assert_eq!(desk.ask("PATCH", &path, &patch(operation)).await.status, StatusCode::OK);
        }
        body.as_object_mut().unwrap().remove("externalId");
        assert_eq!(desk.ask("PUT", &path, &body).await.body.get("externalId"), None);
    })
    .await;
}

/// As many requests as a bulk request has operations, and no reading by who may only write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_a_bulk_request_counts_with_all_its_operations() {
    both(|db| async move {
        let config = format!("{CONFIG}[server.limits]\nscim_rate = 1\nscim_burst = 10\n");
        let desk = Desk::with(db, &config, "scim:write").await;
        let post = |n: u32| json!({"method": "POST", "bulkId": n.to_string(), "path": "/Users", "data": user(&format!("u{n}"))});
        let bulk = |from: u32| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
                                      "Operations": (from..from + 12).map(post).collect::<Vec<_>>()});
        let first = desk.ask("POST", "/Bulk", &bulk(0)).await;
        assert_eq!(first.status, StatusCode::OK, "more than a burst takes all of it: {}", first.body);
        assert_eq!(desk.ask("POST", "/Bulk", &bulk(12)).await.status, StatusCode::TOO_MANY_REQUESTS);
        desk.app.swap_config(Config::parse(CONFIG).unwrap());
        let path = first.body["Operations"][0]["location"].as_str().unwrap().rsplit("/scim/v2").next().unwrap().to_owned();
        let nothing = desk.ask("PATCH", &path, &patch(json!({"op": "replace", "value": {}}))).await;
        assert_eq!((nothing.status, nothing.body), (StatusCode::NO_CONTENT, Value::Null));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_two_customers_call_their_groups_alike() {
    both(|db| async move {
        let desk = Desk::with(db, CUSTOMERS, "scim:read scim:write").await;
        let everyone = json!({"displayName": "Everyone"});
        for who in [&desk, &desk.of("own").await, &desk.of("other").await] {
            let id = who.made("/Groups", &everyone).await;
            who.refused("POST", "/Groups", &everyone, "uniqueness").await;
            let other = who.made("/Groups", &json!({"displayName": "Others"})).await;
            let rename = patch(json!({"op": "replace", "path": "displayName", "value": "everyone"}));
            who.refused("PATCH", &format!("/Groups/{other}"), &rename, "uniqueness").await;
            let found = who.get("/Groups?filter=displayName%20eq%20%22EVERYONE%22&sortBy=displayName").await.body;
            assert!(found.to_string().contains(&id), "{found}");
        }
    })
    .await;
}

/// Who lets go of somebody whom another source brought, and makes the same again, has it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_who_let_go_of_anothers_person_has_it_back() {
    both(|db| async move {
        let config = format!("{CONFIG}[sources.second]\nkind = 'scim'\nrealm = 'agent'\n");
        let desk = Desk::with(db, &config, "scim:read scim:write").await;
        let second = desk.of("second").await;
        let eva = desk.made("/Users", &user("eva")).await;
        let path = format!("/Users/{eva}");
        assert_eq!(second.ask("DELETE", &path, &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(second.get(&path).await.status, StatusCode::NOT_FOUND);
        let mut body = user("eva");
        body["externalId"] = json!("mine");
        assert_eq!(second.made("/Users", &body).await, eva);
        assert_eq!(second.get(&path).await.body["externalId"], "mine");
        assert_eq!(desk.get(&path).await.body["externalId"], "ext-eva");
    })
    .await;
}

/// A type of the operator's own lives in the realm of the source that brought it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_a_type_of_ones_own_has_two_realms() {
    both(|db| async move {
        let folder = tempfile::tempdir().unwrap();
        let urn = "urn:site:params:scim:schemas:Room";
        let schema = json!({"id": urn, "name": "Room", "attributes": [
            {"name": "label", "type": "string", "required": true, "uniqueness": "server"}]});
        let of = json!({"name": "Room", "endpoint": "/Rooms", "schema": urn, "schemaExtensions": []});
        std::fs::write(folder.path().join("room.json"), schema.to_string()).unwrap();
        std::fs::write(folder.path().join("type-room.json"), of.to_string()).unwrap();
        let config = format!(
            "{CONFIG}[sources.idp.scim]\nresource_types = 'all'\n[sources.call]\nkind = 'scim'\nrealm = 'client'\n\
             scim.resource_types = 'all'\n[scim]\nschemas = '{}'\n",
            folder.path().display()
        );
        let desk = Desk::with(db, &config, "scim:read scim:write").await;
        desk.app.keep_uniques().await.unwrap();
        let call = desk.of("call").await;
        let room = json!({"schemas": [urn], "label": "Aula"});
        let path = format!("/Rooms/{}", desk.made("/Rooms", &room).await);
        desk.refused("POST", "/Rooms", &room, "uniqueness").await;
        for (method, body) in [
            ("GET", Value::Null),
            ("PUT", room.clone()),
            ("PATCH", patch(json!({"op": "replace", "path": "label", "value": "x"}))),
            ("DELETE", Value::Null),
        ] {
            assert_eq!(call.ask(method, &path, &body).await.status, StatusCode::NOT_FOUND, "{method}");
        }
        assert_eq!(call.get("/Rooms").await.body["totalResults"], 0);
        let own = format!("/Rooms/{}", call.made("/Rooms", &room).await);
        assert_eq!(call.get("/Rooms?filter=label%20eq%20%22aula%22").await.body["totalResults"], 1);
        assert_eq!(desk.get(&own).await.status, StatusCode::NOT_FOUND);
        assert_eq!(desk.get("/Rooms").await.body["totalResults"], 1);
    })
    .await;
}

/// The look for circles sees what the client sees, on both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_a_circle_tells_nothing_of_a_group_that_is_not_seen() {
    both(|db| async move {
        let desk = Desk::with(db, CUSTOMERS, "scim:read scim:write").await;
        let own = desk.of("own").await;
        let inner = own.made("/Groups", &json!({"displayName": "Inner"})).await;
        let outer = desk.made("/Groups", &json!({"displayName": "Outer", "members": [{"value": inner}]})).await;
        assert_eq!(own.get(&format!("/Groups/{outer}")).await.status, StatusCode::NOT_FOUND);
        let path = format!("/Groups/{inner}");
        let random = "01a219e9-0000-7000-8000-000000000001";
        let mut told = Vec::new();
        for id in [outer.as_str(), random] {
            let add = patch(json!({"op": "add", "path": "members", "value": [{"value": id}]}));
            let answer = own.ask("PATCH", &path, &add).await;
            told.push((answer.status, answer.body.to_string().replace(id, "ID")));
        }
        assert_eq!(told[0].0, told[1].0, "{told:?}");
        assert_eq!(told[0].0, StatusCode::OK, "{told:?}");
        assert_eq!(desk.get(&format!("/Groups/{outer}")).await.body["members"].as_array().unwrap().len(), 1);
    })
    .await;
}
