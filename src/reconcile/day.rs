//! The run that the calls of a pushing source share for a day. Nobody closes it: a call must not pay for that. So what it
//! did is counted from the journal when somebody looks, and it has ended with its last change once its day is over.
//! What a poll or a push left running when its process ended has failed (`end_interrupted`, `end_older`). Start with `told`.

use super::context::run_of_day;
use crate::model::id::RunId;
use crate::model::run::{Run, RunKind, RunState};
use crate::model::time::Millis;
use crate::store::{self, Db, Error, Session, Tx};

/// These runs as they are shown; those that are no day's stay as they are.
pub async fn told(session: &mut impl Session, now: Millis, mut runs: Vec<Run>) -> Result<Vec<Run>, Error> {
    let shared: Vec<RunId> = runs.iter().filter(|run| is_shared(run)).map(|run| run.id).collect();
    for count in store::journal::counts(session, &shared).await? {
        let Some(run) = runs.iter_mut().find(|run| run.id == count.run) else { continue };
        run.counts.insert(count.op, count.count);
        if day(run.started) < day(now) {
            run.state = RunState::Done;
            run.ended = run.ended.max(Some(count.last));
        }
    }
    Ok(runs)
}

/// How many polls and pushes were ended. Only for whoever holds the store alone, before anything runs.
pub async fn end_interrupted(db: &Db, now: Millis) -> Result<usize, Error> {
    end(db, now, "interrupted: its process ended", |_| true).await
}

/// The same of one source, for whoever has its turn: nobody else runs it.
pub(super) async fn end_older(db: &Db, now: Millis, source: &str) -> Result<usize, Error> {
    end(db, now, "interrupted: the next run found it unfinished", |run| run.source == source).await
}

async fn end(db: &Db, now: Millis, reason: &str, of: impl Fn(&Run) -> bool) -> Result<usize, Error> {
    // Most often there is none, and nothing is to be written.
    if !store::run::running(&mut db.read().await?).await?.iter().any(|run| may_be_left(run) && of(run)) {
        return Ok(0);
    }
    let mut tx = db.write().await?;
    let ended = end_in(&mut tx, now, reason, of).await?;
    tx.commit().await?;
    Ok(ended.len())
}

/// The runs that are ended, with what they did as far as they came.
pub(super) async fn end_in(
    tx: &mut Tx,
    now: Millis,
    reason: &str,
    of: impl Fn(&Run) -> bool,
) -> Result<Vec<RunId>, Error> {
    let mut left = store::run::running(tx).await?;
    left.retain(|run| may_be_left(run) && of(run));
    let ids: Vec<RunId> = left.iter().map(|run| run.id).collect();
    let counts = if ids.is_empty() { Vec::new() } else { store::journal::counts(tx, &ids).await? };
    for run in &mut left {
        run.counts = counts.iter().filter(|count| count.run == run.id).map(|of| (of.op.clone(), of.count)).collect();
        run.state = RunState::Failed;
        run.ended = Some(now);
        run.message = Some(reason.to_owned());
        store::run::put(tx, run).await?;
    }
    Ok(ids)
}

fn may_be_left(run: &Run) -> bool {
    matches!(run.kind, RunKind::Poll | RunKind::Push | RunKind::Undo) && !is_shared(run)
}

pub(super) fn is_shared(run: &Run) -> bool {
    run.state == RunState::Running && run.id == run_of_day(&run.source, run.started)
}

fn day(at: Millis) -> i64 {
    at.0.div_euclid(Millis::DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::apply;
    use crate::reconcile::apply_tests::{World, present, user};
    use crate::reconcile::run_tests::{people, sync};
    use crate::store::testing::both;

    /// The calls of a day share a run: while the day lasts it is running, afterwards it is done, with what it did.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_run_of_a_day_ends_with_its_day() {
        both(|db| async move {
            let world = World::new(db);
            let key = world.cx.clock.entity_id().to_string();
            let applied = world.apply("idp", vec![present(user(&key, "u0"))]).await;
            let ended = world.cx.clock.now();
            let id = applied.run.unwrap();
            let mut session = world.db.read().await.unwrap();
            let stored = store::run::by_id(&mut session, id).await.unwrap().unwrap();
            let shown = told(&mut session, world.cx.clock.now(), vec![stored.clone()]).await.unwrap().remove(0);
            assert_eq!((shown.state, shown.ended, shown.counts["create"]), (RunState::Running, None, 1));
            world.cx.clock.advance(86_400_000);
            let shown = told(&mut session, world.cx.clock.now(), vec![stored]).await.unwrap().remove(0);
            assert_eq!((shown.state, shown.ended, shown.counts["create"]), (RunState::Done, Some(ended), 1));
        })
        .await;
    }

    /// What a call took back has opened no run: the next one does.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_day_whose_first_change_was_taken_back_has_its_run_all_the_same() {
        both(|db| async move {
            let world = World::new(db);
            let key = world.cx.clock.entity_id().to_string();
            let policy = world.cx.policies.get("idp").unwrap();
            let mut tx = world.db.write().await.unwrap();
            apply(&mut tx, &world.cx, policy, vec![present(user(&key, "eva"))]).await.unwrap();
            drop(tx);
            let run = world.apply("idp", vec![present(user(&key, "eva"))]).await.run.unwrap();
            let mut session = world.db.read().await.unwrap();
            assert!(store::run::by_id(&mut session, run).await.unwrap().is_some());
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_process_left_running_has_failed_but_no_day() {
        both(|db| async move {
            let world = World::new(db);
            let key = world.cx.clock.entity_id().to_string();
            world.one("idp", user(&key, "eva")).await;
            let at = world.cx.clock.now();
            let mut tx = world.db.write().await.unwrap();
            for (source, kind) in [("ldap", RunKind::Poll), ("hr", RunKind::Push), ("ldap", RunKind::Undo)] {
                assert!(store::run::open(&mut tx, world.cx.clock.run_id(), source, kind, at).await.unwrap());
            }
            tx.commit().await.unwrap();
            // Whoever has a source's turn ends those of its own alone.
            assert_eq!(end_older(&world.db, at, "hr").await.unwrap(), 1);
            sync(&world, people(0..2)).await;
            let ended = store::run::newest(&mut world.db.read().await.unwrap(), Some("ldap"), 9).await.unwrap();
            let states: Vec<RunState> = ended.iter().map(|run| run.state).collect();
            assert_eq!(states, [RunState::Done, RunState::Failed, RunState::Failed], "{ended:?}");
            let mut tx = world.db.write().await.unwrap();
            assert!(store::run::open(&mut tx, world.cx.clock.run_id(), "ldap", RunKind::Poll, at).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(end_interrupted(&world.db, at).await.unwrap(), 1);
            let left = store::run::running(&mut world.db.read().await.unwrap()).await.unwrap();
            assert_eq!(left.iter().map(|run| run.source.as_str()).collect::<Vec<_>>(), ["idp"]);
            assert_eq!(end_interrupted(&world.db, at).await.unwrap(), 0);
        })
        .await;
    }
}
