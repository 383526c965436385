//! Devices that come, go and change, as the kernel announces them (uevents). Needs no root.
//!
//! # Invariants
//!
//! - Only the kernel is believed: an announcement that a process sends is counted as filtered.
//! - An announcement is given, filtered, or counted as lost. When the kernel had no room, the numbers of the
//!   announcements say how many went at most: some of them may have been for other network namespaces.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use picket_event::{
    Clock, Detail, Event, Hook, HookState, Kind, KindCounts, Loss, Process, Source, SystemClock,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

use crate::identity::boot_ns;
use crate::ledger::LossWatch;
use crate::tally::Tally;
use crate::{Sensor, SensorError};

mod numbers;
mod uevent;

pub use uevent::{Uevent, UeventError, parse_uevent};

use numbers::Numbers;

/// Listens to the kernel.
#[derive(Debug)]
pub struct DeviceFollower {
    socket: io::Result<OwnedFd>,
    numbers: Numbers,
    tally: Tally,
    losses: LossWatch,
    gave: bool,
    buffer: Vec<u8>,
}

/// What came out of the socket.
enum Heard {
    Message(usize),
    Foreign,
    Overrun,
    Nothing,
}

impl DeviceFollower {
    /// Listens from now on. Where that is refused, [`Sensor::hooks`] says why.
    pub fn open() -> Self {
        Self {
            socket: listen().map_err(io::Error::from),
            numbers: Numbers::default(),
            tally: Tally::of(&[Kind::Device]),
            losses: LossWatch::default(),
            gave: false,
            buffer: vec![0; MAX_MESSAGE],
        }
    }

    /// Takes in what has come, a bounded amount.
    fn drain(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        for _ in 0..MAX_MESSAGES {
            let heard = self.hear().map_err(|error| SensorError::Wait {
                source: error.into(),
            })?;
            match heard {
                Heard::Message(length) => self.take(length, out),
                Heard::Foreign => self.tally.filtered(Kind::Device),
                Heard::Overrun => self.lose(Numbers::overrun),
                Heard::Nothing => {
                    self.numbers.emptied();
                    break;
                }
            }
        }
        self.report_loss(out);
        Ok(())
    }

    fn hear(&mut self) -> Result<Heard, Errno> {
        let Ok(socket) = &self.socket else {
            return Ok(Heard::Nothing);
        };
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let buffer = self.buffer.as_mut_slice();
        match retry_on_intr(|| rustix::net::recvfrom(socket, &mut *buffer, flags)) {
            Ok((_, length, from)) => {
                let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                let is_kernel = from.is_some_and(|from| from.pid() == KERNEL);
                Ok(if is_kernel {
                    Heard::Message(length)
                } else {
                    Heard::Foreign
                })
            }
            Err(Errno::NOBUFS) => Ok(Heard::Overrun),
            Err(Errno::AGAIN) => Ok(Heard::Nothing),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, length: usize, out: &mut Vec<Event>) {
        let message = self.buffer.get(..length).ok_or(UeventError::TooLong);
        let uevent = match message.and_then(parse_uevent) {
            Ok(uevent) => uevent,
            Err(error) => {
                tracing::error!(%error, "announcement of the kernel cannot be read");
                return self.tally.lost(Kind::Device, 1);
            }
        };
        self.lose(|numbers| numbers.heard(uevent.number));
        if !is_told(&uevent.device.subsystem) {
            return self.tally.filtered(Kind::Device);
        }
        self.gave = true;
        self.tally.submitted(Kind::Device);
        out.push(event(Kind::Device, Detail::Device(uevent.device)));
    }

    fn lose(&mut self, count: impl FnOnce(&mut Numbers) -> u64) {
        let lost = count(&mut self.numbers);
        self.tally.lost(Kind::Device, lost);
    }

    fn report_loss(&mut self, out: &mut Vec<Event>) {
        let kinds = self.tally.lines();
        if self.losses.grew(&kinds) {
            out.push(event(Kind::Loss, Detail::Loss(Loss { kinds, last: false })));
        }
    }
}

impl Sensor for DeviceFollower {
    fn source(&self) -> Source {
        Source::Uevent
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // Without a socket there is nothing to wait for but the time.
        let waited = match &self.socket {
            Ok(socket) => {
                rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))
            }
            Err(_) => rustix::event::poll(&mut [], Some(&timeout)),
        };
        match waited {
            Ok(_) | Err(Errno::INTR) => self.drain(out),
            Err(error) => Err(SensorError::Wait {
                source: error.into(),
            }),
        }
    }

    fn ledger(&self) -> Vec<KindCounts> {
        self.tally.lines()
    }

    fn hooks(&self) -> Vec<Hook> {
        let (state, detail) = match &self.socket {
            Err(error) => (
                HookState::Unavailable,
                format!("the kernel does not let it listen: {error}"),
            ),
            Ok(_) if self.gave => (HookState::Proved, "gave an event".to_owned()),
            Ok(_) => (
                HookState::Attached,
                "listening, nothing came yet".to_owned(),
            ),
        };
        vec![Hook {
            name: "uevents".to_owned(),
            state,
            detail,
            instead: String::new(),
        }]
    }

    /// Devices are no processes: there is nothing to list.
    fn snapshot(&mut self) -> Vec<Process> {
        Vec::new()
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        self.drain(out)
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(KOBJECT_UEVENT),
    )?;
    // More than everybody may have needs a capability; without it the usual room must do.
    if sockopt::set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
    }
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, OF_THE_KERNEL))?;
    Ok(socket)
}

