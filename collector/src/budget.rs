//! What one host may send: so many bytes a second, with a burst of a few seconds.
//!
//! Beyond it nothing is refused: the collector reads more slowly, and the host's spool keeps the rest.
//!
//! # Invariants
//!
//! - A host has one budget, however many calls it makes, one after the other or at once.
//! - There are at most as many as there are enrolled hosts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_event::HostId;
use tokio::time::Instant;

/// The budgets of all hosts. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Budgets {
    per_second: u64,
    of: Arc<Mutex<HashMap<HostId, Budget>>>,
}

impl Budgets {
    /// So many bytes a second for each.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            of: Arc::default(),
        }
    }

    /// Takes `bytes` from a host's; says how long to wait until they are paid for.
    pub fn take(&self, host: HostId, bytes: usize, now: Instant) -> Duration {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = of
            .entry(host)
            .or_insert_with(|| Budget::new(self.per_second, now));
        budget.take(bytes, now)
    }
}

/// A bucket of bytes that fills by itself.
#[derive(Debug)]
struct Budget {
    per_second: u64,
    /// When the bucket would be full again.
    full_at: Instant,
}

impl Budget {
    /// A full one.
    fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            full_at: now,
        }
    }

    /// Takes `bytes`; says how long to wait until they are paid for.
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
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
    fn a_host_has_one_budget_and_others_have_theirs() {
        let now = Instant::now();
        let budgets = Budgets::new(1000);
        let (one, other) = (HostId::new([1; 32]), HostId::new([2; 32]));
        assert_eq!(budgets.take(one, 4000, now), Duration::ZERO);
        // Another call of the same host goes on where the first one was.
        let again = budgets.clone();
        assert_eq!(again.take(one, 1000, now), Duration::from_secs(1));
        assert_eq!(again.take(other, 1000, now), Duration::ZERO);
    }

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
