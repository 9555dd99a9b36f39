//! Journal rows for what is no attribute of anybody: invitations and credentials. Written in the transaction of what they
//! tell, under the operator's (or source's) run of the day. They hold no secret.

use super::Error;
use super::context::{Context, run_of_day};
use crate::model::change::{Change, Entry};
use crate::model::source::SourcePolicy;
use crate::store::{self, Tx};

/// Appends the changes, and opens the run they belong to where it is not open yet.
pub async fn note(tx: &mut Tx, cx: &Context, source: &SourcePolicy, changes: Vec<Change>) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let at = cx.clock.now();
    let run = cx.run.unwrap_or_else(|| run_of_day(&source.name, at));
    if cx.run.is_none() && !cx.is_open(run) {
        store::run::open(tx, run, &source.name, source.kind.into(), at).await?;
        // Not remembered as open: this transaction may still be dropped.
    }
    let entry = |change| Entry { seq: cx.clock.seq(), run, at, actor: cx.actor.clone(), change };
    let entries: Vec<Entry> = changes.into_iter().map(entry).collect();
    Ok(store::journal::append(tx, &entries).await?)
}
