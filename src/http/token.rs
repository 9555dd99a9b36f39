//! Bearer tokens as text: `mst_<kind>_<id8><secret43><crc6>`. The checksum lets garbage be refused without a look-up, the
//! id finds the row, the secret is compared by its SHA-256 in constant time. Pure: knows no store and no request.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::model::kind::words;

words! {
    /// What a token is for; the word stands in its text, so that a leaked one can be recognised.
    TokenKind {
        /// An identity provider's: bound to a SCIM source.
        Scim = "scim",
        /// Everything under /api, and pushed records.
        Api = "api",
    }
}

words! {
    /// What a token may do. A token has any number of them.
    Scope {
        ScimRead = "scim:read",
        ScimWrite = "scim:write",
        /// Set passwords over SCIM.
        PasswordWrite = "password:write",
        /// The ticket visibility queries.
        Visibility = "visibility:read",
        /// Lists of people, companies, contacts, tickets, licences.
        ApiRead = "api:read",
        /// Create, change, invite.
        ApiWrite = "api:write",
        /// Push records of the token's source.
        Push = "records:push",
        /// `credentials/verify`.
        Verify = "credentials:verify",
        /// Sources, runs, plan, sync, approve.
        Sync = "sync",
        /// The journal as events.
        Events = "events:read",
    }
}

const ID: usize = 8;
const SECRET: usize = 43;
const CHECK: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token whose checksum is right. Neither `Debug` nor anything else shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// Public: rows, logs and lists name a token by it.
    pub id: String,
    secret: String,
}

impl Token {
    /// 43 characters of base62 are 256 bits.
    pub fn mint(kind: TokenKind, clock: &Clock) -> Token {
        let draw = |length: usize| (0..length).map(|_| ALPHABET[clock.below(62) as usize] as char).collect();
        Token { kind, id: draw(ID), secret: draw(SECRET) }
    }

    /// `None` for whatever cannot be a token of musterd.
    pub fn parse(text: &str) -> Option<Token> {
        let (kind, rest) = text.strip_prefix("mst_")?.split_once('_')?;
        let kind = kind.parse().ok()?;
        if rest.len() != ID + SECRET + CHECK || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (id, rest) = rest.split_at(ID);
        let (secret, check) = rest.split_at(SECRET);
        let token = Token { kind, id: id.to_owned(), secret: secret.to_owned() };
        (token.check() == check).then_some(token)
    }

    /// The whole text: shown once, when the token is made.
    pub fn reveal(&self) -> String {
        format!("{}{}", self.plain(), self.check())
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.plain().as_bytes()).into()
    }

    /// In constant time.
    pub fn matches(&self, hash: &[u8]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    fn plain(&self) -> String {
        format!("mst_{}_{}{}", self.kind, self.id, self.secret)
    }

    fn check(&self) -> String {
        let mut rest = crc32(self.plain().as_bytes());
        let mut digits = [b'0'; CHECK];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        digits.iter().map(|byte| *byte as char).collect()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}_{}…)", self.kind, self.id)
    }
}

/// CRC-32 (IEEE 802.3), bit by bit: sixty bytes a request need no table.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Millis;

    #[test]
    fn a_token_is_read_back_and_a_typing_error_is_seen() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let clock = Clock::fixed(Millis(1), 3);
        let token = Token::mint(TokenKind::Scim, &clock);
        let text = token.reveal();
        assert_eq!(text.len(), "mst_scim_".len() + ID + SECRET + CHECK);
        assert_eq!(Token::parse(&text), Some(token.clone()));
        assert!(token.matches(&Token::parse(&text).unwrap().hash()));
        assert!(!token.matches(&Token::mint(TokenKind::Scim, &clock).hash()));
        for place in 9..text.len() {
            let mut other = text.clone().into_bytes();
            other[place] = if other[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(Token::parse(std::str::from_utf8(&other).unwrap()), None, "changed at {place}");
        }
        for text in ["", "mst_", "mst_scim_", "mst_other_abc", "Bearer x"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn s34_debug_shows_no_secret() {
        let token = Token::mint(TokenKind::Api, &Clock::fixed(Millis(1), 4));
        let shown = format!("{token:?}");
        assert!(shown.contains(&token.id) && !shown.contains(&token.secret));
    }
}
