//! The audit records that the kernel copies to every reader, put together to execs.
//!
//! # Invariants
//!
//! - It only reads. The socket that a log daemon owns is not taken, and no rule or state of audit is
//!   changed; the state is asked for.
//! - A record only says more of an exec that the connector told: without it there is an event all the
//!   same, so what is missed here is no lost event.
//! - A record is given to the exec that it is of, or to none: one that comes too late for its exec is
//!   dropped, and when the connector lost messages all that wait are.
//! - At most [`MOST_EXECS`] execs with [`MOST_BYTES`] of arguments wait to be joined, each for
//!   [`KEPT_MILLIS`]; the oldest are dropped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use picket_event::{Hook, HookState, Process, UnixNanos, User};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::netlink;
use rustix::time::Timespec;

use super::netlink::{Netlink, Received, u16_at, u32_at};
use super::reassembly::{AuditedExec, Reassembly};
use super::record;

/// A reader of audit records.
#[derive(Debug)]
pub(super) struct Multicast {
    socket: Netlink,
    reassembly: Reassembly,
    execs: VecDeque<AuditedExec>,
    /// Execs that were told without their record: the process, and until when the record was made.
    overdue: VecDeque<(u32, u64)>,
    overflows: u64,
    /// As it was when last asked for.
    status: Option<Status>,
    /// Whether the canary's exec came this way.
    pub(super) is_proved: bool,
}

/// What audit says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Status {
    is_enabled: bool,
    /// The process that owns the log; 0 for nobody.
    owner: u32,
    /// Records that the kernel dropped since boot.
    lost: u32,
}

impl Multicast {
    /// Joins the group of readers.
    pub(super) fn open(buffer: usize) -> io::Result<Self> {
        let mut multicast = Self {
            socket: Netlink::open(netlink::AUDIT, READERS, buffer)?,
            reassembly: Reassembly::default(),
            execs: VecDeque::new(),
            overdue: VecDeque::new(),
            overflows: 0,
            status: None,
            is_proved: false,
        };
        multicast.ask_status();
        Ok(multicast)
    }

    /// Asks audit for its state.
    pub(super) fn ask_status(&mut self) {
        self.status = status()
            .inspect_err(|error| tracing::debug!(%error, "audit does not tell its state"))
            .unwrap_or_default();
    }

    /// Whether records may come at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.status.is_some_and(|status| status.is_enabled)
    }

    /// Takes every record that waits, but at most [`MOST_RECORDS`].
    pub(super) fn read(&mut self, now: UnixNanos) -> io::Result<()> {
        for _ in 0..MOST_RECORDS {
            match self.socket.receive()? {
                Received::Nothing => break,
                Received::Foreign => {}
                Received::Overflow => self.overflows = self.overflows.saturating_add(1),
                Received::Datagram(datagram) => {
                    if let Some(exec) = exec(&mut self.reassembly, datagram) {
                        self.accept(exec);
                    }
                }
            }
        }
        self.drop_old(millis(now));
        Ok(())
    }

    /// Keeps an exec, unless it is one that was told without.
    fn accept(&mut self, exec: AuditedExec) {
        let is_it = |(pid, until): &(u32, u64)| *pid == exec.call.pid && exec.millis <= *until;
        match self.overdue.iter().position(is_it) {
            Some(place) => drop(self.overdue.remove(place)),
            None => self.execs.push_back(exec),
        }
    }

    /// Drops what waits: nobody knows any more which exec it is of.
    pub(super) fn forget(&mut self) {
        self.execs.clear();
        self.overdue.clear();
    }

    fn drop_old(&mut self, now: u64) {
        let is_old = |(_, until): &(u32, u64)| until.saturating_add(KEPT_MILLIS) < now;
        while self.overdue.len() > MOST_EXECS || self.overdue.front().is_some_and(is_old) {
            self.overdue.pop_front();
        }
        let bytes = self.execs.iter().map(AuditedExec::argv_bytes);
        let mut bytes = bytes.fold(0, usize::saturating_add);
        while let Some(first) = self.execs.front() {
            let is_old = first.millis.saturating_add(KEPT_MILLIS) < now;
            if !is_old && self.execs.len() <= MOST_EXECS && bytes <= MOST_BYTES {
                break;
            }
            bytes = bytes.saturating_sub(first.argv_bytes());
            self.execs.pop_front();
        }
    }

    /// Whether a record waits for each of these execs.
    pub(super) fn has_all(&self, pids: impl Iterator<Item = u32>) -> bool {
        let mut wanted: HashMap<u32, usize> = HashMap::new();
        for pid in pids {
            let count = wanted.entry(pid).or_default();
            *count = count.saturating_add(1);
        }
        for exec in &self.execs {
            if let Some(count) = wanted.get_mut(&exec.call.pid) {
                *count = count.saturating_sub(1);
            }
        }
        wanted.values().all(|count| *count == 0)
    }

    /// The record of the exec of this process that was told for this moment.
    pub(super) fn take(&mut self, pid: u32, at: UnixNanos) -> Option<AuditedExec> {
        let at = millis(at).saturating_add(CLOCKS_APART_MILLIS);
        let is_it = |exec: &AuditedExec| exec.call.pid == pid && exec.millis <= at;
        let place = self.execs.iter().position(is_it);
        if place.is_none() && self.is_proved {
            self.overdue.push_back((pid, at));
        }
        self.execs.remove(place?)
    }

    /// Whether it works, and what of it was used.
    pub(super) fn hook(&self, joined: u64, execs: u64) -> Hook {
        let owner = match self.status.map(|status| status.owner) {
            None => "audit does not tell its state".to_owned(),
            Some(0) => "nobody owns the log".to_owned(),
            Some(owner) => format!("process {owner} owns the log"),
        };
        let lost = self.status.map_or(0, |status| status.lost);
        let (state, word) = if self.is_proved {
            let full = self.overflows;
            let told = format!(
                "canary came back; {joined} of {execs} execs have a record, the kernel lost {lost}, \
                 buffer was full {full} times"
            );
            (HookState::Proved, told)
        } else if self.status.is_some_and(|status| !status.is_enabled) {
            (
                HookState::Attached,
                "audit is disabled, so nothing is recorded".to_owned(),
            )
        } else {
            let told = "no record of the canary's exec came: no rule asks for it".to_owned();
            (HookState::Attached, told)
        };
        Hook {
            name: NAME.to_owned(),
            state,
            detail: format!("{word}; read only, {owner}"),
            instead: if self.is_proved { "" } else { INSTEAD }.to_owned(),
        }
    }
}

