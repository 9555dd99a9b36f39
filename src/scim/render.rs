//! A stored document -> the resource that a client sees: `schemas`, `id`, `meta`, `active`, `groups`, `members` are put
//! around the document's text, whose values are passed on as they are stored, unread wherever nothing of them is cut.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::error::Error;
use super::project::{Keep, Projection, cut, shown};
use super::schema::{Returned, Shape};
use crate::model::kind::Kind;
use crate::model::time::Millis;

/// What the store holds of one resource.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: String,
    /// The merged document as text.
    pub doc: String,
    pub active: bool,
    /// Of the source that asks.
    pub external_id: Option<String>,
    pub version: i64,
    pub created: Millis,
    pub modified: Millis,
    /// Groups of a user, members of a group, if they were loaded.
    pub links: Vec<Link>,
}

/// A far end of a membership, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: String,
    pub display: Option<String>,
    /// `None`: nothing of that id exists for the one who asks.
    pub kind: Option<Kind>,
    /// Of a member the type that the client gave along, shown as long as nothing better is known; of a group whether it is
    /// one directly.
    pub said: Option<String>,
}

impl Stored {
    pub fn etag(&self) -> String {
        etag(self.version)
    }
}

pub fn etag(version: i64) -> String {
    format!("W/\"{version}\"")
}

/// Address of a resource. `base` ends without a slash.
pub fn location(shape: &Shape, base: &str, id: &str) -> String {
    format!("{base}{}/{id}", shape.endpoint)
}

/// The resource as text. `base` ends without a slash.
pub fn resource(shape: &Shape, base: &str, stored: &Stored, projection: &Projection) -> Result<String, Error> {
    let mut reader = serde_json::Deserializer::from_str(&stored.doc);
    // A document that cannot be read was not written by this program.
    let document = reader.deserialize_map(Shallow).map_err(|_| Error::Internal)?;
    let mut out = Out(String::with_capacity(stored.doc.len() + 600));

    let urns = document.iter().filter(|(name, _)| shape.extensions.iter().any(|extension| extension.id == **name));
    let schemas: Vec<&str> = std::iter::once(shape.core.id.as_str()).chain(urns.map(|(name, _)| &**name)).collect();
    out.put("schemas", &json!(schemas));
    out.put("id", &json!(stored.id));
    if let Some(external) = &stored.external_id
        && projection.shows("externalId")
    {
        out.put("externalId", &json!(external));
    }
    for (name, raw) in &document {
        out.attribute(shape, projection, name, raw)?;
    }
    // Where nobody says so, an active account need not say it either: a client that takes it away sees it gone.
    let said = !stored.active || document.iter().any(|(name, _)| name == "active");
    if said && shape.core.attribute("active").is_some() && projection.shows("active") {
        out.put("active", &json!(stored.active));
    }
    out.links(shape, base, stored, projection);
    let meta = json!({
        "resourceType": shape.name,
        "created": stored.created,
        "lastModified": stored.modified,
        "location": location(shape, base, &stored.id),
        "version": stored.etag(),
    });
    out.cut("meta", projection.keep(None, "meta", Returned::Default), meta);
    Ok(out.end())
}

/// The resource as a value, for the evaluator.
pub fn value(shape: &Shape, base: &str, stored: &Stored) -> Result<Map<String, Value>, Error> {
    let text = resource(shape, base, stored, &Projection::default())?;
    let mut value: Map<String, Value> = serde_json::from_str(&text).map_err(|_| Error::Internal)?;
    if shape.core.attribute("active").is_some() {
        value.insert("active".to_owned(), Value::Bool(stored.active));
    }
    Ok(value)
}

/// An object that is being written.
struct Out(String);

impl Out {
    fn raw(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(value);
    }

    fn put(&mut self, name: &str, value: &Value) {
        self.raw(name, &value.to_string());
    }

    fn cut(&mut self, name: &str, keep: Keep<'_>, value: Value) {
        if let Some(value) = cut(keep, value) {
            self.put(name, &value);
        }
    }

