//! The governor: keeps the agent's share of the processor and its memory below their limits by letting the kernel programs
//! leave out records.
//!
//! # Invariants
//!
//! - It only ever limits what one control group tells of files and network; the kernel programs decide which kinds that
//!   is, in which order they go, and count each that went as shed.
//! - It gives way fast and comes back slowly: the allowance is halved at every look over the limit and doubled only after
//!   [`CALM`] looks below half of it.

use std::time::Duration;

/// Looks at the agent's processor time and memory and says how much may be told.
#[derive(Clone, Debug)]
pub(super) struct Governor {
    /// The most processor time for each second; zero for no limit.
    limit: Duration,
    /// The most private memory, in bytes; zero for no limit.
    memory_limit: u64,
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
    /// With so many hundredths of one processor and so many bytes as the limits, 0 for none.
    pub(super) fn new(percent: u32, memory_limit: u64) -> Self {
        Self {
            memory_limit,
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

    /// Takes a look: `now` since any fixed moment, `used` the processor time so far, `memory` in bytes. Whether the
    /// allowance changed.
    pub(super) fn look(&mut self, now: Duration, used: Duration, memory: u64) -> bool {
        let before = self.allowance;
        let load = self.load(now, used);
        let is_too_big = self.memory_limit > 0 && memory > self.memory_limit;
        match load {
            _ if is_too_big => self.decide(TOO_MUCH),
            Some(load) => self.decide(load),
            // Too early to say, or nobody limits the processor: memory is as it should be.
            None => self.decide(0.0),
        }
        self.allowance != before
    }

    /// 1 where the agent uses just what it may.
    fn load(&mut self, now: Duration, used: Duration) -> Option<f64> {
        let [oldest, ..] = self.looks;
        self.looks.rotate_left(1);
        if let Some(last) = self.looks.last_mut() {
            *last = Look { at: now, used };
        }
        if self.limit.is_zero() || oldest.at.is_zero() {
            return None;
        }
        let passed = now.saturating_sub(oldest.at);
        let share =
            used.saturating_sub(oldest.used).as_secs_f64() / passed.as_secs_f64().max(0.001);
        Some(share / self.limit.as_secs_f64())
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

/// More than the limit, however much.
const TOO_MUCH: f64 = 2.0;
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
        memory: u64,
    }

    impl Watched {
        fn with_limit(percent: u32) -> Self {
            Self {
                governor: Governor::new(percent, 100),
                memory: 0,
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
                self.governor.look(self.now, self.used, self.memory);
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
    fn too_much_memory_counts_like_too_much_time_and_at_once() {
        for percent in [0, 50] {
            let mut watched = Watched::with_limit(percent);
            assert_eq!(watched.use_for(20, 10), 0);
            watched.memory = 101;
            assert_eq!(watched.use_for(1, 10), MOST);
            assert_eq!(watched.use_for(100, 10), LEAST);
            watched.memory = 100;
            assert_eq!(watched.use_for(200, 10), 0);
        }
    }

    #[test]
    fn without_a_limit_nothing_is_left_out() {
        assert_eq!(Watched::with_limit(0).use_for(50, 400), 0);
    }
}
