//! How the agent is: one snapshot that the path and the uplink write and that `status` and the
//! heartbeat read.
//!
//! What stays true: in each line of the transport ledger `numbered = stored + spooled + gaps`, where
//! `stored` are the events below `durable_seq` and `spooled` the events from there on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_event::content::ContentKind;
use picket_event::{
    Class, Hook, HostId, KindCounts, SensorState, StreamId, UnixNanos, json as event_json,
};
use picket_scorer::{Changes, Drift, FleetKnowledge, Maturity};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::clock;
use crate::detect::OverSeveral;

pub(crate) mod notify;
pub(crate) mod socket;

/// Shared by everybody who knows or asks.
pub(crate) type SharedHealth = Arc<Health>;

/// The snapshot behind its lock.
#[derive(Debug)]
pub(crate) struct Health {
    status: Mutex<Status>,
}

/// The snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// This host.
    pub(crate) host: HostId,
    /// This run.
    pub(crate) stream: StreamId,
    /// The collector, `HOST:PORT`.
    pub(crate) collector: String,
    /// Whether it is connected, or why not.
    pub(crate) link: Link,
    /// The epoch of the event key in force.
    pub(crate) epoch: u64,
    /// The transport ledger, this run's lines first.
    pub(crate) transport: Vec<TransportLine>,
    /// The sensors' ledger.
    pub(crate) kinds: Vec<KindCounts>,
    /// Bytes in the spool.
    pub(crate) spool_bytes: u64,
    /// The most that it may hold.
    pub(crate) spool_quota: u64,
    /// Why the spool cannot be written; empty: it can.
    pub(crate) spool_error: String,
    /// The sensor and its hooks.
    pub(crate) sensor: SensorState,
    /// The login sources.
    pub(crate) logins: Vec<Hook>,
    /// Why the kernel sensor is not used; empty: it is.
    pub(crate) fallback: String,
    /// The baseline of files.
    pub(crate) integrity: Integrity,
    /// How many rules are loaded.
    pub(crate) rules: usize,
    /// How those over several events are doing.
    pub(crate) over_several: OverSeveral,
    /// How much the scorer has learned.
    pub(crate) scorer: Maturity,
    /// Incidents that the scorer found and nobody was told about.
    pub(crate) scorer_withheld: u64,
    /// What change windows did to its alerts.
    pub(crate) changes: Changes,
    /// How much on the host is new.
    pub(crate) drift: Drift,
    /// What the fleet knows, and how much it is told.
    pub(crate) fleet: FleetKnowledge,
    /// Commands answered in this run, and the newest answer as `action state`.
    pub(crate) commands: (u64, String),
    /// Commands refused in this run, by reason; `untold` are those of a flood that got no answer.
    pub(crate) refused_commands: BTreeMap<String, u64>,
    /// What is in force on this host, as `status --json` prints it.
    pub(crate) containment: Vec<Value>,
    /// Whether the package may be removed only by an operator's word.
    pub(crate) protects_removal: bool,
    /// The version of the trust root that is believed, and when it ends; `None`: nobody has said yet.
    pub(crate) trust_root: Option<(u64, UnixNanos)>,
    /// The policy in force and what it did, as `status --json` prints it.
    pub(crate) policy: Value,
    /// The version in use of each kind of signed content; 0: none.
    pub(crate) content: [(ContentKind, u64); ContentKind::ALL.len()],
    /// Why commands are refused whatever they are; empty: they are not.
    pub(crate) respond_error: String,
    /// What is wrong although the link is up.
    pub(crate) link_note: String,
    /// Batches that the collector did not take.
    pub(crate) refused_batches: u64,
    /// When the certificate ends, in seconds since 1970.
    pub(crate) certificate_ends: i64,
}

/// The baseline of files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Integrity {
    /// Files in it.
    pub(crate) files: usize,
    /// When it was complete for the first time; `None`: it is not yet, or none is kept.
    pub(crate) built: Option<UnixNanos>,
    /// Why the one of an earlier run was not used; empty: it was, or there was none.
    pub(crate) note: String,
}

impl Integrity {
    fn to_json(&self) -> Value {
        let age = self
            .built
            .map(|built| clock::system().now().since(built).as_secs());
        json!({
            "files": self.files, "built": self.built.map(|built| built.to_string()),
            "age_seconds": age, "note": self.note,
        })
    }
}

/// The connection to the collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// Being made.
    Connecting,
    /// Made, greeted and in use.
    Connected,
    /// Not made; the reason.
    Down(String),
}

/// One line of the transport ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TransportLine {
    /// Which run.
    pub(crate) stream: StreamId,
    /// Which class.
    pub(crate) class: Class,
    /// Numbers given.
    pub(crate) numbered: u64,
    /// Events that only this host has.
    pub(crate) spooled: u64,
    /// Numbers without an event.
    pub(crate) gaps: u64,
    /// Everything below is safe at the collector.
    pub(crate) durable_seq: u64,
}

impl Health {
    /// Of a run that begins.
    pub(crate) fn new(status: Status) -> SharedHealth {
        Arc::new(Self {
            status: Mutex::new(status),
        })
    }