impl AsFd for Multicast {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Says of the process what `/proc` had no answer for, and the arguments as they were at the exec.
pub(super) fn complete(process: &mut Process, exec: &AuditedExec) {
    let call = &exec.call;
    if !exec.is_cut || process.argv.is_empty() {
        process.argv.clone_from(&exec.argv);
        process.argc = u32::try_from(exec.argv.len()).unwrap_or(u32::MAX);
        process.argv_bytes = u64::try_from(exec.argv_bytes()).unwrap_or(u64::MAX);
        process.argv_truncated = exec.is_cut;
    }
    if !process.exe.is_empty() {
        return;
    }
    process.exe.clone_from(&call.exe);
    process.comm.clone_from(&call.comm);
    process.cwd.clone_from(&exec.cwd);
    let name = picket_event::Text::NONE;
    let user = call.uid.map(|uid| User { uid, name });
    process.user = user.or_else(|| process.user.take());
    process.effective_uid = call.euid.or(process.effective_uid);
    process.gid = call.gid.or(process.gid);
    process.login_uid = call.login_uid.or(process.login_uid);
    process.session = call.session.or(process.session);
}

/// Why there is nothing to read.
pub(super) fn no_multicast(error: &io::Error) -> Hook {
    Hook {
        name: NAME.to_owned(),
        state: HookState::Unavailable,
        detail: error.to_string(),
        instead: INSTEAD.to_owned(),
    }
}

/// The exec that the record in this datagram completes. One datagram is one record; the length in its
/// head is not believed, because kernels count it in two ways.
fn exec(reassembly: &mut Reassembly, datagram: &[u8]) -> Option<AuditedExec> {
    let kind = u16_at(datagram, 4)?;
    let (stamp, record) = record::parse(kind, datagram.get(HEADER..)?)?;
    reassembly.accept(stamp, record)
}

/// Whether audit is on; `None`: it does not tell.
pub(crate) fn is_enabled() -> Option<bool> {
    let status = status().ok().flatten()?;
    Some(status.is_enabled)
}

/// Asks through a socket of its own, which is closed again; the answer comes within the call.
fn status() -> io::Result<Option<Status>> {
    let mut socket = Netlink::open(netlink::AUDIT, NO_GROUP, ANSWERS)?;
    socket.send(GET, REQUEST, &[])?;
    for _ in 0..MOST_ANSWERS {
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&patience))?;
        match socket.receive()? {
            Received::Datagram(datagram) => {
                if let Some(status) = parse_status(datagram) {
                    return Ok(Some(status));
                }
            }
            Received::Nothing => return Ok(None),
            Received::Foreign | Received::Overflow => {}
        }
    }
    Ok(None)
}

/// `struct audit_status` of linux/audit.h behind the head.
fn parse_status(datagram: &[u8]) -> Option<Status> {
    if u16_at(datagram, 4)? != GET {
        return None;
    }
    let status = datagram.get(HEADER..)?;
    Some(Status {
        is_enabled: u32_at(status, 4)? != 0,
        owner: u32_at(status, 12)?,
        lost: u32_at(status, 24)?,
    })
}

fn millis(at: UnixNanos) -> u64 {
    u64::try_from(at.0 / 1_000_000).unwrap_or(0)
}

