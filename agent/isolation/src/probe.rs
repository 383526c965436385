//! Sends one packet to where nothing may go, to see that it does not.
//!
//! What stays true: the packets hold no more than one byte and go to addresses that are for documentation, or to a
//! port of the collector's host that means "discard".

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

use crate::Wanted;

/// What became of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reached {
    /// A rule of this host dropped it.
    Blocked,
    /// There is no way there at all.
    NoRoute,
    /// It left.
    Sent,
}

/// What became of one packet of each family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// IPv4.
    pub v4: Reached,
    /// IPv6.
    pub v6: Reached,
}

impl Probe {
    /// Whether nothing left.
    pub fn holds(&self) -> bool {
        self.v4 != Reached::Sent && self.v6 != Reached::Sent
    }

    /// For people.
    pub fn text(&self) -> String {
        let words = |reached| match reached {
            Reached::Blocked => "blocked",
            Reached::NoRoute => "no route",
            Reached::Sent => "not blocked",
        };
        format!("IPv4 {}, IPv6 {}", words(self.v4), words(self.v6))
    }
}

/// Tries both families: addresses for documentation, and the collectors' hosts, to which there is a way.
pub fn probe(wanted: &Wanted) -> Probe {
    let known = wanted.collectors.iter().map(SocketAddr::ip);
    let all = known.chain([IpAddr::V4(DOCUMENTATION_4), IpAddr::V6(DOCUMENTATION_6)]);
    let forbidden = all.filter(|ip| !wanted.networks.iter().any(|net| net.holds(*ip)));
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = forbidden.partition(IpAddr::is_ipv4);
    Probe {
        v4: worst(&v4),
        v6: worst(&v6),
    }
}

/// The worst of them: one packet that left is enough.
fn worst(addresses: &[IpAddr]) -> Reached {
    let all: Vec<Reached> = addresses.iter().map(|ip| attempt(*ip)).collect();
    let any = |what| all.contains(&what);
    match (any(Reached::Sent), any(Reached::Blocked)) {
        (true, _) => Reached::Sent,
        (false, true) => Reached::Blocked,
        (false, false) => Reached::NoRoute,
    }
}

fn attempt(to: IpAddr) -> Reached {
    let from = match to {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let sent = UdpSocket::bind(from).and_then(|socket| {
        socket.connect((to, DISCARD))?;
        // This host itself: that way is over loopback.
        if socket.local_addr()?.ip() == to {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        socket.send(b"x")
    });
    match sent {
        Ok(_) => Reached::Sent,
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Reached::Blocked,
        Err(_) => Reached::NoRoute,
    }
}

const DOCUMENTATION_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DOCUMENTATION_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DISCARD: u16 = 9;
