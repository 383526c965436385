//! What the spool holds, counted from memory alone.

use super::Spool;
use crate::index::{Line, Segment};
use crate::record::Class;
use crate::segment::size;
use crate::status::{ClassStatus, LineStatus, Oldest, Status};

impl Spool {
    /// What the spool holds now. Reads no disk.
    pub fn status(&self) -> Status {
        let pending = self
            .lanes
            .iter()
            .map(|(_, lane)| size(lane.pending.bytes.len()));
        let segments = self.lanes.iter().map(|(_, lane)| size(lane.segments.len()));
        Status {
            bytes: self.bytes(),
            quota_bytes: self.limits.quota_bytes,
            pending_bytes: pending.fold(0, u64::saturating_add),
            segments: segments.fold(0, u64::saturating_add),
            classes: Class::ALL
                .into_iter()
                .map(|class| self.class_status(class))
                .collect(),
            lines: self.line_statuses(),
            oldest: self.oldest(),
        }
    }

    fn class_status(&self, class: Class) -> ClassStatus {
        let lane = self.lanes.of(class);
        let waiting = &lane.pending.entries;
        let mut status = ClassStatus {
            class,
            records: size(waiting.len()),
            events: 0,
        };
        for entry in waiting {
            let count = entry.seq_end.saturating_sub(entry.seq_first);
            status.events = status.events.saturating_add(count);
        }
        for segment in &lane.segments {
            let acked = self.acked(segment);
            let (records, events) = (
                segment.records_above(acked),
                segment.covered.count_from(acked),
            );
            status.records = status.records.saturating_add(records);
            status.events = status.events.saturating_add(events);
        }
        status
    }

    fn line_statuses(&self) -> Vec<LineStatus> {
        let mut statuses = Vec::new();
        for run in self.runs.iter() {
            for (class, line) in run.lines.iter().filter(|(_, line)| line.next > 0) {
                statuses.push(self.line_status(run.stream, class, *line));
            }
        }
        statuses
    }

    fn line_status(&self, stream: [u8; 16], class: Class, line: Line) -> LineStatus {
        let lane = self.lanes.of(class);
        let on_disk = lane
            .segments
            .iter()
            .filter(|segment| segment.stream == stream);
        let on_disk = on_disk.map(|segment| segment.covered.count_from(line.acked));
        let waiting = lane
            .pending
            .entries
            .iter()
            .filter(|_| lane.pending.stream == stream);
        let waiting = waiting.map(|entry| entry.seq_end.saturating_sub(entry.seq_first));
        LineStatus {
            stream,
            class,
            durable_seq: line.acked,
            next_seq: line.next,
            spooled: on_disk.chain(waiting).fold(0, u64::saturating_add),
        }
    }

    fn oldest(&self) -> Option<Oldest> {
        let lanes = self.lanes.iter();
        let held = lanes
            .flat_map(|(_, lane)| &lane.segments)
            .filter_map(|segment| {
                let seq_first = segment.covered.first_from(self.acked(segment))?;
                let Segment { stream, class, .. } = *segment;
                Some((
                    segment.id,
                    Oldest {
                        stream,
                        class,
                        seq_first,
                    },
                ))
            });
        held.min_by_key(|(id, _)| *id).map(|(_, oldest)| oldest)
    }

    fn acked(&self, segment: &Segment) -> u64 {
        self.runs.line(segment.stream, segment.class).acked
    }
}
