//! Changes of files below the watched folders, from inotify through `notify`.
//!
//! # Invariants
//!
//! - Who changed a file is not known, so no event names a process.
//! - The queue between notify's thread and ours holds [`QUEUE`] changes; what does not fit is counted
//!   as lost, by kind. When the kernel's own queue overflows, nobody knows how much was lost: it is
//!   counted as one lost modification and reported as an event of the sensor.
//! - All writes to a file between two of its closings, but at most one second's, are one modification.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use notify::event::{
    AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode,
};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher};
use picket_event::{Clock, Detail, Event, File, Hook, HookState, Kind, Source, SystemClock, Text};

use super::census::device;
use super::changes::{Change, Changes, Settled};
use super::folders;
use crate::ebpf::watch::Watch;
use crate::tally::Tally;
use crate::{Secret, SensorError, Settings};

/// Watches files.
#[derive(Debug)]
pub(super) struct Files {
    watcher: RecommendedWatcher,
    received: Receiver<Change>,
    counts: Arc<Counts>,
    changes: Changes,
    watch: Arc<Watch>,
    hooks: Vec<Hook>,
}

impl Files {
    /// Watches what the settings say. `call` is written to when something has come.
    pub(super) fn open(settings: &Settings, call: OwnedFd) -> Result<Self, SensorError> {
        let watch = Arc::new(Watch::new(&settings.watch, &settings.secrets));
        let counts = Arc::new(Counts::default());
        let (sender, received) = sync_channel(QUEUE);
        let intake = Intake {
            sender,
            call,
            counts: Arc::clone(&counts),
            watch: Arc::clone(&watch),
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(move |event| intake.take(event), config)
            .map_err(|source| SensorError::Files { source })?;
        let mut hooks = watch_all(&mut watcher, &roots(settings, &watch));
        hooks.insert(0, prove(&mut watcher, &received));
        counts.forget();
        let changes = Changes::default();
        Ok(Self {
            watcher,
            received,
            counts,
            changes,
            watch,
            hooks,
        })
    }

    /// The inotify hook, and each path that could not be watched.
    pub(super) fn hooks(&self) -> Vec<Hook> {
        self.hooks.clone()
    }

    /// Appends what has come and is complete.
    pub(super) fn drain(&mut self, now: Instant, tally: &mut Tally, out: &mut Vec<Event>) {
        while let Ok(change) = self.received.try_recv() {
            self.changes.take(change, now);
        }
        self.changes.ripen(now);
        self.settle(now, tally, out);
    }

    /// Appends what is not complete either: nothing more is to come.
    pub(super) fn finish(&mut self, now: Instant, tally: &mut Tally, out: &mut Vec<Event>) {
        self.drain(now, tally, out);
        self.changes.ripen_all();
        self.settle(now, tally, out);
    }

    /// When something that is held back will be complete.
    pub(super) fn due(&self) -> Option<Instant> {
        self.changes.due()
    }

    fn settle(&mut self, now: Instant, tally: &mut Tally, out: &mut Vec<Event>) {
        self.counts.move_to(tally);
        loop {
            let settled = self.changes.settled();
            if settled.is_empty() {
                return;
            }
            for settled in settled {
                self.settle_one(settled, now, tally, out);
            }
        }
    }

    fn settle_one(
        &mut self,
        settled: Settled,
        now: Instant,
        tally: &mut Tally,
        out: &mut Vec<Event>,
    ) {
        match settled {
            Settled::Aggregated(kind) => tally.aggregated(kind),
            Settled::NewFolder(path) => {
                if self
                    .watcher
                    .watch(&path, RecursiveMode::NonRecursive)
                    .is_err()
                {
                    tracing::debug!(path = %path.display(), "new folder cannot be watched");
                }
                self.changes.list(&path, now);
            }
            Settled::Overflow => {
                tally.lost(Kind::FileModify, 1);
                out.push(overflow(&self.hooks));
            }
            Settled::Event(kind, file) => {
                if kind == Kind::FileRename {
                    self.watch_moved(path_of(&file.new_path));
                }
                self.submit(kind, *file, tally, out);
            }
        }
    }

    /// A folder that came from elsewhere brings folders of its own.
    fn watch_moved(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok_and(|stat| stat.is_dir()) {
            for folder in folders::below(path, MAX_FOLDERS).folders {
                let _gone_or_too_many = self.watcher.watch(&folder, RecursiveMode::NonRecursive);
            }
        }
    }

    fn submit(&self, kind: Kind, mut file: File, tally: &mut Tally, out: &mut Vec<Event>) {
        file.sensitive = self.watch.is_secret(file.path.as_bytes());
        let at_either_name = [&file.path, &file.new_path];
        let is_watched = at_either_name
            .iter()
            .any(|path| self.watch.is_watched(path.as_bytes()));
        if !is_watched && kind != Kind::FileOpen {
            tally.filtered(kind);
            return;
        }
        describe(kind, &mut file);
        tally.submitted(kind);
        let event = Event::new(kind, SystemClock.now(), Source::Portable);
        out.push(event.with(Detail::File(file)));
    }
}

/// What there is at the path now; it may have changed again since the event.
pub(crate) fn describe(kind: Kind, file: &mut File) {
    let path = if file.new_path.is_empty() {
        &file.path
    } else {
        &file.new_path
    };
    if kind == Kind::FileDelete {
        return;
    }
    if let Ok(stat) = fs::symlink_metadata(path_of(path)) {
        file.inode = Some(stat.ino());
        file.dev = Some(device(stat.dev()));
        file.mode = Some(stat.mode());
        file.size = Some(stat.len());
    }
}

fn overflow(hooks: &[Hook]) -> Event {
    let state = picket_event::SensorState {
        backend: "portable".to_owned(),
        change: "file_queue_overflow".to_owned(),
        hooks: hooks.to_vec(),
    };
    Event::new(Kind::Sensor, SystemClock.now(), Source::Portable).with(Detail::Sensor(state))
}

fn path_of(text: &Text) -> &Path {
    Path::new(OsStr::from_bytes(text.as_bytes()))
}

/// The watched paths, and the secret ones that do not lie below them, with links resolved.
fn roots(settings: &Settings, watch: &Watch) -> Vec<PathBuf> {
    let secret = settings.secrets.iter().filter_map(|secret| match secret {
        Secret::File(path) | Secret::Tree(path) => Some(path),
        Secret::Named { .. } | Secret::Below { .. } => None,
    });
    let apart = secret.filter(|path| !watch.is_watched(path.as_os_str().as_bytes()));
    let resolved = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let mut roots: Vec<PathBuf> = settings.watch.iter().chain(apart).map(resolved).collect();
    roots.sort();
    roots.dedup_by(|path, above| path.starts_with(above));
    roots
}

/// Watches every folder of every root; gives a hook for what cannot be watched.
///
/// All folders are listed before the first is watched, because reading a watched folder is itself an
/// event.
fn watch_all(watcher: &mut RecommendedWatcher, roots: &[PathBuf]) -> Vec<Hook> {
    let mut hooks = Vec::new();
    let mut folders = Vec::new();
    for root in roots {
        let left = MAX_FOLDERS.saturating_sub(folders.len());
        let walk = folders::below(root, left);
        if walk.is_cut {
            hooks.push(unavailable(
                root,
                &format!("only {left} folders below it are watched"),
            ));
        }
        folders.push(root.clone());
        folders.extend(walk.folders.into_iter().skip(1));
    }
    let mut failed = 0_usize;
    for folder in &folders {
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Err(error) if roots.contains(folder) => {
                hooks.push(unavailable(folder, &without_paths(&error)));
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                failed = failed.saturating_add(1);
            }
            _ => {}
        }
    }
    if failed > 0 {
        let why = format!("limit of inotify watches is reached, {failed} folders are not watched");
        hooks.push(unavailable(Path::new("fs.inotify.max_user_watches"), &why));
    }
    hooks
}

