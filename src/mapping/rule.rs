//! Where one value comes from. Four spellings, told apart by their look: `mail` is a dotted path, `{{ givenName }} {{ sn }}`
//! a template (gives text), `= userAccountControl | bit(2)` an expression (gives a value), and a boolean, a number or
//! `{ value = .. }` a constant; a list of them is all they give, in order (so the first wins where one value is wanted). A
//! table adds options: `{ from = "..", required, optional, default, clear, lookup, type }`.
//! Nothing found is silence, not emptiness, unless `clear` says so. Start at `Rule::parse`.

use std::collections::BTreeSet;

use minijinja::{Environment, ErrorKind, Expression};
use serde_json::{Map, Value};

use super::filters::{self, clipped};
use super::path::Path;
use super::{Fault, Names, calls, limits};
use crate::model::fold;

enum From {
    Path(Path),
    Constant(Value),
    /// Name of the template in the mapping's environment.
    Template(String),
    Expression(Expression<'static, 'static>),
    /// Everything that the parts give.
    Parts(Vec<From>),
}

pub(super) struct Rule {
    from: From,
    /// As it was written, for errors.
    text: String,
    /// Nothing found is an error.
    required: bool,
    /// An undefined name in a template or expression is nothing found instead of an error.
    optional: bool,
    /// Taken when nothing was found.
    default: Option<Value>,
    /// Nothing found is asserted as empty.
    pub(super) clear: bool,
    /// Every found value goes through this table.
    pub(super) lookup: Option<String>,
    /// Top-level names that are read.
    pub(super) inputs: BTreeSet<String>,
    /// Other keys of the table form, for whoever owns the target.
    pub(super) options: Map<String, Value>,
}

/// Why a value could not be made.
pub(super) struct Failure {
    pub(super) rule: String,
    pub(super) reason: String,
}

const OWN: [&str; 7] = ["from", "value", "required", "optional", "default", "clear", "lookup"];

/// Keys of the table form.
fn known<'a>(allowed: &[&'a str]) -> Vec<&'a str> {
    OWN.iter().chain(allowed).copied().collect()
}

impl Rule {
    /// `None` after a fault; `at` names the target. `allowed` are the further options that the target knows.
    pub(super) fn parse(
        spec: &Value,
        at: &str,
        names: Names,
        env: &mut Environment<'static>,
        allowed: &[&str],
        faults: &mut Vec<Fault>,
    ) -> Option<Rule> {
        let mut fault = |reason: String| faults.push(Fault { target: at.to_owned(), reason });
        let mut options = Map::new();
        let from = match spec {
            Value::String(_) | Value::Array(_) => spec.clone(),
            Value::Bool(_) | Value::Number(_) => return Some(Rule::constant(spec.clone())),
            Value::Object(table) => {
                options = table.clone();
                match (options.remove("from"), options.remove("value")) {
                    (Some(from @ (Value::String(_) | Value::Array(_))), None) => from,
                    (None, Some(value)) => return Some(Rule { options, ..Rule::constant(value) }),
                    (None, None)
                        if let Some(inner) = options.keys().find(|name| !known(allowed).contains(&name.as_str())) =>
                    {
                        // TOML makes a table of a key with dots.
                        fault(format!("is a table; a target with dots stands in quotes: \"{at}.{inner}\" = \"..\""));
                        return None;
                    }
                    _ => {
                        fault("exactly one of `from = \"..\"` and `value = ..` is needed".to_owned());
                        return None;
                    }
                }
            }
            Value::Null => {
                fault("expected a path, a template, `= expression`, a constant or a table".to_owned());
                return None;
            }
        };
        let text = shown(&from).trim().to_owned();
        let mut flag = |name: &str| match options.remove(name) {
            None => false,
            Some(Value::Bool(on)) => on,
            Some(_) => {
                fault(format!("`{name}` is true or false"));
                false
            }
        };
        let (required, optional, clear) = (flag("required"), flag("optional"), flag("clear"));
        let default = options.remove("default");
        let lookup = match options.remove("lookup") {
            None => None,
            Some(Value::String(table)) => Some(table),
            Some(_) => {
                fault("`lookup` is the name of a table".to_owned());
                None
            }
        };
        for unknown in options.keys().filter(|name| !allowed.contains(&name.as_str())) {
            fault(format!("unknown option `{unknown}`; known are {}", known(allowed).join(", ")));
        }
        match sources(&from, at, names, env) {
            Ok((from, inputs)) => {
                Some(Rule { from, text, required, optional, default, clear, lookup, inputs, options })
            }
            Err(reason) => {
                fault(format!("`{}`: {reason}", clipped(&text)));
                None
            }
        }
    }

