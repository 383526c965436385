//! Three hosts in network namespaces: one that is isolated, its peer, and a guest that it forwards for.
//!
//! ```text
//! peer 10.77.0.1, fd77::1 ---- host 10.77.0.2, fd77::2 | 10.78.0.1 ---- guest 10.78.0.2
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use picket_isolation::{Own, Wanted};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const PEER: &str = "10.77.0.1";
pub(crate) const PEER_6: &str = "fd77::1";
pub(crate) const HOST: &str = "10.77.0.2";
pub(crate) const HOST_6: &str = "fd77::2";
pub(crate) const GUEST: &str = "10.78.0.2";
/// How long something that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(300);
/// How long something that must arrive may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace that goes with the test.
pub(crate) struct Space {
    name: String,
}

pub(crate) struct Ground {
    pub(crate) host: Space,
    pub(crate) peer: Space,
    pub(crate) guest: Space,
}

impl Space {
    fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("picket-{role}-{}-{count}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let space = Self { name };
        space.ip(&["link", "set", "lo", "up"]);
        space
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, args: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(args);
        run("ip", &all);
    }

    /// Runs a program inside, which must end well.
    pub(crate) fn run(&self, program: &str, args: &[&str]) {
        assert!(
            self.command(program, args).status().unwrap().success(),
            "{program} {args:?}"
        );
    }

    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        // Not by `ip netns exec`, which would hide control groups behind another /sys.
        let space = format!("--net=/run/netns/{}", self.name);
        let mut command = Command::new("nsenter");
        command.arg(space).arg(program).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Does it inside, on a thread of its own: never in the machine's own network namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(PathBuf::from("/run/netns").join(&self.name)).unwrap();
        thread::scope(|scope| {
            let work = || {
                use std::os::fd::AsFd;
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let of = |path| std::fs::read_link(path).unwrap();
                assert_ne!(of("/proc/thread-self/ns/net"), of("/proc/self/ns/net"));
                work()
            };
            scope.spawn(work).join().unwrap()
        })
    }

    /// Answers each connection's bytes with the same, for as long as the test lasts.
    pub(crate) fn echo(&self, at: &str, port: u16) -> SocketAddr {
        let at = (at.parse::<IpAddr>().unwrap(), port);
        let listener = self.inside(|| TcpListener::bind(at).unwrap());
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || repeat(stream));
            }
        });
        address
    }

    pub(crate) fn udp(&self, at: &str, port: u16) -> UdpSocket {
        let at = (at.parse::<IpAddr>().unwrap(), port);
        let socket = self.inside(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&to, SILENCE))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let deleted = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        drop(deleted);
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        let ground = Self {
            host: Space::new("host"),
            peer: Space::new("peer"),
            guest: Space::new("guest"),
        };
        let Self { host, peer, guest } = &ground;
        let pair = |a: &Space, b: &Space, name: &str| {
            a.ip(&[
                "link", "add", name, "type", "veth", "peer", "name", name, "netns", &b.name,
            ]);
        };
        pair(host, peer, "out");
        pair(host, guest, "in");
        let addresses = [
            (peer, "out", "10.77.0.1/24"),
            (peer, "out", "fd77::1/64"),
            (host, "out", "10.77.0.2/24"),
            (host, "out", "fd77::2/64"),
            (host, "in", "10.78.0.1/24"),
            (guest, "in", "10.78.0.2/24"),
        ];
        for (space, link, address) in addresses {
            let mut args = vec!["addr", "add", address, "dev", link];
            if address.contains(':') {
                args.push("nodad");
            }
            space.ip(&args);
            space.ip(&["link", "set", link, "up"]);
        }
        guest.ip(&["route", "add", "default", "via", "10.78.0.1"]);
        peer.ip(&["route", "add", "10.78.0.0/24", "via", HOST]);
        host.ip(&["route", "add", "default", "via", PEER]);
        host.run("sysctl", &["-q", "net.ipv4.ip_forward=1"]);
        ground
    }
}

/// What is asked for when only the collector stays.
pub(crate) fn only(collector: SocketAddr) -> Wanted {
    Wanted {
        collectors: vec![collector],
        own: Some(user()),
        ..Wanted::default()
    }
}

/// This program by its user alone.
pub(crate) fn user() -> Own {
    Own {
        cgroup: None,
        ..Own::find()
    }
}

/// Whether a session still carries words both ways.
pub(crate) fn speaks(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_write_timeout(Some(SILENCE)).unwrap();
    let mut answer = [0; 4];
    stream.write_all(b"word").is_ok() && stream.read_exact(&mut answer).is_ok()
}

/// As [`speaks`], for what must work.
pub(crate) fn speaks_soon(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 4];
    stream.write_all(b"word").is_ok() && stream.read_exact(&mut answer).is_ok()
}

/// Whether a datagram arrives.
pub(crate) fn arrives(from: &UdpSocket, to: (&str, u16), at: &UdpSocket) -> bool {
    let mut buffer = [0; 64];
    while at.recv(&mut buffer).is_ok() {}
    let sent = from.send_to(b"datagram", (to.0.parse::<IpAddr>().unwrap(), to.1));
    sent.is_ok() && at.recv(&mut buffer).is_ok()
}

fn repeat(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// Lets time pass; a thread that ends elsewhere may wake this one early.
pub(crate) fn pass(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Whether a program is on this machine; says so where it is not.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not here (make deps-test)");
    }
    found
}
