//! Groups in every form in which directories keep them: by names, by logins, by the number of the first group, in one another,
//! very large. Both databases.

use std::collections::BTreeMap;

use musterd::reconcile::End;
use musterd::store::Session as _;

use super::super::support::daemon::Daemon;
use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::support::{both, long};
use super::modes::state;
use super::section;
use super::sync::{Hq, SYNC};

/// Group -> logins of its members.
async fn members(hq: &Hq) -> BTreeMap<String, String> {
    let all = state(hq).await;
    let of = |(name, members): (String, String)| {
        Some((name.strip_prefix("members ")?.to_owned(), members.trim().to_owned()))
    };
    all.into_iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_r74_groups_of_posix_have_the_members_they_name_and_those_who_name_them() {
    both(|which| async move {
        for mode in ["mode = 'paged'", "mode = 'syncrepl'"] {
            let mut text = ldif(12, 1, 3);
            for (name, number, logins) in
                [("ops", 2001, vec!["p000003", "p000004"]), ("dev", 2002, vec!["p000005", "later"])]
            {
                text += &format!(
                    "dn: cn={name},ou=groups,{BASE}\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {number}\n"
                );
                for login in logins {
                    text += &format!("memberUid: {login}\n");
                }
                text.push('\n');
            }
            for login in ["q7", "q8"] {
                text += &format!(
                    "dn: uid={login},ou=people,{BASE}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: {login}\n\
                     cn: Q\nsn: Q\nmail: {login}@example.com\nuidNumber: 7\ngidNumber: 2001\nhomeDirectory: /\n\n"
                );
            }
            let directory = Directory::syncing(&text).await;
            let primary = format!("{mode}\ngroups.primary_members = true");
            let hq = Hq::with(which, &directory.url(), &primary).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            let now = members(&hq).await;
            assert_eq!(
                (now["ops"].as_str(), now["dev"].as_str()),
                ("p000003 p000004 q7 q8", "p000005"),
                "{mode}"
            );
            // Who is named before being there comes into the group with coming.
            directory
                .add(
                    &format!("uid=later,ou=people,{BASE}"),
                    &[
                        ("objectClass", "inetOrgPerson"),
                        ("uid", "later"),
                        ("cn", "L"),
                        ("sn", "L"),
                        ("mail", "later@example.com"),
                    ],
                )
                .await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(members(&hq).await["dev"], "later p000005", "{mode}");
            // The login is what counts: who has it now is the member, and nobody else.
            directory.rename(&person(3), "uid=former", None).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(members(&hq).await["ops"], "p000004 q7 q8", "{mode}");
            directory.rename(&person(9), "uid=p000003", None).await;
            assert_eq!(hq.poll(SYNC).await.state, End::Done);
            assert_eq!(members(&hq).await["ops"], "p000003 p000004 q7 q8", "{mode}");
            assert_eq!(hq.poll(SYNC).await.run, None, "{mode}: nothing is left to do");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_group_of_very_many_takes_one_more_by_one_row() {
    const MEMBERS: usize = 50_000;
    let members = if long() { MEMBERS } else { 5_000 };
    both(|which| async move {
        let directory = Directory::syncing(&ldif(members + 1, 1, members)).await;
        let hq = Hq::with(which, &directory.url(), "").await;
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        let count = async || -> i64 {
            let mut read = hq.world.db.read().await.unwrap();
            let sql = "SELECT count(*) FROM edge WHERE rel = 'member' AND to_id IS NOT NULL";
            read.one(sql, vec![]).await.unwrap().get(0).unwrap()
        };
        assert_eq!(count().await, members as i64);
        let group = format!("cn=group0000,ou=groups,{BASE}");
        let mut admin = directory.admin().await;
        let one = [person(members)].into_iter().collect();
        admin.modify(&group, vec![ldap3::Mod::Add("member".to_owned(), one)]).await.unwrap().success().unwrap();
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, run.counts.get("link")), (End::Done, Some(&1)), "{:?}", run.counts);
        let mut read = hq.world.db.read().await.unwrap();
        let told = musterd::store::journal::of_run(&mut read, run.run.unwrap(), 0, 10).await.unwrap();
        assert_eq!(
            told[0].change.after["$links"]["member"].as_object().unwrap().len(),
            1,
            "one row, not the whole group"
        );
        drop(read);
        assert_eq!(count().await, members as i64 + 1);
    })
    .await;
}

fn group(name: &str) -> String {
    format!("cn={name},ou=groups,{BASE}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_b5_groups_that_hold_each_other_are_taken_and_told_of_once() {
    both(|which| async move {
        let mut text = ldif(6, 0, 0);
        for (name, member) in [("a", group("b")), ("b", group("c")), ("c", person(2))] {
            text += &format!("dn: {}\nobjectClass: groupOfNames\ncn: {name}\nmember: {member}\n\n", group(name));
        }
        let directory = Directory::syncing(&text).await;
        let ways = ["mode = 'paged'", "mode = 'syncrepl'"];
        let mut all = Vec::new();
        for mode in ways {
            let hq = Hq::with(which, &directory.url(), mode).await;
            let first = hq.poll(SYNC).await;
            assert_eq!((first.state, &first.remarks), (End::Done, &Vec::new()), "{mode}: a tree is no circle");
            all.push(hq);
        }
        directory.replace(&group("c"), "member", &[&person(2), &group("a")]).await;
        // One more reads the circle as the first thing it reads.
        all.push(Hq::with(which, &directory.url(), "").await);
        for hq in &all {
            let run = hq.poll(SYNC).await;
            assert_eq!((run.state, run.refused.len()), (End::Done, 0), "{:?}", run.message);
            assert_eq!(run.remarks, ["groups hold each other: a in c in b in a"]);
            let now = members(hq).await;
            assert_eq!([&now["a"], &now["b"], &now["c"]], ["b", "c", "a p000002"]);
            let before = hq.figures().await;
            let quiet = hq.poll(SYNC).await;
            assert_eq!((quiet.run, quiet.remarks.len(), hq.figures().await), (None, 0, before));
        }
        // Said where groups came into groups, and not with every change.
        directory.replace(&group("b"), "member", &[&group("c"), &person(3)]).await;
        directory.replace(&group("a"), "description", &["all"]).await;
        for hq in &all {
            assert_eq!(hq.poll(SYNC).await.remarks, Vec::<String>::new());
        }

        let config = format!("[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{}", section(&directory.url(), ""));
        let daemon = Daemon::builder(which).config(&config).start().await;
        let told = daemon.cli(&["sync", "hq"]);
        assert!(told.code == 0 && told.stdout.contains("note: groups hold each other: a in c in b in a\n"), "{told:?}");
        assert!(daemon.log().contains("groups hold each other: a in c in b in a"));
        let runs: serde_json::Value = serde_json::from_str(&daemon.cli(&["runs", "--json"]).stdout).unwrap();
        assert_eq!(runs["runs"][0]["message"], "groups hold each other: a in c in b in a");
        let run = daemon.cli(&["run", runs["runs"][0]["id"].as_str().unwrap()]);
        assert!(run.stdout.contains("groups hold each other"), "{run:?}");
        directory.replace(&group("b"), "member", &[&person(3)]).await;
        assert!(!daemon.cli(&["sync", "hq"]).stdout.contains("note:"));
        directory.replace(&group("b"), "member", &[&person(3), &group("c")]).await;
        let again = daemon.cli(&["sync", "hq", "--json"]);
        let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!(again["remarks"], serde_json::json!(["groups hold each other: a in c in b in a"]), "{again}");
    })
    .await;
}
