//! The processes, as the connector tells of them.
//!
//! # Invariants
//!
//! - A process keeps the name that it was first told by. The name comes from `/proc` where the process
//!   was there to be asked, and from the moment of its fork where it was not.
//! - A process that ended is known for one round more, because what it did to files is told apart.
//! - What was not read is not said: an exec whose process was gone has no program and no arguments.

use std::collections::{HashMap, HashSet};
use std::fs;

use picket_event::{
    CredChange, Credentials, Detail, Event, Exit, Fidelity, Fork, Kind, Process, Ptrace, Source,
    User,
};

use super::connector::Task;
use super::facts::{self, Facts};
use super::multicast::complete;
use super::reassembly::AuditedExec;
use crate::portable::{Census, Stat, TICK_NS, stat};
use crate::{Environment, identity};

/// The known processes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) census: Census,
    environment: Environment,
    known: HashMap<u32, Known>,
    round: u64,
    /// What is told of earlier moments was there before the sensor.
    since_ns: u64,
}

#[derive(Debug)]
struct Known {
    /// Without arguments.
    process: Process,
    start_ticks: u64,
    is_kernel_thread: bool,
    has_threads: bool,
    /// Its first thread ended with this status, others may live on.
    leader_status: Option<u32>,
    credentials: Option<Credentials>,
    /// Credentials on the way to those that will be told.
    changing: Option<Credentials>,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    round: u64,
    at_ns: u64,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Fate {
    Told(Box<Event>),
    Filtered,
    Aggregated,
    Lost,
    /// It is not a fact of its own.
    Nothing,
}

/// New ids of a thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ids {
    User { real: u32, effective: u32 },
    Group { real: u32, effective: u32 },
}

impl Table {
    pub(super) fn new(census: Census, environment: Environment) -> Self {
        Self {
            census,
            environment,
            known: HashMap::new(),
            round: 0,
            since_ns: 0,
        }
    }

    /// What `/proc` tells of this process now.
    pub(super) fn read(&self, pid: u32) -> Option<Facts> {
        facts::read(&self.census, self.environment, pid)
    }

    /// Learns every process that runs now; forgets those that do not, without a word: their ends are
    /// among what was lost, or were before the sensor.
    pub(super) fn look_at_all(&mut self) {
        let pids: HashSet<u32> = running().collect();
        self.known
            .retain(|pid, known| known.ended.is_some() || pids.contains(pid));
        for pid in pids {
            if let Some(facts) = self.read(pid) {
                self.learn(pid, facts);
            }
        }
        self.since_ns = identity::boot_ns();
    }

    /// Ends a round.
    pub(super) fn next_round(&mut self) {
        let round = self.round;
        self.known
            .retain(|_, known| known.ended.is_none_or(|ended| ended.round == round));
        self.round = round.saturating_add(1);
    }

    /// A process or a thread began.
    pub(super) fn fork(&mut self, at_ns: u64, parent: u32, child: Task) -> Fate {
        if !child.is_leader() {
            if let Some(known) = self.known.get_mut(&child.pid) {
                known.has_threads = true;
            }
            return Fate::Nothing;
        }
        if !self.is_running(parent) {
            match self.read(parent) {
                Some(facts) => drop(self.learn(parent, facts)),
                None => return self.unknown(at_ns),
            }
        }
        let ticks = start_ticks(child.pid, at_ns);
        let uid = self.census.uid_of(child.pid, ticks);
        let start_time = Some(self.census.at(at_ns));
        let Some(known) = self.known.get(&parent) else {
            return Fate::Lost;
        };
        let process = Process {
            uid,
            pid: child.pid,
            ppid: parent,
            parent_uid: Some(known.process.uid),
            start_time,
            ..known.process.clone()
        };
        let is_kernel_thread = known.is_kernel_thread;
        let credentials = known.credentials;
        let event = self.event(Kind::Fork, at_ns, known.process.clone());
        let known = Known {
            credentials,
            ..Known::new(process, ticks, is_kernel_thread)
        };
        self.known.insert(child.pid, known);
        if is_kernel_thread {
            return Fate::Filtered;
        }
        let fork = Fork {
            child_uid: uid,
            child_pid: child.pid,
        };
        Fate::Told(Box::new(event.with(Detail::Fork(fork))))
    }

