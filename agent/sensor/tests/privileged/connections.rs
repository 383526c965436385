//! Connections, over both versions of IP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use picket_event::Event;

use super::rig::collect;

#[test]
fn connections_over_loopback_are_seen_with_their_result() {
    let mut sensor = sensor_or_skip!();
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let mut expected = vec![(v4.local_addr().unwrap(), "tcp", Some(0))];
    let stream = TcpStream::connect(v4.local_addr().unwrap()).unwrap();
    let local_port = stream.local_addr().unwrap().port();
    if let Some(v6) = &v6 {
        TcpStream::connect(v6.local_addr().unwrap()).unwrap();
        expected.push((v6.local_addr().unwrap(), "tcp", Some(0)));
    }
    TcpStream::connect(closed).unwrap_err();
    expected.push((closed, "tcp", Some(-111)));
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    udp.connect((Ipv4Addr::LOCALHOST, 5353)).unwrap();
    expected.push((
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353),
        "udp",
        Some(0),
    ));
    let own = std::process::id();
    let seen = |events: &[Event]| -> Vec<(SocketAddr, String, Option<i32>)> {
        let mine = events.iter().filter(|event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == own)
        });
        mine.filter_map(|event| {
            let network = event.network()?;
            let port = u16::try_from(network.remote_port).ok()?;
            Some((
                SocketAddr::new(network.remote_ip?, port),
                network.proto.clone(),
                network.result,
            ))
        })
        .collect()
    };
    let events = collect(&mut sensor, |events| seen(events).len() >= expected.len());
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(address, proto, result)| (address, proto.to_owned(), result))
        .collect();
    assert_eq!(seen(&events), expected);
    let first = events.iter().find_map(Event::network).unwrap();
    assert_eq!(first.local_port, u32::from(local_port));
    assert_eq!(first.local_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(first.direction, "outbound");
}
