//! Stops a tree instead of killing it: caught in the same way, and left standing still.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Tree;
use crate::respond::cgroup::Cgroup;
use crate::respond::procfs::{self, Found};

/// How long stopped processes may take to stand still.
const STILL_WAIT: Duration = Duration::from_secs(1);

/// Who was caught, and how they are held.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Everybody.
    pub(crate) members: Vec<Caught>,
    /// The frozen group; `None`: they are stopped by signals.
    pub(crate) group: Option<PathBuf>,
    /// Whether that group was made here.
    pub(crate) made: bool,
    /// A last search found nobody new.
    pub(crate) complete: bool,
}

/// One process that was caught.
#[derive(Debug)]
pub(crate) struct Caught {
    /// Which.
    pub(crate) found: Found,
    /// Whether it was read back that it stands still.
    pub(crate) still: bool,
}

impl Tree<'_> {
    /// Stops everybody. The tree's own group is frozen where it has one, else all go into `cage`.
    pub(crate) fn stop(mut self, cage: Option<Cgroup>) -> Stopped {
        let own = self.own_group();
        self.cage = own.or(cage);
        self.catch();
        let frozen = self.cage.as_ref().is_some_and(Cgroup::freeze);
        let inside = self
            .cage
            .as_ref()
            .and_then(Cgroup::pids)
            .unwrap_or_default();
        if frozen {
            // The group holds them: no signal is needed any more, and none that others send helps.
            for held in self.members.values() {
                if inside.contains(&held.found.pid) {
                    // A refusal leaves it stopped by signal as well, which a resume ends too.
                    held.signal(Signal::CONT).unwrap_or_default();
                }
            }
        }
        let still = |found: &Found| frozen && inside.contains(&found.pid);
        let members: Vec<Found> = self
            .members
            .values()
            .map(|held| held.found.clone())
            .collect();
        let members = members.into_iter().map(|found| Caught {
            still: still(&found) || self.stands_still(&found),
            found,
        });
        let members: Vec<Caught> = members.collect();
        let complete = self
            .look()
            .iter()
            .all(|found| self.members.contains_key(&found.uid));
        let (group, made) = match self.cage.take() {
            Some(cage) if frozen => {
                let made = cage.is_made();
                (Some(cage.keep()), made)
            }
            _ => (None, false),
        };
        Stopped {
            members,
            group,
            made,
            complete,
        }
    }

    fn stands_still(&self, found: &Found) -> bool {
        let until = Instant::now() + STILL_WAIT;
        loop {
            match procfs::find(&self.boot, found.pid).filter(|now| now.uid == found.uid) {
                None => return true,
                Some(now) if now.is_stopped() || !now.is_alive() => return true,
                Some(_) if Instant::now() >= until => return false,
                Some(_) => std::thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }
}
