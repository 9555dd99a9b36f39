//! Bulk requests (RFC 7644 §3.7), pure: what the operations are, which of them need others first, and what a `bulkId`
//! stands for once its resource is there. Runs nothing. Start with `read`, then `order`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::error::Error;
use super::json::short;
use super::message;
use super::steps::step;
use crate::model::fold;

/// Operations in one request, as the provider's configuration publishes it.
pub const OPERATIONS: usize = 1000;

/// What stands for a resource that this request makes: `bulkId:<name>`.
const REFERENCE: &str = "bulkId:";
/// Bytes of such a name.
const NAME: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub method: Method,
    pub bulk_id: Option<String>,
    /// The version that a change expects.
    pub version: Option<String>,
    pub path: String,
    pub data: Map<String, Value>,
}

/// An operation as it was sent: a faulty one has its name still, so that the answer can say whose fault it is.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub bulk_id: Option<String>,
    pub operation: Result<Operation, Error>,
}

impl Asked {
    /// The name of the resource that it makes.
    pub fn posts(&self) -> Option<&str> {
        let operation = self.operation.as_ref().ok()?;
        operation.bulk_id.as_deref().filter(|_| operation.method == Method::Post)
    }
}

#[derive(Debug)]
pub struct Request {
    /// After so many failures nothing more is tried; `None`: everything is.
    pub fail_on_errors: Option<u64>,
    pub operations: Vec<Asked>,
}

pub fn read(body: &Map<String, Value>) -> Result<Request, Error> {
    let list = member(body, "Operations");
    let Some(Value::Array(list)) = list.filter(|list| list.as_array().is_none_or(|list| !list.is_empty())) else {
        return Err(Error::InvalidSyntax("`Operations` is missing, empty or no list".to_owned()));
    };
    if list.len() > OPERATIONS {
        return Err(Error::TooManyOperations(OPERATIONS));
    }
    let fail_on_errors = match member(body, "failOnErrors") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().filter(|limit| *limit > 0).ok_or_else(|| {
            Error::InvalidValue(format!(
                "`failOnErrors` is {}; allowed: a whole number from 1",
                short(&value.to_string())
            ))
        })?),
    };
    let mut operations: Vec<Asked> = list.iter().map(asked).collect();
    let mut known = BTreeSet::new();
    for asked in &mut operations {
        if let Some(name) = &asked.bulk_id
            && !known.insert(name.clone())
        {
            asked.operation = Err(Error::InvalidValue(format!("the bulkId `{}` stands twice", short(name))));
        }
    }
    Ok(Request { fail_on_errors, operations })
}

fn asked(item: &Value) -> Asked {
    let nothing = Map::new();
    let map = item.as_object().unwrap_or(&nothing);
    let text = |name: &str| member(map, name).and_then(Value::as_str);
    Asked {
        method: text("method").map(|method| short(&method.to_ascii_uppercase())).unwrap_or_default(),
        bulk_id: text("bulkId").filter(|name| (1..=NAME).contains(&name.len())).map(str::to_owned),
        operation: operation(map),
    }
}

fn operation(map: &Map<String, Value>) -> Result<Operation, Error> {
    let mut faults = Vec::new();
    let mut text = |name: &str| match member(map, name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            faults.push(format!("`{name}` expects a text"));
            None
        }
    };
    let (method, bulk_id, version, path) = (text("method"), text("bulkId"), text("version"), text("path"));
    let method = match method.as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("POST") => Some(Method::Post),
        Some("PUT") => Some(Method::Put),
        Some("PATCH") => Some(Method::Patch),
        Some("DELETE") => Some(Method::Delete),
        other => {
            let found = short(other.unwrap_or_default());
            faults.push(format!("`method` is `{found}`; allowed: POST, PUT, PATCH, DELETE"));
            None
        }
    };
    if path.as_deref().is_none_or(str::is_empty) {
        faults.push("`path` is missing".to_owned());
    }
    match bulk_id.as_deref().map(str::len) {
        None if method == Some(Method::Post) => faults.push("a POST needs a `bulkId`".to_owned()),
        None | Some(1..=NAME) => {}
        Some(_) => faults.push(format!("`bulkId` is empty or longer than {NAME} bytes")),
    }
    let data = match member(map, "data") {
        Some(Value::Object(data)) => data.clone(),
        None | Some(Value::Null) if method == Some(Method::Delete) => Map::new(),
        _ => {
            faults.push("`data` expects an object".to_owned());
            Map::new()
        }
    };
    match (method, path) {
        (Some(method), Some(path)) if faults.is_empty() => Ok(Operation { method, bulk_id, version, path, data }),
        _ => Err(Error::InvalidSyntax(faults.join("; "))),
    }
}

