//! A file of `tests/conformance`: its steps, and the variables that answers give and later requests name. Knows the form
//! of the file and nothing of the daemon. Start with `Script::load`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Fewer steps are no lifecycle.
const FEWEST: usize = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// As the file is named.
    provider: String,
    /// Which client it is, and how well its requests are known.
    about: String,
    pub steps: Vec<Step>,
}

/// A request and what its answer must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub say: String,
    pub send: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    body: Option<Value>,
    /// A body that is no JSON, or that JSON cannot say.
    raw: Option<String>,
    /// Bodies of the same request, sent at one moment; every answer must be as demanded.
    #[serde(default)]
    at_once: Vec<Value>,
    pub expect: u16,
    #[serde(default)]
    pub headers_have: BTreeMap<String, String>,
    pub has: Option<Value>,
    /// Variable -> JSON pointer into the answer, or a header's name.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
}

/// Variables and their values.
pub type Kept = BTreeMap<String, Value>;

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

impl Script {
    pub fn load(provider: &str) -> Script {
        let path = folder().join(format!("{provider}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let script: Script = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(script.provider, provider, "the file is named as its provider");
        assert!(!script.about.is_empty(), "{provider}.json says nothing of its provider");
        assert!(script.steps.len() >= FEWEST, "{provider}.json has fewer than {FEWEST} steps");
        script
    }
}

impl Step {
    /// The step with the variables put in. What the answer must be is filled later: it may name what the answer gives.
    pub fn filled(&self, kept: &Kept) -> Result<Step, String> {
        let mut step = self.clone();
        step.send = text(&self.send, kept)?;
        for value in step.headers.values_mut() {
            *value = text(value, kept)?;
        }
        step.raw = self.raw.as_ref().map(|raw| text(raw, kept)).transpose()?;
        step.body = self.body.as_ref().map(|body| fill(body, kept)).transpose()?;
        step.at_once = self.at_once.iter().map(|body| fill(body, kept)).collect::<Result<_, _>>()?;
        Ok(step)
    }

    /// One for each request of the step.
    pub fn bodies(&self) -> Vec<Option<String>> {
        if self.at_once.is_empty() {
            return vec![self.raw.clone().or_else(|| self.body.as_ref().map(Value::to_string))];
        }
        self.at_once.iter().map(|body| Some(body.to_string())).collect()
    }

    /// Whether the step sets this header itself.
    pub fn header(&self, wanted: &str) -> bool {
        self.headers.keys().any(|name| name.eq_ignore_ascii_case(wanted))
    }
}

/// Puts variables into every text. A text that is nothing but a variable becomes its value; an object with `*with` is
/// the object of that variable under its own members.
pub fn fill(value: &Value, kept: &Kept) -> Result<Value, String> {
    match value {
        Value::String(whole) => match variable(whole) {
            Some(("", name, "")) => known(name, kept).cloned(),
            _ => text(whole, kept).map(Value::String),
        },
        Value::Array(items) => items.iter().map(|item| fill(item, kept)).collect(),
        Value::Object(members) => {
            let mut filled = match members.get("*with").map(|under| fill(under, kept)).transpose()? {
                None => Map::new(),
                Some(Value::Object(under)) => under,
                Some(other) => return Err(format!("`*with` is no object but {other}")),
            };
            for (name, value) in members.iter().filter(|(name, _)| *name != "*with") {
                filled.insert(text(name, kept)?, fill(value, kept)?);
            }
            Ok(Value::Object(filled))
        }
        other => Ok(other.clone()),
    }
}

pub fn text(template: &str, kept: &Kept) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, name, after)) = variable(rest) {
        out.push_str(before);
        match known(name, kept)? {
            Value::String(text) => out.push_str(text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The first `{name}` and what stands around it. Other braces are the text's own: some clients send JSON in a text.
fn variable(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('{').find_map(|(open, _)| {
        let (name, after) = text[open + 1..].split_once('}')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_name.then_some((&text[..open], name, after))
    })
}

fn known<'k>(name: &str, kept: &'k Kept) -> Result<&'k Value, String> {
    kept.get(name).ok_or_else(|| format!("no answer has given `{name}`"))
}

mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_are_put_in_and_other_braces_stay() {
        let kept = Kept::from([("user".to_owned(), json!("u1")), ("whole".to_owned(), json!({"a": 1, "b": 2}))]);
        let filled = fill(&json!({"*with": "{whole}", "b": ["{user}", "x-{user}"], "c": "{\"id\":\"{user}\"}"}), &kept);
        assert_eq!(filled, Ok(json!({"a": 1, "b": ["u1", "x-u1"], "c": "{\"id\":\"u1\"}"})));
        assert!(fill(&json!(["{nobody}"]), &kept).unwrap_err().contains("`nobody`"));
        assert!(fill(&json!({"*with": "{user}"}), &kept).is_err());
    }
}
