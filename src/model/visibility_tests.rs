//! The edges of the visibility rule, one test each, and that the ranges of a list hold whatever a check allows.
//! Owns small worlds of people and tickets; never touches a database. Start with `client`.

use proptest::prelude::*;

use super::*;

fn id(n: u128) -> EntityId {
    EntityId(uuid::Uuid::from_u128(n))
}

const EVA: u128 = 1;
const TICKET: u128 = 2;
const ACME: u128 = 10;
const BETA: u128 = 11;
const MINE: u128 = 20;
const COLLEAGUE: u128 = 21;

fn company(n: u128) -> Company {
    Company { id: id(n), standing: Standing::Active }
}

fn contact(n: u128, companies: &[u128]) -> Contact {
    Contact { id: id(n), standing: Standing::Active, companies: companies.iter().map(|n| company(*n)).collect() }
}

fn client(flags: i64, contacts: Vec<Contact>) -> Viewer {
    Viewer {
        id: id(EVA),
        realm: Some(Realm::Client),
        active: true,
        state: State::Live,
        flags: Flags(flags),
        contacts,
        companies: Vec::new(),
    }
}

fn subject(kind: Kind, contacts: Vec<Contact>, customers: &[u128]) -> Subject {
    Subject {
        id: id(TICKET),
        kind,
        active: true,
        state: State::Live,
        flags: Flags(0),
        contacts,
        customers: customers.iter().map(|n| company(*n)).collect(),
    }
}

fn ticket_of(contact: Contact) -> Subject {
    subject(Kind::Ticket, vec![contact], &[])
}

fn reason(viewer: &Viewer, subject: &Subject) -> &'static str {
    let answer = decide(Some(viewer), Some(subject), None);
    assert_eq!(answer.visible, answer.access.is_some());
    answer.because.reason.as_str()
}

fn with(mut contact: Contact, standing: Standing) -> Contact {
    contact.standing = standing;
    contact
}

const WIDE: i64 = Flags::COMPANY_TICKETS;

#[test]
fn r1_an_agent_is_no_client() {
    let mut agent = client(WIDE, vec![contact(MINE, &[ACME])]);
    agent.realm = Some(Realm::Agent);
    assert_eq!(reason(&agent, &ticket_of(contact(MINE, &[ACME]))), "not_a_client");
}

#[test]
fn r13_the_union_of_all_paired_contacts() {
    let eva = client(0, vec![contact(MINE, &[ACME]), contact(22, &[])]);
    for own in [MINE, 22] {
        let answer = decide(Some(&eva), Some(&ticket_of(contact(own, &[ACME]))), None);
        let path: Vec<EntityId> = answer.because.path.iter().map(|step| step.id).collect();
        assert_eq!((answer.because.reason, path), (Reason::OwnContact, vec![id(EVA), id(own), id(TICKET)]));
    }
    assert_eq!(reason(&eva, &ticket_of(contact(23, &[]))), "not_related");
    assert_eq!(reason(&client(0, vec![]), &ticket_of(contact(MINE, &[]))), "no_contacts");
}

#[test]
fn r14_company_contacts_concerns_clients() {
    let other = |contacts| Viewer { id: id(99), ..client(0, contacts) };
    let narrow = client(0, vec![contact(MINE, &[ACME])]);
    let wide = client(Flags::COMPANY_CONTACTS, vec![contact(MINE, &[ACME])]);
    let same_contact = other(vec![contact(MINE, &[ACME])]);
    let same_company = other(vec![contact(COLLEAGUE, &[ACME])]);
    let stranger = other(vec![contact(30, &[BETA])]);
    assert!(sees_client(&narrow, &same_contact) && !sees_client(&narrow, &same_company));
    assert!(sees_client(&wide, &same_contact) && sees_client(&wide, &same_company));
    assert!(!sees_client(&wide, &stranger));
    let nowhere = client(Flags::COMPANY_CONTACTS, vec![contact(MINE, &[])]);
    assert!(!sees_client(&nowhere, &other(vec![contact(COLLEAGUE, &[])])), "no company never equals no company");
}

#[test]
fn r15_company_tickets_opens_the_company_with_its_path() {
    let colleagues = ticket_of(contact(COLLEAGUE, &[ACME]));
    assert_eq!(reason(&client(0, vec![contact(MINE, &[ACME])]), &colleagues), "flag_off");
    let wide = client(WIDE, vec![contact(MINE, &[ACME])]);
    let answer = decide(Some(&wide), Some(&colleagues), None);
    let path: Vec<EntityId> = answer.because.path.iter().map(|step| step.id).collect();
    assert_eq!(answer.because.reason, Reason::CompanyTickets);
    assert_eq!(path, [id(EVA), id(MINE), id(ACME), id(COLLEAGUE), id(TICKET)]);
    assert_eq!(reason(&wide, &ticket_of(contact(COLLEAGUE, &[BETA]))), "not_related");
}

