//! A filter -> what the indexes can answer of it. `exact` means that the rows found are those that the filter means;
//! otherwise they hold all of these and others, and `scim::eval` decides. Never the other way round: a row that the filter
//! means is never lost here.

use crate::model::fold;
use crate::model::kind::{Kind, Rel};
use crate::model::unique::Unique;
use crate::scim::filter::{Filter, Literal, Op};
use crate::scim::schema::{Located, Shape};
use crate::store::filter::{Cond, Order};

#[derive(Debug, PartialEq)]
pub struct Narrowed {
    pub cond: Cond,
    pub exact: bool,
}

impl Narrowed {
    /// Everything may be meant.
    fn nothing_known() -> Narrowed {
        Narrowed { cond: Cond::All(Vec::new()), exact: false }
    }

    const fn exactly(cond: Cond) -> Narrowed {
        Narrowed { cond, exact: true }
    }

    /// Whether an index leaves only a handful to look at.
    pub fn is_few(&self) -> bool {
        fn few(cond: &Cond) -> bool {
            match cond {
                Cond::Nothing | Cond::Id(_) | Cond::Login(_) | Cond::External(_) | Cond::Lookup(..) => true,
                Cond::All(parts) => parts.iter().any(few),
                Cond::Any(parts) => parts.iter().all(few),
                _ => false,
            }
        }
        few(&self.cond)
    }

    fn is_everything(&self) -> bool {
        self.cond == Cond::All(Vec::new())
    }
}

pub fn narrow(kind: Kind, filter: Option<&Filter<'_>>) -> Narrowed {
    match filter {
        None => Narrowed::exactly(Cond::All(Vec::new())),
        Some(filter) => tree(kind, filter),
    }
}

fn tree(kind: Kind, filter: &Filter<'_>) -> Narrowed {
    match filter {
        Filter::And(parts) => {
            let parts: Vec<Narrowed> = parts.iter().map(|part| tree(kind, part)).collect();
            let exact = parts.iter().all(|part| part.exact);
            let useful = parts.into_iter().filter(|part| !part.is_everything()).map(|part| part.cond);
            Narrowed { cond: Cond::All(useful.collect()), exact }
        }
        Filter::Or(parts) => {
            let parts: Vec<Narrowed> = parts.iter().map(|part| tree(kind, part)).collect();
            if parts.iter().any(Narrowed::is_everything) {
                return Narrowed::nothing_known();
            }
            let exact = parts.iter().all(|part| part.exact);
            Narrowed { cond: Cond::Any(parts.into_iter().map(|part| part.cond).collect()), exact }
        }
        Filter::Compare(place, op, literal) => compare(kind, *place, *op, literal),
        Filter::Element(place, inner) => element(kind, *place, inner),
        Filter::Fixed(true) => Narrowed::exactly(Cond::All(Vec::new())),
        Filter::Fixed(false) => Narrowed::exactly(Cond::Nothing),
        Filter::Not(_) | Filter::Present(_) => Narrowed::nothing_known(),
    }
}

fn compare(kind: Kind, place: Located<'_>, op: Op, literal: &Literal) -> Narrowed {
    if place.extension.is_some() {
        return Narrowed::nothing_known();
    }
    let name = (place.attribute.name.as_str(), place.sub.map(|sub| sub.name.as_str()));
    let cond = match (name, op, literal) {
        (("meta", Some(which)), op, Literal::Time(at)) => match (which, order(op)) {
            ("created", Some(order)) => Cond::Created(order, *at),
            ("lastModified", Some(order)) => Cond::Modified(order, *at),
            _ => return Narrowed::nothing_known(),
        },
        (("active", None), Op::Eq, Literal::Bool(on)) => Cond::Active(*on),
        ((attribute, sub), Op::Eq, Literal::Text { exact, .. }) => match text(kind, attribute, sub, exact) {
            Some(cond) => cond,
            None => return Narrowed::nothing_known(),
        },
        _ => return Narrowed::nothing_known(),
    };
    Narrowed::exactly(cond)
}

