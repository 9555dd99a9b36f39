//! In which order the records of a spool are gone through, the same for a preview and for the run that does what it said:
//! every stage in pieces, then what was refused because of something that may have gone meanwhile, again and again as long
//! as somebody of it is taken. Start with `Rounds::next`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::report::Tally;
use super::spool::{Reader, Spool, Stage};
use super::{Error, MOST_RECORDS, MOST_TOGETHER, Outcome, Refusal};

/// The logins of so many refused records are remembered; whoever comes after them is asked in the order of reading.
const MOST_TIED: usize = 100_000;

pub(super) struct Rounds {
    stages: std::vec::IntoIter<Stage>,
    /// Rounds of `Stage::Again` that were begun.
    again: usize,
    /// Somebody of this round was not refused.
    took: bool,
    /// Whom this round refused; the last one is told of them.
    refused: Tally,
    /// Of each record that is asked again, the login that it wants and the one that it would give up.
    ties: Vec<Option<Tie>>,
}

/// Hashes.
type Tie = (u64, u64);

impl Rounds {
    pub fn of(spool: &mut Spool) -> Rounds {
        spool.clear(Stage::Again);
        let stages = spool.stages().into_iter();
        Rounds { stages, again: 0, took: false, refused: Tally::default(), ties: Vec::new() }
    }

    /// What comes next, from its beginning. `tally`: of whom it is sure at the end that they are refused.
    pub fn next(&mut self, spool: &mut Spool, tally: &mut Tally) -> Result<Option<(Stage, Reader)>, Error> {
        if let Some(stage) = self.stages.next() {
            return Ok(Some((stage, spool.reader(stage)?)));
        }
        let refused = std::mem::take(&mut self.refused);
        let in_vain = self.again > 0 && !self.took;
        if self.ties.is_empty() || in_vain {
            tally.take_over(refused);
            return Ok(None);
        }
        self.again += 1;
        self.took = false;
        let reader = spool.reader_in(Stage::Again, &together(&std::mem::take(&mut self.ties)))?;
        spool.clear(Stage::Again);
        Ok(Some((Stage::Again, reader)))
    }

    /// What became of a record.
    pub fn heard(&mut self, spool: &mut Spool, raw: &[u8], outcome: &Outcome, tally: &mut Tally) -> Result<(), Error> {
        let Some(refusal) = &outcome.refused else {
            self.took = true;
            return Ok(());
        };
        if !refusal.may_pass() {
            tally.refuse(outcome, refusal);
            return Ok(());
        }
        if self.again > 0 {
            self.refused.refuse(outcome, refusal);
        }
        self.ties.push(tie(refusal).filter(|_| self.ties.len() < MOST_TIED));
        spool.put_raw(Stage::Again, 0, raw)
    }
}

fn tie(refusal: &Refusal) -> Option<Tie> {
    let Refusal::LoginTaken { login, had, .. } = refusal else { return None };
    let hash = |login: &str| {
        let mut hasher = DefaultHasher::new();
        login.hash(&mut hasher);
        hasher.finish()
    };
    Some((hash(login), hash(had.as_deref().unwrap_or(login))))
}

