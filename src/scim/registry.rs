//! The schemas and resource types that are published, loaded from `schemas/*.json`. Three things in those files are
//! ours and are not published: `kind` of a resource type, `realm` of an extension (only sources of that realm have it),
//! and the schema `common`. A file in the program gives way to one of the same name in the operator's folder.
//!
//! A `Registry` is what the callers of one realm see; `Registries` holds one for each.

mod judge;

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema::{Attribute, Schema, Shape, Type, Uniqueness};

use crate::model::dialect::Types;
use crate::model::entity::urn;
use crate::model::hidden::Hidden;
use crate::model::kind::{Kind, Realm};
use crate::model::unique::Unique;
use crate::model::vocabulary::Vocabulary;

const EMBEDDED: &[(&str, &str)] = &[
    ("common.json", include_str!("../../schemas/common.json")),
    ("user.json", include_str!("../../schemas/user.json")),
    ("enterprise-user.json", include_str!("../../schemas/enterprise-user.json")),
    ("agent-user.json", include_str!("../../schemas/agent-user.json")),
    ("client-user.json", include_str!("../../schemas/client-user.json")),
    ("group.json", include_str!("../../schemas/group.json")),
    ("company.json", include_str!("../../schemas/company.json")),
    ("contact.json", include_str!("../../schemas/contact.json")),
    ("type-user.json", include_str!("../../schemas/type-user.json")),
    ("type-group.json", include_str!("../../schemas/type-group.json")),
    ("type-contact.json", include_str!("../../schemas/type-contact.json")),
    ("type-company.json", include_str!("../../schemas/type-company.json")),
    ("service-provider-config.json", include_str!("../../schemas/service-provider-config.json")),
];

const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const COMMON: &str = "urn:musterd:params:scim:schemas:common";

/// A schema file that cannot be used. All of them are reported, not the first.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{file}: {why}")]
    File { file: String, why: String },
    #[error("{0}")]
    Missing(String),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Fault>),
}

impl Fault {
    /// One text for each file or thing that is wrong.
    pub fn each(&self) -> Vec<String> {
        match self {
            Fault::Several(all) => all.iter().flat_map(Fault::each).collect(),
            one => vec![one.to_string()],
        }
    }
}

/// What the callers of one realm see.
#[derive(Debug)]
pub struct Registry {
    pub shapes: Vec<Shape>,
    schemas: Vec<Arc<Schema>>,
    provider: Map<String, Value>,
}

impl Registry {
    /// The resource type at this path segment (`Users`). Paths have a case: RFC 3986.
    pub fn at(&self, segment: &str) -> Option<&Shape> {
        self.shapes.iter().find(|shape| shape.endpoint.strip_prefix('/') == Some(segment))
    }

    pub fn of(&self, kind: Kind) -> Option<&Shape> {
        self.shapes.iter().find(|shape| shape.kind == kind)
    }

    /// `/ServiceProviderConfig`, with its address. `base` ends without a slash.
    pub fn provider(&self, base: &str) -> Value {
        published(
            &Value::Object(self.provider.clone()),
            "ServiceProviderConfig",
            &format!("{base}/ServiceProviderConfig"),
        )
    }

    pub fn schemas(&self, base: &str) -> Vec<Value> {
        self.schemas.iter().map(|schema| schema_resource(schema, base)).collect()
    }

    /// One schema by its URN, whatever its case.
    pub fn schema(&self, id: &str, base: &str) -> Option<Value> {
        self.schemas
            .iter()
            .find(|schema| schema.id.eq_ignore_ascii_case(id))
            .map(|schema| schema_resource(schema, base))
    }

    pub fn types(&self, base: &str) -> Vec<Value> {
        self.shapes.iter().map(|shape| type_resource(shape, base)).collect()
    }

    pub fn resource_type(&self, name: &str, base: &str) -> Option<Value> {
        self.shapes.iter().find(|shape| shape.name == name).map(|shape| type_resource(shape, base))
    }
}

