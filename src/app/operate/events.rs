//! `events list` and `events acknowledge`.

use serde_json::{Value, json};

use super::{ACTOR, Exit, Failure, Reply};
use crate::store::event::{self as rows, Closing};
use crate::tasks::World;

/// Newest first; further ones are asked of the API, by pages.
const MOST_ROWS: i64 = 1000;

pub async fn list(world: &World, acknowledged: bool) -> Result<Reply, Failure> {
    let mut found = rows::list(&mut world.db.read().await?, !acknowledged, None, MOST_ROWS + 1).await?;
    let more = found.len() as i64 > MOST_ROWS;
    found.truncate(MOST_ROWS as usize);
    let one = |(event, deliveries)| {
        let mut all = super::shown(&event)?;
        all["deliveries"] = super::shown(&deliveries)?;
        Ok(all)
    };
    let items = found.into_iter().map(one).collect::<Result<Value, Failure>>()?;
    Ok(Reply::fine(json!({"items": items, "more": more})))
}

pub async fn acknowledge(world: &World, id: &str, changes: Option<i64>) -> Result<Reply, Failure> {
    let mut tx = world.db.write().await?;
    let closing = rows::acknowledge(&mut tx, id, changes, ACTOR, world.clock.now()).await?;
    tx.commit().await?;
    let refused = |error| Ok(Reply { exit: Exit::Failed, answer: Value::Null, error: Some(error) });
    match closing {
        Closing::Closed(event) | Closing::Already(event) => Ok(Reply::fine(super::shown(&event)?)),
        Closing::More(event) => {
            refused(format!("more has changed since, {} in all: the event stays open", event.changes))
        }
        Closing::Unknown => refused(format!("there is no event {id}")),
    }
}
