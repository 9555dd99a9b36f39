//! The merged truth about one thing, what one source said of it, and what is derived from a document for look-ups.

use serde_json::Value;

use super::desired::Digest;
use super::document::Document;
use super::fold;
use super::id::{EntityId, RunId};
use super::kind::{Kind, Realm, words};
use super::time::Millis;

/// Our schemas: the extensions of User, and the resource types that SCIM has no schema for.
pub mod urn {
    pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
    pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
    pub const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    /// Licence, permission group, extension number, two-factor … (R26-R38).
    pub const AGENT: &str = "urn:musterd:params:scim:schemas:extension:agent:2.0:User";
    /// The two visibility flags, description, language … (R9-R18).
    pub const CLIENT: &str = "urn:musterd:params:scim:schemas:extension:client:2.0:User";
    pub const COMPANY: &str = "urn:musterd:params:scim:schemas:core:2.0:Company";
    pub const CONTACT: &str = "urn:musterd:params:scim:schemas:core:2.0:Contact";
    pub const TICKET: &str = "urn:musterd:params:scim:schemas:core:2.0:Ticket";
}

words! {
    /// Whether the entity takes part in the world.
    State {
        Live = "live",
        /// A source sent less than the profile needs: kept, but no login and no licence (R5).
        Incomplete = "incomplete",
        /// Deleted: 404 everywhere, its login is free again, its history stays till the retention ends (R72).
        Tombstone = "tombstone",
    }
}

/// Row of table `entity`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    pub id: EntityId,
    pub kind: Kind,
    /// Only people and groups have one.
    pub realm: Option<Realm>,
    /// Folded login of a user or name of a group: unique per kind and realm among those that are no tombstones.
    pub login_key: Option<String>,
    /// Effective: held by a source or by the operator, said to be active, not blocked.
    pub active: bool,
    /// The operator's own block; no source can lift it.
    pub blocked: bool,
    pub state: State,
    /// Bits of `Flags`, derived from the document, so that decisions need not parse it.
    pub flags: Flags,
    /// The merged document.
    pub doc: Document,
    /// Counts the changes of this entity, from 1. Its ETag is `W/"<version>"`.
    pub version: i64,
    pub created: Millis,
    pub modified: Millis,
}

/// Row of table `assertion`: what one source said of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    pub source: String,
    pub kind: Kind,
    pub key: String,
    pub entity: EntityId,
    pub alias: Option<String>,
    /// SCIM `externalId`, which belongs to the source that set it and to nobody else.
    pub external_id: Option<String>,
    pub digest: Option<Digest>,
    /// `None`: the entity's document is exactly what this source said (it alone holds the thing).
    pub doc: Option<Document>,
    /// The source said that it is gone: the thing does not exist for it any more, whoever else holds it.
    pub ended: bool,
    pub run: RunId,
    pub at: Millis,
}

/// Decisions' bits. What they mean for visibility stands in `model::visibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub i64);

impl Flags {
    /// Client: sees the clients of its companies (R14).
    pub const COMPANY_CONTACTS: i64 = 1;
    /// Client: sees the tickets of its companies (R15).
    pub const COMPANY_TICKETS: i64 = 1 << 1;
    /// Client: may see and write external comments (R17). Ticket: its category permits them.
    pub const COMMENTS: i64 = 1 << 2;
    /// Client: belonging to a company is enough to see its tickets (R96).
    pub const BY_MEMBERSHIP: i64 = 1 << 3;
    /// Agent: must not be billed (R36).
    pub const DO_NOT_INVOICE: i64 = 1 << 4;
    /// The credential check demands a second factor (R33).
    pub const TWO_FACTOR: i64 = 1 << 5;
    /// Agent: the paid option of that name is on (R34).
    pub const API_COMMUNICATOR: i64 = 1 << 6;

    pub const fn has(self, bit: i64) -> bool {
        self.0 & bit != 0
    }
}

