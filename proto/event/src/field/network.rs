//! Fields of connections and names.

use super::read::{address, number, text, word, words};
use super::{Row, Value};
use crate::{Detail, Dns, Event};

pub(super) const FIELDS: &[Row] = &[
    ("network.proto", |e| word(&e.network()?.proto)),
    ("network.direction", |e| word(&e.network()?.direction)),
    ("network.local_ip", |e| address(e.network()?.local_ip)),
    ("network.local_port", |e| number(e.network()?.local_port)),
    ("network.remote_ip", |e| address(e.network()?.remote_ip)),
    ("network.remote_port", |e| number(e.network()?.remote_port)),
    ("network.bytes_in", |e| number(e.network()?.bytes_in?)),
    ("network.bytes_out", |e| number(e.network()?.bytes_out?)),
    ("network.result", |e| number(e.network()?.result?)),
    ("dns.query", |e| text(&dns(e)?.query)),
    ("dns.type", |e| word(&dns(e)?.record_type)),
    ("dns.answers", |e| words(&dns(e)?.answers)),
    ("dns.rcode", |e| number(dns(e)?.rcode?)),
    ("dns.server_ip", |e| address(dns(e)?.server_ip)),
    ("dns.response", |e| Some(Value::Flag(dns(e)?.response))),
];

fn dns(event: &Event) -> Option<&Dns> {
    match &event.detail {
        Some(Detail::Dns(it)) => Some(it),
        _ => None,
    }
}
