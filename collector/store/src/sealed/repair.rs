//! What becomes of a sealed file that is damaged: it is set aside, and its events are sealed anew from the log.
//!
//! # Invariants
//!
//! - A file is only set aside once what replaces it is on disk; it counts, or the other does, never both.
//! - Of the log an event is taken if it is of the file's class and hour and of the part of the log that the file was made of: these are the
//!   file's events and no other's.
//! - What neither the log nor a whole row group of the file has stays in the catalogue as lost, so that no answer is short in silence.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use picket_event::{HostId, StreamId, UnixNanos};
use prost::bytes::Bytes;

use super::catalogue::{FileEntry, Span};
use super::compact::{rows_of, rows_of_group};
use super::file::SealedFile;
use super::read::Open;
use super::row::Row;
use super::sealer::row;
use super::shown::Whose;
use super::write::{batches_of, sealed};
use super::{Sealer, blocks::Blocks};
use crate::record::Record;
use crate::unread::{guarded, is_damage};
use crate::walk::Walk;
use crate::{Cursor, Query, ScanReport, StoreError, payload};

/// What was done about a damaged file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RepairReport {
    /// The file, below the folder of sealed files; `None`: none is damaged.
    pub file: Option<String>,
    /// Why it was set aside, in words.
    pub why: String,
    /// Where it lies now; empty: there is none, or it stays where it is.
    pub aside: PathBuf,
    /// Events that were sealed anew.
    pub events: u64,
    /// Events that are lost.
    pub lost: u64,
    /// Whether nothing could be done: an earlier collector sealed it and did not say of which part of the log.
    pub stays: bool,
}

impl Sealer {
    /// Whether somebody met a damaged file that was not looked at yet.
    pub fn has_suspects(&self) -> bool {
        !self.shared.suspects().is_empty()
    }

    /// Events that are known to be lost.
    pub fn lost_events(&self) -> u64 {
        let lost = self.catalogue.files.iter().filter(|entry| entry.lost);
        lost.map(|entry| entry.rows).fold(0, u64::saturating_add)
    }

    /// Files that are damaged and stay where they are.
    pub fn damaged_files(&self) -> u64 {
        self.hopeless.len() as u64
    }

    /// Compares files with their checksums, going on where the last call ended, until so many bytes were read. What is damaged is a suspect then.
    pub fn compare(&mut self, mut bytes: u64) -> Result<(), StoreError> {
        let mut files: Vec<_> = self
            .files
            .iter()
            .filter(|file| !file.entry.lost)
            .cloned()
            .collect();
        files.sort_by_key(|file| file.entry.number);
        let next = files.partition_point(|file| file.entry.number <= self.compared);
        files.rotate_left(next);
        for file in files {
            self.compared = file.entry.number;
            let compared = Blocks::open(&file.path, &file.entry).and_then(|blocks| {
                let all = blocks.check_all();
                all.map_err(|source| sealed("read", &file.path, source))
            });
            match compared {
                Err(failed) if is_damage(&failed) => self.shared.suspect(file.entry.number),
                other => other?,
            }
            bytes = bytes.saturating_sub(file.entry.bytes);
            if bytes == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Looks at the files that somebody could not read, and sets the first of them that is damaged aside. After an error everything is as it was
    /// before, but that the file may have its new name already.
    pub fn repair(&mut self) -> Result<RepairReport, StoreError> {
        self.check()?;
        for number in self.shared.suspects() {
            let found = self.files.iter().find(|file| file.entry.number == number);
            let Some(file) = found.filter(|file| !file.entry.lost).cloned() else {
                self.shared.clear(number);
                continue;
            };
            // What was found hopeless is not read anew each time that a search meets it.
            let wrong = if self.hopeless.contains(&number) {
                None
            } else {
                what_is_wrong(&file)?
            };
            let Some(failed) = wrong else {
                self.shared.clear(number);
                continue;
            };
            let report = self.set_aside(&file, &failed)?;
            self.shared.clear(number);
            return Ok(report);
        }
        Ok(RepairReport::default())
    }

    fn set_aside(
        &mut self,
        file: &Arc<SealedFile>,
        failed: &StoreError,
    ) -> Result<RepairReport, StoreError> {
        let old = &file.entry;
        let mut report = RepairReport {
            file: Some(old.path()),
            why: crate::unread::words_of(failed),
            ..RepairReport::default()
        };
        if old.spans.is_empty() || old.blocks.is_empty() {
            self.hopeless.insert(old.number);
            self.unmergeable.insert(old.number);
            report.stays = true;
            return Ok(report);
        }
        let mut rows = self.rows_again(old)?;
        let aside = aside(&file.path);
        if (rows.len() as u64) < old.rows {
            add_whole_groups(&mut rows, file, &aside);
        }
        rows.sort_unstable_by(Row::order);
        let mut next = self.catalogue.clone();
        next.files.retain(|entry| entry.number != old.number);
        let mut came = Vec::new();
        if !rows.is_empty() {
            let entry = FileEntry::of(old.partition, &rows);
            let entry = FileEntry {
                spans: Arc::clone(&old.spans),
                ..entry
            };
            report.events = entry.rows;
            came.push(self.write(&mut next, entry, &mut batches_of(&rows))?);
        }
        report.lost = old.rows.saturating_sub(report.events);
        if report.lost > 0 {
            // It keeps its number and so its name, which answers tell.
            let lost = lost(old, report.lost);
            next.files.push(lost.clone());
            came.push(lost);
        }
        match self.disk.replace(&file.path, &aside) {
            Ok(()) => report.aside = aside,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                self.discard(&came);
                return Err(StoreError::io("set aside", &file.path, source));
            }
        }
        self.commit(next, &came, &[old.number])?;
        Ok(report)
    }

    /// The events of a file, from the log.
    fn rows_again(&self, entry: &FileEntry) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for span in entry.spans.iter() {
            self.rows_of_span(*span, entry, &mut rows)?;
        }
        // Whatever the log says, it cannot be more than the file had.
        let summary = FileEntry::of(entry.partition, &rows).summary;
        let within = summary.first >= entry.summary.first && summary.last <= entry.summary.last;
        let too_many = rows.len() as u64 > entry.rows;
        if too_many || !(within || rows.is_empty()) {
            rows.clear();
        }
        Ok(rows)
    }

