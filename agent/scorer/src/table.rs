//! The counts: one table of fixed size that forgets what counts least.
//!
//! # Invariants
//!
//! - The memory is taken once and never grows.
//! - A value new to its context weighs at most 8 on its first day, 64 on its second, and so on: to
//!   repeat it makes it usual only over days.
//! - A value that comes new into a mature context is on probation: until it was seen on
//!   [`PROBATION_DAYS`] days the context answers as if it had never had it.
//! - All counts are halved at the same moments, every [`HALF_LIFE`] days, upwards: what is remembered
//!   at all counts at least 1. Shares stay as they were.
//! - In a full bucket the entry with the lowest count gives way, then the one not seen for longest.
//!
//! An entry is found by a keyed hash of 64 bits, so nobody outside can choose where it lies.

use std::fmt;

use crate::keys::LevelKeys;
use crate::surprise::{Bits, Counts, is_mature};

/// What is known of a context or of a value in a context.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Slot {
    /// The whole key.
    pub(crate) key: u64,
    /// Weight of its sightings, halved over time.
    pub(crate) count: u32,
    /// Of a context: mean surprise in 1/65,536 bit.
    pub(crate) usual: u32,
    /// Of a context: how many different values it had; 0 in values.
    pub(crate) distinct: u16,
    /// On how many days it was seen; the highest bit: on probation.
    pub(crate) days: u16,
    /// The last of them; 0: the slot is empty.
    pub(crate) last_day: u16,
    /// What it gained on that day.
    pub(crate) today: u16,
}

/// What a context knows before an event is learned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// Its counts for the value.
    pub(crate) counts: Counts,
    /// Days on which the context was seen.
    pub(crate) days: u32,
    /// Its mean surprise.
    pub(crate) usual: Bits,
    /// Whether the value was seen in it today.
    pub(crate) value_today: bool,
    /// Whether that was for the first time.
    pub(crate) value_new: bool,
    /// On how many days the value was seen, while it is on probation.
    pub(crate) on_probation: u32,
}

/// What becomes of a value that is new to its context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Newcomer {
    /// It counts at once, and so does one on probation.
    Ratified,
    /// It is on probation if its context is mature.
    Judged,
    /// It is on probation.
    OnProbation,
}

/// All counts.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Table {
    slots: Vec<Slot>,
}

impl Table {
    /// An empty one; `slots` is a power of two and at least one bucket.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: vec![Slot::default(); slots.next_power_of_two().max(BUCKET)],
        }
    }

    /// What the context knows of the value on this day.
    pub(crate) fn look_up(&self, keys: LevelKeys, day: u16) -> Known {
        let context = self
            .find(keys.context)
            .map(|slot| slot.aged(day))
            .unwrap_or_default();
        let value = self
            .find(keys.value)
            .map(|slot| slot.aged(day))
            .unwrap_or_default();
        let distinct = u32::from(context.distinct);
        let counts = if value.on_probation() {
            Counts {
                seen: 0,
                context_seen: context.count.saturating_sub(value.count),
                distinct: distinct.saturating_sub(1),
            }
        } else {
            Counts {
                seen: value.count.min(context.count),
                context_seen: context.count,
                distinct,
            }
        };
        Known {
            counts,
            days: u32::from(context.days()),
            usual: Bits(context.usual >> USUAL_SHIFT),
            value_today: value.last_day == day,
            value_new: value.last_day == day && value.days() == 1,
            on_probation: if value.on_probation() {
                u32::from(value.days())
            } else {
                0
            },
        }
    }

    /// Counts the value in the context.
    pub(crate) fn learn(&mut self, keys: LevelKeys, day: u16, newcomer: Newcomer) {
        let mature = || {
            let context = self.find(keys.context);
            context.is_some_and(|slot| is_mature(slot.aged(day).count, u32::from(slot.days())))
        };
        let probation = match newcomer {
            Newcomer::Ratified => false,
            Newcomer::Judged => mature(),
            Newcomer::OnProbation => true,
        };
        let value = self.find_or_make(keys.value, day);
        let new = value.count == 0;
        value.take_probation(new && probation, newcomer == Newcomer::Ratified);
        let gained = value.gain(day);
        self.find_or_make(keys.context, day).take(day, gained, new);
    }

    /// Days since the context was seen; `None`: never.
    pub(crate) fn days_since(&self, context: u64, day: u16) -> Option<u16> {
        self.find(context)
            .map(|slot| day.saturating_sub(slot.last_day))
    }

    /// Moves the mean surprise of the context towards `bits`.
    pub(crate) fn learn_usual(&mut self, context: u64, bits: Bits, seen_before: u32) {
        let bucket = self.bucket(context);
        let Some(slot) = self.slots[bucket].iter_mut().find(|slot| slot.is(context)) else {
            return;
        };
        let (usual, bits) = (i64::from(slot.usual), i64::from(bits.0) << USUAL_SHIFT);
        let step = (bits - usual) / i64::from(seen_before.saturating_add(1).min(USUAL_MEMORY));
        slot.usual = u32::try_from(usual + step).unwrap_or_default();
    }

    /// How many contexts are remembered, and how many of them are mature on this day.
    pub(crate) fn contexts(&self, day: u16) -> (u64, u64) {
        let contexts = self
            .slots
            .iter()
            .filter(|slot| slot.last_day != 0 && slot.distinct != 0);
        contexts
            .map(|slot| slot.aged(day))
            .fold((0, 0), |(all, mature), slot| {
                (
                    all + 1,
                    mature + u64::from(is_mature(slot.count, u32::from(slot.days()))),
                )
            })
    }

    /// The slots in use with their places, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.last_day != 0)
    }

    /// Puts a slot back where it was; whether it can have been there.
    pub(crate) fn put(&mut self, place: usize, slot: Slot) -> bool {
        let fits = self.bucket(slot.key).contains(&place) && slot.last_day != 0;
        if fits {
            self.slots[place] = slot;
        }
        fits
    }

    /// How many slots there are.
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    fn find(&self, key: u64) -> Option<&Slot> {
        self.slots[self.bucket(key)]
            .iter()
            .find(|slot| slot.is(key))
    }

    /// The key's slot as of this day; if it has none, one is emptied for it.
    fn find_or_make(&mut self, key: u64, day: u16) -> &mut Slot {
        let bucket = self.bucket(key);
        let slots = &mut self.slots[bucket];
        let place = slots
            .iter()
            .position(|slot| slot.is(key))
            .unwrap_or_else(|| {
                let place = least(slots, day);
                slots[place] = Slot {
                    key,
                    ..Slot::default()
                };
                place
            });
        slots[place] = slots[place].aged(day);
        &mut slots[place]
    }

    fn bucket(&self, key: u64) -> std::ops::Range<usize> {
        let buckets = self.slots.len() / BUCKET;
        let start = usize::try_from(key & (buckets as u64 - 1)).unwrap_or_default() * BUCKET;
        start..start + BUCKET
    }
}

