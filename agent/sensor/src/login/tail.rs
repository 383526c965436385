//! One path followed through rotation, truncation, deletion and re-creation.
//!
//! # Invariants
//!
//! - What is read of the path is, in this order: the rest of each file that it named before, then
//!   the file that it names now. A renamed file is kept open, so its number is not used again.
//! - At most [`MAX_OLDER`] former files are kept open, each for [`GRACE`] after its last change of
//!   place, because its writer may need a moment to notice.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use picket_event::{Hook, HookState};

use super::fusion::{Fate, Origin};
use super::opened::{FileId, Framing, Opened, Piece, Progress, Reading};
use super::position::{Position, fingerprint};

/// One followed path.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    framing: Framing,
    serial: u64,
    current: Option<Opened>,
    older: VecDeque<Opened>,
    missing: Option<io::Error>,
    hidden_at_start: bool,
    proved: bool,
    lost: u64,
}

impl Tail {
    /// Follows `path` from its end. `first_serial` and the numbers up to the next tail's are its own.
    pub(super) fn at_end(
        path: &Path,
        framing: Framing,
        first_serial: u64,
        pieces: &mut Vec<Piece>,
    ) -> Self {
        let mut tail = Self::new(path, framing, first_serial);
        match tail.open(path) {
            Ok(mut opened) => {
                tail.note_failure(opened.skip_to_end());
                tail.note_failure(opened.remind(pieces));
                tail.current = Some(opened);
            }
            Err(error) => {
                tail.hidden_at_start = error.kind() != io::ErrorKind::NotFound;
                tail.missing = Some(error);
            }
        }
        tail
    }

    /// Follows `path` from where an earlier run stopped: these positions, the oldest first.
    pub(super) fn resumed(
        path: &Path,
        framing: Framing,
        first_serial: u64,
        positions: &[&Position],
        pieces: &mut Vec<Piece>,
    ) -> Self {
        let mut tail = Self::new(path, framing, first_serial);
        for position in positions {
            match tail.find(position) {
                Some(opened) => {
                    tail.note_failure(opened.remind(pieces));
                    tail.older.push_back(opened);
                }
                None => tail.lost = tail.lost.saturating_add(u64::from(position.is_of_a_file())),
            }
        }
        tail.catch_up();
        tail
    }

    /// Gives what is new, a bounded amount; true if there is more. `now` decides when a former file
    /// is let go.
    pub(super) fn read(&mut self, now: Instant, pieces: &mut Vec<Piece>) -> bool {
        self.look(now);
        self.read_older(now, pieces) || self.read_current(now, pieces)
    }

    /// A piece of this tail became a word with this fate.
    pub(super) fn note(&mut self, origin: Origin, fate: Fate) {
        self.proved = true;
        if let Some(opened) = self.by_serial(origin.file) {
            opened.progress.note(origin.offset, fate);
        }
    }

    /// One held word of a piece of this tail is done with.
    pub(super) fn settle(&mut self, origin: Origin) {
        if let Some(opened) = self.by_serial(origin.file) {
            opened.progress.settle(origin.offset);
        }
    }

    /// Where to go on after a restart: the oldest file first.
    pub(super) fn positions(&self) -> Vec<Position> {
        let files = self.older.iter().chain(&self.current);
        let mut positions: Vec<Position> = files.map(|opened| self.position(opened)).collect();
        if positions.is_empty() {
            positions.push(Position::of_nothing(&self.path));
        }
        positions
    }

    /// Whether the path can be read, and why not.
    pub(super) fn hook(&self) -> Hook {
        let name = format!("login {}", self.path.display());
        let (state, detail) = match (&self.current, &self.missing) {
            (None, Some(error)) => (HookState::Unavailable, format!("cannot be read: {error}")),
            (None, None) => (HookState::Unavailable, "not looked at yet".to_owned()),
            (Some(_), Some(error)) => (
                HookState::Attached,
                format!("waiting for the next: {error}"),
            ),
            (Some(_), None) if self.proved => (HookState::Proved, "gave an event".to_owned()),
            (Some(_), None) => (HookState::Attached, "followed, nothing came yet".to_owned()),
        };
        Hook {
            name,
            state,
            detail,
            instead: String::new(),
        }
    }

