//! How much of what a host does is new of late, and how much usually is: slow change, told as a figure.
//!
//! An event is *new* if a reported mature context had its value never, or has it on probation. The share of
//! new events of each day goes into two averages, one that follows within days and one within months. They are
//! shown and raise no alert: a host that changes its role drifts, and so does one that is taught slowly.
//!
//! # Invariants
//!
//! - Of fixed size, integers only. A day without events changes nothing.

use picket_event::ScorerVerdict;

use crate::explain::is_mature_reason;

/// The shares of new events, in parts per million.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drift {
    /// Average over the last three days or so that had events.
    pub of_late: u32,
    /// Average over the last ninety days or so.
    pub usually: u32,
    /// No share: how many new values were not learned so far, because one login session brought too many in a day.
    pub unlearned: u64,
}

/// What the shares come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shares {
    day: u16,
    events: u32,
    new: u32,
    /// Days that are in the averages.
    days: u32,
    drift: Drift,
}

impl Shares {
    /// Takes a scored event.
    pub(crate) fn take(&mut self, day: u16, verdict: &ScorerVerdict) {
        if day != self.day {
            self.turn();
            (self.day, self.events, self.new) = (day, 0, 0);
        }
        self.events = self.events.saturating_add(1);
        self.new = self.new.saturating_add(u32::from(is_new(verdict)));
    }

    pub(crate) const fn drift(&self) -> Drift {
        self.drift
    }

    /// Writes them: `day u16`, then six numbers u32 in the order of the fields.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.day.to_le_bytes());
        let Drift {
            of_late, usually, ..
        } = self.drift;
        for number in [self.events, self.new, self.days, of_late, usually] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads them off the front of `bytes`; `None` if those end too early.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let day = bytes.split_off(..2)?.try_into().map(u16::from_le_bytes);
        let mut number = || {
            let four = bytes.split_off(..4)?.try_into();
            four.map(u32::from_le_bytes).ok()
        };
        Some(Self {
            day: day.ok()?,
            events: number()?,
            new: number()?,
            days: number()?,
            drift: Drift {
                of_late: number()?,
                usually: number()?,
                unlearned: 0,
            },
        })
    }

    fn turn(&mut self) {
        if self.events == 0 {
            return;
        }
        let share = u64::from(self.new) * 1_000_000 / u64::from(self.events);
        self.days = self.days.saturating_add(1);
        let Drift {
            of_late, usually, ..
        } = &mut self.drift;
        for (average, over) in [(of_late, FAST), (usually, SLOW)] {
            let over = i64::from(self.days.min(over));
            let (now, share) = (
                i64::from(*average),
                i64::try_from(share).unwrap_or_default(),
            );
            *average = u32::try_from(now + (share - now) / over).unwrap_or_default();
        }
    }
}

fn is_new(verdict: &ScorerVerdict) -> bool {
    verdict
        .reasons
        .iter()
        .any(|reason| reason.seen == 0 && is_mature_reason(reason))
}

/// Days of the two averages.
const FAST: u32 = 3;
const SLOW: u32 = 90;

#[cfg(test)]
mod tests {
    use picket_event::Reason;

    use super::*;

    fn verdict(seen: u64) -> ScorerVerdict {
        ScorerVerdict {
            bits: 1.0,
            p: 1.0,
            alert: false,
            reasons: vec![Reason {
                factor: "child of parent".into(),
                context: "a".into(),
                value: "b".into(),
                bits: 1.0,
                usual: 0.0,
                seen,
                context_seen: 1_000,
                days: 30,
                distinct: 3,
                backoff: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_changed_host_shows_within_days_and_the_usual_follows_within_months() {
        let mut shares = Shares::default();
        let mut days = |from: u16, to: u16, new: u64| {
            for day in from..to {
                for n in 0..100 {
                    shares.take(day, &verdict(u64::from(n >= new)));
                }
            }
            shares.drift()
        };
        let quiet = days(1, 100, 1);
        assert_eq!((quiet.of_late, quiet.usually), (10_000, 10_000));
        let changed = days(100, 106, 20);
        assert!(
            changed.of_late > 150_000 && changed.usually < 25_000,
            "{changed:?}"
        );
        let later = days(106, 400, 20);
        assert!(later.usually > 190_000, "{later:?}");
    }

    #[test]
    fn shares_are_read_back_and_cut_bytes_are_refused() {
        let mut shares = Shares::default();
        shares.take(1, &verdict(0));
        shares.take(2, &verdict(1));
        let mut bytes = Vec::new();
        shares.write(&mut bytes);
        assert_eq!(Shares::read(&mut bytes.as_slice()), Some(shares));
        assert_eq!(Shares::read(&mut &bytes[..bytes.len() - 1]), None);
    }
}
