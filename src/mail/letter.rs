//! Renders a mail as text and HTML from `templates/<language>/<kind>`; the first line of the text is the subject. Names
//! are made plain first (`model::mail::plain_name`) and escaped in the HTML. Nothing remote is referred to, and the only
//! address in a letter is the link that the caller built from the configured `public_url` (S14).

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::model::invitation::Role;
use crate::model::language::Language;
use crate::model::mail::{MailKind, plain_name};
use crate::model::time::Millis;

/// What a letter says. Raw: `render` makes it plain and escapes it.
#[derive(Clone, Default)]
pub struct Facts<'a> {
    /// The recipient's name.
    pub name: &'a str,
    /// What the operator calls the service.
    pub product: &'a str,
    pub company: Option<&'a str>,
    pub inviter: Option<&'a str>,
    pub login: Option<&'a str>,
    pub role: Option<Role>,
    /// Built from `public_url` alone.
    pub link: &'a str,
    pub expires: Option<Millis>,
    /// Only in `MailKind::Password`.
    pub password: Option<&'a str>,
}

/// A rendered mail. Not `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    pub language: Language,
    pub subject: String,
    pub text: String,
    pub html: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the template {name} cannot be rendered: {reason}")]
    Template { name: String, reason: String },
    #[error("the template {0} has no subject in its first line")]
    NoSubject(String),
}

/// The templates, compiled once.
pub struct Letters(Environment<'static>);

macro_rules! templates {
    ($($language:literal: $($name:literal),+;)+) => {
        &[("layout.html", include_str!("templates/layout.html")), $($((
            concat!($language, "/", $name),
            include_str!(concat!("templates/", $language, "/", $name)),
        )),+),+]
    };
}

const TEMPLATES: &[(&str, &str)] = templates! {
    "cs": "invitation.txt", "invitation.html", "set_password.txt", "set_password.html", "password.txt", "password.html";
    "de": "invitation.txt", "invitation.html", "set_password.txt", "set_password.html", "password.txt", "password.html";
    "en": "invitation.txt", "invitation.html", "set_password.txt", "set_password.html", "password.txt", "password.html";
    "pl": "invitation.txt", "invitation.html", "set_password.txt", "set_password.html", "password.txt", "password.html";
};

impl Letters {
    pub fn new() -> Result<Letters, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_auto_escape_callback(|name| {
            if name.rsplit_once('.').is_some_and(|(_, end)| end == "txt") { AutoEscape::None } else { AutoEscape::Html }
        });
        for (name, text) in TEMPLATES {
            environment.add_template(name, text).map_err(|error| failed(name, &error))?;
        }
        Ok(Letters(environment))
    }

    pub fn render(&self, kind: MailKind, language: Language, facts: &Facts<'_>) -> Result<Letter, Error> {
        let name = format!("{language}/{kind}");
        let whole = self.part(&format!("{name}.txt"), language, "", facts)?;
        let (subject, text) = whole.split_once('\n').ok_or_else(|| Error::NoSubject(name.clone()))?;
        let subject = subject.trim();
        if subject.is_empty() {
            return Err(Error::NoSubject(name));
        }
        let html = self.part(&format!("{name}.html"), language, subject, facts)?;
        Ok(Letter { language, subject: subject.to_owned(), text: text.trim_start().to_owned(), html })
    }

    fn part(&self, name: &str, language: Language, subject: &str, facts: &Facts<'_>) -> Result<String, Error> {
        let plain = |text: Option<&str>| text.map(plain_name).filter(|text| !text.is_empty());
        let context = context! {
            language => language.as_str(),
            subject => subject,
            name => plain_name(facts.name),
            product => plain_name(facts.product),
            company => plain(facts.company),
            inviter => plain(facts.inviter),
            login => plain(facts.login),
            role => facts.role.map(Role::as_str),
            link => facts.link,
            expires => facts.expires.map(shown).unwrap_or_default(),
            password => facts.password.unwrap_or_default(),
        };
        let template = self.0.get_template(name).map_err(|error| failed(name, &error))?;
        template.render(context).map_err(|error| failed(name, &error))
    }
}

/// The kind of error and its line; never the values.
fn failed(name: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    Error::Template { name: name.to_owned(), reason: format!("{:?}{line}", error.kind()) }
}

