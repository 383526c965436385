//! The thread that finds files of a blocked content, lists them, and tells what the kernel refused.
//!
//! # Invariants
//!
//! - A file is listed only after its content was read, and none whose program the host needs.
//! - Where a refused file may have changed since (its last change is another than it was listed with) its content is read again;
//!   one that has another content, or cannot be read, is listed no more.
//! - Programs that run are read one by one, with a rest after each as long as its reading took.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use picket_event::{Affected, BootId, Containment, ProcessUid, ReceiptState, Text};
use picket_seal::Digest;
use picket_sensor::{FileKey, Refusal};

use super::files::{Heard, Listed, UNSURE};
use super::told::Told;
use super::{Blocklist, PREVENTED, needed_paths};
use crate::enrich::hash::{HashCache, HashDone, HashJob, JobId, MAX_FILE_BYTES, hash};
use crate::enrich::lookup::Eyes;
use crate::failure::chain;
use crate::pipeline::Input;
use crate::respond::procfs::{self, Found};
use crate::respond::protect::Protection;
use crate::respond::undo::of;

/// Between two looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Note {
    /// This file has this blocked content.
    Found(Listed),
    /// The kernel refused to start this.
    Refused(Refusal),
}

impl Note {
    /// What a hash says, if its content is blocked.
    pub(super) fn of(done: &HashDone, list: &Blocklist) -> Option<Self> {
        let (state, sha256) = (done.state?, done.hashed.sha256?);
        list.has(sha256).then(|| {
            let ctime_ns = done.key.map_or(UNSURE, |key| key.ctime_ns);
            Self::Found(Listed {
                state: FileKey { ctime_ns, ..state },
                sha256,
                path: done.path.clone(),
            })
        })
    }
}

