//! A source of 5,000 people and 200 groups through reader and engine, on both databases: preview, first run, nothing new,
//! renames, a server that dies, a third of the people gone. What the operator sees of it is told in `daemon.rs`.

use std::collections::BTreeMap;

use musterd::app::world_alone;
use musterd::clock::Clock;
use musterd::config::Config;
use musterd::http::state::App;
use musterd::reconcile::{self, End, Mode, Report};
use musterd::store::{Db, Options, Session as _};
use musterd::tasks::World;
use musterd::tasks::poll::poll;
use tempfile::TempDir;

use super::super::support::slapd::{BASE, Directory, Proxy, ldif, person};
use super::super::support::{Which, both, postgres};
use super::section;

const PEOPLE: usize = 5000;
const GROUPS: usize = 200;
pub(super) const SYNC: Mode = Mode::Sync { expect: None };

/// Keys of a directory whose pages are not small.
fn wide(url: &str, more: &str) -> String {
    section(url, more).replace("page_size = 100", "page_size = 500")
}

/// A world without a daemon around it.
pub(super) struct Hq {
    pub(super) world: World,
    folder: TempDir,
    which: Which,
}

impl Hq {
    async fn new(which: Which, url: &str) -> Hq {
        Hq::with(which, url, "").await
    }

    /// `more`: keys of the source.
    pub(super) async fn with(which: Which, url: &str, more: &str) -> Hq {
        Hq::of(which, &wide(url, more)).await
    }

    /// `source`: all keys of a directory.
    pub(super) async fn of(which: Which, source: &str) -> Hq {
        let folder = tempfile::tempdir().unwrap();
        let database = match which {
            Which::Sqlite => format!("sqlite://{}", folder.path().join("hq.db").display()),
            Which::Postgres => postgres::create(None).await.url,
        };
        let clock = Clock::system();
        let db = Db::open(&Options::new(database.clone())).await.unwrap();
        db.migrate(clock.now()).await.unwrap();
        let text = format!("[store]\nurl = '{database}'\n[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{source}");
        let app = App::new(db, clock, Config::parse(&text).unwrap()).unwrap();
        Hq { world: world_alone(&app), folder, which }
    }

    /// The same store, the source with other keys.
    pub(super) fn reconfigured(&self, url: &str, more: &str) -> Hq {
        self.at(&wide(url, more), Clock::system())
    }

    /// The same, so many milliseconds later.
    pub(super) fn later(&self, url: &str, more: &str, by: i64) -> Hq {
        self.at(&wide(url, more), Clock::fixed(Clock::system().now().plus(by), 7))
    }

    /// The same store, all keys of the source anew.
    pub(super) fn with_source(&self, source: &str) -> Hq {
        self.at(source, Clock::system())
    }

    fn at(&self, source: &str, clock: Clock) -> Hq {
        let text = format!("[sources.hq]\nkind = 'ldap'\nrealm = 'agent'\n{source}");
        let app = App::new(self.world.db.clone(), clock, Config::parse(&text).unwrap()).unwrap();
        Hq { world: world_alone(&app), folder: tempfile::tempdir().unwrap(), which: self.which }
    }

    pub(super) async fn poll(&self, mode: Mode) -> Report {
        poll(&self.world, "hq", mode).await.unwrap()
    }

    /// How much there is of everything, and how often it was changed. Not the source's own status line.
    pub(super) async fn figures(&self) -> BTreeMap<&'static str, i64> {
        let mut read = self.world.db.read().await.unwrap();
        let mut all = BTreeMap::new();
        for table in ["entity", "assertion", "edge", "lookup", "run", "run_item", "journal", "quarantine", "outbox"] {
            let row = read.one(format!("SELECT COUNT(*) FROM {table}"), vec![]).await.unwrap();
            all.insert(table, row.get(0).unwrap());
        }
        let sum = read.one("SELECT CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM entity", vec![]).await.unwrap();
        all.insert("versions", sum.get(0).unwrap());
        let active = read.one("SELECT COUNT(*) FROM entity WHERE kind = 'user' AND active", vec![]).await.unwrap();
        all.insert("active", active.get(0).unwrap());
        let open = read.one("SELECT COUNT(*) FROM edge WHERE to_id IS NULL", vec![]).await.unwrap();
        all.insert("open ends", open.get(0).unwrap());
        all
    }

    /// Every byte of the embedded database.
    pub(super) fn bytes(&self) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
        if self.which == Which::Postgres {
            return BTreeMap::new();
        }
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap());
        // The index of the log is rebuilt by readers and holds no data.
        let files = files.filter(|file| !file.file_name().to_string_lossy().ends_with("-shm"));
        files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect()
    }
}

