//! A sealed file that counts, or did until a moment ago.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::catalogue::FileEntry;

/// One sealed file. Once nobody has it any more it is removed, if it was replaced or retired.
#[derive(Debug)]
pub(crate) struct SealedFile {
    pub(crate) entry: FileEntry,
    pub(crate) path: PathBuf,
    doomed: AtomicBool,
}

impl SealedFile {
    pub(crate) fn new(entry: FileEntry, folder: &Path) -> Self {
        Self {
            path: folder.join(entry.path()),
            entry,
            doomed: AtomicBool::new(false),
        }
    }

    /// The catalogue no longer names it: the last who has it removes it.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Relaxed) {
            // What cannot be removed now is a leftover at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}
