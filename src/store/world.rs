//! Small worlds for tests of queries: things and edges put straight into the tables, without the engine.
//! Only for tests; the stories in `tests/it` go the real way. Start with `put` and `link`.

use super::db::Tx;
use super::value::values;
use crate::model::entity::State;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Realm, Rel};

pub fn id(n: u64) -> EntityId {
    EntityId(uuid::Uuid::from_u128(u128::from(n)))
}

/// A live, active thing. A later `put` of the same id replaces it.
pub async fn put(tx: &mut Tx, kind: Kind, n: u64, flags: i64) {
    let realm = if kind == Kind::User { Realm::Client.as_str() } else { "" };
    put_full(tx, kind, n, realm, flags, "{}").await;
}

pub async fn put_full(tx: &mut Tx, kind: Kind, n: u64, realm: &str, flags: i64, doc: &str) {
    const SQL: &str = "INSERT INTO entity (id, kind, realm, active, blocked, state, flags, ordered_at, version, created, \
                       modified, doc) VALUES ($1, $2, $3, $4, $5, 'live', $6, $7, 1, $8, 0, $9) ON CONFLICT (id) DO \
                       UPDATE SET flags = excluded.flags, doc = excluded.doc";
    let at = (n % 7) as i64 * 1000;
    tx.execute(SQL, values![id(n), kind, realm, true, false, flags, Some(at), at, doc]).await.expect("an entity");
}

pub async fn stand(tx: &mut Tx, n: u64, active: bool, state: State) {
    stand_id(tx, id(n), active, state).await;
}

pub async fn stand_id(tx: &mut Tx, id: EntityId, active: bool, state: State) {
    const SQL: &str = "UPDATE entity SET active = $2, state = $3 WHERE id = $1";
    tx.execute(SQL, values![id, active, state.as_str()]).await.expect("a state");
}

pub async fn link(tx: &mut Tx, rel: Rel, from: u64, to: u64, source: &str) {
    const SQL: &str = "INSERT INTO edge (rel, from_id, source, target, to_id) VALUES ($1, $2, $3, $4, $5) \
                       ON CONFLICT DO NOTHING";
    tx.execute(SQL, values![rel, id(from), source, format!("id:{}", id(to)), id(to)]).await.expect("an edge");
}

pub async fn unlink(tx: &mut Tx, rel: Rel, from: u64) {
    tx.execute("DELETE FROM edge WHERE rel = $1 AND from_id = $2", values![rel, id(from)]).await.expect("no edge");
}
