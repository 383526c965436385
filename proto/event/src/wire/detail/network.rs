//! Connections and names on the wire.

use std::net::IpAddr;

use picket_proto::v1;

use crate::wire::EventError;
use crate::{Dns, Network};

impl From<Network> for v1::Network {
    fn from(network: Network) -> Self {
        Self {
            proto: network.proto,
            direction: network.direction,
            local_ip: address_bytes(network.local_ip),
            local_port: network.local_port,
            remote_ip: address_bytes(network.remote_ip),
            remote_port: network.remote_port,
            bytes_in: network.bytes_in,
            bytes_out: network.bytes_out,
            result: network.result,
        }
    }
}

fn address_bytes(address: Option<IpAddr>) -> Vec<u8> {
    match address {
        None => Vec::new(),
        Some(IpAddr::V4(four)) => four.octets().to_vec(),
        Some(IpAddr::V6(six)) => six.octets().to_vec(),
    }
}

impl TryFrom<v1::Network> for Network {
    type Error = EventError;

    fn try_from(wire: v1::Network) -> Result<Self, EventError> {
        Ok(Self {
            proto: wire.proto,
            direction: wire.direction,
            local_ip: address("network.local_ip", &wire.local_ip)?,
            local_port: wire.local_port,
            remote_ip: address("network.remote_ip", &wire.remote_ip)?,
            remote_port: wire.remote_port,
            bytes_in: wire.bytes_in,
            bytes_out: wire.bytes_out,
            result: wire.result,
        })
    }
}

fn address(field: &'static str, bytes: &[u8]) -> Result<Option<IpAddr>, EventError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    match four.or(six) {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(EventError::Address {
            field,
            length: bytes.len(),
        }),
    }
}

impl From<Dns> for v1::Dns {
    fn from(dns: Dns) -> Self {
        Self {
            query: dns.query.into_bytes(),
            r#type: dns.record_type,
            answers: dns.answers,
            rcode: dns.rcode,
            server_ip: address_bytes(dns.server_ip),
            response: dns.response,
        }
    }
}

impl TryFrom<v1::Dns> for Dns {
    type Error = EventError;

    fn try_from(wire: v1::Dns) -> Result<Self, EventError> {
        Ok(Self {
            query: wire.query.into(),
            record_type: wire.r#type,
            answers: wire.answers,
            rcode: wire.rcode,
            server_ip: address("dns.server_ip", &wire.server_ip)?,
            response: wire.response,
        })
    }
}
