//! The ways to find out what changed, each against everything read page by page: whatever happens in the directory, both
//! come to the same people and groups, nobody is lost, and where nothing changed nothing is written. Both databases.

use std::collections::BTreeMap;

use musterd::reconcile::{self, End, Mode};
use musterd::store::{Session as _, source_state};

use super::super::support::process::is_root;
use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::support::{Which, both, ds389, long};
use super::sync::{Hq, SYNC, count};

const PEOPLE: usize = 300;
const GROUPS: usize = 12;

/// Login -> whether active and all that is known; group -> its members.
pub(super) async fn state(hq: &Hq) -> BTreeMap<String, String> {
    const THINGS: &str = "SELECT e.kind, e.login_key, e.active, e.doc, e.state FROM entity e \
                          WHERE e.state <> 'tombstone' AND e.kind IN ('user', 'group')";
    const ENDS: &str = "SELECT g.login_key, u.login_key FROM edge m JOIN entity g ON g.id = m.from_id \
                        JOIN entity u ON u.id = m.to_id WHERE m.rel = 'member' ORDER BY 1, 2";
    let mut read = hq.world.db.read().await.unwrap();
    let mut all = BTreeMap::new();
    for row in read.all(THINGS, vec![]).await.unwrap() {
        let text = |column| row.get::<Option<String>>(column).unwrap().unwrap_or_default();
        let active: bool = row.get(2).unwrap();
        // Of somebody who left the last words stay, and these depend on when it was read last.
        let doc = if active || text(0) == "group" { text(3) } else { String::new() };
        all.insert(format!("{} {}", text(0), text(1)), format!("{active} {} {doc}", text(4)));
    }
    for row in read.all(ENDS, vec![]).await.unwrap() {
        let (group, member): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        all.entry(format!("members {group}")).or_default().push_str(&format!("{member} "));
    }
    all
}

/// One way of reading beside the plain one.
pub(super) struct Pair {
    pub(super) wise: Hq,
    pub(super) plain: Hq,
}

impl Pair {
    pub(super) async fn of(which: Which, url: &str, more: &str) -> Pair {
        let guard = "guard = { percent = 50, count = 50 }";
        let more = format!("{more}\n{guard}");
        let preset = more.lines().find(|line| line.starts_with("preset")).unwrap_or_default();
        let plain = format!("mode = 'paged'\n{preset}\n{guard}");
        Pair { wise: Hq::with(which, url, &more).await, plain: Hq::with(which, url, &plain).await }
    }

    /// Polls both, twice: what points at somebody who got another name is read anew by the next read. They must agree, and then
    /// nothing is written any more. What the first read says of itself.
    pub(super) async fn poll(&self, what: &str) -> String {
        let first = self.wise.poll(SYNC).await;
        assert_eq!(first.state, End::Done, "{what}: {:?}", first.message);
        for hq in [&self.wise, &self.plain, &self.plain] {
            let run = hq.poll(SYNC).await;
            assert_eq!(run.state, End::Done, "{what}: {:?}", run.message);
        }
        let (wise, plain) = (state(&self.wise).await, state(&self.plain).await);
        for (name, value) in &plain {
            assert_eq!(wise.get(name), Some(value), "{what}: {name}, {:?}", first.message);
        }
        assert_eq!(wise.len(), plain.len(), "{what}");
        let before = self.wise.figures().await;
        let again = self.wise.poll(SYNC).await;
        assert_eq!((again.state, again.run), (End::Done, None), "{what}: {:?}", again.counts);
        assert_eq!(self.wise.figures().await, before, "{what}");
        first.message.unwrap_or_default()
    }
}

async fn hire(directory: &Directory, login: &str) {
    let dn = format!("uid={login},ou=people,{BASE}");
    let mail = format!("{login}@example.com");
    let attributes =
        [("objectClass", "inetOrgPerson"), ("uid", login), ("cn", login), ("sn", login), ("mail", mail.as_str())];
    directory.add(&dn, &attributes).await;
}

