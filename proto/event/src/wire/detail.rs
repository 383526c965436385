//! Details on the wire.

use std::net::IpAddr;

use picket_proto::v1;
use picket_proto::v1::event::Detail as Wire;

use super::{EventError, digest_bytes, digest_or_none, id, known, known_or_none};
use crate::{
    Affected, CommandId, Containment, Detail, Exit, File, Fork, Gap, GapReason, HashStatus, Hook,
    HookState, Kind, KindCounts, Login, Loss, Memfd, Network, ProcessUid, ReceiptState,
    SensorState,
};

impl From<Detail> for Wire {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::File(file) => Self::File(file.into()),
            Detail::Exit(exit) => Self::Exit(v1::Exit {
                code: exit.code,
                signal: exit.signal,
                duration_ns: exit.duration_ns,
            }),
            Detail::Network(network) => Self::Network(network.into()),
            Detail::Login(login) => Self::Login(login.into()),
            Detail::Loss(loss) => Self::Loss(v1::Loss {
                kinds: loss.kinds.into_iter().map(Into::into).collect(),
                r#final: loss.last,
            }),
            Detail::Containment(done) => Self::Containment(done.into()),
            Detail::Sensor(state) => Self::Sensor(state.into()),
            Detail::Fork(fork) => Self::Fork(v1::Fork {
                child_uid: fork.child_uid.as_bytes().to_vec(),
                child_pid: fork.child_pid,
            }),
            Detail::Gap(gap) => Self::Gap(gap.into()),
            Detail::Memfd(memfd) => Self::Memfd(v1::Memfd {
                name: memfd.name.into_bytes(),
                flags: memfd.flags,
            }),
        }
    }
}

impl TryFrom<Wire> for Detail {
    type Error = EventError;

    fn try_from(wire: Wire) -> Result<Self, EventError> {
        Ok(match wire {
            Wire::File(file) => Self::File(file.try_into()?),
            Wire::Exit(exit) => Self::Exit(Exit {
                code: exit.code,
                signal: exit.signal,
                duration_ns: exit.duration_ns,
            }),
            Wire::Network(network) => Self::Network(network.try_into()?),
            Wire::Login(login) => Self::Login(login.into()),
            Wire::Loss(loss) => Self::Loss(Loss {
                kinds: loss
                    .kinds
                    .into_iter()
                    .map(TryInto::try_into)
                    .collect::<Result<_, _>>()?,
                last: loss.r#final,
            }),
            Wire::Containment(done) => Self::Containment(done.try_into()?),
            Wire::Sensor(state) => Self::Sensor(state.into()),
            Wire::Fork(fork) => Self::Fork(Fork {
                child_uid: id("fork.child_uid", &fork.child_uid, ProcessUid::from_slice)?,
                child_pid: fork.child_pid,
            }),
            Wire::Gap(gap) => Self::Gap(gap.try_into()?),
            Wire::Memfd(memfd) => Self::Memfd(Memfd {
                name: memfd.name.into(),
                flags: memfd.flags,
            }),
        })
    }
}

impl From<File> for v1::File {
    fn from(file: File) -> Self {
        Self {
            path: file.path.into_bytes(),
            new_path: file.new_path.into_bytes(),
            inode: file.inode,
            dev: file.dev,
            mode: file.mode,
            size: file.size,
            sha256_before: digest_bytes(file.sha256_before),
            sha256_after: digest_bytes(file.sha256_after),
            hash_status: file.hash_status.map_or(0, HashStatus::to_wire),
            sensitive: file.sensitive,
            flags: file.flags,
        }
    }
}

impl TryFrom<v1::File> for File {
    type Error = EventError;

    fn try_from(wire: v1::File) -> Result<Self, EventError> {
        Ok(Self {
            path: wire.path.into(),
            new_path: wire.new_path.into(),
            inode: wire.inode,
            dev: wire.dev,
            mode: wire.mode,
            size: wire.size,
            sha256_before: digest_or_none("file.sha256_before", &wire.sha256_before)?,
            sha256_after: digest_or_none("file.sha256_after", &wire.sha256_after)?,
            hash_status: known_or_none(
                "file.hash_status",
                wire.hash_status,
                HashStatus::from_wire,
            )?,
            sensitive: wire.sensitive,
            flags: wire.flags,
        })
    }
}

impl From<Network> for v1::Network {
    fn from(network: Network) -> Self {
        Self {
            proto: network.proto,
            direction: network.direction,
            local_ip: address_bytes(network.local_ip),
            local_port: network.local_port,
            remote_ip: address_bytes(network.remote_ip),
            remote_port: network.remote_port,
            bytes_in: network.bytes_in,
            bytes_out: network.bytes_out,
            result: network.result,
        }
    }
}

fn address_bytes(address: Option<IpAddr>) -> Vec<u8> {
    match address {
        None => Vec::new(),
        Some(IpAddr::V4(four)) => four.octets().to_vec(),
        Some(IpAddr::V6(six)) => six.octets().to_vec(),
    }
}

impl TryFrom<v1::Network> for Network {
    type Error = EventError;

    fn try_from(wire: v1::Network) -> Result<Self, EventError> {
        Ok(Self {
            proto: wire.proto,
            direction: wire.direction,
            local_ip: address("network.local_ip", &wire.local_ip)?,
            local_port: wire.local_port,
            remote_ip: address("network.remote_ip", &wire.remote_ip)?,
            remote_port: wire.remote_port,
            bytes_in: wire.bytes_in,
            bytes_out: wire.bytes_out,
            result: wire.result,
        })
    }
}

