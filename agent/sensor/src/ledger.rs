//! The sensor's ledger: what was generated, and what became of it.
//!
//! # Invariants
//!
//! - For each kind: `generated = filtered + aggregated + submitted + lost`.
//! - Counts only grow, but `submitted`, from which user space takes what it filters or cannot read.

use std::collections::BTreeMap;

use picket_event::{Kind, KindCounts, LossCause};

/// What user space did with records that the kernel had submitted.
#[derive(Clone, Debug, Default)]
pub struct Afterwards {
    filtered: BTreeMap<Kind, u64>,
    lost: BTreeMap<Kind, u64>,
}

impl Afterwards {
    /// One submitted record turned out not to be wanted.
    pub fn filter(&mut self, kind: Kind) {
        let count = self.filtered.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// One submitted record could not be made an event.
    pub fn lose(&mut self, kind: Kind) {
        let count = self.lost.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// Moves these from submitted to where they belong.
    pub fn apply(&self, counts: &mut KindCounts) {
        let filtered = self.filtered.get(&counts.kind).copied().unwrap_or(0);
        let lost = self.lost.get(&counts.kind).copied().unwrap_or(0);
        counts.hold_back(filtered);
        counts.lose_submitted(LossCause::Reader, lost);
    }
}

/// Notices when more was lost than at the last look.
#[derive(Clone, Debug, Default)]
pub struct LossWatch {
    lost: u64,
}

impl LossWatch {
    /// Whether any of these counts lost more than at the last call.
    pub fn grew(&mut self, counts: &[KindCounts]) -> bool {
        let lost = counts
            .iter()
            .map(|line| line.lost)
            .fold(0, u64::saturating_add);
        let grew = lost > self.lost;
        self.lost = self.lost.max(lost);
        grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_user_space_takes_out_keeps_the_balance() {
        let mut counts = KindCounts {
            generated: 10,
            filtered: 2,
            submitted: 7,
            lost: 1,
            ..KindCounts::zero(Kind::FileOpen)
        };
        let mut afterwards = Afterwards::default();
        afterwards.filter(Kind::FileOpen);
        afterwards.lose(Kind::FileOpen);
        afterwards.lose(Kind::Exec);
        afterwards.apply(&mut counts);
        assert!(counts.balances());
        assert_eq!((counts.filtered, counts.submitted, counts.lost), (3, 5, 2));
        assert_eq!(counts.lost_by.reader, 1);
    }

    #[test]
    fn a_loss_is_noticed_once() {
        let mut watch = LossWatch::default();
        let lossy = [KindCounts {
            lost: 3,
            ..KindCounts::zero(Kind::Exec)
        }];
        assert!(watch.grew(&lossy));
        assert!(!watch.grew(&lossy));
    }
}
