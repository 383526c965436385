//! Writing one sealed file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::blocks::Summing;
use super::build::Rows;
use super::catalogue::FileEntry;
use super::columns::{self, COLUMNS, Column, EVENT, HOST, PROCESS_AGE, RECEIVED, REST, TIME};
use super::row::Row;
use crate::StoreError;
use crate::disk::{Disk, SegmentFile};

/// What goes into a file, in the order of time, batch by batch.
pub(super) type Batches<'b> = dyn FnMut() -> Result<Option<RecordBatch>, StoreError> + 'b;

/// Rows as batches of columns.
pub(super) fn batches_of(
    rows: &[Row],
) -> impl FnMut() -> Result<Option<RecordBatch>, StoreError> + '_ {
    let (mut building, mut chunks) = (Rows::new(), rows.chunks(BATCH));
    move || {
        let Some(some) = chunks.next() else {
            return Ok(None);
        };
        for row in some {
            building.push(row);
        }
        let batch = building.take();
        batch
            .map(Some)
            .map_err(|wrong| sealed("build", Path::new("columns"), arrow(wrong)))
    }
}

/// A file that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: u64,
    /// The checksum of each block.
    pub(super) blocks: Arc<[u32]>,
}

/// Writes what `entry` tells of and returns once the file survives a power cut.
///
/// After an error a part of the file may be there.
pub(super) fn write(
    disk: &mut dyn Disk,
    folder: &Path,
    entry: &FileEntry,
    batches: &mut Batches<'_>,
) -> Result<Written, StoreError> {
    let path = folder.join(entry.path());
    let failed = |source| StoreError::io("write", &path, source);
    make_folders(folder, &entry.partition.folder()).map_err(failed)?;
    let sink = Sink {
        file: disk.create(&path).map_err(failed)?,
        written: 0,
        summing: Summing::default(),
    };
    let mut sink = fill(sink, (&path, entry.rows), batches)?;
    sink.file.sync().map_err(failed)?;
    Ok(Written {
        bytes: sink.written,
        blocks: sink.summing.sums(),
    })
}

fn fill(
    sink: Sink,
    (path, rows): (&Path, u64),
    batches: &mut Batches<'_>,
) -> Result<Sink, StoreError> {
    let failed = |source| sealed("write", path, source);
    let mut next = batches()?;
    let properties = properties(next.as_ref(), rows).map_err(failed)?;
    // Arrow's own copy of the schema would be half of a small file, and says nothing that Parquet's does not.
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let schema = columns::sealed_schema();
    let writer = ArrowWriter::try_new_with_options(sink, schema, options);
    let mut writer = writer.map_err(failed)?;
    while let Some(batch) = next {
        writer.write(&batch).map_err(failed)?;
        next = batches()?;
    }
    writer.into_inner().map_err(failed)
}

fn arrow(source: ArrowError) -> ParquetError {
    ParquetError::External(Box::new(source))
}

