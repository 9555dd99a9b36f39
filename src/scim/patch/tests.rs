//! PATCH as the identity providers send it, and as RFC 7644 §3.5.2 words it. Owns the proofs of `patch` and `edit`;
//! starts no server. Begin with `quirks`, which is a table of operations and what they must make of one person.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::desired::Targets;
use crate::model::entity::urn;
use crate::model::kind::{Kind, Realm};
use crate::scim::registry::Registries;

const ID: &str = "0198c0de-7a11-7abc-8def-0123456789ab";

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn run(endpoint: &str, current: &Value, ops: &Value) -> Result<Patched, Error> {
    let all = Registries::embedded().unwrap();
    let shape = all.of_realm(Some(Realm::Agent)).at(endpoint).unwrap();
    let operations = operations(&map(&json!({"Operations": ops})), Mode::Tolerant)?;
    apply(shape, ID, &map(current), &operations, &[], Dialect::default())
}

fn eva() -> Value {
    json!({
        "userName": "eva", "active": true, "title": "Dr", "name": {"givenName": "Eva", "familyName": "D"},
        "emails": [{"value": "w@x", "type": "work", "primary": true}, {"value": "h@x", "type": "home"}],
        urn::AGENT: {"statutory": true, "note": "n"},
    })
}

/// `eva()` with these attributes laid over it; `null` takes one away.
fn with(changes: Value) -> Value {
    let mut document = map(&eva());
    for (name, value) in map(&changes) {
        if value.is_null() {
            document.remove(&name)
        } else {
            document.insert(name, value)
        };
    }
    Value::Object(document)
}

#[test]
fn b7_quirks_of_the_identity_providers() {
    let work = |value: &str| json!({"value": value, "type": "work", "primary": true});
    let home = json!({"value": "h@x", "type": "home"});
    for (ops, wanted) in [
        (json!([{"op": "Replace", "path": "active", "value": "False"}]), with(json!({"active": false}))),
        (json!([{"op": "Add", "path": "active", "value": "false"}]), with(json!({"active": false}))),
        (json!([{"op": "replace", "value": {"active": false}}]), with(json!({"active": false}))),
        (json!([{"op": "replace", "value": "{\"active\":false}"}]), with(json!({"active": false}))),
        (json!([{"op": "replace", "path": "", "value": {"TITLE": "Ing"}}]), with(json!({"title": "Ing"}))),
        (
            json!([{"op": "replace", "value": {"name.familyName": "N", format!("{}:employeeNumber", urn::ENTERPRISE): "4711"}}]),
            with(json!({"name": {"givenName": "Eva", "familyName": "N"}, urn::ENTERPRISE: {"employeeNumber": "4711"}})),
        ),
        (
            json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "n@x"}]),
            with(json!({"emails": [work("n@x"), home]})),
        ),
        (
            json!([{"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+420"},
                   {"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].display", "value": "m"}]),
            with(json!({"phoneNumbers": [{"type": "mobile", "value": "+420", "display": "m"}]})),
        ),
        (
            json!([{"op": "Replace", "path": "roles[primary eq \"True\"].value", "value": "Moderator"}]),
            with(json!({"roles": [{"primary": true, "value": "Moderator"}]})),
        ),
        (
            json!([{"op": "Add", "path": "roles", "value": [{"value": "Moderator"}, "{\"value\":\"x\",\"displayName\":\"X\"}"]}]),
            with(json!({"roles": [{"value": "Moderator"}, {"value": "x", "display": "X"}]})),
        ),
        (
            json!([{"op": "add", "path": format!("{}:manager", urn::ENTERPRISE), "value": "m1"}]),
            with(json!({urn::ENTERPRISE: {"manager": {"value": "m1"}}})),
        ),
        (
            json!([{"op": "add", "path": format!("{}:manager", urn::ENTERPRISE), "value": "m1"},
                   {"op": "replace", "path": format!("{}:manager", urn::ENTERPRISE), "value": ""}]),
            eva(),
        ),
        (json!([{"op": "remove", "path": "emails[type eq \"work\"]"}]), with(json!({"emails": [home]}))),
        (json!([{"op": "remove", "path": "emails[type eq \"work\"].value"}]), with(json!({"emails": [home]}))),
        (json!([{"op": "remove", "path": "emails[type eq \"other\"]"}]), eva()),
        (json!([{"op": "Remove", "path": "emails", "value": [{"value": "w@x"}]}]), with(json!({"emails": [home]}))),
        (json!([{"op": "remove", "path": "emails"}]), with(json!({"emails": null}))),
        (json!([{"op": "replace", "path": "emails", "value": []}]), with(json!({"emails": null}))),
        (json!([{"op": "add", "path": "emails", "value": [home]}]), eva()),
        (
            json!([{"op": "add", "path": "emails", "value": {"value": "o@x", "type": "other", "primary": true}}]),
            with(
                json!({"emails": [{"value": "w@x", "type": "work", "primary": false}, home, {"value": "o@x", "type": "other", "primary": true}]}),
            ),
        ),
        (
            json!([{"op": "replace", "path": "name", "value": {"familyName": "N"}}]),
            with(json!({"name": {"givenName": "Eva", "familyName": "N"}})),
        ),
        (
            json!([{"op": "replace", "path": "name", "value": {"familyName": null}}]),
            with(json!({"name": {"givenName": "Eva"}})),
        ),
        (
            json!([{"op": "remove", "path": "name.familyName"}, {"op": "remove", "path": "name.givenName"}]),
            with(json!({"name": null})),
        ),
        (json!([{"op": "replace", "path": "title", "value": null}]), with(json!({"title": null}))),
        (
            json!([{"op": "replace", "path": urn::AGENT, "value": {"note": "new"}}]),
            with(json!({urn::AGENT: {"statutory": true, "note": "new"}})),
        ),
        (json!([{"op": "remove", "path": urn::AGENT}]), with(json!({urn::AGENT: {"statutory": true}}))),
        (
            json!([{"op": "replace", "value": {"schemas": [urn::USER], "id": ID, "meta": {"version": "W/\"1\""}, "groups": [], "title": "Ing",
                urn::AGENT: {"statutory": true}, urn::USER: {"nickName": "E"}, "nonsense": 1}}]),
            with(json!({"title": "Ing", "nickName": "E"})),
        ),
    ] {
        let patched = run("Users", &eva(), &ops).unwrap_or_else(|error| panic!("{ops}: {error}"));
        assert_eq!(Value::Object(patched.document), wanted, "{ops}");
    }
}

