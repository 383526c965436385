//! The states of the files that a message of events speaks of.

use std::collections::HashMap;

use picket_event::{Event, Kind, ProcessUid};
use picket_sensor::FileKey;

/// What the sensor knows of files beside its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileStates {
    /// Of executables, by the process that was started.
    pub(super) executables: HashMap<ProcessUid, FileKey>,
    /// Of files that were written, by the moment of the event and the inode.
    written: HashMap<(u64, u64), FileKey>,
}

impl FileStates {
    /// As a sensor gives them.
    pub(crate) fn new(
        executables: Vec<(ProcessUid, FileKey)>,
        written: Vec<(u64, FileKey)>,
    ) -> Self {
        Self {
            executables: executables.into_iter().collect(),
            written: written
                .into_iter()
                .map(|(boot_ns, key)| ((boot_ns, key.inode), key))
                .collect(),
        }
    }

    /// Takes out what belongs to these events.
    pub(crate) fn split(&mut self, events: &[Event]) -> Self {
        let mut of_events = Self::default();
        for event in events {
            if let Some(place) = place(event)
                && let Some(key) = self.written.remove(&place)
            {
                of_events.written.insert(place, key);
            }
            if event.kind != Kind::Exec {
                continue;
            }
            let process = event.process.as_ref().map(|process| process.uid);
            if let Some((uid, key)) = process.and_then(|uid| self.executables.get_key_value(&uid)) {
                of_events.executables.insert(*uid, *key);
            }
        }
        of_events
    }

    /// The state of the file that was written according to this event.
    pub(super) fn of_file(&self, event: &Event) -> Option<FileKey> {
        self.written.get(&place(event)?).copied()
    }
}

fn place(event: &Event) -> Option<(u64, u64)> {
    Some((event.boot_ns, event.file()?.inode?))
}
