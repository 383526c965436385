//! The arithmetic: counts to probability, probability to bits, and how factors become one score.
//!
//! [`crate::Scorer::step`] and [`crate::recompute`] both call exactly these functions.
//!
//! # Invariants
//!
//! - Only additions, multiplications and divisions of IEEE 754 doubles, and a logarithm in integers:
//!   the same bits on every machine.
//! - Surprise is a multiple of 1/1024 bit and the p of an event has four decimal digits, so both
//!   survive a decimal text exactly.
//! - Any counts, also absurd ones, give finite bits and a probability above 0 and at most 1.

/// What one context knows about one value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// How often the value was seen in the context.
    pub(crate) seen: u32,
    /// How often the context was seen.
    pub(crate) context_seen: u32,
    /// How many different values it had.
    pub(crate) distinct: u32,
}

/// Where a score stands among the earlier scores of its factor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rank {
    /// Earlier scores at least as high.
    pub(crate) at_least: u32,
    /// Earlier scores.
    pub(crate) total: u32,
    /// The bin of the highest.
    pub(crate) highest: u32,
}

/// One factor's part in a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    /// Surprise.
    pub(crate) bits: Bits,
    /// Its calibrated probability.
    pub(crate) p: f64,
    /// Whether its context knows enough.
    pub(crate) mature: bool,
    /// How many factors an event of this sort has.
    pub(crate) of: u32,
}

/// Surprise in units of 1/1024 bit.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Bits(pub(crate) u32);

impl Bits {
    /// Of a probability, rounded up to 1/1024 bit; at most [`MOST_BITS`] bits.
    pub(crate) fn of(p: f64) -> Self {
        Self(units_of(p.clamp(LEAST_P, 1.0)))
    }

    /// In bits, exactly.
    pub(crate) fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(UNITS)
    }

    /// The nearest; 0 for what is no number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer saturates, and that is what is wanted of hostile values"
    )]
    pub(crate) fn from_f64(bits: f64) -> Self {
        Self((bits * f64::from(UNITS)).round() as u32)
    }

    /// What is above `usual`.
    pub(crate) fn beyond(self, usual: Self) -> Self {
        Self(self.0.saturating_sub(usual.0))
    }

    /// The bin of half a bit that it falls into.
    pub(crate) fn bin(self) -> u32 {
        (self.0 / (UNITS / 2)).min(BINS - 1)
    }
}

/// Minus the binary logarithm of a number from 2^-1022 to 1, in 1/1024, rounded up.
fn units_of(p: f64) -> u32 {
    let bits = p.to_bits();
    let exponent = u32::try_from(bits >> 52).unwrap_or_default();
    let mantissa = (bits >> 21 & 0x7fff_ffff) | 0x8000_0000;
    let whole = 1023_u32.saturating_sub(exponent) * UNITS;
    whole.saturating_sub(fraction_of_log2(mantissa))
}

/// The surprise of many probabilities together: multiplied as long as a double holds the product, so
/// that few logarithms are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSum {
    product: f64,
    units: u64,
}

impl LogSum {
    pub(crate) const fn new() -> Self {
        Self {
            product: 1.0,
            units: 0,
        }
    }

    /// One more.
    pub(crate) fn take(&mut self, p: f64) {
        self.product *= p.clamp(LEAST_P, 1.0);
        if self.product < LEAST_PRODUCT {
            self.units += u64::from(units_of(self.product));
            self.product = 1.0;
        }
    }

    /// In 1/1024 bit, rounded up once for each logarithm.
    pub(crate) fn units(self) -> u64 {
        self.units + u64::from(units_of(self.product))
    }
}

/// The binary logarithm of a number from 1 to 2 with 31 binary places, in 1/1024, rounded down.
fn fraction_of_log2(mantissa: u64) -> u32 {
    let mut x = mantissa;
    let mut log = 0;
    for _ in 0..UNITS.ilog2() {
        x = (x * x) >> 31;
        let carry = u32::from(x >= 1 << 32);
        x >>= carry;
        log = log * 2 + carry;
    }
    log
}

