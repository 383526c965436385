//! The service's sink: numbers and seals events, hands batches to the spool, and keeps what the next
//! run must know.
//!
//! # Invariants
//!
//! - An epoch's key signs nothing after its successor is vouched for.
//! - Positions in login files are kept only once the events before them are on disk.
//! - While the disk refuses a class, its events become gaps when they are numbered: memory is bounded.
//! - A run is called clean only when its closing balance is on disk.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_event::{
    Class, Containment, Detail, Event, Gap, GapReason, Hook, Kind, ReceiptState, SensorState,
    Source, StreamId,
};
use picket_seal::Domain;
use picket_sensor::login::Position;
use picket_spool::{LossReason, Lost};

use crate::clock::{SharedClock, boot_ns};
use crate::failure::{Code, Failure, chain};
use crate::health::SharedHealth;
use crate::health::notify::Watchdog;
use crate::pipeline::{Boxed, Sink, Stages};
use crate::seal::{Now, Sealed, Sealer, Signer, Speaker};
use crate::state::epoch::Epochs;
use crate::state::{StateDir, stream};
use crate::store::{Store, event_class};

/// How often the heads are kept for the next run.
const KEEP_HEADS: Duration = Duration::from_secs(5);
/// How often the snapshot for `status` is renewed.
const TELL: Duration = Duration::from_secs(1);
/// How often what the scorer learned is kept.
const KEEP_SCORER: Duration = Duration::from_mins(10);
/// How often to look while a class has no room.
const WITHOUT_ROOM: Duration = Duration::from_millis(20);
/// What the scorer learned.
pub(crate) const SCORER: &str = "scorer.snapshot";
/// The budget of the scorer's alerts.
pub(crate) const ALERTS: &str = "scorer.alerts";
/// What rules about new values have seen.
pub(crate) const SEEN: &str = "rules.seen";
/// How far login files were read.
pub(crate) const LOGINS: &str = "logins.json";

/// The sink.
#[derive(Debug)]
pub(crate) struct Books {
    state: Arc<StateDir>,
    clock: SharedClock,
    health: SharedHealth,
    speaker: Speaker,
    sealer: Sealer,
    epochs: Epochs,
    epoch_length: Duration,
    store: Store,
    positions: Option<(Vec<Position>, [u64; 3])>,
    watchdog: Watchdog,
    due: Due,
    /// Alerts of the scorer that the kept budget knows of.
    alerts_kept: u64,
}

/// When each of the regular duties was done last.
#[derive(Debug)]
struct Due {
    rotated: Instant,
    heads: Instant,
    told: Instant,
    scorer: Instant,
}

impl Due {
    /// A change of keys that failed is tried again in a minute.
    fn rotate_again(&mut self, epoch_length: Duration) {
        let pause = epoch_length.saturating_sub(Duration::from_mins(1));
        self.rotated = self.rotated.checked_sub(pause).unwrap_or(self.rotated);
    }
}

/// What the sink is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The state directory.
    pub(crate) state: Arc<StateDir>,
    /// The wall clock.
    pub(crate) clock: SharedClock,
    /// Where the snapshot is.
    pub(crate) health: SharedHealth,
    /// Who speaks, in which run.
    pub(crate) speaker: Speaker,
    /// Numbers and seals.
    pub(crate) sealer: Sealer,
    /// The keys; this run's own epoch has begun.
    pub(crate) epochs: Epochs,
    /// How long an epoch lasts.
    pub(crate) epoch_length: Duration,
    /// The way to the spool.
    pub(crate) store: Store,
}

