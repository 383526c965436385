//! The sensor for hosts whose kernel takes no BPF programs: the kernel's own announcements.
//!
//! ```text
//! connector (fork, exec, exit, ids, ptrace) -- /proc, at once --+--> Event, source audit, fidelity derived
//! fanotify (changes of files, opens of secrets) ----------------+
//! audit records of execs, where a rule asks for them -- join ---+
//! ```
//!
//! `docs/audit.md` tells what it sees, how exactly, and what it misses.
//!
//! # Invariants
//!
//! - The connector is read before and after the files: what was done to a file never comes before the
//!   exec that led to it, nor after the end of who did it.
//! - Messages that the kernel dropped are counted by their numbers. Of which kind they were nobody
//!   knows; they stand in the line of `exec`.
//! - Nobody waits for this sensor: it asks for notifications only, through bounded queues.
//! - No audit rule, status or owner is changed. Where records of execs come, what was read waits for
//!   them, at most 50 ms; where none come nothing waits.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use picket_event::{
    BootId, Detail, Event, Hook, Kind, KindCounts, Loss, LossCause, Process, ProcessUid, Source,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};

use self::connector::{Connector, Message, Task, What};
use self::facts::Facts;
use self::files::{Context, Files, Waiting, standing, unavailable};
use self::held::{Batch, Held};
use self::multicast::{Multicast, no_multicast};
use self::proof::Proofs;
use self::table::{Fate, Ids, Table};
use crate::ledger::LossWatch;
use crate::portable::Census;
use crate::tally::Tally;
use crate::{FileKey, Sensor, SensorError, Settings, identity};

mod canary;
mod connector;
mod facts;
mod fanotify;
mod files;
mod folders;
mod held;
mod mounts;
pub(crate) mod multicast;
pub(crate) mod netlink;
mod notice;
mod proof;
pub mod reassembly;
pub mod record;
mod secrets;
mod table;
mod written;

/// Opens the sensor that needs root, the process connector and fanotify, but no BPF.
///
/// Without fanotify there are process events only, and [`Sensor::hooks`] says so. Where the connector
/// says nothing (no root, or not the host's own process namespace) there is no such sensor.
pub fn open_audit(settings: Settings) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(AuditSensor::open(&settings)?))
}

#[derive(Debug)]
struct AuditSensor {
    connector: Connector,
    multicast: io::Result<Multicast>,
    files: io::Result<Files>,
    table: Table,
    tally: Tally,
    /// Read, not yet in a batch.
    messages: Vec<Message>,
    /// Read, not yet told.
    held: Held,
    /// Told before anybody polled.
    early: Vec<Event>,
    executables: Vec<(ProcessUid, FileKey)>,
    proofs: Proofs,
    boot: BootId,
    losses: LossWatch,
    looked: Instant,
    /// How many messages were read.
    read: u64,
    execs: Execs,
}

/// The execs that were told, and how much of them is known.
#[derive(Clone, Copy, Debug, Default)]
struct Execs {
    told: u64,
    /// Those that have a record of audit.
    recorded: u64,
    /// Those that have neither a record nor could be read.
    unread: u64,
}

impl AuditSensor {
    fn open(settings: &Settings) -> Result<Self, SensorError> {
        if !rustix::process::geteuid().is_root() {
            return Err(SensorError::NotRoot);
        }
        let buffer = usize::try_from(settings.ring_bytes).unwrap_or(usize::MAX);
        let buffer = buffer.saturating_mul(2);
        let connector = Connector::open(buffer);
        let connector = connector.map_err(|source| SensorError::Connector { source })?;
        let mut sensor = Self {
            connector,
            multicast: Multicast::open(buffer),
            files: Files::open(settings),
            table: Table::new(Census::new(settings.boot), settings.environment),
            tally: Tally::of(&KINDS),
            messages: Vec::new(),
            held: Held::default(),
            early: Vec::new(),
            executables: Vec::new(),
            proofs: Proofs::new(settings.prove_every),
            boot: settings.boot,
            losses: LossWatch::default(),
            looked: Instant::now(),
            read: 0,
            execs: Execs::default(),
        };
        sensor.table.look_at_all();
        sensor.prove_at_start()?;
        Ok(sensor)
    }

