//! Days as the scorer counts them.
//!
//! # Invariants
//!
//! - A day is never earlier than the one before it, whatever the clock does.
//! - One jump of the clock moves it by at most [`LONGEST_LEAP`] days, so that a wrong clock can
//!   neither age everything away nor stop the days for good.

use picket_event::UnixNanos;

/// Where the scorer stands in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Calendar {
    /// The day of the wall clock (UTC) that `day` was last matched with.
    pub(crate) wall_day: i32,
    /// Days since the scorer was made, from 1; 0 before the first event.
    pub(crate) day: u16,
    /// On how many of them something was scored.
    pub(crate) active: u32,
}

impl Calendar {
    pub(crate) const fn new() -> Self {
        Self {
            wall_day: 0,
            day: 0,
            active: 0,
        }
    }

    /// The day that `now` belongs to.
    ///
    /// A clock that goes back by a day or less is taken for events out of order at midnight. One that
    /// goes back further is believed, but the days already counted stay.
    pub(crate) fn advance(&mut self, now: UnixNanos) -> u16 {
        let wall_day = wall_day(now);
        let ahead = wall_day.saturating_sub(self.wall_day);
        if self.day == 0 {
            (self.wall_day, self.day, self.active) = (wall_day, 1, 1);
        } else if ahead > 0 {
            let leap = u16::try_from(ahead).unwrap_or(u16::MAX).min(LONGEST_LEAP);
            self.wall_day = wall_day;
            self.day = self.day.saturating_add(leap);
            self.active = self.active.saturating_add(1);
        } else if ahead < -1 {
            self.wall_day = wall_day;
        }
        self.day
    }
}

/// The day of the wall clock, in UTC.
pub(crate) fn wall_day(now: UnixNanos) -> i32 {
    i32::try_from(now.0.div_euclid(NANOS_OF_A_DAY)).unwrap_or_default()
}

/// The hour of the day of the wall clock, in UTC.
pub(crate) fn wall_hour(now: UnixNanos) -> usize {
    let nanos = now.0.rem_euclid(NANOS_OF_A_DAY);
    usize::try_from(nanos / (NANOS_OF_A_DAY / 24)).unwrap_or_default()
}

const NANOS_OF_A_DAY: i64 = 86_400_000_000_000;
/// Longest step of one event, in days: counts are halved once at most. A host that was off for longer
/// counts as off for this long.
const LONGEST_LEAP: u16 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn days(steps: &[i64]) -> Vec<u16> {
        let mut calendar = Calendar::new();
        steps
            .iter()
            .map(|day| calendar.advance(UnixNanos(day * NANOS_OF_A_DAY)))
            .collect()
    }

    #[test]
    fn days_follow_the_wall_clock() {
        assert_eq!(days(&[20_000, 20_000, 20_001, 20_004]), [1, 1, 2, 5]);
    }

    #[test]
    fn events_out_of_order_at_midnight_add_no_days() {
        assert_eq!(days(&[100, 101, 100, 101, 100, 101]), [1, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_clock_set_back_neither_rewinds_nor_stops_the_days() {
        assert_eq!(days(&[20_000, 20_001, 10, 11, 12]), [1, 2, 2, 3, 4]);
    }

    #[test]
    fn one_wild_clock_moves_the_days_by_a_bounded_step() {
        assert_eq!(days(&[0, 100_000, 1, -100_000, 2]), [1, 22, 22, 22, 43]);
        let mut calendar = Calendar::new();
        calendar.advance(UnixNanos(i64::MIN));
        assert_eq!(calendar.advance(UnixNanos(i64::MAX)), 22);
    }
}
