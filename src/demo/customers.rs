//! The sample customers: who calls the helpdesk of the demo. Three companies and one private person, with tickets, so that
//! every rule of visibility has something to show: colleagues, a disabled contact, a contact without company.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::crm::{Helpdesk, Ticket, User};
use crate::model::time::Millis;

/// (login, name, company, disabled); the number is the position, from `FIRST`.
const CONTACTS: &[(&str, &str, &str, bool)] = &[
    ("petra.benesova", "Petra Benešová", "Pekárna Beneš", false),
    ("josef.benes", "Josef Beneš", "Pekárna Beneš", false),
    ("ivana.mala", "Ivana Malá", "Pekárna Beneš", true),
    ("krzysztof.nowak", "Krzysztof Nowak", "Stolarnia Nowak", false),
    ("ewa.lis", "Ewa Lis", "Stolarnia Nowak", false),
    ("heike.vogel", "Heike Vogel", "Vogel Logistik", false),
    ("uwe.krause", "Uwe Krause", "Vogel Logistik", false),
    ("sam.porter", "Sam Porter", "", false),
];

const SUBJECTS: &[&str] = &[
    "Phone does not register",
    "New extension for the shop",
    "Invoice of last month",
    "Echo on outgoing calls",
    "Voicemail full",
    "Porting of a number",
];

const FIRST: u64 = 100;
const TICKETS_EACH: u64 = 6;
const HOUR: i64 = 3_600_000;

/// Fills a new helpdesk; its times end at `now`.
pub fn helpdesk(token: &str, now: Millis) -> Arc<Helpdesk> {
    let helpdesk = Helpdesk::new(token, TimeZone::UTC);
    let mut number = 1;
    for (id, (login, name, company, disabled)) in (FIRST..).zip(CONTACTS) {
        let user = User {
            name: (*login).to_owned(),
            real_name: (*name).to_owned(),
            email: format!("{login}@customer.example"),
            organization: (*company).to_owned(),
            work_phone: format!("+420 602 000 {id}"),
            disabled: *disabled,
        };
        helpdesk.put_user(id, user, now.plus(-HOUR * 24 * 30));
        for each in 0..TICKETS_EACH {
            let ticket = Ticket {
                subject: SUBJECTS[((id + each) % SUBJECTS.len() as u64) as usize].to_owned(),
                status: if each == 0 { "open" } else { "resolved" }.to_owned(),
                queue: "General".to_owned(),
                requestors: vec![id],
            };
            helpdesk.put_ticket(number, ticket, now.plus(-HOUR * (number as i64)));
            number += 1;
        }
    }
    helpdesk
}