    /// Sleeps until something comes, at most for `timeout`.
    fn wait(&self, timeout: Duration) {
        let mut waited = vec![PollFd::new(&self.connector, PollFlags::IN)];
        if let Ok(multicast) = &self.multicast {
            waited.push(PollFd::new(multicast, PollFlags::IN));
        }
        let queues = self.files.as_ref().map(Files::queues).unwrap_or_default();
        waited.extend(
            queues
                .iter()
                .map(|queue| PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)),
        );
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        if let Err(error) = poll(&mut waited, Some(&timeout)) {
            tracing::debug!(%error, "waiting was interrupted");
        }
    }

    /// Everything that waits becomes events, in the order of time, once its records have come.
    fn step(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let batch = self.gather()?;
        self.held.push(batch);
        self.read_records()?;
        self.tell_ripe(out);
        Ok(())
    }

    /// One look at every queue but that of records.
    fn gather(&mut self) -> Result<Batch, SensorError> {
        self.read_connector()?;
        let files = match &mut self.files {
            Ok(files) => files
                .read()
                .map_err(|source| SensorError::Wait { source })?,
            Err(_) => Waiting::default(),
        };
        let read_ns = identity::boot_ns();
        self.read_connector()?;
        let messages = std::mem::take(&mut self.messages);
        let came = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        self.read = self.read.saturating_add(came);
        Ok(Batch {
            facts: self.read_facts(&messages)?,
            messages,
            files,
            read_ns,
        })
    }

    fn read_records(&mut self) -> Result<(), SensorError> {
        let now = self.table.census.at(identity::boot_ns());
        match &mut self.multicast {
            Ok(multicast) => multicast
                .read(now)
                .map_err(|source| SensorError::Wait { source }),
            Err(_) => Ok(()),
        }
    }

    /// Tells the batches that wait for no record, or waited as long as they may.
    fn tell_ripe(&mut self, out: &mut Vec<Event>) {
        let mut is_idle = true;
        while let Some(batch) = self.pop_ripe() {
            self.tell(batch, out);
            self.table.next_round();
            is_idle = false;
        }
        if self.held.is_empty() {
            self.look_around(out);
            if is_idle {
                self.table.next_round();
            }
        }
    }

    fn pop_ripe(&mut self) -> Option<Batch> {
        let now = identity::boot_ns();
        let is_proving = self.proofs.is_under_way();
        let multicast = self.multicast.as_ref().ok();
        let multicast = multicast
            .filter(|multicast| multicast.is_proved || (is_proving && multicast.is_enabled()));
        self.held.pop(|batch| {
            now.saturating_sub(batch.read_ns) >= PATIENCE_NS
                || multicast.is_none_or(|multicast| multicast.has_all(batch.execs()))
        })
    }

    fn tell(&mut self, mut batch: Batch, out: &mut Vec<Event>) {
        let mut events = Vec::new();
        let facts = std::mem::take(&mut batch.facts);
        self.tell_all(&batch.messages, facts, &mut events);
        if let Ok(files) = &mut self.files {
            let mut context = Context {
                table: &mut self.table,
                tally: &mut self.tally,
                canary: self.proofs.canary(),
                read_ns: batch.read_ns,
                out: Vec::new(),
                has_overflowed: false,
            };
            files.tell(batch.files, &mut context);
            events.append(&mut context.out);
            if context.has_overflowed {
                events.push(self.state_event("file_queue_overflow", batch.read_ns));
            }
        }
        events.sort_by_key(|event| (event.boot_ns, event.kind == Kind::Exit));
        out.append(&mut events);
    }

    fn read_connector(&mut self) -> Result<(), SensorError> {
        let read = self.connector.read(&mut self.messages);
        read.map_err(|source| SensorError::Connector { source })
    }

    /// Reads the processes that ran a program a moment ago. What ran yet another while it was read is
    /// left out: nobody knows which of the two was read.
    fn read_facts(&mut self, batch: &[Message]) -> Result<HashMap<usize, Facts>, SensorError> {
        let mut facts = HashMap::new();
        for (pid, at) in facts::readable_execs(batch) {
            if let Some(read) = self.table.read(pid) {
                facts.insert(pid, (at, read));
            }
        }
        self.read_connector()?;
        for message in &self.messages {
            if let What::Exec(task) = &message.what {
                facts.remove(&task.pid);
            }
        }
        Ok(facts.into_values().collect())
    }

    fn tell_all(
        &mut self,
        batch: &[Message],
        mut facts: HashMap<usize, Facts>,
        out: &mut Vec<Event>,
    ) {
        let asleep_ns = asleep_ns();
        for (at, message) in batch.iter().enumerate() {
            let at_ns = message.monotonic_ns.saturating_add(asleep_ns);
            let Some(kind) = message.what.kind() else {
                continue;
            };
            let rest = batch.get(at.saturating_add(1)..).unwrap_or_default();
            let key = facts.get(&at).and_then(|facts| facts.key);
            let fate = match &message.what {
                What::Exec(task) => self.exec(at_ns, *task, facts.remove(&at)),
                what => self.decide(at_ns, what, rest),
            };
            let canary = self.proofs.canary();
            let is_canarys = canary.is_some_and(|canary| canary.claims(message));
            let fate = match fate {
                Fate::Told(_) if is_canarys => Fate::Filtered,
                fate => fate,
            };
            self.settle(kind, fate, key, out);
        }
        let lost = self.connector.take_lost();
        if lost > 0 {
            self.tally.lost_by(Kind::Exec, LossCause::Ring, lost);
            if let Ok(multicast) = &mut self.multicast {
                multicast.forget();
            }
            self.table.look_at_all();
        }
    }

    fn exec(&mut self, at_ns: u64, task: Task, facts: Option<Facts>) -> Fate {
        let time = self.table.census.at(at_ns);
        let multicast = self.multicast.as_mut().ok();
        let record = multicast.and_then(|multicast| multicast.take(task.pid, time));
        let fate = self.table.exec(at_ns, task.pid, facts, record.as_ref());
        let canary = self.proofs.canary();
        match canary.filter(|canary| canary.is_child(task.pid)) {
            Some(canary) => canary.note_exec(record.is_some()),
            None => self.execs.note(&fate, record.is_some()),
        }
        fate
    }

    /// What becomes of a message that is no exec; `rest` came after it.
    fn decide(&mut self, at_ns: u64, what: &What, rest: &[Message]) -> Fate {
        let ids = |task: &Task, ids: Ids, table: &mut Table| {
            table.ids(at_ns, *task, ids, !changes_again(*task, rest))
        };
        let table = &mut self.table;
        match what {
            What::Fork { parent, child } => table.fork(at_ns, *parent, *child),
            What::Exit { task, status } => {
                let lives_on = task.is_leader() && runs_on(task.pid, rest);
                table.exit(at_ns, *task, *status, lives_on)
            }
            What::Uid {
                task,
                real,
                effective,
            } => {
                let (real, effective) = (*real, *effective);
                ids(task, Ids::User { real, effective }, table)
            }
            What::Gid {
                task,
                real,
                effective,
            } => {
                let (real, effective) = (*real, *effective);
                ids(task, Ids::Group { real, effective }, table)
            }
            What::Traced { tracee, tracer } => table.traced(at_ns, tracee.pid, *tracer),
            What::Exec(_) | What::Other => Fate::Nothing,
        }
    }

    fn settle(&mut self, kind: Kind, fate: Fate, key: Option<FileKey>, out: &mut Vec<Event>) {
        match fate {
            Fate::Told(event) => {
                self.tally.submitted(kind);
                if let (Some(process), Some(key)) = (&event.process, key) {
                    self.executables.push((process.uid, key));
                }
                out.push(*event);
            }
            Fate::Filtered => self.tally.filtered(kind),
            Fate::Aggregated => self.tally.aggregated(kind),
            Fate::Lost => self.tally.lost_by(kind, LossCause::Reader, 1),
            Fate::Nothing => {}
        }
    }

    /// Now and then: ends that nobody told, new mounts, the wall clock, losses.
    fn look_around(&mut self, out: &mut Vec<Event>) {
        if self.looked.elapsed() < LOOK_PAUSE {
            return;
        }
        self.looked = Instant::now();
        self.table.census.clock().renew();
        for fate in self.table.sweep() {
            self.settle(Kind::Exit, fate, None, out);
        }
        if let Ok(files) = &mut self.files {
            files.look_for_mounts();
        }
        self.report_loss(out);
        self.prove_again(out);
    }

    fn report_loss(&mut self, out: &mut Vec<Event>) {
        let kinds = self.tally.lines();
        if self.losses.grew(&kinds) {
            let now = identity::boot_ns();
            let mut event = Event::new(Kind::Loss, self.table.census.at(now), Source::Audit);
            event.boot_ns = now;
            out.push(event.with(Detail::Loss(Loss { kinds, last: false })));
        }
    }

    fn connector_hooks(&self) -> [Hook; 3] {
        let missing = |kinds: &[Kind]| -> String {
            let missing = kinds
                .iter()
                .filter(|kind| !self.proofs.came_back.contains(kind));
            let names: Vec<&str> = missing.map(|kind| kind.name()).collect();
            names.join(", ")
        };
        let Execs { told, unread, .. } = self.execs;
        let full = self.connector.overflows();
        let detail = format!(
            "{unread} of {told} execs were over before they could be read, buffer was full {full} times"
        );
        [
            standing("proc_connector", &missing(&CONNECTORS), &detail),
            standing("proc_connector_ids", &missing(&[Kind::CredChange]), ""),
            standing("proc_connector_ptrace", &missing(&[Kind::Ptrace]), ""),
        ]
    }
}

