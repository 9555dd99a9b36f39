//! Commands that only look: `runs`, `run`, `why`, `licences`, `mail outbox`.

use serde_json::{Value, json};

use super::{Exit, Failure, Reply, shown};
use crate::model::desired::Record;
use crate::model::fold;
use crate::model::id::{EntityId, RunId};
use crate::model::kind::Realm;
use crate::model::mail::OutboxState;
use crate::model::run::RunState;
use crate::reconcile;
use crate::store::{Read, credential, entity, journal, outbox, run, source_state};
use crate::tasks::World;

/// Changes of a run that are shown.
const MOST_CHANGES: i64 = 10_000;
const MOST_ROWS: i64 = 1_000;

/// Newest first, with the state of every source.
pub async fn runs(world: &World, source: Option<&str>, limit: i64) -> Result<Reply, Failure> {
    let mut read = world.db.read().await?;
    let runs = run::newest(&mut read, source, limit.clamp(1, MOST_ROWS)).await?;
    // Of a source that was taken out of the configuration the runs are still there.
    if let Some(source) = source.filter(|source| runs.is_empty() && world.config().source(source).is_none()) {
        return Err(Failure::Usage(format!("there is no source `{source}`")));
    }
    let runs = reconcile::told(&mut read, world.clock.now(), runs).await?;
    let states = source_state::all(&mut read).await?;
    let state = |state: &source_state::SourceState| {
        json!({
            "source": state.source,
            "state": state.last_state,
            "last_at": state.last_at,
            "last_good_at": state.last_good_at,
            "paused": state.paused,
        })
    };
    Ok(Reply::fine(json!({"runs": shown(&runs)?, "sources": states.iter().map(state).collect::<Vec<_>>()})))
}

/// One run with its changes.
pub async fn one(world: &World, id: &str) -> Result<Reply, Failure> {
    let id: RunId = id.parse().map_err(|_| Failure::Usage(format!("{id} is no run's id; see `musterd runs`")))?;
    let mut read = world.db.read().await?;
    let Some(run) = run::by_id(&mut read, id).await? else {
        return Ok(nothing(format!("there is no run {id}")));
    };
    let run = reconcile::told(&mut read, world.clock.now(), vec![run]).await?.remove(0);
    let mut entries = journal::of_run(&mut read, id, 0, MOST_CHANGES).await?;
    let policies = world.context(super::ACTOR).policies;
    for entry in &mut entries {
        policies.mask(&mut entry.change);
    }
    let mut answer = json!({"run": shown(&run)?, "changes": shown(&entries)?, "waiting": []});
    let is_interrupted = run.state == RunState::Approved && run.ended.is_none();
    if run.state == RunState::Held || is_interrupted {
        answer["waiting"] = held(&mut read, id).await?.into();
        drop(read);
        // Of a source that was taken out of the configuration nothing would be done.
        match reconcile::would(&world.db, &world.context(super::ACTOR), &run, MOST_ROWS as usize).await {
            Ok((would, moved)) => (answer["would"], answer["moved"]) = (shown(&would)?, moved.into()),
            Err(reconcile::Error::NoSource(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reply::fine(answer))
}

/// What `approve` would carry out, in order: what the source says, and of whom.
async fn held(read: &mut Read, id: RunId) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for item in run::items(read, id, i64::MIN, MOST_ROWS).await? {
        let record: Record = serde_json::from_str(&item.record).map_err(|error| Failure::Failed(error.to_string()))?;
        let known = match item.entity {
            Some(id) => entity::by_id(read, id).await?,
            None => None,
        };
        let who = known.map(|known| ["userName", "displayName", "number"].map(|name| known.doc.get(name).cloned()));
        let who = who.and_then(|names| names.into_iter().flatten().next());
        let (says, kind, key) = match &record {
            Record::Present(desired) => ("there", Some(desired.kind), Some(&desired.key)),
            Record::Same { kind, key } => ("there", Some(*kind), Some(key)),
            Record::Gone { kind, key } => ("gone", Some(*kind), Some(key)),
            Record::Bad { kind, key, .. } => ("bad", *kind, key.as_ref()),
        };
        all.push(json!({"says": says, "kind": kind, "key": key, "who": who, "entity": item.entity}));
    }
    Ok(all)
}

/// Why somebody is as they are: by login in either realm, or by id.
pub async fn why(world: &World, login: &str, attribute: Option<&str>) -> Result<Reply, Failure> {
    let mut read = world.db.read().await?;
    let mut ids: Vec<EntityId> = login.parse().into_iter().collect();
    for realm in Realm::ALL {
        let account = credential::by_login(&mut read, *realm, &fold::key(login)).await?;
        ids.extend(account.map(|account| account.id));
    }
    let context = world.context(super::ACTOR);
    let mut all = Vec::new();
    for id in ids {
        if let Some(why) = reconcile::why(&mut read, &context, id, attribute).await? {
            all.push(json!({"id": id, "attributes": shown(&why)?}));
        }
    }
    if all.is_empty() {
        return Ok(nothing(format!("there is no user {login}")));
    }
    Ok(Reply::fine(Value::Array(all)))
}

/// The catalogue.
pub fn licences(world: &World) -> Result<Reply, Failure> {
    let catalogue = world.config().catalogue.clone();
    let one = |licence: &crate::model::catalogue::Licence| {
        let to: Vec<String> = catalogue.moves_from(licence).map(ToString::to_string).collect();
        json!({"licence": licence.to_string(), "may_become": to})
    };
    Ok(Reply::fine(catalogue.licences().iter().map(one).collect()))
}

/// Mails, newest first. The payload is left out: it names people, and the id is enough to find it.
pub async fn outbox(world: &World, state: Option<&str>) -> Result<Reply, Failure> {
    let state: Option<OutboxState> = state
        .map(|word| word.parse())
        .transpose()
        .map_err(|error: crate::model::kind::UnknownWord| Failure::Usage(format!("--state: {error}")))?;
    let items = outbox::list(&mut world.db.read().await?, state, MOST_ROWS).await?;
    let one = |item: &outbox::Item| {
        json!({
            "id": item.id,
            "kind": item.kind,
            "state": item.state.as_str(),
            "entity": item.entity,
            "attempts": item.attempts,
            "next_at": item.next_at,
            "created": item.created,
            "ended": item.ended,
            "error": item.error,
        })
    };
    Ok(Reply::fine(items.iter().map(one).collect()))
}

fn nothing(error: String) -> Reply {
    Reply { exit: Exit::Failed, answer: Value::Null, error: Some(error) }
}
