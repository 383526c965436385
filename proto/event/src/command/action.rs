//! What a command asks for. Everything that is named, paths, users, networks, is checked for form here.
//!
//! What stays true: no text of a command is ever run; a path is absolute, a user's name is one word.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use picket_proto::v1;
use picket_proto::v1::command_body::Action as Wire;
use picket_seal::Digest;

use crate::trust::ActionClass;
use crate::wire::{digest_bytes, digest_or_none, id};
use crate::{CommandId, EventError, ProcessUid, Text};

/// The longest path that a kernel takes, its end included.
const MAX_PATH: usize = 4096;
/// The longest name of a user.
const MAX_USER: usize = 256;
/// The most networks that stay reachable.
const MAX_ALLOWED: usize = 64;
/// How large a triage may be asked for, in bytes.
pub const TRIAGE_BYTES: RangeInclusive<u64> = 64 << 10..=8 << 20;

/// What to do, and to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// End one process.
    Kill(Target),
    /// End a process and all its descendants, whatever they fork meanwhile.
    KillTree(Target),
    /// Stop a process and all its descendants.
    Suspend(Target),
    /// Let them run again.
    Resume(Target),
    /// Take a file away into the host's vault.
    Quarantine(FileTarget),
    /// Put the file back that this command took away.
    Restore(CommandId),
    /// Cut the host off from everything but its collector.
    Isolate(Isolation),
    /// End the isolation.
    Release,
    /// Let no program of this content start.
    BlockHash(Digest),
    /// Let it start again.
    UnblockHash(Digest),
    /// Let this user in no more and end what they have open.
    LockUser(String),
    /// Let them in again.
    UnlockUser(String),
    /// Send a file to the collector.
    Collect(Collection),
    /// Let the agent's package be removed, for a while.
    AllowRemoval,
    /// Let it be removed no more.
    ForbidRemoval,
    /// Gather what is asked first of a host, at most so many bytes, and send it to the collector.
    Triage(u64),
}

/// One process. The uid decides; the pid only says where to look first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// Which process.
    pub process: ProcessUid,
    /// Its number; 0: not known.
    pub pid: u32,
}

/// One file. Only what has this content and is this inode is meant, where they are given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileTarget {
    /// Where it is.
    pub path: Text,
    /// What it holds.
    pub sha256: Option<Digest>,
    /// Device and inode.
    pub inode: Option<(u64, u64)>,
}

/// How far a host is cut off.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Isolation {
    /// Networks that stay reachable: address and length of the prefix.
    pub allow: Vec<(IpAddr, u8)>,
}

/// Which file to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collection {
    /// Where it is.
    pub path: Text,
    /// A larger one is refused; in bytes.
    pub max_bytes: u64,
}

/// Why an action cannot be asked for so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] EventError),
    /// No path of this host.
    #[error("the path must be absolute, without NUL and shorter than {MAX_PATH} bytes")]
    Path,
    /// No name of a user.
    #[error("`{0}` is no name of a user")]
    User(String),
    /// No network.
    #[error("`{0}` is neither an address nor a network in CIDR form")]
    Network(String),
    /// Too many networks.
    #[error("no more than {MAX_ALLOWED} networks can stay reachable")]
    TooManyNetworks,
    /// No size of a triage.
    #[error("a triage has from 64 KiB to 8 MiB, not {0} bytes")]
    Triage(u64),
}

