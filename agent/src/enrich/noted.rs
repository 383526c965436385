//! Files whose content is known, so that a change of one is told as what it changed: what is scheduled, and who may log in.
//!
//! ```text
//! event -> Change (by names alone) -> [jobs] -> Notes (reads, parses, compares) -> Answer
//! ```
//!
//! # Invariants
//!
//! - The path only looks at names; files are read by a thread of its own, as the one who acted sees them.
//! - What a file said before is remembered for at most [`MAX_NOTES`] files of each kind; what others said before is not known.

use std::collections::{HashMap, HashSet, VecDeque};

use picket_event::{Detail, Event, Kind, Text};

use super::lookup::Eyes;
use super::{account, schedule};

/// Files whose content is remembered, of each kind.
const MAX_NOTES: usize = 2_048;

/// What an event says about a file whose content matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Schedule(schedule::Change),
    Account(account::Change),
}

/// `None` if the event changes no such file.
pub(super) fn change(event: &Event) -> Option<Change> {
    let schedule = schedule::change(event).map(Change::Schedule);
    schedule.or_else(|| account::change(event).map(Change::Account))
}

impl Change {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Schedule(_) => Kind::ScheduledJob,
            Self::Account(_) => Kind::AccountChange,
        }
    }

    /// What is known without reading anything.
    pub(super) fn untold(&self) -> Detail {
        match self {
            Self::Schedule(change) => Detail::ScheduledJob(change.untold()),
            Self::Account(change) => Detail::AccountChange(change.untold()),
        }
    }
}

/// A change that is to be looked into.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// How the answer finds its event.
    pub(crate) number: u64,
    /// Through whose eyes.
    pub(crate) eyes: Eyes,
    /// In which mount namespace; 0: the agent's.
    pub(crate) mounts: u32,
    /// What.
    pub(crate) change: Change,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Of which job.
    pub(crate) number: u64,
    /// What is to be told, each by an event; empty: nothing changed.
    pub(crate) told: Vec<Detail>,
}

/// What the files said when they were read last. Belongs to the thread that reads them.
#[derive(Debug)]
pub(crate) struct Notes {
    schedules: Memory<schedule::Note>,
    accounts: Memory<account::Note>,
}

impl Notes {
    /// Reads what is there before anything changes.
    pub(crate) fn begin() -> Self {
        Self {
            schedules: schedule::begin(),
            accounts: account::begin(),
        }
    }

    /// Looks into a change.
    pub(crate) fn look(&mut self, job: &Job) -> Answer {
        let told = match &job.change {
            Change::Schedule(change) => {
                let told = schedule::look(&mut self.schedules, job.mounts, job.eyes, change);
                told.map(Detail::ScheduledJob).into_iter().collect()
            }
            Change::Account(change) => {
                let told = account::look(&mut self.accounts, job.mounts, job.eyes, change);
                told.into_iter().map(Detail::AccountChange).collect()
            }
        };
        Answer {
            number: job.number,
            told,
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Made,
    Written,
    Removed,
}

impl What {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Made => "created",
            Self::Written => "changed",
            Self::Removed => "removed",
        }
    }
}

/// The name that the event made, wrote or took away, if it is one of those that `of` knows.
pub(super) fn touched<P>(
    event: &Event,
    of: impl Fn(&[u8]) -> Option<P>,
) -> Option<(Text, P, What)> {
    let file = event.file()?;
    let there = |name: &Text, what| Some((name.clone(), of(name.as_bytes())?, what));
    match event.kind {
        Kind::FileCreate => there(&file.path, What::Made),
        Kind::FileModify => there(&file.path, What::Written),
        Kind::FileDelete => there(&file.path, What::Removed),
        Kind::FileLink => there(&file.new_path, What::Made),
        Kind::FileRename => {
            there(&file.new_path, What::Made).or_else(|| there(&file.path, What::Removed))
        }
        Kind::FileAttr if matches!(file.change.as_str(), "mode" | "size") => {
            there(&file.path, What::Written)
        }
        _ => None,
    }
}

/// A file as seen from a mount namespace.
pub(super) type Key = (u32, Text);

/// What is known of so many files.
#[derive(Debug)]
pub(super) struct Memory<N> {
    known: HashMap<Key, N>,
    order: VecDeque<Key>,
}

impl<N> Memory<N> {
    /// What these files of the agent's own mount namespace say now.
    pub(super) fn of(paths: Vec<Text>, read: impl Fn(&Text) -> Option<N>) -> Self {
        let mut memory = Self::default();
        for path in paths {
            if let Some(note) = read(&path) {
                memory.remember((0, path), note);
            }
        }
        memory
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<N> {
        self.known.remove(key)
    }

    pub(super) fn remember(&mut self, key: Key, note: N) {
        self.known.insert(key.clone(), note);
        self.order.push_back(key);
        while self.known.len() > MAX_NOTES {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        if self.order.len() > 2 * MAX_NOTES {
            let mut there: HashSet<_> = self.known.keys().cloned().collect();
            self.order.retain(|key| there.remove(key));
        }
    }
}

impl<N> Default for Memory<N> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        let key = |number: usize| (0, Text::from(format!("/etc/cron.d/job{number}").as_str()));
        for number in 0..MAX_NOTES + 10 {
            memory.take(&key(number));
            memory.remember(key(number), number);
        }
        assert_eq!(memory.known.len(), MAX_NOTES);
        assert_eq!(memory.take(&key(9)), None, "the oldest made room");
        for _ in 0..3 * MAX_NOTES {
            memory.remember(key(20), 0);
        }
        assert!(memory.order.len() <= 2 * MAX_NOTES);
    }

    #[test]
    fn each_difference_is_told_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".ssh/authorized_keys");
        std::fs::create_dir(folder.path().join(".ssh")).unwrap();
        std::fs::write(&path, "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n").unwrap();
        let file = picket_event::File {
            path: Text::from(path.to_str().unwrap()),
            ..picket_event::File::default()
        };
        let event = Event::new(
            Kind::FileCreate,
            picket_event::UnixNanos(1),
            picket_event::Source::Ebpf,
        );
        let change = change(&event.with(Detail::File(file))).unwrap();
        assert_eq!(change.kind(), Kind::AccountChange);
        let mut notes = Notes {
            schedules: Memory::default(),
            accounts: Memory::default(),
        };
        let job = Job {
            number: 7,
            eyes: Eyes::OWN,
            mounts: 0,
            change,
        };
        let answer = notes.look(&job);
        assert_eq!((answer.number, answer.told.len()), (7, 2));
        assert!(notes.look(&job).told.is_empty(), "nothing new");
        std::fs::remove_file(&path).unwrap();
        let told = notes.look(&job).told;
        let [Detail::AccountChange(unread)] = told.as_slice() else {
            panic!("a file that cannot be read says nothing of its keys: {told:?}");
        };
        assert!(unread.account.is_empty() && unread.before.is_empty());
        std::fs::write(&path, "ssh-ed25519 AAAA one\n").unwrap();
        let told = notes.look(&job).told;
        assert_eq!(told.len(), 1, "what was known is known still: {told:?}");
    }
}