fn address(field: &'static str, bytes: &[u8]) -> Result<Option<IpAddr>, EventError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    match four.or(six) {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(EventError::Address {
            field,
            length: bytes.len(),
        }),
    }
}

impl From<Login> for v1::Login {
    fn from(login: Login) -> Self {
        Self {
            user: login.user.into_bytes(),
            outcome: login.outcome,
            service: login.service,
            method: login.method,
            source_ip: login.source_ip,
            source_port: login.source_port,
            tty: login.tty.into_bytes(),
            key_fingerprint: login.key_fingerprint,
            session: login.session,
            seen_by: login.seen_by,
            target_user: login.target_user.into_bytes(),
            command: login.command.into_bytes(),
            source_host: login.source_host.into_bytes(),
        }
    }
}

impl From<v1::Login> for Login {
    fn from(wire: v1::Login) -> Self {
        Self {
            user: wire.user.into(),
            outcome: wire.outcome,
            service: wire.service,
            method: wire.method,
            source_ip: wire.source_ip,
            source_port: wire.source_port,
            tty: wire.tty.into(),
            key_fingerprint: wire.key_fingerprint,
            session: wire.session,
            seen_by: wire.seen_by,
            target_user: wire.target_user.into(),
            command: wire.command.into(),
            source_host: wire.source_host.into(),
        }
    }
}

impl From<KindCounts> for v1::KindCounts {
    fn from(counts: KindCounts) -> Self {
        Self {
            kind: counts.kind.to_wire(),
            generated: counts.generated,
            filtered: counts.filtered,
            aggregated: counts.aggregated,
            submitted: counts.submitted,
            lost: counts.lost,
        }
    }
}

impl TryFrom<v1::KindCounts> for KindCounts {
    type Error = EventError;

    fn try_from(wire: v1::KindCounts) -> Result<Self, EventError> {
        Ok(Self {
            kind: known("loss.kind", wire.kind, Kind::from_wire)?,
            generated: wire.generated,
            filtered: wire.filtered,
            aggregated: wire.aggregated,
            submitted: wire.submitted,
            lost: wire.lost,
        })
    }
}

impl From<Containment> for v1::Containment {
    fn from(done: Containment) -> Self {
        Self {
            command_id: done.command_id.as_bytes().to_vec(),
            action: done.action,
            state: done.state.to_wire(),
            reason: done.reason,
            effect: done.effect,
            affected: done.affected.into_iter().map(affected_to_wire).collect(),
            verified: done.verified,
            redelivered: done.redelivered,
            undo_token: done.undo_token,
            signers: done.signers,
            stated_reason: done.stated_reason,
        }
    }
}

fn affected_to_wire(affected: Affected) -> v1::Affected {
    v1::Affected {
        process_uid: affected.process_uid.as_bytes().to_vec(),
        pid: affected.pid,
        exe: affected.exe.into_bytes(),
        outcome: affected.outcome,
    }
}

impl TryFrom<v1::Containment> for Containment {
    type Error = EventError;

    fn try_from(wire: v1::Containment) -> Result<Self, EventError> {
        Ok(Self {
            command_id: id(
                "containment.command_id",
                &wire.command_id,
                CommandId::from_slice,
            )?,
            action: wire.action,
            state: known("containment.state", wire.state, ReceiptState::from_wire)?,
            reason: wire.reason,
            effect: wire.effect,
            affected: wire
                .affected
                .into_iter()
                .map(affected)
                .collect::<Result<_, _>>()?,
            verified: wire.verified,
            redelivered: wire.redelivered,
            undo_token: wire.undo_token,
            signers: wire.signers,
            stated_reason: wire.stated_reason,
        })
    }
}

fn affected(wire: v1::Affected) -> Result<Affected, EventError> {
    Ok(Affected {
        process_uid: id(
            "affected.process_uid",
            &wire.process_uid,
            ProcessUid::from_slice,
        )?,
        pid: wire.pid,
        exe: wire.exe.into(),
        outcome: wire.outcome,
    })
}

impl From<SensorState> for v1::SensorState {
    fn from(state: SensorState) -> Self {
        let hooks = state.hooks.into_iter().map(|hook| v1::Hook {
            name: hook.name,
            state: hook.state.name().to_owned(),
            detail: hook.detail,
            instead: hook.instead,
        });
        Self {
            backend: state.backend,
            change: state.change,
            hooks: hooks.collect(),
        }
    }
}

impl From<v1::SensorState> for SensorState {
    fn from(wire: v1::SensorState) -> Self {
        let hooks = wire.hooks.into_iter().map(|hook| Hook {
            state: HookState::from_name(&hook.state),
            name: hook.name,
            detail: hook.detail,
            instead: hook.instead,
        });
        Self {
            backend: wire.backend,
            change: wire.change,
            hooks: hooks.collect(),
        }
    }
}

impl From<Gap> for v1::Gap {
    fn from(gap: Gap) -> Self {
        let kinds = gap.kinds.into_iter();
        Self {
            seq_first: gap.seq_first,
            count: gap.count,
            reason: gap.reason.to_wire(),
            kinds: kinds
                .map(|(kind, lost)| v1::KindLost {
                    kind: kind.to_wire(),
                    lost,
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::Gap> for Gap {
    type Error = EventError;

    fn try_from(wire: v1::Gap) -> Result<Self, EventError> {
        let mut kinds = Vec::with_capacity(wire.kinds.len());
        for line in wire.kinds {
            kinds.push((known("gap.kind", line.kind, Kind::from_wire)?, line.lost));
        }
        Ok(Self {
            seq_first: wire.seq_first,
            count: wire.count,
            reason: known("gap.reason", wire.reason, GapReason::from_wire)?,
            kinds,
        })
    }
}
