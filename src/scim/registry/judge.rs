//! Whether the files of schemas make sense together: what musterd needs is there, names are names, and nothing is promised
//! that it does not keep. Reads only what was loaded; every fault names its file.

use std::collections::HashSet;

use super::{COMMON, Fault, Loaded};
use crate::model::entity::urn;
use crate::scim::schema::{Attribute, Type, Uniqueness};

/// Attributes that are kept unique, whatever a file says.
const UNIQUE: &[(&str, &str)] = &[(COMMON, "id"), (urn::USER, "userName"), (urn::GROUP, "displayName")];
/// What musterd acts on, so that no file may leave it out.
const NEEDED: &[(&str, &[&str])] = &[
    (COMMON, &["schemas", "id", "externalId", "meta"]),
    (urn::USER, &["userName", "active", "emails", "name", "displayName", "groups", "password"]),
    (urn::GROUP, &["displayName", "members"]),
];

/// What the protocol itself has there (RFC 7644 sections 3 and 4).
const SERVED: &[&str] = &["/Me", "/Bulk", "/Schemas", "/ResourceTypes", "/ServiceProviderConfig"];

pub(super) fn is_kept_anyway(urn: &str, name: &str) -> bool {
    UNIQUE.iter().any(|(id, known)| *id == urn && *known == name)
}

pub(super) fn faults(loaded: &Loaded) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known = HashSet::new();
    for (file, schema) in &loaded.schemas {
        let mut wrong = Vec::new();
        if !known.insert(schema.id.to_ascii_lowercase()) {
            wrong.push(format!("the schema {} stands in another file, too", schema.id));
        }
        if !schema.id.to_ascii_lowercase().starts_with("urn:") {
            wrong.push(format!("`id` must be a URN; found {}", schema.id));
        }
        attributes(&schema.id, "", false, &schema.attributes, &mut wrong);
        for name in NEEDED.iter().filter(|(id, _)| *id == schema.id).flat_map(|(_, names)| *names) {
            if !schema.attributes.iter().any(|attribute| attribute.name == *name) {
                wrong.push(format!("`{name}` is missing: musterd works with it"));
            }
        }
        faults.extend(wrong.into_iter().map(|why| Fault::File { file: file.clone(), why }));
    }
    let (mut kinds, mut names, mut endpoints) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (file, of, _) in &loaded.types {
        let mut wrong = Vec::new();
        match of.kind() {
            Ok(kind) if !kinds.insert(kind) => {
                wrong.push(format!("another resource type is of kind {kind}, too"));
            }
            Ok(_) => {}
            Err(_) => wrong.push(format!("`name` must be letters and digits, at most 64; found {}", of.name)),
        }
        if !names.insert(of.name.as_str()) {
            wrong.push(format!("another resource type has the name {}, too", of.name));
        }
        if !endpoints.insert(of.endpoint.as_str()) || SERVED.contains(&of.endpoint.as_str()) {
            wrong.push(format!("something else is at {}, too", of.endpoint));
        }
        let segment = of.endpoint.strip_prefix('/').unwrap_or_default();
        if segment.is_empty() || !segment.chars().all(|c| c.is_ascii_alphanumeric()) {
            wrong.push(format!("`endpoint` must be a slash and a name like /Users; found {}", of.endpoint));
        }
        faults.extend(wrong.into_iter().map(|why| Fault::File { file: file.clone(), why }));
    }
    for (of, urn, _) in &loaded.extends {
        if !loaded.types.iter().any(|(_, file, _)| file.name == *of) {
            faults.push(Fault::Missing(format!("{urn} extends {of}, and no file holds this resource type")));
        }
    }
    faults
}

fn attributes(urn: &str, above: &str, hidden: bool, all: &[Attribute], wrong: &mut Vec<String>) {
    let mut known = HashSet::new();
    for attribute in all {
        let shown = format!("{above}{}", attribute.name);
        // RFC 7643 section 2.1, with `$ref`.
        let mut letters = attribute.name.chars();
        let named = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$')
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$'));
        if !named {
            wrong.push(format!("`{shown}` is no name of an attribute (letters, digits, - and _)"));
        }
        if !known.insert(attribute.name.to_ascii_lowercase()) {
            wrong.push(format!("`{shown}` stands twice"));
        }
        if (attribute.kind == Type::Complex) == attribute.sub_attributes.is_empty() {
            wrong.push(format!("`{shown}` must have subAttributes if it is complex, and none if it is not"));
        }
        if !above.is_empty() && attribute.kind == Type::Complex {
            wrong.push(format!("`{shown}` is complex inside of a complex attribute (RFC 7643 section 2.3.8)"));
        }
        if attribute.uniqueness != Uniqueness::None && !is_kept_anyway(urn, &shown) {
            if matches!(attribute.kind, Type::Complex | Type::Boolean) {
                wrong.push(format!("`{shown}` cannot be unique: it is complex, or true or false"));
            }
            if hidden || attribute.secret() {
                wrong.push(format!(
                    "`{shown}` cannot be unique: whoever is refused would learn a value that is never shown"
                ));
            }
        }
        if attribute.required && !attribute.writable() {
            wrong.push(format!("`{shown}` is required and read-only: nobody could send it"));
        }
        attributes(urn, &format!("{shown}."), hidden || attribute.secret(), &attribute.sub_attributes, wrong);
    }
}
