//! What takes a run's changes of one thing back: its rows of the journal, held against the thing as it is now. What somebody
//! changed since is left as it is, and told. Pure. Start with `reverse`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::context::{Policies, Undoing};
use super::spool::{MAY_LOSE, Spool, Stage};
use super::world::{Hold, Thing};
use crate::model::change::{Entry, Op};
use crate::model::desired::{Desired, Record, Ref, Target, Targets, Write};
use crate::model::document::{self, Document};
use crate::model::entity::State;
use crate::model::id::{EntityId, RunId};
use crate::model::kind::{Kind, Rel};
use crate::model::source::SourceKind;
use crate::model::time::Millis;
use crate::store::edge::Edge;

/// A thing that is not what the run left behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Since {
    pub kind: Kind,
    pub entity: EntityId,
    pub label: String,
    /// What the run left behind, of what is another today; `null` for nothing.
    pub left: Document,
    pub found: Document,
    /// Who changed it last.
    pub by: Option<By>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct By {
    pub run: RunId,
    pub source: String,
    pub actor: String,
    pub at: Millis,
}

/// What takes the changes of one thing back.
#[derive(Default)]
pub(super) struct Reversal {
    pub records: Vec<Record>,
    /// A key that came with the run to what was there before.
    pub older: Option<String>,
    /// The operator's own block as it was.
    pub blocked: Option<bool>,
    /// Leaves that are others than the run left them: (path, left, found).
    pub since: Vec<(Vec<String>, Value, Value)>,
}

impl Reversal {
    pub fn spool(self, into: &mut Spool, undoing: &mut Undoing) -> Result<(), Error> {
        for record in self.records {
            let stage = match &record {
                Record::Present(desired) => Stage::Present(desired.kind),
                Record::Gone { kind, key } => {
                    undoing
                        .older
                        .extend(self.older.as_ref().filter(|older| *older == key).map(|_| (*kind, key.clone())));
                    Stage::Gone(*kind)
                }
                Record::Same { .. } | Record::Bad { .. } => continue,
            };
            into.put(stage, MAY_LOSE, &record)?;
        }
        Ok(())
    }

    fn left(mut self, path: &[&str], left: Value, found: Value) -> Reversal {
        self.since.push((path.iter().map(|part| (*part).to_owned()).collect(), left, found));
        self
    }
}

/// One leaf from before the run to after it.
struct Step {
    before: Value,
    after: Value,
}

/// Everything that a run did to one thing, its rows joined.
#[derive(Default)]
struct Steps {
    born: bool,
    died: bool,
    leaves: BTreeMap<Vec<String>, Step>,
    links: BTreeMap<(Rel, String), Step>,
    /// Keys of the source: whether it held the thing by them before the run, and after.
    holders: BTreeMap<String, (bool, bool)>,
    /// It was a tombstone before the run.
    was_dead: bool,
    external: Option<Step>,
    blocked: Option<Step>,
    key: String,
}

/// `entries`: the run's rows of this thing, oldest first. `edges`: the source's relations that begin at it.
pub(super) fn reverse(source: &str, entries: &[Entry], thing: &Thing, edges: &[Edge], policies: &Policies) -> Reversal {
    let steps = Steps::of(source, entries);
    let mut out = Reversal::default();
    if thing.is_tombstone() && !steps.died {
        let (left, found) = (State::Live.to_string(), thing.now.state.to_string());
        return out.left(&["$state"], Value::String(left), Value::String(found));
    }
    if let Some(step) = steps.blocked.as_ref().filter(|step| step.before != step.after) {
        if Value::Bool(thing.now.blocked) == step.after {
            out.blocked = step.before.as_bool().or(Some(false));
        } else {
            out = out.left(&["$blocked"], step.after.clone(), Value::Bool(thing.now.blocked));
        }
    }
    let own: Vec<&Hold> = thing.holds.iter().filter(|hold| hold.now.source == source).collect();
    let lost = steps.holders.iter().find(|(_, (before, after))| *before && !*after).map(|(key, _)| key.clone());
    let came: Vec<&String> =
        steps.holders.iter().filter(|(_, (before, after))| !*before && *after).map(|(key, _)| key).collect();
    // It came and went: nothing of it is left.
    if steps.born && came.is_empty() {
        return out;
    }
    let kind = thing.now.kind;
    let mut going = Vec::new();
    for key in came {
        let Some(hold) = own.iter().copied().find(|hold| hold.now.key == *key && !hold.now.ended) else {
            out = out.left(&["$holder", source], Value::String(key.clone()), Value::Null);
            continue;
        };
        if steps.born && !is_held_by_others(thing, hold, policies) {
            let mut since = steps.differences(&thing.now.doc);
            if thing.now.blocked && steps.blocked.is_none() {
                since.push((vec!["$blocked".to_owned()], Value::Bool(false), Value::Bool(true)));
            }
            if !since.is_empty() {
                out.since.extend(since);
                return out;
            }
        }
        if !steps.born && lost.is_none() {
            // It stays, as it was before it came back.
            restate(&mut out, &steps, thing, hold, edges, policies);
        }
        going.push(key.clone());
    }
    if let Some(key) = lost {
        if let Some(hold) = own.iter().copied().find(|hold| hold.now.key == key) {
            restate(&mut out, &steps, thing, hold, edges, policies);
        }
    } else if going.is_empty() && steps.holders.is_empty() {
        let Some(hold) = own.iter().copied().find(|hold| hold.now.key == steps.key) else { return out };
        if !hold.now.ended || steps.died {
            restate(&mut out, &steps, thing, hold, edges, policies);
        } else if !steps.is_silent() {
            out = out.left(&["$holder", source], Value::String(steps.key.clone()), Value::Null);
        }
    }
    for key in going {
        // What was deleted before it came is deleted again.
        if !steps.born && !steps.was_dead {
            out.older = Some(key.clone());
        }
        out.records.push(Record::Gone { kind, key });
    }
    out
}

