//! The disk as the spool sees it: one flat directory of files that only grow.

use std::io;

mod real;

pub use real::RealDisk;

/// One flat directory. Names are plain file names, never paths.
///
/// A call that fails may have done part of its work (`append` may leave a prefix of the bytes);
/// the spool repairs that.
pub trait Disk: Send {
    /// Every file with its size.
    fn list(&mut self) -> io::Result<Vec<FileInfo>>;
    /// Makes an empty file, or empties the one that is there. Durable on return.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes all `bytes` at the end. Durable only after `sync`.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Sets space aside, so that the file can grow to `len` bytes when others fill the disk. Changes neither its size nor its
    /// bytes. An error means that no space is set aside; the file may still grow.
    fn reserve(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Gives back what was set aside for the file and not used.
    fn release(&mut self, name: &str) -> io::Result<()>;
    /// Reads exactly `len` bytes from `offset`.
    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Renames, replacing `to` as one step. Durable on return.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable on return.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// One file of the directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileInfo {
    /// Its name, without a path.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}
