//! What a used link does. The link is consumed, the account made or found and its password set in one transaction: of two
//! at once one gets the link, and nothing of the other stays. An invitation makes the account through the engine, as the
//! operator's word; an address that has an account in the realm never gets a second one (R62).

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::config::source::OPERATOR;
use crate::credential::hasher;
use crate::http::state::App;
use crate::model::change::{Change, Op};
use crate::model::desired::{Desired, Record, Ref, Target, Targets, Write};
use crate::model::entity::{Entity, State};
use crate::model::fold;
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkState, Purpose};
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::source::SourcePolicy;
use crate::reconcile::{self, Context, invite, note};
use crate::store::{self, Session, Tx};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else used the link, or it ended in this moment.
    #[error("the link is not open")]
    Dead,
    /// The engine did not take the account.
    #[error("the account was refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Engine(#[from] reconcile::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Hasher(#[from] hasher::Error),
}

impl Error {
    fn may_be_tried_again(&self) -> bool {
        match self {
            Error::Engine(error) => error.may_be_tried_again(),
            Error::Store(error) => error.may_be_tried_again(),
            _ => false,
        }
    }
}

pub fn realm(link: &Link) -> Realm {
    link.data.realm.unwrap_or(Realm::Client)
}

/// Whom the link is for, where that account exists: the one it was written for, or the one with its address.
pub async fn account(session: &mut impl Session, link: &Link) -> Result<Option<Entity>, store::Error> {
    if let Some(id) = link.entity {
        return store::entity::by_id(session, id).await;
    }
    let key = fold::key(&link.email);
    let mut ids: Vec<EntityId> =
        store::lookup::find(session, Kind::User, "email", &[&key]).await?.into_iter().map(|(_, id)| id).collect();
    ids.extend(store::credential::by_login(session, realm(link), &key).await?.map(|account| account.id));
    let mut found = store::entity::by_ids(session, &ids).await?;
    found.retain(|entity| entity.realm == Some(realm(link)) && entity.state != State::Tombstone);
    found.sort_by_key(|entity| entity.id);
    Ok(found.into_iter().next())
}

/// Uses the link with a new password: for the account it was written for, or for one that is made now. Gives the login.
pub async fn with_password(app: &App, hash: &[u8], password: SecretString) -> Result<String, Error> {
    let secret = app.hasher.hash(password).await?;
    let first = set_password(app, hash, &secret).await;
    match first {
        Err(error) if error.may_be_tried_again() => set_password(app, hash, &secret).await,
        other => other,
    }
}

async fn set_password(app: &App, hash: &[u8], secret: &str) -> Result<String, Error> {
    let now = app.clock.now();
    let mut tx = app.db.write().await?;
    let Some(link) = store::link::consume(&mut tx, hash, now).await? else {
        tx.commit().await?; // whoever used it first may not be durable yet, and the answer rests on that
        return Err(Error::Dead);
    };
    let person = match account(&mut tx, &link).await? {
        Some(person) if link.entity.is_some() => person,
        // An account with this address came into being meanwhile: it must be asked for its own password.
        Some(_) => return Err(Error::Dead),
        None if link.entity.is_some() => return Err(Error::Dead),
        None => create(&mut tx, app, &link).await?,
    };
    if person.state == State::Tombstone || !person.active {
        return Err(Error::Dead);
    }
    let (cx, operator) = operator(app, &person)?;
    store::credential::set(&mut tx, person.id, secret, false, now).await?;
    store::link::belongs_to(&mut tx, &link.id, person.id).await?;
    store::link::end_of(&mut tx, person.id, Purpose::Password, LinkState::Superseded).await?;
    let link = Link { state: LinkState::Accepted, used: Some(now), ..link };
    let login = login(&person);
    let mut changes = vec![credential_changed(&operator, &person)];
    if link.purpose == Purpose::Invitation {
        changes.push(invite::told(&operator, &link, Kind::User, person.id, login.clone()));
    }
    note::note(&mut tx, &cx, &operator, changes).await?;
    tx.commit().await?;
    Ok(login)
}

