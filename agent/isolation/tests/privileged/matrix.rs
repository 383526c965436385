//! Way by way: what goes before, does not while the host is isolated, and goes again afterwards.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use picket_isolation::{Network, Reached, Table, Wanted, probe};

use super::ground::{
    GUEST, Ground, HOST, HOST_6, PEER, PEER_6, arrives, only, speaks, speaks_soon, user,
};

/// Isolates, looks, releases, looks again.
fn isolated<T: Send>(ground: &Ground, wanted: &Wanted, look: impl FnOnce() -> T + Send) -> T {
    let apply = || {
        let mut table = Table::open().unwrap();
        let form = table.apply(wanted).unwrap();
        assert_eq!(table.difference(wanted, form).unwrap(), None);
        table
    };
    let mut table = ground.host.inside(apply);
    let seen = look();
    table.remove().unwrap();
    assert!(!table.exists().unwrap());
    seen
}

#[test]
fn new_connections_go_nowhere_in_either_family_and_either_direction() {
    let ground = Ground::new();
    let mut ways = Vec::new();
    for (peer, host) in [(PEER, HOST), (PEER_6, HOST_6)] {
        ways.push((&ground.host, ground.peer.echo(peer, 9000)));
        ways.push((&ground.peer, ground.host.echo(host, 9000)));
    }
    let all = || ways.iter().map(|(from, to)| from.connect(*to).is_ok());
    assert!(all().all(|reached| reached), "before");
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    let during = isolated(&ground, &only(collector), || all().collect::<Vec<_>>());
    assert_eq!(during, [false; 4]);
    assert!(all().all(|reached| reached), "after");
}

#[test]
fn sessions_that_were_there_are_cut_but_the_collectors() {
    let ground = Ground::new();
    let collector = ground.peer.echo(PEER, 7443);
    let attackers = [ground.peer.echo(PEER, 4444), ground.peer.echo(PEER_6, 4444)];
    let session = ground.host.connect(collector).unwrap();
    let shells = attackers.map(|to| ground.host.connect(to).unwrap());
    let into = ground.peer.connect(ground.host.echo(HOST, 22)).unwrap();
    assert!(speaks(&session) && shells.iter().all(speaks) && speaks(&into));
    isolated(&ground, &only(collector), || {
        assert!(speaks_soon(&session), "the collector's session lives");
        assert!(!shells.iter().any(speaks));
        assert!(!speaks(&into));
        assert!(
            speaks_soon(&ground.host.connect(collector).unwrap()),
            "and it can be made anew"
        );
    });
    assert!(speaks_soon(&session));
}

#[test]
fn datagrams_go_nowhere_from_port_53_neither() {
    let ground = Ground::new();
    let listening = [ground.peer.udp(PEER, 5000), ground.peer.udp(PEER_6, 5000)];
    let dns = [ground.peer.udp(PEER, 53), ground.peer.udp(PEER_6, 53)];
    let mut sending = Vec::new();
    for (at, to, peer) in [(HOST, PEER, 0), (HOST_6, PEER_6, 1)] {
        // From any port, and from the one of DNS, to any port; and a question of DNS.
        sending.push((ground.host.udp(at, 0), (to, 5000), &listening[peer]));
        sending.push((ground.host.udp(at, 53), (to, 5000), &listening[peer]));
        sending.push((ground.host.udp(at, 0), (to, 53), &dns[peer]));
    }
    let answering = ground.host.udp(HOST, 5353);
    let from_dns = || arrives(&dns[0], (HOST, 5353), &answering);
    let all = || sending.iter().map(|(from, to, at)| arrives(from, *to, at));
    assert!(all().all(|arrived| arrived) && from_dns(), "before");
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    isolated(&ground, &only(collector), || {
        assert_eq!(all().collect::<Vec<_>>(), [false; 6]);
        assert!(!from_dns(), "nothing comes in from port 53");
    });
    assert!(all().all(|arrived| arrived) && from_dns(), "after");
}

