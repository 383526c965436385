//! How much that is new each login session brought on this day: beyond a bound it teaches nothing more.
//!
//! Whoever invents names pushes out what is known, and makes contexts seem to have many values. One session can do so only
//! within [`MOST_NEW`] values a day. What was there before counts on.
//!
//! # Invariants
//!
//! - [`SESSIONS`] sessions are remembered, in a table of fixed size. When all are of this day, the one that brought least gives way:
//!   who begins many sessions does not free a busy one.
//! - What is not learned is counted.

/// The sessions of late.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sessions {
    entries: [Entry; SESSIONS],
    unlearned: u64,
}

/// A user in a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Entry {
    /// Hash of both; 0: empty.
    who: u64,
    day: u16,
    /// New values of that day.
    new: u16,
}

impl Sessions {
    pub(crate) const fn new() -> Self {
        let empty = Entry {
            who: 0,
            day: 0,
            new: 0,
        };
        Self {
            entries: [empty; SESSIONS],
            unlearned: 0,
        }
    }

    /// One more new value of this session; whether it may be learned.
    pub(crate) fn take(&mut self, who: u64, day: u16) -> bool {
        let entry = self.entry(who);
        if entry.day != day {
            (entry.day, entry.new) = (day, 0);
        }
        let may = entry.new < MOST_NEW;
        entry.new += u16::from(may);
        self.unlearned = self.unlearned.saturating_add(u64::from(!may));
        may
    }

    /// How many values were not learned so far.
    pub(crate) const fn unlearned(&self) -> u64 {
        self.unlearned
    }

    fn entry(&mut self, who: u64) -> &mut Entry {
        let known = self.entries.iter().position(|entry| entry.who == who);
        let place = known.unwrap_or_else(|| {
            let worth = |place: &usize| (self.entries[*place].day, self.entries[*place].new);
            let place = (0..SESSIONS).min_by_key(worth).unwrap_or_default();
            self.entries[place] = Entry {
                who,
                ..Entry::default()
            };
            place
        });
        &mut self.entries[place]
    }

    /// Writes all: `not learned u64`, then for each: `who u64 | day u16 | new u16`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.unlearned.to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.who.to_le_bytes());
            out.extend_from_slice(&entry.day.to_le_bytes());
            out.extend_from_slice(&entry.new.to_le_bytes());
        }
    }

    /// Reads them off the front of `bytes`; `None` if they cannot have been written so.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut sessions = Self::new();
        sessions.unlearned = u64::from_le_bytes(take(bytes)?);
        for entry in &mut sessions.entries {
            *entry = Entry {
                who: u64::from_le_bytes(take(bytes)?),
                day: u16::from_le_bytes(take(bytes)?),
                new: u16::from_le_bytes(take(bytes)?),
            };
            if entry.new > MOST_NEW {
                return None;
            }
        }
        Some(sessions)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// Sessions that are remembered.
const SESSIONS: usize = 32;
/// New values that a session teaches in a day at most: some four hundred invented programs, or a long day of work.
const MOST_NEW: u16 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_teaches_so_much_a_day_and_many_sessions_free_none() {
        let mut sessions = Sessions::new();
        let mut learned = |who, day, times: u32| {
            let taken = (0..times).filter(|_| sessions.take(who, day));
            (taken.count(), sessions.unlearned)
        };
        assert_eq!(learned(1, 7, 5_000), (4_096, 904));
        for who in 2..500 {
            assert_eq!(learned(who, 7, 1).0, 1);
        }
        assert_eq!(learned(1, 7, 1).0, 0);
        assert_eq!(learned(1, 8, 10).0, 10);
    }

    #[test]
    fn sessions_are_read_back_and_wrong_bytes_are_refused() {
        let mut sessions = Sessions::new();
        for n in 0..10_000 {
            sessions.take(n % 3 + 1, 2);
        }
        let mut bytes = Vec::new();
        sessions.write(&mut bytes);
        assert_eq!(Sessions::read(&mut bytes.as_slice()), Some(sessions));
        assert_eq!(Sessions::read(&mut &bytes[..bytes.len() - 1]), None);
        bytes[18..20].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Sessions::read(&mut bytes.as_slice()), None);
    }
}
