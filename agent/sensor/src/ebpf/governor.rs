//! The governor: keeps the agent's share of the processor below a limit by letting the kernel programs leave out records.
//!
//! # Invariants
//!
//! - It only ever limits what one control group tells of files and network; the kernel programs decide which kinds that
//!   is, in which order they go, and count each that went as shed.
//! - It gives way fast and comes back slowly: the allowance is halved at every look over the limit and doubled only after
//!   [`CALM`] looks below half of it.

use std::time::Duration;

/// Looks at the agent's processor time and says how much may be told.
#[derive(Clone, Debug)]
pub(super) struct Governor {
    /// The most processor time for each second; zero for no limit.
    limit: Duration,
    looks: [Look; LOOKS],
    calm: u32,
    allowance: Option<u32>,
}

/// One moment: the clock and the processor time used until then.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    at: Duration,
    used: Duration,
}

impl Governor {
    /// With so many hundredths of one processor as the limit, 0 for none.
    pub(super) fn new(percent: u32) -> Self {
        Self {
            limit: Duration::from_millis(u64::from(percent).saturating_mul(10)),
            looks: [Look::default(); LOOKS],
            calm: 0,
            allowance: None,
        }
    }

    /// How many records of files and network one control group may make in a window; 0 for any number.
    pub(super) fn allowance(&self) -> u32 {
        self.allowance.unwrap_or(0)
    }

    /// Takes a look: `now` since any fixed moment, `used` the processor time so far. Whether the allowance changed.
    pub(super) fn look(&mut self, now: Duration, used: Duration) -> bool {
        let [oldest, ..] = self.looks;
        self.looks.rotate_left(1);
        if let Some(last) = self.looks.last_mut() {
            *last = Look { at: now, used };
        }
        if self.limit.is_zero() || oldest.at.is_zero() {
            return false;
        }
        let passed = now.saturating_sub(oldest.at);
        let share =
            used.saturating_sub(oldest.used).as_secs_f64() / passed.as_secs_f64().max(0.001);
        let before = self.allowance;
        self.decide(share / self.limit.as_secs_f64());
        self.allowance != before
    }

    /// `load` is 1 where the agent uses just what it may.
    fn decide(&mut self, load: f64) {
        if load > 1.0 {
            self.calm = 0;
            let halved = self.allowance.map_or(MOST, |allowance| allowance / 2);
            self.allowance = Some(halved.max(LEAST));
        } else if load > 0.5 {
            self.calm = 0;
        } else {
            self.calm = self.calm.saturating_add(1);
        }
        if self.calm >= CALM {
            self.calm = 0;
            let doubled = self.allowance.map(|allowance| allowance.saturating_mul(2));
            self.allowance = doubled.filter(|allowance| *allowance <= MOST);
        }
    }
}

/// The share is taken over so many looks: a short storm is no reason to leave anything out.
const LOOKS: usize = 8;
/// Looks below half of the limit before more is allowed.
const CALM: u32 = 10;
/// The first allowance, for one window of 134 ms: about 15,000 records a second.
const MOST: u32 = 2_048;
/// The last one: about 120 a second.
const LEAST: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// A process under the eyes of a governor.
    struct Watched {
        governor: Governor,
        now: Duration,
        used: Duration,
    }

    impl Watched {
        fn with_limit(percent: u32) -> Self {
            Self {
                governor: Governor::new(percent),
                now: Duration::ZERO,
                used: Duration::ZERO,
            }
        }

        /// Uses this share of a processor for so many looks, half a second apart. Gives the allowance then.
        fn use_for(&mut self, looks: usize, percent: u32) -> u32 {
            let pause = Duration::from_millis(500);
            for _ in 0..looks {
                self.now = self.now.saturating_add(pause);
                let used = pause.saturating_mul(percent).checked_div(100).unwrap();
                self.used = self.used.saturating_add(used);
                self.governor.look(self.now, self.used);
            }
            self.governor.allowance()
        }
    }

    #[test]
    fn a_short_storm_is_told_in_full() {
        let mut watched = Watched::with_limit(100);
        assert_eq!(watched.use_for(12, 10), 0);
        assert_eq!(watched.use_for(3, 190), 0);
    }

    #[test]
    fn a_long_storm_is_told_less_and_less_but_never_nothing() {
        let mut watched = Watched::with_limit(50);
        assert_eq!(watched.use_for(LOOKS + 1, 90), MOST);
        assert_eq!(watched.use_for(2, 90), MOST / 4);
        assert_eq!(watched.use_for(100, 90), LEAST);
    }

    #[test]
    fn calm_gives_everything_back_slowly() {
        let mut watched = Watched::with_limit(50);
        assert_eq!(watched.use_for(LOOKS + 1, 90), MOST);
        let least = watched.use_for(10, 10);
        assert!((LEAST..MOST).contains(&least), "{least}");
        assert_eq!(watched.use_for(9, 10), least * 2);
        assert_eq!(watched.use_for(200, 10), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_left_out() {
        assert_eq!(Watched::with_limit(0).use_for(50, 400), 0);
    }
}
