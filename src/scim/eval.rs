//! What a filter means: the truth of a tree over a resource. SQL only narrows; this decides, so that both databases and
//! the filters in PATCH paths agree.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::filter::{Filter, Literal, Op};
use super::schema::{Attribute, Located};
use super::steps::step;
use crate::model::fold;
use crate::model::time::Millis;

/// Whether the resource (with `id`, `meta` and whatever else the filter may ask for) satisfies the filter.
pub fn matches(filter: &Filter<'_>, resource: &Map<String, Value>) -> bool {
    step();
    match filter {
        Filter::And(parts) => parts.iter().all(|part| matches(part, resource)),
        Filter::Or(parts) => parts.iter().any(|part| matches(part, resource)),
        Filter::Not(inner) => !matches(inner, resource),
        Filter::Fixed(truth) => *truth,
        Filter::Present(place) => values(*place, resource).into_iter().any(present),
        Filter::Compare(place, Op::Ne, literal) => !any(*place, Op::Eq, literal, resource),
        Filter::Compare(place, op, literal) => any(*place, *op, literal, resource),
        Filter::Element(place, inner) => {
            values(*place, resource).into_iter().filter_map(Value::as_object).any(|element| matches(inner, element))
        }
    }
}

fn any(place: Located<'_>, op: Op, literal: &Literal, resource: &Map<String, Value>) -> bool {
    let values = values(place, resource);
    if *literal == Literal::Null {
        return !values.into_iter().any(present);
    }
    values.into_iter().any(|value| compare(place.leaf(), value, op, literal))
}

/// The values at the place: an array gives its elements, a sub-attribute those of every element.
fn values<'r>(place: Located<'_>, resource: &'r Map<String, Value>) -> Vec<&'r Value> {
    let holder = match place.extension {
        Some(urn) => match resource.get(urn).and_then(Value::as_object) {
            Some(holder) => holder,
            None => return Vec::new(),
        },
        None => resource,
    };
    let Some(value) = holder.get(&place.attribute.name) else { return Vec::new() };
    let elements = each(value);
    match place.sub {
        None => elements,
        Some(sub) => elements.into_iter().filter_map(|element| element.get(&sub.name)).flat_map(each).collect(),
    }
}

fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        value => vec![value],
    }
}

/// `pr`: neither null nor empty (RFC 7644 table 3).
fn present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.values().any(present),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare(attribute: &Attribute, value: &Value, op: Op, literal: &Literal) -> bool {
    step();
    match (literal, value) {
        (Literal::Bool(wanted), Value::Bool(value)) => op == Op::Eq && value == wanted,
        (Literal::Int(wanted), Value::Number(number)) if number.is_i64() => {
            number.as_i64().is_some_and(|value| ordered(op, value.cmp(wanted)))
        }
        (Literal::Int(wanted), Value::Number(value)) => float(op, value.as_f64(), *wanted as f64),
        (Literal::Float(wanted), Value::Number(value)) => float(op, value.as_f64(), *wanted),
        (Literal::Time(wanted), Value::String(value)) => {
            Millis::parse(value).is_some_and(|value| ordered(op, value.cmp(wanted)))
        }
        (Literal::Text { folded: Some(wanted), .. }, Value::String(value)) => text(op, &fold::key(value), wanted),
        (Literal::Text { exact, .. }, Value::String(value)) => text(op, value, exact),
        _ => {
            debug_assert!(!attribute.secret());
            false
        }
    }
}

fn text(op: Op, value: &str, wanted: &str) -> bool {
    match op {
        Op::Co => value.contains(wanted),
        Op::Sw => value.starts_with(wanted),
        Op::Ew => value.ends_with(wanted),
        op => ordered(op, value.cmp(wanted)),
    }
}

fn float(op: Op, value: Option<f64>, wanted: f64) -> bool {
    value.and_then(|value| value.partial_cmp(&wanted)).is_some_and(|order| ordered(op, order))
}

const fn ordered(op: Op, order: Ordering) -> bool {
    match op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Co | Op::Sw | Op::Ew => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::filter::parse;
    use super::super::registry::Registries;
    use super::*;
    use crate::model::dialect::Mode;
    use crate::model::entity::urn;
    use crate::model::kind::Realm;

    #[test]
    fn the_whole_grammar_over_one_resource() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        let eva = json!({
            "id": "i1", "externalId": "Ext", "userName": "Eva.Žižková@x.cz", "active": true, "displayName": "100%",
            "name": {"familyName": "Žižková"},
            "emails": [{"value": "w@x.cz", "type": "work", "primary": true}, {"value": "h@x.cz", "type": "home"}],
            "meta": {"created": "2026-01-01T10:00:00.000Z", "lastModified": "2026-02-01T00:00:00Z"},
            urn::ENTERPRISE: {"department": "Ops", "manager": {"value": "m"}},
        });
        let eva = eva.as_object().unwrap();
        for (text, wanted) in [
            (r#"userName eq "eva.ŽIŽKOVÁ@X.CZ""#, true),
            (r#"USERNAME Eq "eva.ziz""#, false),
            (r#"externalId eq "ext""#, false),
            ("externalId eq Ext", true),
            (r#"emails eq "W@x.cz""#, true),
            (r#"emails[type eq "work"].value eq "w@x.cz""#, true),
            (r#"emails[type eq "work"].value eq "h@x.cz""#, false),
            (r#"emails[type eq "work" and value eq "h@x.cz"]"#, false),
            (r#"emails.type eq "work" and emails.value eq "h@x.cz""#, true),
            (r#"emails[primary eq "True"] and not (active eq "False")"#, true),
            (r#"userName sw "eva" and (title pr or name.familyName ew "ová")"#, true),
            (r#"title eq "x" or title pr and userName pr"#, false),
            (r#"displayName co "%""#, true),
            (r#"displayName co "_""#, false),
            (r#"displayName co "100 ""#, false),
            (r#"title ne "x" and title eq null and userName ne null"#, true),
            (r#"emails.value ne "w@x.cz""#, false),
            (
                r#"meta.created ge "2026-01-01T11:00:00+01:00" and meta.lastModified gt 2015-10-10T14:38:21.8617979-07:00"#,
                true,
            ),
            (r#"meta.created gt "2026-01-01T10:00:00Z""#, false),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "OPS""#, true),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "m""#, true),
            ("manager eq m and id eq i1", true),
            ("name pr and not (nickName pr)", true),
            ("active eq true", true),
        ] {
            assert_eq!(matches(&parse(shape, text, Mode::Tolerant).unwrap(), eva), wanted, "{text}");
        }
    }
}
