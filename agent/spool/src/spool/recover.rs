//! Finding out what survived.
//!
//! Opening reads every segment once and changes nothing but this: files that were to replace others
//! are removed, so are segments acknowledged to their end, and what is kept is synced, because the
//! process before may have died between a write and its sync.
//!
//! Which numbers damage took is read off the numbers around it: those of a stream and class follow
//! each other, and each segment's header says where it starts.

use super::read::read_what_can_be_read;
use super::rewrite::BESIDE;
use super::{MAX_SEGMENT, Recovery, Spool, failed};
use crate::cursor::{self, Mark};
use crate::disk::FileInfo;
use crate::error::SpoolError;
use crate::index::{Segment, segment_id};
use crate::loss::{LossReason, Lost};
use crate::record::{Class, MAX_RECORD};
use crate::segment::{Entry, HEADER_LEN, HeaderFound, Scan, Tail, scan, size};

impl Spool {
    pub(super) fn recover(&mut self) -> Result<Recovery, SpoolError> {
        let mut files = self.disk.list().map_err(failed("list", "."))?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut recovery = Recovery::default();
        self.remove_replacements(&files);
        let marks = self.read_cursor(&files, &mut recovery);
        let mut survey = Survey::new(marks);
        for file in &files {
            if let Some(id) = segment_id(&file.name) {
                self.next_segment = self.next_segment.max(id.saturating_add(1));
                self.survey_segment(id, file, &mut survey, &mut recovery);
            }
        }
        self.adopt(survey, &mut recovery);
        self.confirm(&mut recovery);
        Ok(recovery)
    }

    /// Half-made replacements; the file that each was to replace is whole.
    fn remove_replacements(&mut self, files: &[FileInfo]) {
        for file in files {
            let target = file.name.strip_suffix(BESIDE).unwrap_or_default();
            if (target == cursor::NAME || segment_id(target).is_some())
                && self.remove_file(&file.name).is_err()
            {
                // A disk that cannot be written: the next replacement empties it.
            }
        }
    }

    fn read_cursor(&mut self, files: &[FileInfo], recovery: &mut Recovery) -> Vec<Mark> {
        let Some(file) = files.iter().find(|file| file.name == cursor::NAME) else {
            return Vec::new();
        };
        let len = usize::try_from(file.bytes.min(cursor::MAX_BYTES)).unwrap_or(0);
        let bytes = self.disk.read(cursor::NAME, 0, len).ok();
        let marks = bytes.and_then(|bytes| cursor::decode(&bytes));
        recovery.cursor_lost = marks.is_none();
        marks.unwrap_or_default()
    }

    fn survey_segment(
        &mut self,
        id: u64,
        file: &FileInfo,
        survey: &mut Survey,
        recovery: &mut Recovery,
    ) {
        let len = file.bytes.min(MAX_SEGMENT.saturating_add(size(MAX_RECORD)));
        let Ok(bytes) = read_what_can_be_read(&mut *self.disk, &file.name, len) else {
            return survey.unreadable(file, recovery);
        };
        let found = scan(&bytes);
        recovery.torn_bytes = recovery.torn_bytes.saturating_add(found.torn_bytes);
        recovery.corrupt_bytes = recovery.corrupt_bytes.saturating_add(found.damaged_bytes);
        match found.owner {
            Some((stream, class)) => {
                let run = self.runs.number_of(stream);
                let segment = Segment {
                    bytes: len,
                    ..Segment::new(id, run, (stream, class))
                };
                survey.segment(segment, found);
            }
            // Its first write was interrupted: nothing in it was ever confirmed.
            None if bytes.len() < HEADER_LEN || bytes.iter().all(|byte| *byte == 0) => {
                recovery.unconfirmed |= self.remove_file(&file.name).is_err();
            }
            None => {
                if found.header == HeaderFound::Damaged {
                    self.useless.push(file.name.clone());
                }
                survey.unreadable(file, recovery);
            }
        }
    }

