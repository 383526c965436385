//! Rare scores that count for the calibration only some days later.
//!
//! One score that is as high as a new one makes the new one look far more likely. So what is rare in a
//! mature context waits: whoever repeats it gains nothing for [`DELAY`] days.
//!
//! # Invariants
//!
//! - At most [`MOST`] scores wait. When they are that many, the oldest counts at once.

use std::collections::VecDeque;

use crate::calibration::Calibration;
use crate::factor::Factor;
use crate::surprise::Bits;

/// The scores that wait, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Late {
    waiting: VecDeque<Rare>,
}

/// A score that waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Rare {
    day: u16,
    factor: Factor,
    context_seen: u32,
    excess: Bits,
}

impl Late {
    /// Lets a score of this day wait; what waited for long enough counts.
    pub(crate) fn wait(
        &mut self,
        to: &mut Calibration,
        day: u16,
        (factor, context_seen, excess): (Factor, u32, Bits),
    ) {
        self.waiting.push_back(Rare {
            day,
            factor,
            context_seen,
            excess,
        });
        if self.waiting.len() > MOST {
            self.count_one(to);
        }
    }

    /// Counts what waited for long enough.
    pub(crate) fn turn(&mut self, to: &mut Calibration, day: u16) {
        let due = |rare: &Rare| rare.day.saturating_add(DELAY) <= day;
        while self.waiting.front().is_some_and(due) {
            self.count_one(to);
        }
    }

    /// Bytes that it takes at most.
    pub(crate) const fn state_bytes() -> usize {
        MOST * size_of::<Rare>()
    }

    /// Writes them: `count u16`, then that many: `day u16 | factor u8 | context seen u32 | excess u32`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let count = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for rare in &self.waiting {
            out.extend_from_slice(&rare.day.to_le_bytes());
            out.push(u8::try_from(rare.factor.index()).unwrap_or(u8::MAX));
            out.extend_from_slice(&rare.context_seen.to_le_bytes());
            out.extend_from_slice(&rare.excess.0.to_le_bytes());
        }
    }

    /// Reads them off the front of `bytes`; `None` if they cannot have been written so.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let count = u16::from_le_bytes(take(bytes)?);
        let mut one = || {
            let day = u16::from_le_bytes(take(bytes)?);
            let [factor] = take(bytes)?;
            Some(Rare {
                day,
                factor: *Factor::ALL.get(usize::from(factor))?,
                context_seen: u32::from_le_bytes(take(bytes)?),
                excess: Bits(u32::from_le_bytes(take(bytes)?)),
            })
        };
        let waiting = (0..count).map(|_| one()).collect::<Option<VecDeque<_>>>()?;
        (waiting.len() <= MOST).then_some(Self { waiting })
    }

    fn count_one(&mut self, to: &mut Calibration) {
        if let Some(rare) = self.waiting.pop_front() {
            to.learn(rare.factor, rare.context_seen, rare.excess);
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// Days that a rare score waits.
const DELAY: u16 = 5;
/// Scores that wait at most.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_score_counts_five_days_later_and_too_many_at_once() {
        let mut calibration = Calibration::new();
        let mut late = Late::default();
        let score = (Factor::Peer, 500, Bits(20 * 1024));
        let counted = |calibration: &Calibration| calibration.rank(score.0, score.1, score.2).total;
        late.wait(&mut calibration, 3, score);
        late.turn(&mut calibration, 7);
        assert_eq!(counted(&calibration), 0);
        late.turn(&mut calibration, 8);
        assert_eq!(counted(&calibration), 1);
        for _ in 0..300_u32 {
            late.wait(&mut calibration, 9, score);
        }
        assert_eq!(counted(&calibration), 293);
        let mut bytes = Vec::new();
        late.write(&mut bytes);
        assert_eq!(Late::read(&mut bytes.as_slice()), Some(late));
        assert_eq!(Late::read(&mut &bytes[..bytes.len() - 1]), None);
    }
}
