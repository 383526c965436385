//! The fleet's prior: what enough hosts say that they have, merged, signed and given back.
//!
//! # Invariants
//!
//! - A host counts once for each thing, whatever its sketch repeats; only its newest sketch counts, and only for a month.
//! - Nothing that fewer than [`LEAST_HOSTS`](picket_event::fleet::LEAST_HOSTS) hosts said leaves the collector.
//! - A prior has a higher number than the one before, and is made only if it says something else.

mod merge;

use std::sync::Arc;
use std::time::Duration;

use picket_event::fleet::{FleetError, FleetSecret, Prior, Sketch};
use picket_event::{Clock, HostId, UnixNanos};
use picket_proto::v1;
use prost::Message;
use tokio::sync::{Mutex, Notify, watch};

use crate::checkpoint::Checkpoints;
use crate::database::{Database, DatabaseError, keep_setting, setting, sketches};
use crate::ingest::internal;
use crate::refusal::Refusal;

/// Merges and gives. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Priors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    checkpoints: Checkpoints,
    clock: Arc<dyn Clock>,
    secret: FleetSecret,
    newest: watch::Sender<Option<Arc<Newest>>>,
    merging: Mutex<()>,
    /// Rung when a sketch came.
    came: Notify,
}

/// The prior that is given now.
#[derive(Debug)]
pub struct Newest {
    /// What it says.
    pub prior: Prior,
    /// As it is given.
    pub signed: v1::SignedPrior,
}

/// Why there is no prior, or no new one.
#[derive(Debug, thiserror::Error)]
pub enum PriorError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The system gives no random bytes.
    #[error("failed to make the fleet's secret")]
    Random,
    /// The one that was kept is not one.
    #[error("the prior that was kept is refused")]
    Kept(#[source] FleetError),
    /// The thread that worked on it ended.
    #[error("the thread that merges sketches ended")]
    Ended,
}

