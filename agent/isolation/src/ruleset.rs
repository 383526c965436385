//! The rules, for what is wanted. Pure: nothing here asks the kernel.
//!
//! | chain | lets through |
//! | --- | --- |
//! | every | everything, once the set [`crate::IN_FORCE`] is empty: the end that needs nobody alive |
//! | `input` | loopback; the networks; the collector's answers to this program; neighbour discovery; errors about packets that are too big; answers of DHCP |
//! | `output` | loopback; the networks; this program to the collector; neighbour discovery and multicast reports; DHCP by broadcast, some packets per minute |
//! | `forward`, and `forward` of bridges | nothing |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::expression::{Base, Compare, Expression, Meta, Verdict};
use crate::table::Form;
use crate::{IN_FORCE, Network, Own, Wanted};

/// Both families of addresses.
pub(crate) const INET: u8 = 1;
/// Frames of bridges.
pub(crate) const BRIDGE: u8 = 7;

pub(crate) type Rule = Vec<Expression>;

/// A chain at a hook; what its rules do not accept is dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: u32,
    pub(crate) rules: Vec<Rule>,
}

/// The table in one family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) family: u8,
    /// The elements of the set: what the packets' family may be.
    pub(crate) elements: &'static [u8],
    pub(crate) chains: Vec<Chain>,
}

/// The whole table.
pub(crate) fn parts(wanted: &Wanted, form: Form) -> Vec<Part> {
    let own = wanted.own.map(|own| Own {
        cgroup: own.cgroup.filter(|_| form.cgroup),
        ..own
    });
    let inet = Part {
        family: INET,
        elements: &[IPV4, IPV6],
        chains: vec![
            chain("input", 1, input(wanted, own)),
            chain("forward", 2, Vec::new()),
            chain("output", 3, output(wanted, own)),
        ],
    };
    let bridge = Part {
        family: BRIDGE,
        elements: &[BRIDGE],
        chains: vec![chain("forward", 2, Vec::new())],
    };
    let bridge = form.bridge.then_some(bridge);
    [inet].into_iter().chain(bridge).collect()
}

fn chain(name: &'static str, hook: u32, accepted: Vec<Rule>) -> Chain {
    let over = vec![Expression::meta(Meta::Family), Expression::not_in(IN_FORCE)];
    let accepted = [over].into_iter().chain(accepted);
    let mut rules: Vec<Rule> = accepted
        .map(|mut rule| {
            rule.push(Expression::verdict(Verdict::Accept));
            rule
        })
        .collect();
    rules.push(vec![
        Expression::counter(),
        Expression::verdict(Verdict::Drop),
    ]);
    Chain { name, hook, rules }
}

fn input(wanted: &Wanted, own: Option<Own>) -> Vec<Rule> {
    let mut rules = vec![on_loopback(Meta::InterfaceIn)];
    rules.extend(wanted.networks.iter().map(|net| within(Side::Source, *net)));
    for (collector, own) in passages(wanted, own) {
        let mut rule = tcp(Side::Source, collector);
        match own.cgroup {
            Some(group) => rule.extend(of_group(group)),
            // Without a socket's group only connection tracking knows what is an answer.
            None => rule.extend(established()),
        }
        rules.push(rule);
    }
    rules.push(neighbours());
    rules.push(icmp6(
        Some(MULTICAST_HOPS),
        &range(LISTENER_QUERY, LISTENER_QUERY),
    ));
    rules.push(icmp6(None, &range(TOO_BIG, TOO_BIG)));
    rules.push(fragmentation_needed());
    rules.push(dhcp(DHCP_SERVER, DHCP_CLIENT));
    let link_local = Network {
        address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
        bits: 10,
    };
    rules.push(udp_of(
        within(Side::Source, link_local),
        DHCP6_SERVER,
        DHCP6_CLIENT,
    ));
    rules
}

fn output(wanted: &Wanted, own: Option<Own>) -> Vec<Rule> {
    let mut rules = vec![on_loopback(Meta::InterfaceOut)];
    let networks = wanted.networks.iter();
    rules.extend(networks.map(|net| within(Side::Destination, *net)));
    for (collector, own) in passages(wanted, own) {
        let mut rule = tcp(Side::Destination, collector);
        rule.push(Expression::meta(Meta::SocketUser));
        rule.push(Expression::compare(Compare::Equal, &own.uid.to_ne_bytes()));
        if let Some(group) = own.cgroup {
            rule.extend(of_group(group));
        }
        rules.push(rule);
    }
    rules.push(neighbours());
    rules.push(icmp6(
        Some(MULTICAST_HOPS),
        &range(LISTENER_REPORT, LISTENER_DONE),
    ));
    rules.push(icmp6(
        Some(MULTICAST_HOPS),
        &range(LISTENER_REPORT_2, LISTENER_REPORT_2),
    ));
    let everybody = within(Side::Destination, one(IpAddr::V4(Ipv4Addr::BROADCAST)));
    rules.push(rare(udp_of(everybody, DHCP_CLIENT, DHCP_SERVER)));
    let servers = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2));
    let servers = within(Side::Destination, one(servers));
    rules.push(rare(udp_of(servers, DHCP6_CLIENT, DHCP6_SERVER)));
    rules
}

