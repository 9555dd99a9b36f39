//! Keys of a source of kind `ldap`: servers, identity, what is searched and how it is mapped. What stands in an `Ldap` can
//! be dialled: at least one server, no password that would cross the network in clear unless `insecure = true`, never an
//! empty password (servers take that as an anonymous bind). The mappings are compiled by the reader, not here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::read::Section;
use crate::model::kind::words;

words! {
    /// Which product the defaults (filters, attributes, mapping) are for.
    Preset {
        OpenLdap = "openldap",
        ActiveDirectory = "activedirectory",
        Ds389 = "389ds",
        /// No mapping of its own.
        Plain = "plain",
    }
}

words! {
    /// How far below the base is searched.
    Scope {
        Subtree = "subtree",
        One = "one",
    }
}

words! {
    /// What a pointer to another server in the answer means. It is never followed.
    Referrals {
        /// Something was not read, so the read was not complete.
        Refuse = "refuse",
        /// What lies on other servers is not wanted.
        Ignore = "ignore",
    }
}

words! {
    /// How it is found out what changed.
    ReadMode {
        /// The best that the server offers: DirSync, syncrepl, else everything each time.
        Auto = "auto",
        /// Everything, page by page, each time.
        Paged = "paged",
        /// RFC 4533: OpenLDAP with the overlay syncprov, 389-ds with its plugin.
        Syncrepl = "syncrepl",
        /// Active Directory, for who may replicate changes.
        DirSync = "dirsync",
        /// Active Directory: entries whose uSNChanged is higher, on the same server.
        Usn = "usn",
        /// Entries whose modifyTimestamp is later.
        Timestamp = "timestamp",
    }
}

/// A checked source of kind `ldap`.
#[derive(Debug, Clone)]
pub struct Ldap {
    /// In the order in which they are tried. `ldap` or `ldaps`, with a host; with `SRV`, a domain whose servers the DNS
    /// names.
    pub urls: Vec<Url>,
    /// Who is asked for them; `None` = as the system does.
    pub dns: Option<SocketAddr>,
    pub starttls: bool,
    /// PEM; `None` = the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// Host of a url -> the name in its certificate, where that is another.
    pub tls_names: BTreeMap<String, String>,
    /// `None` = anonymous.
    pub bind: Option<Bind>,
    pub preset: Preset,
    pub referrals: Referrals,
    pub mode: ReadMode,
    /// Listened to in between, and read at once when it tells of a change.
    pub live: bool,
    /// However little changed, everything is read again after this.
    pub full_every: Duration,
    /// Where a mode does not tell what is gone: how often it is looked who is still there.
    pub sweep_every: Duration,
    /// Entries per page.
    pub page_size: i32,
    /// Entries and keys that one read may bring.
    pub max_entries: u64,
    /// For a connection and for every single answer.
    pub timeout: Duration,
    /// For a whole run.
    pub deadline: Duration,
    pub users: Option<Search>,
    pub groups: Option<Search>,
    /// For `lookup` in mappings: table -> value -> value.
    pub tables: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub struct Bind {
    pub dn: String,
    pub password: SecretString,
}

/// One kind of entries. What is `None` is the preset's.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub base: String,
    pub scope: Scope,
    pub filter: Option<String>,
    /// The attribute that is the immutable key.
    pub key: Option<String>,
    /// Laid over the preset's mapping; `false` takes a target out of it.
    pub map: Map<String, Value>,
    /// Of groups: whoever has it as the first one (`primaryGroupID`, `gidNumber`) is a member, too.
    pub primary_members: bool,
}

impl Ldap {
    /// Which name the certificate of this server must bear.
    pub fn tls_name<'a>(&'a self, url: &'a Url) -> &'a str {
        let host = host(url);
        self.tls_names.get(host).map_or(host, String::as_str)
    }
}

/// Of an IPv6 address without its brackets.
pub fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// What a scheme ends in whose host is a domain (RFC 2782).
pub const SRV: &str = "+srv";

