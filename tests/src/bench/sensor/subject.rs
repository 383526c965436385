//! A sensor that runs: the agent's whole path, or `watch` alone.
//!
//! The whole path is an enrolled agent whose collector is on this host: events are enriched, hashed, scored,
//! numbered, signed, spooled and sent. `watch` is the same up to the scores, then prints JSON into a file.
//! Where CPU is compared the collector stands still, because it would compete for the same processors:
//! the path then ends in the spool.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use picket_event::{Clock, Detail, Event, Kind, KindCounts, SystemClock, UnixNanos, json};
use rustix::process::Signal;
use serde_json::Value;

use super::load::{Cost, Load};
use crate::failure::Failure;
use crate::programs::{Programs, finish};
use crate::rig::Rig;
use crate::service::Service;
use crate::wait;

/// Which way the sensor is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// `picket-agent run`.
    Run,
    /// `picket-agent watch --json`.
    Watch,
}

impl Way {
    /// How its figures differ in name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Run => "",
            Self::Watch => ", watch alone",
        }
    }
}

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

/// Lines of the ledger by kind.
pub(super) type Ledger = BTreeMap<Kind, KindCounts>;

/// What the benchmark works with.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) rig: Rig,
    pub(super) load: Load,
    pub(super) short: bool,
    state: PathBuf,
    /// Sensors that have told all and are about to end, which takes the kernel some seconds.
    leaving: RefCell<Vec<Service>>,
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Running<'a> {
    pub(super) service: Service,
    bench: &'a Bench,
    /// Where `watch` prints.
    output: PathBuf,
}

/// A collector that stands still.
#[derive(Debug)]
pub(super) struct Paused<'a>(&'a Rig);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal_collector(Signal::CONT);
    }
}

/// The agent that runs on through the parts that are about what is complete and right. The first that needs it starts
/// it; parts that compare with no sensor stop it.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    bench: &'a Bench,
    agent: Option<Running<'a>>,
}

impl Bench {
    /// Builds the loads, starts a collector, enrols an agent.
    pub(super) fn prepare(short: bool, agent: Option<PathBuf>) -> Result<Self, Failure> {
        let load = Load::build()?;
        let programs = Programs::find()?.with_agent(agent);
        let rig = Rig::start_with(programs)?;
        let state = rig.enroll("agent")?;
        Ok(Self {
            rig,
            load,
            short,
            state,
            leaving: RefCell::default(),
        })
    }

    /// Waits until sensors that are about to end are gone, so that no hook of theirs is left.
    pub(super) fn rest(&self) -> Result<(), Failure> {
        self.leaving.take().into_iter().try_for_each(end)
    }

