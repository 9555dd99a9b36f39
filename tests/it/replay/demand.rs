//! Whether an answer is what the provider demands: status, headers, the parts of the body that a step names, and what
//! every answer of SCIM must be. Pure; tells all differences. Start with `judge`.

use serde_json::{Value, json};

use super::script::{Kept, Step, fill, text};
use crate::support::http::Answer;

const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
/// Characters of an answer in a report.
const SHOWN: usize = 600;

/// Every difference between the answer and the step; keeps the variables that the step asks for.
pub fn judge(step: &Step, answer: &Answer, kept: &mut Kept) -> Vec<String> {
    let mut faults = Vec::new();
    if answer.status != step.expect {
        faults.push(format!("status: demanded {}, found {}", step.expect, answer.status));
    }
    let body = read(answer, &mut faults);
    for (name, place) in &step.keep {
        let found = if place.is_empty() || place.starts_with('/') {
            body.pointer(place).cloned()
        } else {
            answer.header(place).map(Value::from)
        };
        match found {
            Some(value) => drop(kept.insert(name.clone(), value)),
            None => faults.push(format!("{place}: to be kept as `{name}`, found nothing")),
        }
    }
    for (name, wanted) in &step.headers_have {
        match (text(wanted, kept), answer.header(name)) {
            (Err(fault), _) => faults.push(fault),
            (Ok(wanted), found) if !header(&wanted, found) => {
                faults.push(format!("header {name}: demanded {wanted}, found {}", found.unwrap_or("none")));
            }
            _ => {}
        }
    }
    match step.has.as_ref().map(|has| fill(has, kept)) {
        Some(Ok(has)) => compare(&has, Some(&body), "", &mut faults),
        Some(Err(fault)) => faults.push(fault),
        None => {}
    }
    if !faults.is_empty() {
        faults.push(format!("the answer: {} {}", answer.status, answer.text.chars().take(SHOWN).collect::<String>()));
    }
    faults
}

/// The body as JSON, held to what is true of every answer. A client that meets a text in place of JSON shows its user
/// nothing but that it could not read it.
fn read(answer: &Answer, faults: &mut Vec<String>) -> Value {
    if matches!(answer.status, 204 | 304) || answer.text.is_empty() {
        if !answer.text.is_empty() || !matches!(answer.status, 204 | 304) {
            faults.push(format!("body: found {} bytes with status {}", answer.text.len(), answer.status));
        }
        return Value::Null;
    }
    if !header("application/scim+json", answer.header("content-type")) {
        faults.push(format!("header content-type: found {}", answer.header("content-type").unwrap_or("none")));
    }
    let body: Value = match serde_json::from_str(&answer.text) {
        Ok(body) => body,
        Err(error) => {
            faults.push(format!("body: no JSON ({error})"));
            return Value::Null;
        }
    };
    if has_null(&body) {
        faults.push("body: holds a null".to_owned());
    }
    if answer.status >= 400 {
        let error = json!({"schemas": [ERROR], "status": answer.status.to_string(), "detail": "*any"});
        compare(&error, Some(&body), "", faults);
    }
    body
}

