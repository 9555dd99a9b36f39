//! The server's side of SMTP (RFC 5321, 3207, 4954), as much as a client of ours can meet: EHLO, STARTTLS, AUTH PLAIN,
//! MAIL, RCPT, DATA, RSET, NOOP, QUIT. Mail is taken only under TLS, where that is offered. Bounded everywhere.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Caught, Does, Mail, Moment, Script};

/// Bytes of a line, of a mail.
const LONGEST_LINE: u64 = 4096;
const LONGEST_MAIL: usize = 4 << 20;
/// A silent client is left.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct Server {
    pub tls: Option<TlsAcceptor>,
    pub login: Option<(String, String)>,
    pub script: Script,
    pub caught: Caught,
}

pub(super) async fn serve(listener: TcpListener, server: Arc<Server>) {
    let mut talks = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let server = server.clone();
        talks.spawn(async move {
            let _ = talk(stream, &server).await; // a broken connection is the client's matter
        });
        while talks.try_join_next().is_some() {}
    }
}

async fn talk(stream: TcpStream, server: &Server) -> std::io::Result<()> {
    let mut plain = Talk { io: BufReader::new(stream), server, encrypted: false, known: false };
    match (server.script)(Moment::Connected) {
        Does::Right => plain.say("220 catcher ESMTP").await?,
        Does::Says(line) => return plain.say(line).await,
        Does::Vanishes => return Ok(()),
    }
    if plain.run().await? == End::Starttls
        && let Some(acceptor) = &server.tls
    {
        let stream = acceptor.accept(plain.io.into_inner()).await?;
        let mut secret = Talk { io: BufReader::new(stream), server, encrypted: true, known: false };
        secret.run().await?;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum End {
    Over,
    Starttls,
}

struct Talk<'a, S> {
    io: BufReader<S>,
    server: &'a Server,
    encrypted: bool,
    known: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn run(&mut self) -> std::io::Result<End> {
        let (mut from, mut to) = (None::<String>, Vec::<String>::new());
        while let Some(line) = self.line().await? {
            self.server.caught.note(&line);
            let upper = line.to_ascii_uppercase();
            let verb = upper.split([' ', ':']).next().unwrap_or_default();
            match verb {
                "EHLO" | "HELO" => self.hello().await?,
                "STARTTLS" if self.server.tls.is_some() && !self.encrypted => {
                    self.say("220 go ahead").await?;
                    return Ok(End::Starttls);
                }
                "AUTH" => self.auth(&line).await?,
                "NOOP" => self.say("250 ok").await?,
                "RSET" => {
                    (from, to) = (None, Vec::new());
                    self.say("250 ok").await?;
                }
                "QUIT" => {
                    self.say("221 bye").await?;
                    return Ok(End::Over);
                }
                _ if self.server.tls.is_some() && !self.encrypted => self.say("530 5.7.0 STARTTLS first").await?,
                _ if self.server.login.is_some() && !self.known => self.say("530 5.7.0 log in first").await?,
                "MAIL" => {
                    from = address(&line);
                    self.say(if from.is_some() { "250 ok" } else { "501 5.1.7 bad sender" }).await?;
                }
                "RCPT" => match address(&line).filter(|_| from.is_some() && to.len() < 100) {
                    Some(recipient) => match (self.server.script)(Moment::Rcpt(&recipient)) {
                        Does::Right => {
                            to.push(recipient);
                            self.say("250 ok").await?;
                        }
                        Does::Says(line) => self.say(line).await?,
                        Does::Vanishes => return Ok(End::Over),
                    },
                    None => self.say("501 5.1.3 bad recipient").await?,
                },
                "DATA" if !to.is_empty() => {
                    self.say("354 end with a dot").await?;
                    let Some(raw) = self.mail().await? else { return Ok(End::Over) };
                    let recipient = to.first().cloned().unwrap_or_default();
                    let mail = Mail::read(from.take().unwrap_or_default(), std::mem::take(&mut to), raw);
                    match (self.server.script)(Moment::Dot(&recipient)) {
                        Does::Right => {
                            self.server.caught.keep(mail);
                            self.say("250 2.0.0 caught").await?;
                        }
                        Does::Says(line) => self.say(line).await?,
                        Does::Vanishes => {
                            self.server.caught.keep(mail);
                            return Ok(End::Over);
                        }
                    }
                }
                "DATA" => self.say("503 5.5.1 no recipient").await?,
                _ => self.say("500 5.5.2 what?").await?,
            }
        }
        Ok(End::Over)
    }

    async fn hello(&mut self) -> std::io::Result<()> {
        let mut answer = "250-catcher\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n".to_owned();
        if self.server.tls.is_some() && !self.encrypted {
            answer.push_str("250-STARTTLS\r\n");
        } else if self.server.login.is_some() {
            answer.push_str("250-AUTH PLAIN LOGIN\r\n");
        }
        answer.push_str("250 SIZE 4194304");
        self.say(&answer).await
    }

    /// AUTH PLAIN with an initial response, the only one that is offered a chance.
    async fn auth(&mut self, line: &str) -> std::io::Result<()> {
        let given = line.split_whitespace().nth(2).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let right = self.server.login.as_ref().is_some_and(|(name, password)| {
            given == format!("\0{name}\0{password}").into_bytes() && (self.encrypted || self.server.tls.is_none())
        });
        self.known = right;
        self.say(if right { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await
    }

    /// The mail up to its dot, dots unstuffed.
    async fn mail(&mut self) -> std::io::Result<Option<String>> {
        let mut raw = String::new();
        while let Some(line) = self.line().await? {
            if line == "." {
                return Ok(Some(raw));
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
            if raw.len() > LONGEST_MAIL {
                break;
            }
        }
        Ok(None)
    }

    /// `None`: the client is gone, silent, or sends what is no line.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.io).take(LONGEST_LINE);
        let Ok(read) = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut bytes)).await else {
            return Ok(None);
        };
        if read? == 0 || bytes.last() != Some(&b'\n') {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.io.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
        self.io.get_mut().flush().await
    }
}

/// What stands between `<` and `>`.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address.to_owned()).filter(|address| !address.is_empty())
}
