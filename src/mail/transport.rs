//! Hands a letter to the mail server over SMTP and says exactly how that ended. What matters is the moment of failure:
//! before the final dot nothing was taken and trying again is safe; after it, without an answer, nobody knows
//! (RFC 5321 section 4.5.3.2.6), and trying again could deliver twice. Addresses are checked once more before they are
//! put into a command. Start with `Transport::open`.

use std::time::{Duration, SystemTime};

use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::{Error as SmtpError, response::Response};
use secrecy::ExposeSecret;

use super::letter::Letter;
use crate::config::mail::{Mail, MailSecurity};
use crate::model::mail::{is_address, plain_name};
use crate::model::time::Millis;

/// After the final dot the server may take its time.
const AFTER_DOT: u32 = 4;

/// How a delivery ended. Reasons are fit for a log: codes and the server's words, never the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    /// Nothing was taken; try again later.
    Retry(String),
    /// Refused for good.
    Failed(String),
    /// The server had everything and did not answer.
    Indeterminate(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no mail server is configured")]
    Off,
    #[error("{file}: {reason}")]
    Authority { file: String, reason: String },
    #[error("{0}")]
    Tls(String),
}

/// Where one letter goes, and the headers that stay the same over all attempts.
pub struct Envelope<'a> {
    pub to: &'a str,
    pub name: &'a str,
    /// With angle brackets.
    pub message_id: &'a str,
    pub date: Millis,
}

/// How the mail server is reached; checked, and cheap to keep.
pub struct Transport {
    host: String,
    settings: Mail,
    tls: Option<TlsParameters>,
    hello: ClientId,
}

/// An open, protected and authenticated connection: several letters may go over it.
pub struct Session<'a> {
    transport: &'a Transport,
    connection: AsyncSmtpConnection,
}

impl Transport {
    pub fn new(settings: &Mail) -> Result<Transport, Error> {
        let host = settings.host.clone().ok_or(Error::Off)?;
        let tls = match settings.security {
            MailSecurity::None => None,
            MailSecurity::Starttls | MailSecurity::Smtps => Some(tls(&host, settings)?),
        };
        let domain = settings.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let hello = ClientId::Domain(ascii(domain).unwrap_or_else(|| "localhost".to_owned()));
        Ok(Transport { host, settings: settings.clone(), tls, hello })
    }

    /// `Err` says why the server could not be used at all: then no letter was touched.
    pub async fn open(&self) -> Result<Session<'_>, String> {
        // Three steps at most (connect, TLS, login), none of which a letter is part of.
        tokio::time::timeout(self.settings.timeout * 3, self.connect())
            .await
            .unwrap_or_else(|_| Err(format!("no answer from {} in time", self.host)))
    }

    async fn connect(&self) -> Result<Session<'_>, String> {
        let at = |error: SmtpError| format!("{}: {}", self.host, reason(&error));
        let first = self.tls.clone().filter(|_| self.settings.security == MailSecurity::Smtps);
        let server = (self.host.as_str(), self.settings.port);
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.settings.timeout), &self.hello, first, None);
        let mut connection = connected.await.map_err(at)?;
        if let Some(tls) = self.tls.clone().filter(|_| self.settings.security == MailSecurity::Starttls) {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(format!("{}: offers no STARTTLS, and nothing is sent in clear", self.host));
            }
            connection.starttls(tls, &self.hello).await.map_err(at)?;
        }
        if let (Some(name), Some(password)) = (&self.settings.username, &self.settings.password) {
            let login = Credentials::new(name.clone(), password.expose_secret().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &login).await.map_err(at)?;
        }
        Ok(Session { transport: self, connection })
    }

    fn message(&self, envelope: &Envelope<'_>, to: Address, letter: &Letter) -> Result<Message, String> {
        let settings = &self.settings;
        let from: Address = settings.from.parse().map_err(|error| format!("mail.from: {error}"))?;
        let name = Some(plain_name(envelope.name)).filter(|name| !name.is_empty());
        let header =
            |name: &'static str, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(envelope.date.0).unwrap_or(0));
        let boundary: String = envelope.message_id.chars().filter(char::is_ascii_alphanumeric).take(48).collect();
        let parts = MultiPart::alternative()
            .boundary(format!("part-{boundary}"))
            .singlepart(part(ContentType::TEXT_PLAIN, &letter.text))
            .singlepart(part(ContentType::TEXT_HTML, &letter.html));
        Message::builder()
            .from(Mailbox::new(Some(plain_name(&settings.product)), from))
            .to(Mailbox::new(name, to))
            .subject(plain_line(&letter.subject))
            .date(date)
            .message_id(Some(envelope.message_id.to_owned()))
            .raw_header(header("Content-Language", letter.language.as_str()))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"))
            .multipart(parts)
            .map_err(|error| error.to_string())
    }
}