    /// Has the agent know all important files, so that later it only looks whether they changed; then
    /// has the collector stand still.
    pub(super) fn quieten(&self) -> Result<Paused<'_>, Failure> {
        let agent = self.start_run()?;
        agent.wait_for_baseline()?;
        agent.stop()?;
        self.rig.signal_collector(Signal::STOP);
        Ok(Paused(&self.rig))
    }

    /// One of two numbers.
    pub(super) fn pick<T>(&self, short: T, full: T) -> T {
        if self.short { short } else { full }
    }

    /// Starts the agent and waits until it sees.
    pub(super) fn start(&self, way: Way) -> Result<Running<'_>, Failure> {
        match way {
            Way::Run => self.start_run(),
            Way::Watch => self.start_watch("", "watch"),
        }
    }

    fn start_run(&self) -> Result<Running<'_>, Failure> {
        let agent = Running {
            service: self.rig.agent(&self.state, None)?,
            bench: self,
            output: PathBuf::new(),
        };
        agent.must_be_kernel()?;
        Ok(agent)
    }

    /// `watch` of these kinds (all, if empty), its output under `name`.
    pub(super) fn start_watch(&self, kinds: &str, name: &str) -> Result<Running<'_>, Failure> {
        let output = self.load.path(&format!("{name}.json"));
        let agent = self.rig.programs.path("picket-agent")?;
        let mut command = Command::new("/bin/sh");
        // The shell becomes the agent, so the process id is the agent's.
        command.args(["-c", "exec \"$0\" watch --json ${2:+--kinds $2} > \"$1\""]);
        command.arg(agent).arg(&output).arg(kinds);
        let log = self.rig.path().join("watch.log");
        let service = Service::start("picket-agent watch", command, &log)?;
        let mut running = Running {
            service,
            bench: self,
            output,
        };
        running.wait_until_it_sees()?;
        Ok(running)
    }

    /// Runs the least child with one argument.
    pub(super) fn mark(&self, argument: &str) -> Result<(), Failure> {
        let mut command = Command::new(self.load.tiny());
        command.arg(argument);
        finish("a marker", command)?.success("a marker").map(drop)
    }

    /// Gives each event of these kinds that the collector has of the time from `since` until now.
    pub(super) fn stored(
        &self,
        kinds: &str,
        since: UnixNanos,
        mut take: impl FnMut(Event),
    ) -> Result<(), Failure> {
        let end = SystemClock.now();
        let mut from = since;
        while from < end {
            let until = from.plus(SLICE);
            let bounds = [from, until.minus(Duration::from_nanos(1))].map(|time| time.to_string());
            let arguments = [
                "events", "--kind", kinds, "--since", &bounds[0], "--until", &bounds[1], "--limit",
                MOST, "--json",
            ];
            self.search(&arguments, &mut take)?;
            from = until;
        }
        Ok(())
    }

    fn search(&self, arguments: &[&str], take: &mut impl FnMut(Event)) -> Result<(), Failure> {
        let run = |source| Failure::Run {
            what: "picketctl events".to_owned(),
            source,
        };
        let mut command = Command::new(self.rig.programs.path("picketctl")?);
        command.arg("--operator").arg(self.rig.operator());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(run)?;
        let mut lines = 0_usize;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                take(event(&line.map_err(run)?)?);
                lines += 1;
            }
        }
        let ended = child.wait().map_err(run)?;
        if ended.success() && lines < MOST.parse().unwrap_or(usize::MAX) {
            return Ok(());
        }
        Err(Failure::Unexpected {
            what: "picketctl events".to_owned(),
            text: format!("{ended} after {lines} events"),
        })
    }
}

