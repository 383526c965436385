//! How unusual a sequence of system calls is: the most lenient of three views.
//!
//! | view | what it asks |
//! | --- | --- |
//! | calls | mean surprise of each call after the five before it |
//! | classes | the same of the classes of calls (file, network, time, ...), after the seven before it |
//! | order | the first, divided by how disordered the sequence is in itself |
//!
//! Each view is turned into a rarity by the samples that it was learned from, and the lowest of the
//! three is the score. A program that was never seen is strange by its calls but, if it does ordinary
//! things, not by their classes; a busy one is strange in sum but not for its own disorder. Only what
//! is strange in every view is worth somebody's time.
//!
//! # Invariants
//!
//! - Pure, deterministic, of fixed size. Of a sequence the first [`MOST_CALLS`] calls count.
//! - The score follows from its explanation: it is the lowest rarity of the views; that says little of how rare the score
//!   is, which has samples of its own.

mod classes;

use crate::ngrams::Ngrams;
use crate::surprise::Bits;
use crate::tail::Tail;

pub use classes::class_of_i386;

/// Knows normal sequences.
#[derive(Clone, Debug)]
pub struct SequenceModel {
    class_of: fn(u16) -> u16,
    calls: Ngrams,
    classes: Ngrams,
    tails: [Tail; VIEWS],
    tail: Tail,
}

/// How unusual a sequence is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceScore {
    /// What sequences are ranked by: the lowest rarity of the views, in bits.
    pub score: f64,
    /// How rare a score at least this high is among normal sequences, in bits: one in two to this power.
    pub rarity: f64,
    /// The views, as in the table of the module.
    pub views: [View; VIEWS],
}

/// One view of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// What is looked at.
    pub name: &'static str,
    /// What was found: bits for each call, or their ratio.
    pub value: f64,
    /// How rare a value at least this high is among normal sequences, in bits.
    pub rarity: f64,
}

impl SequenceModel {
    /// Learns from normal sequences. `class_of` tells the class of a call by its number, below 32.
    ///
    /// The rarities are taken from sequences that were left out in turn, a fifth each time, so that no
    /// sequence is measured by a model that learned it.
    pub fn learn(secret: [u8; 16], class_of: fn(u16) -> u16, sequences: &[Vec<u16>]) -> Self {
        let mut whole = Self::empty(secret, class_of);
        let mut left_out = Vec::with_capacity(sequences.len());
        for fold in 0..FOLDS {
            let mut part = Self::empty(secret, class_of);
            for (_, sequence) in others(sequences, fold) {
                part.take_in(sequence);
            }
            left_out.extend(own(sequences, fold).map(|(_, sequence)| part.values(sequence)));
        }
        for values in &left_out {
            for (tail, value) in whole.tails.iter_mut().zip(values) {
                tail.learn(*value);
            }
        }
        for values in &left_out {
            let score = whole.lowest(values);
            whole.tail.learn(Bits::from_f64(score));
        }
        for sequence in sequences {
            whole.take_in(sequence);
        }
        whole
    }

    /// How unusual the sequence is.
    pub fn score(&self, sequence: &[u16]) -> SequenceScore {
        let values = self.values(sequence);
        let view = |number: usize| View {
            name: VIEW_NAMES[number],
            value: values[number].to_f64(),
            rarity: self.tails[number].rarity(values[number]),
        };
        let score = self.lowest(&values);
        SequenceScore {
            score,
            rarity: self.tail.rarity(Bits::from_f64(score)),
            views: [view(0), view(1), view(2)],
        }
    }

    /// Bytes that the state takes.
    pub fn state_bytes(&self) -> usize {
        self.calls.state_bytes() + self.classes.state_bytes() + (VIEWS + 1) * Tail::state_bytes()
    }

    fn empty(secret: [u8; 16], class_of: fn(u16) -> u16) -> Self {
        Self {
            class_of,
            calls: Ngrams::new(6, 512, 1 << 18, secret),
            classes: Ngrams::new(8, 32, 1 << 18, secret),
            tails: Default::default(),
            tail: Tail::default(),
        }
    }

    fn lowest(&self, values: &[Bits; VIEWS]) -> f64 {
        let rarities = self.tails.iter().zip(values);
        rarities
            .map(|(tail, value)| tail.rarity(*value))
            .fold(f64::MAX, f64::min)
    }

    fn take_in(&mut self, sequence: &[u16]) {
        let sequence = bounded(sequence);
        self.calls.learn(sequence);
        self.classes.learn(&self.classes_of(sequence));
    }

