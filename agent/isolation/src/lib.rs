//! Cuts a host off by a table of its own in nftables, and keeps it so until its deadline.
//!
//! The table is written over netlink in one transaction, read back and compared, and written again when
//! somebody removes or changes it. No program is run for it.
//!
//! # Invariants
//!
//! - Between two states of the table no packet sees a third: a transaction is all or nothing.
//! - Whatever no rule lets through is dropped: in both families, in, out and forwarded, established or not.
//! - The kernel itself ends the isolation at its deadline, whoever is alive: every chain asks first for an element
//!   of the set [`IN_FORCE`], and the kernel takes that away.
//! - Only one program on this host reaches the collector: its control group and user decide, not its name.
//! - No bytes of the kernel's make it panic.
//!
//! Not covered: what leaves by packet sockets (`AF_PACKET`) passes no rule; only root, or who was given
//! `CAP_NET_RAW`, has them.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![forbid(unsafe_code)]

mod attribute;
mod compare;
mod error;
mod expression;
mod guard;
mod netlink;
mod own;
mod probe;
mod ruleset;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use error::IsolationError;
pub use guard::{Guard, Repair};
pub use own::Own;
pub use probe::{Probe, Reached, probe};
pub use table::{Form, Table};

/// The table's name, in the families `inet` and `bridge`.
pub const TABLE: &str = "picket_isolation";
/// The set whose elements say that the isolation is in force.
pub const IN_FORCE: &str = "in_force";

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Leading bits that count.
    pub bits: u8,
}

impl Network {
    /// Whether the address is in it.
    pub fn holds(&self, ip: IpAddr) -> bool {
        let (own, other, width) = match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits().into(), other.to_bits().into(), 32_u8)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let free = u32::from(width.saturating_sub(self.bits));
        let differ: u128 = own ^ other;
        differ.checked_shr(free).unwrap_or(0) == 0
    }
}

/// What is to be in force.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Where the collector, or the proxy on the way there, may be reached by `own` over TCP.
    pub collectors: Vec<SocketAddr>,
    /// Who may reach it; `None`: nobody yet, as at boot.
    pub own: Option<Own>,
    /// Networks that everybody may reach, and that may reach this host.
    pub networks: Vec<Network>,
    /// When it ends; `None`: it does not.
    pub until: Option<Deadline>,
}

/// A moment by the clock of this boot that also counts sleep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// Nanoseconds since boot.
    pub boot_ns: u64,
}

impl Deadline {
    /// So long from now.
    pub fn after(left: Duration) -> Self {
        let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        Self {
            boot_ns: boot_ns().saturating_add(left),
        }
    }

    /// How long it still is; zero: it is over.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns()))
    }
}

fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
