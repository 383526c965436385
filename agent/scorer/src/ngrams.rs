//! How surprising the next symbol of a sequence is: Kneser-Ney n-grams, learned as they come.
//!
//! # Invariants
//!
//! - The memory is taken once: a table of strings of up to `order` symbols, in buckets of eight. When a
//!   bucket is full, the string that was seen least gives way.
//! - A string is found by a mix of 64 bits that begins with a secret of the host; two strings that
//!   meet share a slot: one in 8,000 or so that was never seen looks as if it was. The mix is not a
//!   cryptographic hash.
//! - Counts have 16 bits. When one is full, all are halved, upwards, so shares stay.
//! - A string of the longest order counts its sightings, a shorter one how many different symbols
//!   stood before it. So a symbol that follows only one word is not taken for a common one.
//!
//! A sighting counts at the longest order, and at the next shorter one only if it was new there: that
//! gives the counts of Kneser and Ney without a second pass.

use std::fmt;

use crate::surprise::LogSum;

/// A table of strings.
#[derive(Clone)]
pub(crate) struct Ngrams {
    order: usize,
    alphabet: u32,
    seed: u64,
    empty: Context,
    slots: Vec<Slot>,
}

/// The surprise of a sequence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Surprise {
    /// Of all its symbols with everything that is known of what stood before each, in 1/1024 bit.
    pub(crate) units: u64,
    /// The same with the one symbol before each alone.
    pub(crate) plain: u64,
}

/// The probability of one symbol.
#[derive(Clone, Copy, Debug)]
struct Chance {
    /// With everything that is known of what stood before.
    p: f64,
    /// With the one symbol before it alone.
    plain: f64,
}

/// A string, as a symbol in its context and as a context itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Slot {
    /// The upper quarter of its hash, never 0; 0: the slot is empty.
    pub(crate) key: u16,
    /// How often it counted.
    pub(crate) count: u16,
    /// How often something counted that follows it.
    pub(crate) followed: u16,
    /// How many different symbols followed it.
    pub(crate) distinct: u16,
}

/// What followed a string.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Context {
    /// How often something did.
    pub(crate) followed: u32,
    /// How many different symbols did.
    pub(crate) distinct: u32,
}

impl Ngrams {
    /// An empty table of `slots` strings (8 bytes each, whole buckets) of at most `order` symbols,
    /// which is from 1 to [`MOST_ORDER`].
    pub(crate) fn new(order: usize, alphabet: u32, slots: usize, secret: [u8; 16]) -> Self {
        Self {
            order: order.clamp(1, MOST_ORDER),
            alphabet: alphabet.max(1),
            seed: mix(
                u64::from_le_bytes(half(secret, 0)),
                u64::from_le_bytes(half(secret, 8)),
            ),
            empty: Context::default(),
            slots: vec![Slot::default(); slots.next_multiple_of(BUCKET).max(BUCKET)],
        }
    }

    /// Learns a sequence.
    pub(crate) fn learn(&mut self, symbols: &[u16]) {
        let mut before = [self.seed; MOST_ORDER + 1];
        for place in 0..symbols.len() {
            let here = self.hashes(symbols, place);
            self.learn_symbol(&before, &here, self.order.min(place + 1));
            before = here;
        }
    }

    /// The surprise of a sequence.
    pub(crate) fn surprise(&self, symbols: &[u16]) -> Surprise {
        let (mut all, mut plain) = (LogSum::new(), LogSum::new());
        self.read(symbols, |chance| {
            all.take(chance.p);
            plain.take(chance.plain);
        });
        Surprise {
            units: all.units(),
            plain: plain.units(),
        }
    }

    /// The chance of each symbol of a sequence, in order.
    fn read(&self, symbols: &[u16], mut each: impl FnMut(Chance)) {
        let mut contexts = [Context::default(); MOST_ORDER];
        contexts[0] = self.empty;
        for place in 0..symbols.len() {
            let here = self.hashes(symbols, place);
            let (chance, found) = self.read_symbol(&contexts, &here);
            each(chance);
            contexts[1..].copy_from_slice(&found[..MOST_ORDER - 1]);
        }
    }

    /// The table as it is, to be kept: what followed nothing, and the slots.
    pub(crate) fn parts(&self) -> (Context, &[Slot]) {
        (self.empty, &self.slots)
    }

