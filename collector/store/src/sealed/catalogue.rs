//! Which sealed files count, and up to where each chain is in them: one small file, replaced as a whole.
//!
//! # Invariants
//!
//! - A sealed file counts from the moment at which the catalogue that names it is in its place; any other file is a leftover.
//! - What is before `cursor` in the write-ahead log is in the files named here, and nothing behind it is.
//! - An event is in the files once: of each chain, those below its mark and no others.
//!
//! ```text
//! sealed/catalogue:  "PKTCAT" | version u16 le = 2 | crc32c of the body u32 le | body
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use picket_event::{Class, HostId, Severity, StreamId, UnixNanos};
use prost::Message;

use super::row::{Partition, Row};
use crate::disk::Disk;
use crate::{ChainKey, Cursor, KindSet, StoreError, Summary};

/// What is in the catalogue.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    pub(crate) cursor: Cursor,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) marks: HashMap<(HostId, ChainKey), Mark>,
    pub(crate) next_number: u64,
}

/// One sealed file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FileEntry {
    pub(crate) number: u64,
    pub(crate) partition: Partition,
    pub(crate) summary: Summary,
    pub(crate) rows: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// Of all its events, as they were signed.
    pub(crate) raw_bytes: u64,
    /// The checksum of each of its blocks; none: an earlier collector wrote it.
    pub(crate) blocks: Arc<[u32]>,
    /// The parts of the log of which it holds all events of its class and hour, and no others; none: that is not known.
    pub(crate) spans: Arc<[Span]>,
    /// There is no such file any more: it was damaged, and so many events of it are neither in the log nor in a part of it that was whole.
    pub(crate) lost: bool,
}

/// A part of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    pub(crate) begin: Cursor,
    pub(crate) end: Cursor,
}

/// How far a chain is in the files, and what is no longer in the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// Everything below is in the files, or was.
    pub(crate) sealed_seq: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            cursor: Cursor::START,
            files: Vec::new(),
            marks: HashMap::new(),
            next_number: 1,
        }
    }
}

impl FileEntry {
    /// A file of these rows, which is not written yet.
    pub(crate) fn of(partition: Partition, rows: &[Row]) -> Self {
        let mut entry = Self::empty(partition);
        for row in rows {
            entry.summary = entry.summary.and(row.summary);
            entry.raw_bytes = entry.raw_bytes.saturating_add(row.bytes.len() as u64);
        }
        entry.rows = rows.len() as u64;
        entry
    }

    /// As this, of all events of its class and hour in a part of the log.
    pub(crate) fn spanning(self, span: Option<Span>) -> Self {
        Self {
            spans: span.into_iter().collect(),
            ..self
        }
    }

    /// A file of all rows of these, which is not written yet.
    pub(crate) fn merged<'e>(
        partition: Partition,
        entries: impl Iterator<Item = &'e Self> + Clone,
    ) -> Self {
        let spans = joined(entries.clone());
        let merged = entries.fold(Self::empty(partition), |so_far, entry| Self {
            summary: so_far.summary.and(entry.summary),
            rows: so_far.rows.saturating_add(entry.rows),
            raw_bytes: so_far.raw_bytes.saturating_add(entry.raw_bytes),
            ..so_far
        });
        Self { spans, ..merged }
    }

    fn empty(partition: Partition) -> Self {
        Self {
            number: 0,
            partition,
            summary: Summary::EMPTY,
            rows: 0,
            bytes: 0,
            raw_bytes: 0,
            blocks: Arc::default(),
            spans: Arc::default(),
            lost: false,
        }
    }

    /// Where it lies below the folder of all sealed files.
    pub(crate) fn path(&self) -> String {
        let (folder, number) = (self.partition.folder(), self.number);
        format!("{folder}/events-{number:010}.parquet")
    }
}

/// All parts of the log that these files are of; none if one does not know its own.
fn joined<'e>(entries: impl Iterator<Item = &'e FileEntry> + Clone) -> Arc<[Span]> {
    if entries.clone().any(|entry| entry.spans.is_empty()) {
        return Arc::default();
    }
    let mut spans: Vec<Span> = entries
        .flat_map(|entry| entry.spans.iter().copied())
        .collect();
    spans.sort_unstable_by_key(|span| span.begin);
    spans.dedup_by(|next, span| {
        let goes_on = span.end == next.begin;
        if goes_on {
            span.end = next.end;
        }
        goes_on
    });
    spans.into()
}

