//! Sections `[events]` and `[webhooks.NAME]`: who is told of events, and when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use url::Url;

use super::crm::is_loopback;
use super::read::Section;
use crate::model::event::Topic;

/// When events are told, and how long they are kept.
#[derive(Debug, Clone)]
pub struct Events {
    /// An event is told once its subject has been left alone for so long,
    pub quiet: Duration,
    /// or when it has waited for so long.
    pub longest: Duration,
    /// Acknowledged ones are forgotten after this.
    pub keep: Duration,
}

impl Events {
    pub(super) fn read(section: &Section<'_>) -> Events {
        let seconds = Duration::from_secs;
        let within = |key, default| section.duration_within(key, Duration::from_millis(1)..=seconds(86_400), default);
        let quiet = within("quiet", seconds(10));
        let longest = within("longest", seconds(60).max(quiet));
        if longest < quiet {
            let found = section.text("longest");
            section.fault("longest", found.as_deref(), "must be at least `quiet`, or nothing is ever waited for");
        }
        Events { quiet, longest, keep: section.duration("keep", seconds(90 * 86_400)) }
    }
}

/// Where somebody is told. No log shows it.
#[derive(Clone)]
pub struct Address(pub Url);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.origin().ascii_serialization())
    }
}

/// Whoever is told.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: Address,
    /// With which what is sent is signed.
    pub secret: SecretSlice<u8>,
    pub topics: Vec<Topic>,
    /// Only this authority is trusted for it; `None` = the system's.
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// Bytes of a secret that cannot be guessed.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;
const PREFIX: &str = "whsec_";

pub(super) fn read_all(root: &Section<'_>) -> BTreeMap<String, Webhook> {
    root.sections("webhooks").into_iter().filter_map(|(name, section)| Some((name, read(&section)?))).collect()
}

fn read(section: &Section<'_>) -> Option<Webhook> {
    let insecure = section.boolean("insecure", false);
    let url = url(section);
    if url.as_ref().is_some_and(|url| url.scheme() == "http" && !insecure && !is_loopback(url)) {
        let allowed = "goes over the network in clear: https, or insecure = true to want that";
        section.fault("url", None, allowed);
    }
    let secret = section.secret_required("secret");
    let key = secret.as_ref().and_then(key);
    if secret.is_some() && key.is_none() {
        let allowed = format!("must be {PREFIX} and {SHORTEST} to {LONGEST} bytes in base64");
        section.fault(if section.has("secret") { "secret" } else { "secret_file" }, None, allowed);
    }
    let topics = section.words("events");
    let timeout = section.duration_within(
        "timeout",
        Duration::from_millis(100)..=Duration::from_mins(1),
        Duration::from_secs(10),
    );
    let ca_file = section.path_of("ca_file");
    let topics = if topics.is_empty() { Topic::ALL.to_vec() } else { topics };
    Some(Webhook { url: Address(url?), secret: key?, topics, ca_file, timeout })
}

/// Never shown: such an address often is a secret of its own.
fn url(section: &Section<'_>) -> Option<Url> {
    let Some(text) = section.text("url") else {
        section.fault("url", None, "is missing: where the event is to be told");
        return None;
    };
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    if url.is_none() {
        section.fault("url", None, "must be an absolute URL (https, http) without user information");
    }
    url
}

fn key(secret: &SecretString) -> Option<SecretSlice<u8>> {
    let bytes = STANDARD.decode(secret.expose_secret().strip_prefix(PREFIX)?).ok()?;
    (SHORTEST..=LONGEST).contains(&bytes.len()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn r37_all_faults_of_a_webhook_at_once_and_never_its_secret() {
        let text = "[events]\nquiet = '0s'\nlongest = '1s'\n[webhooks.a]\nurl = 'http://pbx.example.com/x'\nsecret = 'tellnobody'\n\
                    events = ['pbx.on_fire']\nretries = 3\n[webhooks.b]\nurl = 'ftp://x'\n";
        let refused = Config::parse(text).unwrap_err();
        let mut keys: Vec<&str> = refused.0.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        let all = [
            "events.longest",
            "events.quiet",
            "webhooks.a.events",
            "webhooks.a.retries",
            "webhooks.a.secret",
            "webhooks.a.url",
        ];
        assert_eq!(keys, [&all[..], &["webhooks.b.secret", "webhooks.b.url"]].concat());
        let shown = refused.to_string();
        assert!(
            !shown.contains("tellnobody") && !shown.contains("/x") && shown.contains("pbx.reload_required"),
            "{shown}"
        );
    }

    #[test]
    fn a_webhook_of_this_machine_may_be_plain() {
        let text = "[webhooks.a]\nurl = 'http://127.0.0.1:9/x'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.webhooks["a"].topics, Topic::ALL);
        assert_eq!(config.webhooks["a"].secret.expose_secret().len(), 24);
        assert!(!format!("{config:?}").contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    }
}
