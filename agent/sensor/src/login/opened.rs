//! One opened file of lines or records that others append to.
//!
//! # Invariants
//!
//! - `offset` stands at the beginning of a line or record; nothing before it is read again, but to
//!   see that it is still what it was.
//! - A file that became shorter, or whose bytes before `offset` changed, is reported as rewritten
//!   before anything of its new content is given.
//! - A line that is longer than [`MAX_LINE`] is given cut, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::OFlags;

use super::fusion::{Fate, Origin};
use super::utmp::RECORD_LEN;

/// How a file is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// At line feeds.
    Lines,
    /// Every [`RECORD_LEN`] bytes.
    Records,
}

/// One line or record.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) origin: Origin,
    pub(super) bytes: Vec<u8>,
    /// Whether it was given in an earlier run, or lies before the start.
    pub(super) old: bool,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileId {
    pub(super) dev: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// What came of an attempt to read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// All that is there was read.
    AtEnd,
    /// There is more.
    More,
    /// The content is another one.
    Rewritten,
}

/// Opens a regular file for reading; anything else is refused without waiting for it.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, FileId)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "not a regular file"));
    }
    let id = FileId::of(&metadata);
    Ok((file, id))
}

/// A file that is being followed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) serial: u64,
    pub(super) id: FileId,
    pub(super) offset: u64,
    pub(super) progress: Progress,
    /// Since when its path names another file.
    pub(super) retired: Option<Instant>,
    file: File,
    framing: Framing,
    before: Vec<u8>,
    looked_at: Option<(u64, i64, i64)>,
    skipping: bool,
}

impl Opened {
    /// Opens a regular file; anything else is refused without waiting for it.
    pub(super) fn open(path: &Path, framing: Framing, serial: u64) -> io::Result<Self> {
        let (file, id) = open_regular(path)?;
        Ok(Self {
            serial,
            id,
            offset: 0,
            progress: Progress::default(),
            retired: None,
            file,
            framing,
            before: Vec::new(),
            looked_at: None,
            skipping: false,
        })
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Starts behind the last whole line or record.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        let size = self.size()?;
        let end = match self.framing {
            Framing::Records => size.saturating_sub(size.checked_rem(RECORD).unwrap_or(0)),
            Framing::Lines => self.end_of_lines(size)?,
        };
        self.start_at(end)
    }

    /// Starts here; inside a line, behind it.
    pub(super) fn start_at(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        self.before = self.bytes_before(offset)?;
        self.looked_at = None;
        let inside_a_line = self.before.last().is_some_and(|byte| *byte != b'\n');
        self.skipping = self.framing == Framing::Lines && inside_a_line;
        Ok(())
    }

    /// Starts again with the new content of the same file.
    pub(super) fn start_over(&mut self, serial: u64) -> io::Result<()> {
        self.serial = serial;
        self.progress = Progress::default();
        self.start_at(0)
    }

