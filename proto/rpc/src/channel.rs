//! Opens a tonic channel over our own TLS, once: whoever calls decides when to try again.

mod proxy;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How long a connection may take to be made, TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no channel was opened. Says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `HOST:PORT`.
    #[error("`{0}` is not of the form HOST:PORT")]
    Address(String),
    /// Nobody answers there, or the name is not known.
    #[error("failed to connect to {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers who is not whom we believe, or who does not believe us.
    #[error("failed to agree on TLS with {address}")]
    Tls {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The HTTP/2 layer failed.
    #[error("failed to open a channel to {address}")]
    Channel {
        /// Where.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// Connects to `address` (`HOST:PORT`), verifying the host part against the certificate.
///
/// The channel holds this one connection. When it breaks, calls fail and the caller opens another:
/// nothing reconnects behind its back.
pub async fn connect(address: &str, config: ClientConfig) -> Result<Channel, ConnectError> {
    connect_through(None, address, config).await
}

/// As [`connect`], through an HTTP proxy at `proxy` (`[USER:PASSWORD@]HOST:PORT`) if there is one.
pub async fn connect_through(
    proxy: Option<&str>,
    address: &str,
    config: ClientConfig,
) -> Result<Channel, ConnectError> {
    // A malformed address is told as such before any name is looked up.
    server_name(address)?;
    let gate = gate(proxy, address);
    let at = tokio::time::timeout(CONNECT_TIMEOUT, lookup_host(gate)).await;
    let at: Vec<SocketAddr> = at
        .map_err(|_elapsed| unreachable(address, io::ErrorKind::TimedOut.into()))?
        .map_err(|source| unreachable(address, source))?
        .collect();
    let route = Route { at: &at, proxy };
    connect_along(route, address, config)
        .await
        .map(|(channel, _)| channel)
}

/// Where to begin a connection, for who knows addresses and asks no resolver.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The collector's addresses, or its HTTP proxy's, in the order in which they are tried.
    pub at: &'a [SocketAddr],
    /// The proxy (`[USER:PASSWORD@]HOST:PORT`), if they are its.
    pub proxy: Option<&'a str>,
}

/// Where a connection to `address` begins, as `HOST:PORT`: there, or at its proxy.
pub fn gate<'a>(proxy: Option<&'a str>, address: &'a str) -> &'a str {
    proxy.map_or(address, |proxy| proxy::parts(proxy).0)
}

/// As [`connect`], along this route. Also says which of the addresses it was.
pub async fn connect_along(
    route: Route<'_>,
    address: &str,
    config: ClientConfig,
) -> Result<(Channel, SocketAddr), ConnectError> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, open(route, address, config));
    let late = |_elapsed| unreachable(address, io::ErrorKind::TimedOut.into());
    let (stream, peer) = stream.await.map_err(late)??;
    let failed = |source| ConnectError::Channel {
        address: address.to_owned(),
        source,
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(failed)?
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let once = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let connector = service_fn(move |_uri| {
        let once = Arc::clone(&once);
        async move {
            once.lock()
                .await
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    Ok((channel.map_err(failed)?, peer))
}

async fn open(
    route: Route<'_>,
    address: &str,
    config: ClientConfig,
) -> Result<(TlsStream<TcpStream>, SocketAddr), ConnectError> {
    let name = server_name(address)?;
    let failed = |source| unreachable(address, source);
    let tcp = TcpStream::connect(route.at).await.map_err(failed)?;
    let peer = tcp.peer_addr().map_err(failed)?;
    let tcp = match route.proxy {
        Some(proxy) => proxy::tunnel(tcp, proxy, address).await.map_err(failed)?,
        None => tcp,
    };
    tcp.set_nodelay(true).map_err(failed)?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|source| ConnectError::Tls {
            address: address.to_owned(),
            source,
        })?;
    Ok((tls, peer))
}

fn server_name(address: &str) -> Result<ServerName<'static>, ConnectError> {
    let malformed = || ConnectError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    port.parse::<u16>().map_err(|_number| malformed())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_name| malformed())
}

fn unreachable(address: &str, source: io::Error) -> ConnectError {
    ConnectError::Unreachable {
        address: address.to_owned(),
        source,
    }
}