#[test]
fn s3_what_cannot_be_written_is_refused_in_every_spelling() {
    for path in [
        "id",
        "ID",
        "meta",
        "meta.created",
        "groups",
        "GROUPS",
        "schemas",
        "urn:ietf:params:scim:schemas:core:2.0:User:id",
        "urn:musterd:params:scim:schemas:extension:agent:2.0:User:statutory",
        "groups[value eq \"g\"]",
    ] {
        for op in ["add", "replace", "remove"] {
            let error = run("Users", &eva(), &json!([{"op": op, "path": path, "value": "x"}])).unwrap_err();
            assert_eq!(error.scim_type(), Some("mutability"), "{op} {path}: {error}");
        }
    }
    for value in [
        json!({"id": "other"}),
        json!({urn::AGENT: {"statutory": false}}),
        json!({format!("{}:licenceState", urn::AGENT): "active"}),
    ] {
        let error = run("Users", &eva(), &json!([{"op": "replace", "value": value}])).unwrap_err();
        assert_eq!(error.scim_type(), Some("mutability"), "{value}");
    }
}

#[test]
fn s5_unknown_shapes_are_refused_and_nothing_is_emptied() {
    for (ops, kind) in [
        (json!([]), "invalidSyntax"),
        (json!("x"), "invalidSyntax"),
        (json!([5]), "invalidSyntax"),
        (json!([{"op": "move", "path": "title"}]), "invalidSyntax"),
        (json!([{"path": "title", "value": "x"}]), "invalidSyntax"),
        (json!([{"op": "remove"}]), "noTarget"),
        (json!([{"op": "replace", "value": []}]), "invalidValue"),
        (json!([{"op": "replace", "value": "eva"}]), "invalidSyntax"),
        (json!([{"op": "replace", "path": "title"}]), "invalidValue"),
        (json!([{"op": "replace", "path": "nonsense", "value": 1}]), "invalidPath"),
        (json!([{"op": "replace", "path": 5, "value": 1}]), "invalidPath"),
        (json!([{"op": "replace", "path": "active", "value": "maybe"}]), "invalidValue"),
        (
            json!([{"op": "replace", "path": "emails[type ne \"x\" and value co \"zz\"].value", "value": "a"}]),
            "noTarget",
        ),
        (json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": 7}]), "invalidValue"),
        (json!([{"op": "remove", "path": "userName"}]), "mutability"),
        (
            json!([{"op": "replace", "path": "title", "value": "ok"}, {"op": "replace", "path": "active", "value": 3}]),
            "invalidValue",
        ),
    ] {
        assert_eq!(run("Users", &eva(), &ops).unwrap_err().scim_type(), Some(kind), "{ops}");
    }
}

#[test]
fn members_are_deltas_and_nobody_is_lost() {
    let group = json!({"displayName": "G"});
    let delta = |ops: Value| match run("Groups", &group, &ops)
        .unwrap_or_else(|error| panic!("{ops}: {error}"))
        .members
        .targets(Kind::User)
    {
        Some(Targets::Delta { add, remove }) => format!("+{} -{}", add.len(), remove.len()),
        Some(Targets::Whole(all)) => format!("={}", all.len()),
        None => "none".to_owned(),
    };
    for (ops, wanted) in [
        (json!([{"op": "add", "path": "members", "value": [{"value": "a"}, {"value": "a"}, {"value": "b"}]}]), "+2 -0"),
        (json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": "a"}]}]), "+0 -1"),
        (
            json!([{"op": "remove", "path": "members[value eq \"a\"]"}, {"op": "add", "path": "members", "value": [{"value": "b"}]}]),
            "+1 -1",
        ),
        (json!([{"op": "remove", "path": "members[value eq \"a\" or value eq \"b\"]"}]), "+0 -2"),
        (json!([{"op": "remove", "path": "members"}]), "=0"),
        (json!([{"op": "remove", "path": "members", "value": []}]), "none"),
        (json!([{"op": "replace", "path": "members", "value": []}]), "=0"),
        (json!([{"op": "replace", "path": "members", "value": [{"value": "a"}]}]), "=1"),
        (json!([{"op": "replace", "value": {"members": [{"value": "a"}, {"value": "b"}]}}]), "=2"),
        (json!([{"op": "replace", "value": {"id": ID, "displayName": "G"}}]), "none"),
        (json!([{"op": "replace", "value": {"displayName": "H", "members": null}}]), "none"),
        (json!([{"op": "add", "path": "members[value eq \"a\"]", "value": {"display": "x"}}]), "+1 -0"),
    ] {
        assert_eq!(delta(ops.clone()), wanted, "{ops}");
    }
    for bad in [
        json!([{"op": "replace", "path": "members"}]),
        json!([{"op": "replace", "path": "members", "value": null}]),
        json!([{"op": "add", "path": "members", "value": [{"display": "x"}]}]),
        json!([{"op": "remove", "path": "members", "value": [{"id": "a"}]}]),
        json!([{"op": "replace", "path": "members.display", "value": "x"}]),
        json!([{"op": "remove", "path": "displayName"}]),
    ] {
        assert!(run("Groups", &group, &bad).is_err(), "{bad}");
    }
}

#[test]
fn a_filter_on_anything_but_the_id_needs_the_members() {
    let all = Registries::embedded().unwrap();
    let shape = all.of_realm(Some(Realm::Agent)).at("Groups").unwrap();
    let body = json!({"Operations": [{"op": "remove", "path": "members[display eq \"kim\"]"}]});
    let operations = operations(&map(&body), Mode::Tolerant).unwrap();
    assert!(needs_members(shape, &operations));
    let present = [map(&json!({"value": "a", "display": "Kim"})), map(&json!({"value": "b", "display": "eva"}))];
    let patched =
        apply(shape, ID, &map(&json!({"displayName": "G"})), &operations, &present, Dialect::default()).unwrap();
    let Some(Targets::Delta { add, remove }) = patched.members.targets(Kind::User) else { panic!("a delta") };
    assert_eq!((add.len(), remove.len()), (0, 1));
}

#[test]
fn r3_a_password_is_handed_on_and_never_in_the_document() {
    let patched = run("Users", &eva(), &json!([{"op": "replace", "value": {"password": "new"}}])).unwrap();
    assert!(patched.password.is_some());
    assert_eq!(Value::Object(patched.document), eva());
}

#[test]
fn r8_a_login_that_stays_is_refused_and_its_echo_is_not() {
    let all = Registries::embedded().unwrap();
    let shape = all.of_profile(Some(Realm::Client), false, crate::model::dialect::Types::People).at("Users").unwrap();
    let run = |value: &str| {
        let body = json!({"Operations": [{"op": "replace", "path": "userName", "value": value}]});
        apply(shape, ID, &map(&eva()), &operations(&map(&body), Mode::Tolerant).unwrap(), &[], Dialect::default())
    };
    assert_eq!(run("other").unwrap_err().scim_type(), Some("mutability"));
    assert_eq!(Value::Object(run("eva").unwrap().document), eva());
}

/// Pieces of which paths and filters are made, so that chance comes upon what nearly is one.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "emails",
        "name",
        "userName",
        "active",
        "members",
        "[",
        "]",
        "(",
        ")",
        "type eq ",
        "\"work\"",
        "value co ",
        ".value",
        "\"",
        " and ",
        " or ",
        "not ",
        "urn:ietf:params:scim:schemas:core:2.0:User",
        ":",
        "urn:",
        ".",
        " pr",
        "\\",
        "ž",
        "null",
        "true",
        "5 ",
    ]);
    prop::collection::vec(prop_oneof![4 => pieces.prop_map(str::to_owned), 1 => ".{0,4}"], 0..14)
        .prop_map(|parts| parts.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        soup().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let keys = prop_oneof![
            Just("value".to_owned()),
            Just("type".to_owned()),
            Just("primary".to_owned()),
            Just(urn::AGENT.to_owned()),
            soup()
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
        ]
    })
}

