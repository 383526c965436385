//! Reading the wanted events of one sealed file.
//!
//! What can be passed by is: row groups by their times and by the filters of their values, then rows by their columns.
//! Only what is left is decoded.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions,
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;
use picket_event::UnixNanos;

use super::blocks::Blocks;
use super::catalogue::FileEntry;
use super::columns::{REST, TIME};
use super::condition::{Check, Condition, Plan};
use super::file::SealedFile;
use super::shown::{Shown, shown};
use super::sizes::ColumnSize;
use super::write::sealed;
use crate::cancel::Cancel;
use crate::reader::Newest;
use crate::walk::Visit;
use crate::{Order, ScanReport, StoreError, StoredEvent};

/// One sealed file that is being read.
pub(crate) struct FileScan<'a> {
    pub(super) of: &'a SealedFile,
    plan: &'a Plan<'a>,
    pub(super) cancel: &'a Cancel,
    pub(super) open: Open,
    pub(super) conditions: Vec<Condition>,
}

/// A sealed file, opened, with its footer read.
pub(crate) struct Open {
    file: Blocks,
    metadata: ArrowReaderMetadata,
}

impl Open {
    pub(crate) fn new(of: &SealedFile) -> Result<Self, StoreError> {
        Self::at(&of.path, &of.entry)
    }

