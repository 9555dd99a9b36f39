//! POST, PUT, PATCH and DELETE: load and lock, pure protocol, `reconcile::apply`, commit, answer. A request that changes
//! nothing writes nothing. Who meets another writer tries once more.
//!
//! What a client sends becomes its source's own saying under our id; what it puts back as it read it is no saying.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};

use super::ask::Ask;
use super::link;
use super::membership;
use super::reply::{self, Stop};
use super::secret;
use crate::http::password;
use crate::model::desired::{Desired, Record, Targets, Write};
use crate::model::dialect::Rehire;
use crate::model::document::{Document, difference};
use crate::model::entity;
use crate::model::id::EntityId;
use crate::reconcile::{self, Applied, Refusal, Seen};
use crate::scim::error::Error;
use crate::scim::members::Member;
use crate::scim::patch::{self as patching, Operation};
use crate::scim::project::Projection;
use crate::scim::render;
use crate::scim::resource::{self, Incoming};
use crate::scim::schema::{Relation, Shape};
use crate::store::Tx;
use crate::store::scim::{self as rows, Found};

/// Names of ignored attributes in one line of the log.
const TOLD: usize = 20;

/// Members of a group up to which a PATCH is answered with all of them; above it is 204 unless attributes are asked for.
const ECHO: usize = 1000;

/// What is written, and how it is answered.
struct Task<'s> {
    shape: &'s Shape,
    projection: Projection,
    /// The hash of a password that comes along.
    secret: Option<String>,
}

impl<'s> Task<'s> {
    fn of(ask: &Ask<'_>, shape: &'s Shape) -> Result<Task<'s>, Error> {
        Ok(Task { shape, projection: Projection::read(shape, &ask.query()?)?, secret: None })
    }
}

pub async fn create(ask: &Ask<'_>, shape: &Shape, body: &Map<String, Value>) -> Result<Response, Error> {
    let mut task = Task::of(ask, shape)?;
    let incoming = resource::read(shape, body, ask.dialect)?;
    told_ignored(ask, &incoming.ignored);
    task.secret = secret::hashed(ask, None, &incoming.attributes, incoming.password).await?;
    let mut desired = desired(shape, ask.app.clock.entity_id(), incoming.attributes, Write::Whole);
    if let (Some(members), Some(relation)) = (incoming.members, shape.relation()) {
        desired.relations.insert(relation.rel, whole(relation, members));
    }
    let mut result = create_once(ask, &task, &desired).await;
    if reply::again(&result) {
        result = create_once(ask, &task, &desired).await;
    }
    reply::ended(result)
}

async fn create_once(ask: &Ask<'_>, task: &Task<'_>, desired: &Desired) -> Result<Response, Stop> {
    let Task { shape, projection, .. } = task;
    let mut tx = ask.app.db.write().await?;
    membership::allowed(&mut tx, ask, shape, None, &desired.relations).await?;
    let record = Record::Present(Box::new(desired.clone()));
    let applied = reconcile::apply(&mut tx, &ask.context(), ask.policy, vec![record]).await?;
    if let Some((_, refusal)) = applied.refused().next() {
        return match refusal {
            Refusal::LoginTaken { owner: Some(owner), .. } | Refusal::Former { owner } => {
                come_back(ask, tx, task, desired, *owner, reply::refused(shape, refusal)).await
            }
            refusal => Err(reply::refused(shape, refusal).into()),
        };
    }
    // Who was known before may be in a group.
    let known = applied.outcomes.iter().any(|outcome| !outcome.created);
    let found = outcome(&applied, external(&desired.attributes), known)?;
    let location = render::location(shape, &ask.base, &found.id.to_string());
    let etag = render::etag(found.version);
    set_secret(&mut tx, ask, task, &found).await?;
    // Who has just been made is in no group, and a group has the members that it was made with.
    let alone = !known && desired.relations.is_empty();
    let response = if ask.prefers_minimal() {
        reply::empty(StatusCode::CREATED)
    } else if alone {
        let stored = link::one(found, Vec::new());
        reply::body(StatusCode::CREATED, render::resource(shape, &ask.base, &stored, projection)?)
    } else {
        reply::body(StatusCode::CREATED, shown(&mut tx, ask, shape, projection, found).await?)
    };
    commit(ask, tx, &applied).await?;
    Ok(reply::of(response, &location, &etag))
}