impl Action {
    /// Its name in the contract.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::KillTree(_) => "kill-tree",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
            Self::Quarantine(_) => "quarantine",
            Self::Restore(_) => "restore",
            Self::Isolate(_) => "isolate",
            Self::Release => "release",
            Self::BlockHash(_) => "block-hash",
            Self::UnblockHash(_) => "unblock-hash",
            Self::LockUser(_) => "lock-user",
            Self::UnlockUser(_) => "unlock-user",
            Self::Collect(_) => "collect",
            Self::AllowRemoval => "allow-removal",
            Self::ForbidRemoval => "forbid-removal",
            Self::Triage(_) => "triage",
        }
    }

    /// Its class, whatever its duration.
    pub(super) const fn class(&self) -> ActionClass {
        match self {
            Self::Kill(_) | Self::KillTree(_) | Self::LockUser(_) | Self::AllowRemoval => {
                ActionClass::Destructive
            }
            Self::Collect(_) | Self::Triage(_) => ActionClass::Read,
            _ => ActionClass::Reversible,
        }
    }

    /// Whether it ends what another command began.
    pub const fn is_undo(&self) -> bool {
        matches!(
            self,
            Self::Resume(_)
                | Self::Restore(_)
                | Self::Release
                | Self::UnblockHash(_)
                | Self::UnlockUser(_)
                | Self::ForbidRemoval
        )
    }

    /// The process it is about.
    pub const fn process(&self) -> Option<Target> {
        match self {
            Self::Kill(target)
            | Self::KillTree(target)
            | Self::Suspend(target)
            | Self::Resume(target) => Some(*target),
            _ => None,
        }
    }

    /// What it is about, for people.
    pub fn object(&self) -> String {
        match self {
            Self::Kill(target)
            | Self::KillTree(target)
            | Self::Suspend(target)
            | Self::Resume(target) => format!("process {} (pid {})", target.process, target.pid),
            Self::Quarantine(file) => format!("file {}", file.path.lossy()),
            Self::Restore(command) => format!("what command {command} took away"),
            Self::Isolate(isolation) if isolation.allow.is_empty() => "the host".to_owned(),
            Self::Isolate(isolation) => format!("the host, but {}", networks(isolation).join(", ")),
            Self::Release => "the host".to_owned(),
            Self::AllowRemoval | Self::ForbidRemoval => "the agent's package".to_owned(),
            Self::BlockHash(hash) | Self::UnblockHash(hash) => format!("programs of {hash}"),
            Self::LockUser(name) | Self::UnlockUser(name) => format!("user {name}"),
            Self::Triage(most) => format!("the host, at most {most} bytes"),
            Self::Collect(what) => {
                format!(
                    "file {}, at most {} bytes",
                    what.path.lossy(),
                    what.max_bytes
                )
            }
        }
    }

    pub(super) fn from_wire(wire: Wire) -> Result<Self, ActionError> {
        Ok(match wire {
            Wire::Kill(it) => Self::Kill(target(&it.process_uid, it.pid)?),
            Wire::KillTree(it) => Self::KillTree(target(&it.process_uid, it.pid)?),
            Wire::Suspend(it) => Self::Suspend(target(&it.process_uid, it.pid)?),
            Wire::Resume(it) => Self::Resume(target(&it.process_uid, it.pid)?),
            Wire::Quarantine(it) => Self::Quarantine(FileTarget {
                path: path(it.path)?,
                sha256: digest_or_none("sha256", &it.sha256)?,
                inode: (it.dev != 0 || it.inode != 0).then_some((it.dev, it.inode)),
            }),
            Wire::Restore(it) => {
                Self::Restore(id("quarantine", &it.quarantine, CommandId::from_slice)?)
            }
            Wire::Isolate(it) => Self::Isolate(Isolation::parse(&it.allow)?),
            Wire::Release(_) => Self::Release,
            Wire::BlockHash(it) => Self::BlockHash(content(&it.sha256)?),
            Wire::UnblockHash(it) => Self::UnblockHash(content(&it.sha256)?),
            Wire::LockUser(it) => Self::LockUser(user(it.name)?),
            Wire::UnlockUser(it) => Self::UnlockUser(user(it.name)?),
            Wire::AllowRemoval(_) => Self::AllowRemoval,
            Wire::ForbidRemoval(_) => Self::ForbidRemoval,
            Wire::Triage(it) if TRIAGE_BYTES.contains(&it.max_bytes) => Self::Triage(it.max_bytes),
            Wire::Triage(it) => return Err(ActionError::Triage(it.max_bytes)),
            Wire::Collect(it) => Self::Collect(Collection {
                path: path(it.path)?,
                max_bytes: it.max_bytes,
            }),
        })
    }

    pub(super) fn to_wire(&self) -> Wire {
        let process = |target: &Target| (target.process.as_bytes().to_vec(), target.pid);
        match self {
            Self::Kill(target) => {
                let (process_uid, pid) = process(target);
                Wire::Kill(v1::Kill { process_uid, pid })
            }
            Self::KillTree(target) => {
                let (process_uid, pid) = process(target);
                Wire::KillTree(v1::KillTree { process_uid, pid })
            }
            Self::Suspend(target) => {
                let (process_uid, pid) = process(target);
                Wire::Suspend(v1::Suspend { process_uid, pid })
            }
            Self::Resume(target) => {
                let (process_uid, pid) = process(target);
                Wire::Resume(v1::Resume { process_uid, pid })
            }
            _ => self.object_to_wire(),
        }
    }

    /// The actions that are about no process.
    fn object_to_wire(&self) -> Wire {
        let hash = |digest: &Digest| digest.as_bytes().to_vec();
        match self {
            Self::Quarantine(file) => {
                let (dev, inode) = file.inode.unwrap_or_default();
                Wire::Quarantine(v1::Quarantine {
                    path: file.path.as_bytes().to_vec(),
                    sha256: digest_bytes(file.sha256),
                    dev,
                    inode,
                })
            }
            Self::Restore(command) => Wire::Restore(v1::Restore {
                quarantine: command.as_bytes().to_vec(),
            }),
            Self::Isolate(isolation) => Wire::Isolate(v1::Isolate {
                allow: networks(isolation),
            }),
            Self::BlockHash(digest) => Wire::BlockHash(v1::BlockHash {
                sha256: hash(digest),
            }),
            Self::UnblockHash(digest) => Wire::UnblockHash(v1::UnblockHash {
                sha256: hash(digest),
            }),
            Self::LockUser(name) => Wire::LockUser(v1::LockUser { name: name.clone() }),
            Self::UnlockUser(name) => Wire::UnlockUser(v1::UnlockUser { name: name.clone() }),
            Self::Collect(what) => Wire::Collect(v1::Collect {
                path: what.path.as_bytes().to_vec(),
                max_bytes: what.max_bytes,
            }),
            Self::AllowRemoval => Wire::AllowRemoval(v1::AllowRemoval {}),
            Self::ForbidRemoval => Wire::ForbidRemoval(v1::ForbidRemoval {}),
            Self::Triage(max_bytes) => Wire::Triage(v1::Triage {
                max_bytes: *max_bytes,
            }),
            _ => Wire::Release(v1::Release {}),
        }
    }
}

