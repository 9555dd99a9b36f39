//! Groups that hold each other: no harm is done by them, but somebody made a mistake. Asked only by a run that put a group into
//! another one, of these groups alone. Start with `among`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, MOST_RECORDS};
use crate::model::id::EntityId;
use crate::model::plain::cut;
use crate::store::{self, Db};

/// Pairs of groups that are looked at.
const MOST_PAIRS: usize = 20_000;
/// Circles that are named, groups of one, characters of a name.
const NAMED: usize = 5;
const GROUPS: usize = 8;
const LONGEST: usize = 60;

/// Who is in whom: a group and those that have it as a member.
type Above = BTreeMap<EntityId, BTreeSet<EntityId>>;

/// The circles in which one of these groups is, in words.
pub(super) async fn among(db: &Db, source: &str, groups: &BTreeSet<EntityId>) -> Result<Vec<String>, Error> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let groups: Vec<EntityId> = groups.iter().copied().collect();
    let (mut above, mut left) = (Above::new(), MOST_PAIRS);
    let mut read = db.read().await?;
    for groups in groups.chunks(MOST_RECORDS) {
        let pairs = store::edge::nesting(&mut read, groups, left as i64).await?;
        left -= pairs.len();
        for (member, group) in pairs {
            above.entry(member).or_default().insert(group);
        }
    }
    let mut found = circles(&above, NAMED + 1);
    let more = found.len() > NAMED;
    found.truncate(NAMED);
    let ids: BTreeSet<EntityId> = found.iter().flatten().copied().collect();
    let ids: Vec<EntityId> = ids.into_iter().collect();
    let named = store::entity::by_ids(&mut read, &ids).await?.into_iter().map(|group| {
        let name = group.doc.get("displayName").and_then(serde_json::Value::as_str);
        (group.id, cut(name.or(group.login_key.as_deref()).unwrap_or_default(), LONGEST))
    });
    let names: BTreeMap<EntityId, String> = named.collect();
    let mut told: Vec<String> = found.iter().map(|circle| in_words(circle, &names)).collect();
    if more {
        told.push("more groups hold each other".to_owned());
    }
    for remark in &told {
        tracing::warn!(source, "{remark}");
    }
    Ok(told)
}

/// Each as a way that comes back to its first group, found by going up from every group once.
fn circles(above: &Above, most: usize) -> Vec<Vec<EntityId>> {
    let mut found = Vec::new();
    let mut done: BTreeSet<EntityId> = BTreeSet::new();
    for start in above.keys() {
        let mut way: Vec<EntityId> = Vec::new();
        let mut place: BTreeMap<EntityId, usize> = BTreeMap::new();
        // What is still to be looked at, with how far the way had come; behind it, that the way goes back.
        let mut ahead = vec![(*start, 0)];
        while let Some((group, far)) = ahead.pop() {
            for left in way.drain(far..) {
                place.remove(&left);
                done.insert(left);
            }
            if let Some(at) = place.get(&group) {
                found.push(way[*at..].to_vec());
                if found.len() == most {
                    return found;
                }
            } else if !done.contains(&group) {
                place.insert(group, way.len());
                way.push(group);
                ahead.extend(above.get(&group).into_iter().flatten().map(|next| (*next, way.len())));
            }
        }
        done.extend(way);
    }
    found
}

/// `a in b in c in a`, from the first in the order of names.
fn in_words(circle: &[EntityId], names: &BTreeMap<EntityId, String>) -> String {
    let mut circle: Vec<&str> = circle.iter().map(|id| names.get(id).map_or("", String::as_str)).collect();
    let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
    circle.rotate_left(first);
    let more = circle.len().saturating_sub(GROUPS);
    let mut told = circle[..circle.len() - more].join(" in ");
    if more > 0 {
        told += &format!(" in … ({more} more)");
    }
    format!("groups hold each other: {told} in {}", circle.first().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> EntityId {
        format!("0198c0de-7a11-7abc-8def-{n:012}").parse().unwrap()
    }

    fn above(pairs: &[(u32, u32)]) -> Above {
        let mut all = Above::new();
        for (member, group) in pairs {
            all.entry(id(*member)).or_default().insert(id(*group));
        }
        all
    }

    fn found(pairs: &[(u32, u32)]) -> Vec<Vec<EntityId>> {
        circles(&above(pairs), 10)
    }

    #[test]
    fn a3_circles_are_found_and_nothing_else_is_one() {
        assert!(found(&[]).is_empty());
        // Two ways up, none comes back.
        assert!(found(&[(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]).is_empty());
        assert_eq!(found(&[(1, 1)]), [[id(1)]]);
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1), (3, 4), (0, 1)]), [[id(1), id(2), id(3)]]);
        assert_eq!(found(&[(5, 1), (1, 2), (2, 1), (3, 4), (4, 3), (2, 3)]).len(), 2);
        // Long ones cost as much as they are long.
        let long: Vec<(u32, u32)> = (0..50_000).map(|n| (n, (n + 1) % 50_000)).collect();
        assert_eq!(found(&long)[0].len(), 50_000);
        let ladder: Vec<(u32, u32)> = (0..10_000).flat_map(|n| [(n, n + 1), (n, n + 2), (n, n + 3)]).collect();
        assert!(found(&ladder).is_empty());
        assert_eq!(circles(&above(&[(1, 2), (2, 1), (3, 4), (4, 3)]), 1).len(), 1);
    }

    #[test]
    fn a_circle_is_told_by_its_names_and_a_long_one_in_part() {
        let names: BTreeMap<EntityId, String> = (0..12).map(|n| (id(n), format!("g{n:02}"))).collect();
        assert_eq!(in_words(&[id(2), id(3), id(1)], &names), "groups hold each other: g01 in g02 in g03 in g01");
        let long: Vec<EntityId> = (0..12).map(id).collect();
        let told = in_words(&long, &names);
        assert!(told.ends_with("in g07 in … (4 more) in g00"), "{told}");
    }
}
