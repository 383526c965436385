//! Reading in order, and finding damage while doing so.
//!
//! Damage never stops a reader: the segment is scanned again, what is missing is reported as lost,
//! and reading goes on behind it. Only a file of which nothing at all can be read is an error.

use super::{Position, Spool, failed};
use crate::disk::Disk;
use crate::error::SpoolError;
use crate::index::Segment;
use crate::record::{Class, Record};
use crate::segment::{Entry, scan, size};

impl Spool {
    pub(super) fn read_next(
        &mut self,
        class: Class,
        after: Option<Position>,
    ) -> Result<Option<(Position, Record)>, SpoolError> {
        // Each turn either gives a record or has found one less; scanning a file again cannot add
        // any.
        while let Some((at, floor)) = self.segment_after(class, after) {
            self.load(class, at)?;
            let found = self.segment_mut(class, at).and_then(|segment| {
                let entries = segment.entries.as_ref()?;
                let entry = entries.get(entries.partition_point(|e| e.seq_end <= floor))?;
                Some((segment.run, *entry))
            });
            if let Some((run, entry)) = found
                && let Some(record) = self.read_entry(class, at, entry)?
            {
                return Ok(Some((
                    Position {
                        run,
                        seq_end: entry.seq_end,
                    },
                    record,
                )));
            }
        }
        Ok(None)
    }

    pub(super) fn read_last(&mut self, class: Class) -> Result<Option<Record>, SpoolError> {
        loop {
            let segments = &self.lanes.of(class).segments;
            let Some(at) = segments.iter().rposition(|segment| segment.records > 0) else {
                return Ok(None);
            };
            self.load(class, at)?;
            let segment = self.segment_mut(class, at);
            let entry = segment.and_then(|segment| segment.entries.as_ref()?.last().copied());
            if let Some(entry) = entry
                && let Some(record) = self.read_entry(class, at, entry)?
            {
                return Ok(Some(record));
            }
        }
    }

    /// The first segment that has something after `after`, and the number to start from there.
    fn segment_after(&self, class: Class, after: Option<Position>) -> Option<(usize, u64)> {
        let segments = &self.lanes.of(class).segments;
        let skip = after.map_or(0, |after| {
            segments.partition_point(|s| (s.run, s.end()) <= (after.run, after.seq_end))
        });
        segments
            .iter()
            .enumerate()
            .skip(skip)
            .find_map(|(at, segment)| {
                let passed = after.filter(|after| after.run == segment.run);
                let acked = self.runs.line(segment.stream, class).acked;
                let floor = acked.max(passed.map_or(0, |after| after.seq_end));
                (segment.covered.end()? > floor).then_some((at, floor))
            })
    }

    /// Reads one record. When that fails, takes stock of its whole segment anew: gives the record
    /// from there, or none when it is lost, which the segment then knows.
    fn read_entry(
        &mut self,
        class: Class,
        at: usize,
        entry: Entry,
    ) -> Result<Option<Record>, SpoolError> {
        let Some(segment) = self.lanes.of(class).segments.get(at) else {
            return Ok(None);
        };
        let read = self.disk.read(&segment.name(), entry.offset, entry.len);
        if let Ok(bytes) = read
            && let Ok((record, _)) = Record::decode(&bytes)
            && is_of(&record, segment, entry)
        {
            return Ok(Some(record));
        }
        let bytes = self.rescan(class, at)?;
        let segment = self.segment_mut(class, at);
        let entries = segment.and_then(|segment| segment.entries.as_ref());
        let found = entries.and_then(|found| found.iter().find(|e| e.seq_end == entry.seq_end));
        Ok(found.and_then(|entry| record_at(&bytes, entry)))
    }

    /// Makes sure that the offsets of a segment are in memory, and not those of many others.
    fn load(&mut self, class: Class, at: usize) -> Result<(), SpoolError> {
        self.find_entries(class, at)?;
        self.lanes.of_mut(class).forget_entries_but(at);
        Ok(())
    }

    /// Makes sure that the offsets of a segment are in memory.
    pub(super) fn find_entries(&mut self, class: Class, at: usize) -> Result<(), SpoolError> {
        let known = self
            .segment_mut(class, at)
            .is_some_and(|segment| segment.entries.is_some());
        if known {
            Ok(())
        } else {
            self.rescan(class, at).map(drop)
        }
    }

    fn rescan(&mut self, class: Class, at: usize) -> Result<Vec<u8>, SpoolError> {
        let lane = self.lanes.of_mut(class);
        let Some(segment) = lane.segments.get_mut(at) else {
            return Ok(Vec::new());
        };
        let bytes = read_segment(&mut *self.disk, segment)?;
        self.lost.extend(segment.take_scan(scan(&bytes)));
        segment.count_acked(self.runs.line(segment.stream, class).acked);
        Ok(bytes)
    }

    fn segment_mut(&mut self, class: Class, at: usize) -> Option<&mut Segment> {
        self.lanes.of_mut(class).segments.get_mut(at)
    }
}

/// The record of an entry in the bytes of its segment.
pub(super) fn record_at(bytes: &[u8], entry: &Entry) -> Option<Record> {
    let from = usize::try_from(entry.offset).ok()?;
    Record::decode(bytes.get(from..)?)
        .ok()
        .map(|(record, _)| record)
}

fn is_of(record: &Record, segment: &Segment, entry: Entry) -> bool {
    (record.class, record.stream) == (segment.class, segment.stream)
        && (record.seq_first, record.seq_end()) == (entry.seq_first, Some(entry.seq_end))
}

/// The bytes of a segment that count, zeros where the disk cannot read; an error when it can read
/// none.
pub(super) fn read_segment(disk: &mut dyn Disk, segment: &Segment) -> Result<Vec<u8>, SpoolError> {
    read_what_can_be_read(disk, &segment.name(), segment.bytes)
}

pub(super) fn read_what_can_be_read(
    disk: &mut dyn Disk,
    name: &str,
    len: u64,
) -> Result<Vec<u8>, SpoolError> {
    let whole = usize::try_from(len).unwrap_or(usize::MAX);
    let first_error = match disk.read(name, 0, whole) {
        Ok(bytes) => return Ok(bytes),
        Err(error) => error,
    };
    let mut bytes = Vec::with_capacity(whole);
    let mut any = false;
    while bytes.len() < whole {
        let step = whole.saturating_sub(bytes.len()).min(BLOCK);
        match disk.read(name, size(bytes.len()), step) {
            Ok(block) => {
                any = true;
                bytes.extend_from_slice(&block);
            }
            Err(_) => bytes.resize(bytes.len().saturating_add(step), 0),
        }
    }
    if any {
        Ok(bytes)
    } else {
        Err(failed("read", name)(first_error))
    }
}

/// The unit in which a bad place of the disk is left out.
const BLOCK: usize = 4096;
