//! What `/proc` says about processes, as far as containment needs it.
//!
//! A pid alone is never believed: [`Found::uid`] ties it to the time at which its process began.

use std::fs;
use std::os::unix::ffi::OsStringExt;

use picket_event::command::Target;
use picket_event::{BootId, ProcessUid, Text};

/// A process that was there a moment ago.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// Which process.
    pub(crate) uid: ProcessUid,
    /// Its number.
    pub(crate) pid: u32,
    /// Its parent's number.
    pub(crate) ppid: u32,
    /// The session it is in: the number of the process that began it.
    pub(crate) session: u32,
    /// The state letter.
    pub(crate) state: u8,
    /// Whether it is a thread of the kernel.
    pub(crate) kernel: bool,
}

impl Found {
    /// Whether it can still run.
    pub(crate) const fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it is stopped.
    pub(crate) const fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }
}

/// The process that has this number now.
pub(crate) fn find(boot: &BootId, pid: u32) -> Option<Found> {
    parse(boot, pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The process of this uid, if it lives: where the hint says, or anywhere.
pub(crate) fn find_target(boot: &BootId, target: Target) -> Option<Found> {
    let hinted = find(boot, target.pid).filter(|found| found.uid == target.process);
    hinted
        .or_else(|| {
            all(boot)
                .into_iter()
                .find(|found| found.uid == target.process)
        })
        .filter(Found::is_alive)
}

/// Every process that there is now.
pub(crate) fn all(boot: &BootId) -> Vec<Found> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| find(boot, pid)).collect()
}

/// The number of the process or thread that was made last.
pub(crate) fn newest() -> Option<u32> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().last()?.parse().ok()
}

/// Its executable, as the kernel names it; empty where it cannot be read.
pub(crate) fn exe(pid: u32) -> Text {
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Text::from(path.into_os_string().into_vec())
}

/// `pid (comm) state ppid pgrp session tty tpgid flags ... starttime`: the name may hold anything,
/// so fields are counted from the last parenthesis.
pub(crate) fn parse(boot: &BootId, pid: u32, stat: &[u8]) -> Option<Found> {
    let after = stat
        .iter()
        .rposition(|byte| *byte == b')')?
        .checked_add(2)?;
    let rest = std::str::from_utf8(stat.get(after..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let flags = number(6)?;
    Some(Found {
        uid: ProcessUid::from_ticks(boot, pid, number(19)?),
        pid,
        ppid: u32::try_from(number(1)?).ok()?,
        session: fields.get(3)?.parse().unwrap_or(0),
        state: *fields.first()?.as_bytes().first()?,
        kernel: flags & PF_KTHREAD != 0,
    })
}

const PF_KTHREAD: u64 = 0x0020_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_confuses_nobody() {
        let boot = BootId::new([1; 16]);
        let stat = b"7 (a) S 1 (x) R 5 7 6 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 1234 0 0";
        let found = parse(&boot, 7, stat).unwrap();
        assert_eq!((found.ppid, found.session, found.state), (5, 6, b'R'));
        assert_eq!(found.uid, ProcessUid::from_ticks(&boot, 7, 1234));
    }

    #[test]
    fn odd_texts_are_no_process() {
        let boot = BootId::new([1; 16]);
        for stat in [
            &b""[..],
            b"7 (a)",
            b"7 (a) ",
            b"7 (a) S x",
            b")",
            b"7 (a) S 1 1 1",
        ] {
            assert_eq!(parse(&boot, 7, stat), None);
        }
    }

    #[test]
    fn this_test_finds_itself() {
        let boot = crate::clock::boot_id();
        let own = find(&boot, std::process::id()).unwrap();
        assert!(own.is_alive() && !own.kernel);
        let target = Target {
            process: own.uid,
            pid: 0,
        };
        assert_eq!(
            find_target(&boot, target).map(|found| found.pid),
            Some(own.pid)
        );
    }
}
