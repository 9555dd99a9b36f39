//! What of a configuration shows only when its parts are put to use: files of TLS, mappings, filters and templates that cannot be
//! compiled, and names of attributes that no schema knows. It is asked of what could be read, whatever else is faulty, so
//! that all faults are told together. Decides nothing about records. Start at `of`.

use serde_json::{Map, Value};

use super::reload;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::config::source::{Body, Source};
use crate::http::api::records;
use crate::mapping;
use crate::model::kind::{Kind, Realm};
use crate::model::near::nearest;
use crate::model::vocabulary::{EXTENSIONS, Known, Sort, Vocabulary};
use crate::outbound::Receiver;
use crate::scim::registry::Registries;
use crate::tasks::poll;

/// What accounts must carry, then source by source: what cannot be compiled, and what nobody knows. `config` may be partial.
pub fn of(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let schemas = schemas(config, &mut faults);
    if let Some(files) = &config.server.tls {
        let named = |(key, reason): (&'static str, String)| {
            let file = if key == "key" { &files.key } else { &files.certificate };
            let value = Some(file.display().to_string());
            let allowed = format!("must be a readable PEM file, and the two must fit: {reason}");
            Fault { key: format!("server.tls.{key}"), value, allowed, origin: None }
        };
        faults.extend(reload::usable(files).err().unwrap_or_default().into_iter().map(named));
    }
    for realm in [Realm::Agent, Realm::Client] {
        let required = config.profiles.of(realm).required.iter();
        faults
            .extend(unfit(&format!("profiles.{realm}.required"), required, &schemas.vocabulary(Some(realm)), |_| true));
    }
    for (name, source) in &config.sources {
        let vocabulary = schemas.vocabulary(source.policy.realm);
        faults.extend(poll::Reader::of(source).err().map(|refused| refused.0).unwrap_or_default());
        if let Body::Push(push) = &source.body {
            let refused = records::Reader::compile(push, vocabulary.clone()).err().unwrap_or_default();
            faults.extend(refused.into_iter().map(told(&format!("sources.{name}."), None)));
        }
        faults.extend(unknown_targets(name, source, &vocabulary));
        if matches!(source.body, Body::Scim(_) | Body::Ldap(_)) {
            let lists = |sort| matches!(sort, Sort::Elements | Sort::Texts);
            faults.extend(unfit(&format!("sources.{name}.union"), source.policy.union.iter(), &vocabulary, lists));
        }
    }
    for (name, webhook) in &config.webhooks {
        let value = webhook.ca_file.as_ref().map(|file| file.display().to_string());
        let told = |allowed| Fault { key: format!("webhooks.{name}.ca_file"), value, allowed, origin: None };
        faults.extend(Receiver::new(webhook).err().map(told));
    }
    faults
}

/// The schemas as the operator extends them; in the place of faulty ones those of the program itself.
fn schemas(config: &Config, faults: &mut Vec<Fault>) -> Registries {
    Registries::load(config.schemas.as_deref()).unwrap_or_else(|refused| {
        let value = config.schemas.as_ref().map(|folder| folder.display().to_string());
        let fault =
            |allowed: String| Fault { key: "scim.schemas".to_owned(), value: value.clone(), allowed, origin: None };
        faults.extend(refused.each().into_iter().map(fault));
        Registries::embedded().expect("the schemas in the program are sound, which a test holds")
    })
}

/// Names that must be attributes of a user as the document has them, and of the right sort.
fn unfit<'n>(
    key: &str,
    names: impl Iterator<Item = &'n String>,
    vocabulary: &Vocabulary,
    fits: impl Fn(Sort) -> bool,
) -> Vec<Fault> {
    let in_short = |name: &str| EXTENSIONS.iter().any(|(short, _)| name.split('.').next() == Some(short));
    let right = |name: &str| match vocabulary.look_up(Kind::User, name) {
        Known::Word(sort) => !in_short(name) && fits(sort),
        Known::Own(_) | Known::Unknown => false,
    };
    let words: Vec<&str> = vocabulary.words(Kind::User).filter(|word| right(word)).collect();
    let fault = |name: &String| {
        let near = nearest(name, words.iter().copied()).map(|near| format!(" (did you mean {near}?)"));
        let allowed = format!("is not one of these{}: {}", near.unwrap_or_default(), words.join(", "));
        Fault { key: key.to_owned(), value: Some(name.clone()), allowed, origin: None }
    };
    names.filter(|name| !right(name)).map(fault).collect()
}

