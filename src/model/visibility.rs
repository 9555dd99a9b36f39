//! Which client may see which ticket, and why: the one rule behind check, batch, list and every later query.
//!
//! Facts in, answer out. The facts are gathered by `store::visibility`; a contact that was merged away has already been
//! replaced by its survivor there. What cannot be seen is refused with the most telling reason. Start with `decide`;
//! `scopes` says in which ordered ranges everything lies that `decide` can allow, and must never leave one out.

use std::collections::BTreeSet;

use serde::Serialize;

use super::entity::{Flags, State};
use super::id::EntityId;
use super::kind::{Kind, Realm, words};

/// Whether links through a contact or company count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// Kept, but nothing is seen through it.
    Disabled,
    /// A tombstone, or never existed.
    Gone,
}

impl Standing {
    pub fn of(active: bool, state: State) -> Standing {
        match (state, active) {
            (State::Tombstone, _) => Standing::Gone,
            (_, true) => Standing::Active,
            (_, false) => Standing::Disabled,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    pub id: EntityId,
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub id: EntityId,
    pub standing: Standing,
    /// Those it works for now; what it worked for before does not count (R18: tickets move along).
    pub companies: Vec<Company>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    pub id: EntityId,
    pub realm: Option<Realm>,
    pub active: bool,
    pub state: State,
    pub flags: Flags,
    /// Those it is paired with (R12).
    pub contacts: Vec<Contact>,
    /// Those it is a member of (R53).
    pub companies: Vec<Company>,
}

/// What is asked for: a ticket, device or session (R86).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub id: EntityId,
    pub kind: Kind,
    pub active: bool,
    pub state: State,
    pub flags: Flags,
    pub contacts: Vec<Contact>,
    /// Companies on which a device or session hangs without a contact between; a ticket's are ignored (R18).
    pub customers: Vec<Company>,
}

words! {
    /// The rule that allowed, or the reason of the refusal.
    Reason {
        /// R13
        OwnContact = "own_contact",
        /// R15
        CompanyTickets = "company_tickets",
        /// R96
        Membership = "membership",
        UnknownUser = "unknown_user",
        NotAClient = "not_a_client",
        UserIncomplete = "user_incomplete",
        UserInactive = "user_inactive",
        UnknownTicket = "unknown_ticket",
        /// R87
        Template = "template",
        TicketInactive = "ticket_inactive",
        TicketWithoutContact = "ticket_without_contact",
        NoContacts = "no_contacts",
        ContactDisabled = "contact_disabled",
        CompanyDisabled = "company_disabled",
        /// Of the same company, but `company_tickets` is off.
        FlagOff = "flag_off",
        /// Visible, but not within the company that was asked for (R53).
        OtherCompany = "other_company",
        NotRelated = "not_related",
    }
}

words! {
    /// What a client may do with what it sees (R17).
    Access {
        Read = "read",
        Comment = "comment",
    }
}

/// One thing on the way from the user to the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    pub kind: Kind,
    pub id: EntityId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    pub reason: Reason,
    /// From the user to the ticket; of a refusal, the path that would have allowed it, as far as there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub visible: bool,
    /// `None` when it is not visible.
    pub access: Option<Access>,
    pub because: Because,
}

/// A condition that is left out, to learn whether it alone was in the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waive {
    Nothing,
    Scope,
    Contact,
    Company,
    Flag,
}

/// `company`: only what is seen through this company (R53). `None` for viewer or subject = there is none.
pub fn decide(viewer: Option<&Viewer>, subject: Option<&Subject>, company: Option<EntityId>) -> Answer {
    let Some(viewer) = viewer else { return refused(Reason::UnknownUser) };
    if let Some(reason) = blind(viewer) {
        return refused(reason);
    }
    let Some(subject) = subject.filter(|subject| subject.state != State::Tombstone) else {
        return refused(Reason::UnknownTicket);
    };
    match subject.kind {
        Kind::Ticket | Kind::Device | Kind::Session => {}
        Kind::Template => return refused(Reason::Template),
        _ => return refused(Reason::UnknownTicket),
    }
    if !subject.active {
        return refused(Reason::TicketInactive);
    }
    if let Some(because) = way(viewer, subject, company, Waive::Nothing) {
        let comments = viewer.flags.has(Flags::COMMENTS) && subject.flags.has(Flags::COMMENTS);
        let access = if comments { Access::Comment } else { Access::Read };
        return Answer { visible: true, access: Some(access), because };
    }
    Answer { visible: false, access: None, because: why_not(viewer, subject, company) }
}

/// Why this account sees nothing at all, whatever the ticket.
pub fn blind(viewer: &Viewer) -> Option<Reason> {
    match viewer {
        Viewer { state: State::Tombstone, .. } => Some(Reason::UnknownUser),
        Viewer { realm, .. } if *realm != Some(Realm::Client) => Some(Reason::NotAClient),
        Viewer { state: State::Incomplete, .. } => Some(Reason::UserIncomplete),
        Viewer { active: false, .. } => Some(Reason::UserInactive),
        _ => None,
    }
}

fn refused(reason: Reason) -> Answer {
    Answer { visible: false, access: None, because: Because { reason, path: Vec::new() } }
}