/// Some identity providers never enable an account again but make it anew, under the name they had given it: that is the
/// same account. Any other account that has the login keeps it.
async fn come_back(
    ask: &Ask<'_>,
    mut tx: Tx,
    task: &Task<'_>,
    desired: &Desired,
    owner: EntityId,
    taken: Error,
) -> Result<Response, Stop> {
    let shape = task.shape;
    if ask.dialect.rehire == Rehire::Refuse {
        return Err(taken.into());
    }
    let name = external(&desired.attributes);
    let found = rows::lock(&mut tx, &ask.sight(shape.kind), owner).await?;
    let Some(found) = found.filter(|found| !found.active && name.is_some() && found.external_id == name) else {
        return Err(taken.into());
    };
    let stored = serde_json::from_str(&found.doc).map_err(|_| Error::Internal)?;
    let current = named(stored, &found);
    let mut after = resource::replaced(shape, &current, &desired.attributes)?;
    if !desired.attributes.contains_key("active") {
        after.insert("active".to_owned(), Value::Bool(true));
    }
    let change = changes(shape, owner, &current, &after, None);
    let mut response = changed(ask, tx, task, (found, None), change, name).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub async fn replace(ask: &Ask<'_>, shape: &Shape, id: &str, body: &Map<String, Value>) -> Result<Response, Error> {
    let mut task = Task::of(ask, shape)?;
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let mut incoming = resource::read(shape, body, ask.dialect)?;
    told_ignored(ask, &incoming.ignored);
    if let Some(wanted) = incoming.password.take() {
        secret::present(ask, shape, id).await?;
        task.secret = secret::hashed(ask, Some(id), &incoming.attributes, Some(wanted)).await?;
    }
    let mut result = replace_once(ask, &task, id, &incoming).await;
    if reply::again(&result) {
        result = replace_once(ask, &task, id, &incoming).await;
    }
    reply::ended(result)
}

async fn replace_once(ask: &Ask<'_>, task: &Task<'_>, id: EntityId, incoming: &Incoming) -> Result<Response, Stop> {
    let shape = task.shape;
    let mut tx = ask.app.db.write().await?;
    let (found, current, seen) = locked(ask, &mut tx, shape, id).await?;
    let mut after = resource::replaced(shape, &current, &incoming.attributes)?;
    if let Some(own) = said(ask, &seen) {
        resource::unsaid(&current, &own, &mut after);
    }
    let members = shape.relation().zip(incoming.members.clone());
    let members = members.map(|(relation, members)| whole(relation, members));
    let change = changes(shape, id, &current, &after, members);
    changed(ask, tx, task, (found, Some(seen)), change, external(&after)).await
}

pub async fn patch(ask: &Ask<'_>, shape: &Shape, id: &str, body: &Map<String, Value>) -> Result<Response, Error> {
    let mut task = Task::of(ask, shape)?;
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let operations = patching::operations(body, ask.dialect.mode)?;
    if patching::speaks_of(shape, &operations) {
        let doc = secret::present(ask, shape, id).await?;
        // Only for the password: what is wrong with the rest, the attempt itself says.
        let tried = patching::apply(shape, &id.to_string(), &doc, &operations, &[], ask.dialect);
        task.secret = secret::hashed(ask, Some(id), &doc, tried.ok().and_then(|patched| patched.password)).await?;
    }
    let mut result = patch_once(ask, &task, id, &operations).await;
    if reply::again(&result) {
        result = patch_once(ask, &task, id, &operations).await;
    }
    reply::ended(result)
}

async fn patch_once(ask: &Ask<'_>, task: &Task<'_>, id: EntityId, operations: &[Operation]) -> Result<Response, Stop> {
    let shape = task.shape;
    let mut tx = ask.app.db.write().await?;
    let (found, current, seen) = locked(ask, &mut tx, shape, id).await?;
    let present = present(&mut tx, ask, shape, operations, &found).await?;
    let patched = patching::apply(shape, &id.to_string(), &current, operations, &present, ask.dialect)?;
    told_ignored(ask, &patched.ignored);
    let external = external(&patched.document);
    let members = shape.relation().and_then(|relation| patched.members.targets(relation.far));
    let change = changes(shape, id, &current, &patched.document, members);
    changed(ask, tx, task, (found, Some(seen)), change, external).await
}

pub async fn delete(ask: &Ask<'_>, shape: &Shape, id: &str) -> Result<Response, Error> {
    let id: EntityId = id.parse().map_err(|_| Error::NotFound)?;
    let mut result = delete_once(ask, shape, id).await;
    if reply::again(&result) {
        result = delete_once(ask, shape, id).await;
    }
    reply::ended(result)
}

async fn delete_once(ask: &Ask<'_>, shape: &Shape, id: EntityId) -> Result<Response, Stop> {
    let mut tx = ask.app.db.write().await?;
    let (_, _, seen) = locked(ask, &mut tx, shape, id).await?;
    let gone = Record::Gone { kind: shape.kind, key: id.to_string() };
    let applied = apply(ask, shape, &mut tx, Some(seen), gone).await?;
    commit(ask, tx, &applied).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Applies a change, commits and answers. Without a change nothing is written, not even a version.
async fn changed(
    ask: &Ask<'_>,
    mut tx: Tx,
    task: &Task<'_>,
    (found, seen): (Found, Option<Seen>),
    change: Option<Desired>,
    external: Option<String>,
) -> Result<Response, Stop> {
    let Task { shape, projection, .. } = task;
    let mut applied = Applied::default();
    let mut now = found;
    if let Some(change) = change {
        membership::allowed(&mut tx, ask, shape, Some((now.id, now.in_group)), &change.relations).await?;
        applied = apply(ask, shape, &mut tx, seen, Record::Present(Box::new(change))).await?;
        // Nobody comes into a group by a change of the member.
        now = outcome(&applied, external, now.in_group)?;
    }
    let location = render::location(shape, &ask.base, &now.id.to_string());
    let etag = render::etag(now.version);
    set_secret(&mut tx, ask, task, &now).await?;
    let silent = ask.prefers_minimal() || (!ask.echoes(shape.kind) && projection.is_all());
    let answer = if silent { None } else { answer(&mut tx, ask, shape, projection, now).await? };
    commit(ask, tx, &applied).await?;
    let response = match answer {
        Some(text) => reply::body(StatusCode::OK, text),
        None => reply::empty(StatusCode::NO_CONTENT),
    };
    Ok(reply::of(response, &location, &etag))
}

/// The password that came along, in the transaction of the rest.
async fn set_secret(tx: &mut Tx, ask: &Ask<'_>, task: &Task<'_>, now: &Found) -> Result<(), Stop> {
    let Some(hash) = &task.secret else { return Ok(()) };
    let doc: Document = serde_json::from_str(&now.doc).map_err(|_| Error::Internal)?;
    let label = entity::login_key(task.shape.kind, &doc).unwrap_or_default();
    if ask.policy.protected.contains(&label) {
        return Err(reply::refused(task.shape, &Refusal::Protected { login: label }).into());
    }
    Ok(password::set(tx, &ask.context(), ask.policy, (now.id, label), hash, false).await?)
}

/// The body of the answer, unless the group is so large that nobody wants to read it.
async fn answer(
    tx: &mut Tx,
    ask: &Ask<'_>,
    shape: &Shape,
    projection: &Projection,
    found: Found,
) -> Result<Option<String>, Stop> {
    let Some(relation) = shape.relation().filter(|_| projection.is_all()) else {
        return shown(tx, ask, shape, projection, found).await.map(Some);
    };
    let members = rows::members(tx, &link::ends(ask, relation), relation.rel, &[found.id], ECHO as u64 + 1).await?;
    if members.len() > ECHO {
        return Ok(None);
    }
    let stored = link::one(found, members.into_iter().map(link::link).collect());
    Ok(Some(render::resource(shape, &ask.base, &stored, projection)?))
}

/// The resource as text.
async fn shown(
    tx: &mut Tx,
    ask: &Ask<'_>,
    shape: &Shape,
    projection: &Projection,
    found: Found,
) -> Result<String, Stop> {
    let stored = link::stored(tx, ask, shape, projection, vec![found]).await?.pop().ok_or(Error::Internal)?;
    Ok(render::resource(shape, &ask.base, &stored, projection)?)
}

/// The resource as it stands, kept from others till the end, in the version that the client expects; what the client has
/// read of it; and what the engine goes on with.
async fn locked(ask: &Ask<'_>, tx: &mut Tx, shape: &Shape, id: EntityId) -> Result<(Found, Document, Seen), Stop> {
    let seen = reconcile::look(tx, ask.policy, shape.kind, id).await?;
    let (entity, said) = seen.thing().ok_or(Error::NotFound)?;
    let found = rows::of_loaded(&ask.sight(shape.kind), entity, said, seen.in_group).ok_or(Error::NotFound)?;
    ask.may_change(found.version)?;
    let current = named(entity.doc.clone(), &found);
    Ok((found, current, seen))
}

/// What the source itself has said so far; `None`: all that there is.
fn said<'s>(ask: &Ask<'_>, seen: &'s Seen) -> Option<Cow<'s, Document>> {
    let (_, said) = seen.thing()?;
    let mut own = said.filter(|said| said.source == ask.policy.name && !said.ended).peekable();
    if own.peek().is_none() {
        return Some(Cow::default());
    }
    let mut own = own.find_map(|said| said.doc.as_ref())?.clone();
    // The client's own name is kept beside what it says.
    own.insert("externalId".to_owned(), Value::Null);
    Some(Cow::Owned(own))
}

/// What the client has read: the merged document and its own name for it.
fn named(mut document: Document, found: &Found) -> Document {
    if let Some(external) = &found.external_id {
        document.insert("externalId".to_owned(), Value::String(external.clone()));
    }
    document
}

/// The client's own name for it.
fn external(document: &Document) -> Option<String> {
    document.get("externalId").and_then(Value::as_str).map(str::to_owned)
}

/// The members, where an operation asks for more of them than their ids.
async fn present(
    tx: &mut Tx,
    ask: &Ask<'_>,
    shape: &Shape,
    operations: &[Operation],
    found: &Found,
) -> Result<Vec<Map<String, Value>>, Stop> {
    if !patching::needs_members(shape, operations) {
        return Ok(Vec::new());
    }
    let stored = link::stored(tx, ask, shape, &Projection::default(), vec![found.clone()]).await?;
    let stored = stored.first().ok_or(Error::Internal)?;
    let mut resource = render::value(shape, &ask.base, stored)?;
    let members = shape.relation().and_then(|relation| resource.remove(relation.name)).unwrap_or_default();
    Ok(serde_json::from_value(members).map_err(|_| Error::Internal)?)
}

fn desired(shape: &Shape, id: EntityId, attributes: Document, write: Write) -> Desired {
    Desired {
        kind: shape.kind,
        key: id.to_string(),
        realm: None,
        alias: None,
        attributes,
        write,
        relations: BTreeMap::new(),
        digest: None,
    }
}

/// Only what differs from what was read is said.
fn changes(
    shape: &Shape,
    id: EntityId,
    current: &Document,
    after: &Document,
    members: Option<Targets>,
) -> Option<Desired> {
    let leaves = difference(current, after);
    if leaves.is_empty() && members.is_none() {
        return None;
    }
    let mut desired = desired(shape, id, leaves, Write::Merge);
    desired.relations.extend(shape.relation().map(|relation| relation.rel).zip(members));
    Some(desired)
}

fn whole(relation: &Relation, members: Vec<Member>) -> Targets {
    Targets::Whole(members.into_iter().map(|member| member.target(relation.far)).collect())
}

/// One record to the engine; what it refuses is the client's to mend.
async fn apply(ask: &Ask<'_>, shape: &Shape, tx: &mut Tx, seen: Option<Seen>, record: Record) -> Result<Applied, Stop> {
    let cx = ask.context();
    let applied = match seen {
        Some(seen) => reconcile::apply_seen(tx, &cx, ask.policy, seen, record).await?,
        None => reconcile::apply(tx, &cx, ask.policy, vec![record]).await?,
    };
    let refused = applied.refused().next().map(|(_, refusal)| reply::refused(shape, refusal));
    refused.map_or(Ok(applied), |error| Err(error.into()))
}

/// The entity as the engine left it.
fn outcome(applied: &Applied, external_id: Option<String>, in_group: bool) -> Result<Found, Error> {
    let entity = applied.entity().ok_or(Error::Internal)?;
    Ok(Found {
        id: entity.id,
        active: entity.active,
        version: entity.version,
        created: entity.created,
        modified: entity.modified,
        doc: serde_json::to_string(&entity.doc).map_err(|_| Error::Internal)?,
        external_id,
        in_group,
    })
}

async fn commit(ask: &Ask<'_>, tx: Tx, applied: &Applied) -> Result<(), Stop> {
    tx.commit().await?;
    if applied.wake {
        ask.app.wake.deliver();
    }
    Ok(())
}

/// Names that nobody knows are worth a line: mostly a wrong mapping at the identity provider.
fn told_ignored(ask: &Ask<'_>, ignored: &[String]) {
    if !ignored.is_empty() {
        tracing::warn!(
            source = ask.policy.name,
            attributes = ignored[..ignored.len().min(TOLD)].join(", "),
            more = ignored.len().saturating_sub(TOLD),
            "SCIM attributes that are in no schema were ignored"
        );
    }
}
