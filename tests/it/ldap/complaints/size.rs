//! Complaints of directories that are too large for who reads them: five hundred of twelve hundred people, groups of which
//! the first 1500 members come, groups that are in one another. The numbers are those of `complaints`.

use ldap3_proto::proto::{LdapResultCode, LdapSearchScope};
use musterd::reconcile::End;

use super::super::super::support::both;
use super::super::super::support::daemon::Daemon;
use super::super::super::support::scripted::{Say, Scripted, entry, find, with};
use super::super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{READER, READER_LDIF, UNGUARDED, active, done, failed, members, of_reader, people};

#[tokio::test(flavor = "multi_thread")]
async fn complaint_17_a_limit_of_five_hundred_is_read_around_or_is_no_answer() {
    both(|which| async move {
        // Who does not ask page by page gets 500 of them.
        let limit = format!("limits dn.exact=\"{READER}\" size.soft=500 size.hard=500 size.pr=500 size.prtotal=");
        let mut directory =
            Directory::start_as(&(ldif(1100, 2, 5) + READER_LDIF), &format!("{limit}unlimited\n")).await;
        let hq = Hq::of(which, &of_reader(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), 1100);
        // Pages that are larger than what the server likes are no reason to miss anybody.
        let large = of_reader(&directory.url(), UNGUARDED).replace("page_size = 100", "page_size = 400");
        assert_eq!(hq.with_source(&large).poll(SYNC).await.run, None);
        // A limit over all pages cannot be read around: what came is not all, and nobody is gone.
        let file = directory.folder().join("slapd.conf");
        let settings = std::fs::read_to_string(&file).unwrap().replace("prtotal=unlimited", "prtotal=500");
        std::fs::write(&file, settings).unwrap();
        directory.process().stop();
        directory.restart().await;
        assert!(failed(&hq).await.contains("size limit"));
        assert_eq!(active(&hq).await.len(), 1100);
        // Nor is there a first time with the first five hundred.
        let first = Hq::of(which, &of_reader(&directory.url(), UNGUARDED)).await;
        assert_eq!(first.poll(SYNC).await.state, End::Failed);
        assert_eq!(people(&first).await.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_18_a_group_of_more_members_than_fit_is_read_to_its_end() {
    const MEMBERS: usize = 3200;
    both(|which| async move {
        let somebody = |n: usize| format!("uid=m{n},{BASE}");
        let people: Vec<_> = (0..MEMBERS)
            .step_by(100)
            .map(|n| {
                let (uid, uuid) = (format!("m{n}"), format!("uuid-{n}"));
                entry(&somebody(n), &[("entryUUID", &uuid), ("uid", &uid), ("objectClass", "inetOrgPerson")])
            })
            .collect();
        // An empty `member` beside the piece, as Active Directory does it.
        let piece = move |from: usize| {
            let group = format!("cn=all,{BASE}");
            let mut answer =
                entry(&group, &[("entryUUID", "g"), ("cn", "all"), ("objectClass", "groupOfNames"), ("member", "")]);
            answer.attributes.last_mut().unwrap().vals.clear();
            let to = (from + 1500).min(MEMBERS);
            let name = if to == MEMBERS {
                format!("member;range={from}-*")
            } else {
                format!("member;range={from}-{}", to - 1)
            };
            (from..to).fold(answer, |answer, n| with(answer, &name, somebody(n).as_bytes()))
        };
        let server = Scripted::start(&[], move |asked| {
            let range = asked.search.attrs.iter().find_map(|name| name.strip_prefix("member;range="));
            match range.and_then(|range| range.strip_suffix("-*")) {
                Some(from) if asked.search.scope == LdapSearchScope::Base => {
                    vec![Say::Entry(piece(from.parse().unwrap()), vec![]), Say::fine()]
                }
                _ => find(asked, &[people.clone(), vec![piece(0)]].concat()),
            }
        })
        .await;
        let hq = Hq::of(which, &section(&server.url(), UNGUARDED)).await;
        done(&hq).await;
        assert_eq!(hq.figures().await["edge"], MEMBERS as i64);
        let known = members(&hq, "all").await;
        assert_eq!(known.len(), MEMBERS / 100, "the first and the last piece: {known:?}");
        assert_eq!(hq.poll(SYNC).await.run, None, "it is not another group each time");

        // The rest does not come: what is not known is not empty.
        let refuses = Scripted::start(&[], move |asked| {
            if asked.search.scope == LdapSearchScope::Base {
                return vec![Say::Done(LdapResultCode::Busy, vec![])];
            }
            find(asked, &[piece(0)])
        })
        .await;
        let text = section(&refuses.url(), &format!("{UNGUARDED}[sources.hq.users]\nenabled = false\n"));
        assert!(failed(&hq.with_source(&text)).await.contains("busy"));
        assert_eq!(hq.figures().await["edge"], MEMBERS as i64);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_19_groups_in_a_circle_end_the_run_and_lose_nobody() {
    both(|which| async move {
        let group = |n: usize| format!("cn=group{n:04},ou=groups,{BASE}");
        let directory = Directory::syncing(&ldif(20, 4, 3)).await;
        // Two in one another, three in a ring, and one in itself.
        for (of, inner) in [(0, &[1][..]), (1, &[0, 2]), (2, &[3]), (3, &[1, 3])] {
            let all: Vec<String> = inner.iter().map(|n| group(*n)).chain([person(of)]).collect();
            directory.replace(&group(of), "member", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        for mode in ["mode = 'paged'\n", "mode = 'syncrepl'\n"] {
            let hq = Hq::of(which, &section(&directory.url(), &format!("{mode}{UNGUARDED}"))).await;
            let run = hq.poll(SYNC).await;
            assert_eq!(
                (run.state, count(&run, "create"), count(&run, "refused")),
                (End::Done, 24, 0),
                "{:?}",
                run.message
            );
            assert_eq!(active(&hq).await.len(), 20);
            assert_eq!(hq.figures().await["open ends"], 0);
            let expected: [&[&str]; 4] = [
                &["group0001", "p000000"],
                &["group0000", "group0002", "p000001"],
                &["group0003", "p000002"],
                &["group0001", "group0003", "p000003"],
            ];
            for (n, expected) in expected.iter().enumerate() {
                assert_eq!(members(&hq, &format!("group{n:04}")).await, *expected);
            }
            assert_eq!(hq.poll(SYNC).await.run, None, "a circle is no change");
            // One of the circle goes: the others stay.
            directory.replace(&person(5), "title", &["Owner"]).await;
            directory.delete([group(0)]).await;
            let run = hq.poll(SYNC).await;
            assert_eq!((run.state, count(&run, "disable")), (End::Done, 1), "{:?}", run.counts);
            assert_eq!(active(&hq).await.len(), 20);
            let back =
                [("objectClass", "groupOfNames"), ("cn", "group0000"), ("member", &group(1)), ("member", &person(0))];
            directory.add(&group(0), &back).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_19_whoever_asks_for_groups_in_a_circle_is_told_of_each_of_them_once() {
    both(|which| async move {
        let group = |n: usize| format!("cn=group{n:04},ou=groups,{BASE}");
        let directory = Directory::start(&ldif(3, 3, 1)).await;
        for (of, inner) in [(0, 1), (1, 2), (2, 0)] {
            directory.replace(&group(of), "member", &[&group(inner), &group(of), &person(of)]).await;
        }
        let source = section(&directory.url(), UNGUARDED);
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{source}[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n"
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        let run = daemon.cli(&["sync", "hq"]);
        assert_eq!(run.code, 0, "{run:?}");
        let scim = daemon.http.with_token(daemon.token(&["--source", "idp", "--scope", "scim"]));
        for n in 0..3 {
            let found = scim.get(&format!("/scim/v2/Users?filter=userName%20eq%20%22p{n:06}%22")).await.expect(200);
            let groups = found["Resources"][0]["groups"].as_array().unwrap();
            let mut told: Vec<(&str, &str)> = groups
                .iter()
                .map(|group| (group["display"].as_str().unwrap(), group["type"].as_str().unwrap()))
                .collect();
            told.sort_unstable();
            let expected = ["group0000", "group0001", "group0002"];
            let kind = |of: usize| if of == n { "direct" } else { "indirect" };
            assert_eq!(told, (0..3).map(|of| (expected[of], kind(of))).collect::<Vec<_>>());
        }
        assert_eq!(scim.get("/scim/v2/Groups").await.expect(200)["totalResults"], 3);
    })
    .await;
}
