//! Documents are SCIM-shaped JSON objects. Merging is per leaf: objects are descended into (so `name.givenName` and
//! `name.familyName` may come from different sources), arrays and scalars are leaves and taken whole.

use serde_json::{Map, Value};

pub type Document = Map<String, Value>;

/// A value that is an object; nothing of any other.
pub fn of(value: Value) -> Document {
    match value {
        Value::Object(document) => document,
        _ => Document::new(),
    }
}

/// The merged truth of several sayings, highest priority first. `null` in a higher one hides a lower value. The result
/// has no `null` and no empty object.
pub fn merge<'a>(sayings: impl IntoIterator<Item = &'a Document>) -> Document {
    let mut merged = Document::new();
    for saying in sayings {
        fill(&mut merged, saying);
    }
    without_nulls(&merged)
}

/// Takes from `lower` what `into` is silent about.
fn fill(into: &mut Document, lower: &Document) {
    for (name, value) in lower {
        match (into.get_mut(name), value) {
            (None, value) => {
                into.insert(name.clone(), value.clone());
            }
            (Some(Value::Object(into)), Value::Object(lower)) => fill(into, lower),
            (Some(_), _) => {}
        }
    }
}

/// Whether it has neither a `null` leaf nor an empty object, so that `without_nulls` would give the same.
pub fn is_without_nulls(document: &Document) -> bool {
    document.values().all(|value| match value {
        Value::Null => false,
        Value::Object(inner) => !inner.is_empty() && is_without_nulls(inner),
        _ => true,
    })
}

/// The document without `null` leaves and without the objects that become empty by it.
pub fn without_nulls(document: &Document) -> Document {
    let mut out = Document::new();
    for (name, value) in document {
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                let inner = without_nulls(inner);
                if !inner.is_empty() {
                    out.insert(name.clone(), Value::Object(inner));
                }
            }
            value => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    out
}

/// `changes` laid over `base`, leaf by leaf; a `null` stays as a `null` (asserted as empty).
pub fn overlay(base: &mut Document, changes: &Document) {
    for (name, value) in changes {
        match (base.get_mut(name), value) {
            (Some(Value::Object(base)), Value::Object(changes)) => overlay(base, changes),
            _ => {
                base.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The leaves in which `after` differs from `before`, as a document for `overlay`: what is gone is `null`.
pub fn difference(before: &Document, after: &Document) -> Document {
    let mut out = Document::new();
    for (name, new) in after {
        match (before.get(name), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                out.insert(name.clone(), Value::Object(difference(old, new)));
            }
            (_, new) => {
                out.insert(name.clone(), new.clone());
            }
        }
    }
    for (name, old) in before {
        if !after.contains_key(name) {
            out.insert(name.clone(), nulls_of(old));
        }
    }
    out
}

fn nulls_of(value: &Value) -> Value {
    match value {
        Value::Object(inner) => {
            Value::Object(inner.iter().map(|(name, value)| (name.clone(), nulls_of(value))).collect())
        }
        _ => Value::Null,
    }
}

/// Every leaf as (path segments, value), for reports and `why`. Segments are not joined: URNs hold dots and colons.
pub fn leaves(document: &Document) -> Vec<(Vec<&str>, &Value)> {
    fn walk<'a>(at: &mut Vec<&'a str>, document: &'a Document, out: &mut Vec<(Vec<&'a str>, &'a Value)>) {
        for (name, value) in document {
            at.push(name);
            match value {
                Value::Object(inner) => walk(at, inner, out),
                value => out.push((at.clone(), value)),
            }
            at.pop();
        }
    }
    let mut out = Vec::new();
    walk(&mut Vec::new(), document, &mut out);
    out
}

/// What stands at a path.
pub fn at<'d>(document: &'d Document, path: &[&str]) -> Option<&'d Value> {
    let (first, rest) = path.split_first()?;
    let value = document.get(*first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

/// Puts a value at a path, in objects that are made where there are none; `None` takes away what stands there, and the
/// objects that become empty by it.
pub fn put(document: &mut Document, path: &[&str], value: Option<Value>) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        match value {
            Some(value) => document.insert((*first).to_owned(), value),
            None => document.remove(*first),
        };
        return;
    }
    if value.is_none() && !document.get(*first).is_some_and(Value::is_object) {
        return;
    }
    let inner = document.entry(*first).or_insert(Value::Null);
    if !inner.is_object() {
        *inner = Value::Object(Document::new());
    }
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
        if inner.is_empty() {
            document.remove(*first);
        }
    }
}

