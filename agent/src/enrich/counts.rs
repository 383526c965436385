//! What became of events in the agent itself, by kind.
//!
//! What stays true: each count only grows.

use std::collections::BTreeMap;

use picket_event::Kind;

/// The agent's own part of the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Left out: its own doings, and what was only to be looked at.
    pub(crate) filtered: BTreeMap<Kind, u64>,
    /// Told by another event.
    pub(crate) aggregated: BTreeMap<Kind, u64>,
    /// Made here.
    pub(crate) derived: BTreeMap<Kind, u64>,
}

/// One more of this kind.
pub(super) fn count(counts: &mut BTreeMap<Kind, u64>, kind: Kind) {
    let count = counts.entry(kind).or_default();
    *count = count.saturating_add(1);
}
