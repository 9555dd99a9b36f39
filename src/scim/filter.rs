//! The filter language of RFC 7644 §3.4.2.2, whole: text -> tree. Attribute names are resolved against the schema while
//! parsing, so that a name nobody knows is an error (`invalidFilter`) and never an empty list, and a secret cannot be
//! asked about. What a tree means stands in `eval`; what of it a database can narrow is the caller's business.

use serde_json::Value;

use super::error::Error;
use super::json::short;
use super::lexer::{Token, tokens};
use super::resource::boolean;
use super::schema::{Attribute, Located, Shape, Type};
use super::steps::step;
use crate::model::dialect::Mode;
use crate::model::fold;
use crate::model::time::Millis;

/// Levels of brackets.
const DEPTH: usize = 24;
/// Comparisons.
const TERMS: usize = 200;

#[derive(Debug, Clone)]
pub enum Filter<'s> {
    And(Vec<Filter<'s>>),
    Or(Vec<Filter<'s>>),
    Not(Box<Filter<'s>>),
    Present(Located<'s>),
    Compare(Located<'s>, Op, Literal),
    /// What is said of an attribute that only other types have: the same for every resource of this one.
    Fixed(bool),
    /// One element must satisfy the whole inner filter; its places have no extension and no sub.
    Element(Located<'s>, Box<Filter<'s>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A literal in the type of the attribute it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Time(Millis),
    /// `folded` where the attribute has no case.
    Text {
        exact: String,
        folded: Option<String>,
    },
}

impl Filter<'_> {
    /// Comparisons in it: what judging one value costs at most.
    pub fn terms(&self) -> usize {
        match self {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().map(Filter::terms).sum(),
            Filter::Not(inner) | Filter::Element(_, inner) => inner.terms(),
            Filter::Present(_) | Filter::Compare(..) | Filter::Fixed(_) => 1,
        }
    }
}

impl Literal {
    /// The text as it was given, where it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Literal::Text { exact, .. } => Some(exact),
            _ => None,
        }
    }
}

/// Parses the filter of a list.
pub fn parse<'s>(shape: &'s Shape, text: &str, mode: Mode) -> Result<Filter<'s>, Error> {
    parse_among(shape, &[], text, mode)
}

/// The same of a list of several types: what only `others` have is an attribute without a value (RFC 7644 §3.4.2.1).
pub fn parse_among<'s>(shape: &'s Shape, others: &[&'s Shape], text: &str, mode: Mode) -> Result<Filter<'s>, Error> {
    let scope = Scope::Resource(shape, others);
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), terms: 0, mode };
    let filter = parser.or(&scope, DEPTH)?;
    parser.end()?;
    Ok(filter)
}

/// Parses what stands in the brackets of a path: `type eq "work"`.
pub fn parse_element<'s>(attribute: &'s Attribute, text: &str, mode: Mode) -> Result<Filter<'s>, Error> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), terms: 0, mode };
    let filter = parser.or(&Scope::Element(attribute), DEPTH)?;
    parser.end()?;
    Ok(filter)
}

