//! Keeps table `ticket_scope` true: under which contacts and companies each ticket, device and session lies.
//!
//! Called by apply inside its transaction, after entities and edges are written. It changes nothing else and writes only
//! what differs; a list decides every row again, so that at worst something is missing from a list, never shown wrongly.
//! Start with `settle`.

use std::collections::BTreeSet;

use crate::model::entity::State;
use crate::model::id::EntityId;
use crate::model::kind::{Kind, Rel};
use crate::model::visibility::Standing;
use crate::store::ticket::{self, ScopeRow};
use crate::store::visibility::{self, Thing};
use crate::store::{Error, Tx};

/// Something that apply has created, changed, deleted or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub kind: Kind,
    pub id: EntityId,
    /// Created, deleted, restored, or an edge that begins at it was added, removed or resolved.
    pub relations: bool,
}

/// Things that are read and written at once.
const CHUNK: usize = 512;

pub async fn settle(tx: &mut Tx, touched: &[Touched]) -> Result<(), Error> {
    let of = |wanted: fn(&Touched) -> bool| -> Vec<EntityId> {
        let ids: BTreeSet<EntityId> = touched.iter().filter(|touched| wanted(touched)).map(|one| one.id).collect();
        ids.into_iter().collect()
    };
    let moved = of(|one| one.kind == Kind::Contact && one.relations);
    let companies = of(|one| one.kind == Kind::Company && one.relations);
    for ids in moved.chunks(CHUNK) {
        around_contacts(tx, ids).await?;
    }
    for ids in companies.chunks(CHUNK) {
        let people: Vec<EntityId> = visibility::starts_of(tx, Rel::WorksFor, ids).await?.into_iter().collect();
        for people in people.chunks(CHUNK) {
            around_contacts(tx, people).await?;
        }
        around(tx, ids).await?;
    }
    for ids in of(|one| hangs(one.kind)).chunks(CHUNK) {
        rewrite(tx, ids).await?;
    }
    Ok(())
}

fn hangs(kind: Kind) -> bool {
    matches!(kind, Kind::Ticket | Kind::Device | Kind::Session)
}

/// Everything that hangs on these contacts, or on those who were merged into them.
async fn around_contacts(tx: &mut Tx, ids: &[EntityId]) -> Result<(), Error> {
    let all: Vec<EntityId> = visibility::with_merged(tx, ids).await?.into_iter().collect();
    for ids in all.chunks(CHUNK) {
        around(tx, ids).await?;
    }
    // A deleted contact has lost its edges: what lies under it is known only from the rows themselves.
    for id in visibility::gone(tx, ids).await? {
        loop {
            let stored = ticket::stored_under(tx, id, CHUNK).await?;
            if rewrite(tx, &stored).await? == 0 {
                break;
            }
        }
    }
    Ok(())
}

async fn around(tx: &mut Tx, ids: &[EntityId]) -> Result<(), Error> {
    for id in ticket::laden(tx, ids).await? {
        visibility::lock(tx, id).await?;
        let mut after = None;
        loop {
            let things = ticket::around(tx, id, after, CHUNK).await?;
            let Some(last) = things.last().copied() else { break };
            rewrite(tx, &things).await?;
            after = Some(last);
        }
    }
    Ok(())
}

/// Brings the rows of these things up to date; returns how many things had to be changed.
async fn rewrite(tx: &mut Tx, ids: &[EntityId]) -> Result<usize, Error> {
    let mut changed = 0;
    let ids: Vec<EntityId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for ids in ids.chunks(CHUNK) {
        visibility::lock_contacts_of(tx, ids).await?;
        let things = visibility::things(tx, ids).await?;
        let mut stored = ticket::rows_of(tx, ids).await?;
        let (mut stale, mut rows) = (Vec::new(), Vec::new());
        for id in ids {
            let wanted = things.get(id).map(rows_of).unwrap_or_default();
            let present = stored.remove(id).unwrap_or_default();
            if wanted == present {
                continue;
            }
            changed += 1;
            if !present.is_empty() {
                stale.push(*id);
            }
            rows.extend(wanted);
        }
        ticket::replace(tx, &stale, &rows).await?;
    }
    Ok(changed)
}

