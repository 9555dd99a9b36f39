//! What a server says of itself (its root DSE, RFC 4512 §5.1), and which mode follows from it.

use super::Part;
use super::entry::Entry;
use super::session::{Error, Session};
use super::sync::SYNC;
use crate::config::ldap::ReadMode;

const DIRSYNC: &str = "1.2.840.113556.1.4.841";
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
const ATTRIBUTES: [&str; 6] = [
    "supportedControl",
    "supportedCapabilities",
    "vendorName",
    "defaultNamingContext",
    "highestCommittedUSN",
    "dsServiceName",
];

pub(super) struct Root(Option<Entry>);

/// A mode, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) mode: ReadMode,
    pub(super) why: String,
}

impl Root {
    pub(super) async fn of(session: &mut Session) -> Result<Root, Error> {
        Ok(Root(session.one("", &ATTRIBUTES).await?))
    }

    fn has(&self, attribute: &str, value: &str) -> bool {
        self.0.as_ref().is_some_and(|root| root.values(attribute).any(|found| found == value.as_bytes()))
    }

    pub(super) fn text(&self, attribute: &str) -> Option<&str> {
        self.0.as_ref()?.text(attribute)
    }

    /// Changes come with attributes of the server's choice.
    pub(super) fn is_389(&self) -> bool {
        self.text("vendorname").is_some_and(|vendor| vendor.starts_with("389"))
    }

    /// The suffix of a domain that holds all that is searched.
    pub(super) fn domain(&self, parts: &[Part]) -> Option<&str> {
        let domain = self.text("defaultnamingcontext")?;
        let inside = |part: &Part| {
            let (base, domain) = (part.query.base.to_lowercase(), domain.to_lowercase());
            base == domain || base.ends_with(&format!(",{domain}"))
        };
        parts.iter().all(inside).then_some(domain)
    }

    /// What `wish` comes to. The error is why it cannot be had.
    pub(super) fn choose(&self, wish: ReadMode, parts: &[Part]) -> Result<Choice, String> {
        let keys = |fits: fn(&str) -> bool| parts.iter().all(|part| fits(&part.key));
        let dirsync = || {
            if !self.has("supportedcontrol", DIRSYNC) {
                return Err("the server does not offer DirSync".to_owned());
            }
            if self.domain(parts).is_none() {
                return Err("DirSync reads whole domains, and a base lies outside of the server's".to_owned());
            }
            if keys(|key| key == "objectguid") { Ok(()) } else { Err("DirSync needs objectGUID as key".to_owned()) }
        };
        let syncrepl = || {
            if !self.has("supportedcontrol", SYNC) {
                return Err("the server does not offer syncrepl".to_owned());
            }
            let fits = keys(|key| matches!(key, "entryuuid" | "nsuniqueid"));
            if fits { Ok(()) } else { Err("syncrepl needs entryUUID or nsUniqueId as key".to_owned()) }
        };
        let usn = || {
            let offered = self.text("highestcommittedusn").is_some() && self.text("dsservicename").is_some();
            if offered { Ok(()) } else { Err("the server counts no uSNChanged".to_owned()) }
        };
        let chosen = |mode, why: &str| Ok(Choice { mode, why: why.to_owned() });
        match wish {
            ReadMode::Paged | ReadMode::Timestamp => chosen(wish, "the configuration says so"),
            ReadMode::DirSync => dirsync().and_then(|()| chosen(wish, "the configuration says so")),
            ReadMode::Syncrepl => syncrepl().and_then(|()| chosen(wish, "the configuration says so")),
            ReadMode::Usn => usn().and_then(|()| chosen(wish, "the configuration says so")),
            ReadMode::Auto if self.has("supportedcapabilities", ACTIVE_DIRECTORY) => match (dirsync(), usn()) {
                (Ok(()), _) => chosen(ReadMode::DirSync, "an Active Directory that offers it"),
                (Err(reason), Ok(())) => chosen(ReadMode::Usn, &reason),
                (Err(reason), Err(_)) => chosen(ReadMode::Paged, &reason),
            },
            ReadMode::Auto => match syncrepl() {
                Ok(()) => chosen(ReadMode::Syncrepl, "the server offers it"),
                Err(reason) => chosen(ReadMode::Paged, &reason),
            },
        }
    }
}