fn member<'m>(map: &'m Map<String, Value>, wanted: &str) -> Option<&'m Value> {
    map.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

impl Operation {
    /// Names of other operations that this one speaks of.
    fn needs(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        names.extend(self.path.rsplit('/').next().and_then(named));
        self.data.iter().for_each(|(name, value)| gather(name, value, &mut names));
        names
    }

    /// Folded values by which the new resource could be another's, or taken for one that is there.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut text = |value: Option<&Value>| names.extend(value.and_then(Value::as_str).map(fold::key));
        let login = member(&self.data, "userName");
        text(login.or_else(|| member(&self.data, "displayName")));
        text(member(&self.data, "externalId"));
        text(member(&self.data, "number"));
        for extension in self.data.values().filter_map(Value::as_object) {
            text(member(extension, "employeeNumber"));
        }
        for email in member(&self.data, "emails").and_then(Value::as_array).into_iter().flatten() {
            text(email.as_object().and_then(|email| member(email, "value")).or(Some(email)));
        }
        names
    }

    /// With the ids in place of the names; fails for a name that has none.
    pub fn resolved(&self, ids: &BTreeMap<String, String>) -> Result<Operation, Error> {
        let id = |name: &str| {
            ids.get(name).cloned().ok_or_else(|| {
                Error::InvalidValue(format!(
                    "`{REFERENCE}{}` stands for nothing: its POST failed or is missing",
                    short(name)
                ))
            })
        };
        let mut operation = self.clone();
        if let Some((before, last)) = self.path.rsplit_once('/')
            && let Some(name) = named(last)
        {
            operation.path = format!("{before}/{}", id(name)?);
        }
        operation.data.iter_mut().try_for_each(|(name, value)| put(name, value, &id))?;
        Ok(operation)
    }
}

fn named(text: &str) -> Option<&str> {
    text.strip_prefix(REFERENCE)
}

/// Whether a text under this name is an id of something: anywhere else such a text is what it is.
fn refers(name: &str) -> bool {
    ["value", "$ref", "members", "manager", "companies"].iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.to_ascii_lowercase().ends_with(":manager")
}

fn gather<'v>(name: &str, value: &'v Value, names: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) if refers(name) => names.extend(named(text)),
        Value::Array(items) => items.iter().for_each(|item| gather(name, item, names)),
        Value::Object(map) => map.iter().for_each(|(name, item)| gather(name, item, names)),
        _ => {}
    }
}

