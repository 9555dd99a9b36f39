//! The page on schemas of one's own does as it says: its files are put into the folder, the daemon reads them on a reload, and
//! an identity provider and a CRM find in force what they say.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{USERS, client, operations, refused};
use crate::support::both;
use crate::support::daemon::Daemon;

const CONFIG: &str = "[sources.crm]\nkind = \"push\"\nrealm = \"agent\"\n\
                      [sources.idp]\nkind = \"scim\"\nrealm = \"agent\"\nscim.resource_types = \"all\"\n";

/// The files of the page, in its order.
fn files() -> Vec<Value> {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"))).collect()
}

async fn told(daemon: &Daemon, text: &str, times: usize) {
    for _ in 0..500 {
        if daemon.log().matches(text).count() >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("`{text}` is not told {times} times:\n{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_the_page_on_schemas_does_as_it_says() {
    both(|which| async move {
        let mut daemon = Daemon::builder(which).config(CONFIG).start().await;
        let idp = client(&daemon, "idp", "scim");
        let crm = client(&daemon, "crm", "records:push");
        idp.post(USERS, &json!({"userName": "early"})).await.expect(201);
        refused(&idp.get("/scim/v2/Rooms").await, 404, None);

        let folder = daemon.folder().join("schemas");
        std::fs::create_dir(&folder).unwrap();
        let files = files();
        assert_eq!(files.len(), 3);
        for (n, file) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("{n}.json")), file.to_string()).unwrap();
        }
        let before = std::fs::read_to_string(daemon.config_file()).unwrap();
        let after = format!("{before}\n[scim]\nschemas = \"{}\"\n", folder.display());
        std::fs::write(daemon.config_file(), after).unwrap();
        daemon.process().signal("HUP");
        told(&daemon, "was read again", 1).await;

        let site = files[0]["id"].as_str().unwrap();
        let with = |login: &str, badge: &str| json!({"userName": login, site: {"badge": badge, "floor": 4}});
        let made = idp.post(USERS, &with("a", "B1")).await.expect(201);
        refused(&idp.post(USERS, &with("b", "B1")).await, 409, Some("uniqueness"));
        let found = idp.get(&format!("{USERS}?filter={site}:floor%20gt%203")).await.expect(200);
        assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &made["id"]));
        let room = files[1]["id"].as_str().unwrap();
        let made_room = json!({"schemas": [room], "label": "Aula", "seats": 120});
        let aula = idp.post("/scim/v2/Rooms", &made_room).await.expect(201);
        let at = format!("/scim/v2/Rooms/{}", aula["id"].as_str().unwrap());
        let fewer = operations(json!([{"op": "replace", "path": "seats", "value": 100}]));
        assert_eq!(idp.patch(&at, &fewer).await.expect(200)["seats"], 100);

        // The same for records: refused with the attribute, taken when the value is free.
        let push = async |key: &str, badge: &str| {
            let attributes = json!({"userName": key, "displayName": key, site: {"badge": badge}});
            let line = json!({"kind": "user", "key": key, "attributes": attributes}).to_string();
            crm.send_text(Method::POST, "/api/v1/sources/crm/records", "application/x-ndjson", line).await
        };
        let answer = push("c", "B1").await;
        assert!(answer.text.contains(&format!("{site}:badge")), "{}", answer.text);
        let none = idp.get(&format!("{USERS}?filter=userName%20eq%20%22c%22")).await.expect(200);
        assert_eq!(none["totalResults"], 0);
        let user = format!("{USERS}/{}", made["id"].as_str().unwrap());
        let gives_up = operations(json!([{"op": "replace", "path": format!("{site}:badge"), "value": "B2"}]));
        idp.patch(&user, &gives_up).await.expect(200);
        push("c", "B1").await.expect(200);
        refused(&idp.post(USERS, &with("b", "B1")).await, 409, Some("uniqueness"));
        push("d", "B3").await.expect(200);

        // A file that makes no sense changes nothing.
        std::fs::write(folder.join("9.json"), "{\"name\": \"X\", \"endpoint\": \"/Rooms\", \"schema\": \"urn:x\"}")
            .unwrap();
        daemon.process().signal("HUP");
        told(&daemon, "the reload was refused", 1).await;
        assert!(daemon.log().contains("9.json"), "{}", daemon.log());
        assert_eq!(idp.get(&at).await.expect(200)["seats"], 100);
        std::fs::remove_file(folder.join("9.json")).unwrap();

        daemon.process().stop();
        daemon.restart().await;
        let idp = client(&daemon, "idp", "scim");
        refused(&idp.post(USERS, &with("b", "B3")).await, 409, Some("uniqueness"));
        assert_eq!(idp.get(&at).await.expect(200)["label"], "Aula");
    })
    .await;
}