/// Reads the keys that are special to this kind.
pub fn read(section: &Section<'_>) -> Ldap {
    let urls = urls(section);
    let starttls = section.boolean("starttls", false);
    let insecure = section.boolean("insecure", false);
    let tls_names = tls_names(section, &urls);
    let bind = bind(section);
    for url in &urls {
        if starttls && url.scheme().starts_with("ldaps") {
            section.fault("starttls", Some(url.as_str()), "is for ldap:// only; ldaps:// is encrypted from the start");
        }
        if bind.is_some() && !url.scheme().starts_with("ldaps") && !starttls && !insecure {
            let allowed =
                "would carry the password in clear: use ldaps:// or starttls = true (or allow it with insecure = true)";
            section.fault("url", Some(url.as_str()), allowed);
        }
    }
    let preset = section.word("preset", Preset::OpenLdap);
    // Active Directory answers every search from the top with pointers to its own partitions.
    let referrals = if preset == Preset::ActiveDirectory { Referrals::Ignore } else { Referrals::Refuse };
    let base = section.required("base");
    let (users, groups) = (search(section, "users", &base), search(section, "groups", &base));
    if users.is_none() && groups.is_none() {
        section.fault("users", None, "nothing is read: `users.enabled` and `groups.enabled` are both false");
    }
    let (mode, live) = (section.word("mode", ReadMode::Auto), section.boolean("live", false));
    if live && !matches!(mode, ReadMode::Auto | ReadMode::Syncrepl) {
        section.fault("live", None, "is for syncrepl: no other mode tells of changes by itself");
    }
    Ldap {
        urls,
        dns: section.parsed("dns", |text| {
            text.parse::<SocketAddr>().map_err(|_| "must be an address with a port like 10.0.0.1:53".to_owned())
        }),
        starttls,
        ca_file: section.path_of("ca_file"),
        tls_names,
        bind,
        preset,
        referrals: section.word("referrals", referrals),
        mode,
        live,
        full_every: section.duration("full_every", Duration::from_hours(24)),
        sweep_every: section.duration("sweep_every", Duration::from_hours(1)),
        page_size: section.integer("page_size", 1..=10_000, 1000),
        max_entries: section.integer("max_entries", 1..=1_000_000_000_i64, 5_000_000).unsigned_abs(),
        timeout: section.duration("timeout", Duration::from_secs(30)),
        deadline: section.duration("deadline", Duration::from_hours(1)),
        users,
        groups,
        tables: table(section, "tables"),
    }
}

fn urls(section: &Section<'_>) -> Vec<Url> {
    let (one, many) = (section.text("url"), section.list("urls"));
    if one.is_some() && section.has("urls") {
        section.fault("urls", None, "give url or urls, not both");
    } else if one.is_none() && many.is_empty() {
        section.fault(
            "url",
            None,
            "is missing: one url like ldaps://directory.example.com, or urls in the order to be tried",
        );
    }
    let key = if one.is_some() { "url" } else { "urls" };
    let parse = |text: String| match parse(&text) {
        Ok(url) => Some(url),
        Err(allowed) => {
            section.fault(key, Some(&without_user(&text)), allowed);
            None
        }
    };
    one.into_iter().chain(many).filter_map(parse).collect()
}

/// A server and nothing else: whoever writes more expects something of it.
fn parse(text: &str) -> Result<Url, &'static str> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(plain_scheme(url), "ldap" | "ldaps"));
    let url = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let url = url.ok_or("must be like ldap://host:389, ldaps://host:636 or ldaps+srv://example.com")?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("must not name a user: bind_dn and password_file say who binds");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("ends after the host and its port: base, users and groups say what is searched");
    }
    if url.scheme().ends_with(SRV) && (url.port().is_some() || host(&url).parse::<IpAddr>().is_ok()) {
        return Err("names a domain: hosts and ports are the DNS's to say");
    }
    Ok(url)
}

fn plain_scheme(url: &Url) -> &str {
    url.scheme().strip_suffix(SRV).unwrap_or(url.scheme())
}

fn without_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    format!("{scheme}***@{host}")
}

fn tls_names(section: &Section<'_>, urls: &[Url]) -> BTreeMap<String, String> {
    let checked = |(of, name): (String, Value)| {
        let name = name.as_str().filter(|name| ServerName::try_from(*name).is_ok());
        let fits = urls.iter().any(|url| host(url) == of || url.scheme().ends_with(SRV));
        if name.is_none() || !fits {
            let allowed = "must be hosts of the urls, each with the name that its certificate bears";
            section.fault("tls_names", Some(&of), allowed);
        }
        Some((of, name?.to_owned()))
    };
    table(section, "tls_names").into_iter().filter_map(checked).collect()
}

fn bind(section: &Section<'_>) -> Option<Bind> {
    let dn = section.text("bind_dn").filter(|dn| !dn.trim().is_empty());
    let Some(dn) = dn else {
        if section.has("password") || section.has("password_file") {
            section.fault("bind_dn", None, "is missing: there is a password, but nobody to bind as");
            section.secret("password");
        }
        return None;
    };
    let password = section.secret_required("password")?;
    if password.expose_secret().is_empty() {
        section.fault("password", None, "is empty, and servers take that as an anonymous bind");
    }
    Some(Bind { dn, password })
}

