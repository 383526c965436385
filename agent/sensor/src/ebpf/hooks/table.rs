//! The table of hooks: their programs and the system calls these look at.
//!
//! # Invariants
//!
//! - No two programs look at the same edge of the same call: where calls have no tracepoints of their own
//!   there is one place for each.

use picket_event::Kind;

use super::{Call, HookSpec, Place, Program};

/// The programs that jump to those of system calls, where a call has no tracepoint of its own.
pub(in crate::ebpf) const DISPATCHERS: &[Program] = &[
    at("on_sys_enter", Place::Tracepoint),
    at("on_sys_exit", Place::Tracepoint),
];

/// Every hook there is.
pub(in crate::ebpf) const HOOKS: &[HookSpec] = &[
    hook("exec", Kind::Exec, &[at("on_exec", Place::Tracepoint)]),
    hook("fork", Kind::Fork, &[at("on_fork", Place::Tracepoint)]),
    hook("exit", Kind::Exit, &[at("on_exit", Place::Tracepoint)]),
    hook(
        "memfd_create",
        Kind::Memfd,
        &[at("on_memfd_create", Place::Return(&[Call::MEMFD_CREATE]))],
    ),
    hook(
        "file_open",
        Kind::FileOpen,
        &[at(
            "on_open",
            Place::Return(&[
                Call::OPEN,
                Call::CREAT,
                Call::OPENAT,
                Call::OPENAT2,
                Call::OPEN_BY_HANDLE_AT,
            ]),
        )],
    ),
    hook(
        "file_close",
        Kind::FileModify,
        &[
            at("on_close", Place::Entry(&[Call::CLOSE])),
            at("on_dup", Place::Entry(&[Call::DUP2, Call::DUP3])),
            at("on_close_range", Place::Entry(&[Call::CLOSE_RANGE])),
        ],
    ),
    hook(
        "file_close_at_exit",
        Kind::FileModify,
        &[at("on_exit_files", Place::Tracepoint)],
    ),
    hook(
        "file_rename",
        Kind::FileRename,
        &[at("on_rename", Place::Return(&[Call::RENAME]))],
    ),
    hook(
        "file_renameat",
        Kind::FileRename,
        &[at(
            "on_renameat",
            Place::Return(&[Call::RENAMEAT, Call::RENAMEAT2]),
        )],
    ),
    hook(
        "file_unlink",
        Kind::FileDelete,
        &[at("on_unlink", Place::Return(&[Call::UNLINK]))],
    ),
    hook(
        "file_unlinkat",
        Kind::FileDelete,
        &[at("on_unlinkat", Place::Return(&[Call::UNLINKAT]))],
    ),
    hook(
        "net_connect",
        Kind::NetConnect,
        &[
            at("on_syn_sent", Place::Tracepoint),
            at("on_connect", Place::Return(&[Call::CONNECT])),
        ],
    ),
    hook(
        "exec_failed",
        Kind::ExecFailed,
        &[
            at("on_execve", Place::Return(&[Call::EXECVE])),
            at("on_execveat", Place::Return(&[Call::EXECVEAT])),
        ],
    ),
    hook(
        "credentials",
        Kind::CredChange,
        &[
            at("on_change_begins", Place::Entry(CHANGES)),
            at("on_change_ends", Place::Return(CHANGES)),
        ],
    ),
    hook(
        "credentials_of_exec",
        Kind::CredChange,
        &[at("on_prepare_exec", Place::Tracepoint)],
    ),
    hook(
        "ptrace",
        Kind::Ptrace,
        &[at(
            "on_ptrace",
            Place::Return(&[
                Call::PTRACE,
                Call::PROCESS_VM_READV,
                Call::PROCESS_VM_WRITEV,
            ]),
        )],
    ),
    hook(
        "signal",
        Kind::Signal,
        &[at("on_signal", Place::Tracepoint)],
    ),
    hook(
        "mem_exec",
        Kind::MemExec,
        &[
            at(
                "on_mprotect",
                Place::Return(&[Call::MPROTECT, Call::PKEY_MPROTECT]),
            ),
            at("on_mmap", Place::Return(&[Call::MMAP])),
        ],
    ),
    hook(
        "module",
        Kind::ModuleLoad,
        &[at(
            "on_module",
            Place::Return(&[Call::INIT_MODULE, Call::FINIT_MODULE, Call::DELETE_MODULE]),
        )],
    ),
    hook(
        "bpf",
        Kind::BpfLoad,
        &[at("on_bpf", Place::Return(&[Call::BPF]))],
    ),
    hook(
        "mount",
        Kind::Mount,
        &[at(
            "on_mount",
            Place::Return(&[
                Call::MOUNT,
                Call::UMOUNT,
                Call::PIVOT_ROOT,
                Call::MOVE_MOUNT,
            ]),
        )],
    ),
    hook(
        "io_uring_setup",
        Kind::IoUring,
        &[at("on_uring_setup", Place::Return(&[Call::IO_URING_SETUP]))],
    ),
    hook(
        "io_uring_submit",
        Kind::IoUring,
        &[at("on_uring_submit", Place::Tracepoint)],
    ),
    hook(
        "file_rmdir",
        Kind::FileDelete,
        &[at("on_rmdir", Place::Return(&[Call::RMDIR]))],
    ),
    hook(
        "file_make",
        Kind::FileCreate,
        &[at(
            "on_make",
            Place::Return(&[Call::MKDIR, Call::MKDIRAT, Call::MKNOD, Call::MKNODAT]),
        )],
    ),
    hook(
        "file_link",
        Kind::FileLink,
        &[at(
            "on_link",
            Place::Return(&[Call::LINK, Call::LINKAT, Call::SYMLINK, Call::SYMLINKAT]),
        )],
    ),
    hook(
        "file_attr",
        Kind::FileAttr,
        &[
            at(
                "on_chmod",
                Place::Return(&[Call::CHMOD, Call::FCHMOD, Call::FCHMODAT, Call::FCHMODAT2]),
            ),
            at(
                "on_chown",
                Place::Return(&[Call::CHOWN, Call::LCHOWN, Call::FCHOWN, Call::FCHOWNAT]),
            ),
            at("on_xattr", Place::Return(XATTRS)),
            at(
                "on_attribute",
                Place::Return(&[Call::TRUNCATE, Call::UTIMENSAT]),
            ),
        ],
    ),
    hook(
        "net_listen",
        Kind::NetListen,
        &[at("on_listen", Place::Return(&[Call::LISTEN]))],
    ),
    hook(
        "net_accept",
        Kind::NetAccept,
        &[at(
            "on_accept",
            Place::Return(&[Call::ACCEPT, Call::ACCEPT4]),
        )],
    ),
    hook(
        "net_close",
        Kind::NetClose,
        &[at("on_tcp_close", Place::Tracepoint)],
    ),
    hook(
        "dns",
        Kind::Dns,
        &[
            at(
                "on_dns_asked",
                Place::Entry(&[Call::SENDTO, Call::SENDMSG, Call::SENDMMSG]),
            ),
            at(
                "on_dns_answered",
                Place::Return(&[Call::RECVFROM, Call::RECVMSG]),
            ),
        ],
    ),
    hook(
        "io_uring_file_open",
        Kind::FileOpen,
        &[at(
            "on_open_done",
            Place::Function(&["do_filp_open", "do_file_open"]),
        )],
    ),
    hook(
        "io_uring_file_close",
        Kind::FileModify,
        &[at("on_close_beyond", Place::Function(&["filp_close"]))],
    ),
    hook(
        "io_uring_file_delete",
        Kind::FileDelete,
        &[
            at(
                "on_unlink_asked",
                Place::Function(&["security_path_unlink"]),
            ),
            at("on_unlink_done", Place::Function(&["vfs_unlink"])),
            at("on_rmdir_asked", Place::Function(&["security_path_rmdir"])),
            at("on_rmdir_done", Place::Function(&["vfs_rmdir"])),
        ],
    ),
    hook(
        "io_uring_file_rename",
        Kind::FileRename,
        &[
            at(
                "on_rename_asked",
                Place::Function(&["security_path_rename"]),
            ),
            at("on_rename_done", Place::Function(&["vfs_rename"])),
        ],
    ),
    hook(
        "io_uring_file_make",
        Kind::FileCreate,
        &[
            at("on_mkdir_asked", Place::Function(&["security_path_mkdir"])),
            at("on_mkdir_done", Place::Function(&["vfs_mkdir"])),
        ],
    ),
    hook(
        "io_uring_file_link",
        Kind::FileLink,
        &[
            at("on_link_asked", Place::Function(&["security_path_link"])),
            at("on_link_done", Place::Function(&["vfs_link"])),
            at(
                "on_symlink_asked",
                Place::Function(&["security_path_symlink"]),
            ),
            at("on_symlink_done", Place::Function(&["vfs_symlink"])),
        ],
    ),
    hook(PROTECT, Kind::Signal, GUARDS),
    hook(BLOCK, Kind::ExecFailed, &[at("block_exec", Place::Block)]),
];

