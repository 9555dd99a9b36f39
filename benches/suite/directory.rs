//! P1 first sync, P2 nothing changed, P3 a little changed, P4 memory: the daemon reads a real slapd, against ldap3 reading
//! the same entries and throwing them away in the same minute.

use std::time::Instant;

use crate::generator;
use crate::report::{Figure, Report, Target};
use crate::support::daemon::{Daemon, Which};
use crate::support::slapd::{ADMIN, BASE, Directory, PASSWORD};
use crate::{Options, calibrate, kernel};

const FILTER: &str = "(objectClass=inetOrgPerson)";

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for &size in &options.sizes {
        one(size, options, report).await?;
    }
    Ok(())
}

async fn one(size: u64, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let directory = Directory::start(&ldif(size)).await;
    let config = format!(
        "[sources.hq]\nkind = \"ldap\"\nrealm = \"agent\"\nurl = \"{}\"\ninsecure = true\nbase = \"{BASE}\"\n\
         bind_dn = \"{ADMIN}\"\npassword = \"{PASSWORD}\"\n",
        directory.url()
    );
    let builder = Daemon::builder(Which::Sqlite).config(&config).wrapper(&options.server_wrapper());
    let mut daemon = builder.start().await;
    // The first pass warms the server's cache for everybody.
    calibrate::drain(&directory.url(), BASE, FILTER).await?;
    let (entries, drain) = calibrate::drain(&directory.url(), BASE, FILTER).await?;
    anyhow::ensure!(entries == size, "the directory holds {entries} people, not {size}");
    let drain = drain.as_secs_f64();

    let sync = || {
        let start = Instant::now();
        let done = daemon.cli(&["sync", "hq"]);
        anyhow::ensure!(done.code == 0, "sync: {done:?}");
        Ok(start.elapsed().as_secs_f64())
    };
    let first = sync()?;
    let again = sync()?;
    let ratio = |time: f64| Some((drain / time, "drain rate"));
    if options.wants("P1") {
        let value = size as f64 / first;
        let target = Target::AtLeast(0.4 * size as f64 / drain);
        let what = "first LDAP sync".to_owned();
        report.add(Figure { row: "P1", what, size, value, unit: "entries/s", ratio: ratio(first), target });
    }
    if options.wants("P2") {
        let what = "LDAP sync, nothing changed".to_owned();
        let target = Target::AtMost(1.15 * drain);
        report.add(Figure { row: "P2", what, size, value: again, unit: "s", ratio: ratio(again), target });
    }
    if options.wants("P4") {
        let value = kernel::peak(daemon.process().pid())? as f64 / (1 << 20) as f64;
        let limit = if size <= 100_000 { 64.0 } else { 160.0 };
        let what = "memory of P1 and P2, peak".to_owned();
        report.add(Figure { row: "P4", what, size, value, unit: "MB", ratio: None, target: Target::AtMost(limit) });
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