    /// One member of the document. What the schema does not know of (another realm's extension) is not shown.
    fn attribute(&mut self, shape: &Shape, projection: &Projection, name: &str, raw: &RawValue) -> Result<(), Error> {
        let broken = |_| Error::Internal;
        if let Some(attribute) = shape.core.attribute(name) {
            // These are not the document's to say.
            let relation = shape.relation().is_some_and(|relation| relation.name == name);
            if relation || matches!(name, "active" | "groups") {
                return Ok(());
            }
            match projection.keep(None, name, attribute.returned) {
                Keep::Nothing => {}
                Keep::Whole if attribute.parts_shown() => self.raw(name, raw.get()),
                keep => {
                    let value = serde_json::from_str(raw.get()).map_err(broken)?;
                    if let Some(value) = shown(attribute, keep, value) {
                        self.put(name, &value);
                    }
                }
            }
        } else if let Some(extension) = shape.extensions.iter().find(|extension| extension.id == name) {
            if projection.is_all() && extension.whole {
                self.raw(name, raw.get());
            } else {
                let object = serde_json::from_str(raw.get()).map_err(broken)?;
                let shown = projection.extension(shape, name, object);
                if !shown.is_empty() {
                    self.put(name, &Value::Object(shown));
                }
            }
        }
        Ok(())
    }

