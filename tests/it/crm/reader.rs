//! What the connector of Request Tracker 5 reads from the sample helpdesk: contacts, companies from free text, tickets;
//! everything the first time, what changed after that.

use std::sync::Arc;

use musterd::model::desired::{End, Nothing, Ref, Scope, Target, Targets};
use musterd::model::kind::{Kind, Rel};
use musterd::model::time::Millis;
use serde_json::json;

use super::desk::{Memory, clock, long_ago, now, rt5, run, run_at, sample, serve, user};

fn keys(kind: Kind, all: &[&str]) -> Targets {
    Targets::Whole(all.iter().map(|key| Target::from(Ref::Key(kind, (*key).to_owned()))).collect())
}

#[tokio::test]
async fn a4_request_tracker_is_read_whole() {
    let desk = sample(620, 230);
    let mut gone = user(105);
    gone.disabled = true;
    desk.put_user(105, gone, long_ago());
    let served = serve(desk.router(), |_, _| None).await;
    let told = run(&rt5(&served.url), &Nothing, None).await;

    let contacts = told.of(Kind::Contact);
    assert_eq!(contacts.len(), 620, "system accounts are not contacts");
    let (eva, off) = (contacts["104"], contacts["105"]);
    assert_eq!(
        json!(eva.attributes),
        json!({
            "displayName": "Zákazník 104", "active": true,
            "emails": [{"value": "cust104@acme.test", "type": "work", "primary": true}],
            "phoneNumbers": [{"value": "+420 104", "type": "work", "primary": true}],
        })
    );
    assert_eq!(off.attributes["active"], json!(false), "disabled, and only its own page says so");
    assert_eq!(eva.relations[&Rel::WorksFor], keys(Kind::Company, &["acme s.r.o."]));
    assert_eq!(off.relations[&Rel::WorksFor], keys(Kind::Company, &["acme s.r.o."]), "one company, two spellings");
    assert_eq!(contacts["103"].relations[&Rel::WorksFor], keys(Kind::Company, &[]), "no company said is none");

    let companies = told.of(Kind::Company);
    assert_eq!(companies.keys().copied().collect::<Vec<_>>(), ["acme s.r.o.", "žižkov a.s."]);
    assert_eq!(companies["žižkov a.s."].attributes["displayName"], json!("Žižkov a.s."));

    let tickets = told.of(Kind::Ticket);
    assert_eq!(tickets.len(), 230);
    assert_eq!(
        json!(tickets["4"].attributes),
        json!({
            "number": "4", "title": "Case 4", "status": "open", "category": "Support",
            "created": "2026-11-01T08:00:00Z", "externalComments": true,
        })
    );
    assert_eq!(tickets["3"].attributes["externalComments"], json!(false), "this queue permits none");
    assert_eq!(tickets["4"].relations[&Rel::Concerns], keys(Kind::Contact, &["104"]));

    let Some(End::Complete { kinds, scope: Scope::Whole, .. }) = &told.end else { panic!("{:?}", told.end) };
    assert_eq!(kinds, &[Kind::Company, Kind::Contact, Kind::Ticket]);
    assert!(told.longest_chunk <= 500, "{}", told.longest_chunk);
    assert_eq!(told.bad(), []);
    assert!(!format!("{told:?}").contains(super::desk::TOKEN));
}

#[tokio::test]
async fn a4_the_second_read_asks_for_what_changed() {
    let desk = sample(120, 230);
    let served = serve(desk.router(), |_, _| None).await;
    let settings = rt5(&served.url);
    let mut memory = Memory::default();
    let first = run(&settings, &memory, None).await;
    memory.learn(&first);
    assert_eq!(served.count("/user/"), 120, "each new user is asked once whether it is disabled");

    served.forget();
    let quiet = run(&settings, &memory, first.cursor()).await;
    assert_eq!(quiet.present().count(), 0);
    assert_eq!((quiet.same(Kind::Contact), quiet.same(Kind::Company)), (120, 2));
    assert_eq!(served.count("/user/"), 0, "nobody changed, nobody is asked");
    assert_eq!(quiet.cursor(), first.cursor());

    // A ticket and two users change.
    let mut ticket = desk.ticket(7).unwrap();
    ticket.status = "resolved".to_owned();
    desk.put_ticket(7, ticket, now());
    let mut renamed = user(110);
    renamed.organization = "Nová s.r.o.".to_owned();
    desk.put_user(110, renamed, now());
    let mut off = user(111);
    off.disabled = true;
    desk.put_user(111, off, now());
    served.forget();
    let told = run(&settings, &memory, quiet.cursor()).await;
    memory.learn(&told);
    assert_eq!(told.of(Kind::Ticket).keys().copied().collect::<Vec<_>>(), ["7"]);
    assert_eq!(told.same(Kind::Ticket), 229, "all were touched at the hour of the cursor");
    assert_eq!(told.of(Kind::Contact).keys().copied().collect::<Vec<_>>(), ["110", "111"]);
    assert_eq!(told.of(Kind::Contact)["111"].attributes["active"], json!(false));
    assert_eq!(told.of(Kind::Company).keys().copied().collect::<Vec<_>>(), ["nová s.r.o."]);
    assert_eq!(served.count("/user/"), 2);
    let Some(End::Complete { kinds, scope: Scope::Whole, .. }) = &told.end else { panic!("{:?}", told.end) };
    assert_eq!(kinds, &[Kind::Company, Kind::Contact], "tickets were not read whole: none of them is absent");

    // The cursor now stands at the new change: the old tickets are not even listed.
    let next = run(&settings, &memory, told.cursor()).await;
    assert_eq!((next.same(Kind::Ticket), next.present().count()), (1, 0), "what lies within the look-back comes again");
    let asked = served.requests.lock().unwrap().iter().map(|uri| uri.to_string()).rfind(|uri| uri.contains("/tickets"));
    let asked = asked.unwrap();
    assert!(asked.contains("LastUpdated+%3E%3D+%272026-11-21+06%3A05%3A15%27"), "Prague time, 15 hours back: {asked}");
}

