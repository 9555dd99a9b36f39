//! Carries a spool out: in pieces, each a transaction of its own, in the order of the stages; at the end once more what was
//! refused because of something that has gone meanwhile. Idempotent: after a crash the next run does the rest.

use super::apply::apply_while;
use super::report::Tally;
use super::spool::{self, Spool, Stage};
use super::turn::begin;
use super::{Applied, Context, Error, Leaving, Refusal};
use crate::model::run::RunKind;
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
    let mut stages = spool.stages();
    spool.clear(Stage::Again);
    stages.push(Stage::Again);
    for stage in stages {
        let mut reader = spool.reader(stage)?;
        loop {
            let raw = reader.batch(0)?;
            if raw.is_empty() {
                break;
            }
            for (raw, applied) in pieces(db, cx, source, raw, leaving, started).await? {
                for change in &applied.changes {
                    tally.change(change);
                }
                for (outcome, raw) in applied.outcomes.iter().zip(&raw) {
                    let Some(refusal) = &outcome.refused else { continue };
                    if stage != Stage::Again && refusal.may_pass() {
                        spool.put_raw(Stage::Again, 0, raw)?;
                    } else {
                        tally.refuse(outcome, refusal);
                    }
                }
            }
        }
    }
    Ok(())
}

type Piece = (Vec<Vec<u8>>, Applied);

/// One batch, in as many transactions as it needs: where another transaction comes in between again and again, it is cut
/// in halves, so that one contested record stops nobody else.
async fn pieces(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    raw: Vec<Vec<u8>>,
    leaving: Leaving<'_>,
    started: Millis,
) -> Result<Vec<Piece>, Error> {
    let mut done = Vec::new();
    let mut left = vec![(raw, 0)];
    while let Some((mut raw, tried)) = left.pop() {
        match piece(db, cx, source, &raw, leaving, started).await {
            Ok(applied) => done.push((raw, applied)),
            Err(error) if error.may_be_tried_again() && tried < 2 => left.push((raw, tried + 1)),
            Err(Error::Race) if raw.len() > 1 => {
                let second = raw.split_off(raw.len() / 2);
                left.push((second, 0));
                left.push((raw, 0));
            }
            Err(Error::Race) => {
                let outcome =
                    super::Outcome { refused: Some(Refusal::Bad(Error::Race.to_string())), ..Default::default() };
                done.push((raw, Applied { outcomes: vec![outcome], ..Applied::default() }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

async fn piece(
    db: &Db,
    cx: &Context,
    source: &SourcePolicy,
    raw: &[Vec<u8>],
    leaving: Leaving<'_>,
    started: Millis,
) -> Result<Applied, Error> {
    let records = spool::parse(raw)?;
    let mut tx = begin(db, cx).await?;
    let applied = apply_while(&mut tx, cx, source, records, Some(leaving)).await?;
    if let Some(run) = applied.run.filter(|run| !cx.is_open(*run)) {
        store::run::open(&mut tx, run, &source.name, RunKind::from(source.kind), started).await?;
    }
    tx.commit().await?;
    if let Some(run) = applied.run {
        cx.opened(run);
    }
    Ok(applied)
}