/// Uses an invitation for an account that has proved itself by its password: the company is added (R61, R62).
pub async fn join(app: &App, hash: &[u8], who: EntityId) -> Result<String, Error> {
    let now = app.clock.now();
    let mut tx = app.db.write().await?;
    let Some(link) = store::link::consume(&mut tx, hash, now).await? else {
        tx.commit().await?; // whoever used it first may not be durable yet, and the answer rests on that
        return Err(Error::Dead);
    };
    let person = account(&mut tx, &link).await?.filter(|person| person.id == who).ok_or(Error::Dead)?;
    let (cx, operator) = operator(app, &person)?;
    if let Some(target) = membership(&link) {
        let delta = Targets::Delta { add: vec![target], remove: Vec::new() };
        let desired = desired(person.id, &person, Map::new(), Write::Merge, delta);
        taken(reconcile::apply(&mut tx, &cx, &operator, vec![desired]).await?)?;
    }
    store::link::belongs_to(&mut tx, &link.id, person.id).await?;
    let link = Link { state: LinkState::Accepted, used: Some(now), ..link };
    let login = login(&person);
    let told = invite::told(&operator, &link, Kind::User, person.id, login.clone());
    note::note(&mut tx, &cx, &operator, vec![told]).await?;
    tx.commit().await?;
    Ok(login)
}

/// The account of an accepted invitation: its login is the address it was invited by.
async fn create(tx: &mut Tx, app: &App, link: &Link) -> Result<Entity, Error> {
    let id = app.clock.entity_id();
    let (given, family) = (&link.data.given_name, &link.data.family_name);
    let name = format!("{given} {family}").trim().to_owned();
    let display = if name.is_empty() { link.email.clone() } else { name };
    let attributes = json!({
        "userName": link.email,
        "displayName": display,
        "name": {"givenName": given, "familyName": family},
        "emails": [{"value": link.email, "primary": true}],
        "active": true,
    });
    let Value::Object(mut attributes) = attributes else { return Err(Error::Dead) };
    if let Some(language) = &link.data.language {
        attributes.insert("preferredLanguage".to_owned(), json!(language));
    }
    let cx = app.context(format!("user:{id}"));
    let operator = policy(app)?;
    let relations = Targets::Whole(membership(link).into_iter().collect());
    let record = desired_of(id, realm(link), attributes, Write::Whole, relations);
    let applied = reconcile::apply(tx, &cx, &operator, vec![record]).await?;
    let made = applied.entity().cloned();
    taken(applied)?;
    made.ok_or(Error::Dead)
}

fn membership(link: &Link) -> Option<Target> {
    let company = link.company?;
    let role = link.role.map(|role| ("role".to_owned(), json!(role.as_str())));
    Some(Target { to: Ref::Id(company), attributes: role.into_iter().collect() })
}

fn desired(id: EntityId, person: &Entity, attributes: Map<String, Value>, write: Write, companies: Targets) -> Record {
    desired_of(id, person.realm.unwrap_or(Realm::Client), attributes, write, companies)
}

fn desired_of(id: EntityId, realm: Realm, attributes: Map<String, Value>, write: Write, companies: Targets) -> Record {
    Record::Present(Box::new(Desired {
        kind: Kind::User,
        key: id.to_string(),
        realm: Some(realm),
        alias: None,
        attributes,
        write,
        relations: [(Rel::BelongsTo, companies)].into(),
        digest: None,
    }))
}

fn taken(applied: reconcile::Applied) -> Result<(), Error> {
    match applied.refused().next() {
        Some((_, refusal)) => Err(Error::Refused(refusal.to_string())),
        None => Ok(()),
    }
}

/// The person acts for itself, under the operator's source.
fn operator(app: &App, person: &Entity) -> Result<(Context, SourcePolicy), Error> {
    Ok((app.context(format!("user:{}", person.id)), policy(app)?))
}

fn policy(app: &App) -> Result<SourcePolicy, Error> {
    let config = app.config();
    let policy = config.policy(OPERATOR).ok_or_else(|| reconcile::Error::NoSource(OPERATOR.to_owned()))?;
    Ok(SourcePolicy::clone(policy))
}

fn login(person: &Entity) -> String {
    person.doc.get("userName").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The journal says that, when and by whom, and nothing of the password.
pub fn credential_changed(source: &SourcePolicy, person: &Entity) -> Change {
    Change {
        op: Op::Credential,
        kind: Kind::User,
        entity: Some(person.id),
        label: login(person),
        source: source.name.clone(),
        key: person.id.to_string(),
        before: Map::new(),
        after: [("$password".to_owned(), json!("changed"))].into_iter().collect(),
    }
}

/// What a password must not be made of.
pub fn own_names<'a>(link: &'a Link, login: &'a str) -> Vec<&'a str> {
    vec![login, link.email.as_str(), link.data.given_name.as_str(), link.data.family_name.as_str()]
}
