//! The service: every part, in the order in which a batch meets them.
//!
//! # Invariants
//!
//! - A part that ends takes the service with it; nothing limps on without one.
//! - On SIGTERM and SIGINT hosts and operators are told, what is queued is stored, then it ends.

mod error;
mod parts;
mod tls;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_event::{Clock, HostId, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::alarm::{self, Alarm};
use crate::authority::Authority;
use crate::config::Config;
use crate::data::{DataDir, Lock};
use crate::database::{Database, audit, branches, hosts};
use crate::metrics::Metrics;
use crate::registry::Registry;

pub use error::ServeError;

use parts::{Parts, keep_news};

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
        let program = PathBuf::from("/proc/self/exe");
        Self::start_with(data, config, clock, program).await
    }

    /// As [`Service::start_at`], where queries are run by this program, a `picket-collector`.
    pub async fn start_with(
        data: DataDir,
        config: Config,
        clock: Arc<dyn Clock>,
        program: PathBuf,
    ) -> Result<Self, ServeError> {
        let lock = data.lock()?;
        data.refuse_foreign_keys()?;
        let database = Database::open(&data.database())?;
        let metrics = Arc::new(Metrics::new());
        let registry = Registry::new(database.run(hosts::list)?, Arc::clone(&metrics));
        for (host, name, when) in database.run(|t| audit::of_action(t, alarm::ACTION))? {
            if let (Ok(host), Some(alarm)) = (HostId::parse(&host), Alarm::from_name(&name)) {
                registry.raise(&host, alarm, when);
            }
        }
        for (host, branches) in database.run(branches::all)? {
            registry.branches_begun(&host, branches.iter().cloned().collect());
        }
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
            program,
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

fn why(ended: Option<Result<Result<(), ServeError>, JoinError>>) -> ServeError {
    match ended {
        Some(Ok(Err(failed))) => failed,
        Some(Ok(Ok(()))) | None => ServeError::Stopped("a part of the service"),
        Some(Err(_panic)) => ServeError::Stopped("a part of the service panicked and"),
    }
}

/// Hears SIGTERM and SIGINT from now on; the answer is done when one came.
pub fn signals() -> Result<impl Future<Output = ()> + Send, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Tells systemd, where there is one.
pub fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "could not notify the service manager");
    }
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
