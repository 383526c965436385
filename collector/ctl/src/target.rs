//! From what an operator types, a process uid or a pid, to one process.
//!
//! # Invariants
//!
//! - A pid becomes a process only if exactly one process of the host's latest boot has it and was not
//!   seen to exit; the uid is what is signed.

use std::collections::BTreeMap;

use picket_event::command::Target;
use picket_event::{BootId, Detail, Event, HashStatus, Kind, Process, ProcessUid, Text, UnixNanos};
use picket_seal::Digest;

use crate::failure::{Exit, Failure};
use crate::table::cut;

/// What an operator typed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Typed {
    /// A process's name for ever.
    Uid(ProcessUid),
    /// A number.
    Pid(u32),
}

/// The process that is meant, and what the events know of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    /// Whom the command names.
    pub(crate) target: Target,
    /// The executable as its newest exec has it, if that hash is certain.
    pub(crate) exe_sha256: Option<Digest>,
    /// For people.
    pub(crate) exe: Text,
    /// Whether it was seen to exit.
    pub(crate) exited: bool,
}

/// Why no process is meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Neither.
    #[error("`{0}` is neither a process uid (32 hexadecimal digits) nor a pid")]
    Form(String),
    /// No event has it.
    #[error("no event of this host has the pid {0}")]
    Unknown(u32),
    /// All are gone.
    #[error("the process with the pid {pid} has exited; it was {uid}")]
    Exited {
        /// Its number.
        pid: u32,
        /// The latest.
        uid: ProcessUid,
    },
    /// Several may be alive.
    #[error("the pid {pid} may be any of {candidates}")]
    Ambiguous {
        /// Their number.
        pid: u32,
        /// Each with its executable and time.
        candidates: String,
    },
}

/// One process that has or had the pid.
#[derive(Clone, Debug)]
struct Candidate {
    seen: UnixNanos,
    pid: u32,
    exe: Text,
    exe_sha256: Option<Digest>,
    exited: bool,
}

impl Typed {
    /// 32 hexadecimal digits are a uid; a number is a pid.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        if let Ok(uid) = ProcessUid::parse(text) {
            return Ok(Self::Uid(uid));
        }
        match text.parse() {
            Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
            _ => Err(TargetError::Form(text.to_owned())),
        }
    }

    /// The search expression that finds its births and deaths.
    pub(crate) fn filter(self) -> String {
        match self {
            Self::Uid(uid) => format!("process.uid = '{uid}' or fork.child_uid = '{uid}'"),
            Self::Pid(pid) => format!("process.pid = {pid} or fork.child_pid = {pid}"),
        }
    }

    /// The process that is meant, by the events that the filter found.
    pub(crate) fn choose(self, found: Vec<(BootId, Event)>) -> Result<Chosen, TargetError> {
        let candidates = candidates(found);
        match self {
            Self::Uid(uid) => Ok(named(uid, candidates.get(&uid))),
            Self::Pid(pid) => only(pid, candidates),
        }
    }
}

/// The kinds of events by which processes come and go.
pub(crate) const KINDS: [Kind; 3] = [Kind::Exec, Kind::Fork, Kind::Exit];

fn candidates(mut found: Vec<(BootId, Event)>) -> BTreeMap<ProcessUid, Candidate> {
    found.sort_by_key(|(_, event)| (event.time, event.boot_ns));
    let latest = found.last().map(|(boot, _)| *boot);
    let mut candidates = BTreeMap::new();
    for (boot, event) in found {
        if Some(boot) == latest {
            learn(&mut candidates, &event);
        }
    }
    candidates
}

fn learn(candidates: &mut BTreeMap<ProcessUid, Candidate>, event: &Event) {
    let Some(process) = &event.process else {
        return;
    };
    if let Some(Detail::Fork(fork)) = &event.detail {
        let born = Candidate {
            seen: event.time,
            pid: fork.child_pid,
            exe: process.exe.clone(),
            exe_sha256: None,
            exited: false,
        };
        candidates.entry(fork.child_uid).or_insert(born);
        return;
    }
    let entry = candidates.entry(process.uid);
    let known = entry.or_insert_with(|| as_seen(process, event.time));
    match event.kind {
        Kind::Exit => known.exited = true,
        Kind::Exec => *known = as_seen(process, event.time),
        _ => {}
    }
}

fn as_seen(process: &Process, seen: UnixNanos) -> Candidate {
    let certain = process.hash_status == Some(HashStatus::Ok);
    Candidate {
        seen,
        pid: process.pid,
        exe: process.exe.clone(),
        exe_sha256: process.sha256.filter(|_| certain),
        exited: false,
    }
}

/// A uid needs no event: the host decides whether it has that process.
fn named(process: ProcessUid, known: Option<&Candidate>) -> Chosen {
    Chosen {
        target: Target {
            process,
            pid: known.map_or(0, |candidate| candidate.pid),
        },
        exe_sha256: known.and_then(|candidate| candidate.exe_sha256),
        exe: known
            .map(|candidate| candidate.exe.clone())
            .unwrap_or_default(),
        exited: known.is_some_and(|candidate| candidate.exited),
    }
}