    fn adopt(&mut self, survey: Survey, recovery: &mut Recovery) {
        let Survey { marks, lines, .. } = survey;
        for mark in marks {
            if let Some(line) = self.runs.line_mut(mark.stream, mark.class) {
                line.acked = mark.durable_seq;
                line.synced = mark.durable_seq;
                line.next = mark.durable_seq;
            }
        }
        for mut line in lines {
            line.close();
            recovery.lost.append(&mut line.lost);
            recovery.dropped.extend(line.dropped());
            for segment in line.segments {
                if let Some(known) = self.runs.line_mut(segment.stream, segment.class) {
                    known.synced = known.synced.max(segment.end());
                    known.next = known.synced;
                }
                self.lanes.of_mut(segment.class).segments.push_back(segment);
            }
        }
        for class in Class::ALL {
            self.lanes
                .of_mut(class)
                .segments
                .make_contiguous()
                .sort_by_key(|segment| segment.id);
            recovery.unconfirmed |= self.remove_done(class, true).is_err();
            self.lanes.of_mut(class).forget_entries_but(0);
        }
        let held = self.status();
        recovery.records = held
            .classes
            .iter()
            .map(|c| c.records)
            .fold(0, u64::saturating_add);
        recovery.events = held
            .classes
            .iter()
            .map(|c| c.events)
            .fold(0, u64::saturating_add);
    }

    fn confirm(&mut self, recovery: &mut Recovery) {
        for class in Class::ALL {
            for segment in &self.lanes.of(class).segments {
                // Nothing is written to it any more; a disk that refuses keeps what it set aside.
                let _kept = self.disk.release(&segment.name());
                recovery.unconfirmed |= self.disk.sync(&segment.name()).is_err();
            }
        }
    }
}

/// What has been seen so far, segment after segment in the order of their ids.
struct Survey {
    marks: Vec<Mark>,
    lines: Vec<FoundLine>,
    /// Segments of which nothing is known: any line may have lost something to one of them.
    blanks: u64,
}

impl Survey {
    fn new(marks: Vec<Mark>) -> Self {
        Self {
            marks,
            lines: Vec::new(),
            blanks: 0,
        }
    }

    fn unreadable(&mut self, file: &FileInfo, recovery: &mut Recovery) {
        self.blanks = self.blanks.saturating_add(1);
        recovery.unreadable.push(file.name.clone());
    }

    fn segment(&mut self, segment: Segment, found: Scan) {
        let blanks = self.blanks;
        let line = self.line_of(segment.stream, segment.class);
        line.take(segment, found, blanks);
    }

    fn line_of(&mut self, stream: [u8; 16], class: Class) -> &mut FoundLine {
        let known = self
            .lines
            .iter()
            .position(|line| (line.stream, line.class) == (stream, class));
        let at = known.unwrap_or_else(|| {
            let mark = self
                .marks
                .iter()
                .find(|mark| (mark.stream, mark.class) == (stream, class));
            let acked = mark.map_or(0, |mark| mark.durable_seq);
            self.lines.push(FoundLine::new(stream, class, acked));
            self.lines.len().saturating_sub(1)
        });
        self.lines
            .get_mut(at)
            .expect("the line was found or pushed just above")
    }
}

/// One class of one stream on its way from its oldest segment to its newest.
struct FoundLine {
    stream: [u8; 16],
    class: Class,
    acked: u64,
    /// The number that should come next; `None` before the first segment.
    expected: Option<u64>,
    /// Why numbers may be missing before the next segment.
    suspect: Option<LossReason>,
    blanks_seen: u64,
    segments: Vec<Segment>,
    lost: Vec<Lost>,
    /// Numbers whose records have no payload: first and the one behind, ascending.
    bare: Vec<(u64, u64)>,
}

impl FoundLine {
    fn new(stream: [u8; 16], class: Class, acked: u64) -> Self {
        let expected = (acked > 0).then_some(acked);
        Self {
            stream,
            class,
            acked,
            expected,
            suspect: None,
            blanks_seen: 0,
            segments: Vec::new(),
            lost: Vec::new(),
            bare: Vec::new(),
        }
    }

