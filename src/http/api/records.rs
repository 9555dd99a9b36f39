//! `POST /api/v1/sources/{name}/records`: jobs push what a source says, one JSON object a line, while the engine already
//! reads. Parameters: `scope` = only (the lines alone, default) or whole (what is not in it is gone), `kinds` (of which a
//! whole push speaks; default: those that came), `plan=true` (shows and writes nothing), `expect` (a plan's digest).
//!
//! A whole push must end with `{"end": true, "count": N}`; without that line, or when the body breaks off, nothing is
//! changed at all. The run goes through the same guard as any other: it may answer 202, held for approval.

mod line;
mod ndjson;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::extract::Params;
use crate::config::source;
use crate::http::auth::Caller;
use crate::http::error::Problem;
use crate::http::state::App;
use crate::http::token;
use crate::mapping;
use crate::model::desired::{Chunk, End, Known, Record, Scope};
use crate::model::kind::Kind;
use crate::reconcile::{self, Mode, Report};
pub use line::Reader;
use line::{Fault, Parsed};
use ndjson::{Line, Lines};

/// Records in one chunk, chunks on their way: what is in memory of the largest push.
const CHUNK: usize = 500;
const CHUNKS: usize = 2;
/// Faults of lines that are listed; all are counted.
const MOST_FAULTS: usize = 1_000;

pub fn routes() -> Router<App> {
    Router::new().route("/sources/{name}/records", post(push)).layer(Extension(Gate::default()))
}

/// One push at a time for each source.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<HashMap<String, Arc<Semaphore>>>>);

impl Gate {
    fn enter(&self, source: &str) -> Option<OwnedSemaphorePermit> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(source.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        gate.clone().try_acquire_owned().ok()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    scope: Breadth,
    kinds: Option<String>,
    #[serde(default)]
    plan: bool,
    expect: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Breadth {
    #[default]
    Only,
    Whole,
}

async fn push(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Params(query): Params<Query>,
    Extension(gate): Extension<Gate>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(token::Scope::Push)?;
    let policy = caller.source()?.clone();
    // Of other sources not even the existence is told.
    if policy.name != name {
        return Err(Problem::not_found());
    }
    let config = app.config();
    let Some(source::Body::Push(settings)) = config.source(&name).map(|source| &source.body) else {
        return Err(Problem::conflict("not_pushed", "records are pushed into sources of kind push only"));
    };
    is_ndjson(&headers)?;
    let kinds = kinds(query.kinds.as_deref())?;
    let shown = |faults: Vec<mapping::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let reader = Reader::compile(settings, app.schemas().vocabulary(policy.realm))
        .map_err(|faults| Problem::internal(shown(faults)))?;
    let permit =
        gate.enter(&name).ok_or_else(|| Problem::conflict("busy", "another push of this source is running"))?;
    let known = Arc::new(reconcile::known(&app.db, &name).await.map_err(refused)?);

    let (out, chunks) = mpsc::channel(CHUNKS);
    let mode = if query.plan { Mode::Plan } else { Mode::Sync { expect: query.expect } };
    // A task of its own: once everything was read, a caller that hangs up no longer stops it in the middle.
    let run = tokio::spawn({
        let (app, known, context) = (app.clone(), known.clone(), app.context(caller.actor()));
        async move {
            let report = reconcile::run(&app.db, &context, &policy, chunks, known, mode).await;
            drop(permit);
            app.wake.deliver();
            report
        }
    });
    let mut intake = Intake { out, buffer: Vec::new(), seen: HashSet::new(), told: Told::default(), kinds };
    let end = intake.lines(&reader, &*known, Lines::new(body.into_data_stream()), query.scope).await;
    let told = intake.finish(end).await;
    let report = run.await.map_err(Problem::internal)?.map_err(refused)?;
    Ok(answer(&report, told))
}

/// What the sender is told of its lines.
#[derive(Default)]
struct Told {
    lines: u64,
    faulty: u64,
    faults: Vec<Value>,
}

struct Intake {
    out: mpsc::Sender<Chunk>,
    buffer: Vec<Record>,
    /// Of which kinds lines came, where the query does not say.
    seen: HashSet<Kind>,
    told: Told,
    kinds: Option<BTreeSet<Kind>>,
}

impl Intake {
    /// Hands on all lines and says how they ended.
    async fn lines<S, E>(&mut self, reader: &Reader, known: &dyn Known, mut lines: Lines<S>, scope: Breadth) -> End
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    {
        let incomplete = |reason: &str| End::Incomplete { reason: reason.to_owned(), passes: false };
        let mut ended = false;
        loop {
            let (number, line) = match lines.next().await {
                Err(ndjson::BrokenOff) => return incomplete("the body broke off"),
                Ok(None) => break,
                Ok(Some(_)) if ended => return incomplete("there is a line after the end"),
                Ok(Some(line)) => line,
            };
            let parsed = match line {
                Line::Text(text) => reader.read(&text, known),
                Line::TooLong => too_long(),
            };
            match parsed {
                Parsed::End { count } if count == self.told.lines => ended = true,
                Parsed::End { count } => {
                    return incomplete(&format!("the end counts {count} lines, {} came", self.told.lines));
                }
                Parsed::Record(record) => self.take(number, record, Vec::new()).await,
                Parsed::Faulty(record, faults) => self.take(number, record, faults).await,
            }
        }
        match scope {
            Breadth::Whole if !ended => incomplete("a whole push ends with {\"end\": true, \"count\": N}"),
            Breadth::Whole => {
                let kinds = self.kinds.clone().unwrap_or_else(|| self.seen.iter().copied().collect());
                End::Complete {
                    cursor: None,
                    kinds: kinds.into_iter().collect(),
                    scope: Scope::Whole,
                    how: None,
                    fingerprint: None,
                }
            }
            Breadth::Only => {
                End::Complete { cursor: None, kinds: Vec::new(), scope: Scope::Only, how: None, fingerprint: None }
            }
        }
    }

    async fn take(&mut self, number: u64, record: Record, mut faults: Vec<Fault>) {
        self.told.lines += 1;
        let kind = match &record {
            Record::Present(desired) => Some(desired.kind),
            Record::Same { kind, .. } | Record::Gone { kind, .. } => Some(*kind),
            Record::Bad { kind, .. } => *kind,
        };
        self.seen.extend(kind);
        let record = match (&self.kinds, kind) {
            (Some(kinds), Some(kind)) if !kinds.contains(&kind) => {
                let allowed = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
                let reason = format!("kind: this push speaks of {allowed} only");
                faults.push(Fault { what: "kind".to_owned(), allowed });
                Record::Bad { kind: Some(kind), key: None, reason, off: false }
            }
            _ => record,
        };
        if !faults.is_empty() {
            self.told.faulty += 1;
            let room = MOST_FAULTS.saturating_sub(self.told.faults.len());
            self.told.faults.extend(line::shown(number, faults).take(room));
        }
        self.buffer.push(record);
        if self.buffer.len() >= CHUNK {
            self.flush().await;
        }
    }

    /// The engine stops listening only when it failed; its error is the answer then.
    async fn flush(&mut self) {
        let records = std::mem::take(&mut self.buffer);
        if !records.is_empty() {
            drop(self.out.send(Chunk::Records(records)).await);
        }
    }

    async fn finish(mut self, end: End) -> Told {
        self.flush().await;
        drop(self.out.send(Chunk::End(end)).await);
        self.told
    }
}

fn too_long() -> Parsed {
    let allowed = format!("at most {} bytes", ndjson::LONGEST_LINE);
    let reason = format!("the line is longer than {} bytes", ndjson::LONGEST_LINE);
    Parsed::Faulty(
        Record::Bad { kind: None, key: None, reason, off: false },
        vec![Fault { what: "line".to_owned(), allowed }],
    )
}

fn is_ndjson(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset="));
    let utf8 = charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    match media {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" if utf8 => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "the body must be NDJSON in UTF-8, with Content-Type: application/x-ndjson",
        )),
    }
}

