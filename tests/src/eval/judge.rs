//! From judged samples to figures.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Subject;
use super::metrics::{Share, aupr, auroc, threshold};

/// A sample with its score.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// `None`: normal.
    pub(super) class: Option<String>,
    /// What samples are ranked by.
    pub(super) score: f64,
    /// Minus the binary logarithm of the model's own probability.
    pub(super) rarity: f64,
}

/// All samples of a test and what it took.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    pub(super) judged: Vec<Judged>,
    learned: usize,
    left_out: usize,
    state_bytes: usize,
    micros: f64,
}

impl Samples {
    pub(super) const fn new(learned: usize, left_out: usize, state_bytes: usize) -> Self {
        Self {
            judged: Vec::new(),
            learned,
            left_out,
            state_bytes,
            micros: 0.0,
        }
    }

    pub(super) fn took(&mut self, time: Duration, events: usize) {
        let events = f64::from(u32::try_from(events.max(1)).unwrap_or(u32::MAX));
        self.micros = time.as_secs_f64() * 1e6 / events;
    }
}

/// The figures of a test.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was judged.
    pub subject: Subject,
    /// Normal samples that were learned from.
    pub learned: usize,
    /// Attacks in the training file, which were not.
    pub left_out: usize,
    /// Normal samples and attacks in the test.
    pub samples: [usize; 2],
    /// Area under the receiver's curve, if there are attacks.
    pub auroc: Option<f64>,
    /// Area under precision over recall.
    pub aupr: Option<f64>,
    /// Recall at 0.1 % and at 1 % false positives.
    pub recall: [Share; 2],
    /// The same for each class of attack.
    pub classes: BTreeMap<String, [Share; 2]>,
    /// Normal samples that the model itself gives a probability below 0.1 % and below 1 %.
    pub realised: [Share; 2],
    /// Attacks that it does.
    pub caught: [Share; 2],
    /// Microseconds of a processor for an event.
    pub micros: f64,
    /// Bytes of state.
    pub state_bytes: usize,
}

/// Shares of false positives that recall is told at.
pub(super) const FALSE_SHARES: [f64; 2] = [0.001, 0.01];

impl Outcome {
    pub(super) fn of(subject: Subject, samples: Samples) -> Self {
        let (normals, attacks) = samples
            .judged
            .iter()
            .partition::<Vec<_>, _>(|s| s.class.is_none());
        let ranks = |of: &[&Judged]| of.iter().map(|s| s.score).collect::<Vec<f64>>();
        let rarities = |of: &[&Judged]| of.iter().map(|s| s.rarity).collect::<Vec<f64>>();
        let (normal, attack) = (ranks(&normals), ranks(&attacks));
        let limits = FALSE_SHARES.map(|share| threshold(&normal, share).unwrap_or(f64::INFINITY));
        let recall = |of: &[f64]| limits.map(|limit| Share::above(of, limit));
        let nominal =
            |of: &[&Judged]| FALSE_SHARES.map(|share| Share::above(&rarities(of), -share.log2()));
        let mut by_class: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for sample in &attacks {
            let class = sample.class.clone().unwrap_or_default();
            by_class.entry(class).or_default().push(sample.score);
        }
        Self {
            subject,
            learned: samples.learned,
            left_out: samples.left_out,
            samples: [normal.len(), attack.len()],
            auroc: auroc(&normal, &attack),
            aupr: aupr(&normal, &attack),
            recall: recall(&attack),
            classes: by_class
                .iter()
                .map(|(class, of)| (class.clone(), recall(of)))
                .collect(),
            realised: nominal(&normals),
            caught: nominal(&attacks),
            micros: samples.micros,
            state_bytes: samples.state_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_by_hand() {
        let mut samples = Samples::new(7, 1, 1000);
        for n in 0..200 {
            let score = f64::from(n) / 20.0;
            samples.judged.push(Judged {
                class: None,
                score,
                rarity: score,
            });
        }
        for (class, score) in [("a", 9.8), ("a", 9.9), ("b", 20.0), ("b", 1.0)] {
            samples.judged.push(Judged {
                class: Some(class.into()),
                score,
                rarity: score,
            });
        }
        let outcome = Outcome::of(Subject::Command, samples);
        // 1 % of 200 are two: 9.90 and 9.95 may exceed the limit of 9.85; 0.1 % are none.
        assert_eq!(
            outcome.recall,
            [Share { found: 1, of: 4 }, Share { found: 2, of: 4 }]
        );
        assert_eq!(
            outcome.classes["a"],
            [Share { found: 0, of: 2 }, Share { found: 1, of: 2 }]
        );
        // -log2 of 1 % is 6.64: the normals from 6.65 (number 133) on.
        assert_eq!(outcome.realised[1], Share { found: 67, of: 200 });
        assert_eq!(outcome.caught[1], Share { found: 3, of: 4 });
    }
}
