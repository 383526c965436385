//! Why the store could not do what was asked.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parquet::errors::ParquetError;
use picket_seal::ChainError;

/// The disk failed, or what it holds is not ours.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has the name of a segment and not its form.
    #[error("`{}` is not a segment of this store", path.display())]
    NotASegment {
        /// Which file.
        path: PathBuf,
    },
    /// A sealed file cannot be written or read.
    #[error("failed to {operation} `{}`", path.display())]
    Sealed {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: Arc<ParquetError>,
    },
    /// The catalogue of sealed files is damaged.
    #[error("the catalogue `{}` is damaged; move it and the files beside it away, and all is sealed anew from the log", path.display())]
    BadCatalogue {
        /// Which file.
        path: PathBuf,
    },
    /// A step of sealing ended unexpectedly; the log tells where.
    #[error("the step `{step}` of sealing ended unexpectedly")]
    Surprised {
        /// Which step.
        step: &'static str,
    },
    /// What was handed over to search is not what [`crate::Reader::view`] made.
    #[error("the view of the store cannot be read")]
    BadView,
    /// Nobody waits for the answer any more.
    #[error("the search was cancelled")]
    Cancelled,
    /// A sync failed before, so that nobody knows what is on disk. Only a new start tells.
    #[error("the store stopped writing after a failed sync")]
    Stopped,
}

impl StoreError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source,
        }
    }

    /// Whether the disk is full, which passes.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}

/// Why a batch was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It does not continue its chain.
    #[error("the batch does not continue its chain")]
    Chain(#[source] ChainError),
    /// Other bytes were stored for the same numbers: two histories, both signed.
    #[error("another batch is stored for the numbers from {seq_first}")]
    Fork {
        /// Where the second history begins.
        seq_first: u64,
    },
    /// The run is of another branch of the host's event keys.
    #[error("the run is of another branch of the host's event keys")]
    OtherBranch,
    /// The host has more streams than anybody needs.
    #[error("the host has {0} streams already")]
    TooManyStreams(usize),
    /// The disk did not take it; the store is as before.
    #[error("the batch could not be written")]
    Disk(#[source] StoreError),
}
