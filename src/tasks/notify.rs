//! Tells others what they must know of: folds what was raised into one open event a subject, and tells each webhook of those
//! it has not been told of as they are. At least once: whoever is told twice sees the same `webhook-id`. An event stays open,
//! and is told again when more comes, until somebody acknowledges it. Start with `run`.

use std::collections::HashMap;

use super::World;
use crate::clock::Clock;
use crate::config::{Config, Events, Webhook};
use crate::model::event::{Event, Topic};
use crate::model::time::Millis;
use crate::outbound::{Receiver, Trouble};
use crate::store::event::{self as rows, Due};
use crate::store::{Db, Error};
use crate::telemetry;

/// Causes folded in one transaction, and events read at once.
const PAGE: i64 = 500;
/// Milliseconds before the second attempt, doubled for each further one; an open event is never given up.
const FIRST_WAIT: i64 = 5_000;
const LONGEST_WAIT: i64 = 3_600_000;
/// Beyond the time that telling may take (ms).
const LEASE_MARGIN: i64 = 30_000;

/// One pass. Nothing is written where there is nothing to do.
pub async fn run(world: World) -> Result<(), Error> {
    let config = world.config();
    if !world.leader.is_leader() {
        return count(&world).await;
    }
    fold(&world).await?;
    forget(&world, &config.events).await?;
    count(&world).await?;
    for name in config.webhooks.keys() {
        // One that is slow holds up nobody else.
        let Some(turn) = world.telling.take(name) else { continue };
        let (world, name) = (world.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(error) = tell(&world, &name).await {
                tracing::warn!(webhook = name, %error, "a webhook could not be told");
            }
            drop(turn);
        });
    }
    Ok(())
}

async fn fold(world: &World) -> Result<(), Error> {
    if !rows::is_waiting(&mut world.db.read().await?).await? {
        return Ok(());
    }
    loop {
        let mut tx = world.db.write().await?;
        let more = rows::fold(&mut tx, PAGE, || world.clock.uuid().to_string()).await?;
        tx.commit().await?;
        if !more {
            return Ok(());
        }
    }
}

async fn forget(world: &World, events: &Events) -> Result<(), Error> {
    let before = world.clock.now().plus(-millis(events.keep));
    if !rows::has_old(&mut world.db.read().await?, before).await? {
        return Ok(());
    }
    let mut tx = world.db.write().await?;
    rows::forget(&mut tx, before).await?;
    tx.commit().await
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

/// All that one webhook is to be told now. One that is not reached is left alone until its time comes.
async fn tell(world: &World, name: &str) -> Result<(), Error> {
    loop {
        // As it is now: a reload may have taken it away.
        let config = world.config();
        let Some(webhook) = config.webhooks.get(name) else { return Ok(()) };
        let events = due(world, &config, name, webhook).await?;
        if events.is_empty() {
            return Ok(());
        }
        let receiver = Receiver::new(webhook);
        for (event, attempts) in events {
            if world.stop.is_cancelled() {
                return Ok(());
            }
            let lease = world.clock.now().plus(millis(webhook.timeout) + LEASE_MARGIN);
            if !claim(world, &event, name, lease).await? {
                continue;
            }
            let answer = match &receiver {
                Ok(receiver) => tokio::select! {
                    answer = receiver.tell(&event, world.clock.now()) => answer,
                    () = world.stop.cancelled() => Err(Trouble::Unreachable("interrupted by the end of musterd".to_owned())),
                },
                Err(reason) => Err(Trouble::Unreachable(reason.clone())),
            };
            note(&world.db, &world.clock, &event, name, attempts, &answer).await?;
            if let Err(Trouble::Unreachable(_)) = answer {
                return Ok(());
            }
        }
    }
}

async fn due(world: &World, config: &Config, name: &str, webhook: &Webhook) -> Result<Vec<(Event, i64)>, Error> {
    let now = world.clock.now();
    let before = |span| now.plus(-millis(span));
    let due = Due { now, quiet: before(config.events.quiet), longest: before(config.events.longest) };
    rows::due(&mut world.db.read().await?, name, &webhook.topics, due, PAGE).await
}

async fn claim(world: &World, event: &Event, webhook: &str, lease: Millis) -> Result<bool, Error> {
    let mut tx = world.db.write().await?;
    let claimed = rows::claim(&mut tx, &event.id, webhook, world.clock.now(), lease).await?;
    tx.commit().await?;
    Ok(claimed)
}

async fn note(
    db: &Db,
    clock: &Clock,
    event: &Event,
    webhook: &str,
    attempts: i64,
    answer: &Result<(), Trouble>,
) -> Result<(), Error> {
    let now = clock.now();
    let mut tx = db.write().await?;
    match answer {
        Ok(()) => rows::told(&mut tx, &event.id, webhook, event.changes, now).await?,
        Err(trouble) => {
            let next = now.plus(wait(attempts, clock));
            rows::failed(&mut tx, &event.id, webhook, next, &trouble.to_string()).await?;
        }
    }
    tx.commit().await?;
    let result = if answer.is_ok() { "told" } else { "failed" };
    metrics::counter!(telemetry::WEBHOOKS, "webhook" => webhook.to_owned(), "result" => result).increment(1);
    let (topic, subject) = (event.topic, &event.label);
    match answer {
        Ok(()) => tracing::info!(event = %event.id, %topic, %subject, webhook, changes = event.changes, "told"),
        Err(trouble) => tracing::warn!(event = %event.id, %topic, %subject, webhook, %trouble, "not told, again later"),
    }
    Ok(())
}

/// Milliseconds before the next attempt: doubling, with a fifth of chance either way.
fn wait(failed: i64, clock: &Clock) -> i64 {
    let doublings = u32::try_from(failed).unwrap_or(0).min(20);
    let wait = (FIRST_WAIT << doublings).min(LONGEST_WAIT);
    wait - wait / 5 + clock.below(wait as u64 * 2 / 5) as i64
}

/// For the status and the metrics.
async fn count(world: &World) -> Result<(), Error> {
    let open: HashMap<Topic, i64> =
        rows::open(&mut world.db.read().await?).await?.into_iter().map(|(topic, events, _)| (topic, events)).collect();
    for topic in Topic::ALL {
        let events = open.get(topic).copied().unwrap_or(0);
        metrics::gauge!(telemetry::EVENTS_OPEN, "topic" => topic.as_str()).set(events as f64);
        world.board.open(topic.as_str(), events);
    }
    Ok(())
}