/// The hook that refuses what is done to the agent.
pub(in crate::ebpf) const PROTECT: &str = "protect";
/// The hook that refuses to run files of a blocked content.
pub(in crate::ebpf) const BLOCK: &str = "block";

const GUARDS: &[Program] = &[
    at("guard_signal", Place::Guard),
    at("guard_reach", Place::Guard),
    at("guard_limit", Place::Guard),
    at("guard_open", Place::Guard),
    at("guard_flags", Place::Guard),
    at("guard_mode", Place::Guard),
    at("guard_owner", Place::Guard),
    at("guard_size", Place::Guard),
    at("guard_unlink", Place::Guard),
    at("guard_rmdir", Place::Guard),
    at("guard_mkdir", Place::Guard),
    at("guard_mknod", Place::Guard),
    at("guard_symlink", Place::Guard),
    at("guard_rename", Place::Guard),
    at("guard_link", Place::Guard),
    at("guard_mount", Place::Guard),
    at("guard_move_mount", Place::Guard),
    at("guard_bpf", Place::Guard),
];

/// What changes a process's credentials.
const CHANGES: &[Call] = &[
    Call::SETUID,
    Call::SETGID,
    Call::SETREUID,
    Call::SETREGID,
    Call::SETRESUID,
    Call::SETRESGID,
    Call::CAPSET,
];

