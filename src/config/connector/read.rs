//! How the sections of a connector's file become a `Connector`: keys, defaults, limits. Every fault goes to its `Section`
//! and reading goes on, so that all of them are told at once; what a faulty key is read as meanwhile is never used.
//! Nothing here compiles a template.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Auth, Body, Connector, Cursor, Derive, Detail, Errors, Limits, Method, Paging, Request, Stream, Template};
use crate::config::read::Section;
use crate::model::kind::{Kind, words};

impl Connector {
    pub(super) fn read(root: &Section<'_>) -> Connector {
        let sections = root.array("stream");
        if sections.is_empty() && !root.has("stream") {
            root.missing("stream");
        }
        let streams = sections.iter().filter_map(Stream::read).collect();
        drop(sections);
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
    /// `None`: the kind is faulty, and without it nothing can be said of the mapping.
    fn read(section: &Section<'_>) -> Option<Stream> {
        let (name, kind) = (section.required("name"), section.word_required("kind"));
        let map = rules(section);
        if !map.is_empty() && !map.contains_key("key") {
            section.fault("map.key", None, "is missing: the path to the immutable id");
        }
        let stream = |kind: Kind| Stream {
            name,
            kind,
            place: section.path().to_owned(),
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
            map,
            derive: section.array("derive").iter().filter_map(Derive::read).collect(),
        };
        // With some other kind the rest is still read for its faults.
        let read = stream(kind.unwrap_or(Kind::Contact));
        kind.map(|_| read)
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
    fn read(section: &Section<'_>) -> Option<Derive> {
        let kind = section.word_required("kind");
        let (value, map) = (section.required("value"), rules(section));
        Some(Derive { place: section.path().to_owned(), kind: kind?, value, map })
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
