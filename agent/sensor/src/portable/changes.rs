//! From single changes of files to events: writes between closings are one, both halves of a renaming
//! are one, and what a new folder held before it was watched is found.
//!
//! # Invariants
//!
//! - Each change is settled once: as an event or as part of one.
//! - At most [`MAX_DIRTY`] files are held back as written; beyond, the oldest is given early.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_event::{File, Kind, Text};

/// One change, as inotify tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Created {
        path: PathBuf,
        is_folder: bool,
    },
    Written {
        path: PathBuf,
    },
    /// Something that was open for writing was closed.
    Closed {
        path: PathBuf,
    },
    Removed {
        path: PathBuf,
        is_folder: bool,
    },
    MovedFrom {
        path: PathBuf,
        cookie: usize,
    },
    MovedTo {
        path: PathBuf,
        cookie: usize,
    },
    Opened {
        path: PathBuf,
    },
    /// The kernel dropped changes.
    Overflow,
}

impl Change {
    /// What it is counted as when it is lost.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Created { .. } => Kind::FileCreate,
            Self::Written { .. } | Self::Closed { .. } | Self::Overflow => Kind::FileModify,
            Self::Removed { .. } => Kind::FileDelete,
            Self::MovedFrom { .. } | Self::MovedTo { .. } => Kind::FileRename,
            Self::Opened { .. } => Kind::FileOpen,
        }
    }
}

/// What became of a change.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Settled {
    Event(Kind, Box<File>),
    Aggregated(Kind),
    /// A folder that is to be watched, and then listed by [`Changes::list`].
    NewFolder(PathBuf),
    Overflow,
}

/// The changes that are not complete yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    settled: Vec<Settled>,
    dirty: HashMap<PathBuf, Instant>,
    dirty_order: VecDeque<(Instant, PathBuf)>,
    moved: VecDeque<(Instant, usize, PathBuf)>,
    new_folders: VecDeque<(Instant, PathBuf)>,
    created: HashMap<PathBuf, Instant>,
    removed: HashMap<PathBuf, Instant>,
}

impl Changes {
    pub(super) fn take(&mut self, change: Change, now: Instant) {
        match change {
            Change::Created { path, is_folder } => self.create(path, is_folder, now),
            Change::Written { path } => self.write(path, now),
            Change::Closed { path } => self.close(&path),
            Change::Removed { path, is_folder } => self.remove(path, is_folder, now),
            Change::MovedFrom { path, cookie } => self.moved.push_back((now, cookie, path)),
            Change::MovedTo { path, cookie } => self.rename(path, cookie),
            Change::Opened { path } => self.give(Kind::FileOpen, &path),
            Change::Overflow => self.settled.push(Settled::Overflow),
        }
    }

    /// Settles what has waited long enough.
    pub(super) fn ripen(&mut self, now: Instant) {
        self.ripen_moved(|since| elapsed(since, now) >= HALF_RENAMED);
        self.ripen_dirty(|since| elapsed(since, now) >= STILL_OPEN);
        self.new_folders
            .retain(|(since, _)| elapsed(*since, now) < FRESH);
        self.created.retain(|_, since| elapsed(*since, now) < FRESH);
        self.removed.retain(|_, since| elapsed(*since, now) < FRESH);
    }

    /// Settles everything.
    pub(super) fn ripen_all(&mut self) {
        self.ripen_moved(|_| true);
        self.ripen_dirty(|_| true);
    }