impl Running<'_> {
    /// CPU time it has used so far.
    pub(super) fn cpu(&self) -> Result<Cpu, Failure> {
        Cpu::of(self.service.pid())
    }

    /// Proportional set size in KiB.
    pub(super) fn pss_kib(&self) -> Result<u64, Failure> {
        pss_kib(self.service.pid())
    }

    /// Waits until it has worked off what was seen, which shows in its CPU time.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        Cpu::settle(|| self.cpu())
    }

    /// Waits until it knows all important files, of which it reads some MiB a second.
    pub(super) fn wait_for_baseline(&self) -> Result<(), Failure> {
        let limit = Duration::from_mins(10);
        wait::until("a complete baseline", limit, || {
            let status = self.bench.rig.status(&self.bench.state)?;
            let built = status.pointer("/integrity/built");
            wait::pause(Duration::from_millis(200));
            Ok(built.filter(|built| !built.is_null()).map(drop))
        })
    }

    /// What a load cost, and what this used of CPU time for it.
    pub(super) fn cost_of(
        &self,
        load: impl FnOnce() -> Result<Cost, Failure>,
    ) -> Result<(Cost, Cpu), Failure> {
        Cpu::meanwhile(|| self.cpu(), load)
    }

    /// The ledger of a running service.
    pub(super) fn ledger(&self) -> Result<Ledger, Failure> {
        let status = self.bench.rig.status(&self.bench.state)?;
        let lines = status.pointer("/ledger/sensor").and_then(Value::as_array);
        let lines = lines.map(Vec::as_slice).unwrap_or_default();
        Ok(lines.iter().filter_map(counts).collect())
    }

    /// Waits until all that the service has numbered so far is at the collector, or a gap there.
    pub(super) fn wait_until_stored(&self) -> Result<(), Failure> {
        self.settle()?;
        // The books are renewed once a second.
        wait::pause(Duration::from_millis(1_500));
        let numbered = self.transport("numbered")?;
        wait::until(
            "the events at the collector",
            Duration::from_mins(5),
            || {
                let stored = self.transport("stored")?;
                let all = numbered
                    .iter()
                    .all(|(class, count)| stored.get(class) >= Some(count));
                wait::pause(Duration::from_millis(200));
                Ok(all.then_some(()))
            },
        )
    }

    /// Figures of another sensor than the kernel's would say nothing.
    fn must_be_kernel(&self) -> Result<(), Failure> {
        let status = self.bench.rig.status(&self.bench.state)?;
        let backend = status.pointer("/sensor/backend").and_then(Value::as_str);
        match backend {
            Some("ebpf") => Ok(()),
            other => Err(Failure::Unexpected {
                what: "the sensor".to_owned(),
                text: format!(
                    "{}, not the kernel's; see picket-agent doctor",
                    other.unwrap_or("none")
                ),
            }),
        }
    }

    fn transport(&self, column: &str) -> Result<BTreeMap<String, u64>, Failure> {
        let status = self.bench.rig.status(&self.bench.state)?;
        let lines = status
            .pointer("/ledger/transport")
            .and_then(Value::as_array);
        let lines = lines.map(Vec::as_slice).unwrap_or_default();
        let number = |line: &Value, name: &str| line.get(name).and_then(Value::as_u64).unwrap_or(0);
        let cell = |line: &Value| {
            let class = line.get("class")?.as_str()?.to_owned();
            // A gap is as good an answer as an event.
            let gaps = if column == "stored" {
                number(line, "gaps")
            } else {
                0
            };
            Some((class, number(line, column).saturating_add(gaps)))
        };
        Ok(lines.iter().filter_map(cell).collect())
    }

    /// Stops the service and waits for its end.
    pub(super) fn stop(self) -> Result<(), Failure> {
        end(self.service)
    }

    /// Stops `watch`, gives each event that it printed, and returns its ledger.
    pub(super) fn finish(self, mut take: impl FnMut(Event)) -> Result<Ledger, Failure> {
        self.service.send(Signal::TERM);
        wait::until("the last words of watch", Duration::from_mins(1), || {
            Ok(has_last_words(&self.output)?.then_some(()))
        })?;
        self.bench.leaving.borrow_mut().push(self.service);
        let file = File::open(&self.output).map_err(Failure::file(&self.output))?;
        let mut ledger = Ledger::new();
        for line in BufReader::new(file).lines() {
            let event = event(&line.map_err(Failure::file(&self.output))?)?;
            match &event.detail {
                Some(Detail::Loss(loss)) => {
                    ledger = loss.kinds.iter().map(|line| (line.kind, *line)).collect();
                }
                _ => take(event),
            }
        }
        fs::remove_file(&self.output).map_err(Failure::file(&self.output))?;
        Ok(ledger)
    }

    fn wait_until_it_sees(&mut self) -> Result<(), Failure> {
        let mark = format!("--ready={}", self.service.pid());
        let (bench, path) = (self.bench, self.output.clone());
        wait::until("a first event of watch", Duration::from_secs(20), || {
            self.service.still_runs()?;
            bench.mark(&mark)?;
            wait::pause(Duration::from_millis(100));
            Ok(contains(&path, &mark).then_some(()))
        })
    }
}

impl<'a> Standing<'a> {
    /// Not yet started.
    pub(super) fn new(bench: &'a Bench) -> Self {
        Self { bench, agent: None }
    }

    /// The agent, running.
    pub(super) fn agent(&mut self) -> Result<&Running<'a>, Failure> {
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => self.bench.start(Way::Run)?,
        };
        Ok(self.agent.insert(agent))
    }

    /// No sensor of this benchmark runs afterwards.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.agent.take().map_or(Ok(()), Running::stop)?;
        self.bench.rest()
    }
}

