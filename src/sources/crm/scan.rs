//! One stream from its first page to its last: pages are turned, records recognised or mapped, details fetched, and the
//! count checked. Any doubt whether everything was seen is an error, never a shorter list. Start at `stream`.

use std::collections::HashSet;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::client::{Incoming, Trouble};
use super::connector::Stream;
use super::cursor;
use super::emit::{Emitter, mark};
use super::page::{Place, Turned};
use super::path;
use super::request::Context;
use super::session::Session;
use crate::config::connector::Paging;
use crate::config::crm::Crm;
use crate::mapping::{digest, text};
use crate::model::desired::{Desired, Known, Nothing, Record};
use crate::model::time::Millis;

/// A list whose length changes while it is read is read again, so often.
const PASSES: u32 = 3;

/// What all streams of a run share.
pub struct Run<'a> {
    pub session: Session<'a>,
    pub settings: &'a Crm,
    pub known: &'a dyn Known,
    pub now: Millis,
}

/// A stream that was read to its end.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The newest change seen, or the server's clock at the start.
    pub newest: Option<Millis>,
}

/// One pass over all pages.
#[derive(Default)]
struct Pass {
    marks: HashSet<crate::model::desired::Digest>,
    /// Records without a readable key.
    nameless: u64,
    first_total: Option<u64>,
    last_total: Option<u64>,
    newest: Option<Millis>,
    started: Option<Millis>,
}

impl Pass {
    fn seen(&self) -> u64 {
        self.marks.len() as u64 + self.nameless
    }
}

/// `since`: only what changed after; `None` = everything.
pub async fn stream(
    run: &Run<'_>,
    stream: &Stream,
    since: Option<&str>,
    emitter: &mut Emitter<'_>,
) -> Result<Scanned, Trouble> {
    let counted = matches!(stream.spec.page, Paging::Number { .. } | Paging::Offset { .. });
    let mut doubt = String::new();
    for _ in 0..PASSES {
        let pass = pages(run, stream, since, emitter).await?;
        let (seen, name) = (pass.seen(), &stream.spec.name);
        match (pass.first_total, pass.last_total) {
            (Some(first), Some(last)) if counted && first != last => {
                doubt = format!("{name}: the list changed from {first} to {last} records while it was read");
                continue;
            }
            (Some(total), _) if seen < total => {
                doubt = format!("{name}: the server counts {total} records and lists {seen}");
                continue;
            }
            _ => {}
        }
        if since.is_none() && seen < stream.spec.min {
            let min = stream.spec.min;
            return Err(Trouble::Settings(format!("{name}: {seen} records, fewer than the expected {min}")));
        }
        let by_clock = stream.spec.cursor.as_ref().is_some_and(|cursor| cursor.field.is_none());
        // A stamp from the future would hide everything until then.
        let newest = if by_clock { pass.started } else { pass.newest }.map(|newest| newest.min(run.now));
        return Ok(Scanned { newest });
    }
    Err(Trouble::Settings(format!("{doubt}; read {PASSES} times")))
}

async fn pages(
    run: &Run<'_>,
    stream: &Stream,
    since: Option<&str>,
    emitter: &mut Emitter<'_>,
) -> Result<Pass, Trouble> {
    let paging = &stream.spec.page;
    let mut place = Place::first(paging);
    let mut pass = Pass::default();
    let mut context = run.settings.variables.clone();
    context.insert("since".to_owned(), json!(since.unwrap_or_default()));
    for _ in 0..run.settings.connector.limits.pages {
        place.describe(paging, &mut context);
        let mut request = stream.request.build(&run.settings.url, &context)?;
        if let Some(next) = place.next.take() {
            request.url = run.session.client.at_home(&request.what(), next)?;
        }
        let what = request.what();
        let wrong = |reason: String| Trouble::Answer { what: what.clone(), reason };
        let mut answer = run.session.call(&request).await?;
        let clock = answer.headers.get("date").and_then(|date| super::client::http_date(date.to_str().ok()?));
        pass.started.get_or_insert(clock.unwrap_or(run.now));
        succeeded(stream, &answer.body).map_err(&wrong)?;
        let total = stream.spec.total.as_ref().and_then(|at| path::get(&answer.body, at)?.as_u64());
        if let (Some(max), Some(total)) = (stream.spec.max, total)
            && total > max
        {
            return Err(wrong(format!("{total} records; the server lists at most {max} of them")));
        }
        let ended = stream.end.as_ref().map(|end| yes(end, &answer.body)).transpose().map_err(&wrong)?;
        let records = take_records(&mut answer, &stream.spec.records).map_err(&wrong)?;
        let count = records.len() as u64;
        let last = records.last().map(|record| stream.mapping.key(record)).and_then(Result::ok);
        let before = pass.seen();
        batch(run, stream, records, &mut pass, emitter).await?;
        if count > 0 && pass.seen() == before {
            return Err(wrong("the page brings nothing that the pages before it did not".to_owned()));
        }
        pass.first_total = pass.first_total.or(total);
        pass.last_total = total.or(pass.last_total);
        let turned = Turned {
            url: &request.url,
            headers: &answer.headers,
            body: &answer.body,
            records: count,
            last: last.as_deref(),
            total,
            ended: ended.unwrap_or(false),
        };
        if !place.turn(paging, &turned).map_err(&wrong)? {
            return Ok(pass);
        }
    }
    Err(Trouble::Settings(format!("{}: more pages than `limits.pages` allows", stream.spec.name)))
}

