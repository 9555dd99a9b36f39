//! Where something stands in an answer: `paging.next.after`, `result.data`, or an RFC 6901 pointer (`/@odata.nextLink`)
//! where names hold dots. Unlike the paths of a mapping these tell an absent list from an empty one.

use serde_json::Value;

/// The empty path is the answer itself.
pub fn get<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    if path.starts_with('/') {
        return value.pointer(path);
    }
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A text or number that is there and not empty, as text.
pub fn text(value: &Value, path: &str) -> Option<String> {
    match get(value, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The texts and numbers at the path: one, or the elements of a list.
pub fn texts(value: &Value, path: &str) -> Vec<String> {
    match get(value, path) {
        Some(Value::Array(list)) => list.iter().filter_map(|element| text(element, "")).collect(),
        Some(one) => text(one, "").into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_and_empty_differ() {
        let answer = json!({"a": {"b": [{"c": 1}, "x", ""]}, "empty": [], "@odata.nextLink": "u"});
        assert_eq!(text(&answer, "a.b.0.c").as_deref(), Some("1"));
        assert_eq!(get(&answer, "empty"), Some(&json!([])));
        assert_eq!(get(&answer, "nothing"), None);
        assert_eq!(text(&answer, "/@odata.nextLink").as_deref(), Some("u"));
        assert_eq!(texts(&answer, "a.b"), ["x"]);
        assert_eq!(text(&answer, "a"), None);
    }
}
