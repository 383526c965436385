//! What processes do to themselves and to each other.

use super::activity::{Mapped, PROCESS, USER_ACCESS, status};
use super::actor::{by_number, command_line, process_or_unknown, user};
use super::part::{Part, UNKNOWN, file_at, millis, name_of};
use crate::{
    CredChange, Credentials, Event, ExecFailed, Exit, Fork, IoUring, Ptrace, Signal, User,
};

fn of(process: Part) -> Part {
    Part::new().part("process", Some(process))
}

/// OCSF's words for the second step of making a process on Unix.
fn launch_by_exec() -> Part {
    Part::new()
        .put("launch_type_id", 3)
        .put("launch_type", "Exec")
}

pub(super) fn exec(event: &Event) -> Mapped {
    Mapped::new(PROCESS, (1, "Launch"))
        .with(of(process_or_unknown(event)))
        .with(launch_by_exec())
        .with(status(true))
}

/// The process stayed what it was; what it wanted to become stands in its place.
pub(super) fn exec_failed(event: &Event, failed: &ExecFailed) -> Mapped {
    let wanted = file_at(&failed.path, 0);
    let process = process_or_unknown(event)
        .put("name", name_of(&failed.path))
        .part("file", Some(wanted))
        .word("cmd_line", &command_line(&failed.argv));
    Mapped::new(PROCESS, (1, "Launch"))
        .with(of(process))
        .with(launch_by_exec())
        .result(Some(failed.result.min(-1)))
        .taking(&["exec_failed.path"])
}

pub(super) fn fork(event: &Event, fork: &Fork) -> Mapped {
    let parent = event.process.as_ref();
    let parent = parent.map(|parent| by_number(Some(parent.pid), Some(parent.uid)));
    let child =
        by_number(Some(fork.child_pid), Some(fork.child_uid)).part("parent_process", parent);
    let launch = Part::new()
        .put("launch_type_id", 2)
        .put("launch_type", "Fork");
    Mapped::new(PROCESS, (1, "Launch"))
        .with(of(child))
        .with(launch)
        .with(status(true))
        .taking(&["fork.child_pid", "fork.child_uid"])
}

pub(super) fn exit(event: &Event, exit: &Exit) -> Mapped {
    let ended = process_or_unknown(event).put("terminated_time", millis(event.time));
    let by_signal = exit.signal.map(|signal| format!("signal {signal}"));
    let attributes = of(ended)
        .maybe("exit_code", exit.code)
        .maybe("status_detail", by_signal);
    Mapped::new(PROCESS, (2, "Terminate"))
        .with(attributes)
        .taking(&["exit.code"])
}

/// A change of users or groups is one of the process, a change of capabilities alone one of rights.
pub(super) fn cred(event: &Event, change: &CredChange) -> Mapped {
    let (old, new) = (&change.old, &change.new);
    if ids(old) == ids(new) && old.caps_effective != new.caps_effective {
        return rights(event, change);
    }
    let name = event.process.as_ref().and_then(|process| {
        let user = process.user.as_ref()?;
        (user.uid == new.uid).then(|| user.name.clone())
    });
    let user = user(&User {
        uid: new.uid,
        name: name.unwrap_or_default(),
    });
    let process = process_or_unknown(event)
        .part("user", Some(user))
        .part("group", Some(Part::new().put("uid", new.gid.to_string())))
        .put("euid", new.effective_uid)
        .put("egid", new.effective_gid)
        .maybe("auid", new.login_uid);
    Mapped::new(PROCESS, (5, "Set User ID"))
        .with(of(process))
        .with(status(true))
}

const fn ids(held: &Credentials) -> [u32; 6] {
    [
        held.uid,
        held.gid,
        held.effective_uid,
        held.effective_gid,
        held.saved_uid,
        held.saved_gid,
    ]
}

fn rights(event: &Event, change: &CredChange) -> Mapped {
    let (old, new) = (change.old.caps_effective, change.new.caps_effective);
    let (gained, given_up) = (new & !old, old & !new);
    let (activity, bits) = if gained != 0 {
        ((1, "Assign Privileges"), gained)
    } else {
        ((2, "Revoke Privileges"), given_up)
    };
    let known = event.process.as_ref().and_then(|it| it.user.as_ref());
    let known = known.filter(|user| user.uid == change.new.uid);
    let unnamed = User {
        uid: change.new.uid,
        name: crate::Text::NONE,
    };
    let attributes = Part::new()
        .part("user", Some(user(known.unwrap_or(&unnamed))))
        .put("privileges", capabilities(bits));
    Mapped::new(USER_ACCESS, activity)
        .with(attributes)
        .with(status(true))
}

/// The names of a bit set, as `capability.h` has them.
fn capabilities(bits: u64) -> Vec<String> {
    let set = (0..u64::BITS).filter(|bit| bits.checked_shr(*bit).unwrap_or(0) & 1 == 1);
    set.map(|bit| {
        let name = usize::try_from(bit)
            .ok()
            .and_then(|bit| CAPABILITIES.get(bit));
        name.map_or_else(|| format!("CAP_{bit}"), |name| format!("CAP_{name}"))
    })
    .collect()
}

const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

pub(super) fn ptrace(ptrace: &Ptrace) -> Mapped {
    let mapped = match ptrace.request.as_str() {
        "attach" | "seize" | "vm_writev" => Mapped::new(PROCESS, (4, "Inject")).with(
            Part::new()
                .put("injection_type_id", 99)
                .put("injection_type", ptrace.request.as_str()),
        ),
        "vm_readv" | "mem_open" => Mapped::new(PROCESS, (3, "Open")),
        other => Mapped::other(PROCESS, other),
    };
    mapped
        .with(of(by_number(Some(ptrace.target_pid), ptrace.target_uid)))
        .result(ptrace.result)
        .taking(&["ptrace.target_pid", "ptrace.target_uid", "ptrace.result"])
}

pub(super) fn signal(signal: &Signal) -> Mapped {
    let mapped = if ENDING.contains(&signal.number) {
        Mapped::new(PROCESS, (2, "Terminate"))
    } else {
        Mapped::other(PROCESS, &format!("Signal {}", signal.number))
    };
    let target = match u32::try_from(signal.target_pid) {
        Ok(pid) => by_number(Some(pid), signal.target_uid),
        Err(_) => Part::new().put("uid", group(signal)),
    };
    mapped
        .with(of(target))
        .result(signal.result)
        .taking(&["signal.result"])
}

/// Signals that end a process which does not ask to be spared: HUP, INT, QUIT, ABRT, KILL, TERM.
const ENDING: [u32; 6] = [1, 2, 3, 6, 9, 15];

fn group(signal: &Signal) -> String {
    match (signal.target_uid, signal.target_pid) {
        (Some(uid), _) => uid.to_string(),
        (None, -1) => "all".to_owned(),
        (None, group) => format!("group {}", group.unsigned_abs()),
    }
}

pub(super) fn io_uring(event: &Event, ring: &IoUring) -> Mapped {
    let action = if ring.action.is_empty() {
        UNKNOWN
    } else {
        &ring.action
    };
    other(event, &format!("io_uring {action}"))
}

/// Something that OCSF has no word for.
pub(super) fn other(event: &Event, name: &str) -> Mapped {
    Mapped::other(PROCESS, name).with(of(process_or_unknown(event)))
}
