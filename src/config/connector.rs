//! A connector: one file that says how one vendor's REST interface is read (`config/connectors/*.toml`). Reading the file
//! finds every fault of its form at once; expressions and templates are compiled by `sources::crm`, which also runs them.
//! `config/connectors/README.md` explains the keys. Nothing here knows an address or a secret. The form stands here, how it
//! is read in `read`.

mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::{Fault, Refused};
use super::read::{check, read_file};
use crate::model::kind::{Kind, words};

/// The connectors that come with the program.
const BUILT_IN: &[(&str, &str)] = &[("rt5", include_str!("../../config/connectors/rt5.toml"))];

/// A text with `{{ }}`; compiled by `sources::crm`.
pub type Template = String;

#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    pub name: String,
    pub title: String,
    /// In front of every path, behind the installation's address.
    pub base: String,
    pub auth: Auth,
    pub limits: Limits,
    pub errors: Errors,
    /// For request templates; what an installation may set, with the defaults.
    pub variables: Map<String, Value>,
    /// For `lookup` in mappings; an installation may replace whole tables.
    pub tables: Map<String, Value>,
    /// In the order in which they are read: what is pointed at comes first.
    pub streams: Vec<Stream>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    None,
    Header {
        name: String,
        value: Template,
    },
    Query {
        name: String,
        value: Template,
    },
    Basic {
        username: Template,
        password: Template,
    },
    Bearer {
        token: Template,
    },
    /// A token that is fetched first, kept as long as it lasts, and fetched again after a 401.
    Fetched {
        request: Request,
        /// Path to the token in the answer.
        token: String,
        /// Path to its life in seconds; absent or unreadable: `lifetime`.
        expires_in: Option<String>,
        lifetime: Duration,
        /// The header that carries it: template with `token`.
        header: String,
        value: Template,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Detail requests at the same time.
    pub concurrency: usize,
    /// At most so many requests in each period.
    pub requests: u32,
    pub period: Duration,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Of one answer, after decompression.
    pub body_mib: u64,
    /// Pages of one stream; more is a server that does not turn pages.
    pub pages: u32,
}

/// What a status means. Statuses that stand nowhere fail the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    pub retry: Vec<u16>,
    /// Of a detail request: that record is reported as unreadable (and counts as present), the run goes on.
    pub skip: Vec<u16>,
    /// Of an incremental run: the cursor is too old, everything is read again.
    pub rescan: Vec<u16>,
    pub attempts: u32,
    /// Wait before the second attempt; doubles each time. A `Retry-After` of the server wins.
    pub wait: Duration,
    /// A server that asks for more patience than this fails the run.
    pub max_wait: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub name: String,
    /// Where it stands in the file: `stream[0]`.
    pub place: String,
    pub kind: Kind,
    pub request: Request,
    pub page: Paging,
    /// Path to the list of records; empty: the answer itself.
    pub records: String,
    /// Path to the number of all records, checked against what was read.
    pub total: Option<String>,
    /// Template over `body`: anything but yes = the answer is an error, whatever its status.
    pub success: Option<Template>,
    /// A request per record whose answer is laid over it, made only for records that changed.
    pub detail: Option<Detail>,
    /// Whether what a complete read does not list is gone.
    pub absence: bool,
    pub cursor: Option<Cursor>,
    /// Fewer records than this in a complete read: the read is not believed.
    pub min: u64,
    /// A total above this cannot be paged through at the vendor: the read is not believed.
    pub max: Option<u64>,
    /// For `mapping`: attributes and relations, and `key`, `alias`, `when`, `gone`.
    pub map: Map<String, Value>,
    pub derive: Vec<Derive>,
}

words! {
    Method {
        Get = "GET",
        Post = "POST",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub method: Method,
    pub path: Template,
    /// A parameter whose template renders to nothing is left out.
    pub query: BTreeMap<String, Template>,
    pub headers: BTreeMap<String, Template>,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    None,
    /// A template that renders to JSON: `{"offset": {{ offset }}, "since": {{ since | tojson }}}`.
    Json(Template),
    Form(BTreeMap<String, Template>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Paging {
    /// Everything in one answer.
    None,
    /// Templates get `page` and `size`.
    Number { first: u64, size: u64 },
    /// Templates get `offset` and `size`.
    Offset { size: u64 },
    /// Templates get `last`, the key of the last record, and `size`: nothing shifts when records come and go.
    Keyset { size: u64 },
    /// Templates get `after`, found at this path; absent or empty, or `end` (over `body`) says yes: the end.
    Cursor { path: String, size: u64, end: Option<Template> },
    /// The address of the next page, found at this path. Only on the same host.
    Next { path: String, size: u64, end: Option<Template> },
    /// The address of the next page from the `Link` header.
    Link { size: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    pub request: Request,
    /// Path to the object in the answer; empty: the answer itself.
    pub object: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Path to the time of the last change; `None`: the server's clock at the start of the run.
    pub field: Option<String>,
    /// How `field` is written (strftime); `None`: RFC 3339.
    pub parse: Option<String>,
    /// How `since` is written (strftime); `None`: RFC 3339.
    pub format: Option<String>,
    /// Subtracted from `since`: what was changed while the last run read is read again.
    pub look_back: Duration,
}

/// Free text that names a thing of its own: every text found becomes a record whose key is the folded text.
#[derive(Debug, Clone, PartialEq)]
pub struct Derive {
    /// Where it stands in the file: `stream[0].derive[0]`.
    pub place: String,
    pub kind: Kind,
    pub value: String,
    /// For `mapping`; the record is `{"value": text, "key": folded}`.
    pub map: Map<String, Value>,
}

/// By name; the error lists the names.
pub fn built_in(name: &str) -> Result<Connector, String> {
    let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        let names = BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("must be one of {names}; for a file of your own give connector_file"));
    };
    Connector::parse(text).map_err(|refused| refused.to_string())
}

impl Connector {
    pub fn parse(text: &str) -> Result<Connector, Refused> {
        check(text, Connector::read)
    }

    /// As much of it as could be read, with all its faults. A stream whose kind is faulty is left out.
    pub fn load(file: &Path) -> (Connector, Vec<Fault>) {
        read_file(file, Connector::read)
    }
}

impl Paging {
    /// Records a page; 0 where there are no pages.
    pub fn size(&self) -> u64 {
        match self {
            Paging::None => 0,
            Paging::Number { size, .. }
            | Paging::Offset { size }
            | Paging::Keyset { size }
            | Paging::Cursor { size, .. }
            | Paging::Next { size, .. }
            | Paging::Link { size } => *size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_every_built_in_connector_reads_without_a_fault() {
        for (name, text) in BUILT_IN {
            let connector = Connector::parse(text).unwrap_or_else(|refused| panic!("{name}: {refused}"));
            assert_eq!(connector.name, *name);
        }
    }

    #[test]
    fn a4_a_connector_tells_all_its_faults() {
        let refused = Connector::parse(
            "name = 'x'\n[auth]\nkind = 'magic'\n[[stream]]\nname = 's'\nkind = 'person'\nmapp = 1\n\
             [stream.page]\nkind = 'number'\nsize = 0\n[stream.cursor]\nlook_back = '5x'\n[errors]\nretry = ['200']",
        );
        let text = refused.unwrap_err().to_string();
        for part in ["title", "magic", "person", "mapp", "map", "size", "look_back", "server_clock", "200", "path"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
