//! Replacing files: the cursor, and segments that lose payloads, headers or damage.
//!
//! The new file is written beside the old one, synced and renamed over it: at any moment one of the
//! two is whole.

use std::ops::RangeInclusive;

use super::read::{read_segment, record_at};
use super::write::write_synced;
use super::{Spool, failed};
use crate::error::SpoolError;
use crate::index::Segment;
use crate::loss::{LossReason, Lost};
use crate::numbers::Numbers;
use crate::record::{Class, Record};
use crate::segment::{SegmentHeader, scan, size};

/// What a rewritten segment keeps of its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    All,
    Headers,
    /// The first and the last header.
    Ends,
}

impl Spool {
    /// Replaces neighbouring segments by one that holds what is to be kept of their unacknowledged
    /// records; false when nothing was left to keep and they are gone.
    pub(super) fn rewrite(
        &mut self,
        class: Class,
        span: RangeInclusive<usize>,
        keep: Keep,
    ) -> Result<bool, SpoolError> {
        let (at, last) = (*span.start(), *span.end());
        let mut records = Vec::new();
        for each in span {
            records.append(&mut self.live_records(class, each)?);
        }
        let Some(segment) = self.lanes.of(class).segments.get(at) else {
            return Ok(false);
        };
        if records.is_empty() {
            return self.remove_segment(class, at).map(|()| false);
        }
        let new = Rewritten::of(segment, records, keep);
        let name = segment.name();
        self.replace_file(&name, &new.bytes)?;
        self.debris.retain(|debris| debris.name != name);
        let lane = self.lanes.of_mut(class);
        lane.active &= !lane.is_growing(at);
        if let Some(segment) = lane.segments.get_mut(at) {
            new.replaces(segment, &mut self.lost);
        }
        lane.forget_entries_but(at);
        if last > at {
            self.remove_merged(class, at)
        } else {
            Ok(true)
        }
    }

    /// Rewrites every segment that holds damage without it, and removes those that hold nothing
    /// else.
    pub(super) fn rewrite_damaged(&mut self) -> Result<(), SpoolError> {
        while let Some(name) = self.useless.last().cloned() {
            self.remove_file(&name)?;
            self.useless.pop();
        }
        for class in Class::ALL {
            let mut at = 0;
            while let Some(segment) = self.lanes.of(class).segments.get(at) {
                if !segment.damaged || self.rewrite(class, at..=at, Keep::All)? {
                    at = at.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// Replaces a file as one step.
    pub(super) fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), SpoolError> {
        let beside = format!("{name}{BESIDE}");
        let written = self
            .disk
            .create(&beside)
            .map_err(failed("create", &beside))
            .and_then(|()| write_synced(&mut *self.disk, &beside, &[bytes]))
            .and_then(|()| self.rename(&beside, name));
        if written.is_err() && self.remove_file(&beside).is_err() {
            // It stays until the next `open`; the next replacement of this file empties it.
        }
        written
    }

    /// A rename may take effect and then fail to become durable: what it did counts.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), SpoolError> {
        let Err(error) = self.disk.rename(from, to) else {
            return Ok(());
        };
        let gone = self
            .disk
            .list()
            .is_ok_and(|files| files.iter().all(|file| file.name != from));
        if gone {
            Ok(())
        } else {
            Err(failed("rename", from)(error))
        }
    }

    /// The unacknowledged records of a segment, as they can be read now.
    fn live_records(&mut self, class: Class, at: usize) -> Result<Vec<Record>, SpoolError> {
        let Some(segment) = self.lanes.of_mut(class).segments.get_mut(at) else {
            return Ok(Vec::new());
        };
        let bytes = read_segment(&mut *self.disk, segment)?;
        self.lost.extend(segment.take_scan(scan(&bytes)));
        let acked = self.runs.line(segment.stream, class).acked;
        let live = segment
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.seq_end > acked);
        Ok(live.filter_map(|entry| record_at(&bytes, entry)).collect())
    }

    /// Removes the second of two segments that became one. While that fails, it is the one that
    /// counts.
    fn remove_merged(&mut self, class: Class, at: usize) -> Result<bool, SpoolError> {
        let second = at.saturating_add(1);
        let removed = self.remove_segment(class, second);
        let segments = &mut self.lanes.of_mut(class).segments;
        if removed.is_err()
            && let Some(floor) = segments.get(second).map(|segment| segment.floor)
            && let Some(first) = segments.get_mut(at)
        {
            first.give_up_from(floor);
        }
        removed.map(|()| true)
    }
}

/// The new bytes of a segment, and what they lack.
struct Rewritten {
    bytes: Vec<u8>,
    folded: bool,
    without_payload: Numbers,
    without_header: Numbers,
}

impl Rewritten {
    /// Makes one segment of `records`, which follow each other and of which there is at least one.
    fn of(segment: &Segment, records: Vec<Record>, keep: Keep) -> Self {
        let folded = segment.folded || keep == Keep::Ends;
        let Segment {
            class,
            stream,
            floor: seq_first,
            ..
        } = *segment;
        let mut new = Self {
            bytes: SegmentHeader {
                class,
                stream,
                seq_first,
                folded,
            }
            .encode(),
            folded,
            without_payload: Numbers::default(),
            without_header: Numbers::default(),
        };
        let ends = [records.first(), records.last()].map(|end| end.map(|record| record.seq_first));
        for record in records {
            if keep == Keep::Ends && !ends.contains(&Some(record.seq_first)) {
                new.without_header
                    .add(record.seq_first, record.seq_end().unwrap_or(0));
            } else {
                new.push(record, keep);
            }
        }
        new
    }

    fn push(&mut self, mut record: Record, keep: Keep) {
        if keep != Keep::All && !record.payload.is_empty() {
            self.without_payload
                .add(record.seq_first, record.seq_end().unwrap_or(0));
            record.payload.clear();
            record.payload_dropped = true;
        }
        record.encode(&mut self.bytes);
    }

    fn replaces(self, segment: &mut Segment, lost: &mut Vec<Lost>) {
        let gone = [
            (&self.without_payload, LossReason::Quota),
            (&self.without_header, LossReason::Folded),
        ];
        for (numbers, reason) in gone {
            lost.extend(
                numbers
                    .ranges()
                    .iter()
                    .map(|range| segment.lost(*range, reason)),
            );
        }
        segment.bytes = size(self.bytes.len());
        segment.ceiling = u64::MAX;
        segment.folded = self.folded;
        segment.covered = Numbers::default();
        segment.take_scan(scan(&self.bytes));
        segment.damaged = false;
    }
}

/// What the name of a file that will replace another ends in.
pub(super) const BESIDE: &str = ".new";
