//! One collector and one agent, real programs both, with a bad network between them and disks of their own.
//!
//! ```text
//! agent (portable sensor) -> proxy -> collector       processes of the test -> events
//!   disk that fills, freezes           disk that fills, freezes
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::disk::Disk;
use super::plan::{Act, Side};
use super::proxy::{Proxy, Weather};
use crate::failure::Failure;
use crate::programs::Programs;
use crate::rig::{Grounds, Rig, write_file};
use crate::service::{Readiness, Service};
use crate::sim::dice::Dice;
use crate::wait;

/// A stream and the name of a class.
pub(super) type Chain = (String, String);

/// Everything that one seed plays with.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) proxy: Proxy,
    /// The highest number below which the agent was told that everything is durable.
    pub(super) acked: BTreeMap<Chain, u64>,
    /// What happened in this world.
    pub(super) tally: Tally,
    /// Whether the spool was damaged since the last rest, or the agent died.
    pub(super) agent_lost: bool,
    /// Whether synced records of a spool were ever destroyed.
    pub(super) spool_destroyed: bool,
    agent: Option<Service>,
    state: PathBuf,
    config: PathBuf,
    base: PathBuf,
    collector_disk: Option<Disk>,
    agent_disk: Option<Disk>,
    workers: Vec<Worker>,
    dice: Dice,
    made: u64,
    paused: Vec<Side>,
}

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) rounds: u64,
    pub(super) kills: u64,
    pub(super) damages: u64,
    pub(super) network: u64,
    pub(super) fills: u64,
    pub(super) freezes: u64,
    pub(super) pauses: u64,
    pub(super) steps: u64,
    /// The collector ended by itself, as it does when a sync failed.
    pub(super) collector_ended: u64,
    /// The agent was started anew to come to rest.
    pub(super) nudged: u64,
}

/// A process that exists to be seen.
#[derive(Debug)]
struct Worker {
    child: Child,
    /// What it has in its arguments.
    pub(super) marker: String,
}

impl World {
    /// A new one in `base`, which must be empty.
    pub(super) fn begin(
        base: &Path,
        programs: &Programs,
        dice: Dice,
        disks: bool,
    ) -> Result<Self, Failure> {
        let disk = |name: &str, mib| disks.then(|| Disk::make(&base.join(name), mib)).transpose();
        let collector_disk = disk("collector-disk", 96)?;
        let agent_disk = disk("agent-disk", 48)?;
        let grounds = Grounds {
            parent: collector_disk.as_ref().map(|disk| disk.path().to_owned()),
            log: Some(base.join("collector.log")),
            environment: vec![(CLOCK, base.join("collector.clock"))],
            address: None,
        };
        let rig = Rig::start_in(grounds, programs.clone())?;
        let home = agent_disk.as_ref().map_or(base, Disk::path);
        let state = rig.enroll(&home.join("host").display().to_string())?;
        let proxy = Proxy::before(&rig.addresses.agents)?;
        let config = base.join("agent.toml");
        let text = format!(
            "source = \"portable\"\ncollectors = [\"{}\"]\nepoch_seconds = 10\nspool_quota_bytes = {}\n\
             integrity_paths = []\nwatch_paths = []\n",
            proxy.address(),
            12 << 20,
        );
        write_file(&config, text)?;
        Ok(Self {
            rig,
            proxy,
            acked: BTreeMap::new(),
            tally: Tally::default(),
            agent_lost: false,
            spool_destroyed: false,
            agent: None,
            state,
            config,
            base: base.to_owned(),
            collector_disk,
            agent_disk,
            workers: Vec::new(),
            dice,
            made: 0,
            paused: Vec::new(),
        })
    }

