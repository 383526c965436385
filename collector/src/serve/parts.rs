//! What all parts of the service share, and how each is put together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_event::Clock;
use picket_event::content::MAX_CONTENT_BYTES;
use picket_rpc::v1::agent_server::AgentServer;
use picket_rpc::v1::enrollment_server::EnrollmentServer;
use picket_rpc::v1::operator_server::OperatorServer;
use picket_rpc::v1::trust_server::TrustServer;
use picket_store::{Options, Reader, Recovery, SealOptions, Sealer, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::{Addresses, ServeError, watchdog};
use crate::agent::AgentService;
use crate::alarm::Alarms;
use crate::authority::Authority;
use crate::budget::Budgets;
use crate::checkpoint::Checkpoints;
use crate::collected::Collected;
use crate::command::Commands;
use crate::config::Config;
use crate::content::Contents;
use crate::data::{self, DataDir};
use crate::database::{Database, hosts};
use crate::enroll::{EnrollmentService, TrustService};
use crate::export::{self, Export};
use crate::ingest::Ingest;
use crate::listen::{Connection, Listener, TlsSettings};
use crate::metrics::Metrics;
use crate::operator::{OperatorService, Queries};
use crate::peer::Port;
use crate::prior::Priors;
use crate::receipts::{self, Receipts};
use crate::registry::Registry;
use crate::seal::{Followed, Sealing};
use crate::session::Sessions;
use crate::trust::Trust;
use crate::writer::Writer;

/// What all parts share.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) data: DataDir,
    pub(super) config: Config,
    pub(super) database: Database,
    pub(super) registry: Registry,
    pub(super) authority: Arc<Authority>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    /// What runs queries.
    pub(super) program: PathBuf,
    pub(super) stop: watch::Receiver<bool>,
}

/// What was stored, and what was signed over it.
struct Kept {
    reader: Reader,
    checkpoints: Checkpoints,
    /// `None`: this collector makes none.
    priors: Option<Priors>,
    trust: Trust,
    contents: Contents,
}

impl Parts {
    pub(super) async fn start(
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
        self.seal(&reader, tasks)?;
        let (writer, work) = Writer::new(Arc::clone(&self.metrics));
        tasks.spawn_blocking(move || work.run(store).map_err(ServeError::StoreFailed));

        let checkpoints = Checkpoints::open(
            &self.data,
            self.database.clone(),
            reader.clone(),
            Arc::clone(&self.clock),
        )?;
        tasks.spawn(self.clone().keep_checkpoints(checkpoints.clone()));
        let priors = self.priors(&checkpoints, tasks)?;
        let (trust, commands, roots) = self.trust()?;
        let receipts = Receipts {
            reader: reader.clone(),
            database: self.database.clone(),
            registry: self.registry.clone(),
            commands: commands.clone(),
            synced: writer.synced(),
            metrics: Arc::clone(&self.metrics),
        };
        tasks.spawn(async move { Ok(receipts.run().await?) });
        self.export(&reader, &writer, tasks)?;

        let tls = self.tls()?;
        tasks.spawn(self.clone().renew(tls.clone()));
        tasks.spawn(self.clone().keep_news());
        let kept = Kept {
            reader,
            checkpoints,
            priors,
            contents: Contents::new(self.database.clone(), roots.clone()),
            trust: roots,
        };
        tasks.spawn(watchdog::pat(
            self.database.clone(),
            writer.clone(),
            self.stop.clone(),
        ));
        let agent_routes = self.agents(&writer, &kept, &commands, trust.clone());
        tasks.spawn(
            self.clone()
                .server(Port::Agents, agents, tls.agents, agent_routes),
        );
        let operator_routes = self.operators(&writer, kept, commands, trust);
        tasks.spawn(self.clone().server(
            Port::Operators,
            operators,
            tls.operators,
            operator_routes,
        ));
        tasks.spawn(self.clone().health(metrics));
        Ok(addresses)
    }

