//! Compaction: many small files of one class and hour become a larger one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::errors::ParquetError;
use prost::bytes::Bytes;

use super::catalogue::{Catalogue, FileEntry};
use super::file::SealedFile;
use super::merge::Merge;
use super::read::Open;
use super::row::{Partition, Row};
use super::sealer::row;
use super::shown::{Shown, shown};
use super::write::{batches_of, sealed};
use super::{SealReport, Sealer};
use crate::StoreError;

impl Sealer {
    /// Merges the small files of one class and hour, if there are enough of them. After an error everything is as it was before.
    pub fn compact(&mut self) -> Result<SealReport, StoreError> {
        self.check()?;
        let mut report = SealReport::default();
        let Some(chosen) = self.small_files() else {
            return Ok(report);
        };
        let Some(partition) = chosen.first().map(|file| file.entry.partition) else {
            return Ok(report);
        };
        let went: Vec<u64> = chosen.iter().map(|file| file.entry.number).collect();
        let mut next = self.catalogue.clone();
        next.files.retain(|entry| !went.contains(&entry.number));
        let entry = FileEntry::merged(partition, chosen.iter().map(|file| &file.entry));
        let merged = self.merge(&chosen, entry, &mut next);
        let entry = merged.inspect_err(|failed| self.leave_out(&chosen, failed))?;
        drop(chosen);
        report.bytes = entry.bytes;
        self.commit(next, &[entry], &went)?;
        report.files = 1;
        report.replaced = went.len() as u64;
        Ok(report)
    }

    fn merge(
        &mut self,
        chosen: &[Arc<SealedFile>],
        entry: FileEntry,
        next: &mut Catalogue,
    ) -> Result<FileEntry, StoreError> {
        let opened: Result<Vec<_>, _> = chosen.iter().map(|file| Open::new(file)).collect();
        let opened = opened?;
        if opened.iter().all(Open::is_current) {
            let mut merge = Merge::of(chosen.iter().zip(&opened))?;
            return self.write(next, entry, &mut || merge.next_batch());
        }
        let mut rows = Vec::new();
        for (file, open) in chosen.iter().zip(&opened) {
            rows.extend(rows_of(file, open)?);
        }
        rows.sort_unstable_by(Row::order);
        self.write(next, entry, &mut batches_of(&rows))
    }

    /// A file that cannot be read would only fail again; the others are merged without it.
    fn leave_out(&mut self, chosen: &[Arc<SealedFile>], failed: &StoreError) {
        let (StoreError::Sealed { path, .. } | StoreError::Io { path, .. }) = failed else {
            return;
        };
        let damaged = chosen.iter().filter(|file| file.path == *path);
        let numbers: Vec<u64> = damaged.map(|file| file.entry.number).collect();
        for number in &numbers {
            self.shared.suspect(*number);
        }
        self.unmergeable.extend(numbers);
    }

    /// The files of a folder that has too many, as many as fit into one.
    fn small_files(&self) -> Option<Vec<Arc<SealedFile>>> {
        let mut folders: BTreeMap<Partition, Vec<&Arc<SealedFile>>> = BTreeMap::new();
        let small = self.options.merged_bytes.div_euclid(2);
        let fits = |file: &&Arc<SealedFile>| {
            file.entry.raw_bytes < small
                && !file.entry.lost
                && !self.unmergeable.contains(&file.entry.number)
        };
        for file in self.files.iter().filter(fits) {
            let files = folders.entry(file.entry.partition).or_default();
            files.push(file);
        }
        let mut files = folders
            .into_values()
            .find(|files| files.len() >= self.options.merge_at)?;
        files.sort_by_key(|file| file.entry.raw_bytes);
        let mut room = self.options.merged_bytes;
        let fitting = files.into_iter().map_while(|file| {
            room = room.checked_sub(file.entry.raw_bytes)?;
            Some(Arc::clone(file))
        });
        let chosen: Vec<_> = fitting.collect();
        (chosen.len() > 1).then_some(chosen)
    }
}

/// All rows of a file. A file that does not have as many as it should is damaged, and stays as it is.
pub(super) fn rows_of(file: &SealedFile, open: &Open) -> Result<Vec<Row>, StoreError> {
    let failed = |source| sealed("read", &file.path, source);
    let mut rows = Vec::new();
    for group in 0..open.groups() {
        rows.extend(rows_of_group(open, group).map_err(failed)?);
    }
    if rows.len() as u64 != file.entry.rows {
        return Err(failed(damaged("rows are missing")));
    }
    Ok(rows)
}

/// The rows of one row group that can be read.
pub(super) fn rows_of_group(open: &Open, group: usize) -> Result<Vec<Row>, ParquetError> {
    let all = 0..open.rows(group);
    let mut rows = Vec::new();
    for batch in open.read((group, all), &shown(), &[])? {
        let batch = batch.map_err(|wrong| ParquetError::External(Box::new(wrong)))?;
        let shown = Shown::of(&batch).ok_or_else(|| damaged("a column is missing"))?;
        let again = (0..batch.num_rows()).filter_map(|at| {
            let bytes = Bytes::from(shown.bytes(at)?.into_owned());
            row(shown.whose(at)?, bytes)
        });
        rows.extend(again);
    }
    Ok(rows)
}

pub(super) fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