    /// The agent's state directory.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Plays the acts at their times.
    pub(super) fn play(&mut self, acts: &[(u64, Act)]) -> Result<(), Failure> {
        self.start(Side::Agent)?;
        let begin = Instant::now();
        for (at, act) in acts {
            let due = begin + Duration::from_millis(*at);
            wait::pause(due.saturating_duration_since(Instant::now()));
            self.act(*act)?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Work(count) => self.work(count)?,
            Act::Turn(weather) => {
                self.tally.network += 1;
                self.proxy.set(weather);
            }
            Act::Cut => {
                self.tally.network += 1;
                self.proxy.cut();
            }
            Act::Kill(side, damage) => {
                self.kill(side);
                if let Some(damage) = damage {
                    self.tally.damages += 1;
                    self.thaw(side);
                    self.spool_destroyed |= damage.destroys();
                    let folder = match side {
                        Side::Agent => self.state.join("spool"),
                        Side::Collector => self.rig.data().join("wal"),
                    };
                    damage.strike(&folder)?;
                }
            }
            Act::Stop(side) => self.stop(side)?,
            Act::Start(side) => self.try_start(side),
            Act::Pause(side) => {
                self.tally.pauses += 1;
                self.signal(side, Signal::STOP);
                self.paused.push(side);
            }
            Act::Resume(side) => self.signal(side, Signal::CONT),
            Act::Fill(side) => {
                self.tally.fills += 1;
                self.thaw(side);
                self.disk(side).map_or(Ok(()), |disk| disk.fill())?;
            }
            Act::Free(side) => {
                self.thaw(side);
                if let Some(disk) = self.disk(side) {
                    disk.free();
                }
            }
            Act::Freeze(side, time) => {
                self.tally.freezes += 1;
                self.disk(side).map_or(Ok(()), |disk| disk.freeze(time))?;
            }
            Act::Step(side, seconds) => {
                self.tally.steps += 1;
                self.step(side, seconds)?;
            }
        }
        Ok(())
    }

