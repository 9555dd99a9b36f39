//! Whatever comes from outside, the protocol ends: it neither panics nor works longer than the size of the question allows,
//! and what it takes has the form that the rest of the program relies on. Work is counted (`steps`), never timed. The texts
//! come from `testing`. What a filter and a PATCH mean is proved elsewhere (`patch::model`, `tests/it/oracle.rs`).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::error::Error;
use super::filter::{self, Filter};
use super::lexer::{Token, tokens};
use super::path::Path;
use super::steps::counted;
use super::testing::{Dice, ENDPOINTS, ID, any_json, cases, chance, document, marred, nested, resource, shape};
use super::{bulk, eval, json as strict, patch, path, resource as body, testing};
use crate::model::dialect::{Dialect, Mode};

/// Levels of brackets in what is taken, of a filter inside of a path too.
const LEVELS: usize = 24;
/// Characters of a refusal that repeats only a part of what was sent, unless it lists several faults.
const REFUSAL: usize = 400;

/// Comparisons and joints of a tree.
fn size(filter: &Filter<'_>) -> usize {
    1 + match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(size).sum(),
        Filter::Not(inner) | Filter::Element(_, inner) => size(inner),
        Filter::Present(_) | Filter::Compare(..) | Filter::Fixed(_) => 0,
    }
}

/// Levels of brackets.
fn nesting(tokens: &[Token]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for token in tokens {
        match token {
            Token::Open | Token::OpenBracket => now += 1,
            Token::Close | Token::CloseBracket => now = now.saturating_sub(1),
            Token::Text(_) | Token::Word(_) => {}
        }
        most = most.max(now);
    }
    most
}

/// The most values of one attribute.
fn values(document: &Map<String, Value>) -> usize {
    document.values().filter_map(Value::as_array).map(Vec::len).max().unwrap_or_default().max(1)
}

/// A message is short and can be shown.
fn told(error: &Error) -> Result<(), TestCaseError> {
    let text = error.to_string();
    prop_assert!(text.chars().count() <= REFUSAL, "{text}");
    prop_assert!(!text.chars().any(char::is_control), "{text:?}");
    prop_assert!((400..500).contains(&error.status()), "{error:?}");
    Ok(())
}

