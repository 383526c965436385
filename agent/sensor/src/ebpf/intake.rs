//! Where the rings end: records come in as the kernel wrote them, events wait here in order of time.
//!
//! # Invariants
//!
//! - Every record is counted: delivered, filtered afterwards, or lost afterwards.
//! - What [`Intake::release`] gives is complete up to its cut: an event is never given before another
//!   that is older than the cut and came through the other ring.

use std::fs::File;
use std::io::Write;

use picket_event::{Event, Kind, ProcessUid};

use super::backlog::{Backlog, Pass};
use super::canary::Canary;
use super::raw::RawRecord;
use super::translate::{Translated, Translator};
use crate::ledger::Afterwards;
use crate::{Boxed, FileKey};

/// Takes records from both rings.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) translator: Translator,
    pub(super) afterwards: Afterwards,
    /// Records that came, readable or not.
    pub(super) received: u64,
    /// While it runs, it claims what the sensor caused itself.
    pub(super) canary: Option<Canary>,
    recording: Option<File>,
    /// While it is set, records are held as they come.
    is_holding: bool,
    backlog: Backlog,
    /// By address, since they are sorted.
    waiting: Vec<(Box<Event>, Option<FileKey>)>,
    executables: Vec<(ProcessUid, FileKey)>,
    written: Vec<(u64, FileKey)>,
}

impl Intake {
    pub(super) fn new(translator: Translator, recording: Option<File>) -> Self {
        Self {
            translator,
            afterwards: Afterwards::default(),
            received: 0,
            canary: None,
            recording,
            is_holding: false,
            backlog: Backlog::default(),
            waiting: Vec::new(),
            executables: Vec::new(),
            written: Vec::new(),
        }
    }

    /// One record out of a ring.
    pub(super) fn accept(&mut self, bytes: &[u8]) {
        if self.is_holding {
            self.backlog.hold(bytes);
        } else {
            self.read(bytes);
        }
    }

    /// From now on records are held.
    pub(super) const fn begin_hold(&mut self) {
        self.is_holding = true;
    }

    /// Records are read again as they come. Those that were held are complete up to `cut`.
    pub(super) fn end_hold(&mut self, cut: u64) {
        self.is_holding = false;
        self.backlog.end_pass(cut);
    }

    /// Reads what was held first. Gives the moment up to which the intake is complete then; `None`: nothing is held.
    pub(super) fn read_held(&mut self) -> Option<u64> {
        let pass: Pass = self.backlog.next()?;
        for record in pass.records() {
            self.read(record);
        }
        Some(pass.cut)
    }

    /// What is held and not read yet.
    pub(super) const fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    fn read(&mut self, bytes: &[u8]) {
        self.received = self.received.saturating_add(1);
        self.record(bytes);
        match RawRecord::parse(bytes) {
            Ok(record) => self.accept_record(&record),
            Err(error) => {
                tracing::error!(%error, "kernel record cannot be read");
                if let Some(kind) = RawRecord::claimed_kind(bytes) {
                    self.afterwards.lose(kind);
                }
            }
        }
    }

    fn accept_record(&mut self, record: &RawRecord<'_>) {
        let header = &record.header;
        if let Some(canary) = &mut self.canary
            && canary.claims(record)
        {
            self.afterwards.filter(header.kind);
            return;
        }
        match self.translator.translate(record) {
            Translated::Event(event, key) => self.waiting.push((event, key)),
            Translated::Unwanted => self.afterwards.filter(header.kind),
        }
    }

    /// Gives what is not newer than `cut` (nanoseconds since boot), oldest first.
    pub(super) fn release(&mut self, cut: u64, out: &mut Vec<Boxed>) {
        self.waiting.sort_by_key(|(event, _)| event.boot_ns);
        let ready = self
            .waiting
            .partition_point(|(event, _)| event.boot_ns <= cut);
        out.reserve(ready);
        for (event, key) in self.waiting.drain(..ready) {
            match (&event.process, key) {
                (Some(process), Some(key)) if event.kind == Kind::Exec => {
                    self.executables.push((process.uid, key));
                }
                (_, Some(key)) => self.written.push((event.boot_ns, key)),
                (_, None) => {}
            }
            out.push(event);
        }
    }

    /// Whether something waits for a later cut.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The executables of what was released since the last call.
    pub(super) fn take_executables(&mut self) -> Vec<(ProcessUid, FileKey)> {
        std::mem::take(&mut self.executables)
    }

    /// The files that were written according to what was released since the last call.
    pub(super) fn take_written(&mut self) -> Vec<(u64, FileKey)> {
        std::mem::take(&mut self.written)
    }

    /// What nobody asked for after a poll is not kept for the next.
    pub(super) fn forget_keys(&mut self) {
        self.executables.clear();
        self.written.clear();
    }

    fn record(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.recording else {
            return;
        };
        if let Err(error) = file.write_all(bytes) {
            tracing::warn!(%error, "recording of raw records ends here");
            self.recording = None;
        }
    }
}