impl FileTarget {
    /// A file by its path alone.
    pub fn at(path: &[u8]) -> Result<Self, ActionError> {
        Ok(Self {
            path: self::path(path.to_vec())?,
            sha256: None,
            inode: None,
        })
    }
}

impl Isolation {
    /// From addresses and networks as people write them.
    pub fn parse(allow: &[String]) -> Result<Self, ActionError> {
        if allow.len() > MAX_ALLOWED {
            return Err(ActionError::TooManyNetworks);
        }
        let allow = allow.iter().map(|text| network(text));
        Ok(Self {
            allow: allow.collect::<Result<_, _>>()?,
        })
    }
}

impl Collection {
    /// A file by its path.
    pub fn at(path: &[u8], max_bytes: u64) -> Result<Self, ActionError> {
        Ok(Self {
            path: self::path(path.to_vec())?,
            max_bytes,
        })
    }
}

/// A user's name as a command may have it: one word without what separates fields in account files.
pub fn user(name: String) -> Result<String, ActionError> {
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ':' | '/' | ',');
    let well_formed = !name.starts_with('-') && name.chars().all(fits);
    if name.is_empty() || name.len() > MAX_USER || !well_formed {
        return Err(ActionError::User(name));
    }
    Ok(name)
}

fn networks(isolation: &Isolation) -> Vec<String> {
    let allow = isolation.allow.iter();
    allow.map(|(ip, length)| format!("{ip}/{length}")).collect()
}

fn network(text: &str) -> Result<(IpAddr, u8), ActionError> {
    let wrong = || ActionError::Network(text.to_owned());
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(wrong());
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = match length.map(str::parse::<u8>) {
        None => whole,
        Some(Ok(length)) if length <= whole => length,
        Some(_) => return Err(wrong()),
    };
    Ok((address, length))
}

fn path(bytes: Vec<u8>) -> Result<Text, ActionError> {
    let fits = bytes.first() == Some(&b'/') && bytes.len() < MAX_PATH && !bytes.contains(&0);
    fits.then(|| Text::from(bytes)).ok_or(ActionError::Path)
}

fn content(bytes: &[u8]) -> Result<Digest, ActionError> {
    let digest = digest_or_none("sha256", bytes)?;
    let missing = EventError::Missing { field: "sha256" };
    digest.ok_or(ActionError::Field(missing))
}

fn target(uid: &[u8], pid: u32) -> Result<Target, EventError> {
    Ok(Target {
        process: id("process_uid", uid, ProcessUid::from_slice)?,
        pid,
    })
}