fn why_not(viewer: &Viewer, subject: &Subject, company: Option<EntityId>) -> Because {
    let plain = |reason| Because { reason, path: Vec::new() };
    if subject.contacts.is_empty() && (subject.kind == Kind::Ticket || subject.customers.is_empty()) {
        return plain(Reason::TicketWithoutContact);
    }
    if viewer.contacts.is_empty() && !viewer.flags.has(Flags::BY_MEMBERSHIP) {
        return plain(Reason::NoContacts);
    }
    let single = [
        (Waive::Scope, Reason::OtherCompany),
        (Waive::Contact, Reason::ContactDisabled),
        (Waive::Company, Reason::CompanyDisabled),
        (Waive::Flag, Reason::FlagOff),
    ];
    for (waive, reason) in single {
        if let Some(because) = way(viewer, subject, company, waive) {
            return Because { reason, path: because.path };
        }
    }
    let paired = &viewer.contacts;
    if !paired.is_empty() && paired.iter().all(|contact| contact.standing != Standing::Active) {
        return plain(Reason::ContactDisabled);
    }
    plain(Reason::NotRelated)
}

/// The first way from the viewer to the subject: own contacts (R13), then companies (R15), then memberships (R96).
fn way(viewer: &Viewer, subject: &Subject, scope: Option<EntityId>, waive: Waive) -> Option<Because> {
    let user = Step { kind: Kind::User, id: viewer.id };
    let end = Step { kind: subject.kind, id: subject.id };
    let contact_step = |contact: &Contact| Step { kind: Kind::Contact, id: contact.id };
    let scope = if waive == Waive::Scope { None } else { scope };

    for contact in usable_contacts(viewer, waive) {
        let own = subject.contacts.iter().any(|concerned| concerned.id == contact.id);
        if own && scope.is_none_or(|scope| usable_companies(&contact.companies, waive).any(|id| id == scope)) {
            return Some(Because { reason: Reason::OwnContact, path: vec![user, contact_step(contact), end] });
        }
    }
    for (reason, contact, company) in grounds(viewer, scope, waive) {
        let Some(through) = hangs_on(subject, company) else { continue };
        let mut path = vec![user];
        path.extend(contact.map(contact_step));
        path.push(Step { kind: Kind::Company, id: company });
        path.extend(through);
        path.push(end);
        return Some(Because { reason, path });
    }
    None
}

/// The companies whose tickets the viewer sees, and through which contact (`None`: as a member).
fn grounds(
    viewer: &Viewer,
    scope: Option<EntityId>,
    waive: Waive,
) -> impl Iterator<Item = (Reason, Option<&Contact>, EntityId)> {
    let by_contact = viewer.flags.has(Flags::COMPANY_TICKETS) || waive == Waive::Flag;
    let by_membership = viewer.flags.has(Flags::BY_MEMBERSHIP);
    let through_contacts = usable_contacts(viewer, waive).filter(move |_| by_contact).flat_map(move |contact| {
        usable_companies(&contact.companies, waive).map(move |id| (Reason::CompanyTickets, Some(contact), id))
    });
    let memberships = usable_companies(&viewer.companies, waive)
        .filter(move |_| by_membership)
        .map(|id| (Reason::Membership, None, id));
    through_contacts.chain(memberships).filter(move |(_, _, id)| scope.is_none_or(|scope| *id == scope))
}

/// The way from the company to what is asked for: direct, or through one of its people, disabled or not.
fn hangs_on(subject: &Subject, company: EntityId) -> Option<Vec<Step>> {
    if subject.kind != Kind::Ticket && subject.customers.iter().any(|customer| customer.id == company) {
        return Some(Vec::new());
    }
    let works_there = |contact: &&Contact| {
        contact.standing != Standing::Gone && contact.companies.iter().any(|works_for| works_for.id == company)
    };
    subject.contacts.iter().find(works_there).map(|contact| vec![Step { kind: Kind::Contact, id: contact.id }])
}

fn usable_contacts(viewer: &Viewer, waive: Waive) -> impl Iterator<Item = &Contact> {
    viewer.contacts.iter().filter(move |contact| contact.standing == Standing::Active || waive == Waive::Contact)
}

fn usable_companies(companies: &[Company], waive: Waive) -> impl Iterator<Item = EntityId> {
    let usable = move |company: &&Company| company.standing == Standing::Active || waive == Waive::Company;
    companies.iter().filter(usable).map(|company| company.id)
}

/// The contacts and companies under which everything lies that the viewer can see. A contact whose company is among
/// them is left out: its tickets lie under the company too.
pub fn scopes(viewer: &Viewer, company: Option<EntityId>) -> BTreeSet<EntityId> {
    if blind(viewer).is_some() {
        return BTreeSet::new();
    }
    let mut scopes: BTreeSet<EntityId> =
        grounds(viewer, company, Waive::Nothing).map(|(_, _, company)| company).collect();
    for contact in usable_contacts(viewer, Waive::Nothing) {
        let mut own = usable_companies(&contact.companies, Waive::Nothing);
        let asked = company.is_none_or(|company| own.any(|id| id == company));
        let covered = contact.companies.iter().any(|company| scopes.contains(&company.id));
        if asked && !covered {
            scopes.insert(contact.id);
        }
    }
    scopes
}

/// Whether `viewer` may read the account of `other`: a client of the same contact, or with `company_contacts` of the
/// same company (R14). It says nothing about tickets.
pub fn sees_client(viewer: &Viewer, other: &Viewer) -> bool {
    if blind(viewer).is_some() || other.state == State::Tombstone || other.realm != Some(Realm::Client) {
        return false;
    }
    let wide = viewer.flags.has(Flags::COMPANY_CONTACTS);
    usable_contacts(viewer, Waive::Nothing).any(|mine| {
        other.contacts.iter().filter(|theirs| theirs.standing != Standing::Gone).any(|theirs| {
            let mut companies = usable_companies(&mine.companies, Waive::Nothing);
            let same = companies.any(|id| theirs.companies.iter().any(|company| company.id == id));
            theirs.id == mine.id || (wide && same)
        })
    })
}

#[cfg(test)]
#[path = "visibility_tests.rs"]
mod tests;
