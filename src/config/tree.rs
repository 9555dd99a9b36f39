//! Files and environment merged into one tree of values, each leaf with the place it came from. Knows no key by name.
//! Later files win over earlier ones, `MUSTERD__SECTION__KEY` over all files. Values of the environment stay texts (a
//! parser that guesses types would turn the secret `00123` into 123); `read` accepts a text wherever a number may stand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Config, Environment, File, FileFormat, Map, Value as Raw, ValueKind};
use serde_json::Value;

use super::fault::{Fault, Faults};

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub origin: Option<String>,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Table(Table),
    Array(Vec<Node>),
    /// A text, number or boolean.
    Leaf(Value),
}

pub type Table = BTreeMap<String, Node>;

/// Reads the files in order and then the variables. What cannot be parsed is a fault of its own and is left out, so that
/// the faults of the other files are seen in the same pass.
pub fn load(files: &[PathBuf], variables: Map<String, String>, faults: &Faults) -> Table {
    let mut all = Config::builder();
    // The crate calls a file by its path from here; people call it as they gave it.
    let mut names = BTreeMap::new();
    for file in files {
        let name = file.display().to_string();
        match Config::builder().add_source(File::from(file.as_path()).format(FileFormat::Toml)).build() {
            Ok(config) => {
                names.extend(node(config.cache.clone()).origin().map(|called| (called, name)));
                all = all.add_source(config);
            }
            Err(error) => faults.push(broken(Some(name), &error)),
        }
    }
    let environment = Environment::with_prefix("MUSTERD").prefix_separator("__").separator("__");
    let mut table = built(all.add_source(environment.source(Some(variables))), faults);
    for node in table.values_mut() {
        node.rename(&names);
    }
    table
}

/// One text, for embedded files and tests.
pub fn parse(text: &str, faults: &Faults) -> Table {
    built(Config::builder().add_source(File::from_str(text, FileFormat::Toml)), faults)
}

fn built(builder: config::ConfigBuilder<config::builder::DefaultState>, faults: &Faults) -> Table {
    let tree = builder.build().map(|config| node(config.cache).body);
    match tree {
        Ok(Body::Table(table)) => table,
        Ok(_) => Table::new(),
        Err(error) => {
            faults.push(broken(None, &error));
            Table::new()
        }
    }
}

fn broken(origin: Option<String>, error: &config::ConfigError) -> Fault {
    let allowed = format!("a readable TOML file is needed: {}", error.to_string().trim());
    Fault { key: "(file)".to_owned(), value: None, allowed, origin }
}

fn node(raw: Raw) -> Node {
    let origin = raw.origin().map(str::to_owned);
    let body = match raw.kind {
        ValueKind::Table(table) => Body::Table(table.into_iter().map(|(key, raw)| (key, node(raw))).collect()),
        ValueKind::Array(items) => Body::Array(items.into_iter().map(node).collect()),
        ValueKind::Nil => Body::Leaf(Value::Null),
        ValueKind::Boolean(value) => Body::Leaf(value.into()),
        ValueKind::I64(value) => Body::Leaf(value.into()),
        ValueKind::U64(value) => Body::Leaf(value.into()),
        ValueKind::I128(value) => Body::Leaf(value.to_string().into()),
        ValueKind::U128(value) => Body::Leaf(value.to_string().into()),
        ValueKind::Float(value) => Body::Leaf(value.into()),
        ValueKind::String(value) => Body::Leaf(value.into()),
    };
    Node { origin, body }
}

/// The node under a dotted path. Keys may hold dots themselves (`map."name.givenName"`), and lists are indexed (`x[1]`).
pub fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Node> {
    let below = |(key, node): (&String, &'t Node)| {
        let mut rest = path.strip_prefix(key.as_str())?;
        let mut node = node;
        while let Some((index, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let Body::Array(items) = &node.body else { return None };
            node = items.get(index.parse::<usize>().ok()?)?;
            rest = after;
        }
        match (rest.strip_prefix('.'), &node.body) {
            (Some(rest), Body::Table(inner)) => find(inner, rest),
            _ => rest.is_empty().then_some(node),
        }
    };
    table.iter().find_map(below)
}

/// Where a table stands: the place of the first thing in it.
pub fn origin_of(table: &Table) -> Option<String> {
    table.values().find_map(Node::origin)
}

impl Node {
    /// Where it was found; of tables and lists, where the first thing in it was.
    pub fn origin(&self) -> Option<String> {
        let inside = || match &self.body {
            Body::Table(table) => origin_of(table),
            Body::Array(items) => items.iter().find_map(Node::origin),
            Body::Leaf(_) => None,
        };
        self.origin.clone().or_else(inside)
    }

    fn rename(&mut self, names: &BTreeMap<String, String>) {
        if let Some(name) = self.origin.as_ref().and_then(|origin| names.get(origin)) {
            self.origin = Some(name.clone());
        }
        match &mut self.body {
            Body::Table(table) => table.values_mut().for_each(|node| node.rename(names)),
            Body::Array(items) => items.iter_mut().for_each(|node| node.rename(names)),
            Body::Leaf(_) => {}
        }
    }

    /// As it is shown in a fault: a text without quotes.
    pub fn plain(&self) -> String {
        match &self.body {
            Body::Leaf(Value::String(text)) => text.clone(),
            _ => self.json().to_string(),
        }
    }

    /// The value as JSON, for free-form parts (mappings) that their owner checks.
    pub fn json(&self) -> Value {
        match &self.body {
            Body::Table(table) => table.iter().map(|(key, node)| (key.clone(), node.json())).collect(),
            Body::Array(items) => items.iter().map(Node::json).collect(),
            Body::Leaf(value) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_mappings_keep_their_dots_and_case() {
        let faults = Faults::default();
        let table = parse("[a.map]\n\"urn:x:2.0:User.employeeNumber\" = \"n\"\nuserName = 1", &faults);
        assert!(faults.is_empty());
        assert_eq!(
            table["a"].json(),
            serde_json::json!({"map": {"urn:x:2.0:User.employeeNumber": "n", "userName": 1}})
        );
    }

    #[test]
    fn a_broken_file_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (bad, good) = (folder.path().join("bad.toml"), folder.path().join("good.toml"));
        std::fs::write(&bad, "a = ").unwrap();
        std::fs::write(&good, "[server]\nlisten = \"x\"").unwrap();
        let faults = Faults::default();
        let variables = Map::from_iter([("MUSTERD__SERVER__NAME".to_owned(), "00123".to_owned())]);
        let table = load(&[bad.clone(), good, folder.path().join("none.toml")], variables, &faults);
        assert_eq!(table["server"].json(), serde_json::json!({"listen": "x", "name": "00123"}));
        let faults = faults.take();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(faults[0].origin, Some(bad.display().to_string()));
    }
}
