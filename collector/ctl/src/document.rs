//! Texts that people sign and pass on, as files: trust roots, drafts of them, rules and policies.
//!
//! What stays true: a file that is replaced is the old one or the new one, never a part of either.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// A file that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} `{}`", path.display())]
struct DocumentError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Its text.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| failed("read", path, source))
}

/// The files of a folder that are wanted, by name.
pub(crate) fn list(folder: &Path, wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
        paths.retain(|path| wanted(path));
        paths.sort();
        Ok(paths)
    };
    list().map_err(|source| failed("read", folder, source))
}

/// Writes a file that is not there yet.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| failed("write", path, source))
}

/// Puts a text in the place of one that may be there.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| failed("write", path, source))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Failure {
    let path = path.to_owned();
    let error = DocumentError {
        operation,
        path,
        source,
    };
    Failure::new(Exit::Failed, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_takes_no_others_place_and_a_replaced_one_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.pem");
        write_new(&path, "one").unwrap();
        assert!(write_new(&path, "two").is_err());
        assert_eq!(read(&path).unwrap(), "one");
        replace(&path, "three").unwrap();
        assert_eq!(read(&path).unwrap(), "three");
        assert_eq!(list(dir.path(), |_| true).unwrap(), [path]);
    }
}
