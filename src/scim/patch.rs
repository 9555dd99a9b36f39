//! PATCH (RFC 7644 §3.5.2), pure: document and operations -> new document, member changes. All or nothing: an error
//! leaves nothing behind because nothing was touched. Accepts what identity providers really send (capital letters,
//! booleans as texts, dotted and URN keys without a path, filters that match nothing yet); a shape that is not
//! understood is refused and never empties anything.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::edit;
use super::error::Error;
use super::eval;
use super::filter::{Filter, Op as Compare};
use super::json::short;
use super::members::{self, Changes};
use super::message;
use super::path::{self, Path};
use super::resource::{self, Notes};
use super::schema::{Attribute, Located, Shape};
use super::steps::step;
use crate::model::dialect::{Dialect, Mode};
use crate::model::document::Document;

/// Operations in one request.
const OPERATIONS: usize = 1000;
/// Comparisons that the filters of one request may cost: a tenth of a second, for a writer waits behind them.
const COMPARISONS: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Replace,
    Remove,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub op: Op,
    pub path: Option<String>,
    pub value: Option<Value>,
}

#[derive(Debug, Default)]
pub struct Patched {
    pub document: Document,
    pub members: Changes,
    pub password: Option<SecretString>,
    /// Names nobody knows; they were ignored.
    pub ignored: Vec<String>,
}

/// The operations of a request body.
pub fn operations(body: &Map<String, Value>, mode: Mode) -> Result<Vec<Operation>, Error> {
    if mode == Mode::Strict {
        message::demanded(body, message::PATCH)?;
    }
    let list = body.iter().find(|(name, _)| name.eq_ignore_ascii_case("Operations")).map(|(_, value)| value);
    let Some(Value::Array(list)) = list else {
        return Err(Error::InvalidSyntax("`Operations` is missing or is no list".to_owned()));
    };
    match list.len() {
        0 => Err(Error::InvalidSyntax("`Operations` is empty".to_owned())),
        1..=OPERATIONS => list.iter().map(|item| operation(item, mode)).collect(),
        _ => Err(Error::TooMany(format!("more than {OPERATIONS} operations in one request"))),
    }
}

fn operation(item: &Value, mode: Mode) -> Result<Operation, Error> {
    let map = item.as_object().ok_or_else(|| Error::InvalidSyntax("an operation is no object".to_owned()))?;
    let member = |wanted: &str| map.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
    let word = member("op").and_then(Value::as_str).unwrap_or_default();
    let said = if mode == Mode::Strict { word.to_owned() } else { word.to_ascii_lowercase() };
    let op = match said.as_str() {
        "add" => Op::Add,
        "replace" => Op::Replace,
        "remove" => Op::Remove,
        _ => return Err(Error::InvalidSyntax(format!("`op` is `{}`; allowed: add, replace, remove", short(word)))),
    };
    let path = match member("path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.trim().is_empty() && mode == Mode::Tolerant => None,
        Some(Value::String(path)) => Some(path.trim().to_owned()),
        Some(_) => return Err(Error::InvalidPath("`path` is no text".to_owned())),
    };
    Ok(Operation { op, path, value: member("value").cloned() })
}

/// Whether a path filters members by anything but their id, so that the present members must be known.
pub fn needs_members(shape: &Shape, operations: &[Operation]) -> bool {
    shape.relation().is_some()
        && operations.iter().filter_map(|operation| operation.path.as_deref()).any(|text| {
            matches!(path::parse(shape, text, Mode::Tolerant), Ok(Path::Attribute { place, filter: Some(filter) })
                if shape.is_relation(place) && ids(&filter).is_none())
        })
}