impl Sensor for AuditSensor {
    fn source(&self) -> Source {
        Source::Audit
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let begin = Instant::now();
        let before = out.len();
        out.append(&mut self.early);
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            if self.messages.is_empty() && out.len() == before {
                let tick = if self.held.is_empty() {
                    TICK
                } else {
                    SHORT_TICK
                };
                self.wait(tick.min(left));
            }
            self.step(out)?;
            if out.len() > before || left.is_zero() {
                return Ok(());
            }
        }
    }

    fn executables(&mut self) -> Vec<(ProcessUid, FileKey)> {
        std::mem::take(&mut self.executables)
    }

    fn ledger(&self) -> Vec<KindCounts> {
        self.tally.lines()
    }

    fn hooks(&self) -> Vec<Hook> {
        let mut hooks = self.connector_hooks().to_vec();
        hooks.push(match &self.multicast {
            Ok(multicast) => multicast.hook(self.execs.recorded, self.execs.told),
            Err(error) => no_multicast(error),
        });
        match &self.files {
            Ok(files) => hooks.extend(files.hooks(|kind| self.proofs.came_back.contains(&kind))),
            Err(error) => hooks.push(unavailable("fanotify", &error.to_string())),
        }
        hooks
    }

    fn snapshot(&mut self) -> Vec<Process> {
        crate::ebpf::snapshot::processes(&self.boot)
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        out.append(&mut self.early);
        self.step(out)?;
        // What was read while the last facts were.
        self.step(out)?;
        while !self.held.is_empty() {
            self.wait(SHORT_TICK);
            self.read_records()?;
            self.tell_ripe(out);
        }
        self.report_loss(out);
        Ok(())
    }
}

