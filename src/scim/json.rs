//! Reading of JSON that comes from outside: one key may stand once in an object (two readers of a body with a doubled
//! key would disagree about what it says), no text holds U+0000 (PostgreSQL cannot store it), nesting is bounded.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::Error;
use super::steps::step;

/// Levels of nesting. A resource has four, a PATCH of it seven.
const DEPTH: usize = 24;

/// The value in `text`, or why it is none (`invalidSyntax`).
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    read(text, Strict { left: DEPTH, of: Of::Protocol }).map_err(refuse)
}

/// The value in a text that is no message of the protocol: names have cases, and what its texts may hold is judged where
/// their place is known.
pub fn plain(text: &[u8]) -> Result<Value, serde_json::Error> {
    read(text, Strict { left: DEPTH, of: Of::Others })
}

fn read(text: &[u8], strict: Strict) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn refuse(error: serde_json::Error) -> Error {
    Error::InvalidSyntax(format!("the body is not the JSON that is expected: {error}"))
}

/// The same for an object, which every body must be.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, Error> {
    match parse(text)? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::InvalidSyntax("the body must be a JSON object".to_owned())),
    }
}

/// Reads one value with so many levels left.
#[derive(Clone, Copy)]
struct Strict {
    left: usize,
    of: Of,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Protocol,
    Others,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Strict, E> {
        let deep = || E::custom(format_args!("nested deeper than {DEPTH} levels"));
        Ok(Strict { left: self.left.checked_sub(1).ok_or_else(deep)?, ..self })
    }

    fn text<E: de::Error>(self, value: &str) -> Result<&str, E> {
        if self.of == Of::Protocol && value.contains('\0') {
            return Err(E::custom("a text holds U+0000"));
        }
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        step();
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value).map(|text| Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Map::new();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.text(&name)?;
            let value = map.next_value_seed(deeper)?;
            // Names of the protocol have no case (RFC 7643 §2.1): two spellings are one name.
            let one = if self.of == Of::Protocol { name.to_ascii_lowercase() } else { name.clone() };
            if !seen.insert(one) {
                return Err(de::Error::custom(format_args!("`{}` stands twice", short(&name))));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// So much of a text from outside as a message may repeat.
pub fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_key_a_nul_and_deep_nesting_are_refused() {
        for (text, why) in [
            (r#"{"a":1,"a":1}"#.to_owned(), "stands twice"),
            (r#"{"active":true,"Active":false}"#.to_owned(), "stands twice"),
            (r#"{"x":{"b":1,"b":2}}"#.to_owned(), "stands twice"),
            ("{\"a\":\"\\u0000\"}".to_owned(), "U+0000"),
            (format!("{}1{}", "[".repeat(50), "]".repeat(50)), "nested"),
            ("{\"a\":1} x".to_owned(), "trailing"),
            (String::new(), "EOF"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.scim_type(), Some("invalidSyntax"));
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        assert_eq!(parse(br#"{"a":[1,-2,1.5,true,null,"x"]}"#).unwrap()["a"][2], 1.5);
        assert!(object(b"[]").is_err());
        assert!(plain(br#"{"a":1,"a":1}"#).unwrap_err().to_string().contains("stands twice"));
        assert_eq!(plain(br#"{"a":1,"A":"\u0000"}"#).unwrap()["A"], "\0");
    }
}
