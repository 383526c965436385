//! One journal file as systemd-journald writes it: <https://systemd.io/JOURNAL_FILE_FORMAT/>.
//!
//! # Invariants
//!
//! - Read only, by offset; nothing is mapped, so a file that is cut short gives an error and no signal.
//! - An entry is read once the header counts it: by then journald has linked it and it is whole.
//! - Every offset and length comes from the file and is checked; chains only lead forward, so no file makes the reading endless.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::login::opened::{FileId, MAX_LINE, open_regular};
use crate::login::position::fingerprint;

/// A journal file that is being read.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) id: FileId,
    /// A fingerprint of the number that journald gave it: another file may have its inode one day.
    pub(super) check: u64,
    file: File,
    compact: bool,
    header_len: u64,
    array: Option<Array>,
    known: HashMap<u64, Field>,
}

/// What the header says now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Standing {
    /// How many entries are linked.
    pub(super) entries: u64,
    /// Whether journald still writes to it.
    pub(super) online: bool,
    /// When the last entry was received.
    pub(super) newest: Moment,
    first_array: u64,
}

/// When journald received something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Moment {
    /// A fingerprint of the boot's number.
    pub(super) boot: u64,
    /// In microseconds since that boot.
    pub(super) monotonic: u64,
    /// In microseconds since 1970.
    pub(super) realtime: u64,
}

/// A piece of the list of entries.
#[derive(Clone, Copy, Debug)]
struct Array {
    offset: u64,
    /// The number of its first entry.
    first: u64,
    capacity: u64,
    next: u64,
}

/// One entry: when it was received and what of it matters to logins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) received: Moment,
    /// Of its contents: the same in each file that it is copied to.
    pub(super) hash: u64,
    /// `MESSAGE`, cut to [`MAX_LINE`].
    pub(super) message: Vec<u8>,
    /// `SYSLOG_IDENTIFIER`, which the writer chose.
    pub(super) identifier: Vec<u8>,
    /// `_PID`, by the kernel's word, as are those below.
    pub(super) pid: Option<u32>,
    /// `_UID`: the real user.
    pub(super) uid: Option<u32>,
    /// `_EXE`; empty if the writer had gone before journald looked.
    pub(super) exe: Vec<u8>,
    /// `_SOURCE_REALTIME_TIMESTAMP`: when it was sent, in microseconds since 1970.
    pub(super) sent: Option<u64>,
}

/// Which field a data object holds, with its value where it is one of many entries.
#[derive(Clone, Debug)]
enum Field {
    Other,
    Message(Vec<u8>),
    Identifier(Vec<u8>),
    Pid(Option<u32>),
    Uid(Option<u32>),
    Exe(Vec<u8>),
    Sent(Option<u64>),
}

