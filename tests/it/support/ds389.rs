//! A private 389 Directory Server per story, for the long suites: all that its set-up writes goes into a folder of its own,
//! and the server runs in the foreground. It is a `Directory` like slapd's. Needs root.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Server, free_port};
use super::slapd::{ADMIN, BASE, Directory, PASSWORD};

/// Reads LDIF as `slapd::ldif` makes it.
pub async fn start(ldif: &str) -> Directory {
    let folder = tempfile::Builder::new().prefix("musterd-389ds-").tempdir().expect("a temporary folder");
    let (at, port) = (folder.path(), free_port());
    prepare(at);
    std::fs::write(
        at.join("instance.inf"),
        format!(
            "[general]\nsystemd=False\nstrict_host_checking=False\nfull_machine_name=localhost.localdomain\nselinux=False\n\
             [slapd]\ninstance_name=musterd{port}\nport={port}\nsecure_port=0\nself_sign_cert=False\nuser=root\ngroup=root\n\
             root_dn={ADMIN}\nroot_password={PASSWORD}\n[backend-userroot]\nsuffix={BASE}\nsample_entries=no\n\
             create_suffix_entry=True\n"
        ),
    )
    .expect("written");
    let done = Command::new("dscreate").arg("from-file").arg(at.join("instance.inf")).env("PREFIX", at).output();
    let done = done.expect("dscreate runs (package 389-ds-base)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let url = format!("ldap://127.0.0.1:{port}");
    for words in [
        &["config", "replace", "nsslapd-listenhost=127.0.0.1"][..],
        &["plugin", "retro-changelog", "enable"],
        &["plugin", "contentsync", "enable"],
        &["plugin", "retro-changelog", "add", "--attribute", "nsuniqueid:targetUniqueId"],
    ] {
        let mut command = Command::new("dsconf");
        let done = command.args(["-D", ADMIN, "-w", PASSWORD, &url]).args(words).env("PREFIX", at).output();
        assert!(done.expect("dsconf runs").status.success(), "{words:?}");
    }
    let pid = at.join(format!("run/dirsrv/slapd-musterd{port}.pid"));
    let old = std::fs::read_to_string(&pid).expect("its process id");
    let old = old.trim().to_owned();
    assert!(Command::new("kill").args(["-TERM", &old]).status().expect("kill").success());
    let start = Instant::now();
    while Path::new("/proc").join(&old).exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "389-ds does not stop");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut command = Command::new("/usr/sbin/ns-slapd");
    command.arg("-D").arg(at.join(format!("etc/dirsrv/slapd-musterd{port}"))).arg("-i").arg(&pid).args(["-d", "0"]);
    let log = std::fs::File::create(at.join("out")).expect("a log");
    let server = Server::start(command.stdout(log.try_clone().expect("a second handle")).stderr(log), "TERM");
    std::fs::write(at.join("load.ldif"), ldif).expect("written");
    let directory = Directory::of(server, folder, port).await;
    let load = directory.folder().join("load.ldif");
    let done =
        Command::new("ldapadd").args(["-c", "-x", "-H", &url, "-D", ADMIN, "-w", PASSWORD, "-f"]).arg(load).output();
    // The suffix is there already.
    let told = String::from_utf8_lossy(&done.expect("ldapadd runs").stderr).into_owned();
    assert_eq!(told.matches("ldap_add:").count(), 1, "{told}");
    directory
}

/// Its paths, all below the folder.
fn prepare(at: &Path) {
    let shell = |text: String| {
        let done = Command::new("sh").args(["-c", &text]).output().expect("a shell");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let at = at.display();
    shell(format!(
        "mkdir -p {at}/share {at}/etc {at}/run {at}/var/lib/dirsrv {at}/var/log/dirsrv {at}/var/lock && \
         cp -r /usr/share/dirsrv {at}/share/ && cp -r /etc/dirsrv {at}/etc/ && \
         sed -i -e 's/^with_systemd = 1/with_systemd = 0/' -e 's#= /etc/dirsrv#= {at}/etc/dirsrv#' \
         -e 's#= /var/#= {at}/var/#' -e 's#= /run#= {at}/run#' -e 's#= /dev/shm/#= {at}/var/#' \
         {at}/share/dirsrv/inf/defaults.inf"
    ));
}
