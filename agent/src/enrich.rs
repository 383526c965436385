//! Adds to each event what the agent knows about its process: names, ancestors, container, hash. And
//! says what follows from it: that a script was started, that a job was scheduled, that an account was changed.
//!
//! # Invariants
//!
//! - Events leave in the order in which they came; what follows from one comes right behind it, by the
//!   same process, and is counted when it leaves.
//! - A file event has the hash of the file in the state that the event tells, or the reason why not.
//! - An event waits for a hash at most [`HASH_WAIT_NS`]; then it goes on and says `late`.
//! - What the sensor said is never overwritten; only what it could not know is filled in.
//! - The agent's own doings are left out and counted as filtered; a fork that the exec behind it tells, as aggregated.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use picket_event::{Detail, Event, HashStatus, Kind, Process, ProcessUid, Source, User};
use picket_seal::Digest;
use picket_sensor::FileKey;

pub(crate) mod account;
pub(crate) mod container;
pub(crate) mod counts;
pub(crate) mod hash;
pub(crate) mod lookup;
pub(crate) mod noted;
mod schedule;
pub(crate) mod table;
pub(crate) mod users;
pub(crate) mod written;

mod derived;
mod forks;
mod script;
mod states;

use crate::integrity::{self, SharedBaseline};
use crate::pipeline::Boxed;
use counts::Counts;
use forks::Started;
use hash::{HashCache, HashDone, HashJob, Hashed, JobId};
use lookup::Eyes;
use table::ProcessTable;
use users::Users;
use written::{Budget, Limits, Wish};

pub(crate) use derived::is_found;
pub(crate) use states::FileStates;

/// How long an event may wait for a hash, in nanoseconds.
pub(crate) const HASH_WAIT_NS: u64 = 50_000_000;
/// Events that may wait; when there are more, the oldest goes on as `late`.
const MAX_WAITING: usize = 2_048;

/// The process table, shared with those who answer commands.
pub(crate) type SharedTable = Arc<Mutex<ProcessTable>>;

/// The stage.
#[derive(Debug)]
pub(crate) struct Enricher {
    own: ProcessUid,
    own_directory: Option<PathBuf>,
    table: SharedTable,
    users: Users,
    cache: HashCache,
    waiting: VecDeque<Waiting>,
    /// Jobs whose answer has not come.
    asked: HashSet<JobId>,
    budget: Budget,
    /// Tells the jobs apart that have no other name.
    numbers: u64,
    counts: Counts,
    /// Whether forks are told that the exec behind them tells too.
    every_fork: bool,
    baseline: Option<SharedBaseline>,
}

/// An event whose turn has not come.
#[derive(Debug)]
struct Waiting {
    event: Boxed,
    job: Option<Awaited>,
    until_ns: u64,
}

/// Whose answer it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    Hash(JobId),
    Noted(u64),
}

/// Where files are read. The answer is whether there was room; if not, the event goes on without.
pub(crate) trait Hasher {
    /// Takes a hash job, or refuses because its queue is full.
    fn submit(&self, job: HashJob) -> bool;
    /// Takes a look at what a file says now, or refuses because its queue is full.
    fn look(&self, job: noted::Job) -> bool;
}

impl Enricher {
    /// For a sensor whose processes are in `table`. `own_directory` is where the agent itself writes.
    pub(crate) fn new(
        own: ProcessUid,
        own_directory: Option<PathBuf>,
        table: SharedTable,
        hashing: Limits,
    ) -> Self {
        Self {
            own,
            own_directory,
            table,
            users: Users::default(),
            cache: HashCache::default(),
            waiting: VecDeque::new(),
            asked: HashSet::new(),
            budget: Budget::new(hashing),
            numbers: 0,
            counts: Counts::default(),
            every_fork: false,
            baseline: None,
        }
    }

    /// With what important files were before.
    pub(crate) fn remembering(mut self, baseline: SharedBaseline) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// Which tells each fork, or not those that an exec tells too.
    pub(crate) const fn with_every_fork(mut self, every_fork: bool) -> Self {
        self.every_fork = every_fork;
        self
    }