impl Session<'_> {
    /// One letter to one recipient. After anything but `Sent` the connection may be unusable: open another.
    pub async fn send(&mut self, envelope: &Envelope<'_>, letter: &Letter) -> Outcome {
        let Some(to) = recipient(envelope.to) else {
            return Outcome::Failed("the address is none that mail can be sent to".to_owned());
        };
        let message = match self.transport.message(envelope, to, letter) {
            Ok(message) => message,
            Err(reason) => return Outcome::Failed(reason),
        };
        match self.introduce(&message).await {
            Ok(()) => self.hand_over(&message).await,
            Err(outcome) => outcome,
        }
    }

    pub async fn close(mut self) {
        let _ = tokio::time::timeout(self.transport.settings.timeout, self.connection.quit()).await;
    }

    /// MAIL, RCPT, DATA: until its end nothing has been taken.
    async fn introduce(&mut self, message: &Message) -> Result<(), Outcome> {
        let envelope = message.envelope();
        let mut parameters = Vec::new();
        if envelope.to().iter().any(|to| !<Address as AsRef<str>>::as_ref(to).is_ascii()) {
            if !self.connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Outcome::Failed("the mail server takes no addresses outside of ASCII".to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        self.step(MailFrom::new(envelope.from().cloned(), parameters)).await?;
        for to in envelope.to() {
            self.step(Rcpt::new(to.clone(), Vec::new())).await?;
        }
        self.step(Data).await
    }

    async fn step(&mut self, command: impl std::fmt::Display) -> Result<(), Outcome> {
        match tokio::time::timeout(self.transport.settings.timeout, self.connection.command(command)).await {
            Ok(answer) => answer.map(drop).map_err(|error| before_dot(&error)),
            Err(_) => Err(Outcome::Retry("no answer in time".to_owned())),
        }
    }

    async fn hand_over(&mut self, message: &Message) -> Outcome {
        let wait = self.transport.settings.timeout * AFTER_DOT;
        match tokio::time::timeout(wait, self.connection.message(&message.formatted())).await {
            Ok(answer) => after_dot(answer),
            Err(_) => Outcome::Indeterminate("no answer after the final dot".to_owned()),
        }
    }
}

fn before_dot(error: &SmtpError) -> Outcome {
    let code = error.status().map(u16::from);
    // Codes of authentication are the configuration's fault, not the letter's.
    if error.is_permanent() && !matches!(code, Some(530 | 534 | 535 | 538)) {
        Outcome::Failed(reason(error))
    } else {
        Outcome::Retry(reason(error))
    }
}

fn after_dot(answer: Result<Response, SmtpError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Sent,
        Err(error) if error.is_permanent() => Outcome::Failed(reason(&error)),
        Err(error) if error.is_transient() => Outcome::Retry(reason(&error)),
        Err(error) => Outcome::Indeterminate(format!("after the final dot: {}", reason(&error))),
    }
}

fn part(kind: ContentType, text: &str) -> SinglePart {
    SinglePart::builder().header(kind).body(text.to_owned())
}

/// The error with its causes, one line, without control characters, at most 300 characters.
fn reason(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    plain_line(&text)
}

fn plain_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// A checked address with its domain in ASCII.
fn recipient(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@').filter(|_| is_address(text))?;
    Address::new(local, ascii(domain)?).ok()
}

fn ascii(domain: &str) -> Option<String> {
    idna::domain_to_ascii(domain).ok().filter(|domain| !domain.is_empty())
}

