//! The process connector: the kernel's word about forks, execs, exits and changes of ids.
//!
//! ```text
//! nlmsghdr 16 | cn_msg 20 { idx, val, seq, ack, len, flags } | proc_event { what, cpu, timestamp, data }
//! ```
//!
//! # Invariants
//!
//! - The kernel numbers its messages per CPU. A number that is left out is a lost message, so losses
//!   are counted exactly; only their kinds are not known. At the start each CPU is made to send one, so
//!   that its number is known, and after an overflow one more, so that also the last that were lost
//!   are counted.
//! - Only one message kind is made of any bytes, or none; nothing panics.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::netlink;
use rustix::thread::{CpuSet, sched_setaffinity, set_name};

use super::netlink::{Netlink, Received, frames, u32_at, u64_at};

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) cpu: u32,
    pub(super) sequence: u32,
    /// Nanoseconds since boot, time asleep left out.
    pub(super) monotonic_ns: u64,
    pub(super) what: What,
}

/// What happened. New names, sessions and core dumps have no kind of event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum What {
    Fork {
        parent: u32,
        child: Task,
    },
    Exec(Task),
    Exit {
        task: Task,
        status: u32,
    },
    Uid {
        task: Task,
        real: u32,
        effective: u32,
    },
    Gid {
        task: Task,
        real: u32,
        effective: u32,
    },
    Traced {
        tracee: Task,
        tracer: u32,
    },
    Other,
}

/// A thread and the process it belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Task {
    pub(super) tid: u32,
    pub(super) pid: u32,
}

impl Task {
    pub(super) fn is_leader(self) -> bool {
        self.tid == self.pid
    }
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Connector {
    socket: Netlink,
    next: HashMap<u32, u32>,
    lost: u64,
    overflows: u64,
    /// CPUs whose number is not known, or was before an overflow: each is to send another message.
    unsounded: Vec<usize>,
}

impl Connector {
    /// Subscribes. The kernel says nothing to processes outside the first pid namespace, and does not
    /// say that it will not: the canary finds out.
    pub(super) fn open(buffer: usize) -> io::Result<Self> {
        let socket = Netlink::open(netlink::CONNECTOR, GROUP, buffer)?;
        let connector = Self {
            socket,
            next: HashMap::new(),
            lost: 0,
            overflows: 0,
            unsounded: possible_cpus(),
        };
        connector.tell(LISTEN)?;
        Ok(connector)
    }

    /// Appends every message that waits, but at most [`MOST_MESSAGES`].
    pub(super) fn read(&mut self, messages: &mut Vec<Message>) -> io::Result<()> {
        for _ in 0..MOST_MESSAGES {
            let begin = messages.len();
            match self.socket.receive()? {
                Received::Nothing if self.unsounded.is_empty() => return Ok(()),
                Received::Nothing => {
                    let rest = self.unsounded.len().saturating_sub(SOUNDED_AT_ONCE);
                    sound(self.unsounded.split_off(rest));
                }
                Received::Foreign => {}
                Received::Overflow => {
                    self.overflows = self.overflows.saturating_add(1);
                    self.unsounded = possible_cpus();
                }
                Received::Datagram(datagram) => {
                    messages.extend(frames(datagram).filter_map(|(_, frame)| parse(frame)));
                }
            }
            for message in messages.iter().skip(begin) {
                let expected = self.next.get(&message.cpu).copied();
                let missing = missing(expected, message.sequence);
                self.lost = self.lost.saturating_add(missing);
                self.next
                    .insert(message.cpu, message.sequence.wrapping_add(1));
            }
        }
        Ok(())
    }

