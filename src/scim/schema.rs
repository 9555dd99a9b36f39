//! What an attribute, a schema and a resource type are (RFC 7643 §7), and the look-up of attribute names in any case
//! and with or without their URN. Reads no file (`registry` does) and knows no resource. Start with `Shape::locate`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::model::entity::urn;
use crate::model::hidden::Hidden;
use crate::model::kind::{Kind, Rel};

/// Names that older clients use for schemas of today.
const LEGACY: &[(&str, &str)] = &[
    ("urn:scim:schemas:extension:enterprise:2.0:User", urn::ENTERPRISE),
    ("urn:scim:schemas:extension:enterprise:2.0", urn::ENTERPRISE),
    ("urn:scim:schemas:extension:enterprise:1.0", urn::ENTERPRISE),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Type {
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
    Complex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mutability {
    ReadOnly,
    #[default]
    ReadWrite,
    Immutable,
    WriteOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Returned {
    Always,
    Never,
    #[default]
    Default,
    Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Uniqueness {
    #[default]
    None,
    Server,
    Global,
}

/// RFC 7643 §7.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Type,
    #[serde(default)]
    pub multi_valued: bool,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub case_exact: bool,
    #[serde(default)]
    pub mutability: Mutability,
    #[serde(default)]
    pub returned: Returned,
    #[serde(default)]
    pub uniqueness: Uniqueness,
    /// Values that are meant to be used. Others are refused where the client is held to the standard.
    #[serde(default)]
    pub canonical_values: Vec<String>,
    #[serde(default)]
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    /// The sub-attribute of that name, whatever its case.
    pub fn sub(&self, name: &str) -> Option<&Attribute> {
        named(&self.sub_attributes, name)
    }

    /// Whether the text is one of the canonical values, or there are none.
    pub fn is_canonical(&self, text: &str) -> bool {
        let same = |value: &String| if self.case_exact { value == text } else { value.eq_ignore_ascii_case(text) };
        self.canonical_values.is_empty() || self.canonical_values.iter().any(same)
    }

    pub fn writable(&self) -> bool {
        self.mutability != Mutability::ReadOnly
    }

    /// Whether whoever is shown it is shown all of its parts.
    pub fn parts_shown(&self) -> bool {
        self.sub_attributes.iter().all(|sub| matches!(sub.returned, Returned::Default | Returned::Always))
    }

    /// What is written only is never shown (RFC 7643 section 7), whatever else the file says.
    pub(super) fn hide_what_is_written_only(&mut self) {
        if self.mutability == Mutability::WriteOnly {
            self.returned = Returned::Never;
        }
        self.sub_attributes.iter_mut().for_each(Attribute::hide_what_is_written_only);
    }

    /// Never shown and never asked about: passwords.
    pub fn secret(&self) -> bool {
        self.returned == Returned::Never
    }
}

fn named<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// An attribute whose values are other resources.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    pub of: Kind,
    pub name: &'static str,
    pub rel: Rel,
    /// What an unknown text among them is waited for as.
    pub far: Kind,
    /// Whatever they may be.
    pub ends: &'static [Kind],
}

const RELATIONS: &[Relation] = &[
    Relation {
        of: Kind::Group,
        name: super::members::MEMBERS,
        rel: Rel::Member,
        far: Kind::User,
        ends: &[Kind::User, Kind::Group],
    },
    Relation { of: Kind::Contact, name: "companies", rel: Rel::WorksFor, far: Kind::Company, ends: &[Kind::Company] },
];

#[derive(Debug)]
pub struct Schema {
    pub id: String,
    pub attributes: Vec<Attribute>,
    /// Whether all of it is shown where nothing is said: then nobody need read what is stored.
    pub(super) whole: bool,
    pub(super) published: Value,
}

impl Schema {
    pub(super) fn new(id: String, attributes: Vec<Attribute>, published: Value) -> Schema {
        let shown = |attribute: &Attribute| {
            attribute.parts_shown() && matches!(attribute.returned, Returned::Default | Returned::Always)
        };
        Schema { id, whole: attributes.iter().all(shown), attributes, published }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        named(&self.attributes, name)
    }
}

/// A resource type with everything its resources may hold.
#[derive(Debug)]
pub struct Shape {
    pub name: String,
    /// With its leading slash: `/Users`.
    pub endpoint: String,
    pub kind: Kind,
    pub core: Arc<Schema>,
    pub extensions: Vec<Arc<Schema>>,
    pub(super) common: Arc<Schema>,
    pub(super) published: Value,
}

/// Where an attribute stands in a document: `doc[extension]?[attribute][sub]?`.
#[derive(Debug, Clone, Copy)]
pub struct Located<'s> {
    /// The URN under which it stands; `None` in the core schema.
    pub extension: Option<&'s str>,
    pub attribute: &'s Attribute,
    pub sub: Option<&'s Attribute>,
}

impl<'s> Located<'s> {
    /// The attribute whose values are meant.
    pub fn leaf(&self) -> &'s Attribute {
        self.sub.unwrap_or(self.attribute)
    }

    pub fn secret(&self) -> bool {
        self.attribute.secret() || self.sub.is_some_and(Attribute::secret)
    }

    /// As people write it.
    pub fn shown(&self) -> String {
        let mut text = self.extension.map_or_else(String::new, |urn| format!("{urn}:"));
        text.push_str(&self.attribute.name);
        if let Some(sub) = self.sub {
            text.push('.');
            text.push_str(&sub.name);
        }
        text
    }
}