/// Attributes that are kept in columns and look-up rows, folded as the evaluator folds.
fn text(kind: Kind, attribute: &str, sub: Option<&str>, value: &str) -> Option<Cond> {
    let id = |cond: fn(_) -> Cond| value.parse().map_or(Cond::Nothing, cond);
    let key = fold::key(value);
    Some(match (kind, attribute, sub) {
        (_, "id", None) => id(Cond::Id),
        (_, "externalId", None) => Cond::External(value.to_owned()),
        // An empty key is not stored.
        (Kind::User | Kind::Group, "userName" | "displayName", None) if key.is_empty() => return None,
        (Kind::User, "userName", None) => Cond::Login(key),
        (Kind::User | Kind::Group, "displayName", None) => Cond::Lookup("display".into(), key),
        (Kind::User, "emails", Some("value")) if !key.is_empty() => Cond::Lookup("email".into(), key),
        (Kind::User, "groups", Some("value")) => id(Cond::MemberOf),
        (Kind::Group, "members", Some("value")) => Cond::HasEnd(Rel::Member, value.parse().ok()?),
        (Kind::Contact, "companies", Some("value")) => Cond::HasEnd(Rel::WorksFor, value.parse().ok()?),
        (Kind::Company | Kind::Contact, "displayName", None) if !key.is_empty() => Cond::Lookup("display".into(), key),
        (Kind::Company | Kind::Contact, "number", None) if !key.is_empty() => Cond::Lookup("number".into(), key),
        (Kind::Contact, "emails", Some("value")) if !key.is_empty() => Cond::Lookup("email".into(), key),
        _ => return None,
    })
}

/// Asks the index for a value that a file calls unique, where the filter demands one: `unique` are the attributes whose
/// values all stand there.
pub fn by_unique(narrowed: Narrowed, shape: &Shape, filter: Option<&Filter<'_>>, uniques: &[Unique]) -> Narrowed {
    if narrowed.exact || uniques.is_empty() {
        return narrowed;
    }
    let parts = match filter {
        Some(Filter::And(parts)) => parts.as_slice(),
        other => other.map(std::slice::from_ref).unwrap_or_default(),
    };
    let cond = parts.iter().find_map(|part| {
        let Filter::Compare(place, Op::Eq, Literal::Text { exact, .. }) = part else { return None };
        let urn = place.extension.unwrap_or(&shape.core.id);
        let sub = place.sub.map(|sub| format!(".{}", sub.name)).unwrap_or_default();
        let name = format!("{urn}:{}{sub}", place.attribute.name);
        let unique = uniques.iter().find(|unique| unique.kind == shape.kind && unique.name == name)?;
        Some(Cond::Lookup(name.into(), unique.key(exact)?))
    });
    match cond {
        Some(cond) => Narrowed { cond: Cond::All(vec![narrowed.cond, cond]), exact: false },
        None => narrowed,
    }
}

/// `emails[type eq "work" and value eq "x"]`: the value narrows, the rest is to be looked at.
fn element(kind: Kind, place: Located<'_>, inner: &Filter<'_>) -> Narrowed {
    let parts = match inner {
        Filter::And(parts) => parts.as_slice(),
        single => std::slice::from_ref(single),
    };
    let exact = parts.len() == 1;
    for part in parts {
        if let Filter::Compare(sub, op, literal) = part {
            let place = Located { sub: Some(sub.attribute), ..place };
            let narrowed = compare(kind, place, *op, literal);
            if narrowed.exact {
                return Narrowed { exact, ..narrowed };
            }
        }
    }
    Narrowed::nothing_known()
}

