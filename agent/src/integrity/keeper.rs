//! The thread that builds the baseline, finds out what changed unseen, and keeps it on disk.
//!
//! # Invariants
//!
//! - It runs at the lowest priority and reads at most [`BYTES_PER_SECOND`].
//! - A file that changed within the last [`SETTLE`] is left for later: its event may be on its way.
//! - What is found is told once, by an event of the agent without a process: nobody saw who did it.
//! - While the baseline is built for the first time nothing counts as changed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, File, HashStatus, Kind, Source, Text, UnixNanos};
use picket_sensor::FileKey;

use super::{Known, SharedBaseline, disk, lock};
use crate::clock::{self, boot_ns};
use crate::enrich::hash::{self, HashCache, HashJob, Hashed, JobId, MAX_FILE_BYTES};
use crate::enrich::lookup::Eyes;
use crate::failure::{Failure, chain};
use crate::health::SharedHealth;
use crate::pipeline::{Input, alarm};
use crate::state::StateDir;

/// How much is read in a second.
pub(crate) const BYTES_PER_SECOND: u64 = 16 << 20;
/// How old a change must be before it is looked into.
const SETTLE: Duration = Duration::from_secs(2);
/// How often all files are looked at.
const EVERY: Duration = Duration::from_hours(1);
/// How long a change of the baseline may wait to be kept.
const KEEP: Duration = Duration::from_secs(30);
/// How often what waits is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// The file in the state directory.
const NAME: &str = "integrity.baseline";

/// The running thread.
#[derive(Debug)]
pub(crate) struct Keeping {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeping {
    /// Ends it; what it knows is kept.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the keeper of the baseline broke");
        }
    }
}

/// Where the keeper works.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// The baseline.
    pub(crate) baseline: SharedBaseline,
    /// Where it is kept.
    pub(crate) state: Arc<StateDir>,
    /// Who asks how it is.
    pub(crate) health: SharedHealth,
    /// Where findings go.
    pub(crate) inputs: SyncSender<Input>,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(self) -> Result<Keeping, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let inputs = self.inputs.clone();
        let thread = alarm::spawn("integrity", inputs, move || {
            Work {
                keeper: self,
                stop: told,
                read: 0,
                since: Instant::now(),
                kept: Instant::now(),
            }
            .run();
        })?;
        Ok(Keeping { stop, thread })
    }
}

/// What of a look is to be told.
#[derive(Clone, Copy)]
struct Tells {
    changes: bool,
    /// Also that there is a file that was not known.
    new: bool,
}

struct Work {
    keeper: Keeper,
    stop: Arc<AtomicBool>,
    read: u64,
    since: Instant,
    kept: Instant,
}

impl Work {
    fn run(mut self) {
        // Without permission the priority stays as it is, and the rate alone bounds the work.
        if let Err(error) = rustix::process::nice(19) {
            tracing::debug!(%error, "priority not lowered");
        }
        self.load();
        while !self.stops() {
            self.pass();
            let passed = Instant::now();
            while !self.stops() && passed.elapsed() < EVERY && !self.all_again() {
                thread::park_timeout(PAUSE);
                self.look_again();
                self.show();
                if self.kept.elapsed() >= KEEP {
                    self.keep();
                }
            }
        }
        self.look_again();
        self.keep();
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn all_again(&self) -> bool {
        std::mem::take(&mut lock(&self.keeper.baseline).all_again)
    }

    /// What an earlier run knew.
    fn load(&self) {
        let read = self.keeper.state.read(NAME);
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => return self.damaged(&chain(&error)),
        };
        match disk::decode(&bytes) {
            Ok((files, built)) => {
                let mut baseline = lock(&self.keeper.baseline);
                baseline.files = files;
                baseline.forget_what_is_not_meant();
                baseline.built = Some(built);
            }
            Err(reason) => self.damaged(reason),
        }
    }