static REGISTRIES: std::sync::LazyLock<Registries> = std::sync::LazyLock::new(|| Registries::embedded().unwrap());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn s33_no_path_filter_or_operation_breaks_anything(
        path in soup(), value in any_json(), op in prop::sample::select(vec!["add", "replace", "remove"]), bare in any::<bool>()
    ) {
        let all = &*REGISTRIES;
        for endpoint in ["Users", "Groups"] {
            let shape = all.of_realm(Some(Realm::Agent)).at(endpoint).unwrap();
            let current = map(&if endpoint == "Users" { eva() } else { json!({"displayName": "G"}) });
            if let Ok(filter) = crate::scim::filter::parse(shape, &path, Mode::Tolerant) {
                eval::matches(&filter, &current);
            }
            let operation = if bare { json!({"op": op, "value": value}) } else { json!({"op": op, "path": path, "value": value}) };
            let Ok(operations) = operations(&map(&json!({"Operations": [operation]})), Mode::Tolerant) else { continue };
            let Ok(patched) = apply(shape, ID, &current, &operations, &[], Dialect::default()) else { continue };
            // What comes out is a whole document without holes.
            prop_assert!(resource::missing(shape, &patched.document).is_empty());
            prop_assert_eq!(&crate::model::document::without_nulls(&patched.document), &patched.document);
        }
    }
}