#[test]
fn r16_the_four_combinations_of_the_flags() {
    let colleague = Viewer { id: id(99), ..client(0, vec![contact(COLLEAGUE, &[ACME])]) };
    let theirs = ticket_of(contact(COLLEAGUE, &[ACME]));
    for (contacts, tickets) in [(false, false), (false, true), (true, false), (true, true)] {
        let flags = (if contacts { Flags::COMPANY_CONTACTS } else { 0 }) | (if tickets { WIDE } else { 0 });
        let eva = client(flags, vec![contact(MINE, &[ACME])]);
        assert_eq!(sees_client(&eva, &colleague), contacts, "clients with {contacts}/{tickets}");
        assert_eq!(decide(Some(&eva), Some(&theirs), None).visible, tickets, "tickets with {contacts}/{tickets}");
    }
}

#[test]
fn r17_comments_need_both_permissions() {
    for (user, category) in [(false, false), (false, true), (true, false), (true, true)] {
        let eva = client(if user { Flags::COMMENTS } else { 0 }, vec![contact(MINE, &[])]);
        let mut ticket = ticket_of(contact(MINE, &[]));
        ticket.flags = Flags(if category { Flags::COMMENTS } else { 0 });
        let expected = if user && category { Access::Comment } else { Access::Read };
        assert_eq!(decide(Some(&eva), Some(&ticket), None).access, Some(expected));
    }
}

#[test]
fn r18_no_company_never_equals_no_company() {
    let eva = client(WIDE, vec![contact(MINE, &[])]);
    assert_eq!(reason(&eva, &ticket_of(contact(MINE, &[]))), "own_contact");
    assert_eq!(reason(&eva, &ticket_of(contact(COLLEAGUE, &[]))), "not_related");
}

#[test]
fn r18_several_companies_are_a_union() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME, BETA]), contact(22, &[12])]);
    for company in [ACME, BETA, 12] {
        assert_eq!(reason(&eva, &ticket_of(contact(COLLEAGUE, &[company]))), "company_tickets");
    }
}

#[test]
fn r18_a_ticket_without_contact_is_invisible_even_to_its_company() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME])]);
    assert_eq!(reason(&eva, &subject(Kind::Ticket, vec![], &[ACME])), "ticket_without_contact");
}

#[test]
fn r18_r86_a_device_or_session_may_hang_on_the_company() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME])]);
    for kind in [Kind::Device, Kind::Session] {
        assert_eq!(reason(&eva, &subject(kind, vec![], &[ACME])), "company_tickets");
        assert_eq!(reason(&eva, &subject(kind, vec![], &[BETA])), "not_related");
        assert_eq!(reason(&eva, &subject(kind, vec![contact(MINE, &[])], &[])), "own_contact");
        assert_eq!(reason(&client(0, vec![contact(MINE, &[ACME])]), &subject(kind, vec![], &[ACME])), "flag_off");
    }
}

#[test]
fn r18_a_disabled_colleagues_tickets_stay_visible() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME])]);
    let disabled = with(contact(COLLEAGUE, &[ACME]), Standing::Disabled);
    assert_eq!(reason(&eva, &ticket_of(disabled)), "company_tickets");
    assert_eq!(reason(&eva, &ticket_of(with(contact(COLLEAGUE, &[ACME]), Standing::Gone))), "not_related");
}

#[test]
fn r18_a_contact_that_moves_takes_its_tickets_along() {
    let at_acme = client(WIDE, vec![contact(MINE, &[ACME])]);
    let at_beta = client(WIDE, vec![contact(22, &[BETA])]);
    let before = ticket_of(contact(COLLEAGUE, &[ACME]));
    let after = ticket_of(contact(COLLEAGUE, &[BETA]));
    assert_eq!((reason(&at_acme, &before), reason(&at_beta, &before)), ("company_tickets", "not_related"));
    assert_eq!((reason(&at_acme, &after), reason(&at_beta, &after)), ("not_related", "company_tickets"));
}

#[test]
fn r18_nothing_is_seen_through_a_disabled_or_deleted_contact() {
    for standing in [Standing::Disabled, Standing::Gone] {
        let mine = with(contact(MINE, &[ACME]), standing);
        let eva = client(WIDE, vec![mine.clone()]);
        assert_eq!(reason(&eva, &ticket_of(mine)), "contact_disabled");
        assert_eq!(reason(&eva, &ticket_of(contact(COLLEAGUE, &[ACME]))), "contact_disabled");
        assert!(scopes(&eva, None).is_empty());
    }
}

#[test]
fn r18_nothing_is_seen_through_a_disabled_or_deleted_company() {
    for standing in [Standing::Disabled, Standing::Gone] {
        let mut mine = contact(MINE, &[ACME]);
        mine.companies[0].standing = standing;
        let eva = client(WIDE, vec![mine.clone()]);
        assert_eq!(reason(&eva, &ticket_of(contact(COLLEAGUE, &[ACME]))), "company_disabled");
        assert_eq!(reason(&eva, &ticket_of(mine)), "own_contact", "not through the company");
        assert!(!decide(Some(&eva), Some(&ticket_of(contact(MINE, &[ACME]))), Some(id(ACME))).visible);
    }
}