    fn seal(
        &self,
        reader: &Reader,
        tasks: &mut JoinSet<Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        let opened = Sealer::open(reader, &self.data.sealed(), SealOptions::default());
        let (sealer, leftovers) = opened.map_err(ServeError::Store)?;
        if leftovers > 0 {
            tracing::warn!(leftovers, "removed files that were being sealed");
        }
        let sealing = Sealing {
            sealer,
            period: self.config.seal_period(),
            retention: self.config.retention.limits(),
            log: self.config.retention.log_limit(),
            followed: self.followed()?,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            stop: self.stop.clone(),
            not_before: None,
        };
        let (ended, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("seal".to_owned());
        let started = thread.spawn(move || drop(ended.send(sealing.run())));
        started.map_err(ServeError::Thread)?;
        tasks.spawn(async move {
            match answer.await {
                Ok(done) => done.map_err(ServeError::StoreFailed),
                Err(_ended) => Err(ServeError::Stopped("sealing")),
            }
        });
        Ok(())
    }

    /// Who keeps a cursor in the log.
    fn followed(&self) -> Result<Followed, ServeError> {
        let exports = self.config.exports().map_err(ServeError::Settings)?;
        let exports = exports.iter().map(export::cursor_name);
        let names = [receipts::CURSOR.to_owned()].into_iter().chain(exports);
        Ok(Followed {
            database: self.database.clone(),
            names: names.collect(),
        })
    }

    fn export(
        &self,
        reader: &Reader,
        writer: &Writer,
        tasks: &mut JoinSet<Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        for settings in self.config.exports().map_err(ServeError::Settings)? {
            let export = Export {
                settings,
                reader: reader.clone(),
                database: self.database.clone(),
                registry: self.registry.clone(),
                synced: writer.synced(),
                stop: self.stop.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            tasks.spawn(async move { Ok(export.run().await?) });
        }
        Ok(())
    }

    fn trust(&self) -> Result<(TrustService, Commands, Trust), ServeError> {
        let trust_root = data::read(&self.data.trust_root())?;
        let opened = Trust::open(self.database.clone(), &trust_root, self.clock.now());
        let trust = opened.map_err(ServeError::TrustRoot)?;
        let commands = Commands::new(
            self.database.clone(),
            self.registry.clone(),
            trust.clone(),
            self.config.operator_hosts_per_hour,
        );
        let ca_certificate = self.authority.certificate().to_vec();
        Ok((
            TrustService {
                ca_certificate,
                trust_root,
            },
            commands,
            trust,
        ))
    }

    fn agents(
        &self,
        writer: &Writer,
        kept: &Kept,
        commands: &Commands,
        trust: TrustService,
    ) -> Routes {
        let alarms = Alarms {
            database: self.database.clone(),
            registry: self.registry.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        let ingest = Ingest {
            alarms: alarms.clone(),
            database: self.database.clone(),
            writer: writer.clone(),
            reader: kept.reader.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            budgets: Budgets::new(self.config.host_bytes_per_second),
        };
        let sessions = Sessions {
            alarms,
            registry: self.registry.clone(),
            commands: commands.clone(),
            database: self.database.clone(),
            reader: kept.reader.clone(),
            trust: kept.trust.clone(),
            contents: kept.contents.clone(),
            checkpoints: kept.checkpoints.newest(),
            priors: kept.priors.clone(),
            addresses: self
                .config
                .agents_at
                .iter()
                .map(ToString::to_string)
                .collect(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        let agent = AgentService {
            ingest,
            sessions,
            collected: self.collected(),
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
        Routes::new(TrustServer::new(trust).max_decoding_message_size(SMALL))
            .add_service(EnrollmentServer::new(enrollment).max_decoding_message_size(SMALL))
            .add_service(AgentServer::new(agent).max_decoding_message_size(LARGEST_BATCH))
    }

    fn collected(&self) -> Collected {
        Collected::new(
            self.data.collected(),
            self.config.collected_bytes,
            self.database.clone(),
            Arc::clone(&self.clock),
        )
    }

    fn operators(
        &self,
        writer: &Writer,
        kept: Kept,
        commands: Commands,
        trust: TrustService,
    ) -> Routes {
        let operator = OperatorService {
            database: self.database.clone(),
            registry: self.registry.clone(),
            commands,
            trust: kept.trust,
            contents: kept.contents,
            reader: kept.reader,
            checkpoints: kept.checkpoints,
            synced: writer.synced(),
            walks: Arc::new(Semaphore::new(WALKS)),
            queries: Queries::new(self.config.query, self.program.clone()),
            collected: self.collected(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        Routes::new(TrustServer::new(trust).max_decoding_message_size(SMALL))
            .add_service(OperatorServer::new(operator).max_decoding_message_size(LARGEST_REQUEST))
    }

    async fn server(
        self,
        port: Port,
        socket: TcpListener,
        tls: TlsSettings,
        routes: Routes,
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
            handshake_timeout: self.config.handshake_timeout(),
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

    /// What the fleet knows, if this collector is to tell.
    fn priors(
        &self,
        checkpoints: &Checkpoints,
        tasks: &mut JoinSet<Result<(), ServeError>>,
    ) -> Result<Option<Priors>, ServeError> {
        let Some(period) = self.config.prior_period() else {
            return Ok(None);
        };
        let database = self.database.clone();
        let priors = Priors::open(database, checkpoints.clone(), Arc::clone(&self.clock))?;
        let (kept, mut stop) = (priors.clone(), self.stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = kept.keep(period) => {}
                () = stopped(&mut stop) => {}
            }
            Ok(())
        });
        Ok(Some(priors))
    }

    async fn keep_checkpoints(self, checkpoints: Checkpoints) -> Result<(), ServeError> {
        let mut stop = self.stop;
        tokio::select! {
            () = checkpoints.keep(self.config.checkpoint_period()) => {}
            () = stopped(&mut stop) => {}
        }
        Ok(())
    }

    /// Keeps what hosts said last, once a minute.
    async fn keep_news(self) -> Result<(), ServeError> {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(NEWS_EVERY) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            // Lost news come again with the next heartbeat; a full disk must not end the service.
            if let Err(error) = keep_news(&self.database, &self.registry).await {
                tracing::error!(
                    error = crate::failure::chain(&error),
                    "news of hosts not kept"
                );
            }
        }
    }
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
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
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

pub(super) async fn keep_news(database: &Database, registry: &Registry) -> Result<(), ServeError> {
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

/// Largest message of hosts that have no identity yet, in bytes.
const SMALL: usize = 32 << 10;

/// Largest batch with header and successions, in bytes.
const LARGEST_BATCH: usize = (4 << 20) + (512 << 10);

/// Largest request of an operator, in bytes: signed content.
const LARGEST_REQUEST: usize = MAX_CONTENT_BYTES + (64 << 10);

/// Connections that may wait for the HTTP/2 layer.
const ACCEPTED: usize = 16;

/// Walks over the store at once.
const WALKS: usize = 4;

const NEWS_EVERY: Duration = Duration::from_mins(1);