fn only(pid: u32, mut candidates: BTreeMap<ProcessUid, Candidate>) -> Result<Chosen, TargetError> {
    candidates.retain(|_, candidate| candidate.pid == pid);
    let latest = candidates
        .iter()
        .max_by_key(|(_, candidate)| candidate.seen);
    let uid = latest
        .map(|(uid, _)| *uid)
        .ok_or(TargetError::Unknown(pid))?;
    candidates.retain(|_, candidate| !candidate.exited);
    let mut alive = candidates.iter();
    match (alive.next(), alive.next()) {
        (None, _) => Err(TargetError::Exited { pid, uid }),
        (Some((uid, candidate)), None) => Ok(named(*uid, Some(candidate))),
        (Some(_), Some(_)) => Err(TargetError::Ambiguous {
            pid,
            candidates: listed(&candidates),
        }),
    }
}

fn listed(candidates: &BTreeMap<ProcessUid, Candidate>) -> String {
    let each = candidates.iter().take(MOST_LISTED).map(|(uid, candidate)| {
        format!(
            "{uid} ({}, seen {})",
            cut(&candidate.exe, 64),
            candidate.seen
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        let exit = match error {
            TargetError::Form(_) | TargetError::Ambiguous { .. } => Exit::Usage,
            TargetError::Unknown(_) | TargetError::Exited { .. } => Exit::Failed,
        };
        Self::new(exit, error).hint(
            "name the process by its uid: picketctl events --host HOST --kind exec --json | jq -c '[.process.uid, .process.pid, .process.exe]'",
        )
    }
}

/// So many candidates are named in an error.
const MOST_LISTED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use picket_event::{Fork, Source};

    const BOOT: BootId = BootId::new([1; 16]);

    fn uid(byte: u8) -> ProcessUid {
        ProcessUid::new([byte; 16])
    }

    fn event(kind: Kind, time: i64, byte: u8, pid: u32) -> (BootId, Event) {
        let mut process = Process::new(uid(byte), pid);
        process.exe = Text::from("/usr/bin/sh");
        process.sha256 = Some(Digest::of(&[byte]));
        process.hash_status = Some(HashStatus::Ok);
        (
            BOOT,
            Event::new(kind, UnixNanos(time), Source::Ebpf).by(process),
        )
    }

    fn choose(pid: u32, found: &[(BootId, Event)]) -> Result<Chosen, TargetError> {
        Typed::Pid(pid).choose(found.to_vec())
    }

    #[test]
    fn uids_and_pids_are_told_apart() {
        let text = uid(0xab).to_string();
        assert_eq!(Typed::parse(&text), Ok(Typed::Uid(uid(0xab))));
        assert_eq!(Typed::parse("4242"), Ok(Typed::Pid(4242)));
        for bad in ["0", "-1", "nginx", "", "99999999999", "0123456789abcdef"] {
            assert!(Typed::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_process_that_has_not_exited_is_meant() {
        let found = [
            event(Kind::Exec, 1, 1, 42),
            event(Kind::Exit, 2, 1, 42),
            event(Kind::Exec, 3, 2, 42),
        ];
        let chosen = choose(42, &found).unwrap();
        assert_eq!((chosen.target.process, chosen.target.pid), (uid(2), 42));
        assert_eq!(chosen.exe_sha256, Some(Digest::of(&[2])));
    }

    #[test]
    fn the_order_in_which_events_arrive_does_not_matter() {
        let found = [
            event(Kind::Exit, 2, 1, 42),
            event(Kind::Exec, 3, 2, 42),
            event(Kind::Exec, 1, 1, 42),
        ];
        assert_eq!(choose(42, &found).unwrap().target.process, uid(2));
    }

    #[test]
    fn a_process_that_has_exited_is_no_target() {
        let found = [event(Kind::Exec, 1, 1, 42), event(Kind::Exit, 2, 1, 42)];
        let exited = TargetError::Exited {
            pid: 42,
            uid: uid(1),
        };
        assert_eq!(choose(42, &found), Err(exited));
        assert_eq!(choose(43, &[]), Err(TargetError::Unknown(43)));
    }

    #[test]
    fn two_that_may_be_alive_are_listed() {
        let found = [event(Kind::Exec, 1, 1, 42), event(Kind::Exec, 3, 2, 42)];
        let text = choose(42, &found).unwrap_err().to_string();
        assert!(
            text.contains(&uid(1).to_string()) && text.contains(&uid(2).to_string()),
            "{text}"
        );
    }

    #[test]
    fn processes_of_an_earlier_boot_are_gone() {
        let mut before = event(Kind::Exec, 1, 1, 42);
        before.0 = BootId::new([9; 16]);
        let found = [before, event(Kind::Exec, 3, 2, 42)];
        assert_eq!(choose(42, &found).unwrap().target.process, uid(2));
    }

    #[test]
    fn a_child_that_only_forked_is_found() {
        let (boot, parent) = event(Kind::Fork, 1, 1, 42);
        let child = Detail::Fork(Fork {
            child_uid: uid(5),
            child_pid: 50,
        });
        let chosen = choose(50, &[(boot, parent.with(child))]).unwrap();
        assert_eq!((chosen.target.process, chosen.exe_sha256), (uid(5), None));
    }

    #[test]
    fn an_uncertain_hash_is_not_a_precondition() {
        let (boot, mut exec) = event(Kind::Exec, 1, 1, 42);
        exec.process.as_mut().unwrap().hash_status = Some(HashStatus::Raced);
        assert_eq!(choose(42, &[(boot, exec)]).unwrap().exe_sha256, None);
    }

    #[test]
    fn a_uid_is_taken_although_no_event_knows_it() {
        let chosen = Typed::Uid(uid(3)).choose(Vec::new()).unwrap();
        assert_eq!((chosen.target.process, chosen.target.pid), (uid(3), 0));
    }
}