    /// Takes back what [`Ngrams::parts`] gave.
    pub(crate) fn put(&mut self, empty: Context, place: usize, slot: Slot) -> bool {
        self.empty = empty;
        let known = self.slots.get_mut(place).filter(|_| slot.key != 0);
        known.map(|known| *known = slot).is_some()
    }

    /// Bytes that the table takes.
    pub(crate) fn state_bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Slot>() * self.slots.len()
    }

    /// The hashes of the strings that end at `place`, by their length; those longer than the
    /// sequence so far are never asked for.
    fn hashes(&self, symbols: &[u16], place: usize) -> [u64; MOST_ORDER + 1] {
        let mut hashes = [self.seed; MOST_ORDER + 1];
        let ending = symbols[..=place].iter().rev().take(self.order);
        for (length, symbol) in ending.enumerate() {
            hashes[length + 1] = mix(hashes[length], u64::from(*symbol) + 1);
        }
        hashes
    }

    fn learn_symbol(&mut self, before: &[u64], here: &[u64], longest: usize) {
        for length in (1..=longest).rev() {
            let string = self.place_of(here[length]);
            let new = self.slots[string].count == 0;
            self.slots[string].count = self.slots[string].count.saturating_add(1);
            let mut full = self.slots[string].count == u16::MAX;
            if length == 1 {
                self.empty.followed = self.empty.followed.saturating_add(1);
                self.empty.distinct = self.empty.distinct.saturating_add(u32::from(new));
            } else {
                let context = self.place_of(before[length - 1]);
                let context = &mut self.slots[context];
                context.followed = context.followed.saturating_add(1);
                context.distinct = context.distinct.saturating_add(u16::from(new));
                full |= context.followed == u16::MAX;
            }
            if full {
                self.halve();
            }
            if !new {
                break;
            }
        }
    }

    /// Halves all counts, upwards: what is known stays known.
    fn halve(&mut self) {
        for slot in &mut self.slots {
            slot.count = slot.count.div_ceil(2);
            slot.followed = slot.followed.div_ceil(2).max(slot.distinct);
        }
        self.empty.followed = self.empty.followed.div_ceil(2).max(self.empty.distinct);
    }

    /// Its chance, and what is known of the strings that end with the symbol, by length less one.
    fn read_symbol(
        &self,
        contexts: &[Context; MOST_ORDER],
        here: &[u64],
    ) -> (Chance, [Context; MOST_ORDER]) {
        let mut found = [Context::default(); MOST_ORDER];
        let mut p = 1.0 / f64::from(self.alphabet);
        let mut plain = p;
        let mut seen = true;
        for length in 1..=self.order {
            let context = contexts[length - 1];
            if context.followed == 0 {
                break;
            }
            // What was never seen was never seen after more symbols either.
            let string = if seen {
                self.find(here[length])
            } else {
                Slot::default()
            };
            seen = string.key != 0;
            p = smoothed(u32::from(string.count), context, p);
            found[length - 1] = string.context();
            if length <= PLAIN_ORDER {
                plain = p;
            }
        }
        (Chance { p, plain }, found)
    }

    fn find(&self, hash: u64) -> Slot {
        let (bucket, key) = self.locate(hash);
        let mut slots = self.slots[bucket..bucket + BUCKET].iter();
        slots
            .find(|slot| slot.key == key)
            .copied()
            .unwrap_or_default()
    }

    /// Where the string is, made if it is new.
    fn place_of(&mut self, hash: u64) -> usize {
        let (bucket, key) = self.locate(hash);
        let slots = &mut self.slots[bucket..bucket + BUCKET];
        let known = slots.iter().position(|slot| slot.key == key);
        let place = known.unwrap_or_else(|| {
            let least = (0..BUCKET).min_by_key(|place| slots[*place].worth());
            let place = least.unwrap_or_default();
            slots[place] = Slot {
                key,
                ..Slot::default()
            };
            place
        });
        bucket + place
    }

    fn locate(&self, hash: u64) -> (usize, u16) {
        let buckets = self.slots.len() / BUCKET;
        #[expect(clippy::cast_possible_truncation, reason = "parts of a hash")]
        let (low, high) = (hash as u32 as usize, (hash >> 48) as u16);
        (low % buckets * BUCKET, high.max(1))
    }
}

impl Slot {
    /// What is lost with it; an empty one loses nothing.
    const fn worth(self) -> u64 {
        if self.key == 0 {
            0
        } else {
            1 + self.count as u64 + self.followed as u64
        }
    }

    fn context(self) -> Context {
        Context {
            followed: u32::from(self.followed),
            distinct: u32::from(self.distinct),
        }
    }
}

