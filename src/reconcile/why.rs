//! Why does an attribute say what it says (B4): for every leaf of the merged document the source that set it, in which run
//! and when, and what others say that is not heard. Run and time are those of the change in the journal that brought the
//! value; where that is erased, or too long ago, those of the source's last word on the thing. Whoever nobody holds any
//! more is told by what the last holders said, and `active` by the change that took it away. Only reads.

use serde::Serialize;
use serde_json::Value;

use super::apply::leaf;
use super::{Context, Error};
use crate::model::change::Entry;
use crate::model::document::{self, Document};
use crate::model::entity::{Assertion, Entity};
use crate::model::hidden;
use crate::model::id::{EntityId, RunId};
use crate::model::time::Millis;
use crate::store::{self, Session};

/// One leaf of the merged document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// `name.familyName`, `urn:..:Agent:note`.
    pub attribute: String,
    /// What is shown. `null`: the most believed source says that it is empty.
    pub value: Value,
    /// Who says so. More than one only where values of several sources are joined. Empty: the login stayed as it was (R8).
    pub from: Vec<Saying>,
    /// Who says something else, the most believed first.
    pub overruled: Vec<Saying>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saying {
    pub source: String,
    pub key: String,
    pub run: RunId,
    /// When this source set the value; of what is not heard, when it last said something else of the thing.
    pub at: Millis,
    pub value: Value,
}

/// Changes of one thing that are looked at, the newest first.
const HISTORY: i64 = 1_000;

/// `None`: there is no such thing. `attribute` narrows to it and what lies below it.
pub async fn why(
    session: &mut impl Session,
    cx: &Context,
    id: EntityId,
    attribute: Option<&str>,
) -> Result<Option<Vec<Why>>, Error> {
    let Some(entity) = store::entity::by_id(session, id).await? else { return Ok(None) };
    let mut holds = store::assertion::of_entity(session, id).await?;
    if holds.iter().any(|assertion| !assertion.ended) {
        holds.retain(|assertion| !assertion.ended);
    }
    holds.sort_by(|a, b| (cx.policies.rank(&a.source), &a.key).cmp(&(cx.policies.rank(&b.source), &b.key)));
    let mut history = store::journal::newest_of_entity(session, id, HISTORY).await?;
    let (mut entity, places) = (entity, &cx.policies.hidden);
    if !places.is_empty() {
        hidden::mask(places, entity.kind, &mut entity.doc);
        holds.iter_mut().filter_map(|hold| hold.doc.as_mut()).for_each(|doc| hidden::mask(places, entity.kind, doc));
        for entry in &mut history {
            cx.policies.mask(&mut entry.change);
        }
    }
    Ok(Some(explain(&entity, &holds, &history, attribute)))
}

/// `holds` in the order of belief, `history` the newest change first.
fn explain(entity: &Entity, holds: &[Assertion], history: &[Entry], attribute: Option<&str>) -> Vec<Why> {
    let sayings: Vec<(&Assertion, &Document)> =
        holds.iter().map(|hold| (hold, hold.doc.as_ref().unwrap_or(&entity.doc))).collect();
    let mut paths: Vec<Vec<&str>> = document::leaves(&entity.doc).into_iter().map(|(path, _)| path).collect();
    for (_, saying) in &sayings {
        paths.extend(document::leaves(saying).into_iter().map(|(path, _)| path));
    }
    paths.sort();
    paths.dedup();
    let wanted = |shown: &str| {
        attribute.is_none_or(|wanted| {
            shown == wanted || shown.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(['.', ':']))
        })
    };
    let mut all: Vec<Why> = paths
        .into_iter()
        .map(|path| (document::shown(&path), path))
        .filter(|(shown, _)| wanted(shown))
        .map(|(attribute, path)| {
            let value = leaf(&entity.doc, &path).cloned().unwrap_or(Value::Null);
            let said = sayings.iter().filter_map(|(hold, saying)| {
                let value = leaf(saying, &path)?.clone();
                let (run, at) = set_in(history, hold, &path, &value).unwrap_or((hold.run, hold.at));
                Some(Saying { source: hold.source.clone(), key: hold.key.clone(), run, at, value })
            });
            let (from, overruled) = said.partition(|saying| saying.value == value);
            one(attribute, value, from, overruled)
        })
        .collect();
    if wanted(ACTIVE) && !entity.active && leaf(&entity.doc, &[ACTIVE]) != Some(&Value::Bool(false)) {
        let said = all.iter().position(|why| why.attribute == ACTIVE).map(|at| all.remove(at));
        all.insert(0, taken_away(history, said));
    }
    all
}

const ACTIVE: &str = "active";

/// Why somebody is not active whom no source calls so: the change that disabled, blocked or deleted it.
fn taken_away(history: &[Entry], said: Option<Why>) -> Why {
    let no = Value::Bool(false);
    let by = history.iter().find(|entry| entry.change.after.get("$active") == Some(&no)).map(|entry| Saying {
        source: entry.change.source.clone(),
        key: entry.change.key.clone(),
        run: entry.run,
        at: entry.at,
        value: no.clone(),
    });
    let overruled = said.map_or_else(Vec::new, |said| said.from.into_iter().chain(said.overruled).collect());
    Why { attribute: ACTIVE.to_owned(), value: no, from: by.into_iter().collect(), overruled }
}

/// The newest change in which this source brought this very value.
fn set_in(history: &[Entry], hold: &Assertion, path: &[&str], value: &Value) -> Option<(RunId, Millis)> {
    let mut own = history.iter().filter(|entry| entry.change.source == hold.source);
    own.find(|entry| leaf(&entry.change.after, path) == Some(value)).map(|entry| (entry.run, entry.at))
}

/// Where several say the same, the most believed is the one who set it; where values are joined, all have a part.
fn one(attribute: String, value: Value, mut from: Vec<Saying>, mut overruled: Vec<Saying>) -> Why {
    let joined = |saying: &Saying| match (&saying.value, &value) {
        (Value::Array(part), Value::Array(all)) => !part.is_empty() && part.iter().all(|item| all.contains(item)),
        _ => false,
    };
    if from.is_empty() && !overruled.is_empty() && overruled.iter().all(joined) {
        from = std::mem::take(&mut overruled);
    } else {
        from.truncate(1);
    }
    Why { attribute, value, from, overruled }
}