    /// How many messages were lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// How often the kernel said that the buffer was full.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    fn tell(&self, operation: u32) -> io::Result<()> {
        let mut payload = Vec::with_capacity(24);
        for number in [PROCESSES, PROCESSES, 0, 0] {
            payload.extend_from_slice(&number.to_ne_bytes());
        }
        payload.extend_from_slice(&4_u16.to_ne_bytes());
        payload.extend_from_slice(&0_u16.to_ne_bytes());
        payload.extend_from_slice(&operation.to_ne_bytes());
        self.socket.send(DONE, 0, &payload)
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Connector {
    /// Kernels before 6.6 go on counting a listener that only closes its socket.
    fn drop(&mut self) {
        if let Err(error) = self.tell(IGNORE) {
            tracing::debug!(%error, "process connector was not told of the end");
        }
    }
}

/// Every CPU that is or may come; those that are away are not sounded.
fn possible_cpus() -> Vec<usize> {
    let possible = libbpf_rs::num_possible_cpus();
    let possible = possible.inspect_err(|error| tracing::debug!(%error, "CPUs are not counted"));
    (0..possible.unwrap_or(0)).collect()
}

/// Makes each of these CPUs send a message: a thread visits them and names itself there. On a CPU that it
/// may not visit, the next process tells.
fn sound(cpus: Vec<usize>) {
    let visit = move || {
        for cpu in cpus {
            if cpu < CpuSet::MAX_CPU {
                let mut only = CpuSet::new();
                only.set(cpu);
                let named = sched_setaffinity(None, &only).and_then(|()| set_name(SOUNDING));
                if let Err(error) = named {
                    tracing::debug!(cpu, %error, "CPU was not sounded");
                }
            }
        }
    };
    let thread = std::thread::Builder::new().spawn(visit);
    if thread.map(std::thread::JoinHandle::join).is_err() {
        tracing::debug!("no thread to sound the CPUs with");
    }
}

/// How many numbers lie between the one that was to come and the one that came.
fn missing(expected: Option<u32>, came: u32) -> u64 {
    let missing = expected.map_or(0, |expected| came.wrapping_sub(expected));
    // A number that goes back is the kernel's counter begun anew, not four billion losses.
    if missing > u32::MAX / 2 {
        0
    } else {
        missing.into()
    }
}

/// Reads `cn_msg` and `proc_event`.
pub(super) fn parse(frame: &[u8]) -> Option<Message> {
    if (u32_at(frame, 0)?, u32_at(frame, 4)?) != (PROCESSES, PROCESSES) {
        return None;
    }
    let event = frame.get(CN_HEADER..)?;
    let kind = u32_at(event, 0)?;
    if kind == ACKNOWLEDGED {
        return None;
    }
    Some(Message {
        cpu: u32_at(event, 4)?,
        sequence: u32_at(frame, 8)?,
        monotonic_ns: u64_at(event, 8)?,
        what: what(kind, event.get(EVENT_HEADER..)?)?,
    })
}

fn what(kind: u32, data: &[u8]) -> Option<What> {
    let number = |nth: usize| u32_at(data, nth.checked_mul(4)?);
    let task = || {
        Some(Task {
            tid: number(0)?,
            pid: number(1)?,
        })
    };
    Some(match kind {
        FORK => What::Fork {
            parent: number(1)?,
            child: Task {
                tid: number(2)?,
                pid: number(3)?,
            },
        },
        EXEC => What::Exec(task()?),
        EXIT => What::Exit {
            task: task()?,
            status: number(2)?,
        },
        UID => What::Uid {
            task: task()?,
            real: number(2)?,
            effective: number(3)?,
        },
        GID => What::Gid {
            task: task()?,
            real: number(2)?,
            effective: number(3)?,
        },
        PTRACE => What::Traced {
            tracee: task()?,
            tracer: number(3)?,
        },
        _ => What::Other,
    })
}

/// `CN_IDX_PROC` and `CN_VAL_PROC`; also the group.
const PROCESSES: u32 = 1;
const GROUP: u32 = 1;
const CN_HEADER: usize = 20;
const EVENT_HEADER: usize = 16;
const DONE: u16 = 3;
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
const MOST_MESSAGES: usize = 16_384;
/// A quarter of what the smallest buffer has room for.
const SOUNDED_AT_ONCE: usize = 64;
const SOUNDING: &std::ffi::CStr = c"picket-sounding";

// `enum proc_cn_event` of linux/cn_proc.h.
const ACKNOWLEDGED: u32 = 0;
const FORK: u32 = 0x1;
const EXEC: u32 = 0x2;
const UID: u32 = 0x4;
const GID: u32 = 0x40;
const PTRACE: u32 = 0x100;
const EXIT: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u32, sequence: u32, data: &[u32]) -> Vec<u8> {
        let head = [1, 1, sequence, 0, 56, kind, 3];
        let mut bytes: Vec<u8> = head
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        bytes.extend_from_slice(&77_u64.to_ne_bytes());
        bytes.extend(data.iter().flat_map(|number| number.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_fork_names_the_parents_process_and_the_child() {
        let parsed = parse(&message(FORK, 9, &[11, 10, 21, 20])).unwrap();
        let child = Task { tid: 21, pid: 20 };
        assert_eq!(parsed.what, What::Fork { parent: 10, child });
        assert_eq!(
            (parsed.cpu, parsed.sequence, parsed.monotonic_ns),
            (3, 9, 77)
        );
        assert!(!child.is_leader());
    }

    #[test]
    fn an_exit_brings_the_status_of_wait() {
        let parsed = parse(&message(EXIT, 0, &[5, 5, 0x300, 17])).unwrap();
        let task = Task { tid: 5, pid: 5 };
        assert_eq!(
            parsed.what,
            What::Exit {
                task,
                status: 0x300
            }
        );
    }

    #[test]
    fn an_acknowledgement_and_anothers_message_are_nothing() {
        assert_eq!(parse(&message(ACKNOWLEDGED, 0, &[0, 0, 0, 0])), None);
        let mut foreign = message(EXEC, 0, &[5, 5]);
        foreign[0] = 2;
        assert_eq!(parse(&foreign), None);
    }

    #[test]
    fn left_out_numbers_are_counted_also_across_the_greatest() {
        assert_eq!(missing(None, 17), 0);
        assert_eq!(missing(Some(5), 5), 0);
        assert_eq!(missing(Some(5), 8), 3);
        assert_eq!(missing(Some(u32::MAX), 1), 2);
        assert_eq!(missing(Some(100), 3), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _any = parse(&bytes);
            for (_, frame) in frames(&bytes) {
                let _any = parse(frame);
            }
        }
    }
}