/// Its size only.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("slots", &self.len())
            .finish_non_exhaustive()
    }
}

/// The slot of a bucket that gives way.
fn least(slots: &[Slot], day: u16) -> usize {
    let worth = |slot: &Slot| (slot.aged(day).count, slot.last_day);
    (0..slots.len())
        .min_by_key(|place| worth(&slots[*place]))
        .unwrap_or_default()
}

impl Slot {
    const fn is(&self, key: u64) -> bool {
        self.last_day != 0 && self.key == key
    }

    /// As it is on this day, after the halvings since it was last seen.
    fn aged(&self, day: u16) -> Self {
        let halvings =
            u32::from(day / HALF_LIFE).saturating_sub(u32::from(self.last_day / HALF_LIFE));
        if halvings == 0 || self.last_day == 0 {
            return *self;
        }
        let count = halved(self.count, halvings).max(u32::from(self.distinct));
        Self { count, ..*self }
    }

    /// One more sighting of a value; what its count gained.
    fn gain(&mut self, day: u16) -> u32 {
        self.see(day);
        let most = 8_u32
            .saturating_pow(u32::from(self.days()))
            .min(u32::from(u16::MAX));
        let gained = u32::from(u32::from(self.today) < most);
        self.add(gained);
        gained
    }

    /// One more sighting in a context, whose value gained this much and may be new.
    fn take(&mut self, day: u16, gained: u32, new: bool) {
        self.see(day);
        self.add(gained);
        self.distinct = self.distinct.saturating_add(u16::from(new)).max(1);
    }

    fn see(&mut self, day: u16) {
        if self.last_day != day {
            (self.last_day, self.today) = (day, 0);
            let days = self.days().saturating_add(1).min(!PROBATION);
            let on = self.on_probation() && days < PROBATION_DAYS;
            self.days = days | if on { PROBATION } else { 0 };
        }
    }

    const fn days(&self) -> u16 {
        self.days & !PROBATION
    }

    const fn on_probation(&self) -> bool {
        self.days & PROBATION != 0
    }

    const fn take_probation(&mut self, begins: bool, ratified: bool) {
        if begins {
            self.days |= PROBATION;
        } else if ratified {
            self.days &= !PROBATION;
        }
    }

    fn add(&mut self, gained: u32) {
        self.count = self.count.saturating_add(gained);
        self.today = self
            .today
            .saturating_add(u16::try_from(gained).unwrap_or(u16::MAX));
    }
}

