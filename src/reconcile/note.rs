//! Journal rows for what is no attribute of anybody: invitations and credentials. Written in the transaction of what they
//! tell, under the source's run of the day (or the run that is under way). They hold no secret.

use super::Error;
use super::context::{Context, run_of_day};
use super::write::{self, Noted};
use crate::model::change::Change;
use crate::model::source::SourcePolicy;
use crate::store::Tx;

/// Appends the changes, and opens the run they belong to where it is not open yet.
pub async fn note(tx: &mut Tx, cx: &Context, source: &SourcePolicy, changes: Vec<Change>) -> Result<(), Error> {
    let at = cx.clock.now();
    let run = cx.run.unwrap_or_else(|| run_of_day(&source.name, at));
    let of = Noted { source: &source.name, kind: source.kind.into(), run, at };
    write::note(tx, cx, &of, &changes).await
}
