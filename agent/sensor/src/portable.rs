//! The sensor for hosts without a kernel sensor: polls `/proc` and watches folders, also without root.
//!
//! ```text
//! table (sysinfo, /proc) ---+
//! exits (pidfd) ------------+--> Event, source portable, fidelity sampled
//! files (notify) -----------+
//! ```
//!
//! # Invariants
//!
//! - A process has the same [`ProcessUid`] as from the kernel sensor.
//! - Processes that came and went between two scans are counted, as lost `exec`: at most as many as
//!   the kernel numbered tasks that no scan found, so threads that lived as shortly count too.
//! - Scans take at most a twentieth of the time: a quarter of a second apart, or
//!   longer where one is slow.

use std::time::{Duration, Instant};

use picket_event::{
    Clock, Detail, Event, Hook, HookState, Kind, KindCounts, Loss, Process, ProcessUid, Source,
    SystemClock,
};

use crate::ledger::LossWatch;
use crate::tally::Tally;
use crate::{FileKey, Sensor, SensorError, Settings};

mod census;
mod changes;
mod exits;
mod files;
mod folders;
mod stat;
mod table;
mod unseen;

pub(crate) use census::{Census, TICK_NS, device, executable, stat};
pub(crate) use files::describe;
pub(crate) use stat::Stat;

use exits::Exits;
use files::Files;
use table::{Found, Table};
use unseen::Unseen;

/// Opens the sensor that needs nothing of the host but `/proc` and inotify.
///
/// A folder that cannot be watched is named by [`Sensor::hooks`]; without inotify there are process
/// events only.
pub fn open_portable(settings: Settings) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Portable::open(&settings)?))
}

#[derive(Debug)]
struct Portable {
    table: Table,
    unseen: Unseen,
    files: Result<Files, SensorError>,
    tally: Tally,
    losses: LossWatch,
    executables: Vec<(ProcessUid, FileKey)>,
    timetable: Timetable,
}

impl Portable {
    fn open(settings: &Settings) -> Result<Self, SensorError> {
        let exits = Exits::new().map_err(|source| SensorError::Wait { source })?;
        let call = exits
            .caller()
            .map_err(|source| SensorError::Wait { source })?;
        let mut table = Table::new(settings.boot, exits)?;
        let unseen = baseline(&mut table);
        Ok(Self {
            table,
            unseen,
            files: Files::open(settings, call),
            tally: Tally::of(&PROCESS_KINDS),
            losses: LossWatch::default(),
            executables: Vec::new(),
            timetable: Timetable::new(Instant::now()),
        })
    }

    /// What has happened until now.
    fn step(&mut self, ended: Vec<u32>, out: &mut Vec<Event>) {
        for pid in ended {
            let event = self.table.ended(pid);
            self.submit(event, out);
        }
        if let Ok(files) = &mut self.files {
            files.drain(Instant::now(), &mut self.tally, out);
        }
        let now = Instant::now();
        if self.timetable.is_time_to_look(now) {
            let created = self.unseen.counted();
            if self.timetable.is_time_to_scan(now, created) {
                self.scan(created, out);
                self.timetable.scanned(now, now.elapsed());
            }
        }
        if self.timetable.is_time_to_report(now) {
            self.report_loss(out);
        }
    }

    fn scan(&mut self, created: u64, out: &mut Vec<Event>) {
        let Found {
            events,
            executables,
            tasks,
            kernel_threads,
        } = self.table.scan();
        self.executables.extend(executables);
        self.submit(events, out);
        self.tally.filtered_many(Kind::Fork, kernel_threads);
        self.unseen.saw(tasks);
        let unseen = self.unseen.newly_unseen(created);
        self.tally.lost(Kind::Exec, unseen);
    }

    fn submit(&mut self, events: impl IntoIterator<Item = Event>, out: &mut Vec<Event>) {
        for event in events {
            self.tally.submitted(event.kind);
            out.push(event);
        }
    }

    fn report_loss(&mut self, out: &mut Vec<Event>) {
        let kinds = self.tally.lines();
        if self.losses.grew(&kinds) {
            let loss = Detail::Loss(Loss { kinds, last: false });
            out.push(Event::new(Kind::Loss, SystemClock.now(), Source::Portable).with(loss));
        }
    }

