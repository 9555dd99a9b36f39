//! What a request asks: which place, under which conditions, with which body. Reads headers and bodies and judges only
//! their form; knows no resource. Start with `Place` and `Ask`.

use axum::body::Body;
use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::BASE;
use crate::http::auth::Caller;
use crate::http::state::App;
use crate::http::token::Scope;
use crate::model::dialect::{Dialect, Echo};
use crate::model::kind::Kind;
use crate::model::source::SourcePolicy;
use crate::reconcile::Context;
use crate::scim::error::Error;
use crate::scim::list::Query;
use crate::scim::registry::Registry;
use crate::scim::schema::Shape;
use crate::store::scim::Sight;

/// A path under the base.
pub enum Place<'r> {
    /// The base itself: resources of all types (RFC 7644 section 3.4.2.1).
    Root(Vec<&'r Shape>),
    Provider,
    Schemas(Option<&'r str>),
    Types(Option<&'r str>),
    Collection(&'r Shape),
    Item(&'r Shape, &'r str),
    /// `/.search` of one type or of all.
    Search(Vec<&'r Shape>),
    Bulk,
    /// The resource that the token speaks for.
    Me,
}

impl<'r> Place<'r> {
    /// A slash at the end counts for nothing.
    pub fn at(registry: &'r Registry, path: &'r str) -> Option<Place<'r>> {
        let path = path.trim_matches('/');
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        Some(match (first, rest) {
            ("", None) => Place::Root(registry.shapes.iter().collect()),
            ("ServiceProviderConfig", None) => Place::Provider,
            ("Schemas", id) => Place::Schemas(id),
            ("ResourceTypes", id) => Place::Types(id),
            (".search", None) => Place::Search(registry.shapes.iter().collect()),
            ("Me", None) => Place::Me,
            ("Bulk", None) => Place::Bulk,
            (segment, None) => Place::Collection(registry.at(segment)?),
            (segment, Some(".search")) => Place::Search(vec![registry.at(segment)?]),
            (segment, Some(id)) if !id.contains('/') => Place::Item(registry.at(segment)?, id),
            _ => return None,
        })
    }

    /// For the header `Allow`.
    pub const fn allowed(&self) -> &'static str {
        match self {
            Place::Root(_) | Place::Provider | Place::Schemas(_) | Place::Types(_) => "GET, HEAD, OPTIONS",
            Place::Collection(_) => "GET, HEAD, OPTIONS, POST",
            Place::Item(..) | Place::Me => "GET, HEAD, OPTIONS, PUT, PATCH, DELETE",
            Place::Search(_) | Place::Bulk => "OPTIONS, POST",
        }
    }
}

/// The text of a path without its percent signs; `None` if that is no UTF-8.
pub fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A request of a caller who may ask.
pub struct Ask<'a> {
    pub app: &'a App,
    pub policy: &'a SourcePolicy,
    pub dialect: Dialect,
    pub registry: &'a Registry,
    /// Where the service is reached, without a slash at the end. From the configuration, never from a header.
    pub base: String,
    pub parts: Parts,
    caller: &'a Caller,
    /// Of the same moment as the registry.
    context: Context,
}

impl<'a> Ask<'a> {
    pub fn new(
        app: &'a App,
        (caller, context): (&'a Caller, Context),
        policy: &'a SourcePolicy,
        registry: &'a Registry,
        parts: Parts,
    ) -> Ask<'a> {
        let config = app.config();
        let dialect = config.dialect(&policy.name);
        let base = format!("{}{BASE}", config.server.public_url.as_str().trim_end_matches('/'));
        Ask { app, policy, dialect, registry, base, parts, caller, context }
    }

    /// The same caller, asking something else.
    pub fn with(&self, parts: Parts) -> Ask<'a> {
        Ask { base: self.base.clone(), parts, context: self.context.clone(), ..*self }
    }

    pub fn sight(&self, kind: Kind) -> Sight<'_> {
        // Of the CRM every client sees the same; people, groups and types of its own live in a realm.
        let realm = self.policy.realm.filter(|_| matches!(kind, Kind::User | Kind::Group | Kind::Own(_)));
        Sight { source: &self.policy.name, realm, own_only: self.policy.company.is_some(), kind }
    }

    /// A customer's own provider sets nobody's password: the account may be more than its own.
    pub fn may_set_passwords(&self) -> bool {
        self.caller.may(Scope::PasswordWrite) && self.policy.company.is_none()
    }

    /// Whether a changed resource of the kind is sent back.
    pub fn echoes(&self, kind: Kind) -> bool {
        match self.dialect.echo {
            Echo::All => true,
            Echo::Users => kind != Kind::Group,
            Echo::None => false,
        }
    }

    /// Counts against the pace of the token what one request does beyond itself.
    pub fn also(&self, more: usize) -> Result<(), Error> {
        let rate = self.app.config().server.limits.scim;
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        // The request itself has taken one: a rest must allow the remainder, however long the request is.
        let more = more.min(rate.burst.saturating_sub(1));
        self.app.pace.take(&self.caller.token, rate, more).map_err(|wait| Error::TooMuch(wait.as_secs() + 1))
    }

    pub fn context(&self) -> Context {
        self.context.clone()
    }

    pub fn query(&self) -> Result<Query, Error> {
        let text = self.parts.uri.query().unwrap_or_default();
        let pairs: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).collect();
        Query::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)))
    }

    pub async fn body(&self, body: Body) -> Result<Map<String, Value>, Error> {
        super::body::object(&self.parts.headers, body).await
    }

    /// Whether the client has this version already (RFC 7232 §3.2).
    pub fn has(&self, version: i64) -> bool {
        self.header(header::IF_NONE_MATCH).is_some_and(|tags| names(&tags, version))
    }

    /// Whether a change may go on from this version.
    pub fn may_change(&self, version: i64) -> Result<(), Error> {
        let other = self.header(header::IF_MATCH).is_some_and(|tags| !names(&tags, version));
        let known = self.header(header::IF_NONE_MATCH).is_some_and(|tags| names(&tags, version));
        if other || known { Err(Error::Precondition) } else { Ok(()) }
    }

    /// `Prefer: return=minimal` (RFC 7240), or a token that may write and not read.
    pub fn prefers_minimal(&self) -> bool {
        !self.caller.may(Scope::ScimRead)
            || self.header("prefer".parse().ok()).is_some_and(|text| {
                text.split([',', ';'])
                    .any(|word| word.trim().replace([' ', '"'], "").eq_ignore_ascii_case("return=minimal"))
            })
    }

    fn header(&self, name: impl Into<Option<header::HeaderName>>) -> Option<String> {
        let name = name.into()?;
        let lines: Vec<&str> = self.parts.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        if lines.is_empty() { None } else { Some(lines.join(",")) }
    }
}