    /// The snapshot, to be read or changed. Held only for moments.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// At the beginning of a run.
    pub(crate) fn new(host: HostId, stream: StreamId, collector: String) -> Self {
        Self {
            host,
            stream,
            collector,
            link: Link::Connecting,
            epoch: 0,
            transport: Vec::new(),
            kinds: Vec::new(),
            spool_bytes: 0,
            spool_quota: 0,
            spool_error: String::new(),
            sensor: SensorState::default(),
            logins: Vec::new(),
            fallback: String::new(),
            integrity: Integrity::default(),
            rules: 0,
            over_several: OverSeveral::default(),
            scorer: Maturity::default(),
            scorer_withheld: 0,
            changes: Changes::default(),
            drift: Drift::default(),
            fleet: FleetKnowledge::default(),
            commands: (0, String::new()),
            refused_commands: BTreeMap::new(),
            containment: Vec::new(),
            protects_removal: false,
            trust_root: None,
            policy: Value::Null,
            content: [
                (ContentKind::Rules, 0),
                (ContentKind::Policy, 0),
                (ContentKind::Configuration, 0),
            ],
            respond_error: String::new(),
            link_note: String::new(),
            refused_batches: 0,
            certificate_ends: 0,
        }
    }

    fn content_json(&self) -> Value {
        let versions = self.content.iter();
        let versions = versions.map(|(kind, version)| (kind.name().to_owned(), json!(version)));
        Value::Object(versions.collect())
    }

    /// Counts a refused command under its reason.
    pub(crate) fn refused(&mut self, reason: &str) {
        let count = self.refused_commands.entry(reason.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// As `status --json` prints it.
    pub(crate) fn to_json(&self) -> Value {
        let (link, why) = match &self.link {
            Link::Connecting => ("connecting", ""),
            Link::Connected => ("connected", self.link_note.as_str()),
            Link::Down(why) => ("down", why.as_str()),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "host": self.host.to_string(),
            "stream": self.stream.to_string(),
            "link": {
                "state": link, "reason": why, "collector": self.collector,
                "refused_batches": self.refused_batches, "certificate_ends": self.certificate_ends,
            },
            "epoch": self.epoch,
            "spool": {
                "bytes": self.spool_bytes, "quota_bytes": self.spool_quota, "error": self.spool_error,
            },
            "ledger": {
                "transport": self.transport.iter().map(transport_json).collect::<Vec<_>>(),
                "sensor": self.kinds.iter().map(|line| kind_json(*line)).collect::<Vec<_>>(),
            },
            "sensor": {
                "backend": self.sensor.backend, "fallback": self.fallback,
                "hooks": self.sensor.hooks.iter().map(hook_json).collect::<Vec<_>>(),
            },
            "logins": { "hooks": self.logins.iter().map(hook_json).collect::<Vec<_>>() },
            "integrity": self.integrity.to_json(),
            "rules": self.rules,
            "rules_over_several": {
                "learning": self.over_several.learning, "open_sequences": self.over_several.open,
                "forgotten_sequences": self.over_several.forgotten.sequences,
                "forgotten_values": self.over_several.forgotten.values,
            },
            "scorer": {
                "events": self.scorer.events, "days": self.scorer.days,
                "contexts": self.scorer.contexts, "contexts_mature": self.scorer.contexts_mature,
                "withheld": self.scorer_withheld,
                "change_windows": self.changes.windows, "change_windows_refused": self.changes.refused,
                "untold_in_change_windows": self.changes.untold,
                "fleet": crate::fleet::as_json(self.fleet),
                "new_of_late_ppm": self.drift.of_late, "new_usually_ppm": self.drift.usually,
                "not_learned_of_sessions": self.drift.unlearned,
            },
            "containment": {
                "commands": self.commands.0, "last": self.commands.1,
                "refused": self.refused_commands, "refusing": self.respond_error,
                "in_force": self.containment, "protect_removal": self.protects_removal,
            },
            "trust_root": self.trust_root.map(|(version, expires)| trust_json(version, expires)),
            "policy": self.policy,
            "content": self.content_json(),
            "resident_bytes": resident_bytes(),
        })
    }
}

/// One hook as `doctor --json` and `status --json` print it.
pub(crate) fn hook_json(hook: &Hook) -> Value {
    json!({
        "name": hook.name, "state": hook.state.name(), "detail": hook.detail, "instead": hook.instead,
    })
}

/// How long it is still good is said as well: who reads it need not have the agent's clock.
fn trust_json(version: u64, expires: UnixNanos) -> Value {
    let left = expires.since(clock::system().now());
    json!({
        "version": version, "expires": expires.to_string(), "seconds_left": left.as_secs(),
    })
}

fn transport_json(line: &TransportLine) -> Value {
    let stored = line
        .numbered
        .saturating_sub(line.spooled)
        .saturating_sub(line.gaps);
    json!({
        "stream": line.stream.to_string(), "class": line.class.name(), "numbered": line.numbered,
        "stored": stored, "spooled": line.spooled, "gaps": line.gaps, "durable_seq": line.durable_seq,
    })
}

fn kind_json(line: KindCounts) -> Value {
    let mut value = json!({"kind": line.kind.name()});
    if let (Value::Object(all), Value::Object(counts)) = (&mut value, event_json::counts(&line)) {
        all.extend(counts);
    }
    value
}

/// Memory of this process that is in use, in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Logs to stderr: everything from `default` on, or what `PICKET_LOG` says.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour =
        io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(io::stderr);
    // A second call, as in tests, changes nothing.
    drop(subscriber.try_init());
}

/// Tells people something on stderr. A closed stderr changes nothing.
pub(crate) fn say(line: &str) {
    let line = picket_event::Text::from(line).for_terminal();
    drop(writeln!(io::stderr().lock(), "picket-agent: {line}"));
}
