//! Tables `event_cause`, `event` and `event_delivery`: what somebody outside must be told of. A transaction adds a cause; the
//! task that tells folds causes into one open event per subject, remembers how far each webhook was told, and an
//! acknowledgement closes the event, or a cause that says that it is over. Whoever says that it knows of fewer changes than
//! there are closes nothing.

use std::collections::BTreeMap;

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Row, values};
use crate::model::event::{Cause, Event, Topic, Word};
use crate::model::time::Millis;

const COLUMNS: &str = "e.id, e.topic, e.label, e.changes, e.raised, e.changed, e.acknowledged, e.acknowledged_by";

fn read(row: &Row) -> Result<Event, Error> {
    let acknowledged: Option<i64> = row.get(6)?;
    Ok(Event {
        id: row.get(0)?,
        topic: row.parse(1)?,
        label: row.get(2)?,
        changes: row.get(3)?,
        raised: Millis(row.get(4)?),
        changed: Millis(row.get(5)?),
        acknowledged: acknowledged.map(Millis),
        acknowledged_by: row.get(7)?,
    })
}

/// `ids` are fresh ones, one for each cause.
pub async fn add(tx: &mut Tx, causes: Vec<(String, Cause)>, at: Millis) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO event_cause (id, topic, subject, label, changes, at, over_by) VALUES";
    let row = |(id, Cause { topic, subject, label, word }): (String, Cause)| {
        let (changes, by) = match word {
            Word::More(changes) => (changes, None),
            Word::Over(by) => (0, Some(by)),
        };
        values![id, topic.as_str(), subject, label, changes, at, by]
    };
    sql::rows(tx, HEAD, "", causes.into_iter().map(row).collect()).await
}

/// Whether `fold` has work: so that a pass without work writes nothing.
pub async fn is_waiting(session: &mut impl Session) -> Result<bool, Error> {
    Ok(session.optional("SELECT id FROM event_cause LIMIT 1", values![]).await?.is_some())
}

/// What causes come to that are folded together: an event that was open before may end, and one may be open after them.
#[derive(Default)]
struct Folded {
    over: Option<(String, i64)>,
    /// Since then: label, changes, when the first came and the last.
    open: Option<(String, i64, i64, i64)>,
}

/// Takes causes, oldest first and at most `most`, into the open events of their subjects, of which there is one each. What
/// is over before it was an event never becomes one. True: there may be more. `fresh` makes the ids of new events. One
/// process at a time.
pub async fn fold(tx: &mut Tx, most: i64, mut fresh: impl FnMut() -> String) -> Result<bool, Error> {
    const SQL: &str = "SELECT id, topic, subject, label, changes, at, over_by FROM event_cause ORDER BY id LIMIT $1";
    const END: &str = "UPDATE event SET acknowledged = $1, acknowledged_by = $2 \
                       WHERE topic = $3 AND subject = $4 AND acknowledged IS NULL";
    let rows = tx.all(SQL, values![most]).await?;
    let mut folded: BTreeMap<(String, String), Folded> = BTreeMap::new();
    let mut ids: Vec<String> = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.push(row.get(0)?);
        let (changes, at): (i64, i64) = (row.get(4)?, row.get(5)?);
        let subject = folded.entry((row.get(1)?, row.get(2)?)).or_default();
        if let Some(by) = row.get(6)? {
            subject.open = None;
            subject.over.get_or_insert((by, at));
            continue;
        }
        let event = subject.open.get_or_insert((row.get(3)?, 0, at, at));
        (event.1, event.2, event.3) = (event.1 + changes, event.2.min(at), event.3.max(at));
    }
    for ((topic, subject), Folded { over, .. }) in &folded {
        if let Some((by, at)) = over {
            tx.execute(END, values![*at, by.as_str(), topic.as_str(), subject.as_str()]).await?;
        }
    }
    const HEAD: &str = "INSERT INTO event (id, topic, subject, label, changes, raised, changed) VALUES";
    const TAIL: &str = "ON CONFLICT (topic, subject) WHERE acknowledged IS NULL DO UPDATE SET \
                        changes = event.changes + excluded.changes, \
                        changed = CASE WHEN excluded.changed > event.changed THEN excluded.changed ELSE event.changed END";
    let events = folded.into_iter().filter_map(|((topic, subject), folded)| {
        let (label, changes, raised, changed) = folded.open?;
        Some(values![fresh(), topic, subject, label, changes, raised, changed])
    });
    sql::rows(tx, HEAD, TAIL, events.collect()).await?;
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new("DELETE FROM event_cause WHERE id IN ");
        text.list(ids);
        tx.execute(text.sql, text.values).await?;
    }
    Ok(rows.len() as i64 == most)
}

