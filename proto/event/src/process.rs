//! A process as it was when it acted.

use std::sync::Arc;

use picket_seal::Digest;

use crate::{Fidelity, HashStatus, ProcessUid, Text, UnixNanos};

/// Who acted. Texts that are empty and options that are `None` are not known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its name for ever.
    pub uid: ProcessUid,
    /// Its number in the initial pid namespace.
    pub pid: u32,
    /// Its parent's number.
    pub ppid: u32,
    /// Its parent's name.
    pub parent_uid: Option<ProcessUid>,
    /// The executable's path.
    pub exe: Text,
    /// The arguments, in exec events.
    pub argv: Vec<Text>,
    /// How many arguments there truly were; 0: not known.
    pub argc: u32,
    /// The true length of all arguments with their final NULs, in bytes.
    pub argv_bytes: u64,
    /// Whether `argv` lacks some of them.
    pub argv_truncated: bool,
    /// If it does: how many of `argv` stand before what was left out.
    pub argv_omitted_at: u32,
    /// Working directory.
    pub cwd: Text,
    /// Its real user.
    pub user: Option<User>,
    /// The user who logged in, through every sudo since (audit login uid).
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
    /// Controlling terminal, as `pts/0`.
    pub tty: Text,
    /// When the process began.
    pub start_time: Option<UnixNanos>,
    /// SHA-256 of the executable.
    pub sha256: Option<Digest>,
    /// What became of the hash.
    pub hash_status: Option<HashStatus>,
    /// Container id, 64 hexadecimal digits or as its runtime names it.
    pub container: Option<String>,
    /// Control group path (version 2, or the most telling one of version 1).
    pub cgroup: Text,
    /// Namespaces, as inode numbers.
    pub ns: Option<Namespaces>,
    /// Effective capabilities, as a bit set.
    pub caps: Option<u64>,
    /// Whether the executable has no name in any directory.
    pub memfd: bool,
    /// Environment variables of the allow-list, in exec events.
    pub env: Vec<EnvVar>,
    /// Its parent, its parent's parent and so on; shared by the events of siblings.
    pub ancestry: Arc<[Ancestor]>,
    /// How exactly all this is known.
    pub fidelity: Option<Fidelity>,
    /// The kernel's short name of it.
    pub comm: Text,
    /// The file given to exec, where the executable is only its interpreter.
    pub script: Text,
    /// Effective user.
    pub effective_uid: Option<u32>,
    /// Real group.
    pub gid: Option<u32>,
    /// Effective group.
    pub effective_gid: Option<u32>,
}

impl Process {
    /// A process of which nothing but the identity is known.
    pub fn new(uid: ProcessUid, pid: u32) -> Self {
        Self {
            uid,
            pid,
            ppid: 0,
            parent_uid: None,
            exe: Text::NONE,
            argv: Vec::new(),
            argc: 0,
            argv_bytes: 0,
            argv_truncated: false,
            argv_omitted_at: 0,
            cwd: Text::NONE,
            user: None,
            login_uid: None,
            session: None,
            tty: Text::NONE,
            start_time: None,
            sha256: None,
            hash_status: None,
            container: None,
            cgroup: Text::NONE,
            ns: None,
            caps: None,
            memfd: false,
            env: Vec::new(),
            ancestry: Arc::default(),
            fidelity: None,
            comm: Text::NONE,
            script: Text::NONE,
            effective_uid: None,
            gid: None,
            effective_gid: None,
        }
    }

    /// The arguments joined by single spaces, as Sigma's `CommandLine` has them.
    pub fn command_line(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.argv.iter().map(Text::as_bytes).collect();
        parts.join(&b' ')
    }
}

/// A user by number, and by name where it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Numeric id.
    pub uid: u32,
    /// Login name; empty: not known.
    pub name: Text,
}

/// Inode numbers of a process's namespaces; 0: not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Namespaces {
    /// Of process ids.
    pub pid: u32,
    /// Of mounts.
    pub mnt: u32,
    /// Of the network.
    pub net: u32,
    /// Of users.
    pub user: u32,
}

/// One environment variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvVar {
    /// Before the first `=`.
    pub name: Text,
    /// After it.
    pub value: Text,
}

/// One step up the tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ancestor {
    /// Its name for ever.
    pub uid: ProcessUid,
    /// Its number.
    pub pid: u32,
    /// Its executable.
    pub exe: Text,
}