/// Whether the password is named anywhere: then its value is looked for before the attempt.
pub fn speaks_of(shape: &Shape, operations: &[Operation]) -> bool {
    let password = |attribute: &&Attribute| shape.is_password(Located { extension: None, attribute, sub: None });
    let mut names = shape.plain().filter(password).map(|secret| secret.name.to_ascii_lowercase());
    names.any(|name| {
        let holds = |text: &str| text.to_ascii_lowercase().contains(&name);
        operations.iter().any(|operation| match (&operation.path, &operation.value) {
            (Some(path), _) => holds(path),
            (None, Some(Value::Object(map))) => {
                map.iter().any(|(key, value)| holds(key) || (shape.is_core(key) && holds(&value.to_string())))
            }
            (None, Some(Value::String(text))) => holds(text),
            (None, _) => false,
        })
    })
}

/// Applies the operations in order. `id` is that of the resource; `present` are its members where `needs_members`.
pub fn apply(
    shape: &Shape,
    id: &str,
    current: &Document,
    operations: &[Operation],
    present: &[Map<String, Value>],
    dialect: Dialect,
) -> Result<Patched, Error> {
    let patched = Patched { document: current.clone(), ..Patched::default() };
    let mut work = Work { shape, id, current, present, patched, notes: Notes::of(dialect), comparisons: 0 };
    for operation in operations {
        match &operation.path {
            None => work.pathless(operation)?,
            Some(text) => work.at(text, operation.op, operation.value.as_ref())?,
        }
        work.notes.result()?;
    }
    work.finish()
}

struct Work<'s> {
    shape: &'s Shape,
    id: &'s str,
    current: &'s Document,
    present: &'s [Map<String, Value>],
    patched: Patched,
    notes: Notes,
    comparisons: usize,
}

impl<'s> Work<'s> {
    /// Before so many values are each compared so many times.
    fn judge(&mut self, times: usize, values: usize) -> Result<(), Error> {
        self.comparisons = self.comparisons.saturating_add(values.saturating_mul(times));
        if self.comparisons > COMPARISONS {
            return Err(Error::TooMany(format!(
                "the filters and lists of the request ask for more than {COMPARISONS} comparisons; send fewer operations at once"
            )));
        }
        Ok(())
    }

    /// Without a path the value is an object of attributes, some clients say it as JSON in a text.
    fn pathless(&mut self, operation: &Operation) -> Result<(), Error> {
        if operation.op == Op::Remove {
            return Err(Error::NoTarget("a removal needs a `path`".to_owned()));
        }
        match &operation.value {
            Some(Value::Object(map)) => self.each(operation.op, map, ""),
            Some(Value::String(text)) if !self.notes.dialect.is_strict() => {
                self.each(operation.op, &super::json::object(text.as_bytes())?, "")
            }
            _ => Err(Error::InvalidValue("without a `path`, `value` must be an object of attributes".to_owned())),
        }
    }

    fn each(&mut self, op: Op, map: &Map<String, Value>, prefix: &str) -> Result<(), Error> {
        for (key, value) in map {
            step();
            let name = format!("{prefix}{key}");
            if self.notes.dialect.is_strict() && self.is_path(key) {
                self.notes.faults.push(format!("`{}` is a path where a name is expected", short(&name)));
                continue;
            }
            match path::parse(self.shape, &name, self.notes.dialect.mode) {
                Ok(Path::Attribute { place, filter }) => {
                    if !self.echo(place, value)? {
                        self.change(place, filter.as_ref(), op, Some(value))?;
                    }
                }
                Ok(Path::Extension(extension)) => match value {
                    Value::Object(inner) => self.each(op, inner, &format!("{}:", extension.id))?,
                    Value::Null => {}
                    _ => return Err(Error::InvalidValue(format!("`{}` expects an object", extension.id))),
                },
                Err(_) if self.shape.is_core(&name) => {
                    if let Value::Object(inner) = value {
                        self.each(op, inner, "")?;
                    }
                }
                Err(_) => self.notes.unknown(short(&name)),
            }
        }
        Ok(())
    }

