//! The digest by which an unchanged record is recognised before it is mapped: SHA-256 over the mapping's fingerprint and
//! the record in one canonical form (names sorted, every value with its type and length), cut to 16 bytes. A changed
//! mapping changes every digest. Nothing here fails.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::model::desired::Digest;

/// What a mapping is: its rules, its tables and the version of the engine behind them.
pub type Fingerprint = [u8; 32];

pub fn digest(raw: &Value, fingerprint: &Fingerprint) -> Digest {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(fingerprint);
    canonical(raw, &mut bytes);
    cut(&bytes)
}

/// Of bytes that already are in a canonical form.
pub fn cut(bytes: &[u8]) -> Digest {
    let full: [u8; 32] = Sha256::digest(bytes).into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    Digest(short)
}

pub(super) fn fingerprint(parts: &[&Value]) -> Fingerprint {
    let mut bytes = Vec::new();
    for part in parts {
        canonical(part, &mut bytes);
    }
    Sha256::digest(&bytes).into()
}

fn canonical(value: &Value, out: &mut Vec<u8>) {
    let text = |tag: u8, text: &str, out: &mut Vec<u8>| {
        out.push(tag);
        out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => text(b'n', &number.to_string(), out),
        Value::String(string) => text(b's', string, out),
        Value::Array(list) => {
            out.push(b'[');
            for value in list {
                canonical(value, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in pairs {
                text(b'k', name, out);
                canonical(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_changes_it_and_order_of_names_does_not() {
        let print = fingerprint(&[&json!({"a": "b"})]);
        let of = |value: Value| digest(&value, &print);
        assert_eq!(of(json!({"a": 1, "b": ["x", "y"]})), of(json!({"b": ["x", "y"], "a": 1})));
        let all = [json!("1"), json!(1), json!([1]), json!(["1", "2"]), json!(["12"]), json!({"a": null}), json!({})];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(of(one.clone()), of(other.clone()), "{one} / {other}");
            }
        }
        assert_ne!(of(json!({})), digest(&json!({}), &fingerprint(&[&json!({"a": "c"})])));
    }
}
