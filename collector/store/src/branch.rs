//! By which branch of a host's event keys a batch was signed, and which branch may go on where another wrote.
//!
//! Where one event key vouched for two, the keys of a host branch off. The first branch is [`TRUNK`]; others are numbered by
//! whoever keeps the keys. The store only keeps them apart.
//!
//! # Invariants
//!
//! - A run belongs to one branch: a batch of another one never continues it, but for what both share.
//! - What stands in the log does not change with what people decide about a branch.

use std::collections::HashMap;
use std::sync::Arc;

use picket_event::{Class, HostId, StreamId};

use crate::{ChainKey, StoredEvent};

/// The first branch of every host.
pub const TRUNK: u32 = 0;

/// A branch and the branches that it came out of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lineage {
    /// Its number.
    pub branch: u32,
    /// Each branch before it, with the last epoch that it shares with that one.
    pub past: Vec<(u32, u64)>,
}

/// Who signed a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SignedBy {
    /// Which branch of the host's event keys.
    pub branch: u32,
    /// In which epoch.
    pub epoch: u64,
}

/// Some numbers of a chain that one key signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SignedSpan {
    /// Of which chain.
    pub key: ChainKey,
    /// The first number.
    pub first: u64,
    /// The number behind the last.
    pub end: u64,
    /// Who signed them.
    pub by: SignedBy,
}

/// Which events a search wants by who signed them.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    only: bool,
    spans: Arc<HashMap<ChainOfHost, Vec<(u64, u64)>>>,
}

type ChainOfHost = (HostId, StreamId, Class);

impl Lineage {
    /// The first branch, which came out of none.
    pub const fn trunk() -> Self {
        Self {
            branch: TRUNK,
            past: Vec::new(),
        }
    }

    /// Whether what `by` signed is of this branch or of its past.
    pub fn holds(&self, by: SignedBy) -> bool {
        let shared = |(branch, last): &(u32, u64)| *branch == by.branch && by.epoch <= *last;
        by.branch == self.branch || self.past.iter().any(shared)
    }
}

impl Marks {
    /// Wants what is in these spans, or what is not.
    pub fn new(only: bool, spans: impl IntoIterator<Item = (HostId, SignedSpan)>) -> Self {
        let mut marked: HashMap<ChainOfHost, Vec<(u64, u64)>> = HashMap::new();
        for (host, span) in spans {
            let key = (host, span.key.stream, span.key.class);
            marked.entry(key).or_default().push((span.first, span.end));
        }
        Self {
            only,
            spans: Arc::new(marked),
        }
    }

    pub(crate) fn want(&self, stored: &StoredEvent) -> bool {
        let seq = stored.event.seq;
        let spans = self.spans.get(&(stored.host, stored.stream, stored.class));
        let holds = |(first, end): &(u64, u64)| (*first..*end).contains(&seq);
        spans.is_some_and(|spans| spans.iter().any(holds)) == self.only
    }
}

/// Who signed a chain, in the order of its numbers.
#[derive(Debug, Default)]
pub(crate) struct Signers(Vec<(u64, SignedBy)>);

impl Signers {
    /// The batch at this number was signed by this one.
    pub(crate) fn note(&mut self, seq_first: u64, by: SignedBy) {
        if self.0.last().is_none_or(|(_, last)| *last != by) {
            self.0.push((seq_first, by));
        }
    }

    /// Who signed this number, which is in the chain.
    pub(crate) fn of(&self, seq: u64) -> Option<SignedBy> {
        let behind = self.0.partition_point(|(first, _)| *first <= seq);
        let at = behind.checked_sub(1)?;
        self.0.get(at).map(|(_, by)| *by)
    }

    /// Who signed last.
    pub(crate) fn last(&self) -> Option<SignedBy> {
        self.0.last().map(|(_, by)| *by)
    }

    /// Whether a branch may go on here.
    pub(crate) fn all_in(&self, lineage: &Lineage) -> bool {
        self.0.iter().all(|(_, by)| lineage.holds(*by))
    }

    /// Whether this branch itself signed something here.
    pub(crate) fn any_of(&self, branch: u32) -> bool {
        self.0.iter().any(|(_, by)| by.branch == branch)
    }

    /// What each signed, up to the chain's next number.
    pub(crate) fn spans(&self, key: ChainKey, next_seq: u64) -> impl Iterator<Item = SignedSpan> {
        let ends = self.0.iter().skip(1).map(|(first, _)| *first);
        let ends = ends.chain([next_seq]);
        self.0
            .iter()
            .zip(ends)
            .map(move |((first, by), end)| SignedSpan {
                key,
                first: *first,
                end,
                by: *by,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn by(branch: u32, epoch: u64) -> SignedBy {
        SignedBy { branch, epoch }
    }

    #[test]
    fn a_branch_holds_what_it_shares_and_nothing_later() {
        let lineage = Lineage {
            branch: 2,
            past: vec![(1, 7), (TRUNK, 5)],
        };
        assert!(lineage.holds(by(2, 100)) && lineage.holds(by(1, 7)));
        assert!(lineage.holds(by(TRUNK, 5)));
        assert!(!lineage.holds(by(1, 8)) && !lineage.holds(by(TRUNK, 6)));
        assert!(!lineage.holds(by(3, 0)));
        assert!(!Lineage::trunk().holds(by(2, 0)));
    }

    #[test]
    fn who_signed_a_number_is_known_of_each() {
        let key = ChainKey {
            stream: StreamId::new([1; 16]),
            class: Class::Bulk,
        };
        let mut signers = Signers::default();
        for (seq, branch, epoch) in [(0, 0, 1), (5, 0, 1), (9, 0, 2), (12, 1, 3)] {
            signers.note(seq, by(branch, epoch));
        }
        assert_eq!(signers.of(8), Some(by(0, 1)));
        assert_eq!(signers.of(9), Some(by(0, 2)));
        assert_eq!(signers.of(40), Some(by(1, 3)));
        assert_eq!(Signers::default().of(0), None);
        let spans: Vec<_> = signers.spans(key, 20).collect();
        let ends: Vec<_> = spans.iter().map(|span| (span.first, span.end)).collect();
        assert_eq!(ends, [(0, 9), (9, 12), (12, 20)]);
    }
}
