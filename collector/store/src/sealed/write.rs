//! Writing one sealed file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::catalogue::FileEntry;
use super::columns::{self, COLUMNS, EVENT, HOST, RECEIVED, Rows, TIME};
use super::row::{Partition, Row};
use crate::disk::{Disk, SegmentFile};
use crate::{StoreError, Summary};

/// Writes the rows, which are sorted by time, and returns once the file survives a power cut.
///
/// After an error a part of the file may be there.
pub(crate) fn write(
    disk: &mut dyn Disk,
    folder: &Path,
    (number, partition): (u64, Partition),
    rows: &[Row],
) -> Result<FileEntry, StoreError> {
    let mut entry = FileEntry {
        number,
        partition,
        summary: Summary::EMPTY,
        rows: 0,
        bytes: 0,
        raw_bytes: 0,
    };
    let path = folder.join(entry.path());
    let failed = |source| StoreError::io("write", &path, source);
    make_folders(folder, &partition.folder()).map_err(failed)?;
    let sink = Sink {
        file: disk.create(&path).map_err(failed)?,
        written: 0,
    };
    let mut sink = fill(sink, rows).map_err(|source| sealed("write", &path, source))?;
    sink.file.sync().map_err(failed)?;
    entry.bytes = sink.written;
    for row in rows {
        entry.summary = entry.summary.and(row.summary);
        entry.rows = entry.rows.saturating_add(1);
        entry.raw_bytes = entry.raw_bytes.saturating_add(row.bytes.len() as u64);
    }
    Ok(entry)
}

fn fill(sink: Sink, rows: &[Row]) -> Result<Sink, ParquetError> {
    let mut writer = ArrowWriter::try_new(sink, columns::schema(), Some(properties()?))?;
    let mut building = Rows::new();
    for some in rows.chunks(BATCH) {
        for row in some {
            building.push(row);
        }
        let batch = building.take().map_err(arrow)?;
        writer.write(&batch)?;
    }
    writer.into_inner()
}

fn arrow(source: ArrowError) -> ParquetError {
    ParquetError::External(Box::new(source))
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let level = ZstdLevel::try_new(LEVEL)?;
    let version = KeyValue::new("picket.schema".to_owned(), "1".to_owned());
    let by_time = SortingColumn {
        column_idx: 0,
        descending: false,
        nulls_first: false,
    };
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by("picket".to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .set_sorting_columns(Some(vec![by_time]))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_bloom_filter_fpp(BLOOM_FPP)
        .set_column_statistics_enabled(at(EVENT), EnabledStatistics::None)
        .set_column_dictionary_enabled(at(EVENT), false)
        .set_column_statistics_enabled(at(TIME), EnabledStatistics::Page);
    for name in [TIME, RECEIVED, "seq"] {
        properties = differences(properties, name);
    }
    properties = properties.set_column_bloom_filter_enabled(at(HOST), true);
    for column in COLUMNS.iter().filter(|column| column.bloom) {
        properties = properties.set_column_bloom_filter_enabled(at(&column.name()), true);
    }
    Ok(properties
        .set_column_bloom_filter_fpp(at(HOST), BLOOM_FPP)
        .build())
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
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.append(bytes)?;
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

/// Of zstd.
const LEVEL: i32 = 3;

/// How often a filter lets a value pass that is not there.
const BLOOM_FPP: f64 = 0.01;
