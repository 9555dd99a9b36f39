//! Section `[mail]`: the mail server, who mails come from and in which language when a person has no wish. Without
//! `host` nothing is mailed: secrets are then returned once to whoever asked for them (R57).

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::read::Section;
use crate::model::kind::words;
use crate::model::language::Language;
use crate::model::mail::is_address;

words! {
    /// How the connection to the mail server is protected.
    MailSecurity {
        /// STARTTLS on the submission port; without it nothing is sent.
        Starttls = "starttls",
        /// TLS from the first byte.
        Smtps = "smtps",
        /// In clear; only with `insecure = true`.
        None = "none",
    }
}

#[derive(Debug, Clone)]
pub struct Mail {
    /// `None`: nothing is mailed.
    pub host: Option<String>,
    pub port: u16,
    pub security: MailSecurity,
    /// Only this authority is trusted for the mail server; `None` = the system's.
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Address that mails come from.
    pub from: String,
    /// What the operator calls the service; the sender's name and in every text.
    pub product: String,
    /// For people without a language of ours.
    pub language: Language,
    /// For one step of the conversation.
    pub timeout: Duration,
}

impl Mail {
    pub(super) fn read(section: &Section<'_>) -> Mail {
        let host = section.text("host").filter(|host| !host.is_empty());
        let security = section.word("security", MailSecurity::Starttls);
        let insecure = section.boolean("insecure", false);
        if security == MailSecurity::None && !insecure {
            section.fault(
                "security",
                Some("none"),
                "sends passwords and links in clear: set insecure = true to want that",
            );
        }
        let from = section.text_or("from", "");
        if host.is_some() && !is_address(&from) {
            section.fault("from", Some(&from), "must be an e-mail address like helpdesk@example.com");
        }
        let username = section.text("username");
        let password = section.secret("password");
        if username.is_some() != password.is_some() {
            section.fault("username", username.as_deref(), "username and password_file belong together");
        }
        let port = if security == MailSecurity::Smtps { 465 } else { 587 };
        let seconds = Duration::from_secs;
        Mail {
            host,
            port: section.integer("port", 1..=65_535, port) as u16,
            security,
            ca_file: section.path_of("ca_file"),
            username,
            password,
            from,
            product: section.text_or("product", "Helpdesk"),
            language: section.word("language", Language::En),
            timeout: section.duration_within("timeout", Duration::from_millis(100)..=seconds(600), seconds(30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::check;

    #[test]
    fn all_faults_of_the_section_at_once() {
        let text =
            "[mail]\nhost = 'mx'\nsecurity = 'none'\nfrom = 'me'\nusername = 'u'\nlanguage = 'fr'\ncolour = 'red'";
        let refused = check(text, |root| Mail::read(&root.section("mail"))).unwrap_err();
        let keys: Vec<&str> = refused.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["mail.security", "mail.from", "mail.username", "mail.language", "mail.colour"]);
    }

    #[test]
    fn nothing_is_mailed_unless_a_server_is_named() {
        let mail = check("", |root| Mail::read(&root.section("mail"))).unwrap();
        assert_eq!((mail.host, mail.port, mail.security), (None, 587, MailSecurity::Starttls));
    }
}
