//! What the files of schemas come to, and which of them are refused.

use super::*;
use crate::scim::schema::Mutability;

#[test]
fn a2_schemas_are_data_and_each_realm_has_its_own_extension() {
    let all = Registries::embedded().unwrap();
    let agent = all.of_realm(Some(Realm::Agent));
    let urns: Vec<_> = agent.at("Users").unwrap().extensions.iter().map(|schema| schema.id.as_str()).collect();
    assert_eq!(urns, [urn::ENTERPRISE, urn::AGENT]);
    let client = all.of_realm(Some(Realm::Client));
    assert!(client.schema(urn::CLIENT, "").is_some() && client.schema(urn::AGENT, "").is_none());
    let published = client.resource_type("User", "http://x").unwrap().to_string();
    assert!(!published.contains("realm") && !published.contains("kind") && !published.contains(urn::AGENT));
    assert!(agent.at("users").is_none() && agent.at("Nothing").is_none());
}

#[test]
fn a_broken_file_is_named() {
    let bad = [("a.json".to_owned(), "{".to_owned()), ("b.json".to_owned(), "{}".to_owned())];
    let text = Registries::of(&bad).unwrap_err().to_string();
    assert!(text.contains("a.json") && text.contains("b.json"), "{text}");
}

#[test]
fn a2_a_file_of_the_operator_extends_a_type_for_one_realm() {
    let folder = tempfile::tempdir().unwrap();
    let site = json!({"id": "urn:site:User", "name": "Site", "extends": ["User"], "realm": "agent", "attributes": [
        {"name": "badge", "type": "string", "multiValued": false},
        {"name": "floors", "type": "integer", "multiValued": true}]});
    std::fs::write(folder.path().join("site.json"), site.to_string()).unwrap();
    let all = Registries::load(Some(folder.path())).unwrap();
    let agent = all.of_realm(Some(Realm::Agent));
    assert!(agent.at("Users").unwrap().attribute("urn:site:User:badge").is_some());
    let schema = agent.schema("urn:site:User", "").unwrap();
    assert!(schema.get("extends").is_none() && schema.get("realm").is_none(), "{schema}");
    let told = agent.resource_type("User", "").unwrap().to_string();
    assert!(told.contains("urn:site:User") && !told.contains("realm"), "{told}");
    assert!(all.of_realm(Some(Realm::Client)).schema("urn:site:User", "").is_none());
    let known = all.vocabulary(Some(Realm::Agent)).look_up(Kind::User, "urn:site:User:badge");
    assert_eq!(known, crate::model::vocabulary::Known::Word(crate::model::vocabulary::Sort::Text));
}

#[test]
fn a2_what_makes_no_sense_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    write(
        "a.json",
        json!({"id": "site", "extends": ["Robot"], "attributes": [
        {"name": "bad name", "type": "string"}, {"name": "one", "type": "complex"},
        {"name": "two", "type": "boolean", "uniqueness": "server"}, {"name": "TWO", "type": "string"},
        {"name": "pin", "type": "string", "mutability": "writeOnly", "uniqueness": "server"},
        {"name": "hid", "type": "complex", "returned": "never", "subAttributes": [
            {"name": "part", "type": "string", "uniqueness": "server"}]},
        {"name": "told", "type": "string", "required": true, "mutability": "readOnly"}]}),
    );
    write("group.json", json!({"id": urn::GROUP, "attributes": [{"name": "displayName", "type": "string"}]}));
    write("type-x.json", json!({"name": "X", "endpoint": "x/y", "schema": urn::GROUP, "kind": "group"}));
    let told = Registries::load(Some(folder.path())).unwrap_err().each();
    for part in [
        "a.json: `id` must be a URN",
        "`bad name`",
        "`one` must have subAttributes",
        "`two` cannot be unique",
        "`pin` cannot be unique",
        "`hid.part` cannot be unique",
        "`told` is required and read-only",
        "`TWO` stands twice",
        "extends Robot",
        "group.json: `members` is missing",
        "`endpoint`",
        "kind group, too",
    ] {
        assert!(told.iter().any(|fault| fault.contains(part)), "{part}: {told:?}");
    }
}

#[test]
fn r38_where_logins_stay_the_schema_says_so() {
    let all = Registries::embedded().unwrap();
    for (stays, word) in [(false, "readWrite"), (true, "immutable")] {
        let registry = all.of_profile(Some(Realm::Client), !stays, Types::People);
        let schema = registry.schema(urn::USER, "").unwrap();
        let attributes = schema["attributes"].as_array().unwrap();
        let login = attributes.iter().find(|attribute| attribute["name"] == "userName").unwrap();
        assert_eq!(login["mutability"], word);
        let known = registry.at("Users").unwrap().attribute("userName").unwrap();
        assert_eq!(known.attribute.mutability == Mutability::Immutable, stays);
    }
}