    /// A process runs another program, of which this could be read and this was recorded.
    pub(super) fn exec(
        &mut self,
        at_ns: u64,
        pid: u32,
        facts: Option<Facts>,
        record: Option<&AuditedExec>,
    ) -> Fate {
        let facts = facts.filter(|facts| self.is_same(pid, &facts.stat));
        let read = facts.map(|facts| self.learn(pid, facts));
        let Some(mut process) = read.or_else(|| self.begin_unread(pid)) else {
            return self.unknown(at_ns);
        };
        if let Some(record) = record {
            complete(&mut process, record);
            self.keep(pid, &process);
        }
        Fate::Told(Box::new(self.event(Kind::Exec, at_ns, process)))
    }

    /// Another program of which nothing could be read, in a known process.
    fn begin_unread(&mut self, pid: u32) -> Option<Process> {
        let known = self.known.get_mut(&pid);
        let known = known.filter(|known| known.ended.is_none())?;
        known.begin_program();
        Some(known.process.clone())
    }

    /// What is known of a running process from now on. Its credentials are read again when they change.
    fn keep(&mut self, pid: u32, process: &Process) {
        if let Some(known) = self.known.get_mut(&pid) {
            let ids = |of: &Process| (of.user.as_ref().map(|user| user.uid), of.effective_uid);
            if ids(&known.process) != ids(process) {
                known.credentials = None;
            }
            known.process = without_arguments(process);
        }
    }

    /// A thread ended; `lives_on`: another of its process takes its number.
    pub(super) fn exit(&mut self, at_ns: u64, task: Task, status: u32, lives_on: bool) -> Fate {
        let Some(known) = self
            .known
            .get_mut(&task.pid)
            .filter(|known| known.ended.is_none())
        else {
            return if task.is_leader() {
                self.unknown(at_ns)
            } else {
                Fate::Nothing
            };
        };
        if task.is_leader() {
            known.leader_status = Some(status);
        }
        let is_last = match known.leader_status {
            None => false,
            Some(_) if lives_on => false,
            Some(_) => !known.has_threads || known.is_over(),
        };
        if is_last {
            self.end(at_ns, task.pid, status)
        } else {
            Fate::Nothing
        }
    }

    /// The ends that no last message told: first threads ended earlier, and now nothing is left.
    pub(super) fn sweep(&mut self) -> Vec<Fate> {
        let now = identity::boot_ns();
        let waiting = self.known.iter().filter(|(_, known)| known.ended.is_none());
        let over: Vec<(u32, u32)> = waiting
            .filter_map(|(pid, known)| {
                Some((*pid, known.leader_status.filter(|_| known.is_over())?))
            })
            .collect();
        over.into_iter()
            .map(|(pid, status)| self.end(now, pid, status))
            .collect()
    }

    /// A thread has new ids; `is_last`: no further change of it waits to be told.
    pub(super) fn ids(&mut self, at_ns: u64, task: Task, ids: Ids, is_last: bool) -> Fate {
        let Some(known) = self
            .known
            .get_mut(&task.pid)
            .filter(|known| known.ended.is_none())
        else {
            return self.unknown(at_ns);
        };
        let Some(old) = known.credentials else {
            ids.set_of(&mut known.process);
            let process = known.process.clone();
            return Fate::Told(Box::new(self.event(Kind::CredChange, at_ns, process)));
        };
        let mut new = known.changing.unwrap_or(old);
        ids.set(&mut new);
        if !is_last {
            known.changing = Some(new);
            return Fate::Aggregated;
        }
        known.changing = None;
        if !task.is_leader() && new == old {
            // The threads of a process change one after another; the first was told.
            return Fate::Aggregated;
        }
        let read = facts::credentials(task.pid, task.tid).filter(|read| has_same_ids(read, &new));
        known.credentials = Some(read.unwrap_or(new));
        known.show_ids(&new);
        let process = known.process.clone();
        let event = self.event(Kind::CredChange, at_ns, process);
        Fate::Told(Box::new(match read {
            Some(new) => event.with(Detail::Cred(CredChange { old, new })),
            None => event,
        }))
    }

