//! Between this host and its fleet: the secret that hashes are made with, the newest prior, and what this host tells of itself.
//!
//! # Invariants
//!
//! - A prior counts only if the key that signed the first one has signed it, under the secret that the collector gave.
//! - Another secret is another fleet: what came of the one before is forgotten.
//! - Nothing here can make the agent do anything: a prior is only asked how usual a thing is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use picket_event::fleet::{FleetError, FleetSecret, Prior};
use picket_proto::v1;
use picket_scorer::FleetKnowledge;
use picket_seal::{PublicKey, SealError};
use prost::Message;
use tokio::sync::{Notify, watch};

use crate::detect::Detector;
use crate::failure::chain;
use crate::state::{StateDir, StateError};

/// Shared between uplink and path.
pub(crate) type SharedFleet = Arc<Fleet>;

/// What came from the collector, and what waits to go there.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// `None`: this host takes no part.
    state: Option<Arc<StateDir>>,
    heard: watch::Sender<Heard>,
    waiting: Mutex<Option<v1::FleetSketch>>,
    bell: Notify,
}

/// What came from the collector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    secret: Option<FleetSecret>,
    prior: Option<Arc<Believed>>,
}

/// A prior and the key that signed it.
#[derive(Debug)]
struct Believed {
    prior: Prior,
    key: PublicKey,
}

/// Why a prior is not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("its key is malformed")]
    Key(#[source] SealError),
    #[error(
        "it names another key than the one before it; if the collector was set up anew, remove `{PRIOR}` from the state directory"
    )]
    OtherKey,
    #[error("it is for another fleet's secret")]
    OtherFleet,
    #[error(transparent)]
    Prior(#[from] FleetError),
    #[error("what was kept cannot be decoded")]
    Kept,
}

impl Fleet {
    /// Goes on with what earlier runs heard. What cannot be used is said and comes again from the collector.
    pub(crate) fn open(state: &Arc<StateDir>, takes_part: bool) -> Result<SharedFleet, StateError> {
        let fleet = Self {
            state: takes_part.then(|| Arc::clone(state)),
            heard: watch::Sender::new(Heard::default()),
            waiting: Mutex::default(),
            bell: Notify::new(),
        };
        if !takes_part {
            return Ok(Arc::new(fleet));
        }
        let secret = state.read(SECRET)?;
        let secret = secret.as_deref().and_then(FleetSecret::from_slice);
        fleet.heard.send_modify(|heard| heard.secret = secret);
        if let Some(kept) = state.read(PRIOR)?
            && let Err(error) = fleet.take_kept(&kept)
        {
            let reason = chain(&error);
            tracing::warn!(reason, "the fleet's prior that was kept is not used");
        }
        Ok(Arc::new(fleet))
    }

    fn take_kept(&self, kept: &[u8]) -> Result<(), NotTaken> {
        let signed = v1::SignedPrior::decode(kept).map_err(|_message| NotTaken::Kept)?;
        self.take(&signed).map(drop)
    }

    /// The number of the prior in use; 0: none.
    pub(crate) fn number(&self) -> u64 {
        let heard = self.heard.borrow();
        heard.prior.as_ref().map_or(0, |prior| prior.prior.number)
    }

    /// The collector's word which secret the fleet has; nothing of one that does not compare its hosts.
    pub(crate) fn hear_secret(&self, bytes: &[u8]) {
        let (Some(state), Some(secret)) = (&self.state, FleetSecret::from_slice(bytes)) else {
            return;
        };
        if self.heard.borrow().secret == Some(secret) {
            return;
        }
        if let Err(error) = state.write(SECRET, bytes) {
            tracing::error!(reason = chain(&error), "the fleet's secret is not kept");
        }
        self.heard.send_replace(Heard {
            secret: Some(secret),
            prior: None,
        });
    }

