//! The one that seals: takes what is behind the cursor in the log, writes it as columns, and only then moves the cursor.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::mem;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_event::{HostId, Kind, Severity, UnixNanos};
use prost::Message;
use prost::bytes::Bytes;

use super::catalogue::{Catalogue, FileEntry, Mark, Span};
use super::file::SealedFile;
use super::row::{Partition, Row};
use super::shown::Whose;
use super::{SharedSealed, Snapshot, leftover, write};
use crate::disk::{Disk, RealDisk};
use crate::record::Record;
use crate::walk::Walk;
use crate::{ChainKey, Cursor, KindSet, Query, Reader, ScanReport, StoreError, Summary, payload};

/// How events are sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealOptions {
    /// Events are held up to this many bytes before they are written; a step of sealing needs about twice as much memory.
    pub batch_bytes: usize,
    /// Files are merged into ones whose events have up to this many bytes.
    pub merged_bytes: u64,
    /// So many small files of one class and hour are merged.
    pub merge_at: usize,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 48 << 20,
            merged_bytes: 96 << 20,
            merge_at: 8,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SealReport {
    /// Events written into sealed files.
    pub events: u64,
    /// Files that came.
    pub files: u64,
    /// Files that were replaced or retired.
    pub replaced: u64,
    /// Bytes of the files that came.
    pub bytes: u64,
    /// Records of the log that could not be read; they are damaged.
    pub unreadable: u64,
    /// Whether the log went on behind what was taken.
    pub more: bool,
}

/// Seals the log of one store. A store has one at most.
#[derive(Debug)]
pub struct Sealer {
    pub(crate) disk: Box<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) options: SealOptions,
    reader: Reader,
    pub(super) shared: SharedSealed,
    pub(super) catalogue: Catalogue,
    pub(super) files: Vec<Arc<SealedFile>>,
    pub(super) unmergeable: HashSet<u64>,
    /// Damaged files that nothing can be done about.
    pub(super) hopeless: HashSet<u64>,
    /// The file that was compared with its checksums last.
    pub(super) compared: u64,
    pub(crate) unthinnable: HashSet<u32>,
    doubled: bool,
    stopped: bool,
}

impl Sealer {
    /// Opens the folder of sealed files, which is made if it is not there, and shows them to the store's readers.
    pub fn open(
        reader: &Reader,
        folder: &Path,
        options: SealOptions,
    ) -> Result<(Self, u64), StoreError> {
        Self::open_on(Box::new(RealDisk), reader, folder, options)
    }

    /// As [`Sealer::open`], writing to this disk. Says how many leftovers of a crash were removed.
    pub fn open_on(
        mut disk: Box<dyn Disk>,
        reader: &Reader,
        folder: &Path,
        options: SealOptions,
    ) -> Result<(Self, u64), StoreError> {
        let made = fs::create_dir_all(folder);
        made.map_err(|source| StoreError::io("create folder", folder, source))?;
        let mut catalogue = Catalogue::load(folder)?;
        // A log that was put back from an old copy ends before what is sealed of it.
        let end = reader.end();
        let doubled = end < catalogue.cursor;
        catalogue.cursor = catalogue.cursor.min(end);
        if doubled {
            // What its places meant before is not what they mean from now on.
            for entry in &mut catalogue.files {
                entry.spans = Arc::default();
            }
        }
        let files: Vec<_> = catalogue
            .files
            .iter()
            .map(|entry| Arc::new(SealedFile::new(entry.clone(), folder)))
            .collect();
        let named: HashSet<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let leftovers = leftover::remove(disk.as_mut(), folder, &named)?;
        let sealer = Self {
            disk,
            folder: folder.to_owned(),
            options,
            reader: reader.clone(),
            shared: reader.sealed().clone(),
            catalogue,
            files,
            unmergeable: HashSet::new(),
            hopeless: HashSet::new(),
            compared: 0,
            unthinnable: HashSet::new(),
            doubled,
            stopped: false,
        };
        sealer.publish();
        Ok((sealer, leftovers))
    }

    /// Bytes of the log that are not sealed yet.
    pub fn waiting_bytes(&self) -> u64 {
        let index = self.reader.index().read();
        index.bytes_behind(self.catalogue.cursor)
    }

