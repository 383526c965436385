//! An event as a document of the Elastic Common Schema (ECS), version 8.17.
//!
//! `docs/ecs.md` has the table of kinds and fields.
//!
//! # Invariants
//!
//! - Every event maps, with `@timestamp`, `event.kind`, `event.action` and `ecs.version`.
//! - Nothing is lost: what ECS has no field for stands in `picket`, under the names of our JSON.
//! - What is not known is absent, never guessed.

mod category;
mod detail;
mod process;
mod tree;

use serde_json::{Value, json};

use self::category::categories;
use self::tree::Tree;
use crate::{Event, Origin, RuleVerdict, Severity, Verdict, json as own};

/// The version of ECS.
pub const VERSION: &str = "8.17.0";

/// The event as a JSON value. `hostname` is the host's name, where that is known.
pub fn to_value(event: &Event, origin: &Origin, hostname: Option<&str>) -> Value {
    let mut tree = Tree::default();
    tree.put("@timestamp", event.time.to_string());
    tree.put("ecs.version", VERSION);
    envelope(&mut tree, event, origin);
    tree.maybe("host.name", hostname);
    tree.maybe("host.hostname", hostname);
    if let Some(acting) = &event.process {
        process::process(&mut tree, acting);
    }
    if let Some(detail) = &event.detail {
        detail::detail(&mut tree, event.kind, detail);
    }
    verdicts(&mut tree, event);
    let mut whole = own::to_value(event, origin);
    leave_out(&mut whole);
    tree.put("picket", whole);
    tree.done()
}

/// The event as one line, without its newline.
pub fn to_string(event: &Event, origin: &Origin, hostname: Option<&str>) -> String {
    to_value(event, origin, hostname).to_string()
}

/// Says in an event of [`to_value`] that it was signed by this branch of its host's event keys, which is not the host.
pub fn mark_doubtful(value: &mut Value, branch: &str) {
    own::put(value, ("picket", "doubtful"), branch);
}

fn envelope(tree: &mut Tree, event: &Event, origin: &Origin) {
    let (category, kinds) = categories(event.kind);
    let judged = event.severity() >= Some(Severity::Low);
    tree.put("event.kind", if judged { "alert" } else { "event" });
    tree.put("event.action", event.kind.name());
    tree.put("event.module", "picket");
    tree.put("event.dataset", format!("picket.{}", event.kind.name()));
    tree.put("event.provider", event.source.name());
    tree.put("event.sequence", event.seq);
    tree.list(
        "event.category",
        category.iter().map(|one| json!(one)).collect(),
    );
    tree.list("event.type", kinds.iter().map(|one| json!(one)).collect());
    tree.put("agent.type", "picket");
    tree.maybe("host.id", origin.host.map(|host| host.to_string()));
    tree.put("host.boot.id", origin.boot.to_string());
    tree.put("host.os.type", "linux");
}

fn verdicts(tree: &mut Tree, event: &Event) {
    // ECS counts as it likes; larger is worse.
    let severity = event
        .severity()
        .map(|severity| severity.to_wire().saturating_mul(20));
    tree.maybe("event.severity", severity);
    let rules = || event.verdicts.iter().filter_map(rule);
    let worst = rules().max_by_key(|rule| rule.severity);
    if let Some(rule) = worst {
        tree.word("rule.id", &rule.id);
        tree.word("rule.name", &rule.title);
        tree.word("rule.license", &rule.license);
        let author = (!rule.author.is_empty()).then(|| json!(rule.author));
        tree.list("rule.author", author.into_iter().collect());
    }
    let mut techniques: Vec<&str> = rules()
        .flat_map(|rule| rule.attack.iter().map(String::as_str))
        .collect();
    techniques.sort_unstable();
    techniques.dedup();
    if !techniques.is_empty() {
        tree.put("threat.framework", "MITRE ATT&CK");
    }
    let ids = techniques.into_iter().map(|one| json!(one));
    tree.list("threat.technique.id", ids.collect());
}

const fn rule(verdict: &Verdict) -> Option<&RuleVerdict> {
    match verdict {
        Verdict::Rule(rule) => Some(rule),
        Verdict::Scorer(_) => None,
    }
}

/// What stands under a name of ECS already, unchanged, needs no second place.
fn leave_out(whole: &mut Value) {
    let Some(object) = whole.as_object_mut() else {
        return;
    };
    for name in ["time", "host", "seq", "source"] {
        object.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BootId, Detail, HostId, Kind, Network, Process, ProcessUid, Source, Text, UnixNanos,
    };

    fn event(kind: Kind) -> Event {
        let mut process = Process::new(ProcessUid::new([7; 16]), 42);
        process.exe = Text::from("/usr/bin/curl");
        process.argv = vec![Text::from("curl"), Text::from("http://x/")];
        Event {
            kind,
            seq: 5,
            time: UnixNanos(1_767_607_200_123_456_789),
            boot_ns: 0,
            source: Source::Ebpf,
            process: Some(process),
            detail: None,
            verdicts: Vec::new(),
        }
    }

    fn origin() -> Origin {
        Origin {
            host: Some(HostId::new([1; 32])),
            boot: BootId::new([2; 16]),
        }
    }

    #[test]
    fn every_kind_has_what_every_document_needs() {
        for kind in Kind::ALL {
            let document = to_value(&event(*kind), &origin(), Some("web-1"));
            assert_eq!(document["@timestamp"], "2026-01-05T10:00:00.123456789Z");
            assert_eq!(document["event"]["action"], kind.name());
            assert_eq!(document["event"]["kind"], "event");
            assert_eq!(document["host"]["name"], "web-1");
            assert_eq!(document["ecs"]["version"], VERSION);
            assert_eq!(document["picket"]["kind"], kind.name());
        }
    }

    #[test]
    fn a_connection_has_its_ends_where_elastic_looks_for_them() {
        let mut event = event(Kind::NetConnect);
        event.detail = Some(Detail::Network(Network {
            proto: "tcp".to_owned(),
            direction: "outbound".to_owned(),
            local_ip: "192.0.2.1".parse().ok(),
            local_port: 40_000,
            remote_ip: "198.51.100.7".parse().ok(),
            remote_port: 443,
            bytes_in: Some(10),
            bytes_out: Some(20),
            result: Some(0),
        }));
        let document = to_value(&event, &origin(), None);
        assert_eq!(document["source"]["ip"], "192.0.2.1");
        assert_eq!(document["destination"]["ip"], "198.51.100.7");
        assert_eq!(document["destination"]["port"], 443);
        assert_eq!(document["network"]["bytes"], 30);
        assert_eq!(document["event"]["category"], json!(["network"]));
        assert_eq!(document["process"]["args"], json!(["curl", "http://x/"]));
        assert_eq!(document["process"]["name"], "curl");
    }
}
