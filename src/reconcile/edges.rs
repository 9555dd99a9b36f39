//! Relations of a batch: what a source says of them against its own rows. `Whole` is compared with all its rows of that
//! relation, `Delta` only with the rows it names, so that a group of any size takes one member more at the same cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::plan::Said;
use super::world::{Thing, World};
use super::{Batch, Error};
use crate::model::desired::{Ref, Target, Targets};
use crate::model::document::Document;
use crate::model::id::EntityId;
use crate::model::kind::Rel;
use crate::store;
use crate::store::Session;
use crate::store::edge::Edge;

/// The rows that were looked at, per beginning and relation, by target.
#[derive(Debug, Default)]
pub struct Links(BTreeMap<EntityId, BTreeMap<Rel, Table>>);

pub type Table = BTreeMap<String, Row>;

#[derive(Debug)]
pub struct Row {
    pub before: Option<Edge>,
    pub now: Option<Draft>,
}

/// A row as the source wants it.
#[derive(Debug)]
pub struct Draft {
    /// `None`: the row stays as it is stored.
    pub reference: Option<Ref>,
    pub attributes: Document,
}

impl Row {
    fn stored(edge: Edge) -> Row {
        let now = Draft { reference: None, attributes: edge.attributes.clone() };
        Row { before: Some(edge), now: Some(now) }
    }

    /// Whether a row comes, goes, or gets other attributes: what the journal tells.
    fn differs(&self) -> bool {
        match (&self.before, &self.now) {
            (Some(before), Some(now)) => before.attributes != now.attributes,
            (None, None) => false,
            _ => true,
        }
    }
}

impl Links {
    /// What was looked at of one beginning.
    pub fn of(&self, id: EntityId) -> Option<&BTreeMap<Rel, Table>> {
        self.0.get(&id).filter(|tables| tables.values().any(|table| table.values().any(Row::differs)))
    }

    pub fn rows(&self) -> impl Iterator<Item = (EntityId, Rel, &String, &Row)> {
        self.0.iter().flat_map(|(id, tables)| {
            tables.iter().flat_map(|(rel, table)| table.iter().map(|(target, row)| (*id, *rel, target, row)))
        })
    }

    fn table(&mut self, id: EntityId, rel: Rel) -> &mut Table {
        self.0.entry(id).or_default().entry(rel).or_default()
    }

    /// Rows that go away, per relation, for the guard. Where a single far end is replaced by another, nothing is lost.
    pub fn losses(&self) -> BTreeMap<Rel, u64> {
        let mut losses = BTreeMap::new();
        for tables in self.0.values() {
            for (rel, table) in tables {
                let gone = table.values().filter(|row| row.now.is_none() && row.before.is_some()).count();
                let come = table.values().filter(|row| row.before.is_none() && row.now.is_some()).count();
                let lost = if *rel == Rel::Member { gone } else { gone.saturating_sub(come) };
                *losses.entry(*rel).or_default() += lost as u64;
            }
        }
        losses.retain(|_, lost| *lost > 0);
        losses
    }
}

pub async fn plan<S: Session>(session: &mut S, world: &World, batch: &Batch<'_>, said: Said) -> Result<Links, Error> {
    let mut links = Links::default();
    load(session, world, batch, &said, &mut links).await?;
    for (id, relations) in said {
        for (rel, targets) in relations {
            say(links.table(id, rel), targets);
        }
    }
    release(session, world, batch, &mut links).await?;
    Ok(links)
}

