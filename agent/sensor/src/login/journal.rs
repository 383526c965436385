//! The journal of systemd: what sshd, sudo, su, login and cron say, where no authentication log is kept or beside it.
//!
//! # Invariants
//!
//! - Every file of a folder is followed that journald writes to: the system's and each user's, for a line goes to the
//!   journal of the user whose process wrote it. One that is renamed or deleted is read to its end first.
//! - Entries that journald copies to another file (from memory to disk) are told once.
//! - A file that is damaged takes nothing from the others; what of it cannot be read is counted as lost.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_event::{Hook, HookState, UnixNanos};

use self::file::{Entry, JournalFile, Moment};
use super::fusion::{Fate, Origin};
use super::line::{self, AuthLine};
use super::opened::{FileId, Progress};
use super::position::Position;

mod file;

/// One line of the journal that says something about a login.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) origin: Origin,
    pub(super) line: AuthLine,
    /// Whether it was told in an earlier run, or lies before the start.
    pub(super) old: bool,
}

/// The folders of one host's journal: in memory and on disk.
#[derive(Debug)]
pub(super) struct Journal {
    folders: Vec<Folder>,
    files: Vec<Followed>,
    serial: u64,
    copies: Copies,
    listed: Option<Instant>,
    failure: Option<String>,
    proved: bool,
    lost: u64,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    changed: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Followed {
    path: PathBuf,
    file: JournalFile,
    serial: u64,
    /// The number of the next entry.
    next: u64,
    /// Entries before this one lie before the start: they only remind.
    start: u64,
    progress: Progress,
    /// Since when its path names another file.
    retired: Option<Instant>,
    /// Whether it may hold copies of what another file held.
    is_new: bool,
    failed: bool,
}

/// Where to begin with the files that are there.
enum Begin<'a> {
    Start,
    End,
    At(&'a [Position]),
}

impl Journal {
    /// Follows from the end of what is there now. `first_serial` and the numbers up to the next source's are its own.
    pub(super) fn at_end(folders: &[PathBuf], first_serial: u64) -> Self {
        let mut journal = Self::new(folders, first_serial);
        journal.begin(&Begin::End);
        journal
    }

    /// Follows from the beginning of what is there now.
    pub(super) fn at_start(folders: &[PathBuf], first_serial: u64) -> Self {
        let mut journal = Self::new(folders, first_serial);
        journal.begin(&Begin::Start);
        journal
    }

    /// Follows from where an earlier run stopped.
    pub(super) fn resumed(folders: &[PathBuf], first_serial: u64, positions: &[Position]) -> Self {
        let mut journal = Self::new(folders, first_serial);
        let of_folder = |position: &&Position| folders.contains(&position.path);
        if let Some(mark) = positions.iter().find(of_folder) {
            journal.copies.before = read_mark(mark);
            journal.begin(&Begin::At(positions));
        } else {
            journal.begin(&Begin::End);
        }
        journal
    }

    fn new(folders: &[PathBuf], first_serial: u64) -> Self {
        let folder = |path: &PathBuf| Folder {
            path: path.clone(),
            changed: None,
        };
        Self {
            folders: folders.iter().map(folder).collect(),
            files: Vec::new(),
            serial: first_serial,
            copies: Copies::default(),
            listed: None,
            failure: None,
            proved: false,
            lost: 0,
        }
    }

    fn begin(&mut self, begin: &Begin<'_>) {
        if let Begin::At(positions) = begin {
            let ours = |position: &&Position| self.is_in_a_folder(&position.path);
            for position in positions.iter().filter(ours).cloned().collect::<Vec<_>>() {
                self.open_known(&position);
            }
            self.open_between();
        }
        self.list(Instant::now());
        for followed in &mut self.files {
            if matches!(begin, Begin::End) {
                let standing = followed.file.standing().unwrap_or_default();
                followed.start = standing.entries;
                followed.next = standing.entries.saturating_sub(REMINDED);
                followed.is_new = false;
                self.copies.pass(&standing.newest);
            } else if matches!(begin, Begin::Start) {
                followed.is_new = false;
            }
        }
        if matches!(begin, Begin::End) {
            self.copies.before = self.copies.newest;
        } else if matches!(begin, Begin::At(_)) {
            self.copies.newest = self.copies.before;
        }
    }

