//! A TCP proxy on loopback that can be cut, fall silent, dawdle, thin out or refuse, as networks do.
//!
//! # Invariants
//!
//! - What it forwards it forwards whole and in order: it is a bad network, not a liar.
//! - Silence is half-open: both sides keep their connection, nothing comes through, the kernel's buffers fill.
//! - Its threads end with it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::failure::Failure;
use crate::wait;

/// How the network is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Weather {
    /// Everything comes through at once.
    Fair,
    /// New connections are closed at once; those that are open go on.
    Refusing,
    /// Nothing comes through, and nobody is told.
    Silent,
    /// Everything comes so much later.
    Late(Duration),
    /// So many bytes a second in each direction of each connection.
    Narrow(u32),
}

/// A running proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    weather: Mutex<Weather>,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
    forwarded: AtomicU64,
}

impl Proxy {
    /// Before `target`.
    pub(super) fn before(target: &str) -> Result<Self, Failure> {
        let run = |source| Failure::Run {
            what: "the proxy".to_owned(),
            source,
        };
        let listener = TcpListener::bind("127.0.0.1:0").map_err(run)?;
        listener.set_nonblocking(true).map_err(run)?;
        let address = listener.local_addr().map_err(run)?;
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            weather: Mutex::new(Weather::Fair),
            open: Mutex::default(),
            ended: AtomicBool::new(false),
            forwarded: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub(super) fn set(&self, weather: Weather) {
        *self.shared.weather() = weather;
    }

    /// Ends every connection that is open now, in both directions at once.
    pub(super) fn cut(&self) {
        for stream in self.shared.open().drain(..) {
            // One that has ended by itself needs no end.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    /// Bytes that came through, in both directions.
    pub(super) fn forwarded(&self) -> u64 {
        self.shared.forwarded.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
    }
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        let Ok((stream, _)) = listener.accept() else {
            wait::pause(LOOK);
            continue;
        };
        if *shared.weather() == Weather::Refusing {
            continue;
        }
        // Nobody behind it: the caller sees a connection that ends at once.
        drop(join(stream, shared));
    }
}

/// Connects to the target and forwards both ways.
fn join(near: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let far = TcpStream::connect(&shared.target)?;
    for stream in [&near, &far] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
    }
    let ways = [
        (near.try_clone()?, far.try_clone()?),
        (far.try_clone()?, near.try_clone()?),
    ];
    shared.open().extend([near, far]);
    for (from, to) in ways {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            forward(&from, &to, &shared);
            from.shutdown(Shutdown::Both).unwrap_or_default();
            to.shutdown(Shutdown::Both).unwrap_or_default();
        });
    }
    Ok(())
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 << 10];
    while !shared.has_ended() {
        let weather = *shared.weather();
        let most = match weather {
            Weather::Silent => {
                wait::pause(LOOK);
                continue;
            }
            Weather::Narrow(rate) => (rate / SLICES).max(1) as usize,
            _ => buffer.len(),
        };
        let most = most.min(buffer.len());
        let read = match from.read(&mut buffer[..most]) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if is_silence(&error) => continue,
            Err(_) => return,
        };
        match weather {
            Weather::Late(by) => wait::pause(by),
            Weather::Narrow(_) => wait::pause(Duration::from_secs(1) / SLICES),
            _ => {}
        }
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
        shared.forwarded.fetch_add(read as u64, Ordering::Relaxed);
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// How often it looks at the weather.
const LOOK: Duration = Duration::from_millis(10);

/// A narrow connection moves its bytes so many times a second.
const SLICES: u32 = 20;