/// Whether somebody else holds it; a word of the operator is no hold.
fn is_held_by_others(thing: &Thing, hold: &Hold, policies: &Policies) -> bool {
    let operator = |name: &str| policies.get(name).is_some_and(|policy| policy.kind == SourceKind::Operator);
    thing.holds.iter().any(|other| {
        !other.now.ended
            && (&other.now.source, &other.now.key) != (&hold.now.source, &hold.now.key)
            && !operator(&other.now.source)
    })
}

/// The source says again what it said before the run.
fn restate(out: &mut Reversal, steps: &Steps, thing: &Thing, hold: &Hold, edges: &[Edge], policies: &Policies) {
    let former = thing.saying(hold);
    let mut saying = former.clone();
    // The most believed first.
    let mut others: Vec<&Hold> = thing
        .holds
        .iter()
        .filter(|other| !other.now.ended && (&other.now.source, &other.now.key) != (&hold.now.source, &hold.now.key))
        .collect();
    others.sort_by_key(|other| (policies.rank(&other.now.source), other.now.key.as_str()));
    for (path, step) in &steps.leaves {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let found = document::at(&thing.now.doc, &path).unwrap_or(&Value::Null);
        if *found != step.after {
            out.since.push((path.iter().map(|part| (*part).to_owned()).collect(), step.after.clone(), found.clone()));
            continue;
        }
        if document::at(&saying, &path) == Some(&step.before) {
            continue;
        }
        // What would show without a word of this source: where that is how it was, it had said nothing.
        let others = others.iter().find_map(|other| document::at(thing.saying(other), &path)).unwrap_or(&Value::Null);
        let value = (*others != step.before).then(|| step.before.clone());
        document::put(&mut saying, &path, value);
    }
    let mut external = hold.now.external_id.clone().map_or(Value::Null, Value::String);
    if let Some(step) = &steps.external {
        if external == step.after || hold.now.ended {
            external = step.before.clone();
        } else {
            out.since.push((vec!["externalId".to_owned()], step.after.clone(), external.clone()));
        }
    }
    let relations = relations(out, steps, hold, edges);
    let same = saying == *former && external.as_str() == hold.now.external_id.as_deref();
    if same && relations.is_empty() && !hold.now.ended {
        return;
    }
    if !external.is_null() {
        saying.insert("externalId".to_owned(), external);
    }
    out.records.push(Record::Present(Box::new(Desired {
        kind: thing.now.kind,
        key: hold.now.key.clone(),
        realm: thing.now.realm,
        alias: hold.now.alias.clone(),
        attributes: saying,
        write: Write::Whole,
        relations,
        digest: None,
    })));
}