    /// A prior from the collector.
    pub(crate) fn hear_prior(&self, signed: &v1::SignedPrior) {
        let Some(state) = &self.state else { return };
        match self.take(signed) {
            Ok(number) => {
                if let Err(error) = state.write(PRIOR, &signed.encode_to_vec()) {
                    tracing::error!(reason = chain(&error), "the fleet's prior is not kept");
                }
                tracing::info!(number, "took a prior of the fleet");
            }
            Err(error) => {
                tracing::warn!(reason = chain(&error), "a prior of the fleet is not taken");
            }
        }
    }

    fn take(&self, signed: &v1::SignedPrior) -> Result<u64, NotTaken> {
        let key = PublicKey::from_slice(&signed.public_key).map_err(NotTaken::Key)?;
        let heard = self.heard.borrow().clone();
        if heard.prior.is_some_and(|before| before.key != key) {
            return Err(NotTaken::OtherKey);
        }
        let prior = Prior::read(signed, &key)?;
        if heard.secret.map(|secret| secret.id()) != Some(prior.fleet) {
            return Err(NotTaken::OtherFleet);
        }
        let number = prior.number;
        let believed = Arc::new(Believed { prior, key });
        self.heard.send_modify(|heard| heard.prior = Some(believed));
        Ok(number)
    }

    /// The next sketch that is to go to the collector.
    pub(crate) async fn next_sketch(&self) -> v1::FleetSketch {
        loop {
            let waiting = self.waiting().take();
            if let Some(sketch) = waiting {
                return sketch;
            }
            self.bell.notified().await;
        }
    }