fn passages(wanted: &Wanted, own: Option<Own>) -> impl Iterator<Item = (SocketAddr, Own)> {
    let own = own.into_iter();
    own.flat_map(|own| wanted.collectors.iter().map(move |to| (*to, own)))
}

/// Which end of the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Source,
    Destination,
}

/// The kernel gives loopback this number in every network namespace.
fn on_loopback(interface: Meta) -> Rule {
    vec![
        Expression::meta(interface),
        Expression::compare(Compare::Equal, &1_u32.to_ne_bytes()),
    ]
}

fn family(number: u8) -> Rule {
    vec![
        Expression::meta(Meta::Family),
        Expression::compare(Compare::Equal, &[number]),
    ]
}

fn protocol(number: u8) -> Rule {
    vec![
        Expression::meta(Meta::Protocol),
        Expression::compare(Compare::Equal, &[number]),
    ]
}

fn within(side: Side, network: Network) -> Rule {
    let (number, offset, bytes) = match (network.address, side) {
        (IpAddr::V4(ip), Side::Source) => (IPV4, 12, ip.octets().to_vec()),
        (IpAddr::V4(ip), Side::Destination) => (IPV4, 16, ip.octets().to_vec()),
        (IpAddr::V6(ip), Side::Source) => (IPV6, 8, ip.octets().to_vec()),
        (IpAddr::V6(ip), Side::Destination) => (IPV6, 24, ip.octets().to_vec()),
    };
    let mask = mask(network.bits, bytes.len());
    let bytes: Vec<u8> = bytes
        .iter()
        .zip(&mask)
        .map(|(byte, bits)| byte & bits)
        .collect();
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    let mut rule = family(number);
    rule.push(Expression::payload(Base::Network, offset, length));
    if mask.contains(&0) || mask.last() != Some(&0xff) {
        rule.push(Expression::mask(&mask));
    }
    rule.push(Expression::compare(Compare::Equal, &bytes));
    rule
}

/// So many leading ones.
fn mask(bits: u8, length: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let before = u8::try_from(at.saturating_mul(8)).unwrap_or(u8::MAX);
        let ones = bits.saturating_sub(before).min(8);
        u8::MAX
            .checked_shl(8_u32.saturating_sub(u32::from(ones)))
            .unwrap_or(0)
    };
    (0..length).map(byte).collect()
}

const fn one(address: IpAddr) -> Network {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Network { address, bits }
}

fn tcp(side: Side, end: SocketAddr) -> Rule {
    let mut rule = within(side, one(end.ip()));
    rule.extend(protocol(TCP));
    rule.push(port(side, end.port()).0);
    rule.push(port(side, end.port()).1);
    rule
}

fn port(side: Side, port: u16) -> (Expression, Expression) {
    let offset = if side == Side::Source { 0 } else { 2 };
    (
        Expression::payload(Base::Transport, offset, 2),
        Expression::compare(Compare::Equal, &port.to_be_bytes()),
    )
}

fn udp_of(mut rule: Rule, from: u16, to: u16) -> Rule {
    rule.extend(protocol(UDP));
    for (side, number) in [(Side::Source, from), (Side::Destination, to)] {
        let (load, compare) = port(side, number);
        rule.extend([load, compare]);
    }
    rule
}

fn of_group((number, level): (u64, u32)) -> Rule {
    vec![
        Expression::socket_cgroup(level),
        Expression::compare(Compare::Equal, &number.to_ne_bytes()),
    ]
}

fn established() -> Rule {
    vec![
        Expression::tracked_state(),
        Expression::mask(&ESTABLISHED.to_ne_bytes()),
        Expression::compare(Compare::NotEqual, &0_u32.to_ne_bytes()),
    ]
}

/// Solicitations and advertisements of routers and neighbours. No router passes such a packet on: its hop limit says so.
fn neighbours() -> Rule {
    icmp6(
        Some(255),
        &range(ROUTER_SOLICITATION, NEIGHBOUR_ADVERTISEMENT),
    )
}