    /// A file that may lie elsewhere than where it should.
    pub(super) fn at(path: &Path, entry: &FileEntry) -> Result<Self, StoreError> {
        let file = Blocks::open(path, entry)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options);
        let metadata = metadata.map_err(|source| sealed("read", path, source))?;
        Ok(Self { file, metadata })
    }

    pub(crate) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    pub(crate) fn rows(&self, group: usize) -> usize {
        let rows = self.metadata.metadata().row_group(group).num_rows();
        usize::try_from(rows).unwrap_or_default()
    }

    fn schema(&self) -> &SchemaDescriptor {
        self.metadata.parquet_schema()
    }

    /// A reader of these columns of these rows of one row group.
    pub(crate) fn read(
        &self,
        (group, rows): (usize, Range<usize>),
        columns: &[&str],
        conditions: &[Condition],
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let filters = conditions.iter().map(|one| self.filter(one.clone()));
        let file = self.file.clone();
        let all = self.rows(group);
        let selected = RowSelection::from_consecutive_ranges(std::iter::once(rows), all);
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_row_selection(selected)
            .with_projection(self.columns(columns))
            .with_row_filter(RowFilter::new(filters.collect()))
            .with_batch_size(BATCH)
            .build()
    }

    /// A reader of all columns of one row group.
    pub(super) fn read_all(&self, group: usize) -> Result<ParquetRecordBatchReader, ParquetError> {
        let file = self.file.clone();
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(BATCH)
            .build()
    }

    /// Compares all of the file with its checksums.
    pub(super) fn check_all(&self) -> Result<(), ParquetError> {
        self.file.check_all()
    }

    /// Whether it has the columns of the version that is written now.
    pub(super) fn is_current(&self) -> bool {
        self.index_of(REST).is_some()
    }

    fn columns(&self, names: &[&str]) -> ProjectionMask {
        ProjectionMask::columns(self.schema(), names.iter().copied())
    }

    fn filter(&self, condition: Condition) -> Box<dyn ArrowPredicate> {
        let column = self.columns(&[condition.column.as_str()]);
        let rows = move |batch: RecordBatch| match batch.columns() {
            [values] => Ok(condition.rows(values)),
            _ => Err(ArrowError::SchemaError("a column is missing".to_owned())),
        };
        Box::new(ArrowPredicateFn::new(column, rows))
    }

    /// What each column of each row group takes.
    pub(super) fn column_sizes(&self) -> Vec<ColumnSize> {
        let bytes = |size: i64| u64::try_from(size).unwrap_or_default();
        let groups = self.metadata.metadata().row_groups().iter();
        let columns = groups.flat_map(RowGroupMetaData::columns);
        let sizes = columns.map(|column| ColumnSize {
            name: column.column_path().string(),
            pages: bytes(column.compressed_size()),
            plain: bytes(column.uncompressed_size()),
            filters: bytes(column.bloom_filter_length().unwrap_or_default().into()),
        });
        sizes.collect()
    }

    fn index_of(&self, column: &str) -> Option<usize> {
        let columns = self.schema().columns();
        columns.iter().position(|one| one.path().string() == column)
    }

    /// The time of the first and the last row of a row group.
    fn times(&self, group: usize) -> Option<(i64, i64)> {
        let group = self.metadata.metadata().row_group(group);
        let column = group.columns().get(self.index_of(TIME)?)?;
        match column.statistics()? {
            Statistics::Int64(times) => Some((*times.min_opt()?, *times.max_opt()?)),
            _ => None,
        }
    }

    /// The row groups that may have rows that meet all conditions.
    pub(crate) fn groups_for(&self, conditions: &[Condition]) -> Result<Vec<usize>, ParquetError> {
        let mut groups = Vec::new();
        for group in 0..self.groups() {
            let mut may = true;
            for condition in conditions {
                may = self.may_meet(group, condition)?;
                if !may {
                    break;
                }
            }
            if may {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Whether a row group may have rows that meet the condition.
    fn may_meet(&self, group: usize, condition: &Condition) -> Result<bool, ParquetError> {
        if let Check::Between(first, last) = &condition.check {
            let times = self.times(group);
            return Ok(times.is_none_or(|(begin, end)| begin <= *last && end >= *first));
        }
        let Some(column) = self.index_of(&condition.column).filter(|_| condition.bloom) else {
            return Ok(true);
        };
        let file = self.file.clone();
        let metadata = self.metadata.clone();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let filter = reader.get_row_group_column_bloom_filter(group, column)?;
        Ok(filter.is_none_or(|filter| match &condition.check {
            Check::Texts(texts) => texts.iter().any(|text| filter.check(text.as_str())),
            Check::Numbers(numbers) => numbers.iter().any(|number| filter.check(number)),
            _ => true,
        }))
    }
}

impl<'a> FileScan<'a> {
    pub(crate) fn begin(
        of: &'a SealedFile,
        plan: &'a Plan<'a>,
        cancel: &'a Cancel,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            of,
            plan,
            cancel,
            open: Open::new(of)?,
            conditions: plan.conditions_for(&of.entry),
        })
    }

    /// Shows every wanted event, in the order of time.
    pub(crate) fn events(
        &self,
        order: Order,
        report: &mut ScanReport,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut groups = self.groups()?;
        if order == Order::NewestFirst {
            groups.reverse();
            return self.events_backwards(&groups, report, visit);
        }
        for group in groups {
            for rows in pieces(self.open.rows(group)) {
                if self.rows((group, rows), report, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn events_backwards(
        &self,
        groups: &[usize],
        report: &mut ScanReport,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        for group in groups {
            for rows in pieces(self.open.rows(*group)).rev() {
                let mut events = Vec::new();
                let _all = self.rows((*group, rows), report, &mut |event| {
                    events.push(event);
                    ControlFlow::Continue(())
                })?;
                if events
                    .into_iter()
                    .rev()
                    .try_for_each(&mut *visit)
                    .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Offers the wanted events, the latest first, as long as they can get in.
    pub(crate) fn newest(
        &self,
        newest: &mut Newest,
        report: &mut ScanReport,
    ) -> Result<(), StoreError> {
        for group in self.groups()?.into_iter().rev() {
            let mut end = self.open.rows(group);
            let mut size = newest.limit().clamp(FIRST_PIECE, PIECE);
            while end > 0 {
                let last = self.open.times(group).map(|(_, last)| UnixNanos(last));
                if last.is_some_and(|last| newest.is_past(last)) {
                    return Ok(());
                }
                let begin = end.saturating_sub(size);
                let mut earliest: Option<UnixNanos> = None;
                let _all = self.rows((group, begin..end), report, &mut |event| {
                    earliest = Some(earliest.map_or(event.event.time, |t| t.min(event.event.time)));
                    newest.offer(event)
                })?;
                // What stands before is not later.
                if earliest.is_some_and(|earliest| newest.is_past(earliest)) {
                    return Ok(());
                }
                (end, size) = (begin, size.saturating_mul(2).min(PIECE));
            }
        }
        Ok(())
    }

    /// The row groups that may have what is wanted.
    pub(super) fn groups(&self) -> Result<Vec<usize>, StoreError> {
        let groups = self.open.groups_for(&self.conditions);
        groups.map_err(|source| sealed("read", &self.of.path, source))
    }

    fn rows(
        &self,
        which: (usize, Range<usize>),
        report: &mut ScanReport,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        self.cancel.check()?;
        let failed = |source| sealed("read", &self.of.path, source);
        let broken = |source: ArrowError| failed(ParquetError::External(Box::new(source)));
        let reader = self
            .open
            .read(which, &shown(), &self.conditions)
            .map_err(failed)?;
        for batch in reader {
            self.cancel.check()?;
            let batch = batch.map_err(broken)?;
            if self.show(&batch, report, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn show(
        &self,
        batch: &RecordBatch,
        report: &mut ScanReport,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let Some(rows) = Shown::of(batch) else {
            report.unreadable = report.unreadable.saturating_add(1);
            return ControlFlow::Continue(());
        };
        let class = self.of.entry.partition.class;
        for at in 0..batch.num_rows() {
            report.events = report.events.saturating_add(1);
            let Some((origin, event)) = rows.event(at) else {
                report.unreadable = report.unreadable.saturating_add(1);
                continue;
            };
            if self.plan.query.wants(&origin.host, &origin.boot, &event) {
                let stored = StoredEvent {
                    host: origin.host,
                    boot: origin.boot,
                    stream: origin.stream,
                    class,
                    received: origin.received,
                    event,
                };
                if self.plan.query.wants_mark(&stored) {
                    visit(stored)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// A row group in pieces, so that a search can be cancelled and never holds much.
fn pieces(rows: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    (0..rows)
        .step_by(PIECE)
        .map(move |begin| begin..begin.saturating_add(PIECE).min(rows))
}

/// Rows that are decoded at once.
const BATCH: usize = 1_024;

/// Rows that are looked at before anything else is decided, at most.
const PIECE: usize = 65_536;

/// Rows that are looked at first when the latest are wanted.
const FIRST_PIECE: usize = 2_048;