impl JournalFile {
    /// Opens it; an error if it is no regular file, no journal, or has a form that is not known.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, id) = open_regular(path)?;
        let header = bytes::<HEADER_LEN>(&file, 0)?;
        if header.get(..8) != Some(b"LPKSHHRH") {
            return Err(damaged("no journal"));
        }
        let incompatible = u32_at(&header, 12);
        if incompatible & !KNOWN_FLAGS != 0 {
            return Err(damaged("a newer form of journal"));
        }
        Ok(Self {
            id,
            check: fingerprint(header.get(24..40).unwrap_or_default()),
            file,
            compact: incompatible & COMPACT != 0,
            header_len: u64_at(&header, 88),
            array: None,
            known: HashMap::new(),
        })
    }

    /// Looks at the header again.
    pub(super) fn standing(&self) -> io::Result<Standing> {
        let header = bytes::<HEADER_LEN>(&self.file, 0)?;
        Ok(Standing {
            entries: u64_at(&header, 152),
            online: header.get(16) == Some(&ONLINE),
            newest: Moment {
                boot: fingerprint(header.get(56..72).unwrap_or_default()),
                monotonic: u64_at(&header, 200),
                realtime: u64_at(&header, 192),
            },
            first_array: u64_at(&header, 176),
        })
    }

    /// The entry that stands here. An error says nothing of the others.
    pub(super) fn entry(&mut self, offset: u64) -> io::Result<Entry> {
        let head = self.object::<ENTRY_HEAD>(offset, ENTRY)?;
        let mut entry = Entry {
            received: Moment {
                boot: fingerprint(head.get(40..56).unwrap_or_default()),
                monotonic: u64_at(&head, 32),
                realtime: u64_at(&head, 24),
            },
            hash: u64_at(&head, 56),
            ..Entry::default()
        };
        let item_len = if self.compact { 4 } else { 16 };
        let items_len = u64_at(&head, 8).saturating_sub(len(ENTRY_HEAD));
        let items = usize::try_from(items_len).unwrap_or(usize::MAX);
        if items > MOST_ITEMS.saturating_mul(item_len) {
            return Err(damaged("an entry of too many fields"));
        }
        let mut list = vec![0; items];
        let at = offset.saturating_add(len(ENTRY_HEAD));
        self.file.read_exact_at(&mut list, at)?;
        for item in list.chunks_exact(item_len) {
            let offset = if self.compact {
                u64::from(u32_at(item, 0))
            } else {
                u64_at(item, 0)
            };
            entry.take(self.field(offset)?);
        }
        Ok(entry)
    }

    /// Where the entry of this number stands, counted from 0; it must be among those of `standing`. After an error nothing
    /// behind it can be found either.
    pub(super) fn find(&mut self, standing: &Standing, number: u64) -> io::Result<u64> {
        let mut array = match self.array.filter(|array| array.first <= number) {
            Some(array) => array,
            None => self.array_at(standing.first_array, 0)?,
        };
        while number.saturating_sub(array.first) >= array.capacity {
            // The chain may have grown since this piece was read.
            let again = self.array_at(array.offset, array.first)?;
            if again.next <= again.offset {
                return Err(damaged("a list of entries that ends early"));
            }
            array = self.array_at(again.next, array.first.saturating_add(array.capacity))?;
        }
        self.array = Some(array);
        let width = if self.compact { 4 } else { 8 };
        let index = number.saturating_sub(array.first);
        let at = array
            .offset
            .saturating_add(len(ARRAY_HEAD))
            .saturating_add(index.saturating_mul(width));
        if self.compact {
            let bytes = bytes::<4>(&self.file, at)?;
            Ok(u64::from(u32_at(&bytes, 0)))
        } else {
            let bytes = bytes::<8>(&self.file, at)?;
            Ok(u64_at(&bytes, 0))
        }
    }

    fn array_at(&self, offset: u64, first: u64) -> io::Result<Array> {
        let head = self.object::<ARRAY_HEAD>(offset, ENTRY_ARRAY)?;
        let width = if self.compact { 4 } else { 8 };
        let list = u64_at(&head, 8).saturating_sub(len(ARRAY_HEAD));
        Ok(Array {
            offset,
            first,
            capacity: list.checked_div(width).unwrap_or(0),
            next: u64_at(&head, 16),
        })
    }

    /// The field in the data object here. Those that many entries share are read once.
    fn field(&mut self, offset: u64) -> io::Result<Field> {
        if let Some(known) = self.known.get(&offset) {
            return Ok(known.clone());
        }
        let field = self.read_field(offset)?;
        if !matches!(field, Field::Message(_) | Field::Sent(_)) {
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
            self.known.insert(offset, field.clone());
        }
        Ok(field)
    }

    fn read_field(&self, offset: u64) -> io::Result<Field> {
        let head = self.object::<OBJECT_HEAD>(offset, DATA)?;
        let from = if self.compact { 72 } else { 64 };
        let length = u64_at(&head, 8).saturating_sub(from);
        let compression = head.get(1).copied().unwrap_or(0) & COMPRESSIONS;
        let kept = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = if compression == 0 {
            kept.min(MAX_FIELD)
        } else if kept <= MOST_COMPRESSED {
            kept
        } else {
            // Longer than any line of a log even when compressed.
            return Ok(Field::Other);
        };
        let mut payload = vec![0; whole];
        let at = offset.saturating_add(from);
        self.file.read_exact_at(&mut payload, at)?;
        let payload = match compression {
            0 => payload,
            ZSTD => unzstd(&payload)?,
            LZ4 => unlz4(&payload)?,
            _ => return Err(damaged("a field compressed by a method that is not known")),
        };
        Ok(Field::parse(&payload))
    }

    /// The beginning of the object here, if it is of this type.
    fn object<const N: usize>(&self, offset: u64, kind: u8) -> io::Result<[u8; N]> {
        let is_aligned = offset.checked_rem(8) == Some(0);
        if offset < self.header_len || !is_aligned {
            return Err(damaged("an offset that leads nowhere"));
        }
        let head = bytes::<N>(&self.file, offset)?;
        if head.first() != Some(&kind) || u64_at(&head, 8) < len(N) {
            return Err(damaged("an object of another type"));
        }
        Ok(head)
    }
}

