//! Ends one process, and only the one that was meant.
//!
//! # Invariants
//!
//! - A signal goes through a pidfd that was opened *before* the process's identity was read: whatever
//!   that number means later, the signal reaches the process that was identified or nobody.
//! - `dead` is said only after the pidfd became readable.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use picket_event::{Affected, BootId, Text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::procfs::{self, Found};

/// How long a killed process may take to die.
pub(crate) const DEATH_WAIT: Duration = Duration::from_secs(2);

/// A process held by a descriptor: the number cannot come to mean another.
#[derive(Debug)]
pub(crate) struct Held {
    /// What it was when it was taken hold of.
    pub(crate) found: Found,
    /// Its executable.
    pub(crate) exe: Text,
    pidfd: OwnedFd,
}

impl Held {
    /// Takes hold of exactly this process; `None` if it is gone.
    pub(crate) fn take(boot: &BootId, found: &Found) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(found.pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let now = procfs::find(boot, found.pid)?;
        (now.uid == found.uid && now.is_alive()).then(|| Self {
            exe: procfs::exe(found.pid),
            found: now,
            pidfd,
        })
    }

    /// Sends it a signal. Whether it is there to receive it shows in [`Self::is_dead`].
    pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether every thread of it has ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, up to `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) if Instant::now() < until => {}
                Err(_) => return false,
            }
        }
    }

    /// Its line in a receipt.
    pub(crate) fn affected(&self) -> Affected {
        let outcome = if self.is_dead() { "dead" } else { "alive" };
        Affected {
            process_uid: Some(self.found.uid),
            pid: self.found.pid,
            exe: self.exe.clone(),
            object: Text::NONE,
            outcome: outcome.to_owned(),
        }
    }
}

/// Kills it and waits for its end. Says whether it is dead, and why the signal was refused.
pub(crate) fn kill(held: &Held) -> Result<bool, rustix::io::Errno> {
    held.signal(Signal::KILL)?;
    Ok(held.wait(DEATH_WAIT))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn exactly_the_named_process_dies() {
        let boot = crate::clock::boot_id();
        let (mut meant, mut other) = (sleeper(), sleeper());
        let found = procfs::find(&boot, meant.id()).unwrap();
        let held = Held::take(&boot, &found).unwrap();
        assert!(!held.is_dead());
        assert_eq!(kill(&held), Ok(true));
        assert_eq!(held.affected().outcome, "dead");
        assert!(!meant.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(kill(&held), Ok(true), "a process that is gone is dead");
    }

    #[test]
    fn a_number_that_means_another_process_is_not_taken() {
        let boot = crate::clock::boot_id();
        let mut child = sleeper();
        let mut found = procfs::find(&boot, child.id()).unwrap();
        found.uid = picket_event::ProcessUid::new([0; 16]);
        assert!(Held::take(&boot, &found).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
