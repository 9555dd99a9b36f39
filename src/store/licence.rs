//! Tables `licence` (what one person should have and has) and `pool` (the seats a company has ordered). Counters are
//! deltas under the lock of the pool's row, so that the last seat is given once. Only `reconcile::licence` writes here;
//! no row of `pool` means that nobody counts those seats. Start with `people` and `claim`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value as Json;

use super::db::{Error, Session, Tx};
use super::sql::{self, Text};
use super::value::{Row, Value, values};
use crate::model::document::Document;
use crate::model::entity::{Flags, State, urn};
use crate::model::id::EntityId;
use crate::model::kind::Realm;
use crate::model::licence::{LicenceState, Order};
use crate::model::time::Millis;

/// Row of table `licence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub entity: EntityId,
    /// Whose seat it is.
    pub company: Option<EntityId>,
    /// As the document says it.
    pub wanted: Option<String>,
    pub held: Option<String>,
    pub state: LicenceState,
    /// JSON: `model::licence::Refusal`s.
    pub reasons: String,
    /// Of the state; waiting is first come, first served.
    pub since: Millis,
    /// When the seat of somebody deactivated is freed.
    pub free_at: Option<Millis>,
}

/// What decides on the licence of one person.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: EntityId,
    pub realm: Option<Realm>,
    pub active: bool,
    pub state: State,
    pub login: Option<String>,
    pub wanted: Option<String>,
    /// The company it belongs to; of several the one we have known longest.
    pub company: Option<EntityId>,
    pub order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub company: EntityId,
    pub product: String,
    pub total: i64,
    pub used: i64,
    /// For invitations that are not accepted yet.
    pub reserved: i64,
}

pub async fn people(session: &mut impl Session, ids: &[EntityId]) -> Result<BTreeMap<EntityId, Person>, Error> {
    let mut found: BTreeMap<EntityId, Person> = BTreeMap::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(
            "SELECT e.id, e.realm, e.active, e.state, e.login_key, e.doc, k.id, k.doc FROM entity e \
             LEFT JOIN edge b ON b.rel = 'belongs_to' AND b.from_id = e.id AND b.to_id IS NOT NULL \
             LEFT JOIN entity k ON k.id = b.to_id AND k.kind = 'company' AND k.state <> 'tombstone' \
             WHERE e.kind = 'user' AND e.id IN ",
        );
        text.list(ids.iter().copied());
        for row in session.all(text.sql, text.values).await? {
            let id: EntityId = row.parse(0)?;
            let company: Option<EntityId> = row.parse_opt(6)?;
            let known = found.get(&id);
            if known.is_some_and(|known| known.company.is_some() && company.is_none_or(|id| Some(id) >= known.company))
            {
                continue;
            }
            let order = if company.is_some() { order_of(&row.json(7)?) } else { Order::default() };
            found.insert(id, person(id, &row, company, order)?);
        }
    }
    Ok(found)
}

fn person(id: EntityId, row: &Row, company: Option<EntityId>, order: Order) -> Result<Person, Error> {
    let realm: String = row.get(1)?;
    let doc: Document = row.json(5)?;
    Ok(Person {
        id,
        realm: realm.parse().ok(),
        active: row.get(2)?,
        state: row.parse(3)?,
        login: row.get(4)?,
        wanted: wanted_in(&doc),
        company,
        order,
    })
}

/// The wish in a user's document.
pub fn wanted_in(doc: &Document) -> Option<String> {
    let wanted = doc.get(urn::AGENT)?.get("licence")?.as_str()?.trim();
    (!wanted.is_empty()).then(|| wanted.to_owned())
}

/// `services` and `tier` of a company's document.
pub fn order_of(doc: &Document) -> Order {
    let services = doc.get("services").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let services: BTreeSet<String> =
        services.iter().filter_map(Json::as_str).map(crate::model::fold::key).filter(|s| !s.is_empty()).collect();
    Order { services, tier: doc.get("tier").and_then(Json::as_str).map(str::to_owned) }
}

const COLUMNS: &str = "entity_id, company_id, wanted, held, state, reasons, since, free_at";

