//! Files below the watched folders, from fanotify marks on their file systems.
//!
//! # Invariants
//!
//! - Each bit of each notice is counted once with its fate. What has no path that could be resolved
//!   is lost, never guessed.
//! - The kernel puts notices about one name by one process together while they wait, so several
//!   changes of a kind may be one; which came first is then told by what is there now.
//! - When the kernel's queue overflows nobody knows how much was lost: it counts as one lost
//!   modification.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use picket_event::{Detail, Event, File, Hook, HookState, Kind, LossCause, Source};
use rustix::fs::{Mode, OFlags};

use super::canary::Canary;
use super::fanotify::{self, Group};
use super::folders::Folders;
use super::mounts;
use super::notice::{Notice, notices};
use super::secrets::Secrets;
use super::table::Table;
use super::written::Written;
use crate::Settings;
use crate::ebpf::watch::Watch;
use crate::portable::describe;
use crate::tally::Tally;

/// Watches files.
#[derive(Debug)]
pub(super) struct Files {
    group: Group,
    secrets: io::Result<Secrets>,
    folders: Folders,
    written: Written,
    watch: Watch,
    roots: Vec<PathBuf>,
    mounts: Vec<u8>,
    refused: Vec<(PathBuf, String)>,
    has_rename: bool,
}

/// What waited, not yet looked at.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    changes: Vec<Notice>,
    opens: Vec<Notice>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.opens.is_empty()
    }
}

/// With what notices become events.
pub(super) struct Context<'a> {
    pub(super) table: &'a mut Table,
    pub(super) tally: &'a mut Tally,
    pub(super) canary: Option<&'a mut Canary>,
    /// When the notices were read, since boot.
    pub(super) read_ns: u64,
    pub(super) out: Vec<Event>,
    /// Whether the kernel's queue was full.
    pub(super) has_overflowed: bool,
}

/// One fact about a file; the second path is a new name.
#[derive(Debug)]
struct Fact {
    kind: Kind,
    pid: u32,
    path: Vec<u8>,
    new_path: Vec<u8>,
}

impl Fact {
    fn at(kind: Kind, pid: u32, path: Vec<u8>) -> Self {
        Self {
            kind,
            pid,
            path,
            new_path: Vec::new(),
        }
    }

    /// Of a renaming only the new name is known.
    fn only_new(self) -> Self {
        Self {
            new_path: self.path,
            path: Vec::new(),
            ..self
        }
    }

    fn last_path(&self) -> &[u8] {
        if self.new_path.is_empty() {
            &self.path
        } else {
            &self.new_path
        }
    }
}

impl Context<'_> {
    /// Nobody knows how much did not fit: it counts as one.
    fn overflowed(&mut self, kind: Kind) {
        self.tally.lost_by(kind, LossCause::Ring, 1);
        self.has_overflowed = true;
    }

    /// A fact is as old as its reading at most, and as the end of its process.
    fn push(&mut self, kind: Kind, pid: u32, file: File) {
        let actor = self.table.actor(pid);
        let ended = actor.as_ref().and_then(|(_, ended)| *ended);
        let at_ns = ended.map_or(self.read_ns, |ended| ended.min(self.read_ns));
        let mut event = Event::new(kind, self.table.census.at(at_ns), SOURCE);
        event.boot_ns = at_ns;
        event.process = actor.map(|(process, _)| process);
        self.out.push(event.with(Detail::File(file)));
    }

    /// What was told earlier did not happen later.
    fn settle_times(&mut self) {
        let mut at_most = u64::MAX;
        for event in self.out.iter_mut().rev() {
            at_most = at_most.min(event.boot_ns);
            event.boot_ns = at_most;
            event.time = self.table.census.at(at_most);
        }
    }
}

