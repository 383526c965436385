//! Reading everything back at the start.
//!
//! A torn tail of the last segment is cut: it was never acknowledged. Records that rotted are damage:
//! they stay where they are, are reported, and the records behind them count.
//!
//! A flipped length in the very last record cannot be told from a torn tail. Either way a host may have been
//! acknowledged more than is left. It is then asked for what is missing, and signs that it was lost here.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::StoreError;
use crate::frame::{Found, Frames, HEAD};
use crate::index::{Content, Index, Segment, SegmentInfo};
use crate::record::Record;
use crate::segment::number_of;
use crate::thin::thinnable;

/// What was found at the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovery {
    /// Segments read.
    pub segments: usize,
    /// Records that count.
    pub records: u64,
    /// Bytes of an unfinished record that were cut off.
    pub torn_bytes: u64,
    /// Stored bytes that are no longer what was written.
    pub damage: Vec<Damage>,
}

/// Stored bytes that are no longer what was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// In which segment.
    pub path: PathBuf,
    /// From which byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Reads all segments. Returns the index, the number of the next segment, and what was found.
pub(crate) fn recover(folder: &Path) -> Result<(Index, u32, Recovery), StoreError> {
    let mut reading = Reading {
        index: Index::default(),
        recovery: Recovery::default(),
    };
    let segments = list(folder)?;
    let last = segments.last().map(|(number, _)| *number);
    for (number, path) in segments {
        reading.segment(number, &path, Some(number) == last)?;
        if Some(number) == last && path.exists() {
            // What was read may still be in memory only, and from now on it counts as durable.
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|source| StoreError::io("sync segment", &path, source))?;
        }
    }
    let Reading {
        mut index,
        recovery,
    } = reading;
    index.settle_recovered();
    Ok((
        index,
        last.map_or(1, |number| number.saturating_add(1)),
        recovery,
    ))
}

struct Reading {
    index: Index,
    recovery: Recovery,
}

impl Reading {
    fn segment(&mut self, number: u32, path: &Path, last: bool) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("read segment", path, source);
        if last && is_headless(path)? {
            return self.drop_headless(path);
        }
        let mut frames = Frames::open(path, None)?;
        let mut info = SegmentInfo::new(number, path.to_owned());
        info.segment.length = fs::metadata(path).map_err(failed)?.len();
        while let Some(found) = frames.next().map_err(failed)? {
            match found {
                Found::Body { offset, body } => self.record(&mut info, offset, &body),
                Found::Damage { offset, length } => self.damage(path, offset, length),
                Found::Torn { offset } if last => self.cut(&mut info, offset)?,
                Found::Torn { offset } => {
                    self.damage(path, offset, info.segment.length.saturating_sub(offset));
                }
            }
        }
        self.recovery.segments = self.recovery.segments.saturating_add(1);
        self.index.segments.push(info);
        Ok(())
    }

    fn record(&mut self, info: &mut SegmentInfo, offset: u64, body: &[u8]) {
        let record = Record::decode(body).ok();
        let counted = record.and_then(|record| self.count(info, &record));
        if counted.is_none() {
            self.damage(&info.segment.path, offset, body.len() as u64);
        }
    }

    fn count(&mut self, info: &mut SegmentInfo, record: &Record) -> Option<()> {
        let header = record.header()?;
        let hash = picket_seal::header_hash(&record.batch.as_ref()?.header);
        let summary = record.summary();
        let payload = &record.batch.as_ref()?.payload;
        let content = Content::of(payload, record.retired, summary);
        info.payloads = info.payloads.saturating_add(thinnable(payload, summary));
        let branch = record.branch;
        self.index.add(&header, hash, content, branch);
        info.grow(info.segment.length, [header.host], summary);
        self.recovery.records = self.recovery.records.saturating_add(1);
        Some(())
    }

    fn damage(&mut self, path: &Path, offset: u64, length: u64) {
        self.recovery.damage.push(Damage {
            path: path.to_owned(),
            offset,
            length,
        });
    }

    fn cut(&mut self, info: &mut SegmentInfo, offset: u64) -> Result<(), StoreError> {
        let Segment { path, length, .. } = &mut info.segment;
        let file = OpenOptions::new().write(true).open(&*path);
        let cut = file.and_then(|file| file.set_len(offset).and_then(|()| file.sync_all()));
        cut.map_err(|source| StoreError::io("cut the torn end of", &*path, source))?;
        let torn = length.saturating_sub(offset);
        self.recovery.torn_bytes = self.recovery.torn_bytes.saturating_add(torn);
        *length = offset;
        Ok(())
    }

    /// A segment that a crash left without its head never held a record.
    fn drop_headless(&mut self, path: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("remove the unfinished segment", path, source);
        let length = fs::metadata(path).map_err(failed)?.len();
        self.recovery.torn_bytes = self.recovery.torn_bytes.saturating_add(length);
        fs::remove_file(path).map_err(failed)
    }
}

fn is_headless(path: &Path) -> Result<bool, StoreError> {
    let found = fs::metadata(path);
    let found = found.map_err(|source| StoreError::io("read segment", path, source))?;
    Ok(found.len() < HEAD)
}

/// The segments of the folder in the order of their numbers. Other files are left alone.
fn list(folder: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let failed = |source| StoreError::io("list", folder, source);
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(number) = entry.file_name().to_str().and_then(number_of) {
            segments.push((number, entry.path()));
        }
    }
    segments.sort();
    Ok(segments)
}
