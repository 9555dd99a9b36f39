//! What a mapping makes of records: the spellings of rules, silence and emptiness, types, relations, errors.

use serde_json::{Map, Value, json};

use super::*;
use crate::model::desired::{Digest, Nothing, Ref, Targets};
use crate::model::entity::urn;
use crate::model::kind::Rel;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn mapping(kind: Kind, names: Names, rules: Value) -> Mapping {
    let tables = json!({"groups": {"IT": "admins", "Obchod": "sales"}});
    Mapping::compile(kind, names, &object(rules), &object(tables)).unwrap()
}

fn attributes(mapping: &Mapping, raw: Value) -> Value {
    Value::Object(mapping.map(&raw, "k".to_owned()).unwrap().attributes)
}

#[test]
fn a_directory_entry_becomes_a_scim_shaped_person() {
    let mapping = mapping(
        Kind::User,
        Names::Folded,
        json!({
            "userName": "uid", "name.givenName": "givenName", "displayName": "{{ givenName }} {{ SN }}",
            "emails": "mail", "phoneNumbers.mobile": "mobile", "phoneNumbers.work": "telephoneNumber",
            "active": "= not (userAccountControl | bit(2))", "enterprise.employeeNumber": "employeeNumber",
            "agent.note": {"value": "from the directory"}, "agent.twoFactor": true,
            "agent.permissionGroup": {"from": "departmentNumber", "lookup": "groups"},
            "title": {"from": "title", "clear": true}, "nickName": "absent",
        }),
    );
    let raw = json!({
        "uid": "eva", "givenname": "Eva", "sn": "Nováková", "mail": ["eva@x.cz", "e.novakova@x.cz", "EVA@x.cz"],
        "mobile": "+420 1", "telephonenumber": "+420 2", "useraccountcontrol": "512", "employeenumber": "0042",
        "departmentnumber": "it",
    });
    assert_eq!(
        attributes(&mapping, raw),
        json!({
            "userName": "eva", "name": {"givenName": "Eva"}, "displayName": "Eva Nováková", "active": true,
            "emails": [
                {"value": "eva@x.cz", "type": "work", "primary": true}, {"value": "e.novakova@x.cz", "type": "work"}
            ],
            "phoneNumbers": [
                {"value": "+420 1", "type": "mobile"}, {"value": "+420 2", "type": "work", "primary": true}
            ],
            urn::ENTERPRISE: {"employeeNumber": "0042"},
            urn::AGENT: {"note": "from the directory", "permissionGroup": "admins", "twoFactor": true},
            "title": null,
        })
    );
    for name in ["uid", "sn", "useraccountcontrol", "absent"] {
        assert!(mapping.inputs().contains(name), "{name}");
    }
}

#[test]
fn relations_point_by_name_key_or_attribute() {
    let group = mapping(Kind::Group, Names::Folded, json!({"displayName": "cn", "members": "member"}));
    let raw = json!({"cn": "Ops", "member": ["UID=Eva, dc=x", "uid=jan,dc=x#'0101'B", "uid=EVA,dc=x"]});
    let desired = group.map(&raw, "k".to_owned()).unwrap();
    let ends = [Ref::Alias("uid=eva,dc=x".to_owned()), Ref::Alias("uid=jan,dc=x".to_owned())];
    assert_eq!(desired.relations[&Rel::Member], Targets::Whole(ends.map(Into::into).to_vec()));

    let none = group.map(&json!({"cn": "Ops"}), "k".to_owned()).unwrap();
    assert_eq!(none.relations[&Rel::Member], Targets::Whole(vec![]), "mapped and not there = none");

    let user = mapping(
        Kind::User,
        Names::Exact,
        json!({
            "contacts": {"from": "contact", "by": "number"},
            "companies": {"from": "memberships", "each": "org.id", "attributes": {"role": "role"}},
        }),
    );
    let raw = json!({"contact": 4711, "memberships": [{"org": {"id": 9}, "role": "Administrator"}]});
    let desired = user.map(&raw, "k".to_owned()).unwrap();
    let contact = Ref::Match { kind: Kind::Contact, attribute: "number".to_owned(), value: "4711".to_owned() };
    assert_eq!(desired.relations[&Rel::Pairing], Targets::Whole(vec![contact.into()]));
    let Targets::Whole(companies) = &desired.relations[&Rel::BelongsTo] else { panic!("not whole") };
    assert_eq!(companies[0].to, Ref::Key(Kind::Company, "9".to_owned()));
    assert_eq!(companies[0].attributes["role"], "Administrator");
}

