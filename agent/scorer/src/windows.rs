//! Change windows: while a package manager installs, what its tree does is new by nature.
//!
//! # Invariants
//!
//! - A window is opened only by a known package manager in a directory of the system, run by root on the
//!   host itself, with a verb that changes packages. It covers that process and its descendants, for at most
//!   [`LONGEST`], and what init starts from a file that the window wrote, for [`RESTART`].
//! - No more than [`MOST_A_DAY`] windows open in a day.
//! - Of fixed size.
//!
//! What a window changes is only whether somebody is told: everything in it is scored and learned, and all
//! that is not told is counted.

mod managers;
mod snapshot;

use picket_event::{Event, Kind, Process, ProcessUid, UnixNanos};

use crate::calendar::wall_day;
use crate::keys::Keys;

/// What is open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Windows {
    /// Newest last.
    trees: Vec<Tree>,
    /// Names of files that windows wrote, with when; a ring.
    written: Vec<(u64, i64)>,
    /// Where the ring goes on.
    next: usize,
    /// The day of `today`, and windows opened on it.
    day: i32,
    today: u32,
    counts: Changes,
}

/// What change windows have done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Windows opened.
    pub windows: u64,
    /// Windows that would have been too many for a day.
    pub refused: u64,
    /// Alerts that nobody was told about because of a window.
    pub untold: u64,
}

/// A tree that is covered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Tree {
    root: ProcessUid,
    /// Nanoseconds.
    until: i64,
    /// Whether it is a service that was started again, and no package manager.
    service: bool,
}

/// Why an event is in a window, for its explanation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Inside {
    /// The package manager's tree.
    Transaction,
    /// A service that was started from what it wrote.
    Restart,
}

impl Windows {
    /// Takes note of an event; whether it is in a window.
    pub(crate) fn step(&mut self, now: UnixNanos, event: &Event, keys: &Keys) -> Option<Inside> {
        let process = event.process.as_ref()?;
        if self.trees.is_empty() && event.kind != Kind::Exec {
            return None;
        }
        self.trees
            .retain(|tree| (now.0..=now.0.saturating_add(LONGEST)).contains(&tree.until));
        if event.kind == Kind::Exit {
            self.trees
                .retain(|tree| tree.service || tree.root != process.uid);
            return None;
        }
        let mut inside = self.covers(process);
        if inside.is_none() && event.kind == Kind::Exec {
            inside = self.open(now, process, keys);
        }
        if inside == Some(Inside::Transaction) {
            self.note_written(now, event, keys);
        }
        inside
    }

    /// Counts an alert that nobody is told about.
    pub(crate) const fn note_untold(&mut self) {
        self.counts.untold = self.counts.untold.saturating_add(1);
    }

    pub(crate) const fn changes(&self) -> Changes {
        self.counts
    }

    /// Bytes that it takes at most.
    pub(crate) const fn state_bytes() -> usize {
        MOST_TREES * size_of::<Tree>() + MOST_WRITTEN * size_of::<(u64, i64)>()
    }

    fn covers(&self, process: &Process) -> Option<Inside> {
        let within = |tree: &&Tree| {
            let mut line = process.ancestry.iter().map(|ancestor| ancestor.uid);
            tree.root == process.uid || line.any(|uid| uid == tree.root)
        };
        self.trees.iter().find(within).map(Tree::inside)
    }

    fn open(&mut self, now: UnixNanos, process: &Process, keys: &Keys) -> Option<Inside> {
        let tree = if managers::changes_packages(process) && self.may_open(now) {
            Tree {
                root: process.uid,
                until: now.0.saturating_add(LONGEST),
                service: false,
            }
        } else if self.was_written(now, process, keys) {
            Tree {
                root: process.uid,
                until: now.0.saturating_add(RESTART),
                service: true,
            }
        } else {
            return None;
        };
        if self.trees.len() >= MOST_TREES {
            self.trees.remove(0);
        }
        self.trees.push(tree);
        Some(tree.inside())
    }

    fn may_open(&mut self, now: UnixNanos) -> bool {
        let day = wall_day(now);
        if self.day != day {
            (self.day, self.today) = (day, 0);
        }
        let may = self.today < MOST_A_DAY;
        self.today += u32::from(may);
        self.counts.windows = self.counts.windows.saturating_add(u64::from(may));
        self.counts.refused = self.counts.refused.saturating_add(u64::from(!may));
        may
    }

    /// Whether init starts something that a window wrote of late.
    fn was_written(&self, now: UnixNanos, process: &Process, keys: &Keys) -> bool {
        let by_init = process
            .ancestry
            .first()
            .map_or(process.ppid == 1, |parent| parent.pid == 1);
        if !by_init || self.written.is_empty() || process.memfd {
            return false;
        }
        let name = keys.name(process.exe.as_bytes());
        let of_late = (now.0.saturating_sub(WRITTEN)..=now.0.saturating_add(WRITTEN)).clone();
        self.written
            .iter()
            .any(|(known, when)| *known == name && of_late.contains(when))
    }

    fn note_written(&mut self, now: UnixNanos, event: &Event, keys: &Keys) {
        let Some(file) = event.file() else { return };
        let path = match event.kind {
            Kind::FileRename if !file.new_path.is_empty() => file.new_path.as_bytes(),
            Kind::FileCreate | Kind::FileModify => file.path.as_bytes(),
            _ => return,
        };
        let entry = (keys.name(path), now.0);
        if self.written.len() < MOST_WRITTEN {
            self.written.push(entry);
        } else {
            self.written[self.next % MOST_WRITTEN] = entry;
            self.next = (self.next + 1) % MOST_WRITTEN;
        }
    }
}

