//! Addresses of sockets, as audit writes them: the bytes of `struct sockaddr` in hexadecimal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picket_event::{Detail, Kind, Network, Text};

use super::audit::Told;
use crate::audit::record;

/// An address that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// Of the internet, with its port.
    Internet(IpAddr, u16),
    /// Of this host: a path, or an abstract name that begins with `@`.
    Unix(Text),
    /// Of another family, by its number.
    Other(u16),
}

/// Reads `saddr`.
pub fn address(saddr: &[u8]) -> Option<Address> {
    let text = record::text_of(saddr);
    let bytes = text.as_bytes();
    let family = u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]);
    let rest = bytes.get(2..)?;
    Some(match family {
        UNIX => Address::Unix(unix(rest)),
        INET => {
            let (port, ip) = (port(rest)?, rest.get(2..6)?);
            let ip: [u8; 4] = ip.try_into().ok()?;
            Address::Internet(IpAddr::V4(Ipv4Addr::from(ip)), port)
        }
        INET6 => {
            let (port, ip) = (port(rest)?, rest.get(6..22)?);
            let ip: [u8; 16] = ip.try_into().ok()?;
            Address::Internet(IpAddr::V6(Ipv6Addr::from(ip)), port)
        }
        other => Address::Other(other),
    })
}

fn port(rest: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))
}

fn unix(rest: &[u8]) -> Text {
    let until_nul = |name: &[u8]| {
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        name.get(..end).unwrap_or_default().to_vec()
    };
    match rest {
        [0, name @ ..] => Text::from([b"@".to_vec(), until_nul(name)].concat()),
        name => Text::from(until_nul(name)),
    }
}

/// A connection that the call began or took.
pub(super) fn event(told: &Told<'_>) -> Option<(Kind, Option<Detail>)> {
    let (kind, direction) = match told.call {
        "connect" => (Kind::NetConnect, "outbound"),
        "accept" | "accept4" => (Kind::NetAccept, "inbound"),
        _ => return None,
    };
    let saddr = told.first("SOCKADDR")?.text("saddr");
    let Address::Internet(ip, port) = address(saddr.as_bytes())? else {
        return None;
    };
    let refused = told.refused();
    if kind == Kind::NetAccept && refused.is_some() {
        return None;
    }
    let network = Network {
        proto: String::new(),
        direction: direction.to_owned(),
        local_ip: None,
        local_port: 0,
        remote_ip: Some(ip),
        remote_port: u32::from(port),
        bytes_in: None,
        bytes_out: None,
        result: Some(refused.unwrap_or(0)),
    };
    Some((kind, Some(Detail::Network(network))))
}

// linux/socket.h
const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_read_and_a_short_one_is_none() {
        let inet = address(b"02000050A9FEA9FE0000000000000000");
        let expected = Address::Internet("169.254.169.254".parse().unwrap(), 80);
        assert_eq!(inet, Some(expected));
        let inet6 = address(b"0A000016000000000000000000000000000000000000000000000000");
        assert_eq!(inet6, Some(Address::Internet("::".parse().unwrap(), 22)));
        let unix = address(b"01002F7661722F72756E2F780000");
        assert_eq!(unix, Some(Address::Unix(Text::from("/var/run/x"))));
        assert_eq!(
            address(b"100000000000000000000000"),
            Some(Address::Other(16))
        );
        assert_eq!(
            (address(b"0200"), address(b"xx"), address(b"")),
            (None, None, None)
        );
    }
}
