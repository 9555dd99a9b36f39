//! Complaints of accounts that were on when they should be off, and the reverse: disabled people who got in, blocks that
//! were undone, local accounts and namesakes that a directory took away. The numbers are those of `complaints`.

use std::collections::BTreeMap;
use std::sync::Arc;

use musterd::model::desired::{Desired, Record, Ref, Target, Targets, Write};
use musterd::model::kind::{Kind, Realm, Rel};
use musterd::model::source::SourcePolicy;
use musterd::reconcile::{self, End};
use serde_json::{Value, json};

use super::super::super::support::both;
use super::super::super::support::scripted::{Scripted, entry};
use super::super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{DOMAIN, UNGUARDED, account, active, domain, done, key, members, people};

#[tokio::test(flavor = "multi_thread")]
async fn complaint_20_whoever_is_disabled_or_expired_is_not_taken_for_active() {
    // What a directory says, and whether it means that somebody may work.
    const WORDS: [(&str, &str, bool); 17] = [
        ("userAccountControl", "512", true),
        ("userAccountControl", "514", false),
        ("userAccountControl", "66050", false),
        ("accountExpires", "0", true),
        ("accountExpires", "9223372036854775807", true),
        ("accountExpires", "157469184000000000", true),
        ("accountExpires", "132223104000000000", false),
        ("nsAccountLock", "false", true),
        ("nsAccountLock", "TRUE", false),
        ("pwdAccountLockedTime", "20260921141320Z", true),
        ("pwdAccountLockedTime", "000001010000Z", false),
        ("shadowExpire", "-1", true),
        ("shadowExpire", "0", true),
        ("shadowExpire", "99999", true),
        ("shadowExpire", "1", false),
        ("loginDisabled", "FALSE", true),
        ("loginDisabled", "TRUE", false),
    ];
    both(|which| async move {
        let all = |healed: bool| -> Vec<_> {
            let one = |(n, (name, value, _)): (usize, &(&str, &str, bool))| {
                let said: &[(&str, &str)] = if healed { &[] } else { &[(*name, *value)] };
                account(&format!("guid-number-{n:04}"), &format!("p{n:02}"), said)
            };
            WORDS.iter().enumerate().map(one).collect()
        };
        let server = Scripted::of(&[], all(false)).await;
        let more = format!("preset = 'activedirectory'\nmode = 'paged'\n{UNGUARDED}");
        let hq = Hq::of(which, &section(&server.url(), &more)).await;
        done(&hq).await;
        let known = people(&hq).await;
        assert_eq!(known.len(), WORDS.len(), "who is off is known all the same");
        for (n, (name, value, on)) in WORDS.iter().enumerate() {
            assert_eq!(known[&format!("p{n:02}")].active, *on, "{name}: {value}");
        }
        assert_eq!(hq.poll(SYNC).await.run, None);
        server.holds(all(true));
        done(&hq).await;
        assert_eq!(active(&hq).await.len(), WORDS.len(), "and comes back");
        server.holds(all(false));
        let run = hq.poll(SYNC).await;
        assert_eq!(count(&run, "disable"), WORDS.iter().filter(|(.., on)| !on).count() as u64, "{:?}", run.counts);
    })
    .await;
}