/// Errors that come with a good status.
fn succeeded(stream: &Stream, body: &Value) -> Result<(), String> {
    match &stream.success {
        Some(success) if !yes(success, body)? => Err("the server reports an error inside a good answer".to_owned()),
        _ => Ok(()),
    }
}

fn yes(template: &crate::mapping::Template, body: &Value) -> Result<bool, String> {
    let context = Map::from_iter([("body".to_owned(), body.clone())]);
    let told = template.render(&context)?;
    text::boolean(&told).ok_or_else(|| format!("`{told}` is neither yes nor no"))
}

/// The list is taken out of the answer. None there = an error: it could be a login page or a refusal.
fn take_records(answer: &mut Incoming, at: &str) -> Result<Vec<Value>, String> {
    let missing = || format!("no list at `{at}`");
    let parent = if at.is_empty() { Some(&mut answer.body) } else { find(&mut answer.body, at) };
    match parent.map(Value::take) {
        Some(Value::Array(records)) => Ok(records),
        _ => Err(missing()),
    }
}

fn find<'a>(body: &'a mut Value, at: &str) -> Option<&'a mut Value> {
    if at.starts_with('/') {
        return body.pointer_mut(at);
    }
    at.split('.').try_fold(body, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => list.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

async fn batch(
    run: &Run<'_>,
    stream: &Stream,
    rows: Vec<Value>,
    pass: &mut Pass,
    emitter: &mut Emitter<'_>,
) -> Result<(), Trouble> {
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(cursor) = &stream.spec.cursor {
            pass.newest = pass.newest.max(cursor::changed(&row, cursor, &run.settings.zone));
        }
        match stream.mapping.key(&row) {
            Ok(key) => {
                pass.marks.insert(mark(stream.spec.kind, &key));
                if emitter.first(stream.spec.kind, &key) {
                    fresh.push(row);
                }
            }
            Err(_) => {
                pass.nameless += 1;
                fresh.push(row);
            }
        }
    }
    let concurrency = run.settings.connector.limits.concurrency;
    let mut results =
        futures_util::stream::iter(fresh.into_iter().map(|row| one(run, stream, row))).buffered(concurrency);
    while let Some(result) = results.next().await {
        let Some((row, record)) = result? else { continue };
        if !matches!(record, Record::Gone { .. }) {
            for derive in &stream.derive {
                for text in path::texts(&row, &derive.value) {
                    emitter.derived(derive, &text, run.known).await?;
                }
            }
        }
        emitter.record(record).await?;
    }
    Ok(())
}

/// The record of one row, with its details where the row is not the known one. `None`: not one of ours.
async fn one(run: &Run<'_>, stream: &Stream, row: Value) -> Result<Option<(Value, Record)>, Trouble> {
    let Some(record) = stream.mapping.record(&row, run.known) else { return Ok(None) };
    let Some(detail) = &stream.detail else { return Ok(Some((row, record))) };
    let key = match &record {
        Record::Present(desired) => Some(desired.key.clone()),
        Record::Bad { key, .. } => key.clone(),
        Record::Same { .. } | Record::Gone { .. } => None,
    };
    let Some(key) = key else { return Ok(Some((row, record))) };
    let whole = match details(run, stream, detail, &row).await {
        Ok(whole) => whole,
        Err(trouble) if trouble.status().is_some_and(|status| skips(run, status)) => {
            let reason = trouble.to_string();
            return Ok(Some((row, Record::Bad { kind: Some(stream.spec.kind), key: Some(key), reason, off: false })));
        }
        Err(trouble) => return Err(trouble),
    };
    // The next run compares the row alone: the digest is the row's.
    let known_by = digest(&row, stream.mapping.fingerprint());
    Ok(stream.mapping.record(&whole, &Nothing).map(|record| match record {
        Record::Present(desired) => {
            let desired = Desired { digest: Some(known_by), ..*desired };
            (whole, Record::Present(Box::new(desired)))
        }
        other => (whole, other),
    }))
}

fn skips(run: &Run<'_>, status: u16) -> bool {
    run.settings.connector.errors.skip.contains(&status)
}

/// The row with the details laid over it.
async fn details(
    run: &Run<'_>,
    stream: &Stream,
    detail: &super::request::Request,
    row: &Value,
) -> Result<Value, Trouble> {
    let mut context: Context = run.settings.variables.clone();
    context.insert("record".to_owned(), row.clone());
    let request = detail.build(&run.settings.url, &context)?;
    let answer = run.session.call(&request).await?;
    let at = stream.spec.detail.as_ref().map_or("", |detail| detail.object.as_str());
    let Some(Value::Object(more)) = path::get(&answer.body, at) else {
        return Err(Trouble::Answer { what: request.what(), reason: format!("no object at `{at}`") });
    };
    let mut whole = row.clone();
    if let Value::Object(whole) = &mut whole {
        whole.extend(more.clone());
    }
    Ok(whole)
}