    /// Opens the file of this position, whatever it is called by now. What journald kept in memory is gone with a boot, or was
    /// copied to disk.
    fn open_known(&mut self, position: &Position) {
        let folder = position.path.parent().unwrap_or(&position.path);
        let mut names = names(folder).into_iter();
        let named = names.find(|name| is_file(name, position));
        let opened = named.and_then(|name| self.open(&name).ok());
        let opened = opened.filter(|opened| opened.file.check == position.check);
        let Some(mut followed) = opened else {
            let is_lost = position.is_of_a_file() && !folder.starts_with("/run");
            self.lost = self.lost.saturating_add(u64::from(is_lost));
            return;
        };
        followed.path.clone_from(&position.path);
        followed.start = position.offset;
        followed.next = position.offset.saturating_sub(REMINDED);
        followed.progress = Progress::restored(&position.done);
        followed.is_new = false;
        self.files.push(followed);
    }

    /// Opens what came and was renamed while nobody looked.
    fn open_between(&mut self) {
        let folders: Vec<PathBuf> = self.folders.iter().map(|one| one.path.clone()).collect();
        let names = folders.iter().flat_map(|folder| names(folder));
        for path in names.filter(|path| !is_written_to(path)) {
            let Ok(followed) = self.open(&path) else {
                continue;
            };
            let is_known = self.files.iter().any(|one| one.file.id == followed.file.id);
            let newest = followed.file.standing().unwrap_or_default().newest;
            if !is_known && !self.copies.is_before(&newest) {
                self.files.push(followed);
            }
        }
    }

    fn is_in_a_folder(&self, path: &Path) -> bool {
        let parent = path.parent();
        self.folders
            .iter()
            .any(|folder| Some(folder.path.as_path()) == parent)
    }

    /// Gives what is new, a bounded amount; true if there is more.
    pub(super) fn read(&mut self, now: Instant, lines: &mut Vec<Said>) -> bool {
        // First what is open, then what came: a file that appears later holds later entries, or copies of what was just read.
        let mut is_more = self.read_files(lines);
        if self.is_due(now) {
            self.list(now);
            is_more |= self.read_files(lines);
        }
        self.let_go(now);
        is_more
    }

    /// A line became a word with this fate.
    pub(super) fn note(&mut self, origin: Origin, fate: Fate) {
        self.proved = true;
        if let Some(followed) = self.by_serial(origin.file) {
            followed.progress.note(origin.offset, fate);
        }
    }

    /// One held word of a line is done with.
    pub(super) fn settle(&mut self, origin: Origin) {
        if let Some(followed) = self.by_serial(origin.file) {
            followed.progress.settle(origin.offset);
        }
    }

    /// Where to go on after a restart.
    pub(super) fn positions(&self) -> Vec<Position> {
        let mark = self.folders.first();
        let mark = mark.map(|folder| mark_of(&folder.path, &self.copies.newest));
        let files = self.files.iter().map(Followed::position);
        files.chain(mark).collect()
    }

    /// How many entries and files could not be read since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn hook(&self) -> Hook {
        let folder = self.folders.last().map(|folder| folder.path.as_path());
        let name = folder.unwrap_or_else(|| Path::new("?")).display();
        let (state, detail) = match &self.failure {
            Some(why) if self.files.is_empty() => {
                (HookState::Unavailable, format!("cannot be read: {why}"))
            }
            None if self.files.is_empty() => (HookState::Unavailable, "no file there".to_owned()),
            Some(why) => (HookState::Attached, format!("a file cannot be read: {why}")),
            None if self.proved => (HookState::Proved, "gave an event".to_owned()),
            None => (HookState::Attached, "followed, nothing came yet".to_owned()),
        };
        Hook {
            name: format!("login journal {name}"),
            state,
            detail,
            instead: String::new(),
        }
    }