    fn rows_of_span(
        &self,
        span: Span,
        entry: &FileEntry,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        let (everything, mut met) = (Query::default(), ScanReport::default());
        let segments = self.reader().index().read().segments_behind(span.begin);
        for segment in segments {
            if segment.number > span.end.segment {
                break;
            }
            let whole = segment.number != span.begin.segment && segment.number != span.end.segment;
            let number = segment.number;
            let mut walk = Walk::begin(segment, &everything, &mut met)?;
            let mut found = Vec::new();
            let mut retired = false;
            let mut at = Cursor {
                segment: number,
                offset: 0,
            };
            // The places of a segment that was thinned are not those that it had.
            let _all = walk.records_with_ends(&mut |record, end| {
                retired |= record.retired;
                if at >= span.begin && end <= span.end {
                    rows_of_record(record, entry, &mut found);
                }
                at = end;
                ControlFlow::Continue(())
            })?;
            if whole || !retired {
                rows.append(&mut found);
            }
        }
        Ok(())
    }
}

/// Reads all of a file. `None`: it is whole. An error of the machine tells nothing of the file.
fn what_is_wrong(file: &SealedFile) -> Result<Option<StoreError>, StoreError> {
    let read = guarded(file, || {
        let open = Open::new(file)?;
        if file.entry.blocks.is_empty() {
            return rows_of(file, &open).map(drop);
        }
        let all = open.check_all();
        all.map_err(|source| sealed("read", &file.path, source))
    });
    match read {
        Ok(()) => Ok(None),
        Err(failed) if is_damage(&failed) => Ok(Some(failed)),
        Err(failed) => Err(failed),
    }
}

/// The events of the file among those of one record.
fn rows_of_record(record: Record, entry: &FileEntry, rows: &mut Vec<Row>) -> Option<()> {
    let header = record.header()?;
    if header.class != entry.partition.class {
        return None;
    }
    let whose = Whose {
        host: header.host,
        boot: header.boot,
        stream: header.stream,
        received: UnixNanos(record.received_unix_ns),
    };
    let mut events = payload::open(&record.batch?.payload).ok()?;
    while let Some(bytes) = events.next_bytes() {
        let row = row(whose, bytes.ok()?)?;
        if row.partition(header.class) == entry.partition {
            // Of its own, so that the payload's other events need not be kept.
            let bytes = Bytes::copy_from_slice(&row.bytes);
            rows.push(Row { bytes, ..row });
        }
    }
    Some(())
}

/// The row groups of the damaged file whose every byte is as it was written, without what is there already.
fn add_whole_groups(rows: &mut Vec<Row>, file: &SealedFile, aside: &std::path::Path) {
    let open = Open::new(file).or_else(|_gone| Open::at(aside, &file.entry));
    let Ok(open) = open else {
        return;
    };
    let identity = |row: &Row| -> (HostId, StreamId, u64) { (row.host, row.stream, row.seq) };
    let there: HashSet<_> = rows.iter().map(identity).collect();
    for group in 0..open.groups() {
        if let Ok(found) = rows_of_group(&open, group) {
            rows.extend(
                found
                    .into_iter()
                    .filter(|row| !there.contains(&identity(row))),
            );
        }
    }
}

/// Where a damaged file lies once it is set aside. Nothing searches or removes it there.
fn aside(path: &std::path::Path) -> PathBuf {
    let mut number = 0;
    loop {
        let end = match number {
            0 => "parquet.damaged".to_owned(),
            more => format!("parquet.damaged-{more}"),
        };
        let aside = path.with_extension(end);
        if number == MOST_ASIDE || fs::symlink_metadata(&aside).is_err() {
            return aside;
        }
        number = number.saturating_add(1_u32);
    }
}

/// What stays of a file of which so many events are nowhere.
fn lost(old: &FileEntry, rows: u64) -> FileEntry {
    FileEntry {
        rows,
        bytes: 0,
        raw_bytes: 0,
        blocks: Arc::default(),
        spans: Arc::default(),
        lost: true,
        ..old.clone()
    }
}

/// A file of one number is set aside more than once only if somebody put it back.
const MOST_ASIDE: u32 = 99;
