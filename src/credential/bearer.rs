//! The format of bearer tokens: `mst_<kind>_<id 8><secret 43><checksum 6>`, all base 62. The id finds the row, the
//! SHA-256 of the whole token is compared with it, and the checksum refuses nonsense before the database is asked.
//! A token is shown once, by whoever minted it; only its hash is ever kept.

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Clock;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX: &str = "mst_";
const ID: usize = 8;
/// 43 characters of base 62 are 256 bits.
const SECRET: usize = 43;
const CHECKSUM: usize = 6;

/// A fresh token: `text` goes to its owner once, `id` and `hash` into the store.
pub struct Minted {
    pub text: SecretString,
    pub id: String,
    pub hash: [u8; 32],
}

/// A token as it came in: well-formed, not yet known to be ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub kind: String,
    pub id: String,
    pub hash: [u8; 32],
}

/// `kind` is a short word of lower-case letters (`scim`, `api`); it only helps people to tell tokens apart.
pub fn mint(clock: &Clock, kind: &str) -> Minted {
    let kind: String = kind.chars().filter(char::is_ascii_lowercase).take(8).collect();
    let id = random(clock, ID);
    let body = format!("{PREFIX}{kind}_{id}{}", random(clock, SECRET));
    let text = format!("{body}{}", checksum(&body));
    let hash = Sha256::digest(text.as_bytes()).into();
    Minted { text: SecretString::from(text), id, hash }
}

/// `None`: not a token of this program, or mistyped.
pub fn parse(text: &str) -> Option<Presented> {
    let (kind, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let fits = !kind.is_empty()
        && kind.len() <= 8
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.len() == ID + SECRET + CHECKSUM
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !fits {
        return None;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM);
    if checksum(body) != sum {
        return None;
    }
    Some(Presented { kind: kind.to_owned(), id: rest[..ID].to_owned(), hash: Sha256::digest(text.as_bytes()).into() })
}

/// In constant time.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

fn random(clock: &Clock, length: usize) -> String {
    (0..length).map(|_| char::from(ALPHABET[clock.below(62) as usize])).collect()
}

/// CRC-32 (IEEE) in base 62, six characters.
fn checksum(body: &str) -> String {
    let mut crc = !0_u32;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    let mut rest = !crc as usize;
    let mut text = [b'0'; CHECKSUM];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[rest % 62];
        rest /= 62;
    }
    text.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::model::time::Millis;

    #[test]
    fn minted_tokens_are_read_back_and_mistyped_ones_are_not() {
        let clock = Clock::fixed(Millis(1_790_000_000_000), 1);
        let minted = mint(&clock, "scim");
        let text = minted.text.expose_secret();
        let read = parse(text).unwrap();
        assert_eq!((read.kind.as_str(), &read.id), ("scim", &minted.id));
        assert!(same(&read.hash, &minted.hash));
        assert_eq!(text.len(), 4 + 5 + 8 + 43 + 6);
        for at in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&other).unwrap()), None, "character {at}");
        }
        for bad in ["", " ", "mst_", "mst__", "mst_scim_", "Bearer", &text[1..], &format!("{text} "), "mst_ž_é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_checksum_is_crc32() {
        // CRC-32 of "123456789" is cbf43926.
        let mut value = 0_u64;
        for byte in checksum("123456789").bytes() {
            value = value * 62 + ALPHABET.iter().position(|c| *c == byte).unwrap() as u64;
        }
        assert_eq!(value, 0xcbf4_3926);
    }
}