impl Files {
    /// Marks every file system that holds a watched path.
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let watch = Watch::new(&settings.watch, &settings.secrets);
        let (group, has_rename) = group()?;
        let mut files = Self {
            group,
            secrets: Secrets::open(&settings.secrets, &watch),
            folders: Folders::default(),
            written: Written::new(),
            watch,
            roots: settings.watch.clone(),
            mounts: Vec::new(),
            refused: Vec::new(),
            has_rename,
        };
        files.look_for_mounts();
        Ok(files)
    }

    /// Marks the file systems that were mounted since the last look.
    pub(super) fn look_for_mounts(&mut self) {
        let listed = mounts::listed();
        if listed == self.mounts {
            return;
        }
        self.refused.clear();
        for (fsid, place) in mounts::holding(&listed, &self.roots) {
            if self.folders.has_mount(fsid) {
                continue;
            }
            if let Err(error) = self.mark(fsid, &place) {
                self.refused.push((place, error.to_string()));
            }
        }
        self.mounts = listed;
    }

    /// What to wait on.
    pub(super) fn queues(&self) -> Vec<BorrowedFd<'_>> {
        let secrets = self.secrets.as_ref().ok().map(AsFd::as_fd);
        std::iter::once(self.group.as_fd()).chain(secrets).collect()
    }

    /// Marks the canary's secret, and its file system if nothing else is watched there: then gives what
    /// [`Files::end_canary`] is to be told.
    pub(super) fn begin_canary(&mut self, canary: &Canary) -> Option<PathBuf> {
        self.mark_secret(&canary.secret());
        let fsid = mounts::file_system_of(canary.folder()).ok()?;
        if self.folders.has_mount(fsid) {
            return None;
        }
        self.mark(fsid, canary.folder()).ok()?;
        Some(canary.folder().to_owned())
    }

    /// Takes the mark away that was for the canary alone.
    pub(super) fn end_canary(&mut self, folder: &Path) {
        let forgotten = self.group.forget_file_system(folder, self.changes());
        if let Err(error) = forgotten.and_then(|()| {
            let fsid = mounts::file_system_of(folder)?;
            self.folders.forget_mount(fsid);
            Ok(())
        }) {
            tracing::debug!(%error, "mark of the canary's file system stays");
        }
        // Meanwhile a watched folder may have been mounted there: the next look finds it.
        self.mounts.clear();
    }

    fn mark_secret(&mut self, path: &Path) {
        if let Ok(secrets) = &mut self.secrets {
            secrets.mark(path);
        }
    }

    /// The state of the file system marks, of those that were refused, and of the secrets.
    pub(super) fn hooks(&self, came_back: impl Fn(Kind) -> bool) -> Vec<Hook> {
        let missing: Vec<&str> = KINDS
            .iter()
            .filter(|kind| **kind != Kind::FileOpen && !came_back(**kind))
            .map(|kind| kind.name())
            .collect();
        let how = if self.has_rename {
            "both names of a renaming at once"
        } else {
            "kernel before 5.17: a renaming is told in two halves"
        };
        let detail = format!("{} file systems, {how}", self.folders.mounts());
        let mut hooks = vec![match self.folders.mounts() {
            0 => unavailable("fanotify", "no file system could be marked"),
            _ => standing("fanotify", &missing.join(", "), &detail),
        }];
        for (place, why) in &self.refused {
            hooks.push(unavailable(&format!("fanotify {}", place.display()), why));
        }
        hooks.push(match &self.secrets {
            Ok(secrets) => {
                let (marked, left_out) = secrets.count();
                let detail = format!("{marked} secrets marked, {left_out} could not be");
                let kind = Kind::FileOpen;
                let missing = if came_back(kind) { "" } else { kind.name() };
                standing("fanotify_open", missing, &detail)
            }
            Err(error) => unavailable("fanotify_open", &error.to_string()),
        });
        hooks
    }

    /// Takes what waits, quickly.
    pub(super) fn read(&mut self) -> io::Result<Waiting> {
        let mut waiting = Waiting::default();
        for _ in 0..MOST_READS {
            let buffer = self.group.read()?;
            if buffer.is_empty() {
                break;
            }
            waiting.changes.extend(notices(buffer));
        }
        if let Ok(secrets) = &mut self.secrets {
            waiting.opens = secrets.read()?;
        }
        Ok(waiting)
    }

    /// Makes events of what waited.
    pub(super) fn tell(&mut self, waiting: Waiting, context: &mut Context<'_>) {
        self.learn_folders(&waiting.changes);
        for notice in &waiting.opens {
            self.tell_open(notice, context);
        }
        for notice in &waiting.changes {
            self.tell_change(notice, context);
        }
        context.settle_times();
    }

    /// Folders that were removed are asked for in vain later, but their own notices name them. The
    /// outermost is removed last, so its notice is looked at first.
    fn learn_folders(&mut self, changes: &[Notice]) {
        let removed = changes
            .iter()
            .rev()
            .filter(|notice| notice.has(libc::FAN_ONDIR) && notice.has(libc::FAN_DELETE));
        for notice in removed {
            if let (Some(target), Some(entry)) = (&notice.target, &notice.entry)
                && let Ok(path) = self.folders.path(entry)
            {
                self.folders.learn(target, path);
            }
        }
    }

    fn tell_open(&mut self, notice: &Notice, context: &mut Context<'_>) {
        let secrets = self.secrets.as_ref().ok();
        match secrets.and_then(|secrets| secrets.path(notice)) {
            _ if is_overflow(notice) => context.overflowed(Kind::FileOpen),
            None => context.tally.lost_by(Kind::FileOpen, LossCause::Reader, 1),
            Some(path) => {
                let path = path.as_os_str().as_encoded_bytes().to_vec();
                self.submit(Fact::at(Kind::FileOpen, notice.pid, path), context);
            }
        }
    }

    fn tell_change(&mut self, notice: &Notice, context: &mut Context<'_>) {
        if is_overflow(notice) {
            context.overflowed(Kind::FileModify);
            return;
        }
        if notice.has(libc::FAN_RENAME) {
            self.tell_rename(notice, context);
            return;
        }
        let kinds = kinds_of(notice);
        let Some(entry) = &notice.entry else {
            // A change of the number of names comes without a name; what made it comes with one.
            for kind in kinds {
                context.tally.filtered(kind);
            }
            return;
        };
        let Ok(path) = self.folders.path(entry) else {
            for kind in kinds {
                context.tally.lost_by(kind, LossCause::Reader, 1);
            }
            return;
        };
        if notice.has(libc::FAN_ONDIR) {
            self.follow_folder(notice, &path);
        }
        for kind in in_order(kinds, &path) {
            let fact = Fact::at(kind, notice.pid, path.clone());
            let is_second_half = kind == Kind::FileRename && notice.has(libc::FAN_MOVED_TO);
            let fact = if is_second_half {
                fact.only_new()
            } else {
                fact
            };
            self.submit(fact, context);
        }
    }

    fn follow_folder(&mut self, notice: &Notice, path: &[u8]) {
        if notice.has(libc::FAN_DELETE | libc::FAN_MOVED_FROM) {
            self.folders.forget_below(path);
        }
        if let Some(target) = &notice.target
            && notice.has(libc::FAN_CREATE | libc::FAN_MOVED_TO)
        {
            self.folders.learn(target, path.to_vec());
        }
    }

    fn tell_rename(&mut self, notice: &Notice, context: &mut Context<'_>) {
        let mut path = |entry: &Option<_>| {
            let entry = entry.as_ref();
            entry.and_then(|entry| self.folders.path(entry).ok())
        };
        let (old, new) = (path(&notice.old), path(&notice.new));
        if notice.has(libc::FAN_ONDIR) {
            for path in old.iter().chain(&new) {
                self.folders.forget_below(path);
            }
        }
        if old.is_none() && new.is_none() {
            context
                .tally
                .lost_by(Kind::FileRename, LossCause::Reader, 1);
            return;
        }
        let fact = Fact {
            new_path: new.unwrap_or_default(),
            ..Fact::at(Kind::FileRename, notice.pid, old.unwrap_or_default())
        };
        self.submit(fact, context);
    }

    fn submit(&mut self, fact: Fact, context: &mut Context<'_>) {
        if !self.is_wanted(&fact, context) {
            context.tally.filtered(fact.kind);
            return;
        }
        let sensitive = self.watch.is_secret(&fact.path) || self.watch.is_secret(&fact.new_path);
        if sensitive && fact.kind != Kind::FileOpen && fact.kind != Kind::FileDelete {
            self.mark_secret(&as_path(fact.last_path()));
        }
        let mut file = File {
            path: fact.path.as_slice().into(),
            new_path: fact.new_path.as_slice().into(),
            sensitive,
            ..File::default()
        };
        describe(fact.kind, &mut file);
        context.tally.submitted(fact.kind);
        context.push(fact.kind, fact.pid, file);
    }

    fn is_wanted(&mut self, fact: &Fact, context: &mut Context<'_>) -> bool {
        let canary = context.canary.as_deref_mut();
        if canary.is_some_and(|canary| canary.claims_file(fact.kind, fact.pid, &fact.path)) {
            return false;
        }
        let is_at = |path: &[u8]| !path.is_empty() && self.watch.is_watched(path);
        let is_watched = fact.kind == Kind::FileOpen || is_at(&fact.path) || is_at(&fact.new_path);
        if fact.pid == std::process::id() || !is_watched {
            return false;
        }
        fact.kind != Kind::FileModify || self.written.is_modified(&as_path(&fact.path))
    }

    fn mark(&mut self, fsid: u64, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mount = rustix::fs::open(path, flags, Mode::empty())?;
        let handle = fanotify::handle_of(path, fsid)?;
        // Some file systems give handles that cannot be opened: then no path would ever be known.
        fanotify::path_of(mount.as_fd(), &handle)?;
        self.group.mark_file_system(path, self.changes())?;
        self.folders.add_mount(fsid, path.to_owned());
        Ok(())
    }

    /// What the marks of file systems ask for.
    fn changes(&self) -> u64 {
        if self.has_rename {
            CHANGES | libc::FAN_RENAME
        } else {
            CHANGES | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO
        }
    }
}

