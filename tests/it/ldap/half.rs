//! Answers that are not short but half readable: an attribute that the reader may not see any more, an entry that cannot be
//! taken, a name that nobody was told of, a key that two have. Nobody loses anything by them unasked. Both databases.

use musterd::clock::Clock;
use musterd::model::time::Millis;
use musterd::reconcile::End;
use musterd::store::Session as _;

use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::support::{Which, both};
use super::modes::{Pair, state};
use super::sync::{Hq, SYNC};

const MODES: [&str; 3] = ["mode = 'paged'", "mode = 'syncrepl'", "mode = 'timestamp'\nsweep_every = '1ms'"];

async fn count(hq: &Hq, sql: &'static str) -> i64 {
    hq.world.db.read().await.unwrap().one(sql, vec![]).await.unwrap().get(0).unwrap()
}

const LIVE: &str = "SELECT count(*) FROM entity WHERE kind = 'user' AND active AND state = 'live'";
const ACTIVE: &str = "SELECT count(*) FROM entity WHERE kind = 'user' AND active";

#[tokio::test(flavor = "multi_thread")]
async fn b2_r5_an_attribute_that_is_hidden_locks_nobody_out() {
    both(|which| async move {
        for mode in MODES {
            let directory = Directory::syncing(&ldif(40, 2, 5)).await;
            let hq = Hq::with(which, &directory.url(), mode).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(count(&hq, LIVE).await, 40);
            // Without an address there is no account.
            for n in 0..30 {
                directory.replace(&person(n), "mail", &[]).await;
            }
            let run = hq.poll(SYNC).await;
            assert_eq!((run.state, run.stops[0].losses), (End::Held, 30), "{mode}: {:?}", run.counts);
            assert_eq!(count(&hq, LIVE).await, 40, "{mode}");
            for n in 0..30 {
                directory.replace(&person(n), "mail", &[&format!("p{n:06}@example.com")]).await;
                directory.replace(&person(n), "telephoneNumber", &[]).await;
            }
            let run = hq.poll(SYNC).await;
            let what: Vec<&str> = run.stops.iter().map(|stop| stop.what.as_str()).collect();
            assert_eq!((run.state, what), (End::Held, vec!["user phoneNumbers"]), "{mode}: {:?}", run.counts);
            // A few may lose theirs.
            for n in 5..30 {
                directory.replace(&person(n), "telephoneNumber", &[&format!("+420 222 {n:06}")]).await;
            }
            assert_eq!(hq.poll(SYNC).await.state, End::Done, "{mode}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r71_whoever_cannot_be_taken_is_switched_off_all_the_same() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(20, 1, 5)).await;
        let modes = [MODES[0], MODES[1]];
        let mut all: Vec<Hq> = Vec::new();
        for mode in modes {
            // Whose title is `#` cannot be mapped.
            let rule = "[sources.hq.users.map]\ntitle = \"= title if title != '#' else nothing\"";
            all.push(Hq::with(which, &directory.url(), &format!("{mode}\n{rule}")).await);
        }
        for hq in &all {
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
        }
        let shadow = ["inetOrgPerson", "shadowAccount"];
        let off = |n: usize| {
            let directory = &directory;
            async move {
                directory.replace(&person(n), "objectClass", &shadow).await;
                directory.replace(&person(n), "shadowExpire", &["1"]).await;
            }
        };
        // Their entries cannot be taken: too long an address, a title that breaks the mapping, somebody else's login.
        directory.replace(&person(1), "mail", &[&format!("{}@example.com", "x".repeat(3000))]).await;
        directory.replace(&person(2), "title", &["#"]).await;
        directory.replace(&person(3), "uid", &["P000004", "p000003"]).await;
        for hq in &all {
            let run = hq.poll(SYNC).await;
            assert_eq!((run.state, count(hq, ACTIVE).await), (End::Done, 20), "{:?}", run.counts);
        }
        off(1).await;
        off(2).await;
        off(3).await;
        for hq in &all {
            let run = hq.poll(SYNC).await;
            assert_eq!(
                (run.state, run.counts.get("disable")),
                (End::Done, Some(&3)),
                "{:?} {:?}",
                run.counts,
                run.refused
            );
            assert_eq!(count(hq, ACTIVE).await, 17);
            assert!(run.refused.len() >= 2, "they are told of all the same: {:?}", run.refused);
            assert_eq!(hq.poll(SYNC).await.run, None, "once");
        }
        // Put right and switched on, they are there again.
        directory.replace(&person(1), "mail", &["p000001@example.com"]).await;
        directory.replace(&person(1), "shadowExpire", &[]).await;
        for hq in &all {
            hq.poll(SYNC).await;
            assert_eq!(count(hq, ACTIVE).await, 18);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b2_whose_place_was_renamed_stays_in_the_groups() {
    both(|which| async move {
        for mode in &MODES[1..] {
            let directory = Directory::syncing(&ldif(30, 4, 12)).await;
            let pair = Pair::of(which, &directory.url(), mode).await;
            pair.poll("everything").await;
            directory.rename(&format!("ou=people,{BASE}"), "ou=staff", None).await;
            let moved = |n: usize| format!("uid=p{n:06},ou=staff,{BASE}");
            for g in 0..4 {
                let members: Vec<String> = (0..12).map(|m| moved((g * 17 + m) % 30)).collect();
                let members: Vec<&str> = members.iter().map(String::as_str).collect();
                directory.replace(&format!("cn=group{g:04},ou=groups,{BASE}"), "member", &members).await;
            }
            let before = state(&pair.wise).await;
            let run = pair.wise.poll(SYNC).await;
            assert_eq!(run.state, End::Done, "{mode}: {:?}", run.stops);
            for name in before.keys().filter(|name| name.starts_with("members ")) {
                assert_eq!(state(&pair.wise).await.get(name), before.get(name), "{mode}: {name}");
            }
            pair.poll("a renamed unit").await;
            // Strangers in a group are looked for once and are nobody.
            let group = format!("cn=group0001,ou=groups,{BASE}");
            directory.replace(&group, "member", &[&moved(1), &format!("uid=nobody,{BASE}"), "cn=far,dc=away"]).await;
            pair.poll("strangers").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_who_is_moved_away_with_the_whole_place_is_missed_by_the_next_sweep() {
    both(|which| async move {
        for mode in ["mode = 'syncrepl'\nsweep_every = '1ms'", MODES[2]] {
            let directory = Directory::syncing(&ldif(30, 1, 5)).await;
            directory
                .add(&format!("ou=it,ou=people,{BASE}"), &[("objectClass", "organizationalUnit"), ("ou", "it")])
                .await;
            for login in ["a", "b", "c", "d"] {
                let mail = format!("{login}@example.com");
                let it = ["inetOrgPerson", login, login, login, mail.as_str()];
                let attributes: Vec<_> = ["objectClass", "uid", "cn", "sn", "mail"].into_iter().zip(it).collect();
                directory.add(&format!("uid={login},ou=it,ou=people,{BASE}"), &attributes).await;
            }
            let base = format!("users.base = 'ou=people,{BASE}'\n{mode}\nguard = {{ percent = 50, count = 50 }}");
            let hq = Hq::with(which, &directory.url(), &base).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(count(&hq, ACTIVE).await, 34);
            directory.rename(&format!("ou=it,ou=people,{BASE}"), "ou=it", Some(BASE)).await;
            let run = hq.poll(SYNC).await;
            assert_eq!((run.state, count(&hq, ACTIVE).await), (End::Done, 30), "{mode}: {:?}", run.counts);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r71_a_day_that_comes_switches_off_whom_nobody_touched() {
    both(|which| async move {
        for mode in MODES {
            let directory = Directory::syncing(&ldif(20, 1, 5)).await;
            let days = Clock::system().now().0 / Millis::DAY;
            for n in 0..3 {
                directory.replace(&person(n), "objectClass", &["inetOrgPerson", "shadowAccount"]).await;
                directory.replace(&person(n), "shadowExpire", &[&(days + 2).to_string()]).await;
            }
            let more = format!("{mode}\nsweep_every = '1h'").replace("sweep_every = '1ms'\n", "");
            let hq = Hq::with(which, &directory.url(), &more).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(count(&hq, ACTIVE).await, 20, "{mode}");
            let later = hq.later(&directory.url(), &format!("{more}\nfull_every = '9d'"), 3 * Millis::DAY);
            let run = later.poll(SYNC).await;
            assert_eq!(
                (run.state, count(&hq, ACTIVE).await),
                (End::Done, 17),
                "{mode}: {:?} {:?}",
                run.counts,
                run.message
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_two_entries_with_one_key_never_take_turns_at_one_account() {
    both(|which: Which| async move {
        let directory = Directory::start(&ldif(12, 1, 3)).await;
        for n in [3, 4] {
            directory.replace(&person(n), "employeeNumber", &["7"]).await;
        }
        let hq = Hq::with(which, &directory.url(), "users.key = 'employeeNumber'").await;
        let first = hq.poll(SYNC).await;
        assert_eq!((first.counts["bad"], first.counts.get("create")), (2, Some(&11)), "{:?}", first.counts);
        let before = state(&hq).await;
        for n in 0..3 {
            let again = hq.poll(SYNC).await;
            assert_eq!((again.counts.get("bad"), again.run), (Some(&2), None), "{n}: {:?}", again.counts);
            assert!(again.refused[0].reason.contains("came twice"), "{:?}", again.refused);
            assert_eq!(state(&hq).await, before);
        }
        // One of them has an account; the other one does not get it by coming first in the answer.
        directory.replace(&person(4), "employeeNumber", &["000004"]).await;
        let run = hq.poll(SYNC).await;
        assert_eq!((run.counts.get("bad"), run.counts.get("create")), (None, Some(&2)), "{:?}", run.counts);
        let before = state(&hq).await;
        directory.replace(&person(4), "employeeNumber", &["7"]).await;
        for round in 0..2 {
            let run = hq.poll(SYNC).await;
            assert_eq!(run.counts.get("update"), None, "{round}: {:?}", run.counts);
            let (mut now, mut then) = (state(&hq).await, before.clone());
            // Of the one whose key nobody has any more the account goes.
            assert!(now.remove("user p000004").unwrap().starts_with("false"), "{round}");
            then.remove("user p000004");
            assert_eq!(now, then, "{round}");
            directory.delete([person(3)]).await;
            let again = [
                ("objectClass", "inetOrgPerson"),
                ("uid", "p000003"),
                ("cn", "Other"),
                ("sn", "Other"),
                ("mail", "other@example.com"),
                ("employeeNumber", "7"),
            ];
            directory.add(&person(3), &again).await;
        }
    })
    .await;
}

/// Read by what changed, the right settings say nothing of those whom the wrong ones missed.
#[tokio::test(flavor = "multi_thread")]
async fn b2_a_wrong_filter_that_was_put_right_waits_for_nobody() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(30, 1, 5)).await;
        let url = directory.url();
        let hq = Hq::with(which, &url, "mode = 'syncrepl'").await;
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        let wrong =
            hq.reconfigured(&url, "mode = 'syncrepl'\nusers.filter = '(&(objectClass=inetOrgPerson)(uid=p00000*))'");
        let held = wrong.poll(SYNC).await;
        assert_eq!((held.state, count(&hq, ACTIVE).await), (End::Held, 30));
        let run = held.run.unwrap();
        // Before and after the next read.
        let settings = musterd::tasks::poll::settings_of(&hq.world, run).await.unwrap();
        for _ in 0..2 {
            let context = hq.world.context("operator:cli");
            let refused = musterd::reconcile::approve(&hq.world.db, &context, run, settings.as_deref()).await;
            let told = refused.unwrap_err().to_string();
            assert!(told.contains("other settings") || told.contains("superseded"), "{told}");
            assert_eq!((hq.poll(SYNC).await.run, count(&hq, ACTIVE).await), (None, 30));
        }
    })
    .await;
}