impl Catalogue {
    /// Reads the catalogue of a folder; of one without, an empty one.
    pub(crate) fn load(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StoreError::io("read", &path, source)),
        };
        Self::decode(&bytes).ok_or(StoreError::BadCatalogue { path })
    }

    /// Writes this one beside the folder's, so that it survives a power cut. It does not count yet.
    pub(crate) fn write(&self, disk: &mut dyn Disk, folder: &Path) -> Result<(), StoreError> {
        let beside = folder.join(BESIDE);
        let failed = |source| StoreError::io("write", &beside, source);
        disk.remove(&beside).map_err(failed)?;
        let mut file = disk.create(&beside).map_err(failed)?;
        file.append(&self.encode()).map_err(failed)?;
        file.sync().map_err(failed)
    }

    /// Puts the written one in the place of the folder's. After an error nobody knows which one counts.
    pub(crate) fn place(disk: &mut dyn Disk, folder: &Path) -> Result<(), StoreError> {
        let (path, beside) = (folder.join(NAME), folder.join(BESIDE));
        let replaced = disk.replace(&beside, &path);
        replaced.map_err(|source| StoreError::io("replace", &path, source))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = Body::from(self).encode_to_vec();
        let mut bytes = HEAD.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let earlier = || bytes.strip_prefix(EARLIER_HEAD);
        let rest = bytes.strip_prefix(HEAD).or_else(earlier)?;
        let (crc, body) = rest.split_first_chunk()?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
            return None;
        }
        Body::decode(body).ok()?.checked()
    }
}

pub(crate) const NAME: &str = "catalogue";
pub(crate) const BESIDE: &str = "catalogue.new";

const HEAD: &[u8] = b"PKTCAT\x02\x00";

/// Of a collector that cannot make an event again of its columns: what it wrote is read, and what is written here it refuses.
const EARLIER_HEAD: &[u8] = b"PKTCAT\x01\x00";

#[derive(Clone, PartialEq, prost::Message)]
struct Body {
    #[prost(uint32, tag = "1")]
    segment: u32,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    next_number: u64,
    #[prost(message, repeated, tag = "4")]
    files: Vec<WireFile>,
    #[prost(message, repeated, tag = "5")]
    marks: Vec<WireMark>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFile {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(int32, tag = "2")]
    class: i32,
    #[prost(sint64, tag = "3")]
    hour: i64,
    #[prost(sint64, tag = "4")]
    first_unix_ns: i64,
    #[prost(sint64, tag = "5")]
    last_unix_ns: i64,
    #[prost(uint64, tag = "6")]
    rows: u64,
    #[prost(uint64, tag = "7")]
    bytes: u64,
    #[prost(uint64, tag = "8")]
    raw_bytes: u64,
    #[prost(fixed64, tag = "9")]
    kinds: u64,
    #[prost(int32, tag = "10")]
    worst: i32,
    /// u32 le each.
    #[prost(bytes = "vec", tag = "11")]
    blocks: Vec<u8>,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<WireSpan>,
    #[prost(bool, tag = "13")]
    lost: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSpan {
    #[prost(uint32, tag = "1")]
    segment: u32,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint32, tag = "3")]
    end_segment: u32,
    #[prost(uint64, tag = "4")]
    end_offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireMark {
    #[prost(bytes = "vec", tag = "1")]
    host: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stream: Vec<u8>,
    #[prost(int32, tag = "3")]
    class: i32,
    #[prost(uint64, tag = "4")]
    sealed_seq: u64,
}

impl From<&Catalogue> for Body {
    fn from(catalogue: &Catalogue) -> Self {
        let marks = catalogue.marks.iter().map(|((host, key), mark)| WireMark {
            host: host.as_bytes().to_vec(),
            stream: key.stream.as_bytes().to_vec(),
            class: key.class.to_wire(),
            sealed_seq: mark.sealed_seq,
        });
        Self {
            segment: catalogue.cursor.segment,
            offset: catalogue.cursor.offset,
            next_number: catalogue.next_number,
            files: catalogue.files.iter().map(WireFile::from).collect(),
            marks: marks.collect(),
        }
    }
}

impl Body {
    fn checked(self) -> Option<Catalogue> {
        let files: Option<Vec<_>> = self.files.into_iter().map(WireFile::checked).collect();
        let marks: Option<HashMap<_, _>> = self.marks.into_iter().map(WireMark::checked).collect();
        Some(Catalogue {
            cursor: Cursor {
                segment: self.segment,
                offset: self.offset,
            },
            files: files?,
            marks: marks?,
            next_number: self.next_number,
        })
    }
}

