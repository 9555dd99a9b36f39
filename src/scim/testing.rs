//! Chance for property tests, cheap and easy to shrink: a run of numbers is read as choices (`Dice`), and when it is used up
//! every choice is the first, which ends every rule. Makes filters, paths, bodies and people that are right, and `marred`
//! makes of a right text one that is nearly right. Proves nothing itself.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::registry::Registries;
use super::schema::Shape;
use crate::model::entity::urn;
use crate::model::kind::Realm;

/// Of each property: a million where the long suites were asked for.
pub fn cases() -> ProptestConfig {
    let long = std::env::var_os("MUSTERD_LONG").is_some_and(|value| !value.is_empty() && value != "0");
    let cases = if long { 1_000_000 } else { 10_000 };
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// What a `Dice` reads.
pub fn chance() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..96)
}

pub struct Dice<'a>(std::slice::Iter<'a, u16>);

impl Dice<'_> {
    pub fn new(numbers: &[u16]) -> Dice<'_> {
        Dice(numbers.iter())
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default()) % sides
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    /// Never when the numbers are used up.
    pub fn rarely(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == one_in - 1
    }
}

/// `Users` or `Groups` as sources of agents see them.
pub fn shape(endpoint: &str) -> &'static Shape {
    static ALL: std::sync::LazyLock<Registries> = std::sync::LazyLock::new(|| Registries::embedded().unwrap());
    ALL.of_realm(Some(Realm::Agent)).at(endpoint).unwrap()
}

pub const ENDPOINTS: [&str; 2] = ["Users", "Groups"];
pub const ID: &str = "0198c0de-7a11-7abc-8def-0123456789ab";
/// Few, so that what is asked for is often there.
const TEXTS: [&str; 14] =
    ["a", "eva", "Eva", "ŽIŽKA", "žižka", "work", "home", "a@x.cz", "A@X.cz", "", " a ", "100%", "a_b", "ß ﬁ İ ς"];
const TIMES: [&str; 4] =
    ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00.000+01:00", "2026-01-01T10:00:00.001Z", "1970-01-01T00:00:00-05:00"];

pub fn text(dice: &mut Dice<'_>) -> &'static str {
    dice.pick(&TEXTS)
}

/// What may be asked of an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Flag,
    Time,
    /// Is there or not, and nothing else.
    Whole,
}

const USER: [(&str, Sort); 16] = [
    ("userName", Sort::Text),
    ("displayName", Sort::Text),
    ("externalId", Sort::Text),
    ("id", Sort::Text),
    ("title", Sort::Text),
    ("active", Sort::Flag),
    ("name.familyName", Sort::Text),
    ("emails", Sort::Text),
    ("emails.value", Sort::Text),
    ("emails.primary", Sort::Flag),
    ("meta.created", Sort::Time),
    ("meta.lastModified", Sort::Time),
    ("name", Sort::Whole),
    ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", Sort::Text),
    ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", Sort::Text),
    ("groups.value", Sort::Text),
];
const GROUP: [(&str, Sort); 5] = [
    ("displayName", Sort::Text),
    ("externalId", Sort::Text),
    ("members", Sort::Text),
    ("members.display", Sort::Text),
    ("meta.created", Sort::Time),
];
const ELEMENT: [(&str, Sort); 4] =
    [("value", Sort::Text), ("type", Sort::Text), ("display", Sort::Text), ("primary", Sort::Flag)];
const MEMBER: [(&str, Sort); 3] = [("value", Sort::Text), ("type", Sort::Text), ("display", Sort::Text)];

fn list(endpoint: &str, dice: &mut Dice<'_>) -> (&'static str, &'static [(&'static str, Sort)]) {
    if endpoint == "Groups" {
        ("members", &MEMBER)
    } else {
        (dice.pick(&["emails", "phoneNumbers", "roles"]), &ELEMENT)
    }
}

/// A filter that is right.
pub fn filter(endpoint: &str, dice: &mut Dice<'_>) -> String {
    let mut text = String::new();
    let names: &[_] = if endpoint == "Groups" { &GROUP } else { &USER };
    chain(Some(endpoint), names, dice, 3, &mut text);
    text
}