    fn damaged(&self, reason: &str) {
        let aside = self.keeper.state.set_aside(NAME);
        let aside = aside.map_or_else(|error| chain(&error), |path| path.display().to_string());
        tracing::error!(reason, aside, "the baseline was damaged and is built again");
        reason.clone_into(&mut self.keeper.health.status().integrity.note);
    }

    /// Looks at everything once.
    fn pass(&mut self) {
        let first = lock(&self.keeper.baseline).built.is_none();
        let set = Arc::clone(&lock(&self.keeper.baseline).set);
        let mut seen = HashSet::new();
        set.walk(&mut |path| {
            let path = Text::from(path.as_os_str().as_bytes());
            self.look(
                &path,
                Tells {
                    changes: !first,
                    new: !first,
                },
            );
            seen.insert(path);
            !self.stops() && seen.len() < super::MAX_FILES
        });
        if self.stops() {
            return;
        }
        thread::park_timeout(SETTLE);
        self.missing(&seen);
        let mut baseline = lock(&self.keeper.baseline);
        baseline.built = baseline.built.or_else(|| Some(clock::system().now()));
        baseline.dirty = true;
        drop(baseline);
        self.keep();
    }

    /// Files that are no longer there although no event said so.
    fn missing(&self, seen: &HashSet<Text>) {
        let known: Vec<Text> = lock(&self.keeper.baseline).files.keys().cloned().collect();
        for path in known.into_iter().filter(|path| !seen.contains(path)) {
            if fs::symlink_metadata(as_path(&path)).is_ok() {
                continue;
            }
            let removed = lock(&self.keeper.baseline).take(&path);
            if let Some(known) = removed {
                let file = File {
                    sha256_before: known.sha256,
                    ..named(&path)
                };
                self.tell(Kind::FileDelete, file);
            }
        }
    }

    /// Looks at the files of which events told.
    fn look_again(&mut self) {
        let again = std::mem::take(&mut lock(&self.keeper.baseline).again);
        for (path, told) in again {
            self.look(
                &path,
                Tells {
                    changes: true,
                    new: !told,
                },
            );
        }
    }

    /// Looks at one file, and tells if it is not as it was known to be.
    fn look(&mut self, path: &Text, tells: Tells) {
        let Ok(found) = fs::symlink_metadata(as_path(path)) else {
            return;
        };
        if !found.is_file() {
            return;
        }
        let key = FileKey::of(&found);
        let known = lock(&self.keeper.baseline).files.get(path).cloned();
        if known.as_ref().is_some_and(|known| known.state == Some(key)) {
            return;
        }
        let hashed = if is_fresh(&key) {
            None
        } else {
            self.hash(path, &key)
        };
        let Some(hashed) = hashed else {
            return lock(&self.keeper.baseline).look_again(path.clone(), !tells.new);
        };
        let now = Known {
            state: Some(key),
            sha256: hashed.sha256,
            mode: found.mode(),
            uid: found.uid(),
            gid: found.gid(),
        };
        if self.learn(path, known.as_ref(), &now, tells)
            && let Some((kind, file)) = difference(path, known.as_ref(), &now, hashed)
            && (tells.new || kind != Kind::FileCreate)
            && tells.changes
        {
            self.tell(kind, file);
        }
    }

    /// Takes in what was found, unless an event said something else meanwhile.
    fn learn(&self, path: &Text, known: Option<&Known>, now: &Known, tells: Tells) -> bool {
        let mut baseline = lock(&self.keeper.baseline);
        if baseline.files.get(path) != known {
            baseline.look_again(path.clone(), !tells.new);
            return false;
        }
        baseline.insert(path.clone(), now.clone())
    }

    /// `None` if it is not the file in this state any more.
    fn hash(&mut self, path: &Text, key: &FileKey) -> Option<Hashed> {
        if key.size > MAX_FILE_BYTES {
            return Some(Hashed::without(HashStatus::TooLarge));
        }
        self.wait_for_room(key.size);
        let job = HashJob {
            id: JobId::Written(*key),
            pid: 0,
            eyes: Eyes::OWN,
            path: path.clone(),
            named: None,
            max_bytes: MAX_FILE_BYTES,
        };
        let hashed = hash::hash(&job, &mut HashCache::default()).hashed;
        let unreadable = hashed.status == Some(HashStatus::Gone)
            && fs::symlink_metadata(as_path(path)).is_ok_and(|found| FileKey::of(&found) == *key);
        (unreadable || hashed.status == Some(HashStatus::Ok)).then_some(hashed)
    }