#[test]
fn a_disabled_account_is_not_enabled_by_silence() {
    let disabled = with(json!({"active": false}));
    for ops in [
        json!([{"op": "replace", "path": "active", "value": null}]),
        json!([{"op": "add", "path": "active", "value": null}]),
        json!([{"op": "replace", "value": {"active": null}}]),
        json!([{"op": "replace", "path": "active", "value": ""}]),
    ] {
        assert_eq!(run("Users", &disabled, &ops).unwrap_err().scim_type(), Some("invalidValue"), "{ops}");
    }
    let null = json!([{"op": "replace", "path": "active", "value": null}]);
    assert!(run("Users", &eva(), &null).is_err());
}

#[test]
fn values_are_added_once_and_up_to_a_limit() {
    let add = |from: usize, to: usize| {
        let values: Vec<Value> = (from..to).map(|at| json!({"value": format!("e{at}")})).collect();
        json!({"op": "add", "path": "entitlements", "value": values})
    };
    let patched = run("Users", &eva(), &json!([add(0, 600), add(400, 1000)])).unwrap();
    assert_eq!(patched.document["entitlements"].as_array().unwrap().len(), 1000);
    for ops in [json!([add(0, 600), add(600, 1001)]), json!([add(0, 20_000)])] {
        let error = run("Users", &eva(), &ops).unwrap_err();
        assert_eq!(error.scim_type(), Some("invalidValue"));
        assert!(error.to_string().contains("more than 1000 values"), "{error}");
    }
}