/// Without what it learned.
impl fmt::Debug for Ngrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ngrams")
            .field("order", &self.order)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// Interpolated Kneser-Ney: a fixed part of each count goes to what the shorter context says.
fn smoothed(count: u32, context: Context, shorter: f64) -> f64 {
    let (total, distinct) = (f64::from(context.followed), f64::from(context.distinct));
    let kept = (f64::from(count.min(context.followed)) - DISCOUNT).max(0.0);
    (kept + DISCOUNT * distinct * shorter) / total
}

/// One symbol more: a bijective mix of 64 bits.
const fn mix(hash: u64, symbol: u64) -> u64 {
    let mut x = hash ^ symbol.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn half(secret: [u8; 16], from: usize) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&secret[from..from + 8]);
    half
}

/// Longest strings that a table can be made for.
pub(crate) const MOST_ORDER: usize = 8;
/// Length of the strings that plain surprise looks at.
const PLAIN_ORDER: usize = 2;
/// What of each count goes to the shorter context.
const DISCOUNT: f64 = 0.75;
/// Slots that a string may lie in.
const BUCKET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(model: &Ngrams, symbols: &[u16]) -> Vec<f64> {
        let mut bits = Vec::new();
        model.read(symbols, |chance| bits.push(-chance.p.log2()));
        bits
    }

    #[test]
    fn two_symbols_by_hand() {
        let mut model = Ngrams::new(2, 4, 1024, [7; 16]);
        model.learn(&[1, 2, 1, 2, 1, 3]);
        // Alone: 1 began the sequence once and stood after 1 other symbol (2), 2 after 1, 3 after 1.
        // So 2, 1 and 1 of 4, three of them different. p0 = 1/4.
        let alone_2: f64 = (0.25 + 0.75 * 3.0 * 0.25) / 4.0;
        // After 1: 2 twice, 3 once.
        let after_1: f64 = (1.25 + 0.75 * 2.0 * alone_2) / 3.0;
        let bits = bits(&model, &[1, 2]);
        assert!((bits[1] + after_1.log2()).abs() < 0.002, "{bits:?}");
    }

    #[test]
    fn what_was_never_seen_is_dear_and_what_always_follows_is_cheap() {
        let mut model = Ngrams::new(5, 400, 1 << 14, [1; 16]);
        for _ in 0..50 {
            model.learn(&[5, 3, 197, 192, 6]);
        }
        let known = bits(&model, &[5, 3, 197, 192, 6]);
        let strange = bits(&model, &[5, 3, 6, 6, 11]);
        assert!(known[1..].iter().all(|bits| *bits < 0.2), "{known:?}");
        assert!(strange[2..].iter().all(|bits| *bits > 3.0), "{strange:?}");
    }

    #[test]
    fn all_probabilities_of_a_context_sum_to_one() {
        let mut model = Ngrams::new(3, 6, 1 << 12, [2; 16]);
        model.learn(&[0, 1, 2, 3, 1, 2, 4, 1, 2, 3, 0, 0, 1]);
        for context in [[0, 1], [1, 2], [4, 4], [5, 0]] {
            let sum: f64 = (0..6)
                .map(|next| (-bits(&model, &[context[0], context[1], next])[2]).exp2())
                .sum();
            assert!((0.995..=1.005).contains(&sum), "{context:?} sums to {sum}");
        }
    }

    #[test]
    fn the_surprise_of_a_sequence_is_the_sum_of_its_symbols() {
        let mut model = Ngrams::new(4, 300, 1 << 12, [6; 16]);
        let sequence: Vec<u16> = (0..5_000_u32).map(|n| (n * n % 251) as u16).collect();
        model.learn(&sequence);
        let sum: f64 = bits(&model, &sequence).iter().sum();
        let units = f64::from(u32::try_from(model.surprise(&sequence).units).unwrap()) / 1024.0;
        assert!((sum - units).abs() < 1.0, "{sum} {units}");
    }

    #[test]
    fn a_full_table_keeps_its_size_and_gives_finite_bits() {
        let mut model = Ngrams::new(8, 400, 64, [3; 16]);
        let noise: Vec<u16> = (0..20_000_u32).map(|n| (n * n % 397) as u16).collect();
        model.learn(&noise);
        assert_eq!(model.slots.len(), 64);
        assert!(
            bits(&model, &noise)
                .iter()
                .all(|bits| (0.0..=63.0).contains(bits))
        );
    }
}
