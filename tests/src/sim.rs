//! picket-sim: thousands of simulated agents against a real collector process.
//!
//! # What is real
//!
//! - The collector: the program itself, with its disk, its database and its syncs.
//! - Each agent's identity: enrolled through `Enrollment` with a TLS key, certificate and event key of its own.
//! - Each agent's connection: TCP over loopback, TLS 1.3 with both certificates, HTTP/2, a session with heartbeats and
//!   a call for batches, under the collector's credit and flow control.
//! - What each says to a command: size, signatures, host, ring and time are checked by the agent's own code, and the receipt is a
//!   signed event.
//! - The batches: numbered, chained, compressed and signed by the agent's own sealer (`picket_agent::seal`), under
//!   epoch keys with successions.
//!
//! # What is not
//!
//! - A host does nothing: a receipt says so, and the ids that it has seen are in memory.
//! - There is no sensor, no detection and no spool: events are invented from a seed (see `world`), and what is not
//!   acknowledged waits in memory.
//! - All agents are tasks of one process on the collector's own machine. They share its processors, its allocator and
//!   a loopback that loses and delays nothing.
//! - Enrolments share a token and connections (see `enrol`); epochs last a minute and not an hour; classes are
//!   shared out batch by batch (54 % bulk, 45 % security, 1 % alerts of one event each).

pub(crate) mod command;
pub(crate) mod dice;
mod enrol;
mod fill;
mod fleet;
mod host;
mod link;
mod obey;
mod orders;
mod play;
mod proof;
mod report;
mod site;
mod tally;
mod trouble;
mod usage;
mod world;

use std::time::Duration;

use crate::failure::Failure;
use crate::wait;

pub use command::Answers;
pub use fill::{Filled, Filling, fill};
pub use play::{End, Load, Play, Standing, Storm};
pub use proof::Proof;
pub use site::Given;
pub use tally::Spread;

pub(crate) use orders::Pace;
pub(crate) use report::spoken;
use trouble::Trouble;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many agents.
    pub agents: usize,
    /// Events per second of all agents together; `None`: as fast as they are taken.
    pub rate: Option<f64>,
    /// Events in a batch.
    pub batch: usize,
    /// How long events are made.
    pub time: Duration,
    /// Whether all connections are cut at the end, and made again.
    pub storm: bool,
    /// Batches that an agent has under way when there is no rate.
    pub window: usize,
    /// Of what the events are made.
    pub seed: u64,
    /// The collector; `None`: a new one in a temporary folder.
    pub given: Option<Given>,
    /// Whether a new collector has a second operator, who approves.
    pub approver: bool,
}

/// Simulates, and prints what came of it. Fails if an acknowledged event is missing or stored twice.
pub fn run(options: Options, json: bool) -> Result<(), Failure> {
    wait::for_interrupts();
    report::say(json, SIMULATED);
    let mut play = Play::begin(&options)?;
    report::say(json, &play.beginning());
    let pace = options.pace();
    let load = play.load(pace, WARM.min(options.time), options.time)?;
    let storm = options.storm.then(|| play.storm()).transpose()?;
    let standing = play.standing();
    let end = play.end()?;
    report::print(json, &options, &standing, &load, (storm.as_ref(), &end));
    end.must_hold()
}

impl Options {
    fn pace(&self) -> Pace {
        match self.rate {
            None => Pace::Window(self.window),
            Some(rate) => share(rate, self.agents),
        }
    }
}

/// The pace of each of `agents` that together make `rate` events a second.
pub(crate) fn share(rate: f64, agents: usize) -> Pace {
    Pace::Rate(rate / play::float(agents.max(1) as u64))
}

/// Something of the simulation did not do what it should.
fn place_of(what: &str, text: &str) -> Failure {
    Failure::Unexpected {
        what: what.to_owned(),
        text: text.to_owned(),
    }
}

/// What is told before anything else.
const SIMULATED: &str = "simulated agents: real keys, certificates, connections and seals; no sensor and no spool, \
                         invented events, all agents in one process beside the collector";

/// How long events are made before anything is measured.
const WARM: Duration = Duration::from_secs(2);
