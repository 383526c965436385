//! Why the table could not be written or read.

use std::io;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The kernel has no nftables, or lacks what every form of the table needs.
    #[error("this kernel cannot isolate: {what}")]
    Unsupported {
        /// What it refused.
        what: &'static str,
        /// How.
        source: io::Error,
    },
    /// A call failed.
    #[error("failed to {operation} the table of the isolation")]
    Kernel {
        /// As a verb.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No thread.
    #[error("failed to start the watch over the isolation")]
    Thread(#[source] io::Error),
}

impl IsolationError {
    /// Whether this host can never do it as it is.
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }
}
