//! The disk as a thing that tests can own: one that fills up, tears writes or lies about syncs.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes segment files.
pub trait Disk: fmt::Debug + Send {
    /// Makes a new, empty file whose name survives a power cut.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Puts a file in the place of another, whole or not at all, so that it survives a power cut.
    fn replace(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_folder(to)
    }

    /// Removes a file; one that is not there is no error.
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn sync_folder(of: &Path) -> io::Result<()> {
    match of.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// One segment that is being written.
pub trait SegmentFile: fmt::Debug + Send {
    /// Writes all bytes at the end. After an error any part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to this length, in bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Returns when everything written survives a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        sync_folder(path)?;
        Ok(Box::new(RealFile(file)))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl SegmentFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
