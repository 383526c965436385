//! What one host may send: so many bytes a second, with a burst of a few seconds.
//!
//! Beyond it nothing is refused: the collector reads more slowly, and the host's spool keeps the rest.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of bytes that fills by itself.
#[derive(Debug)]
pub struct Budget {
    per_second: u64,
    /// When the bucket would be full again.
    full_at: Instant,
}

impl Budget {
    /// A full one.
    pub fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            full_at: now,
        }
    }

    /// Takes `bytes`; says how long to wait until they are paid for.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.per_second);
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.full_at = self.full_at.max(now) + price;
        self.full_at.saturating_duration_since(now + BURST)
    }
}

/// So much may come at once, in seconds of the rate.
const BURST: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits_its_time() {
        let now = Instant::now();
        let mut budget = Budget::new(1000, now);
        assert_eq!(budget.take(4000, now), Duration::ZERO);
        assert_eq!(budget.take(500, now), Duration::from_millis(500));
        let later = now + Duration::from_mins(1);
        assert_eq!(budget.take(4000, later), Duration::ZERO);
    }
}