fn unknown_targets(name: &str, source: &Source, vocabulary: &Vocabulary) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut look = |kind: Kind, map: &Map<String, Value>, before: &str, origin: Option<String>| {
        let told = told(before, origin);
        let with_value = |fault: mapping::Fault| Fault { value: map.get(&fault.target).map(plain), ..told(fault) };
        faults.extend(mapping::unknown(kind, map, vocabulary).into_iter().map(with_value));
    };
    match &source.body {
        Body::Ldap(ldap) => {
            for (kind, part, search) in [(Kind::User, "users", &ldap.users), (Kind::Group, "groups", &ldap.groups)] {
                if let Some(search) = search {
                    look(kind, &search.map, &format!("sources.{name}.{part}.map."), None);
                }
            }
        }
        Body::Crm(crm) => {
            for stream in &crm.connector.streams {
                look(stream.kind, &stream.map, &format!("{}.map.", stream.place), Some(crm.place()));
                for derive in &stream.derive {
                    look(derive.kind, &derive.map, &format!("{}.map.", derive.place), Some(crm.place()));
                }
            }
        }
        Body::Push(push) => {
            for (kind, map) in &push.map {
                look(*kind, map, &format!("sources.{name}.map.{kind}."), None);
            }
        }
        Body::Scim(_) | Body::Operator => {}
    }
    faults
}

fn plain(rule: &Value) -> String {
    rule.as_str().map_or_else(|| rule.to_string(), str::to_owned)
}

fn told(before: &str, origin: Option<String>) -> impl Fn(mapping::Fault) -> Fault {
    move |fault| Fault {
        key: format!("{before}{}", fault.target),
        value: None,
        allowed: fault.reason,
        origin: origin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reading;

    /// The keys, in the order in which they are told.
    fn told_of(text: &str) -> Vec<String> {
        let reading = Reading::parse(text);
        reading.also(of(reading.partial()));
        let faults = reading.done().err().map(|refused| refused.0).unwrap_or_default();
        faults.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn mappings_are_looked_at_whatever_else_is_faulty() {
        let text = "colour = 1\n[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\nbase = 'dc=x'\n[sources.hq.users]\n\
                    filter = '(uid='\n[sources.hq.users.map]\n'agent.note' = '{{ open'\ntitle = 'a..b'\n\
                    'client.language' = 'l'";
        let expected = [
            "sources.hq.url",
            "colour",
            "sources.hq.users.filter",
            "sources.hq.users.map.agent.note",
            "sources.hq.users.map.title",
            "sources.hq.users.map.client.language",
        ];
        assert_eq!(told_of(text), expected);
    }

    #[test]
    fn names_in_lists_are_looked_at_too() {
        let text = "[profiles.agent]\nrequired = ['userName', 'agent.note', 'shoe']\n[profiles.client]\nrequired = []\n\
                    [sources.a]\nkind = 'scim'\nrealm = 'agent'\nunion = ['emails', 'title', 'mails']";
        let twice = |key: &str| vec![key.to_owned(); 2];
        assert_eq!(told_of(text), [twice("profiles.agent.required"), twice("sources.a.union")].concat());
    }

    #[test]
    fn the_authority_of_a_webhook_is_looked_at_too() {
        let text = "[webhooks.a]\nurl = 'https://a.example'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n\
                    ca_file = '/no/such/file'";
        assert_eq!(told_of(text), ["webhooks.a.ca_file"]);
    }

    #[test]
    fn the_built_in_connector_names_only_what_is_known() {
        let text = "[sources.a]\nkind = 'crm'\nurl = 'https://c.example'\nconnector = 'rt5'";
        assert_eq!(told_of(text), Vec::<String>::new());
    }
}
