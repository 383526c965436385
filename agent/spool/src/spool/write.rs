//! Appending and syncing.
//!
//! - Appended records wait in memory, at most [`PENDING_BYTES`] or one record per class; then
//!   `append` syncs by itself and, when that fails, refuses.
//! - A group is one write and one fsync. After either fails, nothing more is written to that file:
//!   what the kernel still holds of it cannot be trusted. The group stays in memory and goes to a
//!   new segment.
//! - Space for a whole segment is set aside when it begins, where the disk can do that, and what is left of it is given back
//!   when the next one begins, at the next start, or when a more important class finds the disk full.

use std::io;

use super::{Debris, Spool, failed};
use crate::error::SpoolError;
use crate::index::{Segment, segment_name};
use crate::record::{Class, MAX_RECORD, Record};
use crate::segment::{HEADER_LEN, SegmentHeader, size};

impl Spool {
    /// Says whether the record may follow what is there.
    pub(super) fn check(&self, record: &Record) -> Result<(), SpoolError> {
        let Record {
            stream,
            class,
            seq_first,
            count,
            ..
        } = *record;
        if record.seq_end().is_none() {
            return Err(SpoolError::BadRange { seq_first, count });
        }
        let (bytes, limit) = (size(record.encoded_len()), self.largest_record());
        if bytes > limit {
            return Err(SpoolError::TooLarge { bytes, limit });
        }
        let known = self.runs.find(stream);
        if known.map(|run| run.number) != self.runs.newest().map(|run| run.number)
            && known.is_some()
        {
            return Err(SpoolError::StreamEnded);
        }
        let expected = self.runs.line(stream, class).next;
        if seq_first < expected {
            return Err(SpoolError::OutOfOrder {
                class,
                expected,
                got: seq_first,
            });
        }
        Ok(())
    }

    /// Syncs first when the record's class has enough waiting. When a stream begins, everything of
    /// the one before goes to disk first, so that the ids of segments tell the age of streams.
    pub(super) fn flush_before(&mut self, record: &Record) -> Result<(), SpoolError> {
        if self
            .runs
            .newest()
            .is_some_and(|run| run.stream != record.stream)
        {
            return self.sync();
        }
        let waiting = self.lanes.of(record.class).pending.bytes.len();
        if waiting > 0 && waiting.saturating_add(record.encoded_len()) > self.pending_bound() {
            self.flush(record.class)?;
        }
        Ok(())
    }

    /// Puts a checked record among those that wait.
    pub(super) fn take(&mut self, record: &Record) {
        self.runs.number_of(record.stream);
        if let Some(line) = self.runs.line_mut(record.stream, record.class) {
            line.next = record.seq_end().unwrap_or(line.next);
        }
        self.lanes.of_mut(record.class).pending.push(record);
    }

    /// Writes and syncs what waits in one class.
    pub(super) fn flush(&mut self, class: Class) -> Result<(), SpoolError> {
        if self.lanes.of(class).pending.entries.is_empty() {
            return Ok(());
        }
        self.clear_debris();
        let written = if self.fits_growing(class) {
            self.flush_to_growing(class)
        } else {
            self.release_growing(class);
            self.flush_to_new(class)
        };
        if let Err(error) = written {
            if error.is_full() {
                let less = Class::ALL.into_iter().skip_while(|one| *one != class);
                less.skip(1).for_each(|less| self.release_growing(less));
            }
            return Err(error);
        }
        let pending = std::mem::take(&mut self.lanes.of_mut(class).pending);
        let end = pending.entries.last().map_or(0, |entry| entry.seq_end);
        let lane = self.lanes.of_mut(class);
        if let Some(segment) = lane.growing() {
            segment.grow(pending.entries, size(pending.bytes.len()));
        }
        if let Some(line) = self.runs.line_mut(pending.stream, class) {
            line.synced = end;
        }
        Ok(())
    }