/// Under its contacts that are not deleted, their companies, and for what is no ticket the customers themselves.
fn rows_of(thing: &Thing) -> BTreeSet<ScopeRow> {
    if !thing.active || thing.state == State::Tombstone || !hangs(thing.kind) {
        return BTreeSet::new();
    }
    let contacts = thing.contacts.iter().filter(|contact| contact.standing != Standing::Gone);
    let people = contacts.flat_map(|contact| contact.companies.iter().map(|company| company.id).chain([contact.id]));
    let customers = thing.companies.iter().filter(|_| thing.kind != Kind::Ticket).map(|company| company.id);
    people.chain(customers).map(|scope| (ticket::scope(thing.kind, scope), thing.at.0, thing.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::entity::Flags;
    use crate::model::time::Millis;
    use crate::model::visibility::decide;
    use crate::store::testing::both;
    use crate::store::world::{id, link, put, put_full, stand, unlink};
    use crate::store::{Db, Session};

    const USERS: std::ops::Range<u64> = 100..108;
    const COMPANIES: std::ops::Range<u64> = 200..205;
    const CONTACTS: std::ops::Range<u64> = 300..318;
    const TICKETS: std::ops::Range<u64> = 400..450;

    fn pick(clock: &Clock, range: &std::ops::Range<u64>) -> u64 {
        range.start + clock.below(range.end - range.start)
    }

    fn kind_of(ticket: u64) -> Kind {
        match ticket % 5 {
            0 => Kind::Device,
            1 => Kind::Template,
            _ => Kind::Ticket,
        }
    }

    async fn build(tx: &mut Tx, clock: &Clock) {
        for n in COMPANIES {
            put(tx, Kind::Company, n, 0).await;
        }
        for n in CONTACTS {
            put(tx, Kind::Contact, n, 0).await;
            for _ in 0..clock.below(3) {
                link(tx, Rel::WorksFor, n, pick(clock, &COMPANIES), "crm").await;
            }
        }
        for n in USERS {
            let realm = if n == USERS.start { "agent" } else { "client" };
            put_full(tx, Kind::User, n, realm, clock.below(16) as i64, "{}").await;
            for source in ["crm", "crm", "operator"] {
                link(tx, Rel::Pairing, n, pick(clock, &CONTACTS), source).await;
            }
            link(tx, Rel::BelongsTo, n, pick(clock, &COMPANIES), "operator").await;
        }
        let mut touched = Vec::new();
        for n in TICKETS {
            put(tx, kind_of(n), n, clock.below(2) as i64 * Flags::COMMENTS).await;
            if clock.below(10) > 0 {
                link(tx, Rel::Concerns, n, pick(clock, &CONTACTS), "crm").await;
                link(tx, Rel::Concerns, n, pick(clock, &CONTACTS), "helpdesk").await;
            }
            if clock.below(4) == 0 {
                link(tx, Rel::Customer, n, pick(clock, &COMPANIES), "crm").await;
            }
            touched.push(Touched { kind: kind_of(n), id: id(n), relations: true });
        }
        settle(tx, &touched).await.unwrap();
    }

    /// One random event, told to `settle` as apply tells it.
    async fn happen(tx: &mut Tx, clock: &Clock) {
        let (contact, company, ticket) = (pick(clock, &CONTACTS), pick(clock, &COMPANIES), pick(clock, &TICKETS));
        let active = clock.below(3) > 0;
        let touched = match clock.below(8) {
            0 => {
                unlink(tx, Rel::WorksFor, contact).await;
                Touched { kind: Kind::Contact, id: id(contact), relations: true }
            }
            1 | 2 => {
                unlink(tx, Rel::WorksFor, contact).await;
                link(tx, Rel::WorksFor, contact, company, "crm").await;
                Touched { kind: Kind::Contact, id: id(contact), relations: true }
            }
            3 => {
                stand(tx, contact, active, State::Live).await;
                Touched { kind: Kind::Contact, id: id(contact), relations: false }
            }
            4 => {
                stand(tx, company, active, State::Live).await;
                Touched { kind: Kind::Company, id: id(company), relations: false }
            }
            5 => {
                let state = if active { State::Live } else { State::Tombstone };
                stand(tx, contact, active, state).await;
                Touched { kind: Kind::Contact, id: id(contact), relations: true }
            }
            6 => {
                unlink(tx, Rel::MergedInto, contact).await;
                if active {
                    link(tx, Rel::MergedInto, contact, pick(clock, &CONTACTS), "crm").await;
                }
                Touched { kind: Kind::Contact, id: id(contact), relations: true }
            }
            _ => {
                stand(tx, ticket, active, State::Live).await;
                unlink(tx, Rel::Concerns, ticket).await;
                link(tx, Rel::Concerns, ticket, contact, "crm").await;
                Touched { kind: kind_of(ticket), id: id(ticket), relations: true }
            }
        };
        settle(tx, &[touched]).await.unwrap();
    }

    async fn listed(session: &mut impl Session, user: u64, kind: Kind, company: Option<EntityId>) -> Vec<EntityId> {
        let viewer = visibility::viewer(session, id(user)).await.unwrap().unwrap();
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = visibility::page(session, &viewer, kind, company, before, 3).await.unwrap();
            assert!(page.seen.len() <= 3);
            all.extend(page.seen.iter().map(|seen| (seen.at, seen.id)));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert!(all.is_sorted_by(|newer, older| newer > older), "newest first, each once");
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Every user against every ticket: single check, batch and list.
    async fn agree(db: &Db, step: usize) {
        let mut session = db.read().await.unwrap();
        let tickets: Vec<EntityId> = TICKETS.map(id).collect();
        let batch = visibility::things(&mut session, &tickets).await.unwrap();
        let scopes = [None, Some(id(COMPANIES.start)), Some(id(COMPANIES.start + 1))];
        for user in USERS {
            let mut visible = BTreeSet::new();
            for n in TICKETS {
                let (viewer, subject) = visibility::facts(&mut session, id(user), id(n)).await.unwrap();
                for company in scopes {
                    let single = decide(viewer.as_ref(), subject.as_ref(), company);
                    let subject = batch.get(&id(n)).cloned().map(Thing::subject);
                    assert_eq!(single, decide(viewer.as_ref(), subject.as_ref(), company), "step {step}");
                    assert!(!(single.visible && kind_of(n) == Kind::Template));
                    if single.visible {
                        visible.insert((company, kind_of(n), id(n)));
                    }
                }
            }
            for company in scopes {
                for kind in [Kind::Ticket, Kind::Device] {
                    let listed: BTreeSet<_> = listed(&mut session, user, kind, company).await.into_iter().collect();
                    let of_this = visible.iter().filter(|(within, of, _)| (*within, *of) == (company, kind));
                    let checked: BTreeSet<_> = of_this.map(|(_, _, id)| *id).collect();
                    assert_eq!(listed, checked, "step {step}, user {user}, {kind}, {company:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn b6_check_batch_and_list_agree_whatever_happens() {
        both(|db| async move {
            for seed in 0..2 {
                let clock = Clock::fixed(Millis(0), seed);
                let mut tx = db.write().await.unwrap();
                for table in [USERS, COMPANIES, CONTACTS, TICKETS] {
                    for n in table {
                        for rel in Rel::ALL {
                            unlink(&mut tx, *rel, n).await;
                        }
                        stand(&mut tx, n, true, State::Live).await;
                    }
                }
                build(&mut tx, &clock).await;
                tx.commit().await.unwrap();
                agree(&db, 0).await;
                for step in 1..=8 {
                    let mut tx = db.write().await.unwrap();
                    for _ in 0..3 {
                        happen(&mut tx, &clock).await;
                    }
                    tx.commit().await.unwrap();
                    agree(&db, step).await;
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn r18_pairings_follow_the_survivor_over_two_merges() {
        both(|db| async move {
            let mut tx = db.write().await.unwrap();
            put(&mut tx, Kind::User, 1, 0).await;
            for n in [10, 11, 12] {
                put(&mut tx, Kind::Contact, n, 0).await;
            }
            put(&mut tx, Kind::Ticket, 20, 0).await;
            link(&mut tx, Rel::Pairing, 1, 10, "crm").await;
            link(&mut tx, Rel::Concerns, 20, 12, "crm").await;
            settle(&mut tx, &[Touched { kind: Kind::Ticket, id: id(20), relations: true }]).await.unwrap();
            for (merged, expected) in
                [(None, false), (Some((10, 11)), false), (Some((11, 12)), true), (Some((12, 10)), false)]
            {
                if let Some((from, to)) = merged {
                    link(&mut tx, Rel::MergedInto, from, to, "crm").await;
                }
                let (viewer, subject) = visibility::facts(&mut tx, id(1), id(20)).await.unwrap();
                let visible = decide(viewer.as_ref(), subject.as_ref(), None).visible;
                assert_eq!(visible, expected, "after {merged:?}; the last one closes a circle");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn r18_a_contact_with_many_tickets_takes_them_along() {
        both(|db| async move {
            let mut tx = db.write().await.unwrap();
            put(&mut tx, Kind::Company, 5, 0).await;
            put(&mut tx, Kind::Company, 6, 0).await;
            put(&mut tx, Kind::Contact, 10, 0).await;
            link(&mut tx, Rel::WorksFor, 10, 5, "crm").await;
            let mut touched = Vec::new();
            for n in 1000..1600 {
                put(&mut tx, Kind::Ticket, n, 0).await;
                link(&mut tx, Rel::Concerns, n, 10, "crm").await;
                touched.push(Touched { kind: Kind::Ticket, id: id(n), relations: true });
            }
            settle(&mut tx, &touched).await.unwrap();
            unlink(&mut tx, Rel::WorksFor, 10).await;
            link(&mut tx, Rel::WorksFor, 10, 6, "crm").await;
            settle(&mut tx, &[Touched { kind: Kind::Contact, id: id(10), relations: true }]).await.unwrap();
            for (company, count) in [(5, 0), (6, 600), (10, 600)] {
                let rows = ticket::newest(&mut tx, Kind::Ticket, id(company), 1000).await.unwrap();
                assert_eq!(rows.len(), count, "under {company}");
            }
        })
        .await;
    }
}
