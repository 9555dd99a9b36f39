//! Relations in a mapping: `members = "member"`, `contacts = "contact_ids"`, `company = "customer.id"`. Which relation a
//! name means depends on the kind; how the values point is said by `by`: a DN, the source's key, or an indexed attribute.
//! What a mapping names is said whole: no values = none. Start at `Relation::parse`.

use serde_json::{Map, Value};

use super::dn;
use super::path::Path;
use super::rule::{Failure, Rule, Scope, shown};
use super::{Fault, Names};
use crate::model::desired::{Ref, Target, Targets};
use crate::model::fold;
use crate::model::kind::{Kind, Rel};

enum By {
    Dn,
    Key(Kind),
    Attribute(Kind, String),
}

pub(super) struct Relation {
    pub(super) rel: Rel,
    pub(super) rule: Rule,
    by: By,
    /// Where in each value the pointer stands, when the values are objects.
    each: Option<Path>,
    /// Attributes of the row, taken from each value.
    attributes: Vec<(String, Path)>,
}

pub(super) const OPTIONS: [&str; 4] = ["by", "kind", "each", "attributes"];
/// Members that a group knows by their logins (`memberUid`, RFC 2307), beside those that it knows otherwise.
const LOGINS: &str = "members.login";
/// As they are called first; `named` knows other spellings.
pub(super) const NAMES: [&str; 7] = ["members", LOGINS, "contacts", "companies", "company", "manager", "mergedInto"];
const INDEXED: [&str; 5] = ["login", "email", "number", "employee_number", "display"];

/// The relation a target's name means for a kind, and what stands at its far end.
pub(super) fn named(kind: Kind, name: &str) -> Option<(Rel, Kind)> {
    let company =
        matches!(name, "company" | "companies" | "organisation" | "organisations" | "organization" | "organizations");
    let contact = matches!(name, "contact" | "contacts");
    match kind {
        Kind::Group if matches!(name, "members" | LOGINS) => Some((Rel::Member, Kind::User)),
        Kind::User if contact => Some((Rel::Pairing, Kind::Contact)),
        Kind::User if company => Some((Rel::BelongsTo, Kind::Company)),
        Kind::User if matches!(name, "manager" | "enterprise.manager") => Some((Rel::Manager, Kind::User)),
        Kind::Contact if company => Some((Rel::WorksFor, Kind::Company)),
        Kind::Contact if matches!(name, "mergedInto" | "merged_into") => Some((Rel::MergedInto, Kind::Contact)),
        Kind::Ticket | Kind::Device | Kind::Session if contact => Some((Rel::Concerns, Kind::Contact)),
        Kind::Ticket | Kind::Device | Kind::Session if company => Some((Rel::Customer, Kind::Company)),
        _ => None,
    }
}

impl Relation {
    pub(super) fn parse(
        rule: Rule,
        at: &str,
        (rel, far): (Rel, Kind),
        names: Names,
        faults: &mut Vec<Fault>,
    ) -> Option<Relation> {
        let mut fault = |reason: String| faults.push(Fault { target: at.to_owned(), reason });
        let option = |name: &str| rule.options.get(name);
        let kind = match option("kind").map(|word| word.as_str().unwrap_or_default().parse::<Kind>()) {
            None => far,
            Some(Ok(kind)) => kind,
            Some(Err(unknown)) => {
                fault(format!("`kind`: {unknown}"));
                return None;
            }
        };
        let by = match option("by").map(|word| word.as_str().unwrap_or_default()) {
            None if at == LOGINS => By::Attribute(kind, "login".to_owned()),
            None if names == Names::Folded && far == Kind::User => By::Dn,
            Some("dn") => By::Dn,
            None | Some("key") => By::Key(kind),
            Some(name) if INDEXED.contains(&name) => By::Attribute(kind, name.to_owned()),
            Some(other) => {
                fault(format!("`by` is `{other}`; allowed are dn, key, {}", INDEXED.join(", ")));
                return None;
            }
        };
        let mut path = |text: &Value| match text.as_str().map(Path::parse) {
            Some(Ok(path)) => Some(path),
            Some(Err(reason)) => {
                fault(reason);
                None
            }
            None => {
                fault("expected a path inside each value".to_owned());
                None
            }
        };
        let each = option("each").and_then(&mut path);
        let attributes = match option("attributes") {
            Some(Value::Object(table)) => {
                table.iter().filter_map(|(name, text)| Some((name.clone(), path(text)?))).collect()
            }
            Some(_) => {
                fault("`attributes` is a table of names and paths".to_owned());
                return None;
            }
            None => Vec::new(),
        };
        Some(Relation { rel, rule, by, each, attributes })
    }

    pub(super) fn targets(&self, scope: &Scope) -> Result<Targets, Failure> {
        let mut out = Vec::new();
        for value in self.rule.values(scope)? {
            let pointers = match &self.each {
                Some(path) => path.walk(&value).into_iter().map(shown).collect(),
                None if value.is_object() => {
                    return Err(self
                        .rule
                        .failure("the values are objects: `each` must say where the key stands".to_owned()));
                }
                None => vec![shown(&value)],
            };
            let attributes: Map<String, Value> = self
                .attributes
                .iter()
                .filter_map(|(name, path)| Some((name.clone(), (*path.walk(&value).first()?).clone())))
                .collect();
            for pointer in pointers.iter().filter(|pointer| !pointer.trim().is_empty()) {
                out.push(Target { to: self.reference(pointer)?, attributes: attributes.clone() });
            }
        }
        Ok(Targets::Whole(sorted(out)))
    }

    /// Two rules may speak of one relation.
    pub(super) fn join(one: Targets, other: Targets) -> Targets {
        match (one, other) {
            (Targets::Whole(mut one), Targets::Whole(other)) => {
                one.extend(other);
                Targets::Whole(sorted(one))
            }
            (one, _) => one,
        }
    }

    fn reference(&self, pointer: &str) -> Result<Ref, Failure> {
        Ok(match &self.by {
            By::Dn => Ref::Alias(
                dn::normal(dn::without_uid(pointer))
                    .map_err(|error| self.rule.failure(format!("`{}`: {error}", super::filters::clipped(pointer))))?,
            ),
            By::Key(kind) => Ref::Key(*kind, pointer.trim().to_owned()),
            By::Attribute(kind, attribute) => {
                Ref::Match { kind: *kind, attribute: attribute.clone(), value: fold::key(pointer) }
            }
        })
    }
}

fn sorted(mut targets: Vec<Target>) -> Vec<Target> {
    targets.sort_by(|a, b| a.to.cmp(&b.to));
    targets.dedup_by(|a, b| a.to == b.to);
    targets
}