/// Numbers of records, in batches: whoever waits for one another is in one, as far as it takes them. Of more than it takes,
/// half come from their beginning and half from their end, so that of a row one end is reached, whichever way it goes.
fn together(ties: &[Option<Tie>]) -> Vec<Vec<usize>> {
    let mut leaders: Vec<usize> = (0..ties.len()).collect();
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (at, tie) in ties.iter().enumerate() {
        for login in tie.iter().flat_map(|(wanted, had)| [*wanted, *had]) {
            match first.entry(login) {
                Entry::Vacant(free) => drop(free.insert(at)),
                Entry::Occupied(other) => {
                    let (one, two) = (leader(&mut leaders, at), leader(&mut leaders, *other.get()));
                    leaders[one.max(two)] = one.min(two);
                }
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); ties.len()];
    for at in 0..ties.len() {
        let leader = leader(&mut leaders, at);
        groups[leader].push(at);
    }
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut batch: Vec<usize> = Vec::new();
    for mut group in groups {
        if group.len() > MOST_TOGETHER {
            while !group.is_empty() {
                let half = group.len().min(MOST_RECORDS / 2);
                let mut part: Vec<usize> = group.drain(..half).collect();
                part.extend(group.drain(group.len() - group.len().min(MOST_RECORDS / 2)..));
                batches.push(part);
            }
            continue;
        }
        if batch.len() + group.len() > MOST_RECORDS {
            batches.push(std::mem::take(&mut batch));
        }
        batch.append(&mut group);
    }
    batches.push(batch);
    // Among equals the first record of a batch comes first.
    for batch in &mut batches {
        batch.sort_unstable();
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

fn leader(leaders: &mut [usize], of: usize) -> usize {
    let mut at = of;
    while leaders[at] != at {
        leaders[at] = leaders[leaders[at]];
        at = leaders[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::desired::Record;
    use crate::model::source::SourceKind;
    use crate::reconcile::apply_tests::{World, policy, present, user};
    use crate::reconcile::run_tests::{complete, people, read, sync};
    use crate::reconcile::{End, Mode};
    use crate::store::Session as _;
    use crate::store::testing::both;

    /// Everybody of `0..many` gets another login of theirs, or a new one; previewed, done, and as it should be.
    async fn moved(world: &World, many: u32, to: impl Fn(u32) -> u32 + Copy) {
        sync(world, people(0..many)).await;
        let mut next = people(0..many);
        let mut from = 0..many;
        for record in &mut next {
            let Record::Present(desired) = record else { continue };
            if desired.key == "staff" {
                continue;
            }
            let login = format!("u{}", to(from.next().unwrap()));
            desired.digest = None;
            desired.attributes.insert("userName".to_owned(), json!(login));
        }
        let plan = read(world, "ldap", next.clone(), complete(), Mode::Plan).await.unwrap();
        let done = sync(world, next).await;
        assert_eq!((done.state, &done.refused), (End::Done, &Vec::new()));
        assert_eq!(done.counts["update"], u64::from((0..many).filter(|n| to(*n) != *n).count() as u32));
        assert_eq!((plan.counts, plan.digest), (done.counts, done.digest));
        let sql =
            "SELECT a.key, e.login_key FROM assertion a JOIN entity e ON e.id = a.entity_id WHERE a.kind = 'user'";
        let rows = world.db.read().await.unwrap().all(sql, vec![]).await.unwrap();
        assert_eq!(rows.len(), many as usize);
        for row in rows {
            let (key, login): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            assert_eq!(login, format!("u{}", to(key[1..].parse().unwrap())), "{key}");
        }
    }

    fn world(db: crate::store::Db) -> World {
        World::with(db, vec![policy("ldap", SourceKind::Ldap, 10)])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_gets_the_login_of_the_next_one() {
        both(|db| async move { moved(&world(db), 1_100, |n| n + 1).await }).await;
        both(|db| async move { moved(&world(db), 1_100, |n| if n == 0 { 9_999 } else { n - 1 }).await }).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn logins_are_swapped_by_more_people_than_a_batch_has() {
        // Partners near each other, far from each other, and all of them in one circle.
        both(|db| async move { moved(&world(db), 1_100, |n| 1_099 - n).await }).await;
        both(|db| async move { moved(&world(db), 1_100, |n| (n + 550) % 1_100).await }).await;
        both(|db| async move { moved(&world(db), 700, |n| (n + 1) % 700).await }).await;
    }

    #[test]
    fn whoever_waits_for_one_another_is_asked_together() {
        let many = 2_000;
        let pairs: Vec<Option<Tie>> = (0..many).map(|n| Some(((n + many / 2) % many, n))).collect();
        let batches = together(&pairs);
        assert_eq!(batches.len(), 4);
        for batch in &batches {
            assert!(batch.len() <= MOST_RECORDS && batch.is_sorted(), "{batch:?}");
            assert!(batch.iter().all(|at| batch.contains(&((at + many as usize / 2) % many as usize))));
        }
        // One circle of more than a batch is whole; one of far more is cut, and nobody is left out.
        for (many, batches) in [(501, 1), (MOST_TOGETHER as u64, 1), (MOST_TOGETHER as u64 + 1, 5)] {
            let circle: Vec<Option<Tie>> = (0..many).map(|n| Some(((n + 1) % many, n))).collect();
            let found = together(&circle);
            assert_eq!(found.len(), batches, "{many}");
            assert_eq!(found.concat().len(), many as usize);
        }
        // What waits for something else keeps its order.
        assert_eq!(together(&[None, None, None]), [[0, 1, 2]]);
        assert!(together(&[]).is_empty());
    }

    /// Who cannot be taken is told once, and asked for no longer.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_stays_refused_is_told_once() {
        both(|db| async move {
            let mut ldap = policy("ldap", SourceKind::Ldap, 10);
            ldap.match_rules = Vec::new();
            let world = World::with(db, vec![ldap, policy("hr", SourceKind::Crm, 5)]);
            for n in 0..3 {
                world.one("hr", user(&format!("h{n}"), &format!("u{n}"))).await;
            }
            let records = people(0..1_100).into_iter().chain([present(user("k5000", "u700"))]);
            let done = sync(&world, records.collect()).await;
            assert_eq!((done.counts["refused"], done.refused.len(), done.counts["create"]), (4, 4, 1_098));
        })
        .await;
    }
}