/// `count` divided by two that often, rounded up.
fn halved(count: u32, halvings: u32) -> u32 {
    let divisor = 1_u64.checked_shl(halvings).unwrap_or(u64::MAX);
    u32::try_from(u64::from(count).div_ceil(divisor)).unwrap_or(u32::MAX)
}

/// Slots that a key may lie in.
const BUCKET: usize = 8;
/// The bit of [`Slot::days`] that says so.
const PROBATION: u16 = 1 << 15;
/// Days on which a value is seen before it counts in a context that was mature before it came.
const PROBATION_DAYS: u16 = 5;
/// Days from one halving of all counts to the next.
const HALF_LIFE: u16 = 21;
/// From the units of the stored mean to those of [`Bits`].
const USUAL_SHIFT: u32 = 6;
/// Sightings over which the mean surprise is taken.
const USUAL_MEMORY: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(context: u64, value: u64) -> LevelKeys {
        LevelKeys {
            context: context << 32 | context,
            value: (context << 32 | value) << 8 | 0xa5,
        }
    }

    fn counts(table: &Table, context: u64, value: u64, day: u16) -> [u32; 4] {
        let known = table.look_up(keys(context, value), day);
        [
            known.counts.seen,
            known.counts.context_seen,
            known.counts.distinct,
            known.days,
        ]
    }

    #[test]
    fn a_value_weighs_at_most_eight_on_its_first_day_and_sixty_four_on_its_second() {
        let mut table = Table::new(1024);
        for (day, weight) in [(1, 8), (2, 72), (3, 584)] {
            for _ in 0..1_000 {
                table.learn(keys(1, 1), day, Newcomer::Ratified);
            }
            assert_eq!(
                counts(&table, 1, 1, day),
                [weight, weight, 1, u32::from(day)]
            );
        }
    }

    #[test]
    fn a_value_new_to_a_mature_context_counts_from_its_fifth_day_unless_it_is_ratified() {
        let mut table = Table::new(1024);
        for day in 1..=4 {
            for _ in 0..20 {
                table.learn(keys(1, 1), day, Newcomer::Judged);
            }
        }
        let [_, before, ..] = counts(&table, 1, 1, 5);
        for day in 5..=8 {
            for _ in 0..1_000 {
                table.learn(keys(1, 2), day, Newcomer::Judged);
            }
            let on = table.look_up(keys(1, 2), day).on_probation;
            assert_eq!(on, u32::from(day) - 4);
            assert_eq!(counts(&table, 1, 2, day), [0, before, 1, u32::from(day)]);
        }
        table.learn(keys(1, 2), 9, Newcomer::Judged);
        assert!(counts(&table, 1, 2, 9)[0] > 1_000);
        table.learn(keys(1, 3), 9, Newcomer::Ratified);
        assert_eq!(counts(&table, 1, 3, 9)[0], 1);
    }

    #[test]
    fn counts_are_halved_every_twenty_one_days_and_nothing_drops_to_zero() {
        let mut table = Table::new(1024);
        for value in [7, 7, 7, 7, 7, 8] {
            table.learn(keys(1, value), 1, Newcomer::Ratified);
        }
        assert_eq!(counts(&table, 1, 7, 20), [5, 6, 2, 1]);
        assert_eq!(counts(&table, 1, 7, 21), [3, 3, 2, 1]);
        assert_eq!(counts(&table, 1, 7, 42), [2, 2, 2, 1]);
        assert_eq!(counts(&table, 1, 8, 60_000), [1, 2, 2, 1]);
        table.learn(keys(1, 7), 42, Newcomer::Ratified);
        assert_eq!(counts(&table, 1, 7, 42), [3, 3, 2, 2]);
    }

    #[test]
    fn a_full_table_keeps_what_counts_most() {
        let mut table = Table::new(1024);
        for day in 1..4 {
            for _ in 0..20 {
                table.learn(keys(1, 1), day, Newcomer::Ratified);
            }
        }
        let before = counts(&table, 1, 1, 4);
        for value in 0..100_000_u64 {
            table.learn(
                keys(value % 977 + 2, value.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                4,
                Newcomer::Ratified,
            );
        }
        assert_eq!(counts(&table, 1, 1, 4), before);
        assert_eq!(table.len(), 1024);
    }

    #[test]
    fn the_usual_surprise_follows_slowly_once_it_is_known() {
        let mut table = Table::new(1024);
        table.learn(keys(1, 1), 1, Newcomer::Ratified);
        let context = keys(1, 1).context;
        table.learn_usual(context, Bits(10 * 1024), 0);
        assert_eq!(table.look_up(keys(1, 1), 1).usual, Bits(10 * 1024));
        table.learn_usual(context, Bits(0), 9_999);
        assert_eq!(table.look_up(keys(1, 1), 1).usual, Bits(10 * 1024 - 40));
    }
}
