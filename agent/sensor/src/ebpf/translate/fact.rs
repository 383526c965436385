//! From the numbers and texts of a record to what an event says. The other half of each stands in `agent/ebpf`, in the file of
//! its subject.
//!
//! # Invariants
//!
//! - Any numbers give something: one that has no name is given as the number.

use picket_event::{
    BootId, Bpf, CredChange, Credentials, Detail, Dns, ExecFailed, IoUring, Kind, MemExec, Module,
    Mount, ProcessUid, Ptrace, Signal, Text,
};

use super::{dns as message, ended_by_nul};
use crate::ebpf::raw::{Fact, address};

/// What the event says; `None` for a kind that is not told in this way.
pub(super) fn detail(kind: Kind, fact: &Fact<'_>, boot: &BootId) -> Option<Detail> {
    Some(match kind {
        Kind::ExecFailed => Detail::ExecFailed(exec_failed(fact)),
        Kind::CredChange => Detail::Cred(cred_change(fact)),
        Kind::Ptrace => Detail::Ptrace(ptrace(fact, boot)),
        Kind::Signal => Detail::Signal(signal(fact, boot)),
        Kind::MemExec => Detail::MemExec(mem_exec(fact)),
        Kind::ModuleLoad => Detail::Module(module(fact)),
        Kind::BpfLoad => Detail::Bpf(bpf(fact)),
        Kind::Mount => Detail::Mount(mount(fact)),
        Kind::IoUring => Detail::IoUring(io_uring(fact)),
        Kind::Dns => Detail::Dns(dns(fact)),
        _ => return None,
    })
}

fn exec_failed(fact: &Fact<'_>) -> ExecFailed {
    let [result, argc, cut, ..] = fact.numbers;
    let [path, argv, ..] = fact.texts;
    ExecFailed {
        path: path.into(),
        argv: ended_by_nul(argv).map(Text::from).collect(),
        argc: low(argc),
        argv_truncated: cut != 0,
        result: signed(result),
    }
}

fn cred_change(fact: &Fact<'_>) -> CredChange {
    let (halves, _none) = fact.numbers.as_chunks::<6>();
    let of = |half: usize| halves.get(half).copied().map(credentials);
    CredChange {
        old: of(0).unwrap_or_default(),
        new: of(1).unwrap_or_default(),
    }
}

fn credentials([real, effective, saved, caps, permitted, inheritable]: [u64; 6]) -> Credentials {
    Credentials {
        uid: low(real >> 32),
        gid: low(real),
        effective_uid: low(effective >> 32),
        effective_gid: low(effective),
        saved_uid: low(saved >> 32),
        saved_gid: low(saved),
        caps_effective: caps,
        caps_permitted: permitted,
        caps_inheritable: inheritable,
        login_uid: None,
        session: None,
    }
}

fn ptrace(fact: &Fact<'_>, boot: &BootId) -> Ptrace {
    let [request, pid, start, result, ..] = fact.numbers;
    Ptrace {
        request: name(REQUESTS, request),
        target_uid: target(boot, pid, start),
        target_pid: low(pid),
        result: Some(signed(result)),
    }
}

fn signal(fact: &Fact<'_>, boot: &BootId) -> Signal {
    let [number, pid, start, result, ..] = fact.numbers;
    Signal {
        number: low(number),
        target_uid: target(boot, pid, start),
        target_pid: signed(pid),
        result: (result != 0).then(|| signed(result)),
    }
}

fn target(boot: &BootId, pid: u64, start_ns: u64) -> Option<ProcessUid> {
    (start_ns != 0).then(|| ProcessUid::derive(boot, low(pid), start_ns))
}

fn mem_exec(fact: &Fact<'_>) -> MemExec {
    let [address, length, protection, call, backing, ..] = fact.numbers;
    let [path, ..] = fact.texts;
    MemExec {
        address,
        length,
        protection: low(protection),
        call: name(MEMORY_CALLS, call),
        backing: name(BACKINGS, backing),
        path: path.into(),
    }
}