    /// Ends every fault, and waits until everything that was numbered is at the collector. The agent is then stopped
    /// as the service manager would.
    ///
    /// `calm`: nothing kept the agent from seeing the processes of the round, so there is time for it to see them all: on
    /// a busy machine the portable sensor looks every few seconds only.
    pub(super) fn rest(&mut self, calm: bool) -> Result<(), Failure> {
        self.heal()?;
        for attempt in 0..4 {
            self.start(Side::Agent)?;
            match self.wait_until_quiet(Duration::from_secs(20)) {
                Ok(()) => {
                    self.wait_until_seen(calm);
                    return self.close();
                }
                // A long wait between two connections is no fault; a new run connects at once.
                Err(Failure::TooLate(_)) if attempt < 3 => {
                    self.tally.nudged += 1;
                    self.stop(Side::Agent)?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Failure> {
        self.proxy.set(Weather::Fair);
        for side in std::mem::take(&mut self.paused) {
            self.signal(side, Signal::CONT);
        }
        for side in [Side::Agent, Side::Collector] {
            self.thaw(side);
            if let Some(disk) = self.disk(side) {
                disk.free();
            }
            self.step(side, 0)?;
        }
        self.start(Side::Collector)
    }

    fn wait_until_quiet(&mut self, limit: Duration) -> Result<(), Failure> {
        let (began, mut wanted) = (Instant::now(), BTreeMap::new());
        wait::until("the rest", limit, || {
            self.still_runs()?;
            let now = self.status()?;
            // The status is a second old at most, and a run has much to say in its first: what it has numbered by then must arrive.
            let settled = began.elapsed() >= SETTLED;
            for line in transport(&now) {
                let chain = chain_of(line);
                let new = |chain: &Chain| !settled || !wanted.contains_key(chain);
                if let Some(chain) = chain.filter(new) {
                    wanted.insert(chain, number(line, "numbered"));
                }
            }
            Ok((settled && is_quiet(&wanted, &now)).then_some(()))
        })
    }

    /// Waits, not for ever: whether they were seen is for the judge to say.
    fn wait_until_seen(&self, calm: bool) {
        let Some(first) = self.workers.first().filter(|_| calm && !self.agent_lost) else {
            return;
        };
        let stem = first.marker.trim_end_matches(char::is_numeric);
        let seen = wait::until("the processes of the round", READY, || {
            let told = Value::from(self.rig.execs(stem)?).to_string();
            let is_told = |worker: &Worker| told.contains(&format!("\"{}\"", worker.marker));
            Ok(self.workers.iter().all(is_told).then_some(()))
        });
        drop(seen);
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(agent) = self.agent.take() else {
            return Ok(());
        };
        let said = agent.said();
        let ended = agent.stop(READY)?;
        self.note_cursor();
        if ended.success() {
            return Ok(());
        }
        Err(Failure::Ended {
            what: "picket-agent run, at rest,".to_owned(),
            code: ended.to_string(),
            stderr: tail(&said),
        })
    }

    /// Both programs run that should.
    fn still_runs(&mut self) -> Result<(), Failure> {
        if let Some(agent) = &mut self.agent {
            agent.still_runs()?;
        }
        self.start(Side::Collector)
    }

    /// What the agent says, taken note of.
    fn status(&mut self) -> Result<Value, Failure> {
        let status = wait::until("the agent's status", READY, || {
            Ok(self.rig.status(&self.state).ok())
        })?;
        for line in transport(&status) {
            self.note_acked(chain_of(line), number(line, "durable_seq"));
        }
        Ok(status)
    }

    fn note_acked(&mut self, chain: Option<Chain>, durable: u64) {
        if let Some(chain) = chain {
            let known = self.acked.entry(chain).or_default();
            *known = durable.max(*known);
        }
    }

    /// What the spool's own note says is acknowledged (see `docs/formats/spool.md`).
    fn note_cursor(&mut self) {
        let bytes = std::fs::read(self.state.join("spool/cursor")).unwrap_or_default();
        let marks = bytes
            .get(16..bytes.len().saturating_sub(4))
            .unwrap_or_default();
        for mark in marks.chunks_exact(25) {
            let (stream, rest) = mark.split_at(16);
            let class = match rest[0] {
                1 => "alert",
                2 => "security",
                _ => "bulk",
            };
            let durable = u64::from_le_bytes(rest[1..].try_into().unwrap_or_default());
            let stream = hex::encode(stream);
            self.note_acked(Some((stream, class.to_owned())), durable);
        }
    }

    fn kill(&mut self, side: Side) {
        self.tally.kills += 1;
        match side {
            Side::Agent => {
                self.agent_lost = true;
                if let Some(agent) = self.agent.take() {
                    // What it was told until now is a promise to it; where it stands still, its last note must do.
                    self.note_status_now();
                    agent.crash();
                    self.note_cursor();
                }
            }
            Side::Collector => self.rig.crash_collector(),
        }
    }

    /// One quick question, which a paused or waiting agent does not answer.
    fn note_status_now(&mut self) {
        if self.paused.contains(&Side::Agent) {
            return;
        }
        if let Ok(status) = self.rig.status(&self.state) {
            for line in transport(&status) {
                self.note_acked(chain_of(line), number(line, "durable_seq"));
            }
        }
    }

    fn stop(&mut self, side: Side) -> Result<(), Failure> {
        self.signal(side, Signal::CONT);
        match side {
            Side::Agent => {
                self.agent_lost = true;
                let Some(agent) = self.agent.take() else {
                    return Ok(());
                };
                // On a full disk the books cannot be closed, and it says so.
                agent.stop(READY)?;
                self.note_cursor();
            }
            Side::Collector => {
                // One that has ended by itself meanwhile is started again.
                drop(self.rig.stop_collector());
            }
        }
        Ok(())
    }

    /// While a fault lasts a start may fail; it is tried again at rest.
    fn try_start(&mut self, side: Side) {
        if self.start(side).is_err() && side == Side::Agent {
            self.agent = None;
        }
    }

    fn start(&mut self, side: Side) -> Result<(), Failure> {
        match side {
            Side::Agent => self.start_agent(),
            Side::Collector => self.start_collector(),
        }
    }

    fn start_agent(&mut self) -> Result<(), Failure> {
        if let Some(agent) = &mut self.agent {
            return agent.still_runs();
        }
        let mut command = Command::new(self.rig.programs.path("picket-agent")?);
        command.arg("run").arg("--state").arg(&self.state);
        command.arg("--config").arg(&self.config);
        command.env(CLOCK, self.base.join("agent.clock"));
        let readiness = Readiness::listen(&self.base.join("agent.ready"))?;
        command.env("NOTIFY_SOCKET", readiness.path());
        let log = self.base.join("agent.log");
        let mut agent = Service::start("picket-agent run", command, &log)?;
        agent.ready(READY, &readiness)?;
        self.agent = Some(agent);
        Ok(())
    }

    fn start_collector(&mut self) -> Result<(), Failure> {
        let runs = match self.rig.collector() {
            Some(collector) => {
                let runs = collector.still_runs().is_ok();
                self.tally.collector_ended += u64::from(!runs);
                runs
            }
            None => false,
        };
        if runs {
            return Ok(());
        }
        self.rig.restart_collector()
    }

    fn signal(&mut self, side: Side, signal: Signal) {
        match side {
            Side::Agent => {
                if let Some(agent) = &self.agent {
                    agent.send(signal);
                }
            }
            Side::Collector => self.rig.signal_collector(signal),
        }
    }

    fn step(&self, side: Side, seconds: i64) -> Result<(), Failure> {
        let name = match side {
            Side::Agent => "agent.clock",
            Side::Collector => "collector.clock",
        };
        let (path, beside) = (self.base.join(name), self.base.join("clock.new"));
        write_file(&beside, seconds.saturating_mul(1_000_000_000).to_string())?;
        std::fs::rename(&beside, &path).map_err(Failure::file(path))
    }

    fn disk(&mut self, side: Side) -> Option<&mut Disk> {
        match side {
            Side::Agent => self.agent_disk.as_mut(),
            Side::Collector => self.collector_disk.as_mut(),
        }
    }

    fn thaw(&mut self, side: Side) {
        if let Some(disk) = self.disk(side) {
            disk.thaw();
        }
    }

    /// Begins processes with arguments of their own; those of the rounds before end.
    fn work(&mut self, count: u32) -> Result<(), Failure> {
        for _ in 0..count {
            self.made += 1;
            // The sensors of other worlds see it too.
            let world = self.base.file_name().unwrap_or_default().display();
            let marker = format!("faults-{}-{world}-{}", std::process::id(), self.made);
            let noise = 1 + self.dice.small(40);
            let noise: Vec<u8> = (0..2 * noise)
                .flat_map(|_| self.dice.next().to_be_bytes())
                .collect();
            let noise = hex::encode(noise);
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "read line", &marker, &noise]);
            shell.stdin(Stdio::piped()).stdout(Stdio::null());
            let run = |source| Failure::Run {
                what: "a process to be seen".to_owned(),
                source,
            };
            let child = shell.spawn().map_err(run)?;
            self.workers.push(Worker { child, marker });
        }
        Ok(())
    }

    /// Ends the processes of the round, and gives their markers.
    pub(super) fn dismiss(&mut self) -> Vec<String> {
        let workers = std::mem::take(&mut self.workers);
        let end = |mut worker: Worker| {
            // Waiting closes its input first, and that ends it.
            drop(worker.child.wait());
            worker.marker
        };
        workers.into_iter().map(end).collect()
    }

    /// Keeps everything for whoever wants to look.
    pub(super) fn keep(&mut self) {
        self.rig.keep();
    }

    /// What both programs have said on the side.
    pub(super) fn logs(&self) -> [(&'static str, String); 2] {
        let read = |name: &str| std::fs::read_to_string(self.base.join(name)).unwrap_or_default();
        [
            ("picket-agent", read("agent.log")),
            ("picket-collector", read("collector.log")),
        ]
    }
}

/// Whether everything that `first` speaks of has arrived by `now`.
fn is_quiet(wanted: &BTreeMap<Chain, u64>, now: &Value) -> bool {
    let connected = now
        .pointer("/link/state")
        .is_some_and(|state| state == "connected");
    let own = now.get("stream").and_then(Value::as_str);
    connected
        && transport(now).iter().all(|line| {
            let is_own = line.get("stream").and_then(Value::as_str) == own;
            let wanted = chain_of(line).and_then(|chain| wanted.get(&chain));
            if is_own {
                number(line, "durable_seq") >= wanted.copied().unwrap_or_default()
            } else {
                number(line, "spooled") == 0 && number(line, "gaps") == 0
            }
        })
}

fn transport(status: &Value) -> Vec<&Value> {
    let lines = status
        .pointer("/ledger/transport")
        .and_then(Value::as_array);
    lines.into_iter().flatten().collect()
}

/// Of which chain a line speaks.
pub(super) fn chain_of(line: &Value) -> Option<Chain> {
    let text = |name: &str| Some(line.get(name)?.as_str()?.to_owned());
    Some((text("stream")?, text("class")?))
}

/// A number of a line; 0 where it has none.
pub(super) fn number(line: &Value, name: &str) -> u64 {
    line.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The last lines.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Where a program finds how far its clock is off; see `picket_event::SystemClock`.
const CLOCK: &str = "PICKET_TEST_CLOCK";

/// How long a program may take to begin or to end on a busy machine.
const READY: Duration = Duration::from_mins(3);
/// How long an agent is looked at before it may be called quiet.
const SETTLED: Duration = Duration::from_secs(2);
