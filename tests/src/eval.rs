//! How well the scorer's models tell normal from attack, on labelled files.
//!
//! # Invariants
//!
//! - A model learns from the training file alone and never sees a label of the test file. The login
//!   model goes on learning during the test, from everything and without labels, as the agent does.
//! - Nothing depends on a file's name or place.
//! - A line that cannot be read ends the run with its number.

mod agent;
pub mod development;
mod figures;
mod file;
pub mod hosts;
mod judge;
pub mod metrics;
mod models;
pub mod noise;
pub mod stream;

use std::path::{Path, PathBuf};

pub use figures::print;
pub use judge::Outcome;

/// What is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// Sequences of system calls: `label<TAB>name<TAB>calls`.
    Sequence,
    /// Logins in the order of time: CSV with a header.
    Login,
    /// Command lines: `label<TAB>command`.
    Command,
}

impl Subject {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Login => "login",
            Self::Command => "command",
        }
    }

    /// What the model is told one at a time.
    const fn event(self) -> &'static str {
        match self {
            Self::Sequence => "call",
            Self::Login => "login",
            Self::Command => "command",
        }
    }
}

/// Why a run came to no figures.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file could not be opened or read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A recorded run could not be read.
    #[error(transparent)]
    Recording(#[from] crate::failure::Failure),
    /// A line is not of the format.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file holds nothing that can be used.
    #[error("`{}` holds no {what}", path.display())]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

/// Learns from one file and judges by the other: by the model alone, or as the agent does it.
///
/// The agent does not ask about sequences of calls, so for those both are the same.
pub fn run(
    subject: Subject,
    train: &Path,
    test: &Path,
    as_agent: bool,
) -> Result<Outcome, EvalError> {
    let samples = match (subject, as_agent) {
        (Subject::Sequence, _) => models::sequence(train, test)?,
        (Subject::Login, false) => models::login(train, test)?,
        (Subject::Login, true) => agent::login(train, test)?,
        (Subject::Command, false) => models::command(train, test)?,
        (Subject::Command, true) => agent::command(train, test)?,
    };
    let normals = samples
        .judged
        .iter()
        .filter(|sample| sample.class.is_none())
        .count();
    if normals == 0 {
        return Err(EvalError::Nothing {
            path: test.to_path_buf(),
            what: "normal sample",
        });
    }
    Ok(Outcome::of(subject, samples))
}
