//! What the agent says of itself: findings, containment, its state, its losses.

use serde_json::json;

use super::activity::{
    ERROR, FINDING, LIFECYCLE, Mapped, NETWORK_REMEDY, PROCESS_REMEDY, REMEDY, status,
};
use super::actor::by_number;
use super::envelope::product;
use super::part::{Part, file_at, name_of};
use crate::{
    Affected, Containment, Event, Gap, KindCounts, Loss, ReceiptState, SensorState, Verdict,
};

pub(super) fn finding(event: &Event) -> Mapped {
    let first = event.verdicts.first();
    let (uid, title, kind) = match first {
        Some(Verdict::Rule(rule)) => (rule.id.clone(), rule.title.as_str(), 1),
        Some(Verdict::Scorer(_)) => ("scorer".to_owned(), "Unusual activity", 3),
        None => ("finding".to_owned(), "Finding", 0),
    };
    let analytic = Part::new()
        .put("uid", uid.as_str())
        .word("name", title)
        .put("type_id", kind);
    let info = Part::new()
        .put("uid", format!("{uid}-{}-{}", event.time.0, event.seq))
        .word("title", title)
        .part("analytic", Some(analytic));
    Mapped::new(FINDING, (1, "Create")).with(Part::new().part("finding_info", Some(info)))
}

/// By what a command was about: a process, the network, or neither that is named here.
pub(super) fn containment(done: &Containment) -> Mapped {
    let activity = activity(&done.action);
    let mapped = match (done.action.as_str(), done.affected.first()) {
        ("isolate" | "release", _) => {
            let connection = json!({"direction_id": 0});
            Mapped::new(NETWORK_REMEDY, activity)
                .with(Part::new().put("connection_info", connection))
        }
        (_, Some(affected)) if affected.process_uid.is_some() => {
            let process = Some(affected_process(affected));
            Mapped::new(PROCESS_REMEDY, activity).with(Part::new().part("process", process))
        }
        (_, _) => Mapped::new(REMEDY, activity),
    };
    let why = [&done.reason, &done.effect].map(String::as_str);
    let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
    let attributes = Part::new()
        .put("command_uid", done.command_id.to_string())
        .word("status_detail", &why.join(": "))
        .with(outcome(done.state));
    mapped.with(attributes).taking(&["containment.command_id"])
}

fn activity(action: &str) -> (u32, &'static str) {
    match action {
        "kill" | "kill-tree" => (2, "Evict"),
        "suspend" | "isolate" | "quarantine" => (1, "Isolate"),
        "resume" | "restore" | "release" | "unblock-hash" | "unlock-user" | "forbid-removal" => {
            (3, "Restore")
        }
        "block-hash" | "lock-user" => (4, "Harden"),
        "collect" | "triage" => (5, "Detect"),
        _ => (99, "Other"),
    }
}

fn affected_process(affected: &Affected) -> Part {
    let exe = (!affected.exe.is_empty()).then_some(&affected.exe);
    by_number(Some(affected.pid), affected.process_uid)
        .maybe("name", exe.map(name_of))
        .part("file", exe.map(|exe| file_at(exe, 1)))
}

fn outcome(state: ReceiptState) -> Part {
    match state {
        ReceiptState::Executed | ReceiptState::Reverted => status(true),
        ReceiptState::Refused | ReceiptState::Expired => status(false),
        ReceiptState::Accepted | ReceiptState::Partial => {
            Part::new().put("status_id", 99).put("status", state.name())
        }
    }
}

pub(super) fn sensor(state: &SensorState) -> Mapped {
    let mapped = match state.change.as_str() {
        "started" => Mapped::new(LIFECYCLE, (3, "Start")),
        "stopped" => Mapped::new(LIFECYCLE, (4, "Stop")),
        other => Mapped::other(LIFECYCLE, other),
    };
    mapped.with(Part::new().put("app", product()))
}

/// The ledger is an error where something was lost, and else a word of its own.
pub(super) fn loss(loss: &Loss) -> Mapped {
    let sum =
        |part: fn(&KindCounts) -> u64| loss.kinds.iter().map(part).fold(0, u64::saturating_add);
    let (lost, submitted) = (sum(|line| line.lost), sum(|line| line.submitted));
    let mapped = if lost > 0 {
        Mapped::new(ERROR, (1, "General Error"))
    } else {
        Mapped::other(ERROR, "Ledger")
    };
    let message = format!("{submitted} events submitted, {lost} lost");
    mapped.with(Part::new().put("message", message))
}

pub(super) fn gap(gap: &Gap) -> Mapped {
    let count = gap.count.map_or_else(
        || "an unknown number of".to_owned(),
        |count| count.to_string(),
    );
    let of_run = gap
        .stream
        .map_or_else(String::new, |stream| format!(", of the run {stream}"));
    let message = format!("{count} events are missing: {}{of_run}", gap.reason.name());
    Mapped::new(ERROR, (1, "General Error")).with(Part::new().put("message", message))
}