/// The probability of a value, by interpolated Witten-Bell backoff.
///
/// `levels` go from the special to the general. Below the last lies the uniform distribution over
/// `alphabet` values. Each level with `N` sightings of `T` different values, `c` of them this one,
/// gives `(c + T * p) / (N + T)` where `p` is what the levels below it gave.
pub(crate) fn probability(levels: impl DoubleEndedIterator<Item = Counts>, alphabet: u32) -> f64 {
    let uniform = 1.0 / f64::from(alphabet.max(1));
    levels.rev().fold(uniform, |p, level| {
        let (n, t) = (f64::from(level.context_seen), f64::from(level.distinct));
        let c = f64::from(level.seen.min(level.context_seen));
        if n + t > 0.0 {
            (c + t * p) / (n + t)
        } else {
            p
        }
    })
}

/// The probability of a score at least this high, from the earlier scores of its factor; beyond the
/// highest of them it halves with every further bit.
pub(crate) fn tail(excess: Bits, rank: Rank) -> f64 {
    let at_least = rank.at_least.min(rank.total);
    let share = (f64::from(at_least) + 1.0) / (f64::from(rank.total) + 1.0);
    let known = rank.highest.max(LEAST_KNOWN_BIN);
    if at_least > 0 {
        share
    } else {
        share * two_to_minus_half(excess.bin().saturating_sub(known))
    }
}

