//! Where a reader of logins stands, so that a restart neither loses nor repeats.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::opened::FileId;

/// A place in one file, together with what behind it was given already.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Position {
    /// The path that is followed; the file may have been renamed since.
    pub path: PathBuf,
    /// Device of the file.
    pub dev: u64,
    /// Inode number of the file.
    pub inode: u64,
    /// In bytes; the beginning of a line or record.
    pub offset: u64,
    /// A fingerprint of the bytes before it, to recognise the content.
    pub check: u64,
    /// Lines and records from `offset` on whose events were given, by their offset.
    pub done: Vec<u64>,
    /// Whether the path names another file by now.
    pub retired: bool,
}

impl Position {
    /// The path named no file that could be read: what appears there is new.
    pub(super) fn of_nothing(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            dev: 0,
            inode: 0,
            offset: 0,
            check: fingerprint(&[]),
            done: Vec::new(),
            retired: false,
        }
    }

    /// Whether something was still to be expected from a file.
    pub(super) fn is_of_a_file(&self) -> bool {
        self.inode != 0 && !self.retired
    }

    pub(super) fn id(&self) -> FileId {
        FileId {
            dev: self.dev,
            inode: self.inode,
        }
    }
}

/// FNV-1a of 64 bits: good enough to tell contents apart, and the same in every build.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
