//! A connector: one file that says how one vendor's REST interface is read (`config/connectors/*.toml`). Reading the file
//! finds every fault of its form at once; expressions and templates are compiled by `sources::crm`, which also runs them.
//! `config/connectors/README.md` explains the keys. Nothing here knows an address or a secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::Refused;
use super::read::{Section, check, check_file};
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

    pub fn load(file: &Path) -> Result<Connector, Refused> {
        check_file(file, Connector::read)
    }

    fn read(root: &Section<'_>) -> Connector {
        let streams: Vec<Stream> = root.array("stream").iter().map(Stream::read).collect();
        if streams.is_empty() {
            root.missing("stream");
        }
        Connector {
            name: root.required("name"),
            title: root.required("title"),
            base: root.text_or("base", ""),
            auth: Auth::read(&root.section("auth")),
            limits: Limits::read(&root.section("limits")),
            errors: Errors::read(&root.section("errors")),
            variables: object(root, "variables"),
            tables: object(root, "tables"),
            streams,
        }
    }
}

words! {
    AuthWord {
        None = "none",
        Header = "header",
        Query = "query",
        Basic = "basic",
        Bearer = "bearer",
        OAuth2 = "oauth2",
        Session = "session",
    }
}

impl Auth {
    fn read(section: &Section<'_>) -> Auth {
        const SECRET: &str = "{{ secret }}";
        match section.word("kind", AuthWord::None) {
            AuthWord::None => Auth::None,
            AuthWord::Header => {
                Auth::Header { name: section.required("name"), value: section.text_or("value", SECRET) }
            }
            AuthWord::Query => Auth::Query { name: section.required("name"), value: section.text_or("value", SECRET) },
            AuthWord::Basic => Auth::Basic {
                username: section.text_or("username", "{{ username }}"),
                password: section.text_or("password", SECRET),
            },
            AuthWord::Bearer => Auth::Bearer { token: section.text_or("token", SECRET) },
            AuthWord::OAuth2 => Auth::Fetched {
                request: Request {
                    method: Method::Post,
                    path: section.required("path"),
                    query: BTreeMap::new(),
                    headers: BTreeMap::new(),
                    body: Body::Form(oauth2_form(section)),
                },
                token: "access_token".to_owned(),
                expires_in: Some("expires_in".to_owned()),
                lifetime: section.duration("lifetime", Duration::from_mins(10)),
                header: "Authorization".to_owned(),
                value: "Bearer {{ token }}".to_owned(),
            },
            AuthWord::Session => Auth::Fetched {
                request: Request::read(&section.section("request"), Method::Post),
                token: section.required("token"),
                expires_in: section.text("expires_in"),
                lifetime: section.duration("lifetime", Duration::from_mins(10)),
                header: section.required("header"),
                value: section.text_or("value", "{{ token }}"),
            },
        }
    }
}

words! {
    Grant {
        ClientCredentials = "client_credentials",
        Refresh = "refresh_token",
    }
}

/// RFC 6749 sections 4.4.2 and 6. The secret of the installation is the client's secret or the refresh token.
fn oauth2_form(section: &Section<'_>) -> BTreeMap<String, Template> {
    let grant = section.word("grant", Grant::ClientCredentials);
    let mut form = BTreeMap::from([
        ("grant_type".to_owned(), grant.as_str().to_owned()),
        ("client_id".to_owned(), section.text_or("client_id", "{{ username }}")),
    ]);
    match grant {
        Grant::ClientCredentials => form.insert("client_secret".to_owned(), "{{ secret }}".to_owned()),
        Grant::Refresh => form.insert("refresh_token".to_owned(), "{{ secret }}".to_owned()),
    };
    form.extend(section.text("scope").map(|scope| ("scope".to_owned(), scope)));
    form
}

impl Limits {
    fn read(section: &Section<'_>) -> Limits {
        Limits {
            concurrency: section.integer("concurrency", 1..=32, 4),
            requests: section.integer("requests", 1..=100_000, 50),
            period: section.duration("period", Duration::from_secs(1)),
            timeout: section.duration("timeout", Duration::from_mins(1)),
            body_mib: section.integer("body_mib", 1..=1024, 32),
            pages: section.integer("pages", 1..=10_000_000, 100_000),
        }
    }
}