    pub(crate) fn tell(&self, sketch: v1::FleetSketch) {
        *self.waiting() = Some(sketch);
        self.bell.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Option<v1::FleetSketch>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path's side.
#[derive(Debug)]
pub(crate) struct Compared {
    fleet: SharedFleet,
    heard: watch::Receiver<Heard>,
    due: Instant,
}

impl Compared {
    /// Of this fleet; what was heard in earlier runs is taken at the first look.
    pub(crate) fn with(fleet: &SharedFleet, now: Instant) -> Self {
        let mut heard = fleet.heard.subscribe();
        heard.mark_changed();
        Self {
            fleet: Arc::clone(fleet),
            heard,
            due: now + FIRST_AFTER,
        }
    }

    /// Gives the scorer what came, and the collector what it may know, once a day.
    pub(crate) fn keep(&mut self, now: Instant, detect: &mut Detector) {
        if self.heard.has_changed().unwrap_or(false) {
            let heard = self.heard.borrow_and_update().clone();
            if let Some(secret) = heard.secret {
                detect.join_fleet(secret);
            }
            if let Some(prior) = heard.prior {
                detect.take_prior(&prior.prior);
            }
        }
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        if let Some(sketch) = detect.sketch().filter(|sketch| !sketch.pairs.is_empty()) {
            self.fleet.tell(sketch.into());
        }
    }
}

/// What `status` says of it.
pub(crate) fn as_json(knowledge: FleetKnowledge) -> serde_json::Value {
    serde_json::json!({
        "prior": knowledge.number, "hosts": knowledge.hosts, "contexts": knowledge.contexts,
        "values": knowledge.values, "told": knowledge.told,
    })
}

/// What is kept in the state directory.
const SECRET: &str = "fleet.secret";
const PRIOR: &str = "fleet.prior";
/// How long after the start the first sketch goes.
const FIRST_AFTER: Duration = Duration::from_mins(10);
/// How often one goes.
const EVERY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use picket_event::UnixNanos;
    use picket_event::fleet::{SharedContext, SharedValue};
    use picket_event::{Event, Kind, Process, ProcessUid, Source};
    use picket_scorer::{Scorer, Settings};
    use picket_seal::SigningKey;

    use super::*;
    use crate::detect::Rules;

    const SECRET_BYTES: [u8; 16] = [9; 16];

    fn state() -> (tempfile::TempDir, Arc<StateDir>) {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(StateDir::open(dir.path()).unwrap());
        (dir, state)
    }

    fn prior(number: u64) -> Prior {
        Prior {
            fleet: FleetSecret::new(SECRET_BYTES).id(),
            number,
            wall: UnixNanos(1),
            hosts: 40,
            contexts: vec![SharedContext {
                context: 1,
                hosts: 40,
                values: 2,
            }],
            values: vec![SharedValue {
                value: 2,
                hosts: 40,
            }],
        }
    }

    fn detector() -> Detector {
        Detector::new(Rules::default(), Scorer::new(Settings::new([1; 16])))
    }

    #[test]
    fn a_prior_is_taken_kept_and_there_after_a_restart() {
        let (_dir, state) = state();
        let key = SigningKey::generate().unwrap();
        let fleet = Fleet::open(&state, true).unwrap();
        fleet.hear_prior(&prior(1).sign(&key));
        assert_eq!(fleet.number(), 0, "before any secret");
        fleet.hear_secret(&SECRET_BYTES);
        fleet.hear_prior(&prior(2).sign(&key));
        assert_eq!(fleet.number(), 2);
        let again = Fleet::open(&state, true).unwrap();
        assert_eq!(again.number(), 2);
        let now = Instant::now();
        let (mut compared, mut detect) = (Compared::with(&again, now), detector());
        compared.keep(now, &mut detect);
        assert_eq!((detect.fleet().number, detect.fleet().values), (2, 1));
    }

    #[test]
    fn another_key_another_fleet_and_altered_bytes_are_refused() {
        let (_dir, state) = state();
        let (key, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let fleet = Fleet::open(&state, true).unwrap();
        fleet.hear_secret(&SECRET_BYTES);
        fleet.hear_prior(&prior(1).sign(&key));
        fleet.hear_prior(&prior(2).sign(&other));
        let mut altered = prior(3).sign(&key);
        altered.body[3] ^= 1;
        fleet.hear_prior(&altered);
        let foreign = Prior {
            fleet: FleetSecret::new([8; 16]).id(),
            ..prior(4)
        };
        fleet.hear_prior(&foreign.sign(&key));
        assert_eq!(fleet.number(), 1);
        fleet.hear_secret(&[8; 16]);
        assert_eq!(fleet.number(), 0, "another fleet");
        fleet.hear_prior(&foreign.sign(&other));
        assert_eq!(fleet.number(), 4);
    }

    #[test]
    fn who_takes_no_part_keeps_nothing_and_tells_nothing() {
        let (_dir, state) = state();
        let key = SigningKey::generate().unwrap();
        let fleet = Fleet::open(&state, false).unwrap();
        fleet.hear_secret(&SECRET_BYTES);
        fleet.hear_prior(&prior(1).sign(&key));
        assert_eq!((fleet.number(), state.read(PRIOR).unwrap()), (0, None));
        let now = Instant::now();
        let mut detect = detector();
        Compared::with(&fleet, now).keep(now + EVERY, &mut detect);
        assert!(fleet.waiting().is_none());
    }

    #[tokio::test]
    async fn a_sketch_goes_ten_minutes_after_the_start_and_then_once_a_day() {
        let (_dir, state) = state();
        let fleet = Fleet::open(&state, true).unwrap();
        fleet.hear_secret(&SECRET_BYTES);
        let start = Instant::now();
        let (mut compared, mut detect) = (Compared::with(&fleet, start), detector());
        compared.keep(start, &mut detect);
        for day in 1..=2 {
            let time = UnixNanos(day * 86_400_000_000_000);
            let mut process = Process::new(ProcessUid::new([1; 16]), 7);
            process.exe = "/usr/bin/id".into();
            process.argv = vec!["id".into(), "-u".into()];
            let mut event = Event::new(Kind::Exec, time, Source::Ebpf).by(process);
            detect.judge(time, &mut event);
        }
        compared.keep(start + FIRST_AFTER / 2, &mut detect);
        assert!(fleet.waiting().is_none());
        compared.keep(start + FIRST_AFTER, &mut detect);
        let sketch = fleet.next_sketch().await;
        assert!(!sketch.values.is_empty() && sketch.values.len() == detect.fleet().told);
        compared.keep(start + EVERY, &mut detect);
        assert!(fleet.waiting().is_none());
        compared.keep(start + FIRST_AFTER + EVERY, &mut detect);
        assert!(fleet.waiting().is_some());
    }
}
