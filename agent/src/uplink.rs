//! The connection to the collector: a session for words, a stream for batches, and everything that
//! keeps both alive.
//!
//! # Queues
//!
//! | queue | bound | full |
//! | --- | --- | --- |
//! | frames to the collector | [`FRAMES`] | the heartbeat waits; nothing else uses it |
//! | batches to the collector | [`events::QUEUE`], and bytes by the collector's credit | batches wait in the spool |
//! | offers of content that wait to be fetched | [`fetch::OFFERS`] | the session is not read |
//! | commands to the responder | [`COMMANDS`] | the session is not read; the collector keeps the rest |
//!
//! # Invariants
//!
//! - One connection at a time; after it breaks, the next waits longer each time, with jitter, and
//!   never less than [`backoff::FIRST`].
//! - Nothing is sent that is not on disk, and nothing is deleted that is not acknowledged as durable.
//! - A dead task ends the connection, never only a part of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use picket_event::StreamId;
use picket_rpc::channel::ConnectError;
use picket_rpc::tls::TlsError;
use tokio::sync::{Notify, mpsc, watch};
use tonic::{Code as RpcCode, Status};

use crate::clock::SharedClock;
use crate::content::SharedContents;
use crate::failure::{Code, Failure, chain};
use crate::fleet::SharedFleet;
use crate::health::{Link, SharedHealth};
use crate::pipeline::{Input, alarm};
use crate::respond::{Asked, Told};
use crate::state::{StateDir, StateError};
use crate::store::Shared;

mod backoff;
pub(crate) mod certificate;
mod connection;
mod events;
pub(crate) mod facts;
mod fetch;
mod holes;
pub(crate) mod places;
mod renewal;
pub(crate) mod runs;
#[cfg(test)]
mod tests;
mod upload;

use backoff::Backoff;
use places::SharedPlaces;
use runs::Runs;

/// Frames that may wait to be sent.
const FRAMES: usize = 4;
/// Commands that may wait for the responder.
pub(crate) const COMMANDS: usize = 32;

/// What the uplink is given.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// The state directory, for certificate and successions.
    pub(crate) state: Arc<StateDir>,
    /// Where the collector is, `HOST:PORT`, in the order in which they are tried; at least one.
    pub(crate) collectors: Vec<String>,
    /// An HTTP proxy on the way.
    pub(crate) proxy: Option<String>,
    /// Where these are by address.
    pub(crate) places: SharedPlaces,
    /// The CA, DER.
    pub(crate) ca: Vec<u8>,
    /// The state's generation.
    pub(crate) host_epoch: u64,
    /// The trust root's version, and what is to be said of it.
    pub(crate) trust: watch::Receiver<Told>,
    /// The rules and the policy that operators signed.
    pub(crate) contents: SharedContents,
    /// What the fleet knows, and what it is told.
    pub(crate) fleet: SharedFleet,
    /// This run.
    pub(crate) stream: StreamId,
    /// Where the successions are.
    pub(crate) successions: PathBuf,
    /// The spool.
    pub(crate) store: Arc<Shared>,
    /// The snapshot.
    pub(crate) health: SharedHealth,
    /// The wall clock.
    pub(crate) clock: SharedClock,
    /// Where commands go, and trust roots.
    pub(crate) commands: mpsc::Sender<Asked>,
    /// Rung when the uplink must end.
    pub(crate) stop: Arc<Stop>,
    /// How the runs before this one ended, the oldest first.
    pub(crate) runs: Runs,
}

/// Tells the uplink to end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    told: AtomicBool,
    bell: Notify,
}

/// Why a connection ended or was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The state could not be read.
    #[error("state cannot be read")]
    State(#[from] StateError),
    /// TLS cannot be set up.
    #[error("failed to set TLS up")]
    Tls(#[from] TlsError),
    /// Nobody answers, or not who we believe.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The collector said no.
    #[error("collector ended the call: {}", .0.message())]
    Call(Box<Status>),
    /// The collector broke the protocol or is silent.
    #[error("{0}")]
    Protocol(&'static str),
    /// The spool cannot be read.
    #[error("spool cannot be read")]
    Spool(#[from] picket_spool::SpoolError),
    /// The certificate was renewed: the next connection shows it.
    #[error("certificate renewed")]
    Renewed,
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl LinkError {
    /// Whether trying again soon makes no sense.
    fn is_lasting(&self) -> bool {
        match self {
            Self::State(_) | Self::Tls(_) => true,
            Self::Connect(error) => matches!(error, ConnectError::Tls { .. }),
            Self::Call(status) => {
                matches!(
                    status.code(),
                    RpcCode::PermissionDenied | RpcCode::Unauthenticated
                )
            }
            Self::Protocol(_) | Self::Spool(_) | Self::Renewed => false,
        }
    }
}

impl Stop {
    /// Ends the uplink.
    pub(crate) fn ring(&self) {
        self.told.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Returns once it was rung.
    async fn rung(&self) {
        while !self.told.load(Ordering::Acquire) {
            self.bell.notified().await;
        }
    }
}

impl Uplink {
    /// Starts the uplink's thread, with an asynchronous runtime of its own.
    pub(crate) fn start(self, inputs: SyncSender<Input>) -> Result<JoinHandle<()>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::new(Code::Failed, &error))?;
        alarm::spawn("uplink", inputs, move || {
            let stop = Arc::clone(&self.stop);
            runtime.block_on(async {
                tokio::select! {
                    () = self.run() => {}
                    () = stop.rung() => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(200));
        })
    }

    /// Connects, again and again.
    async fn run(&self) {
        let mut backoff = Backoff::default();
        let mut place = 0;
        while let Some(collector) = self.collectors.get(place) {
            self.set_link(Link::Connecting);
            self.health.status().collector.clone_from(collector);
            let error = match connection::hold(self, collector, &mut backoff).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.places.disconnected();
            let was_connected = matches!(self.health.status().link, Link::Connected);
            let reason = chain(&error);
            if matches!(error, LinkError::Renewed) {
                tracing::info!("certificate renewed, connecting again");
                // With a clock far ahead every certificate is past its half life at once.
                tokio::time::sleep(backoff.next(false)).await;
                continue;
            }
            tracing::warn!(collector, reason, "no connection");
            self.set_link(Link::Down(reason));
            // From the first one again after a connection that ended; else the others are asked at once, and who has
            // asked all of them waits.
            place += 1;
            if was_connected || place == self.collectors.len() {
                place = 0;
                tokio::time::sleep(backoff.next(error.is_lasting())).await;
            }
        }
    }

    fn set_link(&self, link: Link) {
        self.health.status().link = link;
    }
}
