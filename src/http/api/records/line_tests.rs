//! What a pushed line may say, and what is told of one that may not.

use serde_json::{Value, json};

use super::*;
use crate::model::desired::{Digest, Nothing};
use crate::scim::registry::Registries;

fn reader() -> Reader {
    let rules = json!({"displayName": "full_name", "emails": "mail", "active": "= state == 'on'"});
    let Value::Object(rules) = rules else { unreachable!() };
    let push = Push { map: BTreeMap::from([(Kind::Contact, rules)]), tables: Map::new() };
    let config = crate::config::Config::parse("[sources.feed]\nkind = 'push'").unwrap();
    Reader::compile(&push, Registries::embedded().unwrap().vocabulary(config.policy("feed").unwrap().realm)).unwrap()
}

fn read(line: Value) -> Parsed {
    reader().read(line.to_string().as_bytes(), &Nothing)
}

fn desired(line: Value) -> Desired {
    match read(line) {
        Parsed::Record(Record::Present(desired)) => *desired,
        other => panic!("{other:?}"),
    }
}

fn faults(line: Value) -> Vec<String> {
    match read(line) {
        Parsed::Faulty(Record::Bad { .. }, faults) => faults.into_iter().map(|fault| fault.what).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a4_a_line_says_what_a_thing_is_and_what_it_hangs_on() {
    let contact = desired(json!({
        "kind": "contact", "key": 17, "attributes": {"displayName": "Eva", "emails": [{"value": "eva@x.cz"}], "title": null},
        "relations": {"works_for": ["k-9", {"number": "ACME-1"}], "merged_into": null},
    }));
    assert_eq!(contact.key, "17");
    assert_eq!(json!(contact.attributes)["title"], Value::Null);
    let far = Ref::Match { kind: Kind::Company, attribute: "number".to_owned(), value: "acme-1".to_owned() };
    let whole = vec![Ref::Key(Kind::Company, "k-9".to_owned()).into(), far.into()];
    assert_eq!(contact.relations[&Rel::WorksFor], Targets::Whole(whole));
    assert_eq!(contact.relations[&Rel::MergedInto], Targets::Whole(vec![]));

    let user = desired(json!({
        "kind": "user", "key": "u1", "attributes": {"userName": "eva"},
        "relations": {
            "belongs_to": {"add": [{"key": "k-9", "attributes": {"role": "Member"}}], "remove": ["k-8"]}, "pairing": "17",
        },
    }));
    let Targets::Delta { add, remove } = &user.relations[&Rel::BelongsTo] else { panic!("{user:?}") };
    assert_eq!(add[0].attributes["role"], json!("Member"));
    assert_eq!(remove.len(), 1);
    assert_eq!(user.relations.len(), 2);
    assert_eq!(desired(json!({"kind": "user", "key": "u1", "attributes": {}})).relations, BTreeMap::new());
}

#[test]
fn a4_raw_records_go_through_the_mapping_of_the_source() {
    let raw = json!({"kind": "contact", "key": "1", "raw": {"full_name": "Eva", "mail": "eva@x.cz", "state": "on"}});
    let contact = desired(raw);
    assert_eq!(contact.attributes["active"], json!(true));
    assert_eq!(contact.attributes["emails"][0]["value"], json!("eva@x.cz"));
    assert_eq!(faults(json!({"kind": "ticket", "key": "1", "raw": {}})), ["raw"]);
    assert_eq!(faults(json!({"kind": "contact", "key": "1", "raw": {"full_name": "Eva"}})), ["raw"]);
}

#[test]
fn a4_what_is_gone_and_the_end_have_their_own_lines() {
    let gone = read(json!({"kind": "contact", "key": "1", "gone": true}));
    assert_eq!(gone, Parsed::Record(Record::Gone { kind: Kind::Contact, key: "1".to_owned() }));
    assert_eq!(faults(json!({"kind": "contact", "key": "1", "gone": true, "attributes": {}})), ["attributes"]);
    assert_eq!(read(json!({"end": true, "count": 7})), Parsed::End { count: 7 });
    for wrong in [json!({"end": true}), json!({"end": 1, "count": 7}), json!({"end": true, "count": 7, "x": 1})] {
        assert_eq!(faults(wrong), ["end"]);
    }
}

#[test]
fn a4_every_fault_of_a_line_is_told_at_once() {
    let all = faults(json!({
        "kind": "person", "key": "", "attributes": {}, "colour": "red", "gone": "maybe", "relations": {"knows": []},
    }));
    assert_eq!(all, ["colour", "kind", "key", "gone"]);
    let all = faults(json!({
        "kind": "contact", "key": "1",
        "attributes": {
            "active": "yes", "emails": "eva@x.cz", "name": "Eva", "password": "x", "id": "1", "displayName": 7,
            "created": "yesterday", "urn:x:Client": {"companyTickets": "true", "note": 1},
        },
        "relations": {"concerns": ["t"], "works_for": [{"key": "a", "number": "b"}]},
    }));
    assert_eq!(
        all,
        [
            "relations.concerns",
            "relations.works_for",
            "attributes.active",
            "attributes.created",
            "attributes.displayName",
            "attributes.emails",
            "attributes.id",
            "attributes.name",
            "attributes.password",
            "attributes.urn:x:Client:companyTickets",
            "attributes.urn:x:Client:note",
        ]
    );
    assert_eq!(faults(json!({"kind": "contact", "key": "1"})), ["attributes"]);
    for line in ["[1]", "{", "7", "\u{feff}{}"] {
        assert!(matches!(reader().read(line.as_bytes(), &Nothing), Parsed::Faulty(Record::Bad { key: None, .. }, _)));
    }
}

#[test]
fn a4_a_name_that_no_schema_knows_is_refused_with_what_is_near() {
    let told = |kind: &str, attributes: Value| match read(json!({"kind": kind, "key": "1", "attributes": attributes})) {
        Parsed::Faulty(_, faults) => {
            faults.into_iter().map(|fault| format!("{}: {}", fault.what, fault.allowed)).collect()
        }
        _ => Vec::new(),
    };
    let client = crate::model::entity::urn::CLIENT;
    let user = json!({
        "userNam": "eva", "username": "eva", "name": {"givenNam": "Eva"}, "emails": [{"value": "e@x.cz", "typ": "work"}],
        "profileUrl": 7, "licenceState": "held", client: {"companyTicket": true, "companyContacts": "yes"},
        "urn:x": {"y": 1},
    });
    assert_eq!(
        told("user", user),
        [
            "attributes.emails.typ: nothing: a user has no such attribute (did you mean emails.type?)".to_owned(),
            "attributes.licenceState: nothing: a user has no such attribute".to_owned(),
            "attributes.name.givenNam: nothing: a user has no such attribute (did you mean name.givenName?)".to_owned(),
            "attributes.profileUrl: a text".to_owned(),
            format!("attributes.{client}:companyContacts: true or false"),
            format!(
                "attributes.{client}:companyTicket: nothing: a user has no such attribute \
                 (did you mean {client}:companyTickets?)"
            ),
            "attributes.urn:x:y: nothing: a user has no such attribute".to_owned(),
            "attributes.userNam: nothing: a user has no such attribute (did you mean userName?)".to_owned(),
            "attributes.username: nothing: a user has no such attribute (did you mean userName?)".to_owned(),
        ]
    );
    assert_eq!(told("group", json!({"displayName": "Ops", "displayNam": "Ops"})).len(), 1);
    let own = json!({"shoeSize": 43, "urn:x": {"y": 1}, "number": "7"});
    assert_eq!(told("contact", own), Vec::<String>::new(), "a CRM's own");
    let ticket = json!({"number": 7, "displayName": 7, "status": 7, "created": 7, "externalComments": "yes"});
    assert_eq!(told("ticket", ticket).len(), 5);
}

/// Knows one digest.
#[test]
fn r37_a_path_written_as_one_name_is_told_how_it_is_written() {
    let agent = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";
    let told = |attributes: Value| match read(json!({"kind": "user", "key": "u", "attributes": attributes})) {
        Parsed::Faulty(Record::Bad { .. }, faults) => {
            faults.into_iter().map(|fault| fault.allowed).collect::<Vec<_>>().join("; ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(told(json!({"name.givenName": "g"})), r#"nested: {"name": {"givenName": …}}"#);
    assert_eq!(told(json!({format!("{agent}:pbx"): "A"})), format!(r#"nested: {{"{agent}": {{"pbx": …}}}}"#));
    assert_eq!(told(json!({"agent.pbx": "A"})), format!(r#"nested: {{"{agent}": {{"pbx": …}}}}"#));
    assert!(told(json!({"pbx": "A"})).contains(&format!(r#"did you mean {{"{agent}": {{"pbx": …}}}}?"#)));
    let nested = desired(json!({"kind": "user", "key": "u", "attributes": {agent: {"pbx": "A"}}}));
    assert_eq!(nested.attributes[agent]["pbx"], "A");
}

struct Once(Digest);

impl Known for Once {
    fn is(&self, _: Kind, _: &str, digest: &Digest) -> bool {
        self.0 == *digest
    }

    fn holds(&self, _: Kind, _: &str) -> bool {
        true
    }
}

#[test]
fn b5_the_same_line_again_is_the_same() {
    let line = |title: &str| json!({"kind": "contact", "key": "1", "attributes": {"title": title}});
    let known = Once(desired(line("Dr")).digest.unwrap());
    let again = reader().read(line("Dr").to_string().as_bytes(), &known);
    assert_eq!(again, Parsed::Record(Record::Same { kind: Kind::Contact, key: "1".to_owned() }));
    assert!(matches!(reader().read(line("Ing").to_string().as_bytes(), &known), Parsed::Record(Record::Present(_))));
}
