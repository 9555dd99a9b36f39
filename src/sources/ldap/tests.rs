//! What one entry becomes, without a server. The server's side is in `tests/it/ldap.rs`.

use serde_json::json;

use super::entry::tests::entry;
use super::*;
use crate::config::read::check;
use crate::model::desired::{Digest, Nothing};
use crate::model::kind::Rel;

fn reader(more: &str) -> Result<Reader, Vec<mapping::Fault>> {
    let text = format!("url = 'ldap://127.0.0.1:1'\nbase = 'dc=x'\n{more}");
    Reader::compile(&check(&text, crate::config::ldap::read).unwrap())
}

const NOW: Millis = Millis(1_790_000_000_000);

struct Knows(Digest);

impl Known for Knows {
    fn is(&self, _: Kind, _: &str, digest: &Digest) -> bool {
        *digest == self.0
    }

    fn holds(&self, _: Kind, _: &str) -> bool {
        true
    }
}

fn desired(record: Option<Record>) -> Desired {
    match record {
        Some(Record::Present(desired)) => *desired,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_usual_directory_needs_no_mapping() {
    let reader = reader("").unwrap();
    let [users, groups] = reader.parts.as_slice() else { panic!("two searches") };
    assert!(users.query.attributes.iter().any(|name| name == "entryuuid"), "{:?}", users.query.attributes);
    let eva = entry(
        "UID=Eva, OU=People,dc=x",
        &[("entryUUID", &[b"AB-1"]), ("uid", &[b"eva"]), ("cn", &[b"Eva N"]), ("sn", &[b"N"]), ("mail", &[b"eva@x"])],
    );
    let person = desired(users.record(&eva, &Nothing, NOW));
    assert_eq!((person.key.as_str(), person.alias.as_deref()), ("ab-1", Some("uid=eva,ou=people,dc=x")));
    assert_eq!(
        Value::Object(person.attributes),
        json!({
            "userName": "eva", "displayName": "Eva N", "name": {"familyName": "N"}, "active": true,
            "emails": [{"value": "eva@x", "type": "work", "primary": true}],
        })
    );
    let known = Knows(person.digest.unwrap());
    assert_eq!(users.record(&eva, &known, NOW), Some(Record::Same { kind: Kind::User, key: "ab-1".to_owned() }));

    let team =
        entry("cn=t,dc=x", &[("entryUUID", &[b"g"]), ("cn", &[b"T"]), ("uniqueMember", &[b"uid=eva,ou=people,dc=x"])]);
    let team = desired(groups.record(&team, &Nothing, NOW));
    assert_eq!(
        serde_json::to_value(&team.relations[&Rel::Member]).unwrap(),
        json!({"Whole": [{"to": {"Alias": "uid=eva,ou=people,dc=x"}}]})
    );
}

#[test]
fn an_account_that_expires_overnight_is_a_change() {
    let reader = reader("preset = 'activedirectory'").unwrap();
    let guid: &[u8] = &[7; 16];
    let jan = entry(
        "CN=Jan,DC=x",
        &[("objectGUID", &[guid]), ("sAMAccountName", &[b"jan"]), ("accountExpires", &[b"134344736000000000"])],
    );
    let before = desired(reader.parts[0].record(&jan, &Nothing, Millis(NOW.0 - 1)));
    assert_eq!((before.key.len(), &before.attributes["active"]), (36, &json!(true)));
    let known = Knows(before.digest.unwrap());
    assert!(matches!(reader.parts[0].record(&jan, &known, Millis(NOW.0 - 1)), Some(Record::Same { .. })));
    let after = desired(reader.parts[0].record(&jan, &known, NOW));
    assert_eq!(after.attributes["active"], json!(false));
}

#[test]
fn b1_who_lives_in_another_realm_is_another_record() {
    let living = |realm| reader("").unwrap().living_in(realm, None);
    let (agents, clients) = (living(Some(Realm::Agent)), living(Some(Realm::Client)));
    assert_ne!(agents.fingerprint(), clients.fingerprint());
    let eva = entry("uid=eva,dc=x", &[("entryUUID", &[b"k"]), ("uid", &[b"eva"])]);
    let digest = |reader: &Reader| desired(reader.parts[0].record(&eva, &Nothing, NOW)).digest;
    assert_ne!(digest(&agents), digest(&clients));
}

#[test]
fn a5_groups_decide_who_comes_and_what_they_may_do() {
    let rules = r#"[users.map]
when = "= memberOf | has_dn('cn=helpdesk,dc=x')"
"agent.permissionGroup" = "= 'Leaders' if memberOf | has_dn('CN=Leads, DC=x') else 'Consultants'"
"#;
    let reader = reader(rules).unwrap();
    let of = |groups: &[&[u8]]| {
        let mut attributes: Vec<(&str, &[&[u8]])> = vec![("entryUUID", &[b"k"]), ("uid", &[b"eva"])];
        if !groups.is_empty() {
            attributes.push(("memberOf", groups));
        }
        reader.parts[0].record(&entry("uid=eva,dc=x", &attributes), &Nothing, NOW).map(|record| desired(Some(record)))
    };
    let group = |desired: Option<Desired>| {
        desired.map(|desired| desired.attributes[crate::model::entity::urn::AGENT]["permissionGroup"].clone())
    };
    assert_eq!(group(of(&[])), None);
    assert_eq!(group(of(&[b"cn=other,dc=x"])), None);
    assert_eq!(group(of(&[b"CN=Helpdesk,DC=x"])), Some(json!("Consultants")));
    assert_eq!(group(of(&[b"cn=helpdesk,dc=x", b"cn=leads,dc=x"])), Some(json!("Leaders")));
}

#[test]
fn a_search_covers_what_lies_below_its_base() {
    let covers = |more: &str, name: &str| reader(more).unwrap().parts[0].covers(name);
    for (more, name, expected) in [
        ("", "uid=eva,ou=people,dc=x", true),
        ("", "uid=eva,dc=yx", false),
        ("", "dc=x", true),
        ("users.scope = 'one'", "uid=eva,dc=x", true),
        ("users.scope = 'one'", "cn=a\\,b,dc=x", true),
        ("users.scope = 'one'", "uid=eva,ou=people,dc=x", false),
        ("users.scope = 'one'", "dc=x", false),
    ] {
        assert_eq!(covers(more, name), expected, "{more} {name}");
    }
}

#[test]
fn a_bad_entry_is_one_bad_record() {
    let reader = reader("[users.map]\nactive = 'enabled'").unwrap();
    let without_key = reader.parts[0].record(&entry("uid=a,dc=x", &[("uid", &[b"a"])]), &Nothing, NOW);
    assert!(matches!(without_key, Some(Record::Bad { key: None, .. })));
    let wrong = entry("uid=a,dc=x", &[("entryUUID", &[b"k"]), ("enabled", &[b"perhaps"])]);
    let Some(Record::Bad { key: Some(key), reason, .. }) = reader.parts[0].record(&wrong, &Nothing, NOW) else {
        panic!("not bad")
    };
    assert_eq!(key, "k");
    for part in ["uid=a,dc=x", "active", "enabled", "perhaps"] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
}

#[test]
fn filters_and_mappings_are_checked_together() {
    let faults =
        reader("[users]\nfilter = '(uid='\n[users.map]\ntitle = 'a..b'\n[groups.map]\nmeta = 'x'").unwrap_err();
    let told: Vec<String> = faults.iter().map(|fault| fault.target.clone()).collect();
    assert_eq!(told, ["users.filter", "users.map.title", "groups.map.meta"]);
}

#[test]
fn targets_that_mean_nothing_to_a_directory_are_faults() {
    let told = |rule: &str| {
        let faults = reader(&format!("[users.map]\n{rule}")).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    for (rule, part) in [
        ("active = false", "`{ value = false }` says that it is meant"),
        ("gone = 'deleted'", "`users.map.gone`: has no effect here"),
        ("key = 'uid'", "names the attribute that is the key"),
        ("name.givenName = 'cn'", "stands in quotes: \"name.givenName\""),
    ] {
        assert!(told(rule).contains(part), "{rule}: {}", told(rule));
    }
    for fine in ["active = { value = false }", "title = false", "active = true", "'name.givenName' = 'cn'"] {
        assert!(reader(&format!("[users.map]\n{fine}")).is_ok(), "{fine}");
    }
    assert!(!reader("[users.map]\ntitle = false").unwrap().parts[0].mapping.writes(&["title"]));
}

#[test]
fn another_filter_or_identity_is_another_fingerprint() {
    let print = |more: &str| reader(more).unwrap().fingerprint();
    let all = [
        print(""),
        print("[users]\nfilter = '(uid=*)'"),
        print("[users]\nbase = 'ou=p,dc=x'"),
        print("[users.map]\ntitle = 'x'"),
        print("insecure = true\nbind_dn = 'cn=m'\npassword = 'p'"),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(print(""), print("page_size = 7"));
}
