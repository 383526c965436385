//! Which lines were seen today, and which on earlier days: three sets of bits.
//!
//! # Invariants
//!
//! - The memory is taken once. A set that is full says of a new line that it knows it; it never denies one
//!   that it was told of.
//! - What was seen counts as seen for 21 to 42 days.

use std::fmt;

/// The sets.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Days {
    /// Today, the days since the last change of sets, those before it.
    sets: [Vec<u64>; 3],
    /// The day that `today` is of.
    day: u16,
}

/// What is known of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Before {
    /// It was seen on this day.
    pub(crate) today: bool,
    /// It was seen on an earlier one.
    pub(crate) earlier: bool,
}

impl Days {
    /// Words of 64 bits in each set.
    pub(crate) const WORDS: usize = 1 << 13;

    pub(crate) fn new() -> Self {
        Self {
            sets: std::array::from_fn(|_| vec![0; Self::WORDS]),
            day: 0,
        }
    }

    /// What is known of the line with this hash.
    pub(crate) fn look_up(&self, hash: u64, day: u16) -> Before {
        let [today, recent, old] = self.sets.each_ref().map(|set| holds(set, hash));
        Before {
            today: today && self.day == day,
            earlier: recent || old || (today && self.day != day),
        }
    }

    /// Remembers the line.
    pub(crate) fn note(&mut self, hash: u64, day: u16) {
        if self.day != day {
            self.turn(day);
        }
        let [today, ..] = &mut self.sets;
        for (word, bit) in places(hash) {
            today[word] |= bit;
        }
    }

    /// The sets and their day, to be kept.
    pub(crate) const fn parts(&self) -> (&[Vec<u64>; 3], u16) {
        (&self.sets, self.day)
    }

    /// The day of the line that was noted last.
    pub(crate) const fn day(&self) -> u16 {
        self.day
    }

    /// Takes back what [`Days::parts`] gave; `None` if it is of another size.
    pub(crate) fn from_parts(sets: [Vec<u64>; 3], day: u16) -> Option<Self> {
        let fits = sets.iter().all(|set| set.len() == Self::WORDS);
        fits.then_some(Self { sets, day })
    }

    /// Bytes that the sets take.
    pub(crate) const fn state_bytes() -> usize {
        3 * Self::WORDS * size_of::<u64>()
    }

    fn turn(&mut self, day: u16) {
        let [today, recent, old] = &mut self.sets;
        for (recent, today) in recent.iter_mut().zip(today.iter_mut()) {
            *recent |= std::mem::take(today);
        }
        if day / CHANGE != self.day / CHANGE {
            std::mem::swap(recent, old);
            recent.fill(0);
        }
        self.day = day;
    }
}

/// Its size only.
impl fmt::Debug for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Days")
            .field("day", &self.day)
            .finish_non_exhaustive()
    }
}

fn holds(set: &[u64], hash: u64) -> bool {
    places(hash).iter().all(|(word, bit)| set[*word] & bit != 0)
}

/// The two bits of a hash, by word.
fn places(hash: u64) -> [(usize, u64); 2] {
    [hash, hash >> 32].map(|part| {
        let word = usize::try_from(part >> 6).unwrap_or_default() & (Days::WORDS - 1);
        (word, 1 << (part & 63))
    })
}

/// Days from one change of sets to the next.
const CHANGE: u16 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_today_then_of_earlier_and_forgotten_after_two_changes() {
        let mut days = Days::new();
        let known = |days: &Days, day| {
            let Before { today, earlier } = days.look_up(77, day);
            (today, earlier)
        };
        assert_eq!(known(&days, 1), (false, false));
        days.note(77, 1);
        assert_eq!(known(&days, 1), (true, false));
        assert_eq!(known(&days, 2), (false, true));
        days.note(5, 2);
        assert_eq!(known(&days, 2), (false, true));
        days.note(77, 2);
        assert_eq!(known(&days, 2), (true, true));
        days.note(5, 21);
        assert_eq!(known(&days, 30), (false, true));
        days.note(5, 43);
        assert_eq!(known(&days, 43), (false, false));
    }

    #[test]
    fn a_flood_of_lines_makes_new_ones_look_known_and_none_forgotten() {
        let mut days = Days::new();
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 40);
        for n in 0..20_000 {
            days.note(hash(n), 1);
        }
        assert!((0..20_000).all(|n| days.look_up(hash(n), 1).today));
        let wrong = (20_000..30_000).filter(|n| days.look_up(hash(*n), 1).today);
        assert!(wrong.count() < 200);
        for n in 0..3_000_000 {
            days.note(hash(n), 1);
        }
        assert!(days.look_up(hash(9_000_000), 1).today);
    }
}
