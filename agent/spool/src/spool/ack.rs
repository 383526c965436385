//! Acknowledging: the cursor moves, segments that are acknowledged to their end go.

use std::io;

use super::{Spool, failed};
use crate::cursor::{self, Mark};
use crate::error::SpoolError;
use crate::index::Segment;
use crate::record::Class;

impl Spool {
    pub(super) fn accept_ack(
        &mut self,
        stream: [u8; 16],
        class: Class,
        durable_seq: u64,
    ) -> Result<(), SpoolError> {
        let Some(line) = self.runs.line_mut(stream, class) else {
            return Ok(());
        };
        let acked = durable_seq.min(line.synced);
        if acked > line.acked {
            line.acked = acked;
            self.acks_unsaved = self.acks_unsaved.saturating_add(1);
        }
        let done = self.has_done(class);
        let saved = if done || self.acks_unsaved >= ACKS_PER_SAVE {
            self.write_cursor()
        } else {
            Ok(())
        };
        let removed = self.remove_done(class, false);
        let counted = self.count_partly_acked(stream, class);
        saved.and(removed).and(counted)
    }

    /// Removes the segments of a class that are acknowledged to their end, the growing one only
    /// when asked. Oldest first and none after a failure, so that what is sent again after a crash
    /// has no holes.
    pub(super) fn remove_done(&mut self, class: Class, growing: bool) -> Result<(), SpoolError> {
        let mut at = 0;
        let mut result = Ok(());
        while let Some(segment) = self.lanes.of(class).segments.get(at)
            && result.is_ok()
        {
            let kept = self.lanes.of(class).is_growing(at) && !growing;
            if kept || !self.is_done(segment) {
                at = at.saturating_add(1);
            } else {
                result = self.remove_segment(class, at);
            }
        }
        self.forget_empty_runs();
        result
    }

    pub(super) fn remove_segment(&mut self, class: Class, at: usize) -> Result<(), SpoolError> {
        let Some(segment) = self.lanes.of(class).segments.get(at) else {
            return Ok(());
        };
        let name = segment.name();
        self.remove_file(&name)?;
        self.debris.retain(|debris| debris.name != name);
        let lane = self.lanes.of_mut(class);
        lane.active &= !lane.is_growing(at);
        lane.segments.remove(at);
        Ok(())
    }

    /// A file that is gone already is removed.
    pub(super) fn remove_file(&mut self, name: &str) -> Result<(), SpoolError> {
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", name)(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write_cursor(&mut self) -> Result<(), SpoolError> {
        let mut marks = Vec::new();
        for run in self.runs.iter() {
            let acked = run.lines.iter().filter(|(_, line)| line.acked > 0);
            let mark = |(class, line): (Class, &crate::index::Line)| Mark {
                stream: run.stream,
                class,
                durable_seq: line.acked,
            };
            marks.extend(acked.map(mark));
        }
        self.replace_file(cursor::NAME, &cursor::encode(&marks))?;
        self.acks_unsaved = 0;
        Ok(())
    }

    fn has_done(&self, class: Class) -> bool {
        let lane = self.lanes.of(class);
        let mut segments = lane.segments.iter().enumerate();
        segments.any(|(at, segment)| !lane.is_growing(at) && self.is_done(segment))
    }

    /// Nothing in it is wanted. One that holds nothing but damage waits until its loss is settled.
    fn is_done(&self, segment: &Segment) -> bool {
        let reported = segment.records > 0 || !segment.damaged;
        reported && segment.end() <= self.runs.line(segment.stream, segment.class).acked
    }

    /// Keeps the count of records exact where an ack stands inside a segment, or in one that will
    /// grow on.
    fn count_partly_acked(&mut self, stream: [u8; 16], class: Class) -> Result<(), SpoolError> {
        let acked = self.runs.line(stream, class).acked;
        let lane = self.lanes.of(class);
        let mut segments = lane.segments.iter().enumerate();
        let inside = segments.find(|(at, segment)| {
            segment.stream == stream
                && segment.reaches_below(acked)
                && (segment.end() > acked || lane.is_growing(*at))
        });
        let Some((at, _)) = inside else { return Ok(()) };
        self.find_entries(class, at)?;
        if let Some(segment) = self.lanes.of_mut(class).segments.get_mut(at) {
            segment.count_acked(acked);
        }
        Ok(())
    }

    pub(super) fn forget_empty_runs(&mut self) {
        let lanes = &self.lanes;
        self.runs.keep(|run| {
            let holds = |(_, lane): (Class, &crate::index::Lane)| {
                let waits = !lane.pending.entries.is_empty() && lane.pending.stream == run.stream;
                waits
                    || lane
                        .segments
                        .iter()
                        .any(|segment| segment.run == run.number)
            };
            lanes.iter().any(holds)
        });
    }
}

/// At most this many acks are forgotten by a crash; the collector then sees the batches again.
const ACKS_PER_SAVE: u32 = 64;