    /// A process traces another, or (tracer 0) does so no more.
    pub(super) fn traced(&mut self, at_ns: u64, tracee: u32, tracer: u32) -> Fate {
        if tracer == 0 {
            return Fate::Filtered;
        }
        let Some((process, _)) = self.actor(tracer) else {
            return self.unknown(at_ns);
        };
        let ptrace = Ptrace {
            request: "attach".to_owned(),
            target_uid: self.actor(tracee).map(|(target, _)| target.uid),
            target_pid: tracee,
            result: Some(0),
        };
        let event = self.event(Kind::Ptrace, at_ns, process);
        Fate::Told(Box::new(event.with(Detail::Ptrace(ptrace))))
    }

    /// The process of this number, and when it ended if it just did.
    pub(super) fn actor(&mut self, pid: u32) -> Option<(Process, Option<u64>)> {
        if !self.known.contains_key(&pid) {
            let facts = self.read(pid)?;
            self.learn(pid, facts);
        }
        let known = self.known.get(&pid)?;
        Some((known.process.clone(), known.ended.map(|ended| ended.at_ns)))
    }

    /// Whether this process is known and has not ended.
    pub(super) fn is_running(&self, pid: u32) -> bool {
        self.known
            .get(&pid)
            .is_some_and(|known| known.ended.is_none())
    }

    /// An event of this sensor's.
    pub(super) fn event(&self, kind: Kind, at_ns: u64, process: Process) -> Event {
        let mut event = Event::new(kind, self.census.at(at_ns), Source::Audit);
        event.boot_ns = at_ns;
        event.by(process)
    }

    /// What cannot be named is lost, unless it was before the sensor.
    fn unknown(&self, at_ns: u64) -> Fate {
        if at_ns <= self.since_ns {
            Fate::Filtered
        } else {
            Fate::Lost
        }
    }

    fn end(&mut self, at_ns: u64, pid: u32, status: u32) -> Fate {
        let round = self.round;
        let Some(known) = self.known.get_mut(&pid) else {
            return Fate::Lost;
        };
        known.ended = Some(Ended { round, at_ns });
        if known.is_kernel_thread {
            return Fate::Filtered;
        }
        let number = |bits: u32| i32::try_from(bits).ok();
        let signal = status & 0x7f;
        let exit = Exit {
            code: number((status >> 8) & 0xff).filter(|_| signal == 0),
            signal: number(signal).filter(|signal| *signal != 0),
            duration_ns: at_ns.checked_sub(known.start_ticks.saturating_mul(TICK_NS)),
        };
        let process = known.process.clone();
        let event = self.event(Kind::Exit, at_ns, process);
        Fate::Told(Box::new(event.with(Detail::Exit(exit))))
    }

    /// Whether what was read speaks of the process that is known by this number.
    fn is_same(&self, pid: u32, read: &Stat) -> bool {
        let known = self.known.get(&pid);
        let known = known.filter(|known| known.ended.is_none());
        known.is_none_or(|known| known.start_ticks.abs_diff(read.start_ticks) <= 1)
    }

    /// Keeps what was read, under the name that is known; gives the process with its arguments.
    fn learn(&mut self, pid: u32, facts: Facts) -> Process {
        let mut process = facts.process;
        let mut start_ticks = facts.stat.start_ticks;
        let known = self.known.get(&pid);
        let known = known.filter(|known| known.start_ticks.abs_diff(start_ticks) <= 1);
        if let Some(known) = known {
            start_ticks = known.start_ticks;
            process.uid = known.process.uid;
            process.ppid = known.process.ppid;
            process.parent_uid = known.process.parent_uid;
            process.start_time = known.process.start_time;
        }
        let kept = without_arguments(&process);
        let known = Known {
            has_threads: facts.stat.threads > 1,
            credentials: facts.credentials,
            ..Known::new(kept, start_ticks, facts.stat.is_kernel_thread)
        };
        self.known.insert(pid, known);
        process
    }
}

