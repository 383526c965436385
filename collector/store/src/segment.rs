//! The segment that is being written.
//!
//! # Invariants
//!
//! - `written` is the length of the whole records. A failed append is cut off again; where that is
//!   not possible the segment takes no more and the next one begins.

use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::disk::{Disk, SegmentFile};
use crate::frame::{HEAD, MAX_BODY, Nonce, frame, segment_head};

/// A segment open for writing.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    number: u32,
    nonce: Nonce,
    written: u64,
    broken: bool,
}

impl Segment {
    pub(crate) fn create(
        disk: &mut dyn Disk,
        folder: &Path,
        number: u32,
    ) -> Result<Self, StoreError> {
        Self::create_as(disk, folder.join(file_name(number)), number)
    }

    /// The same at a path of its own, to be put in its place later.
    pub(crate) fn create_as(
        disk: &mut dyn Disk,
        path: PathBuf,
        number: u32,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("create segment", &path, source);
        let nonce =
            picket_seal::random().map_err(|refused| failed(std::io::Error::other(refused)))?;
        let nonce = Nonce(nonce);
        let mut file = disk.create(&path).map_err(failed)?;
        if let Err(source) = file.append(&segment_head(nonce)) {
            // A segment without its head would be taken for a foreign file.
            return Err(discard(&path, failed(source)));
        }
        Ok(Self {
            file,
            path,
            number,
            nonce,
            written: HEAD,
            broken: false,
        })
    }

    /// Writes one record behind the others.
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("write segment", &self.path, source);
        let too_large =
            || std::io::Error::other(format!("a record is larger than {MAX_BODY} bytes"));
        let bytes = frame(self.nonce, self.written, body).ok_or_else(|| failed(too_large()))?;
        if let Err(source) = self.file.append(&bytes) {
            self.broken = self.file.truncate(self.written).is_err();
            return Err(StoreError::io("write segment", &self.path, source));
        }
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.file.sync();
        synced.map_err(|source| StoreError::io("sync segment", &self.path, source))
    }

    /// Whether the next record belongs into another segment.
    pub(crate) fn is_full(&self, limit: u64) -> bool {
        self.broken || self.written >= limit
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn discard(path: &Path, why: StoreError) -> StoreError {
    match std::fs::remove_file(path) {
        Ok(()) => why,
        Err(source) => StoreError::io("remove the unfinished segment", path, source),
    }
}

/// `segment-0000000001.wal`.
pub(crate) fn file_name(number: u32) -> String {
    format!("{PREFIX}{number:010}{SUFFIX}")
}

/// The number in a segment's name.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()
}

const PREFIX: &str = "segment-";
const SUFFIX: &str = ".wal";