async fn load<S: Session>(
    session: &mut S,
    world: &World,
    batch: &Batch<'_>,
    said: &Said,
    links: &mut Links,
) -> Result<(), Error> {
    let is_new = |id: &EntityId| world.things.get(id).is_none_or(|thing| thing.before.is_none());
    let mut whole: BTreeMap<Rel, BTreeSet<EntityId>> = BTreeMap::new();
    let mut named: BTreeMap<(Rel, EntityId), BTreeSet<String>> = BTreeMap::new();
    for (id, relations) in said.iter().filter(|(id, _)| !is_new(id)) {
        for (rel, targets) in relations {
            match targets {
                Targets::Whole(_) => {
                    whole.entry(*rel).or_default().insert(*id);
                }
                Targets::Delta { add, remove } => {
                    let texts = add.iter().chain(remove).map(|target| target.to.stored());
                    named.entry((*rel, *id)).or_default().extend(texts);
                }
            }
        }
    }
    let renames = renames(world);
    let source = &batch.source.name;
    for (rel, ids) in &whole {
        let ids: Vec<EntityId> = ids.iter().copied().collect();
        for edge in store::edge::of_source(session, source, *rel, &ids).await? {
            take(links, &renames, batch, edge);
        }
    }
    for ((rel, id), texts) in &named {
        if whole.get(rel).is_some_and(|ids| ids.contains(id)) {
            continue;
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for edge in store::edge::of_targets(session, source, *rel, *id, &texts).await? {
            take(links, &renames, batch, edge);
        }
    }
    Ok(())
}

/// Old text -> new text of targets, of the things that are called differently from now on.
fn renames(world: &World) -> HashMap<(EntityId, String), String> {
    let things = world.things.values();
    things.flat_map(|thing| thing.renames().into_iter().map(|(old, new)| ((thing.now.id, old), new))).collect()
}

/// A stored row, under the target's text as it will be after renames.
fn take(links: &mut Links, renames: &HashMap<(EntityId, String), String>, batch: &Batch<'_>, mut edge: Edge) {
    if let Some(to) = edge.to {
        let mine = (!renames.is_empty()).then(|| renames.get(&(to, edge.target.clone()))).flatten();
        if let Some(new) = mine.or_else(|| batch.overlay?.renamed(to, &edge.target)) {
            edge.target.clone_from(new);
        }
    }
    links.table(edge.from, edge.rel).insert(edge.target.clone(), Row::stored(edge));
}

fn say(table: &mut Table, targets: Targets) {
    match targets {
        Targets::Whole(targets) => {
            let wanted: BTreeSet<String> = targets.iter().map(|target| target.to.stored()).collect();
            for (text, row) in table.iter_mut() {
                if !wanted.contains(text) {
                    row.now = None;
                }
            }
            for target in targets {
                add(table, target);
            }
        }
        Targets::Delta { add: come, remove } => {
            for target in remove {
                if let Some(row) = table.get_mut(&target.to.stored()) {
                    row.now = None;
                }
            }
            for target in come {
                add(table, target);
            }
        }
    }
}

fn add(table: &mut Table, target: Target) {
    let now = Some(Draft { attributes: target.attributes, reference: Some(target.to.clone()) });
    match table.get_mut(&target.to.stored()) {
        Some(row) => row.now = now,
        None => {
            table.insert(target.to.stored(), Row { before: None, now });
        }
    }
}

/// A source that let go of a thing which others still hold does not speak of its relations any more either. Where nobody
/// holds it, they stay as they were, for the day it comes back.
async fn release<S: Session>(
    session: &mut S,
    world: &World,
    batch: &Batch<'_>,
    links: &mut Links,
) -> Result<(), Error> {
    let source = &batch.source.name;
    let mut left: Vec<EntityId> =
        world.things.values().filter(|thing| is_released(thing, source)).map(|thing| thing.now.id).collect();
    left.sort_unstable();
    if left.is_empty() {
        return Ok(());
    }
    for rel in Rel::ALL {
        for edge in store::edge::of_source(session, source, *rel, &left).await? {
            let table = links.table(edge.from, edge.rel);
            table.insert(edge.target.clone(), Row { before: Some(edge), now: None });
        }
    }
    Ok(())
}

fn is_released(thing: &Thing, source: &str) -> bool {
    let own = || thing.holds.iter().filter(|hold| hold.now.source == source);
    let ended = own().any(|hold| hold.now.ended && hold.before.as_ref().is_some_and(|before| !before.ended));
    ended && own().all(|hold| hold.now.ended) && thing.holds.iter().any(|hold| !hold.now.ended) && !thing.is_tombstone()
}

/// (what goes, what comes) as the journal tells it: relation -> target -> attributes, `true` where it has none.
pub fn told(tables: &BTreeMap<Rel, Table>) -> (Document, Document) {
    let (mut gone, mut come) = (Document::new(), Document::new());
    for (rel, table) in tables {
        for (target, row) in table.iter().filter(|(_, row)| row.differs()) {
            if let Some(before) = &row.before {
                enter(&mut gone, *rel, target, &before.attributes);
            }
            if let Some(now) = &row.now {
                enter(&mut come, *rel, target, &now.attributes);
            }
        }
    }
    (gone, come)
}

fn enter(out: &mut Document, rel: Rel, target: &str, attributes: &Document) {
    let of_rel = out.entry(rel.as_str()).or_insert_with(|| Value::Object(Document::new()));
    let value = if attributes.is_empty() { Value::Bool(true) } else { Value::Object(attributes.clone()) };
    if let Value::Object(of_rel) = of_rel {
        of_rel.insert(target.to_owned(), value);
    }
}

/// What is gone and does not come back is `null` in what comes.
pub fn with_nulls(mut come: Document, gone: &Document) -> Document {
    for (rel, targets) in gone {
        let of_rel = come.entry(rel).or_insert_with(|| Value::Object(Document::new()));
        if let (Value::Object(of_rel), Value::Object(targets)) = (of_rel, targets) {
            for target in targets.keys() {
                of_rel.entry(target).or_insert(Value::Null);
            }
        }
    }
    come
}