/// A path as people write it: `name.familyName`, `urn:..:Agent:note`.
pub fn shown(path: &[&str]) -> String {
    path.iter().enumerate().fold(String::new(), |mut text, (at, segment)| {
        if at > 0 {
            text.push(if path[at - 1].starts_with("urn:") { ':' } else { '.' });
        }
        text.push_str(segment);
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doc(value: Value) -> Document {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn the_higher_source_wins_leaf_by_leaf_and_null_hides() {
        let high = doc(json!({"name": {"familyName": "Novotna"}, "title": null, "emails": [{"value": "a@x"}]}));
        let low = doc(
            json!({"name": {"familyName": "Dvorakova", "givenName": "Eva"}, "title": "Dr", "emails": [], "note": "n"}),
        );
        assert_eq!(
            Value::Object(merge([&high, &low])),
            json!({"name": {"familyName": "Novotna", "givenName": "Eva"}, "emails": [{"value": "a@x"}], "note": "n"})
        );
    }

    #[test]
    fn a_leaf_is_put_and_taken_away_with_the_objects_around_it() {
        let mut it = doc(json!({"a": {"b": {"c": 1}}, "d": 2}));
        assert_eq!(at(&it, &["a", "b", "c"]), Some(&json!(1)));
        assert_eq!(at(&it, &["d", "b"]), None);
        put(&mut it, &["a", "b", "e"], Some(json!(3)));
        put(&mut it, &["x", "y"], Some(json!(4)));
        put(&mut it, &["no", "where"], None);
        put(&mut it, &["d"], None);
        assert_eq!(Value::Object(it.clone()), json!({"a": {"b": {"c": 1, "e": 3}}, "x": {"y": 4}}));
        put(&mut it, &["a", "b", "c"], None);
        put(&mut it, &["a", "b", "e"], None);
        assert_eq!(Value::Object(it), json!({"x": {"y": 4}}));
    }

    #[test]
    fn overlay_of_the_difference_gives_the_other() {
        let before = doc(json!({"a": 1, "n": {"x": 1, "y": 2}, "gone": {"z": 1}, "list": [1, 2]}));
        let after = doc(json!({"a": 1, "n": {"x": 1, "y": 3}, "list": [2], "new": true}));
        let change = difference(&before, &after);
        assert_eq!(
            Value::Object(change.clone()),
            json!({"n": {"y": 3}, "gone": {"z": null}, "list": [2], "new": true})
        );
        let mut base = before;
        overlay(&mut base, &change);
        assert_eq!(without_nulls(&base), after);
    }

    #[test]
    fn a_document_is_known_to_have_no_nulls_only_where_nothing_would_be_dropped() {
        let all = [
            json!({}),
            json!({"a": 1, "b": {"c": [null]}}),
            json!({"a": null}),
            json!({"a": {}}),
            json!({"a": {"b": null, "c": 1}}),
            json!({"a": {"b": {}}}),
        ];
        for document in all.map(doc) {
            assert_eq!(is_without_nulls(&document), without_nulls(&document) == document, "{document:?}");
        }
    }

    #[test]
    fn paths_read_as_people_write_them() {
        assert_eq!(shown(&["name", "familyName"]), "name.familyName");
        assert_eq!(shown(&["urn:x:2.0:Agent", "note"]), "urn:x:2.0:Agent:note");
    }
}
