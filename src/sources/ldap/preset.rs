//! What can be known of a product without asking: filters, keys and a mapping for people and groups. The configuration is
//! laid over it target by target, so that a usual directory needs no mapping at all. Start at `preset`.

use serde_json::{Map, Value, json};

use crate::config::ldap::Preset;
use crate::mapping::Fault;
use crate::model::kind::Kind;

pub(super) struct Defaults {
    pub(super) filter: &'static str,
    pub(super) key: &'static str,
    pub(super) map: Map<String, Value>,
}

pub(super) fn preset(preset: Preset, kind: Kind) -> Defaults {
    let (filter, key, map) = match (preset, kind) {
        (Preset::OpenLdap, Kind::Group) => (
            "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
            "entryUUID",
            group(),
        ),
        (Preset::OpenLdap, _) => ("(objectClass=inetOrgPerson)", "entryUUID", person("uid")),
        (Preset::Ds389, Kind::Group) => (
            "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
            "nsUniqueId",
            group(),
        ),
        (Preset::Ds389, _) => ("(|(objectClass=inetOrgPerson)(objectClass=nsPerson))", "nsUniqueId", person("uid")),
        (Preset::ActiveDirectory, Kind::Group) => ("(objectCategory=group)", "objectGUID", group()),
        (Preset::ActiveDirectory, _) => {
            ("(&(objectCategory=person)(objectClass=user))", "objectGUID", person("sAMAccountName"))
        }
        (Preset::Plain, Kind::Group) => ("(objectClass=groupOfNames)", "entryUUID", json!({})),
        (Preset::Plain, _) => ("(objectClass=person)", "entryUUID", json!({})),
    };
    Defaults { filter, key, map: map.as_object().cloned().unwrap_or_default() }
}

/// How a group and whoever has it as their first one know of each other: attribute of the group, of the person. Neither
/// Active Directory nor POSIX lists these among the members.
pub(super) fn primary(preset: Preset) -> (&'static str, &'static str) {
    match preset {
        Preset::ActiveDirectory => ("primarygrouptoken", "primarygroupid"),
        Preset::OpenLdap | Preset::Ds389 | Preset::Plain => ("gidnumber", "gidnumber"),
    }
}

/// The configuration's rules over the preset's, or what makes no sense of a directory.
pub(super) fn laid_over(
    mut rules: Map<String, Value>,
    own: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<Fault>> {
    let mut faults = Vec::new();
    for (target, rule) in own {
        let vain = match (target.as_str(), rule) {
            ("key", _) => Some("has no effect here: `key`, beside `map`, names the attribute that is the key"),
            ("gone", _) => {
                Some("has no effect here: whoever the search does not find is gone; `filter` or `when` leave out")
            }
            ("active", Value::Bool(false)) => Some(
                "would switch everybody off: `{ value = false }` says that it is meant; without a rule the directory says \
                 who is switched off",
            ),
            _ => None,
        };
        if let Some(reason) = vain {
            faults.push(Fault { target: target.clone(), reason: reason.to_owned() });
        } else if *rule == Value::Bool(false) && rules.contains_key(target) {
            rules.remove(target);
        } else {
            rules.insert(target.clone(), rule.clone());
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn person(login: &str) -> Value {
    json!({
        "userName": login,
        "name.givenName": "givenName",
        "name.familyName": "sn",
        "displayName": ["displayName", "cn"],
        "title": "title",
        "emails": "mail",
        "phoneNumbers.work": "telephoneNumber",
        "phoneNumbers.mobile": "mobile",
        "preferredLanguage": "preferredLanguage",
        "enterprise.employeeNumber": "employeeNumber",
        "enterprise.department": ["departmentNumber", "department"],
        "manager": "manager",
    })
}

fn group() -> Value {
    json!({
        "displayName": "cn",
        "members": ["member", "uniqueMember"],
        "members.login": "memberUid",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Realm;

    #[test]
    fn presets_name_only_what_the_schemas_know() {
        let all = crate::scim::registry::Registries::embedded().unwrap();
        for preset_of in Preset::ALL {
            for kind in [Kind::User, Kind::Group] {
                for realm in Realm::ALL {
                    let words = all.vocabulary(Some(*realm));
                    let told = crate::mapping::unknown(kind, &preset(*preset_of, kind).map, &words);
                    assert_eq!(told, [], "{preset_of} {kind}");
                }
            }
        }
    }
}
