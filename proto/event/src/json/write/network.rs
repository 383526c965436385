//! Connections and names to JSON.

use super::object::{Json, Object};
use crate::{Dns, Network};

pub(super) fn network(network: &Network) -> Json {
    let port = |port: u32| (port != 0).then_some(port);
    Object::new()
        .word("proto", &network.proto)
        .word("direction", &network.direction)
        .ip("local_ip", network.local_ip)
        .maybe("local_port", port(network.local_port))
        .ip("remote_ip", network.remote_ip)
        .maybe("remote_port", port(network.remote_port))
        .maybe("bytes_in", network.bytes_in)
        .maybe("bytes_out", network.bytes_out)
        .maybe("result", network.result)
        .done()
}

pub(super) fn dns(dns: &Dns) -> Json {
    Object::new()
        .text("query", &dns.query)
        .word("type", &dns.record_type)
        .put("answers", &dns.answers)
        .maybe("rcode", dns.rcode)
        .ip("server_ip", dns.server_ip)
        .flag("response", dns.response)
        .done()
}
