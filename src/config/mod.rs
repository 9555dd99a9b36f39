//! Raw TOML and environment -> checked configuration, all faults at once (`fault`). `read` has the readers, one file per
//! section turns a `read::Section` into a checked struct. What stands in a `Config` is right: nobody checks it again.
//! Start with `Reading::load`; every key is explained in `config/default.toml`.

pub mod connector;
pub mod credential;
pub mod crm;
pub mod fault;
pub mod ldap;
pub mod licences;
pub mod mail;
mod profile;
pub mod push;
pub mod read;
pub mod schedule;
mod scim;
mod secret;
pub mod server;
pub mod source;
#[cfg(test)]
mod tests;
mod tree;
pub mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use credential::Credentials;
pub use mail::Mail;
pub use schedule::Schedule;
pub use server::{Log, Server, Store};
pub use source::{Body, Source};
pub use webhook::{Events, Webhook};

use crate::model::catalogue::Catalogue;
use crate::model::dialect::{Dialect, Preset};
use crate::model::profile::Profiles;
use crate::model::source::SourcePolicy;
use fault::{Fault, Refused};
use read::{Document, Section};

/// The whole checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub log: Log,
    pub mail: Mail,
    pub credentials: Credentials,
    /// The operator's own SCIM schemas and resource types.
    pub schemas: Option<PathBuf>,
    pub profiles: Profiles,
    /// The licences that can be held, and what each needs.
    pub catalogue: Arc<Catalogue>,
    /// By name; `operator` is always there.
    pub sources: BTreeMap<String, Source>,
    pub events: Events,
    /// By name: who is told of events.
    pub webhooks: BTreeMap<String, Webhook>,
}

/// A configuration as far as it could be read. Whoever puts its parts to use adds what shows only then, so that all
/// faults are told together; a `Config` comes out of it only when there are none.
pub struct Reading {
    document: Document,
    config: Config,
}

impl Reading {
    /// Merges the files (later ones win) and the variables, and reads everything.
    pub fn load(files: &[PathBuf], variables: impl IntoIterator<Item = (String, String)>) -> Reading {
        Reading::of(Document::load(files, variables))
    }

    /// One text, for tests.
    pub fn parse(text: &str) -> Reading {
        Reading::of(Document::parse(text))
    }

    fn of(document: Document) -> Reading {
        let config = Config::read(&document.root());
        config.together().into_iter().for_each(|fault| document.fault(fault));
        Reading { document, config }
    }

    /// Placeholders stand in it where something was faulty: only for finding more faults.
    pub fn partial(&self) -> &Config {
        &self.config
    }

    /// Faults that `partial` shows when its parts are put to use; value and file are added to them here.
    pub fn also(&self, faults: impl IntoIterator<Item = Fault>) {
        faults.into_iter().for_each(|fault| self.document.fault(fault));
    }

    pub fn done(self) -> Result<Config, Refused> {
        self.document.done().map(|()| self.config)
    }
}

impl Config {
    /// One text with the faults of its form only, for tests.
    pub fn parse(text: &str) -> Result<Config, Refused> {
        Reading::parse(text).done()
    }

    fn read(root: &Section<'_>) -> Config {
        Config {
            server: Server::read(&root.section("server")),
            store: Store::read(&root.section("store")),
            log: Log::read(&root.section("log")),
            mail: Mail::read(&root.section("mail")),
            credentials: Credentials::read(&root.section("credentials")),
            schemas: root.section("scim").path_of("schemas"),
            profiles: profile::read(&root.section("profiles")),
            catalogue: catalogue(&root.section("licences")),
            sources: source::read_all(root),
            events: Events::read(&root.section("events")),
            webhooks: webhook::read_all(root),
        }
    }

    /// What only sections together show: Okta takes no address with an underscore.
    fn together(&self) -> Vec<Fault> {
        let url = self.server.public_url.as_str();
        let okta = self.sources.keys().filter(|name| self.dialect(name).preset == Some(Preset::Okta));
        let fault = |name: &String| Fault {
            key: format!("sources.{name}.scim.preset"),
            value: Some(Preset::Okta.to_string()),
            allowed: format!("does not go with the `_` in server.public_url ({url}): Okta takes no such address"),
            origin: None,
        };
        okta.filter(|_| url.contains('_')).map(fault).collect()
    }

    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// What the engine must know of the sources.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<SourcePolicy>> {
        self.sources.values().map(|source| &source.policy)
    }

    /// How the identity provider behind the source is spoken with.
    pub fn dialect(&self, source: &str) -> Dialect {
        match self.sources.get(source).map(|source| &source.body) {
            Some(Body::Scim(dialect)) => *dialect,
            _ => Dialect::default(),
        }
    }

    pub fn policy(&self, source: &str) -> Option<&Arc<SourcePolicy>> {
        self.sources.get(source).map(|source| &source.policy)
    }
}

/// `[licences] catalogue_file`, or the built-in one.
fn catalogue(section: &Section<'_>) -> Arc<Catalogue> {
    let Some(file) = section.path_of("catalogue_file") else { return licences::built_in() };
    match licences::load(&file) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(faults) => {
            section.faults_of(faults);
            licences::built_in()
        }
    }
}

/// The variables of this process that are readable as text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

/// Where the configuration is looked for when no `-c` is given.
pub const DEFAULT_FILE: &str = "/etc/musterd/musterd.toml";

/// The given files, or the default file where it exists.
pub fn files(given: Vec<PathBuf>) -> Vec<PathBuf> {
    if given.is_empty() && Path::new(DEFAULT_FILE).exists() { vec![DEFAULT_FILE.into()] } else { given }
}