    fn values(&self, sequence: &[u16]) -> [Bits; VIEWS] {
        let sequence = bounded(sequence);
        let calls = mean(&self.calls, sequence);
        let classes = mean(&self.classes, &self.classes_of(sequence));
        let order = calls.to_f64() / (disorder(sequence) + LEAST_DISORDER);
        [calls, classes, Bits::from_f64(order)]
    }

    fn classes_of(&self, sequence: &[u16]) -> Vec<u16> {
        sequence.iter().map(|call| (self.class_of)(*call)).collect()
    }
}

fn others(all: &[Vec<u16>], fold: usize) -> impl Iterator<Item = (usize, &Vec<u16>)> {
    let numbered = all.iter().enumerate();
    numbered.filter(move |(number, _)| number % FOLDS != fold)
}

fn own(all: &[Vec<u16>], fold: usize) -> impl Iterator<Item = (usize, &Vec<u16>)> {
    let numbered = all.iter().enumerate();
    numbered.filter(move |(number, _)| number % FOLDS == fold)
}

fn bounded(sequence: &[u16]) -> &[u16] {
    sequence.get(..MOST_CALLS).unwrap_or(sequence)
}

fn mean(model: &Ngrams, symbols: &[u16]) -> Bits {
    let mean = model.surprise(symbols).units / (symbols.len() as u64).max(1);
    Bits(u32::try_from(mean).unwrap_or(u32::MAX))
}

/// How many bits a call has on average when the two before it and the sequence itself are known.
fn disorder(sequence: &[u16]) -> f64 {
    let mut triples: Vec<[u16; 3]> = sequence.windows(3).map(|w| [w[0], w[1], w[2]]).collect();
    triples.sort_unstable();
    let same_pair = |a: &[u16; 3], b: &[u16; 3]| a[..2] == b[..2];
    let bits: f64 = triples
        .chunk_by(same_pair)
        .map(|pair| {
            let all = count(pair.len());
            let ones = pair
                .chunk_by(|a, b| a == b)
                .map(|triple| count(triple.len()));
            ones.map(|n| n * Bits::of(n / all).to_f64()).sum::<f64>()
        })
        .fold(0.0, |sum, bits| sum + bits);
    bits / count(triples.len()).max(1.0)
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Calls of a sequence that count.
pub(crate) const MOST_CALLS: usize = 65_536;
/// Number of views.
const VIEWS: usize = 3;
const VIEW_NAMES: [&str; VIEWS] = ["calls", "classes", "order"];
/// Parts that normal sequences are divided into for the rarities.
const FOLDS: usize = 5;
/// So that a sequence without any disorder does not divide by zero.
const LEAST_DISORDER: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(of: &[u16], times: usize) -> Vec<u16> {
        of.iter().copied().cycle().take(of.len() * times).collect()
    }

    fn model() -> SequenceModel {
        let normal: Vec<Vec<u16>> = (0..60)
            .map(|n| loops(&[5, 3, 197, 192, 6], 20 + n % 7))
            .collect();
        SequenceModel::learn([9; 16], class_of_i386, &normal)
    }

    #[test]
    fn the_score_is_the_lowest_rarity_of_its_views() {
        let model = model();
        for sequence in [
            loops(&[11, 120, 102, 213, 15], 30),
            loops(&[5, 3], 30),
            vec![],
        ] {
            let score = model.score(&sequence);
            let lowest = score
                .views
                .iter()
                .map(|view| view.rarity)
                .fold(f64::MAX, f64::min);
            assert_eq!(score.score.to_bits(), lowest.to_bits());
        }
    }

    #[test]
    fn a_sequence_of_other_calls_is_rarer_than_a_known_one() {
        let model = model();
        let known = model.score(&loops(&[5, 3, 197, 192, 6], 25)).rarity;
        let strange = model
            .score(&loops(&[11, 120, 102, 213, 15, 11, 11], 30))
            .rarity;
        assert!(strange > known + 4.0, "{strange} {known}");
    }

    #[test]
    fn disorder_by_hand() {
        // After (1, 2) comes 3 twice and 1 twice: one bit each; the others are certain.
        let sequence = [1, 2, 3, 1, 2, 1, 2, 3, 1, 2, 1];
        let pairs_with_choice = 4.0;
        assert!((disorder(&sequence) - pairs_with_choice / 9.0).abs() < 1e-9);
        assert_eq!(disorder(&[]).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_model_takes_less_than_ten_megabytes() {
        assert!(model().state_bytes() < 10_000_000);
    }
}