impl Books {
    /// Opens the books of a run.
    pub(crate) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let long_ago = now.checked_sub(TELL).unwrap_or(now);
        Self {
            state: parts.state,
            clock: parts.clock,
            health: parts.health,
            speaker: parts.speaker,
            sealer: parts.sealer,
            epochs: parts.epochs,
            epoch_length: parts.epoch_length,
            store: parts.store,
            positions: None,
            watchdog: Watchdog::new(),
            alerts_kept: 0,
            due: Due {
                rotated: now,
                heads: now,
                told: long_ago,
                scorer: now,
            },
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            mono_ns: boot_ns(),
        }
    }

    fn put(&self, batches: impl IntoIterator<Item = Sealed>) -> Result<(), Failure> {
        batches
            .into_iter()
            .try_for_each(|batch| self.store.put(batch))
    }

    fn flush_all(&mut self) -> Result<(), Failure> {
        let now = self.now();
        let signer = Signer {
            epoch: self.epochs.epoch(),
            key: self.epochs.key(),
        };
        let sealed = self.sealer.flush_all(now, signer).map_err(sealing)?;
        self.put(sealed)
    }

    fn flush_due(&mut self) -> Result<(), Failure> {
        let store = &self.store;
        let room = |class| store.has_room(class);
        let now = self.now();
        let signer = Signer {
            epoch: self.epochs.epoch(),
            key: self.epochs.key(),
        };
        let sealed = self.sealer.flush_due(now, signer, room).map_err(sealing)?;
        self.put(sealed)
    }

    /// Everything of the old epoch is sealed before its key goes.
    fn rotate(&mut self) -> Result<(), Failure> {
        let room = Class::ALL.iter().all(|class| self.store.has_room(*class));
        if self.due.rotated.elapsed() < self.epoch_length || !room {
            return Ok(());
        }
        self.due.rotated = Instant::now();
        self.flush_all()?;
        let before = self.epochs.epoch();
        if let Err(error) = self.epochs.rotate(self.clock.now()) {
            let what = if self.epochs.epoch() == before {
                "event key not changed, keeping the old one"
            } else {
                "the event key that has ended could not be erased, trying again with the next one"
            };
            tracing::error!(reason = chain(&error), "{what}");
            self.due.rotate_again(self.epoch_length);
        }
        self.health.status().epoch = self.epochs.epoch();
        Ok(())
    }

    /// What the spool lost is told by an event of its class. Whole records that are gone leave a hole in their
    /// chain: that is signed when the collector meets it.
    fn report_lost(&mut self) {
        let now = self.now();
        for lost in self.store.shared.take_lost() {
            tracing::warn!(
                class = event_class(lost.class).name(),
                seq_first = lost.seq_first,
                count = lost.count,
                reason = ?lost.reason,
                "spool lost batches"
            );
            self.report(&lost, now);
        }
    }

    fn report(&mut self, lost: &Lost, now: Now) {
        let own = lost.stream == *self.speaker.stream.as_bytes();
        let reason = match lost.reason {
            LossReason::Quota => GapReason::SpoolFull,
            LossReason::Corrupt | LossReason::Torn if own => GapReason::Corrupt,
            _ => return,
        };
        let class = event_class(lost.class);
        if let (Some(count), true) = (lost.count, own) {
            self.store
                .shared
                .note_dropped(class, lost.seq_first.saturating_add(count), count);
        }
        let gap = Gap {
            seq_first: lost.seq_first,
            count: lost.count,
            reason,
            kinds: Vec::new(),
            stream: (!own).then(|| StreamId::new(lost.stream)),
        };
        self.sealer.report(class, gap, now);
    }

    /// Signs what the uplink has found to be missing, and what proves this host when its certificate has run out.
    fn sign_asked(&self) {
        let now = self.now();
        let signer = Signer {
            epoch: self.epochs.epoch(),
            key: self.epochs.key(),
        };
        let shared = &self.store.shared;
        if shared
            .ranges
            .sign(|range| range.seal(self.speaker, now, signer))
        {
            shared.wake.notify_one();
        }
        shared.proof.sign(|nonce| {
            let signature = signer.key.sign(Domain::Renewal, nonce);
            (signer.epoch, signature)
        });
    }

    fn keep_heads(&mut self, clean: bool) {
        let heads = self.sealer.heads();
        if let Err(error) = stream::write(&self.state, self.speaker.stream, &heads, clean) {
            tracing::error!(error = chain(&error), "stream state not kept");
        }
    }

    fn keep_positions(&mut self) {
        let Some((positions, numbered)) = &self.positions else {
            return;
        };
        let numbers = self.sealer.numbered();
        let safe = numbers.iter().zip(numbered);
        if !safe
            .into_iter()
            .all(|(line, number)| self.store.shared.synced(line.class) >= *number)
        {
            return;
        }
        let text = serde_json::to_vec(positions).expect("paths of log files and numbers are JSON");
        if let Err(error) = self.state.write(LOGINS, &text) {
            tracing::error!(error = chain(&error), "login positions not kept");
        }
        self.positions = None;
    }

    fn keep_scorer(&self, stages: &Stages) {
        if let Err(error) = self.state.write(SCORER, &stages.detect.snapshot()) {
            tracing::error!(error = chain(&error), "scorer snapshot not kept");
        }
    }

    fn keep_seen(&self, stages: &Stages) {
        if let Err(error) = self.state.write(SEEN, &stages.detect.seen()) {
            tracing::error!(error = chain(&error), "values that rules saw not kept");
        }
    }

    /// Soon after somebody was told, so that a restart makes no room in the budget.
    fn keep_alerts(&mut self, stages: &Stages) {
        let told = stages.detect.told();
        if told == self.alerts_kept {
            return;
        }
        match self.state.write(ALERTS, &stages.detect.alerts()) {
            Ok(()) => self.alerts_kept = told,
            Err(error) => tracing::error!(error = chain(&error), "budget of alerts not kept"),
        }
    }

    /// Counting what the scorer knows takes milliseconds: less often.
    fn tell_maturity(&self, stages: &Stages) {
        let mut status = self.health.status();
        status.scorer = stages.detect.maturity();
        status.scorer_withheld = stages.detect.withheld();
        status.changes = stages.detect.changes();
        status.drift = stages.detect.drift();
        status.fleet = stages.detect.fleet();
    }

    fn tell(&self, stages: &Stages) {
        let transport = self
            .store
            .shared
            .transport(self.speaker.stream, &self.sealer.numbered());
        let spool = self.store.shared.spool().status();
        let mut status = self.health.status();
        status.transport = transport;
        status.spool_bytes = spool.bytes;
        status.spool_quota = spool.quota_bytes;
        status.kinds = stages.ledgers.combined(stages.enrich.counts());
        status.rules = stages.detect.rules();
        status.over_several = stages.detect.over_several();
    }

    fn notice(&self, event: &Event) {
        match &event.detail {
            Some(Detail::Containment(answer)) => self.note_answer(answer),
            Some(Detail::Sensor(sensor)) => self.note_sensor(sensor),
            _ => {}
        }
    }

    fn note_answer(&self, answer: &Containment) {
        let mut status = self.health.status();
        if matches!(answer.state, ReceiptState::Refused | ReceiptState::Expired) {
            status.refused(&answer.reason);
        }
        let count = status.commands.0.saturating_add(1);
        status.commands = (
            count,
            format!("{} {} {}", answer.action, answer.state, answer.reason),
        );
    }

    fn note_sensor(&self, sensor: &SensorState) {
        self.health.status().sensor = sensor.clone();
    }
}

