//! How dense what is new lies in what belongs together.
//!
//! Of an intruder's work nearly everything is new to the host; what is new in an administrator's lies between things that were done before. So the bits
//! of new values are divided by the events they lie among.
//!
//! # Invariants
//!
//! - Only a value that its mature context never had counts, by the most that a value of its event is beyond its usual; not one on probation, and nothing
//!   in a change window. So what comes again the next day, as a new job does, is no longer dense.
//! - An event as likely as one in eight counts nothing, however many bits it has: on a host where much is new all the time, new is not strange.
//! - At most [`MOST`] are remembered; those quiet for longest give way.

use std::collections::BTreeMap;

use picket_event::{Reason, ScorerVerdict};

use super::PERIOD;
use crate::explain::{is_mature_reason, on_probation};
use crate::score::remark;

/// What is remembered of all that goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Densities {
    entries: BTreeMap<u64, Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    last: i64,
    density: Density,
}

/// How much is new in an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Density {
    /// Events that were scored.
    pub events: u32,
    /// Bits of what is new, beyond what is usual.
    pub bits: f64,
}

impl Density {
    /// Bits for each event; as if there were four, as long as there are fewer.
    pub fn value(self) -> f64 {
        self.bits / f64::from(self.events.max(FEWEST))
    }

    /// Whether somebody is to be told.
    pub(super) fn is_high(self) -> bool {
        self.value() >= DENSE
    }

    /// How far beyond the least that is told, in bits for each event.
    pub(super) fn beyond(self) -> f64 {
        self.value() - DENSE
    }

    /// The reason that says so. It has no bits, so that no score rests on it.
    pub(super) fn reason(self) -> Reason {
        let (events, bits) = (self.events, self.bits);
        let value = format!("{events} events, {bits:.1} bits of what is new");
        remark(DENSE_INCIDENT, "what belongs together", &value)
    }
}

impl Densities {
    /// Adds a score; how dense its incident is now.
    pub(super) fn take(&mut self, now: i64, incident: u64, verdict: &ScorerVerdict) -> Density {
        if self.entries.len() >= MOST && !self.entries.contains_key(&incident) {
            self.forget_half();
        }
        let entry = self.entries.entry(incident).or_default();
        if now.saturating_sub(entry.last) >= PERIOD {
            entry.density = Density::default();
        }
        entry.last = now;
        entry.density.events = entry.density.events.saturating_add(1);
        entry.density.bits += new_bits(verdict);
        entry.density
    }

    /// Those that were quiet for longest.
    fn forget_half(&mut self) {
        let mut times: Vec<i64> = self.entries.values().map(|entry| entry.last).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(i64::MAX);
        self.entries.retain(|_, entry| entry.last > middle);
    }
}

fn new_bits(verdict: &ScorerVerdict) -> f64 {
    if verdict.in_change_window() || verdict.p > LIKELY {
        return 0.0;
    }
    let new = |reason: &&Reason| {
        reason.seen == 0 && is_mature_reason(reason) && on_probation(reason) == 0
    };
    let excess = verdict.reasons.iter().filter(new);
    let excess = excess.map(|reason| reason.bits - reason.usual);
    // Not a number is no more than nothing.
    excess.fold(0.0, f64::max)
}

/// The factor of the reason that says that an alert is about a dense incident.
pub(crate) const DENSE_INCIDENT: &str = "incident";
/// What is told, in bits for each event.
const DENSE: f64 = 5.0;
/// More likely events count nothing.
const LIKELY: f64 = 0.125;
/// Events by which is divided at least: a single one must be four times as strange.
const FEWEST: u32 = 4;
/// Incidents remembered.
const MOST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bits: f64, seen: u64) -> ScorerVerdict {
        let mut reason = Density::default().reason();
        (reason.bits, reason.seen, reason.context_seen, reason.days) = (bits, seen, 500, 20);
        ScorerVerdict {
            bits,
            p: 0.01,
            reasons: vec![reason],
            alert: false,
        }
    }

    #[test]
    fn what_is_new_is_divided_by_all_events_and_by_four_at_least() {
        let mut densities = Densities::default();
        assert_eq!(
            densities.take(1, 7, &verdict(16.0, 0)).value().to_bits(),
            4.0_f64.to_bits()
        );
        assert_eq!(
            densities.take(2, 7, &verdict(16.0, 0)).value().to_bits(),
            8.0_f64.to_bits()
        );
        assert_eq!(
            densities.take(3, 7, &verdict(16.0, 9)).value().to_bits(),
            8.0_f64.to_bits()
        );
        for now in 4..17 {
            densities.take(now, 7, &verdict(f64::NAN, 0));
        }
        let density = densities.take(17, 7, &verdict(-3.0, 0));
        assert_eq!(
            density,
            Density {
                events: 17,
                bits: 32.0
            }
        );
        assert!(!density.is_high());
        let mut likely = verdict(60.0, 0);
        likely.p = 0.2;
        assert_eq!(
            densities.take(18, 7, &likely).bits.to_bits(),
            32.0_f64.to_bits()
        );
    }

    #[test]
    fn after_a_day_of_silence_it_begins_anew_and_the_newest_are_kept() {
        let mut densities = Densities::default();
        densities.take(1, 7, &verdict(16.0, 0));
        assert_eq!(densities.take(PERIOD + 1, 7, &verdict(4.0, 0)).events, 1);
        for number in 0..5_000_u32 {
            let now = PERIOD + 2 + i64::from(number);
            densities.take(now, u64::from(number) + 100, &verdict(8.0, 0));
        }
        assert!(densities.entries.len() <= MOST);
        assert_eq!(
            densities.take(2 * PERIOD, 5_099, &verdict(8.0, 0)).events,
            2
        );
    }
}
