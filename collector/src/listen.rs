//! From a listening socket to connections whose other end is known.
//!
//! # Queues
//!
//! - Handshakes under way: `HANDSHAKES` per port, each as long as configured. Full: nobody
//!   is accepted until one ends; the kernel's backlog holds the rest.
//! - Connections: as configured, per port; without a certificate at most `ANONYMOUS` of them, each
//!   at most `ANONYMOUS_LIFETIME`. Full: the newest is closed and counted.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use picket_event::Clock;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::metrics::Metrics;
use crate::peer::{Caller, Closing, Peer, Port, closed, read_certificate};
use crate::refusal::Refusal;
use crate::registry::{ConnectionGuard, Registry};

/// The settings of new connections; they change when the server's certificate does.
#[derive(Clone, Debug)]
pub struct TlsSettings(Arc<RwLock<Arc<ServerConfig>>>);

impl TlsSettings {
    /// Beginning with these.
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// From now on these.
    pub fn replace(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

/// One port.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub socket: TcpListener,
    /// For whom.
    pub port: Port,
    /// Under which TLS settings.
    pub tls: TlsSettings,
    /// Who may connect.
    pub registry: Registry,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How many connections are held at once.
    pub max_connections: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// What accepts and shakes hands, shared by the handshakes of one port.
#[derive(Clone, Debug)]
struct Door {
    port: Port,
    tls: TlsSettings,
    registry: Registry,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    connections: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    handshake_timeout: Duration,
}

impl Listener {
    /// Accepts until the receiver of the connections is gone.
    pub async fn run(self, connections: mpsc::Sender<io::Result<Connection>>) {
        let door = Door {
            port: self.port,
            tls: self.tls,
            registry: self.registry,
            metrics: self.metrics,
            clock: self.clock,
            connections: Arc::new(Semaphore::new(self.max_connections)),
            anonymous: Arc::new(Semaphore::new(ANONYMOUS)),
            handshake_timeout: self.handshake_timeout,
        };
        let mut handshakes = JoinSet::new();
        loop {
            while handshakes.len() >= HANDSHAKES {
                handshakes.join_next().await;
            }
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_done) = handshakes.join_next() => continue,
                () = connections.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    drop(handshakes.spawn(door.clone().open(stream, connections.clone())));
                }
                // Out of descriptors, mostly; the next try waits until some are free.
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Door {
    async fn open(self, stream: TcpStream, connections: mpsc::Sender<io::Result<Connection>>) {
        let shaken = tokio::time::timeout(self.handshake_timeout, self.shake(stream)).await;
        let late = |_elapsed| io::Error::from(io::ErrorKind::TimedOut);
        match shaken.map_err(late).and_then(|shaken| shaken) {
            Ok(connection) => {
                self.metrics.handshakes.inc();
                drop(connections.send(Ok(connection)).await);
            }
            Err(error) => {
                self.metrics.handshakes_failed.inc();
                tracing::debug!(%error, "a handshake failed");
            }
        }
    }

    async fn shake(&self, stream: TcpStream) -> io::Result<Connection> {
        let address = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let stream = self.tls.acceptor().accept(stream).await?;
        let (caller, ends) = self.caller(&stream);
        let permit = self.permit(&caller)?;
        let host = match caller {
            Caller::Host(id) => Some(id),
            _ => None,
        };
        let (guard, closing) = self.registry.connected(host);
        let lifetime = match ends {
            Some(ends) => ends,
            None => ANONYMOUS_LIFETIME,
        };
        Ok(Connection {
            stream: Box::new(stream),
            end: Box::pin(end(closing.clone(), lifetime)),
            peer: Peer::new(address, caller, closing),
            _guard: guard,
            _permit: permit,
        })
    }

    /// Who it is, and how long their certificate is still good.
    fn caller(&self, stream: &TlsStream<TcpStream>) -> (Caller, Option<Duration>) {
        let (_, session) = stream.get_ref();
        let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else {
            return (Caller::Nobody, None);
        };
        let (caller, ends) = read_certificate(certificate, self.port);
        let caller = match caller {
            Caller::Host(id) => match self.registry.admits(&id) {
                Ok(()) => Caller::Host(id),
                Err(refusal) => Caller::Refused(refusal),
            },
            other => other,
        };
        // Its calls are refused and counted, each once.
        if matches!(caller, Caller::Refused(_)) {
            return (caller, None);
        }
        let now = self.clock.now().0 / 1_000_000_000;
        let left = ends.map(|ends| u64::try_from(ends.saturating_sub(now)).unwrap_or(0));
        (caller, left.map(Duration::from_secs))
    }

    fn permit(&self, caller: &Caller) -> io::Result<OwnedSemaphorePermit> {
        let places = match caller {
            Caller::Nobody | Caller::Refused(_) => &self.anonymous,
            Caller::Host(_) | Caller::Operator(_) => &self.connections,
        };
        Arc::clone(places).try_acquire_owned().map_err(|_full| {
            self.metrics.call_refused(Refusal::Busy);
            io::Error::other("too many connections")
        })
    }
}

/// When the connection ends whether its peer likes it or not: shortly after it was told to, or when
/// the certificate that it was opened with ends.
async fn end(mut closing: Closing, lifetime: Duration) {
    tokio::select! {
        // One of too many gets no time: that is what it was closed for.
        reason = closed(&mut closing) => if reason != Refusal::TooManyCalls {
            tokio::time::sleep(GRACE).await;
        },
        () = tokio::time::sleep(lifetime) => {}
    }
}

/// A TLS connection whose other end is known.
pub struct Connection {
    stream: Box<TlsStream<TcpStream>>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    peer: Peer,
    _guard: ConnectionGuard,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An idle connection is always being read, so this alone wakes it up to end.
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut *self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

const HANDSHAKES: usize = 512;
const ANONYMOUS: usize = 512;
const ANONYMOUS_LIFETIME: Duration = Duration::from_mins(1);

/// For telling the peer why, and for what is under way.
const GRACE: Duration = Duration::from_secs(2);