impl From<&FileEntry> for WireFile {
    fn from(file: &FileEntry) -> Self {
        Self {
            number: file.number,
            class: file.partition.class.to_wire(),
            hour: file.partition.hour,
            first_unix_ns: file.summary.first.0,
            last_unix_ns: file.summary.last.0,
            rows: file.rows,
            bytes: file.bytes,
            raw_bytes: file.raw_bytes,
            kinds: file.summary.kinds.bits(),
            worst: file.summary.worst.map_or(0, Severity::to_wire),
            blocks: file
                .blocks
                .iter()
                .flat_map(|sum| sum.to_le_bytes())
                .collect(),
            spans: file.spans.iter().map(WireSpan::from).collect(),
            lost: file.lost,
        }
    }
}

impl WireFile {
    fn checked(self) -> Option<FileEntry> {
        Some(FileEntry {
            number: self.number,
            partition: Partition {
                class: Class::from_wire(self.class)?,
                hour: self.hour,
            },
            summary: Summary {
                first: UnixNanos(self.first_unix_ns),
                last: UnixNanos(self.last_unix_ns),
                kinds: KindSet::from_bits(self.kinds),
                worst: Severity::from_wire(self.worst),
            },
            rows: self.rows,
            bytes: self.bytes,
            raw_bytes: self.raw_bytes,
            blocks: sums(&self.blocks)?,
            spans: self.spans.iter().map(WireSpan::span).collect(),
            lost: self.lost,
        })
    }
}

fn sums(bytes: &[u8]) -> Option<Arc<[u32]>> {
    let (sums, rest) = bytes.as_chunks();
    let sums = sums.iter().map(|sum| u32::from_le_bytes(*sum));
    rest.is_empty().then(|| sums.collect())
}

impl From<&Span> for WireSpan {
    fn from(span: &Span) -> Self {
        Self {
            segment: span.begin.segment,
            offset: span.begin.offset,
            end_segment: span.end.segment,
            end_offset: span.end.offset,
        }
    }
}

impl WireSpan {
    fn span(&self) -> Span {
        Span {
            begin: Cursor {
                segment: self.segment,
                offset: self.offset,
            },
            end: Cursor {
                segment: self.end_segment,
                offset: self.end_offset,
            },
        }
    }
}

impl WireMark {
    fn checked(self) -> Option<((HostId, ChainKey), Mark)> {
        let host = HostId::from_slice(&self.host).ok()?;
        let key = ChainKey {
            stream: StreamId::from_slice(&self.stream).ok()?,
            class: Class::from_wire(self.class)?,
        };
        let sealed_seq = self.sealed_seq;
        Some(((host, key), Mark { sealed_seq }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Cursor {
        Cursor { segment: 1, offset }
    }

    fn span(begin: u64, end: u64) -> Span {
        Span {
            begin: at(begin),
            end: at(end),
        }
    }

    #[test]
    fn parts_of_the_log_that_meet_become_one_and_one_that_is_not_known_hides_all() {
        let partition = Partition {
            class: Class::Bulk,
            hour: 3,
        };
        let of = |spans: &[Span]| FileEntry {
            spans: spans.into(),
            ..FileEntry::empty(partition)
        };
        let merged = |files: &[FileEntry]| FileEntry::merged(partition, files.iter()).spans;
        let files = [
            of(&[span(5, 9)]),
            of(&[span(1, 2), span(3, 5)]),
            of(&[span(9, 10)]),
        ];
        assert_eq!(merged(&files).as_ref(), [span(1, 2), span(3, 10)]);
        assert!(merged(&[of(&[span(1, 2)]), of(&[])]).is_empty());
    }

    fn some() -> Catalogue {
        let key = ChainKey {
            stream: StreamId::new([2; 16]),
            class: Class::Bulk,
        };
        let partition = Partition {
            class: Class::Bulk,
            hour: 3,
        };
        let file = FileEntry {
            number: 7,
            partition,
            summary: Summary {
                first: UnixNanos(-1),
                last: UnixNanos(9),
                kinds: KindSet::from_bits(6),
                worst: Some(Severity::High),
            },
            rows: 4,
            bytes: 5,
            raw_bytes: 6,
            blocks: [1, u32::MAX].into(),
            spans: [span(2, 3)].into(),
            lost: true,
        };
        Catalogue {
            cursor: Cursor {
                segment: 3,
                offset: 99,
            },
            files: vec![file],
            marks: HashMap::from([((HostId::new([1; 32]), key), Mark { sealed_seq: 12 })]),
            next_number: 8,
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_a_flipped_bit_is_noticed() {
        let bytes = some().encode();
        let again = Catalogue::decode(&bytes).unwrap();
        assert_eq!(again.files, some().files);
        assert_eq!((again.cursor, again.marks), (some().cursor, some().marks));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Catalogue::decode(&flipped).is_none(), "byte {at}");
        }
    }
}
