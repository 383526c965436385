//! The real directory, reached only relative to its own descriptor.
//!
//! - A name that is not a plain file name is refused, and symbolic links are not followed: nothing
//!   outside the directory is ever touched.
//! - After create, rename and remove the directory itself is fsynced, so that the name survives
//!   too.
//! - The directory is locked while a `RealDisk` lives: two agents never write one spool.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags};

use super::{Disk, FileInfo};
use crate::error::SpoolError;

/// A directory of the host: mode 0700, files 0600, held exclusively while this value lives.
#[derive(Debug)]
pub struct RealDisk {
    dir: OwnedFd,
    open: Vec<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    access: Access,
    file: File,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    Read,
    Append,
}

impl RealDisk {
    /// Opens `dir`, making it when it is missing, and closes it to everybody but its owner.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, SpoolError> {
        let path = dir.as_ref();
        let fail = |source: io::Error| SpoolError::Directory {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(fail)?;
        let dir = open_private_dir(path).map_err(fail)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                dir,
                open: Vec::new(),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(SpoolError::InUse {
                path: path.to_owned(),
            }),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    fn file(&mut self, name: &str, access: Access) -> io::Result<&mut File> {
        let known = self
            .open
            .iter()
            .position(|open| open.name == name && open.access == access);
        // The latest used stands last; the one that was used longest ago makes room.
        let open = match known {
            Some(at) => self.open.remove(at),
            None => OpenFile {
                name: name.to_owned(),
                access,
                file: self.open_at(name, access)?,
            },
        };
        if self.open.len() >= OPEN_FILES {
            self.open.remove(0);
        }
        self.open.push(open);
        Ok(&mut self
            .open
            .last_mut()
            .expect("a file was pushed in the line above")
            .file)
    }

    fn open_at(&self, name: &str, access: Access) -> io::Result<File> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Append => OFlags::WRONLY | OFlags::APPEND,
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.dir, plain(name)?, flags, Mode::empty())?.into())
    }

    fn forget(&mut self, name: &str) {
        self.open.retain(|open| open.name != name);
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }
}

impl Disk for RealDisk {
    fn list(&mut self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let stat = rustix::fs::statat(&self.dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            if let Ok(name) = entry.file_name().to_str()
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                files.push(FileInfo {
                    name: name.to_owned(),
                    bytes,
                });
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.forget(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.dir, plain(name)?, flags, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        self.sync_dir()
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name, Access::Append)?.write_all(bytes)
    }

    fn reserve(&mut self, name: &str, len: u64) -> io::Result<()> {
        let file = self.file(name, Access::Append)?;
        let reserved = rustix::fs::fallocate(&*file, FallocateFlags::KEEP_SIZE, 0, len);
        if reserved.is_err() {
            // A disk that got full may keep a part of it, which others need more.
            give_back(file)?;
        }
        Ok(reserved?)
    }

    fn release(&mut self, name: &str) -> io::Result<()> {
        give_back(self.file(name, Access::Append)?)
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = self.file(name, Access::Read)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.file(name, Access::Append)?.set_len(len)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name, Access::Append)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        rustix::fs::renameat(&self.dir, plain(from)?, &self.dir, plain(to)?)?;
        self.sync_dir()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.forget(name);
        rustix::fs::unlinkat(&self.dir, plain(name)?, AtFlags::empty())?;
        self.sync_dir()
    }
}

/// Blocks behind the end of a file go when it is cut to the size that it has.
fn give_back(file: &File) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    if blocks.saturating_mul(BLOCK) > size.next_multiple_of(LARGEST_BLOCK) {
        file.set_len(size)?;
    }
    Ok(())
}

fn open_private_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    let private = Mode::RWXU;
    if Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode) != private {
        rustix::fs::fchmod(&dir, private)?;
    }
    Ok(dir)
}

fn plain(name: &str) -> io::Result<&str> {
    let refused = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if refused {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a plain file name",
        ));
    }
    Ok(name)
}

/// What the kernel counts blocks of a file in, in bytes.
const BLOCK: u64 = 512;

/// What a file system gives to a file at once, at most, in bytes; a file that ends in its last block has nothing set aside.
const LARGEST_BLOCK: u64 = 64 << 10;

/// Three classes and a rewritten segment, each written and read.
const OPEN_FILES: usize = 8;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_and_directory_are_closed_to_others_even_when_the_directory_was_open() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("spool");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut disk = RealDisk::new(&dir).unwrap();
        disk.create("a").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("a"))), (0o700, 0o600));
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("outside"), b"x").unwrap();
        let mut disk = RealDisk::new(temp.path().join("spool")).unwrap();
        for name in ["../outside", "", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(disk.read(name, 0, 1).is_err(), "{name:?}");
            assert!(disk.create(name).is_err(), "{name:?}");
            assert!(disk.remove(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn symbolic_links_are_not_followed_and_not_listed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::write(&outside, b"keep").unwrap();
        let mut disk = RealDisk::new(temp.path().join("spool")).unwrap();
        std::os::unix::fs::symlink(&outside, temp.path().join("spool/link")).unwrap();
        assert!(disk.append("link", b"x").is_err());
        assert!(disk.create("link").is_err());
        assert!(disk.list().unwrap().is_empty());
        assert_eq!(std::fs::read(&outside).unwrap(), b"keep");
    }

    #[test]
    fn space_is_set_aside_and_given_back_and_no_byte_changes() {
        use std::os::unix::fs::MetadataExt;
        let temp = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::new(temp.path()).unwrap();
        disk.create("a").unwrap();
        disk.append("a", b"one").unwrap();
        let blocks = || std::fs::metadata(temp.path().join("a")).unwrap().blocks() * BLOCK;
        disk.reserve("a", 4 << 20).unwrap();
        assert!(blocks() >= 4 << 20);
        disk.append("a", b"two").unwrap();
        disk.sync("a").unwrap();
        assert_eq!(std::fs::read(temp.path().join("a")).unwrap(), b"onetwo");
        disk.release("a").unwrap();
        assert!(blocks() <= LARGEST_BLOCK, "{}", blocks());
        assert_eq!(std::fs::read(temp.path().join("a")).unwrap(), b"onetwo");
        assert!(disk.reserve("a", u64::MAX >> 1).is_err());
        assert!(blocks() <= LARGEST_BLOCK, "{}", blocks());
        assert!(disk.release("b").is_err());
    }

    #[test]
    fn a_second_process_cannot_hold_the_same_directory() {
        let temp = tempfile::tempdir().unwrap();
        let first = RealDisk::new(temp.path()).unwrap();
        assert!(matches!(
            RealDisk::new(temp.path()),
            Err(SpoolError::InUse { .. })
        ));
        drop(first);
        assert!(RealDisk::new(temp.path()).is_ok());
    }

    #[test]
    fn many_files_are_written_and_read_through_few_descriptors() {
        let temp = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::new(temp.path()).unwrap();
        for n in 0..40u8 {
            let name = format!("f{n}");
            disk.create(&name).unwrap();
            disk.append(&name, &[n; 3]).unwrap();
            disk.sync(&name).unwrap();
        }
        for n in 0..40u8 {
            assert_eq!(disk.read(&format!("f{n}"), 1, 2).unwrap(), [n; 2]);
        }
        assert_eq!(disk.list().unwrap().len(), 40);
        assert!(disk.open.len() <= OPEN_FILES);
    }
}
