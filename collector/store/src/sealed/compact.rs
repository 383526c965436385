//! Compaction: many small files of one class and hour become a larger one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::errors::ParquetError;
use prost::bytes::Bytes;

use super::file::SealedFile;
use super::read::{Open, SHOWN, Shown};
use super::row::{Partition, Row};
use super::sealer::row;
use super::write::sealed;
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
        let mut rows = Vec::new();
        for file in &chosen {
            match rows_of(file) {
                Ok(more) => rows.extend(more),
                Err(failed) => {
                    // It would only fail again; the others are merged without it.
                    self.unmergeable.insert(file.entry.number);
                    return Err(failed);
                }
            }
        }
        rows.sort_by_key(Row::place);
        let Some(partition) = chosen.first().map(|file| file.entry.partition) else {
            return Ok(report);
        };
        let went: Vec<u64> = chosen.iter().map(|file| file.entry.number).collect();
        let mut next = self.catalogue.clone();
        next.files.retain(|entry| !went.contains(&entry.number));
        let entry = self.write(&mut next, partition, &rows)?;
        drop(chosen);
        self.commit(next, &[entry], &went)?;
        report.files = 1;
        report.bytes = entry.bytes;
        report.replaced = went.len() as u64;
        Ok(report)
    }

    /// The files of a folder that has too many, as many as fit into one.
    fn small_files(&self) -> Option<Vec<Arc<SealedFile>>> {
        let mut folders: BTreeMap<Partition, Vec<&Arc<SealedFile>>> = BTreeMap::new();
        let small = self.options.merged_bytes.div_euclid(2);
        let fits = |file: &&Arc<SealedFile>| {
            file.entry.raw_bytes < small && !self.unmergeable.contains(&file.entry.number)
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
fn rows_of(file: &SealedFile) -> Result<Vec<Row>, StoreError> {
    let failed = |source| sealed("read", &file.path, source);
    let open = Open::new(file)?;
    let mut rows = Vec::new();
    for group in 0..open.groups() {
        let all = 0..open.rows(group);
        let reader = open.read((group, all), SHOWN, &[]).map_err(failed)?;
        for batch in reader {
            let batch = batch.map_err(|wrong| failed(ParquetError::External(Box::new(wrong))))?;
            let shown = Shown::of(&batch);
            let shown = shown.ok_or_else(|| failed(damaged("a column is missing")))?;
            let again = (0..batch.num_rows()).filter_map(|at| {
                let bytes = Bytes::copy_from_slice(shown.bytes(at));
                row(shown.whose(at)?, bytes)
            });
            rows.extend(again);
        }
    }
    if rows.len() as u64 != file.entry.rows {
        return Err(failed(damaged("rows are missing")));
    }
    Ok(rows)
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