    /// Gives back what is set aside for the growing segment of a class. A disk that refuses keeps it until the next start.
    fn release_growing(&mut self, class: Class) {
        if let Some(segment) = self.lanes.of_mut(class).growing() {
            let _kept = self.disk.release(&segment.name());
        }
    }

    fn fits_growing(&mut self, class: Class) -> bool {
        let segment_bytes = self.limits.segment_bytes;
        let lane = self.lanes.of_mut(class);
        let (more, stream) = (size(lane.pending.bytes.len()), lane.pending.stream);
        lane.growing().is_some_and(|segment| {
            segment.stream == stream && segment.bytes.saturating_add(more) <= segment_bytes
        })
    }

    fn flush_to_growing(&mut self, class: Class) -> Result<(), SpoolError> {
        let lane = self.lanes.of_mut(class);
        let Some(segment) = lane.growing() else {
            return Ok(());
        };
        let (name, keep) = (segment.name(), segment.bytes);
        let written = write_synced(&mut *self.disk, &name, &[&lane.pending.bytes]);
        if written.is_err() {
            lane.active = false;
            self.leave(Debris { name, keep });
        }
        written
    }

    fn flush_to_new(&mut self, class: Class) -> Result<(), SpoolError> {
        let id = self.next_segment;
        self.next_segment = id.saturating_add(1);
        let stream = self.lanes.of(class).pending.stream;
        let run = self.runs.number_of(stream);
        let segment_bytes = self.limits.segment_bytes;
        let lane = self.lanes.of_mut(class);
        lane.active = false;
        let floor = lane
            .pending
            .entries
            .first()
            .map_or(0, |entry| entry.seq_first);
        let header = SegmentHeader {
            class,
            stream,
            seq_first: floor,
            folded: false,
        }
        .encode();
        let name = segment_name(id);
        let written = self
            .disk
            .create(&name)
            .map_err(failed("create", &name))
            .and_then(|()| {
                // Without it the segment grows as long as the disk has room.
                let _unreserved = self.disk.reserve(&name, segment_bytes);
                write_synced(&mut *self.disk, &name, &[&header, &lane.pending.bytes])
            });
        if let Err(error) = written {
            self.leave(Debris { name, keep: 0 });
            return Err(error);
        }
        let bytes = size(HEADER_LEN);
        lane.segments.push_back(Segment {
            floor,
            bytes,
            ..Segment::new(id, run, (stream, class))
        });
        lane.active = true;
        Ok(())
    }

    /// Undoes a failed write as far as the disk lets us; the rest is tried again later.
    ///
    /// What cannot be undone does no harm: recovery leaves out torn bytes and copies of records.
    fn leave(&mut self, debris: Debris) {
        if self.debris.len() < MAX_DEBRIS {
            self.debris.push(debris);
        }
        self.clear_debris();
    }

    pub(super) fn clear_debris(&mut self) {
        let disk = &mut *self.disk;
        self.debris.retain(|debris| {
            let done = match debris.keep {
                0 => disk.remove(&debris.name),
                keep => disk.truncate(&debris.name, keep),
            };
            done.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }

    fn largest_record(&self) -> u64 {
        size(MAX_RECORD).min(self.limits.quota_bytes / 2)
    }

    fn pending_bound(&self) -> usize {
        usize::try_from(self.limits.segment_bytes)
            .unwrap_or(PENDING_BYTES)
            .min(PENDING_BYTES)
    }
}

/// One write, one fsync.
pub(super) fn write_synced(
    disk: &mut dyn crate::disk::Disk,
    name: &str,
    parts: &[&[u8]],
) -> Result<(), SpoolError> {
    let joined = parts.concat();
    disk.append(name, &joined).map_err(failed("write", name))?;
    disk.sync(name).map_err(failed("sync", name))
}

/// What may wait in memory per class before `append` syncs by itself.
const PENDING_BYTES: usize = 1 << 20;
/// Debris beyond this is left to the next `open`.
const MAX_DEBRIS: usize = 64;