/// What a name means.
#[derive(Debug, Clone, Copy)]
pub enum Place<'s> {
    /// A whole extension, named by its URN.
    Extension(&'s Schema),
    Attribute(Located<'s>),
}

impl Shape {
    /// The meaning of `name`, `name.sub`, `urn:name.sub` or the URN of an extension, whatever the case.
    pub fn locate(&self, text: &str) -> Option<Place<'_>> {
        let text = text.trim();
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
            return self.locate_qualified(text);
        }
        self.locate_in(None, text).or_else(|| self.locate_common(text)).map(Place::Attribute)
    }

    /// The same where only an attribute makes sense.
    pub fn attribute(&self, text: &str) -> Option<Located<'_>> {
        match self.locate(text)? {
            Place::Attribute(located) => Some(located),
            Place::Extension(_) => None,
        }
    }

    fn locate_qualified(&self, text: &str) -> Option<Place<'_>> {
        if let Some(rest) = after_urn(text, &self.core.id) {
            return self.locate_in(None, rest).or_else(|| self.locate_common(rest)).map(Place::Attribute);
        }
        for extension in &self.extensions {
            let legacy = LEGACY.iter().filter(|(_, now)| *now == extension.id).map(|(old, _)| *old);
            for name in std::iter::once(extension.id.as_str()).chain(legacy) {
                if text.eq_ignore_ascii_case(name) {
                    return Some(Place::Extension(extension));
                }
                if let Some(rest) = after_urn(text, name) {
                    return self.locate_in(Some(extension), rest).map(Place::Attribute);
                }
            }
        }
        None
    }

    fn locate_in<'s>(&'s self, extension: Option<&'s Schema>, text: &str) -> Option<Located<'s>> {
        let schema = extension.unwrap_or(&self.core);
        located(extension.map(|extension| extension.id.as_str()), schema, text)
    }

    fn locate_common(&self, text: &str) -> Option<Located<'_>> {
        located(None, &self.common, text)
    }

    /// An attribute of an extension without its URN, if only one extension has it: Entra asks `manager eq "…"`. Only for
    /// questions; what is written must be qualified (RFC 7644 §3.10).
    pub fn extended(&self, text: &str) -> Option<Located<'_>> {
        let mut found = self.extensions.iter().filter_map(|extension| self.locate_in(Some(extension), text));
        found.next().filter(|_| found.next().is_none())
    }

    /// The extension that a top-level key of a body names.
    pub fn extension(&self, key: &str) -> Option<&Schema> {
        match self.locate(key) {
            Some(Place::Extension(extension)) => Some(extension),
            _ => None,
        }
    }

    /// The attribute that is a relation, kept as rows and never in the document.
    pub fn relation(&self) -> Option<&'static Relation> {
        RELATIONS.iter().find(|relation| relation.of == self.kind)
    }

    /// Whether the place is that attribute.
    pub fn is_relation(&self, place: Located<'_>) -> bool {
        place.extension.is_none() && self.relation().is_some_and(|relation| relation.name == place.attribute.name)
    }

    /// Whether it is the password of an account, which is no part of its document.
    pub fn is_password(&self, place: Located<'_>) -> bool {
        self.kind == Kind::User
            && place.extension.is_none()
            && place.sub.is_none()
            && place.attribute.secret()
            && place.attribute.name == "password"
    }

    /// Attributes of the document that are never shown.
    pub fn hidden(&self) -> Vec<Hidden> {
        let plain = self.plain().map(|attribute| (None, attribute));
        let more = self
            .extensions
            .iter()
            .flat_map(|schema| schema.attributes.iter().map(|attribute| (Some(schema.id.as_str()), attribute)));
        let mut all = Vec::new();
        for (extension, attribute) in plain.chain(more) {
            if attribute.secret() {
                all.push(Located { extension, attribute, sub: None });
                continue;
            }
            let subs = attribute.sub_attributes.iter().filter(|sub| sub.secret());
            all.extend(subs.map(|sub| Located { extension, attribute, sub: Some(sub) }));
        }
        all.retain(|place| !self.is_password(*place));
        let hidden = |place: Located<'_>| Hidden {
            kind: self.kind,
            extension: place.extension.map(str::to_owned),
            attribute: place.attribute.name.clone(),
            sub: place.sub.map(|sub| sub.name.clone()),
        };
        all.into_iter().map(hidden).collect()
    }

    /// Whether the key is the URN of the core schema, under which some clients repeat core attributes.
    pub fn is_core(&self, key: &str) -> bool {
        key.eq_ignore_ascii_case(&self.core.id)
    }

    /// Core attributes and those that every resource has.
    pub fn plain(&self) -> impl Iterator<Item = &Attribute> {
        self.common.attributes.iter().chain(&self.core.attributes)
    }
}