const fn order(op: Op) -> Option<Order> {
    match op {
        Op::Eq => Some(Order::Equal),
        Op::Gt => Some(Order::After),
        Op::Ge => Some(Order::AtOrAfter),
        Op::Lt => Some(Order::Before),
        Op::Le => Some(Order::AtOrBefore),
        Op::Ne | Op::Co | Op::Sw | Op::Ew => None,
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dialect::Mode;
    use crate::scim::filter::parse;
    use crate::scim::registry::Registries;

    #[test]
    fn the_lookups_of_identity_providers_are_answered_by_indexes() {
        let all = Registries::embedded().unwrap();
        let registry = all.of_realm(None);
        let id = "0198c0de-7a11-7abc-8def-0123456789ab";
        let known = id.parse().unwrap();
        for (kind, text, cond, exact) in [
            (Kind::User, r#"userName eq "Eva@X""#, Cond::Login("eva@x".to_owned()), true),
            (Kind::User, r#"externalId eq "00U""#, Cond::External("00U".to_owned()), true),
            (Kind::User, r#"emails eq "A@x""#, Cond::Lookup("email".into(), "a@x".to_owned()), true),
            (Kind::User, r#"emails.value eq "a@x""#, Cond::Lookup("email".into(), "a@x".to_owned()), true),
            (Kind::User, r#"emails[value eq "a@x"]"#, Cond::Lookup("email".into(), "a@x".to_owned()), true),
            (
                Kind::User,
                r#"emails[type eq "work"].value eq "a@x""#,
                Cond::Lookup("email".into(), "a@x".to_owned()),
                false,
            ),
            (Kind::Group, r#"displayName eq "G""#, Cond::Lookup("display".into(), "g".to_owned()), true),
            (
                Kind::Group,
                &format!(r#"id eq "{id}" and members eq "{id}""#),
                Cond::All(vec![Cond::Id(known), Cond::HasEnd(Rel::Member, known)]),
                true,
            ),
            (Kind::Group, r#"id eq "1""#, Cond::Nothing, true),
            (Kind::User, r#"userName eq "a" and title pr"#, Cond::All(vec![Cond::Login("a".to_owned())]), false),
            (
                Kind::User,
                r#"userName eq "a" or active eq false"#,
                Cond::Any(vec![Cond::Login("a".to_owned()), Cond::Active(false)]),
                true,
            ),
            (Kind::User, r#"userName eq "a" or title pr"#, Cond::All(vec![]), false),
            (Kind::User, r#"not (userName eq "a")"#, Cond::All(vec![]), false),
            (Kind::User, r#"userName eq """#, Cond::All(vec![]), false),
        ] {
            let shape = registry.of(kind).unwrap();
            let filter = parse(shape, text, Mode::Tolerant).unwrap();
            assert_eq!(narrow(kind, Some(&filter)), Narrowed { cond, exact }, "{text}");
        }
    }

    #[test]
    fn a_value_that_is_unique_is_found_by_the_index_once_all_stand_there() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(None).of(Kind::User).unwrap();
        let name = format!("{}:employeeNumber", crate::model::entity::urn::ENTERPRISE);
        let unique =
            Unique { kind: Kind::User, name: name.clone(), path: Vec::new(), case_exact: false, instants: false };
        let eq = format!("{name} eq \"Ä7\"");
        for (text, found) in
            [(eq.clone(), true), (format!("title pr and {eq}"), true), (format!("title pr or {eq}"), false)]
        {
            let filter = parse(shape, &text, Mode::Tolerant).unwrap();
            let plain = narrow(Kind::User, Some(&filter));
            let narrowed =
                by_unique(narrow(Kind::User, Some(&filter)), shape, Some(&filter), std::slice::from_ref(&unique));
            assert!(!narrowed.exact, "the evaluator has the last word");
            let lookup = Cond::Lookup(name.clone().into(), "ä7".to_owned());
            let wanted = if found { Cond::All(vec![plain.cond.clone(), lookup]) } else { plain.cond.clone() };
            assert_eq!(narrowed.cond, wanted, "{text}");
            assert_eq!(by_unique(narrow(Kind::User, Some(&filter)), shape, Some(&filter), &[]), plain);
        }
    }
}
