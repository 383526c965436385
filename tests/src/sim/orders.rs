//! What all simulated agents are told: how to make events, when to be cut off, when to end.

use std::time::Duration;

use super::play::float;

/// What all agents are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders {
    /// How events are made.
    pub(super) pace: Pace,
    /// Events in a batch.
    pub(super) batch: usize,
    /// Grows when every connection is to be cut.
    pub(super) cut: u64,
    /// Grows when every agent is to send one batch and see it acknowledged.
    pub(super) call: u64,
    /// Whether agents end once everything is acknowledged.
    pub(super) end: bool,
}

/// How an agent makes events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Not at all.
    Rest,
    /// So many events a second, in batches: each is due when the one before has had its time.
    Rate(f64),
    /// A batch whenever fewer than so many are under way.
    Window(usize),
}

/// How long `events` take at `rate` events a second.
pub(super) fn time_of(events: u64, rate: f64) -> Duration {
    let seconds = float(events) / rate.max(MIN_RATE);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Slower than this is no rate, in events a second.
const MIN_RATE: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_its_share_of_the_rate() {
        assert_eq!(time_of(64, 32.0), Duration::from_secs(2));
        assert_eq!(time_of(1, 0.0), Duration::from_secs(1_000));
    }
}
