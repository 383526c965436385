//! The proof of what is listened to: at the start, and again now and then, the canary's own deeds must
//! be told.
//!
//! # Invariants
//!
//! - What the canary does is claimed and counts as filtered, so the user never sees it.
//! - A later proof waits until little is going on.
//! - Nothing loses its standing if anything at all was lost while the canary sang.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, HookState, Kind, SensorState, Source};

use super::canary::Canary;
use super::multicast::Multicast;
use super::{AuditSensor, CONNECTORS, KINDS, TICK, files};
use crate::{Sensor, SensorError, identity};

/// When the next proof is due, and what the last one gave.
#[derive(Debug)]
pub(super) struct Proofs {
    every: Duration,
    last: Instant,
    /// Messages that had been read at the last look.
    read: u64,
    /// The kinds that the canary was told by.
    pub(super) came_back: BTreeSet<Kind>,
    under_way: Option<UnderWay>,
}

/// A proof whose canary has sung.
#[derive(Debug)]
struct UnderWay {
    canary: Canary,
    until: Instant,
    lost_before: u64,
    /// The file system that is marked for the canary alone.
    marked: Option<PathBuf>,
}

impl Proofs {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            last: Instant::now(),
            read: 0,
            came_back: BTreeSet::new(),
            under_way: None,
        }
    }

    /// The canary, while one sings.
    pub(super) fn canary(&mut self) -> Option<&mut Canary> {
        let under_way = self.under_way.as_mut();
        under_way.map(|under_way| &mut under_way.canary)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether a proof is due and little has come since the last call.
    fn is_time(&mut self, read: u64) -> bool {
        let came = read.saturating_sub(self.read);
        self.read = read;
        !self.every.is_zero() && self.last.elapsed() >= self.every && came < CALM
    }
}

impl AuditSensor {
    /// The first proof. Without the word of our own programs this sensor is worth nothing.
    pub(super) fn prove_at_start(&mut self) -> Result<(), SensorError> {
        self.begin_proof();
        if !self.proofs.is_under_way() {
            return Ok(());
        }
        while self.is_waiting_for_canary() {
            self.wait(TICK);
            let mut events = Vec::new();
            self.step(&mut events)?;
            self.early.append(&mut events);
        }
        self.end_proof();
        let came_back = &self.proofs.came_back;
        if CONNECTORS.iter().all(|kind| came_back.contains(kind)) {
            Ok(())
        } else {
            Err(SensorError::Unheard)
        }
    }

    /// The later ones: they begin when it is time and end when the canary came back.
    pub(super) fn prove_again(&mut self, out: &mut Vec<Event>) {
        if !self.proofs.is_under_way() {
            if self.proofs.is_time(self.read) {
                self.begin_proof();
            }
            return;
        }
        if self.is_waiting_for_canary() {
            return;
        }
        let before = self.proved();
        self.end_proof();
        let after = self.proved();
        for (change, has_come) in [
            ("hook_lost", !before.is_subset(&after)),
            ("hook_back", !after.is_subset(&before)),
        ] {
            if has_come {
                out.push(self.state_event(change, identity::boot_ns()));
            }
        }
    }

    /// What of this sensor works, told as an event.
    pub(super) fn state_event(&self, change: &str, at_ns: u64) -> Event {
        let state = SensorState {
            backend: Source::Audit.name().to_owned(),
            change: change.to_owned(),
            hooks: self.hooks(),
        };
        let mut event = Event::new(Kind::Sensor, self.table.census.at(at_ns), Source::Audit);
        event.boot_ns = at_ns;
        event.with(Detail::Sensor(state))
    }

    /// Lets a canary sing, where one can be had.
    fn begin_proof(&mut self) {
        self.proofs.last = Instant::now();
        if let Ok(multicast) = &mut self.multicast {
            multicast.ask_status();
        }
        let mut canary = match Canary::new() {
            Ok(canary) => canary,
            Err(error) => {
                tracing::warn!(%error, "no canary: nothing is proved this time");
                return;
            }
        };
        let files = self.files.as_mut().ok();
        let marked = files.and_then(|files| files.begin_canary(&canary));
        let lost_before = self.lost_so_far();
        canary.sing();
        let now = Instant::now();
        self.proofs.under_way = Some(UnderWay {
            canary,
            until: now.checked_add(PATIENCE).unwrap_or(now),
            lost_before,
            marked,
        });
    }

    /// Whether there is still hope that more of the canary comes back.
    fn is_waiting_for_canary(&self) -> bool {
        let Some(proof) = &self.proofs.under_way else {
            return false;
        };
        let came_back = proof.canary.came_back();
        let has_files = self.files.is_ok();
        let mut wanted = KINDS
            .iter()
            .filter(|kind| has_files || !files::KINDS.contains(kind));
        let has_records = self.multicast.as_ref().is_ok_and(Multicast::is_enabled);
        let is_all = wanted.all(|kind| came_back.contains(kind))
            && (!has_records || proof.canary.is_recorded());
        !is_all && Instant::now() < proof.until
    }

    /// Notes what came back, and leaves everything as it was before the canary.
    fn end_proof(&mut self) {
        let Some(proof) = self.proofs.under_way.take() else {
            return;
        };
        if let (Some(folder), Ok(files)) = (&proof.marked, &mut self.files) {
            files.end_canary(folder);
        }
        let mut came_back = proof.canary.came_back().clone();
        let is_sure = self.lost_so_far() == proof.lost_before;
        if !is_sure {
            came_back.extend(&self.proofs.came_back);
        }
        self.proofs.came_back = came_back;
        if let Ok(multicast) = &mut self.multicast {
            let keeps = multicast.is_proved && !is_sure;
            multicast.is_proved = proof.canary.is_recorded() || keeps;
        }
    }

    fn proved(&self) -> BTreeSet<String> {
        let hooks = self.hooks().into_iter();
        let proved = hooks.filter(|hook| hook.state == HookState::Proved);
        proved.map(|hook| hook.name).collect()
    }

    fn lost_so_far(&self) -> u64 {
        let ledger = self.ledger();
        let lost = ledger.iter().map(|line| line.lost);
        lost.fold(0, u64::saturating_add)
    }
}

/// How long the canary's events may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Messages since the last look below which it is calm.
const CALM: u64 = 1_000;