#[test]
fn errors_name_target_value_and_rule() {
    let cases = [
        (json!({"active": "enabled"}), json!({"enabled": "maybe"}), "`active` from `enabled`: `maybe` is no yes or no"),
        (json!({"title": "{{ nope }}"}), json!({}), "`title` from `{{ nope }}`: there is no `nope`"),
        (json!({"title": "= title or sn or 'staff'"}), json!({"sn": ""}), "there is no `title` (`optional = true`"),
        (json!({"title": "= a ~ b"}), json!({"c": 1}), "there is no `a` and no `b` ("),
        (json!({"title": "= (a * 60000) | replace('p', a * 10000)"}), json!({"a": "p"}), "more than 65536 bytes"),
        (json!({"title": "= a * 60000"}), json!({"a": "pp"}), "more than 65536 bytes"),
        (json!({"title": "= [a * 60000]"}), json!({"a": "pp"}), "more than 65536 bytes"),
        (json!({"title": "{% for i in range(99) %}{{ a }}{% endfor %}"}), json!({"a": "p".repeat(999)}), "65536 bytes"),
        (json!({"title": {"from": "t", "lookup": "groups"}}), json!({"t": "HR"}), "`HR` is not in table `groups`"),
        (json!({"title": "= t | lookup('groups')"}), json!({"t": "HR"}), "`HR` is not in table `groups`"),
        (json!({"userName": {"from": "uid", "required": true}}), json!({}), "is required"),
        (
            json!({"title": "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"}),
            json!({}),
            "fuel",
        ),
    ];
    for (rules, raw, expected) in cases {
        let error = mapping(Kind::User, Names::Exact, rules).map(&raw, "k".to_owned()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say {expected}");
    }
}

#[test]
fn optional_names_and_defaults() {
    let mapping = mapping(
        Kind::User,
        Names::Exact,
        json!({
            "title": {"from": "{{ nope }}", "optional": true}, "nickName": {"from": "= nope", "optional": true},
            "displayName": "{{ name | default('?') }}", "locale": {"from": "nope", "default": "cs"},
            "nick": ["absent", "first", "last"],
            "userType": "= (kind | lookup('groups', 'none'))", "userName": "= first ~ '.' ~ (last | slug)",
        }),
    );
    assert_eq!(
        attributes(&mapping, json!({"kind": "obchod", "first": "a", "last": "Žižka"})),
        json!({"displayName": "?", "locale": "cs", "nick": "a", "userType": "sales", "userName": "a.zizka"})
    );
}

#[test]
fn every_fault_of_a_mapping_is_told_at_once() {
    let rules = json!({
        "password": "userPassword", "title": "{{ open", "nickName": "a..b", "active": {"from": "x", "typ": "boolean"},
        "members": "member", "locale": {"from": "x", "type": "colour"}, "contacts": {"from": "x", "by": "colour"},
        "userName": {}, "displayName": "= 1 +", "meta.version": "x",
    });
    let faults = Mapping::compile(Kind::User, Names::Exact, &object(rules), &Map::new()).unwrap_err();
    let told: Vec<&str> = faults.iter().map(|fault| fault.target.as_str()).collect();
    assert_eq!(
        told,
        ["active", "contacts", "displayName", "locale", "meta.version", "nickName", "password", "title", "userName"],
        "`members` is no relation of a person, so it is an attribute like any other"
    );
}

#[test]
fn a_rule_that_the_engine_could_not_bear_is_a_fault() {
    for rule in ["= ".to_owned() + &"-".repeat(20_000), "= title".to_owned() + &" + title".repeat(50_000)] {
        let faults = Mapping::compile(Kind::User, Names::Exact, &object(json!({"title": rule})), &Map::new());
        let told = faults.unwrap_err()[0].to_string();
        assert!(told.contains("a rule has at most 2000") && told.len() < 300, "{told}");
    }
    let deep =
        json!({"title": format!("= {}1", "-".repeat(1_000)), "nickName": format!("{{{{ {}1 }}}}", "a+".repeat(900))});
    assert_eq!(Mapping::compile(Kind::User, Names::Exact, &object(deep), &Map::new()).unwrap_err().len(), 2);
    let list = mapping(Kind::User, Names::Exact, json!({"agent.services": "= a"}));
    let many = vec!["x".repeat(60_000); 3];
    assert!(list.map(&json!({"a": many}), "k".to_owned()).is_ok(), "each text counts for itself");
}

#[test]
fn r35_the_statutory_flag_is_never_set_without_an_explicit_rule() {
    let mapping = mapping(Kind::User, Names::Exact, json!({"userName": "uid"}));
    let mapped = attributes(&mapping, json!({"uid": "eva", "statutory": true, urn::AGENT: {"statutory": true}}));
    assert_eq!(mapped, json!({"userName": "eva"}));
}

struct Knows(Digest);

impl Known for Knows {
    fn is(&self, _: Kind, _: &str, digest: &Digest) -> bool {
        *digest == self.0
    }

    fn holds(&self, _: Kind, _: &str) -> bool {
        true
    }
}

#[test]
fn b5_a_known_record_is_not_mapped_again() {
    let rules =
        json!({"key": "id", "number": "id", "displayName": "name", "when": "= type != 'spam'", "gone": "deleted"});
    let contacts = mapping(Kind::Contact, Names::Exact, rules);
    let raw = json!({"id": 7, "name": "Jan", "type": "person"});
    let Some(Record::Present(desired)) = contacts.record(&raw, &Nothing) else { panic!("not present") };
    assert_eq!((desired.key.as_str(), &desired.attributes["number"]), ("7", &json!("7")));
    let knows = Knows(desired.digest.unwrap());
    assert_eq!(contacts.record(&raw, &knows), Some(Record::Same { kind: Kind::Contact, key: "7".to_owned() }));
    let other = json!({"id": 7, "name": "Jana", "type": "person"});
    assert!(matches!(contacts.record(&other, &knows), Some(Record::Present(_))));

    assert_eq!(contacts.record(&json!({"id": 8, "type": "spam"}), &Nothing), None);
    let gone = contacts.record(&json!({"id": 8, "type": "person", "deleted": "yes"}), &Nothing);
    assert_eq!(gone, Some(Record::Gone { kind: Kind::Contact, key: "8".to_owned() }));
    for bad in [json!({"type": "x"}), json!({"id": [1, 2], "type": "x"}), json!({"id": 1}), json!("text")] {
        assert!(matches!(contacts.record(&bad, &Nothing), Some(Record::Bad { .. })), "{bad}");
    }
}