    /// Takes events in, gives out those whose turn has come.
    pub(crate) fn take(
        &mut self,
        events: Vec<Boxed>,
        states: &FileStates,
        now_ns: u64,
        hasher: &dyn Hasher,
    ) -> Vec<Boxed> {
        self.users.refresh(now_ns);
        let fates = written::fates(&events, states);
        let started = if self.every_fork {
            Started::default()
        } else {
            Started::among(&events)
        };
        for (mut event, fate) in events.into_iter().zip(fates) {
            if self.is_own(&event) {
                self.leave_out(event.kind);
                continue;
            }
            self.fill(&mut event);
            if started.tells(&event) {
                counts::count(&mut self.counts.aggregated, event.kind);
                continue;
            }
            let job = if event.kind == Kind::Exec {
                self.hash_program(&mut event, states, hasher)
            } else {
                match written::wish(&event, states.of_file(&event)) {
                    Some(wish) => self.hash_written(&mut event, (wish, fate), now_ns, hasher),
                    None => None,
                }
            };
            let until_ns = now_ns.saturating_add(HASH_WAIT_NS);
            let follows = self.derive(&event, until_ns, hasher);
            self.waiting.push_back(Waiting {
                event,
                job: job.map(Awaited::Hash),
                until_ns,
            });
            self.waiting.extend(follows);
        }
        self.release(now_ns)
    }

    /// Takes answers of the hasher.
    pub(crate) fn hashed(&mut self, answers: &[HashDone]) {
        for done in answers {
            self.asked.remove(&done.job);
            if let Some(key) = done.key {
                self.cache.insert(key, done.hashed);
            }
            if let (JobId::Named(_), Some(_)) = (done.job, done.hashed.sha256) {
                self.budget.charge(done.bytes);
            }
        }
        let answers: HashMap<JobId, &HashDone> =
            answers.iter().map(|done| (done.job, done)).collect();
        let table = Arc::clone(&self.table);
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        for waiting in &mut self.waiting {
            if let Some(Awaited::Hash(job)) = waiting.job
                && let Some(done) = answers.get(&job)
            {
                waiting.job = None;
                if waiting.event.kind == Kind::Exec {
                    table.note_hash(&waiting.event, done.hashed);
                }
                set_hash(&mut waiting.event, done.hashed);
                derived::set_size(&mut waiting.event, done);
            }
        }
    }

    /// Gives out the events whose turn has come.
    pub(crate) fn release(&mut self, now_ns: u64) -> Vec<Boxed> {
        let mut ready = Vec::with_capacity(self.waiting.len());
        while let Some(first) = self.waiting.front() {
            let patient = now_ns < first.until_ns && self.waiting.len() <= MAX_WAITING;
            if first.job.is_some() && patient {
                break;
            }
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            ready.push(self.leave(first));
        }
        ready
    }

    /// Gives out every event, as at the end.
    pub(crate) fn drain(&mut self) -> Vec<Boxed> {
        let rest = std::mem::take(&mut self.waiting);
        rest.into_iter()
            .map(|waiting| self.leave(waiting))
            .collect()
    }

