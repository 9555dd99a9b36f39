//! The expression engine: minijinja with fuel, strict about what is undefined, without files, plus our filters. An
//! expression sees one record and the configured tables, nothing else; it cannot wait, read or loop for long.
//! Start at `environment`.

use std::sync::LazyLock;

use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::{dn, limits, text};
use crate::model::fold;

/// Steps per evaluation: the longest honest expression needs some hundred.
const FUEL: u64 = 10_000;
/// Under this name the tables lie in the context; no attribute can be called so.
pub(super) const TABLES: &str = "$tables";

/// The filters that are ours.
pub(super) const OWN: [&str; 12] =
    ["fold", "slug", "first", "split", "digits", "e164", "date", "bool", "bit", "ldap_disabled", "lookup", "has_dn"];

/// Expressions are compiled against this one: what they can do depends on nothing in the configuration.
pub(super) static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(environment);

pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.add_filter("fold", |text: &str| fold::key(text));
    env.add_filter("slug", |text: &str| text::slug(text));
    env.add_filter("first", first);
    env.add_filter("split", split);
    env.add_filter("digits", |text: String| text.chars().filter(char::is_ascii_digit).collect::<String>());
    env.add_filter("e164", |text: String, country: Option<String>| text::e164(&text, country.as_deref()));
    env.add_filter("date", |value: Value| {
        text::instant(&plain(&value)).ok_or_else(|| wrong(format!("`{}` is no date", clipped(&plain(&value)))))
    });
    env.add_filter("bool", |value: Value| {
        text::boolean(&plain(&value))
            .ok_or_else(|| wrong(format!("`{}` is neither yes nor no", clipped(&plain(&value)))))
    });
    env.add_filter("bit", |value: Value, mask: i64| {
        let number = plain(&value).trim().parse::<i64>();
        number
            .map(|number| number & mask != 0)
            .map_err(|_| wrong(format!("`{}` is no number", clipped(&plain(&value)))))
    });
    env.add_filter("ldap_disabled", |value: Value| {
        text::account_control_disabled(&plain(&value))
            .ok_or_else(|| wrong(format!("`{}` is no userAccountControl", clipped(&plain(&value)))))
    });
    env.add_filter("lookup", lookup);
    env.add_filter("has_dn", has_dn);
    env.add_filter("replace", replace);
    env
}

/// Whether one of the names is this one, however either is spelt: `memberOf | has_dn('cn=helpdesk,ou=groups,dc=x')`. Whoever
/// has no such attribute has none of them.
fn has_dn(value: Value, name: &str) -> Result<bool, Error> {
    let sought = dn::normal(name).map_err(|error| wrong(format!("`{}`: {error}", clipped(name))))?;
    let is_it = |one: &str| dn::normal(one).is_ok_and(|one| one == sought);
    match value.as_str() {
        Some(one) => Ok(is_it(one)),
        None if value.is_undefined() || value.is_none() => Ok(false),
        None => Ok(value.try_iter()?.any(|one| one.as_str().is_some_and(is_it))),
    }
}

/// The first element; of what is no list, the thing itself.
fn first(value: Value) -> Result<Value, Error> {
    if value.as_str().is_some() || value.is_number() {
        return Ok(value);
    }
    match value.try_iter()?.next() {
        Some(value) => Ok(value),
        None => Err(Error::new(ErrorKind::UndefinedError, "the first of an empty list")),
    }
}

fn split(text: String, separator: Option<String>) -> Vec<String> {
    let trimmed = |part: &str| part.trim().to_owned();
    let parts = match separator.as_deref() {
        None | Some("") => text.split_whitespace().map(trimmed).collect::<Vec<_>>(),
        Some(separator) => text.split(separator).map(trimmed).collect(),
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// `value | lookup('table')` or `value | lookup('table', 'otherwise')`; compared folded.
fn lookup(state: &State, value: Value, table: &str, otherwise: Option<Value>) -> Result<Value, Error> {
    let tables = state.lookup(TABLES).unwrap_or_default();
    let table_of = tables.get_attr(table).unwrap_or_default();
    if table_of.is_undefined() {
        return Err(wrong(format!("there is no table `{table}`")));
    }
    let found = table_of.get_attr(&fold::key(&plain(&value))).unwrap_or_default();
    match (found.is_undefined(), otherwise) {
        (false, _) => Ok(found),
        (true, Some(otherwise)) => Ok(otherwise),
        (true, None) => Err(wrong(format!("`{}` is not in table `{table}`", clipped(&plain(&value))))),
    }
}

/// As Jinja has it, up to a length: one step of fuel could give any.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let more = text.matches(from).count().saturating_mul(to.len().saturating_sub(from.len()));
    if text.len().saturating_add(more) > limits::MOST {
        return Err(wrong(limits::too_much()));
    }
    Ok(text.replace(from, to))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn wrong(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Raw values are shown in errors, but not whole books.
pub(super) fn clipped(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// An expression's result as JSON; `undefined` and `none` are nothing.
pub(super) fn to_json(value: Value) -> Result<serde_json::Value, Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(serde_json::Value::Null);
    }
    if value.as_str().is_some_and(|text| text.len() > limits::MOST) {
        return Err(wrong(limits::too_much()));
    }
    let value = serde_json::to_value(&value).map_err(|error| wrong(error.to_string()))?;
    if fits(&value) { Ok(value) } else { Err(wrong(limits::too_much())) }
}

/// A list may be as long as the record's own: each of its texts counts.
fn fits(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.len() <= limits::MOST,
        serde_json::Value::Array(list) => list.iter().all(fits),
        serde_json::Value::Object(map) => map.values().all(fits),
        _ => true,
    }
}
