//! The path: what comes from the sensors and from answered commands walks through enrich and detect
//! to a sink, which is the seal and the spool of a service, or the printer of `watch`.
//!
//! ```text
//! sensor, login, device threads -\
//! hasher and reader threads ----- [inputs] -> enrich -> detect -> sink
//! responder, signals -----------/
//! ```
//!
//! # Queues
//!
//! | queue | bound | full |
//! | --- | --- | --- |
//! | inputs | [`INPUTS`] messages of at most [`CHUNK`] events | whoever sends waits; a kernel sensor takes in 16 MiB of records meanwhile, then its ring fills, and the kernel counts what that cannot hold as lost |
//! | hash jobs, of programs and of written files | [`hasher::JOBS`] each | the event goes on without a hash and says `late` |
//! | looks at what changed files say | [`hasher::JOBS`] | the event goes on and says only which file changed |
//! | events that wait for a hash | 2,048, 50 ms | the oldest goes on and says `late` |

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use picket_event::{Containment, Detail, Event, Hook, Kind, KindCounts, Loss, Source};
use picket_sensor::login::Position;

pub(crate) use picket_sensor::Boxed;

use crate::clock::{SharedClock, boot_ns};
use crate::detect::{Detector, Rules};
use crate::enrich::hash::HashDone;
use crate::enrich::noted::Answer;
use crate::enrich::{Enricher, FileStates, Hasher};
use crate::failure::Failure;
use crate::fleet::Compared;
use crate::respond::block::Gate;
use crate::respond::policy::Lookout;

pub(crate) mod alarm;
pub(crate) mod bounds;
pub(crate) mod hasher;
pub(crate) mod ledger;
pub(crate) mod sensors;
pub(crate) mod signals;

use bounds::Bounds;
use ledger::Ledgers;

/// Messages that may wait for the path.
pub(crate) const INPUTS: usize = 8;
/// Events in one message.
pub(crate) const CHUNK: usize = 256;
/// The path looks after its own affairs at least this often.
const TICK: Duration = Duration::from_millis(250);

/// How long sensors may take to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What enters the path.
#[derive(Debug)]
pub(crate) enum Input {
    /// Events of a sensor, in the order of time, with the states of their files.
    Events(Vec<Boxed>, Arc<FileStates>),
    /// The ledger of a sensor.
    Ledger(Source, Vec<KindCounts>),
    /// Answers to hash jobs.
    Hashed(Vec<HashDone>),
    /// Answers about what changed files say now.
    Noted(Vec<Answer>),
    /// The answer to a command.
    Outcome(Box<Containment>),
    /// Read the rules again.
    Reload,
    /// Use these rules.
    Rules(Box<Rules>),
    /// Close the books and end.
    Stop,
    /// The same, and then the agent is to start anew, with other settings.
    StartAnew,
    /// Where the login follower stands after the events that it sent before.
    Positions(Vec<Position>),
    /// The hooks of the login sources.
    Logins(Vec<Hook>),
    /// A sensor has sent its last.
    Done,
    /// A part of the agent cannot go on, so the agent ends too.
    Broken(Failure),
}

/// Where the path leads.
pub(crate) trait Sink {
    /// Takes an event that was enriched and judged.
    fn take(&mut self, event: Boxed) -> Result<(), Failure>;
    /// Takes notice of events that the sensor lost.
    fn lose(&mut self, from: Source, kind: Kind, count: u64) -> Result<(), Failure>;
    /// Takes notice of how far logins were read; good once the events so far are safe.
    fn positions(&mut self, _positions: Vec<Position>) {}
    /// Takes notice of how the login sources are.
    fn logins(&mut self, _hooks: Vec<Hook>) {}
    /// Is called after each input and at least every [`TICK`].
    fn tick(&mut self, stages: &Stages) -> Result<(), Failure>;
    /// How long it can wait for its next tick.
    fn patience(&self) -> Duration {
        TICK
    }
    /// Closes the books. `last` is the closing balance.
    fn close(&mut self, last: Event, stages: &Stages) -> Result<(), Failure>;
}

/// The stages before the sink.
#[derive(Debug)]
pub(crate) struct Stages {
    /// Adds what the agent knows.
    pub(crate) enrich: Enricher,
    /// Judges.
    pub(crate) detect: Detector,
    /// Both sensors' ledgers.
    pub(crate) ledgers: Ledgers,
    /// Where blocked programs are stopped; `None`: nobody can block any.
    pub(crate) gate: Option<Gate>,
    /// Who hears what the host may do by itself; `None`: nobody.
    pub(crate) policy: Option<Lookout>,
    /// Whom the host is compared with; `None`: nobody.
    pub(crate) fleet: Option<Compared>,
    /// The agent's memory.
    pub(crate) bounds: Bounds,
    /// The wall clock.
    pub(crate) clock: SharedClock,
}

/// What an input asks for beyond its own handling.
enum Next {
    GoOn,
    End(Ending),
    SensorDone,
    Fail(Failure),
}

/// What comes after the end of the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Nothing.
    Stop,
    /// The agent starts anew.
    StartAnew,
}