    /// `members` is always there, be it empty: a client that finds none takes it for unknown.
    fn links(&mut self, shape: &Shape, base: &str, stored: &Stored, projection: &Projection) {
        let (name, ends) = match shape.kind {
            _ if shape.relation().is_some() => {
                (shape.relation().map_or("", |relation| relation.name), members(base, &stored.links))
            }
            Kind::User if !stored.links.is_empty() => ("groups", groups(base, &stored.links)),
            _ => return,
        };
        self.cut(name, projection.keep(None, name, Returned::Default), Value::Array(ends));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn members(base: &str, links: &[Link]) -> Vec<Value> {
    let member = |link: &Link| {
        let mut member = Map::new();
        member.insert("value".to_owned(), link.id.clone().into());
        let known = match link.kind {
            Some(Kind::Group) => Some(("Group", "Groups")),
            Some(Kind::Company) => Some(("Company", "Companies")),
            Some(_) => Some(("User", "Users")),
            None => None,
        };
        if let Some((_, endpoint)) = known {
            member.insert("$ref".to_owned(), format!("{base}/{endpoint}/{}", link.id).into());
        }
        if let Some(kind) = known.map(|(kind, _)| kind).or(link.said.as_deref()) {
            member.insert("type".to_owned(), kind.into());
        }
        if let Some(display) = &link.display {
            member.insert("display".to_owned(), display.clone().into());
        }
        Value::Object(member)
    };
    links.iter().map(member).collect()
}

fn groups(base: &str, links: &[Link]) -> Vec<Value> {
    let group = |link: &Link| json!({"value": link.id, "$ref": format!("{base}/Groups/{}", link.id), "display": link.display, "type": link.said.as_deref().unwrap_or("direct")});
    links.iter().map(group).collect()
}

/// The members of an object with their values unread.
struct Shallow;

impl<'de> Visitor<'de> for Shallow {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            members.push((member.0.0, member.1));
        }
        Ok(members)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The display name in a document's text, without reading the rest.
pub fn display_name(doc: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Names {
        display_name: Option<String>,
        user_name: Option<String>,
    }
    let names: Names = serde_json::from_str(doc).ok()?;
    names.display_name.or(names.user_name)
}

#[cfg(test)]
mod tests {
    use super::super::list::Query;
    use super::super::registry::Registries;
    use super::*;
    use crate::clock::Clock;
    use crate::model::entity::urn;
    use crate::model::kind::Realm;

    fn eva() -> Stored {
        let doc = json!({
            "userName": "eva", "active": true, "name": {"givenName": "Eva", "familyName": "D"}, "musterd": "inner",
            "emails": [{"value": "a@x", "type": "work"}], urn::ENTERPRISE: {"department": "d", "division": "v"},
            urn::CLIENT: {"description": "of the other realm"},
        });
        Stored {
            id: "i1".to_owned(),
            doc: doc.to_string(),
            active: false,
            external_id: Some("00u1".to_owned()),
            version: 3,
            created: Millis(0),
            modified: Millis(1),
            links: vec![Link {
                id: "g1".to_owned(),
                display: Some("G".to_owned()),
                kind: Some(Kind::Group),
                said: None,
            }],
        }
    }

    fn shown(query: Query) -> Value {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        let projection = Projection::read(shape, &query).unwrap();
        serde_json::from_str(&resource(shape, "http://h/scim/v2", &eva(), &projection).unwrap()).unwrap()
    }

    #[test]
    fn s4_the_caller_sees_what_its_schema_has_and_no_more() {
        assert_eq!(
            shown(Query::default()),
            json!({
                "schemas": [urn::USER, urn::ENTERPRISE], "id": "i1", "externalId": "00u1", "userName": "eva", "active": false,
                "name": {"givenName": "Eva", "familyName": "D"}, "emails": [{"value": "a@x", "type": "work"}],
                urn::ENTERPRISE: {"department": "d", "division": "v"},
                "groups": [{"value": "g1", "$ref": "http://h/scim/v2/Groups/g1", "display": "G", "type": "direct"}],
                "meta": {"resourceType": "User", "created": "1970-01-01T00:00:00.000Z", "lastModified": "1970-01-01T00:00:00.001Z",
                    "location": "http://h/scim/v2/Users/i1", "version": "W/\"3\""},
            })
        );
    }

    #[test]
    fn projection_cuts_by_name_sub_name_and_urn() {
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let only = Query {
            attributes: names(&format!("USERNAME,name.givenName,{}:department,nonsense", urn::ENTERPRISE)),
            ..Query::default()
        };
        assert_eq!(
            shown(only),
            json!({"schemas": [urn::USER, urn::ENTERPRISE], "id": "i1", "userName": "eva", "name": {"givenName": "Eva"},
                urn::ENTERPRISE: {"department": "d"}})
        );
        let bare = shown(Query { attributes: names("department"), ..Query::default() });
        assert_eq!(bare[urn::ENTERPRISE], json!({"department": "d"}), "only one extension has it");
        let excluded = Query {
            excluded: names(&format!("id,meta,groups,emails.type,active,externalId,name,{}", urn::ENTERPRISE)),
            ..Query::default()
        };
        assert_eq!(
            shown(excluded),
            json!({"schemas": [urn::USER, urn::ENTERPRISE], "id": "i1", "userName": "eva", "emails": [{"value": "a@x"}]})
        );
    }

    /// Some members of a document, with values that a careless splice would break.
    fn random(clock: &Clock) -> Map<String, Value> {
        let texts = ["", "a", "\"", "\\", "}\u{2028}", "Žluťoučký \u{1f600}", "\u{1}\t\n", "{\"id\":\"other\"}"];
        let text = || Value::from(texts[clock.below(texts.len() as u64) as usize]);
        let extension = json!({"department": text(), "employeeNumber": text(), "manager": {"value": text()}});
        let all = [
            ("userName", text()),
            ("displayName", text()),
            ("active", Value::Bool(clock.below(2) == 0)),
            ("name", json!({"givenName": text(), "familyName": text()})),
            ("emails", json!([{"value": text(), "type": text(), "primary": true}, {"value": text()}])),
            ("password", Value::from("leaked")),
            ("groups", json!(["leaked"])),
            ("nobody knows", Value::from("leaked")),
            (urn::ENTERPRISE, extension),
            (urn::CLIENT, json!({"description": "leaked"})),
        ];
        let chosen = all.into_iter().filter(|_| clock.below(3) > 0);
        chosen.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn s10_text_that_is_passed_on_unread_is_what_reading_it_would_show() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        // Names every attribute, so that each value is read, cut and written anew.
        let names = [
            "id",
            "externalId",
            "userName",
            "displayName",
            "active",
            "name.givenName",
            "name.familyName",
            "emails.value",
            "emails.type",
            "emails.primary",
            "groups",
            "meta",
            urn::ENTERPRISE,
        ];
        let named = Query { attributes: names.map(str::to_owned).to_vec(), ..Query::default() };
        let named = Projection::read(shape, &named).unwrap();
        let clock = Clock::fixed(Millis(0), 11);
        for _ in 0..300 {
            let doc = random(&clock);
            let stored = Stored { doc: Value::Object(doc).to_string(), active: clock.below(2) == 0, ..eva() };
            let unread = resource(shape, "http://h", &stored, &Projection::default()).unwrap();
            let read = resource(shape, "http://h", &stored, &named).unwrap();
            assert!(!unread.contains("leaked"), "{unread}");
            let [unread, read] = [unread, read].map(|text| serde_json::from_str::<Value>(&text).unwrap());
            assert_eq!(unread, read);
        }
    }

    #[test]
    fn s10_a_password_is_never_shown() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        let query = Query { attributes: vec!["PASSWORD".to_owned()], ..Query::default() };
        assert_eq!(Projection::read(shape, &query).unwrap_err().scim_type(), Some("sensitive"));
        let mut stored = eva();
        stored.doc = json!({"userName": "eva", "password": "leaked"}).to_string();
        assert!(!resource(shape, "", &stored, &Projection::default()).unwrap().contains("leaked"));
    }
}
