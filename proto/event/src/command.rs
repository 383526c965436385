//! Commands as operators sign them, checked for form. Whether they are believed is [`crate::trust`].

use picket_proto::v1;
use picket_proto::v1::command_body::Action as WireAction;
use picket_seal::Digest;
use prost::Message;

use crate::wire::{digest_or_none, id, known};
use crate::{CommandId, EventError, HostId, ProcessUid, UnixNanos, trust};

/// Largest signed command, in bytes.
pub const MAX_COMMAND_BYTES: usize = 64 << 10;

/// A command whose form is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// The hosts it is for.
    pub hosts: Vec<HostId>,
    /// The agent's state generation it is for; 0: any.
    pub host_epoch: u64,
    /// Not to be done before.
    pub not_before: UnixNanos,
    /// Not to be done after.
    pub expires: UnixNanos,
    /// Whether to act or only to say what would be done.
    pub mode: Mode,
    /// The executable must still have this hash.
    pub exe_sha256: Option<Digest>,
    /// What to do.
    pub action: Action,
    /// Why, in the operator's words.
    pub reason: String,
    /// For which incident.
    pub incident: String,
}

/// Whether to act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Say what would be done.
    DryRun,
    /// Act.
    Enforce,
}

/// What to do, and to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// End one process.
    Kill(Target),
    /// End a process and all its descendants, whatever they fork meanwhile.
    KillTree(Target),
}

/// One process. The uid decides; the pid only says where to look first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// Which process.
    pub process: ProcessUid,
    /// Its number; 0: not known.
    pub pid: u32,
}

impl Action {
    /// Its name in the contract.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::KillTree(_) => "kill-tree",
        }
    }

    /// The class whose threshold its signatures must meet.
    pub const fn class(&self) -> trust::ActionClass {
        match self {
            Self::Kill(_) | Self::KillTree(_) => trust::ActionClass::Destructive,
        }
    }

    /// The process it is about.
    pub const fn target(&self) -> Target {
        match self {
            Self::Kill(target) | Self::KillTree(target) => *target,
        }
    }
}

/// Why bytes are not a command.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// Not a message.
    #[error("the command cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// A field is wrong.
    #[error("a field of the command is wrong")]
    Field(#[source] EventError),
    /// No action that this version knows.
    #[error("the command holds no action that this version knows")]
    NoAction,
    /// The number of hosts is not the one that was signed.
    #[error("the command names {named} hosts but says {said}")]
    HostCount {
        /// Hosts in the list.
        named: usize,
        /// The signed number.
        said: u32,
    },
}

impl Command {
    /// From the exact bytes that were signed.
    pub fn decode(body: &[u8]) -> Result<Self, CommandError> {
        let wire = v1::CommandBody::decode(body).map_err(CommandError::Decode)?;
        Self::from_wire(wire)
    }

    fn from_wire(wire: v1::CommandBody) -> Result<Self, CommandError> {
        if usize::try_from(wire.host_count) != Ok(wire.host_ids.len()) {
            let named = wire.host_ids.len();
            return Err(CommandError::HostCount {
                named,
                said: wire.host_count,
            });
        }
        let hosts = wire
            .host_ids
            .iter()
            .map(|host| id("host_ids", host, HostId::from_slice));
        let pre = wire.pre.unwrap_or_default();
        Ok(Self {
            id: id("command_id", &wire.command_id, CommandId::from_slice)
                .map_err(CommandError::Field)?,
            hosts: hosts
                .collect::<Result<_, _>>()
                .map_err(CommandError::Field)?,
            host_epoch: wire.host_epoch,
            not_before: UnixNanos(wire.not_before_unix_ns),
            expires: UnixNanos(wire.expires_unix_ns),
            mode: known("mode", wire.mode, Mode::from_wire).map_err(CommandError::Field)?,
            exe_sha256: digest_or_none("pre.exe_sha256", &pre.exe_sha256)
                .map_err(CommandError::Field)?,
            action: action(wire.action.ok_or(CommandError::NoAction)?)
                .map_err(CommandError::Field)?,
            reason: wire.reason,
            incident: wire.incident,
        })
    }

    /// The bytes to sign. Encoded once; from then on only these bytes count.
    pub fn encode(&self) -> Vec<u8> {
        let exe_sha256 = self
            .exe_sha256
            .map(|hash| hash.as_bytes().to_vec())
            .unwrap_or_default();
        v1::CommandBody {
            command_id: self.id.as_bytes().to_vec(),
            host_ids: self
                .hosts
                .iter()
                .map(|host| host.as_bytes().to_vec())
                .collect(),
            host_count: u32::try_from(self.hosts.len()).unwrap_or(u32::MAX),
            host_epoch: self.host_epoch,
            not_before_unix_ns: self.not_before.0,
            expires_unix_ns: self.expires.0,
            mode: self.mode.to_wire(),
            pre: Some(v1::Precondition { exe_sha256 }),
            reason: self.reason.clone(),
            incident: self.incident.clone(),
            action: Some(action_to_wire(&self.action)),
        }
        .encode_to_vec()
    }
}

impl Mode {
    fn from_wire(number: i32) -> Option<Self> {
        match v1::Mode::try_from(number) {
            Ok(v1::Mode::DryRun) => Some(Self::DryRun),
            Ok(v1::Mode::Enforce) => Some(Self::Enforce),
            _ => None,
        }
    }

    const fn to_wire(self) -> i32 {
        match self {
            Self::DryRun => v1::Mode::DryRun as i32,
            Self::Enforce => v1::Mode::Enforce as i32,
        }
    }
}

fn action(wire: WireAction) -> Result<Action, EventError> {
    Ok(match wire {
        WireAction::Kill(kill) => Action::Kill(target(&kill.process_uid, kill.pid)?),
        WireAction::KillTree(tree) => Action::KillTree(target(&tree.process_uid, tree.pid)?),
    })
}

fn target(uid: &[u8], pid: u32) -> Result<Target, EventError> {
    Ok(Target {
        process: id("process_uid", uid, ProcessUid::from_slice)?,
        pid,
    })
}

fn action_to_wire(action: &Action) -> WireAction {
    let Target { process, pid } = action.target();
    let process_uid = process.as_bytes().to_vec();
    match action {
        Action::Kill(_) => WireAction::Kill(v1::Kill { process_uid, pid }),
        Action::KillTree(_) => WireAction::KillTree(v1::KillTree { process_uid, pid }),
    }
}
