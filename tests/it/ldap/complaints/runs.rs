//! Complaints of runs as such: previews that wrote, one bad entry that stopped all, a state that another version could not
//! read, searches by the thousand, a place that was lost or saved too early. The numbers are those of `complaints`.

use std::collections::BTreeMap;

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapResultCode, LdapSearchResultEntry, SyncStateValue};
use musterd::reconcile::{End, Mode};
use musterd::store::{Session as _, source_state};
use musterd::tasks::poll::poll;
use serde_json::{Value, json};

use super::super::super::support::daemon::Daemon;
use super::super::super::support::scripted::{Asked, Say, Scripted, entry, with};
use super::super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::super::support::{Which, both};
use super::super::section;
use super::super::sync::{Hq, SYNC, count};
use super::{SYNCREPL, UNGUARDED, active, cursor, done, members, people};

/// Every row of every table with the transaction that wrote it, of a database that is no file.
async fn rows(hq: &Hq, which: Which) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    if which == Which::Sqlite {
        return all;
    }
    let mut read = hq.world.db.read().await.unwrap();
    let tables = read.all("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'", vec![]).await.unwrap();
    for table in tables.iter().map(|row| row.get::<String>(0).unwrap()) {
        let sql = format!("SELECT t.xmin::text || ' ' || t::text FROM {table} t ORDER BY 1");
        let rows = read.all(sql, vec![]).await.unwrap().iter().map(|row| row.get(0).unwrap()).collect();
        all.insert(table, rows);
    }
    assert!(all["entity"].len() > 50);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_09_a_preview_leaves_every_byte_where_it_was() {
    both(|which| async move {
        let mut directory = Directory::start(&ldif(60, 3, 5)).await;
        let hq = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        directory.delete([person(59)]).await;
        directory.replace(&person(1), "title", &["Owner"]).await;
        directory.rename(&person(58), "uid=renamed", None).await;
        directory.rename(&format!("cn=group0000,ou=groups,{BASE}"), "cn=another", None).await;
        let before = (hq.bytes(), rows(&hq, which).await);
        let preview = hq.poll(Mode::Plan).await;
        assert_eq!((preview.state, count(&preview, "disable"), count(&preview, "update")), (End::Planned, 1, 3));
        assert!(before == (hq.bytes(), rows(&hq, which).await), "after a preview");
        directory.process().stop();
        assert_eq!(hq.poll(Mode::Plan).await.state, End::Failed);
        assert!(before == (hq.bytes(), rows(&hq, which).await), "after one that failed");
        directory.restart().await;
        // What was not previewed is not done.
        let (known, another) = (people(&hq).await, Mode::Sync { expect: Some("another".to_owned()) });
        assert!(poll(&hq.world, "hq", another).await.is_err());
        assert_eq!(people(&hq).await, known);
        // And what it showed is what is done.
        let run = hq.poll(Mode::Sync { expect: Some(preview.digest.clone()) }).await;
        assert_eq!((run.state, run.digest), (End::Done, preview.digest));
        assert_eq!(active(&hq).await.len(), 59);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_13_one_bad_entry_and_one_taken_login_stop_nobody_else() {
    both(|which| async move {
        let twin = format!(
            "dn: uid=p000003,ou=left,{BASE}\nobjectClass: inetOrgPerson\nuid: p000003\ncn: Twin\ngivenName: T\nsn: T\n\
             mail: twin@example.com\n\n"
        );
        let directory = Directory::start(&(ldif(20, 1, 20) + &twin)).await;
        directory.replace(&person(5), "description", &["perhaps"]).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{}[sources.hq.users.map]\nactive = 'description'\n",
            section(&directory.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        for _ in 0..2 {
            let run = daemon.cli(&["sync", "hq"]);
            assert_eq!(run.code, 4, "a part was taken: {run:?}");
            let said = format!("{}{}", run.stdout, run.stderr);
            let told: Vec<&str> = said.lines().filter(|line| line.contains("refused user")).collect();
            assert_eq!(told.len(), 2, "{said}");
            for part in ["login `p000003` is taken", "perhaps", "uid=p000005"] {
                assert!(told.iter().any(|line| line.contains(part)), "{part} in {told:?}");
            }
        }
        let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
        let page = api.get("/api/v1/users?limit=250").await.expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), 19);
        // Mended where they come from, both are taken, and nothing is left to tell.
        directory.replace(&person(5), "description", &["yes"]).await;
        directory.rename(&format!("uid=p000003,ou=left,{BASE}"), "uid=twin", None).await;
        let run = daemon.cli(&["sync", "hq", "--json"]);
        let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        assert_eq!((run.code, &report["counts"]["create"]), (0, &json!(2)), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_24_a_place_of_another_version_is_no_place_and_everything_is_read() {
    both(|which| async move {
        let directory = Directory::syncing(&ldif(30, 2, 5)).await;
        let hq = Hq::of(which, &section(&directory.url(), UNGUARDED)).await;
        done(&hq).await;
        let sound = cursor(&hq).await;
        assert_eq!(sound["version"], 1);
        let with = |name: &str, value: Value| {
            let mut other = sound.clone();
            other[name] = value;
            other.to_string()
        };
        // What an older or newer version may have left: a stamp, a number, nothing, another form, another way of reading.
        let strange = [
            "19700101000000Z".to_owned(),
            "0".to_owned(),
            String::new(),
            "{}".to_owned(),
            with("version", json!(2)),
            with("mode", json!("timestamp")),
            with("mode", json!("of the future")),
            with("fingerprint", json!("another")),
        ];
        for (n, text) in strange.iter().enumerate() {
            let mut tx = hq.world.db.write().await.unwrap();
            let mut state = source_state::by_name(&mut tx, "hq").await.unwrap().unwrap();
            state.cursor = Some(text.clone());
            source_state::put(&mut tx, &state).await.unwrap();
            tx.commit().await.unwrap();
            directory.delete([person(22 + n)]).await; // in no group
            let run = hq.poll(SYNC).await;
            let left = 32 - n as u64 - 1;
            assert_eq!(
                (run.state, count(&run, "read"), count(&run, "disable")),
                (End::Done, left, 1),
                "{text}: {:?}",
                run.counts
            );
            assert_eq!((cursor(&hq).await["version"].clone(), active(&hq).await.len() as u64), (json!(1), left - 2));
            let again = hq.poll(SYNC).await;
            assert_eq!((again.run, count(&again, "read")), (None, 0), "and goes on from there");
        }
    })
    .await;
}

fn person_of(n: usize, title: &str) -> LdapSearchResultEntry {
    let (login, uuid) = (format!("p{n:04}"), uuid::Uuid::from_u128(n as u128 + 1).to_string());
    let mail = format!("{login}@example.com");
    let texts = [
        ("entryUUID", &uuid[..]),
        ("objectClass", "inetOrgPerson"),
        ("uid", &login),
        ("givenName", "G"),
        ("sn", "S"),
        ("mail", &mail),
        ("title", title),
    ];
    entry(&format!("uid={login},{BASE}"), &texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_25_whoever_asks_is_answered_without_the_directory() {
    both(|which| async move {
        let server = Scripted::of(&[], (0..300).map(|n| person_of(n, "Agent")).collect()).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{}\n[sources.idp]\nkind = 'scim'\nrealm = 'agent'\n",
            section(&server.url(), "")
        );
        let daemon = Daemon::builder(which).config(&config).start().await;
        assert_eq!(daemon.cli(&["sync", "hq"]).code, 0);
        assert!(!server.asked().is_empty());
        let ask = async || {
            let api = daemon.http.with_token(daemon.token(&["--scope", "api"]));
            let scim = daemon.http.with_token(daemon.token(&["--source", "idp", "--scope", "scim"]));
            let page = api.get("/api/v1/users?limit=250").await.expect(200);
            assert_eq!(page["items"].as_array().unwrap().len(), 250);
            let id = page["items"][0]["id"].as_str().unwrap().to_owned();
            api.get(&format!("/api/v1/users/{id}")).await.expect(200);
            let found = scim.get("/scim/v2/Users?filter=userName%20eq%20%22p0123%22").await.expect(200);
            assert_eq!((&found["totalResults"], &found["Resources"][0]["title"]), (&json!(1), &json!("Agent")));
            assert_eq!(daemon.cli(&["why", "user", "p0123"]).code, 0);
        };
        ask().await;
        assert!(server.asked().is_empty(), "nobody asked the directory");
        drop(server);
        ask().await;
        assert_eq!(daemon.cli(&["sync", "hq"]).code, 1, "it is not there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_26_a_run_asks_by_the_page_and_never_by_the_head() {
    both(|which| async move {
        let people = (0..300).map(|n| person_of(n, "Agent"));
        let groups = (0..20).map(|n| {
            let (cn, uuid) = (format!("g{n}"), uuid::Uuid::from_u128(1000 + n).to_string());
            let texts = [("entryUUID", &uuid[..]), ("objectClass", "groupOfNames"), ("cn", &cn)];
            let group = entry(&format!("cn={cn},{BASE}"), &texts);
            let member = |group, n: usize| with(group, "member", person_of(n, "").dn.as_bytes());
            (0..300).step_by(3).fold(group, member)
        });
        let server = Scripted::of(&[], people.chain(groups).collect()).await;
        let hq = Hq::of(which, &section(&server.url(), UNGUARDED)).await;
        for _ in 0..2 {
            done(&hq).await;
            let asked = server.asked();
            let groups = asked.iter().filter(|asked| asked.is_for_groups()).count();
            assert_eq!((asked.len(), groups), (4, 1), "three pages of people, one of groups");
        }
        assert_eq!(members(&hq, "g7").await.len(), 100, "who is in what is put together here");
        assert_eq!(hq.poll(SYNC).await.run, None);
    })
    .await;
}

/// Several servers that write, and bytes that are no text.
const PLACE: &[u8] = b"rid=001,sid=00a,csn=20261128000000.000000Z#000000#001#000000;20261128000001.123456Z#000000#002#000000;\xff\x00\x80 ";
const NEXT: &[u8] =
    b"rid=001,sid=00b,csn=20261128000002.000000Z#000000#001#000000;20261128000001.123456Z#000000#002#000000";

fn synced(n: usize, title: &str, state: SyncStateValue) -> Say {
    let entry_uuid = uuid::Uuid::from_u128(n as u128 + 1);
    Say::Entry(person_of(n, title), vec![LdapControl::SyncState { state, entry_uuid, cookie: None }])
}

fn end(cookie: Option<&[u8]>) -> Say {
    let control = LdapControl::SyncDone { cookie: cookie.map(<[u8]>::to_vec), refresh_deletes: true };
    Say::Done(LdapResultCode::Success, vec![control])
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_31_a_place_is_kept_byte_for_byte_and_together_with_what_it_stands_for() {
    both(|which| async move {
        let server = Scripted::start(&SYNCREPL, |_| {
            let all = (0..700).map(|n| synced(n, "Agent", SyncStateValue::Add));
            all.chain([end(Some(PLACE))]).collect()
        })
        .await;
        let more = "mode = 'syncrepl'\n[sources.hq.groups]\nenabled = false\n";
        let hq = Hq::of(which, &section(&server.url(), more)).await;
        done(&hq).await;
        let places =
            |asked: Vec<Asked>| -> Vec<Vec<u8>> { asked.iter().map(|asked| asked.sync().unwrap().to_vec()).collect() };
        assert_eq!(places(server.asked()), [b""]);
        let (before, place) = (people(&hq).await, cursor(&hq).await);

        // Killed in the middle of an answer: neither what came of it nor the place stays.
        server.follow(|_| {
            let most = (0..650).map(|n| synced(n, "Owner", SyncStateValue::Modify));
            most.chain([Say::Silence]).collect()
        });
        let world = hq.world.clone();
        let reading = tokio::spawn(async move { poll(&world, "hq", SYNC).await });
        server.until_asked().await;
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        assert_eq!(places(server.asked()), [PLACE], "several stamps, byte for byte");
        assert_eq!((people(&hq).await, cursor(&hq).await), (before, place.clone()));
        if which == Which::Postgres {
            // Whoever was killed holds its turn until its lease ends.
            let mut tx = hq.world.db.write().await.unwrap();
            tx.execute("UPDATE lease SET expires = 0", vec![]).await.unwrap();
            tx.commit().await.unwrap();
        }

        // Held: what came was not taken, so the place stays as well.
        server.follow(|_| {
            let gone = (0..600).map(|n| synced(n, "Agent", SyncStateValue::Delete));
            gone.chain([end(Some(NEXT))]).collect()
        });
        assert_eq!(hq.poll(SYNC).await.state, End::Held);
        assert_eq!(cursor(&hq).await, place);
        // Taken: with it the new one; an end without one means the last one.
        server.follow(|_| vec![synced(1, "Owner", SyncStateValue::Modify), end(Some(NEXT))]);
        done(&hq).await;
        assert_eq!(people(&hq).await["p0001"].doc["title"], "Owner");
        server.follow(|_| vec![end(None)]);
        assert_eq!(hq.poll(SYNC).await.run, None);
        assert_eq!(hq.poll(SYNC).await.run, None);
        assert_eq!(places(server.asked()), [PLACE, PLACE, NEXT, NEXT]);
        assert_eq!(active(&hq).await.len(), 700);
    })
    .await;
}
