//! The memory of the agent: gives back what a storm left, and forgets what can be found again when there is too much.
//!
//! What stays true: nothing that was not yet delivered is forgotten; what a full memory costs is hashes that are computed
//! again and ancestors whose names are no longer known. The sensor has the same limit and leaves out records, counted.

use std::time::{Duration, Instant};

use picket_sensor::memory;

/// Looks at the memory once a second.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    limit: u64,
    looked: Option<Instant>,
    gave_back: Option<Instant>,
    /// What was left the last time.
    left: u64,
    is_over: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    GiveBack,
    Forget,
}

impl Bounds {
    /// With so many bytes of private memory as the limit; 0 for none.
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            limit,
            looked: None,
            gave_back: None,
            left: 0,
            is_over: false,
        }
    }

    /// Does what is due. `forget` makes room by forgetting what can be found again.
    pub(crate) fn keep(&mut self, now: Instant, forget: impl FnOnce()) {
        if self.looked.is_some_and(|looked| now - looked < LOOK_PAUSE) {
            return;
        }
        self.looked = Some(now);
        let Some(taken) = memory::private_bytes() else {
            return;
        };
        match self.step(now, taken) {
            Step::Nothing => return,
            Step::GiveBack => {}
            Step::Forget => forget(),
        }
        memory::give_back();
        self.left = memory::private_bytes().unwrap_or(taken);
    }

    fn step(&mut self, now: Instant, taken: u64) -> Step {
        let is_over = self.limit > 0 && taken > self.limit;
        if is_over && !self.is_over {
            let limit = self.limit;
            tracing::warn!(
                taken,
                limit,
                "memory is over its limit; forgetting what can be found again"
            );
        }
        self.is_over = is_over;
        let rested = self.gave_back.is_none_or(|last| now - last >= GIVE_PAUSE);
        let has_grown = taken > self.left.saturating_add(WORTH_IT);
        let step = match (is_over, rested && has_grown) {
            (true, _) => Step::Forget,
            (false, true) => Step::GiveBack,
            (false, false) => return Step::Nothing,
        };
        self.gave_back = Some(now);
        step
    }
}

const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Giving back costs some milliseconds, and what is given back is asked for again in a storm.
const GIVE_PAUSE: Duration = Duration::from_secs(10);
/// Less than this is not worth it, in bytes.
const WORTH_IT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_given_back_now_and_then() {
        let (mut bounds, start) = (Bounds::new(0), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(bounds.step(at(0), 40 << 20), Step::GiveBack);
        bounds.left = 30 << 20;
        assert_eq!(bounds.step(at(20), 33 << 20), Step::Nothing);
        assert_eq!(bounds.step(at(21), 35 << 20), Step::GiveBack);
        assert_eq!(bounds.step(at(22), 90 << 20), Step::Nothing);
        assert_eq!(bounds.step(at(31), 90 << 20), Step::GiveBack);
    }

    #[test]
    fn over_the_limit_something_is_forgotten_at_every_look() {
        let (mut bounds, start) = (Bounds::new(64 << 20), Instant::now());
        let over = (64 << 20) + 1;
        assert_eq!(bounds.step(start, over), Step::Forget);
        bounds.left = over;
        assert_eq!(bounds.step(start, over), Step::Forget);
        assert_eq!(bounds.step(start, 64 << 20), Step::Nothing);
    }
}