#[test]
fn s21_a_filter_makes_no_value_with_a_control_character() {
    let ops = json!([{"op": "add", "path": "emails[type eq \"a\\nb\"].value", "value": "x@y"}]);
    assert_eq!(run("Users", &eva(), &ops).unwrap_err().scim_type(), Some("invalidValue"));
}

#[test]
fn members_are_not_wiped_by_null() {
    let ops = json!([{"op": "remove", "path": "members", "value": null}]);
    let error = run("Groups", &json!({"displayName": "G"}), &ops).unwrap_err();
    assert_eq!(error.scim_type(), Some("invalidValue"));
}

#[test]
fn what_a_filter_makes_is_what_it_means() {
    let add = |path: &str| json!([{"op": "add", "path": path, "value": "z@x"}]);
    for path in [
        "emails[type eq \"a\" and type eq \"b\"].value",
        "emails[value eq \"a@x\"].value",
        "emails[type eq \"\"].value",
    ] {
        assert_eq!(run("Users", &eva(), &add(path)).unwrap_err().scim_type(), Some("noTarget"), "{path}");
    }
    let error = run("Users", &eva(), &add("x509Certificates[value eq \"ž\"].display")).unwrap_err();
    assert_eq!(error.scim_type(), Some("invalidValue"), "{error}");
    // Nothing is what comes of an empty value.
    let nothing = json!([{"op": "replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": ""}]);
    assert_eq!(Value::Object(run("Users", &eva(), &nothing).unwrap().document), eva());
}

#[test]
fn what_lost_everything_does_not_come_back() {
    let rename = json!({"op": "replace", "path": "emails.type", "value": "other"});
    for ops in [
        json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": ""}, rename]),
        json!([{"op": "add", "path": "emails", "value": [{"type": "x"}]}, {"op": "remove", "path": "emails[type eq \"work\"]"},
               {"op": "remove", "path": "emails[type eq \"x\"].type"}, rename]),
    ] {
        let patched = run("Users", &eva(), &ops).unwrap_or_else(|error| panic!("{ops}: {error}"));
        assert_eq!(patched.document["emails"], json!([{"value": "h@x", "type": "other"}]), "{ops}");
    }
}

#[test]
fn s33_the_filters_of_a_request_cost_so_much_and_no_more() {
    let values: Vec<Value> = (0..1000).map(|at| json!({"value": format!("e{at}")})).collect();
    let terms = vec!["value eq \"x\""; 190].join(" or ");
    let remove = json!({"op": "remove", "path": format!("entitlements[{terms}]")});
    let (refused, steps) = crate::scim::steps::counted(|| {
        run("Users", &with(json!({"entitlements": &values})), &Value::from(vec![remove; 1000]))
    });
    assert_eq!(refused.unwrap_err().scim_type(), Some("tooMany"));
    // Lists of what to take away are compared with everything that is there.
    let listed: Vec<Value> = (0..999).map(|at| json!({"value": format!("x{at}")})).collect();
    let remove = json!({"op": "remove", "path": "entitlements", "value": listed});
    let several =
        |count| run("Users", &with(json!({"entitlements": values})), &Value::from(vec![remove.clone(); count]));
    assert_eq!(several(1).unwrap().document["entitlements"].as_array().unwrap().len(), 1000);
    assert_eq!(several(2).unwrap_err().scim_type(), Some("tooMany"));
    assert!((COMPARISONS / 2..COMPARISONS * 2 + 200_000).contains(&steps), "{steps}");
}

#[test]
fn app_roles_are_unpacked_wherever_they_are_said() {
    let role = r#"{"id":"1","value":"Dispatcher","displayName":"Desk"}"#;
    let twice = json!({"value": role}).to_string();
    let wanted = json!([{"type": "a", "value": "Dispatcher", "display": "Desk"}]);
    for value in [role, &twice] {
        for operation in [
            json!({"op": "replace", "path": "roles[type eq \"a\"].value", "value": value}),
            json!({"op": "replace", "path": "roles[type eq \"a\"]", "value": {"value": value}}),
            json!({"op": "add", "path": "roles", "value": [{"type": "a", "value": value}]}),
        ] {
            let patched = run("Users", &json!({"userName": "a"}), &json!([operation])).unwrap();
            assert_eq!(patched.document["roles"], wanted, "{operation}");
        }
    }
}
