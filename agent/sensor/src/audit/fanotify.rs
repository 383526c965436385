//! The system calls of fanotify and of file handles, which no library of ours has.
//!
//! # Invariants
//!
//! - The kernel's queue is bounded (`fs.fanotify.max_queued_events`): what does not fit is told.
//! - Marks ask for notifications only, never for permission: nobody waits for this process.
//! - Each call is one `unsafe` operation with what makes it sound.

#![expect(
    unsafe_code,
    reason = "system calls that no safe crate offers, each given only memory of its own"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::notice::Handle;

/// A group of marks with one queue.
#[derive(Debug)]
pub(super) struct Group {
    queue: OwnedFd,
    buffer: Vec<u8>,
}

impl Group {
    /// Opens one that reports as `report` says.
    pub(super) fn open(report: libc::c_uint) -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_MARKS
            | report;
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let queue = unsafe { libc::fanotify_init(flags, 0) };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just gave this descriptor to us alone.
        let queue = unsafe { OwnedFd::from_raw_fd(queue) };
        Ok(Self {
            queue,
            buffer: vec![0; BUFFER],
        })
    }

    /// Marks the file system on which `path` lies.
    pub(super) fn mark_file_system(&self, path: &Path, mask: u64) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM, path, mask)
    }

    /// Takes that mark away again.
    pub(super) fn forget_file_system(&self, path: &Path, mask: u64) -> io::Result<()> {
        self.mark(
            libc::FAN_MARK_REMOVE | libc::FAN_MARK_FILESYSTEM,
            path,
            mask,
        )
    }

    /// Marks the file itself; links are not followed.
    pub(super) fn mark_inode(&self, path: &Path, mask: u64) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD | libc::FAN_MARK_DONT_FOLLOW, path, mask)
    }

    /// What waits, up to a buffer's worth; empty: nothing.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        match rustix::io::read(&self.queue, &mut self.buffer[..]) {
            Ok(length) => Ok(self.buffer.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(&[]),
            Err(error) => Err(error.into()),
        }
    }

    fn mark(&self, flags: libc::c_uint, path: &Path, mask: u64) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let queue = self.queue.as_raw_fd();
        // SAFETY: `path` ends in NUL and lives until the call returns, which only reads it.
        let result =
            unsafe { libc::fanotify_mark(queue, flags, mask, libc::AT_FDCWD, path.as_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
struct RawHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    f_handle: [u8; MOST_HANDLE],
}

/// The handle of the file at this path, which is on the file system of this number.
pub(super) fn handle_of(path: &Path, fsid: u64) -> io::Result<Handle> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut raw = RawHandle {
        handle_bytes: u32::try_from(MOST_HANDLE).unwrap_or(0),
        handle_type: 0,
        f_handle: [0; MOST_HANDLE],
    };
    let mut mount = 0;
    let pointer = (&raw mut raw).cast::<libc::file_handle>();
    // SAFETY: `path` ends in NUL; `raw` begins as `file_handle` does and has the room behind it that
    // `handle_bytes` says; `mount` is an int of ours. All live until the call returns.
    let result = unsafe {
        libc::name_to_handle_at(libc::AT_FDCWD, path.as_ptr(), pointer, &raw mut mount, 0)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(raw.handle_bytes).unwrap_or(0);
    Ok(Handle {
        fsid,
        kind: raw.handle_type,
        bytes: raw.f_handle.get(..length).unwrap_or_default().to_vec(),
    })
}

/// The path of the file of this handle now, as it is seen through the mount of `mount`.
pub(super) fn path_of(mount: BorrowedFd<'_>, handle: &Handle) -> io::Result<PathBuf> {
    let mut raw = RawHandle {
        handle_bytes: u32::try_from(handle.bytes.len()).unwrap_or(u32::MAX),
        handle_type: handle.kind,
        f_handle: [0; MOST_HANDLE],
    };
    let room = raw.f_handle.get_mut(..handle.bytes.len());
    let room = room.ok_or(io::ErrorKind::InvalidData)?;
    room.copy_from_slice(&handle.bytes);
    let pointer = (&raw mut raw).cast::<libc::file_handle>();
    // SAFETY: `raw` begins as `file_handle` does and holds as many bytes behind it as `handle_bytes`
    // says, which was checked above; it lives until the call returns.
    let file = unsafe {
        libc::open_by_handle_at(mount.as_raw_fd(), pointer, libc::O_PATH | libc::O_CLOEXEC)
    };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call just gave this descriptor to us alone.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = fs::read_link(&link)?;
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_suffix(DELETED) {
        Some(name) if fs::metadata(&link).is_ok_and(|stat| is_gone(&stat)) => {
            Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name)))
        }
        _ => Ok(path),
    }
}

fn is_gone(stat: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(stat) == 0
}

const DELETED: &[u8] = b" (deleted)";
/// `MAX_HANDLE_SZ` of linux/fcntl.h.
const MOST_HANDLE: usize = 128;
const BUFFER: usize = 256 * 1024;