#[test]
fn echoes_go_nowhere() {
    let ground = Ground::new();
    let ping = |space: &super::ground::Space, to: &str| {
        let mut ping = space.command("ping", &["-n", "-q", "-c", "1", "-W", "1", to]);
        ping.stdout(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    if !super::ground::has("ping") {
        return;
    }
    let all = || {
        let out = [PEER, PEER_6].map(|to| ping(&ground.host, to));
        let into = [HOST, HOST_6].map(|to| ping(&ground.peer, to));
        [out, into].concat()
    };
    assert_eq!(all(), [true; 4], "before");
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    assert_eq!(isolated(&ground, &only(collector), all), [false; 4]);
    assert_eq!(all(), [true; 4], "after");
}

#[test]
fn what_is_forwarded_for_a_guest_is_dropped_also_what_flowed_before() {
    let ground = Ground::new();
    let out = ground.peer.echo(PEER, 9000);
    let into = ground.guest.echo(GUEST, 9000);
    let collector = ground.peer.echo(PEER, 7443);
    let flows = [
        ground.guest.connect(out).unwrap(),
        ground.peer.connect(into).unwrap(),
    ];
    assert!(flows.iter().all(speaks));
    isolated(&ground, &only(collector), || {
        assert!(!flows.iter().any(speaks));
        assert!(ground.guest.connect(out).is_err());
        assert!(
            ground.guest.connect(collector).is_err(),
            "the collector is for the agent alone"
        );
        assert!(ground.peer.connect(into).is_err());
    });
    assert!(flows.iter().all(speaks_soon), "they go on");
}

#[test]
fn frames_that_a_bridge_passes_on_are_dropped() {
    let ground = Ground::new();
    // The host becomes a bridge between the two others.
    ground.host.ip(&["link", "add", "br0", "type", "bridge"]);
    for link in ["out", "in"] {
        ground.host.ip(&["addr", "flush", "dev", link]);
        ground.host.ip(&["link", "set", link, "master", "br0"]);
    }
    ground.host.ip(&["link", "set", "br0", "up"]);
    ground
        .guest
        .ip(&["addr", "add", "10.77.0.3/24", "dev", "in"]);
    let out = ground.peer.echo(PEER, 9000);
    let flow = ground.guest.connect(out).unwrap();
    assert!(speaks(&flow));
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    isolated(&ground, &only(collector), || assert!(!speaks(&flow)));
    assert!(speaks_soon(&flow));
}

#[test]
fn loopback_stays() {
    let ground = Ground::new();
    let own = [
        ground.host.echo("127.0.0.1", 0),
        ground.host.echo("::1", 0),
        ground.host.echo(HOST, 0),
    ];
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    isolated(&ground, &only(collector), || {
        for to in own {
            assert!(speaks_soon(&ground.host.connect(to).unwrap()), "{to}");
        }
    });
}

#[test]
fn a_lease_is_renewed_by_broadcast_only() {
    let ground = Ground::new();
    let server = ground.peer.udp("0.0.0.0", 67);
    let client = ground.host.udp("0.0.0.0", 68);
    let other = ground.host.udp("0.0.0.0", 6868);
    // Only from the client's port, only to everybody on the link.
    let cells = || {
        [
            arrives(&client, ("255.255.255.255", 67), &server),
            arrives(&server, (HOST, 68), &client),
            arrives(&client, (PEER, 67), &server),
            arrives(&other, ("255.255.255.255", 67), &server),
        ]
    };
    // A broadcast needs a route that says which link.
    assert_eq!(cells(), [true; 4], "before");
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    let during = isolated(&ground, &only(collector), cells);
    assert_eq!(during, [true, true, false, false]);
}

#[test]
fn neighbours_are_still_found() {
    let ground = Ground::new();
    let collector = ground.peer.echo(PEER_6, 7443);
    isolated(&ground, &only(collector), || {
        for space in [&ground.host, &ground.peer] {
            space.ip(&["neigh", "flush", "dev", "out"]);
        }
        assert!(speaks_soon(&ground.host.connect(collector).unwrap()));
    });
}

#[test]
fn listed_networks_stay_reachable_both_ways_and_no_others() {
    let ground = Ground::new();
    ground
        .peer
        .ip(&["addr", "add", "10.79.0.1/24", "dev", "out"]);
    let allowed = ground.peer.echo("10.79.0.1", 9000);
    let forbidden = ground.peer.echo(PEER, 9000);
    let own = ground.host.echo(HOST, 22);
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    let address: IpAddr = "10.79.0.77".parse().unwrap();
    let wanted = Wanted {
        networks: vec![Network { address, bits: 24 }],
        ..only(collector)
    };
    isolated(&ground, &wanted, || {
        assert!(speaks_soon(&ground.host.connect(allowed).unwrap()));
        assert!(ground.host.connect(forbidden).is_err());
        assert!(
            ground.peer.connect(own).is_err(),
            "from the peer's first address"
        );
    });
}

#[test]
fn a_collector_that_moved_and_a_proxy_are_reached_at_their_own_ports_only() {
    let ground = Ground::new();
    let first = ground.peer.echo(PEER, 7443);
    let moved = ground.peer.echo(PEER_6, 7443);
    let proxy = ground.peer.echo(PEER, 3128);
    let wanted = Wanted {
        collectors: vec![first, moved, proxy],
        own: Some(user()),
        ..Wanted::default()
    };
    let elsewhere = ground.peer.echo(PEER_6, 3128);
    isolated(&ground, &wanted, || {
        for to in [first, moved, proxy] {
            assert!(speaks_soon(&ground.host.connect(to).unwrap()), "{to}");
        }
        assert!(ground.host.connect(elsewhere).is_err());
    });
}

#[test]
fn the_probe_tells_an_isolated_host_from_another() {
    let ground = Ground::new();
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    let wanted = only(collector);
    let before = ground.host.inside(|| probe(&wanted));
    assert!(!before.holds());
    let during = isolated(&ground, &wanted, || ground.host.inside(|| probe(&wanted)));
    assert_eq!((during.v4, during.v6), (Reached::Blocked, Reached::NoRoute));
    let six = only(SocketAddr::new(PEER_6.parse().unwrap(), 7443));
    let during = isolated(&ground, &six, || ground.host.inside(|| probe(&six)));
    assert_eq!((during.v4, during.v6), (Reached::Blocked, Reached::Blocked));
}

#[test]
fn what_is_dropped_is_counted() {
    let ground = Ground::new();
    let collector = SocketAddr::from(([10, 77, 0, 1], 7443));
    let wanted = Wanted {
        until: Some(picket_isolation::Deadline::after(Duration::from_mins(1))),
        ..only(collector)
    };
    ground.host.inside(|| {
        let mut table = Table::open().unwrap();
        table.apply(&wanted).unwrap();
        let before = table.dropped().unwrap();
        assert!(probe(&wanted).holds());
        assert!(table.dropped().unwrap() > before);
        table.remove().unwrap();
    });
}
