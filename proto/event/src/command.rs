//! Commands as operators sign them, checked for form. Whether they are believed is [`crate::trust`].

use std::time::Duration;

use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;

use crate::trust::ActionClass;
use crate::wire::{digest_bytes, digest_or_none, id, known};
use crate::{CommandId, EventError, HostId, UnixNanos};

mod action;
mod break_glass;
mod hosts;
#[cfg(test)]
mod tests;

pub use action::{
    Action, ActionError, Collection, FileTarget, Isolation, TRIAGE_BYTES, Target, user,
};
pub use break_glass::{BreakGlass, NoCode};
pub use hosts::{HostSet, HostSetError, HostTree, MAX_HOST_SET, Missing};

/// Largest signed command, in bytes.
pub const MAX_COMMAND_BYTES: usize = 64 << 10;

/// A reversible effect that lasts longer, or has no end, is judged as one that cannot be undone.
pub const MAX_REVERSIBLE: Duration = Duration::from_hours(4);

/// More hosts than this are a fleet.
pub const FLEET: usize = 10;

/// Rings that a command may have.
pub const MAX_RINGS: usize = 16;

/// A removal of the package is allowed for so long at most.
pub const MAX_REMOVAL: Duration = Duration::from_hours(24);

/// An effect undoes itself after this time at the latest, if it does at all.
pub const MAX_AUTO_RELEASE: Duration = Duration::from_hours(30 * 24);

/// A command whose form is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// The hosts it is for; of one with their root none, where only its bytes are known.
    pub hosts: Vec<HostId>,
    /// Their root, where that is signed in place of the hosts themselves.
    pub host_set: Option<HostSet>,
    /// The agent's state generation it is for; 0: any.
    pub host_epoch: u64,
    /// Not to be done before.
    pub not_before: UnixNanos,
    /// Not to be done after.
    pub expires: UnixNanos,
    /// Whether to act or only to say what would be done.
    pub mode: Mode,
    /// After which time a reversible effect undoes itself; `None`: it does not.
    pub auto_release: Option<Duration>,
    /// The executable must still have this hash.
    pub exe_sha256: Option<Digest>,
    /// What to do.
    pub action: Action,
    /// Why, in the operator's words.
    pub reason: String,
    /// For which incident.
    pub incident: String,
    /// Of the dry run's receipts that the approvers saw.
    pub dry_run_digest: Option<Digest>,
    /// Of the code that releases on the host itself.
    pub break_glass: Option<Digest>,
    /// How many of the hosts, in their order, are in the rings up to each; empty: all are to act at once.
    pub rings: Vec<u32>,
}

