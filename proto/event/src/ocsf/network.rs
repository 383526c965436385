//! Connections and names.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::activity::{CONNECTION, DNS, Mapped, status};
use super::part::{Part, UNKNOWN};
use crate::{Dns, Kind, Network};

/// A connection of which nothing is known but that it was.
pub(super) fn unknown(kind: Kind) -> Mapped {
    let mapped = match kind {
        Kind::Dns => Mapped::new(DNS, (0, "Unknown")),
        kind => Mapped::new(CONNECTION, activity(kind, None)),
    };
    mapped.with(Part::new().part("dst_endpoint", Some(endpoint(None, 0))))
}

pub(super) fn network(kind: Kind, network: &Network) -> Mapped {
    let local = endpoint(network.local_ip, network.local_port);
    let remote = endpoint(network.remote_ip, network.remote_port);
    let ends = if kind == Kind::NetListen {
        Part::new().part("dst_endpoint", Some(local))
    } else if network.direction == "inbound" {
        Part::new()
            .part("src_endpoint", Some(remote))
            .part("dst_endpoint", Some(local))
    } else {
        Part::new()
            .part("src_endpoint", Some(local))
            .part("dst_endpoint", Some(remote))
    };
    let attributes = ends
        .part("connection_info", Some(connection(network)))
        .part("traffic", traffic(network));
    let mapped = Mapped::new(CONNECTION, activity(kind, network.result))
        .with(attributes)
        .result(
            network
                .result
                .map(|result| if result == IN_PROGRESS { 0 } else { result }),
        );
    match kind {
        Kind::NetListen => mapped.taking(LISTEN),
        _ => mapped.taking(TAKEN),
    }
}

/// A connection that does not wait for its end goes on; it did not fail.
const IN_PROGRESS: i32 = -115;
const REFUSED: i32 = -111;

const TAKEN: &[&str] = &[
    "network.proto",
    "network.direction",
    "network.local_ip",
    "network.local_port",
    "network.remote_ip",
    "network.remote_port",
    "network.bytes_in",
    "network.bytes_out",
];

const LISTEN: &[&str] = &[
    "network.proto",
    "network.direction",
    "network.local_ip",
    "network.local_port",
    "network.bytes_in",
    "network.bytes_out",
];

const fn activity(kind: Kind, result: Option<i32>) -> (u32, &'static str) {
    match (kind, result) {
        (Kind::NetListen, _) => (7, "Listen"),
        (Kind::NetClose, _) => (2, "Close"),
        (_, Some(REFUSED)) => (5, "Refuse"),
        (_, Some(errno)) if errno < 0 && errno != IN_PROGRESS => (4, "Fail"),
        _ => (1, "Open"),
    }
}

fn endpoint(ip: Option<IpAddr>, port: u32) -> Part {
    Part::new()
        .maybe("ip", ip.map(|ip| ip.to_string()))
        .maybe("name", ip.is_none().then_some(UNKNOWN))
        .maybe("port", (port != 0).then_some(port))
}

fn connection(network: &Network) -> Part {
    let (direction, name) = match network.direction.as_str() {
        "inbound" => (1, "Inbound"),
        "outbound" => (2, "Outbound"),
        "" => (0, "Unknown"),
        other => (99, other),
    };
    let number = match network.proto.as_str() {
        "tcp" => Some(6),
        "udp" => Some(17),
        _ => None,
    };
    let version = match network.remote_ip.or(network.local_ip) {
        Some(IpAddr::V4(_)) => 4,
        Some(IpAddr::V6(_)) => 6,
        None => 0,
    };
    Part::new()
        .put("direction_id", direction)
        .put("direction", name)
        .word("protocol_name", &network.proto)
        .maybe("protocol_num", number)
        .put("protocol_ver_id", version)
}

fn traffic(network: &Network) -> Option<Part> {
    let all = match (network.bytes_in, network.bytes_out) {
        (None, None) => return None,
        (Some(received), Some(sent)) => Some(received.saturating_add(sent)),
        _ => None,
    };
    let part = Part::new()
        .maybe("bytes_in", network.bytes_in)
        .maybe("bytes_out", network.bytes_out)
        .maybe("bytes", all);
    Some(part)
}

pub(super) fn dns(dns: &Dns) -> Mapped {
    let activity = if dns.response {
        (2, "Response")
    } else {
        (1, "Query")
    };
    let query = Part::new()
        .put("hostname", dns.query.lossy())
        .word("type", &dns.record_type);
    let answers = dns.answers.iter().map(|rdata| answer(rdata));
    let attributes = Part::new()
        .part("query", Some(query))
        .list("answers", answers.collect())
        .part("dst_endpoint", Some(endpoint(dns.server_ip, 0)))
        .with(dns.rcode.map(code).unwrap_or_default());
    Mapped::new(DNS, activity).with(attributes).taking(&[
        "dns.query",
        "dns.type",
        "dns.answers",
        "dns.server_ip",
        "dns.response",
    ])
}

fn answer(rdata: &str) -> Value {
    json!({"rdata": rdata})
}

fn code(rcode: u32) -> Part {
    let id = if matches!(rcode, 0..=11 | 16..=25) {
        rcode
    } else {
        99
    };
    status(rcode == 0)
        .put("rcode_id", id)
        .put("rcode", rcode.to_string())
}