    fn constant(value: Value) -> Rule {
        Rule {
            text: value.to_string(),
            from: From::Constant(value),
            required: false,
            optional: false,
            default: None,
            clear: false,
            lookup: None,
            inputs: BTreeSet::new(),
            options: Map::new(),
        }
    }

    /// Every value that was found; empty = nothing. Empty texts count as nothing.
    pub(super) fn values(&self, record: &Scope) -> Result<Vec<Value>, Failure> {
        let mut found = self.found(&self.from, record)?;
        found.retain(|value| !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty()));
        if let Some(name) = &self.lookup {
            found = found.iter().map(|value| self.looked_up(record, name, value)).collect::<Result<_, _>>()?;
        }
        if found.is_empty()
            && let Some(default) = &self.default
        {
            found = list(default.clone());
        }
        if found.is_empty() && self.required {
            return Err(self.failure("is required, and there is nothing".to_owned()));
        }
        Ok(found)
    }

    fn found(&self, from: &From, record: &Scope) -> Result<Vec<Value>, Failure> {
        match from {
            From::Path(path) => Ok(path.walk(record.raw).into_iter().cloned().collect()),
            From::Constant(value) => Ok(list(value.clone())),
            From::Template(name) => {
                let rendered =
                    record.env.get_template(name).and_then(|template| limits::render(&template, record.root()));
                self.evaluated(record, rendered.map(|text| Value::String(text.trim().to_owned())))
            }
            From::Expression(expression) => {
                let given = expression.eval(record.root()).and_then(|value| {
                    if value.is_undefined() && !self.optional {
                        return Err(minijinja::Error::from(ErrorKind::UndefinedError));
                    }
                    filters::to_json(value)
                });
                self.evaluated(record, given)
            }
            From::Parts(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.found(part, record)?);
                }
                Ok(all)
            }
        }
    }

    fn evaluated(&self, record: &Scope, result: Result<Value, minijinja::Error>) -> Result<Vec<Value>, Failure> {
        match result {
            Ok(value) => Ok(list(value)),
            Err(error) if self.optional && error.kind() == ErrorKind::UndefinedError => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                let missing = record.missing(&self.inputs);
                let what = match (missing.is_empty(), error.detail()) {
                    (false, _) => format!("there is no {}", missing.join(" and no ")),
                    (true, Some(detail)) => detail.to_owned(),
                    (true, None) => "a name is undefined".to_owned(),
                };
                Err(self.failure(format!("{what} (`optional = true` allows that)")))
            }
            Err(error) => Err(self.failure(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))),
        }
    }

    fn looked_up(&self, record: &Scope, table: &str, value: &Value) -> Result<Value, Failure> {
        let key = fold::key(&shown(value));
        let found = record.tables.get(table).and_then(|table| table.get(&key));
        match (found, &self.default) {
            (Some(found), _) => Ok(found.clone()),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => Err(self.failure(format!("`{}` is not in table `{table}`", clipped(&shown(value))))),
        }
    }

    pub(super) fn failure(&self, reason: String) -> Failure {
        Failure { rule: self.text.clone(), reason }
    }
}

/// A scalar as text without quotes.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        value => vec![value],
    }
}

