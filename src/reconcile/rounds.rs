//! In which order the records of a spool are gone through, the same for a preview and for the run that does what it said:
//! every stage in pieces, then what was refused because of something that may have gone meanwhile, again and again as long
//! as somebody of it is taken. Start with `Rounds::next`.

use super::report::Tally;
use super::spool::{Reader, Spool, Stage};
use super::{Error, MOST_RECORDS, Outcome};

pub(super) struct Rounds {
    stages: std::vec::IntoIter<Stage>,
    /// Rounds of `Stage::Again` that were begun.
    again: usize,
    /// Somebody of this round was not refused.
    took: bool,
    /// Whom this round refused; the last one is told of them.
    refused: Tally,
}

impl Rounds {
    pub fn of(spool: &mut Spool) -> Rounds {
        spool.clear(Stage::Again);
        Rounds { stages: spool.stages().into_iter(), again: 0, took: false, refused: Tally::default() }
    }

    /// What comes next, from its beginning. `tally`: of whom it is sure at the end that they are refused.
    pub fn next(&mut self, spool: &mut Spool, tally: &mut Tally) -> Result<Option<(Stage, Reader)>, Error> {
        if let Some(stage) = self.stages.next() {
            return Ok(Some((stage, spool.reader(stage)?)));
        }
        let left = spool.count(Stage::Again);
        // A round in the same order, or of one batch, would come to the same.
        let in_vain = !self.took && (self.again > 1 || (self.again == 1 && left <= MOST_RECORDS as u64));
        let refused = std::mem::take(&mut self.refused);
        if left == 0 || in_vain {
            tally.take_over(refused);
            return Ok(None);
        }
        self.again += 1;
        self.took = false;
        let reader = if self.again == 1 { spool.reader(Stage::Again)? } else { spool.folded(Stage::Again)? };
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
        spool.put_raw(Stage::Again, 0, raw)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        both(|db| async move { moved(&world(db), 1_100, |n| 1_099 - n).await }).await;
        // Partners far from each other.
        both(|db| async move { moved(&world(db), 1_100, |n| (n + 550) % 1_100).await }).await;
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
