//! What a simulation prints: lines for people, or one JSON object.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::play::{End, Load, Standing, Storm};
use super::{Options, SIMULATED};

/// A remark for people; with `json` it goes to the side.
pub(super) fn say(json: bool, line: &str) {
    if json {
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(io::stderr(), "{line}"));
    } else {
        out(line);
    }
}

pub(super) fn print(
    json: bool,
    options: &Options,
    standing: &Standing,
    load: &Load,
    (storm, end): (Option<&Storm>, &End),
) {
    if json {
        return out(&object(options, standing, load, (storm, end)).to_string());
    }
    for line in lines(standing, load) {
        out(&line);
    }
    if let Some(storm) = storm {
        let Storm {
            seconds,
            errors,
            handshakes_failed,
            complaints,
        } = storm;
        out(&format!(
            "storm: all cut, all acknowledged again after {seconds:.1} s; agents met {}; the collector: {} failed handshakes, {} warnings",
            spoken(errors),
            known(*handshakes_failed),
            known(*complaints),
        ));
    }
    for line in proof(end) {
        out(&line);
    }
}

fn lines(standing: &Standing, load: &Load) -> Vec<String> {
    let spread = load.spread;
    let of_connections = standing.kib_per_agent().map_or_else(String::new, |kib| {
        format!(
            "collector memory: {} KiB with all enrolled, {} KiB with all connected: {kib:.1} KiB for each",
            known(standing.enrolled_kib),
            known(standing.connected_kib),
        )
    });
    let collector = load
        .collector_us()
        .map_or_else(|| "not known".to_owned(), |us| format!("{us:.2} us"));
    vec![
        of_connections,
        format!(
            "{:.0} events/s made durable ({} events in {:.1} s, {:.0} a batch, {:.0} bytes each on the wire)",
            load.events_per_s(),
            load.events_acked,
            load.seconds,
            load.events_per_batch(),
            load.bytes_per_event(),
        ),
        format!(
            "ack after {:.1} ms (half), {:.1} ms (99 of 100), {:.1} ms (slowest of {} batches)",
            spread.p50_ms, spread.p99_ms, spread.max_ms, spread.count
        ),
        format!(
            "processor time for each event: collector {collector}, simulation {:.2} us",
            load.sim_us()
        ),
    ]
}

fn proof(end: &End) -> Vec<String> {
    let proof = end.proof;
    let scanned = proof.scanned.map_or_else(
        || "its log was not read".to_owned(),
        |scanned| format!("{scanned} in its log, {} of them twice", proof.doubled),
    );
    let verdict = if proof.holds() {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    vec![
        format!("agents met: {}", spoken(&end.errors)),
        format!(
            "proof {verdict}: {} events acknowledged, {} in the verified evidence of {} chains, {scanned}; {} missing, {} gaps; books of {} of {} hosts balance; {} batches came again and were told apart",
            proof.acked,
            proof.stored,
            proof.chains,
            proof.missing,
            proof.gaps,
            proof.balanced,
            proof.hosts,
            known(end.redelivered),
        ),
    ]
}

fn object(
    options: &Options,
    standing: &Standing,
    load: &Load,
    (storm, end): (Option<&Storm>, &End),
) -> Value {
    let (spread, proof) = (load.spread, end.proof);
    json!({
        "simulated": SIMULATED,
        "agents": standing.agents,
        "batch": options.batch,
        "rate": options.rate,
        "seconds": load.seconds,
        "events_sent": load.events_sent,
        "events_acked": load.events_acked,
        "events_per_s": load.events_per_s(),
        "events_per_batch": load.events_per_batch(),
        "bytes_per_event": load.bytes_per_event(),
        "ack_p50_ms": spread.p50_ms,
        "ack_p99_ms": spread.p99_ms,
        "ack_max_ms": spread.max_ms,
        "collector_cpu_us_per_event": load.collector_us(),
        "sim_cpu_us_per_event": load.sim_us(),
        "collector_rss_kib": end.resident_kib,
        "collector_rss_enrolled_kib": standing.enrolled_kib,
        "collector_rss_connected_kib": standing.connected_kib,
        "kib_per_agent": standing.kib_per_agent(),
        "enrolment_s": standing.enrolment_s,
        "handshakes_per_s": standing.handshakes_per_s(),
        "connections": end.connections,
        "errors": end.errors,
        "storm": storm.map(|storm| json!({
            "seconds": storm.seconds,
            "errors": storm.errors,
            "handshakes_failed": storm.handshakes_failed,
            "warnings": storm.complaints,
        })),
        "total_acked": proof.acked,
        "total_stored": proof.stored,
        "missing": proof.missing,
        "duplicates": proof.doubled,
        "gaps": proof.gaps,
        "scanned": proof.scanned,
        "hosts_balanced": proof.balanced,
        "redelivered_batches": end.redelivered,
        "collector_warnings": end.complaints.as_ref().map(Vec::len),
        "proof": proof.holds(),
    })
}

/// Errors by kind, in words.
pub(crate) fn spoken(errors: &BTreeMap<String, u64>) -> String {
    if errors.is_empty() {
        return "no error".to_owned();
    }
    let each = errors
        .iter()
        .map(|(kind, count)| format!("{count} x {kind}"));
    each.collect::<Vec<_>>().join(", ")
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

fn out(line: &str) {
    if !line.is_empty() {
        // Whoever closed the pipe has seen enough.
        drop(writeln!(io::stdout().lock(), "{line}"));
    }
}
