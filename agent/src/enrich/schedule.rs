//! What is scheduled to run: which files say so, and what a change of one of them changed.
//!
//! # Invariants
//!
//! - At most [`MAX_BYTES`] of a file are read, [`MAX_ENTRIES`] entries and [`MAX_TEXT`] bytes of each text told.
//! - A change that leaves everything as it was (a second write of the same, a comment in a table) gives no job.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use picket_event::{Event, ScheduledJob, Text};
use picket_seal::Digest;

use super::lookup::{self, Eyes, Missing};
use super::noted::{self, Key, Memory, What};

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

/// `None` if the event changes nothing that is scheduled.
pub(super) fn change(event: &Event) -> Option<Change> {
    let (path, place, what) = noted::touched(event, place::of)?;
    Some(Change { path, place, what })
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

/// What a file said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Note {
    entries: Vec<Entry>,
    /// Of what the entries do not tell: the content of a script and whether it may run, the rest of a unit.
    mark: Option<Digest>,
}

/// Reads what is there before anything changes.
pub(super) fn begin() -> Memory<Note> {
    Memory::of(place::existing(), |path| {
        read(&place::of(path.as_bytes())?, path, Eyes::OWN)
    })
}

/// Looks into a change. `None`: it changed nothing.
pub(super) fn look(
    notes: &mut Memory<Note>,
    mounts: u32,
    eyes: Eyes,
    change: &Change,
) -> Option<ScheduledJob> {
    let now = match change.what {
        What::Removed => None,
        What::Made | What::Written => read(&change.place, &change.path, eyes),
    };
    compare(notes, (mounts, change.path.clone()), change, now)
}

/// Compares with what was known, and remembers what is known now.
fn compare(
    notes: &mut Memory<Note>,
    key: Key,
    change: &Change,
    now: Option<Note>,
) -> Option<ScheduledJob> {
    let before = notes.take(&key);
    let Some(now) = now else {
        let gone = change.what == What::Removed;
        let entries = before.map(|note| note.entries).unwrap_or_default();
        return gone.then(|| tell(change, What::Removed.word(), &entries));
    };
    let told = difference(change, before.as_ref(), &now);
    notes.remember(key, now);
    told
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