/// What changes extended attributes.
const XATTRS: &[Call] = &[
    Call::SETXATTR,
    Call::LSETXATTR,
    Call::FSETXATTR,
    Call::REMOVEXATTR,
    Call::LREMOVEXATTR,
    Call::FREMOVEXATTR,
];

const fn hook(name: &'static str, kind: Kind, programs: &'static [Program]) -> HookSpec {
    HookSpec {
        name,
        kind,
        programs,
    }
}

const fn at(name: &'static str, place: Place) -> Program {
    Program { name, place }
}

/// By their numbers on x86-64. The kernel programs that serve several calls know them too.
impl Call {
    pub(in crate::ebpf) const OPEN: Self = Self::new(2, "open");
    pub(in crate::ebpf) const CLOSE: Self = Self::new(3, "close");
    pub(in crate::ebpf) const MMAP: Self = Self::new(9, "mmap");
    pub(in crate::ebpf) const MPROTECT: Self = Self::new(10, "mprotect");
    pub(in crate::ebpf) const DUP2: Self = Self::new(33, "dup2");
    pub(in crate::ebpf) const CONNECT: Self = Self::new(42, "connect");
    pub(in crate::ebpf) const ACCEPT: Self = Self::new(43, "accept");
    pub(in crate::ebpf) const SENDTO: Self = Self::new(44, "sendto");
    pub(in crate::ebpf) const RECVFROM: Self = Self::new(45, "recvfrom");
    pub(in crate::ebpf) const SENDMSG: Self = Self::new(46, "sendmsg");
    pub(in crate::ebpf) const RECVMSG: Self = Self::new(47, "recvmsg");
    pub(in crate::ebpf) const LISTEN: Self = Self::new(50, "listen");
    pub(in crate::ebpf) const EXECVE: Self = Self::new(59, "execve");
    pub(in crate::ebpf) const TRUNCATE: Self = Self::new(76, "truncate");
    pub(in crate::ebpf) const RENAME: Self = Self::new(82, "rename");
    pub(in crate::ebpf) const MKDIR: Self = Self::new(83, "mkdir");
    pub(in crate::ebpf) const RMDIR: Self = Self::new(84, "rmdir");
    pub(in crate::ebpf) const CREAT: Self = Self::new(85, "creat");
    pub(in crate::ebpf) const LINK: Self = Self::new(86, "link");
    pub(in crate::ebpf) const UNLINK: Self = Self::new(87, "unlink");
    pub(in crate::ebpf) const SYMLINK: Self = Self::new(88, "symlink");
    pub(in crate::ebpf) const CHMOD: Self = Self::new(90, "chmod");
    pub(in crate::ebpf) const FCHMOD: Self = Self::new(91, "fchmod");
    pub(in crate::ebpf) const CHOWN: Self = Self::new(92, "chown");
    pub(in crate::ebpf) const FCHOWN: Self = Self::new(93, "fchown");
    pub(in crate::ebpf) const LCHOWN: Self = Self::new(94, "lchown");
    pub(in crate::ebpf) const PTRACE: Self = Self::new(101, "ptrace");
    pub(in crate::ebpf) const SETUID: Self = Self::new(105, "setuid");
    pub(in crate::ebpf) const SETGID: Self = Self::new(106, "setgid");
    pub(in crate::ebpf) const SETREUID: Self = Self::new(113, "setreuid");
    pub(in crate::ebpf) const SETREGID: Self = Self::new(114, "setregid");
    pub(in crate::ebpf) const SETRESUID: Self = Self::new(117, "setresuid");
    pub(in crate::ebpf) const SETRESGID: Self = Self::new(119, "setresgid");
    pub(in crate::ebpf) const CAPSET: Self = Self::new(126, "capset");
    pub(in crate::ebpf) const MKNOD: Self = Self::new(133, "mknod");
    pub(in crate::ebpf) const PIVOT_ROOT: Self = Self::new(155, "pivot_root");
    pub(in crate::ebpf) const MOUNT: Self = Self::new(165, "mount");
    pub(in crate::ebpf) const UMOUNT: Self = Self::new(166, "umount");
    pub(in crate::ebpf) const INIT_MODULE: Self = Self::new(175, "init_module");
    pub(in crate::ebpf) const DELETE_MODULE: Self = Self::new(176, "delete_module");
    pub(in crate::ebpf) const SETXATTR: Self = Self::new(188, "setxattr");
    pub(in crate::ebpf) const LSETXATTR: Self = Self::new(189, "lsetxattr");
    pub(in crate::ebpf) const FSETXATTR: Self = Self::new(190, "fsetxattr");
    pub(in crate::ebpf) const REMOVEXATTR: Self = Self::new(197, "removexattr");
    pub(in crate::ebpf) const LREMOVEXATTR: Self = Self::new(198, "lremovexattr");
    pub(in crate::ebpf) const FREMOVEXATTR: Self = Self::new(199, "fremovexattr");
    pub(in crate::ebpf) const OPENAT: Self = Self::new(257, "openat");
    pub(in crate::ebpf) const MKDIRAT: Self = Self::new(258, "mkdirat");
    pub(in crate::ebpf) const MKNODAT: Self = Self::new(259, "mknodat");
    pub(in crate::ebpf) const FCHOWNAT: Self = Self::new(260, "fchownat");
    pub(in crate::ebpf) const UNLINKAT: Self = Self::new(263, "unlinkat");
    pub(in crate::ebpf) const RENAMEAT: Self = Self::new(264, "renameat");
    pub(in crate::ebpf) const LINKAT: Self = Self::new(265, "linkat");
    pub(in crate::ebpf) const SYMLINKAT: Self = Self::new(266, "symlinkat");
    pub(in crate::ebpf) const FCHMODAT: Self = Self::new(268, "fchmodat");
    pub(in crate::ebpf) const UTIMENSAT: Self = Self::new(280, "utimensat");
    pub(in crate::ebpf) const ACCEPT4: Self = Self::new(288, "accept4");
    pub(in crate::ebpf) const DUP3: Self = Self::new(292, "dup3");
    pub(in crate::ebpf) const OPEN_BY_HANDLE_AT: Self = Self::new(304, "open_by_handle_at");
    pub(in crate::ebpf) const SENDMMSG: Self = Self::new(307, "sendmmsg");
    pub(in crate::ebpf) const PROCESS_VM_READV: Self = Self::new(310, "process_vm_readv");
    pub(in crate::ebpf) const PROCESS_VM_WRITEV: Self = Self::new(311, "process_vm_writev");
    pub(in crate::ebpf) const FINIT_MODULE: Self = Self::new(313, "finit_module");
    pub(in crate::ebpf) const RENAMEAT2: Self = Self::new(316, "renameat2");
    pub(in crate::ebpf) const MEMFD_CREATE: Self = Self::new(319, "memfd_create");
    pub(in crate::ebpf) const BPF: Self = Self::new(321, "bpf");
    pub(in crate::ebpf) const EXECVEAT: Self = Self::new(322, "execveat");
    pub(in crate::ebpf) const PKEY_MPROTECT: Self = Self::new(329, "pkey_mprotect");
    pub(in crate::ebpf) const IO_URING_SETUP: Self = Self::new(425, "io_uring_setup");
    pub(in crate::ebpf) const MOVE_MOUNT: Self = Self::new(429, "move_mount");
    pub(in crate::ebpf) const CLOSE_RANGE: Self = Self::new(436, "close_range");
    pub(in crate::ebpf) const OPENAT2: Self = Self::new(437, "openat2");
    pub(in crate::ebpf) const FCHMODAT2: Self = Self::new(452, "fchmodat2");

    const fn new(number: u32, name: &'static str) -> Self {
        Self { number, name }
    }
}