    /// Whether a key says more than the name of an attribute or a schema.
    fn is_path(&self, key: &str) -> bool {
        key.contains(['.', ':', '[']) && self.shape.extension(key).is_none() && !self.shape.is_core(key)
    }

    /// A client that puts back what it read repeats attributes that it cannot write: true if this is such an echo.
    fn echo(&self, place: Located<'_>, value: &Value) -> Result<bool, Error> {
        if place.attribute.writable() {
            // `null` says nothing of members: a list is emptied by `[]`.
            return Ok(self.shape.is_relation(place) && value.is_null());
        }
        let same = match place.attribute.name.as_str() {
            "schemas" | "meta" | "groups" => place.extension.is_none(),
            "id" => value.as_str() == Some(self.id),
            _ => edit::get(self.current, place).unwrap_or(&Value::Null) == value,
        };
        if same { Ok(true) } else { Err(read_only(place)) }
    }

    fn at(&mut self, text: &str, op: Op, value: Option<&Value>) -> Result<(), Error> {
        match path::parse(self.shape, text, self.notes.dialect.mode)? {
            Path::Attribute { place, filter } => self.change(place, filter.as_ref(), op, value),
            Path::Extension(extension) => match (op, value) {
                (Op::Remove, _) => {
                    for attribute in extension.attributes.iter().filter(|attribute| attribute.writable()) {
                        let place = Located { extension: Some(&extension.id), attribute, sub: None };
                        edit::remove(&mut self.patched.document, place, None, None, &mut self.notes);
                    }
                    Ok(())
                }
                (_, Some(Value::Object(map))) => self.each(op, map, &format!("{}:", extension.id)),
                _ => Err(Error::InvalidValue(format!("`{}` expects an object", extension.id))),
            },
        }
    }

    fn change(
        &mut self,
        place: Located<'s>,
        filter: Option<&Filter<'s>>,
        op: Op,
        value: Option<&Value>,
    ) -> Result<(), Error> {
        if self.shape.is_relation(place) {
            return self.members(place, filter, op, value);
        }
        if !place.attribute.writable() || place.sub.is_some_and(|sub| !sub.writable()) {
            return Err(read_only(place));
        }
        if self.shape.is_password(place) {
            if let (Op::Add | Op::Replace, Some(value)) = (op, value) {
                self.patched.password = resource::secret(place.attribute, value, &mut self.notes);
            }
            return Ok(());
        }
        stays_disabled(place, op, value)?;
        let listed = value.and_then(Value::as_array).filter(|_| op == Op::Remove).map(Vec::len);
        if let Some(times) = filter.map(Filter::terms).or(listed) {
            let list = edit::get(&self.patched.document, place).and_then(Value::as_array);
            self.judge(times, list.map_or(0, Vec::len))?;
        }
        let document = &mut self.patched.document;
        match (op, value) {
            (Op::Remove, value) => edit::remove(document, place, filter, value, &mut self.notes),
            (_, None) => return Err(Error::InvalidValue(format!("`{}` needs a `value`", place.shown()))),
            (_, Some(value)) => edit::set(document, place, filter, op == Op::Add, value, &mut self.notes)?,
        }
        Ok(())
    }

