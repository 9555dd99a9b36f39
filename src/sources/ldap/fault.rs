//! What can go wrong with a server, in words for whoever runs musterd: result codes with what to do about them, and the
//! server's own words. Those are a stranger's: cut, escaped, and without the password, should it send that back. Start with
//! `Error`; whoever shows one takes the password out first (`Error::without`).

use std::fmt;
use std::time::Duration;

use super::Part;
use super::ber::{ENUMERATED, Garbage, OCTETS, Reader};
use crate::model::plain::{cut, plain};

/// Characters of the server's words that are shown.
const LONGEST: usize = 300;
pub(super) const INVALID_CREDENTIALS: i64 = 49;
pub(super) const NO_SUCH_OBJECT: i64 = 32;
const INVALID_NAME: i64 = 34;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no server could be reached: {0}")]
    NoServer(String),
    #[error("{url} refused the credentials of {dn}: {}", said.or("it gives no reason"))]
    Refused { url: String, dn: String, said: Words },
    #[error("the CA file {0}")]
    Ca(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the run took longer than its deadline")]
    Deadline,
    #[error("the server ended the connection with result code {code}{text}")]
    Ended { code: i64, text: Text },
    #[error("the server answered with result code {code}{text}{}", advice(*code))]
    Result { code: i64, text: Text },
    #[error("{0} pointers to other servers were not followed (`referrals = \"ignore\"` allows that)")]
    Pointers(u64),
    #[error("the answer has no readable page cookie")]
    NoCookie,
    #[error("the rest of `{0}` could not be read")]
    NoRest(String),
    #[error("the read brings more than {0} entries (`max_entries`)")]
    TooMany(u64),
    #[error("the server announced a message of {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Garbage(#[from] Garbage),
    #[error("{0} (`mode` says how changes are found)")]
    Mode(String),
    #[error("what is known of the directory's things could not be read: {0}")]
    Known(String),
    #[error("the reader was stopped")]
    Stopped,
}

impl Error {
    /// Whether it may be over soon. Credentials that are refused lock the account, the more often they are tried; a server that
    /// does not know what the mode asks for (12, unavailableCriticalExtension) does not learn it.
    pub(super) fn passes(&self) -> bool {
        !matches!(self, Error::Refused { .. } | Error::Ca(_) | Error::Mode(_) | Error::Result { code: 12, .. })
    }

    /// With `***` wherever the server says this secret.
    pub(super) fn without(mut self, secret: Option<&str>) -> Error {
        let said = match &mut self {
            Error::Refused { said, .. } => said,
            Error::Ended { text, .. } | Error::Result { text, .. } => &mut text.said,
            _ => return self,
        };
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            said.0 = said.0.replace(secret, "***");
        }
        self
    }
}

impl Error {
    /// With the search that it is about, where its base is what the server complains of.
    pub(super) fn at(mut self, part: &Part) -> Error {
        if let Error::Result { code: NO_SUCH_OBJECT | INVALID_NAME, text } = &mut self {
            text.place = format!(", which is the base of {}: {}", part.section(), part.query.base);
        }
        self
    }
}

/// What follows a result code: its meaning and what the server says of it.
#[derive(Debug)]
pub(super) struct Text {
    meaning: &'static str,
    /// What it is about.
    place: String,
    said: Words,
}

impl Text {
    fn of(code: i64, said: Words) -> Text {
        Text { meaning: meaning(code), place: String::new(), said }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.meaning, self.place)?;
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said.shown()) }
    }
}

/// What the server says, as it came.
#[derive(Debug)]
pub(super) struct Words(String);

impl Words {
    pub(super) fn of(bytes: &[u8]) -> Words {
        Words(String::from_utf8_lossy(bytes).into_owned())
    }

    fn shown(&self) -> String {
        // Escaping makes it longer, so it is cut before.
        plain(&cut(self.0.trim(), LONGEST))
    }

    fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    fn or(&self, nothing: &str) -> String {
        if self.is_empty() { nothing.to_owned() } else { self.shown() }
    }
}

/// What ended an operation.
pub(super) struct Outcome {
    pub(super) code: i64,
    pub(super) said: Words,
}

/// `LDAPResult` (RFC 4511 §4.1.9).
pub(super) fn outcome(content: &[u8]) -> Result<Outcome, Garbage> {
    let mut parts = Reader(content);
    let code = parts.integer(ENUMERATED)?;
    parts.expect(OCTETS)?;
    Ok(Outcome { code, said: Words::of(parts.expect(OCTETS)?) })
}

pub(super) fn succeeded(result: Outcome) -> Result<(), Error> {
    let Outcome { code, said } = result;
    if code == 0 { Ok(()) } else { Err(Error::Result { code, text: Text::of(code, said) }) }
}

/// The only unsolicited message there is: the server says goodbye (RFC 4511 §4.4.1).
pub(super) fn goodbye(content: &[u8]) -> Error {
    match outcome(content) {
        Ok(Outcome { code, said }) => Error::Ended { code, text: Text::of(code, said) },
        Err(garbage) => garbage.into(),
    }
}

fn meaning(code: i64) -> &'static str {
    match code {
        3 => " (time limit)",
        4 => " (size limit)",
        10 => " (referral)",
        11 => " (administrative limit)",
        NO_SUCH_OBJECT => " (no such object)",
        INVALID_NAME => " (no distinguished name)",
        50 => " (insufficient rights)",
        51 => " (busy)",
        52 => " (unavailable)",
        53 => " (unwilling)",
        _ => "",
    }
}

/// What whoever runs musterd can do about it.
fn advice(code: i64) -> &'static str {
    match code {
        3 | 4 | 11 => {
            "; whoever reads needs higher limits there, in OpenLDAP `limits dn.exact=\"BIND_DN\" size=unlimited \
             size.prtotal=unlimited time=unlimited` (docs/directories.md)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::ber::element;
    use super::*;

    fn result(code: u8, said: &[u8]) -> Error {
        let content = [element(ENUMERATED, &[code]), element(OCTETS, b""), element(OCTETS, said)].concat();
        succeeded(outcome(&content).unwrap()).unwrap_err()
    }

    #[test]
    fn the_words_of_a_server_are_short_plain_and_without_the_password() {
        let told = result(53, b"\x1b[31mno\x07\nno").to_string();
        assert_eq!(told, "the server answered with result code 53 (unwilling): \\u{1b}[31mno\\u{7}\\u{a}no");
        assert!(result(53, "é".repeat(70_000).as_bytes()).to_string().chars().count() < 400);
        let long = format!("{} hunter22 and hunter22", "x".repeat(295));
        let told = result(53, long.as_bytes()).without(Some("hunter22")).to_string();
        assert!(!told.contains("hunt") && told.contains("***"), "{told}");
        assert_eq!(
            result(53, b"").without(Some("")).to_string(),
            "the server answered with result code 53 (unwilling)"
        );
        // A busy server may answer soon; one that does not know what the mode asks for never will.
        assert!(result(51, b"").passes() && !result(12, b"").passes());
        let refused = Error::Refused { url: "u".to_owned(), dn: "d".to_owned(), said: Words::of(b" ") };
        assert_eq!(refused.to_string(), "u refused the credentials of d: it gives no reason");
    }
}