    /// Takes what is settled.
    pub(super) fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// When the next change will have waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        let moved = self
            .moved
            .front()
            .map(|(since, ..)| after(*since, HALF_RENAMED));
        let dirty = self
            .dirty_order
            .front()
            .map(|(since, _)| after(*since, STILL_OPEN));
        moved.into_iter().chain(dirty).min()
    }

    /// Gives what lies in a new folder that is watched now: what was made in it before gave no event.
    pub(super) fn list(&mut self, folder: &Path, now: Instant) {
        for (path, is_folder) in entries(folder).into_iter().take(MAX_LISTED) {
            if !self.created.contains_key(&path) {
                self.create(path, is_folder, now);
            }
        }
    }

    fn create(&mut self, path: PathBuf, is_folder: bool, now: Instant) {
        self.removed.remove(&path);
        let in_new_folder = self
            .new_folders
            .iter()
            .any(|(_, folder)| path.starts_with(folder));
        if in_new_folder && self.created.insert(path.clone(), now).is_some() {
            self.settled.push(Settled::Aggregated(Kind::FileCreate));
            return;
        }
        self.give(Kind::FileCreate, &path);
        if is_folder {
            self.new_folders.push_back((now, path.clone()));
            self.settled.push(Settled::NewFolder(path));
        }
    }

    fn write(&mut self, path: PathBuf, now: Instant) {
        if self.dirty.contains_key(&path) {
            self.settled.push(Settled::Aggregated(Kind::FileModify));
            return;
        }
        self.dirty.insert(path.clone(), now);
        self.dirty_order.push_back((now, path));
        if self.dirty_order.len() > MAX_DIRTY {
            self.give_oldest_dirty();
        }
    }

    /// Closing what was not written to is nothing.
    fn close(&mut self, path: &Path) {
        if self.dirty.remove(path).is_some() {
            self.dirty_order.retain(|(_, other)| other != path);
            self.give(Kind::FileModify, path);
        }
    }

    /// A watched folder tells its own removal, and the folder around it tells it again.
    fn remove(&mut self, path: PathBuf, is_folder: bool, now: Instant) {
        if is_folder && self.removed.remove(&path).is_some() {
            self.settled.push(Settled::Aggregated(Kind::FileDelete));
            return;
        }
        self.close(&path);
        self.created.remove(&path);
        self.give(Kind::FileDelete, &path);
        if is_folder {
            self.removed.insert(path, now);
        }
    }

    fn rename(&mut self, path: PathBuf, cookie: usize) {
        let from = self.moved.iter().position(|(_, other, _)| *other == cookie);
        let from = from.and_then(|at| self.moved.remove(at));
        let from = from.map_or(Text::NONE, |(_, _, from)| text(&from));
        self.settled.push(renamed(from, text(&path)));
    }

    fn give(&mut self, kind: Kind, path: &Path) {
        let file = File {
            path: text(path),
            ..File::default()
        };
        self.settled.push(Settled::Event(kind, Box::new(file)));
    }

    /// Moved out of what is watched: nobody knows where to.
    fn ripen_moved(&mut self, ripe: impl Fn(Instant) -> bool) {
        while self.moved.front().is_some_and(|(since, ..)| ripe(*since)) {
            if let Some((_, _, from)) = self.moved.pop_front() {
                self.settled.push(renamed(text(&from), Text::NONE));
            }
        }
    }

    fn ripen_dirty(&mut self, ripe: impl Fn(Instant) -> bool) {
        while self
            .dirty_order
            .front()
            .is_some_and(|(since, _)| ripe(*since))
        {
            self.give_oldest_dirty();
        }
    }

    fn give_oldest_dirty(&mut self) {
        if let Some((_, path)) = self.dirty_order.pop_front() {
            self.dirty.remove(&path);
            self.give(Kind::FileModify, &path);
        }
    }
}

fn renamed(path: Text, new_path: Text) -> Settled {
    Settled::Event(
        Kind::FileRename,
        Box::new(File {
            path,
            new_path,
            ..File::default()
        }),
    )
}

/// What lies in a folder, and whether it is one itself; links are not followed.
fn entries(folder: &Path) -> Vec<(PathBuf, bool)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entry = |entry: fs::DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        (entry.path(), is_folder)
    };
    entries.filter_map(Result::ok).map(entry).collect()
}

fn text(path: &Path) -> Text {
    Text::from(path.as_os_str().as_bytes())
}

