//! Whether a directory can be read as the configuration says: it connects, binds, and looks for one entry of each search. It
//! takes nothing. Start at `Reader::probe`.

use super::fault::Error;
use super::root::Root;
use super::session::{Item, Query, Session};
use super::{Entry, Part, Reader};

/// What a directory answers to a first look.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Probe {
    /// Which server answered, and how its changes would be found.
    pub reached: String,
    pub searches: Vec<Looked>,
}

/// What one search finds.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Looked {
    /// As its section is called.
    pub search: String,
    pub finds: bool,
    /// Why nothing will come of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Reader {
    /// The error is what must be put right before anything can be read.
    pub async fn probe(&self) -> Result<Probe, String> {
        let mut session = Session::open(&self.settings).await.map_err(|error| self.told(error))?;
        let url = session.url.clone();
        let root = Root::of(&mut session).await.map_err(|error| self.told(error))?;
        let (mut searches, mut faults) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match session.first(&part.query, &part.key).await {
                Ok(entry) => searches.push(part.looked(entry.as_ref())),
                Err(error @ Error::Result { .. }) => faults.push(self.told(error.at(part))),
                Err(error) => return Err(self.told(error)),
            }
        }
        session.close().await;
        let choice = root.choose(self.settings.mode, &self.parts).map_err(|reason| faults.push(reason));
        match choice {
            Ok(choice) if faults.is_empty() => {
                Ok(Probe { reached: format!("{url}, {} ({})", choice.mode, choice.why), searches })
            }
            _ => Err(faults.join("; ")),
        }
    }
}

impl Part {
    /// As its section in the configuration is called.
    pub(super) fn section(&self) -> String {
        format!("{}s", self.kind)
    }

    fn looked(&self, entry: Option<&Entry>) -> Looked {
        let search = self.section();
        let warning = match entry {
            None => Some(format!("the filter {} finds nobody below {}", self.filter, self.query.base)),
            Some(entry) if entry.key(&self.key).is_none() => {
                Some(format!("{} has no `{}`: set {search}.key to what it can be known by", entry.dn(), self.key))
            }
            Some(_) => None,
        };
        Looked { search, finds: entry.is_some(), warning }
    }
}

impl Session {
    /// The first entry that the query finds, with its key.
    async fn first(&mut self, query: &Query, key: &str) -> Result<Option<Entry>, Error> {
        let query = Query { attributes: vec![key.to_owned()], ..query.clone() };
        let mut cookie = Vec::new();
        loop {
            self.ask_for(1, &query, &cookie).await?;
            let mut found = None;
            cookie = loop {
                match self.next().await? {
                    Item::Entry(bytes) => found = Some(Entry::of(bytes)?),
                    Item::Pointer => {}
                    Item::Done { cookie } => break cookie.unwrap_or_default(),
                }
            };
            // A page may be empty and not be the last one.
            if found.is_some() || cookie.is_empty() {
                return Ok(found);
            }
        }
    }
}
