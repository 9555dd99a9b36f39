//! P6, what group commit is worth: the daemon on a disk that takes 2 ms longer for every flush, by a small library that the
//! C compiler of the machine makes and the loader puts before libc. One client has nobody to share a COMMIT with: that is
//! the ungrouped rate.

use std::process::Command;

use crate::Options;
use crate::asks::{Present, Question};
use crate::report::{Figure, Report, Target};
use crate::scim;
use crate::support::daemon::{Daemon, Which};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/suite/slowdisk.c");

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("slowdisk.so");
    let made = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(SOURCE).status();
    anyhow::ensure!(made.is_ok_and(|status| status.success()), "no C compiler here makes slowdisk.c");
    let preload = format!("LD_PRELOAD={}", library.display());
    let mut wrapper = options.server_wrapper();
    wrapper.extend(["env", &preload]);
    let daemon = Daemon::builder(Which::Sqlite).config(scim::CONFIG).wrapper(&wrapper).start().await;
    let (service, mut present) = (scim::service(&daemon), Present::new(0));
    let mut alone = None;
    for (clients, times) in [(1, 1.0), (16, 6.0), (64, 10.0)] {
        let question = Question::Post(clients);
        let value = question.ask(&service, &mut present, options.time()).await?.rate();
        let alone = *alone.get_or_insert(value);
        anyhow::ensure!(alone < 500.0, "the disk was not slowed: {alone:.0} writes a second of one client");
        let ratio = Some((value / alone, "the ungrouped rate"));
        let target = if clients == 1 { Target::None } else { Target::AtLeast(alone * times) };
        let what = format!("{}, every flush 2 ms slower", question.what());
        report.add(Figure { row: "P6", what, size: 0, value, unit: "req/s", ratio, target });
    }
    Ok(())
}
