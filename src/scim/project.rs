//! Which attributes an answer holds: `attributes`, `excludedAttributes` and the schema's `returned` (RFC 7644 §3.9).
//! Decides by name alone, so that what is not shown is not even loaded (`shows`).

use serde_json::{Map, Value};

use super::error::Error;
use super::list::Query;
use super::schema::{Attribute, Place, Returned, Shape};

/// One name of the list, resolved.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    extension: Option<String>,
    /// `None`: the whole extension.
    attribute: Option<String>,
    sub: Option<String>,
}

#[derive(Debug, Default)]
pub struct Projection {
    /// Whether `chosen` are all that is shown, or what is left out.
    only: bool,
    chosen: Vec<Chosen>,
}

/// What becomes of one attribute.
#[derive(Debug, PartialEq, Eq)]
pub enum Keep<'p> {
    Whole,
    Nothing,
    /// Only these sub-attributes.
    Only(Vec<&'p str>),
    /// All but these sub-attributes.
    Without(Vec<&'p str>),
}

impl Projection {
    /// Names nobody knows are ignored, as RFC 7644 wants it; a secret is refused.
    pub fn read(shape: &Shape, query: &Query) -> Result<Projection, Error> {
        let only = !query.attributes.is_empty();
        let names = if only { &query.attributes } else { &query.excluded };
        let mut chosen = Vec::with_capacity(names.len());
        for name in names {
            // As in a filter, an extension's attribute may be named without its URN where only one has it.
            match shape.locate(name).or_else(|| shape.extended(name).map(Place::Attribute)) {
                Some(Place::Attribute(place)) if place.secret() => {
                    return Err(Error::Sensitive(format!("`{}` is never shown", place.shown())));
                }
                Some(Place::Attribute(place)) => chosen.push(Chosen {
                    extension: place.extension.map(str::to_owned),
                    attribute: Some(place.attribute.name.clone()),
                    sub: place.sub.map(|sub| sub.name.clone()),
                }),
                Some(Place::Extension(extension)) => {
                    chosen.push(Chosen { extension: Some(extension.id.clone()), attribute: None, sub: None });
                }
                None => {}
            }
        }
        Ok(Projection { only, chosen })
    }

    /// Everything that is returned by default.
    pub fn is_all(&self) -> bool {
        !self.only && self.chosen.is_empty()
    }

    /// Whether anything of this core attribute is shown.
    pub fn shows(&self, name: &str) -> bool {
        self.keep(None, name, Returned::Default) != Keep::Nothing
    }

    pub fn keep(&self, extension: Option<&str>, name: &str, returned: Returned) -> Keep<'_> {
        match returned {
            Returned::Always => return Keep::Whole,
            Returned::Never => return Keep::Nothing,
            Returned::Request if !self.only => return Keep::Nothing,
            _ => {}
        }
        let mut subs = Vec::new();
        for chosen in self.chosen.iter().filter(|chosen| chosen.extension.as_deref() == extension) {
            match (&chosen.attribute, &chosen.sub) {
                (None, _) => return if self.only { Keep::Whole } else { Keep::Nothing },
                (Some(attribute), None) if attribute == name => {
                    return if self.only { Keep::Whole } else { Keep::Nothing };
                }
                (Some(attribute), Some(sub)) if attribute == name => subs.push(sub.as_str()),
                _ => {}
            }
        }
        match (self.only, subs.is_empty()) {
            (true, true) => Keep::Nothing,
            (true, false) => Keep::Only(subs),
            (false, true) => Keep::Whole,
            (false, false) => Keep::Without(subs),
        }
    }

    /// The extension's object with what is shown of it.
    pub fn extension(&self, shape: &Shape, urn: &str, object: Map<String, Value>) -> Map<String, Value> {
        let Some(schema) = shape.extension(urn) else { return Map::new() };
        let shown = object.into_iter().filter_map(|(name, value)| {
            let attribute = schema.attribute(&name)?;
            shown(attribute, self.keep(Some(urn), &name, attribute.returned), value).map(|value| (name, value))
        });
        shown.collect()
    }
}

/// What is left of the value of an attribute: parts that are never shown, or only where they are named, are cut, too.
pub fn shown(attribute: &Attribute, keep: Keep<'_>, value: Value) -> Option<Value> {
    if attribute.parts_shown() {
        return cut(keep, value);
    }
    let named: Vec<String> = match &keep {
        Keep::Only(subs) => subs.iter().map(|sub| (*sub).to_owned()).collect(),
        _ => Vec::new(),
    };
    let hidden = |name: &String| {
        attribute.sub(name).is_some_and(|sub| match sub.returned {
            Returned::Never => true,
            Returned::Request => !named.contains(name),
            Returned::Always | Returned::Default => false,
        })
    };
    let mut value = cut(keep, value)?;
    let hide = |value: &mut Value| {
        if let Value::Object(map) = value {
            map.retain(|name, _| !hidden(name));
        }
    };
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        one => hide(one),
    }
    Some(value)
}

/// What is left of the value.
pub fn cut(keep: Keep<'_>, value: Value) -> Option<Value> {
    match (keep, value) {
        (Keep::Whole, value) => Some(value),
        (Keep::Nothing, _) => None,
        (keep, Value::Array(items)) => Some(items.into_iter().map(|item| trim(&keep, item)).collect()),
        (keep, value) => Some(trim(&keep, value)),
    }
}

fn trim(keep: &Keep<'_>, mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        match keep {
            Keep::Only(subs) => map.retain(|name, _| subs.contains(&name.as_str())),
            Keep::Without(subs) => map.retain(|name, _| !subs.contains(&name.as_str())),
            Keep::Whole | Keep::Nothing => {}
        }
    }
    value
}
