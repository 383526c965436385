//! What the spool knows in memory: lanes of segments, and the runs (streams) that they belong to.
//!
//! - A lane holds the segments of one class in the order they are read: oldest stream first, then
//!   by number.
//! - Only the last segment of a lane may grow, and only while the lane is `active`.
//! - Memory is bounded by the number of segments: record offsets are kept only for the first, the
//!   last and the one segment that is being read.

use std::collections::VecDeque;

use crate::loss::{LossReason, Lost};
use crate::numbers::Numbers;
use crate::record::{Class, Record};
use crate::segment::{Entry, Scan, Tail, size};

/// One value for each class.
#[derive(Debug, Default)]
pub(crate) struct PerClass<T>([T; 3]);

impl<T> PerClass<T> {
    pub(crate) fn of(&self, class: Class) -> &T {
        let [alert, security, bulk] = &self.0;
        match class {
            Class::Alert => alert,
            Class::Security => security,
            Class::Bulk => bulk,
        }
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut T {
        let [alert, security, bulk] = &mut self.0;
        match class {
            Class::Alert => alert,
            Class::Security => security,
            Class::Bulk => bulk,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Class, &T)> {
        Class::ALL.into_iter().zip(&self.0)
    }
}

/// The segments of one class, and the records that wait in memory for `sync`.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active: bool,
    pub(crate) pending: Pending,
}

impl Lane {
    /// The segment that may grow.
    pub(crate) fn growing(&mut self) -> Option<&mut Segment> {
        if self.active {
            self.segments.back_mut()
        } else {
            None
        }
    }

    pub(crate) fn is_growing(&self, at: usize) -> bool {
        self.active && at.saturating_add(1) == self.segments.len()
    }

    /// Forgets record offsets except those of the first, the last and the one at `at`.
    pub(crate) fn forget_entries_but(&mut self, at: usize) {
        let last = self.segments.len().saturating_sub(1);
        for (n, segment) in self.segments.iter_mut().enumerate() {
            if n != 0 && n != last && n != at {
                segment.entries = None;
            }
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let on_disk = self.segments.iter().map(|segment| segment.bytes);
        on_disk.fold(size(self.pending.bytes.len()), u64::saturating_add)
    }
}

/// Records that were appended and not yet synced, as the bytes that will be written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) stream: [u8; 16],
}

impl Pending {
    pub(crate) fn push(&mut self, record: &Record) {
        self.entries.push(Entry::of(record, size(self.bytes.len())));
        self.stream = record.stream;
        record.encode(&mut self.bytes);
    }

    pub(crate) fn has_payload(&self) -> bool {
        self.entries.iter().any(|entry| entry.payload_len > 0)
    }
}

/// One segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    /// The run's number: see [`Run`].
    pub(crate) run: u64,
    pub(crate) stream: [u8; 16],
    pub(crate) class: Class,
    /// Numbers below it are in earlier segments; copies of them here do not count.
    pub(crate) floor: u64,
    /// Records that reach above it are left-overs of a failed write; later segments hold them.
    pub(crate) ceiling: u64,
    /// Bytes that count; more may follow where a failed write could not be undone.
    pub(crate) bytes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) records: u64,
    /// Of `records`, those that an ack covers; known where one stands inside the segment.
    pub(crate) records_acked: u64,
    pub(crate) covered: Numbers,
    pub(crate) folded: bool,
    /// The file holds damage whose loss was reported.
    pub(crate) damaged: bool,
    /// Where its records stand; `None` until they are needed.
    pub(crate) entries: Option<Vec<Entry>>,
}