    /// The hashes that are known, by the state of the file.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = (&FileKey, Digest)> {
        self.cache.all()
    }

    /// Makes room: forgets half of what can be found again.
    pub(crate) fn forget(&mut self) {
        self.cache.forget_old();
        self.table().forget_ended();
    }

    /// When the first waiting event must go on, in nanoseconds since boot.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.until_ns)
    }

    /// An event goes no further: it was only to be looked at.
    pub(crate) fn leave_out(&mut self, kind: Kind) {
        counts::count(&mut self.counts.filtered, kind);
    }

    /// What became of events here.
    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whoever leaves without an answer says so.
    fn leave(&mut self, mut waiting: Waiting) -> Boxed {
        if let Some(Awaited::Hash(_)) = waiting.job {
            set_hash(&mut waiting.event, Hashed::without(HashStatus::Late));
        }
        if let Some(baseline) = &self.baseline {
            integrity::note(baseline, &mut waiting.event);
        }
        self.count(&waiting.event);
        waiting.event
    }

    fn is_own(&self, event: &Event) -> bool {
        if event.source == Source::Agent {
            return false;
        }
        if let Some(process) = &event.process {
            return process.uid == self.own;
        }
        let Some(directory) = &self.own_directory else {
            return false;
        };
        let path = event
            .file()
            .and_then(|file| file.path.as_str())
            .unwrap_or_default();
        std::path::Path::new(path).starts_with(directory)
    }

    fn fill(&mut self, event: &mut Event) {
        let table = Arc::clone(&self.table);
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(process) = &mut event.process else {
            return;
        };
        table.complete(process);
        if process.container.is_none() {
            process.container = container::of_cgroup(process.cgroup.as_bytes());
        }
        self.name_user(process);
        if let Some(Detail::Ptrace(ptrace)) = &mut event.detail {
            let target = ptrace.target_uid.take();
            ptrace.target_uid =
                target.or_else(|| table.meant(self.own, process, ptrace.target_pid));
        }
        table.follow(event.kind, event.detail.as_ref(), process);
    }

    /// Names from this host's `/etc/passwd` say nothing about users inside a container.
    fn name_user(&self, process: &mut Process) {
        let Some(user) = &mut process.user else {
            return;
        };
        if user.name.is_empty() && process.container.is_none() {
            user.name = self.users.name(user.uid);
        }
    }

    /// Sets the hash of a program if it is known. Otherwise the job that will find it.
    fn hash_program(
        &mut self,
        event: &mut Event,
        states: &FileStates,
        hasher: &dyn Hasher,
    ) -> Option<JobId> {
        let process = event.process.as_ref()?;
        if process.sha256.is_some() {
            return None;
        }
        let key = states.of_program(process.uid);
        if let Some(known) = key.and_then(|key| self.cache.get(&key)) {
            self.table().note_hash(event, known);
            set_hash(event, known);
            return None;
        }
        let id = key.map_or(JobId::Process(process.uid), JobId::File);
        let job = HashJob::executable(id, process.pid, process.exe.clone());
        self.ask(event, job, hasher)
    }

    /// Sets the hash of a written file if it is known. Otherwise the job that will find it.
    fn hash_written(
        &mut self,
        event: &mut Event,
        (wish, fate): (Wish, Option<HashStatus>),
        now_ns: u64,
        hasher: &dyn Hasher,
    ) -> Option<JobId> {
        if self.budget.file_bytes() == 0 {
            return None;
        }
        let (known, bytes) = match wish {
            Wish::Empty => (Some(Hashed::ok(Digest::of(b""))), 0),
            _ if fate.is_some() => (fate.map(Hashed::without), 0),
            Wish::State(key) if key.size > self.budget.file_bytes() => {
                (Some(Hashed::without(HashStatus::TooLarge)), 0)
            }
            Wish::State(key) => (self.cache.get(&key), key.size),
            Wish::NewName => (None, 0),
        };
        if let Some(known) = known {
            set_hash(event, known);
            return None;
        }
        if !self.budget.afford(bytes, now_ns) {
            set_hash(event, Hashed::without(HashStatus::Late));
            return None;
        }
        let job = self.job_for(event, wish);
        self.ask(event, job, hasher)
    }

    fn job_for(&mut self, event: &Event, wish: Wish) -> HashJob {
        let number = self.number();
        let (id, named) = match wish {
            Wish::State(key) => (JobId::Written(key), None),
            Wish::Empty | Wish::NewName => (JobId::Named(number), Some(event.time)),
        };
        HashJob {
            id,
            pid: event.process.as_ref().map_or(0, |process| process.pid),
            eyes: Eyes::OWN,
            path: written::name_after(event),
            named,
            max_bytes: self.budget.file_bytes(),
        }
    }

    const fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// Hands the job on, unless an answer to it is on its way already.
    fn ask(&mut self, event: &mut Event, job: HashJob, hasher: &dyn Hasher) -> Option<JobId> {
        let id = job.id;
        if self.asked.contains(&id) || hasher.submit(job) {
            self.asked.insert(id);
            return Some(id);
        }
        set_hash(event, Hashed::without(HashStatus::Late));
        None
    }

    fn table(&self) -> std::sync::MutexGuard<'_, ProcessTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of an exec the hash is the program's, otherwise the file's or the script's.
fn set_hash(event: &mut Event, hashed: Hashed) {
    match (&mut event.detail, &mut event.process) {
        (Some(Detail::File(file)), _) => {
            file.sha256_after = hashed.sha256;
            file.hash_status = hashed.status;
        }
        (Some(Detail::Script(script)), _) => {
            script.sha256 = hashed.sha256;
            script.hash_status = hashed.status;
        }
        (_, Some(process)) => {
            process.sha256 = hashed.sha256;
            process.hash_status = hashed.status;
        }
        _ => {}
    }
}

/// A user of whom only the number is known.
pub(crate) const fn unnamed(uid: u32) -> User {
    User {
        uid,
        name: picket_event::Text::NONE,
    }
}

#[cfg(test)]
mod tests;
