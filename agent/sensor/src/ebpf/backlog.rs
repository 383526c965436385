//! Records that were taken out of the rings before anybody could take the events: as the kernel wrote them, pass by pass.
//!
//! A storm is short and the rings are small; what is held here costs a third of what the events would, and only while it lasts.
//!
//! # Invariants
//!
//! - What came in first goes out first, and each pass is complete up to its cut, as a look at the rings is.
//! - At most [`MOST_BYTES`] are held, and what came with the pass that reached them.

use std::collections::VecDeque;

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    passes: VecDeque<Pass>,
    bytes: usize,
    open: Vec<u8>,
}

/// What one look at both rings gave.
#[derive(Debug)]
pub(super) struct Pass {
    records: Vec<u8>,
    /// Nanoseconds since boot: every record that is older came with this pass or before it.
    pub(super) cut: u64,
}

impl Backlog {
    /// Takes one record of the pass that is under way.
    pub(super) fn hold(&mut self, record: &[u8]) {
        let before = self.open.capacity();
        self.open.extend_from_slice(record);
        let grown = self.open.capacity().saturating_sub(before);
        self.bytes = self.bytes.saturating_add(grown);
    }

    /// Ends the pass.
    pub(super) fn end_pass(&mut self, cut: u64) {
        if self.open.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.open);
        self.passes.push_back(Pass { records, cut });
    }

    /// The oldest pass.
    pub(super) fn next(&mut self) -> Option<Pass> {
        let pass = self.passes.pop_front()?;
        self.bytes = self.bytes.saturating_sub(pass.records.capacity());
        Some(pass)
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// Whether it takes no more.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }
}

impl Pass {
    /// Its records, one by one. What is too short to say its own length comes last, as it is.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.records.as_slice();
        std::iter::from_fn(move || {
            let length = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            let length = length.and_then(|length| usize::try_from(length).ok());
            let whole = length.filter(|length| (1..=rest.len()).contains(length));
            let (record, others) = rest.split_at_checked(whole.unwrap_or(rest.len()))?;
            rest = others;
            (!record.is_empty()).then_some(record)
        })
    }
}

/// How much may be held: some 50,000 changes of files.
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u32, filling: u8) -> Vec<u8> {
        let mut record = length.to_ne_bytes().to_vec();
        record.resize(usize::try_from(length).unwrap(), filling);
        record
    }

    #[test]
    fn passes_go_out_in_the_order_in_which_they_came_with_their_records() {
        let mut backlog = Backlog::default();
        backlog.end_pass(1);
        assert!(backlog.is_empty());
        backlog.hold(&record(40, 1));
        backlog.hold(&record(60, 2));
        backlog.end_pass(5);
        backlog.hold(&record(44, 3));
        backlog.end_pass(9);
        let first = backlog.next().unwrap();
        assert_eq!(first.cut, 5);
        let records: Vec<&[u8]> = first.records().collect();
        assert_eq!(records, [record(40, 1), record(60, 2)]);
        let second = backlog.next().unwrap();
        assert_eq!((second.cut, second.records().count()), (9, 1));
        assert!(backlog.next().is_none() && backlog.bytes == 0);
    }

    #[test]
    fn it_says_when_it_is_full_and_has_room_again_when_passes_have_gone() {
        let mut backlog = Backlog::default();
        let large = record(1 << 20, 0);
        let mut held = 0;
        while !backlog.is_full() {
            backlog.hold(&large);
            backlog.end_pass(held);
            held += 1;
        }
        assert_eq!(held, 16);
        assert!(backlog.next().is_some() && !backlog.is_full());
    }

    #[test]
    fn records_that_lie_about_their_length_end_the_pass_and_are_given_as_they_are() {
        for bytes in [vec![9, 9], record(8, 0)[..6].to_vec(), vec![0; 12]] {
            let pass = Pass {
                records: [record(40, 1), bytes.clone()].concat(),
                cut: 0,
            };
            let records: Vec<&[u8]> = pass.records().collect();
            assert_eq!(records, [record(40, 1), bytes]);
        }
    }
}
