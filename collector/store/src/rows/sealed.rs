//! The rows of one sealed file, forwards or backwards.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::slice::Classes;
use super::{Asked, RowAt, Slice};
use crate::StoreError;
use crate::sealed::{Condition, EVENT, Open, Plan, SealedFile, sealed, shown};

/// Rows of a file that is being read.
pub(super) struct SealedRows {
    file: Arc<SealedFile>,
    asked: Arc<Asked>,
    open: Open,
    conditions: Vec<Condition>,
    backwards: bool,
    /// The row groups that are left, the next at the end.
    groups: Vec<usize>,
    /// Of the row group that is being read: its number and the rows that are left.
    left: Option<(usize, Range<usize>)>,
    /// How many rows are looked at next.
    size: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// What was read of a piece that is shown backwards, the next at the end.
    read: Vec<RecordBatch>,
    slice: Option<Arc<Slice>>,
    rows: Range<usize>,
}

impl SealedRows {
    /// `None`: the file is damaged, and that is noted.
    pub(super) fn begin(
        file: Arc<SealedFile>,
        asked: &Arc<Asked>,
        backwards: bool,
    ) -> Result<Option<Self>, StoreError> {
        let plan = Plan::of(&asked.row_query.query);
        let mut conditions = plan.conditions_for(&file.entry);
        let tests = asked.row_query.tests.iter();
        conditions.extend(tests.map(|(column, test)| test.condition(column)));
        let opened = asked.past_damage(&file, || {
            let open = Open::new(&file)?;
            let groups = open.groups_for(&conditions);
            let groups = groups.map_err(|source| sealed("read", &file.path, source))?;
            Ok((open, groups))
        })?;
        let Some((open, mut groups)) = opened else {
            return Ok(None);
        };
        if !backwards {
            groups.reverse();
        }
        Ok(Some(Self {
            file,
            asked: Arc::clone(asked),
            open,
            conditions,
            backwards,
            groups,
            left: None,
            size: FIRST_PIECE,
            reader: None,
            read: Vec::new(),
            slice: None,
            rows: 0..0,
        }))
    }

    pub(super) fn next(&mut self) -> Result<Option<RowAt>, StoreError> {
        loop {
            let at = if self.backwards {
                self.rows.next_back()
            } else {
                self.rows.next()
            };
            if let (Some(at), Some(slice)) = (at, &self.slice) {
                return Ok(Some(RowAt::new(slice, at)));
            }
            let (file, asked) = (Arc::clone(&self.file), Arc::clone(&self.asked));
            let batch = asked.past_damage(&file, || self.next_batch())?;
            let Some(batch) = batch.flatten() else {
                return Ok(None);
            };
            let classes = Classes::All(self.file.entry.partition.class);
            let slice = Slice::new(batch, &self.asked.row_query.columns, classes);
            self.rows = 0..slice.rows();
            self.slice = Some(Arc::new(slice));
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            if let Some(batch) = self.read.pop() {
                return Ok(Some(batch));
            }
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                return self.opened(batch).map(Some);
            }
            let Some(piece) = self.next_piece() else {
                return Ok(None);
            };
            let mut columns: Vec<&str> = self.asked.read.iter().map(String::as_str).collect();
            if columns.contains(&EVENT) {
                columns.extend(shown());
            }
            let reader = self.open.read(piece, &columns, &self.conditions);
            let reader = reader.map_err(|source| sealed("read", &self.file.path, source))?;
            if self.backwards {
                let batches: Result<Vec<_>, _> = reader.map(|batch| self.opened(batch)).collect();
                self.read = batches?;
            } else {
                self.reader = Some(reader);
            }
        }
    }

    fn opened(&self, batch: Result<RecordBatch, ArrowError>) -> Result<RecordBatch, StoreError> {
        batch.map_err(|source| {
            let source = ParquetError::External(Box::new(source));
            sealed("read", &self.file.path, source)
        })
    }

    /// Which rows come next. Few at first: who asks for the newest ten needs no more.
    fn next_piece(&mut self) -> Option<(usize, Range<usize>)> {
        let left = self.left.take().filter(|(_, rows)| !rows.is_empty());
        let (group, rows) = if let Some(left) = left {
            left
        } else {
            let group = self.groups.pop()?;
            (group, 0..self.open.rows(group))
        };
        let size = self.size;
        self.size = size.saturating_mul(2).min(LARGEST_PIECE);
        let (piece, rest) = if self.backwards {
            let begin = rows.end.saturating_sub(size).max(rows.start);
            (begin..rows.end, rows.start..begin)
        } else {
            let end = rows.start.saturating_add(size).min(rows.end);
            (rows.start..end, end..rows.end)
        };
        self.left = Some((group, rest));
        Some((group, piece))
    }
}

/// Rows that are looked at first.
const FIRST_PIECE: usize = 2_048;

/// Rows that are looked at before others are, at most.
const LARGEST_PIECE: usize = 32_768;