fn relations(out: &mut Reversal, steps: &Steps, hold: &Hold, edges: &[Edge]) -> BTreeMap<Rel, Targets> {
    let mut deltas: BTreeMap<Rel, (Vec<Target>, Vec<Target>)> = BTreeMap::new();
    for ((rel, target), step) in &steps.links {
        let Some(to) = Ref::of_stored(target) else {
            out.since.push((
                vec!["$links".to_owned(), rel.to_string(), target.clone()],
                step.after.clone(),
                Value::Null,
            ));
            continue;
        };
        let (add, remove) = deltas.entry(*rel).or_default();
        match &step.before {
            Value::Null => remove.push(Target::from(to)),
            Value::Object(attributes) => add.push(Target { to, attributes: attributes.clone() }),
            _ => add.push(Target::from(to)),
        }
    }
    // What leads nowhere because the thing was gone finds its ends again.
    for edge in edges.iter().filter(|edge| hold.now.ended && edge.to.is_none()) {
        if let Some(to) =
            Ref::of_stored(&edge.target).filter(|_| !steps.links.contains_key(&(edge.rel, edge.target.clone())))
        {
            deltas.entry(edge.rel).or_default().0.push(Target { to, attributes: edge.attributes.clone() });
        }
    }
    deltas.into_iter().map(|(rel, (add, remove))| (rel, Targets::Delta { add, remove })).collect()
}

impl Steps {
    fn of(source: &str, entries: &[Entry]) -> Steps {
        let mut steps = Steps::default();
        let own = entries.iter().filter(|entry| entry.change.source == source);
        for change in own.map(|entry| &entry.change) {
            if matches!(change.op, Op::Licence | Op::Invite | Op::Credential) {
                continue;
            }
            steps.born |= change.op == Op::Create;
            steps.key.clone_from(&change.key);
            for (path, after) in document::leaves(&change.after) {
                let before = document::at(&change.before, &path).cloned().unwrap_or_default();
                steps.enter(&path, before, after.clone());
            }
            steps.link(&change.before, &change.after);
            steps.hold(source, &change.before, &change.after);
        }
        steps
    }

    fn enter(&mut self, path: &[&str], before: Value, after: Value) {
        match path {
            ["$holder" | "$links", ..] | ["$active" | "$missing"] => {}
            ["$state"] => {
                let dead = State::Tombstone.as_str();
                self.was_dead |= before == dead && !self.died;
                self.died = after == dead;
            }
            ["$blocked"] => join(&mut self.blocked, before, after),
            ["externalId"] => join(&mut self.external, before, after),
            path => {
                let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
                self.leaves.entry(path).and_modify(|step| step.after = after.clone()).or_insert(Step { before, after });
            }
        }
    }

    fn hold(&mut self, source: &str, before: &Document, after: &Document) {
        let key = |document: &Document| {
            document.get("$holder").and_then(|holder| holder.get(source)).and_then(Value::as_str).map(str::to_owned)
        };
        if !after.contains_key("$holder") {
            return;
        }
        let (had, has) = (key(before), key(after));
        if let Some(key) = had.filter(|had| has.as_ref() != Some(had)) {
            self.holders.entry(key).or_insert((true, true)).1 = false;
        }
        if let Some(key) = has {
            self.holders.entry(key).or_insert((false, false)).1 = true;
        }
    }

    fn link(&mut self, before: &Document, after: &Document) {
        let of = |document: &Document, rel: Rel| match document.get("$links").and_then(|links| links.get(rel.as_str()))
        {
            Some(Value::Object(targets)) => targets.clone(),
            _ => Document::new(),
        };
        for rel in Rel::ALL {
            let mut gone = of(before, *rel);
            for (target, after) in of(after, *rel) {
                let before = gone.remove(&target).unwrap_or_default();
                let step = self.links.entry((*rel, target));
                step.and_modify(|step| step.after = after.clone()).or_insert(Step { before, after });
            }
        }
    }

    /// Nothing but what follows from the holders.
    fn is_silent(&self) -> bool {
        self.leaves.is_empty() && self.links.is_empty() && self.external.is_none()
    }

    /// Leaves of a document that are not those that a creation left behind.
    fn differences(&self, doc: &Document) -> Vec<(Vec<String>, Value, Value)> {
        let mut found: Vec<(Vec<String>, Value, Value)> = Vec::new();
        for (path, step) in &self.leaves {
            let path_now: Vec<&str> = path.iter().map(String::as_str).collect();
            let now = document::at(doc, &path_now).unwrap_or(&Value::Null);
            if *now != step.after {
                found.push((path.clone(), step.after.clone(), now.clone()));
            }
        }
        for (path, now) in document::leaves(doc) {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            if !self.leaves.contains_key(&path) {
                found.push((path, Value::Null, now.clone()));
            }
        }
        found
    }
}

fn join(step: &mut Option<Step>, before: Value, after: Value) {
    match step {
        Some(step) => step.after = after,
        None => *step = Some(Step { before, after }),
    }
}
