//! Which written files are hashed: what can still be there, within a budget.
//!
//! # Invariants
//!
//! - A file of which the same batch says that it was changed, renamed or removed later is not looked for:
//!   its event says `raced` or `gone`.
//! - A file that is created empty needs no reading: the hash of nothing is known.
//! - Within any second at most the burst and the rate of [`Limits`] are read; what is beyond says `late`.

use foldhash::HashSet;
use picket_event::{Event, HashStatus, Kind, Source, Text};
use picket_sensor::FileKey;

use super::FileStates;
use crate::pipeline::Boxed;

/// How much is read of written files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    /// Larger files are not hashed; 0: no written file is.
    pub(crate) file_bytes: u64,
    /// Bytes in a second, of all files together.
    pub(crate) bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 32 << 20,
            bytes_per_second: 32 << 20,
        }
    }
}

/// What must be read to know the hash of the file that an event speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    /// Nothing: the file is empty.
    Empty,
    /// The file in this state.
    State(FileKey),
    /// What the new name stands for.
    NewName,
}

/// `None` if the event is not one that gets the hash of a file.
pub(super) fn wish(event: &Event, key: Option<FileKey>) -> Option<Wish> {
    let file = event.file().filter(|_| event.source == Source::Ebpf)?;
    match event.kind {
        Kind::FileRename if file.new_path.as_bytes().starts_with(b"/") => Some(Wish::NewName),
        Kind::FileCreate | Kind::FileModify => {
            let key = key.filter(|_| file.mode.is_some_and(is_regular))?;
            let empty = event.kind == Kind::FileCreate && key.size == 0;
            Some(if empty { Wish::Empty } else { Wish::State(key) })
        }
        _ => None,
    }
}

const fn is_regular(mode: u32) -> bool {
    mode & 0o170_000 == 0o100_000
}

/// The name under which the file of an event is after it.
pub(super) fn name_after(event: &Event) -> Text {
    let file = event.file();
    let name = file.map(|file| match event.kind {
        Kind::FileRename => &file.new_path,
        _ => &file.path,
    });
    name.cloned().unwrap_or(Text::NONE)
}

/// What the later events of a batch say became of the files of the earlier ones, by place in the batch.
pub(super) fn fates(events: &[Boxed], states: &FileStates) -> Vec<Option<HashStatus>> {
    let mut later = Later::default();
    let backwards = events.iter().rev().map(|event| {
        let key = states.of_file(event);
        let fate = later.fate(event, key);
        later.note(event, key);
        fate
    });
    let mut fates: Vec<_> = backwards.collect();
    fates.reverse();
    fates
}

/// What is known to happen later.
#[derive(Default)]
struct Later<'a> {
    /// Names that stood for something else, or nothing, afterwards; each in its mount namespace.
    left: HashSet<(Option<u32>, &'a [u8])>,
    changed: HashSet<(u64, u64)>,
}

impl<'a> Later<'a> {
    fn fate(&self, event: &Event, key: Option<FileKey>) -> Option<HashStatus> {
        let file = event.file()?;
        let name = match event.kind {
            Kind::FileCreate | Kind::FileModify => &file.path,
            Kind::FileRename => &file.new_path,
            _ => return None,
        };
        if self.left.contains(&(mounts(event), name.as_bytes())) {
            return Some(HashStatus::Gone);
        }
        let changed = key.is_some_and(|key| self.changed.contains(&(key.dev, key.inode)));
        changed.then_some(HashStatus::Raced)
    }

    fn note(&mut self, event: &'a Event, key: Option<FileKey>) {
        let Some(file) = event.file() else {
            return;
        };
        let mounts = mounts(event);
        match event.kind {
            Kind::FileDelete => {
                self.left.insert((mounts, file.path.as_bytes()));
            }
            Kind::FileRename => {
                self.left.insert((mounts, file.path.as_bytes()));
                self.left.insert((mounts, file.new_path.as_bytes()));
            }
            Kind::FileModify => self.changed.extend(key.map(|key| (key.dev, key.inode))),
            _ => {}
        }
    }
}

/// A name means something only within this.
fn mounts(event: &Event) -> Option<u32> {
    event.process.as_ref()?.ns.map(|ns| ns.mnt)
}

/// What may still be read in this second.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    left: u64,
    filled_ns: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            left: Self::burst(limits),
            filled_ns: 0,
        }
    }

    pub(super) const fn file_bytes(&self) -> u64 {
        self.limits.file_bytes
    }

    /// Takes what reading a file of this size costs, if it is there.
    pub(super) fn afford(&mut self, bytes: u64, now_ns: u64) -> bool {
        self.fill(now_ns);
        let cost = bytes.max(LEAST_COST);
        let affordable = cost <= self.left;
        if affordable {
            self.left = self.left.saturating_sub(cost);
        }
        affordable
    }

    /// Takes what was read beyond what was foreseen.
    pub(super) const fn charge(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    fn fill(&mut self, now_ns: u64) {
        let passed = u128::from(now_ns.saturating_sub(self.filled_ns));
        let gained = passed * u128::from(self.limits.bytes_per_second) / 1_000_000_000;
        if gained > 0 {
            self.filled_ns = now_ns;
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            let most = Self::burst(self.limits);
            self.left = self.left.saturating_add(gained).min(most);
        }
    }

    /// The largest file must be affordable now and then.
    fn burst(limits: Limits) -> u64 {
        let largest = limits.file_bytes.max(limits.bytes_per_second);
        if limits.bytes_per_second == 0 {
            0
        } else {
            largest
        }
    }
}

/// Opening and closing a file costs as much as reading this much of it.
const LEAST_COST: u64 = 4 << 10;

#[cfg(test)]
mod tests;
