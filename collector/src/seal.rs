//! Seals the log in the background, on a thread of its own that gives way to everybody else.
//!
//! # Invariants
//!
//! - Ingest never waits for sealing: a disk that is full or slow for it only leaves more in the log.
//! - A sealed file that is damaged is set aside before anything is thinned, so that the log still has what can be had.
//! - What fails is tried again, later each time; only a catalogue that nobody knows any more ends the service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_event::Clock;
use picket_store::{
    Cursor, Limit, RepairReport, Retention, SealReport, Sealer, StoreError, ThinReport,
};
use tokio::sync::watch;

use crate::database::{Database, DatabaseError, checkpoints, setting};
use crate::failure::chain;
use crate::metrics::Metrics;

/// The work of the thread that seals.
#[derive(Debug)]
pub struct Sealing {
    /// What seals.
    pub sealer: Sealer,
    /// How long what arrived may stay unsealed.
    pub period: Duration,
    /// How long what is sealed stays.
    pub retention: Retention,
    /// How long payloads stay in the log.
    pub log: Limit,
    /// Up to where everybody has come who follows the log.
    pub followed: Followed,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the service ends.
    pub stop: watch::Receiver<bool>,
    /// When a repair that failed is tried again.
    pub not_before: Option<Instant>,
}

impl Sealing {
    /// Seals until the service ends. An error means that only a new start helps.
    pub fn run(mut self) -> Result<(), StoreError> {
        give_way();
        let (mut last, mut pause) = (Instant::now(), SOON);
        let mut looked: Option<Instant> = None;
        while !self.is_stopping() {
            let waiting = self.sealer.waiting_bytes();
            self.show(waiting);
            let is_due = waiting >= MUCH || (waiting > 0 && last.elapsed() >= self.period);
            if is_due {
                match self.all() {
                    Ok(()) => (last, pause) = (Instant::now(), SOON),
                    Err(StoreError::Stopped) => return Err(StoreError::Stopped),
                    Err(error) => {
                        let (error, again) = (chain(&error), pause.as_secs());
                        tracing::error!(
                            error,
                            again,
                            "could not seal the log; the events stay in it"
                        );
                        self.wait(pause);
                        pause = pause.saturating_mul(2).min(LATE);
                    }
                }
            }
            let is_time = looked.is_none_or(|looked| looked.elapsed() >= RETIRE_EVERY);
            if is_time {
                self.compare()?;
            }
            let is_whole = !self.sealer.has_suspects() || self.repair()?;
            if is_time {
                looked = Some(Instant::now());
                self.retire()?;
                if is_whole {
                    self.thin()?;
                }
            }
            self.wait(TICK);
        }
        Ok(())
    }