impl Entry {
    fn take(&mut self, field: Field) {
        match field {
            Field::Other => {}
            Field::Message(text) => self.message = text,
            Field::Identifier(text) => self.identifier = text,
            Field::Pid(pid) => self.pid = pid,
            Field::Uid(uid) => self.uid = uid,
            Field::Exe(path) => self.exe = path,
            Field::Sent(time) => self.sent = time,
        }
    }
}

impl Field {
    fn parse(payload: &[u8]) -> Self {
        let Some((name, value)) = crate::login::bytes::cut(payload, b"=") else {
            return Self::Other;
        };
        match name {
            b"MESSAGE" => Self::Message(value.get(..MAX_LINE).unwrap_or(value).to_vec()),
            b"SYSLOG_IDENTIFIER" => Self::Identifier(value.to_vec()),
            b"_PID" => Self::Pid(crate::login::bytes::number(value)),
            b"_UID" => Self::Uid(crate::login::bytes::number(value)),
            b"_EXE" => Self::Exe(value.to_vec()),
            b"_SOURCE_REALTIME_TIMESTAMP" => Self::Sent(decimal(value)),
            _ => Self::Other,
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let plain = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// At most [`MAX_FIELD`] of what was compressed.
fn unzstd(payload: &[u8]) -> io::Result<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(payload)?;
    let mut field = Vec::new();
    decoder.take(len(MAX_FIELD)).read_to_end(&mut field)?;
    Ok(field)
}

/// Eight bytes of length, then a block. More than [`MOST_INFLATED`] is not unpacked.
fn unlz4(payload: &[u8]) -> io::Result<Vec<u8>> {
    let (length, block) = payload
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged("a compressed field without a length"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MOST_INFLATED {
        return Ok(Vec::new());
    }
    lz4_flex::block::decompress(block, length)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn bytes<const N: usize>(file: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk::<8>()
        .map_or(0, |number| u64::from_le_bytes(*number))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk::<4>()
        .map_or(0, |number| u32::from_le_bytes(*number))
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// As much of the header as every version has.
const HEADER_LEN: usize = 208;
const ONLINE: u8 = 1;
/// Compressed by XZ, LZ4, Zstandard; hashes with a key; compact.
const KNOWN_FLAGS: u32 = 0b1_1111;
const COMPACT: u32 = 16;
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;
const OBJECT_HEAD: usize = 16;
const ENTRY_HEAD: usize = 64;
const ARRAY_HEAD: usize = 24;
const COMPRESSIONS: u8 = 0b111;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;
/// Most fields of an entry; journald takes 1,024.
const MOST_ITEMS: usize = 4_096;
/// How many shared fields are remembered per file.
const MOST_KNOWN: usize = 4_096;
const MAX_FIELD: usize = MAX_LINE + 16;
const MOST_COMPRESSED: usize = 1 << 20;
const MOST_INFLATED: usize = 1 << 20;