pub(super) fn count(report: &Report, name: &str) -> u64 {
    report.counts.get(name).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_b5_a_directory_is_previewed_applied_and_guarded() {
    both(|which| async move {
        let directory = Directory::start(&ldif(PEOPLE, GROUPS, 25)).await;
        let proxy = Proxy::start(directory.port).await;
        let hq = Hq::new(which, &format!("ldap://127.0.0.1:{}", proxy.port)).await;

        // The preview lists everything and writes nothing.
        let (empty, bytes) = (hq.figures().await, hq.bytes());
        let preview = hq.poll(Mode::Plan).await;
        assert_eq!(
            (preview.state, count(&preview, "create")),
            (End::Planned, (PEOPLE + GROUPS) as u64),
            "{:?}",
            preview.message
        );
        assert_eq!(preview.changes.iter().filter(|change| change.after.contains_key("userName")).count(), PEOPLE);
        assert!(hq.bytes() == bytes, "the database's bytes");
        assert_eq!(hq.figures().await, empty);

        // The run is exactly what was previewed.
        let first = hq.poll(Mode::Sync { expect: Some(preview.digest.clone()) }).await;
        assert_eq!((first.state, &first.digest), (End::Done, &preview.digest), "{:?}", first.message);
        let after_first = hq.figures().await;
        assert_eq!((after_first["entity"], after_first["active"]), ((PEOPLE + GROUPS) as i64, PEOPLE as i64));
        assert_eq!((after_first["edge"], after_first["open ends"]), ((GROUPS * 25) as i64, 0));

        // Nothing new: nothing written.
        let second = hq.poll(SYNC).await;
        assert_eq!((second.state, second.run, count(&second, "same")), (End::Done, None, (PEOPLE + GROUPS) as u64));
        assert_eq!(hq.figures().await, after_first);

        renames_and_moves(&hq, &directory).await;
        a_cut_run_changes_nothing(&hq, &directory, &proxy).await;
        a_third_gone(&hq, &directory).await;
    })
    .await;
}

/// New DNs are the old people.
async fn renames_and_moves(hq: &Hq, directory: &Directory) {
    let before = hq.figures().await;
    directory.rename(&person(10), "uid=renamed", None).await;
    directory.rename(&person(11), "uid=p000011", Some(&format!("ou=left,{BASE}"))).await;
    let run = hq.poll(SYNC).await;
    assert_eq!((run.state, count(&run, "create"), count(&run, "disable")), (End::Done, 0, 0), "{:?}", run.counts);
    let after = hq.figures().await;
    assert_eq!((after["entity"], after["active"]), (before["entity"], before["active"]));
    let mut read = hq.world.db.read().await.unwrap();
    let row =
        read.one("SELECT version FROM entity WHERE kind = 'user' AND login_key = 'renamed'", vec![]).await.unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 2);
}

async fn a_cut_run_changes_nothing(hq: &Hq, directory: &Directory, proxy: &Proxy) {
    directory.delete([person(20)]).await;
    directory.replace(&person(21), "title", &["Owner"]).await;
    let before = hq.figures().await;
    for bytes in [100, 300_000, 900_000] {
        proxy.cut_after(bytes);
        let failed = hq.poll(SYNC).await;
        assert_eq!(failed.state, End::Failed, "{failed:?}");
        let mut after = hq.figures().await;
        // A failed run is remembered; nothing else is.
        after.insert("run", before["run"]);
        assert_eq!(after, before, "after {bytes} bytes");
    }
    proxy.mend();
    let run = hq.poll(SYNC).await;
    assert_eq!((run.state, count(&run, "disable")), (End::Done, 1), "{:?}", run.counts);
    assert_eq!(hq.figures().await["active"], before["active"] - 1);
}

async fn a_third_gone(hq: &Hq, directory: &Directory) {
    let gone = PEOPLE / 3;
    directory.delete((100..100 + gone).map(person)).await;
    let before = hq.figures().await;
    let held = hq.poll(SYNC).await;
    assert_eq!(held.state, End::Held, "{:?}", held.message);
    assert!(held.stops.iter().any(|stop| stop.what == "user" && stop.losses == gone as u64), "{:?}", held.stops);
    let waiting = hq.figures().await;
    assert_eq!(
        (waiting["active"], waiting["versions"], waiting["journal"]),
        (before["active"], before["versions"], before["journal"])
    );

    // Approved is what was seen, not what came meanwhile.
    directory.delete([person(4000)]).await;
    let context = hq.world.context("operator:eva");
    let done = reconcile::approve(&hq.world.db, &context, held.run.unwrap(), None).await.unwrap();
    assert_eq!((done.state, done.digest), (End::Done, held.digest));
    assert_eq!(hq.figures().await["active"], before["active"] - gone as i64);
    let rest = hq.poll(SYNC).await;
    assert_eq!((rest.state, count(&rest, "disable")), (End::Done, 1), "{:?}", rest.counts);
}

/// A directory without referential integrity: groups go on listing the old name of who was renamed, and mean whoever has
/// it next.
#[tokio::test(flavor = "multi_thread")]
async fn a5_a_name_that_is_taken_over_brings_its_groups_to_the_new_person() {
    both(|which| async move {
        let directory = Directory::start(&ldif(30, 1, 20)).await;
        let hq = Hq::new(which, &format!("ldap://127.0.0.1:{}", directory.port)).await;
        let members = async |login: &str| {
            let sql = "SELECT COUNT(*) FROM edge m JOIN entity e ON e.id = m.to_id \
                       WHERE m.rel = 'member' AND e.login_key = $1";
            let mut read = hq.world.db.read().await.unwrap();
            read.one(sql.to_owned(), vec![login.into()]).await.unwrap().get::<i64>(0).unwrap()
        };
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        assert_eq!(members("p000010").await, 1);
        directory.rename(&person(10), "uid=renamed", None).await;
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        let text = |value: &'static str| std::collections::HashSet::from([value]);
        let entry = vec![
            ("objectClass", text("inetOrgPerson")),
            ("uid", text("p000010")),
            ("cn", text("New Person")),
            ("givenName", text("New")),
            ("sn", text("Person")),
            ("mail", text("new.person@example.com")),
        ];
        directory.admin().await.add(&person(10), entry).await.unwrap().success().unwrap();
        assert_eq!(hq.poll(SYNC).await.state, End::Done);
        assert_eq!((members("renamed").await, members("p000010").await), (0, 1));
        assert!(hq.poll(SYNC).await.run.is_none(), "and then nothing more");
    })
    .await;
}