impl Sink for Books {
    fn take(&mut self, event: Boxed) -> Result<(), Failure> {
        self.notice(&event);
        let (class, now) = (event.class(), self.now());
        let watchdog = &mut self.watchdog;
        if !self.store.wait_for_room(class, || watchdog.pat()) {
            self.sealer
                .lose(class, (event.kind, 1), GapReason::SpoolFull, now);
            return Ok(());
        }
        let signer = Signer {
            epoch: self.epochs.epoch(),
            key: self.epochs.key(),
        };
        let sealed = self.sealer.push(event, now, signer).map_err(sealing)?;
        self.put(sealed)
    }

    fn lose(&mut self, from: Source, kind: Kind, count: u64) -> Result<(), Failure> {
        tracing::warn!(kind = kind.name(), count, "sensor lost events");
        let reason = match from {
            Source::Portable => GapReason::Sampling,
            _ => GapReason::KernelRing,
        };
        let now = self.now();
        self.sealer
            .lose(kind.default_class(), (kind, count), reason, now);
        Ok(())
    }

    fn positions(&mut self, positions: Vec<Position>) {
        let numbered = self.sealer.numbered().map(|line| line.given);
        self.positions = Some((positions, numbered));
    }

    fn logins(&mut self, hooks: Vec<Hook>) {
        self.health.status().logins = hooks;
    }

    fn tick(&mut self, stages: &Stages) -> Result<(), Failure> {
        self.watchdog.pat();
        self.report_lost();
        self.sign_asked();
        self.sealer.name_checkpoint(self.store.shared.checkpoint());
        self.flush_due()?;
        self.rotate()?;
        if self.due.heads.elapsed() >= KEEP_HEADS {
            self.due.heads = Instant::now();
            self.keep_heads(false);
            self.keep_positions();
            self.keep_alerts(stages);
            self.tell_maturity(stages);
        }
        if self.due.told.elapsed() >= TELL {
            self.due.told = Instant::now();
            self.tell(stages);
        }
        if self.due.scorer.elapsed() >= KEEP_SCORER {
            self.due.scorer = Instant::now();
            self.keep_scorer(stages);
            self.keep_seen(stages);
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        if Class::ALL.iter().any(|class| !self.store.has_room(*class)) {
            return WITHOUT_ROOM;
        }
        self.sealer
            .due_in_ns(boot_ns())
            .map_or(Duration::MAX, Duration::from_nanos)
    }

    fn close(&mut self, last: Event, stages: &Stages) -> Result<(), Failure> {
        self.take(Box::new(last))?;
        self.report_lost();
        self.flush_all()?;
        self.store.close();
        // What the quota took for the last batches gets a number that nothing seals any more: the run is
        // not called clean, and the next one begins with a gap.
        self.report_lost();
        let numbers = self.sealer.numbered();
        let safe = numbers
            .iter()
            .all(|line| self.store.shared.synced(line.class) >= line.given);
        self.keep_heads(safe);
        self.keep_positions();
        self.keep_scorer(stages);
        self.keep_seen(stages);
        self.keep_alerts(stages);
        self.tell(stages);
        self.tell_maturity(stages);
        if safe {
            return Ok(());
        }
        Err(Failure::line(
            Code::Failed,
            "failed to close the books: the last batches are not all safe",
        ))
    }
}

fn sealing(error: io::Error) -> Failure {
    Failure::line(
        Code::Failed,
        format!("failed to seal a batch: {}", chain(&error)),
    )
}
