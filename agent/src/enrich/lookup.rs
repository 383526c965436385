//! Opens a file by the name that a process gave it, as that process sees it.
//!
//! # Invariants
//!
//! - Only a regular file is opened. Pipes, sockets and devices, of which opening is an act, are looked at
//!   and left alone.
//! - A name means what it means below the root of the process. Links that the kernel makes up
//!   (`/proc/self/...`) would mean another file to the agent and are not followed; descriptors of the
//!   process itself (`/dev/fd/3`) are.
//! - When the process is gone, the agent's own root takes the place of its root only if both had the
//!   same mounts.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use picket_event::Process;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Through whose eyes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Eyes {
    /// Of this process; 0: the agent's own.
    pub(crate) pid: u32,
    /// Whether names mean the same to the agent.
    pub(crate) shared: bool,
}

impl Eyes {
    /// The agent's own.
    pub(crate) const OWN: Self = Self {
        pid: 0,
        shared: true,
    };

    /// Those of whoever acted.
    pub(crate) fn of(process: Option<&Process>) -> Self {
        process.map_or(Self::OWN, |process| Self {
            pid: process.pid,
            shared: shares_mounts(process),
        })
    }
}

/// Why there is no file to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Missing {
    /// Nothing of this name can be opened.
    Gone,
    /// It is something that is not read.
    NoRegularFile,
}

/// Whether it has the mounts of the agent.
pub(crate) fn shares_mounts(process: &Process) -> bool {
    static OWN: OnceLock<Option<u32>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let found = std::fs::metadata("/proc/self/ns/mnt").ok()?;
        u32::try_from(found.ino()).ok()
    });
    match process.ns {
        Some(ns) if ns.mnt > 0 => Some(ns.mnt) == *own,
        _ => process.container.is_none(),
    }
}

/// The regular file of this absolute name.
pub(crate) fn open(name: &[u8], eyes: Eyes) -> Result<File, Missing> {
    let found = match descriptor_of(name) {
        Some(number) => look(CWD, &format!("/proc/{}/fd/{number}", eyes.pid)),
        None => below_root(name, eyes),
    };
    let found = found.map_err(|error| match error {
        rustix::io::Errno::LOOP => Missing::NoRegularFile,
        _ => Missing::Gone,
    })?;
    read_only(&found)
}

/// `/dev/fd/3` and its like: the number.
fn descriptor_of(name: &[u8]) -> Option<u32> {
    let number = [&b"/dev/fd/"[..], b"/proc/self/fd/"]
        .iter()
        .find_map(|folder| name.strip_prefix(*folder))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn below_root(name: &[u8], eyes: Eyes) -> rustix::io::Result<OwnedFd> {
    let root = match eyes.pid {
        0 => look(CWD, "/"),
        pid => look(CWD, &format!("/proc/{pid}/root")),
    };
    let root = match root {
        Err(_) if eyes.shared => look(CWD, "/"),
        root => root,
    }?;
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(
        &root,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

fn look(at: rustix::fd::BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Reading begins only after it is known what it is.
fn read_only(found: &OwnedFd) -> Result<File, Missing> {
    let gone = |_: io::Error| Missing::Gone;
    let kind = rustix::fs::fstat(found).map_err(|error| gone(error.into()))?;
    if kind.st_mode & 0o170_000 != 0o100_000 {
        return Err(Missing::NoRegularFile);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let own = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = openat(CWD, own, flags, Mode::empty()).map_err(|error| gone(error.into()))?;
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn text(name: &Path, eyes: Eyes) -> Result<String, Missing> {
        let mut text = String::new();
        open(name.as_os_str().as_bytes(), eyes)?
            .read_to_string(&mut text)
            .unwrap();
        Ok(text)
    }

    #[test]
    fn a_file_is_found_through_links_but_not_through_those_that_the_kernel_makes_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let (link, trick) = (folder.path().join("link"), folder.path().join("trick"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("/proc/self/exe", &trick).unwrap();
        let own = Eyes {
            pid: std::process::id(),
            shared: false,
        };
        for eyes in [own, Eyes::OWN] {
            assert_eq!(text(&link, eyes), Ok("text".to_owned()));
            assert_eq!(text(&trick, eyes), Err(Missing::NoRegularFile));
        }
    }

    #[test]
    fn a_pipe_is_not_opened_so_whoever_waits_for_a_reader_goes_on_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(text(&pipe, Eyes::OWN), Err(Missing::NoRegularFile));
        assert_eq!(text(folder.path(), Eyes::OWN), Err(Missing::NoRegularFile));
        assert_eq!(
            text(Path::new("/dev/zero"), Eyes::OWN),
            Err(Missing::NoRegularFile)
        );
    }

    #[test]
    fn a_descriptor_is_that_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "held").unwrap();
        let held = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let eyes = Eyes::of(Some(&Process::new(
            picket_event::ProcessUid::new([0; 16]),
            std::process::id(),
        )));
        let name = format!("/dev/fd/{}", held.as_raw_fd());
        assert_eq!(text(Path::new(&name), eyes), Ok("held".to_owned()));
    }

    #[test]
    fn the_root_of_a_process_that_is_gone_is_ours_only_with_the_same_mounts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let gone = |shared| Eyes {
            pid: u32::MAX,
            shared,
        };
        assert_eq!(text(&path, gone(true)), Ok("text".to_owned()));
        assert_eq!(text(&path, gone(false)), Err(Missing::Gone));
    }
}
