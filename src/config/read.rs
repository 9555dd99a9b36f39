//! Readers that take a section key by key and record every fault instead of stopping at the first.
//! A reader always returns a value; after a fault it is a placeholder that nobody sees, because a reading with faults is
//! refused as a whole (`Document::done`). A section that goes out of scope reports the keys that nobody asked for.
//! Start with `Section`; `check` is the short way for tests and for files of their own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::fault::{Fault, Faults, Refused};
use super::secret;
use super::tree::{self, Body, Node, Table};
use crate::model::near::nearest;

/// A whole tree of values with the faults found so far.
pub struct Document {
    table: Table,
    faults: Faults,
    /// Where systemd puts `LoadCredential=` files.
    credentials: Option<PathBuf>,
    /// Relative paths in the files start here: the folder of the first file.
    base: PathBuf,
    /// Every key that a reader asked for, as a dotted path.
    asked: RefCell<BTreeSet<String>>,
}

impl Document {
    /// `variables`: the environment (`MUSTERD__SECTION__KEY` and `CREDENTIALS_DIRECTORY`).
    pub fn load(files: &[PathBuf], variables: impl IntoIterator<Item = (String, String)>) -> Document {
        let variables: config::Map<String, String> = variables.into_iter().collect();
        let credentials = variables.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let base = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("")).to_owned();
        let faults = Faults::default();
        Document { table: tree::load(files, variables, &faults), faults, credentials, base, asked: RefCell::default() }
    }

    pub fn parse(text: &str) -> Document {
        let faults = Faults::default();
        Document {
            table: tree::parse(text, &faults),
            faults,
            credentials: None,
            base: PathBuf::new(),
            asked: RefCell::default(),
        }
    }

    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), None, &self.table)
    }

    /// Every key that was asked for so far: what the readers know.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    /// Whether there is something under the dotted path.
    pub fn has(&self, path: &str) -> bool {
        let mut table = Some(&self.table);
        path.split('.').all(|part| match table.and_then(|table| table.get(part)) {
            Some(node) => {
                table = if let Body::Table(inner) = &node.body { Some(inner) } else { None };
                true
            }
            None => false,
        })
    }

    /// A fault that shows only when values are put to use. Value and place are those of its key here, unless it brings
    /// its own place; what was told already is not told again.
    pub fn fault(&self, mut fault: Fault) {
        if let Some(node) = tree::find(&self.table, &fault.key).filter(|_| fault.origin.is_none()) {
            let key = fault.key.rsplit('.').next().unwrap_or(&fault.key);
            let value = fault.value.take().or_else(|| Some(node.plain()));
            fault.value = value.filter(|_| !secret::sounds_like(key)).map(|value| shown(&value));
            fault.origin = node.origin();
        }
        self.faults.push(fault);
    }

    /// Call after all sections are gone.
    pub fn done(&self) -> Result<(), Refused> {
        let faults = self.faults.take();
        if faults.is_empty() { Ok(()) } else { Err(Refused(faults)) }
    }
}

