//! What an event says beyond who acted.

use std::net::IpAddr;

use picket_proto::v1;
use picket_seal::Digest;

use crate::kind::closed_set;
use crate::{CommandId, HashStatus, Kind, ProcessUid, Text};

/// The part of an event that depends on its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A file.
    File(File),
    /// How a process ended.
    Exit(Exit),
    /// A connection.
    Network(Network),
    /// A login.
    Login(Login),
    /// The sensor's ledger.
    Loss(Loss),
    /// What was done about a command.
    Containment(Containment),
    /// The sensor's state.
    Sensor(SensorState),
    /// The new process.
    Fork(Fork),
    /// Lost numbers.
    Gap(Gap),
    /// A file in memory.
    Memfd(Memfd),
}

/// A file, by path and by what the kernel knows it by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct File {
    /// Its path.
    pub path: Text,
    /// Its new path, for renames and links.
    pub new_path: Text,
    /// Inode number.
    pub inode: Option<u64>,
    /// Device: major << 20 | minor.
    pub dev: Option<u64>,
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// SHA-256 before.
    pub sha256_before: Option<Digest>,
    /// SHA-256 after.
    pub sha256_after: Option<Digest>,
    /// What became of the hash.
    pub hash_status: Option<HashStatus>,
    /// Whether it is on the list of secrets.
    pub sensitive: bool,
    /// Flags of `open(2)`.
    pub flags: Option<u32>,
}

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

/// A connection, seen from this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// `tcp` or `udp`.
    pub proto: String,
    /// `outbound` or `inbound`.
    pub direction: String,
    /// This host's address.
    pub local_ip: Option<IpAddr>,
    /// This host's port; 0: not known.
    pub local_port: u32,
    /// The other's address.
    pub remote_ip: Option<IpAddr>,
    /// The other's port; 0: not known.
    pub remote_port: u32,
    /// Bytes received.
    pub bytes_in: Option<u64>,
    /// Bytes sent.
    pub bytes_out: Option<u64>,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// Somebody came, went, failed, or became another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Login {
    /// Who.
    pub user: Text,
    /// `success` or `failure`.
    pub outcome: String,
    /// `sshd`, `sudo`, `su`, `login`...
    pub service: String,
    /// `publickey`, `password`...
    pub method: String,
    /// From which address; empty: local or not known.
    pub source_ip: String,
    /// From which port.
    pub source_port: Option<u32>,
    /// On which terminal.
    pub tty: Text,
    /// By which key, as `SHA256:...`.
    pub key_fingerprint: String,
    /// Audit session.
    pub session: Option<u32>,
    /// The sources that agree.
    pub seen_by: Vec<String>,
    /// Who was become.
    pub target_user: Text,
    /// The command that was run.
    pub command: Text,
    /// The source's name as the record has it.
    pub source_host: Text,
}

/// The sensor's ledger: for each kind, `generated = filtered + aggregated + submitted + lost`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// One line per kind that was ever generated.
    pub kinds: Vec<KindCounts>,
    /// Whether it closes a run.
    pub last: bool,
}

/// One line of the sensor's ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KindCounts {
    /// Of which kind.
    pub kind: Kind,
    /// How many there were.
    pub generated: u64,
    /// Left out on purpose.
    pub filtered: u64,
    /// Counted inside another event.
    pub aggregated: u64,
    /// Handed on.
    pub submitted: u64,
    /// Lost.
    pub lost: u64,
}

impl KindCounts {
    /// A line with nothing on it.
    pub const fn zero(kind: Kind) -> Self {
        Self {
            kind,
            generated: 0,
            filtered: 0,
            aggregated: 0,
            submitted: 0,
            lost: 0,
        }
    }

    /// Whether nothing went missing in silence.
    pub fn balances(&self) -> bool {
        let sum = [self.filtered, self.aggregated, self.submitted, self.lost]
            .into_iter()
            .fold(0_u64, u64::saturating_add);
        self.generated == sum
    }
}