impl Execs {
    fn note(&mut self, fate: &Fate, is_recorded: bool) {
        let Fate::Told(event) = fate else { return };
        let is_unread = event
            .process
            .as_ref()
            .is_some_and(|process| process.exe.is_empty());
        self.told = self.told.saturating_add(1);
        self.recorded = self.recorded.saturating_add(is_recorded.into());
        self.unread = self.unread.saturating_add(is_unread.into());
    }
}

impl What {
    /// The kind of event that it may become.
    fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Fork { .. } => Kind::Fork,
            Self::Exec(_) => Kind::Exec,
            Self::Exit { .. } => Kind::Exit,
            Self::Uid { .. } | Self::Gid { .. } => Kind::CredChange,
            Self::Traced { .. } => Kind::Ptrace,
            Self::Other => return None,
        })
    }
}

/// Whether another change of this thread's ids follows before it runs another program or ends.
fn changes_again(task: Task, rest: &[Message]) -> bool {
    let next = rest
        .iter()
        .take(LOOK_AHEAD)
        .find_map(|message| match &message.what {
            What::Uid { task: other, .. } | What::Gid { task: other, .. } if *other == task => {
                Some(true)
            }
            What::Exec(other) | What::Exit { task: other, .. } if other.pid == task.pid => {
                Some(false)
            }
            _ => None,
        });
    next.unwrap_or(false)
}

/// Whether a thread of this process, whose first thread ended, runs another program under its number.
fn runs_on(pid: u32, rest: &[Message]) -> bool {
    let next = rest
        .iter()
        .take(LOOK_AHEAD)
        .find_map(|message| match &message.what {
            What::Exec(task) if task.pid == pid => Some(true),
            What::Fork { child, .. } if child.pid == pid => Some(false),
            _ => None,
        });
    next.unwrap_or(false)
}

/// How long the host slept since it began: the connector's clock leaves that out.
fn asleep_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let awake = now
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec);
    let asleep = identity::boot_ns().saturating_sub(u64::try_from(awake).unwrap_or(0));
    // The two clocks were read one after the other.
    if asleep < 1_000_000 { 0 } else { asleep }
}

/// How long the reader sleeps when nothing wakes it.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at mounts, clock and ledger.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The same while records are waited for.
const SHORT_TICK: Duration = Duration::from_millis(5);
/// How long what was read waits for its records, where records come at all.
const PATIENCE_NS: u64 = 50_000_000;
const LOOK_AHEAD: usize = 256;
/// What the connector must tell for this sensor to be worth anything.
const CONNECTORS: [Kind; 3] = [Kind::Fork, Kind::Exec, Kind::Exit];
/// Everything that this sensor can see.
const KINDS: [Kind; 11] = [
    Kind::Exec,
    Kind::Fork,
    Kind::Exit,
    Kind::CredChange,
    Kind::Ptrace,
    Kind::FileCreate,
    Kind::FileModify,
    Kind::FileDelete,
    Kind::FileRename,
    Kind::FileAttr,
    Kind::FileOpen,
];
