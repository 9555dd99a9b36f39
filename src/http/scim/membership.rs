//! What a group may not take in: itself, by whatever way round, and, where the source wants it so, whom nobody knows. Reads
//! only; the rows are the engine's.

use std::collections::BTreeMap;

use super::ask::Ask;
use super::reply::Stop;
use crate::model::desired::{Ref, Target, Targets};
use crate::model::dialect::UnknownMembers;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Rel};
use crate::scim::error::Error;
use crate::scim::json::short;
use crate::scim::schema::{Relation, Shape};
use crate::store::scim as rows;
use crate::store::{Session, Tx};

/// The queue of those who put groups into groups.
const NESTING: i64 = 2;

/// Names told of those that are refused.
const NAMED: usize = 20;

/// Before the change. `group`: the one that exists already, and whether it is in a group itself; who is in none cannot come
/// round to itself.
pub async fn allowed(
    session: &mut Tx,
    ask: &Ask<'_>,
    shape: &Shape,
    group: Option<(EntityId, bool)>,
    relations: &BTreeMap<Rel, Targets>,
) -> Result<(), Stop> {
    let Some(relation) = shape.relation() else { return Ok(()) };
    let Some(members) = relations.get(&relation.rel) else { return Ok(()) };
    let (Targets::Whole(come) | Targets::Delta { add: come, .. }) = members;
    let ids: Vec<EntityId> = come.iter().filter_map(id).collect();
    if let Some((group, inside)) = group.filter(|_| shape.kind == Kind::Group) {
        if ids.contains(&group) {
            return Err(Error::InvalidValue("a group cannot be its own member".to_owned()).into());
        }
        if !ids.is_empty() && comes_round(session, ask, &ids, inside).await? {
            let above = rows::above(session, group).await?;
            let round: Vec<EntityId> = ids.iter().copied().filter(|id| above.contains(id)).collect();
            // A group that the client does not see is nobody to it: its text waits, and joins nothing.
            let seen = rows::of_ids(session, &ask.sight(Kind::Group), &round).await?;
            if let Some(id) = seen.first().map(|found| found.id) {
                let detail = format!("`members`: the group is itself, directly or not, a member of {id}");
                return Err(Error::InvalidValue(detail).into());
            }
        }
    }
    if ask.dialect.unknown_members == UnknownMembers::Refuse {
        known(session, ask, relation, come, &ids).await?;
    }
    Ok(())
}

/// Whether the change could close a circle. Where several write at once, whoever puts a group into a group waits for the
/// others who do, and looks at what they left.
async fn comes_round(tx: &mut Tx, ask: &Ask<'_>, ids: &[EntityId], inside: bool) -> Result<bool, Stop> {
    if ask.app.db.is_embedded() {
        return Ok(inside);
    }
    let nests = !rows::of_ids(tx, &ask.sight(Kind::Group), ids).await?.is_empty();
    if nests {
        tx.queue(NESTING).await?;
    }
    Ok(nests)
}

async fn known(
    session: &mut impl Session,
    ask: &Ask<'_>,
    relation: &Relation,
    come: &[Target],
    ids: &[EntityId],
) -> Result<(), Stop> {
    let mut known = std::collections::HashSet::new();
    for kind in relation.ends {
        known.extend(rows::of_ids(session, &ask.sight(*kind), ids).await?.into_iter().map(|found| found.id));
    }
    let unknown: Vec<String> =
        come.iter().filter(|target| id(target).is_none_or(|id| !known.contains(&id))).map(said).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let more = if unknown.len() > NAMED { format!(" and {} more", unknown.len() - NAMED) } else { String::new() };
    let names = unknown[..unknown.len().min(NAMED)].join(", ");
    Err(Error::InvalidValue(format!("`{}`: nobody has the id {names}{more}", relation.name)).into())
}

const fn id(target: &Target) -> Option<EntityId> {
    match target.to {
        Ref::Id(id) => Some(id),
        _ => None,
    }
}

fn said(target: &Target) -> String {
    match &target.to {
        Ref::Id(id) => id.to_string(),
        Ref::Key(_, text) | Ref::Alias(text) | Ref::Match { value: text, .. } => short(text),
    }
}