    fn members(
        &mut self,
        place: Located<'s>,
        filter: Option<&Filter<'s>>,
        op: Op,
        value: Option<&Value>,
    ) -> Result<(), Error> {
        let name = &place.attribute.name;
        if place.sub.is_some() {
            return Err(Error::Mutability(format!("a value of `{name}` is added or removed, not changed")));
        }
        if let Some(filter) = filter.filter(|filter| ids(filter).is_none()) {
            self.judge(filter.terms(), self.present.len())?;
        }
        let changes = &mut self.patched.members;
        match (filter, op, value) {
            (None, Op::Remove, None) => changes.replace(Vec::new()),
            (None, Op::Remove, Some(Value::Null)) => {
                return Err(Error::InvalidValue(format!(
                    "`{name}` to remove are a list; without `value` all are removed"
                )));
            }
            (None, Op::Remove, Some(_)) if self.notes.dialect.is_strict() => {
                return Err(Error::InvalidValue("a removal has a `path` and no `value`".to_owned()));
            }
            (None, Op::Remove, Some(value)) => {
                members::read(name, value)?.iter().for_each(|member| changes.remove(&member.value));
            }
            (None, _, None | Some(Value::Null)) => {
                return Err(Error::InvalidValue(format!("`{name}` needs a list; `[]` empties it")));
            }
            (None, Op::Add, Some(value)) => changes.add(members::read(name, value)?),
            (None, Op::Replace, Some(value)) => changes.replace(members::read(name, value)?),
            (Some(filter), Op::Remove, _) => match ids(filter) {
                Some(ids) => ids.iter().for_each(|id| changes.remove(id)),
                None => {
                    let found = self.present.iter().filter(|member| eval::matches(filter, member));
                    found.filter_map(|member| member.get("value")?.as_str()).for_each(|id| changes.remove(id));
                }
            },
            (Some(filter), _, _) => {
                let other = value.and_then(|value| value.get("value")?.as_str());
                let ids = ids(filter).filter(|ids| other.is_none_or(|other| ids.iter().all(|id| id == other)));
                let ids = ids.ok_or_else(|| Error::NoTarget(format!("no value of `{name}` is meant by the filter")))?;
                let ids: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
                changes.add(members::read(name, &Value::Array(ids))?);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Patched, Error> {
        let Work { shape, current, mut patched, notes, .. } = self;
        edit::prune(&mut patched.document);
        edit::primaries(shape, &patched.document)?;
        resource::all_immutable(shape, current, &patched.document)?;
        // What was missing before (another source brought less) is not this client's fault.
        let mut missing = resource::missing(shape, &patched.document);
        let before = resource::missing(shape, current);
        missing.retain(|name| !before.contains(name));
        if !missing.is_empty() {
            let names = missing.join("`, `");
            let had = |name: &String| match name.rsplit_once(':') {
                Some((extension, name)) => current.get(extension).is_some_and(|inner| inner.get(name).is_some()),
                None => current.contains_key(name),
            };
            return Err(if missing.iter().any(had) {
                Error::Mutability(format!("`{names}` is required and cannot be removed"))
            } else {
                Error::InvalidValue(format!("`{names}` is required"))
            });
        }
        patched.ignored = notes.ignored;
        Ok(patched)
    }
}

/// Unassigned counts as enabled, so a new value of `active` is true or false: `null` is refused, lest a slip brings a
/// disabled account back. To remove it is to speak of it no more, and allowed (public suites demand it).
fn stays_disabled(place: Located<'_>, op: Op, value: Option<&Value>) -> Result<(), Error> {
    let wiped = op != Op::Remove && value.is_some_and(unsaid);
    if place.extension.is_none() && place.attribute.name == "active" && wiped {
        return Err(Error::InvalidValue("`active` expects true or false".to_owned()));
    }
    Ok(())
}

fn unsaid(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn read_only(place: Located<'_>) -> Error {
    Error::Mutability(format!("`{}` is read-only", place.shown()))
}

/// The ids that a member filter names, if it names them by `value eq`.
fn ids(filter: &Filter<'_>) -> Option<Vec<String>> {
    match filter {
        Filter::Compare(place, Compare::Eq, literal) if place.leaf().name == "value" => {
            literal.text().map(|text| vec![text.to_owned()])
        }
        Filter::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(ids).collect();
            Some(parts?.into_iter().flatten().collect())
        }
        // An id is one member; what else is said of it cannot make it another.
        Filter::And(parts) if parts.len() == 2 => match (ids(&parts[0]), ids(&parts[1])) {
            (Some(ids), None) | (None, Some(ids)) => Some(ids),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
