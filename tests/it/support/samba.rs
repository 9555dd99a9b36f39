//! A private Active Directory (Samba's) per story, for the long suites: provisioned in a folder of its own on an unusual
//! loopback address, because its ports are fixed, and reduced to LDAP. Needs root. Start at `Domain::start`.

use std::process::Command;
use std::time::{Duration, Instant};

use ldap3::{Ldap, LdapConnAsync, Scope, SearchEntry};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Server;
use super::slapd;

pub const DOMAIN: &str = "DC=ad,DC=bench,DC=test";
pub const ADMIN: &str = "Administrator@ad.bench.test";
pub const PASSWORD: &str = "Passw0rd.123";
const ADDRESS: &str = "127.0.77.1";

pub struct Domain {
    _server: Server,
    _folder: TempDir,
}

impl Domain {
    /// With an organizational unit `Staff` and one beside it.
    pub async fn start() -> Domain {
        let folder = tempfile::Builder::new().prefix("musterd-samba-").tempdir().expect("a temporary folder");
        let at = folder.path().join("t");
        let done = Command::new("samba-tool")
            .args(["domain", "provision", "--realm=AD.BENCH.TEST", "--domain=ADBENCH", "--server-role=dc"])
            .args(["--dns-backend=NONE", "--use-rfc2307", "--host-name=dc1"])
            .arg(format!("--adminpass={PASSWORD}"))
            .arg(format!("--host-ip={ADDRESS}"))
            .arg(format!("--targetdir={}", at.display()))
            .arg(format!("--option=interfaces={ADDRESS}/8"))
            .args(["--option=bind interfaces only=yes", "--option=vfs objects=dfs_samba4 xattr_tdb acl_xattr"])
            .output()
            .expect("samba-tool runs (package samba)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let file = at.join("etc/smb.conf");
        let text = std::fs::read_to_string(&file).expect("smb.conf");
        let kept: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("server services")).collect();
        let own = format!(
            "[global]\n\tserver services = ldap\n\tldap server require strong auth = no\n\tlog file = {}/log\n",
            at.display()
        );
        std::fs::write(&file, kept.join("\n").replacen("[global]", &own, 1)).expect("smb.conf");
        let mut command = Command::new("samba");
        command.args(["-F", "-M", "single", "-s"]).arg(&file);
        let log = std::fs::File::create(folder.path().join("out")).expect("a log");
        let server = Server::start(command.stdout(log.try_clone().expect("a second handle")).stderr(log), "TERM");
        let start = Instant::now();
        while TcpStream::connect((ADDRESS, 389)).await.is_err() {
            assert!(start.elapsed() < Duration::from_mins(1), "samba does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let domain = Domain { _server: server, _folder: folder };
        for name in ["Staff", "Left"] {
            domain.add(&format!("OU={name},{DOMAIN}"), &[("objectClass", "organizationalUnit")]).await;
        }
        domain
    }

    pub fn url() -> String {
        format!("ldap://{ADDRESS}")
    }

    async fn admin(&self) -> Ldap {
        let (connection, mut ldap) = LdapConnAsync::new(&Domain::url()).await.expect("samba answers");
        ldap3::drive!(connection);
        ldap.simple_bind(ADMIN, PASSWORD).await.and_then(ldap3::LdapResult::success).expect("the administrator binds");
        ldap
    }

    pub async fn add(&self, dn: &str, attributes: &[(&str, &str)]) {
        let all = attributes.iter().map(|(name, value)| ((*name).to_owned(), [(*value).to_owned()].into())).collect();
        self.admin().await.add(dn, all).await.and_then(ldap3::LdapResult::success).expect("added");
    }

    pub async fn user(&self, login: &str) -> String {
        let dn = format!("CN={login},OU=Staff,{DOMAIN}");
        let mail = format!("{login}@ad.bench.test");
        // Without a password, which is set over TLS only.
        let attributes = [
            ("objectClass", "user"),
            ("sAMAccountName", login),
            ("givenName", login),
            ("sn", "Novák"),
            ("mail", mail.as_str()),
            ("userAccountControl", "544"),
        ];
        self.add(&dn, &attributes).await;
        dn
    }

    pub async fn group(&self, name: &str, members: &[&str]) -> String {
        let dn = format!("CN={name},OU=Staff,{DOMAIN}");
        self.add(&dn, &[("objectClass", "group"), ("sAMAccountName", name)]).await;
        if !members.is_empty() {
            self.replace(&dn, "member", members).await;
        }
        dn
    }

    pub async fn replace(&self, dn: &str, attribute: &str, values: &[&str]) {
        slapd::replace(self.admin().await, dn, attribute, values).await;
    }

    pub async fn rename(&self, dn: &str, rdn: &str, parent: Option<&str>) {
        slapd::rename(self.admin().await, dn, rdn, parent).await;
    }

    pub async fn delete(&self, dn: &str) {
        self.admin().await.delete(dn).await.and_then(ldap3::LdapResult::success).expect("deleted");
    }

    /// Distinguished names below a unit.
    pub async fn below(&self, unit: &str) -> Vec<String> {
        let found = self.admin().await.search(unit, Scope::OneLevel, "(objectClass=*)", vec!["1.1"]).await;
        let (entries, _) = found.and_then(ldap3::SearchResult::success).expect("found");
        entries.into_iter().map(|entry| SearchEntry::construct(entry).dn).collect()
    }
}
