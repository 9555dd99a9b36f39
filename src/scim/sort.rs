//! `sortBy` and `sortOrder` (RFC 7644 §3.4.2.3): what a name means and which value of a resource counts. A multi-valued
//! attribute is sorted by its primary value, or by its first; a complex one by its `value`. Texts without case are
//! compared folded, dates as instants. Orders nothing itself.

use serde_json::{Map, Value};

use super::error::Error;
use super::json::short;
use super::resource::is_primary;
use super::schema::{Attribute, Located, Shape, Type};
use crate::model::fold;
use crate::model::order::Key;
use crate::model::time::Millis;

/// The question for an order, as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub by: String,
    pub descending: bool,
}

/// `ascending` or `descending`, whatever the case.
pub fn is_descending(text: &str) -> Result<bool, Error> {
    match text.trim() {
        word if word.eq_ignore_ascii_case("ascending") => Ok(false),
        word if word.eq_ignore_ascii_case("descending") => Ok(true),
        other => {
            let found = short(other);
            Err(Error::InvalidValue(format!("`sortOrder` is `{found}`; allowed: ascending, descending")))
        }
    }
}

/// The attribute that is sorted by.
pub fn place<'s>(shape: &'s Shape, name: &str) -> Result<Located<'s>, Error> {
    let unknown = || Error::InvalidPath(format!("`sortBy`: there is no attribute `{}`", short(name)));
    let place = shape.attribute(name).ok_or_else(unknown)?;
    if place.secret() {
        // The order of a secret tells of it (RFC 7644 §7.5.2).
        return Err(Error::Sensitive(format!("`{}` cannot be sorted by", place.shown())));
    }
    let leaf = place.leaf();
    if leaf.kind == Type::Complex && leaf.sub("value").is_none() {
        return Err(Error::InvalidPath(format!("`sortBy`: `{}` has parts; name one of them", place.shown())));
    }
    Ok(place)
}

/// The value that counts. `None`: the resource has none.
pub fn key(place: Located<'_>, resource: &Map<String, Value>) -> Option<Key> {
    let holder = match place.extension {
        Some(urn) => resource.get(urn)?.as_object()?,
        None => resource,
    };
    let value = chosen(holder.get(&place.attribute.name)?)?;
    match (place.sub, place.attribute.sub("value")) {
        (Some(sub), _) => of(sub, chosen(value.get(&sub.name)?)?),
        (None, Some(sub)) if value.is_object() => of(sub, value.get(&sub.name)?),
        (None, _) => of(place.attribute, value),
    }
}

fn chosen(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(items) => items.iter().find(|item| is_primary(item)).or_else(|| items.first()),
        value => Some(value),
    }
}

fn of(attribute: &Attribute, value: &Value) -> Option<Key> {
    match value {
        Value::Bool(on) => Some(Key::Flag(*on)),
        Value::Number(number) => number.as_f64().map(Key::Number),
        Value::String(text) if attribute.kind == Type::DateTime => Millis::parse(text).map(Key::Time),
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if attribute.case_exact => Some(Key::Text(text.clone())),
        Value::String(text) => Some(Key::Text(fold::key(text))),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::registry::Registries;
    use super::*;
    use crate::model::entity::urn;
    use crate::model::kind::Realm;

    #[test]
    fn the_value_that_counts_is_the_primary_or_the_first() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        let eva = json!({
            "userName": "Eva", "externalId": "Ext", "active": true, "title": "", "nickName": null,
            "emails": [{"value": "B@x"}, {"value": "A@x", "primary": true}], "phoneNumbers": [{"value": "1"}],
            "name": {"familyName": "Žák"}, "meta": {"created": "1970-01-01T00:00:01Z"},
            urn::ENTERPRISE: {"department": "Ops", "manager": {"value": "m"}},
        });
        let text = |text: &str| Some(Key::Text(text.to_owned()));
        let enterprise = |name: &str| format!("{}:{name}", urn::ENTERPRISE);
        for (name, wanted) in [
            ("USERNAME", text("eva")),
            ("externalId", text("Ext")),
            ("active", Some(Key::Flag(true))),
            ("emails", text("a@x")),
            ("emails.value", text("a@x")),
            ("phoneNumbers", text("1")),
            ("name.familyName", text("žák")),
            ("meta.created", Some(Key::Time(Millis(1000)))),
            (&enterprise("department"), text("ops")),
            (&enterprise("manager"), text("m")),
            ("title", None),
            ("nickName", None),
            ("displayName", None),
        ] {
            assert_eq!(key(place(shape, name).unwrap(), eva.as_object().unwrap()), wanted, "{name}");
        }
    }

    #[test]
    fn nobody_sorts_by_a_secret_or_by_what_does_not_exist() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(None).at("Users").unwrap();
        for (name, kind) in
            [("PassWord", "sensitive"), ("nonsense", "invalidPath"), ("name", "invalidPath"), ("", "invalidPath")]
        {
            assert_eq!(place(shape, name).unwrap_err().scim_type(), Some(kind), "{name}");
        }
        assert!(is_descending("DESCENDING").unwrap() && !is_descending(" ascending").unwrap());
        assert!(is_descending("up").is_err());
    }
}