/// The best group that this kernel has, and whether it tells both names of a renaming at once.
fn group() -> io::Result<(Group, bool)> {
    let names = libc::FAN_REPORT_FID | libc::FAN_REPORT_DFID_NAME;
    match Group::open(names | libc::FAN_REPORT_TARGET_FID) {
        Ok(group) => Ok((group, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((Group::open(names)?, false))
        }
        Err(error) => Err(error),
    }
}

fn kinds_of(notice: &Notice) -> Vec<Kind> {
    let kinds = [
        (libc::FAN_CREATE, Kind::FileCreate),
        (libc::FAN_CLOSE_WRITE, Kind::FileModify),
        (libc::FAN_ATTRIB, Kind::FileAttr),
        (libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO, Kind::FileRename),
        (libc::FAN_DELETE, Kind::FileDelete),
    ];
    kinds
        .into_iter()
        .filter(|(bits, _)| notice.has(*bits))
        .map(|(_, kind)| kind)
        .collect()
}

/// Made and removed while the notice waited: if it is there now, the removal came first.
fn in_order(mut kinds: Vec<Kind>, path: &[u8]) -> Vec<Kind> {
    let both = [Kind::FileCreate, Kind::FileDelete];
    let has_both = both.iter().all(|kind| kinds.contains(kind));
    if has_both && fs::symlink_metadata(as_path(path)).is_ok() {
        kinds.rotate_right(1);
    }
    kinds
}

fn is_overflow(notice: &Notice) -> bool {
    notice.has(libc::FAN_Q_OVERFLOW)
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

pub(super) fn standing(name: &str, missing: &str, detail: &str) -> Hook {
    let (state, word) = if missing.is_empty() {
        (HookState::Proved, "canary came back".to_owned())
    } else {
        let word = format!("canary has not come back for {missing}");
        (HookState::Attached, word)
    };
    let parts: Vec<&str> = [word.as_str(), detail]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    Hook {
        name: name.to_owned(),
        state,
        detail: parts.join("; "),
        instead: String::new(),
    }
}

pub(super) fn unavailable(name: &str, why: &str) -> Hook {
    Hook {
        name: name.to_owned(),
        state: HookState::Unavailable,
        detail: why.to_owned(),
        instead: "nothing".to_owned(),
    }
}

/// The kinds that fanotify makes.
pub(super) const KINDS: [Kind; 6] = [
    Kind::FileCreate,
    Kind::FileModify,
    Kind::FileDelete,
    Kind::FileRename,
    Kind::FileAttr,
    Kind::FileOpen,
];
const CHANGES: u64 = libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_ATTRIB
    | libc::FAN_ONDIR;
const MOST_READS: usize = 64;
pub(super) const SOURCE: Source = Source::Audit;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_bits_are_told_in_the_order_that_explains_what_is_there() {
        let kinds = vec![Kind::FileCreate, Kind::FileModify, Kind::FileDelete];
        assert_eq!(in_order(kinds.clone(), b"/no/such/file"), kinds);
        let there = in_order(kinds, b"/proc/self/stat");
        assert_eq!(
            there,
            [Kind::FileDelete, Kind::FileCreate, Kind::FileModify]
        );
    }

    #[test]
    fn each_bit_of_a_mask_is_one_kind() {
        let notice = Notice {
            mask: libc::FAN_CREATE | libc::FAN_CLOSE_WRITE | libc::FAN_ATTRIB | libc::FAN_ONDIR,
            ..Notice::default()
        };
        let expected = [Kind::FileCreate, Kind::FileModify, Kind::FileAttr];
        assert_eq!(kinds_of(&notice), expected);
    }
}