fn icmp6(hops: Option<u8>, kinds: &[Expression]) -> Rule {
    let mut rule = family(IPV6);
    rule.extend(protocol(ICMP6));
    if let Some(hops) = hops {
        rule.push(Expression::payload(Base::Network, 7, 1));
        rule.push(Expression::compare(Compare::Equal, &[hops]));
    }
    rule.push(Expression::payload(Base::Transport, 0, 1));
    rule.extend(kinds.iter().cloned());
    rule
}

fn range(from: u8, to: u8) -> Rule {
    if from == to {
        return vec![Expression::compare(Compare::Equal, &[from])];
    }
    vec![
        Expression::compare(Compare::AtLeast, &[from]),
        Expression::compare(Compare::AtMost, &[to]),
    ]
}

fn fragmentation_needed() -> Rule {
    let mut rule = family(IPV4);
    rule.extend(protocol(ICMP));
    rule.push(Expression::payload(Base::Transport, 0, 2));
    rule.push(Expression::compare(Compare::Equal, &[3, 4]));
    rule
}

fn dhcp(from: u16, to: u16) -> Rule {
    udp_of(family(IPV4), from, to)
}

/// Enough to keep an address, too little to carry anything off.
fn rare(mut rule: Rule) -> Rule {
    rule.push(Expression::per_minute(10));
    rule
}

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const TOO_BIG: u8 = 2;
const LISTENER_QUERY: u8 = 130;
const LISTENER_REPORT: u8 = 131;
const LISTENER_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const LISTENER_REPORT_2: u8 = 143;
const MULTICAST_HOPS: u8 = 1;
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCP6_CLIENT: u16 = 546;
const DHCP6_SERVER: u16 = 547;
/// The bit of connections that were seen in both directions.
const ESTABLISHED: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        cgroup: true,
        bridge: true,
    };

    #[test]
    fn masks_are_leading_ones() {
        assert_eq!(mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(mask(9, 4), [255, 128, 0, 0]);
        assert_eq!(mask(32, 4), [255; 4]);
        assert_eq!(mask(128, 16), [255; 16]);
        assert_eq!(mask(255, 16), [255; 16]);
        assert_eq!(mask(61, 16)[7..9], [0xf8, 0]);
    }

    #[test]
    fn every_chain_begins_with_its_end_and_ends_with_a_drop() {
        for part in parts(&Wanted::default(), FORM) {
            for chain in part.chains {
                let first = chain.rules.first().unwrap();
                assert_eq!(first.get(1), Some(&Expression::not_in(IN_FORCE)));
                let last = chain.rules.last().unwrap();
                assert_eq!(last.last(), Some(&Expression::verdict(Verdict::Drop)));
            }
        }
    }

    #[test]
    fn nobody_reaches_the_collector_when_nobody_is_named() {
        let wanted = Wanted {
            collectors: vec![SocketAddr::from(([10, 0, 0, 1], 7443))],
            ..Wanted::default()
        };
        assert_eq!(parts(&wanted, FORM), parts(&Wanted::default(), FORM));
        let named = Wanted {
            own: Some(Own {
                uid: 0,
                cgroup: Some((7, 1)),
            }),
            ..wanted
        };
        let rules = |wanted: &Wanted| -> usize {
            let parts = parts(wanted, FORM);
            parts
                .iter()
                .flat_map(|part| &part.chains)
                .map(|chain| chain.rules.len())
                .sum()
        };
        assert_eq!(rules(&named), rules(&Wanted::default()) + 2);
    }

    #[test]
    fn without_groups_answers_are_those_that_are_tracked() {
        let wanted = Wanted {
            collectors: vec![SocketAddr::from(([10, 0, 0, 1], 7443))],
            own: Some(Own {
                uid: 0,
                cgroup: Some((7, 1)),
            }),
            ..Wanted::default()
        };
        let user_only = Form {
            cgroup: false,
            ..FORM
        };
        let has = |form: Form, step: &Expression| {
            let parts = parts(&wanted, form);
            let mut rules = parts
                .iter()
                .flat_map(|part| &part.chains)
                .flat_map(|chain| &chain.rules);
            rules.any(|rule| rule.contains(step))
        };
        assert!(has(FORM, &Expression::socket_cgroup(1)));
        assert!(!has(FORM, &Expression::tracked_state()));
        assert!(has(user_only, &Expression::tracked_state()));
        assert!(!has(user_only, &Expression::socket_cgroup(1)));
    }
}
