//! The next piece of a long read, made ready while the one before it is written: read from the spool, parsed, and in a first
//! read planned as well, on the guess that nobody of it is in the store yet. Whether that is so is asked in the transaction
//! that writes it (`apply_guessed`); where it is not, the piece is planned there as any other. Start with `Ahead::piece`.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::apply::{Guessed, guessed};
use super::spool::{self, Reader, Stage};
use super::{Context, Error};
use crate::model::desired::Record;
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;

/// Records as they lie in the spool, and what was made of them.
pub(super) struct Piece {
    pub reader: Reader,
    /// Empty at the end.
    pub raw: Vec<Vec<u8>>,
    pub ready: Ready,
}

pub(super) enum Ready {
    Records(Vec<Record>),
    Guessed(Box<Guessed>),
}

/// What planning needs beside the records.
pub(super) struct Ahead {
    cx: Context,
    source: Arc<SourcePolicy>,
}

impl Ahead {
    pub fn new(cx: &Context, source: &SourcePolicy) -> Ahead {
        Ahead { cx: cx.clone(), source: Arc::new(source.clone()) }
    }

    /// Whether planning a new thing takes no more than to know that it is new. What must be unique is looked for in the
    /// store, and so is the name that a group of one company gets.
    fn may_guess(&self, stage: Stage) -> bool {
        let of_company = self.source.company.is_some() && stage == Stage::Present(Kind::Group);
        self.cx.policies.uniques.is_empty() && !of_company
    }

    /// The next piece, beside whoever writes those before. `new`: nobody of the piece before was there, so these may be new, too.
    pub fn piece(&self, stage: Stage, mut reader: Reader, new: bool) -> JoinHandle<Result<Piece, Error>> {
        let (cx, source) = (self.cx.clone(), self.source.clone());
        let new = new && self.may_guess(stage);
        spawn_blocking(move || {
            let raw = reader.piece(0)?;
            let mut records = spool::parse(&raw)?;
            if new && !raw.is_empty() {
                // Without a store it never waits.
                match Handle::current().block_on(guessed(&cx, &source, records))? {
                    Some(guessed) => return Ok(Piece { reader, raw, ready: Ready::Guessed(Box::new(guessed)) }),
                    None => records = spool::parse(&raw)?,
                }
            }
            Ok(Piece { reader, raw, ready: Ready::Records(records) })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::apply::{apply_guessed, guessed};
    use super::super::apply_tests::{World, policy, present, says, user};
    use super::super::run_tests::{people, sync};
    use crate::model::kind::Kind;
    use crate::model::source::{MatchRule, SourceKind};
    use crate::store;
    use crate::store::Session as _;
    use crate::store::testing::both;

    async fn count(world: &World, sql: &'static str) -> i64 {
        let mut read = world.db.read().await.unwrap();
        read.one(sql, vec![]).await.unwrap().get(0).unwrap()
    }

    /// The third piece and those after it are planned on the guess that nobody of them is there.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_there_already_is_found_by_a_piece_that_guessed_otherwise() {
        both(|db| async move {
            let mut ldap = policy("ldap", SourceKind::Ldap, 10);
            ldap.match_rules = vec![MatchRule::Email];
            let world = World::with(db, vec![ldap, policy("hr", SourceKind::Crm, 5)]);
            let mail = json!({"userName": "eva", "name": {"givenName": "Eva"}, "emails": [{"value": "u900@x.cz"}]});
            let eva = world.one("hr", says(Kind::User, "h1", mail)).await;
            let taken = world.one("hr", user("h2", "u1000")).await;
            let report = sync(&world, people(0..1_100)).await;
            assert_eq!(report.counts["create"], 1_099, "1,098 people and the group: {:?}", report.counts);
            assert_eq!(world.get(eva).await.login_key.as_deref(), Some("u900"), "the same person, more believed");
            assert_eq!(world.get(taken).await.login_key.as_deref(), Some("u1000"));
            let holders = "SELECT count(*) FROM assertion WHERE source = 'ldap' AND kind = 'user'";
            assert_eq!(count(&world, holders).await, 1_100);
            assert_eq!(count(&world, "SELECT count(*) FROM entity WHERE kind = 'user'").await, 1_100);
            assert_eq!(count(&world, "SELECT count(*) FROM journal WHERE source = 'ldap'").await, 1_101);
        })
        .await;
    }

    #[tokio::test]
    async fn a_guess_is_right_only_while_it_is_and_leaves_no_number_behind() {
        both(|db| async move {
            let world = World::with(db, vec![policy("ldap", SourceKind::Ldap, 10), policy("hr", SourceKind::Crm, 5)]);
            let cx = world.cx.within(world.cx.clock.run_id());
            let source = cx.policies.get("ldap").unwrap();
            let guess = async |key: &str, login: &str| {
                guessed(&cx, source, vec![present(user(key, login))]).await.unwrap().unwrap()
            };
            let (right, wrong) = (guess("k1", "u1").await, guess("k2", "eva").await);
            world.cx.clock.advance(5_000);
            world.one("hr", user("h1", "eva")).await;
            world.cx.clock.advance(5_000);

            let mut tx = world.db.write().await.unwrap();
            assert!(apply_guessed(&mut tx, &cx, source, wrong).await.unwrap().is_none(), "her login is there");
            let applied = apply_guessed(&mut tx, &cx, source, right).await.unwrap().unwrap();
            tx.commit().await.unwrap();
            assert!(applied.outcomes[0].created && applied.changes.is_empty());
            assert_eq!((applied.run, applied.counted.counts["create"]), (cx.run, 1));
            let journal = store::journal::after(&mut world.db.read().await.unwrap(), 0, 10).await.unwrap();
            let labels: Vec<&str> = journal.iter().map(|entry| entry.change.label.as_str()).collect();
            assert_eq!(labels, ["eva", "u1"], "planned before her, numbered after her");
            // Of the instant in which it is written, not of that of the guess: who waits first is served first.
            let (id, at) = (journal[1].change.entity.unwrap(), journal[1].at);
            assert_eq!(at, world.cx.clock.now());
            let entity = world.get(id).await;
            assert_eq!((entity.created, entity.modified), (at, at));
            let (_, holds) =
                store::entity::with_assertions(&mut world.db.read().await.unwrap(), id).await.unwrap().unwrap();
            assert_eq!(holds[0].at, at);
        })
        .await;
    }
}