/// What the agent did about a command, or why it did not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Containment {
    /// Which command.
    pub command_id: CommandId,
    /// `kill`, `kill-tree`...
    pub action: String,
    /// What became of it.
    pub state: ReceiptState,
    /// For a refusal, its fixed code.
    pub reason: String,
    /// What was done, for people.
    pub effect: String,
    /// On whom.
    pub affected: Vec<Affected>,
    /// Whether the effect was read back from the kernel.
    pub verified: bool,
    /// Whether this is the stored answer to a command that came again.
    pub redelivered: bool,
    /// How to undo it; empty: it cannot be.
    pub undo_token: String,
    /// Who signed the command.
    pub signers: Vec<String>,
    /// Why, in the operator's words.
    pub stated_reason: String,
}

impl Containment {
    /// The reason of a receipt that only says what would be done; the host's last word on a dry run.
    pub const DRY_RUN: &str = "dry_run";
}

/// One process that a command was about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Affected {
    /// Which process.
    pub process_uid: ProcessUid,
    /// Its number.
    pub pid: u32,
    /// Its executable.
    pub exe: Text,
    /// `dead`, `alive` or `not_found`, as read back.
    pub outcome: String,
}

closed_set! {
    /// What became of a command on a host.
    ReceiptState, ReceiptState {
        /// Checked and about to be done.
        Accepted = "accepted",
        /// Not done; the reason says why.
        Refused = "refused",
        /// Done, and the effect was read back.
        Executed = "executed",
        /// Done in part, or the effect could not be read back.
        Partial = "partial",
        /// Undone.
        Reverted = "reverted",
        /// Came too late.
        Expired = "expired",
    }
}

/// The sensor's state: which hooks work and are proved to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SensorState {
    /// `ebpf` or `portable`.
    pub backend: String,
    /// `started`, `stopped`, `hook_lost`...
    pub change: String,
    /// Each hook.
    pub hooks: Vec<Hook>,
}

/// One hook of the sensor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub state: HookState,
    /// Why not, or how it was proved.
    pub detail: String,
    /// What is used in its place.
    pub instead: String,
}

/// Whether a hook works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HookState {
    /// Its canary came back.
    Proved,
    /// Attached, but its canary has not come back.
    Attached,
    /// Not to be had here.
    Unavailable,
}

impl HookState {
    /// Its name in JSON and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Attached => "attached",
            Self::Unavailable => "unavailable",
        }
    }

    /// The state of this name; anything else is not proved, so it counts as unavailable.
    pub fn from_name(name: &str) -> Self {
        match name {
            "proved" => Self::Proved,
            "attached" => Self::Attached,
            _ => Self::Unavailable,
        }
    }
}

/// The child of a fork.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fork {
    /// Its name.
    pub child_uid: ProcessUid,
    /// Its number.
    pub child_pid: u32,
}

/// Numbers that stand for events which are not here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The first of them.
    pub seq_first: u64,
    /// How many; `None`: nobody knows.
    pub count: Option<u64>,
    /// Why.
    pub reason: GapReason,
    /// How many of which kind, where known.
    pub kinds: Vec<(Kind, u64)>,
}

closed_set! {
    /// Why events are missing.
    GapReason, GapReason {
        /// The kernel's ring was full.
        KernelRing = "kernel_ring",
        /// Shed by a rate limit.
        RateLimit = "rate_limit",
        /// The spool's quota was reached.
        SpoolFull = "spool_full",
        /// Stored bytes were damaged.
        Corrupt = "corrupt",
        /// The agent ended without closing its books.
        Crash = "crash",
        /// Left out by policy after numbering.
        Policy = "policy",
        /// Began and ended between two looks of a sensor that polls: an estimate.
        Sampling = "sampling",
    }
}

/// A file in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Memfd {
    /// The name it was given.
    pub name: Text,
    /// Flags of `memfd_create(2)`.
    pub flags: Option<u32>,
}