/// Where names are looked up.
enum Scope<'s, 'o> {
    Resource(&'s Shape, &'o [&'s Shape]),
    /// Inside the brackets after this attribute.
    Element(&'s Attribute),
}

impl<'s> Scope<'s, '_> {
    /// What the name means, and whether it is an attribute of this type at all.
    fn find(&self, name: &str, mode: Mode) -> Result<(Located<'s>, bool), Error> {
        let of = |shape: &'s Shape| match mode {
            Mode::Tolerant => shape.attribute(name).or_else(|| shape.extended(name)),
            Mode::Strict => shape.attribute(name),
        };
        let found = match self {
            Scope::Resource(shape, others) => of(shape)
                .map(|place| (place, true))
                .or_else(|| others.iter().find_map(|shape| of(shape)).map(|place| (place, false))),
            Scope::Element(attribute) => {
                attribute.sub(name).map(|attribute| (Located { extension: None, attribute, sub: None }, true))
            }
        };
        let (found, here) =
            found.ok_or_else(|| Error::InvalidFilter(format!("there is no attribute `{}`", short(name))))?;
        if found.secret() {
            return Err(Error::Sensitive(format!("`{}` cannot be asked about", found.shown())));
        }
        Ok((found, here))
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    terms: usize,
    mode: Mode,
}

impl Parser {
    fn or<'s>(&mut self, scope: &Scope<'s, '_>, depth: usize) -> Result<Filter<'s>, Error> {
        let mut parts = vec![self.and(scope, depth)?];
        while self.word("or") {
            parts.push(self.and(scope, depth)?);
        }
        Ok(several(parts, Filter::Or))
    }

    fn and<'s>(&mut self, scope: &Scope<'s, '_>, depth: usize) -> Result<Filter<'s>, Error> {
        let mut parts = vec![self.term(scope, depth)?];
        while self.word("and") {
            parts.push(self.term(scope, depth)?);
        }
        Ok(several(parts, Filter::And))
    }

    fn term<'s>(&mut self, scope: &Scope<'s, '_>, depth: usize) -> Result<Filter<'s>, Error> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_much(format!("more than {DEPTH} levels of brackets")))?;
        match self.next() {
            Some(Token::Open) => self.group(scope, depth),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("not") && self.tokens.peek() == Some(&Token::Open) => {
                self.tokens.next();
                Ok(Filter::Not(Box::new(self.group(scope, depth)?)))
            }
            Some(Token::Word(name)) => self.comparison(scope, &name, depth),
            other => Err(unexpected(other.as_ref(), "an attribute, `not (` or `(`")),
        }
    }

    fn group<'s>(&mut self, scope: &Scope<'s, '_>, depth: usize) -> Result<Filter<'s>, Error> {
        let filter = self.or(scope, depth)?;
        match self.next() {
            Some(Token::Close) => Ok(filter),
            other => Err(unexpected(other.as_ref(), "`and`, `or` or `)`")),
        }
    }

    fn comparison<'s>(&mut self, scope: &Scope<'s, '_>, name: &str, depth: usize) -> Result<Filter<'s>, Error> {
        self.terms += 1;
        if self.terms > TERMS {
            return Err(too_much(format!("more than {TERMS} comparisons")));
        }
        let (place, here) = scope.find(name, self.mode)?;
        let filter = if self.tokens.next_if_eq(&Token::OpenBracket).is_some() {
            self.element(place, depth)?
        } else {
            self.operator(place)?
        };
        Ok(if here { filter } else { absent(&filter) })
    }

    /// `emails[type eq "work"]`, and what RFC 7644 does not know but clients send: `emails[type eq "work"].value eq "x"`,
    /// which means that one element satisfies both.
    fn element<'s>(&mut self, place: Located<'s>, depth: usize) -> Result<Filter<'s>, Error> {
        let attribute = place.leaf();
        if place.sub.is_some() || attribute.kind != Type::Complex {
            return Err(Error::InvalidFilter(format!("`{}` has no sub-attributes", place.shown())));
        }
        let scope = Scope::Element(attribute);
        let mut inner = self.or(&scope, depth)?;
        match self.next() {
            Some(Token::CloseBracket) => {}
            other => return Err(unexpected(other.as_ref(), "`and`, `or` or `]`")),
        }
        if let Some(Token::Word(word)) = self.tokens.peek()
            && let Some(sub) = word.strip_prefix('.')
            && self.mode == Mode::Tolerant
        {
            let (sub, _) = scope.find(sub, self.mode)?;
            self.tokens.next();
            inner = Filter::And(vec![inner, self.operator(sub)?]);
        }
        Ok(Filter::Element(place, Box::new(inner)))
    }

    fn operator<'s>(&mut self, place: Located<'s>) -> Result<Filter<'s>, Error> {
        let op = match self.next() {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            other => return Err(unexpected(other.as_ref(), OPERATORS)),
        };
        if op == "pr" {
            return Ok(Filter::Present(place));
        }
        let op = match op.as_str() {
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "co" => Op::Co,
            "sw" => Op::Sw,
            "ew" => Op::Ew,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            "lt" => Op::Lt,
            "le" => Op::Le,
            _ => return Err(unexpected(Some(&Token::Word(op)), OPERATORS)),
        };
        // A complex attribute stands for its `value`: clients ask `emails eq "x"`.
        let place = match (place.leaf().kind, place.attribute.sub("value")) {
            (Type::Complex, Some(value)) => Located { sub: Some(value), ..place },
            (Type::Complex, None) => {
                return Err(Error::InvalidFilter(format!("`{}` can only be asked for with `pr`", place.shown())));
            }
            _ => place,
        };
        let given = match self.next() {
            Some(Token::Text(text)) => Given::Text(text),
            Some(Token::Word(word)) => Given::Word(word),
            other => return Err(unexpected(other.as_ref(), "a value")),
        };
        if self.mode == Mode::Strict {
            given.as_written(place)?;
        }
        let literal = literal(place, op, given)?;
        Ok(Filter::Compare(place, op, literal))
    }

    fn next(&mut self) -> Option<Token> {
        step();
        self.tokens.next()
    }

    /// Takes the word if it comes next.
    fn word(&mut self, expected: &str) -> bool {
        step();
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(expected))).is_some()
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.next() {
            None => Ok(()),
            other => Err(unexpected(other.as_ref(), "`and`, `or` or the end")),
        }
    }
}

