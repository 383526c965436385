//! The network: connections and names.

use std::net::IpAddr;

use crate::Text;

/// A connection, seen from this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// `tcp` or `udp`.
    pub proto: String,
    /// `outbound` or `inbound`.
    pub direction: String,
    /// This host's address.
    pub local_ip: Option<IpAddr>,
    /// This host's port; 0: not known.
    pub local_port: u32,
    /// The other's address.
    pub remote_ip: Option<IpAddr>,
    /// The other's port; 0: not known.
    pub remote_port: u32,
    /// Bytes received.
    pub bytes_in: Option<u64>,
    /// Bytes sent.
    pub bytes_out: Option<u64>,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// A name was asked for, or answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// The name.
    pub query: Text,
    /// `A`, `AAAA`, `TXT`...; `TYPEn` if it has no name here. In JSON it is `type`.
    pub record_type: String,
    /// What the answer says.
    pub answers: Vec<String>,
    /// The code of a response.
    pub rcode: Option<u32>,
    /// Who was asked.
    pub server_ip: Option<IpAddr>,
    /// Whether it is a response.
    pub response: bool,
}
