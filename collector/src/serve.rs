//! The service: every part, in the order in which a batch meets them.
//!
//! # Invariants
//!
//! - A part that ends takes the service with it; nothing limps on without one.
//! - On SIGTERM and SIGINT hosts and operators are told, what is queued is stored, then it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_event::trust::{TrustError, TrustRoot};
use picket_event::{Clock, SystemClock};
use picket_rpc::tls::{ClientCertificates, Identity, TlsError, server_config};
use picket_rpc::v1::agent_server::AgentServer;
use picket_rpc::v1::enrollment_server::EnrollmentServer;
use picket_rpc::v1::operator_server::OperatorServer;
use picket_rpc::v1::trust_server::TrustServer;
use picket_store::{Options, Recovery, Store, StoreError};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::agent::AgentService;
use crate::authority::{self, Authority, AuthorityError, SERVER_LIFETIME};
use crate::command::Commands;
use crate::config::Config;
use crate::data::{self, DataDir, DataError, Lock};
use crate::database::{self, Database, DatabaseError, hosts};
use crate::enroll::{EnrollmentService, TrustService};
use crate::ingest::Ingest;
use crate::init::{self, InitError, read_names};
use crate::listen::{Connection, Listener, TlsSettings};
use crate::metrics::Metrics;
use crate::operator::OperatorService;
use crate::peer::Port;
use crate::receipts::{ReceiptError, Receipts};
use crate::registry::Registry;
use crate::session::Sessions;
use crate::writer::Writer;

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store cannot be used.
    #[error("failed to open the store")]
    Store(#[source] StoreError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The server's certificate was not renewed.
    #[error("failed to renew the server's certificate")]
    Renew(#[source] InitError),
    /// The trust root cannot be read.
    #[error("failed to read the trust root")]
    TrustRoot(#[source] TrustError),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[from] TlsError),
    /// The server's key is not one.
    #[error("`{}` is not a private key", .0.display())]
    ServerKey(PathBuf),
    /// A port cannot be had.
    #[error("failed to listen on {address} for {what}")]
    Listen {
        /// For whom.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be heard.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// A part ended that never should.
    #[error("{0} stopped")]
    Stopped(&'static str),
    /// The disk can no longer be trusted.
    #[error("stopped, because the store failed")]
    StoreFailed(#[source] StoreError),
    /// Receipts cannot be followed.
    #[error(transparent)]
    Receipts(#[from] ReceiptError),
    /// A server failed.
    #[error("the server for {what} failed")]
    Server {
        /// For whom.
        what: &'static str,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The metrics server failed.
    #[error("the server for metrics failed")]
    Metrics(#[source] std::io::Error),
}

/// Where the service listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For agents.
    pub agents: SocketAddr,
    /// For operators.
    pub operators: SocketAddr,
    /// For metrics and health.
    pub metrics: SocketAddr,
}

/// A service that is ready to run.
#[derive(Debug)]
pub struct Service {
    tasks: JoinSet<Result<(), ServeError>>,
    stop: watch::Sender<bool>,
    registry: Registry,
    database: Database,
    addresses: Addresses,
    _lock: Lock,
}

/// What all parts share.
#[derive(Clone, Debug)]
struct Parts {
    data: DataDir,
    config: Config,
    database: Database,
    registry: Registry,
    authority: Arc<Authority>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
}

impl Service {
    /// Opens the data and the ports and starts every part.
    pub async fn start(data: DataDir, config: Config) -> Result<Self, ServeError> {
        Self::start_at(data, config, Arc::new(SystemClock)).await
    }

    /// As [`Service::start`], by this clock.
    pub async fn start_at(
        data: DataDir,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServeError> {
        let lock = data.lock()?;
        data.refuse_foreign_keys()?;
        let database = Database::open(&data.database())?;
        let metrics = Arc::new(Metrics::new());
        let registry = Registry::new(database.run(hosts::list)?, Arc::clone(&metrics));
        let authority = Arc::new(Authority::open(&data)?);
        let (stop, stopped) = watch::channel(false);
        let parts = Parts {
            data,
            config,
            database,
            registry,
            authority,
            metrics,
            clock,
            stop: stopped,
        };
        let mut tasks = JoinSet::new();
        let addresses = parts.start(&mut tasks).await?;
        let (registry, database) = (parts.registry, parts.database);
        Ok(Self {
            tasks,
            stop,
            registry,
            database,
            addresses,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Runs until a signal comes or a part ends.
    pub async fn run(self) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        self.run_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    }

    /// Runs until `asked` or until a part ends.
    pub async fn run_until(
        mut self,
        asked: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        tokio::select! {
            () = asked => {}
            ended = self.tasks.join_next() => return Err(why(ended)),
        }
        tracing::info!("shutting down");
        notify(&[sd_notify::NotifyState::Stopping]);
        self.stop.send_replace(true);
        self.registry.drain();
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.map_err(|_panic| ServeError::Stopped("a part"))??;
            }
            Ok(())
        });
        let drained = drained.await;
        keep_news(&self.database, &self.registry).await?;
        drained.unwrap_or_else(|_late| {
            tracing::warn!("some connections did not end in time");
            Ok(())
        })
    }
}

fn why(ended: Option<Result<Result<(), ServeError>, tokio::task::JoinError>>) -> ServeError {
    match ended {
        Some(Ok(Err(failed))) => failed,
        Some(Ok(Ok(()))) | None => ServeError::Stopped("a part of the service"),
        Some(Err(_panic)) => ServeError::Stopped("a part of the service panicked and"),
    }
}

impl Parts {
    async fn start(
        &self,
        tasks: &mut JoinSet<Result<(), ServeError>>,
    ) -> Result<Addresses, ServeError> {
        let agents = bind("agents", self.config.agents).await?;
        let operators = bind("operators", self.config.operators).await?;
        let metrics = bind("metrics", self.config.metrics).await?;
        let addresses = Addresses {
            agents: address("agents", &agents, self.config.agents)?,
            operators: address("operators", &operators, self.config.operators)?,
            metrics: address("metrics", &metrics, self.config.metrics)?,
        };
        let (store, recovery) =
            Store::open(&self.data.wal(), Options::default()).map_err(ServeError::Store)?;
        report(&recovery);
        let reader = store.reader();
        let (writer, work) = Writer::new(Arc::clone(&self.metrics));
        tasks.spawn_blocking(move || work.run(store).map_err(ServeError::StoreFailed));

        let (trust, commands) = self.trust()?;
        let receipts = Receipts {
            reader: reader.clone(),
            database: self.database.clone(),
            commands: commands.clone(),
            synced: writer.synced(),
            metrics: Arc::clone(&self.metrics),
        };
        tasks.spawn(async move { Ok(receipts.run().await?) });

        let tls = self.tls()?;
        tasks.spawn(self.clone().renew(tls.clone()));
        tasks.spawn(self.clone().keep_news());
        let agent_routes = self.agents(&writer, &reader, &commands, trust.clone());
        tasks.spawn(
            self.clone()
                .server(Port::Agents, agents, tls.agents, agent_routes),
        );
        let operator_routes = self.operators(&writer, reader, commands, trust);
        tasks.spawn(self.clone().server(
            Port::Operators,
            operators,
            tls.operators,
            operator_routes,
        ));
        tasks.spawn(self.clone().health(metrics));
        Ok(addresses)
    }

    fn trust(&self) -> Result<(TrustService, Commands), ServeError> {
        let trust_root = data::read(&self.data.trust_root())?;
        let decoded = TrustRoot::decode(&trust_root).map_err(ServeError::TrustRoot)?;
        let commands = Commands::new(self.database.clone(), self.registry.clone(), decoded);
        let ca_certificate = self.authority.certificate().to_vec();
        Ok((
            TrustService {
                ca_certificate,
                trust_root,
            },
            commands,
        ))
    }

    fn agents(
        &self,
        writer: &Writer,
        reader: &picket_store::Reader,
        commands: &Commands,
        trust: TrustService,
    ) -> tonic::service::Routes {
        let ingest = Ingest {
            database: self.database.clone(),
            writer: writer.clone(),
            reader: reader.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            bytes_per_second: self.config.host_bytes_per_second,
        };
        let sessions = Sessions {
            registry: self.registry.clone(),
            commands: commands.clone(),
            database: self.database.clone(),
            reader: reader.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        let agent = AgentService {
            ingest,
            sessions,
            authority: Arc::clone(&self.authority),
            certificate_lifetime: self.config.host_certificate(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let enrollment = EnrollmentService::new(
            self.database.clone(),
            self.registry.clone(),
            Arc::clone(&self.authority),
            self.config.host_certificate(),
            Arc::clone(&self.metrics),
        );
        let enrollment = enrollment.with_clock(Arc::clone(&self.clock));
        tonic::service::Routes::new(TrustServer::new(trust).max_decoding_message_size(SMALL))
            .add_service(EnrollmentServer::new(enrollment).max_decoding_message_size(SMALL))
            .add_service(AgentServer::new(agent).max_decoding_message_size(LARGEST_BATCH))
    }

    fn operators(
        &self,
        writer: &Writer,
        reader: picket_store::Reader,
        commands: Commands,
        trust: TrustService,
    ) -> tonic::service::Routes {
        let operator = OperatorService {
            database: self.database.clone(),
            registry: self.registry.clone(),
            commands,
            reader,
            synced: writer.synced(),
            walks: Arc::new(Semaphore::new(WALKS)),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        tonic::service::Routes::new(TrustServer::new(trust).max_decoding_message_size(SMALL))
            .add_service(OperatorServer::new(operator).max_decoding_message_size(LARGEST_COMMAND))
    }

    async fn server(
        self,
        port: Port,
        socket: TcpListener,
        tls: TlsSettings,
        routes: tonic::service::Routes,
    ) -> Result<(), ServeError> {
        let (what, max_connections) = match port {
            Port::Agents => ("agents", self.config.max_agent_connections),
            Port::Operators => ("operators", self.config.max_operator_connections),
        };
        let listener = Listener {
            socket,
            port,
            tls,
            registry: self.registry,
            metrics: self.metrics,
            clock: self.clock,
            max_connections,
        };
        let (sender, connections) = mpsc::channel::<std::io::Result<Connection>>(ACCEPTED);
        let mut accepting = JoinSet::new();
        accepting.spawn(listener.run(sender));
        let mut stop = self.stop;
        let stopped = async move { stopped(&mut stop).await };
        let served = server()
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped)
            .await;
        served.map_err(|source| ServeError::Server { what, source })
    }

    async fn health(self, socket: TcpListener) -> Result<(), ServeError> {
        let mut stop = self.stop;
        tokio::select! {
            served = crate::health::run(socket, self.metrics) => served.map_err(ServeError::Metrics),
            () = stopped(&mut stop) => Ok(()),
        }
    }

    /// Keeps what hosts said last, once a minute.
    async fn keep_news(self) -> Result<(), ServeError> {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(NEWS_EVERY) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            keep_news(&self.database, &self.registry).await?;
        }
    }

    /// Makes the server's certificate anew once half of its time is over.
    async fn renew(self, tls: Tls) -> Result<(), ServeError> {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            if self.renew_server()? {
                let (agents, operators) = self.server_configs()?;
                tls.agents.replace(agents);
                tls.operators.replace(operators);
            }
        }
    }

    fn tls(&self) -> Result<Tls, ServeError> {
        self.renew_server()?;
        let (agents, operators) = self.server_configs()?;
        Ok(Tls {
            agents: TlsSettings::new(agents),
            operators: TlsSettings::new(operators),
        })
    }

    fn renew_server(&self) -> Result<bool, ServeError> {
        let now = self.clock.now();
        let chain = self.server_chain()?;
        let first = chain.first().map(AsRef::as_ref);
        let ends = first.and_then(|der| crate::peer::read_certificate(der, Port::Agents).1);
        let half = i64::try_from(SERVER_LIFETIME.as_secs() / 2).unwrap_or(i64::MAX);
        if ends.is_some_and(|ends| ends.saturating_sub(now.0 / 1_000_000_000) > half) {
            return Ok(false);
        }
        let names = self.database.run(|t| database::setting(t, init::NAMES))?;
        let names = read_names(&names.unwrap_or_default());
        init::write_server(&self.data, &self.authority, &names, now).map_err(ServeError::Renew)?;
        tracing::info!("renewed the server's certificate");
        Ok(true)
    }

    fn server_configs(&self) -> Result<(ServerConfig, ServerConfig), ServeError> {
        let config = |clients| -> Result<ServerConfig, ServeError> {
            let path = self.data.server_key();
            let key = PrivateKeyDer::from_pem_slice(&data::read(&path)?);
            let key = key.map_err(|_malformed| ServeError::ServerKey(path))?;
            let identity = Identity {
                chain: self.server_chain()?,
                key,
            };
            let mut config = server_config(identity, self.authority.certificate(), clients)?;
            // No tickets: a resumed session would outlive what was known of the host at its handshake.
            config.send_tls13_tickets = 0;
            config.max_early_data_size = 0;
            Ok(config)
        };
        Ok((
            config(ClientCertificates::Optional)?,
            config(ClientCertificates::Required)?,
        ))
    }

    fn server_chain(&self) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, ServeError> {
        let pem = data::read(&self.data.server_certificate())?;
        Ok(authority::certificates(&pem, "server.pem")?)
    }
}

#[derive(Clone, Debug)]
struct Tls {
    agents: TlsSettings,
    operators: TlsSettings,
}

/// HTTP/2 with modest windows: an idle agent costs little, and one that sends much is read at the
/// pace of the disk.
fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_concurrent_streams(8)
        .max_frame_size(16 * 1024)
        .http2_max_header_list_size(16 * 1024)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_keepalive_interval(Some(Duration::from_mins(1)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
}

/// Returns once the service is to stop; a dropped sender means the same.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServeError::Listen {
        what,
        address,
        source,
    })
}

fn address(
    what: &'static str,
    socket: &TcpListener,
    address: SocketAddr,
) -> Result<SocketAddr, ServeError> {
    socket.local_addr().map_err(|source| ServeError::Listen {
        what,
        address,
        source,
    })
}

async fn keep_news(database: &Database, registry: &Registry) -> Result<(), ServeError> {
    let news = registry.take_news();
    if news.is_empty() {
        return Ok(());
    }
    let kept = database.call(move |t| hosts::keep_news(t, &news)).await;
    Ok(kept?)
}

fn report(recovery: &Recovery) {
    let Recovery {
        segments,
        records,
        torn_bytes,
        damage,
    } = recovery;
    tracing::info!(segments, records, "opened the store");
    if *torn_bytes > 0 {
        tracing::warn!(
            torn_bytes,
            "cut off a batch that was being written; it was never acknowledged"
        );
    }
    for damage in damage {
        let path = damage.path.display();
        let (offset, length) = (damage.offset, damage.length);
        tracing::error!(%path, offset, length, "stored bytes are damaged; what they held is lost");
    }
}

/// Tells systemd, where there is one.
pub fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "could not notify the service manager");
    }
}

/// Largest message of hosts that have no identity yet, in bytes.
const SMALL: usize = 32 << 10;

/// Largest batch with header and successions, in bytes.
const LARGEST_BATCH: usize = (4 << 20) + (512 << 10);

/// Largest request of an operator, in bytes.
const LARGEST_COMMAND: usize = 256 << 10;

/// Connections that may wait for the HTTP/2 layer.
const ACCEPTED: usize = 16;

/// Walks over the store at once.
const WALKS: usize = 4;

const NEWS_EVERY: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_hours(1);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