impl Segment {
    /// A file of which nothing was counted yet.
    pub(crate) fn new(id: u64, run: u64, (stream, class): ([u8; 16], Class)) -> Self {
        Self {
            id,
            run,
            stream,
            class,
            floor: 0,
            ceiling: u64::MAX,
            bytes: 0,
            payload_bytes: 0,
            records: 0,
            records_acked: 0,
            covered: Numbers::default(),
            folded: false,
            damaged: false,
            entries: None,
        }
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.id)
    }

    /// The number after its last; never goes back along the segments of a stream.
    pub(crate) fn end(&self) -> u64 {
        self.covered.end().unwrap_or(0).max(self.floor)
    }

    /// Adds records that now stand at its end on disk.
    pub(crate) fn grow(&mut self, entries: Vec<Entry>, bytes: u64) {
        let base = self.bytes;
        for entry in &entries {
            self.count(entry);
        }
        let moved = entries.into_iter().map(|entry| Entry {
            offset: entry.offset.saturating_add(base),
            ..entry
        });
        self.entries.get_or_insert_default().extend(moved);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes over what a scan of the file found. Returns the losses that this brings to light.
    pub(crate) fn take_scan(&mut self, scan: Scan) -> Vec<Lost> {
        let before = std::mem::take(&mut self.covered);
        self.damaged |= scan.damaged_bytes > 0 || scan.tail != Tail::Clean;
        self.payload_bytes = 0;
        self.records = 0;
        self.records_acked = 0;
        let mut entries = Vec::with_capacity(scan.entries.len());
        for entry in scan.entries {
            if entry.seq_end > self.end() && entry.seq_end <= self.ceiling {
                self.count(&entry);
                entries.push(entry);
            }
        }
        self.entries = Some(entries);
        let missing = before.minus(&self.covered);
        missing
            .into_iter()
            .map(|range| self.lost(range, LossReason::Corrupt))
            .collect()
    }

    /// Gives up everything from `ceiling` on, because a later segment starts there.
    pub(crate) fn give_up_from(&mut self, ceiling: u64) {
        self.ceiling = ceiling;
        self.covered.cut(ceiling);
        if let Some(entries) = &mut self.entries {
            entries.retain(|entry| entry.seq_end <= ceiling);
            self.records = size(entries.len());
            self.payload_bytes = entries
                .iter()
                .map(|entry| entry.payload_len)
                .fold(0, u64::saturating_add);
        }
    }

    pub(crate) fn lost(&self, (first, end): (u64, u64), reason: LossReason) -> Lost {
        Lost {
            stream: self.stream,
            class: self.class,
            seq_first: first,
            count: Some(end.saturating_sub(first)),
            reason,
        }
    }

    /// Records that reach above `acked`.
    pub(crate) fn records_above(&self, acked: u64) -> u64 {
        match &self.entries {
            _ if self.end() <= acked => 0,
            Some(entries) => size(entries.iter().filter(|entry| entry.seq_end > acked).count()),
            None => self.records.saturating_sub(self.records_acked),
        }
    }

    /// Remembers how many records an ack covers, for when the offsets are forgotten.
    pub(crate) fn count_acked(&mut self, acked: u64) {
        let entries = self.entries.iter().flatten();
        self.records_acked = size(entries.filter(|entry| entry.seq_end <= acked).count());
    }

    /// Whether it covers a number below `acked`.
    pub(crate) fn reaches_below(&self, acked: u64) -> bool {
        self.covered
            .first_from(0)
            .is_some_and(|first| first < acked)
    }

    fn count(&mut self, entry: &Entry) {
        self.covered.add(entry.seq_first, entry.seq_end);
        self.payload_bytes = self.payload_bytes.saturating_add(entry.payload_len);
        self.records = self.records.saturating_add(1);
    }
}

/// One stream: a run of the agent. Runs are numbered by age inside this process.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) stream: [u8; 16],
    pub(crate) lines: PerClass<Line>,
}

/// One class of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// Everything below is acknowledged.
    pub(crate) acked: u64,
    /// Everything below is on disk or lost.
    pub(crate) synced: u64,
    /// Everything below was appended.
    pub(crate) next: u64,
}

/// All streams that matter, oldest first; only the last one may grow.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    pub(crate) fn newest(&self) -> Option<&Run> {
        self.0.last()
    }

    pub(crate) fn find(&self, stream: [u8; 16]) -> Option<&Run> {
        self.0.iter().rev().find(|run| run.stream == stream)
    }

    pub(crate) fn line(&self, stream: [u8; 16], class: Class) -> Line {
        self.find(stream)
            .map(|run| *run.lines.of(class))
            .unwrap_or_default()
    }

    pub(crate) fn line_mut(&mut self, stream: [u8; 16], class: Class) -> Option<&mut Line> {
        let run = self.0.iter_mut().rev().find(|run| run.stream == stream)?;
        Some(run.lines.of_mut(class))
    }

    /// The number of the stream's run, which becomes the newest when it is not known.
    pub(crate) fn number_of(&mut self, stream: [u8; 16]) -> u64 {
        if let Some(run) = self.find(stream) {
            return run.number;
        }
        let number = self.newest().map_or(0, |run| run.number.saturating_add(1));
        self.0.push(Run {
            number,
            stream,
            lines: PerClass::default(),
        });
        number
    }

    /// Forgets runs that hold nothing any more; the newest stays.
    pub(crate) fn keep(&mut self, holds: impl Fn(&Run) -> bool) {
        let newest = self.newest().map(|run| run.number);
        self.0
            .retain(|run| Some(run.number) == newest || holds(run));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }
}

pub(crate) fn segment_name(id: u64) -> String {
    format!("segment-{id:016x}.log")
}

/// The id in a segment's file name; `None` for every other file. Ids never come near the limit.
pub(crate) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(id) == name && id < 1 << 48).then_some(id)
}
