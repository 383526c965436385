//! From a folder's handle to its path.
//!
//! # Invariants
//!
//! - A path is of the moment when it was asked for or learned. When a folder is renamed, every path
//!   below its old name is forgotten.
//! - No mount is kept open, so the host can unmount it whenever it likes.
//! - At most [`MOST_PATHS`] paths are kept; beyond, all are forgotten and asked for again.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::fanotify;
use super::notice::{Entry, Handle};

/// The known folders.
#[derive(Debug, Default)]
pub(super) struct Folders {
    mounts: HashMap<u64, PathBuf>,
    paths: HashMap<Handle, Vec<u8>>,
}

impl Folders {
    /// A file system, by its number, and where it is mounted.
    pub(super) fn add_mount(&mut self, fsid: u64, mount: PathBuf) {
        self.mounts.insert(fsid, mount);
    }

    /// This file system is of no interest any more.
    pub(super) fn forget_mount(&mut self, fsid: u64) {
        self.mounts.remove(&fsid);
        self.paths.retain(|folder, _| folder.fsid != fsid);
    }

    /// How many file systems are known.
    pub(super) fn mounts(&self) -> usize {
        self.mounts.len()
    }

    /// Whether this file system is known.
    pub(super) fn has_mount(&self, fsid: u64) -> bool {
        self.mounts.contains_key(&fsid)
    }

    /// The path of this entry.
    pub(super) fn path(&mut self, entry: &Entry) -> io::Result<Vec<u8>> {
        if !self.paths.contains_key(&entry.folder) {
            let path = self.ask(&entry.folder)?;
            self.keep(entry.folder.clone(), path);
        }
        let folder = self.paths.get(&entry.folder).map(Vec::as_slice);
        Ok(joined(folder.unwrap_or_default(), &entry.name))
    }

    /// Remembers that the folder of this handle is or was here.
    pub(super) fn learn(&mut self, folder: &Handle, path: Vec<u8>) {
        if !self.paths.contains_key(folder) {
            self.keep(folder.clone(), path);
        }
    }

    /// A folder is not here any more; nothing is below it any more.
    pub(super) fn forget_below(&mut self, path: &[u8]) {
        self.paths.retain(|_, known| {
            let rest = known.strip_prefix(path);
            !rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        });
    }

    fn ask(&self, folder: &Handle) -> io::Result<Vec<u8>> {
        let mount = self.mounts.get(&folder.fsid);
        let mount = mount.ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mount = rustix::fs::open(mount, flags, Mode::empty())?;
        let path = fanotify::path_of(mount.as_fd(), folder)?;
        Ok(path.into_os_string().into_encoded_bytes())
    }

    fn keep(&mut self, folder: Handle, path: Vec<u8>) {
        if self.paths.len() >= MOST_PATHS {
            self.paths.clear();
        }
        self.paths.insert(folder, path);
    }
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    if name == b"." || name.is_empty() {
        return path;
    }
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

const MOST_PATHS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(number: u8) -> Handle {
        Handle {
            fsid: 1,
            kind: 1,
            bytes: vec![number],
        }
    }

    fn entry(number: u8, name: &[u8]) -> Entry {
        Entry {
            folder: handle(number),
            name: name.to_vec(),
        }
    }

    #[test]
    fn a_dot_is_the_folder_and_the_root_has_one_slash() {
        assert_eq!(joined(b"/a", b"."), b"/a");
        assert_eq!(joined(b"/", b"b"), b"/b");
        assert_eq!(joined(b"/a", b"b"), b"/a/b");
    }

    #[test]
    fn a_renamed_folder_takes_what_is_below_it_along_but_not_its_namesake() {
        let mut folders = Folders::default();
        folders.learn(&handle(1), b"/a/b".to_vec());
        folders.learn(&handle(2), b"/a/b/c".to_vec());
        folders.learn(&handle(3), b"/a/bc".to_vec());
        folders.forget_below(b"/a/b");
        assert!(folders.path(&entry(1, b"x")).is_err());
        assert!(folders.path(&entry(2, b"x")).is_err());
        assert_eq!(folders.path(&entry(3, b"x")).unwrap(), b"/a/bc/x");
    }

    #[test]
    fn the_known_folders_are_bounded() {
        let mut folders = Folders::default();
        for number in 0..=u32::try_from(MOST_PATHS).unwrap() {
            let folder = Handle {
                bytes: number.to_ne_bytes().to_vec(),
                ..handle(0)
            };
            folders.learn(&folder, b"/x".to_vec());
        }
        assert_eq!(folders.paths.len(), 1);
    }
}
