//! What can go wrong in the spool. None of these makes it unusable: the call may be tried again.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::record::Class;

/// Why a call to the spool failed. The spool stays usable after each of them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The directory is missing and cannot be made, or cannot be opened or protected.
    #[error("failed to open spool directory `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error("spool directory `{}` is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The sizes asked for make no sense together.
    #[error("spool limits are unusable: {reason}")]
    Limits {
        /// What does not fit.
        reason: &'static str,
    },
    /// The disk refused an operation: full, read-only, broken.
    #[error("failed to {operation} spool file `{file}`")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file's name inside the spool directory.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// The record's numbers do not follow those before it in its stream and class.
    #[error("record starts at {got} where {class:?} has already reached {expected}")]
    OutOfOrder {
        /// The record's class.
        class: Class,
        /// The lowest number that would have been taken.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The record belongs to a stream that a newer one has followed.
    #[error("record belongs to a stream that has ended")]
    StreamEnded,
    /// The record covers no number, or numbers past the end of `u64`.
    #[error("record of {count} numbers from {seq_first} is not a range")]
    BadRange {
        /// First number.
        seq_first: u64,
        /// How many.
        count: u64,
    },
    /// The record is larger than any record may be.
    #[error("record of {bytes} bytes is larger than {limit}")]
    TooLarge {
        /// Its size on disk.
        bytes: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The quota is used up by records that are worth more than this one.
    #[error("spool is full: {bytes} of {quota_bytes} bytes used")]
    Full {
        /// Bytes in use.
        bytes: u64,
        /// The quota.
        quota_bytes: u64,
    },
}

impl SpoolError {
    /// Whether the disk has no room left.
    pub(crate) fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}