/// Whether a list of entity tags names the version. Weak and strong are one here: a version is counted, not digested.
fn names(tags: &str, version: i64) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == version.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::registry::Registries;

    #[test]
    fn tags_are_compared_by_version() {
        for (tags, same) in [
            ("*", true),
            ("W/\"3\"", true),
            ("\"3\"", true),
            ("W/\"1\", \"3\"", true),
            ("W/\"33\"", false),
            ("", false),
            ("\"\"", false),
        ] {
            assert_eq!(names(tags, 3), same, "{tags}");
        }
    }

    #[test]
    fn paths_lead_to_places_or_nowhere() {
        let all = Registries::embedded().unwrap();
        let registry = all.of_realm(None);
        let allowed = |path: &str| Place::at(registry, path).map(|place| place.allowed());
        assert_eq!(allowed("/Users"), allowed("/Groups/"));
        assert_eq!(allowed("/Users/1"), Some("GET, HEAD, OPTIONS, PUT, PATCH, DELETE"));
        assert_eq!(allowed("/Schemas/urn:a/b"), allowed("/ServiceProviderConfig"));
        assert_eq!(allowed("/.search"), allowed("/Users/.search"));
        assert_eq!(allowed(""), allowed("/Schemas"));
        for nowhere in ["/Nothing", "/Users/1/2", "/users", "/Users//1"] {
            assert_eq!(allowed(nowhere), None, "{nowhere}");
        }
        assert_eq!(decoded("/a%3Ab%c3%a9").as_deref(), Some("/a:bé"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
