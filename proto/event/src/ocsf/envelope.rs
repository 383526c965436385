//! What every OCSF object has: class, time, severity, metadata, device, actor, and what is unmapped.

use serde_json::{Value, json};

use super::activity::Mapped;
use super::left::Left;
use super::part::{Part, UNKNOWN, millis};
use super::{VERSION, actor};
use crate::{Event, Origin, Severity, Verdict, json as contract};

pub(super) fn wrap(
    event: &Event,
    origin: &Origin,
    hostname: Option<&str>,
    mapped: Mapped,
) -> Value {
    let left = left(event, origin, mapped.taken);
    let acting = acting(event, &mapped);
    classified(event, &mapped)
        .put("metadata", metadata(event, origin))
        .part("device", Some(actor::device(origin, hostname)))
        .part("actor", acting)
        .with(judged(event))
        .with(mapped.attributes)
        .maybe("unmapped", left)
        .done()
}

fn classified(event: &Event, mapped: &Mapped) -> Part {
    let class = mapped.class;
    let (activity, name) = &mapped.activity;
    let (severity, severity_name) = severity(event.severity());
    Part::new()
        .put("class_uid", class.uid)
        .put("class_name", class.name)
        .put("category_uid", class.category.0)
        .put("category_name", class.category.1)
        .put("activity_id", *activity)
        .put("activity_name", &**name)
        .put(
            "type_uid",
            u64::from(class.uid)
                .saturating_mul(100)
                .saturating_add(u64::from(*activity)),
        )
        .put("type_name", format!("{}: {name}", class.name))
        .put("time", millis(event.time))
        .put("severity_id", severity)
        .put("severity", severity_name)
}

/// An event that nobody judged is informational.
const fn severity(severity: Option<Severity>) -> (u32, &'static str) {
    match severity {
        None | Some(Severity::Informational) => (1, "Informational"),
        Some(Severity::Low) => (2, "Low"),
        Some(Severity::Medium) => (3, "Medium"),
        Some(Severity::High) => (4, "High"),
        Some(Severity::Critical) => (5, "Critical"),
    }
}

fn metadata(event: &Event, origin: &Origin) -> Value {
    Part::new()
        .put("version", VERSION)
        .put("product", product())
        .put("uid", uid(event, origin))
        .put("event_code", event.kind.name())
        .put("log_name", "picket")
        .put("log_provider", event.source.name())
        .put("original_time", event.time.to_string())
        .put("sequence", event.seq)
        .put("profiles", profiles(event))
        .done()
}

pub(super) fn product() -> Value {
    json!({"name": "Picket", "vendor_name": "Picket", "version": env!("CARGO_PKG_VERSION")})
}

/// Names the event for ever: its number is its own in one run and class, and its time tells runs
/// apart.
pub(super) fn uid(event: &Event, origin: &Origin) -> String {
    let class = event.class().name();
    format!("{}-{}-{class}-{}", origin.boot, event.time.0, event.seq)
}

fn profiles(event: &Event) -> Vec<&'static str> {
    let process = event.process.as_ref();
    let contained = process.is_some_and(|process| process.container.is_some());
    let mut profiles = vec!["host", "security_control", "linux/linux_users"];
    profiles.extend(contained.then_some("container"));
    profiles
}

fn acting(event: &Event, mapped: &Mapped) -> Option<Part> {
    let process = event.process.as_ref().map(actor::process);
    let known = Part::new()
        .part("process", process)
        .with(mapped.actor.clone());
    if !known.is_empty() {
        return Some(known);
    }
    let needed = mapped.class.needs_actor;
    needed.then(|| Part::new().put("app_name", UNKNOWN))
}

/// That it is an alert, and the techniques it was taken for.
fn judged(event: &Event) -> Part {
    let alert = event
        .severity()
        .is_some_and(|severity| severity >= Severity::Medium);
    Part::new()
        .maybe("is_alert", alert.then_some(true))
        .list("attacks", attacks(event))
}

/// A technique is named `T1059`, one of its parts `T1059.004`.
fn attacks(event: &Event) -> Vec<Value> {
    let rules = event.verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Rule(rule) => Some(rule),
        Verdict::Scorer(_) => None,
    });
    let named = rules
        .flat_map(|rule| &rule.attack)
        .filter(|name| !name.is_empty());
    named
        .map(|name| {
            let technique = name.split('.').next().unwrap_or(name);
            let part = name.contains('.').then(|| json!({"uid": name}));
            Part::new()
                .put("technique", json!({"uid": technique}))
                .maybe("sub_technique", part)
                .done()
        })
        .collect()
}

fn left(event: &Event, origin: &Origin, taken: &[&str]) -> Option<Value> {
    let mut left = Left::of(contract::to_value(event, origin));
    left.take(TAKEN);
    if let Some(process) = &event.process {
        left.take(actor::TAKEN);
        left.take(actor::taken_too(process));
    }
    left.take(taken);
    left.into_value()
}

const TAKEN: &[&str] = &["kind", "seq", "time", "host", "boot", "source"];
