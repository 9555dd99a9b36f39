//! Words of a filter. Literals without quotes are words too (clients send `externalId eq jyoung` and bare dates), so
//! the parser decides by place what a word means.

use super::error::Error;
use super::json::short;

/// Bytes of a filter.
const LENGTH: usize = 8 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    /// A quoted JSON text, unescaped.
    Text(String),
    /// Anything else up to white space or a bracket.
    Word(String),
}

pub fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    if text.len() > LENGTH {
        return Err(Error::InvalidFilter(format!("the filter is longer than {LENGTH} bytes")));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, used) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '[' => (Token::OpenBracket, 1),
            ']' => (Token::CloseBracket, 1),
            '"' => quoted(rest)?,
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()[]\"".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
        };
        tokens.push(token);
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes at the start of `rest`, and how many bytes it takes.
fn quoted(rest: &str) -> Result<(Token, usize), Error> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => {
                let raw = &rest[..=at];
                let text = serde_json::from_str::<String>(raw)
                    .map_err(|_| Error::InvalidFilter(format!("{} is no JSON text", short(raw))))?;
                return Ok((Token::Text(text), at + 1));
            }
            _ => at += 1,
        }
    }
    Err(Error::InvalidFilter("a text in quotes has no end".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_texts_and_brackets() {
        let word = |text: &str| Token::Word(text.to_owned());
        assert_eq!(
            tokens(r#"emails[type eq "wo\"rk"].value eq(x)"#).unwrap(),
            [
                word("emails"),
                Token::OpenBracket,
                word("type"),
                word("eq"),
                Token::Text("wo\"rk".to_owned()),
                Token::CloseBracket,
                word(".value"),
                word("eq"),
                Token::Open,
                word("x"),
                Token::Close
            ]
        );
        for bad in [r#"a eq ""#, r#"a eq "\"#, r#"a eq "\x""#, &"a ".repeat(5000)] {
            assert_eq!(tokens(bad).unwrap_err().scim_type(), Some("invalidFilter"));
        }
    }
}
