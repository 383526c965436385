//! Ends a process and everything that descends from it, however fast it multiplies.
//!
//! Members are found, held, stopped and put into a control group of their own, again and again until
//! nothing new appears; only then are they killed, and then the search begins once more. A child that is
//! born meanwhile is born stopped-to-be: into the group, or as the child of a member.
//!
//! # Invariants
//!
//! - A process is a member only if it descends from the root: by `/proc`, by the agent's own process
//!   table (which knows children whose parents are gone), by a session that a member began, or by
//!   being born in a group that holds nothing but members.
//! - Only members are signalled, each through its pidfd. Protected processes never are.
//! - `complete` is said only when every member is dead and a last search found nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use picket_event::{BootId, ProcessUid};
use rustix::process::Signal;

use super::cgroup::Cgroup;
use super::kill::{DEATH_WAIT, Held};
use super::procfs::{self, Found};
use super::protect::Protection;

mod stop;

pub(crate) use stop::Stopped;

/// The whole action ends after this time, done or not.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// How long the sensor may take to tell of a fork; the last search waits for it.
const SENSOR_LAG: Duration = Duration::from_millis(120);
/// One attempt to catch everybody ends after this time.
const CATCH_LIMIT: Duration = Duration::from_millis(1_500);
/// How long the newest process is watched between two searches.
const CHASE: Duration = Duration::from_millis(4);
/// How long the last search pauses between whole looks, and between looks at the newest process.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const GLIMPSE: Duration = Duration::from_micros(100);
/// Searches that must find nothing new before the tree counts as caught.
const QUIET_ROUNDS: u32 = 3;
/// Times that the search begins again because somebody was found alive.
const MAX_ATTEMPTS: u32 = 8;
/// Members whose descriptors are kept; beyond it, the caught ones are killed first.
const MAX_HELD: usize = 512;

/// What the agent's process table knows of the tree: descendants of the root with their pids.
pub(crate) type Lineage<'a> = &'a dyn Fn() -> Vec<(ProcessUid, u32)>;

/// The tree.
pub(crate) struct Tree<'a> {
    boot: BootId,
    root: ProcessUid,
    lineage: Lineage<'a>,
    protection: &'a Protection,
    members: BTreeMap<ProcessUid, Held>,
    ever: HashSet<ProcessUid>,
    sessions: HashMap<u32, ProcessUid>,
    done: Vec<picket_event::Affected>,
    cage: Option<Cgroup>,
    until: Instant,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Everybody who was found.
    pub(crate) affected: Vec<picket_event::Affected>,
    /// Everybody is dead and a last search found nobody.
    pub(crate) complete: bool,
}

impl<'a> Tree<'a> {
    /// The tree below `root`, which need not live any more.
    pub(crate) fn new(
        boot: BootId,
        root: ProcessUid,
        lineage: Lineage<'a>,
        protection: &'a Protection,
    ) -> Self {
        Self {
            boot,
            root,
            lineage,
            protection,
            members: BTreeMap::new(),
            ever: HashSet::from([root]),
            sessions: HashMap::new(),
            done: Vec::new(),
            cage: None,
            until: Instant::now() + TIME_LIMIT,
        }
    }

