//! The listed files on disk, so that a restart refuses them again.
//!
//! # Invariants
//!
//! - What is kept is a hint: a file is refused for it only while its content is blocked and its state is the same.
//! - A damaged list is forgotten and said so; files are then listed anew, as they are found.
//!
//! # The file
//!
//! `blocked-files`: JSON, replaced as a whole.

use std::path::Path;

use picket_event::Text;
use picket_sensor::FileKey;
use serde::{Deserialize, Serialize};

use super::digest_of;
use super::files::Listed;
use crate::failure::chain;

#[derive(Deserialize, Serialize)]
struct Kept {
    sha256: String,
    /// Empty where it is no UTF-8.
    path: String,
    dev: u64,
    inode: u64,
    size: u64,
    mtime_ns: u64,
    ctime_ns: u64,
}

/// What was listed when the agent ran before.
pub(super) fn read(path: &Path) -> Vec<Listed> {
    let bytes = match crate::state::read(path) {
        Ok(bytes) => bytes.unwrap_or_else(|| b"[]".to_vec()),
        Err(error) => {
            let reason = chain(&error);
            tracing::warn!(reason, "blocked files are not known from before");
            return Vec::new();
        }
    };
    match serde_json::from_slice::<Vec<Kept>>(&bytes) {
        Ok(kept) => kept.into_iter().filter_map(Kept::listed).collect(),
        Err(error) => {
            tracing::warn!(%error, "blocked files are not known from before");
            Vec::new()
        }
    }
}

/// Keeps the list.
pub(super) fn write(path: &Path, files: &[Listed]) {
    let kept: Vec<Kept> = files.iter().map(Kept::of).collect();
    let written = serde_json::to_vec(&kept)
        .map_err(|error| error.to_string())
        .and_then(|bytes| crate::state::write(path, &bytes).map_err(|error| chain(&error)));
    if let Err(reason) = written {
        tracing::warn!(reason, "blocked files will not be known after a restart");
    }
}

impl Kept {
    fn of(file: &Listed) -> Self {
        Self {
            sha256: file.sha256.to_string(),
            path: file.path.as_str().unwrap_or_default().to_owned(),
            dev: file.state.dev,
            inode: file.state.inode,
            size: file.state.size,
            mtime_ns: file.state.mtime_ns,
            ctime_ns: file.state.ctime_ns,
        }
    }

    fn listed(self) -> Option<Listed> {
        Some(Listed {
            sha256: digest_of(&self.sha256)?,
            path: Text::from(self.path),
            state: FileKey {
                dev: self.dev,
                inode: self.inode,
                size: self.size,
                mtime_ns: self.mtime_ns,
                ctime_ns: self.ctime_ns,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use picket_seal::Digest;

    use super::*;

    #[test]
    fn what_was_listed_is_read_as_it_was_written_and_what_makes_no_sense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocked-files");
        assert_eq!(read(&path), []);
        let file = |path: Text| Listed {
            sha256: Digest::of(b"bad"),
            path,
            state: FileKey {
                dev: 1,
                inode: u64::MAX,
                size: 3,
                mtime_ns: 4,
                ctime_ns: 5,
            },
        };
        let odd = Text::from(&b"/tmp/\xff"[..]);
        write(&path, &[file(Text::from("/tmp/bad")), file(odd)]);
        let again = [file(Text::from("/tmp/bad")), file(Text::NONE)];
        assert_eq!(read(&path), again);
        for odd in [&b"{"[..], b"[1]", b"[{\"sha256\":\"x\"}]", b""] {
            std::fs::write(&path, odd).unwrap();
            assert_eq!(read(&path), []);
        }
    }
}
