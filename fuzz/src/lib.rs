//! What the fuzz targets share: the published resource types and one person to try things on.

use std::sync::LazyLock;

use musterd::model::kind::Realm;
use musterd::scim::registry::Registries;
use musterd::scim::schema::Shape;
use serde_json::{Map, Value, json};

pub const ID: &str = "0198c0de-7a11-7abc-8def-0123456789ab";

static REGISTRIES: LazyLock<Registries> = LazyLock::new(|| Registries::embedded().expect("the schemas are right"));

/// `Users` and `Groups`.
pub fn shapes() -> [&'static Shape; 2] {
    let registry = REGISTRIES.of_realm(Some(Realm::Agent));
    ["Users", "Groups"].map(|endpoint| registry.at(endpoint).expect("it is published"))
}

/// Somebody with a bit of everything; of the group only its name counts.
pub fn document() -> Map<String, Value> {
    let value = json!({
        "userName": "eva", "displayName": "Eva Žižková", "active": true, "title": "Dr", "name": {"familyName": "Ž"},
        "emails": [{"value": "w@x", "type": "work", "primary": true}, {"value": "h@x", "type": "home"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Ops", "manager": {"value": "m"}},
    });
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it is an object"),
    }
}
