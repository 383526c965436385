//! Which forks say nothing that another event does not say.
//!
//! A program that is started is a fork and an exec, a moment apart. The exec has the process, its parent and its beginning, so
//! where both come together the fork is told by it.
//!
//! # Invariants
//!
//! - A fork is told by an exec only of the very child, and only where the exec's parent is who forked: of a child that was given to
//!   another, both are told.
//! - The fork comes before the exec.

use picket_event::{Detail, Event, Kind, ProcessUid};

use crate::pipeline::Boxed;

/// The programs that were started in one message of a sensor, each with its parent; sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Started(Vec<(ProcessUid, ProcessUid)>);

impl Started {
    pub(super) fn among(events: &[Boxed]) -> Self {
        let started = events.iter().filter(|event| event.kind == Kind::Exec);
        let named = started.filter_map(|event| {
            let process = event.process.as_ref()?;
            Some((process.uid, process.parent_uid?))
        });
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        Self(named)
    }

    /// Whether one of them says what this event says. Asked in the order of the events.
    pub(super) fn tells(&self, event: &Event) -> bool {
        match (&event.detail, &event.process) {
            (Some(Detail::Fork(fork)), Some(process)) => {
                self.0.binary_search(&(fork.child_uid, process.uid)).is_ok()
            }
            _ => false,
        }
    }
}
