//! From a score to a probability: where it stands among the scores of normal samples.
//!
//! # Invariants
//!
//! - At most [`MOST`] samples are kept; when full, every second one goes.
//! - A probability is above 0 and at most 1, and falls as the score rises, also beyond the highest
//!   sample, where it halves with every standard deviation: an extrapolation, not a measurement.

use crate::surprise::Bits;

/// Scores of normal samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// In ascending order.
    sorted: Vec<u32>,
    sum: u64,
    squares: u128,
    learned: u64,
}

impl Tail {
    /// Takes in the score of a normal sample.
    pub(crate) fn learn(&mut self, score: Bits) {
        if self.sorted.len() >= MOST {
            let mut place = 0_usize;
            self.sorted.retain(|_| {
                place += 1;
                place.is_multiple_of(2)
            });
        }
        let place = self.sorted.partition_point(|known| *known < score.0);
        self.sorted.insert(place, score.0);
        self.learned += 1;
        self.sum = self.sum.saturating_add(u64::from(score.0));
        self.squares = self
            .squares
            .saturating_add(u128::from(score.0) * u128::from(score.0));
    }

    /// How rare a score at least this high is among normal samples, in bits: the negative logarithm of
    /// the probability. Without samples, nothing is rare.
    pub(crate) fn rarity(&self, score: Bits) -> f64 {
        let Some(highest) = self.sorted.last() else {
            return 0.0;
        };
        let at_least = self.sorted.len() - self.sorted.partition_point(|known| *known < score.0);
        let beyond = f64::from(score.0.saturating_sub(*highest)) / self.deviation();
        Bits::of(share(at_least, self.sorted.len())).to_f64() + beyond
    }

    /// Bytes that it takes when full.
    pub(crate) const fn state_bytes() -> usize {
        size_of::<Self>() + MOST * size_of::<u32>()
    }

    /// At least one unit.
    #[expect(
        clippy::cast_precision_loss,
        reason = "far below 2^52 units in practice"
    )]
    fn deviation(&self) -> f64 {
        let n = self.learned.max(1) as f64;
        let mean = self.sum as f64 / n;
        (self.squares as f64 / n - mean * mean).max(1.0).sqrt()
    }
}

/// `(at_least + 1) / (of + 1)`.
fn share(at_least: usize, of: usize) -> f64 {
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) + 1.0;
    number(at_least) / number(of)
}

/// Samples kept.
const MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_above_all_of_255_samples_has_eight_bits_and_more_with_its_distance() {
        let mut tail = Tail::default();
        for score in 0..255 {
            tail.learn(Bits(score));
        }
        assert_eq!(tail.rarity(Bits(0)).to_bits(), 0.0_f64.to_bits());
        assert_eq!(tail.rarity(Bits(128)).to_bits(), 1.0_f64.to_bits());
        assert!((tail.rarity(Bits(255)) - 8.0).abs() < 0.1);
        assert!((tail.rarity(Bits(254 + 736)) - 18.0).abs() < 0.1);
    }

    #[test]
    fn a_full_tail_keeps_its_shape() {
        let mut tail = Tail::default();
        for sample in 0..100_000_u32 {
            tail.learn(Bits(sample * 7919 % 1000));
        }
        assert!(tail.sorted.len() <= MOST);
        assert!((tail.rarity(Bits(750)) - 2.0).abs() < 0.1);
    }
}
