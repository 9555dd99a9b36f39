//! The run that the calls of a pushing source share for a day. Nobody closes it: a call must not pay for that. So what it
//! did is counted from the journal when somebody looks, and it has ended with its last change once its day is over.
//! Only reads. Start with `told`.

use super::Error;
use super::context::run_of_day;
use crate::model::id::RunId;
use crate::model::run::{Run, RunState};
use crate::model::time::Millis;
use crate::store::{self, Session};

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

fn is_shared(run: &Run) -> bool {
    run.state == RunState::Running && run.id == run_of_day(&run.source, run.started)
}

fn day(at: Millis) -> i64 {
    at.0.div_euclid(Millis::DAY)
}
