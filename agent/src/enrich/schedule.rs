//! What is scheduled to run: which files say so, and what a change of one of them changed.
//!
//! ```text
//! event -> Change (by names alone) -> [jobs] -> Notes (reads, parses, compares) -> ScheduledJob
//! ```
//!
//! # Invariants
//!
//! - The path only looks at names; files are read by a thread of its own, as the one who acted sees them.
//! - At most [`MAX_BYTES`] of a file are read, [`MAX_ENTRIES`] entries and [`MAX_TEXT`] bytes of each text told.
//! - What a file said before is remembered for at most [`MAX_NOTES`] files; of others all of it counts as new.
//! - A change that leaves everything as it was (a second write of the same, a comment in a table) gives no job.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use picket_event::{Event, Kind, ScheduledJob, Text};
use picket_seal::Digest;

use super::lookup::{self, Eyes, Missing};

mod at;
mod cron;
pub(super) mod place;
mod unit;

use place::{Form, Place};

/// How much of a file is read.
const MAX_BYTES: u64 = 256 << 10;
/// Entries of a file that are looked at.
const MAX_ENTRIES: usize = 256;
/// The longest text of a job.
const MAX_TEXT: usize = 4 << 10;
/// Files whose content is remembered.
const MAX_NOTES: usize = 2_048;

/// One thing that runs: when, as whom, what. Texts that are not known are empty.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Entry {
    schedule: Vec<u8>,
    user: Vec<u8>,
    command: Vec<u8>,
}

/// What an event says about a file that schedules something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    /// Its name now, or the name that it had.
    pub(crate) path: Text,
    place: Place,
    what: What,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Made,
    Written,
    Removed,
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Made => "created",
            Self::Written => "changed",
            Self::Removed => "removed",
        }
    }
}

