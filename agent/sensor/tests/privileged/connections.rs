//! Connections, over both versions of IP.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use picket_event::{Detail, Event, Kind};

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
        let begun = mine.filter(|event| event.kind == Kind::NetConnect);
        begun
            .filter_map(|event| {
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
    let mut begun = events.iter().filter(|event| event.kind == Kind::NetConnect);
    let first = begun.find_map(Event::network).unwrap();
    assert_eq!(first.local_port, u32::from(local_port));
    assert_eq!(first.local_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(first.direction, "outbound");
}

#[test]
fn a_connection_is_seen_on_both_sides_until_it_ends() {
    let mut sensor = sensor_or_skip!();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(&[1; 1_000]).unwrap();
    server.read_exact(&mut [0; 1_000]).unwrap();
    server.write_all(&[2; 10]).unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    drop(client);
    drop(server);
    let of_port = |events: &[Event], kind: Kind| -> Vec<picket_event::Network> {
        let networks = events.iter().filter(|event| event.kind == kind);
        let networks = networks.filter_map(Event::network);
        let mine =
            networks.filter(|network| network.local_port == port || network.remote_port == port);
        mine.cloned().collect()
    };
    let events = collect(&mut sensor, |events| {
        of_port(events, Kind::NetClose).len() >= 2
    });
    let [listen] = &of_port(&events, Kind::NetListen)[..] else {
        panic!("{:?}", of_port(&events, Kind::NetListen))
    };
    assert_eq!((listen.proto.as_str(), listen.local_port), ("tcp", port));
    let [accepted] = &of_port(&events, Kind::NetAccept)[..] else {
        panic!("one accept")
    };
    assert_eq!(
        (accepted.direction.as_str(), accepted.local_port),
        ("inbound", port)
    );
    let ended = of_port(&events, Kind::NetClose);
    let client = ended.iter().find(|end| end.remote_port == port).unwrap();
    assert_eq!((client.bytes_in, client.bytes_out), (Some(10), Some(1_000)));
    assert_eq!(client.direction, "outbound");
    let server = ended.iter().find(|end| end.local_port == port).unwrap();
    assert_eq!((server.bytes_in, server.bytes_out), (Some(1_000), Some(10)));
    assert_eq!(server.direction, "inbound");
    assert!(
        events
            .iter()
            .filter(|event| event.kind == Kind::NetClose)
            .all(|event| {
                event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.pid == std::process::id())
                    || event.network().is_some_and(|network| {
                        network.local_port != port && network.remote_port != port
                    })
            })
    );
}

#[test]
fn a_name_that_is_asked_for_is_seen_with_its_answer() {
    let mut sensor = sensor_or_skip!();
    let Ok(server) = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 77), 53)) else {
        return eprintln!("SKIPPED: port 53 of a loopback address is taken");
    };
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect((Ipv4Addr::new(127, 0, 0, 77), 53)).unwrap();
    let question =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06picket\x04test\x00\x00\x01\x00\x01";
    client.send(question).unwrap();
    let mut buffer = [0; 512];
    let (length, peer) = server.recv_from(&mut buffer).unwrap();
    let mut answer = buffer[..length].to_vec();
    answer[2] = 0x81;
    answer[7] = 1;
    answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x2a");
    server.send_to(&answer, peer).unwrap();
    client.recv(&mut buffer).unwrap();
    let told = |events: &[Event]| -> Vec<picket_event::Dns> {
        let details = events.iter().filter_map(|event| match &event.detail {
            Some(Detail::Dns(dns)) if dns.query.as_str() == Some("picket.test") => {
                Some(dns.clone())
            }
            _ => None,
        });
        details.collect()
    };
    let events = collect(&mut sensor, |events| told(events).len() >= 2);
    let told = told(&events);
    assert_eq!(
        (told[0].response, told[0].record_type.as_str()),
        (false, "A")
    );
    assert_eq!(
        told[0].server_ip,
        Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77)))
    );
    assert_eq!((told[1].response, told[1].rcode), (true, Some(0)));
    assert_eq!(told[1].answers, ["127.0.0.42"]);
}