    /// Bytes in all sealed files.
    pub fn sealed_bytes(&self) -> u64 {
        let files = self.catalogue.files.iter();
        files.map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// How many sealed files count.
    pub fn sealed_files(&self) -> u64 {
        self.catalogue.files.len() as u64
    }

    /// Seals what is behind the cursor, up to a bound. After an error everything is as it was before.
    pub fn seal(&mut self) -> Result<SealReport, StoreError> {
        self.check()?;
        let mut report = SealReport::default();
        let gathered = self.gather(&mut report)?;
        if gathered.cursor == self.catalogue.cursor {
            return Ok(report);
        }
        let mut next = self.catalogue.clone();
        next.cursor = gathered.cursor;
        next.marks.extend(gathered.marks);
        let mut written = Vec::new();
        let span = Span {
            begin: self.catalogue.cursor,
            end: gathered.cursor,
        };
        let span = (!self.doubled).then_some(span);
        if let Err(failed) = self.write_all((span, gathered.rows), &mut next, &mut written) {
            self.discard(&written);
            return Err(failed);
        }
        for entry in &written {
            report.events = report.events.saturating_add(entry.rows);
            report.bytes = report.bytes.saturating_add(entry.bytes);
            report.files = report.files.saturating_add(1);
        }
        self.commit(next, &written, &[])?;
        Ok(report)
    }

    /// The rows behind the cursor, and how far that is.
    fn gather(&self, report: &mut SealReport) -> Result<Gathered<'_>, StoreError> {
        let (everything, mut met) = (Query::default(), ScanReport::default());
        let mut gathered = Gathered::new(&self.catalogue, self.options.batch_bytes);
        // The lock is held for this line only: who stores would wait for whoever reads the log.
        let segments = self
            .reader
            .index()
            .read()
            .segments_behind(self.catalogue.cursor);
        for segment in segments {
            let end = Cursor {
                segment: segment.number,
                offset: segment.length,
            };
            let mut walk = Walk::begin(segment, &everything, &mut met)?;
            walk.skip_to(self.catalogue.cursor);
            if walk.records(&mut |record| gathered.add(record))?.is_break() {
                gathered.cursor = walk.cursor();
                report.more = gathered.cursor < self.reader.end();
                break;
            }
            gathered.cursor = end;
        }
        report.unreadable = met.unreadable.saturating_add(gathered.unreadable);
        Ok(gathered)
    }

    fn write_all(
        &mut self,
        (span, rows): (Option<Span>, BTreeMap<Partition, Vec<Row>>),
        next: &mut Catalogue,
        written: &mut Vec<FileEntry>,
    ) -> Result<(), StoreError> {
        for (partition, mut rows) in rows {
            rows.sort_unstable_by(Row::order);
            let entry = FileEntry::of(partition, &rows).spanning(span);
            let entry = self.write(next, entry, &mut write::batches_of(&rows))?;
            written.push(entry);
        }
        Ok(())
    }

    /// Writes one file, which counts once `next` is the catalogue. What an error leaves is removed.
    pub(super) fn write(
        &mut self,
        next: &mut Catalogue,
        mut entry: FileEntry,
        batches: &mut write::Batches<'_>,
    ) -> Result<FileEntry, StoreError> {
        entry.number = next.next_number;
        next.next_number = entry.number.saturating_add(1);
        match write::write(self.disk.as_mut(), &self.folder, &entry, batches) {
            Ok(written) => {
                entry.bytes = written.bytes;
                entry.blocks = written.blocks;
                next.files.push(entry.clone());
                Ok(entry)
            }
            Err(failed) => {
                self.discard(&[entry]);
                Err(failed)
            }
        }
    }

    /// Files that will not count after all. What cannot be removed now is a leftover at the next start.
    pub(super) fn discard(&mut self, entries: &[FileEntry]) {
        // What is lost has the name of a file that somebody may still look into.
        for entry in entries.iter().filter(|entry| !entry.lost) {
            drop(self.disk.remove(&self.folder.join(entry.path())));
        }
    }

    /// Puts `next` in the place of the catalogue: from now on it counts. Before, what came did not.
    pub(super) fn commit(
        &mut self,
        next: Catalogue,
        came: &[FileEntry],
        went: &[u64],
    ) -> Result<(), StoreError> {
        if let Err(failed) = next.write(self.disk.as_mut(), &self.folder) {
            self.discard(came);
            return Err(failed);
        }
        if let Err(failed) = Catalogue::place(self.disk.as_mut(), &self.folder) {
            self.stopped = true;
            return Err(failed);
        }
        self.catalogue = next;
        let all = mem::take(&mut self.files).into_iter();
        let (gone, kept): (Vec<_>, Vec<_>) =
            all.partition(|file| went.contains(&file.entry.number));
        self.files = kept;
        let came = came
            .iter()
            .map(|entry| SealedFile::new(entry.clone(), &self.folder));
        self.files.extend(came.map(Arc::new));
        self.publish();
        for file in gone {
            file.doom();
        }
        Ok(())
    }

    /// The reader of the log that it seals.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Up to where it is sealed.
    pub(crate) fn cursor(&self) -> Cursor {
        self.catalogue.cursor
    }

    /// Nobody knows what is on disk any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// An error once nobody knows which catalogue counts. Only a new start tells.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        Ok(())
    }

    pub(super) fn publish(&self) {
        let mut files = self.files.clone();
        files.sort_by_key(|file| (file.entry.summary.first, file.entry.number));
        let doubled = self.doubled.then(|| Arc::new(self.catalogue.marks.clone()));
        self.shared.publish(Snapshot {
            cursor: Some(self.catalogue.cursor),
            files,
            doubled,
        });
    }
}

