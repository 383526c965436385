//! What the agent says of itself, on the wire.

use picket_proto::v1;

use crate::wire::{EventError, id, id_or_none, known};
use crate::{
    Affected, CommandId, Containment, Gap, GapReason, Hook, HookState, Kind, PolicyCause,
    ProcessUid, ReceiptState, SensorState, StreamId,
};

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
            cause: done.cause.map(|cause| cause_to_wire(*cause)),
        }
    }
}

fn cause_to_wire(cause: PolicyCause) -> v1::PolicyCause {
    v1::PolicyCause {
        policy_version: cause.policy_version,
        entry: cause.entry,
        mode: cause.mode,
        by: cause.by,
        id: cause.id,
        title: cause.title,
        process_uid: cause
            .process
            .map(|uid| uid.as_bytes().to_vec())
            .unwrap_or_default(),
        event_kind: cause.event_kind,
    }
}

fn cause(wire: v1::PolicyCause) -> Result<Box<PolicyCause>, EventError> {
    let process = id_or_none(
        "containment.cause.process_uid",
        &wire.process_uid,
        ProcessUid::from_slice,
    )?;
    Ok(Box::new(PolicyCause {
        policy_version: wire.policy_version,
        entry: wire.entry,
        mode: wire.mode,
        by: wire.by,
        id: wire.id,
        title: wire.title,
        process,
        event_kind: wire.event_kind,
    }))
}

fn affected_to_wire(affected: Affected) -> v1::Affected {
    v1::Affected {
        process_uid: affected
            .process_uid
            .map(|uid| uid.as_bytes().to_vec())
            .unwrap_or_default(),
        pid: affected.pid,
        exe: affected.exe.into_bytes(),
        object: affected.object.into_bytes(),
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
            cause: wire.cause.map(cause).transpose()?,
        })
    }
}

fn affected(wire: v1::Affected) -> Result<Affected, EventError> {
    Ok(Affected {
        process_uid: id_or_none(
            "affected.process_uid",
            &wire.process_uid,
            ProcessUid::from_slice,
        )?,
        pid: wire.pid,
        exe: wire.exe.into(),
        object: wire.object.into(),
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
            stream: gap
                .stream
                .map_or_else(Vec::new, |stream| stream.as_bytes().to_vec()),
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
            stream: id_or_none("gap.stream", &wire.stream, StreamId::from_slice)?,
        })
    }
}