fn uniques(shape: &Shape) -> Vec<Unique> {
    let mut found = Vec::new();
    for (schema, inside) in
        std::iter::once((&shape.core, false)).chain(shape.extensions.iter().map(|schema| (schema, true)))
    {
        let mut take = |attribute: &Attribute, names: &[&str]| {
            let name = names.join(".");
            if attribute.uniqueness == Uniqueness::None || judge::is_kept_anyway(&schema.id, &name) {
                return;
            }
            let outer = inside.then_some(schema.id.as_str());
            found.push(Unique {
                kind: shape.kind,
                name: format!("{}:{name}", schema.id),
                path: outer.into_iter().chain(names.iter().copied()).map(str::to_owned).collect(),
                case_exact: attribute.case_exact,
                instants: attribute.kind == Type::DateTime,
            });
        };
        for attribute in &schema.attributes {
            take(attribute, &[&attribute.name]);
            for sub in &attribute.sub_attributes {
                take(sub, &[&attribute.name, &sub.name]);
            }
        }
    }
    found
}

fn schema_resource(schema: &Schema, base: &str) -> Value {
    published(&schema.published, "Schema", &format!("{base}/Schemas/{}", schema.id))
}

fn type_resource(shape: &Shape, base: &str) -> Value {
    published(&shape.published, "ResourceType", &format!("{base}/ResourceTypes/{}", shape.name))
}

fn published(value: &Value, kind: &str, location: &str) -> Value {
    let mut value = value.clone();
    value["meta"] = json!({"resourceType": kind, "location": location});
    value
}

/// What is published, by realm and by whether logins may change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registries {
    logins_change: ByTypes,
    logins_stay: ByTypes,
    /// The words of the schemas, by realm.
    words: Words,
}

#[derive(Debug, Clone)]
struct Words {
    agent: Arc<Vocabulary>,
    client: Arc<Vocabulary>,
    any: Arc<Vocabulary>,
}

#[derive(Debug, Clone)]
struct ByTypes {
    people: ByRealm,
    all: ByRealm,
}

impl ByTypes {
    fn of(loaded: &Loaded) -> Result<ByTypes, Fault> {
        Ok(ByTypes { people: ByRealm::of(loaded, Types::People)?, all: ByRealm::of(loaded, Types::All)? })
    }

    fn get(&self, realm: Option<Realm>, types: Types) -> &Registry {
        match types {
            Types::People => self.people.get(realm),
            Types::All => self.all.get(realm),
        }
    }
}

/// One registry for each realm, and one for sources without a realm.
#[derive(Debug, Clone)]
struct ByRealm {
    agent: Arc<Registry>,
    client: Arc<Registry>,
    any: Arc<Registry>,
}

impl ByRealm {
    fn of(loaded: &Loaded, types: Types) -> Result<ByRealm, Fault> {
        Ok(ByRealm {
            agent: Arc::new(loaded.registry(Some(Realm::Agent), types)?),
            client: Arc::new(loaded.registry(Some(Realm::Client), types)?),
            any: Arc::new(loaded.registry(None, types)?),
        })
    }

    fn get(&self, realm: Option<Realm>) -> &Registry {
        match realm {
            Some(Realm::Agent) => &self.agent,
            Some(Realm::Client) => &self.client,
            None => &self.any,
        }
    }
}

impl Registries {
    /// From the files in the program itself.
    pub fn embedded() -> Result<Registries, Fault> {
        let files: Vec<_> = EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Registries::of(&files)
    }

    /// From the files in the program and those of the operator's folder, if there is one.
    pub fn load(folder: Option<&Path>) -> Result<Registries, Fault> {
        folder.map_or_else(Registries::embedded, Registries::with_folder)
    }

