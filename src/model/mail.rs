//! Mails as the outbox knows them: what kind, and what becomes of one. Also what an address and a name must look like
//! before they come near a mail header (S20, S21).

use super::kind::words;

words! {
    /// Column `kind` of the outbox for what this program mails.
    MailKind {
        /// An invitation with its one button (R68).
        Invitation = "invitation",
        /// A link to set the password of an account that exists (R54).
        SetPassword = "set_password",
        /// A generated password in clear text, only where the profile says so (R54). It is generated at delivery.
        Password = "password",
    }
}

words! {
    /// Column `state` of the outbox.
    OutboxState {
        Queued = "queued",
        /// Claimed by lease; a row found so long after may have been sent.
        Sending = "sending",
        Sent = "sent",
        /// Refused for good, or tried for too long.
        Failed = "failed",
        /// The mail server had the whole mail and did not answer: it may have been delivered. Never sent again by itself.
        Indeterminate = "indeterminate",
        /// What it stood for is gone: the link was used, revoked or replaced before it was sent.
        Skipped = "skipped",
    }
}

/// Bytes (RFC 5321).
const LONGEST_ADDRESS: usize = 254;
const LONGEST_LOCAL: usize = 64;

/// Whether mail can be sent to it: `local@domain` without white space, quotes, control characters, comments or a display
/// name. Stricter than RFC 5322 on purpose: what falls outside is a typing error or an attack.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let strange = |c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>@[]\\".contains(c) || is_invisible(c);
    text.len() <= LONGEST_ADDRESS
        && !local.is_empty()
        && local.len() <= LONGEST_LOCAL
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local.contains(strange)
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

/// What people and sources call somebody, fit for a line of a mail: no control characters, no marks that turn the
/// direction of writing, no address of a web page (mail programs make links of those), at most 120 characters.
pub fn plain_name(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect();
    let mut name = line.split_whitespace().collect::<Vec<_>>().join(" ");
    while let Some(at) = name.find("://") {
        name.replace_range(at..at + 3, " ");
    }
    let lower = name.to_ascii_lowercase();
    if lower.len() == name.len()
        && let Some(at) = lower.find("www.")
    {
        name.replace_range(at..at + 4, "www ");
    }
    name.chars().take(120).collect::<String>().trim().to_owned()
}

/// Zero width, direction marks, line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s21_addresses_that_could_speak_smtp_are_none() {
        for good in ["a@b.cz", "eva.novotna+x@acme.test", "o'brien@x-y.example", "řeřicha@žluť.cz", "root@localhost"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "@b",
            "a@",
            "a b@c.cz",
            "a@b.cz\r\nRCPT TO:<x@y>",
            "a\0@b.cz",
            "<a@b.cz>",
            "a@b..cz",
            ".a@b.cz",
            "a@b_c.cz",
            "a,b@c.cz",
            "a@-b.cz",
            "a\u{202e}@b.cz",
            "\"a\"@b.cz",
            "a@b.cz.",
            "a@[127.0.0.1]",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
        assert!(!is_address(&format!("{}@b.cz", "a".repeat(65))));
    }

    #[test]
    fn s20_names_are_one_short_line_without_links() {
        assert_eq!(plain_name(" Eva\r\nBcc: x@y \u{202e}Nová "), "Eva Bcc: x@y Nová");
        assert_eq!(plain_name("win at https://evil.test www.evil.test"), "win at https evil.test www evil.test");
        assert_eq!(plain_name(&"x".repeat(10_000)).len(), 120);
        assert_eq!(plain_name("<b>Žofie</b>"), "<b>Žofie</b>", "escaping is the renderer's");
    }
}