fn unavailable(path: &Path, why: &str) -> Hook {
    Hook {
        name: format!("inotify {}", path.display()),
        state: HookState::Unavailable,
        detail: why.to_owned(),
        instead: String::new(),
    }
}

fn without_paths(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::PathNotFound => "no such file or directory".to_owned(),
        notify::ErrorKind::MaxFilesWatch => "limit of inotify watches is reached".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Makes a file in a folder of our own and waits for the events of it. What came before them is thrown
/// away: the sensor begins after them.
fn prove(watcher: &mut RecommendedWatcher, received: &Receiver<Change>) -> Hook {
    let tries = (0..CANARY_TRIES).map(|number| try_canary(watcher, received, number));
    let (state, detail) = match tries.reduce(Result::or) {
        Some(Ok(())) => (HookState::Proved, "own file was seen".to_owned()),
        Some(Err(error)) => (
            HookState::Attached,
            format!("own file was not seen: {error}"),
        ),
        None => (HookState::Attached, "not tried".to_owned()),
    };
    Hook {
        name: "inotify".to_owned(),
        state,
        detail,
        instead: String::new(),
    }
}

fn try_canary(
    watcher: &mut RecommendedWatcher,
    received: &Receiver<Change>,
    number: u32,
) -> io::Result<()> {
    let name = format!("picket-canary-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder)?;
    let seen = see_own_file(watcher, received, &folder);
    let _not_watched = watcher.unwatch(&folder);
    let removed = fs::remove_dir_all(&folder);
    seen.and(removed)
}

fn see_own_file(
    watcher: &mut RecommendedWatcher,
    received: &Receiver<Change>,
    folder: &Path,
) -> io::Result<()> {
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .map_err(io::Error::other)?;
    let file = folder.join("canary");
    fs::write(&file, b"canary")?;
    fs::remove_file(&file)?;
    let deadline = Instant::now()
        .checked_add(CANARY)
        .unwrap_or_else(Instant::now);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match received.recv_timeout(left) {
            Ok(Change::Removed { path, .. }) if path == file => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// What notify's thread does with an event. It never waits for us.
struct Intake {
    sender: SyncSender<Change>,
    call: OwnedFd,
    counts: Arc<Counts>,
    watch: Arc<Watch>,
}

impl Intake {
    fn take(&self, event: notify::Result<notify::Event>) {
        let change = match event {
            Ok(event) => self.change(event),
            Err(_queue_or_limit) => Some(Change::Overflow),
        };
        let Some(change) = change else {
            return;
        };
        let kind = change.kind();
        if self.sender.try_send(change).is_err() {
            self.counts.lose(kind);
        }
        let _already_called = rustix::io::write(&self.call, &1_u64.to_ne_bytes());
    }

    fn change(&self, event: notify::Event) -> Option<Change> {
        if event.need_rescan() {
            return Some(Change::Overflow);
        }
        let cookie = event.tracker();
        let path = event.paths.into_iter().next()?;
        match event.kind {
            EventKind::Create(kind) => Some(Change::Created {
                path,
                is_folder: kind == CreateKind::Folder,
            }),
            EventKind::Modify(ModifyKind::Data(_)) => Some(Change::Written { path }),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                Some(Change::Closed { path })
            }
            EventKind::Remove(kind) => Some(Change::Removed {
                path,
                is_folder: kind == RemoveKind::Folder,
            }),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Change::MovedFrom {
                path,
                cookie: cookie?,
            }),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Change::MovedTo {
                path,
                cookie: cookie?,
            }),
            EventKind::Access(AccessKind::Open(_)) => self.opened(path),
            EventKind::Modify(ModifyKind::Metadata(_)) => {
                self.counts.filter(Kind::FileAttr);
                None
            }
            _ => None,
        }
    }

    fn opened(&self, path: PathBuf) -> Option<Change> {
        if self.watch.is_secret(path.as_os_str().as_bytes()) {
            return Some(Change::Opened { path });
        }
        self.counts.filter(Kind::FileOpen);
        None
    }
}

/// What notify's thread counted, by the place of the kind in [`KINDS`].
#[derive(Debug, Default)]
struct Counts {
    filtered: [AtomicU64; KINDS.len()],
    lost: [AtomicU64; KINDS.len()],
}

impl Counts {
    fn filter(&self, kind: Kind) {
        add_one(&self.filtered, kind);
    }

    fn lose(&self, kind: Kind) {
        add_one(&self.lost, kind);
    }

    /// Begins again.
    fn forget(&self) {
        for count in self.filtered.iter().chain(&self.lost) {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn move_to(&self, tally: &mut Tally) {
        for ((kind, filtered), lost) in KINDS.iter().zip(&self.filtered).zip(&self.lost) {
            tally.filtered_many(*kind, filtered.swap(0, Ordering::Relaxed));
            tally.lost(*kind, lost.swap(0, Ordering::Relaxed));
        }
    }
}

fn add_one(counts: &[AtomicU64; KINDS.len()], kind: Kind) {
    let mut places = KINDS.iter().zip(counts);
    if let Some((_, count)) = places.find(|(other, _)| **other == kind) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The kinds that this can see.
pub(super) const KINDS: [Kind; 6] = [
    Kind::FileCreate,
    Kind::FileModify,
    Kind::FileDelete,
    Kind::FileRename,
    Kind::FileAttr,
    Kind::FileOpen,
];
/// Changes between notify's thread and ours: the kernel's own queue is as long.
const QUEUE: usize = 16_384;
/// Most folders that are watched; each takes about a kilobyte of the kernel and of ours.
const MAX_FOLDERS: usize = 65_536;
/// How long the canary may take, and how often it is tried: the queue may be full of older events.
const CANARY: Duration = Duration::from_secs(2);
const CANARY_TRIES: u32 = 3;
