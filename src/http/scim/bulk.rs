//! POST /Bulk (RFC 7644 §3.7): the operations in their order, each as if it had come alone, with its own transaction and its
//! own answer; new resources that have nothing to do with each other a few at a time. What is spoken of is made first,
//! wherever it stands.

use std::collections::BTreeMap;
use std::pin::Pin;

use axum::http::{HeaderValue, Method as Verb, Request, StatusCode, header};
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Place};
use super::{reply, write};
use crate::scim::bulk::{self, Asked, Method, Operation};
use crate::scim::error::Error;

/// Operations that are under way at once: they share their commits, and leave room for others.
const TOGETHER: usize = 8;

/// Boxed: the compiler does not see otherwise that what holds them may move between threads.
type Trying<'t> = Pin<Box<dyn Future<Output = Result<Done, Failed>> + Send + 't>>;

pub async fn run(ask: &Ask<'_>, body: &Map<String, Value>) -> Result<Response, Error> {
    let mut request = bulk::read(body)?;
    ask.also(request.operations.len() - 1)?;
    let order = bulk::order(&mut request.operations);
    let mut ids = BTreeMap::new();
    let mut answers = BTreeMap::new();
    let mut failures = 0;
    // Who counts failures wants to know exactly what was not tried any more.
    let waves = match request.fail_on_errors {
        Some(_) => order.into_iter().map(|at| vec![at]).collect(),
        None => bulk::waves(&request.operations, &order),
    };
    for wave in waves {
        let mut tries: Vec<Trying<'_>> = Vec::new();
        for at in &wave {
            tries.push(Box::pin(tried(ask, &request.operations[*at], &ids)));
        }
        let results: Vec<_> = stream::iter(tries).buffered(TOGETHER).collect().await;
        for (at, result) in wave.into_iter().zip(results) {
            let asked = &request.operations[at];
            if let (Ok(done), Some(name)) = (&result, asked.posts()) {
                ids.insert(name.to_owned(), done.id().to_owned());
            }
            failures += u64::from(result.is_err());
            answers.insert(at, answer(asked, result));
        }
        if request.fail_on_errors.is_some_and(|limit| failures >= limit) {
            break;
        }
    }
    // As they were sent, whatever came first.
    Ok(reply::body(StatusCode::OK, bulk::response(answers.into_values().collect()).to_string()))
}

async fn tried(ask: &Ask<'_>, asked: &Asked, ids: &BTreeMap<String, String>) -> Result<Done, Failed> {
    match &asked.operation {
        Ok(operation) => one(ask, operation, ids).await,
        Err(error) => Err(Failed { error: error.clone(), location: None }),
    }
}

/// What became of an operation.
struct Done {
    status: StatusCode,
    location: String,
    version: Option<String>,
}

impl Done {
    fn id(&self) -> &str {
        self.location.rsplit('/').next().unwrap_or_default()
    }
}

struct Failed {
    error: Error,
    /// Of the resource that it was about.
    location: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, location: None }
    }
}

async fn one(ask: &Ask<'_>, operation: &Operation, ids: &BTreeMap<String, String>) -> Result<Done, Failed> {
    let operation = operation.resolved(ids)?;
    let inner = ask.with(parts(&operation)?);
    let nowhere = || Error::InvalidPath("`path` names no resource type or resource of this service".to_owned());
    let place = Place::at(ask.registry, &operation.path).ok_or_else(nowhere)?;
    let data = &operation.data;
    let mut location = None;
    let result = match (&place, operation.method) {
        (Place::Collection(shape), Method::Post) => write::create(&inner, shape, data).await,
        (Place::Item(shape, id), method) if method != Method::Post => {
            location = Some(crate::scim::render::location(shape, &ask.base, id));
            match method {
                Method::Put => write::replace(&inner, shape, id, data).await,
                Method::Patch => write::patch(&inner, shape, id, data).await,
                _ => write::delete(&inner, shape, id).await,
            }
        }
        (Place::Collection(_) | Place::Item(..), _) => Err(Error::Method(place.allowed())),
        _ => Err(nowhere()),
    };
    let response = match result {
        Ok(response) => response,
        Err(error) => return Err(Failed { error, location }),
    };
    let text =
        |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let location = text(header::LOCATION).or(location).unwrap_or_default();
    Ok(Done { status: response.status(), version: text(header::ETAG), location })
}

/// The head of the request that the operation would be alone: nobody reads the bodies of its answer.
fn parts(operation: &Operation) -> Result<axum::http::request::Parts, Error> {
    let verb = match operation.method {
        Method::Post => Verb::POST,
        Method::Put => Verb::PUT,
        Method::Patch => Verb::PATCH,
        Method::Delete => Verb::DELETE,
    };
    let mut head = Request::builder().method(verb).header("prefer", "return=minimal");
    if let Some(version) = &operation.version {
        let version =
            HeaderValue::from_str(version).map_err(|_| Error::InvalidValue("`version` is no entity tag".to_owned()))?;
        head = head.header(header::IF_MATCH, version);
    }
    let (parts, ()) = head.body(()).map_err(|_| Error::Internal)?.into_parts();
    Ok(parts)
}

fn answer(asked: &Asked, result: Result<Done, Failed>) -> Value {
    let mut answer = json!({"method": asked.method});
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            answer[name] = value.into();
        }
    };
    put("bulkId", asked.bulk_id.clone());
    match result {
        Ok(done) => {
            put("location", Some(done.location));
            put("version", done.version);
            put("status", Some(done.status.as_u16().to_string()));
        }
        Err(failed) => {
            put("location", failed.location);
            put("status", Some(failed.error.status().to_string()));
            answer["response"] = failed.error.body();
        }
    }
    answer
}
