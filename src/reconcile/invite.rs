//! Invites the new people of a source that is configured so: the link, its outbox row and the journal row, in the
//! transaction that makes the people. Clients get an invitation, agents a link to set their
//! password. Who has no address, is not active or not complete gets nothing; nobody is invited twice by this.
//! `settle` is called by `apply` for every batch, and ends the links of who lost an address; `post` writes one link and its mail for whoever else needs one.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::context::Context;
use super::note::note;
use super::{Error, Touched};
use crate::model::change::{Change, Op};
use crate::model::document::Document;
use crate::model::entity::{Entity, State, urn};
use crate::model::fold;
use crate::model::id::EntityId;
use crate::model::invitation::{Link, LinkData, LinkState, Purpose, Role};
use crate::model::kind::{Kind, Realm, Rel};
use crate::model::mail::{MailKind, is_address};
use crate::model::source::SourcePolicy;
use crate::store::{self, Tx, outbox};

/// Returns how many mails were put into the outbox.
pub async fn settle(tx: &mut Tx, cx: &Context, source: &SourcePolicy, touched: &Touched<'_>) -> Result<usize, Error> {
    supersede(tx, &touched.entities).await?;
    if !source.invite {
        return Ok(0);
    }
    let new: Vec<&Entity> =
        touched.entities.iter().filter(|(before, now)| is_new(*before, now)).map(|(_, now)| *now).collect();
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

/// A link lies in a mailbox. Who lost an address, or may not log in any more, has no open link from then on (S9): it
/// would let in whoever reads the old mailbox. Costs nothing while neither changes.
pub(super) async fn supersede(tx: &mut Tx, entities: &[(Option<&Entity>, &Entity)]) -> Result<(), Error> {
    let lost = |(before, now): &&(Option<&Entity>, &Entity)| {
        now.kind == Kind::User && before.is_some_and(|before| lost_its_links(before, now))
    };
    let ids: Vec<EntityId> = entities.iter().filter(lost).map(|(_, now)| now.id).collect();
    if !ids.is_empty() {
        store::link::end_of_any(tx, &ids, LinkState::Superseded).await?;
    }
    Ok(())
}

fn lost_its_links(before: &Entity, now: &Entity) -> bool {
    let died = before.state != State::Tombstone && now.state == State::Tombstone;
    died || (before.active && !now.active) || !mailboxes(&before.doc).is_subset(&mailboxes(&now.doc))
}

/// Every address, folded: another spelling is the same mailbox.
fn mailboxes(doc: &Document) -> HashSet<String> {
    let emails = doc.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    emails.iter().filter_map(|mail| mail.get("value")?.as_str()).map(fold::key).collect()
}

/// Became somebody who can log in: made so, or completed.
fn is_new(before: Option<&Entity>, now: &Entity) -> bool {
    now.kind == Kind::User
        && now.active
        && now.state == State::Live
        && before.is_none_or(|before| before.state == State::Incomplete)
}

/// The companies that people of this batch came to belong to, with their names.
async fn companies(tx: &mut Tx, touched: &Touched<'_>) -> Result<BTreeMap<EntityId, (EntityId, String)>, Error> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::model::desired::{Desired, Record, Ref, Target, Targets, Write};
    use crate::model::source::{Absence, Guard, SourceKind};
    use crate::reconcile::{Policies, apply};
    use crate::store::testing::{NOW, both};
    use crate::store::{Db, link};

    fn source(realm: Realm, invite: bool) -> SourcePolicy {
        SourcePolicy {
            name: "crm".to_owned(),
            kind: SourceKind::Push,
            realm: Some(realm),
            company: None,
            priority: 100,
            match_rules: Vec::new(),
            guard: Guard::default(),
            absence: Absence::Disable,
            invite,
            union: Default::default(),
            protected: Default::default(),
        }
    }

    fn record(kind: Kind, key: &str, attributes: Value, company: Option<&str>) -> Record {
        let Value::Object(attributes) = attributes else { panic!("no object") };
        let target = |key: &str| Target::from(Ref::Key(Kind::Company, key.to_owned()));
        let relations = company.map(|key| (Rel::BelongsTo, Targets::Whole(vec![target(key)])));
        Record::Present(Box::new(Desired {
            kind,
            key: key.to_owned(),
            realm: None,
            alias: None,
            attributes,
            write: Write::Whole,
            relations: relations.into_iter().collect(),
            digest: None,
        }))
    }

    fn client(key: &str, email: Option<&str>) -> Record {
        let emails: Vec<Value> = email.map(|email| json!({"value": email})).into_iter().collect();
        let attributes = json!({"userName": key, "displayName": key, "emails": emails, "preferredLanguage": "pl"});
        record(Kind::User, key, attributes, Some("c1"))
    }

    async fn take(db: &Db, cx: &Context, source: &SourcePolicy, records: Vec<Record>) {
        let mut tx = db.write().await.unwrap();
        let applied = apply(&mut tx, cx, source, records).await.unwrap();
        assert_eq!(applied.refused().count(), 0, "{:?}", applied.outcomes);
        tx.commit().await.unwrap();
    }

    async fn mails(db: &Db) -> Vec<outbox::Item> {
        outbox::list(&mut db.read().await.unwrap(), None, 100).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r91_new_people_with_an_address_are_invited_once_and_in_the_same_transaction() {
        both(|db| async move {
            let source = source(Realm::Client, true);
            let policies = Policies::new([source.clone()]);
            let cx = Context::new(Clock::fixed(NOW, 8), Arc::new(policies), "source:crm");
            let company = record(Kind::Company, "c1", json!({"number": "1", "displayName": "Firma"}), None);
            let mut tx = db.write().await.unwrap();
            apply(&mut tx, &cx, &source, vec![company.clone(), client("lost", Some("l@x.test"))]).await.unwrap();
            drop(tx); // the change did not happen, and neither did its mail
            assert!(mails(&db).await.is_empty());

            let people = [client("eva", Some("eva@x.test")), client("jan", None), client("bad", Some("a b@x"))];
            take(&db, &cx, &source, [vec![company], people.to_vec()].concat()).await;
            let queued = mails(&db).await;
            assert_eq!(queued.len(), 1);
            let id = queued[0].payload["link"].as_str().unwrap();
            let link = link::by_id(&mut db.read().await.unwrap(), id).await.unwrap().unwrap();
            assert_eq!((link.email.as_str(), link.purpose), ("eva@x.test", Purpose::Invitation));
            assert_eq!(link.data.language.as_deref(), Some("pl"));
            assert_eq!(link.data.company.as_deref(), Some("Firma"));
            assert!(link.entity.is_some() && link.company.is_some());

            cx.clock.advance(1000);
            take(&db, &cx, &source, people.to_vec()).await; // b5: nothing new, no mail
            take(&db, &cx, &source, vec![client("eva", Some("eva@new.test"))]).await;
            assert_eq!(mails(&db).await.len(), 1);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn agents_get_a_link_for_their_password_and_incomplete_ones_wait() {
        both(|db| async move {
            let source = source(Realm::Agent, true);
            let cx = Context::new(Clock::fixed(NOW, 8), Arc::new(Policies::new([source.clone()])), "source:hq");
            let half = json!({"userName": "p", "emails": [{"value": "p@x.test"}]});
            take(&db, &cx, &source, vec![record(Kind::User, "p", half, None)]).await;
            assert!(mails(&db).await.is_empty(), "incomplete");
            let whole = json!({"userName": "p", "emails": [{"value": "p@x.test"}],
                "name": {"givenName": "P", "familyName": "M"}});
            take(&db, &cx, &source, vec![record(Kind::User, "p", whole, None)]).await;
            let queued = mails(&db).await;
            assert_eq!(queued.len(), 1);
            assert_eq!(queued[0].kind, MailKind::SetPassword.as_str());
            let quiet = SourcePolicy { invite: false, name: "quiet".to_owned(), ..source };
            let other = json!({"userName": "q", "emails": [{"value": "q@x.test"}],
                "name": {"givenName": "Q", "familyName": "M"}});
            take(&db, &cx, &quiet, vec![record(Kind::User, "q", other, None)]).await;
            assert_eq!(mails(&db).await.len(), 1);
        })
        .await;
    }

    /// The states of an open password link and an open invitation of `key`, after `records` came.
    async fn states_after(
        db: &Db,
        cx: &Context,
        source: &SourcePolicy,
        key: &str,
        records: Vec<Record>,
    ) -> [LinkState; 2] {
        let mut tx = db.write().await.unwrap();
        let id = store::names::user(&mut tx, Realm::Client, key).await.unwrap().unwrap();
        let mut links = Vec::new();
        for purpose in [Purpose::Password, Purpose::Invitation] {
            let link = Link { entity: Some(id), ..fresh(cx, purpose, "old@x.test", LinkData::default()) };
            link::insert(&mut tx, &link).await.unwrap();
            links.push(link.id);
        }
        tx.commit().await.unwrap();
        take(db, cx, source, records).await;
        let mut read = db.read().await.unwrap();
        let password = link::by_id(&mut read, &links[0]).await.unwrap().unwrap().state;
        [password, link::by_id(&mut read, &links[1]).await.unwrap().unwrap().state]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn s9_a_link_dies_with_the_address_it_was_mailed_to_and_with_the_account() {
        both(|db| async move {
            let source = source(Realm::Client, false);
            let cx = Context::new(Clock::fixed(NOW, 8), Arc::new(Policies::new([source.clone()])), "source:crm");
            let company = record(Kind::Company, "c1", json!({"number": "1", "displayName": "Firma"}), None);
            let (eva, jan) = (client("eva", Some("eva@x.test")), client("jan", Some("jan@x.test")));
            take(&db, &cx, &source, vec![company, eva, jan]).await;
            let person = |emails: Value, active: bool| {
                let attributes = json!({"userName": "eva", "displayName": "Eva B", "emails": emails, "active": active});
                vec![record(Kind::User, "eva", attributes, Some("c1"))]
            };
            let (open, dead) = ([LinkState::Pending; 2], [LinkState::Superseded; 2]);
            let same = json!([{"value": "EVA@x.test"}, {"value": "more@x.test"}]);
            let states = states_after(&db, &cx, &source, "eva", person(same, true)).await;
            assert_eq!(states, open, "another spelling and one address more");
            let jans = vec![client("jan", Some("jan@new.test"))];
            assert_eq!(states_after(&db, &cx, &source, "eva", jans).await, open, "of somebody else");
            let new = json!([{"value": "more@x.test"}]);
            assert_eq!(states_after(&db, &cx, &source, "eva", person(new.clone(), true)).await, dead);
            assert_eq!(states_after(&db, &cx, &source, "eva", person(new.clone(), false)).await, dead, "inactive");
            take(&db, &cx, &source, person(new, true)).await;
            let gone = vec![Record::Gone { kind: Kind::User, key: "eva".to_owned() }];
            assert_eq!(states_after(&db, &cx, &source, "eva", gone).await, dead, "gone");
        })
        .await;
    }
}