    /// Whether files may have come or gone. A folder's time is coarse, so it is listed now and then all the same.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= LIST_EVERY;
        let mut is_due = self.listed.is_none_or(is_old);
        for folder in &mut self.folders {
            let changed = fs::metadata(&folder.path).ok();
            let changed = changed.map(|folder| (folder.mtime(), folder.mtime_nsec()));
            is_due |= changed != folder.changed;
            folder.changed = changed;
        }
        is_due
    }

    /// Opens what is there and not yet open; marks what is no longer.
    fn list(&mut self, now: Instant) {
        self.listed = Some(now);
        let failed = self.files.iter().find(|followed| followed.failed);
        self.failure = failed.map(|failed| format!("{} is damaged", failed.path.display()));
        let mut there = HashSet::new();
        let folders: Vec<PathBuf> = self.folders.iter().map(|one| one.path.clone()).collect();
        let names = folders.iter().flat_map(|folder| names(folder));
        for path in names.filter(|path| is_written_to(path)) {
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let id = FileId::of(&metadata);
            there.insert((id.dev, id.inode));
            if self.files.iter().any(|followed| followed.file.id == id) {
                continue;
            }
            match self.open(&path) {
                Ok(followed) => self.files.push(followed),
                Err(error) => self.failure = Some(format!("{}: {error}", path.display())),
            }
        }
        for followed in &mut self.files {
            let id = followed.file.id;
            if there.contains(&(id.dev, id.inode)) {
                followed.retired = None;
            } else {
                followed.retired.get_or_insert(now);
            }
        }
    }

    fn open(&mut self, path: &Path) -> io::Result<Followed> {
        self.serial = self.serial.wrapping_add(1);
        Ok(Followed {
            path: path.to_owned(),
            file: JournalFile::open(path)?,
            serial: self.serial,
            next: 0,
            start: 0,
            progress: Progress::default(),
            retired: None,
            is_new: true,
            failed: false,
        })
    }

    fn read_files(&mut self, lines: &mut Vec<Said>) -> bool {
        let mut is_more = false;
        for followed in &mut self.files {
            if followed.failed {
                continue;
            }
            match followed.read(&mut self.copies, &mut self.lost, lines) {
                Ok(more) => is_more |= more,
                Err(error) => {
                    tracing::warn!(path = %followed.path.display(), %error, "a journal file is damaged");
                    self.failure = Some(format!("{}: {error}", followed.path.display()));
                    self.lost = self.lost.saturating_add(1);
                    followed.failed = true;
                }
            }
        }
        is_more
    }

    fn let_go(&mut self, now: Instant) {
        self.files.retain(|followed| {
            let since = followed.retired.map(|at| now.saturating_duration_since(at));
            // journald closes a file when it renames it. A deleted one it may never mark as closed.
            let over = since.is_some_and(|since| {
                let standing = followed.file.standing().unwrap_or_default();
                let is_read = followed.failed || followed.next >= standing.entries;
                is_read && (!standing.online || since >= GRACE)
            });
            !over || !followed.progress.is_settled()
        });
    }

    fn by_serial(&mut self, serial: u64) -> Option<&mut Followed> {
        self.files
            .iter_mut()
            .find(|followed| followed.serial == serial)
    }
}

impl Followed {
    /// Reads on, a bounded amount; true if there is more.
    fn read(
        &mut self,
        copies: &mut Copies,
        lost: &mut u64,
        lines: &mut Vec<Said>,
    ) -> io::Result<bool> {
        let standing = self.file.standing()?;
        let last = standing.entries.min(self.next.saturating_add(AT_ONCE));
        while self.next < last {
            let number = self.next;
            let offset = self.file.find(&standing, number)?;
            self.next = number.saturating_add(1);
            let old = number < self.start || self.progress.is_done(number);
            let entry = match self.file.entry(offset) {
                Ok(entry) => entry,
                Err(_damaged) => {
                    *lost = lost.saturating_add(u64::from(!old));
                    continue;
                }
            };
            copies.pass(&entry.received);
            let line = line_of(&entry);
            if let Some(line) = line.filter(|_| copies.is_first(&entry, self.is_new) || old) {
                let origin = Origin {
                    file: self.serial,
                    offset: number,
                };
                lines.push(Said { origin, line, old });
            }
        }
        Ok(self.next < standing.entries)
    }

    fn position(&self) -> Position {
        let low_water = self.progress.low_water(self.next.max(self.start));
        Position {
            dev: self.file.id.dev,
            inode: self.file.id.inode,
            check: self.file.check,
            offset: low_water,
            done: self.progress.done_since(low_water),
            retired: self.retired.is_some(),
            ..Position::of_nothing(&self.path)
        }
    }
}

