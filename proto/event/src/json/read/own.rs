//! What the agent says of itself, from JSON.

use super::object::{Object, Result, needed};
use crate::json::JsonError;
use crate::{
    Affected, CommandId, Containment, Gap, GapReason, Hook, HookState, Kind, KindCounts, LossCause,
    LostBy, PolicyCause, ReceiptState, SensorState, StreamId,
};

fn kind_of(name: &str, field: &'static str) -> Result<Kind> {
    Kind::from_name(name).ok_or(JsonError::Field {
        field,
        expected: "a list by known kinds",
    })
}

pub(super) fn loss(Object(map): Object<'_>) -> Result<Vec<KindCounts>> {
    map.iter()
        .map(|(name, line)| counts(kind_of(name, "loss")?, Object::of(line, "loss")?))
        .collect()
}

fn counts(kind: Kind, line: Object<'_>) -> Result<KindCounts> {
    let count = |name| Ok::<_, JsonError>(line.number(name)?.unwrap_or(0));
    let lost_by = line.object("lost_by")?.map(lost_by).transpose()?;
    Ok(KindCounts {
        kind,
        generated: count("generated")?,
        filtered: count("filtered")?,
        aggregated: count("aggregated")?,
        submitted: count("submitted")?,
        lost: count("lost")?,
        lost_by: lost_by.unwrap_or_default(),
    })
}

fn lost_by(object: Object<'_>) -> Result<LostBy> {
    let mut by = LostBy::default();
    for cause in LossCause::ALL {
        *by.of_mut(*cause) = object.number(cause.name())?.unwrap_or(0);
    }
    Ok(by)
}

pub(super) fn containment(object: Object<'_>) -> Result<Containment> {
    let id = object.parsed("command_id", "a command id", |text| {
        CommandId::parse(text).ok()
    })?;
    let state = object.parsed("state", "a known state", ReceiptState::from_name)?;
    Ok(Containment {
        command_id: needed("containment.command_id", id)?,
        action: object.word("action")?,
        state: needed("containment.state", state)?,
        reason: object.word("reason")?,
        effect: object.word("effect")?,
        affected: object.objects("affected", affected)?,
        verified: object.flag("verified")?,
        redelivered: object.flag("redelivered")?,
        undo_token: object.word("undo_token")?,
        signers: object.words("signers")?,
        stated_reason: object.word("stated_reason")?,
        cause: object.object("cause")?.map(cause).transpose()?,
    })
}

fn cause(object: Object<'_>) -> Result<Box<PolicyCause>> {
    Ok(Box::new(PolicyCause {
        policy_version: object.number("policy_version")?.unwrap_or(0),
        entry: object.word("entry")?,
        mode: object.word("mode")?,
        by: object.word("by")?,
        id: object.word("id")?,
        title: object.word("title")?,
        process: object.uid("process_uid")?,
        event_kind: object.word("event_kind")?,
    }))
}

fn affected(object: Object<'_>) -> Result<Affected> {
    Ok(Affected {
        process_uid: object.uid("process_uid")?,
        pid: object.small("pid")?.unwrap_or(0),
        exe: object.text("exe")?,
        object: object.text("object")?,
        outcome: object.word("outcome")?,
    })
}

pub(super) fn sensor(object: Object<'_>) -> Result<SensorState> {
    let hooks = object.objects("hooks", |hook| {
        Ok(Hook {
            name: hook.word("name")?,
            state: HookState::from_name(&hook.word("state")?),
            detail: hook.word("detail")?,
            instead: hook.word("instead")?,
        })
    })?;
    Ok(SensorState {
        backend: object.word("backend")?,
        change: object.word("change")?,
        hooks,
    })
}

pub(super) fn gap(object: Object<'_>) -> Result<Gap> {
    let reason = object.parsed("reason", "a known reason", GapReason::from_name)?;
    let mut kinds = Vec::new();
    if let Some(Object(map)) = object.object("kinds")? {
        for (name, lost) in map {
            kinds.push((kind_of(name, "gap.kinds")?, lost.as_u64().unwrap_or(0)));
        }
    }
    Ok(Gap {
        seq_first: object.number("seq_first")?.unwrap_or(0),
        count: object.number("count")?,
        reason: needed("gap.reason", reason)?,
        kinds,
        stream: object.parsed("stream", "a stream id", |text| StreamId::parse(text).ok())?,
    })
}
