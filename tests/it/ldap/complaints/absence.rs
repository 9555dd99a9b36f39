//! Complaints of people who were taken for gone: an error, a short answer or an empty one is no absence. The numbers are
//! those of `complaints`.

use ldap3_proto::proto::LdapResultCode;
use musterd::reconcile::{self, End};

use super::super::super::support::both;
use super::super::super::support::scripted::{Say, Scripted, entry, find};
use super::super::super::support::slapd::{BASE, Directory, Fault, PASSWORD, Proxy, ldif, person};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{DOMAIN, READER_LDIF, UNGUARDED, account, active, domain, done, failed, of_reader, people, state_of};

#[tokio::test(flavor = "multi_thread")]
async fn complaint_01_an_unreachable_directory_takes_nobody_away() {
    both(|which| async move {
        let mut directory = Directory::start(&ldif(43, 2, 5)).await;
        let hq = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), 43);
        let good = state_of(&hq).await.last_good_at;

        directory.process().stop();
        assert!(failed(&hq).await.contains("no server could be reached"));
        // The operator sees it: the source is red, with the reason, and was last good when it was.
        let state = state_of(&hq).await;
        assert_eq!((state.last_state.as_deref(), state.last_good_at), (Some("failed"), good));
        assert!(state.status.contains("no server could be reached"), "{}", state.status);
        directory.restart().await;

        // Connected, but not let in; let in, but what is searched is not there.
        for (wrong, told) in [
            (section(&directory.url(), UNGUARDED).replace(PASSWORD, "another"), "refused the credentials"),
            (
                section(&directory.url(), UNGUARDED).replace(&format!("base = '{BASE}'"), "base = 'dc=gone,dc=com'"),
                "32",
            ),
        ] {
            let other = hq.with_source(&wrong);
            assert!(failed(&other).await.contains(told));
        }
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), 43);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_02_found_absent_and_unknown_are_three_answers_to_a_look_up() {
    both(|which| async move {
        let eva = |title: &'static str| account("guid-of-eva-0001", "eva", &[("title", title)]);
        let (jan, wim) = (account("guid-of-jan-0002", "jan", &[]), account("guid-of-wim-0003", "wim", &[]));
        let all = [eva("Agent"), jan.clone(), wim.clone()];
        let server = Scripted::start(&DOMAIN, {
            let all = all.clone();
            move |asked| domain(asked, &all, &[], "1")
        })
        .await;
        let text = section(&server.url(), &format!("preset = 'activedirectory'\n{UNGUARDED}"));
        let hq = Hq::of(which, &text).await;
        let hasty = hq.with_source(&format!("timeout = '300ms'\n{text}"));
        assert!(done(&hq).await.starts_with("dirsync"));
        assert_eq!(active(&hq).await, ["eva", "jan", "wim"]);

        // Two of them moved, and each is looked up by name. An answer that breaks says nothing of anybody.
        let broken = [
            vec![Say::Done(LdapResultCode::Busy, vec![])],
            vec![Say::Done(LdapResultCode::TimeLimitExceeded, vec![])],
            vec![Say::Entry(eva("Owner"), vec![]), Say::Done(LdapResultCode::Unavailable, vec![])],
            vec![Say::Entry(eva("Owner"), vec![]), Say::Silence],
        ];
        for answer in broken {
            let moved = [eva("Owner"), jan.clone()];
            server.follow(move |asked| {
                let by_name = format!("{:?}", asked.search.filter).contains("objectguid");
                if by_name { answer.clone() } else { domain(asked, &[], &moved, "2") }
            });
            failed(&hasty).await;
            // It goes on from where it was.
            assert!(server.asked().iter().any(|asked| asked.dirsync() == Some(b"1")));
        }
        // Found, absent, and not asked for.
        let moved = [eva("Owner"), jan];
        server.follow(move |asked| domain(asked, &[eva("Owner"), wim.clone()], &moved, "2"));
        done(&hq).await;
        assert_eq!(active(&hq).await, ["eva", "wim"]);
        assert_eq!(people(&hq).await["eva"].doc["title"], "Owner");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_03_an_error_in_the_middle_of_a_run_cancels_what_would_go_away() {
    both(|which| async move {
        let directory = Directory::start(&ldif(512, 2, 5)).await;
        let proxy = Proxy::start(directory.port).await;
        let text = section(&proxy.url(), UNGUARDED);
        let hq = Hq::of(which, &text).await;
        let hasty = hq.with_source(&format!("timeout = '300ms'\n{text}"));
        done(&hq).await;
        // One has truly left, one has another title: neither is heard of in a read that breaks.
        directory.delete([person(511)]).await;
        directory.replace(&person(1), "title", &["Owner"]).await;
        for (bytes, fault) in
            [(20_000, Fault::Cut), (50_000, Fault::Reset), (80_000, Fault::Hang), (110_000, Fault::Cut)]
        {
            proxy.after(bytes, fault);
            failed(&hasty).await;
        }
        proxy.mend();
        let run = hq.poll(SYNC).await;
        assert_eq!((count(&run, "disable"), count(&run, "update"), run.state), (1, 1, End::Done), "{:?}", run.counts);
        assert_eq!(active(&hq).await.len(), 511);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_04_a_search_that_hits_its_time_limit_says_nothing_of_who_is_gone() {
    both(|which| async move {
        let all: Vec<_> = (0..30)
            .map(|n| {
                let (uid, uuid) = (format!("p{n}"), format!("uuid-{n}"));
                let dn = format!("uid={uid},{BASE}");
                entry(&dn, &[("entryUUID", &uuid), ("uid", &uid), ("objectClass", "inetOrgPerson"), ("memberOf", "x")])
            })
            .collect();
        let outer = entry(
            &format!("cn=outer,{BASE}"),
            &[("entryUUID", "g1"), ("cn", "outer"), ("objectClass", "groupOfNames"), ("member", &all[0].dn)],
        );
        let inner = [("entryUUID", "g2"), ("cn", "inner"), ("objectClass", "groupOfNames"), ("member", &outer.dn)];
        let inner = entry(&format!("cn=inner,{BASE}"), &inner);
        let everything = [all.clone(), vec![outer, inner]].concat();
        let server = Scripted::of(&[], everything.clone()).await;
        let chain = "[sources.hq.users]\nfilter = '(memberOf:1.2.840.113556.1.4.1941:=cn=all,dc=example,dc=com)'\n";
        let text = section(&server.url(), &format!("{UNGUARDED}{chain}")).replace("page_size = 100", "page_size = 10");
        let hq = Hq::of(which, &text).await;
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), 30);
        // It says it after the first page, after some of a page, and at once; with the entries that it had found.
        for (page, entries) in [("10", 0), ("20", 5), ("", 0)] {
            let everything = everything.clone();
            server.follow(move |asked| {
                let mut said = find(asked, &everything);
                let is_that = asked.page().is_some_and(|(_, cookie)| cookie == page.as_bytes());
                if is_that && !asked.is_for_groups() {
                    said.truncate(entries);
                    said.push(Say::Done(LdapResultCode::TimeLimitExceeded, vec![]));
                }
                said
            });
            assert!(failed(&hq).await.contains("time limit"));
        }
        // Nobody is forced into a slow search: groups in groups are read as they stand, without a chain of rules.
        server.holds(everything);
        server.asked();
        let plain = Hq::of(which, &section(&server.url(), "")).await;
        done(&plain).await;
        let asked = server.asked();
        assert!(!asked.is_empty() && asked.iter().all(|asked| !format!("{:?}", asked.search).contains("Extensible")));
        assert_eq!(super::members(&plain, "inner").await, ["outer"]);
        assert_eq!(super::members(&plain, "outer").await, ["p0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_05_an_empty_or_shrunken_answer_waits_for_somebody_who_looks() {
    both(|which| async move {
        let mut directory = Directory::start(&(ldif(40, 2, 5) + READER_LDIF)).await;
        let hq = Hq::of(which, &of_reader(&directory.url(), "")).await;
        done(&hq).await;
        let before = people(&hq).await;
        // A rule of access too much: the directory answers in good order that there is nobody.
        let file = directory.folder().join("slapd.conf");
        let settings = std::fs::read_to_string(&file).unwrap();
        let denied = format!("{settings}access to dn.subtree=\"ou=people,{BASE}\" by * none\naccess to * by * read\n");
        for (text, state) in [(denied, End::Held), (settings, End::Done)] {
            std::fs::write(&file, text).unwrap();
            directory.process().stop();
            directory.restart().await;
            let run = hq.poll(SYNC).await;
            assert_eq!(run.state, state, "{:?}", run.message);
            assert!(state == End::Done || run.message.unwrap().contains("user: 40 of 40 would be taken away"));
            assert_eq!(people(&hq).await, before);
        }
        // A quarter of them: the same, until somebody says that it is right.
        directory.delete((0..10).map(person)).await;
        let held = hq.poll(SYNC).await;
        assert_eq!(held.state, End::Held, "{:?}", held.message);
        assert_eq!(people(&hq).await, before);
        let context = hq.world.context("operator:eva");
        let approved = reconcile::approve(&hq.world.db, &context, held.run.unwrap(), None).await.unwrap();
        assert_eq!((approved.state, count(&approved, "disable")), (End::Done, 10));
        assert_eq!(active(&hq).await.len(), 30);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_06_the_guard_counts_in_percent_and_in_heads() {
    both(|which| async move {
        let directory = Directory::start(&ldif(60, 1, 1)).await;
        let hq = Hq::of(which, &section(&directory.url(), "guard = { percent = 10, count = 3 }\n")).await;
        done(&hq).await;
        // A tenth may go, one more may not.
        directory.delete((50..56).map(person)).await;
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, count(&run, "disable")), (End::Done, 6), "{:?}", run.message);
        directory.delete((44..50).map(person)).await;
        let run = hq.poll(SYNC).await;
        assert_eq!(run.state, End::Held);
        assert!(run.message.unwrap().contains("user: 6 of 54 would be taken away, the limit is 5"));
        assert_eq!(active(&hq).await.len(), 54);
        // In heads: what a percentage of a few people would always allow or never.
        let heads = hq.reconfigured(&directory.url(), "guard = { percent = 0, count = 6 }");
        assert_eq!(heads.poll(SYNC).await.state, End::Done);
        directory.delete((37..44).map(person)).await;
        assert_eq!(heads.poll(SYNC).await.state, End::Held);
        assert_eq!(active(&hq).await.len(), 48);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_07_night_after_night_of_errors_the_last_good_state_stays() {
    both(|which| async move {
        let mut directory = Directory::start(&ldif(30, 2, 5)).await;
        let proxy = Proxy::start(directory.port).await;
        let text = section(&proxy.url(), UNGUARDED);
        let hq = Hq::of(which, &text).await;
        let hasty = hq.with_source(&format!("timeout = '300ms'\n{text}"));
        done(&hq).await;
        let (before, good) = (hq.figures().await, state_of(&hq).await.last_good_at);
        for (bytes, fault) in [(0, Fault::Hang), (14, Fault::Cut), (4_000, Fault::Reset), (4_000, Fault::Reset)] {
            proxy.after(bytes, fault);
            failed(&hasty).await;
        }
        proxy.mend();
        directory.process().stop();
        failed(&hq).await;
        directory.restart().await;
        let mut after = hq.figures().await;
        let nights = after.insert("run", before["run"]).unwrap() - before["run"];
        assert_eq!(after, before, "nothing but the books of the runs that failed");
        assert!((1..=5).contains(&nights), "{nights}");
        assert_eq!(state_of(&hq).await.last_good_at, good);
        // The first good night finds everything as it was.
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, run.run), (End::Done, None), "{:?}", run.counts);
        assert!(state_of(&hq).await.last_good_at > good);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_08_a_misspelt_filter_deletes_nobody_and_who_truly_leaves_does_leave() {
    both(|which| async move {
        let directory = Directory::start(&ldif(12, 1, 1)).await;
        let deleting = format!("absence = 'delete'\n{UNGUARDED}[sources.hq.users]\nbase = 'ou=people,{BASE}'\n");
        let hq = Hq::of(which, &section(&directory.url(), &deleting)).await;
        done(&hq).await;
        let before = people(&hq).await;
        // An attribute that no schema knows: result code 0, and nobody. A class that nobody has: the same.
        for typo in ["(objectClas=inetOrgPerson)", "(objectClass=inetOrgPersonn)", "(uid=p00000*1)"] {
            let other = hq.with_source(&section(&directory.url(), &format!("{deleting}filter = '{typo}'\n")));
            let run = other.poll(SYNC).await;
            assert_eq!(run.state, End::Held, "{typo}: {:?}", run.message);
            assert!(run.message.unwrap().contains("filter, base, mapping or identity"), "{typo}");
            assert_eq!(people(&hq).await, before, "{typo}");
        }
        done(&hq).await;
        assert_eq!(people(&hq).await, before);

        // Whoever leaves is deleted where that was asked for, and switched off where it was not; who comes back is the same.
        let disabling = hq.with_source(&section(&directory.url(), &deleting.replace("absence = 'delete'\n", "")));
        for (reader, n) in [(&hq, 10), (&disabling, 11)] {
            let (login, left) = (format!("p{n:06}"), format!("ou=left,{BASE}"));
            directory.rename(&person(n), &format!("uid={login}"), Some(&left)).await;
            done(reader).await;
            let now = people(&hq).await;
            match n {
                10 => assert!(!now.contains_key(&login), "deleted"),
                _ => assert!(!now[&login].active, "switched off, and kept"),
            }
            let back = format!("ou=people,{BASE}");
            directory.rename(&format!("uid={login},{left}"), &format!("uid={login}"), Some(&back)).await;
            done(reader).await;
            let now = people(&hq).await;
            assert_eq!((now[&login].active, &now[&login].id), (true, &before[&login].id));
        }
    })
    .await;
}