#[test]
fn r18_an_inactive_client_sees_nothing() {
    let ticket = ticket_of(contact(MINE, &[ACME]));
    let eva = client(WIDE, vec![contact(MINE, &[ACME])]);
    assert_eq!(reason(&Viewer { active: false, ..eva.clone() }, &ticket), "user_inactive");
    assert_eq!(reason(&Viewer { state: State::Incomplete, ..eva.clone() }, &ticket), "user_incomplete");
    assert_eq!(reason(&Viewer { state: State::Tombstone, ..eva }, &ticket), "unknown_user");
}

#[test]
fn r53_a_company_narrows_what_is_seen() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME]), contact(22, &[BETA]), contact(23, &[])]);
    let within = |ticket: &Subject, n: u128| decide(Some(&eva), Some(ticket), Some(id(n))).because.reason.as_str();
    let mine = ticket_of(contact(MINE, &[ACME]));
    assert_eq!((within(&mine, ACME), within(&mine, BETA)), ("own_contact", "other_company"));
    let colleagues = ticket_of(contact(COLLEAGUE, &[BETA]));
    assert_eq!((within(&colleagues, ACME), within(&colleagues, BETA)), ("other_company", "company_tickets"));
    assert_eq!(within(&ticket_of(contact(23, &[])), ACME), "other_company");
    assert_eq!(scopes(&eva, Some(id(ACME))).into_iter().collect::<Vec<_>>(), [id(ACME)]);
}

#[test]
fn r87_a_template_is_never_visible() {
    let eva = client(WIDE, vec![contact(MINE, &[ACME])]);
    assert_eq!(reason(&eva, &subject(Kind::Template, vec![contact(MINE, &[ACME])], &[ACME])), "template");
}

#[test]
fn r96_membership_grants_sight_only_where_the_profile_says_so() {
    let ticket = ticket_of(contact(COLLEAGUE, &[ACME]));
    let member = |flags| Viewer { companies: vec![company(ACME)], ..client(flags, vec![]) };
    assert_eq!(reason(&member(Flags::BY_MEMBERSHIP), &ticket), "membership");
    assert_eq!(reason(&member(0), &ticket), "no_contacts");
    let mut former = member(Flags::BY_MEMBERSHIP);
    former.companies[0].standing = Standing::Disabled;
    assert_eq!(reason(&former, &ticket), "company_disabled");
}

#[test]
fn what_does_not_exist_is_refused() {
    let eva = client(0, vec![contact(MINE, &[])]);
    let mut ticket = ticket_of(contact(MINE, &[]));
    assert_eq!(decide(None, Some(&ticket), None).because.reason, Reason::UnknownUser);
    assert_eq!(decide(Some(&eva), None, None).because.reason, Reason::UnknownTicket);
    assert_eq!(reason(&eva, &subject(Kind::Company, vec![], &[])), "unknown_ticket");
    ticket.active = false;
    assert_eq!(reason(&eva, &ticket), "ticket_inactive");
    ticket.state = State::Tombstone;
    assert_eq!(reason(&eva, &ticket), "unknown_ticket");
}

fn any_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![4 => Just(Standing::Active), 1 => Just(Standing::Disabled), 1 => Just(Standing::Gone)]
}

/// Contacts 20..26 in companies 10..13, each with one standing in the whole world.
fn any_world() -> impl Strategy<Value = Vec<Contact>> {
    let companies = proptest::collection::vec(any_standing(), 4);
    let contacts = proptest::collection::vec((any_standing(), proptest::collection::btree_set(0..4_usize, 0..3)), 6);
    (companies, contacts).prop_map(|(companies, contacts)| {
        let made = contacts.into_iter().enumerate().map(|(n, (standing, works_for))| Contact {
            id: id(20 + n as u128),
            standing,
            companies: works_for
                .into_iter()
                .map(|n| Company { id: id(10 + n as u128), standing: companies[n] })
                .collect(),
        });
        made.collect()
    })
}

proptest! {
    /// What a check allows lies in a range that the list reads.
    #[test]
    fn b6_the_ranges_of_the_list_hold_all_that_a_check_allows(
        world in any_world(),
        flags in 0..16_i64,
        paired in proptest::collection::btree_set(0..6_usize, 0..4),
        member in proptest::collection::btree_set(10..14_u128, 0..3),
        concerned in proptest::collection::btree_set(0..6_usize, 0..3),
        scope in proptest::option::of(10..14_u128),
    ) {
        let mut eva = client(flags, paired.into_iter().map(|n| world[n].clone()).collect());
        eva.companies = member.into_iter().map(company).collect();
        let ticket = subject(Kind::Ticket, concerned.into_iter().map(|n| world[n].clone()).collect(), &[]);
        let lies_under: BTreeSet<EntityId> = ticket.contacts.iter().filter(|contact| contact.standing != Standing::Gone)
            .flat_map(|contact| contact.companies.iter().map(|company| company.id).chain([contact.id])).collect();
        let scope = scope.map(id);
        if decide(Some(&eva), Some(&ticket), scope).visible {
            prop_assert!(!scopes(&eva, scope).is_disjoint(&lies_under));
        }
    }
}
