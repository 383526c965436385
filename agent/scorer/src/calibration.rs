//! How often each factor was how surprising: what turns bits into a probability.
//!
//! One histogram per factor and maturity of the context, in half bits of surprise beyond the
//! context's usual. When one is full, all its bins are halved, upwards.

use std::fmt;

use crate::factor::Factor;
use crate::surprise::{BINS, Bits, Rank};

/// All histograms.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Calibration {
    bins: Vec<u32>,
}

impl Calibration {
    /// Number of bins of all histograms.
    pub(crate) const LEN: usize = Factor::ALL.len() * STAGES * WIDTH;

    pub(crate) fn new() -> Self {
        Self {
            bins: vec![0; Self::LEN],
        }
    }

    /// Where `excess` stands among the earlier scores of the factor in contexts of this maturity.
    pub(crate) fn rank(&self, factor: Factor, context_seen: u32, excess: Bits) -> Rank {
        let bins = &self.bins[range(factor, context_seen)];
        let (below, at_least) = bins.split_at(place(excess));
        let at_least = at_least.iter().sum();
        let highest = bins
            .iter()
            .rposition(|count| *count > 0)
            .unwrap_or_default();
        Rank {
            at_least,
            total: below.iter().sum::<u32>() + at_least,
            highest: u32::try_from(highest).unwrap_or_default(),
        }
    }

    /// Counts a score.
    pub(crate) fn learn(&mut self, factor: Factor, context_seen: u32, excess: Bits) {
        let bins = &mut self.bins[range(factor, context_seen)];
        bins[place(excess)] += 1;
        if bins.iter().sum::<u32>() >= FULL {
            for count in bins {
                *count = count.div_ceil(2);
            }
        }
    }

    /// Every bin, in order.
    pub(crate) fn bins(&self) -> &[u32] {
        &self.bins
    }

    /// Takes bins back; `None` if they cannot have been given by [`Calibration::bins`].
    pub(crate) fn from_bins(bins: Vec<u32>) -> Option<Self> {
        let fits = |histogram: &[u32]| histogram.iter().all(|count| *count <= FULL);
        (bins.len() == Self::LEN && fits(&bins)).then_some(Self { bins })
    }
}

/// Its size only.
impl fmt::Debug for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calibration")
            .field("bins", &self.bins.len())
            .finish_non_exhaustive()
    }
}

fn range(factor: Factor, context_seen: u32) -> std::ops::Range<usize> {
    let start = (factor.index() * STAGES + stage(context_seen)) * WIDTH;
    start..start + WIDTH
}

fn place(excess: Bits) -> usize {
    usize::try_from(excess.bin()).unwrap_or_default()
}

/// How mature a context is, from 0 to 7.
fn stage(context_seen: u32) -> usize {
    STAGE_STARTS
        .iter()
        .filter(|start| context_seen >= **start)
        .count()
}

/// Where each maturity but the first begins, in sightings of the context.
const STAGE_STARTS: [u32; STAGES - 1] = [1, 3, 10, 30, 100, 1_000, 10_000];
const STAGES: usize = 8;
const WIDTH: usize = BINS as usize;
/// Scores that a histogram holds at most.
const FULL: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_counts_what_was_at_least_as_high() {
        let mut calibration = Calibration::new();
        for bits in [0, 0, 1, 4, 4, 9] {
            calibration.learn(Factor::Peer, 500, Bits(bits * 1024));
        }
        let rank = |bits: u32| calibration.rank(Factor::Peer, 999, Bits(bits * 1024));
        assert_eq!(
            rank(4),
            Rank {
                at_least: 3,
                total: 6,
                highest: 18
            }
        );
        assert_eq!(
            rank(10),
            Rank {
                at_least: 0,
                total: 6,
                highest: 18
            }
        );
        let other_stage = calibration.rank(Factor::Peer, 1_000, Bits(0));
        let other_factor = calibration.rank(Factor::Destination, 500, Bits(0));
        assert_eq!(
            (other_stage, other_factor),
            (Rank::default(), Rank::default())
        );
    }

    #[test]
    fn a_full_histogram_is_halved_and_keeps_its_highest() {
        let mut calibration = Calibration::new();
        calibration.learn(Factor::Peer, 0, Bits(40 * 1024));
        for _ in 0..200_000 {
            calibration.learn(Factor::Peer, 0, Bits(0));
        }
        let rank = calibration.rank(Factor::Peer, 0, Bits(40 * 1024));
        assert!(
            rank.total < FULL && rank.at_least == 1 && rank.highest == 80,
            "{rank:?}"
        );
    }
}
