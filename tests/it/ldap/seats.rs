//! Licences that hang on a group of the directory: a group that is emptied or renamed takes them from nobody unasked, however many
//! people there are beside those who have one. Both databases.

use std::collections::BTreeSet;

use musterd::reconcile::{self, End};
use musterd::store::Session as _;

use super::super::support::both;
use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::modes::state;
use super::sync::{Hq, SYNC, count};

const PEOPLE: usize = 200;
const SEATS: usize = 8;

/// Who holds which licence.
async fn licences(hq: &Hq) -> BTreeSet<String> {
    let mut read = hq.world.db.read().await.unwrap();
    let sql = "SELECT e.login_key, l.held, l.state FROM licence l JOIN entity e ON e.id = l.entity_id";
    let rows = read.all(sql, vec![]).await.unwrap();
    let text = |row: &musterd::store::Row, at| row.get::<Option<String>>(at).unwrap().unwrap_or_default();
    rows.iter().map(|row| [text(row, 0), text(row, 1), text(row, 2)].join(" ")).collect()
}

fn group(name: &str) -> String {
    format!("cn={name},ou=groups,{BASE}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_b2_licences_of_a_group_are_taken_from_nobody_unasked() {
    both(|which| async move {
        let overlay = "moduleload memberof\noverlay memberof\n";
        let directory = Directory::start_as(&ldif(PEOPLE, 0, 0), overlay).await;
        let members: Vec<String> = (0..SEATS).map(person).collect();
        let attributes = [("objectClass", "groupOfNames"), ("cn", "seats")].into_iter();
        let attributes: Vec<(&str, &str)> =
            attributes.chain(members.iter().map(|member| ("member", member.as_str()))).collect();
        directory.add(&group("seats"), &attributes).await;
        let rule = format!(
            "mode = 'paged'\n[sources.hq.users.map]\n\"agent.licence\" = \"= 'Video' if memberOf | has_dn('{}') else none\"",
            group("seats")
        );
        let hq = Hq::with(which, &directory.url(), &rule).await;
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        let all: BTreeSet<String> = (0..SEATS).map(|n| format!("p{n:06} Video active")).collect();
        assert_eq!(licences(&hq).await, all);
        let before = state(&hq).await;

        // Emptied but for one; under another name; gone. Of 200 people they are few, of those with a licence they are not.
        directory.replace(&group("seats"), "member", &[&person(0)]).await;
        let held = hq.poll(SYNC).await;
        assert_eq!((held.state, count(&held, "bad")), (End::Held, 0), "{:?}", held.counts);
        let message = held.message.as_deref().unwrap_or_default();
        assert!(message.contains("user licence: 7 of 8 would be taken away, the limit is 5 (87 percent)"), "{message}");
        let all_members: Vec<&str> = members.iter().map(String::as_str).collect();
        directory.replace(&group("seats"), "member", &all_members).await;
        directory.rename(&group("seats"), "cn=chairs", None).await;
        let renamed = hq.poll(SYNC).await;
        let [stop] = renamed.stops.as_slice() else { panic!("{:?}", renamed.stops) };
        assert_eq!((renamed.state, stop.what.as_str(), stop.losses, stop.held), (End::Held, "user licence", 8, 8));
        assert_eq!((licences(&hq).await, state(&hq).await), (all.clone(), before.clone()), "nothing is lost");
        // Put right, nothing waits and nothing has happened.
        directory.rename(&group("chairs"), "cn=seats", None).await;
        let right = hq.poll(SYNC).await;
        assert_eq!((right.state, count(&right, "update"), licences(&hq).await), (End::Done, 0, all.clone()));

        // Approved, exactly that happens.
        directory.replace(&group("seats"), "member", &[&person(0)]).await;
        let held = hq.poll(SYNC).await;
        let approved = reconcile::approve(&hq.world.db, &hq.world.context("test"), held.run.unwrap(), None).await.unwrap();
        assert_eq!((approved.state, count(&approved, "update"), count(&approved, "licence")), (End::Done, 7, 7));
        assert_eq!(licences(&hq).await, BTreeSet::from(["p000000 Video active".to_owned()]));
        assert_eq!(hq.figures().await["active"], PEOPLE as i64);
        assert_eq!(hq.poll(SYNC).await.run, None, "nothing is left to do");
    })
    .await;
}
