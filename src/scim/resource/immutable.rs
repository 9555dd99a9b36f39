//! What may be given once and then stays (RFC 7643 section 7, `mutability`), parts of complex attributes included.

use serde_json::{Map, Value};

use crate::model::document::Document;
use crate::scim::error::Error;
use crate::scim::schema::{Attribute, Mutability, Shape};

/// An immutable attribute may be given once and then stays.
fn immutable(attribute: &Attribute, old: Option<&Value>, new: Option<&Value>, at: &str) -> Result<(), Error> {
    if attribute.mutability == Mutability::Immutable && old.is_some() && old != new {
        return Err(Error::Mutability(format!("`{at}` cannot be changed once it is set")));
    }
    if attribute.sub_attributes.iter().all(|sub| sub.mutability != Mutability::Immutable) {
        return Ok(());
    }
    // Who may not change a part may not take it away with the whole and bring another.
    if let (None, false, Some(part)) = (new, attribute.multi_valued, has_set_part(attribute, old)) {
        return Err(Error::Mutability(format!("`{at}.{}` cannot be changed once it is set", part.name)));
    }
    // An element is the one that it was by its `value`, or the only one of an attribute that has one.
    for old in elements(old) {
        let same = |new: &&Map<String, Value>| !attribute.multi_valued || new.get("value") == old.get("value");
        let Some(new) = elements(new).into_iter().find(same) else { continue };
        for sub in &attribute.sub_attributes {
            immutable(sub, old.get(&sub.name), new.get(&sub.name), &format!("{at}.{}", sub.name))?;
        }
    }
    Ok(())
}

/// An immutable part that is set.
pub(super) fn has_set_part<'a>(attribute: &'a Attribute, value: Option<&Value>) -> Option<&'a Attribute> {
    let set = |part: &&Attribute| {
        part.mutability == Mutability::Immutable && value.and_then(|value| value.get(&part.name)).is_some()
    };
    attribute.sub_attributes.iter().find(set)
}

fn elements(value: Option<&Value>) -> Vec<&Map<String, Value>> {
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_object).collect(),
        Some(Value::Object(one)) => vec![one],
        _ => Vec::new(),
    }
}

/// The same of everything that a document has, in the core and in the extensions.
pub fn all_immutable(shape: &Shape, old: &Document, new: &Document) -> Result<(), Error> {
    for attribute in shape.plain() {
        immutable(attribute, old.get(&attribute.name), new.get(&attribute.name), &attribute.name)?;
    }
    for extension in &shape.extensions {
        let inside =
            |document: &'_ Document, name: &str| document.get(&extension.id).and_then(|inner| inner.get(name)).cloned();
        for attribute in &extension.attributes {
            let (old, new) = (inside(old, &attribute.name), inside(new, &attribute.name));
            immutable(attribute, old.as_ref(), new.as_ref(), &format!("{}:{}", extension.id, attribute.name))?;
        }
    }
    Ok(())
}
