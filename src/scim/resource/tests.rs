//! Bodies as clients send them, and what is made of them.

use serde_json::json;

use super::super::registry::Registries;
use super::*;
use crate::model::entity::urn;
use crate::model::kind::Realm;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn read_user(body: Value) -> Result<Incoming, Error> {
    let all = Registries::embedded().unwrap();
    read(all.of_realm(Some(Realm::Agent)).at("Users").unwrap(), &map(body), Dialect::default())
}

#[test]
fn names_are_spelt_as_in_the_schema_and_values_stay_as_sent() {
    let read = read_user(json!({
        "schemas": [urn::USER], "ID": "mine", "meta": {"version": "x"}, "groups": [],
        "USERNAME": "Eva@X.cz", "Active": "False", "externalid": "00u1", "nickName": "", "title": null,
        "name": {"FAMILYNAME": "Ž", "nonsense": 1}, "emails": ["a@x", {"VALUE": "b@x", "primary": "True"}],
        "phoneNumbers": [{"value": " +420 601", "type": "mobile"}], "roles": [], "password": "s3cret", "fav": 1,
        urn::ENTERPRISE: {"manager": "m1", "department": "d"}, urn::AGENT: {"statutory": true, "note": "n"},
    }))
    .unwrap();
    assert_eq!(
        Value::Object(read.attributes),
        json!({
            "userName": "Eva@X.cz", "active": false, "externalId": "00u1", "name": {"familyName": "Ž"},
            "emails": [{"value": "a@x"}, {"value": "b@x", "primary": true}],
            "phoneNumbers": [{"value": " +420 601", "type": "mobile"}],
            urn::ENTERPRISE: {"manager": {"value": "m1"}, "department": "d"}, urn::AGENT: {"note": "n"},
        })
    );
    assert!(read.password.is_some());
    assert_eq!(read.ignored, ["fav", "name.nonsense"]);
}

#[test]
fn r4_all_faults_are_listed_at_once() {
    let error =
        read_user(json!({"active": "maybe", "emails": [{"value": 5}], "name": [], "displayName": 7})).unwrap_err();
    assert_eq!(error.scim_type(), Some("invalidValue"));
    let text = error.to_string();
    for part in ["`active`", "`emails.value`", "`name`", "`displayName`", "`userName` is required"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(read_user(json!({"userName": "a", "USERNAME": "b"})).unwrap_err().to_string().contains("twice"));
    assert!(read_user(json!({"userName": " "})).is_err());
    assert!(
        read_user(
            json!({"userName": "a", "emails": [{"value": "a", "primary": true}, {"value": "b", "primary": true}]})
        )
        .is_err()
    );
}

#[test]
fn s21_control_characters_and_long_texts_are_refused() {
    for body in [
        json!({"userName": "a\r\nb"}),
        json!({"userName": "a", "displayName": "x\u{1}"}),
        json!({"userName": "a", "name": {"familyName": "x\ny"}}),
        json!({"userName": "a", "emails": ["x@y\nz"]}),
        json!({"userName": "a", "emails": [{"value": "x@y\rz"}]}),
        json!({"userName": "a".repeat(1025)}),
        json!({"userName": "a", "emails": ["a".repeat(1025)]}),
        json!({"userName": "a", "title": "a".repeat(65_537)}),
        json!({"userName": "a", urn::AGENT: {"note": "x\u{1b}"}}),
    ] {
        assert_eq!(read_user(body.clone()).unwrap_err().scim_type(), Some("invalidValue"), "{body}");
    }
    let fine = json!({
        "userName": "ž".repeat(1024), "title": "a\tb", "addresses": [{"formatted": "Street 1\r\nPrague"}],
        urn::AGENT: {"note": "one\ntwo"},
    });
    assert!(read_user(fine).is_ok());
}

#[test]
fn one_attribute_has_so_many_values_and_no_more() {
    let many = |count: usize| {
        let values: Vec<Value> = (0..count).map(|at| json!({"value": format!("e{at}")})).collect();
        read_user(json!({"userName": "a", "entitlements": values}))
    };
    assert_eq!(many(VALUES).unwrap().attributes["entitlements"].as_array().unwrap().len(), VALUES);
    let error = many(VALUES + 1).unwrap_err();
    assert_eq!(error.scim_type(), Some("invalidValue"));
    assert!(error.to_string().contains("`entitlements` has more than 1000 values"), "{error}");
}

#[test]
fn app_roles_as_json_in_a_text_are_read() {
    let role = r#"{"id":"06b0","value":"Moderator","displayName":"Mod"}"#;
    let read = read_user(json!({"userName": "a", "roles": [{"value": "x"}, role]})).unwrap();
    assert_eq!(read.attributes["roles"], json!([{"value": "x"}, {"value": "Moderator", "display": "Mod"}]));
    // As PATCH carries them, and what only looks like one.
    let roles = json!([{"value": role, "primary": "True"}, {"value": "{\"a\":1}"}, {"value": "{"}]);
    let read = read_user(json!({"userName": "a", "roles": roles})).unwrap();
    assert_eq!(
        read.attributes["roles"],
        json!([{"value": "Moderator", "display": "Mod", "primary": true}, {"value": "{\"a\":1}"}, {"value": "{"}])
    );
}

#[test]
fn only_a_list_speaks_of_members() {
    let all = Registries::embedded().unwrap();
    let shape = all.of_realm(Some(Realm::Agent)).at("Groups").unwrap();
    let said = |body: Value| read(shape, &map(body), Dialect::default()).unwrap().members.map(|members| members.len());
    assert_eq!(said(json!({"displayName": "g"})), None);
    assert_eq!(said(json!({"displayName": "g", "members": null})), None);
    assert_eq!(said(json!({"displayName": "g", "Members": []})), Some(0));
}

#[test]
fn r38_a_replacement_keeps_what_the_client_cannot_write() {
    let all = Registries::embedded().unwrap();
    let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
    let current = map(json!({
        "userName": "a", "title": "t", "active": false, "musterd": 1,
        urn::AGENT: {"statutory": true, "note": "n"}, urn::CLIENT: {"description": "other realm"},
    }));
    let after = replaced(shape, &current, &map(json!({"userName": "b"}))).unwrap();
    assert_eq!(
        Value::Object(after),
        json!({"userName": "b", "active": false, "musterd": 1, urn::AGENT: {"statutory": true}, urn::CLIENT: {"description": "other realm"}})
    );
}

#[test]
fn b7_a_replacement_takes_back_only_what_its_client_said() {
    let current = map(json!({"userName": "a", "title": "mine", "nickName": "theirs",
        "name": {"givenName": "mine", "familyName": "theirs"}, urn::AGENT: {"pbx": "theirs", "note": "mine"}}));
    let own =
        map(json!({"userName": "a", "title": "mine", "name": {"givenName": "mine"}, urn::AGENT: {"note": "mine"}}));
    let mut after = map(json!({"userName": "a"}));
    unsaid(&current, &own, &mut after);
    assert_eq!(
        Value::Object(after),
        json!({"userName": "a", "nickName": "theirs", "name": {"familyName": "theirs"}, urn::AGENT: {"pbx": "theirs"}})
    );
}
