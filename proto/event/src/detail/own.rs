//! What the agent says of itself: containment, the sensor's state, missing numbers.

use picket_proto::v1;

use crate::kind::closed_set;
use crate::{CommandId, Kind, ProcessUid, StreamId, Text};

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
    /// Why the host decided so by itself; `None`: operators signed the command.
    pub cause: Option<Box<PolicyCause>>,
}

/// What made the host act, or want to, by its policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyCause {
    /// Of the signed policy.
    pub policy_version: u64,
    /// The policy's entry.
    pub entry: String,
    /// `observe`, `ask` or `act`.
    pub mode: String,
    /// `rule` or `scorer`.
    pub by: String,
    /// The rule's id; empty: none.
    pub id: String,
    /// The rule's title, or the score in words.
    pub title: String,
    /// The process of the event that it rests on.
    pub process: Option<ProcessUid>,
    /// That event's kind.
    pub event_kind: String,
}

impl Containment {
    /// The reason of a receipt that only says what would be done; the host's last word on a dry run.
    pub const DRY_RUN: &str = "dry_run";
    /// The reason of a release by the code that the command's hash belongs to.
    pub const BREAK_GLASS: &str = "break_glass";
    /// The reason when what somebody undid on the host was done again.
    pub const REPAIRED: &str = "repaired";

    /// A receipt that says nothing yet but what became of which command; nobody signed it.
    pub fn new(command_id: CommandId, action: &str, state: ReceiptState) -> Self {
        Self {
            command_id,
            action: action.to_owned(),
            state,
            reason: String::new(),
            effect: String::new(),
            affected: Vec::new(),
            verified: false,
            redelivered: false,
            undo_token: String::new(),
            signers: Vec::new(),
            stated_reason: String::new(),
            cause: None,
        }
    }
}

/// One process, or one object of another kind, that a command was about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Affected {
    /// Which process; `None`: it is an object.
    pub process_uid: Option<ProcessUid>,
    /// Its number; 0: it has none.
    pub pid: u32,
    /// Its executable.
    pub exe: Text,
    /// What it is if it is no process: a path, a user, an address.
    pub object: Text,
    /// `dead`, `alive`, `stopped`, `not_found`, `quarantined`..., as read back.
    pub outcome: String,
}

impl Affected {
    /// What is no process.
    pub fn object(object: Text, outcome: &str) -> Self {
        Self {
            process_uid: None,
            pid: 0,
            exe: Text::NONE,
            object,
            outcome: outcome.to_owned(),
        }
    }
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
    /// Of which earlier run; `None`: of the run that says so.
    pub stream: Option<StreamId>,
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
        /// Acknowledged by a collector, and not at this one: restored from a backup, damaged, or another.
        CollectorLoss = "collector_loss",
    }
}