impl Cpu {
    /// What a process has used so far, all threads.
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).map_err(Failure::file(&path))?;
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut ticks = after_name.split_whitespace().skip(11).map(str::parse);
        match (ticks.next(), ticks.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(Self::of_ticks(user, system)),
            _ => Err(Failure::Unexpected { what: path, text }),
        }
    }

    /// What these processes have used so far, together.
    pub(super) fn of_all(pids: &[u32]) -> Result<Self, Failure> {
        pids.iter()
            .try_fold(Self::default(), |all, pid| Ok(all.and(Self::of(*pid)?)))
    }

    /// Waits until whoever uses this has worked off what was seen.
    fn settle(used: impl Fn() -> Result<Self, Failure>) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut before = used()?.both();
        while Instant::now() < end && !wait::interrupted() {
            wait::pause(Duration::from_millis(400));
            let now = used()?.both();
            if now - before < 0.015 {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }

    /// What a load cost, and what was used for it by whoever `used` is about.
    pub(super) fn meanwhile(
        used: impl Fn() -> Result<Self, Failure>,
        load: impl FnOnce() -> Result<Cost, Failure>,
    ) -> Result<(Cost, Self), Failure> {
        Self::settle(&used)?;
        let before = used()?;
        let cost = load()?;
        Self::settle(&used)?;
        Ok((cost, used()?.since(before)))
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }

    fn of_ticks(user: u32, system: u32) -> Self {
        let seconds = |ticks| f64::from(ticks) / TICKS_A_SECOND;
        Self {
            user: seconds(user),
            system: seconds(system),
        }
    }

    /// User and kernel together.
    pub(super) fn both(self) -> f64 {
        self.user + self.system
    }

    /// What came since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}

/// Proportional set size of a process in KiB: pages that are mapped twice count once.
pub(super) fn pss_kib(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or(Failure::Unexpected { what: path, text })
}

/// Asks it to end and waits for that.
fn end(service: Service) -> Result<(), Failure> {
    let ended = service.stop(Duration::from_mins(1))?;
    if ended.success() {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: "the end of the agent".to_owned(),
        text: ended.to_string(),
    })
}

/// Whether the last line is the last ledger.
fn has_last_words(path: &Path) -> Result<bool, Failure> {
    let mut file = File::open(path).map_err(Failure::file(path))?;
    let length = file.metadata().map_err(Failure::file(path))?.len();
    let last = SeekFrom::Start(length.saturating_sub(LAST_WORDS.len() as u64));
    let mut words = Vec::new();
    file.seek(last).map_err(Failure::file(path))?;
    file.read_to_end(&mut words).map_err(Failure::file(path))?;
    Ok(words == LAST_WORDS)
}

fn contains(path: &Path, text: &str) -> bool {
    let Ok(bytes) = fs::read(path) else {
        return false;
    };
    String::from_utf8_lossy(&bytes).contains(text)
}

fn event(line: &str) -> Result<Event, Failure> {
    let read = json::from_str(line);
    read.map(|line| line.event)
        .map_err(|error| Failure::Unexpected {
            what: "an event".to_owned(),
            text: format!("{error}: {line}"),
        })
}

fn counts(line: &Value) -> Option<(Kind, KindCounts)> {
    let number = |name: &str| line.get(name).and_then(Value::as_u64);
    let kind = Kind::from_name(line.get("kind")?.as_str()?)?;
    let mut counts = KindCounts::zero(kind);
    counts.generated = number("generated")?;
    counts.filtered = number("filtered")?;
    counts.aggregated = number("aggregated")?;
    counts.submitted = number("submitted")?;
    counts.lost = number("lost")?;
    Some((kind, counts))
}

/// The most that one search gives, and a time in which less than that happens.
const MOST: &str = "100000";
const SLICE: Duration = Duration::from_secs(5);
/// How the last event of `watch` ends.
const LAST_WORDS: &[u8] = b"\"final\":true}\n";
/// `USER_HZ`, which is 100 on every Linux of today.
const TICKS_A_SECOND: f64 = 100.0;
