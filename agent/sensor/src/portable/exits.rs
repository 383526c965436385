//! Ends of processes, exact to the moment: the kernel makes a pidfd readable when its process ends.
//!
//! # Invariants
//!
//! - At most [`MAX_WATCHED`] processes, and at most half of the file descriptors we may have. The end
//!   of any other is noticed by the next scan.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};
use rustix::time::Timespec;

/// Waits for ends of processes, and for a call from another thread.
#[derive(Debug)]
pub(super) struct Exits {
    epoll: OwnedFd,
    call: OwnedFd,
    watched: HashMap<u32, OwnedFd>,
    limit: usize,
}

impl Exits {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(
            &epoll,
            &call,
            epoll::EventData::new_u64(CALL),
            epoll::EventFlags::IN,
        )?;
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let half = usize::try_from(files >> 1).unwrap_or(usize::MAX);
        Ok(Self {
            epoll,
            call,
            watched: HashMap::new(),
            limit: half.min(MAX_WATCHED),
        })
    }

    /// What another thread writes to when it has something for us.
    pub(super) fn caller(&self) -> io::Result<OwnedFd> {
        self.call.try_clone()
    }

    /// Watches the process that has this number now; the caller checks afterwards that it still is
    /// the one it means. False: its end must be noticed otherwise.
    pub(super) fn watch(&mut self, pid: u32) -> bool {
        if self.watched.len() >= self.limit {
            return false;
        }
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else {
            return false;
        };
        let token = epoll::EventData::new_u64(u64::from(pid));
        if epoll::add(&self.epoll, &pidfd, token, epoll::EventFlags::IN).is_err() {
            return false;
        }
        self.watched.insert(pid, pidfd);
        true
    }

    pub(super) fn forget(&mut self, pid: u32) {
        if let Some(pidfd) = self.watched.remove(&pid) {
            let _closed_anyway = epoll::delete(&self.epoll, pidfd.as_fd());
        }
    }

    /// Whether the end of this process will be told.
    pub(super) fn is_watched(&self, pid: u32) -> bool {
        self.watched.contains_key(&pid)
    }

    /// Waits for ends, calls or the time; gives the numbers of ended processes.
    pub(super) fn wait(&mut self, timeout: Duration) -> Vec<u32> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = Vec::with_capacity(MOST_AT_ONCE);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&self.epoll, buffer, Some(&timeout)).is_err() {
            return Vec::new();
        }
        let mut ended = Vec::new();
        for event in events {
            let token = event.data.u64();
            match u32::try_from(token) {
                Ok(pid) => ended.push(pid),
                Err(_) => self.hang_up(),
            }
        }
        for pid in &ended {
            self.forget(*pid);
        }
        ended
    }

    fn hang_up(&self) {
        let mut count = [0; 8];
        let _nobody_called = rustix::io::read(&self.call, &mut count);
    }
}

/// The token of the call; process numbers are smaller.
const CALL: u64 = u64::MAX;
const MAX_WATCHED: usize = 8_192;
const MOST_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_told() {
        let mut child = Command::new("sleep").arg("0.1").spawn().unwrap();
        let mut exits = Exits::new().unwrap();
        assert!(exits.watch(child.id()));
        assert_eq!(exits.wait(Duration::from_secs(5)), [child.id()]);
        assert!(!exits.is_watched(child.id()));
        child.wait().unwrap();
        assert!(!exits.watch(child.id()));
    }

    #[test]
    fn a_call_ends_the_wait() {
        let mut exits = Exits::new().unwrap();
        rustix::io::write(exits.caller().unwrap(), &1_u64.to_ne_bytes()).unwrap();
        let begin = std::time::Instant::now();
        assert!(exits.wait(Duration::from_secs(5)).is_empty());
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
}
