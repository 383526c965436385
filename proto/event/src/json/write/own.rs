//! What the agent says of itself, to JSON.

use serde_json::Value;

use super::object::Object;
use crate::{Containment, Gap, KindCounts, Loss, LostBy, SensorState};

pub(super) fn loss(loss: &Loss) -> Value {
    let lines = loss
        .kinds
        .iter()
        .map(|line| (line.kind.name().to_owned(), counts(line)));
    Value::Object(lines.collect())
}

pub(in crate::json) fn counts(line: &KindCounts) -> Value {
    let lost_by = (line.lost_by != LostBy::default()).then(|| lost_by(&line.lost_by));
    Object::new()
        .put("generated", line.generated)
        .put("filtered", line.filtered)
        .put("aggregated", line.aggregated)
        .put("submitted", line.submitted)
        .put("lost", line.lost)
        .maybe("lost_by", lost_by)
        .done()
}

fn lost_by(by: &LostBy) -> Value {
    let causes = by.counted();
    Value::Object(
        causes
            .map(|(cause, count)| (cause.name().to_owned(), count.into()))
            .collect(),
    )
}

pub(super) fn containment(done: &Containment) -> Value {
    Object::new()
        .put("command_id", done.command_id.to_string())
        .put("action", done.action.as_str())
        .put("state", done.state.name())
        .word("reason", &done.reason)
        .word("effect", &done.effect)
        .put("verified", done.verified)
        .flag("redelivered", done.redelivered)
        .word("undo_token", &done.undo_token)
        .put("signers", done.signers.clone())
        .word("stated_reason", &done.stated_reason)
        .list("affected", &done.affected, |one| {
            Object::new()
                .put("process_uid", one.process_uid.to_string())
                .put("pid", one.pid)
                .text("exe", &one.exe)
                .put("outcome", one.outcome.as_str())
                .done()
        })
        .done()
}

pub(super) fn sensor(state: &SensorState) -> Value {
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

pub(super) fn gap(gap: &Gap) -> Value {
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
        .done()
}
