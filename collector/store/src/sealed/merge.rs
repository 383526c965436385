//! The rows of several files as one, in the order of time, without a look into the events.
//!
//! # Invariants
//!
//! - One batch of each file is in memory, besides those of which rows are on their way.
//! - A file that does not have as many rows as it should is an error, never a shorter answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, TimestampNanosecondArray};
use arrow_schema::ArrowError;
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::columns::TIME;
use super::compact::damaged;
use super::file::SealedFile;
use super::read::Open;
use super::write::sealed;
use crate::StoreError;

/// Files that are read side by side.
pub(super) struct Merge<'f> {
    sources: Vec<Source<'f>>,
    /// The time of each source's next row; the earliest comes out first.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    /// Batches of which rows are on their way.
    held: Vec<RecordBatch>,
}

/// One file of them.
struct Source<'f> {
    file: &'f SealedFile,
    open: &'f Open,
    /// Row groups that are read or being read.
    groups: usize,
    reader: Option<ParquetRecordBatchReader>,
    batch: Option<Current>,
    seen: u64,
}

/// The batch that a source stands in.
struct Current {
    times: TimestampNanosecondArray,
    /// Its place among those that are held.
    held: usize,
    /// The next row.
    at: usize,
}

impl<'f> Merge<'f> {
    pub(super) fn of(
        files: impl Iterator<Item = (&'f Arc<SealedFile>, &'f Open)>,
    ) -> Result<Self, StoreError> {
        let sources = files.map(|(file, open)| Source {
            file,
            open,
            groups: 0,
            reader: None,
            batch: None,
            seen: 0,
        });
        let mut merge = Self {
            sources: sources.collect(),
            heads: BinaryHeap::new(),
            held: Vec::new(),
        };
        for number in 0..merge.sources.len() {
            merge.read(number)?;
        }
        Ok(merge)
    }

    /// The next rows of all.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        let mut rows = Vec::with_capacity(BATCH);
        while rows.len() < BATCH {
            let Some(Reverse((_, number))) = self.heads.pop() else {
                break;
            };
            let Some(source) = self.sources.get_mut(number) else {
                break;
            };
            let Some(current) = &mut source.batch else {
                break;
            };
            rows.push((current.held, current.at));
            current.at = current.at.saturating_add(1);
            match current.time() {
                Some(time) => self.heads.push(Reverse((time, number))),
                None => self.read(number)?,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let held: Vec<&RecordBatch> = self.held.iter().collect();
        let batch = interleave_record_batch(&held, &rows);
        let failed = |wrong: ArrowError| ParquetError::External(Box::new(wrong));
        let first = self.sources.first().map(|source| source.file.path.clone());
        let batch =
            batch.map_err(|wrong| sealed("merge", &first.unwrap_or_default(), failed(wrong)))?;
        self.let_go();
        Ok(Some(batch))
    }

    /// Reads on in a source that has no row left in memory.
    fn read(&mut self, number: usize) -> Result<(), StoreError> {
        let Some(source) = self.sources.get_mut(number) else {
            return Ok(());
        };
        source.batch = None;
        let Some(batch) = source.next_batch()? else {
            return Ok(());
        };
        let times = batch.column_by_name(TIME);
        let times = times.and_then(|times| times.as_any().downcast_ref());
        let times: &TimestampNanosecondArray =
            times.ok_or_else(|| source.failed(damaged("a column is missing")))?;
        let current = Current {
            times: times.clone(),
            held: self.held.len(),
            at: 0,
        };
        if let Some(time) = current.time() {
            self.heads.push(Reverse((time, number)));
        }
        source.batch = Some(current);
        self.held.push(batch);
        Ok(())
    }

    /// Batches of which all rows are out are let go.
    fn let_go(&mut self) {
        let mut kept = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            let Some(current) = &mut source.batch else {
                continue;
            };
            if let Some(batch) = self.held.get(current.held) {
                current.held = kept.len();
                kept.push(batch.clone());
            }
        }
        self.held = kept;
    }
}

impl Source<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                let broken = |wrong| self.failed(ParquetError::External(Box::new(wrong)));
                let batch = batch.map_err(broken)?;
                self.seen = self.seen.saturating_add(batch.num_rows() as u64);
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
                continue;
            }
            if self.groups == self.open.groups() {
                if self.seen != self.file.entry.rows {
                    return Err(self.failed(damaged("rows are missing")));
                }
                return Ok(None);
            }
            let reader = self.open.read_all(self.groups);
            self.reader = Some(reader.map_err(|wrong| self.failed(wrong))?);
            self.groups = self.groups.saturating_add(1);
        }
    }

    fn failed(&self, source: ParquetError) -> StoreError {
        sealed("read", &self.file.path, source)
    }
}

impl Current {
    /// Of the next row, if it has one.
    fn time(&self) -> Option<i64> {
        (self.at < self.times.len()).then(|| self.times.value(self.at))
    }
}

/// Rows that are written at once.
const BATCH: usize = 4_096;