/// What the columns and look-up rows of an entity are made of: a pure function of its merged document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Derived {
    pub login_key: Option<String>,
    /// What the sources together say; `None` = nobody speaks of it, which counts as active.
    pub active: Option<bool>,
    pub flags: Flags,
    /// (name, folded value), sorted, no duplicates. Names: `email`, `number`, `employee_number`, `display`.
    pub lookups: Vec<(&'static str, String)>,
    /// A ticket's own time of creation, by which lists of tickets are ordered.
    pub ordered_at: Option<Millis>,
}

/// Only the login, or the name of a group, folded.
pub fn login_key(kind: Kind, doc: &Document) -> Option<String> {
    let name = match kind {
        Kind::User => "userName",
        Kind::Group => "displayName",
        _ => return None,
    };
    doc.get(name).and_then(Value::as_str).map(fold::key).filter(|key| !key.is_empty())
}

pub fn derive(kind: Kind, doc: &Document) -> Derived {
    let text = |name: &str| doc.get(name).and_then(Value::as_str);
    let inside = |urn: &str, name: &str| doc.get(urn).and_then(|inner| inner.get(name));
    let mut lookups: Vec<(&'static str, String)> = Vec::new();
    if matches!(kind, Kind::User | Kind::Contact) {
        let emails = doc.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        lookups.extend(
            emails.iter().filter_map(|mail| mail.get("value")?.as_str()).map(|mail| ("email", fold::key(mail))),
        );
    }
    if let Some(number) = text("number") {
        lookups.push(("number", fold::key(number)));
    }
    if let Some(number) = inside(urn::ENTERPRISE, "employeeNumber").and_then(Value::as_str) {
        lookups.push(("employee_number", fold::key(number)));
    }
    if kind != Kind::Ticket
        && let Some(display) = text("displayName")
    {
        lookups.push(("display", fold::key(display)));
    }
    lookups.retain(|(_, value)| !value.is_empty());
    lookups.sort();
    lookups.dedup();

    let mut flags = 0;
    let mut flag = |bit: i64, on: Option<&Value>| {
        if on.and_then(Value::as_bool) == Some(true) {
            flags |= bit;
        }
    };
    if kind == Kind::User {
        flag(Flags::COMPANY_CONTACTS, inside(urn::CLIENT, "companyContacts"));
        flag(Flags::COMPANY_TICKETS, inside(urn::CLIENT, "companyTickets"));
        flag(Flags::COMMENTS, inside(urn::CLIENT, "externalComments"));
        flag(Flags::DO_NOT_INVOICE, inside(urn::AGENT, "doNotInvoice"));
        flag(Flags::API_COMMUNICATOR, inside(urn::AGENT, "apiCommunicator"));
        flag(Flags::TWO_FACTOR, inside(urn::AGENT, "twoFactor"));
    } else {
        flag(Flags::COMMENTS, doc.get("externalComments"));
    }
    Derived {
        login_key: login_key(kind, doc),
        active: doc.get("active").and_then(Value::as_bool),
        flags: Flags(flags),
        lookups,
        ordered_at: text("created").and_then(Millis::parse),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_come_from_the_document() {
        let Value::Object(doc) = json!({
            "userName": "Eva.Žižková", "active": false, "displayName": "Eva Ž",
            "emails": [{"value": "Eva@X.cz"}, {"value": "eva@x.cz"}, {"type": "other"}],
            urn::ENTERPRISE: {"employeeNumber": "0042"},
            urn::CLIENT: {"companyTickets": true, "companyContacts": "yes"},
        }) else {
            unreachable!()
        };
        let derived = derive(Kind::User, &doc);
        assert_eq!(derived.login_key.as_deref(), Some("eva.žižková"));
        assert_eq!(derived.active, Some(false));
        assert_eq!(derived.flags, Flags(Flags::COMPANY_TICKETS));
        assert_eq!(
            derived.lookups,
            [("display", "eva ž".to_owned()), ("email", "eva@x.cz".to_owned()), ("employee_number", "0042".to_owned())]
        );
    }
}
