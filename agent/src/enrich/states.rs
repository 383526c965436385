//! The states of the files that events speak of, all that came at once.

use picket_event::{Event, ProcessUid};
use picket_sensor::FileKey;

/// What the sensor knows of files beside its events. Each list is sorted by its first.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileStates {
    /// Of executables, by the process that was started.
    executables: Vec<(ProcessUid, FileKey)>,
    /// Of files that were written, by the moment of the event and the inode.
    written: Vec<((u64, u64), FileKey)>,
}

impl FileStates {
    /// As a sensor gives them, in the order of time.
    pub(crate) fn new(
        mut executables: Vec<(ProcessUid, FileKey)>,
        written: Vec<(u64, FileKey)>,
    ) -> Self {
        executables.sort_by_key(|(uid, _)| *uid);
        let written = written.into_iter();
        let placed = written.map(|(boot_ns, key)| ((boot_ns, key.inode), key));
        let mut written: Vec<_> = placed.collect();
        written.sort_by_key(|(place, _)| *place);
        Self {
            executables,
            written,
        }
    }

    /// The executable of the process; of one that was started several times, the last.
    pub(super) fn of_program(&self, uid: ProcessUid) -> Option<FileKey> {
        last_of(&self.executables, &uid)
    }

    /// The state of the file that was written according to this event.
    pub(super) fn of_file(&self, event: &Event) -> Option<FileKey> {
        if self.written.is_empty() {
            return None;
        }
        last_of(&self.written, &place(event)?)
    }
}

fn last_of<K: Ord>(sorted: &[(K, FileKey)], wanted: &K) -> Option<FileKey> {
    let end = sorted.partition_point(|(key, _)| key <= wanted);
    let (key, found) = sorted.get(end.checked_sub(1)?)?;
    (key == wanted).then_some(*found)
}

fn place(event: &Event) -> Option<(u64, u64)> {
    Some((event.boot_ns, event.file()?.inode?))
}