impl Tree {
    const fn inside(&self) -> Inside {
        if self.service {
            Inside::Restart
        } else {
            Inside::Transaction
        }
    }
}

impl Inside {
    /// As explanations say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "what a package manager does",
            Self::Restart => "a service that was started anew from what a package manager wrote",
        }
    }
}

const MINUTE: i64 = 60_000_000_000;
/// Longest time that a window is open.
const LONGEST: i64 = 60 * MINUTE;
/// How long a service that was started anew is covered.
const RESTART: i64 = 2 * MINUTE;
/// How long after a file was written what init starts from it is taken for a restart.
const WRITTEN: i64 = 10 * MINUTE;
/// Windows in a day of the clock.
const MOST_A_DAY: u32 = 24;
/// Trees that are covered at a time: a hundred services may start anew at once.
const MOST_TREES: usize = 128;
/// Files remembered.
const MOST_WRITTEN: usize = 4_096;

#[cfg(test)]
mod tests {
    use picket_event::{Ancestor, Detail, File, Source, User};

    use super::*;

    const KEYS: Keys = Keys::new([8; 16]);

    fn event(kind: Kind, own: u8, ancestors: &[(u8, u32)], line: &str) -> Event {
        let mut process = Process::new(ProcessUid::new([own; 16]), u32::from(own) + 100);
        process.exe = line.split(' ').next().unwrap_or_default().into();
        process.argv = line.split(' ').map(Into::into).collect();
        process.user = Some(User {
            uid: 0,
            name: "root".into(),
        });
        let ancestor = |(uid, pid): &(u8, u32)| Ancestor {
            uid: ProcessUid::new([*uid; 16]),
            pid: *pid,
            exe: "/x".into(),
        };
        process.ancestry = ancestors.iter().map(ancestor).collect::<Vec<_>>().into();
        Event::new(kind, UnixNanos(0), Source::Replay).by(process)
    }

    fn at(minutes: i64) -> UnixNanos {
        UnixNanos(20_000 * 24 * 60 * MINUTE + minutes * MINUTE)
    }

    fn opened() -> Windows {
        let mut windows = Windows::default();
        let dpkg = event(Kind::Exec, 5, &[(4, 400)], "/usr/bin/dpkg --unpack x.deb");
        assert_eq!(windows.step(at(0), &dpkg, &KEYS), Some(Inside::Transaction));
        windows
    }

    #[test]
    fn a_window_covers_the_tree_and_nothing_beside_it() {
        let mut windows = opened();
        let script = event(Kind::Exec, 6, &[(5, 105), (4, 400)], "/bin/sh postinst");
        let beside = event(Kind::Exec, 7, &[(4, 400)], "/bin/sh x");
        assert!(windows.step(at(1), &script, &KEYS).is_some());
        assert_eq!(windows.step(at(1), &beside, &KEYS), None);
    }

    #[test]
    fn a_window_ends_with_its_process_and_after_an_hour() {
        let child = event(Kind::Exec, 6, &[(5, 105)], "/bin/sh postinst");
        let mut windows = opened();
        assert!(windows.step(at(59), &child, &KEYS).is_some());
        assert_eq!(windows.step(at(61), &child, &KEYS), None);
        let mut windows = opened();
        windows.step(at(1), &event(Kind::Exit, 5, &[], "/usr/bin/dpkg"), &KEYS);
        assert_eq!(windows.step(at(2), &child, &KEYS), None);
        let mut windows = opened();
        assert_eq!(windows.step(at(-600), &child, &KEYS), None);
    }

    #[test]
    fn a_service_is_covered_for_minutes_if_init_starts_what_was_written() {
        let mut windows = opened();
        let written = event(Kind::FileRename, 5, &[], "/usr/bin/dpkg").with(Detail::File(File {
            path: "/usr/sbin/webd.dpkg-new".into(),
            new_path: "/usr/sbin/webd".into(),
            ..File::default()
        }));
        windows.step(at(1), &written, &KEYS);
        let by_init = event(Kind::Exec, 9, &[(1, 1)], "/usr/sbin/webd");
        let by_shell = event(Kind::Exec, 10, &[(3, 300), (1, 1)], "/usr/sbin/webd");
        let other = event(Kind::Exec, 11, &[(1, 1)], "/usr/sbin/other");
        assert_eq!(windows.step(at(2), &by_shell, &KEYS), None);
        assert_eq!(windows.step(at(2), &other, &KEYS), None);
        assert_eq!(windows.step(at(2), &by_init, &KEYS), Some(Inside::Restart));
        let child = event(Kind::Exec, 12, &[(9, 109), (1, 1)], "/bin/sh -c x");
        assert!(windows.step(at(3), &child, &KEYS).is_some());
        assert_eq!(windows.step(at(5), &child, &KEYS), None);
        assert_eq!(windows.step(at(20), &by_init, &KEYS), None);
    }

    #[test]
    fn a_day_has_a_bounded_number_of_windows_and_the_rest_is_counted() {
        let mut windows = Windows::default();
        for own in 0..100 {
            let dpkg = event(Kind::Exec, own, &[], "/usr/bin/dpkg -i x.deb");
            windows.step(at(0), &dpkg, &KEYS);
        }
        let Changes {
            windows: opened,
            refused,
            ..
        } = windows.changes();
        assert_eq!((opened, refused), (24, 76));
    }
}
