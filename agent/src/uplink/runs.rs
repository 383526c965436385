//! The runs before this one, and of which of them the collector has everything.
//!
//! # Invariants
//!
//! - What a collector misses of a run that it once had whole is its own loss, and is told as that.
//! - The next run hears only of runs that were not whole, beside the last one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_event::StreamId;
use picket_event::batch::PreviousStream;

use crate::failure::chain;
use crate::state::{StateDir, stream};

/// The oldest first.
#[derive(Debug)]
pub(crate) struct Runs {
    state: Arc<StateDir>,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    ended: PreviousStream,
    whole: bool,
}

impl Runs {
    /// As they ended; of none it is known yet that the collector has it whole.
    pub(crate) fn new(state: Arc<StateDir>, runs: Vec<PreviousStream>) -> Self {
        let known = runs.into_iter().map(|ended| Known {
            ended,
            whole: false,
        });
        Self {
            state,
            known: Mutex::new(known.collect()),
        }
    }

    /// How each ended.
    pub(super) fn ended(&self) -> Vec<PreviousStream> {
        let known = self.known();
        known.iter().map(|run| run.ended.clone()).collect()
    }

    /// Whether a collector once had all of it.
    pub(super) fn was_whole(&self, stream: StreamId) -> bool {
        let known = self.known();
        known
            .iter()
            .any(|run| run.ended.stream == stream && run.whole)
    }

    /// The collector has all of these, or knows what of them is lost.
    pub(super) fn note_whole(&self, whole: &[StreamId]) {
        let mut known = self.known();
        let new = known
            .iter_mut()
            .filter(|run| !run.whole && whole.contains(&run.ended.stream));
        let mut changed = false;
        for run in new {
            run.whole = true;
            changed = true;
        }
        if !changed {
            return;
        }
        let open = known.iter().filter(|run| !run.whole);
        let open: Vec<PreviousStream> = open.map(|run| run.ended.clone()).collect();
        drop(known);
        if let Err(error) = stream::write_earlier(&self.state, &open) {
            tracing::warn!(reason = chain(&error), "earlier runs not kept");
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_collector_has_whole_is_not_kept_for_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(StateDir::open(dir.path()).unwrap());
        let run = |number: u8| PreviousStream {
            stream: StreamId::new([number; 16]),
            heads: Vec::new(),
            clean: true,
        };
        let runs = Runs::new(Arc::clone(&state), vec![run(1), run(2)]);
        runs.note_whole(&[StreamId::new([7; 16])]);
        assert_eq!(stream::read_earlier(&state).unwrap(), []);
        runs.note_whole(&[StreamId::new([1; 16])]);
        assert_eq!(stream::read_earlier(&state).unwrap(), [run(2)]);
        assert_eq!(runs.ended(), [run(1), run(2)]);
        let whole = |number| runs.was_whole(StreamId::new([number; 16]));
        assert!(whole(1) && !whole(2));
    }
}
