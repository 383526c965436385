//! Hashing of short texts for the tables of a rule set.
//!
//! Tables hold texts of rules only; host text is looked up and never put in, so nobody on a host
//! can make them slow, and a fast hash without a secret is enough.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type TextMap<V> = HashMap<Vec<u8>, V, BuildHasherDefault<TextHasher>>;
pub(crate) type TextSet = HashSet<Vec<u8>, BuildHasherDefault<TextHasher>>;

/// Multiplies and folds, eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TextHasher(u64);

impl TextHasher {
    /// Both halves of the product are folded together, so that every bit reaches every other.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves of the product are taken apart"
    )]
    fn mix(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0.rotate_left(23) ^ word ^ 0x2545_f491_4f6c_dd1d) * ODD;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(chunk.try_into().map_or(0, u64::from_le_bytes));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(chunks.remainder()) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last) ^ bytes.len() as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_that_differ_have_hashes_that_differ() {
        let hash = |text: &[u8]| {
            let mut hasher = TextHasher(1);
            hasher.write(text);
            hasher.finish()
        };
        let mut texts: Vec<Vec<u8>> = vec![b"".to_vec(), b"sh".to_vec(), b"sh\0".to_vec()];
        texts.extend((0..2_000).map(|number| format!("/usr/bin/name{number}").into_bytes()));
        let hashes: HashSet<u64> = texts.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }
}
