//! Distinguished names (RFC 4514) as comparable text: two spellings of one DN become one alias. Types and values are
//! folded, escapes resolved, spaces around separators dropped, the parts of a multi-valued RDN sorted. A DN is only ever
//! an alias here, never a key. Start at `normal`.

use crate::model::fold;

/// Longer ones are refused: nothing legitimate comes near it.
const MAX_LEN: usize = 8192;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a distinguished name (RFC 4514): {0}")]
pub struct NotADn(&'static str);

/// `CN=Nováková\, Eva , OU=Lidé` and `cn=nov\C3\A1kov\C3\A1\2c eva,ou=LIDÉ` give the same text.
pub fn normal(text: &str) -> Result<String, NotADn> {
    if text.len() > MAX_LEN {
        return Err(NotADn("too long"));
    }
    let mut out = String::with_capacity(text.len());
    if text.trim().is_empty() {
        return Ok(out);
    }
    for rdn in split(text, &[',', ';']) {
        let mut parts = split(rdn, &['+']).into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        parts.sort_unstable();
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&parts.join("+"));
    }
    Ok(out)
}

/// The name in a `NameAndOptionalUID` (RFC 4517 §3.3.21), as a value of `uniqueMember` is: without `#'0101'B`.
pub fn without_uid(text: &str) -> &str {
    let bits = |text: &str| text.chars().all(|c| matches!(c, '0' | '1'));
    let named = text.trim_end().strip_suffix("'B").and_then(|rest| rest.rsplit_once("#'"));
    named.filter(|(_, uid)| bits(uid)).map_or(text, |(name, _)| name)
}

/// At separators that are neither escaped nor quoted (quotes: RFC 2253's older form).
fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let (mut parts, mut start, mut escaped, mut quoted) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && separators.contains(&c) => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn part(text: &str) -> Result<String, NotADn> {
    let (name, value) = text.split_once('=').ok_or(NotADn("a part without `=`"))?;
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("oid.").unwrap_or(&name);
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(fine) {
        return Err(NotADn("a strange attribute type"));
    }
    Ok(format!("{name}={}", escaped(&fold::key(&value_of(value)?))))
}

/// The value without escapes, quotes and outer spaces; inner runs of spaces count as one (caseIgnoreMatch).
fn value_of(text: &str) -> Result<String, NotADn> {
    let text = text.trim_start();
    let mut bytes = Vec::with_capacity(text.len());
    // The end of what must not be trimmed: an escaped space belongs to the value.
    let mut keep = 0;
    let mut quoted = false;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                let first = rest.next().ok_or(NotADn("ends in `\\`"))?;
                match (hex(first), rest.clone().next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        bytes.push(high << 4 | low);
                        rest.next();
                    }
                    _ => bytes.push(first),
                }
                keep = bytes.len();
            }
            b'"' => quoted = !quoted,
            b' ' if !quoted && bytes.last() == Some(&b' ') && bytes.len() > keep => {}
            byte => {
                bytes.push(byte);
                if quoted {
                    keep = bytes.len();
                }
            }
        }
    }
    if quoted {
        return Err(NotADn("an open quote"));
    }
    while bytes.len() > keep && bytes.last() == Some(&b' ') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| NotADn("an escape that is not UTF-8"))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The separators stay distinguishable from the text.
fn escaped(text: &str) -> String {
    if !text.contains([',', '+', '\\']) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 4), |mut out, c| {
        if matches!(c, ',' | '+' | '\\') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_one_name() {
        for (one, other) in [
            ("CN=Eva Novotna,OU=People,DC=x", "cn=eva novotna, ou=PEOPLE , dc=X"),
            ("cn=Smith\\, John,dc=x", "CN=smith\\2c john,DC=X"),
            ("cn=Nov\u{e1}k,dc=x", "cn=Nov\\C3\\A1k,dc=x"),
            ("cn=a+uid=b,dc=x", "UID=b + CN=a,dc=x"),
            ("cn=\"Smith, John\",dc=x", "cn=Smith\\, John,dc=x"),
            ("cn=a  b,dc=x", "cn=a b,dc=x"),
            ("OID.2.5.4.3=a", "2.5.4.3=a"),
        ] {
            assert_eq!(normal(one).unwrap(), normal(other).unwrap(), "{one} / {other}");
        }
        assert_ne!(normal("cn=a\\,b").unwrap(), normal("cn=a,cn=b").unwrap());
        assert_ne!(normal("cn=a\\+b=c").unwrap(), normal("cn=a+b=c").unwrap());
        assert_eq!(normal("").unwrap(), "");
    }

    #[test]
    fn a_unique_name_is_the_name_in_it() {
        for (text, name) in [
            ("cn=a,dc=x#'0101'B", "cn=a,dc=x"),
            ("cn=a,dc=x#''B", "cn=a,dc=x"),
            ("cn=a#'01'B,dc=x", "cn=a#'01'B,dc=x"),
            ("cn=a#'012'B", "cn=a#'012'B"),
            ("cn=a", "cn=a"),
        ] {
            assert_eq!(without_uid(text), name);
        }
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        for wrong in ["eva", "=x", "cn=a,,dc=x", "cn=a\\", "cn=\\C3,dc=x", "cn=\"a", "c n=x"] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
    }
}