/// What a comparison comes to where there is no value.
fn absent<'s>(filter: &Filter<'_>) -> Filter<'s> {
    Filter::Fixed(match filter {
        Filter::Compare(_, Op::Eq, literal) => *literal == Literal::Null,
        Filter::Compare(_, Op::Ne, literal) => *literal != Literal::Null,
        _ => false,
    })
}

const OPERATORS: &str = "one of eq, ne, co, sw, ew, pr, gt, ge, lt, le";

fn several<'s>(mut parts: Vec<Filter<'s>>, join: fn(Vec<Filter<'s>>) -> Filter<'s>) -> Filter<'s> {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

fn too_much(what: String) -> Error {
    Error::InvalidFilter(format!("the filter has {what}"))
}

fn unexpected(found: Option<&Token>, expected: &str) -> Error {
    let found = match found {
        None => "the end".to_owned(),
        Some(Token::Open) => "`(`".to_owned(),
        Some(Token::Close) => "`)`".to_owned(),
        Some(Token::OpenBracket) => "`[`".to_owned(),
        Some(Token::CloseBracket) => "`]`".to_owned(),
        Some(Token::Text(text) | Token::Word(text)) => format!("`{}`", short(text)),
    };
    Error::InvalidFilter(format!("found {found} where {expected} is expected"))
}

enum Given {
    Text(String),
    Word(String),
}

impl Given {
    /// Refuses what only tolerance understands: texts without quotes, and true, false and numbers with them.
    fn as_written(&self, place: Located<'_>) -> Result<(), Error> {
        let bare = matches!(place.leaf().kind, Type::Boolean | Type::Integer | Type::Decimal);
        match self {
            Given::Text(_) if bare => {
                Err(Error::InvalidFilter(format!("`{}` is compared with a value in quotes", place.shown())))
            }
            Given::Word(word) if !bare && !word.eq_ignore_ascii_case("null") => {
                Err(Error::InvalidFilter(format!("`{}` is compared with a value without quotes", place.shown())))
            }
            _ => Ok(()),
        }
    }
}

/// The literal in the type of the attribute. Texts for booleans and numbers are taken (`primary eq "True"`), and so are
/// words for texts (`externalId eq jyoung`).
fn literal(place: Located<'_>, op: Op, given: Given) -> Result<Literal, Error> {
    let attribute = place.leaf();
    let wrong = |what: &str| Err(Error::InvalidFilter(format!("`{}` {what}", place.shown())));
    let text = match given {
        Given::Word(word) if word.eq_ignore_ascii_case("null") => {
            return if matches!(op, Op::Eq | Op::Ne) {
                Ok(Literal::Null)
            } else {
                wrong("is compared with null: only eq and ne can")
            };
        }
        Given::Text(text) | Given::Word(text) => text,
    };
    let ordered = matches!(op, Op::Gt | Op::Ge | Op::Lt | Op::Le);
    let part = matches!(op, Op::Co | Op::Sw | Op::Ew);
    match attribute.kind {
        Type::Boolean if ordered || part => wrong("is true or false: only eq, ne and pr can be asked"),
        Type::Boolean => boolean(&text)
            .map_or_else(|| wrong("is compared with what is neither true nor false"), |on| Ok(Literal::Bool(on))),
        Type::Integer | Type::Decimal if part => wrong("is a number: co, sw and ew cannot be asked"),
        Type::Integer | Type::Decimal => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Ok(Literal::Int(number)),
            (_, Ok(number)) if number.is_finite() => Ok(Literal::Float(number)),
            _ => wrong("is compared with what is no number"),
        },
        Type::DateTime if !part => Millis::parse(&text)
            .map_or_else(|| wrong("is compared with what is no RFC 3339 time"), |at| Ok(Literal::Time(at))),
        Type::Binary if ordered => wrong("is binary and has no order"),
        _ => {
            let fold = if part { fold::part } else { fold::key };
            let folded = (!attribute.case_exact && attribute.kind != Type::DateTime).then(|| fold(&text));
            Ok(Literal::Text { exact: text, folded })
        }
    }
}