/// Whether to act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Say what would be done.
    DryRun,
    /// Act.
    Enforce,
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
    /// What it asks for cannot be asked for so.
    #[error("the action is malformed")]
    Action(#[source] ActionError),
    /// Too long.
    #[error("an effect that undoes itself does so within 30 days")]
    AutoRelease,
    /// No action that this version knows.
    #[error("the command holds no action that this version knows")]
    NoAction,
    /// Rings that do not hold each host once.
    #[error("the rings do not hold each host once, or are more than {MAX_RINGS}")]
    Rings,
    /// The number of hosts is not the one that was signed.
    #[error("the command names {named} hosts but says {said}")]
    HostCount {
        /// Hosts in the list.
        named: usize,
        /// The signed number.
        said: u32,
    },
    /// The hosts are not those of the root, or it is none.
    #[error("the hosts of the command are not those that were signed")]
    Hosts(#[source] HostSetError),
}

impl Command {
    /// From the exact bytes that were signed.
    pub fn decode(body: &[u8]) -> Result<Self, CommandError> {
        let wire = v1::CommandBody::decode(body).map_err(CommandError::Decode)?;
        Self::from_wire(wire)
    }

    /// From what operators and their collector hold: the exact bytes, and beside them the hosts if those name only their root.
    ///
    /// Fails with [`CommandError::Hosts`] also where the hosts give another root, are missing, or belong to no root.
    pub fn read(signed: &v1::SignedCommand) -> Result<Self, CommandError> {
        let mut command = Self::decode(&signed.body)?;
        if let Some(tree) = command.tree_of(&signed.host_ids)? {
            command.hosts = tree.into_hosts();
        }
        Ok(command)
    }

    /// The tree of these hosts, which are those of the root; `None`: the command lists its hosts itself.
    ///
    /// Fails as [`Command::read`].
    pub fn tree_of(&self, host_ids: &[Vec<u8>]) -> Result<Option<HostTree>, CommandError> {
        let wrong = |error| Err(CommandError::Hosts(error));
        let Some(HostSet { root, count }) = self.host_set else {
            let stray = !host_ids.is_empty();
            return if stray {
                wrong(HostSetError::Stray)
            } else {
                Ok(None)
            };
        };
        match host_ids.len() {
            0 => return wrong(HostSetError::NoList),
            many if many > MAX_HOST_SET => return wrong(HostSetError::Size(many)),
            _ => {}
        }
        let hosts = host_ids.iter().map(|host| HostId::from_slice(host));
        let hosts = hosts.collect::<Result<Vec<_>, _>>();
        let hosts = hosts.map_err(|_length| CommandError::Hosts(HostSetError::Id))?;
        let tree = HostTree::of(hosts, &self.rings).map_err(CommandError::Hosts)?;
        let got = tree.set();
        if (got.root, got.count) == (root, count) {
            return Ok(Some(tree));
        }
        wrong(HostSetError::OtherHosts {
            signed: root,
            count,
            got: got.root,
            hosts: got.count,
        })
    }

    /// The same command with the root of its hosts in place of them, in the order of the tree.
    ///
    /// Fails with [`HostSetError::Size`] or [`HostSetError::Order`], the latter where a host is named twice.
    pub fn by_root(mut self) -> Result<Self, HostSetError> {
        let tree = HostTree::sorting(self.hosts, &self.rings)?;
        self.host_set = Some(tree.set());
        self.hosts = tree.into_hosts();
        Ok(self)
    }

    /// The hosts that go beside the bytes, to a collector; none where the bytes list them.
    pub fn beside(&self) -> Vec<Vec<u8>> {
        let hosts = self.host_set.map_or(&[][..], |_| &self.hosts);
        hosts.iter().map(|host| host.as_bytes().to_vec()).collect()
    }

    /// For how many hosts it is, as it is signed.
    pub fn host_count(&self) -> usize {
        let count = self.host_set.map(|set| usize::try_from(set.count));
        count.map_or(self.hosts.len(), |count| count.unwrap_or(usize::MAX))
    }

    /// Whether the command is for this host, by its list or by what the host is shown: the ring that it is in, from 1; 0: there are
    /// none. `None`: it is for others.
    pub fn ring_for(&self, host: &HostId, proof: Option<&v1::HostProof>) -> Option<u32> {
        match &self.host_set {
            Some(set) => set.ring_shown(&self.rings, host, proof).ok(),
            None if self.rings.is_empty() => self.hosts.contains(host).then_some(0),
            None => self.ring_of(host),
        }
    }

    fn from_wire(wire: v1::CommandBody) -> Result<Self, CommandError> {
        let host_set = host_set(&wire)?;
        if host_set.is_none() && usize::try_from(wire.host_count) != Ok(wire.host_ids.len()) {
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
            host_set,
            host_epoch: wire.host_epoch,
            not_before: UnixNanos(wire.not_before_unix_ns),
            expires: UnixNanos(wire.expires_unix_ns),
            mode: known("mode", wire.mode, Mode::from_wire).map_err(CommandError::Field)?,
            exe_sha256: digest_or_none("pre.exe_sha256", &pre.exe_sha256)
                .map_err(CommandError::Field)?,
            auto_release: auto_release(wire.auto_release_ms)?,
            action: Action::from_wire(wire.action.ok_or(CommandError::NoAction)?)
                .map_err(CommandError::Action)?,
            reason: wire.reason,
            incident: wire.incident,
            dry_run_digest: digest_or_none("dry_run_digest", &wire.dry_run_digest)
                .map_err(CommandError::Field)?,
            break_glass: digest_or_none("break_glass_hash", &wire.break_glass_hash)
                .map_err(CommandError::Field)?,
            rings: rings(wire.ring_ends, wire.host_count)?,
        })
    }

    /// The class of the action on one host, whose threshold its signatures must meet.
    ///
    /// What could be undone but has no near end counts as what cannot be undone. Who only looks, only reads.
    pub fn class(&self) -> ActionClass {
        if self.mode == Mode::DryRun {
            return ActionClass::Read;
        }
        match self.action.class() {
            ActionClass::Reversible if self.lasts() => ActionClass::Destructive,
            class => class,
        }
    }

    /// The ring that a host is in, from 1; `None`: the command has no rings, or is not for this host.
    pub fn ring_of(&self, host: &HostId) -> Option<u32> {
        let at = match self.host_set {
            Some(_) => hosts::find(
                &self.hosts,
                &hosts::ends(&self.rings, self.hosts.len()),
                host,
            )?,
            None => self.hosts.iter().position(|one| one == host)?,
        };
        let at = u32::try_from(at).ok()?;
        let ring = self.rings.iter().position(|end| at < *end)?;
        u32::try_from(ring).ok()?.checked_add(1)
    }

    /// The hosts of a ring, from 1.
    pub fn hosts_of_ring(&self, ring: u32) -> &[HostId] {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let Some(last) = ring.checked_sub(1).map(place) else {
            return &[];
        };
        let end = self.rings.get(last).copied().map_or(0, place);
        let before = last
            .checked_sub(1)
            .and_then(|before| self.rings.get(before));
        let begin = before.copied().map_or(0, place);
        self.hosts.get(begin..end).unwrap_or_default()
    }

    /// Every class whose threshold must be met: its own, and the fleet's if it is for many hosts.
    pub fn classes(&self) -> impl Iterator<Item = ActionClass> {
        let acts = self.mode == Mode::Enforce;
        let fleet = (acts && self.host_count() > FLEET).then_some(ActionClass::Fleet);
        [self.class()].into_iter().chain(fleet)
    }

    /// Whether its effect has no near end. Files and blocked programs harm nobody by staying so.
    fn lasts(&self) -> bool {
        matches!(self.action, Action::Isolate(_) | Action::Suspend(_))
            && self.auto_release.is_none_or(|after| after > MAX_REVERSIBLE)
    }

    /// The bytes to sign. Encoded once; from then on only these bytes count.
    pub fn encode(&self) -> Vec<u8> {
        let exe_sha256 = digest_bytes(self.exe_sha256);
        let auto_release = self.auto_release.unwrap_or_default().as_millis();
        let listed = self.hosts.iter().filter(|_| self.host_set.is_none());
        v1::CommandBody {
            command_id: self.id.as_bytes().to_vec(),
            host_ids: listed.map(|host| host.as_bytes().to_vec()).collect(),
            host_set_root: digest_bytes(self.host_set.map(|set| set.root)),
            host_count: u32::try_from(self.host_count()).unwrap_or(u32::MAX),
            host_epoch: self.host_epoch,
            not_before_unix_ns: self.not_before.0,
            expires_unix_ns: self.expires.0,
            mode: self.mode.to_wire(),
            auto_release_ms: u64::try_from(auto_release).unwrap_or(u64::MAX),
            pre: Some(v1::Precondition { exe_sha256 }),
            reason: self.reason.clone(),
            incident: self.incident.clone(),
            action: Some(self.action.to_wire()),
            dry_run_digest: digest_bytes(self.dry_run_digest),
            break_glass_hash: digest_bytes(self.break_glass),
            ring_ends: self.rings.clone(),
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

/// The root of the hosts, where there is one in place of them.
fn host_set(wire: &v1::CommandBody) -> Result<Option<HostSet>, CommandError> {
    let root = digest_or_none("host_set_root", &wire.host_set_root);
    let Some(root) = root.map_err(CommandError::Field)? else {
        return Ok(None);
    };
    if !wire.host_ids.is_empty() {
        return Err(CommandError::Hosts(HostSetError::Stray));
    }
    let count = wire.host_count;
    let hosts = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || hosts > MAX_HOST_SET {
        return Err(CommandError::Hosts(HostSetError::Size(hosts)));
    }
    Ok(Some(HostSet { root, count }))
}

/// Ascending, up to all hosts.
fn rings(ends: Vec<u32>, hosts: u32) -> Result<Vec<u32>, CommandError> {
    let ascending = ends.is_sorted_by(|before, after| before < after);
    let whole = ends.last().is_none_or(|last| *last == hosts) && !ends.starts_with(&[0]);
    if ascending && whole && ends.len() <= MAX_RINGS {
        Ok(ends)
    } else {
        Err(CommandError::Rings)
    }
}

fn auto_release(millis: u64) -> Result<Option<Duration>, CommandError> {
    let after = Duration::from_millis(millis);
    if after > MAX_AUTO_RELEASE {
        return Err(CommandError::AutoRelease);
    }
    Ok((millis > 0).then_some(after))
}