    /// How many files went out of reach since the last call with something unread.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn new(path: &Path, framing: Framing, first_serial: u64) -> Self {
        Self {
            path: path.to_owned(),
            framing,
            serial: first_serial,
            current: None,
            older: VecDeque::new(),
            missing: None,
            hidden_at_start: false,
            proved: false,
            lost: 0,
        }
    }

    fn open(&mut self, path: &Path) -> io::Result<Opened> {
        self.serial = self.serial.wrapping_add(1);
        Opened::open(path, self.framing, self.serial)
    }

    /// Looks which file the path names now.
    fn look(&mut self, now: Instant) {
        match fs::metadata(&self.path) {
            Ok(metadata) => {
                let id = FileId::of(&metadata);
                if self.current.as_ref().is_none_or(|opened| opened.id != id) {
                    self.change(now);
                } else {
                    self.missing = None;
                }
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.hidden_at_start = false;
                    self.retire(now);
                }
                self.missing = Some(error);
            }
        }
    }

    /// The path names a file that is not followed under it yet.
    fn change(&mut self, now: Instant) {
        let mut opened = match self.open_or_take_back() {
            Ok(opened) => opened,
            Err(error) => {
                self.missing = Some(error);
                return;
            }
        };
        if std::mem::take(&mut self.hidden_at_start) {
            self.note_failure(opened.skip_to_end());
        }
        self.missing = None;
        self.retire(now);
        self.open_between(Some(opened.id));
        self.current = Some(opened);
    }

    /// A file that was moved away and back is the one it was.
    fn open_or_take_back(&mut self) -> io::Result<Opened> {
        let path = self.path.clone();
        let opened = self.open(&path)?;
        let known = self.older.iter().position(|former| former.id == opened.id);
        let mut opened = known.and_then(|at| self.older.remove(at)).unwrap_or(opened);
        opened.retired = None;
        Ok(opened)
    }

    fn retire(&mut self, now: Instant) {
        if let Some(mut former) = self.current.take() {
            former.retired = Some(now);
            self.older.push_back(former);
        }
    }

    /// Reads the former files; true if there is more, which goes before the current file.
    fn read_older(&mut self, now: Instant, pieces: &mut Vec<Piece>) -> bool {
        for opened in &mut self.older {
            let since = *opened.retired.get_or_insert(now);
            match opened.read(pieces) {
                Ok(Reading::More) => return true,
                Ok(Reading::AtEnd) => {}
                Ok(Reading::Rewritten) | Err(_) => opened.retired = since.checked_sub(GRACE),
            }
        }
        self.let_go(now, pieces);
        false
    }

    fn let_go(&mut self, now: Instant, pieces: &mut Vec<Piece>) {
        let too_many = self.older.len() > MAX_OLDER;
        let Some(oldest) = self.older.front_mut() else {
            return;
        };
        let over = oldest
            .retired
            .is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
        if !over && !too_many {
            return;
        }
        let remainder = oldest.read_remainder(pieces);
        let settled = oldest.progress.is_settled();
        self.note_failure(remainder);
        if settled || too_many {
            self.older.pop_front();
        }
    }

    /// Reads the current file; true if there is more.
    fn read_current(&mut self, now: Instant, pieces: &mut Vec<Piece>) -> bool {
        let Some(opened) = &mut self.current else {
            return false;
        };
        match opened.read(pieces) {
            Ok(Reading::AtEnd) => false,
            Ok(Reading::More) => true,
            Ok(Reading::Rewritten) => {
                self.start_over(now);
                true
            }
            Err(error) => {
                self.note_failure(Err(error));
                false
            }
        }
    }

    /// The file was truncated. What was in it may have been copied beside it first.
    fn start_over(&mut self, now: Instant) {
        if let Some(mut copy) = self.find_copy() {
            copy.retired = Some(now);
            self.older.push_back(copy);
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        if let Some(opened) = &mut self.current {
            let result = opened.start_over(serial);
            self.note_failure(result);
        }
    }

    fn find_copy(&mut self) -> Option<Opened> {
        let (offset, before, id) = self
            .current
            .as_ref()
            .map(|opened| (opened.offset, opened.last_read().to_vec(), opened.id))?;
        if before.is_empty() {
            return None;
        }
        let newest_first = siblings(&self.path).into_iter().rev();
        newest_first
            .filter(|sibling| sibling.id != id)
            .find_map(|sibling| {
                let mut opened = self.open(&sibling.path).ok()?;
                let same = opened
                    .bytes_before(offset)
                    .is_ok_and(|bytes| bytes == before);
                (same && opened.start_at(offset).is_ok()).then_some(opened)
            })
    }

    /// The file of a stored position, under its path or beside it, by its number or by its content.
    fn find(&mut self, position: &Position) -> Option<Opened> {
        let mut places = vec![self.path.clone()];
        places.extend(siblings(&self.path).into_iter().map(|sibling| sibling.path));
        let mut by_content = None;
        for place in places {
            let Ok(mut opened) = self.open(&place) else {
                continue;
            };
            let same = opened
                .bytes_before(position.offset)
                .is_ok_and(|bytes| fingerprint(&bytes) == position.check);
            if !same || opened.start_at(position.offset).is_err() {
                continue;
            }
            opened.progress = Progress::restored(&position.done);
            if opened.id == position.id() {
                return Some(opened);
            }
            if position.offset > 0 {
                by_content.get_or_insert(opened);
            }
        }
        by_content
    }

    /// After a restart: the last known file may be the path's still.
    fn catch_up(&mut self) {
        let current = fs::metadata(&self.path)
            .ok()
            .map(|metadata| FileId::of(&metadata));
        if self
            .older
            .back()
            .is_some_and(|opened| Some(opened.id) == current)
        {
            self.current = self.older.pop_back();
        } else {
            self.open_between(current);
        }
    }

    /// Files that the path named after the last known one and before `current`, while nobody looked:
    /// changed later than the last known file, and no copy of it.
    fn open_between(&mut self, current: Option<FileId>) {
        let Some((last, beginning)) = self
            .older
            .back()
            .map(|opened| (opened.id, opened.beginning()))
        else {
            return;
        };
        let siblings = siblings(&self.path);
        let newer = siblings
            .iter()
            .skip_while(|sibling| sibling.id != last)
            .skip(1);
        for sibling in newer.filter(|sibling| Some(sibling.id) != current) {
            let is_known = self.older.iter().any(|opened| opened.id == sibling.id);
            match self.open(&sibling.path) {
                Ok(opened) if !is_known && opened.beginning() != beginning => {
                    self.older.push_back(opened);
                }
                _ => {}
            }
        }
    }

    fn position(&self, opened: &Opened) -> Position {
        let offset = opened.progress.low_water(opened.offset);
        let before = opened.bytes_before(offset).unwrap_or_default();
        Position {
            path: self.path.clone(),
            dev: opened.id.dev,
            inode: opened.id.inode,
            offset,
            check: fingerprint(&before),
            done: opened.progress.done_since(offset),
            retired: opened.retired.is_some(),
        }
    }

    fn by_serial(&mut self, serial: u64) -> Option<&mut Opened> {
        self.older
            .iter_mut()
            .chain(&mut self.current)
            .find(|opened| opened.serial == serial)
    }

    /// A file that cannot be read further is seen again at the next look.
    fn note_failure(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(path = %self.path.display(), %error, "login source cannot be read");
            self.missing = Some(error);
        }
    }
}

