//! Invites the new people of a source that is configured so: the link, its outbox row and the journal row, in the
//! transaction that makes the people. Clients get an invitation, agents a link to set their
//! password. Who has no address, is not active or not complete gets nothing; nobody is invited twice by this.
//! `settle` is called by `apply` for every batch; `post` writes one link and its mail for whoever else needs one.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::context::Context;
use super::note::note;
use super::{Error, Touched};
use crate::model::change::{Change, Op};
use crate::model::document::Document;
use crate::model::entity::{Entity, State, urn};
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkData, LinkState, Purpose, Role};
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::mail::{MailKind, is_address};
use crate::model::source::SourcePolicy;
use crate::store::{self, Tx, outbox};

/// Returns how many mails were put into the outbox.
pub async fn settle(tx: &mut Tx, cx: &Context, source: &SourcePolicy, touched: &Touched) -> Result<usize, Error> {
    if !source.invite {
        return Ok(0);
    }
    let new: Vec<&Entity> =
        touched.entities.iter().filter(|(before, now)| is_new(before.as_ref(), now)).map(|(_, now)| now).collect();
    if new.is_empty() {
        return Ok(0);
    }
    let ids: Vec<EntityId> = new.iter().map(|person| person.id).collect();
    let known: HashSet<EntityId> = store::link::with_any(tx, &ids).await?.into_iter().collect();
    let companies = companies(tx, touched).await?;
    let mut changes = Vec::new();
    for person in new.into_iter().filter(|person| !known.contains(&person.id)) {
        let Some(email) = address(&person.doc) else { continue };
        let realm = person.realm.unwrap_or(Realm::Client);
        let purpose = if realm == Realm::Client { Purpose::Invitation } else { Purpose::Password };
        let company = companies.get(&person.id);
        let data = LinkData { company: company.map(|(_, name)| name.clone()), ..about(person) };
        let link = fresh(cx, purpose, email, data);
        let link = Link { entity: Some(person.id), company: company.map(|(id, _)| *id), ..link };
        post(tx, cx, &link).await?;
        changes.push(told(source, &link, person.kind, person.id, label(person)));
    }
    let count = changes.len();
    note(tx, cx, source, changes).await?;
    Ok(count)
}

/// Became somebody who can log in: made so, or completed.
fn is_new(before: Option<&Entity>, now: &Entity) -> bool {
    now.kind == Kind::User
        && now.active
        && now.state == State::Live
        && before.is_none_or(|before| before.state == State::Incomplete)
}

/// The companies that people of this batch came to belong to, with their names.
async fn companies(tx: &mut Tx, touched: &Touched) -> Result<BTreeMap<EntityId, (EntityId, String)>, Error> {
    let edges = touched.edges.iter().filter(|edge| edge.rel == Rel::BelongsTo && edge.added);
    let of: BTreeMap<EntityId, EntityId> = edges.map(|edge| (edge.from, edge.to)).collect();
    let mut ids: Vec<EntityId> = of.values().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let names: BTreeMap<EntityId, String> =
        store::entity::by_ids(tx, &ids).await?.into_iter().map(|company| (company.id, name(&company.doc))).collect();
    let named = |(person, company)| Some((person, (company, names.get(&company)?.clone())));
    Ok(of.into_iter().filter_map(named).collect())
}

/// A link as it begins, without account, company and role.
pub fn fresh(cx: &Context, purpose: Purpose, email: &str, data: LinkData) -> Link {
    let now = cx.clock.now();
    Link {
        id: cx.clock.uuid().to_string(),
        purpose,
        entity: None,
        email: email.to_owned(),
        company: None,
        role: None,
        data,
        state: LinkState::Pending,
        created: now,
        expires: now.plus(purpose.life()),
        used: None,
    }
}

/// Writes the link and the mail that will bring its secret.
pub async fn post(tx: &mut Tx, cx: &Context, link: &Link) -> Result<(), Error> {
    store::link::insert(tx, link).await?;
    let kind = match link.purpose {
        Purpose::Invitation => MailKind::Invitation,
        Purpose::Password => MailKind::SetPassword,
    };
    let new = outbox::New {
        id: cx.clock.uuid().to_string(),
        kind: kind.to_string(),
        dedupe: format!("{kind}:{}", link.id),
        entity: link.entity,
        payload: json!({"link": link.id}),
        at: link.created,
    };
    outbox::enqueue(tx, new).await?;
    Ok(())
}

/// What the journal says of an invitation: of the person, or of the company while there is no account.
pub fn told(source: &SourcePolicy, link: &Link, kind: Kind, about: EntityId, label: String) -> Change {
    let invitation = json!({
        "id": link.id,
        "purpose": link.purpose,
        "email": link.email,
        "state": link.state,
        "role": link.role.map(Role::as_str),
        "expires": link.expires,
    });
    Change {
        op: Op::Invite,
        kind,
        entity: Some(about),
        label,
        source: source.name.clone(),
        key: link.id.clone(),
        before: Document::new(),
        after: Document::from_iter([("$invitation".to_owned(), invitation)]),
    }
}

/// The person's words for the mail.
pub fn about(person: &Entity) -> LinkData {
    let inside = |name: &str| person.doc.get("name").and_then(|names| names.get(name)).and_then(Value::as_str);
    let given = inside("givenName").map(str::to_owned);
    LinkData {
        family_name: inside("familyName").unwrap_or_default().to_owned(),
        given_name: given
            .unwrap_or_else(|| if inside("familyName").is_some() { String::new() } else { name(&person.doc) }),
        language: language(&person.doc),
        login: person.doc.get("userName").and_then(Value::as_str).map(str::to_owned),
        realm: person.realm,
        ..LinkData::default()
    }
}

pub fn language(doc: &Document) -> Option<String> {
    let of_client = doc.get(urn::CLIENT).and_then(|client| client.get("language"));
    let found = doc.get("preferredLanguage").or(of_client).or_else(|| doc.get("locale"));
    found.and_then(Value::as_str).map(str::to_owned)
}

pub fn name(doc: &Document) -> String {
    doc.get("displayName").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn label(person: &Entity) -> String {
    person.login_key.clone().unwrap_or_default()
}

/// The primary address, else the first; only one that mail can be sent to.
pub fn address(doc: &Document) -> Option<&str> {
    let emails = doc.get("emails")?.as_array()?;
    let primary = emails.iter().find(|mail| mail.get("primary").and_then(Value::as_bool) == Some(true));
    let value = primary.or_else(|| emails.first())?.get("value")?.as_str()?;
    is_address(value).then_some(value)
}
