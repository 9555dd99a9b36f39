//! Complaints of people who became two, or one who became another: renames, moves, other spellings, shared and exchanged
//! addresses, two directories with one name. The numbers are those of `complaints`.

use std::collections::HashSet;

use ldap3::Mod;
use musterd::reconcile::{End, Mode};
use musterd::store::Session as _;
use musterd::tasks::poll::poll;

use super::super::super::support::both;
use super::super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{UNGUARDED, active, done, members, people};

/// A person of LDIF below an organizational unit.
fn someone(login: &str, unit: &str, mail: &str) -> String {
    format!(
        "dn: uid={login},ou={unit},{BASE}\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {login}\ngivenName: {login}\n\
         sn: Person\nmail: {mail}\n\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_10_one_directory_switches_off_nobody_whom_another_one_holds() {
    both(|which| async move {
        let two =
            ldif(0, 0, 0) + &someone("eva", "people", "eva@example.com") + &someone("jan", "people", "j@example.com");
        let text = two + &someone("eva", "left", "eva@example.org") + &someone("wim", "left", "wim@example.org");
        let directory = Directory::start(&text).await;
        // Two directories, as far as musterd knows, with one login; linked by it or not.
        for matching in ["", "match = ['login']\n"] {
            let source = |unit: &str| {
                let text = section(&directory.url(), &format!("{UNGUARDED}{matching}"));
                text.replace(&format!("base = '{BASE}'"), &format!("base = 'ou={unit},{BASE}'"))
                    + "groups.enabled = false\n"
            };
            let branch = format!("[sources.branch]\nkind = 'ldap'\nrealm = 'agent'\n{}", source("left"));
            // Of whom both hold, headquarters is believed.
            let hq = Hq::of(which, &("priority = 200\n".to_owned() + &source("people") + &branch)).await;
            let also = async |name: &str| poll(&hq.world, name, SYNC).await.unwrap();
            done(&hq).await;
            let eva = people(&hq).await["eva"].clone();
            let run = also("branch").await;
            let linked = !matching.is_empty();
            assert_eq!((run.state, count(&run, "refused")), (End::Done, u64::from(!linked)), "{:?}", run.refused);
            assert_eq!(
                people(&hq).await["eva"].doc["emails"][0]["value"],
                "eva@example.com",
                "the first is not overwritten"
            );

            // Her entry leaves the branch: headquarters still has her.
            directory.rename(&format!("uid=eva,ou=left,{BASE}"), "uid=eva", Some(BASE)).await;
            assert_eq!(also("branch").await.state, End::Done);
            done(&hq).await;
            let now = &people(&hq).await["eva"];
            assert!(now.active && now.id == eva.id);
            // Neither does headquarters switch off whom only the branch has.
            directory.rename(&format!("uid=eva,{BASE}"), "uid=eva", Some(&format!("ou=left,{BASE}"))).await;
            also("branch").await;
            directory.rename(&format!("uid=eva,ou=people,{BASE}"), "uid=eva", Some(BASE)).await;
            done(&hq).await;
            let expected: &[&str] = if linked { &["eva", "jan", "wim"] } else { &["jan", "wim"] };
            assert_eq!(active(&hq).await, expected);
            directory.rename(&format!("uid=eva,{BASE}"), "uid=eva", Some(&format!("ou=people,{BASE}"))).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_11_entries_that_share_an_address_are_told_and_nobody_is_rewritten_again_and_again() {
    both(|which| async move {
        let three: String = ["b", "a", "c"].map(|login| someone(login, "people", "shop@example.com")).concat();
        let directory = Directory::start(&(ldif(0, 0, 0) + &three)).await;
        // By the address: one account, always the same, and the others are told of.
        let more = format!("match = ['email']\n{UNGUARDED}");
        let hq = Hq::of(which, &section(&directory.url(), &more)).await;
        let first = hq.poll(SYNC).await;
        assert_eq!((first.state, count(&first, "create"), count(&first, "refused")), (End::Done, 1, 2));
        assert!(first.refused.iter().all(|refused| refused.reason.contains("another key")), "{:?}", first.refused);
        let before = people(&hq).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), ["b"], "the first that the directory names");
        for _ in 0..3 {
            directory.replace(&format!("uid=a,ou=people,{BASE}"), "title", &["Owner"]).await;
            directory.replace(&format!("uid=a,ou=people,{BASE}"), "title", &[]).await;
            let run = hq.poll(SYNC).await;
            assert_eq!((run.run, count(&run, "refused")), (None, 2), "{:?}", run.counts);
            assert_eq!(people(&hq).await, before);
        }
        // Without a rule that looks at addresses they are three people, and stay so.
        let plain = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&plain).await;
        let before = people(&plain).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        let again = plain.poll(SYNC).await;
        assert_eq!((again.run, people(&plain).await), (None, before));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_12_logins_and_addresses_change_hands_within_one_run() {
    both(|which| async move {
        const PEOPLE: usize = 650;
        let directory = Directory::start(&ldif(PEOPLE, 1, 1)).await;
        let by_login = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        let by_mail = section(&directory.url(), &format!("{UNGUARDED}[sources.hq.users.map]\nuserName = 'mail'\n"));
        let by_mail = Hq::of(which, &by_mail).await;
        done(&by_login).await;
        done(&by_mail).await;
        let (logins, mails) = (people(&by_login).await, people(&by_mail).await);
        // Neighbours, and two who are further apart than what is applied at once.
        for (one, other) in [(1, 2), (3, PEOPLE - 1)] {
            let mail = |n: usize| format!("p{n:06}@example.com");
            directory.replace(&person(one), "mail", &[&mail(other)]).await;
            directory.replace(&person(other), "mail", &[&mail(one)]).await;
            directory.rename(&person(one), "uid=between", None).await;
            directory.rename(&person(other), &format!("uid=p{one:06}"), None).await;
            directory.rename(&format!("uid=between,ou=people,{BASE}"), &format!("uid=p{other:06}"), None).await;
        }
        // Something else of everybody, so that the two do not stand side by side in what is applied.
        let mut admin = directory.admin().await;
        for n in (0..PEOPLE).filter(|n| ![1, 2, 3, PEOPLE - 1].contains(n)) {
            let title = Mod::Replace("title", HashSet::from(["Owner"]));
            admin.modify(&person(n), vec![title]).await.unwrap().success().unwrap();
        }
        // One gives an address away, and gets a new one.
        directory.replace(&person(5), "mail", &["fresh@example.com"]).await;
        directory.replace(&person(600), "mail", &["p000005@example.com"]).await;
        for hq in [&by_login, &by_mail] {
            // A preview comes to the same, although nothing of it is written.
            let preview = hq.poll(Mode::Plan).await;
            let run = hq.poll(Mode::Sync { expect: Some(preview.digest) }).await;
            assert_eq!(
                (run.state, count(&run, "refused"), count(&run, "create")),
                (End::Done, 0, 0),
                "{:?}",
                run.refused
            );
            assert_eq!(count(&run, "update"), PEOPLE as u64);
            assert_eq!(hq.poll(SYNC).await.run, None, "nothing is left to do");
        }
        let (now, mailed) = (people(&by_login).await, people(&by_mail).await);
        for (one, other) in [(1, 2), (3, PEOPLE - 1)] {
            let (one, other) = (format!("p{one:06}"), format!("p{other:06}"));
            assert_eq!((&now[&one].id, &now[&other].id), (&logins[&other].id, &logins[&one].id));
            let (one, other) = (one + "@example.com", other + "@example.com");
            assert_eq!((&mailed[&one].id, &mailed[&other].id), (&mails[&other].id, &mails[&one].id));
        }
        assert_eq!(mailed["fresh@example.com"].id, mails["p000005@example.com"].id);
        assert_eq!(mailed["p000005@example.com"].id, mails["p000600@example.com"].id);
        assert_eq!((now.len(), mailed.len()), (PEOPLE, PEOPLE));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_14_another_name_or_another_unit_is_the_same_account() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(20, 1, 20)).await;
        for mode in ["mode = 'paged'\n", "mode = 'syncrepl'\n"] {
            let hq = Hq::of(which, &section(&directory.url(), &format!("{mode}{UNGUARDED}"))).await;
            done(&hq).await;
            let before = people(&hq).await;
            // Married, in one run: another name, another login, another unit. And the unit of all others is renamed.
            let (left, group) = (format!("ou=left,{BASE}"), format!("cn=group0000,ou=groups,{BASE}"));
            directory.rename(&person(1), "uid=married", Some(&left)).await;
            let married = format!("uid=married,{left}");
            directory.replace(&married, "sn", &["Married"]).await;
            let mut all: Vec<String> = (0..20).filter(|n| *n != 1).map(person).collect();
            all.push(married.clone());
            directory.replace(&group, "member", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let run = hq.poll(SYNC).await;
            assert_eq!(
                (run.state, count(&run, "create"), count(&run, "disable")),
                (End::Done, 0, 0),
                "{:?}",
                run.counts
            );
            let now = people(&hq).await;
            assert_eq!((now.len(), &now["married"].id), (20, &before["p000001"].id));
            assert_eq!(now["married"].doc["name"]["familyName"], "Married");
            let mut expected: Vec<String> = before.keys().filter(|login| *login != "p000001").cloned().collect();
            expected.insert(0, "married".to_owned());
            assert_eq!(members(&hq, "group0000").await, expected);
            // And back again.
            directory.rename(&married, "uid=p000001", Some(&format!("ou=people,{BASE}"))).await;
            directory.replace(&person(1), "sn", &["Person1"]).await;
            done(&hq).await;
            assert_eq!(people(&hq).await["p000001"].id, before["p000001"].id);
            directory
                .replace(
                    &group,
                    "member",
                    &(0..20).map(person).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>(),
                )
                .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_15_another_spelling_is_nobody_else() {
    both(|which| async move {
        let two = someone("eva.žižková", "people", "Eva@Example.com") + &someone("jan", "people", "jan@example.com");
        let elsewhere = someone("e", "left", "eva@EXAMPLE.COM");
        let group = format!(
            "dn: cn=Support,ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: Support\n\
             member: UID=Eva.ŽIŽKOVÁ , OU=PEOPLE, dc=Example,DC=COM\nmember: uid=JAN,ou=People,{BASE}\n\n"
        );
        let directory = Directory::start(&(ldif(0, 0, 0) + &two + &elsewhere + &group)).await;
        let source = |unit: &str| {
            let text = section(&directory.url(), &format!("match = ['email']\n{UNGUARDED}"));
            text + &format!("[sources.NAME.users]\nbase = 'ou={unit},{BASE}'\n")
        };
        let branch =
            format!("[sources.branch]\nkind = 'ldap'\nrealm = 'agent'\n{}", source("left").replace("NAME", "branch"));
        let branch = branch + "[sources.branch.groups]\nenabled = false\n";
        let hq = Hq::of(which, &(source("people").replace("NAME", "hq") + &branch)).await;
        done(&hq).await;
        let before = people(&hq).await;
        assert_eq!(members(&hq, "support").await, ["eva.žižková", "jan"], "names in a group are compared folded");
        // The same login and address in capitals: the same account, shown as it is written now.
        let dn = format!("uid=eva.žižková,ou=people,{BASE}");
        directory.rename(&dn, "uid=EVA.Žižková", None).await;
        directory.replace(&dn, "mail", &["EVA@example.COM"]).await;
        let run = hq.poll(SYNC).await;
        assert_eq!(
            (count(&run, "create"), count(&run, "disable"), count(&run, "refused")),
            (0, 0, 0),
            "{:?}",
            run.refused
        );
        let now = people(&hq).await;
        assert_eq!((now.len(), &now["eva.žižková"].id), (2, &before["eva.žižková"].id));
        let doc = &now["eva.žižková"].doc;
        assert_eq!((&doc["userName"], &doc["emails"][0]["value"]), (&"EVA.Žižková".into(), &"EVA@example.COM".into()));
        assert_eq!(members(&hq, "support").await, ["eva.žižková", "jan"]);
        // Another directory spells the address otherwise: the same person.
        let run = poll(&hq.world, "branch", SYNC).await.unwrap();
        assert_eq!((run.state, count(&run, "create"), count(&run, "refused")), (End::Done, 0, 0), "{:?}", run.refused);
        let mut read = hq.world.db.read().await.unwrap();
        let sql = "SELECT COUNT(*) FROM assertion WHERE kind = 'user' AND entity_id = $1 AND NOT ended";
        let holds = read.one(sql, vec![before["eva.žižková"].id.clone().into()]).await.unwrap();
        assert_eq!(holds.get::<i64>(0).unwrap(), 2);
    })
    .await;
}