    /// Keeps to the rate over the time since the reading began.
    fn wait_for_room(&mut self, bytes: u64) {
        let due = Duration::from_millis(self.read.saturating_mul(1_000) / BYTES_PER_SECOND);
        let wait = due.saturating_sub(self.since.elapsed());
        if wait.is_zero() && self.since.elapsed() > due + Duration::from_secs(1) {
            (self.read, self.since) = (0, Instant::now());
        }
        let until = Instant::now() + wait;
        while !self.stops() && Instant::now() < until {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        self.read = self.read.saturating_add(bytes.max(4 << 10));
    }

    fn tell(&self, kind: Kind, file: File) {
        let mut event = Event::new(kind, clock::system().now(), Source::Agent);
        event.boot_ns = boot_ns();
        let event = event.with(Detail::File(file));
        // Nobody listens any more: then the run ends.
        drop(
            self.keeper
                .inputs
                .send(Input::Events(vec![Box::new(event)], Arc::default())),
        );
    }

    fn show(&self) {
        let baseline = lock(&self.keeper.baseline);
        let (files, built) = (baseline.files.len(), baseline.built);
        drop(baseline);
        let mut status = self.keeper.health.status();
        status.integrity.files = files;
        status.integrity.built = built;
    }

    /// Writes it down if it changed and is complete.
    fn keep(&mut self) {
        self.show();
        self.kept = Instant::now();
        let mut baseline = lock(&self.keeper.baseline);
        let Some(built) = baseline.built.filter(|_| baseline.dirty) else {
            return;
        };
        baseline.dirty = false;
        let bytes = disk::encode(&baseline.files, built);
        drop(baseline);
        if let Err(error) = self.keeper.state.write(NAME, &bytes) {
            lock(&self.keeper.baseline).dirty = true;
            tracing::error!(reason = chain(&error), "baseline not kept");
        }
    }
}

/// What kind of change it is that nobody told.
fn difference(
    path: &Text,
    before: Option<&Known>,
    now: &Known,
    hashed: Hashed,
) -> Option<(Kind, File)> {
    let key = now.state?;
    let file = File {
        inode: Some(key.inode),
        dev: Some(key.dev),
        mode: Some(now.mode),
        size: Some(key.size),
        sha256_before: before.and_then(|known| known.sha256),
        sha256_after: hashed.sha256,
        hash_status: hashed.status,
        ..named(path)
    };
    let Some(before) = before else {
        return Some((Kind::FileCreate, file));
    };
    let unread = before.sha256.is_none() && before.state.is_none();
    if before.sha256 != now.sha256 || before.sha256.is_none() {
        return (!unread).then_some((Kind::FileModify, file));
    }
    let mode = before.mode != now.mode && before.mode != 0;
    let owner = before.state.is_some() && (before.uid, before.gid) != (now.uid, now.gid);
    let change = if mode { "mode" } else { "owner" }.to_owned();
    (mode || owner).then(|| {
        let file = File {
            change,
            mode_before: mode.then_some(before.mode),
            owner_uid: owner.then_some(now.uid),
            owner_gid: owner.then_some(now.gid),
            ..file
        };
        (Kind::FileAttr, file)
    })
}

fn named(path: &Text) -> File {
    File {
        path: path.clone(),
        ..File::default()
    }
}

fn as_path(path: &Text) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Whether it changed a moment ago.
fn is_fresh(key: &FileKey) -> bool {
    let UnixNanos(now) = clock::system().now().minus(SETTLE);
    key.ctime_ns > u64::try_from(now).unwrap_or(0)
}
