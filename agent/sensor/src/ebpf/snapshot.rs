//! The processes that were there before the sensor, read from `/proc`.
//!
//! # Invariants
//!
//! - What is read is checked against the process's start afterwards: a number that changed hands
//!   meanwhile is left out, never mixed.
//! - Kernel threads are processes too; they have no executable.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picket_event::{BootId, Fidelity, Namespaces, Process, ProcessUid, Text, User};

use crate::identity::{self, Stat, WallClock};

/// Every process of the host.
pub(crate) fn processes(boot: &BootId) -> Vec<Process> {
    let clock = WallClock::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| process(boot, clock, pid)).collect()
}

fn process(boot: &BootId, clock: WallClock, pid: u32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let stat = Stat::parse(&fs::read(folder.join("stat")).ok()?)?;
    let uid = ProcessUid::from_ticks(boot, pid, stat.start_ticks);
    let mut process = Process::new(uid, pid);
    process.ppid = stat.ppid;
    process.parent_uid = identity::start_ticks(stat.ppid)
        .map(|start| ProcessUid::from_ticks(boot, stat.ppid, start));
    process.start_time = Some(clock.at(stat.start_ticks.saturating_mul(TICK_NS)));
    process.fidelity = Some(Fidelity::Derived);
    fill_program(&mut process, &folder);
    fill_owner(&mut process, &folder);
    process.ns = Some(namespaces(&folder));
    let is_same = identity::start_ticks(pid) == Some(stat.start_ticks);
    is_same.then_some(process)
}

fn fill_program(process: &mut Process, folder: &Path) {
    let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
    let exe = exe.as_os_str().as_bytes();
    process.exe = exe.strip_suffix(DELETED).unwrap_or(exe).into();
    process.memfd = fs::metadata(folder.join("exe")).is_ok_and(|stat| stat.nlink() == 0);
    process.cwd = fs::read_link(folder.join("cwd"))
        .unwrap_or_default()
        .as_os_str()
        .as_bytes()
        .into();
    process.comm = first_line(&folder.join("comm"));
    let line = read_bounded(&folder.join("cmdline"));
    let whole = line.strip_suffix(&[0]).unwrap_or(&line);
    if !line.is_empty() {
        process.argv = whole.split(|byte| *byte == 0).map(Text::from).collect();
    }
    process.argc = u32::try_from(process.argv.len()).unwrap_or(u32::MAX);
    process.argv_bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
    process.argv_truncated = line.len() >= MOST_BYTES;
}

fn fill_owner(process: &mut Process, folder: &Path) {
    let status = String::from_utf8_lossy(&read_bounded(&folder.join("status"))).into_owned();
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    let number = |name: &str, nth: usize| field(name)?.split('\t').nth(nth)?.parse().ok();
    process.user = number("Uid", 0).map(|uid| User {
        uid,
        name: Text::NONE,
    });
    process.effective_uid = number("Uid", 1);
    process.gid = number("Gid", 0);
    process.caps = field("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let setting = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim()
            .parse()
            .ok()
            .filter(|number| *number != u32::MAX)
    };
    process.login_uid = setting("loginuid");
    process.session = setting("sessionid");
    let groups = String::from_utf8_lossy(&read_bounded(&folder.join("cgroup"))).into_owned();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    process.cgroup = unified.unwrap_or_default().into();
}

pub(crate) fn namespaces(folder: &Path) -> Namespaces {
    let inode = |name: &str| {
        let link = fs::read_link(folder.join("ns").join(name)).ok()?;
        let text = link.to_str()?;
        let (_, number) = text.strip_suffix(']')?.split_once('[')?;
        number.parse().ok()
    };
    Namespaces {
        pid: inode("pid").unwrap_or(0),
        mnt: inode("mnt").unwrap_or(0),
        net: inode("net").unwrap_or(0),
        user: inode("user").unwrap_or(0),
    }
}

fn first_line(path: &Path) -> Text {
    let bytes = read_bounded(path);
    bytes.strip_suffix(b"\n").unwrap_or(&bytes).into()
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
/// A clock tick of `/proc`.
const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_finds_itself() {
        let boot = identity::boot_id().unwrap();
        let own = std::process::id();
        let all = processes(&boot);
        let me = all.iter().find(|process| process.pid == own).unwrap();
        assert_eq!(me.argc as usize, std::env::args_os().count());
        assert!(me.parent_uid.is_some());
        assert_ne!(me.ns.unwrap().pid, 0);
    }
}
