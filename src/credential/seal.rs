//! Texts that pass through other hands and come back: nobody but this service can read or make them, and one that was made
//! for something else does not open. ChaCha20-Poly1305 in base64url. What stands in them may be known to whoever asks; the
//! seal keeps it from being invented.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::clock::Clock;

/// Bytes of the key.
pub const KEY: usize = 32;
/// Bytes of the longest sealed text.
const LONGEST: usize = 4096;

pub struct Sealer(LessSafeKey);

impl Sealer {
    /// `None`: the key has not `KEY` bytes.
    pub fn new(key: &[u8]) -> Option<Sealer> {
        UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(|key| Sealer(LessSafeKey::new(key)))
    }

    /// Opens again only with the same `about`.
    pub fn seal(&self, clock: &Clock, about: &str, text: &[u8]) -> Option<String> {
        let nonce = clock.random::<NONCE_LEN>();
        let mut sealed = text.to_vec();
        let aad = Aad::from(about.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let mut all = nonce.to_vec();
        all.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(all))
    }

    pub fn open(&self, about: &str, text: &str) -> Option<Vec<u8>> {
        if text.len() > LONGEST {
            return None;
        }
        let mut all = URL_SAFE_NO_PAD.decode(text).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(all.get(..NONCE_LEN)?).ok()?;
        let open = self.0.open_in_place(nonce, Aad::from(about.as_bytes()), &mut all[NONCE_LEN..]).ok()?;
        Some(open.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Millis;

    #[test]
    fn what_was_sealed_opens_for_its_purpose_and_for_no_other() {
        let clock = Clock::fixed(Millis(0), 1);
        let sealer = Sealer::new(&[7; KEY]).unwrap();
        let text = sealer.seal(&clock, "list of users", b"place").unwrap();
        assert_eq!(sealer.open("list of users", &text).as_deref(), Some(b"place".as_slice()));
        assert_eq!(sealer.open("list of groups", &text), None);
        assert_eq!(Sealer::new(&[8; KEY]).unwrap().open("list of users", &text), None);
        assert_ne!(sealer.seal(&clock, "list of users", b"place").unwrap(), text, "no nonce twice");
        for bad in ["", "a", "!", &text[1..], &text[..text.len() - 1], &"A".repeat(LONGEST + 1)] {
            assert_eq!(sealer.open("list of users", bad), None, "{bad}");
        }
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)), "RFC 3986 §2.3");
        assert!(Sealer::new(b"short").is_none());
    }
}