fn put(name: &str, value: &mut Value, id: &impl Fn(&str) -> Result<String, Error>) -> Result<(), Error> {
    match value {
        Value::String(text) => {
            if let Some(reference) = named(text).filter(|_| refers(name)) {
                *text = id(reference)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| put(name, item, id)),
        Value::Object(map) => map.iter_mut().try_for_each(|(name, item)| put(name, item, id)),
        _ => Ok(()),
    }
}

/// Places in the request, in the order in which they are to be run: as sent, but whatever is spoken of comes first.
/// Those that speak of each other in a circle are refused (RFC 7644 §3.7.1).
pub fn order(operations: &mut [Asked]) -> Vec<usize> {
    let makers: BTreeMap<&str, usize> = operations
        .iter()
        .enumerate()
        .filter_map(|(at, asked)| {
            let operation = asked.operation.as_ref().ok()?;
            (operation.method == Method::Post).then_some((operation.bulk_id.as_deref()?, at))
        })
        .collect();
    let needs: Vec<Vec<usize>> = operations
        .iter()
        .map(|asked| {
            let names = asked.operation.as_ref().map(Operation::needs).unwrap_or_default();
            names.into_iter().filter_map(|name| makers.get(name).copied()).collect()
        })
        .collect();
    let order = after_needs(&needs);
    for at in circles(&needs, &order) {
        let error = Error::Conflict("the operation and others speak of each other in a circle".to_owned());
        operations[at].operation = Err(error);
    }
    order
}

/// Every place behind those it needs, as far as there is no circle. The stack is not the program's own: chains are long.
fn after_needs(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(needs.len());
    let mut seen = vec![false; needs.len()];
    for start in 0..needs.len() {
        let mut stack = if seen[start] { Vec::new() } else { vec![(start, 0)] };
        seen[start] = true;
        while let Some((at, looked)) = stack.pop() {
            step();
            match needs[at].get(looked) {
                Some(next) => {
                    stack.push((at, looked + 1));
                    if !std::mem::replace(&mut seen[*next], true) {
                        stack.push((*next, 0));
                    }
                }
                None => order.push(at),
            }
        }
    }
    order
}

/// The places that need themselves, directly or by others: components of more than one (Kosaraju).
fn circles(needs: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (at, others) in needs.iter().enumerate() {
        for other in others {
            needed_by[*other].push(at);
        }
    }
    let mut found = Vec::new();
    let mut seen = vec![false; needs.len()];
    for start in order.iter().rev().copied() {
        let mut component = Vec::new();
        let mut stack = vec![start];
        while let Some(at) = stack.pop() {
            step();
            if !std::mem::replace(&mut seen[at], true) {
                component.push(at);
                stack.extend(&needed_by[at]);
            }
        }
        if component.len() > 1 || needs[start].contains(&start) {
            found.extend(component);
        }
    }
    found
}

/// Which operations may run at the same time, in order: new resources that share no name and do not speak of each other.
/// Everything else runs alone.
pub fn waves(operations: &[Asked], order: &[usize]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let (mut names, mut made) = (BTreeSet::new(), BTreeSet::new());
    for at in order.iter().copied() {
        let posted = operations[at].operation.as_ref().ok().filter(|operation| operation.method == Method::Post);
        let own = posted.map(Operation::names).unwrap_or_default();
        let joins = posted.is_some_and(|operation| {
            own.is_disjoint(&names) && operation.needs().iter().all(|needed| !made.contains(*needed))
        });
        match waves.last_mut().filter(|_| joins && !made.is_empty()) {
            Some(wave) => wave.push(at),
            None => {
                waves.push(vec![at]);
                names.clear();
                made.clear();
            }
        }
        names.extend(own);
        made.extend(posted.and_then(|operation| operation.bulk_id.as_deref()));
    }
    waves
}

/// The answer, of the operations that were run.
pub fn response(operations: Vec<Value>) -> Value {
    json!({"schemas": [message::BULK_RESPONSE], "Operations": operations})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(name: &str, needs: &[&str]) -> Value {
        let members: Vec<Value> = needs.iter().map(|name| json!({"value": format!("bulkId:{name}")})).collect();
        json!({"method": "post", "bulkId": name, "path": "/Groups", "data": {"displayName": name, "members": members}})
    }

    fn request(operations: &[Value]) -> Request {
        read(json!({"Operations": operations}).as_object().unwrap()).unwrap()
    }

    #[test]
    fn what_may_run_at_the_same_time_shares_no_name() {
        let user = |name: &str, login: &str, email: &str| {
            json!({"method": "POST", "bulkId": name, "path": "/Users",
                   "data": {"USERNAME": login, "emails": [{"value": email}]}})
        };
        let delete = json!({"method": "DELETE", "path": "/Users/1"});
        let mut request = request(&[
            user("a", "a", "a@x"),
            user("b", "b", "b@x"),
            user("c", "A", "c@x"),
            user("d", "d", "C@x"),
            post("g", &["a"]),
            post("h", &["g"]),
            delete.clone(),
            delete,
            user("e", "e", "e@x"),
            post("i", &[]),
            json!({"method": "POST", "path": "/Users", "bulkId": "e", "data": {}}),
        ]);
        let order = order(&mut request.operations);
        let waves = waves(&request.operations, &order);
        assert_eq!(waves, [vec![0, 1], vec![2], vec![3, 4], vec![5], vec![6], vec![7], vec![8, 9], vec![10]]);
    }

    fn names(operations: &[Value]) -> (String, String) {
        let mut request = request(operations);
        let order = order(&mut request.operations);
        let name = |at: &usize| request.operations[*at].bulk_id.clone().unwrap_or_default();
        let refused = (0..operations.len()).filter(|at| request.operations[*at].operation.is_err());
        (order.iter().map(name).collect(), refused.map(|at| name(&at)).collect())
    }

    #[test]
    fn what_is_spoken_of_comes_first_and_circles_are_refused() {
        assert_eq!(names(&[post("a", &[]), post("b", &[])]).0, "ab");
        assert_eq!(names(&[post("a", &["c"]), post("b", &["a"]), post("c", &[])]).0, "cab");
        // e leads into the circle of b, c and d; f hangs on it: neither is part of it.
        let all =
            [post("e", &["f", "b"]), post("b", &["c"]), post("c", &["d"]), post("d", &["b", "f"]), post("f", &[])];
        assert_eq!(names(&all).1, "bcd");
        assert_eq!(names(&[post("a", &["a"])]).1, "a");
        assert_eq!(names(&[post("a", &["nobody"])]), ("a".to_owned(), String::new()));
    }

    #[test]
    fn what_lies_between_two_circles_is_in_none() {
        let all = [post("a", &["b"]), post("b", &["a", "x"]), post("x", &["c"]), post("c", &["d"]), post("d", &["c"])];
        assert_eq!(names(&all).1, "abcd");
    }

    #[test]
    fn a_long_chain_is_no_deep_call() {
        let mut all: Vec<Value> = (0..OPERATIONS - 1).map(|n| post(&n.to_string(), &[&(n + 1).to_string()])).collect();
        all.push(post(&(OPERATIONS - 1).to_string(), &[]));
        let mut request = request(&all);
        let order = order(&mut request.operations);
        assert_eq!(order, (0..OPERATIONS).rev().collect::<Vec<_>>());
    }

    #[test]
    fn names_become_ids_wherever_they_stand() {
        let patch = json!({"method": "PATCH", "path": "/Groups/bulkId:g", "version": "W/\"1\"", "data": {
            "Operations": [{"op": "add", "path": "members", "value": [{"value": "bulkId:u"}, "bulkId:u"]}]}});
        let request = request(&[patch]);
        let operation = request.operations[0].operation.as_ref().unwrap();
        let mut ids = BTreeMap::from([("u".to_owned(), "1".to_owned())]);
        assert_eq!(operation.resolved(&ids).unwrap_err().scim_type(), Some("invalidValue"));
        ids.insert("g".to_owned(), "2".to_owned());
        let resolved = operation.resolved(&ids).unwrap();
        assert_eq!(resolved.path, "/Groups/2");
        assert_eq!(resolved.data["Operations"][0]["value"], json!([{"value": "1"}, "1"]));
        assert_eq!(resolved.version.as_deref(), Some("W/\"1\""));
    }

    #[test]
    fn every_fault_of_an_operation_is_named() {
        let request = request(&[
            json!({"method": "GET", "bulkId": 5, "data": []}),
            json!({"method": "POST", "path": "/Users", "data": {}}),
            json!("nonsense"),
            post("a", &[]),
            post("a", &[]),
        ]);
        let text = |at: usize| request.operations[at].operation.as_ref().unwrap_err().to_string();
        for word in ["`bulkId` expects a text", "`method` is `GET`", "`path` is missing", "`data` expects an object"] {
            assert!(text(0).contains(word), "{}", text(0));
        }
        assert!(text(1).contains("needs a `bulkId`") && text(2).contains("`method` is ``"));
        assert!(request.operations[3].operation.is_ok() && text(4).contains("stands twice"));
        for bad in [json!({}), json!({"Operations": []}), json!({"Operations": {}})] {
            assert_eq!(read(bad.as_object().unwrap()).unwrap_err().scim_type(), Some("invalidSyntax"));
        }
        let many = vec![post("a", &[]); OPERATIONS + 1];
        assert_eq!(read(json!({"operations": many}).as_object().unwrap()).unwrap_err().status(), 413);
        for bad in [json!(0), json!(-1), json!("1"), json!(1.5)] {
            let body = json!({"failOnErrors": bad, "Operations": [post("a", &[])]});
            assert_eq!(read(body.as_object().unwrap()).unwrap_err().scim_type(), Some("invalidValue"));
        }
    }
}
