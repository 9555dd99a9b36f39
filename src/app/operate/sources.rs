//! `plan`, `sync`, `approve`, `undo`: one code for the preview and for the real run.

use serde_json::{Value, json};
use tokio::time::{Duration, interval};

use super::{Exit, Failure, Reply};
use crate::config::source::Body;
use crate::http::api::sources::standing;
use crate::http::control::Progress;
use crate::model::id::RunId;
use crate::reconcile::{self, End, Mode, Report};
use crate::store::{self, source_state};
use crate::tasks::turns::Turn;
use crate::tasks::{World, poll};

/// Writes nothing. Exit code 2 says that there is something to do, 4 that there would be were it not refused.
pub async fn plan(world: &World, source: &str, progress: Progress) -> Result<Reply, Failure> {
    let report = polled(world, source, Mode::Plan, progress).await?;
    let exit = match report.state {
        End::Failed => Exit::Failed,
        _ if !report.is_empty() => Exit::Pending,
        _ if report.refused.is_empty() => Exit::Fine,
        _ => Exit::Partial,
    };
    reply(exit, &report)
}

/// `full`: as if nothing had been read before. `expect`: only if the changes are exactly those of a preview.
pub async fn sync(
    world: &World,
    source: &str,
    full: bool,
    expect: Option<String>,
    progress: Progress,
) -> Result<Reply, Failure> {
    if full {
        forget_cursor(world, source).await?;
    }
    let report = polled(world, source, Mode::Sync { expect }, progress).await?;
    let exit = match report.state {
        End::Held => Exit::Guarded,
        End::Failed => Exit::Failed,
        End::Planned | End::Done if report.refused.is_empty() => Exit::Fine,
        End::Planned | End::Done => Exit::Partial,
    };
    reply(exit, &report)
}

/// That nothing was read is told, too: it must not look like a source that is in step.
async fn polled(world: &World, source: &str, mode: Mode, progress: Progress) -> Result<Report, Failure> {
    let mut report = told(progress, source, poll::poll(world, source, mode)).await.map_err(from_poll)?;
    if report.state != End::Failed {
        report.counts.entry("read".to_owned()).or_insert(0);
    }
    Ok(report)
}

/// Applies exactly what the guard held.
pub async fn approve(world: &World, run: &str) -> Result<Reply, Failure> {
    let id = run_id(run)?;
    let _turn = turn(world, id).await?;
    let settings = poll::settings_of(world, id).await.map_err(from_poll)?;
    let report = reconcile::approve(&world.db, &world.context(super::ACTOR), id, settings.as_deref()).await?;
    world.deliver.notify_one();
    let exit = if report.refused.is_empty() { Exit::Fine } else { Exit::Partial };
    reply(exit, &report)
}

/// Takes back what a run did; `plan`: shows it and writes nothing.
pub async fn undo(world: &World, run: &str, plan: bool, progress: Progress) -> Result<Reply, Failure> {
    let id = run_id(run)?;
    let turn = if plan { None } else { turn(world, id).await? };
    let context = world.context(super::ACTOR);
    let undone = told(progress, run, reconcile::undo(&world.db, &context, id, plan)).await?;
    drop(turn);
    world.deliver.notify_one();
    let left = !undone.report.refused.is_empty() || undone.changed_since > 0;
    let exit = match (plan, undone.report.is_empty()) {
        (true, false) => Exit::Pending,
        (true, true) => Exit::Fine,
        (false, _) if left => Exit::Partial,
        (false, _) => Exit::Fine,
    };
    Ok(Reply { exit, answer: super::shown(&undone)?, error: None })
}

fn run_id(run: &str) -> Result<RunId, Failure> {
    run.parse().map_err(|_| Failure::Usage(format!("{run} is no run's id; see `musterd runs`")))
}

/// Nobody reads the run's source meanwhile. `None`: there is no such run, which the engine says better.
async fn turn(world: &World, id: RunId) -> Result<Option<Turn>, Failure> {
    let Some(run) = store::run::by_id(&mut world.db.read().await?, id).await? else { return Ok(None) };
    let turn = world.polling.take(&run.source);
    turn.map(Some).ok_or_else(|| Failure::Failed(poll::Error::Busy(run.source).to_string()))
}

fn reply(exit: Exit, report: &Report) -> Result<Reply, Failure> {
    let answer = serde_json::to_value(report).map_err(|error| Failure::Failed(error.to_string()))?;
    let error = match exit {
        Exit::Failed | Exit::Guarded => report.message.clone(),
        _ => None,
    };
    Ok(Reply { exit, answer, error })
}

fn from_poll(error: poll::Error) -> Failure {
    match error {
        poll::Error::Unknown(_) | poll::Error::Pushed(_) | poll::Error::NoDirectory(_) => {
            Failure::Usage(error.to_string())
        }
        error => Failure::Failed(error.to_string()),
    }
}

/// One entry of a directory on its way to an account.
pub async fn map_test(world: &World, source: &str, entry: &str) -> Result<Reply, Failure> {
    let trials = poll::try_entry(world, source, entry).await.map_err(from_poll)?;
    if trials.iter().all(|trial| trial.raw.is_none()) {
        let filters: Vec<String> = trials.iter().map(|trial| format!("{}: {}", trial.kind, trial.filter)).collect();
        return Err(Failure::Failed(format!("no search finds {entry} ({})", filters.join("; "))));
    }
    Ok(Reply::fine(super::shown(&trials)?))
}

/// How every source stands.
pub async fn list(world: &World) -> Result<Reply, Failure> {
    let states = source_state::all(&mut world.db.read().await?).await?;
    Ok(Reply::fine(Value::Array(standing(&world.config(), &states, world.clock.now()))))
}

/// Whether a source is read on its schedule; `sync` reads it in any case.
pub async fn pause(world: &World, source: &str, paused: bool) -> Result<Reply, Failure> {
    let config = world.config();
    let found = config.source(source).ok_or_else(|| Failure::Usage(format!("there is no source `{source}`")))?;
    // What an undoing paused is taken up again, whether or not it has a schedule.
    let live = matches!(&found.body, Body::Ldap(settings) if settings.live);
    if found.schedule.is_none() && !live && paused {
        return Err(Failure::Usage(format!("`{source}` has no schedule: nobody reads it unasked")));
    }
    let mut tx = world.db.write().await?;
    source_state::pause(&mut tx, source, paused).await?;
    tx.commit().await?;
    Ok(Reply::fine(json!({"source": source, "paused": paused})))
}

/// The next read begins at the beginning.
async fn forget_cursor(world: &World, source: &str) -> Result<(), Failure> {
    let mut tx = world.db.write().await?;
    if let Some(mut state) = source_state::by_name(&mut tx, source).await?
        && state.cursor.take().is_some()
    {
        source_state::put(&mut tx, &state).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Says every second that the work still goes on.
async fn told<T>(progress: Progress, source: &str, work: impl Future<Output = T>) -> T {
    let mut beat = interval(Duration::from_secs(1));
    let start = std::time::Instant::now();
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beat.tick() => {
                let line: Value = json!({"source": source, "seconds": start.elapsed().as_secs()});
                // Whoever asked may have gone, or reads slowly: the work goes on.
                progress.try_send(line).ok();
            }
        }
    }
}