impl Known {
    fn new(process: Process, start_ticks: u64, is_kernel_thread: bool) -> Self {
        Self {
            process,
            start_ticks,
            is_kernel_thread,
            has_threads: false,
            leader_status: None,
            credentials: None,
            changing: None,
            ended: None,
        }
    }

    /// Another program, of which nothing is known but who runs it.
    fn begin_program(&mut self) {
        let old = &self.process;
        self.process = Process {
            ppid: old.ppid,
            parent_uid: old.parent_uid,
            start_time: old.start_time,
            user: old.user.clone(),
            effective_uid: old.effective_uid,
            gid: old.gid,
            effective_gid: old.effective_gid,
            login_uid: old.login_uid,
            session: old.session,
            fidelity: Some(Fidelity::Derived),
            ..Process::new(old.uid, old.pid)
        };
        self.is_kernel_thread = false;
        self.has_threads = false;
        self.leader_status = None;
    }

    fn show_ids(&mut self, ids: &Credentials) {
        let user = Ids::User {
            real: ids.uid,
            effective: ids.effective_uid,
        };
        let group = Ids::Group {
            real: ids.gid,
            effective: ids.effective_gid,
        };
        user.set_of(&mut self.process);
        group.set_of(&mut self.process);
    }

    /// Whether nothing of it runs any more.
    fn is_over(&self) -> bool {
        stat(self.process.pid).is_none_or(|now| {
            let is_another = now.start_ticks.abs_diff(self.start_ticks) > 1;
            is_another || (now.is_zombie && now.threads <= 1)
        })
    }
}

impl Ids {
    fn set(self, credentials: &mut Credentials) {
        match self {
            Self::User { real, effective } => {
                credentials.uid = real;
                credentials.effective_uid = effective;
            }
            Self::Group { real, effective } => {
                credentials.gid = real;
                credentials.effective_gid = effective;
            }
        }
    }

    fn set_of(self, process: &mut Process) {
        match self {
            Self::User { real, effective } => {
                let name = picket_event::Text::NONE;
                process.user = Some(User { uid: real, name });
                process.effective_uid = Some(effective);
            }
            Self::Group { real, effective } => {
                process.gid = Some(real);
                process.effective_gid = Some(effective);
            }
        }
    }
}

/// Exec events alone have arguments and environment.
fn without_arguments(process: &Process) -> Process {
    Process {
        argv: Vec::new(),
        argc: 0,
        argv_bytes: 0,
        argv_truncated: false,
        env: Vec::new(),
        ..process.clone()
    }
}

/// Whether what the connector tells of both is the same.
fn has_same_ids(one: &Credentials, other: &Credentials) -> bool {
    let ids = |of: &Credentials| (of.uid, of.effective_uid, of.gid, of.effective_gid);
    ids(one) == ids(other)
}

/// When the process that was forked then began, in clock ticks. The fork is told a moment after the
/// beginning: where a tick lies between the two, only `/proc` knows.
fn start_ticks(pid: u32, forked_ns: u64) -> u64 {
    let ticks = forked_ns / TICK_NS;
    let into_tick = forked_ns % TICK_NS;
    if into_tick < AFTER_BEGINNING_NS || into_tick > TICK_NS.saturating_sub(CLOCKS_APART_NS) {
        let read = stat(pid).map(|stat| stat.start_ticks);
        return read
            .filter(|read| read.abs_diff(ticks) <= 1)
            .unwrap_or(ticks);
    }
    ticks
}

fn running() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A fork is told within this time after the beginning, but for a host that is stopped meanwhile.
const AFTER_BEGINNING_NS: u64 = 1_000_000;
/// How far apart the two clocks may be read.
const CLOCKS_APART_NS: u64 = 20_000;
