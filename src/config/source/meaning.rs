//! Whether the keys of a source make sense together: a realm where people come, rules of correlation that fit what the
//! source brings, a company only where one can be bound. Each key by itself is right already. Start at `check`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Body;
use crate::config::connector::Stream;
use crate::config::read::Section;
use crate::model::dialect::{Dialect, Types};
use crate::model::kind::Kind;
use crate::model::source::{MatchRule, SourceKind, SourcePolicy};

pub(super) fn check(section: &Section<'_>, policy: &SourcePolicy, body: &Body) {
    if policy.realm.is_none() && !section.has("realm") && brings_homeless(body) {
        let allowed = "is missing: agent or client, where the people of this source log in";
        section.fault("realm", None, allowed);
    }
    if let Some(company) = &policy.company {
        let bound = matches!(policy.kind, SourceKind::Scim | SourceKind::Push);
        if !bound {
            section.fault("company", Some(company), "binds sources of kind scim or push to a company, and no others");
        } else if company.trim().is_empty() {
            section.fault("company", Some(company), "must be the number of a company");
        }
        if bound && !policy.match_rules.is_empty() {
            let allowed = "must not stand beside `company`: a bound source never takes over what others brought";
            section.fault("match", Some(&section.list("match").join(", ")), allowed);
        }
    }
    if let (Some(_), Body::Scim(Dialect { types: Types::All, .. })) = (&policy.company, body) {
        let allowed = "must be people beside `company`: a bound source brings users and groups only";
        section.section("scim").fault("resource_types", Some("all"), allowed);
    }
    if let Some(kinds) = kinds(body) {
        for rule in policy.match_rules.iter().filter(|rule| !fits(rule, &kinds)) {
            let (word, of) = described(rule);
            let brought = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            section.fault("match", Some(word), format_args!("is a rule for {of}; this source brings {brought}"));
        }
    }
}

/// Which kinds the source can bring; `None`: any, or not known after a fault.
fn kinds(body: &Body) -> Option<BTreeSet<Kind>> {
    let kinds: BTreeSet<Kind> = match body {
        Body::Scim(Dialect { types: Types::People, .. }) => [Kind::User, Kind::Group].into(),
        Body::Scim(_) => return None,
        Body::Ldap(ldap) => {
            let part = |kind, search: bool| search.then_some(kind);
            [part(Kind::User, ldap.users.is_some()), part(Kind::Group, ldap.groups.is_some())]
                .into_iter()
                .flatten()
                .collect()
        }
        Body::Crm(crm) => crm.connector.streams.iter().flat_map(of_stream).collect(),
        Body::Push(_) | Body::Operator => return None,
    };
    (!kinds.is_empty()).then_some(kinds)
}

fn of_stream(stream: &Stream) -> impl Iterator<Item = Kind> {
    stream.derive.iter().map(|derive| derive.kind).chain([stream.kind])
}

/// Whether people or groups come of whom neither the source nor the mapping says in which realm they live.
fn brings_homeless(body: &Body) -> bool {
    let lives = |kind: Kind| matches!(kind, Kind::User | Kind::Group);
    let homeless = |kind: Kind, map: &Map<String, Value>| lives(kind) && !map.contains_key("realm");
    match body {
        Body::Scim(_) => true,
        Body::Ldap(ldap) => {
            [&ldap.users, &ldap.groups].into_iter().flatten().any(|search| !search.map.contains_key("realm"))
        }
        Body::Crm(crm) => crm.connector.streams.iter().any(|stream| {
            let derived = stream.derive.iter().any(|derive| homeless(derive.kind, &derive.map));
            derived || homeless(stream.kind, &stream.map)
        }),
        Body::Push(push) => push.map.iter().any(|(kind, map)| homeless(*kind, map)),
        Body::Operator => false,
    }
}

/// The rule's word, and what it is for.
fn described(rule: &MatchRule) -> (&'static str, &'static str) {
    match rule {
        MatchRule::Login => ("login", "users and groups"),
        MatchRule::Email => ("email", "users and contacts"),
        MatchRule::EmployeeNumber => ("employee_number", "users"),
        MatchRule::Number => ("number", "companies, contacts, tickets, devices and sessions"),
    }
}

fn fits(rule: &MatchRule, kinds: &BTreeSet<Kind>) -> bool {
    let of = |kind: &Kind| match rule {
        MatchRule::Login => matches!(kind, Kind::User | Kind::Group),
        MatchRule::Email => matches!(kind, Kind::User | Kind::Contact),
        MatchRule::EmployeeNumber => *kind == Kind::User,
        MatchRule::Number => !matches!(kind, Kind::User | Kind::Group),
    };
    kinds.iter().any(of)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn keys(text: &str) -> Vec<String> {
        Config::parse(text).err().map_or(Vec::new(), |refused| refused.0.into_iter().map(|fault| fault.key).collect())
    }

    #[test]
    fn keys_that_make_no_sense_together_are_faults() {
        let ldap = "[sources.a]\nkind = 'ldap'\nurl = 'ldaps://d'\nbase = 'dc=x'\n";
        let crm = "[sources.a]\nkind = 'crm'\nurl = 'https://c.example'\nconnector = 'rt5'\n";
        let cases = [
            (ldap.to_owned(), "realm"),
            (format!("{ldap}users.map.realm = 'r'"), "realm"),
            (format!("{ldap}realm = 'agent'\nmatch = ['number', 'login']"), "match"),
            (format!("{ldap}realm = 'agent'\ncompany = '1'"), "company"),
            (format!("{ldap}realm = 'agent'\nschedule = '0 0 31 Feb *'"), "schedule"),
            (format!("{crm}match = ['employee_number']"), "match"),
            ("[sources.a]\nkind = 'scim'".to_owned(), "realm"),
            ("[sources.a]\nkind = 'scim'\nrealm = 'client'\ncompany = '1'\nmatch = ['login']".to_owned(), "match"),
            ("[sources.a]\nkind = 'push'\nschedule = '@daily'".to_owned(), "schedule"),
            ("[sources.a]\nkind = 'push'\n[sources.a.map.user]\nuserName = 'u'".to_owned(), "realm"),
        ];
        for (text, key) in cases {
            assert_eq!(keys(&text), [format!("sources.a.{key}")], "{text}");
        }
        for fine in [
            format!("{ldap}users.map.realm = 'r'\ngroups.map.realm = 'r'"),
            format!("{crm}match = ['email', 'number']"),
            "[sources.a]\nkind = 'push'\nmatch = ['login', 'number']".to_owned(),
            "[sources.a]\nkind = 'scim'\nrealm = 'client'\ncompany = '1'".to_owned(),
        ] {
            assert_eq!(keys(&fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn without_a_kind_only_what_no_kind_knows_is_unknown() {
        let text = "[sources.a]\nkind = 'ldpa'\nurl = 'ldaps://d'\nusers.filter = 'x'\nzone = 'x'\nshoe = 1";
        assert_eq!(keys(text), ["sources.a.kind", "sources.a.shoe"]);
    }
}
