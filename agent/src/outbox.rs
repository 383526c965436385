//! Files that wait to be sent to the collector because signed commands asked for them.
//!
//! # Invariants
//!
//! - A file is here, whole and durable, before its command is answered; what is sent is this copy, so that
//!   its hash holds whatever becomes of the original.
//! - The answer about its end comes from here as well, also after a restart.
//!
//! # The directory
//!
//! ```text
//! outbox/ID.file   the copy
//! outbox/ID.json   what it is and how far it has come
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use picket_event::CommandId;
use picket_seal::Digest;
use serde::{Deserialize, Serialize};

use crate::state::{StateDir, StateError};

/// A file that is to be sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Parcel {
    /// The command that asked for it.
    pub(crate) command: String,
    /// Its action's name.
    #[serde(default = "collect")]
    pub(crate) action: String,
    /// Where it was, in hexadecimal digits.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) sha256: String,
    /// Its size in bytes.
    pub(crate) total: u64,
    /// Who signed.
    pub(crate) signers: Vec<String>,
    /// Why, in their words.
    pub(crate) stated_reason: String,
    /// What became of it; `None`: it is still to be sent.
    pub(crate) end: Option<ParcelEnd>,
}

/// What notes of earlier versions do not say.
fn collect() -> String {
    "collect".to_owned()
}

/// What became of a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ParcelEnd {
    /// The collector has it whole, with its hash.
    Sent,
    /// The collector does not want it, and why.
    Refused(String),
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    directory: PathBuf,
}

impl Outbox {
    /// Opens it; makes it at the first time.
    pub(crate) fn open(state: &StateDir) -> Result<Self, StateError> {
        Ok(Self {
            directory: state.directory("outbox")?,
        })
    }

    /// Where the copy is.
    pub(crate) fn file(&self, command: &str) -> PathBuf {
        self.directory.join(format!("{command}.file"))
    }

    fn note(&self, command: &str) -> PathBuf {
        self.directory.join(format!("{command}.json"))
    }

    /// Copies a file of at most `most` bytes in, durably: its hash and its size, or `None` if it is larger.
    pub(crate) fn copy(
        &self,
        command: CommandId,
        from: &mut impl Read,
        most: u64,
    ) -> io::Result<Option<(Digest, u64)>> {
        let path = self.file(&command.to_string());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let (mut total, mut buffer) = (0_u64, vec![0; 64 << 10]);
        loop {
            let read = from.read(&mut buffer)?;
            let part = buffer.get(..read).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            total = total.saturating_add(read as u64);
            if total > most {
                drop(fs::remove_file(&path));
                return Ok(None);
            }
            hash.update(part);
            file.write_all(part)?;
        }
        file.sync_all()?;
        let digest = Digest::from_slice(hash.finish().as_ref()).map_err(io::Error::other)?;
        Ok(Some((digest, total)))
    }

    /// Keeps, durably, what a parcel is and what became of it.
    pub(crate) fn put(&self, parcel: &Parcel) -> Result<(), StateError> {
        let path = self.note(&parcel.command);
        let bytes = serde_json::to_vec(parcel).map_err(|error| StateError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        crate::state::write(&path, &bytes)
    }

    /// Everything that is here. What cannot be read is left out and stays.
    pub(crate) fn all(&self) -> Vec<Parcel> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let notes = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let mut all: Vec<Parcel> = notes
            .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
            .collect();
        all.sort_by(|a, b| a.command.cmp(&b.command));
        all
    }

    /// Opens the copy.
    pub(crate) fn read(&self, command: &str) -> io::Result<File> {
        File::open(self.file(command))
    }

    /// Forgets a parcel and its copy.
    pub(crate) fn remove(&self, command: &str) {
        for path in [self.file(command), self.note(command)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "a file that was sent stays");
            }
        }
    }
}
