//! A private slapd (OpenLDAP) per story: its own folder, ports and certificates, filled by slapadd before it starts. And a
//! proxy that cuts a connection after so many bytes, for the day when a server dies in mid-answer.
//! Start at `Directory::start`; changes are made with ldap3, as an administrator would.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ldap3::{Ldap, LdapConnAsync, Mod, Scope};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Server, free_port};

pub const BASE: &str = "dc=example,dc=com";
pub const ADMIN: &str = "cn=admin,dc=example,dc=com";
pub const PASSWORD: &str = "only for this test";

/// A running slapd with `ou=people` and `ou=groups`.
pub struct Directory {
    server: Server,
    folder: TempDir,
    pub port: u16,
    pub tls_port: u16,
}

/// Text in LDIF for `people` numbered persons and `groups` groups of `members` each.
pub fn ldif(people: usize, groups: usize, members: usize) -> String {
    let mut out = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=left,{BASE}\nobjectClass: organizationalUnit\nou: left\n\n\
         dn: ou=groups,{BASE}\nobjectClass: organizationalUnit\nou: groups\n\n"
    );
    for n in 0..people {
        let _ = write!(
            out,
            "dn: {}\nobjectClass: inetOrgPerson\nuid: p{n:06}\ncn: Žofie Person{n}\ngivenName: Žofie\nsn: Person{n}\n\
             mail: p{n:06}@example.com\nmail: zofie.person{n}@example.com\ntelephoneNumber: +420 222 {n:06}\n\
             employeeNumber: {n:06}\ntitle: Consultant\ndepartmentNumber: D{}\n\n",
            person(n),
            n % 40
        );
    }
    for g in 0..groups {
        let _ = write!(out, "dn: cn=group{g:04},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: group{g:04}\n");
        for m in 0..members.max(1) {
            let _ = writeln!(out, "member: {}", person((g * 17 + m) % people.max(1)));
        }
        out.push('\n');
    }
    out
}

pub fn person(n: usize) -> String {
    format!("uid=p{n:06},ou=people,{BASE}")
}

impl Directory {
    /// A directory that is read page by page.
    pub async fn start(ldif: &str) -> Directory {
        Directory::start_as(ldif, "").await
    }

    /// One that tells what changed (RFC 4533), as long as it runs.
    pub async fn syncing(ldif: &str) -> Directory {
        Directory::start_as(
            ldif,
            "index entryUUID,entryCSN,modifyTimestamp eq\noverlay syncprov\nsyncprov-sessionlog 1000\n",
        )
        .await
    }