fn read(row: &Row) -> Result<Held, Error> {
    Ok(Held {
        entity: row.parse(0)?,
        company: row.parse_opt(1)?,
        wanted: row.get(2)?,
        held: row.get(3)?,
        state: row.parse(4)?,
        reasons: row.get(5)?,
        since: Millis(row.get(6)?),
        free_at: row.get::<Option<i64>>(7)?.map(Millis),
    })
}

/// Locked in a transaction: a decision rests on them.
pub async fn lock(tx: &mut Tx, ids: &[EntityId]) -> Result<HashMap<EntityId, Held>, Error> {
    let mut found = HashMap::new();
    for ids in ids.chunks(sql::MOST) {
        let mut text = Text::new(&format!("SELECT {COLUMNS} FROM licence WHERE entity_id IN "));
        text.list(ids.iter().copied()).push(" ORDER BY entity_id");
        for row in tx.lock(text.sql, text.values).await? {
            let held = read(&row)?;
            found.insert(held.entity, held);
        }
    }
    Ok(found)
}

pub async fn of(session: &mut impl Session, id: EntityId) -> Result<Option<Held>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM licence WHERE entity_id = $1");
    session.optional(sql, values![id]).await?.as_ref().map(read).transpose()
}

/// In the order of ids, behind `after`; of one company, or of all.
pub async fn list(
    session: &mut impl Session,
    company: Option<EntityId>,
    after: Option<EntityId>,
    limit: usize,
) -> Result<Vec<Held>, Error> {
    let mut text = Text::new(&format!("SELECT {COLUMNS} FROM licence WHERE entity_id > "));
    text.bind(after.map(|id| id.to_string()).unwrap_or_default());
    if let Some(company) = company {
        text.push(" AND company_id = ").bind(company);
    }
    text.push(" ORDER BY entity_id LIMIT ").bind(limit as i64);
    session.all(text.sql, text.values).await?.iter().map(read).collect()
}

/// Whose licences rest on these companies.
pub async fn of_companies(session: &mut impl Session, companies: &[EntityId]) -> Result<Vec<EntityId>, Error> {
    let mut found = Vec::new();
    for companies in companies.chunks(sql::MOST) {
        let mut text = Text::new("SELECT entity_id FROM licence WHERE company_id IN ");
        text.list(companies.iter().copied()).push(" ORDER BY entity_id");
        for row in session.all(text.sql, text.values).await? {
            found.push(row.parse(0)?);
        }
    }
    Ok(found)
}

/// Who has waited longest in a company with exactly these reasons.
pub async fn first_waiting(
    session: &mut impl Session,
    company: EntityId,
    reasons: &str,
) -> Result<Option<EntityId>, Error> {
    const SQL: &str = "SELECT entity_id FROM licence WHERE company_id = $1 AND state = 'waiting' AND reasons = $2 \
                       ORDER BY since, entity_id LIMIT 1";
    session.optional(SQL, values![company, reasons]).await?.map(|row| row.parse(0)).transpose()
}

pub async fn count_waiting(session: &mut impl Session, company: EntityId, reasons: &str) -> Result<i64, Error> {
    const SQL: &str = "SELECT count(*) FROM licence WHERE company_id = $1 AND state = 'waiting' AND reasons = $2";
    session.one(SQL, values![company, reasons]).await?.get(0)
}

/// Agents of a company that have the same licence and the same switches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    pub held: Option<String>,
    pub flags: Flags,
    pub active: bool,
    pub count: i64,
}

/// What a company's bill is made of. Whoever belongs to the company or sits on one of its seats, deactivated ones with
/// their seat's grace included.
pub async fn bill(session: &mut impl Session, company: EntityId) -> Result<Vec<Alike>, Error> {
    const SQL: &str = "SELECT l.held, e.flags, e.active, count(*) FROM entity e \
                       LEFT JOIN licence l ON l.entity_id = e.id AND l.company_id = $1 \
                       WHERE e.kind = 'user' AND e.realm = 'agent' AND e.state <> 'tombstone' AND e.id IN \
                       (SELECT from_id FROM edge WHERE rel = 'belongs_to' AND to_id = $1 \
                        UNION SELECT entity_id FROM licence WHERE company_id = $1 AND held IS NOT NULL) \
                       GROUP BY l.held, e.flags, e.active";
    let rows = session.all(SQL, values![company]).await?;
    let alike =
        |row: &Row| Ok(Alike { held: row.get(0)?, flags: Flags(row.get(1)?), active: row.get(2)?, count: row.get(3)? });
    rows.iter().map(alike).collect()
}

