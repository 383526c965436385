//! The process behind a line, if it still is the one that wrote it.

use std::time::Duration;

use picket_event::{BootId, Process, UnixNanos};

use super::line::AuthLine;
use crate::portable::Census;

/// Looks processes up. Nothing in a log proves itself, so each is checked.
#[derive(Debug)]
pub(super) struct Joiner {
    census: Census,
}

impl Joiner {
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            census: Census::new(boot),
        }
    }

    /// The process `pid`, if it can have written this line: any local user may write to the log and
    /// put any number there, but cannot own a process of root with the program's name.
    pub(super) fn writer(&self, pid: u32, line: &AuthLine) -> Option<Process> {
        let process = self.census.process(pid)?;
        let is_writer = process.effective_uid == Some(0)
            && is_named_after(process.comm.as_bytes(), line.program.as_bytes())
            && began_before(&process, line.time);
        is_writer.then_some(process)
    }

    /// The process that has this number, if it runs as root: only such a one may report to audit.
    pub(super) fn reporter(&self, pid: u32) -> Option<Process> {
        let process = self.census.process(pid)?;
        (process.effective_uid == Some(0)).then_some(process)
    }

    /// The process of a session that a record of root's own file names.
    pub(super) fn session(&self, pid: u32, time: UnixNanos) -> Option<Process> {
        self.census
            .process(pid)
            .filter(|process| began_before(process, time))
    }
}

/// `cron` writes as `CRON`, `sshd-session` as `sshd-session` or `sshd`; the kernel cuts names.
fn is_named_after(comm: &[u8], program: &[u8]) -> bool {
    let program = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    let shorter = comm.len().min(program.len());
    let common = |name: &[u8]| name.get(..shorter).map(<[u8]>::to_ascii_lowercase);
    shorter >= MIN_NAME && common(comm) == common(program)
}

/// The log may have cut its time to the second.
fn began_before(process: &Process, time: UnixNanos) -> bool {
    process
        .start_time
        .is_some_and(|start| start <= time.plus(CUT))
}

const CUT: Duration = Duration::from_secs(1);
/// `su` is the shortest name.
const MIN_NAME: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_the_programs_name_in_its_variants() {
        assert!(is_named_after(b"cron", b"CRON"));
        assert!(is_named_after(b"sshd-session", b"sshd"));
        assert!(is_named_after(b"gdm-session-wor", b"gdm-session-worker"));
        assert!(!is_named_after(b"bash", b"sshd"));
        assert!(!is_named_after(b"", b"sshd"));
    }
}
