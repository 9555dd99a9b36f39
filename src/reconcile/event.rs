//! Events for others (R37): who changes an agent of a telephone exchange adds, in the same transaction, that the exchange
//! must be reloaded; the books of a run add that its source fails or waits, and when that is over. What a transaction says of
//! one subject is one row; `tasks::notify` makes one event of many.

use std::collections::{BTreeMap, HashSet};

use super::context::Context;
use super::{Error, Touched};
use crate::model::change::Change;
use crate::model::entity::State;
use crate::model::event::{Cause, Topic, Word, exchanges, pbx_of};
use crate::model::id::EntityId;
use crate::model::kind::Kind;
use crate::model::time::Millis;
use crate::store::{self, Tx};

/// Folded name of an exchange -> as it is written, and how many agents changed.
type Exchanges = BTreeMap<String, (String, i64)>;

/// What a batch changed of agents, and the licences that others got or lost by it.
pub(super) async fn raise(
    tx: &mut Tx,
    cx: &Context,
    at: Millis,
    touched: &Touched<'_>,
    licences: &[Change],
) -> Result<(), Error> {
    let mut all = Exchanges::new();
    let mut told: HashSet<EntityId> = HashSet::new();
    for (before, now) in &touched.entities {
        for (folded, name) in exchanges(*before, now) {
            told.insert(now.id);
            count(&mut all, folded, name);
        }
    }
    let others: Vec<EntityId> = licences
        .iter()
        .filter(|change| change.kind == Kind::User)
        .filter_map(|change| change.entity)
        .filter(|id| !told.contains(id))
        .collect();
    for agent in store::entity::by_ids(tx, &others).await? {
        if let Some((folded, name)) = pbx_of(agent.realm, &agent.doc).filter(|_| agent.state != State::Tombstone) {
            count(&mut all, folded, name);
        }
    }
    let cause = |(subject, (label, changes))| {
        let cause = Cause { topic: Topic::PbxReloadRequired, subject, label, word: Word::More(changes) };
        (cx.clock.uuid().to_string(), cause)
    };
    Ok(store::event::add(tx, all.into_iter().map(cause).collect(), at).await?)
}

/// What a run says of its source; nothing is written for no words.
pub(super) async fn of_source(
    tx: &mut Tx,
    cx: &Context,
    at: Millis,
    source: &str,
    words: Vec<(Topic, Word)>,
) -> Result<(), Error> {
    let cause = |(topic, word)| {
        let cause = Cause { topic, subject: source.to_owned(), label: source.to_owned(), word };
        (cx.clock.uuid().to_string(), cause)
    };
    Ok(store::event::add(tx, words.into_iter().map(cause).collect(), at).await?)
}

/// Whoever acts has brought it to an end.
pub(super) fn over(topic: Topic, cx: &Context) -> (Topic, Word) {
    (topic, Word::Over(cx.actor.clone()))
}

fn count(all: &mut Exchanges, folded: String, name: &str) {
    all.entry(folded).or_insert_with(|| (name.to_owned(), 0)).1 += 1;
}