/// When a webhook is told: once nothing has changed since `quiet`, or it has waited since before `longest`.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub now: Millis,
    pub quiet: Millis,
    pub longest: Millis,
}

/// Open events of which the webhook must be told, with the attempts that failed since it last was.
pub async fn due(
    session: &mut impl Session,
    webhook: &str,
    topics: &[Topic],
    due: Due,
    limit: i64,
) -> Result<Vec<(Event, i64)>, Error> {
    let mut text = Text::new(&format!("SELECT {COLUMNS}, coalesce(d.attempts, 0) FROM event e"));
    text.push(" LEFT JOIN event_delivery d ON d.event_id = e.id AND d.webhook = ").bind(webhook);
    text.push(" WHERE e.acknowledged IS NULL AND e.topic IN ").list(topics.iter().map(|topic| topic.as_str()));
    text.push(" AND (d.event_id IS NULL OR (d.told < e.changes AND d.next_at <= ").bind(due.now);
    text.push(" AND (d.lease_until IS NULL OR d.lease_until <= ").bind(due.now);
    text.push("))) AND (e.changed <= ").bind(due.quiet);
    text.push(" OR coalesce(d.told_at, e.raised) <= ").bind(due.longest);
    text.push(") ORDER BY e.changed, e.id LIMIT ").bind(limit);
    let rows = session.all(text.sql, text.values).await?;
    rows.iter().map(|row| Ok((read(row)?, row.get(8)?))).collect()
}

/// Takes an event for telling. False: somebody else has it.
pub async fn claim(tx: &mut Tx, id: &str, webhook: &str, now: Millis, lease_until: Millis) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO event_delivery (event_id, webhook, told, attempts, next_at, lease_until) \
                       VALUES ($1, $2, 0, 1, $3, $4) ON CONFLICT (event_id, webhook) DO UPDATE SET \
                       attempts = event_delivery.attempts + 1, lease_until = excluded.lease_until \
                       WHERE event_delivery.lease_until IS NULL OR event_delivery.lease_until <= $3";
    Ok(tx.execute(SQL, values![id, webhook, now, lease_until]).await? == 1)
}

/// It took note of the event with so many changes.
pub async fn told(tx: &mut Tx, id: &str, webhook: &str, changes: i64, now: Millis) -> Result<(), Error> {
    const SQL: &str = "UPDATE event_delivery SET told = $1, told_at = $2, attempts = 0, next_at = $2, lease_until = NULL, \
                       error = NULL WHERE event_id = $3 AND webhook = $4";
    tx.execute(SQL, values![changes, now, id, webhook]).await.map(drop)
}

/// It did not; again later.
pub async fn failed(tx: &mut Tx, id: &str, webhook: &str, next_at: Millis, error: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE event_delivery SET next_at = $1, lease_until = NULL, error = $2 \
                       WHERE event_id = $3 AND webhook = $4";
    tx.execute(SQL, values![next_at, error, id, webhook]).await.map(drop)
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    Closed(Event),
    /// It was closed before: the same answer again.
    Already(Event),
    /// There are changes that whoever acknowledges does not know of.
    More(Event),
    Unknown,
}

/// Closes an event, if it stands for `changes` at most; `None`: for however many.
pub async fn acknowledge(tx: &mut Tx, id: &str, changes: Option<i64>, by: &str, now: Millis) -> Result<Closing, Error> {
    let sql = format!("SELECT {COLUMNS} FROM event e WHERE e.id = $1");
    let Some(row) = tx.lock(sql, values![id]).await?.pop() else { return Ok(Closing::Unknown) };
    let event = read(&row)?;
    if event.acknowledged.is_some() {
        return Ok(Closing::Already(event));
    }
    if changes.is_some_and(|known| known < event.changes) {
        return Ok(Closing::More(event));
    }
    const SQL: &str = "UPDATE event SET acknowledged = $1, acknowledged_by = $2 WHERE id = $3";
    tx.execute(SQL, values![now, by, id]).await?;
    Ok(Closing::Closed(Event { acknowledged: Some(now), acknowledged_by: Some(by.to_owned()), ..event }))
}

/// How far one webhook was told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Delivery {
    pub webhook: String,
    /// Changes of which it took note.
    pub told: i64,
    pub told_at: Option<Millis>,
    /// Attempts since then that failed.
    pub attempts: i64,
    pub error: Option<String>,
}