fn event(kind: Kind, detail: Detail) -> Event {
    let mut event = Event::new(kind, SystemClock.now(), Source::Uevent).with(detail);
    event.boot_ns = boot_ns();
    event
}

/// What a person could plug in, or what carries data. The rest (queues, processors, memory blocks, batteries)
/// is not told.
fn is_told(subsystem: &str) -> bool {
    TOLD.contains(&subsystem)
}

const TOLD: &[&str] = &[
    "block",
    "bluetooth",
    "firewire",
    "hid",
    "hidraw",
    "ieee80211",
    "input",
    "mmc",
    "mtd",
    "net",
    "nvme",
    "pci",
    "pcmcia",
    "scsi",
    "sound",
    "thunderbolt",
    "tty",
    "typec",
    "usb",
    "usbmisc",
    "video4linux",
];

/// Sender of what the kernel says.
const KERNEL: u32 = 0;
/// The group of the kernel's own words; device managers repeat them in another.
const OF_THE_KERNEL: u32 = 1;
/// Messages in one go.
const MAX_MESSAGES: usize = 1_024;
/// The kernel's own are at most 2 KiB of variables and a path.
const MAX_MESSAGE: usize = 8 << 10;
/// Room for announcements that wait, in bytes.
const ROOM: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A follower that hears nothing of this host.
    fn deaf() -> DeviceFollower {
        DeviceFollower {
            socket: Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            ..DeviceFollower::open()
        }
    }

    fn say(follower: &mut DeviceFollower, text: &str) -> Vec<Event> {
        let mut out = Vec::new();
        follower.buffer[..text.len()].copy_from_slice(text.as_bytes());
        follower.take(text.len(), &mut out);
        follower.report_loss(&mut out);
        out
    }

    fn counts(follower: &DeviceFollower) -> (u64, u64, u64) {
        let line = follower.ledger()[0];
        assert!(line.balances(), "{line:?}");
        (line.submitted, line.filtered, line.lost)
    }

    #[test]
    fn what_can_be_plugged_in_is_told_and_the_rest_is_filtered() {
        let mut follower = deaf();
        let out = say(
            &mut follower,
            "add@/devices/x/usb1/1-1\0ACTION=add\0DEVPATH=/devices/x/usb1/1-1\0SUBSYSTEM=usb\0SEQNUM=7\0",
        );
        assert!(
            matches!(&out[0].detail, Some(Detail::Device(device)) if device.subsystem == "usb")
        );
        let out = say(
            &mut follower,
            "add@/q\0ACTION=add\0DEVPATH=/q\0SUBSYSTEM=queues\0SEQNUM=8\0",
        );
        assert!(out.is_empty());
        assert_eq!(counts(&follower), (1, 1, 0));
    }

    #[test]
    fn what_had_no_room_is_counted_and_told() {
        let mut follower = deaf();
        let message = |number: u64| {
            format!("add@/d\0ACTION=add\0DEVPATH=/d\0SUBSYSTEM=block\0SEQNUM={number}\0")
        };
        say(&mut follower, &message(10));
        follower.lose(Numbers::overrun);
        let out = say(&mut follower, &message(16));
        assert_eq!(counts(&follower), (2, 0, 5));
        assert_eq!(out.last().unwrap().kind, Kind::Loss);
    }

    #[test]
    fn what_cannot_be_read_is_lost_and_no_failure() {
        let mut follower = deaf();
        say(&mut follower, "nonsense");
        follower.take(MAX_MESSAGE + 1, &mut Vec::new());
        assert_eq!(counts(&follower), (0, 0, 2));
    }

    #[test]
    fn a_follower_that_may_not_listen_says_why_and_goes_on() {
        let mut follower = deaf();
        follower.poll(Duration::ZERO, &mut Vec::new()).unwrap();
        let hook = &follower.hooks()[0];
        assert_eq!(hook.state, HookState::Unavailable);
        assert!(hook.detail.contains("permission denied"), "{hook:?}");
    }
}
