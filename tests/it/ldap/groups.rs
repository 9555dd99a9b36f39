//! Groups in every form in which directories keep them: by names, by logins, by the number of the first group, in one another,
//! very large. Both databases.

use std::collections::BTreeMap;

use musterd::reconcile::End;
use musterd::store::Session as _;

use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::support::{both, long};
use super::modes::state;
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
