//! Opening the embedded database: what must hold of its file before anything is read or written. Part of `db`.

use std::path::{Path, PathBuf};

use super::bind::sqlite;
use super::db::{Db, Error, Session as _};
use super::group::Writer;
use super::lite::Opening;
use super::readers::Readers;

/// SQLite files of ours carry this ("mstd"), so that a wrong file is refused instead of filled.
const APPLICATION_ID: i64 = 0x6d73_7464;

/// Pages that the writer keeps, in KiB (negative says so). Indexes over random values touch pages all over the file: with
/// 4 MB a first read of 100,000 people took half as long again on a busy machine, with 16 MB it took 8 MB more and no less time.
const CACHE: &str = "-8192";
/// The same for all readers together, in KiB, and what one has at least (SQLite's own default) and at most. With 32 MB a
/// first read of a directory took 90 MB instead of 63, and the pages are in the system's cache anyway.
const READ_CACHE: u32 = 6 << 10;
const LEAST_READ_CACHE: u32 = 2 << 10;
const MOST_READ_CACHE: u32 = 4 << 10;
/// Moments that stay open while nobody needs one.
const KEPT_MOMENTS: u32 = 1;
/// Pages in the log before the writer moves them into the file: the more, the fewer times one page is moved.
const LOG: &str = "4096";

pub(super) async fn open(file: &Path, readers: u32) -> Result<Db, Error> {
    refuse_network_file_system(file)?;
    private(file).map_err(|error| Error::Url(format!("{}: {error}", file.display())))?;
    let unclean = std::fs::metadata(wal_of(file)).is_ok_and(|wal| wal.len() > 0);
    let common = |cache: String| {
        vec![
            // NORMAL was measured to lose every acknowledged commit at power loss.
            ("synchronous", "FULL".to_owned()),
            ("foreign_keys", "ON".to_owned()),
            ("temp_store", "MEMORY".to_owned()),
            ("journal_size_limit", "67108864".to_owned()),
            ("cache_size", cache),
        ]
    };
    let mut pragmas = vec![("journal_mode", "WAL".to_owned())];
    pragmas.extend(common(CACHE.to_owned()));
    pragmas.push(("wal_autocheckpoint", LOG.to_owned()));
    let write = Writer::open(Opening { file: file.to_owned(), read_only: false, pragmas })?;
    let readers = readers.max(1);
    let cache = (READ_CACHE / readers).clamp(LEAST_READ_CACHE, MOST_READ_CACHE);
    let reading = Opening { file: file.to_owned(), read_only: true, pragmas: common(format!("-{cache}")) };
    let moments = Readers::new(reading.clone(), readers, KEPT_MOMENTS);
    let db = Db::Sqlite { write, read: Readers::new(reading, readers, readers), moments, file: file.into() };
    identify(&db, unclean).await?;
    Ok(db)
}

/// Whether a file could be opened as ours, or be made where there is none. Writes nothing.
pub fn look_at(file: &Path) -> Result<(), Error> {
    refuse_network_file_system(file)?;
    match std::fs::metadata(file) {
        Ok(there) if there.is_dir() => return Err(Error::Url("it is a folder".to_owned())),
        Ok(there) if there.len() == 0 => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::Url(error.to_string())),
    }
    // Even a reader of SQLite would leave files beside a database with a log: its first page says enough.
    let mut head = [0; 100];
    let read = std::fs::File::open(file).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (pages, id) = (number(28), i64::from(number(68)));
    match read {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(Error::Url(error.to_string())),
        Ok(()) if head.starts_with(b"SQLite format 3\0") => {
            let unclean = std::fs::metadata(wal_of(file)).is_ok_and(|wal| wal.len() > 0);
            let ours = id == APPLICATION_ID || (id == 0 && (pages <= 1 || unclean));
            if ours { Ok(()) } else { Err(foreign()) }
        }
        _ => Err(Error::Schema("the file is no database of SQLite".to_owned())),
    }
}