/// How many people that the source holds have a licence or wait for one.
pub async fn count_of_source(session: &mut impl Session, source: &str) -> Result<u64, Error> {
    const SQL: &str = "SELECT count(*) FROM licence l WHERE EXISTS \
                       (SELECT 1 FROM assertion a WHERE a.entity_id = l.entity_id AND a.source = $1 AND NOT a.ended)";
    let count: i64 = session.one(SQL, values![source]).await?.get(0)?;
    Ok(count.unsigned_abs())
}

/// Whose seat is to be freed by now.
pub async fn due(session: &mut impl Session, now: Millis, limit: usize) -> Result<Vec<EntityId>, Error> {
    const SQL: &str = "SELECT entity_id FROM licence WHERE free_at IS NOT NULL AND free_at <= $1 \
                       ORDER BY free_at, entity_id LIMIT $2";
    let rows = session.all(SQL, values![now, limit as i64]).await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

pub async fn put(tx: &mut Tx, held: &Held) -> Result<(), Error> {
    const HEAD: &str =
        "INSERT INTO licence (entity_id, company_id, wanted, held, state, reasons, since, free_at) VALUES";
    const TAIL: &str = "ON CONFLICT (entity_id) DO UPDATE SET company_id = excluded.company_id, \
                        wanted = excluded.wanted, held = excluded.held, state = excluded.state, \
                        reasons = excluded.reasons, since = excluded.since, free_at = excluded.free_at";
    let row: Vec<Value> = values![
        held.entity,
        held.company,
        held.wanted.clone(),
        held.held.clone(),
        held.state.as_str(),
        &held.reasons,
        held.since,
        held.free_at,
    ];
    sql::rows(tx, HEAD, TAIL, vec![row]).await
}

pub async fn delete(tx: &mut Tx, id: EntityId) -> Result<(), Error> {
    tx.execute("DELETE FROM licence WHERE entity_id = $1", values![id]).await.map(drop)
}

fn pool(row: &Row) -> Result<Pool, Error> {
    Ok(Pool {
        company: row.parse(0)?,
        product: row.get(1)?,
        total: row.get(2)?,
        used: row.get(3)?,
        reserved: row.get(4)?,
    })
}

pub async fn pools(session: &mut impl Session, company: Option<EntityId>) -> Result<Vec<Pool>, Error> {
    let mut text = Text::new("SELECT company_id, product, total, used, reserved FROM pool");
    if let Some(company) = company {
        text.push(" WHERE company_id = ").bind(company);
    }
    text.push(" ORDER BY company_id, product LIMIT 1000");
    session.all(text.sql, text.values).await?.iter().map(pool).collect()
}

pub async fn lock_pool(tx: &mut Tx, company: EntityId, product: &str) -> Result<Option<Pool>, Error> {
    const SQL: &str = "SELECT company_id, product, total, used, reserved FROM pool \
                       WHERE company_id = $1 AND product = $2";
    tx.lock(SQL, values![company, product]).await?.first().map(pool).transpose()
}

/// One seat, if there is one.
pub async fn claim(tx: &mut Tx, company: EntityId, product: &str) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE pool SET used = used + 1 WHERE company_id = $1 AND product = $2 AND used + reserved < total";
    Ok(tx.execute(SQL, values![company, product]).await? == 1)
}

pub async fn release(tx: &mut Tx, company: EntityId, product: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE pool SET used = used - 1 WHERE company_id = $1 AND product = $2 AND used > 0";
    tx.execute(SQL, values![company, product]).await.map(drop)
}

/// `used` counts only for a new pool: afterwards it changes by claims and releases alone.
pub async fn put_pool(tx: &mut Tx, company: EntityId, product: &str, total: i64, used: i64) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO pool (company_id, product, total, used, reserved) VALUES ($1, $2, $3, $4, 0) \
                       ON CONFLICT (company_id, product) DO UPDATE SET total = excluded.total";
    tx.execute(SQL, values![company, product, total, used]).await.map(drop)
}
