//! What can go wrong while the programs are run, with what they said.

use std::io;
use std::path::PathBuf;

/// Why a step did not work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program of the workspace was not built.
    #[error("`{}` is not built: run `make build`", .0.display())]
    NotBuilt(PathBuf),
    /// A program could not be started or read.
    #[error("failed to run {what}")]
    Run {
        /// What was run.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program ended badly.
    #[error("{what} ended with {code}: {stderr}")]
    Ended {
        /// What was run.
        what: String,
        /// Its exit code, or how it died.
        code: String,
        /// What it said.
        stderr: String,
    },
    /// Something did not happen in time.
    #[error("{0} did not happen in time")]
    TooLate(String),
    /// A program printed something else than was agreed.
    #[error("unexpected output of {what}: {text}")]
    Unexpected {
        /// What was run.
        what: String,
        /// What it printed.
        text: String,
    },
    /// A file could not be written or read.
    #[error("failed to use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Failure {
    /// For mapping an I/O error on a path.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