    /// From the embedded files, with those of `folder` in place of the ones of the same name and beside the others.
    pub fn with_folder(folder: &Path) -> Result<Registries, Fault> {
        let fault = |error: std::io::Error| Fault::File { file: folder.display().to_string(), why: error.to_string() };
        let mut files: Vec<_> = EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        for entry in std::fs::read_dir(folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).map_err(fault)?;
                files.retain(|(known, _)| *known != name);
                files.push((name, text));
            }
        }
        Registries::of(&files)
    }

    fn of(files: &[(String, String)]) -> Result<Registries, Fault> {
        let mut loaded = Loaded::read(files)?;
        let faults = judge::faults(&loaded);
        if !faults.is_empty() {
            return Err(Fault::Several(faults));
        }
        let logins_change = ByTypes::of(&loaded)?;
        loaded.fix_logins()?;
        let words = |realm| Arc::new(logins_change.get(realm, Types::People).vocabulary());
        let words = Words { agent: words(Some(Realm::Agent)), client: words(Some(Realm::Client)), any: words(None) };
        Ok(Registries { words, logins_stay: ByTypes::of(&loaded)?, logins_change })
    }

    /// Every word of the schemas, for people of one realm; `None`: of both.
    pub fn vocabulary(&self, realm: Option<Realm>) -> Arc<Vocabulary> {
        let of = match realm {
            Some(Realm::Agent) => &self.words.agent,
            Some(Realm::Client) => &self.words.client,
            None => &self.words.any,
        };
        Arc::clone(of)
    }

    /// Attributes whose values the engine keeps unique. Not among them is what it keeps unique anyway.
    pub fn uniques(&self) -> Vec<Unique> {
        let shapes = &self.logins_change.get(None, Types::All).shapes;
        let mut all: Vec<Unique> = shapes.iter().flat_map(uniques).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Attributes that are never shown.
    pub fn hidden(&self) -> Vec<Hidden> {
        let shapes = &self.logins_change.get(None, Types::All).shapes;
        let mut all: Vec<Hidden> = shapes.iter().flat_map(Shape::hidden).collect();
        all.sort();
        all.dedup();
        all
    }

    pub fn of_realm(&self, realm: Option<Realm>) -> &Registry {
        self.logins_change.get(realm, Types::People)
    }

    /// As the profile of the realm has it: where logins stay, the schema says so (R8, R38).
    pub fn of_profile(&self, realm: Option<Realm>, logins_change: bool, types: Types) -> &Registry {
        let all = if logins_change { &self.logins_change } else { &self.logins_stay };
        all.get(realm, types)
    }
}

/// A resource type as it stands in its file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeFile {
    name: String,
    endpoint: String,
    schema: String,
    #[serde(default)]
    schema_extensions: Vec<ExtensionFile>,
    /// Without it the resource type is of a kind of its own.
    #[serde(default)]
    kind: Option<Kind>,
}

impl TypeFile {
    fn kind(&self) -> Result<Kind, Fault> {
        self.kind.or_else(|| Kind::own(&self.name)).ok_or_else(|| {
            Fault::Missing(format!("the resource type {} has no name that a kind could be made of", self.name))
        })
    }
}

#[derive(Deserialize)]
struct ExtensionFile {
    schema: String,
    #[serde(default)]
    realm: Option<Realm>,
}

#[derive(Deserialize)]
struct SchemaFile {
    id: String,
    attributes: Vec<Attribute>,
    /// Names of resource types that it extends without their files saying so.
    #[serde(default)]
    extends: Vec<String>,
    /// For people of this realm only.
    #[serde(default)]
    realm: Option<Realm>,
}

#[derive(Default)]
struct Loaded {
    /// With the file that each comes from.
    schemas: Vec<(String, Arc<Schema>)>,
    types: Vec<(String, TypeFile, Value)>,
    provider: Map<String, Value>,
    /// (resource type, URN, realm).
    extends: Vec<(String, String, Option<Realm>)>,
}

impl Loaded {
    /// A file says by what is in it which of the three it is.
    fn read(files: &[(String, String)]) -> Result<Loaded, Fault> {
        let mut loaded = Loaded::default();
        let mut faults = Vec::new();
        for (file, text) in files {
            if let Err(why) = loaded.take(file, text) {
                faults.push(Fault::File { file: file.clone(), why });
            }
        }
        loaded.extend();
        if faults.is_empty() { Ok(loaded) } else { Err(Fault::Several(faults)) }
    }

    fn take(&mut self, name: &str, text: &str) -> Result<(), String> {
        let shown = |error: serde_json::Error| error.to_string();
        let mut value: Value = serde_json::from_str(text).map_err(shown)?;
        if value.get("attributes").is_some() {
            let mut file: SchemaFile = serde_json::from_value(value.clone()).map_err(shown)?;
            file.attributes.iter_mut().for_each(Attribute::hide_what_is_written_only);
            if let Some(map) = value.as_object_mut() {
                map.remove("extends");
                map.remove("realm");
                map.entry("schemas").or_insert_with(|| json!([SCHEMA]));
                map.get_mut("attributes").into_iter().for_each(told_whole);
            }
            self.extends.extend(file.extends.into_iter().map(|of| (of, file.id.clone(), file.realm)));
            let schema = Schema::new(file.id, file.attributes, value);
            self.schemas.push((name.to_owned(), Arc::new(schema)));
        } else if value.get("endpoint").is_some() {
            let file: TypeFile = serde_json::from_value(value.clone()).map_err(shown)?;
            if let Some(map) = value.as_object_mut() {
                map.entry("schemas").or_insert_with(|| json!([RESOURCE_TYPE]));
                map.entry("id").or_insert_with(|| file.name.as_str().into());
            }
            self.types.push((name.to_owned(), file, value));
        } else if let Value::Object(map) = value
            && map.contains_key("patch")
        {
            self.provider = map;
        } else {
            return Err(
                "neither a schema (attributes) nor a resource type (endpoint) nor the provider (patch)".to_owned()
            );
        }
        Ok(())
    }