pub(super) const NAME: &str = "audit_multicast";
const INSTEAD: &str = "arguments from /proc, none for programs that are over at once";
/// `AUDIT_NLGRP_READLOG`, as a bit.
pub(crate) const READERS: u32 = 1;
const NO_GROUP: u32 = 0;
/// `AUDIT_GET`.
const GET: u16 = 1000;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
const HEADER: usize = 16;
const MOST_ANSWERS: usize = 8;
const ANSWERS: usize = 64 * 1024;
const MOST_RECORDS: usize = 65_536;
const MOST_EXECS: usize = 4_096;
const MOST_BYTES: usize = 16 * 1024 * 1024;
const KEPT_MILLIS: u64 = 5_000;
/// Records bear the time of the call, which was before the exec was told.
const CLOCKS_APART_MILLIS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::super::record::Syscall;
    use super::*;
    use picket_event::ProcessUid;
    use proptest::prelude::*;

    fn audited(pid: u32, millis: u64, argv: &[&str]) -> AuditedExec {
        let call = Syscall {
            pid,
            uid: Some(7),
            exe: "/bin/x".into(),
            ..Syscall::default()
        };
        AuditedExec {
            call,
            millis,
            argv: argv.iter().map(|text| (*text).into()).collect(),
            cwd: "/tmp".into(),
            ..AuditedExec::default()
        }
    }

    fn datagram(kind: u16, text: &str) -> Vec<u8> {
        let mut bytes = 0_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn process() -> Process {
        let boot = crate::identity::boot_id().unwrap();
        Process::new(ProcessUid::from_ticks(&boot, 1, 1), 1)
    }

    #[test]
    fn records_of_one_serial_are_an_exec_whatever_length_their_heads_claim() {
        let mut reassembly = Reassembly::default();
        let mut told = |kind, text: &str| exec(&mut reassembly, &datagram(kind, text));
        let call = "audit(9.001:5): syscall=59 success=yes ppid=1 pid=7 uid=0 exe=\"/bin/a\"";
        assert_eq!(told(1300, call), None);
        assert_eq!(told(1309, "audit(9.001:5): argc=2 a0=\"a\" a1=0A"), None);
        let whole = told(1320, "audit(9.001:5): ").unwrap();
        assert_eq!(
            (whole.call.pid, whole.millis, whole.argv.len()),
            (7, 9_001, 2)
        );
        assert_eq!(whole.argv[1].as_bytes(), b"\n");
    }

    #[test]
    fn what_proc_had_no_answer_for_comes_from_the_record_and_the_arguments_always_do() {
        let exec = audited(1, 0, &["a", ""]);
        let mut gone = process();
        complete(&mut gone, &exec);
        assert_eq!((gone.argc, gone.argv_bytes), (2, 3));
        assert_eq!(
            (gone.exe.as_str(), gone.cwd.as_str()),
            (Some("/bin/x"), Some("/tmp"))
        );
        assert_eq!(gone.user.unwrap().uid, 7);
        let mut read = process();
        (read.exe, read.argv) = ("/bin/y".into(), vec!["rewritten".into()]);
        complete(&mut read, &exec);
        assert_eq!((read.exe.as_str(), read.argc), (Some("/bin/y"), 2));
        assert!(read.user.is_none());
    }

    #[test]
    fn arguments_that_were_read_are_not_given_up_for_some_that_lack_a_part() {
        let cut = AuditedExec {
            is_cut: true,
            ..audited(1, 0, &["a"])
        };
        let mut read = process();
        (read.exe, read.argv) = ("/bin/y".into(), vec!["a".into(), "b".into()]);
        complete(&mut read, &cut);
        assert_eq!((read.argv.len(), read.argv_truncated), (2, false));
        let mut gone = process();
        complete(&mut gone, &cut);
        assert_eq!((gone.argv.len(), gone.argv_truncated), (1, true));
    }

    #[test]
    fn a_record_that_comes_too_late_is_not_given_to_the_next_exec() {
        let Ok(mut multicast) = Multicast::open(64 * 1024) else {
            return eprintln!("SKIPPED: audit cannot be read here");
        };
        multicast.is_proved = true;
        let at = |millis: i64| UnixNanos(millis * 1_000_000);
        assert!(multicast.take(7, at(1_000)).is_none());
        multicast.accept(audited(7, 999, &["late"]));
        multicast.accept(audited(7, 1_200, &["next"]));
        multicast.accept(audited(8, 999, &["other"]));
        assert_eq!(multicast.take(7, at(1_201)).unwrap().argv, ["next".into()]);
        assert!(multicast.has_all([8].into_iter()) && !multicast.has_all([8, 8].into_iter()));
        multicast.forget();
        assert!(!multicast.has_all([8].into_iter()));
    }

    #[test]
    fn a_status_says_whether_audit_is_on_and_who_owns_the_log() {
        let mut bytes = datagram(GET, "");
        for number in [0_u32, 1, 1, 77, 0, 64, 9, 0] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        let expected = Status {
            is_enabled: true,
            owner: 77,
            lost: 9,
        };
        assert_eq!(parse_status(&bytes), Some(expected));
        assert_eq!(parse_status(&datagram(2, "")), None);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = exec(&mut Reassembly::default(), &bytes);
            let _any = parse_status(&bytes);
        }
    }
}
