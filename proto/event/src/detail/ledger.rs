//! The sensor's ledger.
//!
//! # Invariants
//!
//! - The methods of a line that balances leave it balanced.
//! - The causes of losses never say more than was lost.

use crate::Kind;

/// The sensor's ledger: for each kind, `generated = filtered + aggregated + submitted + lost`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// One line per kind that was ever generated.
    pub kinds: Vec<KindCounts>,
    /// Whether it closes a run.
    pub last: bool,
}

/// One line of the sensor's ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KindCounts {
    /// Of which kind.
    pub kind: Kind,
    /// How many there were.
    pub generated: u64,
    /// Left out on purpose.
    pub filtered: u64,
    /// Counted inside another event.
    pub aggregated: u64,
    /// Handed on.
    pub submitted: u64,
    /// Lost, for whatever cause.
    pub lost: u64,
    /// Of the lost, those whose cause was counted apart.
    pub lost_by: LostBy,
}

/// What was lost, by cause.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LostBy {
    /// See [`LossCause::Ring`].
    pub ring: u64,
    /// See [`LossCause::Scratch`].
    pub scratch: u64,
    /// See [`LossCause::Shed`].
    pub shed: u64,
    /// See [`LossCause::Reader`].
    pub reader: u64,
}

/// Why a record was lost.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LossCause {
    /// No room in the ring.
    Ring,
    /// No memory to build the record in, or its facts could not be read.
    Scratch,
    /// Shed by the rate limit or the governor.
    Shed,
    /// The reader could not make an event of it.
    Reader,
}

impl LossCause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[Self::Ring, Self::Scratch, Self::Shed, Self::Reader];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Scratch => "scratch",
            Self::Shed => "shed",
            Self::Reader => "reader",
        }
    }
}

impl LostBy {
    /// How many for this cause.
    pub const fn of(&self, cause: LossCause) -> u64 {
        match cause {
            LossCause::Ring => self.ring,
            LossCause::Scratch => self.scratch,
            LossCause::Shed => self.shed,
            LossCause::Reader => self.reader,
        }
    }

    /// The count of this cause, to be changed.
    pub const fn of_mut(&mut self, cause: LossCause) -> &mut u64 {
        match cause {
            LossCause::Ring => &mut self.ring,
            LossCause::Scratch => &mut self.scratch,
            LossCause::Shed => &mut self.shed,
            LossCause::Reader => &mut self.reader,
        }
    }

    /// The causes that took something, each with its count.
    pub fn counted(self) -> impl Iterator<Item = (LossCause, u64)> {
        let all = LossCause::ALL
            .iter()
            .map(move |cause| (*cause, self.of(*cause)));
        all.filter(|(_, count)| *count > 0)
    }

    /// All causes together.
    pub fn sum(&self) -> u64 {
        self.counted()
            .fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl KindCounts {
    /// A line with nothing on it.
    pub const fn zero(kind: Kind) -> Self {
        Self {
            kind,
            generated: 0,
            filtered: 0,
            aggregated: 0,
            submitted: 0,
            lost: 0,
            lost_by: LostBy {
                ring: 0,
                scratch: 0,
                shed: 0,
                reader: 0,
            },
        }
    }

    /// Whether nothing went missing in silence, and no cause says more than was lost.
    pub fn balances(&self) -> bool {
        let sum = [self.filtered, self.aggregated, self.submitted, self.lost]
            .into_iter()
            .fold(0_u64, u64::saturating_add);
        self.generated == sum && self.lost_by.sum() <= self.lost
    }

    /// Counts losses for this cause. What was generated is the caller's to count.
    pub fn lose(&mut self, cause: LossCause, count: u64) {
        self.lost = self.lost.saturating_add(count);
        let by = self.lost_by.of_mut(cause);
        *by = by.saturating_add(count);
    }

    /// Adds another line to this one, whatever its kind.
    pub fn add(&mut self, other: &Self) {
        self.generated = self.generated.saturating_add(other.generated);
        self.filtered = self.filtered.saturating_add(other.filtered);
        self.aggregated = self.aggregated.saturating_add(other.aggregated);
        self.submitted = self.submitted.saturating_add(other.submitted);
        self.lost = self.lost.saturating_add(other.lost);
        for cause in LossCause::ALL {
            let by = self.lost_by.of_mut(*cause);
            *by = by.saturating_add(other.lost_by.of(*cause));
        }
    }

    /// Moves as many of `count` from submitted to filtered as there are.
    pub fn hold_back(&mut self, count: u64) {
        let moved = self.take_submitted(count);
        self.filtered = self.filtered.saturating_add(moved);
    }

    /// Moves as many of `count` from submitted to aggregated as there are: other events tell them.
    pub fn tell_otherwise(&mut self, count: u64) {
        let moved = self.take_submitted(count);
        self.aggregated = self.aggregated.saturating_add(moved);
    }

    /// Moves as many of `count` from submitted to lost as there are.
    pub fn lose_submitted(&mut self, cause: LossCause, count: u64) {
        let moved = self.take_submitted(count);
        self.lose(cause, moved);
    }

    /// How many were lost, and of which causes: `3 (ring 2, reader 1)`.
    pub fn lost_words(&self) -> String {
        let causes: Vec<String> = self
            .lost_by
            .counted()
            .map(|(cause, count)| format!("{} {count}", cause.name()))
            .collect();
        if causes.is_empty() {
            return self.lost.to_string();
        }
        format!("{} ({})", self.lost, causes.join(", "))
    }

    fn take_submitted(&mut self, count: u64) -> u64 {
        let taken = count.min(self.submitted);
        self.submitted = self.submitted.saturating_sub(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_within_a_line_keeps_its_balance() {
        let mut line = KindCounts {
            generated: 9,
            submitted: 9,
            ..KindCounts::zero(Kind::Exec)
        };
        line.hold_back(2);
        line.lose_submitted(LossCause::Reader, 3);
        line.lose_submitted(LossCause::Reader, 30);
        assert!(line.balances(), "{line:?}");
        assert_eq!((line.filtered, line.submitted, line.lost), (2, 0, 7));
        let twice = line;
        line.add(&twice);
        assert!(line.balances() && line.lost_by.reader == 14, "{line:?}");
    }

    #[test]
    fn a_cause_that_says_more_than_was_lost_is_no_balance() {
        let mut line = KindCounts {
            generated: 1,
            lost: 1,
            ..KindCounts::zero(Kind::Exec)
        };
        assert!(line.balances(), "a cause need not be known");
        line.lost_by.shed = 2;
        assert!(!line.balances());
    }

    #[test]
    fn losses_are_said_with_their_causes() {
        let mut line = KindCounts::zero(Kind::Exec);
        assert_eq!(line.lost_words(), "0");
        line.lose(LossCause::Reader, 1);
        line.lose(LossCause::Ring, 2);
        line.lost += 1;
        assert_eq!(line.lost_words(), "4 (ring 2, reader 1)");
    }
}