/// A rotated, uncompressed file beside a path.
struct Sibling {
    path: PathBuf,
    id: FileId,
    changed: SystemTime,
}

/// The files beside `path` whose names begin with its name, the oldest first.
fn siblings(path: &Path) -> Vec<Sibling> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<Sibling> = entries
        .filter_map(Result::ok)
        .filter(|entry| is_rotated(name, &entry.file_name()))
        .filter_map(|entry| sibling(entry.path()))
        .collect();
    found.sort_by_key(|sibling| sibling.changed);
    found
}

fn sibling(path: PathBuf) -> Option<Sibling> {
    let metadata = fs::symlink_metadata(&path)
        .ok()
        .filter(fs::Metadata::is_file)?;
    Some(Sibling {
        path,
        id: FileId::of(&metadata),
        changed: metadata.modified().ok()?,
    })
}

/// `auth.log.1`, `auth.log-20260105`; not `auth.log` and nothing compressed.
fn is_rotated(name: &OsStr, candidate: &OsStr) -> bool {
    let candidate = candidate.as_bytes();
    let suffix = candidate.strip_prefix(name.as_bytes()).unwrap_or_default();
    let compressed = COMPRESSED.iter().any(|ending| candidate.ends_with(ending));
    matches!(suffix.first(), Some(b'.' | b'-')) && !compressed
}

const COMPRESSED: [&[u8]; 5] = [b".gz", b".xz", b".bz2", b".zst", b".lz4"];
/// How long a former file is still read: longer than a syslog daemon takes to reopen its files.
const GRACE: Duration = Duration::from_mins(1);
/// Most former files kept open.
const MAX_OLDER: usize = 8;