fn sources(
    from: &Value,
    at: &str,
    names: Names,
    env: &mut Environment<'static>,
) -> Result<(From, BTreeSet<String>), String> {
    let Value::Array(parts) = from else { return source(&shown(from), at, names, env) };
    let mut all = (Vec::new(), BTreeSet::new());
    for part in parts {
        let text = part.as_str().ok_or("a list of sources has only texts")?;
        let (from, inputs) = source(text, at, names, env)?;
        all.0.push(from);
        all.1.extend(inputs);
    }
    Ok((From::Parts(all.0), all.1))
}

fn source(
    text: &str,
    at: &str,
    names: Names,
    env: &mut Environment<'static>,
) -> Result<(From, BTreeSet<String>), String> {
    let text = text.trim();
    let told = |error: minijinja::Error| error.detail().map_or_else(|| error.to_string(), str::to_owned);
    let folded = |names_read: std::collections::HashSet<String>| {
        names_read.into_iter().map(|name| names.of(&name)).collect::<BTreeSet<_>>()
    };
    if let Some(expression) = text.strip_prefix('=') {
        limits::fault(expression, false).map_or(Ok(()), Err)?;
        calls::unknown(expression, false).map_or(Ok(()), Err)?;
        let compiled = filters::ENGINE.compile_expression_owned(expression.trim().to_owned()).map_err(told)?;
        let inputs = folded(compiled.undeclared_variables(false));
        return Ok((From::Expression(compiled), inputs));
    }
    if text.contains("{{") || text.contains("{%") {
        limits::fault(text, true).map_or(Ok(()), Err)?;
        calls::unknown(text, true).map_or(Ok(()), Err)?;
        let name = format!("{at}#{text}");
        env.add_template_owned(name.clone(), text.to_owned()).map_err(told)?;
        let inputs = folded(env.get_template(&name).map_err(told)?.undeclared_variables(false));
        return Ok((From::Template(name), inputs));
    }
    let mut path = Path::parse(text)?;
    if names == Names::Folded {
        path.fold_head();
    }
    let inputs = path.head().map(str::to_owned).into_iter().collect();
    Ok((From::Path(path), inputs))
}

/// One record while it is being mapped.
pub(super) struct Scope<'a> {
    pub(super) raw: &'a Value,
    pub(super) env: &'a Environment<'static>,
    /// Keys folded.
    pub(super) tables: &'a Map<String, Value>,
    pub(super) names: Names,
    /// Made when the first expression asks.
    root: std::cell::OnceCell<minijinja::Value>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        raw: &'a Value,
        env: &'a Environment<'static>,
        tables: &'a Map<String, Value>,
        names: Names,
    ) -> Scope<'a> {
        Scope { raw, env, tables, names, root: std::cell::OnceCell::new() }
    }

    /// Which of these names the record does not have.
    fn missing(&self, names: &BTreeSet<String>) -> Vec<String> {
        let absent = |name: &&String| name.as_str() != "record" && self.raw.get(name.as_str()).is_none();
        names.iter().filter(absent).map(|name| format!("`{name}`")).collect()
    }

    fn root(&self) -> minijinja::Value {
        let make = || {
            minijinja::Value::from_object(Root {
                record: minijinja::Value::from(minijinja::value::Serde(self.raw)),
                tables: minijinja::Value::from(minijinja::value::Serde(self.tables)),
                names: self.names,
            })
        };
        self.root.get_or_init(make).clone()
    }
}

/// What an expression sees: the record's names, and the tables under a name that no attribute has.
#[derive(Debug)]
struct Root {
    record: minijinja::Value,
    tables: minijinja::Value,
    names: Names,
}

impl minijinja::value::Object for Root {
    fn get_value(self: &std::sync::Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &std::sync::Arc<Self>, key: &str) -> Option<minijinja::Value> {
        match key {
            filters::TABLES => Some(self.tables.clone()),
            "record" => Some(
                self.record
                    .get_attr("record")
                    .ok()
                    .filter(|own| !own.is_undefined())
                    .unwrap_or_else(|| self.record.clone()),
            ),
            key => self.record.get_attr(&self.names.of(key)).ok().filter(|value| !value.is_undefined()),
        }
    }
}