/// Newest first: the open ones, or the acknowledged ones; after `cursor`.
pub async fn list(
    session: &mut impl Session,
    open: bool,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Vec<(Event, Vec<Delivery>)>, Error> {
    let mut text = Text::new(&format!("SELECT {COLUMNS} FROM event e WHERE e.acknowledged IS "));
    text.push(if open { "NULL" } else { "NOT NULL" });
    if let Some(cursor) = cursor {
        text.push(" AND e.id < ").bind(cursor);
    }
    text.push(" ORDER BY e.id DESC LIMIT ").bind(limit);
    let rows = session.all(text.sql, text.values).await?;
    let events: Vec<Event> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let mut deliveries: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
    for events in events.chunks(sql::MOST) {
        let mut text = Text::new(
            "SELECT event_id, webhook, told, told_at, attempts, error FROM event_delivery WHERE event_id IN ",
        );
        text.list(events.iter().map(|event| event.id.as_str())).push(" ORDER BY event_id, webhook");
        for row in session.all(text.sql, text.values).await? {
            let told_at: Option<i64> = row.get(3)?;
            deliveries.entry(row.get(0)?).or_default().push(Delivery {
                webhook: row.get(1)?,
                told: row.get(2)?,
                told_at: told_at.map(Millis),
                attempts: row.get(4)?,
                error: row.get(5)?,
            });
        }
    }
    let with_deliveries = |event: Event| {
        let told = deliveries.remove(&event.id).unwrap_or_default();
        (event, told)
    };
    Ok(events.into_iter().map(with_deliveries).collect())
}

/// (topic, open events, when the oldest was raised).
pub async fn open(session: &mut impl Session) -> Result<Vec<(Topic, i64, Millis)>, Error> {
    const SQL: &str = "SELECT topic, count(*), min(raised) FROM event WHERE acknowledged IS NULL GROUP BY topic";
    let rows = session.all(SQL, values![]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.get(1)?, Millis(row.get(2)?)))).collect()
}

/// Whether there are acknowledged events from before `at`.
pub async fn has_old(session: &mut impl Session, at: Millis) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM event WHERE acknowledged IS NOT NULL AND acknowledged < $1 LIMIT 1";
    Ok(session.optional(SQL, values![at]).await?.is_some())
}

