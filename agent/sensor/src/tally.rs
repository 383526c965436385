//! The ledger of a sensor that lives in user space.
//!
//! # Invariants
//!
//! - A fact is counted once its fate is decided, together with that fate. So each line balances at
//!   every moment, and what is still held back is not yet generated.

use std::collections::BTreeMap;

use picket_event::{Kind, KindCounts, LossCause};

/// One line per kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    lines: BTreeMap<Kind, KindCounts>,
}

impl Tally {
    /// A ledger with an empty line for each of these kinds.
    pub(crate) fn of(kinds: &[Kind]) -> Self {
        Self {
            lines: kinds
                .iter()
                .map(|kind| (*kind, KindCounts::zero(*kind)))
                .collect(),
        }
    }

    pub(crate) fn filtered(&mut self, kind: Kind) {
        self.filtered_many(kind, 1);
    }

    pub(crate) fn filtered_many(&mut self, kind: Kind, count: u64) {
        let line = self.generated(kind, count);
        line.filtered = line.filtered.saturating_add(count);
    }

    pub(crate) fn aggregated(&mut self, kind: Kind) {
        let line = self.generated(kind, 1);
        line.aggregated = line.aggregated.saturating_add(1);
    }

    pub(crate) fn submitted(&mut self, kind: Kind) {
        let line = self.generated(kind, 1);
        line.submitted = line.submitted.saturating_add(1);
    }

    pub(crate) fn lost(&mut self, kind: Kind, count: u64) {
        let line = self.generated(kind, count);
        line.lost = line.lost.saturating_add(count);
    }

    /// As [`Tally::lost`], with the cause known.
    pub(crate) fn lost_by(&mut self, kind: Kind, cause: LossCause, count: u64) {
        self.generated(kind, count).lose(cause, count);
    }

    /// The ledger.
    pub(crate) fn lines(&self) -> Vec<KindCounts> {
        self.lines.values().copied().collect()
    }

    fn generated(&mut self, kind: Kind, count: u64) -> &mut KindCounts {
        let line = self
            .lines
            .entry(kind)
            .or_insert_with(|| KindCounts::zero(kind));
        line.generated = line.generated.saturating_add(count);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_balances_after_every_step() {
        let mut tally = Tally::of(&[Kind::Exec]);
        tally.submitted(Kind::Exec);
        tally.lost(Kind::Exec, 3);
        tally.filtered(Kind::Login);
        tally.aggregated(Kind::Login);
        assert!(tally.lines().iter().all(KindCounts::balances));
        let generated: Vec<u64> = tally.lines().iter().map(|line| line.generated).collect();
        assert_eq!(generated, [4, 2]);
    }
}
