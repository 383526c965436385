//! Processes: how they fail to begin, end, multiply, change and reach into each other.

use crate::{ProcessUid, Text};

/// How a process ended: exactly one of code and signal, where known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it lived, in nanoseconds.
    pub duration_ns: Option<u64>,
}

/// The child of a fork.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fork {
    /// Its name.
    pub child_uid: ProcessUid,
    /// Its number.
    pub child_pid: u32,
}

/// A program that could not be started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExecFailed {
    /// Its path as it was given.
    pub path: Text,
    /// The arguments.
    pub argv: Vec<Text>,
    /// How many there truly were.
    pub argc: u32,
    /// Whether `argv` lacks some of them.
    pub argv_truncated: bool,
    /// A negative errno.
    pub result: i32,
}

/// Credentials before and after, in full.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CredChange {
    /// Before.
    pub old: Credentials,
    /// After.
    pub new: Credentials,
}

/// What the kernel decides by when a process asks for something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective user.
    pub effective_uid: u32,
    /// Effective group.
    pub effective_gid: u32,
    /// Saved user.
    pub saved_uid: u32,
    /// Saved group.
    pub saved_gid: u32,
    /// Effective capabilities, as a bit set.
    pub caps_effective: u64,
    /// Permitted capabilities.
    pub caps_permitted: u64,
    /// Inheritable capabilities.
    pub caps_inheritable: u64,
    /// Audit login uid.
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
}

/// Another process was traced, or its memory was reached into.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ptrace {
    /// `attach`, `seize`, `traceme`, `vm_readv`, `vm_writev` or `mem_open`.
    pub request: String,
    /// Which process; `None`: not known.
    pub target_uid: Option<ProcessUid>,
    /// Its number.
    pub target_pid: u32,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// A signal was sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Signal {
    /// Its number.
    pub number: u32,
    /// To which process; `None`: a group, or not known.
    pub target_uid: Option<ProcessUid>,
    /// To whom, as it was given: negative means a group.
    pub target_pid: i32,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// Memory became executable that is not a mapping of an unchanged file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemExec {
    /// Where it begins.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The `PROT_` bits that were asked for.
    pub protection: u32,
    /// `mprotect` or `mmap`.
    pub call: String,
    /// `anonymous`, `memfd` or `file`.
    pub backing: String,
    /// The file behind it.
    pub path: Text,
}

/// A file in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Memfd {
    /// The name it was given.
    pub name: Text,
    /// Flags of `memfd_create(2)`.
    pub flags: Option<u32>,
}
