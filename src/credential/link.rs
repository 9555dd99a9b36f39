//! The secret in the address of an invitation or a set-password page: 256 random bits in base64url. The store keeps only
//! its SHA-256, which is also how the row is found; it never stands in a log, an API answer or a `Debug` text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::clock::Clock;

/// Fresh at every delivery: whoever reads an older mail of the same row holds a dead link.
pub fn mint(clock: &Clock) -> (SecretString, [u8; 32]) {
    let text = URL_SAFE_NO_PAD.encode(clock.random::<32>());
    let hash = hash(&text);
    (SecretString::from(text), hash)
}

/// What the store is asked for. `None`: it cannot be one of ours, and nobody needs to be asked.
pub fn presented(text: &str) -> Option<[u8; 32]> {
    let fits = text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    fits.then(|| hash(text))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::model::time::Millis;

    #[test]
    fn minted_links_are_found_by_their_hash_and_nonsense_is_not_looked_up() {
        let clock = Clock::fixed(Millis(1_790_000_000_000), 1);
        let (text, hash) = mint(&clock);
        assert_eq!(presented(text.expose_secret()), Some(hash));
        assert_ne!(mint(&clock).1, hash);
        assert!(!format!("{text:?}").contains(text.expose_secret()));
        for bad in ["", "abc", "../../etc/passwd", &"ž".repeat(43), &"a".repeat(44)] {
            assert_eq!(presented(bad), None, "{bad}");
        }
    }
}
