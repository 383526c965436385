//! How long to wait before the next connection: longer each time, never at the same moment as others.

use std::time::Duration;

/// The shortest wait.
pub(super) const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// The shortest wait after a refusal that will not go away by itself soon.
const LASTING: Duration = Duration::from_secs(15);

/// Remembers how often it did not work.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection worked: begin anew.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait.
    pub(super) fn next(&mut self, lasting: bool) -> Duration {
        let doubled = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let base = if lasting {
            doubled.max(LASTING)
        } else {
            doubled
        };
        jittered(base)
    }
}

/// From the whole to one and a half, by random bytes; without any, the whole.
fn jittered(base: Duration) -> Duration {
    let random = picket_seal::random::<2>().map_or(0, u16::from_le_bytes);
    base + base.mul_f64(f64::from(random) / f64::from(u16::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let first = backoff.next(false);
        assert!((FIRST..=FIRST * 3 / 2).contains(&first));
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next(false)).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST * 3 / 2));
        assert!(waits[39] >= LONGEST);
        backoff.reset();
        assert!(backoff.next(true) >= LASTING);
    }
}