/// What was read of the log.
struct Gathered<'c> {
    known: &'c Catalogue,
    marks: HashMap<(HostId, ChainKey), Mark>,
    rows: BTreeMap<Partition, Vec<Row>>,
    size: usize,
    limit: usize,
    cursor: Cursor,
    unreadable: u64,
}

impl<'c> Gathered<'c> {
    fn new(known: &'c Catalogue, limit: usize) -> Self {
        Self {
            known,
            marks: HashMap::new(),
            rows: BTreeMap::new(),
            size: 0,
            limit,
            cursor: known.cursor,
            unreadable: 0,
        }
    }

    fn add(&mut self, record: Record) -> ControlFlow<()> {
        if self.rows_of(record).is_none() {
            self.unreadable = self.unreadable.saturating_add(1);
        }
        if self.size < self.limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn rows_of(&mut self, record: Record) -> Option<()> {
        let header = record.header()?;
        let whose = Whose {
            host: header.host,
            boot: header.boot,
            stream: header.stream,
            received: UnixNanos(record.received_unix_ns),
        };
        let key = ChainKey {
            stream: header.stream,
            class: header.class,
        };
        let of = (header.host, key);
        let known = self.marks.get(&of).or_else(|| self.known.marks.get(&of));
        let sealed_seq = known.map_or(0, |mark| mark.sealed_seq);
        let next_seq = header.seq_first.saturating_add(header.count);
        let mark = Mark {
            sealed_seq: sealed_seq.max(next_seq),
        };
        self.marks.insert(of, mark);
        let mut events = payload::open(&record.batch?.payload).ok()?;
        while let Some(bytes) = events.next_bytes() {
            let row = row(whose, bytes.ok()?)?;
            // It was sealed before the log was put back from an old copy.
            if row.seq >= sealed_seq {
                self.size = self.size.saturating_add(row.size());
                let rows = self.rows.entry(row.partition(header.class)).or_default();
                rows.push(row);
            }
        }
        Some(())
    }
}

/// An event as a row; `None` if it cannot be read.
pub(super) fn row(whose: Whose, bytes: Bytes) -> Option<Row> {
    let head = EventHead::decode(bytes.as_ref()).ok()?;
    let time = UnixNanos(head.time_unix_ns);
    let kind = Kind::from_wire(head.kind);
    let summary = Summary {
        first: time,
        last: time,
        kinds: kind.map_or(KindSet::NONE, |kind| KindSet::NONE.with(kind)),
        worst: head.worst(),
    };
    Some(Row {
        time,
        received: whose.received,
        host: whose.host,
        boot: whose.boot,
        stream: whose.stream,
        seq: head.seq,
        bytes,
        summary,
    })
}

/// The fields of `picket.v1.Event` that decide where it goes; the others are passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct EventHead {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(int64, tag = "3")]
    time_unix_ns: i64,
    #[prost(message, repeated, tag = "7")]
    verdicts: Vec<VerdictHead>,
}

/// Of `picket.v1.Verdict` how bad it is.
#[derive(Clone, PartialEq, prost::Message)]
struct VerdictHead {
    #[prost(message, optional, tag = "1")]
    rule: Option<RuleHead>,
    #[prost(message, optional, tag = "2")]
    scorer: Option<ScorerHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuleHead {
    #[prost(int32, tag = "3")]
    severity: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScorerHead {
    #[prost(bool, tag = "4")]
    alert: bool,
}

impl EventHead {
    fn worst(&self) -> Option<Severity> {
        self.verdicts.iter().filter_map(VerdictHead::severity).max()
    }
}

impl VerdictHead {
    /// As [`picket_event::Verdict::severity`] says.
    fn severity(&self) -> Option<Severity> {
        let rule = self.rule.as_ref();
        let rule = rule.and_then(|rule| Severity::from_wire(rule.severity));
        let scorer = self.scorer.as_ref().map(|scorer| {
            if scorer.alert {
                Severity::Medium
            } else {
                Severity::Informational
            }
        });
        rule.max(scorer)
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{RuleVerdict, ScorerVerdict, Verdict};
    use picket_proto::v1;

    use super::*;

    #[test]
    fn the_head_of_a_verdict_is_as_bad_as_the_verdict() {
        let mut verdicts = Vec::new();
        for severity in [Severity::Informational, Severity::Low, Severity::Critical] {
            verdicts.push(Verdict::Rule(RuleVerdict {
                id: "i".to_owned(),
                title: "t".to_owned(),
                severity,
                attack: vec!["T1105".to_owned()],
                author: "a".to_owned(),
                license: String::new(),
                rests_on: Vec::new(),
            }));
        }
        for alert in [false, true] {
            verdicts.push(Verdict::Scorer(ScorerVerdict {
                bits: 1.5,
                p: 0.25,
                reasons: Vec::new(),
                alert,
            }));
        }
        for verdict in verdicts {
            let bytes = v1::Verdict::from(verdict.clone()).encode_to_vec();
            let head = VerdictHead::decode(bytes.as_slice()).unwrap();
            assert_eq!(head.severity(), Some(verdict.severity()));
        }
    }
}
