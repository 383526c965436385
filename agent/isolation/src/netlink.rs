//! The socket to the kernel's `nf_tables`: transactions, dumps, news.
//!
//! # Invariants
//!
//! - Only the kernel is believed: a datagram of another process is dropped.
//! - An answer that belongs to an earlier question is not taken for one to this.
//! - No question waits longer than [`PATIENCE`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, send,
    socket_with, sockopt,
};

use crate::attribute::{Attribute, aligned, encode, u16_at, u32_at};

/// One message to `nf_tables`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    /// What it asks for.
    pub(crate) kind: u16,
    /// Beside that it is a request.
    pub(crate) flags: u16,
    /// Of addresses: `inet` or `bridge`.
    pub(crate) family: u8,
    pub(crate) attributes: Vec<Attribute>,
}

/// A socket of this network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For questions.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of_groups(0)
    }

    /// For news about every change of a table of this network namespace.
    pub(crate) fn listen() -> io::Result<Self> {
        Self::of_groups(1 << (GROUP_NFTABLES - 1))
    }

    fn of_groups(groups: u32) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
        }
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self {
            fd: socket,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// All of it or nothing; returns once the kernel has said which.
    pub(crate) fn transact(&mut self, messages: &[Message]) -> io::Result<()> {
        let Some((last, others)) = messages.split_last() else {
            return Ok(());
        };
        let mut out = Vec::new();
        self.frame(&mut out, BATCH_BEGIN, 0, &batch_edge());
        for message in others {
            self.message(&mut out, message, 0);
        }
        self.message(&mut out, last, ACK);
        let wanted = self.sequence;
        self.frame(&mut out, BATCH_END, 0, &batch_edge());
        send(&self.fd, &out, SendFlags::empty())?;
        let first = wanted.wrapping_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        self.acknowledged(first, wanted)
    }

    /// Everything of a kind that there is: the bytes behind each message's header.
    pub(crate) fn dump(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut out = Vec::new();
        self.message(&mut out, message, DUMP);
        let wanted = self.sequence;
        send(&self.fd, &out, SendFlags::empty())?;
        loop {
            let datagram = self.receive()?;
            for frame in frames(&datagram).filter(|frame| frame.sequence == wanted) {
                match frame.kind {
                    DONE => return Ok(found),
                    ERROR => {
                        error_of(frame.payload)?;
                        return Ok(found);
                    }
                    _ => found.push(
                        frame
                            .payload
                            .get(FAMILY_HEADER..)
                            .unwrap_or_default()
                            .to_vec(),
                    ),
                }
            }
        }
    }

    /// One thing; `None`: there is none.
    pub(crate) fn ask(&mut self, message: &Message) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        self.message(&mut out, message, 0);
        let wanted = self.sequence;
        send(&self.fd, &out, SendFlags::empty())?;
        loop {
            let datagram = self.receive()?;
            let Some(frame) = frames(&datagram).find(|frame| frame.sequence == wanted) else {
                continue;
            };
            if frame.kind != ERROR {
                let found = frame.payload.get(FAMILY_HEADER..).unwrap_or_default();
                return Ok(Some(found.to_vec()));
            }
            return match error_of(frame.payload) {
                Err(error) if is_absence(&error) => Ok(None),
                done => done.map(|()| None),
            };
        }
    }

    /// Takes whatever news wait. Whether any did; news that were lost count.
    pub(crate) fn drain(&mut self) -> bool {
        let mut any = false;
        loop {
            match recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => any = true,
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }

    fn acknowledged(&mut self, first: u32, last: u32) -> io::Result<()> {
        let of_this = |sequence: u32| sequence.wrapping_sub(first) <= last.wrapping_sub(first);
        loop {
            let datagram = self.receive()?;
            for frame in frames(&datagram).filter(|frame| of_this(frame.sequence)) {
                if frame.kind == ERROR {
                    error_of(frame.payload)?;
                    if frame.sequence == last {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _, sender)) => {
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    if sender.is_some_and(|sender| sender.pid() == KERNEL) {
                        return Ok(self.buffer.get(..length).unwrap_or_default().to_vec());
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn message(&mut self, out: &mut Vec<u8>, message: &Message, more: u16) {
        let mut payload = vec![message.family, 0, 0, 0];
        encode(&message.attributes, &mut payload);
        let kind = SUBSYSTEM << 8 | message.kind;
        self.frame(out, kind, message.flags | more, &payload);
    }

    fn frame(&mut self, out: &mut Vec<u8>, kind: u16, flags: u16, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = payload.len().saturating_add(HEADER);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        out.extend_from_slice(&self.sequence.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
        out.resize(aligned(out.len()), 0);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct Frame<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

fn frames(datagram: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let frame = Frame {
            kind: u16_at(rest, 4)?,
            sequence: u32_at(rest, 8)?,
            payload: rest.get(HEADER..length)?,
        };
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(frame)
    })
}

/// Zero is an acknowledgement.
fn error_of(payload: &[u8]) -> io::Result<()> {
    let number = u32_at(payload, 0).map_or(i32::MIN, u32::cast_signed);
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number.saturating_neg())),
    }
}

/// There is no such thing, or the kernel has no such family.
fn is_absence(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
    absent
        .iter()
        .any(|one| error.raw_os_error() == Some(one.raw_os_error()))
}

fn batch_edge() -> [u8; 4] {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    [0, 0, high, low]
}

/// How long the kernel may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const KERNEL: u32 = 0;
const SUBSYSTEM: u16 = 10;
const GROUP_NFTABLES: u32 = 7;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// A dump comes in datagrams of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// For the largest transaction, and for the news of somebody else's.
const BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_ends_the_walk() {
        for length in [0_u32, 15, 21, u32::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[0; 16]);
            assert_eq!(frames(&bytes).count(), 0, "{length}");
        }
        assert_eq!(frames(b"abc").count(), 0);
    }

    #[test]
    fn errors_have_the_kernels_numbers() {
        let payload = |number: i32| number.to_ne_bytes();
        assert!(error_of(&payload(0)).is_ok());
        let refused = error_of(&payload(-95)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(95));
        assert!(error_of(b"").is_err());
        assert!(error_of(&payload(i32::MIN)).is_err());
    }
}
