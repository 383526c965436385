//! How many strange events there are in a day, against the days before.
//!
//! In a flood of strange events each single one soon looks ordinary: that much is what a calibrated
//! probability means. Their number does not.
//!
//! A day has many when it has [`LEAST`] and [`TIMES`] as many as days had on average, and one more. A
//! day counts for the average by at most what would be many, so that a flood makes the next one usual
//! only slowly. The first [`LEARNING_DAYS`] days say nothing.

use super::PERIOD;

/// The rate of strange events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    pub(super) day: i64,
    pub(super) today: u32,
    pub(super) average: f64,
    pub(super) days: u32,
}

impl Rate {
    /// Goes on to the day of `now`. A clock that goes back by more than a day was wrong before.
    pub(super) fn advance(&mut self, now: i64) {
        let day = now.div_euclid(PERIOD);
        if self.days == 0 {
            (self.day, self.days) = (day, 1);
        } else if day > self.day {
            let counted = f64::from(self.today).min(self.many());
            let weight = 1.0 / f64::from(self.days.min(MEMORY));
            self.average += (counted - self.average) * weight;
            (self.day, self.today) = (day, 0);
            self.days = self.days.saturating_add(1);
        } else if day < self.day.saturating_sub(1) {
            self.day = day;
        }
    }

    /// One strange event; whether there are many today.
    pub(super) fn take(&mut self) -> bool {
        self.today = self.today.saturating_add(1);
        self.days > LEARNING_DAYS && f64::from(self.today) >= self.many()
    }

    fn many(&self) -> f64 {
        (TIMES * (self.average + 1.0)).max(LEAST)
    }
}

/// Fewest strange events that are many.
const LEAST: f64 = 32.0;
/// Times the average.
const TIMES: f64 = 8.0;
/// Days that are only learned.
const LEARNING_DAYS: u32 = 4;
/// Days over which the average is taken.
const MEMORY: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn many_on(rate: &mut Rate, day: i64, events: u32) -> bool {
        rate.advance(day * PERIOD);
        (0..events).any(|_| rate.take())
    }

    #[test]
    fn many_is_told_from_usual_and_the_first_days_say_nothing() {
        let mut rate = Rate::default();
        assert!(!many_on(&mut rate, 100, 5_000));
        let mut rate = Rate::default();
        for day in 0..10 {
            assert!(!many_on(&mut rate, day, 10), "day {day}");
        }
        assert!(!many_on(&mut rate, 10, 87));
        assert!(many_on(&mut rate, 11, 200));
    }

    #[test]
    fn a_flood_does_not_make_the_next_one_usual() {
        let mut rate = Rate::default();
        for day in 0..10 {
            many_on(&mut rate, day, 1);
        }
        assert!(many_on(&mut rate, 10, 100_000));
        assert!(many_on(&mut rate, 11, 100_000));
    }
}