/// Forgets them.
pub async fn forget(tx: &mut Tx, at: Millis) -> Result<u64, Error> {
    const DELIVERIES: &str = "DELETE FROM event_delivery WHERE event_id IN \
                              (SELECT id FROM event WHERE acknowledged IS NOT NULL AND acknowledged < $1)";
    tx.execute(DELIVERIES, values![at]).await?;
    const EVENTS: &str = "DELETE FROM event WHERE acknowledged IS NOT NULL AND acknowledged < $1";
    tx.execute(EVENTS, values![at]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Db;
    use crate::store::testing::{NOW, both};

    async fn raise(db: &Db, id: &str, label: &str, at: Millis) {
        let subject = label.to_lowercase();
        let cause = Cause { topic: Topic::PbxReloadRequired, subject, label: label.to_owned(), word: Word::More(2) };
        let mut tx = db.write().await.unwrap();
        add(&mut tx, vec![(id.to_owned(), cause)], at).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn folded(db: &Db, prefix: &str, most: i64) -> bool {
        let mut number = 0;
        let mut tx = db.write().await.unwrap();
        let more = fold(&mut tx, most, || {
            number += 1;
            format!("{prefix}{number}")
        });
        let more = more.await.unwrap();
        tx.commit().await.unwrap();
        more
    }

    async fn is_due(db: &Db, at: i64, quiet: i64, longest: i64) -> bool {
        let now = NOW.plus(at);
        let due_at = Due { now, quiet: now.plus(-quiet), longest: now.plus(-longest) };
        !due(&mut db.read().await.unwrap(), "hook", Topic::ALL, due_at, 10).await.unwrap().is_empty()
    }

    #[tokio::test]
    async fn r37_it_is_told_after_a_quiet_while_or_a_long_one_and_again_when_more_comes() {
        both(|db| async move {
            raise(&db, "1", "North", NOW).await;
            raise(&db, "2", "north", NOW.plus(50)).await;
            raise(&db, "3", "NORTH", NOW.plus(95)).await;
            assert!(folded(&db, "a", 2).await && !folded(&db, "b", 2).await);
            assert!(!is_due(&db, 100, 10, 1000).await && is_due(&db, 105, 10, 1000).await);
            assert!(is_due(&db, 100, 10, 100).await, "it has waited for long");
            let write = async |told: Option<i64>, at: i64| {
                let mut tx = db.write().await.unwrap();
                let now = NOW.plus(at);
                assert!(claim(&mut tx, "a1", "hook", now, now.plus(5)).await.unwrap());
                assert!(!claim(&mut tx, "a1", "hook", now, now.plus(5)).await.unwrap(), "one at a time");
                match told {
                    Some(changes) => super::told(&mut tx, "a1", "hook", changes, now).await.unwrap(),
                    None => failed(&mut tx, "a1", "hook", now.plus(50), "no").await.unwrap(),
                }
                tx.commit().await.unwrap();
            };
            write(None, 110).await;
            assert!(!is_due(&db, 150, 10, 1000).await && is_due(&db, 160, 10, 1000).await);
            write(Some(6), 160).await;
            assert!(!is_due(&db, 9000, 10, 1000).await);
            raise(&db, "4", "north", NOW.plus(9000)).await;
            folded(&db, "c", 10).await;
            assert!(is_due(&db, 9010, 10, 1000).await);
            let all = list(&mut db.read().await.unwrap(), true, None, 10).await.unwrap();
            assert_eq!(all.len(), 1);
            let (event, deliveries) = &all[0];
            assert_eq!((event.label.as_str(), event.changes, event.changed), ("North", 8, NOW.plus(9000)));
            assert_eq!((deliveries[0].told, deliveries[0].attempts), (6, 0));
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_over_is_closed_and_what_was_over_before_it_was_an_event_is_none() {
        both(|db| async move {
            let end = async |id: &str, at: i64| {
                let (subject, label) = ("north".to_owned(), "north".to_owned());
                let word = Word::Over(format!("source:{id}"));
                let cause = Cause { topic: Topic::PbxReloadRequired, subject, label, word };
                let mut tx = db.write().await.unwrap();
                add(&mut tx, vec![(id.to_owned(), cause)], NOW.plus(at)).await.unwrap();
                tx.commit().await.unwrap();
            };
            let shown = async |open: bool| -> Vec<(String, i64, Option<Millis>, Option<String>)> {
                let all = list(&mut db.read().await.unwrap(), open, None, 10).await.unwrap();
                let told = |event: Event| (event.id, event.changes, event.acknowledged, event.acknowledged_by);
                all.into_iter().map(|(event, _)| told(event)).collect()
            };
            // Nothing was open; nothing comes to be open.
            end("1", 1).await;
            raise(&db, "2", "north", NOW.plus(2)).await;
            end("3", 3).await;
            folded(&db, "a", 10).await;
            assert!(shown(true).await.is_empty() && shown(false).await.is_empty());
            // It ends once, and what comes after that is another.
            raise(&db, "4", "north", NOW.plus(4)).await;
            raise(&db, "4b", "south", NOW.plus(4)).await;
            folded(&db, "b", 10).await;
            end("5", 5).await;
            raise(&db, "6", "north", NOW.plus(6)).await;
            end("7", 7).await;
            raise(&db, "8", "north", NOW.plus(8)).await;
            folded(&db, "c", 10).await;
            assert_eq!(shown(false).await, [("b1".to_owned(), 2, Some(NOW.plus(5)), Some("source:5".to_owned()))]);
            assert_eq!(shown(true).await, [("c1".to_owned(), 2, None, None), ("b2".to_owned(), 2, None, None)]);
            // Whoever acknowledged it first keeps that.
            let mut tx = db.write().await.unwrap();
            acknowledge(&mut tx, "c1", None, "me", NOW.plus(9)).await.unwrap();
            tx.commit().await.unwrap();
            end("9", 10).await;
            folded(&db, "d", 10).await;
            assert_eq!(shown(false).await[0].3.as_deref(), Some("me"));
            assert!(!is_waiting(&mut db.read().await.unwrap()).await.unwrap());
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_forgotten_in_time_and_what_is_open_never() {
        both(|db| async move {
            raise(&db, "1", "a", NOW).await;
            raise(&db, "2", "b", NOW).await;
            folded(&db, "e", 10).await;
            let mut tx = db.write().await.unwrap();
            claim(&mut tx, "e1", "hook", NOW, NOW).await.unwrap();
            assert!(matches!(acknowledge(&mut tx, "e1", Some(1), "me", NOW).await.unwrap(), Closing::More(_)));
            assert!(matches!(acknowledge(&mut tx, "e1", Some(2), "me", NOW).await.unwrap(), Closing::Closed(_)));
            assert!(matches!(acknowledge(&mut tx, "e1", Some(1), "you", NOW).await.unwrap(), Closing::Already(event)
                if event.acknowledged_by.as_deref() == Some("me")));
            assert_eq!(acknowledge(&mut tx, "e9", None, "me", NOW).await.unwrap(), Closing::Unknown);
            assert!(!has_old(&mut tx, NOW).await.unwrap() && has_old(&mut tx, NOW.plus(1)).await.unwrap());
            assert_eq!(forget(&mut tx, NOW.plus(1)).await.unwrap(), 1);
            assert_eq!(open(&mut tx).await.unwrap(), [(Topic::PbxReloadRequired, 1, NOW)]);
            let left = tx.one("SELECT count(*) FROM event_delivery", values![]).await.unwrap();
            assert_eq!(left.get::<i64>(0).unwrap(), 0);
            tx.commit().await.unwrap();
        })
        .await;
    }
}