const AGENT: &str = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";

#[tokio::test(flavor = "multi_thread")]
async fn r32_r33_r34_r35_r36_r38_the_fields_of_an_agent_are_stored_found_changed_and_described() {
    both(|which| async move {
        let config = format!("{CONFIG}[sources.customers]\nkind = \"scim\"\nrealm = \"client\"\n");
        let daemon = Daemon::builder(which).config(&config).start().await;
        let (idp, customers) = (client(&daemon, "idp", "scim"), client(&daemon, "customers", "scim"));
        let fields = json!({"note": "Přijde až v září", "twoFactor": true, "apiCommunicator": true, "doNotInvoice": true,
                            "statutory": true, "licenceState": "active", "pbx": "pbx-1"});
        let made = idp.post(USERS, &json!({"userName": "robot", AGENT: fields})).await.expect(201);
        idp.post(USERS, &json!({"userName": "other", AGENT: {"note": "x"}})).await.expect(201);
        let stored = json!({"note": "Přijde až v září", "pbx": "pbx-1", "twoFactor": true, "apiCommunicator": true, "doNotInvoice": true});
        assert_eq!(made[AGENT], stored, "what is read-only is not for clients to say");
        for filter in [
            format!("{AGENT}:note sw \"přijde AŽ\""),
            format!("{AGENT}:doNotInvoice eq true"),
            format!("{AGENT}:pbx eq \"PBX-1\""),
            format!("{AGENT}:apiCommunicator eq true and {AGENT}:twoFactor eq true"),
            format!("not ({AGENT}:note eq \"x\")"),
        ] {
            let search = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": filter});
            let found = idp.post(&format!("{USERS}/.search"), &search).await.expect(200);
            assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &made["id"]), "{filter}");
        }
        let at = format!("{USERS}/{}", made["id"].as_str().unwrap());
        let changed = operations(json!([
            {"op": "replace", "path": format!("{AGENT}:note"), "value": "Už je tu"},
            {"op": "remove", "path": format!("{AGENT}:apiCommunicator")},
            {"op": "remove", "path": format!("{AGENT}:pbx")},
            {"op": "replace", "value": {AGENT: {"doNotInvoice": "False"}}}]));
        let changed = idp.patch(&at, &changed).await.expect(200);
        assert_eq!(changed[AGENT], json!({"note": "Už je tu", "twoFactor": true, "doNotInvoice": false}));
        let forbidden = operations(json!([{"op": "replace", "path": format!("{AGENT}:statutory"), "value": true}]));
        refused(&idp.patch(&at, &forbidden).await, 400, Some("mutability"));

        let schema = idp.get(&format!("/scim/v2/Schemas/{AGENT}")).await.expect(200);
        let of = |name: &str| {
            let all = schema["attributes"].as_array().unwrap();
            all.iter().find(|attribute| attribute["name"] == name).unwrap()["mutability"].clone()
        };
        assert_eq!((of("note"), of("statutory"), of("licenceState")), (json!("readWrite"), json!("readOnly"), json!("readOnly")));
        // Clients have none of them.
        refused(&customers.get(&format!("/scim/v2/Schemas/{AGENT}")).await, 404, None);
        let guest = customers.post(USERS, &json!({"userName": "guest", AGENT: {"note": "x"}})).await.expect(201);
        assert_eq!(guest.get(AGENT), None);
        refused(&customers.get(&format!("{USERS}?filter={AGENT}:note%20pr")).await, 400, Some("invalidFilter"));
    })
    .await;
}