/// Which entries were told lately, to know them again in a file to which journald copied them.
#[derive(Debug, Default)]
struct Copies {
    known: HashSet<(u64, u64)>,
    order: VecDeque<(Moment, u64)>,
    /// What a new file holds that was received before this is a copy.
    before: Moment,
    /// When the last entry was received that was read.
    newest: Moment,
}

impl Copies {
    /// An entry of this moment was read, or lies before the start.
    fn pass(&mut self, moment: &Moment) {
        if !is_at_most(moment, &self.newest) {
            self.newest = *moment;
        }
    }

    fn is_before(&self, moment: &Moment) -> bool {
        is_at_most(moment, &self.before)
    }

    /// Whether this entry was not told before; from now on it was.
    fn is_first(&mut self, entry: &Entry, is_new: bool) -> bool {
        let is_old = is_new && self.is_before(&entry.received);
        if is_old || !self.known.insert((entry.received.monotonic, entry.hash)) {
            return false;
        }
        self.order.push_back((entry.received, entry.hash));
        if self.order.len() > MOST_COPIES
            && let Some((moment, hash)) = self.order.pop_front()
        {
            self.known.remove(&(moment.monotonic, hash));
            if !self.is_before(&moment) {
                self.before = moment;
            }
        }
        true
    }
}

/// Within a boot by its own clock, which nobody sets; else by the date.
fn is_at_most(moment: &Moment, other: &Moment) -> bool {
    if moment.boot == other.boot {
        moment.monotonic <= other.monotonic
    } else {
        moment.realtime <= other.realtime
    }
}

/// How far all files were read, as the position of their folder.
fn mark_of(folder: &Path, moment: &Moment) -> Position {
    Position {
        offset: moment.monotonic,
        check: moment.boot,
        done: vec![moment.realtime],
        ..Position::of_nothing(folder)
    }
}

fn read_mark(mark: &Position) -> Moment {
    Moment {
        boot: mark.check,
        monotonic: mark.offset,
        realtime: mark.done.first().copied().unwrap_or_default(),
    }
}

/// What an entry says about a login, if it is to be believed.
fn line_of(entry: &Entry) -> Option<AuthLine> {
    let sent = entry.sent.unwrap_or(entry.received.realtime);
    let sent = i64::try_from(sent).unwrap_or(i64::MAX);
    let time = UnixNanos(sent.saturating_mul(1_000));
    let line = line::said(time, &entry.identifier, entry.pid, &entry.message)?;
    is_by_root(entry).then_some(line)
}

/// Whether root wrote it, or a program that runs as root whoever starts it (sudo, su). Of a writer that had gone before journald
/// looked only the user is known: it is believed as a line of the authentication log is.
fn is_by_root(entry: &Entry) -> bool {
    let is_set_uid = |path: &[u8]| {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        fs::metadata(path).is_ok_and(|file| file.uid() == 0 && file.mode() & SET_UID != 0)
    };
    entry.uid == Some(0) || entry.exe.is_empty() || is_set_uid(&entry.exe)
}

/// The journal files in a folder, the oldest name first; none if it cannot be read.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut names: Vec<PathBuf> = paths.filter(|path| is_journal(path)).collect();
    names.sort();
    names
}

/// `system.journal`, `system@....journal`, and `...journal~` where it was not closed well.
fn is_journal(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.ends_with(b".journal") || name.ends_with(b".journal~")
}

/// journald writes to names without `@` only.
fn is_written_to(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.ends_with(b".journal") && !name.contains(&b'@')
}

fn is_file(path: &Path, position: &Position) -> bool {
    fs::metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == position.id())
}

/// How often folders are listed whose time has not changed.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How long a deleted file is still read.
const GRACE: Duration = Duration::from_mins(1);
/// How many entries before the start are read, so that what follows can refer to them.
const REMINDED: u64 = 1_024;
/// Most entries of a file that are read at once.
const AT_ONCE: u64 = 512;
/// How many entries are remembered to know copies of them.
const MOST_COPIES: usize = 16_384;
const SET_UID: u32 = 0o4000;