    /// Everybody who is in it now.
    pub(crate) fn look(&mut self) -> Vec<Found> {
        let all = procfs::all(&self.boot);
        self.forget_reused_sessions();
        let lineage: HashSet<ProcessUid> =
            (self.lineage)().into_iter().map(|(uid, _)| uid).collect();
        let born_inside = self
            .cage
            .as_ref()
            .and_then(Cgroup::pids)
            .unwrap_or_default();
        let born_inside: BTreeSet<u32> = born_inside.into_iter().collect();
        // Once the tree's own group was emptied, the service manager may start anew in it.
        let own_group = self.cage.as_ref().is_some_and(|cage| !cage.is_made());
        let reused = own_group && !self.done.is_empty();
        let mut inside: HashMap<u32, ProcessUid> = HashMap::new();
        let known = |found: &Found| {
            self.ever.contains(&found.uid)
                || lineage.contains(&found.uid)
                || (born_inside.contains(&found.pid) && !(reused && found.ppid == 1))
                || self.sessions.contains_key(&found.session)
        };
        for found in all.iter().filter(|found| known(found)) {
            inside.insert(found.pid, found.uid);
        }
        close_over_children(&all, &mut inside);
        let members = all
            .into_iter()
            .filter(|found| inside.contains_key(&found.pid));
        let members: Vec<Found> = members.collect();
        self.remember(&members);
        members.into_iter().filter(Found::is_alive).collect()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Outcome {
        self.cage = self.own_group().or_else(|| Cgroup::make().ok());
        let mut attempts = 0;
        let complete = loop {
            self.catch();
            let all_died = self.kill_caught();
            let nobody_left = self.look_again();
            attempts += 1;
            if all_died && nobody_left {
                break true;
            }
            if attempts >= MAX_ATTEMPTS || Instant::now() >= self.until {
                break false;
            }
        };
        Outcome {
            affected: self.done,
            complete,
        }
    }

    /// Finds, holds, stops and cages members until nobody new appears. What is the tree's own group
    /// stands still as a whole before that.
    fn catch(&mut self) {
        let own_group = self.cage.as_ref().is_some_and(|cage| !cage.is_made());
        if own_group && let Some(cage) = &self.cage {
            cage.freeze();
        }
        let until = self.until.min(Instant::now() + CATCH_LIMIT);
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS && Instant::now() < until && self.members.len() < MAX_HELD {
            let found = self.look();
            let new = self.hold_new(found) || (!own_group && self.chase());
            quiet = if new { 0 } else { quiet + 1 };
        }
        if let Some(cage) = &self.cage {
            cage.freeze();
        }
        let newborn = self.look();
        self.hold_new(newborn);
    }

    /// Holds those who are not held yet; whether there was anybody.
    fn hold_new(&mut self, found: Vec<Found>) -> bool {
        let new = found
            .into_iter()
            .filter(|found| !self.members.contains_key(&found.uid));
        let new: Vec<Found> = new.filter(|found| self.may_be_killed(found)).collect();
        // Each takes a descriptor. Who does not fit is held in the next round, after these are dead.
        let room = MAX_HELD.saturating_sub(self.members.len());
        for found in new.iter().take(room) {
            self.hold(found);
        }
        !new.is_empty()
    }

    /// A process that does nothing but fork and end is gone before a whole look is over, and a look
    /// then finds nobody who moves. The newest process of the host is quickly looked at, again and
    /// again, and held; whether there was anybody, held or gone before that.
    fn chase(&mut self) -> bool {
        let until = Instant::now() + CHASE;
        let mut seen = false;
        while Instant::now() < until && self.members.len() < MAX_HELD {
            if let Some(found) = self.newest() {
                seen = true;
                self.ever.insert(found.uid);
                self.hold(&found);
            }
        }
        seen
    }

    /// The newest process of the host, if it is of the tree, lives, may be killed and is not held.
    fn newest(&self) -> Option<Found> {
        let found = procfs::find(&self.boot, procfs::newest()?)?;
        let mut held = self.members.values();
        let known = self.sessions.contains_key(&found.session)
            || held.any(|held| held.found.pid == found.ppid && !held.is_dead());
        let new = known && found.is_alive() && !self.members.contains_key(&found.uid);
        (new && self.may_be_killed(&found)).then_some(found)
    }

    fn hold(&mut self, found: &Found) {
        let Some(held) = Held::take(&self.boot, found) else {
            return;
        };
        // A refused signal shows at the end: the process is then still alive.
        if held.signal(Signal::STOP).is_err() {
            tracing::warn!(pid = found.pid, "failed to stop a process of the tree");
        }
        self.put_into_cage(&held.found);
        self.members.insert(found.uid, held);
    }

    /// A number may come to mean another process between the look and the move: then it is put back.
    fn put_into_cage(&self, found: &Found) {
        let Some(cage) = &self.cage else { return };
        let before = Cgroup::of(found.pid);
        if cage.add(found.pid).is_err() {
            return;
        }
        let still = procfs::find(&self.boot, found.pid).is_some_and(|now| now.uid == found.uid);
        if !still {
            drop(Cgroup::give_back(found.pid, before.as_ref()));
        }
    }

    /// Kills who is held; says whether all of them died.
    fn kill_caught(&mut self) -> bool {
        if let Some(cage) = self
            .cage
            .as_ref()
            .filter(|cage| self.holds_only_members(cage))
        {
            cage.kill();
        }
        for held in self.members.values() {
            if let Err(error) = held.signal(Signal::KILL) {
                tracing::warn!(pid = held.found.pid, %error, "failed to kill a process of the tree");
            }
        }
        let until = Instant::now() + DEATH_WAIT;
        let mut all_died = true;
        for held in std::mem::take(&mut self.members).into_values() {
            all_died &= held.wait(until.saturating_duration_since(Instant::now()));
            self.done.push(held.affected());
        }
        all_died
    }

    /// Looks once more, after the sensor had time to tell of the last forks. Whoever only forks and
    /// ends is looked for by the newest process in between, as whole looks miss it.
    fn look_again(&mut self) -> bool {
        let until = Instant::now() + SENSOR_LAG;
        loop {
            let alive = self.look();
            if alive.iter().any(|found| self.may_be_killed(found)) {
                return false;
            }
            if Instant::now() >= until {
                return alive.is_empty();
            }
            let next_look = Instant::now() + BETWEEN_LOOKS;
            while Instant::now() < next_look {
                if self.newest().is_some() {
                    return false;
                }
                std::thread::park_timeout(GLIMPSE);
            }
        }
    }

    /// The root's own control group, if nobody but members is in it: newborn members cannot leave
    /// what is frozen as a whole.
    fn own_group(&mut self) -> Option<Cgroup> {
        let members = self.look();
        let group = Cgroup::of(members.iter().find(|found| found.uid == self.root)?.pid)?;
        let pids: BTreeSet<u32> = members.iter().map(|found| found.pid).collect();
        let inside = group.pids()?;
        let own = !inside.is_empty() && inside.iter().all(|pid| pids.contains(pid));
        let free = members.iter().all(|found| self.may_be_killed(found));
        (own && free).then_some(group)
    }

    fn holds_only_members(&self, cage: &Cgroup) -> bool {
        let pids = cage.pids().unwrap_or_default();
        let mut inside = pids
            .into_iter()
            .filter_map(|pid| procfs::find(&self.boot, pid));
        let member = |found: Found| self.ever.contains(&found.uid) && self.may_be_killed(&found);
        inside.all(member)
    }

    fn may_be_killed(&self, found: &Found) -> bool {
        self.protection.reason(found).is_none()
    }

    /// A session that a member began holds nothing but its descendants: one gets into a session only
    /// by being born there. Its number stays taken while the session lives.
    fn remember(&mut self, members: &[Found]) {
        for found in members {
            self.ever.insert(found.uid);
            if found.session == found.pid {
                self.sessions.insert(found.session, found.uid);
            }
        }
    }

    fn forget_reused_sessions(&mut self) {
        let uid = |pid: u32| procfs::find(&self.boot, pid).map(|found| found.uid);
        self.sessions
            .retain(|session, leader| uid(*session).is_none_or(|uid| uid == *leader));
    }
}

impl std::fmt::Debug for Tree<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Adds everybody whose parent is inside, until nobody is added.
fn close_over_children(all: &[Found], inside: &mut HashMap<u32, ProcessUid>) {
    loop {
        let before = inside.len();
        for found in all {
            if inside.contains_key(&found.ppid) && !inside.contains_key(&found.pid) {
                inside.insert(found.pid, found.uid);
            }
        }
        if inside.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
