//! Refused logins of late, by source: remembered, never scored.
//!
//! # Invariants
//!
//! - A table of fixed size, in buckets of eight. Refused logins, which anybody may cause, take no room
//!   of what the scorer learned: in a full bucket the source gives way that was quiet for longest, then
//!   the one with the fewest.
//! - A source counts on while it comes back on the same day or the next; after a quiet day it begins anew.

use std::fmt;

/// The table.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Refusals {
    entries: Vec<Entry>,
}

/// A source.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Hash of its name; 0: empty.
    pub(crate) source: u64,
    /// One bit for each user that it tried, by the user's hash.
    pub(crate) users: u64,
    /// The day of the wall clock that it was last refused on.
    pub(crate) day: i32,
    /// How often it was refused.
    pub(crate) refused: u32,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            entries: vec![Entry::default(); SOURCES],
        }
    }

    /// One refused login.
    pub(crate) fn note(&mut self, source: u64, user: u64, day: i32) {
        let bucket = bucket(source);
        let entries = &mut self.entries[bucket..bucket + BUCKET];
        let known = entries.iter().position(|entry| entry.source == source);
        let place = known.unwrap_or_else(|| {
            let worth = |place: &usize| (entries[*place].day, entries[*place].refused);
            let empty = entries.iter().position(|entry| entry.source == 0);
            empty
                .or_else(|| (0..BUCKET).min_by_key(worth))
                .unwrap_or_default()
        });
        let entry = &mut entries[place];
        if entry.source != source || !entry.is_of_late(day) {
            *entry = Entry {
                source,
                ..Entry::default()
            };
        }
        entry.day = day;
        entry.refused = entry.refused.saturating_add(1);
        entry.users |= 1 << (user % 64);
    }

    /// What is known of the source on this day.
    pub(crate) fn of(&self, source: u64, day: i32) -> Entry {
        let bucket = bucket(source);
        let mut entries = self.entries[bucket..bucket + BUCKET].iter();
        let known = entries.find(|entry| entry.source == source && entry.is_of_late(day));
        known.copied().unwrap_or_default()
    }

    /// Those in use with their places.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| entry.source != 0)
    }

    /// Puts an entry back; `false` if it cannot lie there.
    pub(crate) fn put(&mut self, place: usize, entry: Entry) -> bool {
        let fits = entry.source != 0 && bucket(entry.source) == place / BUCKET * BUCKET;
        let slot = self.entries.get_mut(place).filter(|_| fits);
        slot.map(|slot| *slot = entry).is_some()
    }

    /// Bytes that it takes.
    pub(crate) const fn state_bytes() -> usize {
        SOURCES * size_of::<Entry>()
    }
}

impl Entry {
    /// Different users that the source tried, not fewer than half of the true number up to 64.
    pub(crate) const fn users(&self) -> u32 {
        self.users.count_ones()
    }

    const fn is_of_late(&self, day: i32) -> bool {
        day.abs_diff(self.day) <= 1
    }
}

/// Its size only.
impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

fn bucket(source: u64) -> usize {
    let buckets = (SOURCES / BUCKET) as u64;
    usize::try_from(source % buckets).unwrap_or_default() * BUCKET
}

/// Sources that are remembered.
const SOURCES: usize = 2_048;
/// Entries that a source may lie in.
const BUCKET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_count_on_over_midnight_and_begin_anew_after_a_quiet_day() {
        let mut refusals = Refusals::new();
        for n in 0..50 {
            refusals.note(7, n, 100);
        }
        assert_eq!(
            (refusals.of(7, 101).refused, refusals.of(7, 101).users()),
            (50, 50)
        );
        assert_eq!(refusals.of(7, 102).refused, 0);
        refusals.note(7, 1, 101);
        assert_eq!(refusals.of(7, 101).refused, 51);
        refusals.note(7, 1, 103);
        assert_eq!(refusals.of(7, 103).refused, 1);
        assert_eq!(refusals.of(8, 103).refused, 0);
    }

    #[test]
    fn a_flood_of_sources_does_not_push_out_the_busy_one_of_the_day() {
        let mut refusals = Refusals::new();
        for _ in 0..100 {
            refusals.note(7, 1, 5);
        }
        for source in 8..200_000 {
            refusals.note(source, 1, 5);
        }
        assert_eq!(refusals.of(7, 5).refused, 100);
        assert_eq!(refusals.entries.len(), SOURCES);
    }
}