fn operator(hq: &Hq) -> Arc<SourcePolicy> {
    hq.world.config().source("operator").unwrap().policy.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_28_the_directorys_word_and_the_operators_block_are_two_things() {
    both(|which| async move {
        let directory = Directory::start(&ldif(10, 1, 1)).await;
        directory.replace(&person(1), "objectClass", &["inetOrgPerson", "shadowAccount"]).await;
        let hq = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        let id = people(&hq).await["p000001"].id.parse().unwrap();
        let block = async |on: bool| {
            let mut tx = hq.world.db.write().await.unwrap();
            let context = hq.world.context("operator:eva");
            reconcile::block(&mut tx, &context, &operator(&hq), id, on).await.unwrap();
            tx.commit().await.unwrap();
        };
        let locked = async |on: bool| {
            directory.replace(&person(1), "shadowExpire", if on { &["1"] } else { &[] }).await;
            done(&hq).await;
        };
        let works = async || people(&hq).await["p000001"].active;
        assert!(works().await);
        // The directory's own: off and on again.
        locked(true).await;
        assert!(!works().await);
        locked(false).await;
        assert!(works().await, "whoever is enabled again may work again");
        // The operator's: no sync lifts it, whatever the directory says meanwhile.
        block(true).await;
        directory.replace(&person(1), "title", &["Owner"]).await;
        done(&hq).await;
        assert!(!works().await);
        locked(true).await;
        locked(false).await;
        assert!(!works().await);
        block(false).await;
        assert!(works().await);
        // Both: it takes both to come back.
        locked(true).await;
        block(true).await;
        block(false).await;
        assert!(!works().await);
        locked(false).await;
        assert!(works().await);
    })
    .await;
}

/// Somebody or a group that the operator makes.
async fn local(hq: &Hq, kind: Kind, attributes: Value, relations: BTreeMap<Rel, Targets>) -> String {
    let key = hq.world.clock.entity_id().to_string();
    let Value::Object(attributes) = attributes else { panic!("{attributes}") };
    let desired = Desired {
        kind,
        key: key.clone(),
        realm: Some(Realm::Agent),
        alias: None,
        attributes,
        write: Write::Whole,
        relations,
        digest: None,
    };
    let mut tx = hq.world.db.write().await.unwrap();
    let record = vec![Record::Present(Box::new(desired))];
    let applied = reconcile::apply(&mut tx, &hq.world.context("operator:eva"), &operator(hq), record).await.unwrap();
    assert_eq!(applied.refused().count(), 0, "{applied:?}");
    tx.commit().await.unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_29_a_directory_touches_nobody_whom_it_did_not_bring_nor_who_is_protected() {
    both(|which| async move {
        let directory = Directory::start(&ldif(6, 1, 6)).await;
        let hq = Hq::of(which, &section(&directory.url(), "")).await;
        done(&hq).await;
        let boss = json!({
            "userName": "boss", "displayName": "Boss", "name": {"givenName": "B", "familyName": "Oss"},
            "emails": [{"value": "boss@example.com", "primary": true, "type": "work"}]
        });
        let id = local(&hq, Kind::User, boss, BTreeMap::new()).await;
        let both_of_them = [id.parse().unwrap(), people(&hq).await["p000000"].id.parse().unwrap()];
        let inside = Targets::Whole(both_of_them.map(|id| Target::from(Ref::Id(id))).into());
        local(&hq, Kind::Group, json!({"displayName": "Admins"}), [(Rel::Member, inside)].into()).await;
        let before = people(&hq).await["boss"].clone();
        assert!(before.active);

        // A namesake in the directory is another person, also where logins are matched: the boss is protected.
        let dn = format!("uid=boss,ou=people,{BASE}");
        let namesake = [
            ("objectClass", "inetOrgPerson"),
            ("uid", "boss"),
            ("cn", "Imp"),
            ("sn", "Imp"),
            ("mail", "imp@example.com"),
        ];
        directory.add(&dn, &namesake).await;
        let careful = hq.reconfigured(&directory.url(), "match = ['login', 'email']\nprotected = ['BOSS', 'p000001']");
        for (reader, told) in [(&hq, "is taken"), (&careful, "is protected")] {
            let run = reader.poll(SYNC).await;
            assert_eq!((run.state, count(&run, "refused")), (End::Done, 1), "{:?}", run.refused);
            assert!(run.refused[0].reason.contains(told), "{:?}", run.refused);
            assert_eq!(people(&hq).await["boss"], before);
        }
        // Everybody goes, and somebody approves it: the boss and the protected one stay, and so do groups of others.
        directory.delete((0..6).map(person).chain([dn, format!("cn=group0000,ou=groups,{BASE}")])).await;
        let held = careful.poll(SYNC).await;
        assert_eq!(held.state, End::Held, "{:?}", held.message);
        let context = careful.world.context("operator:eva");
        let approved = reconcile::approve(&hq.world.db, &context, held.run.unwrap(), None).await.unwrap();
        assert_eq!(approved.state, End::Done);
        assert!(approved.refused.iter().any(|refused| refused.reason.contains("`p000001` is protected")));
        assert_eq!(active(&hq).await, ["boss", "p000001"]);
        assert_eq!(people(&hq).await["boss"], before);
        assert_eq!(members(&hq, "admins").await, ["boss", "p000000"], "the operator's own word of who is in it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_30_what_lies_in_the_recycle_bin_is_known_by_its_guid_alone() {
    both(|which| async move {
        let eva = account("guid-of-eva-0001", "eva", &[]);
        let jan = account("guid-of-jan-0002", "jan", &[]);
        let deleted = |guid: &str| {
            let dn = format!("CN=eva\\0ADEL:{},CN=Deleted Objects,{BASE}", key(guid));
            let words = [
                ("objectGUID", guid),
                ("isDeleted", "TRUE"),
                ("sAMAccountName", "eva"),
                ("mail", "eva@example.com"),
                ("name", "eva\nDEL:"),
                ("objectClass", "user"),
            ];
            entry(&dn, &words)
        };
        let server = Scripted::start(&DOMAIN, {
            let there = [eva.clone(), jan.clone()];
            move |asked| domain(asked, &there, &[], "1")
        })
        .await;
        let more = format!("preset = 'activedirectory'\nmatch = ['login']\n{UNGUARDED}");
        let hq = Hq::of(which, &section(&server.url(), &more)).await;
        done(&hq).await;
        let before = people(&hq).await;
        // Another eva of long ago was deleted, and one that nobody ever knew: the living one stays.
        let (there, older) =
            ([eva.clone(), jan.clone()], [deleted("guid-of-old-0009"), eva, deleted("guid-of-old-0010")]);
        server.follow(move |asked| domain(asked, &there, &older, "2"));
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, run.run), (End::Done, None), "{:?}", run.counts);
        assert_eq!(people(&hq).await, before);
        // Herself: she goes, and jan, of whom nothing was said, does not.
        let there = [jan.clone()];
        server.follow(move |asked| domain(asked, &there, &[deleted("guid-of-eva-0001")], "3"));
        let run = hq.poll(SYNC).await;
        assert_eq!((run.state, count(&run, "disable")), (End::Done, 1), "{:?}", run.counts);
        assert_eq!(active(&hq).await, ["jan"]);
        // Made anew, while the old one still lies in the bin.
        let (new, bin) = (account("guid-of-eva-0007", "eva", &[]), deleted("guid-of-eva-0001"));
        let there = [jan, new.clone()];
        server.follow(move |asked| domain(asked, &there, &[new.clone(), bin.clone()], "4"));
        done(&hq).await;
        assert_eq!(active(&hq).await, ["eva", "jan"]);
        assert_eq!(
            people(&hq).await["eva"].id,
            before["eva"].id,
            "the same login, and the rule says that it is the same"
        );
    })
    .await;
}
