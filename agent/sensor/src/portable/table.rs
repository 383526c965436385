//! The processes that are known, and what a scan finds to be different.
//!
//! # Invariants
//!
//! - A process is an exec when it runs a program that no known process ran at the last two scans, and
//!   a fork when it runs one that another did. Where we may not look, the names and arguments of it
//!   and of its parent decide.
//! - A process that ended before it could be described is not known, and so counts as unseen.
//! - Kernel threads are known and give no events.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use picket_event::{
    BootId, Detail, Event, Exit, Fidelity, Fork, Kind, Process, ProcessUid, Source, Text, UnixNanos,
};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use super::census::{Census, TICK_NS, executable, stat};
use super::exits::Exits;
use super::stat::{Image, Stat};
use crate::identity::boot_ns;
use crate::{FileKey, SensorError};

/// The known processes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) exits: Exits,
    census: Census,
    system: System,
    known: HashMap<u32, Known>,
    images: HashSet<Image>,
    former_images: HashSet<Image>,
}

/// What is kept of one process: all but its arguments.
#[derive(Debug)]
struct Known {
    stat: Stat,
    process: Process,
    arguments: u64,
}

/// What a scan gives.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) events: Vec<Event>,
    pub(super) executables: Vec<(ProcessUid, FileKey)>,
    /// New tasks: processes and threads, the kernel's own included.
    pub(super) tasks: u64,
    /// New threads of the kernel, which give no event.
    pub(super) kernel_threads: u64,
}

impl Table {
    pub(super) fn new(boot: BootId, exits: Exits) -> Result<Self, SensorError> {
        let system = System::new().map_err(|error| SensorError::Processes {
            reason: error.to_string(),
        })?;
        Ok(Self {
            exits,
            census: Census::new(boot),
            system,
            known: HashMap::new(),
            images: HashSet::new(),
            former_images: HashSet::new(),
        })
    }

    /// Whether this process was found.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// Every process, read again.
    pub(super) fn snapshot(&self) -> Vec<Process> {
        self.known
            .keys()
            .filter_map(|pid| self.census.process(*pid))
            .collect()
    }