    /// The bytes just before `offset`, at most [`CHECKED`] of them.
    pub(super) fn bytes_before(&self, offset: u64) -> io::Result<Vec<u8>> {
        let from = offset.saturating_sub(CHECKED);
        let mut bytes = vec![0; usize::try_from(offset.saturating_sub(from)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// The first bytes of the file, at most [`CHECKED`] of them.
    pub(super) fn beginning(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(CHECKED).unwrap_or(0)];
        let got = read_full(&self.file, &mut bytes, 0).unwrap_or(0);
        bytes.truncate(got);
        bytes
    }

    /// What was read last, to recognise this content elsewhere.
    pub(super) fn last_read(&self) -> &[u8] {
        &self.before
    }

    /// Gives again what lies before the start, as old: so that what follows can refer to it.
    pub(super) fn remind(&self, pieces: &mut Vec<Piece>) -> io::Result<()> {
        let from = match self.framing {
            Framing::Records => self
                .offset
                .saturating_sub(RECORD.saturating_mul(REMINDED_RECORDS)),
            Framing::Lines => self.offset.saturating_sub(REMINDED_BYTES),
        };
        let mut bytes = vec![0; usize::try_from(self.offset.saturating_sub(from)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        let whole = match (self.framing, from) {
            (Framing::Records, _) | (Framing::Lines, 0) => 0,
            (Framing::Lines, _) => memchr::memchr(b'\n', &bytes).map_or(bytes.len(), next),
        };
        let mut at = from.saturating_add(length(whole));
        let mut rest = bytes.get(whole..).unwrap_or_default();
        while let Some((frame, used)) = first_frame(self.framing, rest) {
            self.push(pieces, at, frame, true);
            at = at.saturating_add(length(used));
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads on, a bounded amount.
    pub(super) fn read(&mut self, pieces: &mut Vec<Piece>) -> io::Result<Reading> {
        let metadata = self.file.metadata()?;
        let state = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.looked_at == Some(state) {
            return Ok(Reading::AtEnd);
        }
        if metadata.len() < self.offset || self.bytes_before(self.offset)? != self.before {
            return Ok(Reading::Rewritten);
        }
        let mut bytes = vec![0; CHUNK];
        let got = read_full(&self.file, &mut bytes, self.offset)?;
        let used = self.cut(bytes.get(..got).unwrap_or_default(), pieces);
        self.advance(&bytes, used);
        if got == CHUNK {
            return Ok(Reading::More);
        }
        self.looked_at = Some(state);
        Ok(Reading::AtEnd)
    }

    /// Gives a last line without a line feed, when nobody writes to the file any more.
    pub(super) fn read_remainder(&mut self, pieces: &mut Vec<Piece>) -> io::Result<()> {
        let mut bytes = vec![0; MAX_LINE];
        let got = read_full(&self.file, &mut bytes, self.offset)?;
        let rest = bytes.get(..got).unwrap_or_default();
        if self.framing == Framing::Lines && !rest.is_empty() && !self.skipping {
            self.push(pieces, self.offset, rest, false);
            self.advance(&bytes, got);
        }
        Ok(())
    }

    /// Gives the frames in `bytes`, which begin at `offset`, and says how many bytes are used up.
    fn cut(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) -> usize {
        let mut used = self.skip_long_line(bytes);
        while let Some((frame, length_of_frame)) =
            first_frame(self.framing, bytes.get(used..).unwrap_or_default())
        {
            let at = self.offset.saturating_add(length(used));
            self.push(pieces, at, frame, self.progress.is_done(at));
            used = used.saturating_add(length_of_frame);
        }
        let rest = bytes.get(used..).unwrap_or_default();
        if self.framing == Framing::Lines && rest.len() > MAX_LINE && !self.skipping {
            let at = self.offset.saturating_add(length(used));
            let beginning = rest.get(..MAX_LINE).unwrap_or_default();
            self.push(pieces, at, beginning, self.progress.is_done(at));
            self.skipping = true;
            return bytes.len();
        }
        used
    }

    /// How many bytes at the beginning still belong to a line that was given cut.
    fn skip_long_line(&mut self, bytes: &[u8]) -> usize {
        if !self.skipping {
            return 0;
        }
        match memchr::memchr(b'\n', bytes) {
            Some(at) => {
                self.skipping = false;
                next(at)
            }
            None => bytes.len(),
        }
    }

    fn advance(&mut self, bytes: &[u8], used: usize) {
        self.offset = self.offset.saturating_add(length(used));
        self.before
            .extend_from_slice(bytes.get(..used).unwrap_or_default());
        let surplus = self
            .before
            .len()
            .saturating_sub(usize::try_from(CHECKED).unwrap_or(0));
        self.before.drain(..surplus);
    }

    /// A writer that does not append leaves zeros behind when its file is truncated.
    fn push(&self, pieces: &mut Vec<Piece>, offset: u64, frame: &[u8], old: bool) {
        let frame = match self.framing {
            Framing::Records => frame,
            Framing::Lines => {
                let text = frame
                    .iter()
                    .position(|byte| *byte != 0)
                    .unwrap_or(frame.len());
                frame.get(text..).unwrap_or_default()
            }
        };
        if !frame.is_empty() {
            let origin = Origin {
                file: self.serial,
                offset,
            };
            pieces.push(Piece {
                origin,
                bytes: frame.to_vec(),
                old,
            });
        }
    }

    fn end_of_lines(&self, size: u64) -> io::Result<u64> {
        let from = size.saturating_sub(length(MAX_LINE));
        let mut bytes = vec![0; usize::try_from(size.saturating_sub(from)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(match memchr::memrchr(b'\n', &bytes) {
            Some(at) => from.saturating_add(length(next(at))),
            None => from,
        })
    }
}

/// Which lines and records behind a position are done with, and which are part of a held event.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    open: BTreeMap<u64, u32>,
    done: BTreeSet<u64>,
}

impl Progress {
    /// As it was stored.
    pub(super) fn restored(done: &[u64]) -> Self {
        Self {
            open: BTreeMap::new(),
            done: done.iter().copied().collect(),
        }
    }

    /// A piece became a word with this fate.
    pub(super) fn note(&mut self, offset: u64, fate: Fate) {
        match fate {
            Fate::Held => {
                let words = self.open.entry(offset).or_insert(0);
                *words = words.saturating_add(1);
            }
            Fate::Done => self.finish(offset),
        }
    }

    /// One held word of this piece is done with.
    pub(super) fn settle(&mut self, offset: u64) {
        let words = self
            .open
            .get(&offset)
            .copied()
            .unwrap_or(0)
            .saturating_sub(1);
        if words > 0 {
            self.open.insert(offset, words);
        } else {
            self.open.remove(&offset);
            self.finish(offset);
        }
    }

    /// From where to read again after a restart, when `read` is where reading stands.
    pub(super) fn low_water(&self, read: u64) -> u64 {
        self.open.keys().next().copied().unwrap_or(read).min(read)
    }

    /// The pieces behind that which must not be given again.
    pub(super) fn done_since(&self, low_water: u64) -> Vec<u64> {
        self.done.range(low_water..).copied().collect()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_done(&self, offset: u64) -> bool {
        self.done.contains(&offset)
    }

    /// Only what lies behind a held word must be remembered.
    fn finish(&mut self, offset: u64) {
        self.done.insert(offset);
        match self.open.keys().next() {
            Some(first) => self.done = self.done.split_off(first),
            None => self.done.clear(),
        }
    }
}

fn first_frame(framing: Framing, bytes: &[u8]) -> Option<(&[u8], usize)> {
    match framing {
        Framing::Records => Some((bytes.get(..RECORD_LEN)?, RECORD_LEN)),
        Framing::Lines => {
            let end = memchr::memchr(b'\n', bytes)?;
            let line = bytes.get(..end)?;
            Some((line.get(..MAX_LINE).unwrap_or(line), next(end)))
        }
    }
}

fn read_full(file: &File, bytes: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut got = 0_usize;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        let count = file.read_at(rest, offset)?;
        if count == 0 {
            break;
        }
        got = got.saturating_add(count);
        offset = offset.saturating_add(length(count));
    }
    Ok(got)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn next(at: usize) -> usize {
    at.saturating_add(1)
}

/// Longest line that is read whole, in bytes.
pub(super) const MAX_LINE: usize = 64 * 1024;
/// How much is read at once: more than two lines of the greatest length.
const CHUNK: usize = 256 * 1024;
/// How many bytes before the position must still be there.
const CHECKED: u64 = 128;
const RECORD: u64 = RECORD_LEN as u64;
/// How far back to look at the start.
const REMINDED_BYTES: u64 = 256 * 1024;
const REMINDED_RECORDS: u64 = 2_048;