/// All that happens to people in a directory, in small steps.
async fn life(pair: &Pair, directory: &Directory) {
    directory.replace(&person(1), "title", &["Owner"]).await;
    pair.poll("a title").await;
    hire(directory, "new").await;
    pair.poll("somebody new").await;
    directory.rename(&person(2), "uid=renamed", None).await;
    pair.poll("a new name").await;
    let group = format!("cn=group0001,ou=groups,{BASE}");
    directory.replace(&group, "member", &[&person(5), &person(6), &format!("uid=new,ou=people,{BASE}")]).await;
    pair.poll("other members").await;
    directory.replace(&person(3), "objectClass", &["person", "organizationalPerson", "inetOrgPerson"]).await;
    // The mail of one goes to another, in one run.
    directory.replace(&person(7), "mail", &["other@example.com"]).await;
    directory.replace(&person(8), "mail", &["p000007@example.com"]).await;
    pair.poll("an address that moves").await;
    directory.delete([person(9), person(10), format!("cn=group0002,ou=groups,{BASE}")]).await;
    hire(directory, "newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b5_syncrepl_comes_to_what_a_whole_read_comes_to() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(PEOPLE, GROUPS, 20)).await;
        let pair = Pair::of(which, &directory.url(), "").await;
        let first = pair.poll("everything").await;
        assert!(first.starts_with("syncrepl (the server offers it)"), "{first}");
        let run = pair.wise.poll(SYNC).await;
        assert_eq!(count(&run, "read"), 0, "nothing is sent where nothing changed");
        life(&pair, &directory).await;
        pair.poll("people and a group gone").await;
        // Out of what is searched, and back: the same person.
        directory.rename(&person(11), "uid=p000011", Some(BASE)).await;
        pair.poll("another branch that is searched").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_syncrepl_of_389_ds_comes_to_what_a_whole_read_comes_to() {
    if !long() || !is_root() {
        return;
    }
    for which in [Which::Sqlite, Which::Postgres] {
        let directory = ds389::start(&ldif(60, 6, 10)).await;
        let pair = Pair::of(which, &directory.url(), "preset = '389ds'").await;
        let first = pair.poll("everything").await;
        assert!(first.starts_with("syncrepl (the server offers it)"), "{first}");
        life(&pair, &directory).await;
        pair.poll("people and a group gone").await;
        directory.replace(&person(12), "nsAccountLock", &["true"]).await;
        pair.poll("locked").await;
        let locked = state(&pair.wise).await.remove("user p000012").unwrap();
        assert!(locked.starts_with("false"), "{locked}");
        directory.replace(&person(12), "nsAccountLock", &[]).await;
        pair.poll("unlocked").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b2_syncrepl_survives_restarts_lost_places_and_strange_cookies() {
    both(|which| async move {
        let mut directory = Directory::syncing(&ldif(PEOPLE, GROUPS, 20)).await;
        let pair = Pair::of(which, &directory.url(), "").await;
        pair.poll("everything").await;
        // Its memory of what was deleted is gone: it names all who are still there.
        directory.delete([person(20)]).await;
        directory.replace(&person(21), "title", &["Owner"]).await;
        directory.process().stop();
        directory.restart().await;
        pair.poll("after a restart").await;
        // A cookie that nobody can read, and one from the future: everything, and whoever is gone is noticed.
        for cookie in ["Z2FyYmFnZQ==", "cmlkPTAwMCxjc249MjA5OTAxMDEwMDAwMDAuMDAwMDAwWiMwMDAwMDAjMDAwIzAwMDAwMA=="] {
            let mut tx = pair.wise.world.db.write().await.unwrap();
            let mut row = source_state::by_name(&mut tx, "hq").await.unwrap().unwrap();
            let mut cursor: serde_json::Value = serde_json::from_str(row.cursor.as_deref().unwrap()).unwrap();
            for kind in ["user", "group"] {
                cursor["marks"][kind] = cookie.into();
            }
            row.cursor = Some(cursor.to_string());
            source_state::put(&mut tx, &row).await.unwrap();
            tx.commit().await.unwrap();
            directory.delete([person(if cookie.len() < 20 { 30 } else { 31 })]).await;
            // What looks like changes may be everything; the next read knows.
            let first = pair.wise.poll(SYNC).await;
            assert_eq!(first.state, End::Done, "{:?}", first.message);
            pair.wise.poll(SYNC).await;
            pair.poll(cookie).await;
        }
        assert_eq!(
            state(&pair.wise).await.values().filter(|thing| thing.starts_with("true")).count(),
            PEOPLE - 3 + GROUPS
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_timestamps_come_to_what_a_whole_read_comes_to_once_it_was_looked_who_is_there() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(PEOPLE, GROUPS, 20)).await;
        let pair = Pair::of(which, &directory.url(), "mode = 'timestamp'\nsweep_every = '1ms'").await;
        pair.poll("everything").await;
        life(&pair, &directory).await;
        pair.poll("people and a group gone").await;
        // Without a sweep nobody is taken for gone, and what changed is heard of.
        let rare = Hq::with(which, &directory.url(), "mode = 'timestamp'").await;
        rare.poll(SYNC).await;
        let before = rare.figures().await;
        directory.delete([person(40)]).await;
        directory.replace(&person(41), "title", &["Owner"]).await;
        let run = rare.poll(SYNC).await;
        assert_eq!((run.state, count(&run, "update"), count(&run, "disable")), (End::Done, 1, 0), "{:?}", run.counts);
        assert_eq!(rare.figures().await["active"], before["active"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_what_a_server_does_not_offer_is_said_and_a_wish_that_cannot_be_met_changes_nothing() {
    both(|which| async move {
        let directory = Directory::start(&ldif(20, 2, 3)).await;
        // The module is there, the database has no such overlay: only asking shows it.
        let auto = Hq::with(which, &directory.url(), "").await;
        let run = auto.poll(SYNC).await;
        assert_eq!((run.state, count(&run, "create")), (End::Done, 22), "{:?}", run.message);
        let told = run.message.unwrap_or_default();
        assert!(told.contains("page by page: the server refused syncrepl"), "{told}");
        for (mode, why) in [("syncrepl", "12"), ("dirsync", "does not offer DirSync"), ("usn", "uSNChanged")] {
            let wish = Hq::with(which, &directory.url(), &format!("mode = '{mode}'")).await;
            let run = wish.poll(SYNC).await;
            assert_eq!(run.state, End::Failed, "{mode}");
            assert!(run.message.as_deref().is_some_and(|told| told.contains(why)), "{mode}: {:?}", run.message);
            assert_eq!(wish.figures().await["entity"], 0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_everything_is_read_again_in_time() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(50, 3, 5)).await;
        let often = Hq::with(which, &directory.url(), "full_every = '1ms'").await;
        often.poll(SYNC).await;
        assert_eq!(count(&often.poll(SYNC).await, "same"), 53, "its time has come");
        let row = source_state::by_name(&mut often.world.db.read().await.unwrap(), "hq").await.unwrap().unwrap();
        assert!(row.cursor.unwrap().contains("syncrepl"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_another_filter_base_or_mapping_waits_for_somebody_who_has_looked() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(100, 4, 5)).await;
        let url = directory.url();
        let hq = Hq::with(which, &url, "guard = { percent = 100, count = 1000 }").await;
        hq.poll(SYNC).await;
        let before = state(&hq).await;
        // Fewer people than the guard would let go, and all by a slip of the pen.
        let slip = "guard = { percent = 100, count = 1000 }\n[sources.hq.users]\nfilter = '(uid=p00001*)'";
        let other = hq.reconfigured(&url, slip);
        let run = other.poll(SYNC).await;
        assert_eq!(run.state, End::Held, "{:?}", run.message);
        assert!(run.message.as_deref().is_some_and(|told| told.contains("filter, base, mapping")), "{:?}", run.message);
        assert_eq!(state(&hq).await, before);
        let again = other.poll(SYNC).await;
        assert_eq!((again.state, again.run), (End::Held, run.run), "the same wait, not another");
        // The old settings are those of before: nothing to look at.
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        // A mapping: previewed, and taken by the digest of the preview.
        let more = "guard = { percent = 100, count = 1000 }\n[sources.hq.users.map]\ntitle = 'employeeNumber'";
        let mapped = hq.reconfigured(&url, more);
        let preview = mapped.poll(Mode::Plan).await;
        assert_eq!(count(&preview, "update"), 100, "{:?}", preview.counts);
        assert!(preview.stops[0].reason.is_some(), "a preview says why it is needed");
        assert_eq!(mapped.poll(SYNC).await.state, End::Held);
        let taken = mapped.poll(Mode::Sync { expect: Some(preview.digest) }).await;
        assert_eq!((taken.state, count(&taken, "update")), (End::Done, 100), "{:?}", taken.message);
        assert_eq!(mapped.poll(SYNC).await.run, None);
        // Approved in place of the digest.
        let back = hq.poll(SYNC).await;
        assert_eq!(back.state, End::Held);
        let approved =
            reconcile::approve(&hq.world.db, &hq.world.context("test"), back.run.unwrap(), None).await.unwrap();
        assert_eq!((approved.state, count(&approved, "update")), (End::Done, 100));
        assert_eq!((hq.poll(SYNC).await.state, state(&hq).await), (End::Done, before));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_a_directory_that_is_empty_after_a_restart_takes_nobody_away_unasked() {
    both(|which| async move {
        let mut directory = Directory::syncing(&ldif(8, 1, 1)).await;
        let hq = Hq::with(which, &directory.url(), "").await;
        hq.poll(SYNC).await;
        let before = state(&hq).await;
        directory.delete((0..8).map(person)).await;
        directory.process().stop();
        directory.restart().await;
        // It names neither who changed nor who is left.
        let run = hq.poll(SYNC).await;
        assert_eq!(run.state, End::Held, "{:?}", run.message);
        assert_eq!(state(&hq).await, before);
        assert!(
            run.message.as_deref().is_some_and(|told| told.contains("8 of 8 would be taken away")),
            "{:?}",
            run.message
        );
    })
    .await;
}
