//! LDAP messages over a socket, in the clear or under TLS: one request at a time, its answers one by one as they come. A
//! reader that is slower than the server stops reading, so nothing piles up (the client crate's channels are unbounded, and
//! its paging reports "success" after a cut). Every wait has an end, and a message that is too long is not waited for.
//! Start at `Wire::connect`; `session` gives the messages their meaning.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ber::{self, Garbage, INTEGER, Reader, SEQUENCE};
use super::fault::{Error, goodbye};
use crate::config::ldap::host;

/// A group of a million members is some 60 MB; more is no directory entry.
const LONGEST: usize = 128 << 20;
/// Bytes asked of the socket at once.
const READ: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    last_id: i32,
    pub(super) limits: Limits,
}

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For one answer.
    pub(super) answer: Duration,
    /// For everything.
    pub(super) until: Instant,
}

impl Limits {
    /// Waits no longer than for one answer, and no longer than the run may take.
    pub(super) async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, Error> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Deadline);
        }
        let ended = |_| if left <= self.answer { Error::Deadline } else { Error::Silent(self.answer) };
        tokio::time::timeout(self.answer.min(left), what).await.map_err(ended)
    }
}

/// One answer: what kind, its content, and its controls if it has any.
pub(super) struct Answer {
    pub(super) op: u8,
    pub(super) content: Vec<u8>,
    pub(super) controls: Vec<u8>,
}

impl Wire {
    /// `at`: its addresses, where they are known.
    pub(super) async fn connect(url: &url::Url, at: &[SocketAddr], limits: Limits) -> Result<Wire, Error> {
        let port = url.port().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
        let stream = match at {
            [] => limits.wait(TcpStream::connect((host(url), port))).await??,
            at => limits.wait(TcpStream::connect(at)).await??,
        };
        stream.set_nodelay(true)?;
        Ok(Wire { stream: Box::new(stream), buffer: BytesMut::new(), last_id: 0, limits })
    }

    /// From now on everything is encrypted, to a server whose certificate bears this name. Bytes that came before are thrown
    /// away: nobody could vouch for them.
    pub(super) async fn encrypt(mut self, name: &str, tls: Arc<rustls::ClientConfig>) -> Result<Wire, Error> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|error| Error::Broken(std::io::Error::other(error)))?;
        let stream = self.limits.wait(TlsConnector::from(tls).connect(name, self.stream)).await??;
        self.buffer.clear();
        Ok(Wire { stream: Box::new(stream), ..self })
    }

    /// Sends one request; `controls` are finished controls.
    pub(super) async fn send(&mut self, op: &[u8], controls: &[u8]) -> Result<(), Error> {
        self.last_id += 1;
        let id = ber::integer(INTEGER, self.last_id);
        let controls = if controls.is_empty() { Vec::new() } else { ber::element(0xa0, controls) };
        let message = ber::element(SEQUENCE, &ber::concat(&[&id, op, &controls]));
        let limits = self.limits;
        limits.wait(self.stream.write_all(&message)).await??;
        limits.wait(self.stream.flush()).await??;
        Ok(())
    }

    /// The last request is answered no more.
    pub(super) async fn abandon(&mut self) -> Result<(), Error> {
        let id = ber::integer(0x50, self.last_id);
        self.send(&id, &[]).await
    }

    /// The next answer to the last request.
    pub(super) async fn answer(&mut self) -> Result<Answer, Error> {
        let (before, length) = loop {
            match ber::header(&self.buffer)? {
                Some((SEQUENCE, _, length)) if length > LONGEST => return Err(Error::TooLong(length)),
                Some((SEQUENCE, before, length)) if self.buffer.len() >= before + length => break (before, length),
                // Only what has come is kept: a length that is announced is no reason to reserve it.
                Some((SEQUENCE, ..)) | None => self.fill().await?,
                Some(_) => return Err(Garbage.into()),
            }
        };
        self.buffer.advance(before);
        let message = self.buffer.split_to(length);
        self.understand(&message)
    }

    async fn fill(&mut self) -> Result<(), Error> {
        self.buffer.reserve(READ);
        let limits = self.limits;
        if limits.wait(self.stream.read_buf(&mut self.buffer)).await?? == 0 {
            let closed = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server closed it in mid-answer");
            return Err(Error::Broken(closed));
        }
        Ok(())
    }

    fn understand(&self, message: &[u8]) -> Result<Answer, Error> {
        let mut parts = Reader(message);
        let id = parts.integer(INTEGER)?;
        let op = parts.next()?.ok_or(Garbage)?;
        if id == 0 {
            return Err(goodbye(op.content));
        }
        if id != i64::from(self.last_id) {
            return Err(Garbage.into());
        }
        let controls = parts.next()?.filter(|part| part.tag == 0xa0).map(|part| part.content.to_vec());
        Ok(Answer { op: op.tag, content: op.content.to_vec(), controls: controls.unwrap_or_default() })
    }

    pub(super) async fn shutdown(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.stream.shutdown()).await;
    }
}