fn search(section: &Section<'_>, name: &str, base: &str) -> Option<Search> {
    let inner = section.section(name);
    let search = Search {
        base: inner.text_or("base", base),
        scope: inner.word("scope", Scope::Subtree),
        filter: inner.text("filter"),
        key: inner.text("key"),
        map: table(&inner, "map"),
        primary_members: name == "groups" && inner.boolean("primary_members", false),
    };
    inner.boolean("enabled", true).then_some(search)
}

fn table(section: &Section<'_>, key: &str) -> Map<String, Value> {
    match section.value(key) {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => {
            section.fault(key, None, "must be a section");
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::check;

    #[test]
    fn five_lines_are_enough() {
        let text = "url = 'ldaps://d.example.com'\nbase = 'dc=x'\nbind_dn = 'cn=m,dc=x'\npassword = 'secret'\n[users.map]\nuserName = 'uid'";
        let ldap = check(text, read).unwrap();
        assert_eq!((ldap.preset, ldap.page_size, ldap.starttls), (Preset::OpenLdap, 1000, false));
        assert_eq!(ldap.users.as_ref().unwrap().base, "dc=x");
        assert_eq!(ldap.users.unwrap().map["userName"], "uid");
        assert!(ldap.groups.is_some() && !format!("{:?}", ldap.bind).contains("secret"));
    }

    #[test]
    fn a_password_never_crosses_the_network_in_clear_unasked() {
        let with = |more: &str| check(&format!("base = 'dc=x'\nbind_dn = 'cn=m'\npassword = 'secret'\n{more}"), read);
        let refused = with("url = 'ldap://d.example.com'").unwrap_err().to_string();
        assert!(refused.contains("in clear") && !refused.contains("= secret"), "{refused}");
        for fine in ["url = 'ldap://d'\nstarttls = true", "url = 'ldap://d'\ninsecure = true", "url = 'ldaps://d'"] {
            assert!(with(fine).is_ok(), "{fine}");
        }
        assert!(check("url = 'ldap://d'\nbase = ''", read).is_err(), "an empty base is asked for");
        assert!(check("url = 'ldap://d'\nbase = 'dc=x'", read).is_ok(), "anonymous");
    }

    #[test]
    fn a_certificate_may_bear_another_name_than_its_url() {
        let with = |names: &str| {
            check(
                &format!("urls = ['ldaps://10.0.0.5', 'ldaps://[::1]']\nbase = 'dc=x'\ntls_names = {{ {names} }}"),
                read,
            )
        };
        let ldap = with("'10.0.0.5' = 'dc1.example.com'").unwrap();
        let asked: Vec<&str> = ldap.urls.iter().map(|url| ldap.tls_name(url)).collect();
        assert_eq!(asked, ["dc1.example.com", "::1"]);
        for wrong in ["'10.0.0.6' = 'dc1.example.com'", "'::1' = 'no name'"] {
            assert!(with(wrong).unwrap_err().to_string().contains("tls_names"), "{wrong}");
        }
    }

    #[test]
    fn a_url_names_a_server_and_nothing_else() {
        for (url, part) in [
            ("ldaps://eva:hunter22@d.example.com", "ldaps://***@d.example.com: must not name a user"),
            ("ldaps://hunter22@d", "must not name a user"),
            ("http://eva:hunter22@d", "http://***@d: must be like"),
            ("eva:hunter22@d", "***@d: must be like"),
            ("ldap://d/dc=x??sub", "ends after the host"),
            ("ldap://d/dc=x", "ends after the host"),
            ("ldap://d/?x", "ends after the host"),
            ("ldaps+srv://d:636", "names a domain"),
            ("ldap+srv://10.0.0.1", "names a domain"),
            ("http+srv://d", "must be like"),
        ] {
            for key in [format!("url = '{url}'"), format!("urls = ['{url}']")] {
                let told = check(&format!("{key}\nbase = 'dc=x'"), read).unwrap_err().to_string();
                assert!(told.contains(part) && !told.contains("hunter22"), "{url}: {told}");
            }
        }
        for fine in ["ldap://d", "ldaps://d/", "ldap://[::1]:389", "ldap://10.0.0.1:3890/", "ldaps+srv://example.com"] {
            assert!(check(&format!("url = '{fine}'\nbase = 'dc=x'"), read).is_ok(), "{fine}");
        }
        let both = check("url = 'ldap://a'\nurls = ['ldap://b']\nbase = 'dc=x'", read).unwrap_err();
        assert!(both.0.len() == 1 && both.to_string().contains("give url or urls, not both"), "{both}");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "urls = ['http://x', 'ldap://']\nbind_dn = 'cn=m'\npassword = ''\npage_size = 0\npreset = 'novell'\nreferals = 'x'\n[users]\nenabled = false\n[groups]\nenabled = false";
        let told = check(text, read).unwrap_err().to_string();
        for part in ["http://x", "ldap://", "base", "password", "page_size", "preset", "referals", "nothing is read"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
