//! Events as log records of OpenTelemetry, in the JSON of its protocol (OTLP 1.x, `ExportLogsServiceRequest`).
//!
//! What stays true: a record's body is the whole event in our JSON; attributes only repeat what is in it, under the names of
//! OpenTelemetry's semantic conventions.

use picket_event::{Origin, Severity, Verdict, json};
use picket_store::StoredEvent;
use serde_json::{Map, Value, json};

use super::form::Message;

/// One record, for [`request`].
pub(super) fn record(stored: &StoredEvent, origin: &Origin, doubtful: Option<&str>) -> String {
    let event = &stored.event;
    let mut attributes = attributes(stored);
    attributes.extend(doubtful.map(|branch| text("picket.doubtful", branch)));
    let (number, text) = severity(event.severity());
    json!({
        "timeUnixNano": event.time.0.to_string(),
        "observedTimeUnixNano": stored.received.0.to_string(),
        "severityNumber": number,
        "severityText": text,
        "eventName": format!("picket.{}", event.kind.name()),
        "body": {"stringValue": json::to_string(event, origin)},
        "attributes": attributes,
    })
    .to_string()
}

/// A request with the records of these messages, each host a resource of its own.
pub(super) fn request(messages: &[Message]) -> String {
    let of_hosts = messages.chunk_by(|one, next| one.host_id == next.host_id);
    let resources: Vec<String> = of_hosts.filter_map(resource).collect();
    format!("{{\"resourceLogs\":[{}]}}", resources.join(","))
}

fn resource(messages: &[Message]) -> Option<String> {
    let first = messages.first()?;
    let resource = json!({"attributes": [
        text("service.name", "picket"),
        text("host.name", &first.host),
        text("host.id", &first.host_id.to_string()),
    ]});
    let scope = json!({"name": "picket", "version": env!("CARGO_PKG_VERSION")});
    let records: Vec<&str> = messages.iter().map(|one| one.text.as_str()).collect();
    let records = records.join(",");
    Some(format!(
        "{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":[{records}]}}]}}"
    ))
}

/// How many records the receiver says that it threw away.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedLogRecords"];
    let text = rejected.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| rejected.as_u64()).unwrap_or(0)
}

fn attributes(stored: &StoredEvent) -> Vec<Value> {
    let event = &stored.event;
    let mut all = Vec::new();
    if let Some(process) = &event.process {
        let arguments = process.argv.iter().map(|one| one.lossy().into_owned());
        let arguments = arguments.map(|one| json!({"stringValue": one}));
        let arguments = json!({"values": arguments.collect::<Vec<_>>()});
        all.push(number("process.pid", u64::from(process.pid)));
        all.push(text("process.executable.path", &process.exe.lossy()));
        all.push(json!({"key": "process.command_args", "value": {"arrayValue": arguments}}));
        if let Some(user) = &process.user {
            all.push(number("process.user.id", u64::from(user.uid)));
            all.push(text("process.user.name", &user.name.lossy()));
        }
    }
    if let Some(file) = event.file() {
        all.push(text("file.path", &file.path.lossy()));
    }
    if let Some(login) = event.login() {
        all.push(text("user.name", &login.user.lossy()));
        all.push(text("source.address", &login.source_ip));
    }
    let rules = event.verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Rule(rule) => Some(json!({"stringValue": rule.title})),
        Verdict::Scorer(_) => None,
    });
    let rules: Vec<Value> = rules.collect();
    if !rules.is_empty() {
        let value = json!({"arrayValue": {"values": rules}});
        all.push(json!({"key": "picket.rules", "value": value}));
    }
    all.retain(|one| one["value"]["stringValue"] != "");
    all
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Whole numbers are strings in this JSON.
fn number(key: &str, value: u64) -> Value {
    let mut whole = Map::new();
    whole.insert("intValue".to_owned(), Value::from(value.to_string()));
    json!({"key": key, "value": whole})
}

/// OpenTelemetry's number and our word.
fn severity(severity: Option<Severity>) -> (u8, &'static str) {
    match severity {
        Some(Severity::Critical) => (21, "critical"),
        Some(Severity::High) => (17, "high"),
        Some(Severity::Medium) => (13, "medium"),
        Some(Severity::Low) => (10, "low"),
        Some(Severity::Informational) | None => (9, "informational"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_in_either_form_what_it_threw_away() {
        for (answer, expected) in [
            (
                &b"{\"partialSuccess\":{\"rejectedLogRecords\":\"3\"}}"[..],
                3,
            ),
            (b"{\"partialSuccess\":{\"rejectedLogRecords\":2}}", 2),
            (b"{\"partialSuccess\":{}}", 0),
            (b"{}", 0),
            (b"", 0),
            (b"<html>", 0),
        ] {
            assert_eq!(rejected(answer), expected);
        }
    }
}
