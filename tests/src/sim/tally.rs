//! What all simulated hosts together have sent, heard and suffered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by all hosts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    connections: AtomicU64,
    events_sent: AtomicU64,
    bytes_sent: AtomicU64,
    batches_acked: AtomicU64,
    events_acked: AtomicU64,
    waiting: AtomicU64,
    proved: AtomicU64,
    latencies: Mutex<Latencies>,
    errors: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Latencies {
    wanted: bool,
    micros: Vec<u32>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) events_sent: u64,
    pub(super) bytes_sent: u64,
    pub(super) batches_acked: u64,
    pub(super) events_acked: u64,
}

/// From when a batch was due to the ack that it is durable, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// How many batches.
    pub count: u64,
    /// Half of them were faster.
    pub p50_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            connections: of(&self.connections),
            events_sent: of(&self.events_sent),
            bytes_sent: of(&self.bytes_sent),
            batches_acked: of(&self.batches_acked),
            events_acked: of(&self.events_acked),
        }
    }

    /// Batches that were made and are not acknowledged.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Hosts whose batch for the latest call was acknowledged.
    pub(super) fn proved(&self) -> u64 {
        self.proved.load(Ordering::Relaxed)
    }

    /// A new call: nobody has answered it yet.
    pub(super) fn prove_again(&self) {
        self.proved.store(0, Ordering::Relaxed);
    }

    pub(super) fn answered_call(&self) {
        self.proved.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn session_began(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn made(&self, batches: u64) {
        self.waiting.fetch_add(batches, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, events: u64, bytes: u64) {
        self.events_sent.fetch_add(events, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn acked(&self, events: u64, took: Duration) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.batches_acked.fetch_add(1, Ordering::Relaxed);
        self.events_acked.fetch_add(events, Ordering::Relaxed);
        let mut latencies = self.latencies();
        if latencies.wanted {
            let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
            latencies.micros.push(micros);
        }
    }

    pub(super) fn error(&self, kind: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let count = errors.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.clone()
    }

    /// From now on latencies are kept.
    pub(super) fn watch(&self) {
        *self.latencies() = Latencies {
            wanted: true,
            micros: Vec::new(),
        };
    }

    /// No more; gives those since [`Tally::watch`].
    pub(super) fn spread(&self) -> Spread {
        let kept = std::mem::take(&mut *self.latencies());
        Spread::of(kept.micros)
    }

    fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spread {
    pub(super) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |percent: usize| {
            let index = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            let value = micros.get(index).copied().unwrap_or_default();
            f64::from(value) / 1_000.0
        };
        Self {
            count: micros.len() as u64,
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_row() {
        let spread = Spread::of((1..=200).rev().map(|n| n * 1_000).collect());
        let got = (spread.count, spread.p50_ms, spread.p99_ms, spread.max_ms);
        assert_eq!(got, (200, 100.0, 198.0, 200.0));
    }

    #[test]
    fn no_latency_is_no_panic() {
        assert_eq!(Spread::of(Vec::new()).count, 0);
    }

    #[test]
    fn latencies_count_only_while_somebody_watches() {
        let tally = Tally::default();
        let ack = || {
            tally.made(1);
            tally.acked(10, Duration::from_millis(3));
        };
        ack();
        tally.watch();
        ack();
        let spread = tally.spread();
        ack();
        assert_eq!((spread.count, tally.spread().count), (1, 0));
        assert_eq!((tally.counts().events_acked, tally.waiting()), (30, 0));
    }
}
