//! Files that no catalogue names: a crash left them, and nothing of them counts.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::catalogue::{BESIDE, NAME};
use crate::StoreError;
use crate::disk::Disk;

/// Removes them, and folders that are empty; says how many files.
pub(crate) fn remove(
    disk: &mut dyn Disk,
    folder: &Path,
    named: &HashSet<PathBuf>,
) -> Result<u64, StoreError> {
    let beside = folder.join(BESIDE);
    let failed = |source| StoreError::io("remove", &beside, source);
    disk.remove(&beside).map_err(failed)?;
    let mut removed = 0;
    clean(disk, folder, named, &mut removed)?;
    Ok(removed)
}

fn clean(
    disk: &mut dyn Disk,
    folder: &Path,
    named: &HashSet<PathBuf>,
    removed: &mut u64,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("list", folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            clean(disk, &path, named, removed)?;
            // One that is not empty stays.
            drop(fs::remove_dir(&path));
        } else if is_ours(&path) && !named.contains(&path) {
            let failed = |source| StoreError::io("remove", &path, source);
            disk.remove(&path).map_err(failed)?;
            *removed = removed.saturating_add(1);
        }
    }
    Ok(())
}

/// Files of other names are left alone.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let parquet = path.extension().is_some_and(|end| end == "parquet");
    name.is_some_and(|name| name != NAME && name.starts_with("events-")) && parquet
}