/// How columns are written, by what the first rows have in them.
fn properties(first: Option<&RecordBatch>, rows: u64) -> Result<WriterProperties, ParquetError> {
    let zstd = |level| ZstdLevel::try_new(level).map(Compression::ZSTD);
    let version = KeyValue::new("picket.schema".to_owned(), VERSION.to_owned());
    let by_time = SortingColumn {
        column_idx: 0,
        descending: false,
        nulls_first: false,
    };
    let mut properties = WriterProperties::builder()
        .set_compression(zstd(LEVEL)?)
        .set_column_compression(at(EVENT), zstd(LEVEL_OF_EVENTS)?)
        .set_column_compression(at(REST), zstd(LEVEL_OF_EVENTS)?)
        .set_created_by("picket".to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .set_sorting_columns(Some(vec![by_time]))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(at(EVENT), false)
        .set_column_statistics_enabled(at(TIME), EnabledStatistics::Page);
    for name in [TIME, RECEIVED, "seq", PROCESS_AGE] {
        properties = differences(properties, name);
    }
    // The least and the greatest text of many say little; the filters say more.
    for field in columns::sealed_schema().fields() {
        if matches!(field.data_type(), DataType::Utf8 | DataType::Binary) {
            let none = EnabledStatistics::None;
            properties = properties
                .set_column_statistics_enabled(at(field.name()), none)
                .set_column_encoding(at(field.name()), Encoding::DELTA_LENGTH_BYTE_ARRAY);
        }
    }
    for name in first.into_iter().flat_map(mostly_distinct) {
        properties = without_dictionary(properties, name);
    }
    // Whatever is said of filters for all columns at once gives every column one.
    let keys = COLUMNS.iter().filter(|column| column.bloom);
    for name in keys.map(Column::name).chain([HOST.to_owned()]) {
        properties = properties
            .set_column_bloom_filter_enabled(at(&name), true)
            .set_column_bloom_filter_fpp(at(&name), BLOOM_FPP)
            .set_column_bloom_filter_max_ndv(at(&name), rows.clamp(1, ROW_GROUP as u64));
    }
    Ok(properties.build())
}

/// Values of which hardly any comes twice: each stands where it is.
fn without_dictionary(
    properties: WriterPropertiesBuilder,
    (name, encoding): (&str, Encoding),
) -> WriterPropertiesBuilder {
    properties
        .set_column_dictionary_enabled(at(name), false)
        .set_column_encoding(at(name), encoding)
}

/// The columns of which hardly any value comes twice, and how they are written then.
fn mostly_distinct(batch: &RecordBatch) -> Vec<(&str, Encoding)> {
    let schema = batch.schema_ref().fields().iter();
    let columns = schema.zip(batch.columns());
    let found = columns.filter_map(|(field, values)| {
        let values = values.slice(0, values.len().min(SAMPLE));
        let any = values.as_any();
        let (distinct, encoding) = if let Some(texts) = any.downcast_ref::<StringArray>() {
            let distinct: HashSet<&str> = texts.iter().flatten().collect();
            (distinct.len(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        } else if let Some(bytes) = any.downcast_ref::<BinaryArray>() {
            let distinct: HashSet<&[u8]> = bytes.iter().flatten().collect();
            (distinct.len(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        } else if let Some(numbers) = any.downcast_ref::<Int64Array>() {
            let distinct: HashSet<i64> = numbers.iter().flatten().collect();
            (distinct.len(), Encoding::DELTA_BINARY_PACKED)
        } else {
            return None;
        };
        let values = values.len().saturating_sub(values.null_count());
        let hardly_any_twice = distinct.saturating_mul(4) > values.saturating_mul(3);
        (values >= ENOUGH && hardly_any_twice).then_some((field.name().as_str(), encoding))
    });
    found.collect()
}

/// Numbers that mostly grow take little as differences.
fn differences(properties: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    properties
        .set_column_dictionary_enabled(at(name), false)
        .set_column_encoding(at(name), Encoding::DELTA_BINARY_PACKED)
}

fn at(name: &str) -> ColumnPath {
    ColumnPath::from(name)
}

/// Makes the folders of a partition, so that their names survive a power cut.
fn make_folders(folder: &Path, partition: &str) -> io::Result<()> {
    let mut path = PathBuf::from(folder);
    for part in partition.split('/') {
        let above = path.clone();
        path.push(part);
        if !path.exists() {
            fs::create_dir_all(&path)?;
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

/// A Parquet failure as the store's.
pub(crate) fn sealed(operation: &'static str, path: &Path, source: ParquetError) -> StoreError {
    // What the disk said is what matters, and whether it is full.
    if let ParquetError::External(inner) = source {
        return match inner.downcast::<io::Error>() {
            Ok(io) => StoreError::io(operation, path, *io),
            Err(other) => unreadable(operation, path, Arc::new(ParquetError::External(other))),
        };
    }
    unreadable(operation, path, Arc::new(source))
}

fn unreadable(operation: &'static str, path: &Path, source: Arc<ParquetError>) -> StoreError {
    StoreError::Sealed {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// The file, as the Parquet writer sees it.
#[derive(Debug)]
struct Sink {
    file: Box<dyn SegmentFile>,
    written: u64,
    summing: Summing,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.append(bytes)?;
        self.summing.add(bytes);
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows of a row group, the unit that filters and statistics speak of.
const ROW_GROUP: usize = 100_000;

/// Rows that become columns at once.
const BATCH: usize = 4_096;

/// Of zstd. Higher levels find short repeats in names that are random digits, which take more room than they save.
const LEVEL: i32 = 1;

/// Of zstd for whole messages, in which long parts repeat.
const LEVEL_OF_EVENTS: i32 = 3;

/// So many values tell whether most differ.
const ENOUGH: usize = 64;

/// Of the columns; 1 had the exact bytes of every event in `event`.
const VERSION: &str = "2";

/// How often a filter lets a value pass that is not there.
const BLOOM_FPP: f64 = 0.02;

/// Values that are looked at to tell whether most differ.
const SAMPLE: usize = 512;
