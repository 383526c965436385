//! A host as `--json` prints it.

use picket_event::{KindCounts, json};
use picket_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::commands;
use crate::ledger::{self, TransportLine};
use crate::when::stamp;

use super::{facts, id_of, sensor_state};

/// One host.
#[derive(Debug, Serialize)]
pub(super) struct View {
    host: String,
    name: String,
    group: String,
    connected: bool,
    revoked: bool,
    enrolled: Option<String>,
    last_seen: Option<String>,
    last_event: Option<String>,
    version: String,
    os: String,
    kernel: String,
    epoch: u64,
    host_epoch: u64,
    predecessor: Option<String>,
    successor: Option<String>,
    alarms: Vec<Alarm>,
    branches: Vec<OtherBranch>,
    resident_bytes: Option<u64>,
    spool_bytes: Option<u64>,
    spool_quota_bytes: Option<u64>,
    sensor: Option<Sensor>,
    ledger: Ledger,
    containment: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Alarm {
    name: String,
    since: Option<String>,
    words: String,
}

/// Another that speaks for the host.
#[derive(Debug, Serialize)]
struct OtherBranch {
    branch: String,
    fork_epoch: u64,
    begun: Option<String>,
    state: String,
    connected: bool,
    last_seen: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Sensor {
    backend: String,
    hooks: Vec<Hook>,
}

#[derive(Debug, Serialize)]
struct Hook {
    name: String,
    state: String,
    detail: String,
    instead: String,
}

/// Both ledgers; `balanced` is about all lines of both, and null if nothing is known of one.
#[derive(Debug, Serialize)]
struct Ledger {
    balanced: Option<bool>,
    sensor: Vec<KindLine>,
    transport: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct KindLine {
    kind: &'static str,
    generated: u64,
    filtered: u64,
    aggregated: u64,
    submitted: u64,
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_by: Option<Value>,
    balanced: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    stream: String,
    class: &'static str,
    numbered: u64,
    stored: u64,
    spooled: u64,
    gaps: u64,
    unknown_gaps: u64,
    difference: i64,
    balanced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    doubtful: Option<String>,
}

fn alarm(alarm: &v1::HostAlarm) -> Alarm {
    Alarm {
        name: alarm.name.clone(),
        since: stamp(alarm.since_unix_ns),
        words: alarm.words.clone(),
    }
}

fn branch(branch: &v1::HostBranch) -> OtherBranch {
    OtherBranch {
        branch: hex::encode(&branch.name),
        fork_epoch: branch.fork_epoch,
        begun: stamp(branch.begun_unix_ns),
        state: branch.state.clone(),
        connected: branch.connected,
        last_seen: stamp(branch.last_seen_unix_ns),
        name: branch.facts.as_ref().map(|facts| facts.hostname.clone()),
    }
}

/// The host and the commands that concern it.
pub(super) fn of(host: &v1::Host, concerned: &[&v1::CommandStatus]) -> View {
    let facts = facts(host);
    let beat = host.heartbeat.as_ref();
    View {
        host: id_of(host),
        name: host.name.clone(),
        group: host.group.clone(),
        connected: host.connected,
        revoked: host.revoked,
        enrolled: stamp(host.enrolled_unix_ns),
        last_seen: stamp(host.last_seen_unix_ns),
        last_event: stamp(host.last_event_unix_ns),
        version: facts.agent_version,
        os: facts.os,
        kernel: facts.kernel,
        epoch: host.epoch,
        host_epoch: host.host_epoch,
        predecessor: other(&host.predecessor),
        successor: other(&host.successor),
        alarms: host.alarms.iter().map(alarm).collect(),
        branches: host.branches.iter().map(branch).collect(),
        resident_bytes: beat.map(|beat| beat.resident_bytes),
        spool_bytes: beat.map(|beat| beat.spool_bytes),
        spool_quota_bytes: beat.map(|beat| beat.spool_quota_bytes),
        sensor: sensor_state(host).map(sensor),
        ledger: ledger(host),
        containment: concerned
            .iter()
            .map(|status| commands::as_json(status))
            .collect(),
    }
}

fn sensor(state: &v1::SensorState) -> Sensor {
    let hook = |hook: &v1::Hook| Hook {
        name: hook.name.clone(),
        state: hook.state.clone(),
        detail: hook.detail.clone(),
        instead: hook.instead.clone(),
    };
    Sensor {
        backend: state.backend.clone(),
        hooks: state.hooks.iter().map(hook).collect(),
    }
}

fn other(id: &[u8]) -> Option<String> {
    (!id.is_empty()).then(|| hex::encode(id))
}

fn ledger(host: &v1::Host) -> Ledger {
    let sensor: Vec<KindLine> = ledger::sensor_lines(host).iter().map(kind).collect();
    let transport: Vec<Line> = ledger::transport_lines(host).iter().map(line).collect();
    Ledger {
        balanced: ledger::balanced(host),
        sensor,
        transport,
    }
}

fn kind(counts: &KindCounts) -> KindLine {
    KindLine {
        kind: counts.kind.name(),
        generated: counts.generated,
        filtered: counts.filtered,
        aggregated: counts.aggregated,
        submitted: counts.submitted,
        lost: counts.lost,
        lost_by: json::counts(counts).get("lost_by").cloned(),
        balanced: counts.balances(),
    }
}

fn line(line: &TransportLine) -> Line {
    Line {
        stream: line.stream.to_string(),
        class: line.class.name(),
        numbered: line.numbered,
        stored: line.stored,
        spooled: line.spooled,
        gaps: line.gaps,
        unknown_gaps: line.unknown_gaps,
        difference: line.balance.difference(),
        balanced: line.balance.holds(),
        doubtful: line.branch.map(|name| name.to_string()),
    }
}