fn module(fact: &Fact<'_>) -> Module {
    let [action, result, ..] = fact.numbers;
    let [name_given, path, parameters, _] = fact.texts;
    Module {
        action: name(&["load", "unload"], action),
        name: name_given.into(),
        path: path.into(),
        parameters: parameters.into(),
        result: Some(signed(result)),
    }
}

fn bpf(fact: &Fact<'_>) -> Bpf {
    let [command, kind, instructions, attach, result, ..] = fact.numbers;
    let [program, ..] = fact.texts;
    let is_load = command == PROG_LOAD;
    Bpf {
        action: match command {
            PROG_LOAD => "prog_load".to_owned(),
            PROG_ATTACH => "prog_attach".to_owned(),
            RAW_TRACEPOINT_OPEN => "raw_tracepoint_open".to_owned(),
            LINK_CREATE => "link_create".to_owned(),
            PROG_GET_FD_BY_ID => "prog_get_fd_by_id".to_owned(),
            MAP_GET_FD_BY_ID => "map_get_fd_by_id".to_owned(),
            LINK_GET_FD_BY_ID => "link_get_fd_by_id".to_owned(),
            other => other.to_string(),
        },
        prog_type: if is_load {
            name(PROGRAM_TYPES, kind)
        } else {
            String::new()
        },
        name: program.into(),
        instructions: is_load.then(|| low(instructions)),
        attach_type: attach.to_string(),
        result: Some(signed(result)),
    }
}

fn mount(fact: &Fact<'_>) -> Mount {
    let [call, flags, result, ..] = fact.numbers;
    let [source, target, fs_type, _] = fact.texts;
    Mount {
        action: mount_action(call, flags).to_owned(),
        source: source.into(),
        target: target.into(),
        fs_type: fs_type.into(),
        flags: Some(flags),
        result: Some(signed(result)),
    }
}

/// Names of mount(2): the flags say which of its five uses it is.
fn mount_action(call: u64, flags: u64) -> &'static str {
    match call {
        NR_UMOUNT => "unmount",
        NR_PIVOT_ROOT => "pivot_root",
        NR_MOVE_MOUNT => "move",
        _ if flags & MS_REMOUNT != 0 => "remount",
        _ if flags & MS_BIND != 0 => "bind",
        _ if flags & MS_MOVE != 0 => "move",
        _ => "mount",
    }
}

fn io_uring(fact: &Fact<'_>) -> IoUring {
    let [action, opcode, flags, entries, ..] = fact.numbers;
    let is_setup = action == 0;
    IoUring {
        action: name(&["setup", "submit"], action),
        opcode: if is_setup {
            String::new()
        } else {
            name(OPCODES, opcode)
        },
        flags: is_setup.then(|| low(flags)),
        entries: is_setup.then(|| low(entries)),
    }
}

fn dns(fact: &Fact<'_>) -> Dns {
    let [response, first, second, family, ..] = fact.numbers;
    let [message, ..] = fact.texts;
    let mut bytes = [0; 16];
    for (to, from) in bytes
        .iter_mut()
        .zip(first.to_ne_bytes().into_iter().chain(second.to_ne_bytes()))
    {
        *to = from;
    }
    Dns {
        server_ip: address(u16::try_from(family).unwrap_or(0), bytes),
        response: response != 0,
        ..message::read(message)
    }
}