/// The tree is no larger than its text, and was made and judged by as many steps as that allows.
fn judged(tree: &Filter<'_>, tokens: usize, resource: &Map<String, Value>) -> Result<(), TestCaseError> {
    let nodes = size(tree);
    prop_assert!(nodes <= tokens, "{nodes} nodes of {tokens} tokens");
    let (_, steps) = counted(|| eval::matches(tree, resource));
    prop_assert!(steps <= 2 * nodes * (values(resource) + 1), "{steps} steps for {nodes} nodes");
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn s33_any_filter_ends_in_steps_of_its_length(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let endpoint = dice.pick(&ENDPOINTS);
        let right = testing::filter(endpoint, dice);
        let resource = resource(endpoint, dice);
        let tree = filter::parse(shape(endpoint), &right, Mode::Tolerant);
        prop_assert!(tree.is_ok(), "{right}: {:?}", tree.err());

        let text = if dice.rarely(8) { nested(&right, dice) } else { marred(&right, dice) };
        let tokens = tokens(&text).unwrap_or_default();
        prop_assert!(tokens.len() <= text.len());
        let (tree, taken) = counted(|| filter::parse(shape(endpoint), &text, Mode::Tolerant));
        prop_assert!(taken <= 4 * tokens.len() + 4, "{taken} steps for {} tokens", tokens.len());
        match tree {
            Ok(tree) => {
                prop_assert!(nesting(&tokens) <= LEVELS, "{} levels", nesting(&tokens));
                judged(&tree, tokens.len(), &resource)?;
            }
            Err(error) => told(&error)?,
        }
    }

    #[test]
    fn s33_any_path_ends_in_steps_of_its_length(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let endpoint = dice.pick(&ENDPOINTS);
        let right = testing::path(endpoint, dice);
        let found = path::parse(shape(endpoint), &right, Mode::Tolerant);
        prop_assert!(found.is_ok(), "{right}: {:?}", found.err());

        let text = if dice.rarely(8) { format!("emails[{}].type", nested("value pr", dice)) } else { marred(&right, dice) };
        let (found, taken) = counted(|| path::parse(shape(endpoint), &text, Mode::Tolerant));
        prop_assert!(taken <= 4 * text.len() + 4);
        match found {
            Ok(Path::Attribute { place, filter }) => {
                prop_assert_eq!(shape(endpoint).attribute(&place.shown()).unwrap().shown(), place.shown());
                if let Some(filter) = filter {
                    let levels = nesting(&tokens(&text).unwrap_or_default());
                    prop_assert!(levels <= LEVELS + 1, "{levels} levels");
                    let element = json!({"value": "a", "type": "work", "primary": true});
                    judged(&filter, text.len(), element.as_object().unwrap())?;
                }
            }
            Ok(Path::Extension(_)) => {}
            Err(error) => told(&error)?,
        }
    }

    #[test]
    fn s33_any_patch_ends_and_leaves_a_whole_document(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let endpoint = dice.pick(&ENDPOINTS);
        let current = document(endpoint, dice);
        let asked: Vec<Value> = (0..=dice.roll(3)).map(|_| {
            let (op, value) = (dice.pick(&["add", "replace", "remove", "Replace"]), testing::value(dice));
            let path = testing::path(endpoint, dice);
            let path = if dice.rarely(3) { marred(&path, dice) } else { path };
            if dice.rarely(3) { json!({"op": op, "value": value}) } else { json!({"op": op, "path": path, "value": value}) }
        }).collect();
        let body = if dice.rarely(10) { any_json(dice, 4) } else { json!({"Operations": asked}) };
        let Value::Object(body) = body else { return Ok(()) };
        let operations = match patch::operations(&body, Mode::Tolerant) {
            Ok(operations) => operations,
            Err(error) => return told(&error),
        };
        patch::needs_members(shape(endpoint), &operations);
        let (patched, taken) = counted(|| patch::apply(shape(endpoint), ID, &current, &operations, &[], Dialect::default()));
        // Every operation may ask its filter of every value that there is or comes to be.
        let said = Value::Object(body).to_string().len();
        let most = operations.len() * (values(&current) + said / 2 + 2);
        prop_assert!(taken <= 8 * said * most, "{taken} steps");
        let patched = match patched {
            Ok(patched) => patched,
            Err(Error::InvalidValue(_)) => return Ok(()),
            Err(error) => return told(&error),
        };
        prop_assert!(body::missing(shape(endpoint), &patched.document).is_empty());
        prop_assert_eq!(&crate::model::document::without_nulls(&patched.document), &patched.document);
        for name in patched.document.keys() {
            prop_assert!(shape(endpoint).locate(name).is_some(), "{name}");
        }
        // What was made of it can be sent back and is the same thing.
        let whole = body::read(shape(endpoint), &patched.document, Dialect::default());
        prop_assert!(whole.is_ok(), "{:?}: {:?}", patched.document, whole.err());
        let mut again = whole.unwrap().attributes;
        let mut before = patched.document;
        settle(&mut again);
        settle(&mut before);
        prop_assert_eq!(again, before);
    }

    #[test]
    fn s33_any_body_is_read_once_and_for_all(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let mut value = testing::value(dice);
        if let Value::Object(map) = &mut value && dice.rarely(3) {
            map.insert(testing::path("Users", dice), testing::value(dice));
        }
        let text = value.to_string();
        let text = if dice.rarely(2) { marred(&text, dice) } else { text };
        let mut bytes = text.into_bytes();
        if dice.rarely(4) && !bytes.is_empty() {
            let at = dice.roll(bytes.len());
            bytes[at] = dice.pick(&[0xff, 0xc0, 0x80, 0xed, 0]);
        }
        let (read, taken) = counted(|| strict::parse(&bytes));
        prop_assert!(taken <= bytes.len() + 1, "{taken} steps for {} bytes", bytes.len());
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                prop_assert_eq!(error.scim_type(), Some("invalidSyntax"));
                return told(&error);
            }
        };
        prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &read, "stricter, but never otherwise");
        let again = read.to_string();
        prop_assert_eq!(strict::parse(again.as_bytes()).unwrap(), serde_json::from_str::<Value>(&again).unwrap());
        prop_assert!(levels(&read) <= LEVELS && !holds_nul(&read));
        let Value::Object(map) = read else { return Ok(()) };
        for endpoint in ENDPOINTS {
            // What was taken is taken again, and nothing of it is left out.
            let Ok(first) = body::read(shape(endpoint), &map, Dialect::default()) else { continue };
            let second = body::read(shape(endpoint), &first.attributes, Dialect::default()).unwrap();
            prop_assert_eq!(&second.attributes, &first.attributes);
            prop_assert!(second.ignored.is_empty(), "{:?}", second.ignored);
        }
    }

    #[test]
    fn s33_any_bulk_is_ordered_in_steps_of_its_size(numbers in chance()) {
        let dice = &mut Dice::new(&numbers);
        let name = |dice: &mut Dice<'_>| dice.pick(&["a", "b", "c", "d", ""]);
        // Only some names refer to others: under those of chance nothing shall look like a reference.
        let chance = |dice: &mut Dice<'_>| -> Value { any_json(dice, 2).to_string().replace("bulkId:", "bulk:").parse().unwrap() };
        let asked: Vec<Value> = (0..dice.roll(9)).map(|_| {
            let method = dice.pick(&["POST", "post", "PUT", "PATCH", "DELETE", "GET"]);
            let members: Vec<Value> = (0..dice.roll(4)).map(|_| json!(format!("bulkId:{}", name(dice)))).collect();
            let path = dice.pick(&["/Users", "/Groups/bulkId:a", "/Groups/bulkId:b", "/Users/1", "bulkId:c", ""]);
            let data: Value = if dice.rarely(6) { chance(dice) } else { json!({"title": "bulkId:a", "members": members}) };
            if dice.rarely(12) { chance(dice) } else {
                json!({"method": method, "path": path, "bulkId": name(dice), "data": data})
            }
        }).collect();
        let body = json!({"Operations": asked, "failOnErrors": if dice.rarely(4) { any_json(dice, 0) } else { Value::Null }});
        let mut request = match bulk::read(body.as_object().unwrap()) {
            Ok(request) => request,
            Err(error) => return told(&error),
        };
        let circle = circles(&request);
        let references = body.to_string().matches("bulkId:").count();
        let (order, taken) = counted(|| bulk::order(&mut request.operations));
        prop_assert!(taken <= count(&body) + 4 * (asked.len() + references), "{taken} steps");
        let places: BTreeSet<usize> = order.iter().copied().collect();
        prop_assert_eq!((order.len(), places.len()), (asked.len(), asked.len()), "every operation once");

        let refused = request.operations.iter().map(|asked| matches!(asked.operation, Err(Error::Conflict(_))));
        prop_assert_eq!(refused.collect::<Vec<_>>(), circle, "who needs himself, and nobody else");

        // Run in that order, what is spoken of is there, unless its own POST was refused or nobody makes it.
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        let made: BTreeSet<&str> = request.operations.iter().filter_map(|asked| {
            let operation = asked.operation.as_ref().ok()?;
            (operation.method == bulk::Method::Post).then_some(operation.bulk_id.as_deref()?)
        }).collect();
        for at in order {
            let Ok(operation) = &request.operations[at].operation else { continue };
            match operation.resolved(&ids) {
                Ok(resolved) => {
                    let said = format!("{}{}", resolved.path.rsplit('/').next().filter(|_| resolved.path.contains('/')).unwrap_or_default(), Value::Object(resolved.data));
                    let said = said.replace("\"title\":\"bulkId:a\"", "");
                    prop_assert!(!said.contains("\"bulkId:") && !said.starts_with("bulkId:"), "{said}");
                    if let (bulk::Method::Post, Some(name)) = (operation.method, &operation.bulk_id) {
                        ids.insert(name.clone(), ID.to_owned());
                    }
                }
                Err(error) => {
                    told(&error)?;
                    let data = said(&operation.data);
                    let lost = ["a", "b", "c", "d", ""].iter().any(|name| {
                        let reference = format!("bulkId:{name}");
                        let spoken = data.contains(&format!("\"{reference}\"")) || operation.path.ends_with(&format!("/{reference}"));
                        spoken && !ids.contains_key(*name) && (!made.contains(name) || failed(&request, name, &ids))
                    });
                    prop_assert!(lost, "{error} in {:?}", operation.data);
                }
            }
        }
    }
}