/// The terms of a filter that is only `eq` joined by `and`: what an absent element is made of by PATCH. `None` if the
/// filter says anything else.
pub fn equalities<'f, 's>(filter: &'f Filter<'s>) -> Option<Vec<(&'s Attribute, &'f Literal)>> {
    match filter {
        Filter::Compare(place, Op::Eq, literal) if *literal != Literal::Null => Some(vec![(place.leaf(), literal)]),
        Filter::And(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(equalities).collect();
            Some(parts?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// The literal as it stands in a document.
pub fn as_value(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(on) => Value::Bool(*on),
        Literal::Int(number) => Value::from(*number),
        Literal::Float(number) => Value::from(*number),
        Literal::Time(at) => Value::String(at.to_string()),
        Literal::Text { exact, .. } => Value::String(exact.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registries;
    use super::*;
    use crate::model::kind::Realm;

    fn refused(text: &str) -> Error {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        parse(shape, text, Mode::Tolerant).map(|_| ()).expect_err(text)
    }

    #[test]
    fn what_is_not_understood_is_refused_never_guessed() {
        for bad in [
            "",
            "userName",
            "userName eq",
            "userName is \"x\"",
            "nonsense eq 1",
            "userName eq \"a\" and",
            "(userName pr",
            "userName pr)",
            "not userName pr",
            "emails[type eq \"work\"",
            "emails[nonsense pr]",
            "name eq \"x\"",
            "active gt true",
            "active eq 5",
            "meta.created gt \"yesterday\"",
            "userName eq \"a\" \"b\"",
            "userName[value pr]",
            "meta.created gt null",
            "x509Certificates.value gt \"a\"",
            "and",
            "userName.value eq 1",
        ] {
            assert_eq!(refused(bad).scim_type(), Some("invalidFilter"), "{bad}");
        }
    }

    #[test]
    fn an_extension_is_asked_about_without_its_urn_where_that_is_forgiven() {
        let all = Registries::embedded().unwrap();
        let shape = all.of_realm(Some(Realm::Agent)).at("Users").unwrap();
        assert!(parse(shape, "manager eq \"m\"", Mode::Tolerant).is_ok());
        let strict = parse(shape, "manager eq \"m\"", Mode::Strict).map(|_| ()).unwrap_err();
        assert_eq!(strict.scim_type(), Some("invalidFilter"));
    }

    #[test]
    fn s10_a_password_cannot_be_asked_about() {
        for text in [
            "password sw \"$argon2\"",
            "password pr",
            "PassWord eq null",
            "not (password pr)",
            "urn:ietf:params:scim:schemas:core:2.0:User:password pr",
        ] {
            assert_eq!(refused(text).status(), 403, "{text}");
            assert_eq!(refused(text).scim_type(), Some("sensitive"), "{text}");
        }
    }

    #[test]
    fn s33_size_depth_and_terms_are_bounded() {
        assert!(
            refused(&format!("{}userName pr{}", "(".repeat(1000), ")".repeat(1000))).to_string().contains("levels")
        );
        assert!(refused(&format!("userName pr{}", " or userName pr".repeat(300))).to_string().contains("200"));
        assert!(refused(&format!("userName eq \"{}\"", "x".repeat(10_000))).to_string().contains("bytes"));
    }
}
