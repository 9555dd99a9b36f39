//! The accept loop: time-outs, caps on connections, TLS, and an end in which answers are finished. `axum::serve` is not
//! used: it sets no timer, so that a client that dribbles its headers holds a connection for ever.
//! Plain connections speak HTTP/1.1; HTTP/2 is for TLS, where both sides agreed on it before the first byte.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::config::server::Limits;
use crate::telemetry;

/// The other end of the connection, as an extension of every request that came over TCP.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The TLS side of a listener; swapped by a reload. `None` = plain.
pub type Tls = watch::Receiver<Option<Arc<ServerConfig>>>;

/// After an accept that failed for want of descriptors there is no use in trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves TCP until `stop`, then lets requests that run end within `drain`.
pub async fn serve(
    listener: TcpListener,
    tls: Tls,
    limits: Limits,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let addresses = Addresses::default();
    let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    loop {
        let (permit, stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(place) = addresses.enter(peer.ip(), limits.connections_per_address) else {
            metrics::counter!(telemetry::CONNECTIONS_REFUSED).increment(1);
            continue;
        };
        let config = tls.borrow().clone();
        let (router, watcher, timeout) = (router.clone(), graceful.watcher(), limits.header_timeout);
        tasks.spawn(async move {
            let _held = (permit, place, Open::count());
            let served = match config {
                Some(config) => secure(stream, config, peer, router, watcher, timeout).await,
                None => connection(stream, Some(peer), false, router, watcher, timeout).await,
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    finish(graceful, tasks, drain).await;
}

/// Serves a Unix socket until `stop`: the commands of this machine.
pub async fn serve_unix(listener: UnixListener, router: Router, stop: CancellationToken, drain: Duration) {
    let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, watcher) = (router.clone(), graceful.watcher());
        tasks.spawn(async move {
            let served = connection(stream, None, false, router, watcher, Duration::from_secs(10)).await;
            if let Err(error) = served {
                tracing::debug!(%error, "a control connection ended early");
            }
        });
    }
    drop(listener);
    finish(graceful, tasks, drain).await;
}

/// Idle connections close at once, busy ones after their answer; what still runs after `drain` is cut off.
async fn finish(graceful: GracefulShutdown, tasks: TaskTracker, drain: Duration) {
    tasks.close();
    let ended = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(drain, ended).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests were cut off at the end of the drain");
    }
}

/// Waits for room first: while all connections are taken, new ones wait in the kernel.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((permit, stream, peer))
}

async fn secure(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
    timeout: Duration,
) -> Result<(), Failure> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(timeout, handshake).await.map_err(|_| "the handshake took too long")??;
    let newer = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    connection(stream, Some(peer), newer, router, watcher, timeout).await
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One connection from its first byte to its end. The protocol is known before: nothing is sniffed, so the time for the
/// headers runs from the start.
async fn connection<S>(
    stream: S,
    peer: Option<SocketAddr>,
    newer: bool,
    router: Router,
    watcher: Watcher,
    timeout: Duration,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer));
        }
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder = if newer { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(32 << 10)
        .keep_alive_interval(timeout)
        .keep_alive_timeout(timeout);
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place, given back when it ends.
struct Place(Addresses, IpAddr);

impl Addresses {
    fn enter(&self, address: IpAddr, most: usize) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(address).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(Place(self.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.1) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// Counts an open connection in the metrics.
struct Open;

impl Open {
    fn count() -> Open {
        metrics::gauge!(telemetry::CONNECTIONS).increment(1);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::CONNECTIONS).decrement(1);
    }
}