/// The data without the text that only looks like a reference.
fn said(data: &Map<String, Value>) -> String {
    Value::Object(data.clone()).to_string().replace("\"title\":\"bulkId:a\"", "")
}

/// Which operations need themselves, directly or by others: every way is walked.
fn circles(request: &bulk::Request) -> Vec<bool> {
    let operations: Vec<_> = request.operations.iter().map(|asked| asked.operation.as_ref().ok()).collect();
    let spoken = |from: &bulk::Operation, name: &str| {
        let data = said(&from.data);
        data.contains(&format!("\"bulkId:{name}\""))
            || from.path.ends_with(&format!("/bulkId:{name}"))
            || from.path == format!("bulkId:{name}")
    };
    let mut ways: Vec<Vec<bool>> = Vec::new();
    for from in &operations {
        let needs = |to: Option<&bulk::Operation>| {
            let maker = to.filter(|to| to.method == bulk::Method::Post);
            from.zip(maker.and_then(|to| to.bulk_id.as_deref())).is_some_and(|(from, name)| spoken(from, name))
        };
        ways.push(operations.iter().copied().map(needs).collect());
    }
    for over in 0..ways.len() {
        for from in 0..ways.len() {
            for to in 0..ways.len() {
                ways[from][to] |= ways[from][over] && ways[over][to];
            }
        }
    }
    (0..ways.len()).map(|at| ways[at][at]).collect()
}

/// Whether the POST of that name could not be resolved itself.
fn failed(request: &bulk::Request, name: &str, ids: &BTreeMap<String, String>) -> bool {
    let posts = request.operations.iter().filter_map(|asked| asked.operation.as_ref().ok());
    let mut posts = posts.filter(|operation| operation.method == bulk::Method::Post);
    posts.any(|operation| operation.bulk_id.as_deref() == Some(name) && operation.resolved(ids).is_err())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// Values in a value.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Equal values of a list are one: PATCH may make some equal, a body never is read so.
fn settle(document: &mut Map<String, Value>) {
    for items in document.values_mut().filter_map(Value::as_array_mut) {
        let mut seen: Vec<Value> = Vec::new();
        items.retain(|item| {
            let fresh = !seen.contains(item);
            seen.push(item.clone());
            fresh
        });
    }
}