    /// Compares some of the sealed files with their checksums. What fails now is tried again the next time.
    fn compare(&mut self) -> Result<(), StoreError> {
        match self.sealer.compare(COMPARED) {
            Err(StoreError::Stopped) => Err(StoreError::Stopped),
            Err(error) => {
                tracing::error!(error = chain(&error), "could not check the sealed files");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sets damaged files aside and seals their events anew. Whether none is left; what fails now is tried again the next time.
    fn repair(&mut self) -> Result<bool, StoreError> {
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return Ok(false);
        }
        while !self.is_stopping() {
            let done = catch_unwind(AssertUnwindSafe(|| self.sealer.repair()));
            let step = "repair";
            match done.unwrap_or_else(|_panic| Err(StoreError::Surprised { step })) {
                Ok(RepairReport { file: None, .. }) => return Ok(true),
                Ok(report) => self.tell(&report),
                Err(StoreError::Stopped) => return Err(StoreError::Stopped),
                Err(error) => {
                    tracing::error!(error = chain(&error), "could not repair a sealed file");
                    self.not_before = Some(Instant::now() + RETIRE_EVERY);
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    fn tell(&self, report: &RepairReport) {
        let RepairReport {
            why, events, lost, ..
        } = report;
        let (file, aside) = (report.file.as_deref(), report.aside.display());
        if report.stays {
            tracing::error!(file, why, "a sealed file is damaged and stays where it is");
        } else if *lost > 0 {
            tracing::error!(
                file, why, %aside, events, lost,
                "a sealed file is damaged; the log no longer has all of its events"
            );
        } else {
            tracing::warn!(file, why, %aside, events, "a sealed file was damaged; its events were sealed anew");
        }
        self.metrics.resealed_events.inc_by(*events);
    }

    /// Lets go of what is beyond the limits. What fails now is tried again the next time.
    fn retire(&mut self) -> Result<(), StoreError> {
        match self.sealer.retire(&self.retention, self.clock.now()) {
            Ok(report) if report.replaced > 0 => {
                tracing::info!(
                    files = report.replaced,
                    "retired sealed files beyond their limits"
                );
                Ok(())
            }
            Err(StoreError::Stopped) => Err(StoreError::Stopped),
            Err(error) => {
                tracing::error!(error = chain(&error), "could not retire sealed files");
                Ok(())
            }
            Ok(_nothing) => Ok(()),
        }
    }

    /// Takes payloads out of segments of the log that are beyond their limit. What fails now is tried again the next time.
    fn thin(&mut self) -> Result<(), StoreError> {
        if self.log == Limit::default() {
            return Ok(());
        }
        while !self.is_stopping() {
            let followed = match self.followed.cursor() {
                Ok(followed) => followed,
                Err(error) => {
                    tracing::error!(error = chain(&error), "could not thin the log");
                    return Ok(());
                }
            };
            match self.sealer.thin(self.log, followed, self.clock.now()) {
                Ok(ThinReport { damaged, .. }) if damaged > 0 => {
                    tracing::warn!(
                        segment = damaged,
                        "a damaged segment of the log stays whole"
                    );
                }
                Ok(ThinReport { segment: 0, .. }) => return Ok(()),
                Ok(report) => {
                    let ThinReport {
                        segment,
                        payloads,
                        bytes,
                        ..
                    } = report;
                    tracing::info!(segment, payloads, bytes, "thinned a segment of the log");
                }
                Err(StoreError::Stopped) => return Err(StoreError::Stopped),
                Err(error) => {
                    tracing::error!(error = chain(&error), "could not thin the log");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Seals what there is and merges what became small files.
    fn all(&mut self) -> Result<(), StoreError> {
        loop {
            let report = self.step("seal", Sealer::seal)?;
            if !report.more || self.is_stopping() {
                break;
            }
        }
        while !self.is_stopping() {
            if self.step("merge", Sealer::compact)?.files == 0 {
                break;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        what: &'static str,
        step: fn(&mut Sealer) -> Result<SealReport, StoreError>,
    ) -> Result<SealReport, StoreError> {
        let began = Instant::now();
        // A damaged file may surprise the decoder; that must not end the service.
        let done = catch_unwind(AssertUnwindSafe(|| step(&mut self.sealer)));
        let report = done.unwrap_or_else(|_panic| Err(StoreError::Surprised { step: what }))?;
        if report.files > 0 {
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let SealReport {
                events,
                files,
                replaced,
                bytes,
                unreadable,
                ..
            } = report;
            tracing::info!(
                events, files, replaced, bytes, unreadable, millis, "{what}ed"
            );
            self.metrics.sealed_events.inc_by(events);
        }
        Ok(report)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    fn show(&self, waiting: u64) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.unsealed_bytes.set(gauge(waiting));
        self.metrics
            .sealed_bytes
            .set(gauge(self.sealer.sealed_bytes()));
        self.metrics
            .lost_events
            .set(gauge(self.sealer.lost_events()));
        self.metrics
            .damaged_files
            .set(gauge(self.sealer.damaged_files()));
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left.min(TICK));
        }
    }
}

/// Who follows the log with a cursor that is kept.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Where the cursors are.
    pub database: Database,
    /// Their names, beside that of the checkpoints.
    pub names: Vec<String>,
}

impl Followed {
    /// Where the last of them is.
    fn cursor(&self) -> Result<Cursor, DatabaseError> {
        self.database.run(|t| {
            let signed = checkpoints::last(t)?.map_or(Cursor::START, |last| last.cursor);
            self.names.iter().try_fold(signed, |least, name| {
                let kept = setting(t, name)?.and_then(|bytes| Cursor::from_bytes(&bytes));
                Ok(least.min(kept.unwrap_or(Cursor::START)))
            })
        })
    }
}

/// Lowers the priority of this thread: those who ingest and search go first.
fn give_way() {
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "sealing goes on with the priority that it has");
    }
}

const RETIRE_EVERY: Duration = Duration::from_mins(1);
/// Bytes of sealed files that are compared with their checksums each time.
const COMPARED: u64 = 64 << 20;
const TICK: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_mins(10);

/// So many bytes of the log are sealed at once, however young they are.
const MUCH: u64 = 32 << 20;
