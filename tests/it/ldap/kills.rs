//! A daemon that is killed again and again while it reads a directory: what it comes to is what one comes to that was never
//! killed. No account twice, nobody lost, one invitation a person, no place lost. Both databases; 100 kills in the long run.

use std::collections::BTreeMap;
use std::time::Duration;

use musterd::clock::Clock;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::super::support::daemon::{Daemon, cli};
use super::super::support::http::Http;
use super::super::support::slapd::{BASE, Directory, ldif, person};
use super::super::support::{Which, both, long};
use super::section;

const PEOPLE: usize = 600;

/// Login -> whether active, title, and how often it was changed.
async fn people(daemon: &Daemon) -> BTreeMap<String, (bool, String)> {
    let api: Http = daemon.http.with_token(daemon.token(&["--scope", "api"]));
    let (mut all, mut next) = (BTreeMap::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/users?limit=250{next}")).await.expect(200);
        for user in page["items"].as_array().unwrap() {
            let text = |name: &str| user["attributes"][name].as_str().unwrap_or_default().to_owned();
            let is_new = all.insert(text("userName"), (user["active"] == true, text("title"))).is_none();
            assert!(is_new, "{} is there twice", text("userName"));
        }
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return all,
        }
    }
}

fn invitations(daemon: &Daemon) -> usize {
    let done = daemon.cli(&["mail", "outbox", "--json"]);
    let all: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    let to: std::collections::BTreeSet<&str> =
        all.as_array().unwrap().iter().filter_map(|mail| mail["entity"].as_str()).collect();
    assert_eq!(to.len(), all.as_array().unwrap().len(), "nobody is invited twice");
    to.len()
}

/// Whoever was killed holds its turn until its lease ends: time is what this saves.
async fn forget_turn(which: Which, database: &str) {
    if which == Which::Postgres {
        let mut aside = PgConnection::connect(database).await.unwrap();
        sqlx::query("UPDATE lease SET expires = 0").execute(&mut aside).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_a_sync_that_is_killed_comes_to_what_an_unbroken_one_comes_to() {
    let kills = if long() { 100 } else { 6 };
    both(async |which| {
        let clock = Clock::system();
        let directory = Directory::syncing(&ldif(PEOPLE, 10, 20)).await;
        let config = format!(
            "[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\ninvite = true\nguard = {{ percent = 50, count = 100 }}\n{}",
            section(&directory.url(), "")
        );
        let mut daemon = Daemon::builder(which).config(&config).start().await;
        let mut gone = 0;
        for round in 0..kills {
            if round > kills / 3 {
                directory.replace(&person(round), "title", &[&format!("round {round}")]).await;
                if round % 4 == 0 {
                    directory.delete([person(PEOPLE - 1 - gone)]).await;
                    gone += 1;
                }
                if round % 5 == 0 {
                    let login = format!("new{round}");
                    let mail = format!("{login}@example.com");
                    let dn = format!("uid={login},ou=people,{BASE}");
                    let new = [
                        ("objectClass", "inetOrgPerson"),
                        ("uid", &login),
                        ("cn", &login),
                        ("sn", "N"),
                        ("givenName", "G"),
                        ("mail", &mail),
                    ];
                    directory.add(&dn, &new).await;
                }
            }
            let file = daemon.config_file();
            let asking = std::thread::spawn(move || cli(&file, &[], &["sync", "hq"]));
            tokio::time::sleep(Duration::from_millis(30 + clock.below(600))).await;
            daemon.process().kill();
            drop(asking.join());
            daemon.restart().await;
            forget_turn(which, &daemon.database).await;
        }
        let last = daemon.cli(&["sync", "hq"]);
        assert_eq!(last.code, 0, "{last:?}\n{}", daemon.log());
        let again = daemon.cli(&["sync", "hq", "--json"]);
        let report: Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!((again.code, &report["run"]), (0, &Value::Null), "nothing is left to do: {report}");
        let told = daemon.cli(&["sources", "--json"]).stdout;
        assert!(told.contains("syncrepl"), "{told}");

        let unbroken = Daemon::builder(which).config(&config).start().await;
        assert_eq!(unbroken.cli(&["sync", "hq"]).code, 0);
        let (mut broken, whole) = (people(&daemon).await, people(&unbroken).await);
        let left: Vec<String> =
            broken.iter().filter(|(_, (active, _))| !active).map(|(login, _)| login.clone()).collect();
        assert!(left.len() <= gone, "{left:?}");
        for login in &left {
            broken.remove(login);
        }
        assert_eq!(broken, whole);
        assert_eq!(invitations(&daemon), (whole.len() + left.len()).min(1000));
    })
    .await;
}
