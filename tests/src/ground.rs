//! Two hosts in network namespaces of their own, for what must never be done to the machine's own network.
//!
//! ```text
//! peer 10.77.0.1 ---- host 10.77.0.2
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::failure::Failure;
use crate::programs::finish;

/// The peer's address.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the host that is isolated.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// How long something that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(500);

/// A network namespace; it goes when this is dropped.
#[derive(Debug)]
pub struct Space {
    name: String,
}

/// Two of them with a link between.
#[derive(Debug)]
pub struct Ground {
    /// Who is isolated.
    pub host: Space,
    /// Everybody else.
    pub peer: Space,
}

impl Ground {
    /// Makes both. Needs root and `ip`.
    pub fn new() -> Result<Self, Failure> {
        let ground = Self {
            host: Space::new("host")?,
            peer: Space::new("peer")?,
        };
        let Self { host, peer } = &ground;
        host.ip(&format!(
            "link add out type veth peer name out netns {}",
            peer.name
        ))?;
        for (space, address) in [(host, HOST), (peer, PEER)] {
            space.ip(&format!("addr add {address}/24 dev out"))?;
            space.ip("link set out up")?;
        }
        host.ip(&format!("route add default via {PEER}"))?;
        Ok(ground)
    }
}

impl Space {
    fn new(role: &str) -> Result<Self, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("picket-{role}-{}-{count}", std::process::id());
        ip(&["netns", "add", &name])?;
        let space = Self { name };
        space.ip("link set lo up")?;
        Ok(space)
    }

    /// Runs `ip` inside.
    pub fn ip(&self, words: &str) -> Result<(), Failure> {
        let mut args = vec!["-n", &self.name];
        args.extend(words.split(' '));
        ip(&args)
    }

    /// Does it inside, on a thread of its own. Programs that it starts, and their sockets, are inside too.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let space = File::open(&path).map_err(Failure::file(&path))?;
        let enter = || {
            let network = Some(LinkNameSpaceType::Network);
            let entered = move_into_link_name_space(space.as_fd(), network);
            entered.map_err(|error| Failure::file(&path)(error.into()))?;
            let of = |path| fs::read_link(path).map_err(Failure::file(path));
            // Never in the machine's own.
            if of("/proc/thread-self/ns/net")? == of("/proc/self/ns/net")? {
                return Err(unexpected("this is the machine's own network namespace"));
            }
            work()
        };
        thread::scope(|scope| {
            let done = scope.spawn(enter).join();
            done.unwrap_or_else(|_panic| Err(unexpected("the thread inside broke")))
        })
    }

    /// Answers each connection's bytes with the same for as long as the program lasts; says where.
    pub fn echo(&self, at: Ipv4Addr, port: u16) -> Result<SocketAddr, Failure> {
        let listener = self.inside(|| TcpListener::bind((at, port)).map_err(network))?;
        let address = listener.local_addr().map_err(network)?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || repeat(stream));
            }
        });
        Ok(address)
    }

    /// A connection from inside, if there is one in time.
    pub fn connect(&self, to: SocketAddr) -> Result<Option<TcpStream>, Failure> {
        self.inside(|| Ok(TcpStream::connect_timeout(&to, SILENCE).ok()))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(ip(&["netns", "del", &self.name]));
    }
}

/// Whether a session carries words both ways within `patience`.
pub fn speaks(mut stream: &TcpStream, patience: Duration) -> bool {
    let mut answer = [0; 4];
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.write_all(b"word").is_ok()
        && stream.read_exact(&mut answer).is_ok()
}

fn repeat(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let echoed = buffer.get(..length).map(|bytes| stream.write_all(bytes));
        if !matches!(echoed, Some(Ok(()))) {
            return;
        }
    }
}

fn ip(args: &[&str]) -> Result<(), Failure> {
    let mut command = std::process::Command::new("ip");
    command.args(args);
    finish("ip", command)?
        .success(&format!("ip {}", args.join(" ")))
        .map(drop)
}

/// For mapping an error of a socket.
pub fn network(source: io::Error) -> Failure {
    Failure::Run {
        what: "a socket in a network namespace".to_owned(),
        source,
    }
}

fn unexpected(text: &str) -> Failure {
    Failure::Unexpected {
        what: "a network namespace".to_owned(),
        text: text.to_owned(),
    }
}
