//! Picket's words: who acted, what happened, what was judged, what was commanded.
//!
//! Everything that crosses a border becomes one of these types first. Inside, the types are the
//! proof that it was checked.
//!
//! # Invariants
//!
//! - A value made from the wire satisfies its type's documentation, or it was refused with a reason.
//! - Going to the wire and back gives an equal value.
//! - Host text is bytes. It becomes text only in a view, and the view also says the exact bytes.
//! - No socket, no disk, no thread. The only clock is [`SystemClock`], for those who own one.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod audit;
pub mod batch;
pub mod checkpoint;
pub mod command;
pub mod configuration;
pub mod content;
pub mod ecs;
pub mod field;
pub mod filter;
pub mod fleet;
pub mod identity;
pub mod json;
pub mod ocsf;
pub mod policy;
pub mod replacement;
pub mod request;
pub mod statement;
pub mod token;
pub mod trust;

mod detail;
mod event;
mod ids;
mod kind;
mod pem;
mod process;
mod text;
mod time;
mod verdict;
mod wire;

pub use detail::{
    AccountChange, Affected, Bpf, Containment, CredChange, Credentials, Detail, Device, Dns,
    ExecFailed, Exit, File, Fork, Gap, GapReason, Hook, HookState, IoUring, KindCounts, LogLine,
    Login, Loss, LossCause, LostBy, MemExec, Memfd, Module, Mount, Network, PolicyCause, Ptrace,
    ReceiptState, ScheduledJob, Script, SensorState, Signal,
};
pub use event::{Event, Origin};
pub use ids::{BootId, CommandId, HostId, IdError, ProcessUid, StreamId};
pub use kind::{Class, Fidelity, HashStatus, Kind, Severity, Source};
pub use process::{Ancestor, EnvVar, Namespaces, Process, User};
pub use text::Text;
pub use time::{Clock, SystemClock, UnixNanos, parse_duration};
pub use verdict::{
    BackoffLevel, CHANGE_WINDOW, Evidence, MOST_EVIDENCE, Reason, RuleVerdict, ScorerVerdict,
    Verdict,
};
pub use wire::{DecodeError, EventError, Glance};