fn name(names: &[&str], number: u64) -> String {
    let known = usize::try_from(number)
        .ok()
        .and_then(|index| names.get(index));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The lower half.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The lower half, as the signed number that the kernel meant.
fn signed(number: u64) -> i32 {
    low(number).cast_signed()
}

/// `enum reach` of `agent/ebpf/reach.c`.
const REQUESTS: &[&str] = &[
    "attach",
    "seize",
    "traceme",
    "vm_readv",
    "vm_writev",
    "access",
    "limit",
];
const MEMORY_CALLS: &[&str] = &["mprotect", "mmap"];
/// `enum backing` of `agent/ebpf/memory.c`.
const BACKINGS: &[&str] = &["", "anonymous", "memfd", "file"];

const PROG_GET_FD_BY_ID: u64 = 13;
const MAP_GET_FD_BY_ID: u64 = 14;
const LINK_GET_FD_BY_ID: u64 = 30;
const PROG_LOAD: u64 = 5;
const PROG_ATTACH: u64 = 8;
const RAW_TRACEPOINT_OPEN: u64 = 17;
const LINK_CREATE: u64 = 28;

const NR_PIVOT_ROOT: u64 = 155;
const NR_UMOUNT: u64 = 166;
const NR_MOVE_MOUNT: u64 = 429;
const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;

/// `enum bpf_prog_type` (`include/uapi/linux/bpf.h`).
const PROGRAM_TYPES: &[&str] = &[
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

/// `enum io_uring_op` (`include/uapi/linux/io_uring.h`).
const OPCODES: &[&str] = &[
    "nop",
    "readv",
    "writev",
    "fsync",
    "read_fixed",
    "write_fixed",
    "poll_add",
    "poll_remove",
    "sync_file_range",
    "sendmsg",
    "recvmsg",
    "timeout",
    "timeout_remove",
    "accept",
    "async_cancel",
    "link_timeout",
    "connect",
    "fallocate",
    "openat",
    "close",
    "files_update",
    "statx",
    "read",
    "write",
    "fadvise",
    "madvise",
    "send",
    "recv",
    "openat2",
    "epoll_ctl",
    "splice",
    "provide_buffers",
    "remove_buffers",
    "tee",
    "shutdown",
    "renameat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "linkat",
    "msg_ring",
    "fsetxattr",
    "setxattr",
    "fgetxattr",
    "getxattr",
    "socket",
    "uring_cmd",
    "send_zc",
    "sendmsg_zc",
    "read_multishot",
    "waitid",
    "futex_wait",
    "futex_wake",
    "futex_waitv",
    "fixed_fd_install",
    "ftruncate",
    "bind",
    "listen",
    "recv_zc",
    "epoll_wait",
    "readv_fixed",
    "writev_fixed",
    "pipe",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(numbers: &[u64]) -> Fact<'static> {
        let mut all = [0; 12];
        all[..numbers.len()].copy_from_slice(numbers);
        Fact {
            numbers: all,
            texts: [b"first", b"second\0", b"", b""],
        }
    }

    #[test]
    fn a_failed_exec_has_its_error_and_its_arguments() {
        let failed = exec_failed(&fact(&[(-2_i64).cast_unsigned(), 1, 0]));
        assert_eq!((failed.result, failed.argc), (-2, 1));
        assert_eq!(failed.path.as_bytes(), b"first");
        assert_eq!(failed.argv, [Text::from("second")]);
    }

    #[test]
    fn halves_of_a_number_are_user_and_group() {
        let pair = |upper: u64, lower: u64| upper << 32 | lower;
        let numbers = [pair(1, 2), pair(3, 4), pair(5, 6), 7, 8, 9, pair(10, 11)];
        let change = cred_change(&fact(&numbers));
        assert_eq!((change.old.uid, change.old.gid), (1, 2));
        assert_eq!((change.old.effective_uid, change.old.saved_gid), (3, 6));
        assert_eq!((change.new.uid, change.new.gid), (10, 11));
    }

    #[test]
    fn numbers_without_a_name_stay_numbers() {
        assert_eq!(io_uring(&fact(&[1, 5_000])).opcode, "5000");
        assert_eq!(io_uring(&fact(&[1, 18])).opcode, "openat");
        assert_eq!(bpf(&fact(&[PROG_LOAD, 26])).prog_type, "tracing");
        assert_eq!(
            ptrace(&fact(&[u64::MAX]), &BootId::new([0; 16])).request,
            u64::MAX.to_string()
        );
    }

    #[test]
    fn the_flags_of_a_mount_say_which_use_it_is() {
        assert_eq!(mount_action(165, MS_BIND), "bind");
        assert_eq!(mount_action(165, MS_REMOUNT | MS_BIND), "remount");
        assert_eq!(mount_action(NR_UMOUNT, 0), "unmount");
        assert_eq!(mount_action(165, 0), "mount");
    }
}
