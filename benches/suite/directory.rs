//! P1 first sync, P2 nothing changed, P3 a little changed, P4 memory: the daemon reads a real slapd, on either database, against
//! ldap3 and ldapsearch reading the same entries and throwing them away in the same minute. All of them have every core: here the
//! daemon is the client, and neither it nor ldap3 is held to less than the machine has.

use std::time::Instant;

use crate::generator;
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::support::slapd::{ADMIN, BASE, Directory, PASSWORD};
use crate::{Options, calibrate, kernel};

const FILTER: &str = "(objectClass=inetOrgPerson)";

/// What the preset does not map of a generated person.
const MAP: &str = r#"[sources.hq.users.map]
"addresses.work.streetAddress" = "street"
"addresses.work.locality" = "l"
"addresses.work.postalCode" = "postalCode"
"enterprise.organization" = "o"
"#;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if options.bound {
        kernel::run_on(std::fs::read_to_string("/sys/devices/system/cpu/online")?.trim())?;
    }
    let mut outcome = Ok(());
    for &size in &options.sizes {
        outcome = one(size, options, report).await;
        if outcome.is_err() {
            break;
        }
    }
    if options.bound {
        kernel::run_on(crate::GENERATOR_CORE)?;
    }
    outcome
}

async fn one(size: u64, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    // The log must hold what changes, or the server tells of everybody.
    let overlay = format!(
        "index entryUUID,entryCSN,modifyTimestamp eq\noverlay syncprov\nsyncprov-sessionlog {}\n",
        size.max(1000)
    );
    let directory = Directory::start_as(&ldif(size), &overlay).await;
    // The first pass warms the server's cache for everybody.
    calibrate::drain(&directory.url(), BASE, FILTER).await?;
    let (entries, drain) = calibrate::drain(&directory.url(), BASE, FILTER).await?;
    anyhow::ensure!(entries == size, "the directory holds {entries} people, not {size}");
    let drain = drain.as_secs_f64();
    let tool = ldapsearch(&directory)?;
    let what = "ldapsearch, pages of 1000".to_owned();
    let ratio = Some((drain / tool, "drain rate"));
    report.add(Figure { row: "P1", what, size, value: tool, unit: "s", ratio, target: Target::None });
    for (which, name) in [(Which::Sqlite, ""), (Which::Postgres, ", PostgreSQL")] {
        on(which, name, size, drain, &directory, options, report).await?;
    }
    Ok(())
}

async fn on(
    which: Which,
    name: &str,
    size: u64,
    drain: f64,
    directory: &Directory,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let ratio = |time: f64| Some((drain / time, "drain rate"));

    let mut whole = Reading::start(directory, "paged", which).await;
    let first = whole.sync()?;
    let again = whole.sync()?;
    let mut wise = Reading::start(directory, "syncrepl", which).await;
    wise.sync()?;
    let nothing = wise.sync()?;
    change(directory, size, u64::from(which != Which::Sqlite)).await?;
    let (little, little_whole) = (wise.sync()?, whole.sync()?);

    if options.wants("P1") {
        let value = size as f64 / first;
        let target = Target::AtLeast(0.4 * size as f64 / drain);
        let what = format!("first LDAP sync{name}");
        report.add(Figure { row: "P1", what, size, value, unit: "entries/s", ratio: ratio(first), target });
    }
    let seconds = |row, what: &str, value, target| Figure {
        row,
        what: format!("{what}{name}"),
        size,
        value,
        unit: "s",
        ratio: ratio(value),
        target,
    };
    if options.wants("P2") {
        report.add(seconds("P2", "LDAP sync, nothing changed", again, Target::AtMost(1.15 * drain)));
        report.add(seconds("P2", "LDAP sync with a cookie, nothing changed", nothing, Target::AtMost(0.2)));
    }
    if options.wants("P3") {
        let what = "LDAP sync, 1 % changed, 1 % gone";
        report.add(seconds("P3", what, little_whole, Target::AtMost(1.3 * again)));
        report.add(seconds("P3", &format!("{what}, with a cookie"), little, Target::AtMost(1.3 * again)));
    }
    if options.wants("P4") {
        let limit = if size <= 100_000 { 64.0 } else { 160.0 };
        for (what, reading) in [("page by page", &mut whole), ("with a cookie", &mut wise)] {
            let value = kernel::peak(reading.daemon.process().pid())? as f64 / (1 << 20) as f64;
            let what = format!("memory of P1 to P3, {what}, peak{name}");
            report.add(Figure { row: "P4", what, size, value, unit: "MB", ratio: None, target: Target::AtMost(limit) });
        }
    }
    Ok(())
}

/// A daemon that reads the directory in one mode.
struct Reading {
    daemon: Daemon,
}

impl Reading {
    async fn start(directory: &Directory, mode: &str, which: Which) -> Reading {
        let config = format!(
            "[sources.hq]\nkind = \"ldap\"\nrealm = \"agent\"\nurl = \"{}\"\ninsecure = true\nbase = \"{BASE}\"\n\
             bind_dn = \"{ADMIN}\"\npassword = \"{PASSWORD}\"\nmode = \"{mode}\"\n{MAP}",
            directory.url()
        );
        Reading { daemon: Daemon::builder(which).config(&config).start().await }
    }

    /// Seconds.
    fn sync(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        let done = self.daemon.cli(&["sync", "hq"]);
        anyhow::ensure!(done.code == 0, "sync: {done:?}");
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Seconds of the command of the directory's own project.
fn ldapsearch(directory: &Directory) -> anyhow::Result<f64> {
    let start = Instant::now();
    let done = std::process::Command::new("ldapsearch")
        .args(["-x", "-LLL", "-H", &directory.url(), "-D", ADMIN, "-w", PASSWORD, "-b", BASE, "-E", "pr=1000/noprompt"])
        .arg(FILTER)
        .stdout(std::process::Stdio::null())
        .status()?;
    anyhow::ensure!(done.success(), "ldapsearch: {done}");
    Ok(start.elapsed().as_secs_f64())
}

/// One in a hundred gets another title, another one in a hundred goes; `round`: others than in the round before.
async fn change(directory: &Directory, size: u64, round: u64) -> anyhow::Result<()> {
    let mut admin = directory.admin().await;
    for number in (round..size.saturating_sub(50)).step_by(100) {
        let title = ldap3::Mod::Replace("title".to_owned(), ["Changed".to_owned()].into());
        admin.modify(&generator::dn(number, BASE), vec![title]).await?.success()?;
        admin.delete(&generator::dn(number + 50, BASE)).await?.success()?;
    }
    Ok(())
}

fn ldif(size: u64) -> String {
    let mut text = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n"
    );
    for number in 0..size {
        text.push_str(&generator::ldif(number, BASE));
    }
    text
}
