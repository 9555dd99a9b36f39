//! Settings of a source that is polled over REST: `[sources.NAME]` with `kind = "crm"`. What is special to one vendor
//! stands in a connector file (`connector.rs`); here stands what is special to one installation: address, secret, zone.
//! Never let a secret out of this file but as `SecretString`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::connector::{self, Connector};
use super::read::Section;

/// One installation of a CRM or helpdesk.
#[derive(Debug, Clone)]
pub struct Crm {
    /// Scheme, host and the path in front of the connector's own.
    pub url: Url,
    pub connector: Connector,
    /// Where the connector stands, where it is a file of the operator's own.
    pub connector_file: Option<PathBuf>,
    pub username: Option<String>,
    pub secret: Option<SecretString>,
    /// PEM file: trusted instead of the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// In which zone the server's stamps without a zone are meant.
    pub zone: TimeZone,
    /// After this long a run reads everything again, so that removals which no cursor shows are noticed.
    pub full_every: Duration,
    /// The connector's variables and tables with this installation's laid over them.
    pub variables: Map<String, Value>,
    pub tables: Map<String, Value>,
}

impl Crm {
    /// `None` after a fault of the connector's name. After other faults the mapping can still be checked.
    pub fn read(section: &Section<'_>) -> Option<Crm> {
        let insecure = section.boolean("insecure", false);
        let url = section.url_required("url", &["https", "http"]);
        if let Some(url) = &url
            && url.scheme() == "http"
            && !insecure
            && !is_loopback(url)
        {
            section.fault("url", Some(url.as_str()), "must be https; plain http needs insecure = true");
        }
        let connector_file = section.path_of("connector_file");
        let connector = connector_of(section, connector_file.as_deref());
        let zone = section.parsed("zone", zone).unwrap_or(TimeZone::UTC);
        let secret = section.secret("secret");
        let username = section.text("username");
        let ca_file = section.path_of("ca_file");
        let full_every = section.duration("full_every", Duration::from_hours(7 * 24));
        let (variables, tables) = (section.value("variables"), section.value("tables"));
        let connector = connector?;
        let variables = over(section, "variables", &connector.variables, variables);
        let tables = over(section, "tables", &connector.tables, tables);
        let url = url.unwrap_or_else(nowhere);
        Some(Crm { url, connector, connector_file, username, secret, ca_file, zone, full_every, variables, tables })
    }
}

impl Crm {
    /// Where the connector stands, for faults of it.
    pub fn place(&self) -> String {
        let built_in = || format!("the built-in connector {}", self.connector.name);
        self.connector_file.as_ref().map_or_else(built_in, |file| file.display().to_string())
    }
}

/// Placeholder after a fault of `url`: never dialled.
fn nowhere() -> Url {
    Url::parse("https://invalid/").expect("a plain URL")
}

/// `connector = "rt5"` is one of the built-in files, `connector_file` one of the operator's own.
fn connector_of(section: &Section<'_>, file: Option<&Path>) -> Option<Connector> {
    match (file, section.has("connector")) {
        (Some(_), true) => {
            section.parsed("connector", |_| Err::<(), _>("give connector or connector_file, not both"));
            None
        }
        (Some(file), false) => {
            let (connector, faults) = Connector::load(file);
            let unread = faults.iter().any(|fault| fault.key == "(file)");
            section.faults_of(faults.into_iter().filter(|fault| !unread || fault.key == "(file)").collect());
            (!unread).then_some(connector)
        }
        (None, _) => section.required_by("connector", connector::built_in),
    }
}

/// Only what the connector declares can be set.
fn over(section: &Section<'_>, key: &str, declared: &Map<String, Value>, own: Option<Value>) -> Map<String, Value> {
    let mut values = declared.clone();
    match own {
        None => {}
        Some(Value::Object(own)) => {
            for (name, value) in own {
                if values.insert(name.clone(), value).is_none() {
                    let known = declared.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let known =
                        if known.is_empty() { format!("it has no {key}") } else { format!("allowed are {known}") };
                    let allowed = format!("is unknown to this connector: {known}");
                    section.fault(&format!("{key}.{name}"), None, allowed);
                }
            }
        }
        Some(other) => section.fault(key, Some(&other.to_string()), "must be a section"),
    }
    values
}

fn zone(name: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(name).map_err(|_| "must be the name of a time zone, e.g. Europe/Prague")
}

/// Loopback by address, and `localhost` by name; other names could resolve to anything.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::check;
    use super::*;

    #[test]
    fn a4_an_installation_is_an_address_a_secret_and_a_connector() {
        let crm = check(
            "url = 'https://rt.example.com/rt'\nconnector = 'rt5'\nsecret = 's3cret'\nzone = 'Europe/Prague'\n\
             [tables.comment_queues]\nGeneral = true",
            Crm::read,
        );
        let crm = crm.unwrap().unwrap();
        assert_eq!(crm.connector.name, "rt5");
        assert_eq!(crm.zone.iana_name(), Some("Europe/Prague"));
        assert_eq!(crm.tables["comment_queues"], serde_json::json!({"General": true}));
        assert!(!format!("{crm:?}").contains("s3cret"));
    }

    #[test]
    fn a4_every_fault_is_told_at_once() {
        let refused = check(
            "url = 'http://rt.example.com'\nconnector = 'rt9'\nzone = 'Europe/Prag'\nsecret = 'x'\ntypo = 1",
            Crm::read,
        );
        let text = refused.unwrap_err().to_string();
        for part in ["plain http needs insecure", "rt9", "rt5", "Europe/Prag", "typo"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for fine in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080", "https://a.example"] {
            assert!(check(&format!("url = '{fine}'\nconnector = 'rt5'"), Crm::read).is_ok(), "{fine}");
        }
        assert!(check("url = 'http://a.example'\nconnector = 'rt5'\ninsecure = true", Crm::read).is_ok());
    }
}