fn elapsed(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}

/// How long the second half of a renaming may take.
const HALF_RENAMED: Duration = Duration::from_millis(100);
/// How long a written file may stay open before its modification is told.
const STILL_OPEN: Duration = Duration::from_secs(1);
/// How long a folder counts as new.
const FRESH: Duration = Duration::from_secs(2);
const MAX_DIRTY: usize = 4_096;
const MAX_LISTED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(changes: &mut Changes) -> Vec<Kind> {
        let events = changes
            .settled()
            .into_iter()
            .filter_map(|settled| match settled {
                Settled::Event(kind, _) => Some(kind),
                _ => None,
            });
        events.collect()
    }

    #[test]
    fn writes_until_the_closing_are_one_modification() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        for _ in 0..5 {
            changes.take(Change::Written { path: "/a".into() }, now);
        }
        assert!(kinds(&mut changes).is_empty());
        changes.take(Change::Closed { path: "/a".into() }, now);
        changes.take(Change::Closed { path: "/a".into() }, now);
        assert_eq!(kinds(&mut changes), [Kind::FileModify]);
        assert_eq!(changes.due(), None);
    }

    #[test]
    fn a_file_that_stays_open_is_told_once_a_second() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.take(Change::Written { path: "/a".into() }, now);
        changes.ripen(now + STILL_OPEN);
        assert_eq!(kinds(&mut changes), [Kind::FileModify]);
    }

    #[test]
    fn both_halves_of_a_renaming_are_one_event_and_one_half_is_one_too() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.take(
            Change::MovedFrom {
                path: "/a".into(),
                cookie: 1,
            },
            now,
        );
        changes.take(
            Change::MovedFrom {
                path: "/x".into(),
                cookie: 2,
            },
            now,
        );
        changes.take(
            Change::MovedTo {
                path: "/b".into(),
                cookie: 1,
            },
            now,
        );
        changes.ripen(now + HALF_RENAMED);
        let expected = [
            renamed("/a".into(), "/b".into()),
            renamed("/x".into(), Text::NONE),
        ];
        assert_eq!(changes.settled(), expected);
    }

    #[test]
    fn what_a_new_folder_held_before_it_was_watched_is_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut changes, now) = (Changes::default(), Instant::now());
        let new = folder.path().join("new");
        fs::create_dir_all(new.join("deeper")).unwrap();
        fs::write(new.join("file"), b"").unwrap();
        changes.take(
            Change::Created {
                path: new.clone(),
                is_folder: true,
            },
            now,
        );
        assert!(changes.settled().contains(&Settled::NewFolder(new.clone())));
        changes.list(&new, now);
        let settled = changes.settled();
        assert!(settled.contains(&Settled::NewFolder(new.join("deeper"))));
        assert_eq!(settled.len(), 3, "{settled:?}");
        changes.take(
            Change::Created {
                path: new.join("file"),
                is_folder: false,
            },
            now,
        );
        assert_eq!(changes.settled(), [Settled::Aggregated(Kind::FileCreate)]);
    }

    #[test]
    fn a_file_written_and_removed_was_modified_first() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.take(Change::Written { path: "/a".into() }, now);
        changes.take(
            Change::Removed {
                path: "/a".into(),
                is_folder: false,
            },
            now,
        );
        assert_eq!(kinds(&mut changes), [Kind::FileModify, Kind::FileDelete]);
    }

    #[test]
    fn a_watched_folder_is_removed_once() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let removed = || Change::Removed {
            path: "/a".into(),
            is_folder: true,
        };
        changes.take(removed(), now);
        changes.take(removed(), now);
        assert_eq!(kinds(&mut changes), [Kind::FileDelete]);
        changes.take(
            Change::Created {
                path: "/a".into(),
                is_folder: true,
            },
            now,
        );
        changes.take(removed(), now);
        assert_eq!(kinds(&mut changes), [Kind::FileCreate, Kind::FileDelete]);
    }
}