fn header(wanted: &str, found: Option<&str>) -> bool {
    match wanted {
        "*any" => found.is_some(),
        "*absent" => found.is_none(),
        wanted => found == Some(wanted),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

/// Objects by their demanded members, arrays element by element, everything else by equality. `*any` is a value that is
/// there, `*absent` one that is not, `{"*set": [..]}` an array in any order.
fn compare(wanted: &Value, found: Option<&Value>, at: &str, faults: &mut Vec<String>) {
    let mut fault = |found: Option<&Value>| {
        let shown = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
        faults.push(format!("{}: demanded {wanted}, found {shown}", if at.is_empty() { "body" } else { at }));
    };
    match (wanted, found) {
        (Value::String(mark), found) if mark == "*absent" => {
            if found.is_some() {
                fault(found);
            }
        }
        (Value::String(mark), Some(found)) if mark == "*any" => {
            if found.is_null() {
                fault(Some(found));
            }
        }
        (Value::String(mark), _) if mark.starts_with('*') => fault(found),
        (Value::Object(members), found) if members.contains_key("*set") => {
            let (Some(Value::Array(wanted)), Some(Value::Array(found))) = (members.get("*set"), found) else {
                return fault(found);
            };
            let mut left: Vec<&Value> = found.iter().collect();
            let is = |wanted: &Value, found: &Value| {
                let mut faults = Vec::new();
                compare(wanted, Some(found), "", &mut faults);
                faults.is_empty()
            };
            for wanted in wanted {
                match left.iter().position(|found| is(wanted, found)) {
                    Some(index) => drop(left.remove(index)),
                    None => faults.push(format!("{at}: demanded {wanted} among its values, found none like it")),
                }
            }
            faults.extend(left.iter().map(|found| format!("{at}: found {found}, which is not demanded")));
        }
        (Value::Object(members), Some(Value::Object(object))) => {
            for (name, wanted) in members {
                compare(wanted, object.get(name), &format!("{at}/{name}"), faults);
            }
        }
        (Value::Array(wanted), Some(Value::Array(items))) if wanted.len() == items.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(items).enumerate() {
                compare(wanted, Some(found), &format!("{at}/{index}"), faults);
            }
        }
        (wanted, Some(found)) if wanted == found => {}
        (_, found) => fault(found),
    }
}

mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;

    fn differs(wanted: Value, found: Value) -> Vec<String> {
        let mut faults = Vec::new();
        compare(&wanted, Some(&found), "", &mut faults);
        faults
    }

    #[test]
    fn b7_a_demand_that_is_not_met_is_told_with_its_place() {
        let found = || json!({"a": "x", "n": 1, "on": true, "o": {"p": "q"}, "l": [{"v": 1}, {"v": 2}], "e": []});
        for met in [
            json!({}),
            json!({"a": "*any", "n": 1, "gone": "*absent", "o": {"p": "q", "r": "*absent"}, "e": []}),
            json!({"l": [{}, {"v": 2}]}),
            json!({"l": {"*set": [{"v": 2}, {"v": 1}]}, "e": {"*set": []}}),
        ] {
            assert_eq!(differs(met.clone(), found()), Vec::<String>::new(), "{met}");
        }
        for (missed, places) in [
            (json!({"a": "y"}), &["/a"][..]),
            (json!({"a": "*absent"}), &["/a"]),
            (json!({"gone": "*any"}), &["/gone"]),
            (json!({"gone": 1, "n": "1", "on": "true"}), &["/gone", "/n", "/on"]),
            (json!({"a": "*anything"}), &["/a"]),
            (json!({"o": {"p": "z"}}), &["/o/p"]),
            (json!({"o": []}), &["/o"]),
            (json!({"a": {}}), &["/a"]),
            (json!({"l": []}), &["/l"]),
            (json!({"l": [{"v": 2}, {"v": 1}]}), &["/l/0/v", "/l/1/v"]),
            (json!({"e": [{}]}), &["/e"]),
            (json!({"l": {"*set": [{"v": 1}]}}), &["/l"]),
            (json!({"l": {"*set": [{"v": 1}, {"v": 1}]}}), &["/l", "/l"]),
            (json!({"l": {"*set": [{"v": 1}, {"v": 2}, {}]}}), &["/l"]),
            (json!({"a": {"*set": []}}), &["/a"]),
            (json!([]), &["body"]),
        ] {
            let faults = differs(missed.clone(), found());
            let told: Vec<_> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
            assert_eq!(told, places, "{missed}");
        }
        assert_eq!(differs(json!("*any"), Value::Null).len(), 1);
    }

    fn answer(status: u16, kind: &'static str, text: &str) -> Answer {
        let headers = HeaderMap::from_iter([("content-type".parse().unwrap(), HeaderValue::from_static(kind))]);
        Answer { status, headers, text: text.to_owned() }
    }

    fn judged(step: &Value, answer: &Answer) -> String {
        let step: Step = serde_json::from_value(step.clone()).unwrap();
        let mut kept = Kept::default();
        judge(&step, answer, &mut kept).join("\n")
    }

    #[test]
    fn b7_all_that_is_wrong_with_an_answer_is_told_at_once() {
        const SCIM: &str = "application/scim+json";
        let step = json!({"say": "s", "send": "GET /", "expect": 200, "headers_have": {"etag": "*any"},
            "has": {"id": "1", "x": "*absent", "same": "{id}"}, "keep": {"id": "/id", "place": "location"}});
        let told = judged(&step, &answer(404, "text/plain", r#"{"id":"2","x":null}"#));
        for part in [
            "status: demanded 200, found 404",
            "header content-type: found text/plain",
            "holds a null",
            "/schemas: demanded",
            "/detail: demanded",
            "location: to be kept as `place`",
            "header etag: demanded *any, found none",
            "/id: demanded \"1\", found \"2\"",
            "/x: demanded \"*absent\", found null",
            "/same: demanded \"2\", found nothing",
            "the answer: 404",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        let plain = |expect: u16| json!({"say": "s", "send": "GET /", "expect": expect});
        assert_eq!(judged(&plain(200), &answer(200, SCIM, "{}")), "");
        assert_eq!(judged(&plain(204), &answer(204, SCIM, "")), "");
        assert!(judged(&plain(200), &answer(200, SCIM, "")).contains("0 bytes"));
        assert!(judged(&plain(204), &answer(204, SCIM, "{}")).contains("2 bytes"));
        assert!(judged(&plain(200), &answer(200, SCIM, "no")).contains("no JSON"));
        assert!(judged(&plain(404), &answer(404, SCIM, "{}")).contains("/status"));
    }
}
