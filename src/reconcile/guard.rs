//! How much may be taken away (B2). A run that would take more than its source may is held whole; a call that would is
//! refused, counted over a rolling window, because an identity provider sends its mistakes one by one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::plan::Planned;
use super::{Batch, Error};
use crate::model::change::{Change, Op};
use crate::model::document::{self, Document};
use crate::model::kind::Kind;
use crate::store::{self, Tx};

/// The window of calls.
const WINDOW: i64 = 3_600_000;

/// Whether a change takes something away.
pub fn is_loss(op: Op) -> bool {
    matches!(op, Op::Disable | Op::Delete | Op::Release)
}

/// As `is_loss`; whoever lacks from now on what an account needs loses login and licences as well (R5).
pub fn takes_away(change: &Change) -> bool {
    let state = |of: &Document| of.get("$state").and_then(Value::as_str).map(str::to_owned);
    let lacks =
        || state(&change.before).as_deref() == Some("live") && state(&change.after).as_deref() == Some("incomplete");
    is_loss(change.op) || lacks()
}

/// What of a thing is emptied that goes on without it, by name.
pub fn emptied(change: &Change) -> Vec<String> {
    if takes_away(change) {
        return Vec::new();
    }
    let leaves = document::leaves(&change.after).into_iter();
    let gone = leaves.filter(|(path, value)| value.is_null() && !path[0].starts_with('$'));
    gone.map(|(path, _)| document::shown(&path)).collect()
}

/// Refuses a call that would take away more than the source may within the window. Things that are younger than the
/// window do not count: who makes a mistake in creating may clear it away.
pub async fn window(tx: &mut Tx, batch: &Batch<'_>, planned: &Planned) -> Result<(), Error> {
    let born = batch.at.plus(-WINDOW);
    let lost = |kind: Kind| {
        let losses = planned.changes.iter().filter(|change| change.kind == kind && takes_away(change));
        let old = losses.filter(|change| {
            let thing = change.entity.and_then(|id| planned.world.things.get(&id));
            thing.is_some_and(|thing| thing.now.created < born)
        });
        old.count() as u64
    };
    let kinds: BTreeSet<Kind> = planned.changes.iter().map(|change| change.kind).collect();
    let Some((kind, now)) = kinds.iter().map(|kind| (*kind, lost(*kind))).find(|(_, lost)| *lost > 0) else {
        return Ok(());
    };
    let source = batch.source;
    let today = super::context::run_of_day(&source.name, batch.at);
    let yesterday = super::context::run_of_day(&source.name, born);
    let since = crate::clock::Clock::seq_at(born);
    let mut losses = now + store::journal::losses_since(tx, today, since, born.0).await?;
    if yesterday != today {
        losses += store::journal::losses_since(tx, yesterday, since, born.0).await?;
    }
    if losses <= source.guard.count {
        return Ok(());
    }
    let held = store::assertion::count_held(tx, &source.name, kind, i64::MAX).await?;
    let limit = source.guard.limit(held + losses);
    if losses > limit {
        return Err(Error::Held { source_name: source.name.clone(), losses, limit });
    }
    Ok(())
}