fn foreign() -> Error {
    Error::Schema("the file is a database of another program".to_owned())
}

/// Refuses a file of another program; after an unclean stop also a damaged one.
async fn identify(db: &Db, unclean: bool) -> Result<(), Error> {
    let Db::Sqlite { write, .. } = db else { return Ok(()) };
    let mut read = db.read().await?;
    let id: i64 = read.one("SELECT application_id FROM pragma_application_id", Vec::new()).await?.get(0)?;
    let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
    let empty = read.one(tables, Vec::new()).await?.get::<i64>(0)? == 0;
    if id != APPLICATION_ID && !(id == 0 && empty) {
        return Err(foreign());
    }
    if empty && id == 0 {
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
        write.clone().alone(sqlite(mark.into(), Vec::new())).await?;
    }
    if unclean {
        let verdict: String = read.one("SELECT quick_check FROM pragma_quick_check", Vec::new()).await?.get(0)?;
        if verdict != "ok" {
            return Err(Error::Schema(format!("the database file is damaged: {verdict}")));
        }
    }
    Ok(())
}

/// It holds hashes and people: for its owner only. SQLite gives its log the same permissions.
pub(super) fn private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file).map(drop)
}

fn wal_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// WAL needs shared memory, which network file systems do not give: two hosts would corrupt the file.
fn refuse_network_file_system(file: &Path) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| Error::Url(format!("{}: {error}", folder.display())))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match file_system(&mounts, &folder) {
        Some(kind) if matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3" | "fuse.sshfs" | "ceph" | "9p") => {
            Err(Error::Url(format!(
                "{} lies on a network file system ({kind}); use a local disk or PostgreSQL",
                file.display()
            )))
        }
        _ => Ok(()),
    }
}

/// The type of the file system that `folder` lies on, by the text of /proc/self/mountinfo.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    });
    mounted.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without these two the same statements take twice to four times as long; `.cargo/config.toml` sets them.
    #[tokio::test]
    async fn sqlite_is_compiled_for_many_short_statements() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("a.db"), 1).await.unwrap();
        let sql = "SELECT compile_options FROM pragma_compile_options";
        let rows = db.read().await.unwrap().all(sql, Vec::new()).await.unwrap();
        let options: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        for wanted in ["ENABLE_QPSG", "DEFAULT_MEMSTATUS=0"] {
            assert!(options.iter().any(|option| option == wanted), "{wanted} is not among {options:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_known_by_its_first_page_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        look_at(&file("none.db")).unwrap();
        let db = open(&file("ours.db"), 1).await.unwrap();
        look_at(&file("ours.db")).unwrap();
        db.close().await;
        drop(db);
        look_at(&file("ours.db")).unwrap();
        std::fs::write(
            file("junk.db"),
            "no database, but long enough to have a head of a hundred bytes, which this one has",
        )
        .unwrap();
        std::fs::write(file("long.db"), [7; 200]).unwrap();
        for name in ["junk.db", "long.db"] {
            assert!(look_at(&file(name)).unwrap_err().to_string().contains("no database"), "{name}");
        }
        assert!(look_at(folder.path()).is_err());
        let mut foreign = std::fs::read(file("ours.db")).unwrap();
        foreign[68..72].fill(9);
        std::fs::write(file("foreign.db"), foreign).unwrap();
        assert!(look_at(&file("foreign.db")).unwrap_err().to_string().contains("another program"));
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("junk.db-")), "{left:?}");
    }

    #[test]
    fn network_file_systems_are_known_by_the_longest_mount() {
        let mounts = "1 1 8:1 / / rw - ext4 /dev/a rw\n2 1 0:3 / /srv/share rw shared:1 - nfs4 host:/x rw\n";
        assert_eq!(file_system(mounts, Path::new("/srv/share/db")), Some("nfs4"));
        assert_eq!(file_system(mounts, Path::new("/srv/other")), Some("ext4"));
    }
}
