//! Fields of logins, and of what the agent says of itself.

use super::read::{number, text, word};
use super::{Row, Value};
use crate::{Containment, Detail, Event, Gap, LogLine, PolicyCause, SensorState};

pub(super) const FIELDS: &[Row] = &[
    ("login.user", |e| text(&e.login()?.user)),
    ("login.outcome", |e| word(&e.login()?.outcome)),
    ("login.service", |e| word(&e.login()?.service)),
    ("login.method", |e| word(&e.login()?.method)),
    ("login.source_ip", |e| word(&e.login()?.source_ip)),
    ("login.source_port", |e| number(e.login()?.source_port?)),
    ("login.source_host", |e| text(&e.login()?.source_host)),
    ("login.tty", |e| text(&e.login()?.tty)),
    ("login.key_fingerprint", |e| {
        word(&e.login()?.key_fingerprint)
    }),
    ("login.session", |e| number(e.login()?.session?)),
    ("login.target_user", |e| text(&e.login()?.target_user)),
    ("login.command", |e| text(&e.login()?.command)),
    ("login.seen_by", |e| {
        Some(Value::Words(e.login()?.seen_by.clone()))
    }),
    ("log.program", |e| text(&log(e)?.program)),
    ("log.pid", |e| number(log(e)?.pid?)),
    ("log.text", |e| text(&log(e)?.text)),
    ("containment.command_id", |e| {
        Some(Value::Word(containment(e)?.command_id.to_string()))
    }),
    ("containment.action", |e| word(&containment(e)?.action)),
    ("containment.state", |e| word(containment(e)?.state.name())),
    ("containment.reason", |e| word(&containment(e)?.reason)),
    ("containment.verified", |e| {
        Some(Value::Flag(containment(e)?.verified))
    }),
    ("containment.cause.entry", |e| word(&cause(e)?.entry)),
    ("containment.cause.mode", |e| word(&cause(e)?.mode)),
    ("containment.cause.by", |e| word(&cause(e)?.by)),
    ("containment.cause.id", |e| word(&cause(e)?.id)),
    ("sensor.backend", |e| word(&sensor(e)?.backend)),
    ("sensor.change", |e| word(&sensor(e)?.change)),
    ("gap.seq_first", |e| number(gap(e)?.seq_first)),
    ("gap.count", |e| number(gap(e)?.count?)),
    ("gap.reason", |e| word(gap(e)?.reason.name())),
    ("gap.stream", |e| {
        Some(Value::Word(gap(e)?.stream?.to_string()))
    }),
];

fn log(event: &Event) -> Option<&LogLine> {
    match &event.detail {
        Some(Detail::Log(it)) => Some(it),
        _ => None,
    }
}

fn containment(event: &Event) -> Option<&Containment> {
    match &event.detail {
        Some(Detail::Containment(it)) => Some(it),
        _ => None,
    }
}

fn cause(event: &Event) -> Option<&PolicyCause> {
    containment(event)?.cause.as_deref()
}

fn sensor(event: &Event) -> Option<&SensorState> {
    match &event.detail {
        Some(Detail::Sensor(it)) => Some(it),
        _ => None,
    }
}

fn gap(event: &Event) -> Option<&Gap> {
    match &event.detail {
        Some(Detail::Gap(it)) => Some(it),
        _ => None,
    }
}
