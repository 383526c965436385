//! What was read and waits a moment for the records of audit.
//!
//! # Invariants
//!
//! - Batches leave in the order in which they came.
//! - When [`MOST_MESSAGES`] messages wait, the oldest batches wait no longer.

use std::collections::{HashMap, VecDeque};

use super::connector::{Message, What};
use super::facts::Facts;
use super::files::Waiting;

/// What one look at the kernel's queues gave.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// What `/proc` told of execs then, by their place among the messages.
    pub(super) facts: HashMap<usize, Facts>,
    pub(super) files: Waiting,
    /// When it was read, since boot.
    pub(super) read_ns: u64,
}

/// The batches that wait.
#[derive(Debug, Default)]
pub(super) struct Held {
    batches: VecDeque<Batch>,
    messages: usize,
}

impl Batch {
    /// The processes that ran a program, each as often as it did.
    pub(super) fn execs(&self) -> impl Iterator<Item = u32> {
        self.messages
            .iter()
            .filter_map(|message| match &message.what {
                What::Exec(task) => Some(task.pid),
                _ => None,
            })
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.files.is_empty()
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn push(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.messages = self.messages.saturating_add(batch.messages.len());
            self.batches.push_back(batch);
        }
    }

    /// The oldest batch, if it need not wait any longer.
    pub(super) fn pop(&mut self, is_ripe: impl FnOnce(&Batch) -> bool) -> Option<Batch> {
        let first = self.batches.front()?;
        if self.messages <= MOST_MESSAGES && !is_ripe(first) {
            return None;
        }
        let first = self.batches.pop_front()?;
        self.messages = self.messages.saturating_sub(first.messages.len());
        Some(first)
    }
}

const MOST_MESSAGES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::super::connector::Task;
    use super::*;

    fn batch(pids: std::ops::Range<u32>) -> Batch {
        let message = |pid| Message {
            cpu: 0,
            sequence: 0,
            monotonic_ns: 0,
            what: What::Exec(Task { tid: pid, pid }),
        };
        Batch {
            messages: pids.map(message).collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn a_younger_batch_never_overtakes_an_older_one() {
        let mut held = Held::default();
        held.push(batch(1..2));
        held.push(batch(2..3));
        let is_young = |batch: &Batch| batch.execs().eq([2]);
        assert!(held.pop(is_young).is_none());
        assert!(held.pop(|_| true).unwrap().execs().eq([1]));
        assert!(held.pop(is_young).unwrap().execs().eq([2]));
        assert!(held.is_empty());
    }

    #[test]
    fn what_is_too_much_waits_no_longer_and_nothing_is_not_held() {
        let mut held = Held::default();
        held.push(Batch::default());
        assert!(held.is_empty());
        held.push(batch(0..65_000));
        assert!(held.pop(|_| false).is_none());
        held.push(batch(0..1_000));
        assert!(held.pop(|_| false).is_some());
        assert!(held.pop(|_| false).is_none());
    }
}