    /// Adds to the resource types what extends them by its own word.
    fn extend(&mut self) {
        for (of, urn, realm) in &self.extends {
            for (_, file, value) in self.types.iter_mut().filter(|(_, file, _)| file.name == *of) {
                if file.schema_extensions.iter().any(|known| known.schema == *urn) {
                    continue;
                }
                file.schema_extensions.push(ExtensionFile { schema: urn.clone(), realm: *realm });
                let mut told = json!({"schema": urn, "required": false});
                if let Some(realm) = realm {
                    told["realm"] = realm.as_str().into();
                }
                match value.get_mut("schemaExtensions").and_then(Value::as_array_mut) {
                    Some(all) => all.push(told),
                    None => value["schemaExtensions"] = json!([told]),
                }
            }
        }
    }

    /// Makes `userName` immutable.
    fn fix_logins(&mut self) -> Result<(), Fault> {
        let Some(at) = self.schemas.iter().position(|(_, schema)| schema.id == urn::USER) else { return Ok(()) };
        let (file, schema) = self.schemas.remove(at);
        let mut value = schema.published.clone();
        let attributes = value["attributes"].as_array_mut().into_iter().flatten();
        for attribute in attributes.filter(|attribute| attribute["name"] == "userName") {
            attribute["mutability"] = json!("immutable");
        }
        self.take(&file, &value.to_string()).map_err(|why| Fault::File { file: file.clone(), why })
    }

    fn schema(&self, id: &str) -> Result<Arc<Schema>, Fault> {
        let found = self.schemas.iter().find(|(_, schema)| schema.id == id);
        found
            .map(|(_, schema)| Arc::clone(schema))
            .ok_or_else(|| Fault::Missing(format!("no file holds the schema {id}")))
    }

    fn registry(&self, realm: Option<Realm>, types: Types) -> Result<Registry, Fault> {
        let fits = |of: Option<Realm>| realm.is_none() || of.is_none() || of == realm;
        let mut registry = Registry { shapes: Vec::new(), schemas: Vec::new(), provider: self.provider.clone() };
        let served = |kind: Kind| types == Types::All || matches!(kind, Kind::User | Kind::Group);
        for (_, file, value) in &self.types {
            let kind = file.kind()?;
            if !served(kind) {
                continue;
            }
            let core = self.schema(&file.schema)?;
            let used = file.schema_extensions.iter().filter(|extension| fits(extension.realm));
            let extensions = used.map(|extension| self.schema(&extension.schema)).collect::<Result<Vec<_>, _>>()?;
            for schema in std::iter::once(&core).chain(&extensions) {
                if !registry.schemas.iter().any(|known| known.id == schema.id) {
                    registry.schemas.push(Arc::clone(schema));
                }
            }
            registry.shapes.push(Shape {
                name: file.name.clone(),
                endpoint: file.endpoint.clone(),
                kind,
                common: self.schema(COMMON)?,
                published: without_ours(value, fits),
                core,
                extensions,
            });
        }
        Ok(registry)
    }
}

/// Puts into attributes what they mean by leaving it out (RFC 7643 section 7), because clients look for it.
fn told_whole(attributes: &mut Value) {
    for map in attributes.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for (name, meant) in [("multiValued", false), ("required", false), ("caseExact", false)] {
            map.entry(name).or_insert_with(|| meant.into());
        }
        map.entry("mutability").or_insert_with(|| "readWrite".into());
        let shown = if map["mutability"] == "writeOnly" { "never" } else { "default" };
        map.entry("returned").or_insert_with(|| shown.into());
        map.entry("uniqueness").or_insert_with(|| "none".into());
        map.get_mut("subAttributes").into_iter().for_each(told_whole);
    }
}

/// The file of a resource type as the world sees it.
fn without_ours(value: &Value, fits: impl Fn(Option<Realm>) -> bool) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        if let Some(Value::Array(extensions)) = map.get_mut("schemaExtensions") {
            extensions.retain(|extension| {
                fits(extension.get("realm").and_then(Value::as_str).and_then(|realm| realm.parse().ok()))
            });
            for extension in extensions.iter_mut().filter_map(Value::as_object_mut) {
                extension.remove("realm");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests;
