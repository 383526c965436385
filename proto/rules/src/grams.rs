//! Finds which of many short texts occur in a value, by runs of bytes that they must hold.
//!
//! Each text is filed under one run of its bytes, the rarest that it has. A value slides through a
//! small bit set that knows all these runs; only where a bit is set are the texts behind it compared.
//! An automaton would wait for memory at every byte, as each state names the next; here the steps do
//! not depend on each other, and what they touch stays in the nearest cache.
//!
//! # Invariants
//!
//! - Every text that occurs in a value is found, wherever it stands.
//! - The work is linear in the value, times the few texts that share a run.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Texts of at least `N` bytes, each with what is filed under it.
#[derive(Clone, Debug)]
pub(crate) struct Grams<const N: usize> {
    /// One bit for each hash of a run; its length is a power of two.
    filter: Vec<u64>,
    /// How far a hash is moved to become the number of a bit.
    shift: u32,
    texts: HashMap<u32, Vec<Filed>, BuildHasherDefault<GramHasher>>,
}

/// A text, where its run stands in it, and what is filed under it.
#[derive(Clone, Debug)]
struct Filed {
    text: Vec<u8>,
    offset: usize,
    postings: Vec<u32>,
}

impl<const N: usize> Grams<N> {
    /// `None` if there are no texts. Texts shorter than `N` would never be found and must not come.
    pub(crate) fn new(
        entries: Vec<(Vec<u8>, Vec<u32>)>,
        surprise: impl Fn(u8) -> f64,
    ) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        let bits = (entries.len() * BITS_PER_TEXT)
            .next_power_of_two()
            .clamp(FEWEST_BITS, MOST_BITS);
        let mut grams = Self {
            filter: vec![0; bits / 64],
            shift: u32::BITS - bits.trailing_zeros(),
            texts: HashMap::default(),
        };
        for (text, postings) in entries {
            grams.file(text, postings, &surprise);
        }
        Some(grams)
    }

    /// Under its most surprising run, and of equal ones under that which fewer texts have.
    fn file(&mut self, text: Vec<u8>, postings: Vec<u32>, surprise: &impl Fn(u8) -> f64) {
        let mut best: Option<(f64, usize, u32)> = None;
        for (offset, run) in text.windows(N).enumerate() {
            let gram = number(run);
            let shared = self.texts.get(&gram).map_or(0, Vec::len);
            let shared = f64::from(u32::try_from(shared).unwrap_or(u32::MAX));
            let score = run.iter().map(|byte| surprise(*byte)).sum::<f64>() - shared;
            if best.is_none_or(|(highest, ..)| score > highest) {
                best = Some((score, offset, gram));
            }
        }
        let Some((_, offset, gram)) = best else {
            return;
        };
        let (word, bit) = self.place(gram);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bit;
        }
        self.texts.entry(gram).or_default().push(Filed {
            text,
            offset,
            postings,
        });
    }

    /// Hands over what is filed under every text that occurs in `value`; more than once where it
    /// occurs more than once.
    pub(crate) fn find(&self, value: &[u8], mut found: impl FnMut(&[u32])) {
        for (at, run) in value.windows(N).enumerate() {
            let gram = number(run);
            let (word, bit) = self.place(gram);
            if self.filter.get(word).is_some_and(|word| word & bit != 0) {
                self.compare(gram, at, value, &mut found);
            }
        }
    }

    #[cold]
    fn compare(&self, gram: u32, at: usize, value: &[u8], found: &mut impl FnMut(&[u32])) {
        for filed in self.texts.get(&gram).into_iter().flatten() {
            let begin = at.checked_sub(filed.offset);
            let rest = begin.and_then(|begin| value.get(begin..));
            if rest.is_some_and(|rest| rest.starts_with(&filed.text)) {
                found(&filed.postings);
            }
        }
    }

    /// The word and the bit of the filter that stand for a run.
    fn place(&self, gram: u32) -> (usize, u64) {
        let bit = gram.wrapping_mul(ODD) >> self.shift;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    /// Memory, in bytes, nearly.
    pub(crate) fn bytes(&self) -> usize {
        let filed = self.texts.values().flatten().map(|filed| {
            size_of::<Filed>() + filed.text.capacity() + 4 * filed.postings.capacity()
        });
        8 * self.filter.capacity() + 32 * self.texts.capacity() + filed.sum::<usize>()
    }
}

fn number(run: &[u8]) -> u32 {
    run.iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Spreads the number of a run; texts of rules only are put in.
#[derive(Clone, Copy, Debug, Default)]
struct GramHasher(u64);

impl Hasher for GramHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// With so many bits for each text, one position in 64 is looked up in vain.
const BITS_PER_TEXT: usize = 64;
const FEWEST_BITS: usize = 1 << 10;
/// 256 KiB: as much as a second-level cache holds beside other things.
const MOST_BITS: usize = 1 << 21;
const ODD: u32 = 0x9e37_79b1;

#[cfg(test)]
mod tests {
    use super::*;

    fn grams<const N: usize>(texts: &[&str]) -> Grams<N> {
        let entries = (0..).zip(texts);
        let entries = entries.map(|(number, text)| (text.as_bytes().to_vec(), vec![number]));
        Grams::new(entries.collect(), |byte| f64::from(byte % 7)).expect("there are texts")
    }

    fn found<const N: usize>(grams: &Grams<N>, value: &str) -> Vec<u32> {
        let mut all = Vec::new();
        grams.find(value.as_bytes(), |postings| all.extend(postings));
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn texts_are_found_at_both_ends_and_inside_each_other() {
        let grams = grams::<4>(&["/tmp/", "/var/tmp/", "cron", "authorized_keys"]);
        assert_eq!(found(&grams, "/var/tmp/x"), [0, 1]);
        assert_eq!(found(&grams, "/x/.ssh/authorized_keys"), [3]);
        assert_eq!(found(&grams, "/etc/cron"), [2]);
        assert_eq!(found(&grams, "cro"), [0; 0]);
        assert_eq!(found(&grams, ""), [0; 0]);
    }

    #[test]
    fn exactly_the_texts_that_occur_are_found() {
        let texts: Vec<String> = (0..400_u32)
            .map(|number| format!("{:x}", number.wrapping_mul(2_654_435_761) | 0x1000_0000))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let grams = grams::<4>(&texts);
        let value = texts[7..300].join("");
        let expected: Vec<u32> = (0..)
            .zip(&texts)
            .filter(|(_, text)| value.contains(**text))
            .map(|(number, _)| number)
            .collect();
        assert_eq!(found(&grams, &value), expected);
    }

    #[test]
    fn short_texts_have_short_runs() {
        let grams = grams::<2>(&["nc ", "-x", "of="]);
        assert_eq!(found(&grams, "nc -x"), [0, 1]);
        assert_eq!(found(&grams, "nc"), [0; 0]);
        assert!(grams.bytes() > 0);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert!(Grams::<4>::new(Vec::new(), |_| 1.0).is_none());
    }
}
