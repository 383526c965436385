//! Netlink: sockets that only the kernel is listened to on, and the frames in a datagram.
//!
//! # Invariants
//!
//! - A datagram that another process sent is dropped: only the kernel's number, 0, is believed.
//! - No bytes make the framing panic; a length that cannot be ends the walk.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, send,
    socket_with, sockopt,
};

/// A netlink socket that never blocks.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What one reading gave.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Received<'a> {
    /// A datagram of the kernel's.
    Datagram(&'a [u8]),
    /// Something that is not the kernel's.
    Foreign,
    /// The socket's buffer was full: the kernel dropped some.
    Overflow,
    /// Nothing waits.
    Nothing,
}

impl Netlink {
    /// Joins these groups of the protocol with a buffer of this size.
    pub(crate) fn open(protocol: Protocol, groups: u32, buffer: usize) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(protocol),
        )?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, buffer)?;
        }
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Sends one frame to the kernel.
    pub(crate) fn send(&self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        let length = payload.len().saturating_add(HEADER);
        let mut frame = u32::try_from(length).unwrap_or(0).to_ne_bytes().to_vec();
        frame.extend_from_slice(&kind.to_ne_bytes());
        frame.extend_from_slice(&flags.to_ne_bytes());
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(payload);
        send(&self.socket, &frame, SendFlags::empty())?;
        Ok(())
    }

    /// Takes one datagram.
    pub(crate) fn receive(&mut self) -> io::Result<Received<'_>> {
        match recvfrom(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((length, _, sender)) => {
                let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                if sender.is_none_or(|sender| sender.pid() != KERNEL) {
                    return Ok(Received::Foreign);
                }
                Ok(Received::Datagram(
                    self.buffer.get(..length).unwrap_or_default(),
                ))
            }
            Err(Errno::NOBUFS) => Ok(Received::Overflow),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The frames of a datagram: what kind each is, and its payload.
pub(crate) fn frames(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let kind = u16_at(rest, 4)?;
        let payload = rest.get(HEADER..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u64::from_ne_bytes)
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

const KERNEL: u32 = 0;
const HEADER: usize = 16;
/// The largest record of audit has under 9,000 bytes.
const DATAGRAM: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = length.to_ne_bytes().to_vec();
        frame.extend_from_slice(&kind.to_ne_bytes());
        frame.extend_from_slice(&[0; 10]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_follow_one_another_at_multiples_of_four() {
        let mut datagram = frame(17, 3, b"a\0\0\0");
        datagram.extend(frame(18, 4, b"bc"));
        let found: Vec<_> = frames(&datagram).collect();
        assert_eq!(found, [(3, &b"a"[..]), (4, &b"bc"[..])]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_walk() {
        for length in [0, 15, 18, u32::MAX] {
            assert_eq!(frames(&frame(length, 3, b"a")).count(), 0);
        }
        assert_eq!(frames(b"abc").count(), 0);
    }
}
