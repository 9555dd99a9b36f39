//! The path of a PATCH operation (RFC 7644 §3.5.2): `attr`, `attr.sub`, `attr[filter]`, `attr[filter].sub`, any of them
//! after a URN, or the URN of a whole extension.

use super::error::Error;
use super::filter::{self, Filter};
use super::json::short;
use super::schema::{Located, Place, Schema, Shape, Type};
use crate::model::dialect::Mode;

#[derive(Debug, Clone)]
pub enum Path<'s> {
    Extension(&'s Schema),
    /// `filter` chooses elements of `place.attribute`; `place.sub` is what is meant inside of them.
    Attribute {
        place: Located<'s>,
        filter: Option<Filter<'s>>,
    },
}

pub fn parse<'s>(shape: &'s Shape, text: &str, mode: Mode) -> Result<Path<'s>, Error> {
    let unknown = || Error::InvalidPath(format!("`{}` names no attribute of {}", short(text), shape.name));
    let Some((name, inner, rest)) = brackets(text)? else {
        return Ok(match shape.locate(text).ok_or_else(unknown)? {
            Place::Extension(extension) => Path::Extension(extension),
            Place::Attribute(place) => Path::Attribute { place, filter: None },
        });
    };
    let mut place = shape.attribute(name).ok_or_else(unknown)?;
    if place.sub.is_some() || place.attribute.kind != Type::Complex || !place.attribute.multi_valued {
        return Err(Error::InvalidPath(format!("`{}` is no list and takes no filter", place.shown())));
    }
    let filter = filter::parse_element(place.attribute, inner, mode)?;
    if !rest.is_empty() {
        let sub = rest.strip_prefix('.').and_then(|sub| place.attribute.sub(sub)).ok_or_else(unknown)?;
        place.sub = Some(sub);
    }
    Ok(Path::Attribute { place, filter: Some(filter) })
}

/// The parts before, inside and after the brackets; `None` without brackets. Texts in quotes may hold brackets.
fn brackets(text: &str) -> Result<Option<(&str, &str, &str)>, Error> {
    let Some(open) = text.find('[') else { return Ok(None) };
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at <= open) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Ok(Some((&text[..open], &text[open + 1..at], text[at + 1..].trim()))),
            _ => {}
        }
    }
    Err(Error::InvalidPath(format!("`{}` has no closing bracket", short(text))))
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registries;
    use super::*;
    use crate::model::kind::Realm;

    #[test]
    fn every_form_is_understood_and_the_rest_is_refused() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        for good in [
            "userName",
            "NAME.familyname",
            r#"emails[type eq "wo]rk"].value"#,
            r#"emails[type eq "work" and value sw "a"]"#,
            "urn:ietf:params:scim:schemas:core:2.0:User:emails[primary eq true]",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        ] {
            assert!(parse(shape, good, Mode::Tolerant).is_ok(), "{good}");
        }
        for (bad, kind) in [
            ("nonsense", "invalidPath"),
            ("name.nonsense", "invalidPath"),
            ("emails[type eq \"work\"", "invalidPath"),
            ("emails[type eq \"work\"]value", "invalidPath"),
            ("name[familyName eq \"x\"]", "invalidPath"),
            ("emails[nonsense eq 1]", "invalidFilter"),
            ("emails[]", "invalidFilter"),
        ] {
            assert_eq!(parse(shape, bad, Mode::Strict).unwrap_err().scim_type(), Some(kind), "{bad}");
        }
    }
}