impl Errors {
    fn read(section: &Section<'_>) -> Errors {
        let statuses = |key: &str, default: &[u16]| {
            if section.has(key) {
                section.words::<Status>(key).into_iter().map(|status| status.0).collect()
            } else {
                default.to_vec()
            }
        };
        Errors {
            retry: statuses("retry", &[408, 429, 500, 502, 503, 504]),
            skip: statuses("skip", &[404]),
            rescan: statuses("rescan", &[410]),
            attempts: section.integer("attempts", 1..=20, 5),
            wait: section.duration("wait", Duration::from_secs(1)),
            max_wait: section.duration("max_wait", Duration::from_mins(2)),
        }
    }
}

struct Status(u16);

impl std::str::FromStr for Status {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Status, &'static str> {
        let status = text.parse().ok().filter(|status| (400..600).contains(status));
        status.map(Status).ok_or("must be texts of statuses from 400 to 599")
    }
}

impl Stream {
    fn read(section: &Section<'_>) -> Stream {
        Stream {
            name: section.required("name"),
            kind: section.word_required("kind").unwrap_or(Kind::Contact),
            request: Request::read(&section.section("request"), Method::Get),
            page: Paging::read(&section.section("page")),
            records: section.text_or("records", ""),
            total: section.text("total"),
            success: section.text("success"),
            detail: section.section_optional("detail").map(|detail| Detail {
                object: detail.text_or("object", ""),
                request: Request::read(&detail, Method::Get),
            }),
            absence: section.boolean("absence", true),
            cursor: section.section_optional("cursor").map(|cursor| Cursor::read(&cursor)),
            min: section.integer("min", 0..=i64::MAX as u64, 0),
            max: section.has("max").then(|| section.integer("max", 1..=i64::MAX as u64, 1)),
            map: rules(section),
            derive: section.array("derive").iter().map(Derive::read).collect(),
        }
    }
}

impl Request {
    fn read(section: &Section<'_>, method: Method) -> Request {
        let json = section.text("json");
        let form = section.texts("form");
        let body = match (json, form.is_empty()) {
            (Some(_), false) => {
                section.fault("form", None, "give json or form, not both");
                Body::None
            }
            (Some(json), true) => Body::Json(json),
            (None, false) => Body::Form(form),
            (None, true) => Body::None,
        };
        Request {
            method: section.word("method", method),
            path: section.required("path"),
            query: section.texts("query"),
            headers: section.texts("headers"),
            body,
        }
    }
}

words! {
    PagingWord {
        None = "none",
        Number = "number",
        Offset = "offset",
        Keyset = "keyset",
        Cursor = "cursor",
        Next = "next",
        Link = "link",
    }
}

impl Paging {
    fn read(section: &Section<'_>) -> Paging {
        let size = section.integer("size", 1..=10_000, 100);
        match section.word("kind", PagingWord::None) {
            PagingWord::None => Paging::None,
            PagingWord::Number => Paging::Number { first: section.integer("first", 0..=1, 1), size },
            PagingWord::Offset => Paging::Offset { size },
            PagingWord::Keyset => Paging::Keyset { size },
            PagingWord::Cursor => Paging::Cursor { path: section.required("path"), size, end: section.text("end") },
            PagingWord::Next => Paging::Next { path: section.required("path"), size, end: section.text("end") },
            PagingWord::Link => Paging::Link { size },
        }
    }

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

impl Cursor {
    fn read(section: &Section<'_>) -> Cursor {
        let field = section.text("field");
        if field.is_none() && !section.boolean("server_clock", false) {
            section.fault("field", None, "give field, or server_clock = true");
        }
        Cursor {
            field,
            parse: section.text("parse"),
            format: section.text("format"),
            look_back: section.duration("look_back", Duration::from_mins(5)),
        }
    }
}

impl Derive {
    fn read(section: &Section<'_>) -> Derive {
        Derive {
            kind: section.word_required("kind").unwrap_or(Kind::Company),
            value: section.required("value"),
            map: rules(section),
        }
    }
}

fn rules(section: &Section<'_>) -> Map<String, Value> {
    let map = object(section, "map");
    if map.is_empty() {
        section.missing("map");
    }
    map
}

fn object(section: &Section<'_>, key: &str) -> Map<String, Value> {
    match section.value(key) {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            section.fault(key, Some(&other.to_string()), "must be a section");
            Map::new()
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
