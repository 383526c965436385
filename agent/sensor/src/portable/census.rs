//! One process read from `/proc`.
//!
//! # Invariants
//!
//! - All that is said of a process was read while its start was the same: a number that changed hands
//!   meanwhile gives nothing, never a mixture.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::{BootId, Fidelity, Process, ProcessUid, Text, UnixNanos, User};
use rustix::fs::{major, minor};

use super::stat::Stat;
use crate::FileKey;
use crate::identity::WallClock;

/// Reads processes of this boot.
#[derive(Debug)]
pub(crate) struct Census {
    boot: BootId,
    clock: WallClock,
}

impl Census {
    pub(crate) fn new(boot: BootId) -> Self {
        Self {
            boot,
            clock: WallClock::new(),
        }
    }

    /// The process that has this number now.
    pub(crate) fn process(&self, pid: u32) -> Option<Process> {
        self.describe(pid, &stat(pid)?)
    }

    /// The process that has this number and began as `known` says.
    pub(crate) fn describe(&self, pid: u32, known: &Stat) -> Option<Process> {
        let folder = folder(pid);
        let mut process = Process::new(self.uid(pid, known), pid);
        process.ppid = known.ppid;
        process.parent_uid = stat(known.ppid)
            .filter(|parent| parent.start_ticks <= known.start_ticks)
            .map(|parent| self.uid(known.ppid, &parent));
        process.start_time = Some(self.started(known));
        process.comm = known.comm.clone();
        process.tty = known.terminal();
        process.fidelity = Some(Fidelity::Derived);
        fill_program(&mut process, &folder);
        fill_owner(&mut process, &folder);
        let is_same = stat(pid).is_some_and(|now| now.start_ticks == known.start_ticks);
        is_same.then_some(process)
    }

    /// Its name for ever.
    pub(crate) fn uid(&self, pid: u32, stat: &Stat) -> ProcessUid {
        self.uid_of(pid, stat.start_ticks)
    }

    /// The name of the process that began then, in clock ticks since boot.
    pub(crate) fn uid_of(&self, pid: u32, start_ticks: u64) -> ProcessUid {
        ProcessUid::from_ticks(&self.boot, pid, start_ticks)
    }

    /// When it began.
    pub(crate) fn started(&self, stat: &Stat) -> UnixNanos {
        self.clock.at(stat.start_ticks.saturating_mul(TICK_NS))
    }

    /// The wall-clock time of an instant since boot.
    pub(crate) fn at(&self, boot_ns: u64) -> UnixNanos {
        self.clock.at(boot_ns)
    }

    /// The wall clock, to be compared again now and then.
    pub(crate) fn clock(&mut self) -> &mut WallClock {
        &mut self.clock
    }
}

/// The line of this process; `None` if there is none.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&read_bounded(&folder(pid).join("stat")))
}

/// The state of the file that this process executes.
pub(crate) fn executable(pid: u32) -> Option<FileKey> {
    let stat = fs::metadata(folder(pid).join("exe")).ok()?;
    Some(FileKey::of(&stat))
}

/// A device number as events have it: major << 20 | minor.
pub(crate) fn device(dev: u64) -> u64 {
    (u64::from(major(dev)) << 20) | u64::from(minor(dev))
}

fn fill_program(process: &mut Process, folder: &Path) {
    let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
    let exe = exe.as_os_str().as_bytes();
    process.exe = exe.strip_suffix(DELETED).unwrap_or(exe).into();
    process.memfd = fs::metadata(folder.join("exe")).is_ok_and(|stat| stat.nlink() == 0);
    let cwd = fs::read_link(folder.join("cwd")).unwrap_or_default();
    process.cwd = cwd.as_os_str().as_bytes().into();
    let line = command_line(folder, !process.exe.is_empty());
    if !line.is_empty() {
        let whole = line.strip_suffix(&[0]).unwrap_or(&line);
        process.argv = whole.split(|byte| *byte == 0).map(Text::from).collect();
    }
    process.argc = u32::try_from(process.argv.len()).unwrap_or(u32::MAX);
    process.argv_bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
    process.argv_truncated = line.len() >= MOST_BYTES;
}

/// In the midst of an exec a program is there already and its arguments are not: they are looked for again.
fn command_line(folder: &Path, is_program: bool) -> Vec<u8> {
    let path = folder.join("cmdline");
    let mut line = read_bounded(&path);
    for _ in 0..LOOKS_AGAIN {
        if !line.is_empty() || !is_program {
            break;
        }
        std::thread::park_timeout(MOMENT);
        line = read_bounded(&path);
    }
    line
}

fn fill_owner(process: &mut Process, folder: &Path) {
    let status = read_bounded(&folder.join("status"));
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let number = |name: &str, nth: usize| field(name)?.split('\t').nth(nth)?.parse().ok();
    process.user = number("Uid:\t", 0).map(|uid| User {
        uid,
        name: Text::NONE,
    });
    process.effective_uid = number("Uid:\t", 1);
    process.gid = number("Gid:\t", 0);
    process.caps = field("CapEff:\t").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let setting = |name: &str| {
        let text = read_bounded(&folder.join(name));
        let number: u32 = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
        Some(number).filter(|number| *number != u32::MAX)
    };
    process.login_uid = setting("loginuid");
    process.session = process.login_uid.and_then(|_| setting("sessionid"));
    let groups = read_bounded(&folder.join("cgroup"));
    let unified = groups
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"));
    process.cgroup = unified.unwrap_or_default().into();
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// At most [`MOST_BYTES`] of a file; empty if it cannot be read.
fn read_bounded(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

const DELETED: &[u8] = b" (deleted)";
const MOST_BYTES: usize = 128 * 1024;
const LOOKS_AGAIN: u32 = 5;
const MOMENT: Duration = Duration::from_millis(1);
/// A clock tick of `/proc`.
pub(crate) const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;

    #[test]
    fn this_test_reads_itself_under_the_kernels_name() {
        let census = Census::new(identity::boot_id().unwrap());
        let own = std::process::id();
        let me = census.process(own).unwrap();
        let ticks = identity::start_ticks(own).unwrap();
        assert_eq!(me.uid, ProcessUid::from_ticks(&census.boot, own, ticks));
        assert_eq!(me.argc as usize, std::env::args_os().count());
        assert_eq!(
            me.exe.as_bytes(),
            std::env::current_exe().unwrap().as_os_str().as_bytes()
        );
        assert!(census.process(u32::MAX).is_none());
    }
}
