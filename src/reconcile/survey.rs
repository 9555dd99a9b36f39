//! The preview of a run: every spooled record planned on one snapshot, without a write. `plan` shows it, the guard counts
//! its losses, and a held run keeps what it saw.

use std::collections::BTreeMap;

use super::overlay::Overlay;
use super::plan::plan;
use super::report::{Stop, Tally};
use super::rounds::Rounds;
use super::run::Read;
use super::spool::{self, MAY_LOSE, Stage};
use super::{Batch, Context, Error, guard};
use crate::model::change::{Change, Op};
use crate::model::id::{EntityId, RunId};
use crate::model::kind::{Kind, Rel};
use crate::model::source::SourcePolicy;
use crate::store::{self, Db};

#[derive(Default)]
pub struct Surveyed {
    pub tally: Tally,
    /// All of them where they were asked for.
    pub changes: Vec<Change>,
    pub stops: Vec<Stop>,
    /// Entity and version that each record would change, in the order of the spool, where they were asked for.
    pub marks: Vec<(Option<EntityId>, Option<i64>)>,
}

/// How much of it is looked at and kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only what may take something away: enough for the guard.
    Losses,
    /// Everything, counted and digested.
    All,
    /// Everything, and every change is kept.
    Changes,
    /// No further than so many changes, which are kept: to be looked at.
    First(usize),
    /// Everything, and what each record would touch.
    Marks,
}

pub async fn survey(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    read: &mut Read,
    depth: Depth,
) -> Result<Surveyed, Error> {
    let mut found = Surveyed::default();
    let mut losses: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut unlinked: BTreeMap<Rel, u64> = BTreeMap::new();
    let mut emptied: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    let mut overlay = Overlay::default();
    let mut session = db.snapshot().await?;
    let flags = if depth == Depth::Losses { MAY_LOSE } else { 0 };
    let mut rounds = Rounds::of(&mut read.spool);
    while let Some((stage, mut reader)) = rounds.next(&mut read.spool, &mut found.tally)? {
        if let (Stage::Gone(kind), Depth::Losses) = (stage, depth) {
            *losses.entry(kind).or_default() += read.spool.count(stage);
            continue;
        }
        if (stage, depth) == (Stage::Again, Depth::Losses) {
            break; // whoever was refused loses nothing
        }
        loop {
            let raw = reader.piece(flags)?;
            if raw.is_empty() {
                break;
            }
            let leaving = |kind: Kind, key: &str| read.present.leaving(kind, key);
            let batch = Batch {
                cx,
                source,
                run: RunId(uuid::Uuid::nil()),
                at: cx.clock.now(),
                overlay: Some(&overlay),
                leaving: Some(&leaving),
            };
            let planned = plan(&mut session, &batch, spool::parse(&raw)?).await?;
            for (outcome, raw) in planned.outcomes.iter().zip(&raw) {
                if depth == Depth::Marks && stage != Stage::Again {
                    let thing = outcome.entity.and_then(|id| planned.world.things.get(&id));
                    let before = thing.and_then(|thing| thing.before.as_ref());
                    found.marks.push((before.map(|before| before.id), before.map(|before| before.version)));
                }
                rounds.heard(&mut read.spool, raw, outcome, &mut found.tally)?;
            }
            for (rel, lost) in planned.links.losses() {
                *unlinked.entry(rel).or_default() += lost;
            }
            for change in planned.changes {
                if guard::takes_away(&change) {
                    *losses.entry(change.kind).or_default() += 1;
                }
                for name in guard::emptied(&change, &cx.policies.catalogue) {
                    *emptied.entry((change.kind, name)).or_default() += 1;
                }
                found.tally.change(&change);
                if matches!(depth, Depth::Changes | Depth::First(_)) {
                    let entity = change.entity.filter(|_| change.op != Op::Create);
                    found.changes.push(Change { entity, ..change });
                }
            }
            if let Depth::First(most) = depth
                && found.changes.len() >= most
            {
                found.changes.truncate(most);
                return Ok(found);
            }
            planned.world.things.values().filter(|thing| !thing.records.is_empty()).for_each(|thing| {
                overlay.remember(thing, &source.name);
            });
        }
    }
    found.stops = stops(&mut session, source, read, &losses, &unlinked).await?;
    for ((kind, name), losses) in emptied.into_iter().filter(|(_, losses)| *losses > source.guard.count) {
        // Of those who have one: a handful of licences among many people is all of them.
        let held = if name == guard::LICENCE {
            store::licence::count_of_source(&mut session, &source.name).await?
        } else {
            read.present.held(&mut session, kind, enough(source, losses)).await?
        };
        let limit = source.guard.limit(held);
        if losses > limit {
            found.stops.push(Stop::limit(format!("{kind} {name}"), losses, held, limit));
        }
    }
    Ok(found)
}

/// Of more things than these the losses are too small a part to stop anything.
fn enough(source: &SourcePolicy, losses: u64) -> u64 {
    let most = losses.saturating_mul(100) / u64::from(source.guard.percent.max(1)) + 1;
    most.max(losses + 1)
}

/// The limits that these losses pass.
async fn stops(
    session: &mut store::Read,
    source: &SourcePolicy,
    read: &Read,
    losses: &BTreeMap<Kind, u64>,
    unlinked: &BTreeMap<Rel, u64>,
) -> Result<Vec<Stop>, Error> {
    let mut stops = Vec::new();
    for (kind, losses) in losses {
        let known = read.present.held(session, *kind, enough(source, *losses)).await?;
        let absent = read.spool.count(Stage::Gone(*kind));
        // A new source holds nothing yet: what it reads stands for it.
        let held = known.max(read.spool.count(Stage::Present(*kind)));
        if source.guard.stops(absent, known) || source.guard.stops(*losses, held) {
            let limit = source.guard.limit(held);
            stops.push(Stop::limit(kind.to_string(), *losses, held, limit));
        }
    }
    for (rel, losses) in unlinked.iter().filter(|(_, losses)| **losses > source.guard.count) {
        let held = store::edge::count_of_source(session, &source.name, *rel).await?;
        let limit = source.guard.limit(held);
        if *losses > limit {
            stops.push(Stop::limit(rel.to_string(), *losses, held, limit));
        }
    }
    Ok(stops)
}