/// Walks the path until it is told to stop. The sensors are then stopped and drained to the end, and
/// the books are closed, also when a part of the agent broke.
pub(crate) fn walk(
    stages: &mut Stages,
    sink: &mut impl Sink,
    inputs: &Receiver<Input>,
    world: &mut World<'_>,
) -> Result<Ending, Failure> {
    let ending = loop {
        let next = match inputs.recv_timeout(stages.patience(sink.patience())) {
            Ok(input) => stages.input(input, sink, world)?,
            Err(RecvTimeoutError::Timeout) => Next::GoOn,
            Err(RecvTimeoutError::Disconnected) => Next::End(Ending::Stop),
        };
        stages.release(sink)?;
        sink.tick(stages)?;
        stages.keep_bounds();
        match next {
            Next::GoOn | Next::SensorDone => {}
            Next::End(ending) => break Ok(ending),
            Next::Fail(broken) => break Err(broken),
        }
    };
    let told = ending.as_ref().copied().unwrap_or(Ending::Stop);
    drain(stages, sink, inputs, world, told)?;
    let last = stages.balance(true);
    sink.close(last, stages)?;
    ending
}

/// Takes in what the sensors still have to say, for at most [`DRAIN_LIMIT`].
fn drain(
    stages: &mut Stages,
    sink: &mut impl Sink,
    inputs: &Receiver<Input>,
    world: &mut World<'_>,
    ending: Ending,
) -> Result<(), Failure> {
    let until = Instant::now() + DRAIN_LIMIT;
    let mut running = (world.stop)(ending);
    while running > 0 {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(input) = inputs.recv_timeout(left) else {
            tracing::warn!(running, "sensors did not stop in time");
            break;
        };
        if matches!(stages.input(input, sink, world)?, Next::SensorDone) {
            running = running.saturating_sub(1);
        }
        stages.release(sink)?;
        sink.tick(stages)?;
    }
    stages.drain(sink)
}

/// What the path needs of its surroundings.
pub(crate) struct World<'a> {
    /// Where hash jobs go.
    pub(crate) hasher: &'a dyn Hasher,
    /// Reads the rules again.
    pub(crate) reload: &'a dyn Fn() -> Option<Rules>,
    /// Tells the sensors to stop, and how many will say that they are done.
    pub(crate) stop: &'a mut dyn FnMut(Ending) -> usize,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl Stages {
    fn input(
        &mut self,
        input: Input,
        sink: &mut impl Sink,
        world: &World<'_>,
    ) -> Result<Next, Failure> {
        match input {
            Input::Events(events, states) => {
                let ready = self.enrich.take(events, &states, boot_ns(), world.hasher);
                self.judge(ready, sink)?;
            }
            Input::Ledger(source, counts) => {
                for (kind, count) in self.ledgers.update(source, counts) {
                    sink.lose(source, kind, count)?;
                }
            }
            Input::Hashed(answers) => {
                if let Some(gate) = &self.gate {
                    gate.learn(&answers);
                }
                self.enrich.hashed(&answers);
            }
            Input::Noted(answers) => self.enrich.noted(answers),
            Input::Outcome(outcome) => sink.take(Box::new(self.outcome(*outcome)))?,
            Input::Reload => {
                if let Some(rules) = (world.reload)() {
                    self.detect.replace_rules(rules);
                }
            }
            Input::Rules(rules) => self.detect.replace_rules(*rules),
            Input::Positions(positions) => sink.positions(positions),
            Input::Logins(hooks) => sink.logins(hooks),
            Input::Stop => return Ok(Next::End(Ending::Stop)),
            Input::StartAnew => return Ok(Next::End(Ending::StartAnew)),
            Input::Done => return Ok(Next::SensorDone),
            Input::Broken(failure) => return Ok(Next::Fail(failure)),
        }
        Ok(Next::GoOn)
    }

    fn release(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        let ready = self.enrich.release(boot_ns());
        self.judge(ready, sink)
    }

    fn keep_bounds(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.remember(self.enrich.hashes());
        }
        let (enrich, now) = (&mut self.enrich, Instant::now());
        self.bounds.keep(now, || enrich.forget());
        if let Some(fleet) = &mut self.fleet {
            fleet.keep(now, &mut self.detect);
        }
    }

    fn drain(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        let rest = self.enrich.drain();
        self.judge(rest, sink)
    }

    fn judge(&mut self, events: Vec<Boxed>, sink: &mut impl Sink) -> Result<(), Failure> {
        let now = self.clock.now();
        for mut event in events {
            if let Some(gate) = &self.gate {
                gate.pass(&event);
            }
            self.detect.judge(now, &mut event);
            if let Some(policy) = &self.policy {
                policy.look(&event);
            }
            if event.kind == Kind::Finding && event.verdicts.is_empty() {
                self.enrich.leave_out(event.kind);
            } else {
                sink.take(event)?;
            }
        }
        Ok(())
    }

    fn outcome(&self, outcome: Containment) -> Event {
        self.own(Kind::Containment)
            .with(Detail::Containment(outcome))
    }

    /// The ledger as an event.
    pub(crate) fn balance(&self, last: bool) -> Event {
        let kinds = self.ledgers.combined(self.enrich.counts());
        self.own(Kind::Loss)
            .with(Detail::Loss(Loss { kinds, last }))
    }

    /// An event in which the agent speaks of itself.
    pub(crate) fn own(&self, kind: Kind) -> Event {
        let mut event = Event::new(kind, self.clock.now(), Source::Agent);
        event.boot_ns = boot_ns();
        event
    }

    fn patience(&self, sink: Duration) -> Duration {
        let due = self.enrich.due_ns();
        let wait = due.map(|due| Duration::from_nanos(due.saturating_sub(boot_ns())));
        wait.unwrap_or(TICK).min(sink).min(TICK)
    }
}