impl Priors {
    /// Opens what is there; a secret is made where there is none yet. Blocks.
    pub fn open(
        database: Database,
        checkpoints: Checkpoints,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PriorError> {
        let secret = database.run(secret)?;
        let kept = database.run(|t| setting(t, PRIOR))?;
        let newest = kept.and_then(|kept| match read(&kept, &checkpoints) {
            Ok(newest) => Some(Arc::new(newest)),
            // It is made anew from the sketches.
            Err(error) => {
                let error = crate::failure::chain(&error);
                tracing::error!(error, "the fleet's prior is not used");
                None
            }
        });
        Ok(Self(Arc::new(Inner {
            database,
            checkpoints,
            clock,
            secret,
            newest: watch::Sender::new(newest),
            merging: Mutex::new(()),
            came: Notify::new(),
        })))
    }

    /// What hosts make their hashes with.
    pub fn secret(&self) -> FleetSecret {
        self.0.secret
    }

    /// The newest prior, and each new one.
    pub fn newest(&self) -> watch::Receiver<Option<Arc<Newest>>> {
        self.0.newest.subscribe()
    }

    /// Keeps what a host says that it has, in the place of what it said before.
    pub async fn take(&self, host: HostId, sketch: v1::FleetSketch) -> Result<(), Refusal> {
        let sketch = Sketch::try_from(sketch).map_err(|error| match error {
            FleetError::TooLarge { .. } => Refusal::TooLarge,
            _ => Refusal::BadSketch,
        })?;
        if sketch.fleet != self.0.secret.id() {
            // It heard of another secret before; its next one is under this.
            tracing::debug!(%host, "a sketch under another fleet's secret is left aside");
            return Ok(());
        }
        let (now, pairs) = (self.0.clock.now(), merge::to_bytes(sketch.pairs));
        let kept = self
            .0
            .database
            .call(move |t| sketches::keep(t, &host, now, &pairs));
        kept.await.map_err(|failed| internal(&failed))?;
        self.0.came.notify_one();
        Ok(())
    }

    /// Merges what there is into a new prior, if it says something else than the one before.
    pub async fn merge(&self) -> Result<(), PriorError> {
        let _one = self.0.merging.lock().await;
        let inner = Arc::clone(&self.0);
        let merged = tokio::task::spawn_blocking(move || inner.merge());
        merged.await.map_err(|_ended| PriorError::Ended)?
    }

    /// Merges again and again: at once while there is no prior, then once in `period`, also when that was over before the start.
    pub async fn keep(self, period: Duration) {
        loop {
            // Others may come at the same time.
            tokio::time::sleep(SETTLE.min(period)).await;
            if self.is_due(period)
                && let Err(error) = self.merge().await
            {
                let error = crate::failure::chain(&error);
                tracing::error!(error, "no prior made");
            }
            tokio::select! {
                () = self.0.came.notified() => {}
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    fn is_due(&self, period: Duration) -> bool {
        let last = self
            .0
            .newest
            .borrow()
            .as_ref()
            .map(|newest| newest.prior.wall);
        let period = i64::try_from(period.as_nanos()).unwrap_or(i64::MAX);
        let now = self.0.clock.now().0;
        // A clock that was ahead once must not keep priors away for as long.
        last.is_none_or(|last| !(0..period).contains(&now.saturating_sub(last.0)))
    }
}

impl Inner {
    fn merge(&self) -> Result<(), PriorError> {
        let now = self.clock.now();
        let since = UnixNanos(now.0.saturating_sub(FRESH_NANOS));
        let merged = merge::merge(|each| self.read_sketches(since, each))?;
        let before = self.newest.borrow().clone();
        let same = before.as_ref().map_or(merged.values.is_empty(), |before| {
            before.prior.contexts == merged.contexts && before.prior.values == merged.values
        });
        if same {
            return Ok(());
        }
        let prior = Prior {
            fleet: self.secret.id(),
            number: before.map_or(1, |before| before.prior.number.saturating_add(1)),
            wall: now,
            hosts: merged.hosts,
            contexts: merged.contexts,
            values: merged.values,
        };
        let signed = self.checkpoints.sign_prior(&prior);
        let bytes = signed.encode_to_vec();
        self.database.run(|t| keep_setting(t, PRIOR, &bytes))?;
        let (number, hosts, values) = (prior.number, prior.hosts, prior.values.len());
        tracing::info!(number, hosts, values, "signed a prior of the fleet");
        self.newest
            .send_replace(Some(Arc::new(Newest { prior, signed })));
        Ok(())
    }

    /// Shows each host's sketch, a few at a time, so that the database is not held.
    fn read_sketches(
        &self,
        since: UnixNanos,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DatabaseError> {
        let mut after = None;
        loop {
            let some = self
                .database
                .run(|t| sketches::behind(t, after.as_ref(), since, AT_ONCE))?;
            let Some((last, _)) = some.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (_, pairs) in &some {
                each(pairs);
            }
        }
    }
}

/// The secret, made if there is none.
fn secret(t: &rusqlite::Transaction<'_>) -> Result<FleetSecret, PriorError> {
    if let Some(kept) = setting(t, SECRET)? {
        let secret = FleetSecret::from_slice(&kept);
        return secret.ok_or(PriorError::Database(DatabaseError::Damaged("fleet secret")));
    }
    let random = picket_seal::random::<16>().map_err(|_none| PriorError::Random)?;
    keep_setting(t, SECRET, &random)?;
    Ok(FleetSecret::new(random))
}

fn read(kept: &[u8], checkpoints: &Checkpoints) -> Result<Newest, PriorError> {
    let signed = v1::SignedPrior::decode(kept)
        .map_err(|_message| PriorError::Database(DatabaseError::Damaged("prior")))?;
    let prior = Prior::read(&signed, &checkpoints.public_key()).map_err(PriorError::Kept)?;
    Ok(Newest { prior, signed })
}

/// The names of what is kept.
const SECRET: &str = "fleet.secret";
const PRIOR: &str = "fleet.prior";
/// How long a sketch counts.
const FRESH_NANOS: i64 = 30 * 24 * 3_600 * 1_000_000_000;
/// How long the first sketches wait for others.
const SETTLE: Duration = Duration::from_secs(2);
/// Sketches that are read at once.
const AT_ONCE: u32 = 32;
