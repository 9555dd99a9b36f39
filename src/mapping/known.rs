//! Which targets of a mapping nobody knows: a word that stands in no schema would be stored and never be seen again. The
//! words come as plain data (`model::vocabulary`). A field of the source's own needs a `type`, which says that it is no
//! slip of the pen; only kinds without a schema have such. Start at `unknown`.

use serde_json::{Map, Value};

use super::target::{SPECIAL, Target};
use super::{Fault, relation};
use crate::model::document::shown;
use crate::model::kind::Kind;
use crate::model::vocabulary::{Known, Sort, Vocabulary};

/// The faults of all targets in `rules`. What `Mapping::compile` refuses itself is not told here once more.
pub fn unknown(kind: Kind, rules: &Map<String, Value>, vocabulary: &Vocabulary) -> Vec<Fault> {
    let fault = |(name, rule): (&String, &Value)| {
        let reason = reason(kind, name, rule, vocabulary)?;
        Some(Fault { target: name.clone(), reason })
    };
    rules.iter().filter_map(fault).collect()
}

fn reason(kind: Kind, name: &str, rule: &Value, vocabulary: &Vocabulary) -> Option<String> {
    if SPECIAL.contains(&name) || relation::named(kind, name).is_some() {
        return None;
    }
    let target = Target::parse(kind, name, &Map::new()).ok()?;
    let path = target.word();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match vocabulary.look_up(kind, &shown(&path)) {
        Known::Word(Sort::ReadOnly) if relation::named(kind, path[path.len() - 1]).is_some() => {
            Some(format!("is a relation: write `{}`", path[path.len() - 1]))
        }
        Known::Word(Sort::ReadOnly) => Some("is not a source's to say".to_owned()),
        Known::Word(Sort::Parts) => Some(format!("is made of parts: {}", parts(kind, name, vocabulary))),
        Known::Word(_) => None,
        Known::Own(_) if rule.get("type").is_some() => None,
        Known::Own(_) => {
            let own = "a field of your own needs `type`, like { from = \"..\", type = \"text\" }";
            Some(format!("{}; {own}", allowed(kind, name, vocabulary)))
        }
        Known::Unknown => Some(allowed(kind, name, vocabulary)),
    }
}

fn allowed(kind: Kind, name: &str, vocabulary: &Vocabulary) -> String {
    let relations = relation::NAMES.iter().copied().filter(|name| relation::named(kind, name).is_some());
    let mut words: Vec<&str> = vocabulary.words(kind).chain(relations).chain(SPECIAL).collect();
    words.sort_unstable();
    words.dedup();
    let near = crate::model::near::nearest(name, words.iter().copied());
    let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    format!("is no attribute of a {kind}{near}. Allowed: {}", words.join(", "))
}

fn parts(kind: Kind, name: &str, vocabulary: &Vocabulary) -> String {
    let inside = format!("{name}.");
    vocabulary.words(kind).filter(|word| word.starts_with(&inside)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::entity::urn;

    fn vocabulary() -> Vocabulary {
        let mut all = Vocabulary::open();
        let note = format!("{}:note", urn::AGENT);
        let statutory = format!("{}:statutory", urn::AGENT);
        let companies = format!("{}:companies", urn::CLIENT);
        let words = [
            ("displayName", Sort::Text),
            ("name", Sort::Parts),
            ("name.givenName", Sort::Text),
            ("emails", Sort::Elements),
            ("emails.value", Sort::Text),
            ("addresses", Sort::Elements),
            ("addresses.locality", Sort::Text),
            (&note, Sort::Text),
            (&statutory, Sort::ReadOnly),
            (&companies, Sort::ReadOnly),
        ];
        all.close(Kind::User, words.map(|(name, sort)| (name.to_owned(), sort)));
        all
    }

    fn told(kind: Kind, rules: Value) -> Vec<String> {
        let Value::Object(rules) = rules else { panic!("no rules") };
        unknown(kind, &rules, &vocabulary()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_target_that_no_schema_knows_is_told_with_what_was_meant() {
        let one = |kind, name: &str| told(kind, json!({name: "x"})).pop().unwrap_or_default();
        for (name, part) in [
            ("displayNam", "did you mean displayName?"),
            ("client.note", "did you mean agent.note?"),
            ("note", "did you mean agent.note?"),
            ("name", "is made of parts: name.givenName"),
            ("name.given", "is no attribute of a user"),
            ("addresses.work.localty", "is no attribute of a user"),
            ("agent.statutory", "is not a source's to say"),
            ("client.companies", "is a relation: write `companies`"),
            ("urn:x:y", "is no attribute of a user"),
            ("manger", "did you mean manager?"),
            ("realn", "did you mean realm?"),
        ] {
            let told = one(Kind::User, name);
            assert!(told.contains(part), "{name}: {told}");
        }
    }

    #[test]
    fn what_is_known_or_refused_elsewhere_is_not_told() {
        let fine = json!({
            "key": "id", "when": true, "realm": "r", "displayName": "cn", "name.givenName": "g", "emails": "mail",
            "emails.work": "mail", "addresses.work.locality": "l", "agent.note": "n", "companies": "c", "manager": "m",
            "id": "x", "a..b": "x",
        });
        assert_eq!(told(Kind::User, fine), Vec::<String>::new());
        let own = json!({"number": "n", "vip": {"from": "v", "type": "boolean"}, "company": "c"});
        assert_eq!(told(Kind::Contact, own), Vec::<String>::new(), "a field of its own");
        let slip = told(Kind::Contact, json!({"numbr": "n"})).pop().unwrap();
        assert!(slip.contains("did you mean number?") && slip.contains("needs `type`"), "{slip}");
    }
}
