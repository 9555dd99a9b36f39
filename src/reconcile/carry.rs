//! Carries a spool out: in pieces, each a transaction of its own, in the order of the stages; at the end once more what was
//! refused because of something that has gone meanwhile. Idempotent: after a crash the next run does the rest.

use std::collections::BTreeSet;

use super::ahead::{Ahead, Piece, Ready};
use super::apply::{apply_guessed, apply_while};
use super::report::Tally;
use super::rounds::Rounds;
use super::spool::{self, Spool};
use super::turn::begin;
use super::{Applied, Context, Error, Leaving, Outcome, Refusal, circles};
use crate::model::desired::Record;
use crate::model::source::SourcePolicy;
use crate::model::time::Millis;
use crate::store::{self, Db};

/// `cx` is within the run; its row is opened by the first piece that changes something.
pub async fn out(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    spool: &mut Spool,
    leaving: Leaving<'_>,
    started: Millis,
    tally: &mut Tally,
) -> Result<(), Error> {
    let ahead = Ahead::new(cx, source);
    let mut carried = 0_usize;
    let mut nested = BTreeSet::new();
    let mut rounds = Rounds::of(spool);
    while let Some((stage, reader)) = rounds.next(spool, tally)? {
        let mut new = false;
        let mut next = ahead.piece(stage, reader, new);
        loop {
            let Piece { reader, raw, ready } = next.await.map_err(|_| Error::Panic)??;
            if raw.is_empty() {
                break;
            }
            next = ahead.piece(stage, reader, new);
            let before = carried;
            carried += raw.len();
            if FRESH.iter().any(|mark| (before..carried).contains(mark)) {
                look_at_sizes(db, cx).await?;
            }
            new = true;
            for (raw, applied) in pieces(db, cx, source, (raw, ready), leaving, started).await? {
                new &= !applied.found;
                for (outcome, raw) in applied.outcomes.iter().zip(&raw) {
                    rounds.heard(spool, raw, outcome, tally)?;
                }
                tally.take_over(applied.counted);
                nested.extend(applied.nested);
            }
        }
    }
    if carried >= FRESH[0] {
        look_at_sizes(db, cx).await?;
    }
    tally.remarks = circles::among(db, &source.name, &nested).await?;
    Ok(())
}

/// After so many records of a run, and at the end of a longer one, the database is asked to look how large its tables are by
/// now.
const FRESH: [usize; 4] = [1_500, 15_000, 150_000, 1_500_000];

async fn look_at_sizes(db: &Db, cx: &Context) -> Result<(), Error> {
    if db.is_embedded() {
        return Ok(());
    }
    let mut tx = begin(db, cx).await?;
    store::statistics::refresh(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// Records, and what became of them.
type Done = (Vec<Vec<u8>>, Applied);

/// One piece, in as many transactions as it needs: where another transaction comes in between again and again, it is cut
/// in halves, so that one contested record stops nobody else.
async fn pieces(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    (raw, ready): (Vec<Vec<u8>>, Ready),
    leaving: Leaving<'_>,
    started: Millis,
) -> Result<Vec<Done>, Error> {
    let mut done = Vec::new();
    let mut ready = Some(ready);
    let mut left = vec![(raw, 0)];
    while let Some((mut raw, tried)) = left.pop() {
        match piece(db, cx, source, (&raw, ready.take()), leaving, started).await {
            Ok(applied) => done.push((raw, applied)),
            Err(error) if error.may_be_tried_again() && tried < 2 => left.push((raw, tried + 1)),
            Err(Error::Race) if raw.len() > 1 => {
                let second = raw.split_off(raw.len() / 2);
                left.push((second, 0));
                left.push((raw, 0));
            }
            Err(Error::Race) => {
                let outcomes = spool::parse(&raw)?.iter().map(lost).collect();
                done.push((raw, Applied { outcomes, ..Applied::default() }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A record for which others came first again and again.
fn lost(record: &Record) -> Outcome {
    let (kind, key) = match record {
        Record::Present(desired) => (desired.kind, &desired.key),
        Record::Gone { kind, key } | Record::Same { kind, key } => (*kind, key),
        Record::Bad { .. } => return Outcome::default(),
    };
    let refused = Some(Refusal::Bad(Error::Race.to_string()));
    Outcome { kind: Some(kind), key: key.clone(), refused, ..Outcome::default() }
}

async fn piece(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    (raw, ready): (&[Vec<u8>], Option<Ready>),
    leaving: Leaving<'_>,
    started: Millis,
) -> Result<Applied, Error> {
    let mut tx = begin(db, cx).await?;
    let guessed = match ready {
        Some(Ready::Guessed(guessed)) => apply_guessed(&mut tx, cx, source, *guessed).await?,
        Some(Ready::Records(records)) => Some(apply_while(&mut tx, cx, source, records, Some(leaving)).await?),
        None => None,
    };
    let mut applied = match guessed {
        Some(applied) => applied,
        None => apply_while(&mut tx, cx, source, spool::parse(raw)?, Some(leaving)).await?,
    };
    if let Some(run) = applied.run.filter(|run| !cx.is_open(*run)) {
        store::run::open(&mut tx, run, &source.name, cx.kind_of(source), started).await?;
    }
    let count = async {
        applied.counted.changes(std::mem::take(&mut applied.changes));
        applied.spent = None;
    };
    // The COMMIT is under way first, and waits for the disk meanwhile.
    let (done, ()) = tokio::join!(biased; tx.commit(), count);
    done?;
    if let Some(run) = applied.run {
        cx.opened(run);
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use crate::reconcile::apply_tests::World;
    use crate::reconcile::run_tests::{people, sync};
    use crate::store::Session as _;
    use crate::store::testing::both;

    /// Without it the pieces of a first read take longer and longer.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_long_run_lets_the_database_look_at_what_it_fills() {
        both(|db| async move {
            let world = World::new(db);
            sync(&world, people(0..3_800)).await;
            if world.db.is_embedded() {
                return;
            }
            let mut read = world.db.read().await.unwrap();
            let sql = "SELECT CAST(reltuples AS BIGINT) FROM pg_class WHERE relname = 'entity' ORDER BY 1 DESC LIMIT 1";
            let known: i64 = read.one(sql, vec![]).await.unwrap().get(0).unwrap();
            assert!(known >= 3_000, "also at its end: {known}");
        })
        .await;
    }
}
