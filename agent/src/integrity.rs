//! What important files were when they were last looked at, so that a change has a before as well as an
//! after, and what changed while nobody was looking is found out.
//!
//! ```text
//! events that leave enrich -> Baseline <- Keeper, a thread of its own: reads files, finds out, keeps
//! ```
//!
//! # Invariants
//!
//! - A `sha256_before` is that of the content that an earlier look or an earlier event told, or it is absent.
//! - What an event told is not told again: the keeper only looks the file up after it.
//! - The baseline holds at most [`MAX_FILES`] files; the thread reads at most [`keeper::BYTES_PER_SECOND`].
//! - A damaged baseline is set aside and said to be so; what is built then tells of no change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use picket_event::{Event, File, HashStatus, Kind, Source, Text, UnixNanos};
use picket_seal::Digest;
use picket_sensor::FileKey;

use crate::enrich::lookup::shares_mounts;

mod disk;
pub(crate) mod keeper;
pub(crate) mod set;

use set::Set;

/// Files that are remembered.
pub(crate) const MAX_FILES: usize = 20_000;
/// Files that wait to be looked at again; when there are more, all are.
const MAX_AGAIN: usize = 4_096;

/// The baseline, shared by the path and the keeper.
pub(crate) type SharedBaseline = Arc<Mutex<Baseline>>;

/// What is known of one file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Known {
    /// The state in which it was read; `None`: an event has changed it since.
    state: Option<FileKey>,
    /// `None`: not known, or too large.
    sha256: Option<Digest>,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    set: Arc<Set>,
    files: HashMap<Text, Known>,
    /// Each with whether an event told of it.
    again: VecDeque<(Text, bool)>,
    all_again: bool,
    dirty: bool,
    /// When it was complete for the first time; `None`: it is being built.
    built: Option<UnixNanos>,
}

impl Baseline {
    /// Of these files, nothing known yet.
    pub(crate) fn new(set: Set) -> SharedBaseline {
        Arc::new(Mutex::new(Self {
            set: Arc::new(set),
            ..Self::default()
        }))
    }

    /// Takes in what an event says about a file, and tells it what was before.
    fn note(&mut self, event: &mut Event) {
        let shared = event.process.as_ref().is_none_or(shares_mounts);
        let kind = event.kind;
        let Some(picket_event::Detail::File(file)) = &mut event.detail else {
            return;
        };
        let names = [&file.path, &file.new_path].map(|name| self.set.name(name));
        if names.iter().all(Option::is_none) {
            return;
        }
        if !shared {
            // The name may mean another file: only a look at our own tells.
            names
                .into_iter()
                .flatten()
                .for_each(|name| self.look_again(name, true));
            return;
        }
        match (kind, names) {
            (Kind::FileCreate | Kind::FileModify, [Some(path), _]) => self.written(path, file),
            (Kind::FileAttr, [Some(path), _]) => self.attributes(path, file),
            (Kind::FileDelete, [Some(path), _]) => self.removed(&path, file),
            (Kind::FileRename, [path, new_path]) => self.renamed(path, new_path, file),
            (Kind::FileLink, [_, Some(name)]) => self.look_again(name, true),
            _ => {}
        }
    }

    fn written(&mut self, path: Text, file: &mut File) {
        let before = self.files.get(&path);
        file.sha256_before = before.and_then(|known| known.sha256);
        self.put(path, file);
    }

    fn attributes(&mut self, path: Text, file: &mut File) {
        let Some(known) = self.files.get_mut(&path) else {
            return;
        };
        known.state = None;
        match file.change.as_str() {
            "mode" => {
                file.mode_before = file.mode_before.or(Some(known.mode));
                known.mode = file
                    .mode
                    .map_or(known.mode, |mode| with_type_of(known.mode, mode));
            }
            "owner" => {
                known.uid = file.owner_uid.unwrap_or(known.uid);
                known.gid = file.owner_gid.unwrap_or(known.gid);
            }
            "size" => {
                file.sha256_before = known.sha256;
                known.sha256 = None;
            }
            _ => {}
        }
        self.look_again(path, true);
    }

    fn removed(&mut self, path: &Text, file: &mut File) {
        file.sha256_before = self.take(path).and_then(|known| known.sha256);
    }

    /// Before is what the new name stood for, or else what was moved there.
    fn renamed(&mut self, path: Option<Text>, new_path: Option<Text>, file: &mut File) {
        let moved = path.and_then(|path| self.take(&path));
        let replaced = new_path.as_ref().and_then(|path| self.take(path));
        file.sha256_before = replaced.or(moved).and_then(|known| known.sha256);
        if let Some(path) = new_path {
            self.put(path, file);
        }
    }

    fn take(&mut self, path: &Text) -> Option<Known> {
        self.dirty = true;
        self.files.remove(path)
    }

    /// What an event said of a file, until it is looked at again.
    fn put(&mut self, path: Text, file: &File) {
        let is_file = file.mode.is_none_or(|mode| mode & 0o170_000 == 0o100_000);
        if !is_file {
            return;
        }
        let ok = file.hash_status == Some(HashStatus::Ok);
        let before = self.files.get(&path);
        let known = Known {
            state: None,
            sha256: file.sha256_after.filter(|_| ok),
            mode: file
                .mode
                .or_else(|| before.map(|known| known.mode))
                .unwrap_or(0),
            uid: before.map_or(0, |known| known.uid),
            gid: before.map_or(0, |known| known.gid),
        };
        self.insert(path.clone(), known);
        self.look_again(path, true);
    }

    fn insert(&mut self, path: Text, known: Known) -> bool {
        let room = self.files.len() < MAX_FILES || self.files.contains_key(&path);
        if room {
            self.dirty = true;
            self.files.insert(path, known);
        }
        room
    }

    fn look_again(&mut self, path: Text, told: bool) {
        self.dirty = true;
        if self.again.len() >= MAX_AGAIN {
            self.all_again = true;
        } else if !self.again.iter().any(|(waiting, _)| *waiting == path) {
            self.again.push_back((path, told));
        }
    }

    /// Settings may have changed since it was kept.
    fn forget_what_is_not_meant(&mut self) {
        let set = Arc::clone(&self.set);
        self.files
            .retain(|path, _| set.name(path).as_ref() == Some(path));
    }
}

const fn with_type_of(before: u32, mode: u32) -> u32 {
    if mode & 0o170_000 == 0 {
        before & 0o170_000 | mode
    } else {
        mode
    }
}

/// Tells an event that leaves what its file was before, and learns from it what it is now.
pub(crate) fn note(baseline: &SharedBaseline, event: &mut Event) {
    if event.kind.is_file() && event.source != Source::Agent {
        lock(baseline).note(event);
    }
}

fn lock(baseline: &SharedBaseline) -> std::sync::MutexGuard<'_, Baseline> {
    baseline.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