fn after_urn<'t>(text: &'t str, urn: &str) -> Option<&'t str> {
    let start = text.get(..urn.len())?;
    if start.eq_ignore_ascii_case(urn) { text[urn.len()..].strip_prefix(':') } else { None }
}

fn located<'s>(extension: Option<&'s str>, schema: &'s Schema, text: &str) -> Option<Located<'s>> {
    let (name, sub) = match text.split_once('.') {
        Some((name, sub)) => (name, Some(sub)),
        None => (text, None),
    };
    let attribute = schema.attribute(name)?;
    let sub = match sub {
        Some(sub) => Some(attribute.sub(sub)?),
        None => None,
    };
    Some(Located { extension, attribute, sub })
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registries;
    use super::*;
    use crate::model::kind::Realm;

    #[test]
    fn names_are_found_in_any_case_with_or_without_their_urn() {
        let all = Registries::embedded().unwrap();
        let user = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        for (text, shown) in [
            ("USERNAME", "userName".to_owned()),
            ("name.FamilyName", "name.familyName".to_owned()),
            ("urn:ietf:params:scim:schemas:core:2.0:User:emails.value", "emails.value".to_owned()),
            (
                "URN:ietf:params:scim:schemas:extension:enterprise:2.0:user:manager.Value",
                format!("{}:manager.value", urn::ENTERPRISE),
            ),
            ("urn:scim:schemas:extension:enterprise:1.0:department", format!("{}:department", urn::ENTERPRISE)),
            ("meta.lastmodified", "meta.lastModified".to_owned()),
        ] {
            assert_eq!(user.attribute(text).unwrap().shown(), shown, "{text}");
        }
        assert!(matches!(user.locate(urn::AGENT), Some(Place::Extension(_))));
        for unknown in ["", "userNam", "name.none", "urn:x:y", "userName.value", "note", "ürn:x"] {
            assert!(user.locate(unknown).is_none(), "{unknown}");
        }
        assert_eq!(user.extended("Manager").unwrap().shown(), format!("{}:manager", urn::ENTERPRISE));
        assert_eq!(user.extended("note").unwrap().shown(), format!("{}:note", urn::AGENT));
        assert!(user.extended("userName").is_none() && user.extended("manager.none").is_none());
    }
}