/// Hands what the kernel refuses to the finder, until `open` is gone. What finds no room is only logged; each is an `exec_failed`
/// event all the same.
pub(super) fn listen(mut heard: Heard, notes: &SyncSender<Note>, open: &Weak<()>) {
    while open.strong_count() > 0 {
        let mut untold = 0_u64;
        for refusal in heard(LOOK) {
            match notes.try_send(Note::Refused(refusal)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => untold = untold.saturating_add(1),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        if untold > 0 {
            tracing::warn!(untold, "starts are refused faster than they can be told");
        }
    }
}

/// The thread.
pub(super) struct Finder {
    list: Arc<Blocklist>,
    protection: Protection,
    boot: BootId,
    known: HashCache,
    /// Of which list the programs that run were read, or are being read.
    generation: u64,
    /// Processes whose programs are still to be read.
    unread: VecDeque<Found>,
    read: HashSet<FileKey>,
    told: Told,
}

impl Finder {
    pub(super) fn new(list: Arc<Blocklist>, protection: Protection, boot: BootId) -> Self {
        Self {
            list,
            protection,
            boot,
            known: HashCache::default(),
            generation: 0,
            unread: VecDeque::new(),
            read: HashSet::new(),
            told: Told::default(),
        }
    }

    /// Until nobody can tell it anything.
    pub(super) fn work(mut self, notes: &Receiver<Note>, answers: &SyncSender<Input>) {
        // What an earlier run listed may have become something that the host needs.
        let needed = needed_files(&self.protection);
        if let Err(error) = self.list.spare(|file| is_among(file, &needed)) {
            tracing::error!(reason = chain(&error), "a file stays refused");
        }
        loop {
            let rest = self.read_next();
            let mut told = match notes.recv_timeout(rest) {
                Ok(Note::Found(file)) => {
                    self.list_file(file);
                    Vec::new()
                }
                Ok(Note::Refused(refusal)) => self.refused(&refusal).into_iter().collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            told.extend(self.counted(Instant::now()));
            for receipt in told {
                if answers.send(Input::Outcome(Box::new(receipt))).is_err() {
                    return;
                }
            }
        }
    }

    /// Reads the program of one more process, if there is one left. Gives how long to rest.
    fn read_next(&mut self) -> Duration {
        let generation = self.list.generation();
        if generation != self.generation {
            self.generation = generation;
            self.unread.clear();
            self.read.clear();
            if !self.list.is_empty() {
                let running = procfs::all(&self.boot).into_iter();
                self.unread = running.filter(|found| !found.kernel).collect();
            }
        }
        let Some(found) = self.unread.pop_front() else {
            self.read = HashSet::new();
            self.list.keep();
            return LOOK;
        };
        let begun = Instant::now();
        self.read_program(&found);
        begun.elapsed()
    }

    fn read_program(&mut self, found: &Found) {
        let place = format!("/proc/{}/exe", found.pid);
        let Ok(state) = std::fs::metadata(place) else {
            return;
        };
        let state = FileKey::of(&state);
        if !self.read.insert(state) {
            return;
        }
        let path = procfs::exe(found.pid);
        if let Some(sha256) = self.known.get(&state).and_then(|hashed| hashed.sha256) {
            if self.list.has(sha256) {
                self.list_file(Listed {
                    state,
                    sha256,
                    path,
                });
            }
            return;
        }
        let job = HashJob::executable(JobId::Process(found.uid), found.pid, path);
        let done = hash(&job, &mut HashCache::default());
        if let Some(key) = done.key {
            self.known.insert(key, done.hashed);
        }
        if let Some(Note::Found(file)) = Note::of(&done, &self.list) {
            self.list_file(file);
        }
    }

    fn list_file(&self, file: Listed) {
        let listed = if is_among(&file.state, &needed_files(&self.protection)) {
            tracing::warn!(path = %file.path, "the host needs this file, so the kernel does not refuse it");
            self.list.unlist(&file.state)
        } else {
            self.list.list(file)
        };
        if let Err(error) = listed {
            tracing::error!(reason = chain(&error), "a blocked file is not refused");
        }
    }

    /// Tells of a start that was refused. `None`: it is only counted, or nobody blocked it.
    fn refused(&mut self, refusal: &Refusal) -> Option<Containment> {
        let listed = self.list.listed(&refusal.file)?;
        let by = self.list.by(listed.sha256)?;
        let content = self.look_again(&listed, refusal);
        if !self.told.may_tell(listed.sha256, Instant::now()) {
            return None;
        }
        let given = refusal.given.lossy();
        let process = ProcessUid::derive(&self.boot, refusal.pid, refusal.start_ns);
        let found = procfs::find(&self.boot, refusal.pid).filter(|found| found.uid == process);
        Some(Containment {
            reason: content.reason().to_owned(),
            effect: format!("the kernel refused to start {given}: {}", content.words()),
            affected: vec![Affected {
                process_uid: Some(process),
                pid: refusal.pid,
                exe: found.map_or(Text::NONE, |found| procfs::exe(found.pid)),
                object: refusal.given.clone(),
                outcome: "refused".to_owned(),
            }],
            verified: true,
            ..of(&by, ReceiptState::Partial)
        })
    }

    /// Whether the file still has the content for which it was refused. One that has not, or of which that is not known, is
    /// listed no more.
    fn look_again(&self, listed: &Listed, refusal: &Refusal) -> Content {
        if listed.state == refusal.file {
            return Content::Blocked;
        }
        let names = names_of(listed, refusal).into_iter();
        let mut read = names.filter_map(|path| {
            let job = HashJob {
                id: JobId::Written(refusal.file),
                pid: refusal.pid,
                eyes: Eyes::OWN,
                path,
                named: None,
                max_bytes: MAX_FILE_BYTES,
            };
            let done = hash(&job, &mut HashCache::default());
            done.hashed.sha256.is_some().then_some(done)
        });
        match read.next() {
            Some(done) if done.hashed.sha256 == Some(listed.sha256) => {
                if let Some(Note::Found(file)) = Note::of(&done, &self.list) {
                    self.list_file(file);
                }
                Content::Blocked
            }
            other => {
                if let Err(error) = self.list.unlist(&refusal.file) {
                    tracing::error!(reason = chain(&error), "a file stays refused");
                }
                other.map_or(Content::Unread, |_| Content::Other)
            }
        }
    }

    /// The starts that were not told one by one.
    fn counted(&mut self, now: Instant) -> Vec<Containment> {
        let over = self.told.over(now).into_iter();
        let list = &self.list;
        over.filter_map(|(sha256, count)| {
            Some(Containment {
                reason: PREVENTED.to_owned(),
                effect: format!(
                    "the kernel refused {count} further starts of the blocked content within a minute"
                ),
                verified: true,
                ..of(&list.by(sha256)?, ReceiptState::Partial)
            })
        })
        .collect()
    }
}

/// What a refused file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Content {
    Blocked,
    Other,
    Unread,
}

impl Content {
    const fn reason(self) -> &'static str {
        match self {
            Self::Blocked | Self::Unread => PREVENTED,
            Self::Other => "changed",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Blocked => "it has the blocked content",
            Self::Other => {
                "it had the blocked content, was changed without a trace of when, and may start from now on"
            }
            Self::Unread => {
                "it had the blocked content, may have changed and could not be read again, so it may start from now on, and is killed if it still has it"
            }
        }
    }
}

/// Under which absolute names the refused file may be found.
fn names_of(listed: &Listed, refusal: &Refusal) -> Vec<Text> {
    let given = Path::new(std::ffi::OsStr::from_bytes(refusal.given.as_bytes()));
    let folder = || std::fs::read_link(format!("/proc/{}/cwd", refusal.pid)).ok();
    let absolute = if given.is_absolute() {
        Some(given.to_owned())
    } else {
        folder().map(|folder| folder.join(given))
    };
    let absolute = absolute.map(|path| Text::from(path.as_os_str().as_bytes()));
    let names = [Some(listed.path.clone()), absolute].into_iter().flatten();
    names
        .filter(|name| name.as_bytes().starts_with(b"/"))
        .collect()
}

/// The programs that the host needs, as they are now.
fn needed_files(protection: &Protection) -> Vec<FileKey> {
    let found = needed_paths(protection).filter_map(|path| std::fs::metadata(path).ok());
    found.map(|found| FileKey::of(&found)).collect()
}

/// Whether it is one of these. The device is not compared: on overlays it has two numbers.
fn is_among(file: &FileKey, needed: &[FileKey]) -> bool {
    let what = |file: &FileKey| (file.inode, file.size, file.mtime_ns);
    needed.iter().any(|needed| what(needed) == what(file))
}

/// Whether any file of this content is known to the agent already.
pub(super) fn among<'a>(
    hashes: impl Iterator<Item = (&'a FileKey, Digest)>,
    list: &Blocklist,
) -> Vec<Note> {
    let blocked = hashes.filter(|(_, sha256)| list.has(*sha256));
    let files = blocked.map(|(state, sha256)| Listed {
        state: *state,
        sha256,
        path: Text::NONE,
    });
    files.map(Note::Found).collect()
}

#[cfg(test)]
mod tests;
