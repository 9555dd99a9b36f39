//! The words that the schemas know, as the plain data of `model::vocabulary`: for mappings and pushed records, which must
//! not name what no schema knows. Changes nothing and reads no file itself. Start at `Registry::vocabulary`.

use super::registry::Registry;
use super::schema::{Attribute, Type};
use crate::model::document::shown;
use crate::model::entity::urn;
use crate::model::vocabulary::{Sort, Vocabulary};

/// Read-only for identity providers, yet not musterd's own: who receives porting codes is said by a mapping (R35).
const STATUTORY: &str = "statutory";

impl Registry {
    pub fn vocabulary(&self) -> Vocabulary {
        let mut vocabulary = Vocabulary::open();
        for shape in &self.shapes {
            let mut words = Vec::new();
            for attribute in shape.plain() {
                add(&mut words, &[&attribute.name], attribute);
            }
            for extension in &shape.extensions {
                for attribute in &extension.attributes {
                    add(&mut words, &[&extension.id, &attribute.name], attribute);
                }
                if extension.id == urn::AGENT {
                    words.push((shown(&[urn::AGENT, STATUTORY]), Sort::Privileged));
                }
            }
            vocabulary.close(shape.kind, words);
        }
        vocabulary
    }
}

fn add(words: &mut Vec<(String, Sort)>, path: &[&str], attribute: &Attribute) {
    words.push((shown(path), sort(attribute)));
    for sub in &attribute.sub_attributes {
        // What is above is not the source's to say: neither are its parts.
        let sort = if attribute.writable() { sort(sub) } else { Sort::ReadOnly };
        words.push((shown(&[path, &[&sub.name]].concat()), sort));
    }
}

fn sort(attribute: &Attribute) -> Sort {
    match (attribute.kind, attribute.multi_valued) {
        // A secret has its own ways in.
        _ if !attribute.writable() || attribute.secret() => Sort::ReadOnly,
        (Type::Complex, true) => Sort::Elements,
        (Type::Complex, false) => Sort::Parts,
        (_, true) => Sort::Texts,
        (Type::Boolean, _) => Sort::Flag,
        (Type::Integer | Type::Decimal, _) => Sort::Number,
        (Type::DateTime, _) => Sort::Instant,
        (Type::String | Type::Binary | Type::Reference, _) => Sort::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registries;
    use super::*;
    use crate::model::kind::{Kind, Realm};
    use crate::model::vocabulary::Known;

    #[test]
    fn each_realm_has_the_words_of_its_extension() {
        let all = Registries::embedded().unwrap();
        let of = |realm, name: &str| all.vocabulary(realm).look_up(Kind::User, name);
        let note = format!("{}:note", urn::AGENT);
        let flag = format!("{}:companyTickets", urn::CLIENT);
        assert_eq!(of(Some(Realm::Agent), &note), Known::Word(Sort::Text));
        assert_eq!(of(Some(Realm::Client), &note), Known::Unknown);
        assert_eq!(of(None, &flag), Known::Word(Sort::Flag));
        assert_eq!(of(None, &format!("{}:statutory", urn::AGENT)), Known::Word(Sort::Privileged));
        assert_eq!(of(None, &format!("{}:licenceState", urn::AGENT)), Known::Word(Sort::ReadOnly));
        for (name, sort) in [
            ("name.givenName", Sort::Text),
            ("emails", Sort::Elements),
            ("emails.primary", Sort::Flag),
            ("password", Sort::ReadOnly),
            ("meta.created", Sort::ReadOnly),
            ("externalId", Sort::Text),
        ] {
            assert_eq!(of(None, name), Known::Word(sort), "{name}");
        }
        assert_eq!(all.vocabulary(None).look_up(Kind::Group, "displayNam"), Known::Unknown);
    }
}