    fn take(&mut self, mut segment: Segment, found: Scan, blanks: u64) {
        let first = found.entries.first().map(|entry| entry.seq_first);
        let start = match found.header {
            HeaderFound::Ours(header) => Some(header.seq_first),
            HeaderFound::Foreign | HeaderFound::Damaged => first,
        };
        if blanks > self.blanks_seen && self.expected.is_some() {
            self.suspect = Some(LossReason::Corrupt);
        }
        self.blanks_seen = blanks;
        let start = start.unwrap_or(0);
        if self.begins_in_damage(&found) {
            self.suspect = Some(LossReason::Corrupt);
        }
        self.supersede(start);
        self.reach(start);
        segment.floor = start.max(self.passed());
        segment.folded = matches!(found.header, HeaderFound::Ours(header) if header.folded);
        for entry in &found.entries {
            if entry.after_damage {
                self.suspect = Some(LossReason::Corrupt);
            }
            self.reach(entry.seq_first);
            self.note_bare(entry);
            self.expected = Some(entry.seq_end.max(self.expected.unwrap_or(0)));
        }
        self.suspect = match found.tail {
            Tail::Clean => None,
            Tail::Torn => Some(LossReason::Torn),
            Tail::Damaged => Some(LossReason::Corrupt),
        };
        segment.take_scan(found);
        segment.count_acked(self.acked);
        self.segments.push(segment);
        self.forget_entries();
    }

    /// One range grows while records without a payload follow each other.
    fn note_bare(&mut self, entry: &Entry) {
        if entry.payload_len > 0 {
            return;
        }
        match self.bare.last_mut() {
            Some(last) if entry.seq_first <= last.1 => last.1 = last.1.max(entry.seq_end),
            _ => self.bare.push((entry.seq_first, entry.seq_end)),
        }
    }

    /// Records above the ack whose payload is gone.
    fn dropped(&self) -> impl Iterator<Item = Lost> {
        let above = self.bare.iter().filter(|range| range.1 > self.acked);
        above.map(|(first, end)| Lost {
            stream: self.stream,
            class: self.class,
            seq_first: (*first).max(self.acked),
            count: Some(end.saturating_sub((*first).max(self.acked))),
            reason: LossReason::Quota,
        })
    }

    /// Neither its header nor its first record can be read. When nothing older tells what came
    /// before, all that is known is that something did.
    fn begins_in_damage(&mut self, found: &Scan) -> bool {
        let skipped = found
            .entries
            .first()
            .is_some_and(|entry| entry.after_damage);
        let blind = found.header == HeaderFound::Damaged && skipped;
        if blind && self.expected.is_none() {
            self.lose(0, None, LossReason::Corrupt);
        }
        blind
    }

    /// A segment holds everything from its start on, so what earlier ones have from there are
    /// left-overs of a write that failed and was done again.
    fn supersede(&mut self, start: u64) {
        for segment in self
            .segments
            .iter_mut()
            .rev()
            .take_while(|s| s.end() > start)
        {
            segment.give_up_from(start);
            self.expected = Some(start.max(self.acked));
        }
        self.lost.retain(|lost| lost.seq_first < start);
        for lost in &mut self.lost {
            let room = start.saturating_sub(lost.seq_first);
            lost.count = lost.count.map(|count| count.min(room));
        }
    }

    /// Offsets stay in memory for the first segment and for the two that may still be superseded.
    fn forget_entries(&mut self) {
        let old = self.segments.len().saturating_sub(2);
        for segment in self.segments.iter_mut().take(old).skip(1) {
            segment.entries = None;
        }
    }

    /// Moves on to `first`; numbers that are left out on the way are lost if there is a reason to
    /// think so.
    fn reach(&mut self, first: u64) {
        let expected = self.expected.unwrap_or(first);
        if self.suspect.take().is_some() && first > expected.max(self.acked) {
            let from = expected.max(self.acked);
            self.lose(from, Some(first.saturating_sub(from)), LossReason::Corrupt);
        }
        self.expected = Some(expected.max(first));
    }

    /// The number after the last record that was found.
    fn passed(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// What is missing at the end has no known count.
    fn close(&mut self) {
        if let Some(reason) = self.suspect.take() {
            self.lose(self.expected.unwrap_or(0).max(self.acked), None, reason);
        }
    }

    fn lose(&mut self, seq_first: u64, count: Option<u64>, reason: LossReason) {
        let Self { stream, class, .. } = *self;
        self.lost.push(Lost {
            stream,
            class,
            seq_first,
            count,
            reason,
        });
    }
}