    /// Looks at every process. The first scan tells what is there; its events are not for anybody.
    pub(super) fn scan(&mut self) -> Found {
        let mut found = Found::default();
        self.census.clock().renew();
        let kind = ProcessRefreshKind::nothing().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let pids: HashSet<u32> = self
            .system
            .processes()
            .keys()
            .map(|pid| pid.as_u32())
            .collect();
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|pid| !pids.contains(pid))
            .copied()
            .collect();
        for pid in gone {
            found.events.extend(self.ended(pid));
        }
        let stats = pids.into_iter().filter_map(|pid| Some((pid, stat(pid)?)));
        let mut stats: Vec<(u32, Stat)> = stats.collect();
        // Parents before their children, so that the program is known as theirs.
        stats.sort_by_key(|(pid, stat)| (stat.start_ticks, *pid));
        for (pid, stat) in stats {
            self.look_at(pid, stat, &mut found);
        }
        let images = self
            .known
            .values()
            .filter_map(|known| known.stat.image)
            .collect();
        self.former_images = std::mem::replace(&mut self.images, images);
        found.events.sort_by_key(|event| event.time);
        found
    }

    /// The event of a process that ended, if it was known.
    pub(super) fn ended(&mut self, pid: u32) -> Option<Event> {
        self.exits.forget(pid);
        let known = self
            .known
            .remove(&pid)
            .filter(|known| !known.stat.is_kernel_thread)?;
        let now = boot_ns();
        let started = known.stat.start_ticks;
        let zombie = stat(pid).filter(|stat| stat.is_zombie && stat.start_ticks == started);
        let (code, signal) = zombie.map_or((None, None), |zombie| zombie.ending());
        let duration_ns = now.checked_sub(started.saturating_mul(TICK_NS));
        let exit = Detail::Exit(Exit {
            code,
            signal,
            duration_ns,
        });
        Some(self.event_now(Kind::Exit, known.process).with(exit))
    }

    fn look_at(&mut self, pid: u32, stat: Stat, found: &mut Found) {
        let known = self.known.get_mut(&pid);
        let Some(known) = known.filter(|known| known.stat.start_ticks == stat.start_ticks) else {
            found.events.extend(self.ended(pid));
            self.began(pid, stat, found);
            return;
        };
        let more = stat.threads.saturating_sub(known.stat.threads);
        found.tasks = found.tasks.saturating_add(more);
        known.stat.threads = stat.threads;
        if runs_another(&known.stat, &stat) {
            self.replaced(pid, stat, found);
        }
    }

    /// A number that was not known, or is another process's now.
    fn began(&mut self, pid: u32, stat: Stat, found: &mut Found) {
        if stat.is_zombie {
            return;
        }
        let is_watched = !stat.is_kernel_thread && self.exits.watch(pid);
        let Some(process) = self.census.describe(pid, &stat) else {
            if is_watched {
                self.exits.forget(pid);
            }
            return;
        };
        found.tasks = found.tasks.saturating_add(stat.threads);
        if stat.is_kernel_thread {
            found.kernel_threads = found.kernel_threads.saturating_add(1);
        } else {
            let event = self.event_of_new(&stat, &process, found);
            found.events.push(event);
        }
        self.keep(pid, stat, process);
    }

    fn event_of_new(&self, stat: &Stat, process: &Process, found: &mut Found) -> Event {
        let at = (
            self.census.started(stat),
            stat.start_ticks.saturating_mul(TICK_NS),
        );
        if self.is_fork(stat, process) {
            let fork = Fork {
                child_uid: process.uid,
                child_pid: process.pid,
            };
            let mut event = event(Kind::Fork, at).with(Detail::Fork(fork));
            event.process = self
                .known
                .get(&stat.ppid)
                .map(|parent| sampled(&parent.process));
            return event;
        }
        found
            .executables
            .extend(executable(process.pid).map(|key| (process.uid, key)));
        event(Kind::Exec, at).by(sampled(process))
    }

    fn is_fork(&self, stat: &Stat, process: &Process) -> bool {
        if let Some(image) = stat.image {
            return self.images.contains(&image) || self.former_images.contains(&image);
        }
        let parent = self.census.process(stat.ppid);
        parent.is_some_and(|parent| parent.comm == process.comm && parent.argv == process.argv)
    }

    /// A known process runs another program.
    fn replaced(&mut self, pid: u32, stat: Stat, found: &mut Found) {
        let Some(process) = self.census.describe(pid, &stat) else {
            return;
        };
        let is_renamed = stat.image.is_none()
            && self
                .known
                .get(&pid)
                .is_some_and(|known| known.arguments == digest(&process.argv));
        if is_renamed {
            self.keep(pid, stat, process);
            return;
        }
        found
            .executables
            .extend(executable(pid).map(|key| (process.uid, key)));
        found
            .events
            .push(self.event_now(Kind::Exec, sampled(&process)));
        self.keep(pid, stat, process);
    }

    fn keep(&mut self, pid: u32, stat: Stat, process: Process) {
        let arguments = digest(&process.argv);
        let process = Process {
            argv: Vec::new(),
            ..sampled(&process)
        };
        self.images.extend(stat.image);
        self.known.insert(
            pid,
            Known {
                stat,
                process,
                arguments,
            },
        );
    }

    fn event_now(&self, kind: Kind, process: Process) -> Event {
        let now = boot_ns();
        event(kind, (self.census.at(now), now)).by(process)
    }
}

/// Whether another program runs in the same process.
fn runs_another(before: &Stat, now: &Stat) -> bool {
    match (before.image, now.image) {
        (Some(before), Some(now)) => before != now,
        _ => before.comm != now.comm && !now.is_zombie && !now.is_kernel_thread,
    }
}

/// To see whether arguments are others than before; kept in place of them.
fn digest(arguments: &[Text]) -> u64 {
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    hasher.finish()
}

fn sampled(process: &Process) -> Process {
    Process {
        fidelity: Some(Fidelity::Sampled),
        ..process.clone()
    }
}

fn event(kind: Kind, (time, boot_ns): (UnixNanos, u64)) -> Event {
    let mut event = Event::new(kind, time, Source::Portable);
    event.boot_ns = boot_ns;
    event
}