fn kinds(text: Option<&str>) -> Result<Option<BTreeSet<Kind>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let kinds: Result<BTreeSet<Kind>, _> = words.map(str::parse).collect();
    kinds.map(Some).map_err(|unknown| Problem::bad_request("bad_query", format_args!("kinds: {unknown}")))
}

fn refused(error: reconcile::Error) -> Problem {
    match error {
        reconcile::Error::Store(error) => error.into(),
        reconcile::Error::NotExpected { expected, found } => {
            Problem::conflict("not_expected", "the changes are others").with("expected", expected).with("found", found)
        }
        error @ reconcile::Error::Race => Problem::unavailable(error),
        error => Problem::internal(error),
    }
}

/// 200 applied (or planned), 202 held for approval, 400 not complete and so without effect.
fn answer(report: &Report, told: Told) -> Response {
    let body = json!({
        "state": report.state, "run": report.run, "lines": told.lines, "faulty": told.faulty, "faults": told.faults,
        "counts": report.counts, "refused": report.refused, "changes": report.changes, "digest": report.digest,
        "stops": report.stops, "message": report.message, "remarks": report.remarks,
    });
    match report.state {
        reconcile::End::Done | reconcile::End::Planned => Json(body).into_response(),
        reconcile::End::Held => (StatusCode::ACCEPTED, Json(body)).into_response(),
        reconcile::End::Failed => {
            let detail = report.message.clone().unwrap_or_default();
            let problem = Problem::bad_request("incomplete", format_args!("nothing was changed: {detail}"));
            problem.with("lines", told.lines).with("faults", told.faults).into_response()
        }
    }
}