fn tls(host: &str, settings: &Mail) -> Result<TlsParameters, Error> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &settings.ca_file {
        let failed = |reason: String| Error::Authority { file: file.display().to_string(), reason };
        let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let authority = Certificate::from_pem(&pem).map_err(|error| failed(error.to_string()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|error| Error::Tls(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::demo::mail::{Catcher, Does, Moment, Options};
    use crate::model::language::Language;

    struct Server {
        catcher: Catcher,
        folder: tempfile::TempDir,
    }

    async fn server(options: Options) -> Server {
        let catcher = Catcher::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &catcher.authority).unwrap();
        Server { catcher, folder }
    }

    impl Server {
        fn transport(&self, more: &str) -> Transport {
            let text = format!(
                "[mail]\nhost = '127.0.0.1'\nport = {}\nfrom = 'desk@example.test'\nproduct = 'Žluťák'\ntimeout = '2s'\n\
                 ca_file = '{}'\n{more}",
                self.catcher.smtp.port(),
                self.folder.path().join("ca.pem").display(),
            );
            Transport::new(&Config::parse(&text).unwrap().mail).unwrap()
        }
    }

    fn letter() -> Letter {
        Letter {
            language: Language::Cs,
            subject: "Pozvánka do Žluťáku".to_owned(),
            text: "Přijmout\n.\nhttps://desk.example/invite/T\n".to_owned(),
            html: "<p>Přijmout</p>".to_owned(),
        }
    }

    fn envelope(to: &str) -> Envelope<'_> {
        let date = Millis(1_790_000_000_000);
        Envelope { to, name: "Žofie \"Z\" Nová", message_id: "<0198c0de@example.test>", date }
    }

    #[tokio::test]
    async fn a7_mail_goes_out_over_starttls_with_its_headers() {
        let server = server(Options::default()).await;
        let transport = server.transport("");
        let mut session = transport.open().await.map_err(|error| error.clone()).unwrap();
        assert_eq!(session.send(&envelope("eva@žluť.test"), &letter()).await, Outcome::Sent);
        assert_eq!(session.send(&envelope("jan@x.test"), &letter()).await, Outcome::Sent);
        session.close().await;
        let mails = server.catcher.mails();
        assert_eq!(mails.len(), 2);
        let mail = &mails[0];
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("desk@example.test", &["eva@xn--lu-yta1h.test".to_owned()][..])
        );
        assert_eq!(mail.subject, "Pozvánka do Žluťáku");
        assert_eq!(mail.text, letter().text.trim_end());
        assert_eq!(mail.html, letter().html);
        for (name, value) in [
            ("message-id", "<0198c0de@example.test>"),
            ("date", "Mon, 21 Sep 2026 14:13:20 +0000"),
            ("content-language", "cs"),
            ("auto-submitted", "auto-generated"),
            ("x-auto-response-suppress", "All"),
        ] {
            assert_eq!(mail.header(name), Some(value), "{}", mail.raw);
        }
        assert!(mail.header("from").unwrap().contains("Žluťák"));
        assert!(mail.header("to").unwrap().contains("Žofie"), "{:?}", mail.header("to"));
    }

    #[tokio::test]
    async fn s21_the_conversation_has_exactly_the_expected_commands() {
        let server = server(Options::default()).await;
        let transport = server.transport("");
        let mut session = transport.open().await.unwrap_or_else(|error| panic!("{error}"));
        let evil = Letter { subject: "x\r\nBcc: a@b.c".to_owned(), text: "\r\n.\r\nRSET\r\n".to_owned(), ..letter() };
        let names = Envelope { name: "E\r\nBcc: a@b.c", ..envelope("eva@x.test") };
        assert_eq!(session.send(&names, &evil).await, Outcome::Sent);
        let bad = session.send(&envelope("a@x.test>\r\nRCPT TO:<b@x.test"), &letter()).await;
        assert!(matches!(bad, Outcome::Failed(_)));
        session.close().await;
        let lines = server.catcher.lines();
        let verbs: Vec<&str> = lines.iter().map(|line| line.split([' ', ':']).next().unwrap()).collect();
        assert_eq!(verbs, ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
        let raw = &server.catcher.mails()[0].raw;
        assert!(!raw.contains("\r\nBcc:"), "{raw}");
    }

    #[tokio::test]
    async fn what_was_not_taken_is_told_from_what_may_have_been() {
        let script = |moment: Moment<'_>| match moment {
            Moment::Rcpt("full@x.test") => Does::Says("452 4.2.2 full"),
            Moment::Rcpt("nobody@x.test") => Does::Says("550 5.1.1 nobody"),
            Moment::Rcpt("gone@x.test") => Does::Vanishes,
            Moment::Dot("spam@x.test") => Does::Says("554 5.7.1 spam"),
            Moment::Dot("later@x.test") => Does::Says("451 4.3.0 later"),
            Moment::Dot("lost@x.test") => Does::Vanishes,
            _ => Does::Right,
        };
        let server = server(Options { script: Some(Arc::new(script)), ..Options::default() }).await;
        let transport = server.transport("");
        for (to, wanted) in [
            ("full@x.test", "Retry"),
            ("nobody@x.test", "Failed"),
            ("gone@x.test", "Retry"),
            ("spam@x.test", "Failed"),
            ("later@x.test", "Retry"),
            ("lost@x.test", "Indeterminate"),
            ("eva@x.test", "Sent"),
        ] {
            let mut session = transport.open().await.unwrap_or_else(|error| panic!("{error}"));
            let outcome = session.send(&envelope(to), &letter()).await;
            assert!(format!("{outcome:?}").starts_with(wanted), "{to}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_in_clear_or_to_a_stranger() {
        let clear = server(Options { tls: false, ..Options::default() }).await;
        let refused = clear.transport("").open().await.err().unwrap();
        assert!(refused.contains("STARTTLS"), "{refused}");
        let insecure = clear.transport("security = 'none'\ninsecure = true");
        let mut session = insecure.open().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(session.send(&envelope("eva@x.test"), &letter()).await, Outcome::Sent);

        let one = server(Options::default()).await;
        let other = server(Options::default()).await;
        std::fs::write(one.folder.path().join("ca.pem"), &other.catcher.authority).unwrap();
        assert!(one.transport("").open().await.is_err(), "another authority");
        assert!(one.catcher.mails().is_empty());
    }

    #[tokio::test]
    async fn a_login_is_given_under_tls() {
        let login = Some(("desk".to_owned(), "s3cret".to_owned()));
        let server = server(Options { login, ..Options::default() }).await;
        let password = server.folder.path().join("password");
        let with = |secret: &str| {
            std::fs::write(&password, secret).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&password, private).unwrap();
            server.transport(&format!("username = 'desk'\npassword_file = '{}'", password.display()))
        };
        let wrong = with("other").open().await.err().unwrap();
        assert!(wrong.contains("535") && !wrong.contains("other"), "{wrong}");
        let transport = with("s3cret\n");
        let mut session = transport.open().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(session.send(&envelope("eva@x.test"), &letter()).await, Outcome::Sent);
    }
}