fn chain(endpoint: Option<&str>, names: &[(&'static str, Sort)], dice: &mut Dice<'_>, depth: usize, out: &mut String) {
    for at in 0..=[0, 0, 0, 1, 1, 2][dice.roll(6)] {
        if at > 0 {
            out.push_str(dice.pick(&[" and ", " or ", " AND ", "  Or "]));
        }
        match dice.roll(10) {
            kind @ 8.. if depth > 0 => {
                out.push_str(if kind == 8 { "not (" } else { "(" });
                chain(endpoint, names, dice, depth - 1, out);
                out.push(')');
            }
            6 | 7 if let Some(endpoint) = endpoint => {
                let (name, inner) = list(endpoint, dice);
                out.push_str(name);
                out.push('[');
                chain(None, inner, dice, depth.saturating_sub(1), out);
                out.push(']');
                if dice.rarely(3) {
                    out.push('.');
                    comparison(inner, dice, out);
                }
            }
            _ => comparison(names, dice, out),
        }
    }
}

fn comparison(names: &[(&'static str, Sort)], dice: &mut Dice<'_>, out: &mut String) {
    let (name, sort) = names[dice.roll(names.len())];
    if dice.rarely(5) {
        out.push_str(&name.to_ascii_uppercase());
    } else {
        out.push_str(name);
    }
    let op = match sort {
        Sort::Whole => "pr",
        Sort::Flag => dice.pick(&["eq", "ne", "pr", "Eq"]),
        Sort::Time => dice.pick(&["eq", "ne", "pr", "gt", "ge", "lt", "le"]),
        Sort::Text => dice.pick(&["eq", "ne", "pr", "co", "sw", "ew", "gt", "ge", "lt", "le", "EQ"]),
    };
    out.push(' ');
    out.push_str(op);
    if op == "pr" {
        return;
    }
    out.push(' ');
    if matches!(op, "eq" | "ne") && dice.rarely(8) {
        out.push_str("null");
        return;
    }
    match sort {
        Sort::Flag => out.push_str(dice.pick(&["true", "false", "\"True\""])),
        Sort::Time => out.push_str(&json!(dice.pick(&TIMES)).to_string()),
        _ if dice.rarely(8) => out.push_str(dice.pick(&["bare", "5", ID])),
        _ => out.push_str(&json!(if dice.rarely(8) { ID } else { text(dice) }).to_string()),
    }
}

/// A PATCH path that is right.
pub fn path(endpoint: &str, dice: &mut Dice<'_>) -> String {
    if endpoint == "Groups" {
        let with = format!("members[value eq {}]", json!(text(dice)));
        return dice.pick(&["displayName", "members", &with, "members[display co \"a\"]"]).to_owned();
    }
    let mut out = String::new();
    match dice.roll(4) {
        0 => out.push_str(USER[dice.roll(USER.len())].0),
        1 => {
            let (urn, name) = dice.pick(&[(urn::ENTERPRISE, ":manager"), (urn::AGENT, ":note"), (urn::USER, ":title")]);
            out.push_str(urn);
            if urn == urn::USER || dice.roll(2) == 0 {
                out.push_str(name);
            }
        }
        _ => {
            let (name, inner) = list(endpoint, dice);
            out.push_str(name);
            if !dice.rarely(4) {
                out.push('[');
                chain(None, inner, dice, 1, &mut out);
                out.push(']');
            }
            if dice.roll(2) == 0 {
                out.push_str(dice.pick(&[".value", ".type", ".primary", ".Display"]));
            }
        }
    }
    out
}

/// The filter in so many brackets that it may be too deep, and otherwise right.
pub fn nested(filter: &str, dice: &mut Dice<'_>) -> String {
    let (open, deep) = (dice.pick(&["(", "not ("]), dice.pick(&[1, 3, 22, 23, 24, 25, 60, 500]));
    format!("{}{filter}{}", open.repeat(deep), ")".repeat(deep))
}

/// The text with a few wounds.
pub fn marred(text: &str, dice: &mut Dice<'_>) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..dice.roll(4) {
        let from = dice.roll(chars.len() + 1);
        let to = (from + 1 + dice.roll(8)).min(chars.len()).max(from);
        match dice.roll(9) {
            0 => drop(chars.drain(from..to)),
            1 => chars.truncate(from),
            2 => {
                let part = chars[from..to].to_vec();
                chars.splice(from..from, part);
            }
            3 => {
                let other = filter(dice.pick(&ENDPOINTS), dice);
                chars.splice(from..to, other.chars());
            }
            4 => {
                let (open, close) = dice.pick(&[('(', ')'), ('[', ']'), ('{', '}'), ('"', '"')]);
                let deep = dice.pick(&[1, 3, 23, 24, 25, 200]);
                chars.splice(from..from, std::iter::repeat_n(open, deep));
                let end = if dice.roll(2) == 0 { chars.len() } else { from + deep };
                chars.splice(end..end, std::iter::repeat_n(close, deep));
            }
            5 => {
                let run = dice.pick(&['x', '"', '\\', ' ', '(', '.', ':', 'Ž']);
                chars.splice(from..from, std::iter::repeat_n(run, dice.pick(&[2, 60, 300, 9_000])));
            }
            6 => {
                let odd = ['\0', '\n', '\u{7f}', '\u{a0}', '\u{202e}', '\u{feff}', 'ž', '𝕏', '\u{301}', 'İ', '\\', '"'];
                chars.insert(from, dice.pick(&odd));
            }
            7 => chars[from..to].reverse(),
            _ => {
                let words =
                    [" and ", " or ", "not ", " pr", " eq ", "null", "urn:", "urn:ietf:params:scim:", ".value", "[]"];
                chars.splice(from..from, dice.pick(&words).chars());
            }
        }
    }
    chars.into_iter().collect()
}

/// Any JSON, with the names and words of the protocol among others.
pub fn any_json(dice: &mut Dice<'_>, depth: usize) -> Value {
    match dice.roll(if depth == 0 { 7 } else { 11 }) {
        0 => Value::Null,
        1 => json!(dice.roll(2) == 0),
        2 => json!(dice.pick(&[0_i64, -1, 5, i64::MAX, i64::MIN])),
        3 => json!(dice.pick(&[0.5, -1e300, 1e18])),
        4 => json!(dice.pick(&[
            "true",
            "False",
            "2026-01-01T10:00:00Z",
            "{\"value\":\"x\"}",
            "{",
            "bulkId:a",
            "a\u{0}b"
        ])),
        5 => json!(text(dice)),
        6 => json!(marred(text(dice), dice)),
        7 | 8 => (0..dice.roll(4)).map(|_| any_json(dice, depth - 1)).collect(),
        _ => {
            let mut map = Map::new();
            for _ in 0..dice.roll(4) {
                let name = match dice.roll(4) {
                    0 => dice
                        .pick(&["value", "type", "primary", "display", "Value", "$ref", "op", "path", "Operations"])
                        .to_owned(),
                    1 => dice.pick(&USER).0.to_owned(),
                    2 => dice
                        .pick(&[urn::USER, urn::ENTERPRISE, urn::AGENT, "members", "schemas", "password"])
                        .to_owned(),
                    _ => path("Users", dice),
                };
                map.insert(name, any_json(dice, depth - 1));
            }
            Value::Object(map)
        }
    }
}

/// A value as clients send it, right for some attribute; now and then anything.
pub fn value(dice: &mut Dice<'_>) -> Value {
    match dice.roll(8) {
        0 | 1 => json!(text(dice)),
        2 => json!(dice.roll(2) == 0),
        3 | 4 => elements(dice),
        5 => json!({"value": text(dice), "type": "work"}),
        6 => Value::Object(document(dice.pick(&ENDPOINTS), dice)),
        _ => any_json(dice, 3),
    }
}

fn elements(dice: &mut Dice<'_>) -> Value {
    let mut all: Vec<Value> = Vec::new();
    for at in 0..dice.roll(4) {
        let mut one = Map::new();
        for name in ["value", "type", "display"] {
            let text = text(dice);
            if !text.is_empty() && (name == "value" || dice.roll(2) == 0) {
                one.insert(name.to_owned(), json!(text));
            }
        }
        if at == 0 && dice.roll(2) == 0 {
            one.insert("primary".to_owned(), json!(true));
        }
        let one = Value::Object(one);
        if one != json!({}) && !all.contains(&one) {
            all.push(one);
        }
    }
    all.into()
}

/// A document as it may be stored, of a person or a group.
pub fn document(endpoint: &str, dice: &mut Dice<'_>) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| {
        if !matches!(&value, Value::String(text) if text.is_empty()) && value != json!([]) {
            document.insert(name.to_owned(), value);
        }
    };
    if endpoint == "Groups" {
        put("displayName", json!(dice.pick(&["g", "Ž", "a"])));
        return document;
    }
    put("userName", json!(dice.pick(&["eva", "a@x.cz", "Žižka", "ß"])));
    put("displayName", json!(text(dice)));
    put("title", json!(text(dice)));
    put("emails", elements(dice));
    put("roles", elements(dice));
    if dice.roll(2) == 0 {
        put("name", json!({"familyName": dice.pick(&["žižka", "Eva"])}));
        put(urn::ENTERPRISE, json!({"department": dice.pick(&["work", "ŽIŽKA"]), "manager": {"value": ID}}));
    }
    if dice.roll(2) == 0 {
        put("active", json!(dice.roll(2) == 0));
    }
    document
}

/// The same as it is shown to the evaluator, with its id and times.
pub fn resource(endpoint: &str, dice: &mut Dice<'_>) -> Map<String, Value> {
    let mut resource = document(endpoint, dice);
    resource.insert("id".to_owned(), json!(ID));
    let external = text(dice);
    if !external.is_empty() {
        resource.insert("externalId".to_owned(), json!(external));
    }
    let times = ["2026-01-01T10:00:00.000Z", "2026-01-01T10:00:00.001Z", "1970-01-01T05:00:00.000Z"];
    resource.insert("meta".to_owned(), json!({"created": dice.pick(&times), "lastModified": dice.pick(&times)}));
    let links = if endpoint == "Groups" { "members" } else { "groups" };
    if dice.roll(2) == 0 {
        resource.insert(links.to_owned(), json!([{"value": ID, "display": text(dice)}]));
    }
    if endpoint == "Users" {
        resource.entry("active").or_insert(json!(true));
    }
    resource
}