/// `2026-09-28 14:13`.
fn shown(at: Millis) -> String {
    let text = at.to_string();
    text.get(..16).map(|text| text.replace('T', " ")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://desk.example/invite/secret-Token_1";

    fn facts() -> Facts<'static> {
        Facts {
            name: "Žofie Nováková",
            product: "Helpdesk",
            company: Some("Řeřicha & syn"),
            inviter: Some("Jan"),
            login: Some("zofie@example.cz"),
            role: Some(Role::Moderator),
            link: LINK,
            expires: Some(Millis(1_790_000_000_000)),
            password: Some("Kx4mQ-7bTzd"),
        }
    }

    #[test]
    fn r92_every_mail_exists_in_every_language_and_they_differ() {
        let letters = Letters::new().unwrap();
        for kind in MailKind::ALL {
            let mut subjects = std::collections::BTreeSet::new();
            for language in Language::ALL {
                let letter = letters.render(*kind, *language, &facts()).unwrap();
                assert!(letter.text.contains(LINK), "{kind} {language}: {}", letter.text);
                assert!(letter.html.contains(&format!("<html lang=\"{language}\">")));
                assert!(!letter.text.contains("{{") && !letter.text.contains("undefined"), "{}", letter.text);
                subjects.insert(letter.subject);
            }
            assert_eq!(subjects.len(), Language::ALL.len(), "{kind}");
        }
    }

    #[test]
    fn r92_a_sentence_has_one_full_stop_whatever_the_company_is_called() {
        let letters = Letters::new().unwrap();
        for language in Language::ALL {
            for company in [Some("ACME s.r.o."), Some("Acme"), None] {
                let letter = letters.render(MailKind::Invitation, *language, &Facts { company, ..facts() }).unwrap();
                for text in [letter.text, letter.html] {
                    assert!(!text.contains(".."), "{language} {company:?}: {text}");
                    let sentence = text.lines().find(|line| line.contains("Jan") && line.contains("Helpdesk")).unwrap();
                    assert!(sentence.trim_end_matches("</p>").ends_with('.'), "{language} {company:?}: {sentence}");
                }
            }
        }
    }

    #[test]
    fn r68_an_invitation_has_one_button_and_nothing_remote() {
        let letters = Letters::new().unwrap();
        let buttons = [
            ("cs", "Přijmout pozvánku"),
            ("de", "Einladung annehmen"),
            ("en", "Accept invitation"),
            ("pl", "Przyjmij zaproszenie"),
        ];
        for (language, button) in buttons {
            let letter = letters.render(MailKind::Invitation, language.parse().unwrap(), &facts()).unwrap();
            assert_eq!(letter.html.matches("<a ").count(), 1, "{language}");
            assert_eq!(letter.html.matches("href=").count(), 1);
            assert!(letter.html.contains(&format!(">{button}</a>")), "{}", letter.html);
            assert!(!letter.html.contains("src=") && !letter.html.contains("url(") && !letter.html.contains("<link"));
            assert!(letter.text.contains(button));
        }
    }

    #[test]
    fn s20_names_are_escaped_in_both_parts() {
        let letters = Letters::new().unwrap();
        let evil = "<img src=x onerror=alert(1)></a>\r\nBcc: x@y.z\u{202e} https://evil.test";
        let facts = Facts { name: evil, company: Some(evil), inviter: Some(evil), ..facts() };
        for language in Language::ALL {
            let letter = letters.render(MailKind::Invitation, *language, &facts).unwrap();
            assert!(!letter.html.contains("<img"), "{}", letter.html);
            assert!(letter.html.contains("&lt;img"));
            assert!(!letter.subject.contains(['\r', '\n']));
            for part in [&letter.html, &letter.text, &letter.subject] {
                assert!(!part.contains('\u{202e}') && !part.contains("://evil") && !part.contains("\nBcc"), "{part}");
            }
        }
    }

    #[test]
    fn what_is_unknown_leaves_no_gap() {
        let letters = Letters::new().unwrap();
        let facts =
            Facts { product: "Helpdesk", link: LINK, expires: Some(Millis(1_790_000_000_000)), ..Facts::default() };
        let letter = letters.render(MailKind::Invitation, Language::En, &facts).unwrap();
        insta::assert_snapshot!(format!("{}\n\n{}", letter.subject, letter.text), @r"
        Invitation to Helpdesk

        Hello,

        you have been invited to Helpdesk.

        Accept invitation:
        https://desk.example/invite/secret-Token_1

        On the page you choose a password, or log in with the account that you already have.
        The link is valid until 2026-09-21 14:13 (UTC) and can be used once.
        If you did not expect this message, there is nothing you need to do.

        -- 
        This message was sent automatically by Helpdesk. Please do not reply to it.
        ");
    }
}