    fn files_due(&self) -> Option<Instant> {
        self.files.as_ref().ok().and_then(Files::due)
    }
}

impl Sensor for Portable {
    fn source(&self) -> Source {
        Source::Portable
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let begin = Instant::now();
        let before = out.len();
        self.executables.clear();
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            let wait = self.timetable.wait(Instant::now(), self.files_due());
            let ended = self.table.exits.wait(wait.min(left));
            self.step(ended, out);
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
        let own = std::process::id();
        let mut hooks = vec![
            hook(
                "processes",
                self.table.knows(own),
                "own process was seen",
                "not seen itself",
            ),
            hook(
                "exits",
                self.table.exits.is_watched(own),
                "pidfd of own process",
                "no pidfd",
            ),
        ];
        let counter = self.unseen.name();
        hooks.push(hook(
            "unseen processes",
            !counter.is_empty(),
            counter,
            "no counter",
        ));
        match &self.files {
            Ok(files) => hooks.extend(files.hooks()),
            Err(error) => hooks.push(hook("inotify", false, "", &with_cause(error))),
        }
        hooks
    }

    fn snapshot(&mut self) -> Vec<Process> {
        self.table.snapshot()
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let ended = self.table.exits.wait(Duration::ZERO);
        self.step(ended, out);
        let created = self.unseen.counted();
        self.scan(created, out);
        if let Ok(files) = &mut self.files {
            files.finish(Instant::now(), &mut self.tally, out);
        }
        self.report_loss(out);
        Ok(())
    }
}

/// Lists what is there, with no task created meanwhile if that can be had.
fn baseline(table: &mut Table) -> Unseen {
    let mut unseen = Unseen::begin();
    table.scan();
    for _ in 0..QUIET_TRIES {
        if unseen.counted() == 0 {
            break;
        }
        unseen = Unseen::begin();
        table.scan();
    }
    unseen
}

fn hook(name: &str, proved: bool, how: &str, why_not: &str) -> Hook {
    let (state, detail) = if proved {
        (HookState::Proved, how)
    } else {
        (HookState::Unavailable, why_not)
    };
    Hook {
        name: name.to_owned(),
        state,
        detail: detail.to_owned(),
        instead: String::new(),
    }
}

fn with_cause(error: &SensorError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// When to look at the counter of tasks, when to scan, when to report a loss.
#[derive(Debug)]
struct Timetable {
    next_look: Instant,
    next_scan: Instant,
    next_report: Instant,
    created: u64,
}

impl Timetable {
    fn new(now: Instant) -> Self {
        Self {
            next_look: now,
            next_scan: now,
            next_report: now,
            created: 0,
        }
    }

    /// How long to wait for anything else.
    fn wait(&self, now: Instant, also: Option<Instant>) -> Duration {
        let next = also.map_or(self.next_look, |also| also.min(self.next_look));
        next.saturating_duration_since(now)
    }

    fn is_time_to_look(&mut self, now: Instant) -> bool {
        let is_time = now >= self.next_look;
        if is_time {
            self.next_look = after(now, SHORTEST);
        }
        is_time
    }

    /// Where nothing was created, a scan can only find execs of known processes.
    fn is_time_to_scan(&mut self, now: Instant, created: u64) -> bool {
        let is_time = created != self.created || now >= self.next_scan;
        self.created = created;
        is_time
    }

    fn scanned(&mut self, began: Instant, took: Duration) {
        let pause = took.saturating_mul(SHARE).clamp(SHORTEST, LONGEST);
        self.next_look = after(began, pause);
        self.next_scan = after(began, LONGEST);
    }

    fn is_time_to_report(&mut self, now: Instant) -> bool {
        let is_time = now >= self.next_report;
        if is_time {
            self.next_report = after(now, REPORTS);
        }
        is_time
    }
}

fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}

/// Between two scans at least.
const SHORTEST: Duration = Duration::from_millis(250);
/// Between two scans at most.
const LONGEST: Duration = Duration::from_secs(2);
/// A scan is followed by a pause of so many times its length.
const SHARE: u32 = 20;
/// Between two reports of a loss at least.
const REPORTS: Duration = Duration::from_secs(5);
/// How often to try for a list with nothing created meanwhile.
const QUIET_TRIES: usize = 5;
const PROCESS_KINDS: [Kind; 3] = [Kind::Exec, Kind::Fork, Kind::Exit];
