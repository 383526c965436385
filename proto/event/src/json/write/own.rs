//! What the agent says of itself, to JSON.

use serde_json::{Map, Value};

use super::object::{Hex, Json, Object};
use crate::{Containment, Gap, KindCounts, Loss, LostBy, PolicyCause, SensorState};

pub(super) fn loss(loss: &Loss) -> Value {
    let lines = loss
        .kinds
        .iter()
        .map(|line| (line.kind.name().to_owned(), counts(line)));
    Value::Object(lines.collect())
}

pub(in crate::json) fn counts(line: &KindCounts) -> Value {
    let counts = [
        ("generated", line.generated),
        ("filtered", line.filtered),
        ("aggregated", line.aggregated),
        ("submitted", line.submitted),
        ("lost", line.lost),
    ];
    let mut fields: Map<String, Value> = counts
        .map(|(name, count)| (name.to_owned(), count.into()))
        .into_iter()
        .collect();
    if line.lost_by != LostBy::default() {
        fields.insert("lost_by".to_owned(), lost_by(&line.lost_by));
    }
    Value::Object(fields)
}

fn lost_by(by: &LostBy) -> Value {
    let causes = by.counted();
    Value::Object(
        causes
            .map(|(cause, count)| (cause.name().to_owned(), count.into()))
            .collect(),
    )
}

pub(super) fn containment(done: &Containment) -> Json {
    Object::new()
        .put("command_id", Hex(done.command_id.as_bytes()))
        .put("action", done.action.as_str())
        .put("state", done.state.name())
        .word("reason", &done.reason)
        .word("effect", &done.effect)
        .put("verified", done.verified)
        .flag("redelivered", done.redelivered)
        .word("undo_token", &done.undo_token)
        .put("signers", &done.signers)
        .word("stated_reason", &done.stated_reason)
        .maybe("cause", done.cause.as_deref().map(cause))
        .list("affected", &done.affected, |one| {
            Object::new()
                .uid("process_uid", one.process_uid)
                .maybe("pid", (one.pid != 0).then_some(one.pid))
                .text("exe", &one.exe)
                .text("object", &one.object)
                .put("outcome", one.outcome.as_str())
                .done()
        })
        .done()
}

fn cause(cause: &PolicyCause) -> Json {
    Object::new()
        .put("policy_version", cause.policy_version)
        .put("entry", cause.entry.as_str())
        .put("mode", cause.mode.as_str())
        .put("by", cause.by.as_str())
        .word("id", &cause.id)
        .word("title", &cause.title)
        .uid("process_uid", cause.process)
        .put("event_kind", cause.event_kind.as_str())
        .done()
}

pub(super) fn sensor(state: &SensorState) -> Json {
    Object::new()
        .put("backend", state.backend.as_str())
        .word("change", &state.change)
        .list("hooks", &state.hooks, |hook| {
            Object::new()
                .put("name", hook.name.as_str())
                .put("state", hook.state.name())
                .word("detail", &hook.detail)
                .word("instead", &hook.instead)
                .done()
        })
        .done()
}

pub(super) fn gap(gap: &Gap) -> Json {
    let kinds = gap
        .kinds
        .iter()
        .map(|(kind, lost)| (kind.name().to_owned(), (*lost).into()));
    Object::new()
        .put("seq_first", gap.seq_first)
        .maybe("count", gap.count)
        .put("reason", gap.reason.name())
        .maybe(
            "kinds",
            (!gap.kinds.is_empty()).then(|| Value::Object(kinds.collect())),
        )
        .maybe("stream", gap.stream.map(|stream| stream.to_string()))
        .done()
}
