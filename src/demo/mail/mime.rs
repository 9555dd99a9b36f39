//! Reads a caught mail: headers unfolded and decoded (RFC 2047), the text and HTML parts of a multipart decoded
//! (quoted-printable, base64). For showing only: what cannot be read is shown as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A caught mail.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mail {
    /// The sender and the recipients of the envelope.
    pub from: String,
    pub to: Vec<String>,
    /// In their order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub subject: String,
    pub text: String,
    pub html: String,
    #[serde(skip)]
    pub raw: String,
}

impl Mail {
    pub(super) fn read(from: String, to: Vec<String>, raw: String) -> Mail {
        let (headers, body) = split(&raw);
        let mut mail = Mail {
            from,
            to,
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            headers,
            raw: String::new(),
        };
        mail.subject = mail.header("subject").unwrap_or_default().to_owned();
        let kind = mail.header("content-type").unwrap_or_default().to_owned();
        match boundary(&kind) {
            Some(boundary) => {
                for part in body.split(&format!("--{boundary}")).skip(1).take_while(|part| !part.starts_with("--")) {
                    let (headers, body) = split(part.trim_start_matches("\r\n"));
                    take(&mut mail, &headers, &body);
                }
            }
            None => {
                let headers = mail.headers.clone();
                take(&mut mail, &headers, &body);
            }
        }
        mail.raw = raw;
        mail
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The first web address in the text part.
    pub fn link(&self) -> Option<&str> {
        let start = self.text.find("https://").or_else(|| self.text.find("http://"))?;
        self.text[start..].split_whitespace().next()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn take(mail: &mut Mail, headers: &[(String, String)], body: &str) {
    let kind = find(headers, "content-type").unwrap_or("text/plain").to_ascii_lowercase();
    let text = decoded(find(headers, "content-transfer-encoding").unwrap_or_default(), body);
    if kind.starts_with("text/html") {
        mail.html = text;
    } else if kind.starts_with("text/plain") {
        mail.text = text;
    }
}

/// Headers and body. Folded header lines are joined.
fn split(raw: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n") {
        match (line.starts_with([' ', '\t']), headers.last_mut()) {
            (true, Some((_, value))) => value.push_str(&format!(" {}", line.trim())),
            _ => {
                if let Some((name, value)) = line.split_once(':') {
                    headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
        }
    }
    for (_, value) in &mut headers {
        *value = words(value);
    }
    (headers, body.to_owned())
}

fn boundary(kind: &str) -> Option<&str> {
    let (_, rest) = kind.split_once("boundary=")?;
    Some(rest.trim_start_matches('"').split(['"', ';']).next().unwrap_or_default()).filter(|text| !text.is_empty())
}

/// `=?utf-8?b?…?=` and `=?utf-8?q?…?=`; white space between two of them is none.
fn words(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("=?") {
        let (before, from) = rest.split_at(start);
        let mut parts = from[2..].splitn(4, '?');
        let (Some(_), Some(kind), Some(body), Some(tail)) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            break;
        };
        let Some(tail) = tail.strip_prefix('=') else { break };
        if !before.trim().is_empty() {
            out.push_str(before);
        }
        out.push_str(&match kind {
            "b" | "B" => decoded("base64", body),
            _ => decoded("quoted-printable", &body.replace('_', " ")),
        });
        rest = tail;
    }
    out + rest
}

fn decoded(encoding: &str, body: &str) -> String {
    let bytes = match encoding.to_ascii_lowercase().as_str() {
        "base64" => {
            let text: String = body.split_whitespace().collect();
            STANDARD.decode(text.trim_end_matches("--")).unwrap_or_default()
        }
        "quoted-printable" => quoted(body),
        _ => body.as_bytes().to_vec(),
    };
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned()
}

fn quoted(body: &str) -> Vec<u8> {
    let body = body.replace("=\r\n", "");
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        if byte == b'='
            && let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next()))
        {
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mail_programs_decode_is_decoded() {
        assert_eq!(words("=?utf-8?b?UG96dsOhbmth?= =?utf-8?q?_do_=C5=BDr?= x"), "Pozvánka do Žr x");
        let raw = "Subject: a\r\n b\r\nContent-Type: multipart/alternative;\r\n boundary=\"p\"\r\n\r\n--p\r\nContent-Type: \
                   text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nP=C5=99=\r\nijmout\r\n\
                   https://x/invite/A_b\r\n--p\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: \
                   base64\r\n\r\nPGI+\r\n--p--\r\n";
        let mail = Mail::read("f@x".to_owned(), vec!["t@x".to_owned()], raw.to_owned());
        assert_eq!((mail.subject.as_str(), mail.html.as_str()), ("a b", "<b>"));
        assert_eq!(mail.text, "Přijmout\nhttps://x/invite/A_b");
        assert_eq!(mail.link(), Some("https://x/invite/A_b"));
    }
}