/// `None` if the event changes nothing that is scheduled.
pub(super) fn change(event: &Event) -> Option<Change> {
    let file = event.file()?;
    let there = |name: &Text, what| {
        let place = place::of(name.as_bytes())?;
        let path = name.clone();
        Some(Change { path, place, what })
    };
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

impl Change {
    /// What is known without reading anything.
    pub(super) fn untold(&self) -> ScheduledJob {
        ScheduledJob {
            action: self.what.word().to_owned(),
            scheduler: self.place.scheduler.to_owned(),
            path: self.path.clone(),
            user: Text::from(self.place.user()),
            ..ScheduledJob::default()
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
    /// What is to be told; `None`: nothing changed.
    pub(crate) told: Option<ScheduledJob>,
}

/// What the files said when they were read last. Belongs to the thread that reads them.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    known: HashMap<(u32, Text), Note>,
    order: VecDeque<(u32, Text)>,
}

/// What a file said.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Note {
    entries: Vec<Entry>,
    /// Of what the entries do not tell: the content of a script and whether it may run, the rest of a unit.
    mark: Option<Digest>,
}

impl Notes {
    /// Reads what is there before anything changes.
    pub(crate) fn begin() -> Self {
        let mut notes = Self::default();
        for path in place::existing() {
            let found = place::of(path.as_bytes());
            if let Some(note) = found.and_then(|place| read(&place, &path, Eyes::OWN)) {
                notes.remember((0, path), note);
            }
        }
        notes
    }

    /// Looks into a change.
    pub(crate) fn look(&mut self, job: &Job) -> Answer {
        let change = &job.change;
        let now = match change.what {
            What::Removed => None,
            What::Made | What::Written => read(&change.place, &change.path, job.eyes),
        };
        Answer {
            number: job.number,
            told: self.compare((job.mounts, change.path.clone()), change, now),
        }
    }

    /// Compares with what was known, and remembers what is known now.
    fn compare(
        &mut self,
        key: (u32, Text),
        change: &Change,
        now: Option<Note>,
    ) -> Option<ScheduledJob> {
        let before = self.known.remove(&key);
        let Some(now) = now else {
            let gone = change.what == What::Removed;
            let entries = before.map(|note| note.entries).unwrap_or_default();
            return gone.then(|| tell(change, What::Removed.word(), &entries));
        };
        let told = difference(change, before.as_ref(), &now);
        self.remember(key, now);
        told
    }

    fn remember(&mut self, key: (u32, Text), note: Note) {
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

/// What is new, or else what is no longer there, or else all of a file that changed in some other way.
fn difference(change: &Change, before: Option<&Note>, now: &Note) -> Option<ScheduledJob> {
    let Some(before) = before.filter(|before| !before.entries.is_empty()) else {
        let new = before.is_some() || change.what == What::Made;
        let action = if new { What::Made } else { What::Written };
        let some = !now.entries.is_empty();
        return some.then(|| tell(change, action.word(), &now.entries));
    };
    let added = without(&now.entries, &before.entries);
    if !added.is_empty() {
        return Some(tell(change, What::Written.word(), &added));
    }
    let removed = without(&before.entries, &now.entries);
    if !removed.is_empty() {
        return Some(tell(change, What::Removed.word(), &removed));
    }
    let other = before.mark != now.mark;
    other.then(|| tell(change, What::Written.word(), &now.entries))
}

fn without(entries: &[Entry], others: &[Entry]) -> Vec<Entry> {
    let others: HashSet<&Entry> = others.iter().collect();
    let rest = entries.iter().filter(|entry| !others.contains(entry));
    rest.cloned().collect()
}

/// Several entries are told line by line, in the same order in each text.
fn tell(change: &Change, action: &str, entries: &[Entry]) -> ScheduledJob {
    let lines = |text: fn(&Entry) -> &[u8]| {
        let lines: Vec<&[u8]> = entries.iter().map(text).collect();
        let some = lines.iter().any(|line| !line.is_empty());
        let mut all = if some { lines.join(&b'\n') } else { Vec::new() };
        all.truncate(MAX_TEXT);
        Text::from(all)
    };
    ScheduledJob {
        action: action.to_owned(),
        schedule: lines(|entry| &entry.schedule),
        user: lines(|entry| &entry.user),
        command: lines(|entry| &entry.command),
        ..change.untold()
    }
}

/// What a file says now. `None` if it cannot be read.
fn read(place: &Place, path: &Text, eyes: Eyes) -> Option<Note> {
    let content = match lookup::open(path.as_bytes(), eyes) {
        Ok(file) => {
            let runs = file.metadata().ok()?.permissions().mode() & 0o111 != 0;
            let mut bytes = Vec::new();
            file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
            Some((bytes, runs))
        }
        Err(Missing::Gone) if matches!(place.form, Form::Wanted(_)) => None,
        Err(_) => return None,
    };
    let (bytes, runs) = content.unwrap_or_default();
    Some(note(place, path, &bytes, runs))
}

/// What a file with this content says.
fn note(place: &Place, path: &Text, bytes: &[u8], runs: bool) -> Note {
    let mut mark = None;
    let mut entries = match &place.form {
        Form::SystemTable => cron::table(bytes, None),
        Form::UserTable(user) => cron::table(bytes, Some(user)),
        Form::Anacron => cron::anacron(bytes),
        Form::RunParts(period) => {
            mark = Some(Digest::of(&[bytes, &[u8::from(runs)]].concat()));
            let some = !bytes.is_empty();
            let part = some.then(|| cron::part(path.as_bytes(), period));
            part.into_iter().collect()
        }
        Form::At => at::job(path.basename(), bytes).into_iter().collect(),
        Form::Unit { system } => {
            mark = Some(Digest::of(bytes));
            unit::entry(path.basename(), bytes, *system)
                .into_iter()
                .collect()
        }
        Form::Wanted(by) => vec![unit::wanted(path.basename(), by, bytes)],
    };
    entries.truncate(MAX_ENTRIES);
    Note { entries, mark }
}

#[cfg(test)]
mod tests;