    /// `more`: lines of slapd.conf for the database.
    pub async fn start_as(ldif: &str, more: &str) -> Directory {
        let folder = tempfile::Builder::new().prefix("musterd-slapd-").tempdir().expect("a temporary folder");
        let path = folder.path();
        std::fs::create_dir(path.join("data")).expect("a folder for the data");
        certificates(path);
        std::fs::write(path.join("slapd.conf"), configuration(path) + more).expect("slapd.conf");
        std::fs::write(path.join("load.ldif"), ldif).expect("load.ldif");
        let added = Command::new(program("slapadd"))
            .args(["-q", "-w", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("load.ldif"))
            .output()
            .expect("slapadd runs (package slapd)");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let (port, tls_port) = (free_port(), free_port());
        let server = spawn(path, port, tls_port);
        let directory = Directory { server, folder, port, tls_port };
        directory.until_up().await;
        directory
    }

    /// Another server that runs already.
    pub async fn of(server: Server, folder: TempDir, port: u16) -> Directory {
        let directory = Directory { server, folder, port, tls_port: 0 };
        directory.until_up().await;
        directory
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn process(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Starts again on the same data and ports; the old process must have ended.
    pub async fn restart(&mut self) {
        self.server = spawn(self.folder.path(), self.port, self.tls_port);
        self.until_up().await;
    }

    async fn until_up(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(start.elapsed() < Duration::from_mins(1), "slapd does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection of the administrator.
    pub async fn admin(&self) -> Ldap {
        let (connection, mut ldap) = LdapConnAsync::new(&self.url()).await.expect("slapd answers");
        ldap3::drive!(connection);
        ldap.simple_bind(ADMIN, PASSWORD).await.and_then(ldap3::LdapResult::success).expect("the administrator binds");
        ldap
    }

    pub async fn replace(&self, dn: &str, attribute: &str, values: &[&str]) {
        replace(self.admin().await, dn, attribute, values).await;
    }

    pub async fn rename(&self, dn: &str, rdn: &str, parent: Option<&str>) {
        rename(self.admin().await, dn, rdn, parent).await;
    }

    pub async fn delete(&self, dns: impl IntoIterator<Item = String>) {
        let mut admin = self.admin().await;
        for dn in dns {
            admin.delete(&dn).await.and_then(ldap3::LdapResult::success).expect("deleted");
        }
    }

    pub async fn add(&self, dn: &str, attributes: &[(&str, &str)]) {
        let one = |(name, value): &(&str, &str)| ((*name).to_owned(), HashSet::from([(*value).to_owned()]));
        let mut all: Vec<(String, HashSet<String>)> = Vec::new();
        for (name, values) in attributes.iter().map(one) {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(values),
                None => all.push((name, values)),
            }
        }
        let done = self.admin().await.add(dn, all).await;
        done.and_then(ldap3::LdapResult::success).expect("added");
    }

    /// One operational attribute of an entry.
    pub async fn value(&self, dn: &str, attribute: &str) -> String {
        let found = self.admin().await.search(dn, Scope::Base, "(objectClass=*)", vec![attribute]).await;
        let (entries, _) = found.and_then(ldap3::SearchResult::success).expect("found");
        let entry = ldap3::SearchEntry::construct(entries.into_iter().next().expect("an entry"));
        entry.attrs.into_values().next().and_then(|values| values.into_iter().next()).expect("a value")
    }
}

/// As an administrator of any directory does it.
pub async fn replace(mut admin: Ldap, dn: &str, attribute: &str, values: &[&str]) {
    let change = Mod::Replace(attribute.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
    let done = admin.modify(dn, vec![change]).await;
    done.and_then(ldap3::LdapResult::success).expect("modified");
}

pub async fn rename(mut admin: Ldap, dn: &str, rdn: &str, parent: Option<&str>) {
    let done = admin.modifydn(dn, rdn, true, parent).await;
    done.and_then(ldap3::LdapResult::success).expect("renamed");
}

/// Debian keeps the servers out of a user's PATH.
fn program(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.exists() { sbin } else { PathBuf::from(name) }
}

fn spawn(folder: &Path, port: u16, tls_port: u16) -> Server {
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    let mut command = Command::new(program("slapd"));
    command
        .arg("-f")
        .arg(folder.join("slapd.conf"))
        .args(["-h", &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"), "-d", "0"])
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    Server::start(&mut command, "INT")
}

fn configuration(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\ninclude /etc/ldap/schema/nis.schema\n\
         modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload syncprov\npidfile {at}/pid\nsizelimit unlimited\n\
         TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
         database mdb\nmaxsize 4294967296\nsuffix \"{BASE}\"\nrootdn \"{ADMIN}\"\nrootpw \"{PASSWORD}\"\n\
         directory {at}/data\ndbnosync\nindex objectClass eq\n"
    )
}

fn certificates(folder: &Path) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let root = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [("ca.pem", root.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(folder.join(name), text).expect("a PEM file");
    }
}

/// What becomes of a connection once the server has sent so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Closed in good order.
    Cut,
    /// Reset.
    Reset,
    /// Nothing comes any more, and nothing ends.
    Hang,
    /// A few bytes at a time.
    Drip,
}

/// Passes everything through, until the server has sent `left` bytes in all: then every connection has the fault.
pub struct Proxy {
    pub port: u16,
    left: Arc<AtomicU64>,
    fault: Arc<Mutex<Fault>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (left, fault) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(Mutex::new(Fault::Cut)));
        let shared = (left.clone(), fault.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (left, fault) = shared.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        pass(client, server, &left, &fault).await;
                    }
                });
            }
        });
        Proxy { port, left, fault, task }
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn cut_after(&self, bytes: u64) {
        self.after(bytes, Fault::Cut);
    }

    pub fn after(&self, bytes: u64, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.left.store(bytes, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.cut_after(u64::MAX);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, left: &AtomicU64, fault: &Mutex<Fault>) {
    let (mut from_client, mut from_server) = (vec![0; 4096], vec![0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                if server.write_all(&from_client[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(read @ 1..) = read else { return };
                let take = |left: u64| Some(if left == u64::MAX { left } else { left.saturating_sub(read as u64) });
                let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap_or(0);
                let whole = usize::try_from(before).unwrap_or(usize::MAX).min(read);
                if client.write_all(&from_server[..whole]).await.is_err() {
                    return;
                }
                if whole == read {
                    continue;
                }
                let now = *fault.lock().unwrap();
                match now {
                    Fault::Cut => return,
                    Fault::Reset => {
                        client.set_zero_linger().expect("a socket");
                        return;
                    }
                    // Until the client has had enough.
                    Fault::Hang => {
                        while matches!(client.read(&mut from_client).await, Ok(1..)) {}
                        return;
                    }
                    Fault::Drip => {
                        for few in from_server[whole..read].chunks(50) {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            if client.write_all(few).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        }
    }
}