#[tokio::test]
async fn a4_after_a_week_or_other_settings_everything_is_read_again() {
    let desk = sample(3, 5);
    let served = serve(desk.router(), |_, _| None).await;
    let settings = rt5(&served.url);
    let first = run(&settings, &Nothing, None).await;
    let kinds = |told: &super::desk::Told| match &told.end {
        Some(End::Complete { kinds, .. }) => kinds.len(),
        other => panic!("{other:?}"),
    };
    let later = clock();
    later.advance(6 * Millis::DAY);
    assert_eq!(kinds(&run_at(&settings, &Nothing, first.cursor(), &later).await), 2);
    later.advance(Millis::DAY);
    assert_eq!(kinds(&run_at(&settings, &Nothing, first.cursor(), &later).await), 3);
    let mut other = settings.clone();
    other.tables.clear();
    other.tables.insert("comment_queues".to_owned(), json!({}));
    assert_eq!(kinds(&run(&other, &Nothing, first.cursor()).await), 3);
    assert_eq!(kinds(&run(&settings, &Nothing, Some("what is this".to_owned())).await), 3);
}

#[tokio::test]
async fn a4_a_list_that_shifts_while_it_is_read_is_read_again() {
    let desk = sample(250, 0);
    let moving = desk.clone();
    // When the second page of users is asked for, somebody of the first page vanishes: number 201 slips onto it.
    let served = serve(desk.router(), move |_, uri| {
        let second = uri.path().ends_with("/users") && uri.to_string().contains("&page=2&");
        if second && moving.user(150).is_some() {
            moving.shred_user(150);
        }
        None
    })
    .await;
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert!(matches!(told.end, Some(End::Complete { .. })), "{:?}", told.end);
    assert!(desk.user(150).is_none() && served.count("&page=1&") == 2, "it was read a second time");
    let contacts = told.of(Kind::Contact);
    for number in (101..351).filter(|number| *number != 150) {
        assert!(contacts.contains_key(number.to_string().as_str()), "{number} was overlooked");
    }
    assert_eq!(told.present().count(), told.of(Kind::Contact).len() + told.of(Kind::Company).len(), "each one once");
}

#[tokio::test]
async fn a4_tickets_that_vanish_while_they_are_read_hide_no_others() {
    let desk = sample(2, 230);
    let moving = desk.clone();
    let served = serve(desk.router(), move |_, uri| {
        if uri.to_string().contains("id+%3E+100") {
            (1..=50).for_each(|number| moving.shred_ticket(number));
        }
        None
    })
    .await;
    let told = run(&rt5(&served.url), &Nothing, None).await;
    assert!(matches!(told.end, Some(End::Complete { .. })), "{:?}", told.end);
    assert_eq!(told.of(Kind::Ticket).len(), 230);
}

#[tokio::test]
async fn a4_who_stops_listening_stops_the_read() {
    let served = serve(sample(620, 0).router(), |_, _| None).await;
    let settings = Arc::new(rt5(&served.url));
    let (out, inbox) = tokio::sync::mpsc::channel(1);
    drop(inbox);
    let ready = musterd::sources::crm::Ready::compile(&settings).unwrap();
    musterd::sources::crm::read(&settings, &ready, &Nothing, None, &clock(), out).await;
    assert!(served.count("page=7") == 0, "read to the end for nobody");
}