/// 2 to the power of `-halves / 2`.
fn two_to_minus_half(halves: u32) -> f64 {
    let exponent = 1023 - u64::from(halves.min(BINS) / 2);
    let whole = f64::from_bits(exponent << 52);
    if halves.is_multiple_of(2) {
        whole
    } else {
        whole * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// Bits and p of an event from its parts, strongest first.
///
/// Bits are those of the strongest part. Once a part has a mature context, p is the harmonic mean of
/// the p of the mature parts, where a factor that is not among them counts as saying nothing; until
/// then it is the p of the strongest part.
pub(crate) fn combine(parts: &[Part]) -> (Bits, f64) {
    let Some(strongest) = parts.first() else {
        return (Bits(0), 1.0);
    };
    let mature = parts.iter().filter(|part| part.mature);
    let sum: f64 = mature.map(|part| 1.0 / part.p).sum();
    let p = if sum > 0.0 {
        f64::from(strongest.of) / sum
    } else {
        strongest.p
    };
    (strongest.bits, decimal(p.min(1.0)))
}

/// Rounded to four decimal digits and at least [`LEAST_EVENT_P`]: a number that any reader of decimal
/// text gets back exactly.
fn decimal(p: f64) -> f64 {
    let p = p.max(LEAST_EVENT_P);
    format!("{p:.3e}").parse().unwrap_or(p)
}

/// Whether a context knows enough to raise an alert.
pub(crate) fn is_mature(context_seen: u32, days: u32) -> bool {
    context_seen >= MATURE_SEEN && days >= MATURE_DAYS
}

/// Whether enough hosts have a context for it to raise an alert on a host that is still learning it.
pub(crate) fn is_mature_in_fleet(hosts: u32) -> bool {
    hosts >= MATURE_SEEN
}

/// Sightings that a mature context has at least, or hosts.
pub(crate) const MATURE_SEEN: u32 = 30;
/// Days on which a mature context was seen at least, today included: three lie behind it.
pub(crate) const MATURE_DAYS: u32 = 4;
/// Bins of half a bit.
pub(crate) const BINS: u32 = 128;
/// Units of a bit.
const UNITS: u32 = 1024;
/// Most bits that a factor can have.
const MOST_BITS: u64 = 63;
/// Two to the power of minus [`MOST_BITS`].
const LEAST_P: f64 = f64::from_bits((1023 - MOST_BITS) << 52);
/// Below this, one more factor could leave the range of doubles.
const LEAST_PRODUCT: f64 = f64::from_bits((1023 - 900) << 52);
/// Below this, an event's p says nothing more.
const LEAST_EVENT_P: f64 = 1e-15;
/// Scores up to 8 bits beyond the usual are taken as known, so that a factor without a history does
/// not promise a small p.
const LEAST_KNOWN_BIN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn bits_of(levels: &[[u32; 3]], alphabet: u32) -> f64 {
        let counts = |&[seen, context_seen, distinct]: &[u32; 3]| Counts {
            seen,
            context_seen,
            distinct,
        };
        Bits::of(probability(levels.iter().map(counts), alphabet)).to_f64()
    }

    #[test]
    fn the_logarithm_in_integers_is_the_logarithm() {
        for step in 1..4000_u32 {
            let p = 1.0 / (1.0 + f64::from(step) * f64::from(step) * 0.7);
            let off = Bits::of(p).to_f64() + p.log2();
            assert!((0.0..=0.002).contains(&off), "{p} is off by {off}");
        }
        assert_eq!(
            (Bits::of(1.0), Bits::of(0.5), Bits::of(0.25)),
            (Bits(0), Bits(1024), Bits(2048))
        );
    }

    #[test]
    fn the_worked_example_of_the_documentation_holds() {
        let bits = bits_of(&[[0, 81_204, 4], [10_400, 83_000, 120]], 4096);
        assert!((17.3..17.4).contains(&bits), "{bits}");
    }

    #[test]
    fn nothing_known_costs_the_alphabet() {
        assert_eq!(
            bits_of(&[[0, 0, 0], [0, 0, 0]], 4096).to_bits(),
            12.0_f64.to_bits()
        );
    }

    #[test]
    fn many_different_values_make_a_new_one_cheap() {
        let fixed = bits_of(&[[0, 10_000, 1]], 2);
        let open = bits_of(&[[0, 10_000, 9_000]], 2);
        assert!(fixed > 13.0 && open < 3.0, "{fixed} {open}");
    }

    #[test]
    fn absurd_counts_give_finite_bits() {
        for counts in [
            [u32::MAX; 3],
            [u32::MAX, 0, 0],
            [0, u32::MAX, 0],
            [0, 0, u32::MAX],
        ] {
            for alphabet in [0, 1, u32::MAX] {
                let bits = bits_of(&[counts, counts], alphabet);
                assert!((0.0..=63.0).contains(&bits), "{counts:?} gave {bits}");
            }
        }
        for hostile in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            let excess = Bits(5).beyond(Bits::from_f64(hostile));
            let p = tail(
                excess,
                Rank {
                    at_least: 9,
                    total: 3,
                    highest: u32::MAX,
                },
            );
            assert!(p > 0.0 && p <= 1.0);
            assert!((0.0..=63.0).contains(&Bits::of(hostile).to_f64()));
        }
    }

    #[test]
    fn beyond_the_highest_score_p_halves_with_every_bit() {
        let rank = Rank {
            at_least: 0,
            total: 999,
            highest: 20,
        };
        let p = |bits: u32| tail(Bits(bits * 1024), rank);
        assert_eq!(p(10).to_bits(), (1.0_f64 / 1000.0).to_bits());
        assert_eq!(p(11).to_bits(), (0.5_f64 / 1000.0).to_bits());
        assert_eq!(p(14).to_bits(), (0.0625_f64 / 1000.0).to_bits());
        assert!((tail(Bits(10 * 1024 + 512), rank) - 0.000_707).abs() < 1e-6);
    }

    #[test]
    fn one_mature_part_decides_p_and_the_strongest_decides_the_bits() {
        let part = |bits, p, mature| Part {
            bits: Bits(bits),
            p,
            mature,
            of: 4,
        };
        let (bits, p) = combine(&[part(9, 0.25, false), part(5, 1e-3, true)]);
        assert_eq!((bits, p.to_bits()), (Bits(9), 4e-3_f64.to_bits()));
        let (_, p) = combine(&[part(9, 0.25, false), part(5, 1e-3, false)]);
        assert_eq!(p.to_bits(), 0.25_f64.to_bits());
    }
}