/// Reads one TOML text with one reader: all faults or the value.
pub fn check<T>(text: &str, reader: impl FnOnce(&Section<'_>) -> T) -> Result<T, Refused> {
    let document = Document::parse(text);
    let value = reader(&document.root());
    document.done().map(|()| value)
}

/// A file of its own (a connector, the catalogue of licences): what could be read of it, and its faults.
pub fn read_file<T>(file: &Path, reader: impl FnOnce(&Section<'_>) -> T) -> (T, Vec<Fault>) {
    let document = Document::load(&[file.to_owned()], []);
    let value = reader(&document.root());
    let named = |fault| Fault { origin: Some(file.display().to_string()), ..fault };
    (value, document.faults.take().into_iter().map(named).collect())
}

/// A table of the configuration while it is being read. An absent table reads like an empty one.
pub struct Section<'a> {
    document: &'a Document,
    path: String,
    origin: Option<&'a str>,
    table: &'a Table,
    asked: RefCell<BTreeSet<String>>,
}

static NOTHING: Table = Table::new();

impl<'a> Section<'a> {
    fn new(document: &'a Document, path: String, origin: Option<&'a str>, table: &'a Table) -> Section<'a> {
        Section { document, path, origin, table, asked: RefCell::default() }
    }

    /// Dotted path of this section, e.g. `sources.hq`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The keys that are present, asked for or not.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Optional text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.leaf(key).and_then(|(node, value)| match value {
            Value::String(text) => Some(text.clone()),
            _ => self.wrong(key, node, "a text"),
        })
    }

    pub fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    /// Text that must be there and not be empty.
    pub fn required(&self, key: &str) -> String {
        match self.text(key) {
            Some(text) if !text.trim().is_empty() => text,
            _ if self.is_faulty(key) => String::new(),
            _ => {
                self.missing(key);
                String::new()
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer<N>(&self, key: &str, range: RangeInclusive<N>, default: N) -> N
    where
        N: Copy + PartialOrd + Display + TryFrom<i64>,
    {
        let allowed = || format!("must be a whole number from {} to {}", range.start(), range.end());
        self.parsed(key, |text| {
            let number = text.trim().parse::<i64>().ok().and_then(|number| N::try_from(number).ok());
            number.filter(|number| range.contains(number)).ok_or_else(allowed)
        })
        .unwrap_or(default)
    }

    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.parsed(key, |text| match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
        .unwrap_or(default)
    }

    /// A span of time: `500ms`, `30s`, `5m`, `12h`, `7d`. Never zero.
    pub fn duration(&self, key: &str, default: Duration) -> Duration {
        self.duration_within(key, Duration::from_millis(1)..=Duration::from_hours(3660 * 24), default)
    }

    pub fn duration_within(&self, key: &str, range: RangeInclusive<Duration>, default: Duration) -> Duration {
        self.parsed(key, |text| {
            span(text).filter(|span| range.contains(span)).ok_or_else(|| {
                format!("must be a span of time like 30s, 5m, 12h or 7d from {:?} to {:?}", range.start(), range.end())
            })
        })
        .unwrap_or(default)
    }

    /// Texts: an array, or one text with commas (the environment knows no arrays). Absent = empty.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.ask(key);
        let Some(node) = self.table.get(key) else { return Vec::new() };
        let texts = match &node.body {
            Body::Leaf(Value::String(text)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(str::to_owned).collect())
            }
            Body::Array(items) => items
                .iter()
                .map(|item| match &item.body {
                    Body::Leaf(Value::String(text)) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.or_else(|| self.wrong(key, node, "a list of texts")).unwrap_or_default()
    }

    /// One of a set of words, or anything else that has `FromStr`; its error says what is allowed.
    pub fn word<T>(&self, key: &str, default: T) -> T
    where
        T: FromStr<Err: Display>,
    {
        self.parsed(key, |text| text.parse()).unwrap_or(default)
    }

    /// Like `word` without a default: `None` when absent, and after a fault.
    pub fn word_optional<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        self.parsed(key, |text| text.parse())
    }

    /// Like `word`, but the key must be there: `None` only after a fault.
    pub fn word_required<T: FromStr<Err: Display>>(&self, key: &str) -> Option<T> {
        self.required_by(key, |text| text.parse())
    }

    /// A list of words.
    pub fn words<T: FromStr<Err: Display>>(&self, key: &str) -> Vec<T> {
        let parse = |text: String| match text.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                self.fault(key, Some(&text), error);
                None
            }
        };
        self.list(key).into_iter().filter_map(parse).collect()
    }

    /// An absolute URL with one of these schemes and without user information.
    pub fn url(&self, key: &str, schemes: &[&str]) -> Option<url::Url> {
        self.parsed(key, |text| parse_url(text, schemes))
    }

    pub fn url_required(&self, key: &str, schemes: &[&str]) -> Option<url::Url> {
        self.required_by(key, |text| parse_url(text, schemes))
    }

    /// A path; relative ones start at the folder of the configuration file.
    pub fn path_of(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(|text| self.document.base.join(text))
    }

    /// Whatever `parse` makes of the text (numbers and booleans come as their text). `None` when absent or faulty.
    pub fn parsed<T, E: Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let (_, value) = self.leaf(key)?;
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        parse(&text).map_err(|error| self.fault(key, Some(&text), error)).ok()
    }

    /// Like `parsed` for a key that must be there: `None` only after a fault.
    pub fn required_by<T, E: Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        if !self.has(key) {
            self.missing(key);
        }
        self.parsed(key, parse)
    }

    /// A secret: `key`, or `key_file` (a path or the name of a systemd credential), or a systemd credential named like
    /// the whole dotted key. Never shown in a fault; a file that everybody can read is refused.
    pub fn secret(&self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let inline = self.text(key);
        let file = self.text(&file_key);
        if inline.is_some() && file.is_some() {
            self.fault(&file_key, None, format_args!("give {key} or {file_key}, not both"));
        }
        if let Some(text) = inline {
            return Some(text.into());
        }
        let whole = self.join(key);
        match secret::find(&whole, file.as_deref(), self.document.credentials.as_deref(), &self.document.base) {
            Ok(secret) => secret,
            Err(reason) => {
                self.fault(&file_key, file.as_deref(), reason);
                None
            }
        }
    }

    /// A secret that must be there: `None` only after a fault.
    pub fn secret_required(&self, key: &str) -> Option<SecretString> {
        let before = self.faults();
        let secret = self.secret(key);
        if secret.is_none() && self.faults() == before {
            self.fault(key, None, format_args!("is missing: give {key}, {key}_file or a credential of that name"));
        }
        secret
    }

    /// A sub-table; absent = empty.
    pub fn section(&self, key: &str) -> Section<'a> {
        self.section_optional(key).unwrap_or_else(|| Section::new(self.document, self.join(key), None, &NOTHING))
    }

    pub fn section_optional(&self, key: &str) -> Option<Section<'a>> {
        self.ask(key);
        let node = self.table.get(key)?;
        match &node.body {
            Body::Table(table) => Some(self.below(self.join(key), node, table)),
            _ => self.wrong(key, node, "a section"),
        }
    }

    /// A table of named sections (`[sources.hq]`), by name.
    pub fn sections(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let Some(outer) = self.section_optional(key) else { return Vec::new() };
        let names: Vec<String> = outer.keys().map(str::to_owned).collect();
        names.into_iter().filter_map(|name| outer.section_optional(&name).map(|inner| (name, inner))).collect()
    }

    /// An array of tables (`[[groups]]`), in order.
    pub fn array(&self, key: &str) -> Vec<Section<'a>> {
        self.ask(key);
        let Some(node) = self.table.get(key) else { return Vec::new() };
        let Body::Array(items) = &node.body else {
            self.wrong::<()>(key, node, "a list of sections");
            return Vec::new();
        };
        let items = items.iter().enumerate().filter_map(|(index, item)| match &item.body {
            Body::Table(table) => Some(self.below(format!("{}[{index}]", self.join(key)), item, table)),
            _ => self.wrong(key, item, "a list of sections"),
        });
        items.collect()
    }

    /// A free-form value that its owner checks (a mapping).
    pub fn value(&self, key: &str) -> Option<Value> {
        self.ask(key);
        self.table.get(key).map(Node::json)
    }

    /// A table of texts with free keys.
    pub fn texts(&self, key: &str) -> std::collections::BTreeMap<String, String> {
        let Some(inner) = self.section_optional(key) else { return Default::default() };
        let keys: Vec<String> = inner.keys().map(str::to_owned).collect();
        keys.into_iter().filter_map(|key| inner.text(&key).map(|text| (key, text))).collect()
    }

    /// Records a fault of `key`. The value is left out where the key sounds like a secret.
    pub fn fault(&self, key: &str, value: Option<&str>, allowed: impl Display) {
        let own = self.table.get(key).and_then(Node::origin);
        // What is missing is missing where the rest of the section stands; the whole has no such place.
        let beside = || tree::origin_of(self.table).filter(|_| !self.path.is_empty());
        let place = || self.origin.map(str::to_owned).or_else(beside);
        self.document.faults.push(Fault {
            key: self.join(key),
            value: value.filter(|_| !secret::sounds_like(key)).map(shown),
            allowed: allowed.to_string(),
            origin: own.or_else(place),
        });
    }

    /// Records the faults of another file.
    pub fn faults_of(&self, faults: Vec<Fault>) {
        for fault in faults {
            self.document.faults.push(fault);
        }
    }

    /// Records that `key` is missing.
    pub fn missing(&self, key: &str) {
        self.fault(key, None, "is missing");
    }

    /// What the reader of `other` asks for is known here too.
    pub fn knows_like(&self, other: &Section<'_>) {
        self.asked.borrow_mut().extend(other.asked.borrow().iter().cloned());
    }

    fn below(&self, path: String, node: &'a Node, table: &'a Table) -> Section<'a> {
        Section::new(self.document, path, node.origin.as_deref().or(self.origin), table)
    }

    fn leaf(&self, key: &str) -> Option<(&'a Node, &'a Value)> {
        self.ask(key);
        let node = self.table.get(key)?;
        match &node.body {
            Body::Leaf(value) => Some((node, value)),
            _ => self.wrong(key, node, "a single value"),
        }
    }

    fn wrong<T>(&self, key: &str, node: &Node, allowed: &str) -> Option<T> {
        self.fault(key, Some(&node.json().to_string()), format_args!("must be {allowed}"));
        None
    }

    /// Whether the key is there with something that is no text (its fault is on the list already).
    fn is_faulty(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|node| !matches!(node.body, Body::Leaf(Value::String(_))))
    }

    fn faults(&self) -> usize {
        self.document.faults.len()
    }

    fn ask(&self, key: &str) {
        if self.asked.borrow_mut().insert(key.to_owned()) {
            self.document.asked.borrow_mut().insert(self.join(key));
        }
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(*key)) {
            let near = nearest(key, asked.iter().map(String::as_str))
                .map(|near| format!(" (did you mean {near}?)"))
                .unwrap_or_default();
            let allowed = asked.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.fault(key, None, format_args!("is unknown{near}. Allowed here: {allowed}"));
        }
    }
}

/// Long values are cut: a fault is a line.
fn shown(value: &str) -> String {
    if value.chars().count() <= 80 { value.to_owned() } else { value.chars().take(80).chain(['…']).collect() }
}

fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

fn parse_url(text: &str, schemes: &[&str]) -> Result<url::Url, String> {
    let allowed = || format!("must be an absolute URL without user information, with {}", schemes.join(" or "));
    let url = url::Url::parse(text).map_err(|_| allowed())?;
    let plain = url.username().is_empty() && url.password().is_none();
    if schemes.contains(&url.scheme()) && url.has_host() && plain { Ok(url) } else { Err(allowed()) }
}
